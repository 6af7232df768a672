// The administrators' page: who has a token for it sees how the agent is, what waits and how the last days were, and
// gives orders. Everything is asked for with the token; the page itself holds nothing.
// For browsers of 2016 (ECMAScript 5).
(function () {
  "use strict";
  var BEAT_MS = 5000;
  var HISTORY_MS = 60000;
  var SAID_MS = 20000; // what was said lies over the page's foot for so long
  var SPANS = { "span-1": 24, "span-3": 72, "span-7": 168 };
  var ORDERS = ["flush", "sync", "pause", "resume"];
  var byId = words.byId, text = words.text, put = words.put;
  var hours = 24;
  var historyAt = -Infinity;
  var version = null;
  var away = false;
  var asking = false;
  var hushing = 0;

  // --- what the page says ---------------------------------------------------------------------------------------

  function say(sentence) {
    window.clearTimeout(hushing);
    put("said", sentence);
    hushing = window.setTimeout(function () { put("said", ""); }, SAID_MS);
  }

  // What became of a call that did not work; `quietly` where the page asked by itself, and goes on asking.
  function failed(status, answer, quietly) {
    if (status === 0) lost();
    else if (status === 401) leave("admin.refused.ended");
    else if (status === 403 && answer.code === "token.scope") leave("admin.refused.scope");
    else if (quietly) return;
    else if (status === 409) say(text("admin.under_way"));
    else say(text("admin.failed") + " (" + answer.code + ")");
  }

  function lost() {
    if (away) return;
    away = true;
    byId("lost").appendChild(words.element("h2", text("page.lost.title")));
    byId("lost").appendChild(words.element("p", text("admin.lost.detail")));
    document.title = text("page.lost.title");
  }

  function back(now) {
    if (away) say(text("admin.back"));
    if (version !== null && version !== now) say(text("admin.renewed"));
    away = false;
    version = now;
    byId("lost").textContent = "";
  }

  // --- what the agent says --------------------------------------------------------------------------------------

  function drawStatus(status) {
    var paused = status.conditions.some(function (one) { return one.code === "queue.paused"; });
    byId("sign").className = status.sign.light;
    put("headline", status.sign.headline);
    put("since", words.instant(status.since));
    put("version", status.version);
    document.title = status.sign.headline + " · " + text("admin.title");
    byId("no-conditions").hidden = status.conditions.length > 0;
    words.items("conditions", status.conditions.map(words.condition));
    swap(byId("order-pause"), byId("order-resume"), paused);
    queue.vendors(status.vendors.map(function (vendor) { return vendor.vendor; }));
  }

  // One of two orders can be given at a time; whoever stands on the other is put on that.
  function swap(usual, opposite, turned) {
    var held = document.activeElement === usual || document.activeElement === opposite;
    usual.parentNode.hidden = turned;
    opposite.parentNode.hidden = !turned;
    if (held) (turned ? opposite : usual).focus();
  }

  function askHistory() {
    var asked = hours;
    historyAt = Date.now();
    door.call("GET", "/v1/history?hours=" + asked, null, function (status, answer) {
      if (asked !== hours) return; // another time has been chosen meanwhile
      if (status === 200) plots.show(answer);
      else failed(status, answer, true);
    });
  }

  function beat() {
    if (!door.isOpen() || asking) return;
    asking = true;
    door.call("GET", "/v1/status", null, function (status, answer) {
      asking = false;
      if (status !== 200) {
        failed(status, answer, true);
        return;
      }
      back(answer.version);
      drawStatus(answer);
      queue.load();
      if (Math.abs(Date.now() - historyAt) >= HISTORY_MS) askHistory();
    });
  }

  // --- who comes and goes ---------------------------------------------------------------------------------------

  function enter() {
    byId("token").value = "";
    byId("refusal").textContent = "";
    byId("entrance").hidden = true;
    byId("desk").hidden = byId("leave").hidden = false;
    say("");
    byId("headline").focus();
    historyAt = -Infinity;
    asking = false; // what was asked with an earlier token is not answered here any more
    beat();
  }

  // Nothing of what the token opened stays on the page.
  function leave(why) {
    door.close();
    queue.clear();
    plots.clear();
    byId("conditions").textContent = "";
    byId("desk").hidden = byId("leave").hidden = true;
    byId("entrance").hidden = false;
    byId("lost").textContent = "";
    away = false;
    version = null;
    say("");
    document.title = text("admin.title");
    put("refusal", text(why));
    byId("token").focus();
  }

  // A browser may keep a page that is left, and show it again as it was.
  function goAway() {
    byId("token").value = "";
    if (!byId("desk").hidden) leave("admin.left");
  }

  function present(event) {
    var refusal = "";
    event.preventDefault();
    if (!byId("token").value.trim()) refusal = "admin.refused.empty";
    else if (!door.open(byId("token").value.trim())) refusal = "admin.refused.wrong";
    put("refusal", text(refusal));
    if (refusal) {
      byId("token").focus();
      return;
    }
    // What is asked takes such a token, and is answered even when the queue cannot be read.
    door.call("GET", "/v1/history?hours=1", null, function (status, answer) {
      if (status === 200) enter();
      else refuse(status, answer);
    });
  }

  function refuse(status, answer) {
    door.close();
    if (status === 401) put("refusal", text("admin.refused.wrong"));
    else if (status === 403 && answer.code === "token.scope") put("refusal", text("admin.refused.scope"));
    else put("refusal", status ? text("admin.failed") + " (" + answer.code + ")" : text("admin.no_answer"));
    byId("token").focus();
  }

  // --- orders ---------------------------------------------------------------------------------------------------

  function order(name) {
    door.call("POST", "/v1/" + name, null, function (status, answer) {
      if (status !== 202) {
        failed(status, answer);
        return;
      }
      say(text("admin." + name) + ": " + text("admin.ordered"));
      beat();
    });
  }

  function choose(id) {
    hours = SPANS[id];
    Object.keys(SPANS).forEach(function (one) { byId(one).setAttribute("aria-pressed", String(one === id)); });
    askHistory();
  }

  function begin() {
    live.get("/page/texts", function (answer) {
      words.speak(answer);
      document.title = text("admin.title");
      byId("entrance").addEventListener("submit", present);
      byId("leave").addEventListener("click", function () { leave("admin.left"); });
      ORDERS.forEach(function (name) { byId("order-" + name).addEventListener("click", function () { order(name); }); });
      Object.keys(SPANS).forEach(function (id) {
        put(id, words.duration(SPANS[id] * 3600));
        byId(id).addEventListener("click", function () { choose(id); });
      });
      door.whenForgotten(function () { leave("admin.forgotten"); });
      window.addEventListener("pagehide", goAway);
      queue.begin({ say: say, failed: failed });
      byId("token").focus();
      window.setInterval(beat, BEAT_MS);
    }, function () {
      window.setTimeout(begin, BEAT_MS);
    });
  }

  begin();
})();
