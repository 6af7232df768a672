// The staff page: draws what /page/status says. What works and what to tell the customer is decided by the agent.
// No personal data reaches it. What has not changed is not drawn again: a screen reader would read it out once more.
(function () {
  "use strict";
  var RELOAD_MS = 30000;
  var AGES_MS = 20000;
  var UNITS = [["day", 86400, "d"], ["hour", 3600, "h"], ["minute", 60, "min"], ["second", 1, "s"]];
  var VENDORS = {
    online: ["system.online", "fine"], degraded: ["system.held", "warn"], offline: ["system.offline", "bad"]
  };

  var texts = {};
  var locale = "en";
  var status = null;
  var heardAt = 0; // when `status` came; its ages are counted on from there
  var away = false;

  function byId(id) { return document.getElementById(id); }
  function text(key) { return texts[key] || ""; }

  function put(id, content) {
    if (byId(id).textContent !== content) byId(id).textContent = content;
  }

  function element(tag, content, kind) {
    var made = document.createElement(tag);
    made.textContent = content;
    if (kind) made.className = kind;
    return made;
  }

  // Replaces what is in a list, but only where it reads otherwise than before.
  function fill(id, nodes) {
    var list = byId(id), fresh = list.cloneNode(false), i;
    for (i = 0; i < nodes.length; i += 1) fresh.appendChild(nodes[i]);
    if (!fresh.isEqualNode(list)) list.parentNode.replaceChild(fresh, list);
  }

  function number(value) { return value.toLocaleString(locale); }

  // An hour and minute, and the day where it is not today.
  function instant(value) {
    var at, time;
    if (value === null) return text("page.never");
    at = new Date(value);
    time = at.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit" });
    if (at.toDateString() === new Date().toDateString()) return time;
    return at.toLocaleDateString(locale, { day: "numeric", month: "short" }) + " " + time;
  }

  // In words where the browser has them, else with the symbols that are the same in every language.
  function duration(seconds) {
    var i = 0, count;
    while (i < UNITS.length - 1 && seconds < UNITS[i][1]) i += 1;
    count = Math.floor(seconds / UNITS[i][1]);
    try {
      return new Intl.NumberFormat(locale, { style: "unit", unit: UNITS[i][0], unitDisplay: "long" }).format(count);
    } catch (error) { // a browser from before units, or without Intl
      return count + "\u00a0" + UNITS[i][2];
    }
  }

  function rows(id, entries) {
    fill(id, entries.map(function (entry) {
      var row = element("div", "");
      row.appendChild(element("dt", entry[0]));
      row.appendChild(element("dd", entry[1], entry[2]));
      return row;
    }));
  }

  function drawCondition(condition) {
    var item = element("li", "", condition.severity), remedy = element("p", "", "remedy");
    item.appendChild(element("h3", condition.title));
    item.appendChild(element("p", condition.detail));
    remedy.appendChild(element("b", text("page.remedy") + ": "));
    remedy.appendChild(document.createTextNode(condition.remedy));
    item.appendChild(remedy);
    return item;
  }

  // A number to call goes to a line of its own before it is broken anywhere.
  function drawSupport(support) {
    var parts = support.split(/(\(?\+?\d[\d\s()\/.-]{3,}\d)/), i; // every other one is a number
    byId("support").textContent = "";
    for (i = 0; i < parts.length; i += 1) {
      byId("support").appendChild(element("span", parts[i].replace(/-/g, "\u2011"), i % 2 ? "number" : ""));
    }
  }

  function drawQueue(queue, passed) {
    // A sale or two on their way are nothing to look up for.
    var shade = queue.depth && status.state !== "online" ? "big warn" : "big";
    var entries = [[text("page.queue.depth"), number(queue.depth), shade]];
    if (queue.oldest_age_s !== null) {
      entries.push([text("page.since"), instant(heardAt - queue.oldest_age_s * 1000), ""]);
      entries.push([text("page.queue.oldest"), duration(queue.oldest_age_s + passed), "age"]);
    }
    ["parked", "in_doubt", "held"].forEach(function (state) {
      if (queue[state] || state === "parked") {
        entries.push([text("page.queue." + state), number(queue[state]), queue[state] ? "big warn" : "big"]);
      }
    });
    if (queue.outage_left_s !== null && queue.depth) {
      entries.push([text("page.queue.outage_left"), duration(queue.outage_left_s), ""]);
    }
    rows("queue", entries);
  }

  function drawReplica(replica, passed) {
    var shade = replica.stale ? "warn" : "", entries = [];
    if (replica.age_s !== null) {
      entries.push([text("page.replica.age"), duration(replica.age_s + passed), "age " + shade]);
    }
    entries.push([text("page.replica.as_of"), instant(replica.as_of), shade]);
    if (replica.stale) entries.push([text("page.replica"), text("page.replica.stale"), "warn"]);
    entries.push([text("page.replica.contacts"), number(replica.contacts), ""]);
    rows("replica", entries);
  }

  function drawSystems(vendors) {
    var entries = [];
    vendors.forEach(function (vendor) {
      var word = VENDORS[vendor.state];
      entries.push([vendor.vendor + " · " + text("role." + vendor.role), text(word[0]), word[1]]);
      entries.push([text("page.last_success"), instant(vendor.last_success_at), ""]);
    });
    rows("systems", entries);
  }

  function drawFigures() {
    var passed = Math.max(0, Math.floor((Date.now() - heardAt) / 1000));
    if (!status) return;
    drawQueue(status.queue, passed);
    drawReplica(status.replica, passed);
    drawSystems(status.vendors);
  }

  function draw() {
    var sign = status.sign;
    byId("sign").className = sign.light;
    byId("sign").hidden = away;
    put("headline", sign.headline);
    put("since", instant(status.since));
    byId("level").hidden = status.vendors[0].state === "online";
    put("level", text("page.level") + " " + status.level + ": " + text("level." + status.level + ".title"));
    put("works", sign.works);
    put("tell", sign.tell);
    put("version", status.version);
    document.title = sign.headline + " · " + text("page.title");
    byId("no-conditions").hidden = status.conditions.length > 0;
    fill("conditions", status.conditions.map(drawCondition));
    drawFigures();
  }

  // Once its agent is another version, this page is an old one; it goes when the new one is there to give a page.
  function renew(version) {
    if (status && status.version !== version) {
      window.setTimeout(function () { if (!away) window.location.reload(); }, RELOAD_MS);
    }
  }

  function told(body) {
    var back = away;
    renew(body.version);
    away = false;
    status = body;
    heardAt = Date.now();
    byId("lost").textContent = "";
    draw();
    if (back) live.get("/page/texts", speak, function () {}); // the language or the number to call may be another now
  }

  function lost() {
    if (away) return;
    away = true;
    byId("sign").hidden = true; // what it says is no longer known
    put("works", text("state.unkept.works")); // who does not answer a page does not answer a till
    put("tell", text("level.1.tell"));
    byId("lost").appendChild(element("h2", text("page.lost.title")));
    byId("lost").appendChild(element("p", text("page.lost.detail")));
    document.title = text("page.lost.title");
  }

  function speak(answer) {
    var places = document.querySelectorAll("[data-text]"), i;
    texts = answer.texts;
    locale = answer.locale;
    document.documentElement.lang = locale;
    for (i = 0; i < places.length; i += 1) places[i].textContent = text(places[i].getAttribute("data-text"));
    drawSupport(answer.support);
    byId("call").hidden = answer.support === "";
    if (status) draw();
  }

  function begin() {
    live.get("/page/texts", function (answer) {
      speak(answer);
      live.follow("/page/status", "/page/events", told, lost);
      window.setInterval(drawFigures, AGES_MS);
    }, function () {
      window.setTimeout(begin, live.beatMs);
    });
  }

  begin();
})();
