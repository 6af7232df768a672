// The staff page: draws what /page/status says, live through /page/events. No personal data reaches it.
// When events break off it asks every few seconds; when that fails too, it says so and keeps what it last knew.

const POLL_MS = 5000;
const QUIET_MS = 40000; // a heartbeat comes every 15 s
const byId = (id) => document.getElementById(id);

let texts = {};
let locale = "en";
let status = null;
let heardAt = Date.now();
let polling = null;
let source = null;

const text = (key) => texts[key] ?? "";

function element(tag, content, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = content;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const number = (value) => new Intl.NumberFormat(locale).format(value);

function instant(value) {
  return value === null ? text("page.never")
    : new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }).format(new Date(value));
}

function duration(seconds) {
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, length]) => seconds >= length) ?? units[3];
  return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long" }).format(Math.floor(seconds / size));
}

function rows(list, entries) {
  byId(list).replaceChildren(...entries.flatMap(([label, value, shade, kind]) => [
    element("dt", label, kind ? { class: kind } : {}),
    element("dd", value, shade ? { class: shade } : {}),
  ]));
}

function drawCondition(condition) {
  const item = element("li", "", { "data-severity": condition.severity });
  const remedy = element("p", "", { class: "remedy" });
  remedy.append(element("span", `${text("page.remedy")}: `), condition.remedy);
  item.append(element("b", condition.title), element("p", condition.detail), remedy);
  return item;
}

function drawSystem(vendor) {
  const shade = { online: "fine", degraded: "warn", offline: "bad" }[vendor.state];
  const word = { online: "system.online", degraded: "system.held", offline: "system.offline" }[vendor.state];
  return [
    [`${vendor.vendor} · ${text(`role.${vendor.role}`)}`, text(word), shade, "system"],
    [text("page.last_success"), instant(vendor.last_success_at), "", "note"],
  ];
}

function draw() {
  if (!status) return;
  const { state, level, queue, replica } = status;
  const words = state === "online" ? "state.online" : `level.${level}`;
  byId("state").dataset.state = state;
  byId("headline").textContent = text(`state.${state}.title`);
  byId("since").textContent = instant(status.since);
  byId("level").hidden = state === "online";
  byId("level-number").textContent = level;
  byId("level-title").textContent = text(`level.${level}.title`);
  byId("works").textContent = text(`${words}.works`);
  byId("tell").textContent = text(`${words}.tell`);
  byId("version").textContent = status.version;
  byId("no-conditions").hidden = status.conditions.length > 0;
  byId("conditions").replaceChildren(...status.conditions.map(drawCondition));
  const counts = [["depth", ""], ["held", "warn"], ["parked", "warn"], ["in_doubt", "warn"]];
  rows("queue", [
    ...counts.map(([name, shade]) => [text(`page.queue.${name}`), number(queue[name]), queue[name] ? shade : ""]),
    ...(queue.oldest_age_s === null ? [] : [[text("page.queue.oldest"), duration(queue.oldest_age_s), ""]]),
    ...(queue.outage_left_s === null ? [] : [[text("page.queue.outage_left"), duration(queue.outage_left_s), ""]]),
  ]);
  rows("replica", [
    [text("page.replica.contacts"), number(replica.contacts), ""],
    [text("page.replica.as_of"), instant(replica.as_of), replica.stale ? "warn" : ""],
    ...(replica.stale ? [["", text("page.replica.stale"), "warn"]] : []),
  ]);
  rows("systems", status.vendors.flatMap(drawSystem));
}

function heard() {
  heardAt = Date.now();
  byId("lost").hidden = true;
}

async function ask() {
  try {
    const answer = await fetch("/page/status", { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    status = await answer.json();
    heard();
    draw();
  } catch {
    byId("lost").hidden = false;
  }
}

function listen() {
  source?.close();
  source = new EventSource("/page/events");
  source.addEventListener("status", (event) => {
    clearInterval(polling);
    polling = null;
    status = JSON.parse(event.data);
    heard();
    draw();
  });
  source.addEventListener("heartbeat", heard);
  source.addEventListener("error", () => {
    polling ??= setInterval(ask, POLL_MS);
    ask();
  });
}

// A connection that went silent without an error, and one that the browser has given up, are opened again.
setInterval(() => {
  if (Date.now() - heardAt > QUIET_MS || source?.readyState === EventSource.CLOSED) listen();
}, POLL_MS);

async function begin() {
  try {
    ({ texts, locale } = await (await fetch("/page/texts", { cache: "no-store" })).json());
  } catch {
    setTimeout(begin, POLL_MS);
    return;
  }
  document.documentElement.lang = locale;
  document.title = text("page.title");
  for (const place of document.querySelectorAll("[data-text]")) place.textContent = text(place.dataset.text);
  await ask();
  listen();
}

begin();
