// The staff page: draws what /page/status says. What works and what to tell the customer is decided by the agent.
// No personal data reaches it.
(function () {
  "use strict";
  var RELOAD_MS = 30000;
  var AGES_MS = 20000;
  var VENDORS = {
    online: ["system.online", "fine"], degraded: ["system.held", "warn"], offline: ["system.offline", "bad"]
  };

  var byId = words.byId, text = words.text, put = words.put, element = words.element;
  var number = words.number, instant = words.instant, duration = words.duration;
  var status = null;
  var heardAt = 0; // when `status` came; its ages are counted on from there
  var away = false;

  function rows(id, entries) { words.items(id, words.pairs(entries)); }

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
    words.items("conditions", status.conditions.map(words.condition));
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
    words.speak(answer);
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
