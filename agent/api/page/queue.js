// The queue on the administrators' page: what is not delivered, a page at a time, to be sent again or given up.
// An entry that somebody is deciding about is not touched by what comes in meanwhile.
// For browsers of 2016 (ECMAScript 5). `queue` is the only name that it adds.
var queue = (function () {
  "use strict";
  var PAGE = 20;
  var LONGEST_REASON = 500;
  var STATES = {
    queued: "page.queue.depth", held: "page.queue.held", parked: "page.queue.parked", in_doubt: "page.queue.in_doubt"
  };
  var byId = words.byId, text = words.text, element = words.element;
  var shown = {}; // by entry: its item, and what it was drawn from
  var after = 0;
  var next = null;
  var asked = 0; // numbers the questions: an answer to an old one is not drawn
  var room = null; // what the page does with outcomes

  function name(entry) {
    return entry.transaction_id === null ? text("admin.activity") + " " + entry.activity_id
      : text("admin.sale") + " " + entry.transaction_id;
  }

  function cause(error) {
    var codes = [error.code, error.status, error.vendor_code].filter(function (one) { return one; }).join(", ");
    return error.title ? error.title + " (" + codes + ")" : codes;
  }

  function facts(entry) {
    var entries = [
      [text("admin.entry"), String(entry.entry), ""],
      [text("admin.queue.vendor"), entry.vendor, ""],
      [text("admin.queue.state"), text(STATES[entry.state]), entry.state === "queued" ? "" : "warn"],
      [text("admin.attempts"), words.number(entry.attempts), ""],
      [text("admin.accepted"), words.instant(entry.accepted_at), ""],
      [text("admin.next"), entry.next_attempt_at ? words.instant(entry.next_attempt_at) : text("admin.next.none"), ""]
    ];
    if (entry.last_error) entries.push([text("admin.error"), cause(entry.last_error), "", "whole"]);
    return entries;
  }

  function button(label, kind, act) {
    var made = element("button", label, kind);
    made.type = "button";
    made.addEventListener("click", act);
    return made;
  }

  // What a decision means, and the last word about it; in place of the two buttons.
  function ask(kept, what) {
    var form = element("form", "", "decision"), means = element("p", text("admin." + what + ".means"));
    var id = "decision-" + kept.entry.entry, reason = null, label, fault;
    means.id = id;
    form.noValidate = true;
    form.setAttribute("aria-label", text("admin." + what) + ": " + name(kept.entry));
    form.appendChild(means);
    if (what === "discard") {
      label = element("label", text("admin.reason"));
      label.htmlFor = id + "-reason";
      fault = element("p", "", "bad");
      fault.id = id + "-fault";
      fault.setAttribute("role", "alert");
      reason = element("input", "");
      reason.id = id + "-reason";
      reason.type = "text";
      reason.maxLength = LONGEST_REASON;
      reason.setAttribute("autocomplete", "off");
      reason.setAttribute("aria-describedby", id + " " + fault.id);
      form.appendChild(label);
      form.appendChild(reason);
      form.appendChild(fault);
    }
    var line = element("p", "", "actions"), yes = element("button", text("admin." + what + ".yes"), "main");
    yes.type = "submit";
    yes.setAttribute("aria-describedby", id);
    line.appendChild(yes);
    line.appendChild(button(text("admin.cancel"), "", function () { settle(kept); }));
    form.appendChild(line);
    form.addEventListener("keydown", function (event) { if (event.keyCode === 27) settle(kept); });
    form.addEventListener("submit", function (event) {
      event.preventDefault();
      if (reason && !reason.value.trim()) {
        fault.textContent = text("admin.reason.missing");
        reason.focus();
        return;
      }
      yes.disabled = true;
      decide(kept, what, reason ? { reason: reason.value.trim() } : null, function () { yes.disabled = false; });
    });
    kept.buttons.hidden = true;
    kept.deciding = what;
    kept.form = form;
    kept.item.appendChild(form);
    (reason || yes).focus();
  }

  // The two buttons again, whatever was decided.
  function settle(kept) {
    var what = kept.deciding;
    if (!kept.form) return; // it has left the queue meanwhile
    kept.item.removeChild(kept.form);
    kept.form = null;
    kept.deciding = "";
    kept.buttons.hidden = false;
    kept.buttons.childNodes[what === "retry" ? 0 : 1].focus();
  }

  function decide(kept, what, body, again) {
    door.call("POST", "/v1/queue/" + kept.entry.entry + "/" + what, body, function (status, answer) {
      if (status === 202) {
        room.say(name(kept.entry) + ": " + text("admin." + what + ".done"));
        settle(kept);
      } else if (status === 404) {
        room.say(name(kept.entry) + ": " + text("admin.gone"));
        settle(kept);
      } else {
        again();
        room.failed(status, answer);
        return;
      }
      load();
    });
  }

  function draw(kept, entry) {
    var drawn = JSON.stringify(entry);
    if (kept.drawn === drawn) return;
    kept.entry = entry;
    kept.drawn = drawn;
    kept.item.className = entry.state === "queued" ? "entry info" : "entry";
    kept.title.textContent = name(entry);
    kept.facts.textContent = "";
    words.pairs(facts(entry)).forEach(function (row) { kept.facts.appendChild(row); });
    ["retry", "discard"].forEach(function (what, place) {
      kept.buttons.childNodes[place].setAttribute("aria-label", text("admin." + what) + ": " + name(entry));
    });
  }

  function begun() {
    var kept = {
      item: element("li", ""), title: element("h3", ""), facts: element("dl", ""), buttons: element("p", "", "actions"),
      entry: null, drawn: "", deciding: "", form: null
    };
    kept.buttons.appendChild(button(text("admin.retry"), "", function () { ask(kept, "retry"); }));
    kept.buttons.appendChild(button(text("admin.discard"), "", function () { ask(kept, "discard"); }));
    [kept.title, kept.facts, kept.buttons].forEach(function (part) { kept.item.appendChild(part); });
    return kept;
  }

  // An entry that is gone takes the reader's place with it: then the place is the queue's heading.
  function drop(key) {
    var kept = shown[key], held = kept.item.contains(document.activeElement);
    if (kept.form) room.say(name(kept.entry) + ": " + text("admin.gone"));
    kept.item.parentNode.removeChild(kept.item);
    delete shown[key];
    if (held) byId("h-queue").focus();
  }

  function drawAll(entries) {
    var list = byId("queue"), here = {}, place = list.firstChild;
    entries.forEach(function (entry) { here[entry.entry] = true; });
    Object.keys(shown).forEach(function (key) { if (!here[key]) drop(key); });
    place = list.firstChild;
    entries.forEach(function (entry) {
      var kept = shown[entry.entry];
      if (!kept) {
        kept = shown[entry.entry] = begun();
        list.insertBefore(kept.item, place);
      } else {
        place = kept.item.nextSibling;
      }
      draw(kept, entry);
    });
    byId("queue-empty").hidden = entries.length > 0;
    byId("queue-first").hidden = after === 0;
    byId("queue-next").hidden = next === null;
  }

  function load() {
    var mine = asked += 1, path = "/v1/queue?limit=" + PAGE + "&after=" + after;
    if (byId("by-state").value) path += "&state=" + byId("by-state").value;
    if (byId("by-vendor").value) path += "&vendor=" + byId("by-vendor").value;
    door.call("GET", path, null, function (status, answer) {
      if (mine !== asked) return;
      if (status !== 200) {
        room.failed(status, answer); // what is shown may be old
        return;
      }
      if (!answer["entries"].length && after) { // what stood on this page is done
        turn(0);
        return;
      }
      next = answer.next;
      drawAll(answer["entries"]);
    });
  }

  function turn(to) {
    after = to;
    load();
  }

  // The systems that can be chosen.
  function vendors(names) {
    var choice = byId("by-vendor"), chosen = choice.value;
    var offered = [].slice.call(choice.options, 1).map(function (option) { return option.value; });
    if (offered.join() === names.join()) return;
    while (choice.options.length > 1) choice.removeChild(choice.lastChild);
    names.forEach(function (vendor) {
      var option = element("option", vendor);
      option.value = vendor;
      choice.appendChild(option);
    });
    choice.value = names.indexOf(chosen) < 0 ? "" : chosen;
  }

  function clear() {
    asked += 1;
    after = 0;
    next = null;
    shown = {};
    byId("queue").textContent = "";
  }

  function begin(page) {
    room = page;
    ["by-state", "by-vendor"].forEach(function (id) { byId(id).addEventListener("change", function () { turn(0); }); });
    byId("queue-first").addEventListener("click", function () { turn(0); byId("h-queue").focus(); });
    byId("queue-next").addEventListener("click", function () { turn(next); byId("h-queue").focus(); });
  }

  return { begin: begin, load: load, vendors: vendors, clear: clear };
})();
