// What the staff page and the administrators' page have in common: the words of the reader's language, and drawing in
// which nothing is touched that has not changed, because a screen reader would read it out once more.
// For browsers of 2016 (ECMAScript 5). `words` is the only name that it adds.
var words = (function () {
  "use strict";
  var UNITS = [["day", 86400, "d"], ["hour", 3600, "h"], ["minute", 60, "min"], ["second", 1, "s"]];
  var texts = {};
  var locale = "en";

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
  function items(id, nodes) {
    var list = byId(id), fresh = list.cloneNode(false), i;
    for (i = 0; i < nodes.length; i += 1) fresh.appendChild(nodes[i]);
    if (!fresh.isEqualNode(list)) list.parentNode.replaceChild(fresh, list);
  }

  // Terms with what they stand for; each entry is the term, its value, and a class for the value and one for both.
  function pairs(entries) {
    return entries.map(function (entry) {
      var row = element("div", "", entry[3]);
      row.appendChild(element("dt", entry[0]));
      row.appendChild(element("dd", entry[1], entry[2]));
      return row;
    });
  }

  function number(value) { return value.toLocaleString(locale); }

  // An hour and minute, and the day where it is not today.
  function instant(value) {
    var at, time;
    if (value === null) return text("page.never");
    at = new Date(value);
    time = at.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit" });
    if (at.toDateString() === new Date().toDateString()) return time;
    return day(at) + " " + time;
  }

  function day(at) { return at.toLocaleDateString(locale, { day: "numeric", month: "short" }); }

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

  function condition(found) {
    var item = element("li", "", found.severity), remedy = element("p", "", "remedy");
    item.appendChild(element("h3", found.title));
    item.appendChild(element("p", found.detail));
    remedy.appendChild(element("b", text("page.remedy") + ": "));
    remedy.appendChild(document.createTextNode(found.remedy));
    item.appendChild(remedy);
    return item;
  }

  // From here on everything is in the language of an answer of /page/texts.
  function speak(answer) {
    var places = document.querySelectorAll("[data-text]"), i;
    texts = answer.texts;
    locale = answer.locale;
    document.documentElement.lang = locale;
    for (i = 0; i < places.length; i += 1) places[i].textContent = text(places[i].getAttribute("data-text"));
  }

  return {
    byId: byId, text: text, put: put, element: element, items: items, pairs: pairs, number: number, instant: instant,
    day: day, duration: duration, condition: condition, speak: speak, locale: function () { return locale; }
  };
})();
