// The plots on the administrators' page, drawn from /v1/history as inline SVG: axes in the till's own time, a time of
// which nothing is known as a grey band, and every plot also in words and, when asked for, as a table.
// For browsers of 2016 (ECMAScript 5). `plots` is the only name that it adds.
var plots = (function () {
  "use strict";
  var SVG = "http://www.w3.org/2000/svg";
  var HEIGHT = 240, LEFT = 74, RIGHT = 14, TOP = 12, BOTTOM = 34; // in pixels, as wide as there is room
  var HOUR = 3600000, DAY = 24 * HOUR;
  var BRIDGED = HOUR; // so long between two sales their times are joined by a line, if the agent ran
  var TICKS = 4;
  var NARROW = 520;
  var UNITS = { s: 1, min: 60, h: 3600, d: 86400 };
  var byId = words.byId, text = words.text, element = words.element;
  var told = null; // the history that is drawn
  var open = {}; // whose figures are shown as a table

  function shape(tag, attributes) {
    var made = document.createElementNS(SVG, tag);
    Object.keys(attributes).forEach(function (name) { made.setAttribute(name, String(attributes[name])); });
    return made;
  }

  // --- what is plotted ------------------------------------------------------------------------------------------

  function begin(point) { return Date.parse(point["at"]); }

  function figure(name, read) {
    return {
      name: name, dots: told.points.map(function (point) { return { when: begin(point), value: read(point) }; })
    };
  }

  function vendors() {
    var found = {};
    told.points.forEach(function (point) {
      point.deliveries.forEach(function (one) { found[one.vendor] = true; });
    });
    return Object.keys(found).sort();
  }

  function took(vendor) {
    return function (point) {
      var ours = point.deliveries.filter(function (one) { return one.vendor === vendor; });
      return ours.length ? ours[0].p95_s : null;
    };
  }

  function answered(share) {
    return function (point) { return point.answers && point.answers[share]; };
  }

  // Each with a title, the unit of its figures, and its lines.
  function all() {
    return [
      ["depth", "page.queue", "", [
        figure(text("page.queue.depth"), function (point) { return point.depth; }),
        figure(text("page.queue.parked"), function (point) { return point.parked; }),
        figure(text("page.queue.in_doubt"), function (point) { return point.in_doubt; })
      ]],
      ["oldest", "admin.plot.oldest", "age", [
        figure(text("page.queue.oldest"), function (point) { return point.oldest_age_s || 0; })
      ]],
      ["answers", "admin.plot.answers", "ms", [
        figure(text("admin.plot.p50"), answered("p50_ms")),
        figure(text("admin.plot.p95"), answered("p95_ms")),
        figure(text("admin.plot.p99"), answered("p99_ms"))
      ]],
      ["delivered", "admin.plot.delivered", "age", vendors().map(function (vendor) {
        return figure(vendor + " · " + text("admin.plot.p95"), took(vendor));
      })],
      ["replica", "admin.plot.replica", "age", [
        figure(text("page.replica.age"), function (point) { return point.replica_age_s; })
      ]]
    ];
  }

  function time(at) { return at.toLocaleTimeString(words.locale(), { hour: "2-digit", minute: "2-digit" }); }

  // --- figures in words -----------------------------------------------------------------------------------------

  function measured(line) { return line.dots.filter(function (one) { return one.value !== null; }); }

  function highest(values) {
    return values.reduce(function (most, one) { return one.value > most.value ? one : most; });
  }

  // The unit in which the highest figure of a plot reads best.
  function unit(kind, most) {
    if (kind !== "age") return { sign: kind, size: 1 };
    var sign = most < 120 ? "s" : most < 2 * UNITS.h ? "min" : most < 2 * UNITS.d ? "h" : "d";
    return { sign: sign, size: UNITS[sign] };
  }

  function inUnits(scale, value) {
    return words.number(Math.round(value * 10) / 10) + (scale.sign ? "\u00a0" + scale.sign : "");
  }

  function inWords(kind, value) {
    var scale = unit(kind, value);
    return inUnits(scale, value / scale.size);
  }

  function summary(kind, line) {
    var values = measured(line), most;
    if (!values.length) return text("admin.plot.nothing");
    most = highest(values);
    return text("admin.plot.last") + " " + inWords(kind, values[values.length - 1].value) + " · " +
      text("admin.plot.highest") + " " + inWords(kind, most.value) + " (" + words.instant(most.when) + ")";
  }

  // The times of which nothing is known; what is under way is none.
  function gaps() {
    var step = told.step_s * 1000, end = Date.parse(told.until) - step, from = Date.parse(told.start), found = [];
    told.points.forEach(function (point) {
      var at = begin(point);
      if (at > from) found.push([from, at]);
      from = at + step;
    });
    if (end > from) found.push([from, end]);
    return found;
  }

  function unknown() {
    return gaps().reduce(function (sum, gap) { return sum + gap[1] - gap[0]; }, 0) / 1000;
  }

  // --- drawing --------------------------------------------------------------------------------------------------

  // The distance of round marks, so that a few of them reach up to the highest figure.
  function mark(most, whole) {
    var rough = most / TICKS, power = Math.pow(10, Math.floor(Math.log(rough) / Math.LN10)), size = rough / power;
    var found = (size <= 1 ? 1 : size <= 2 ? 2 : size <= 5 ? 5 : 10) * power;
    return Math.max(whole ? 1 : 0.1, found);
  }

  // The hours of the till's own days at which the axis has a mark.
  function moments(width) {
    var start = Date.parse(told.start), until = Date.parse(told.until), days = (until - start) / DAY, found = [];
    var narrow = width < NARROW, first = new Date(start), every = days > 4 && narrow ? 2 : 1, i;
    var hours = days > 1.5 ? (days > 4 || narrow ? [0] : [0, 12]) : narrow ? [0, 6, 12, 18] : [0, 3, 6, 9, 12, 15, 18, 21];
    for (i = 0; i <= days + 1; i += every) {
      hours.forEach(function (hour) {
        var at = new Date(first.getFullYear(), first.getMonth(), first.getDate() + i, hour);
        if (at.getTime() >= start && at.getTime() <= until) found.push(at);
      });
    }
    return found;
  }

  function label(at) {
    if (at.getHours() || at.getMinutes()) return time(at);
    return at.toLocaleDateString(words.locale(), { day: "numeric", month: "numeric" }); // short in every language
  }

  function path(line, x, y) {
    var step = told.step_s * 1000, drawn = "", before = null, holes = gaps();
    function joined(from, to) {
      return to - from <= Math.max(BRIDGED, 1.5 * step) &&
        !holes.some(function (hole) { return hole[0] < to && hole[1] > from; });
    }
    measured(line).forEach(function (one) {
      var place = x(one.when + step / 2).toFixed(1) + " " + y(one.value).toFixed(1);
      drawn += before !== null && joined(before, one.when) ? "L" + place : "M" + place + "h.01"; // a dot by itself
      before = one.when;
    });
    return drawn;
  }

  function picture(plot, width) {
    var kind = plot[2], lines = plot[3], start = Date.parse(told.start), until = Date.parse(told.until);
    var most = lines.reduce(function (sum, line) {
      return measured(line).reduce(function (top, one) { return Math.max(top, one.value); }, sum);
    }, 0) || 1;
    var scale = unit(kind, most), distance = mark(most / scale.size, kind === "");
    var top = Math.ceil(most / scale.size / distance) * distance;
    var made = shape("svg", {
      "class": "plot", width: width, height: HEIGHT, viewBox: "0 0 " + width + " " + HEIGHT, role: "img",
      focusable: "false", "aria-labelledby": "plot-" + plot[0] + " words-" + plot[0]
    });
    var bottom = HEIGHT - BOTTOM, level, moment, i;
    function x(at) { return LEFT + (at - start) / (until - start) * (width - LEFT - RIGHT); }
    function y(value) { return bottom - value / scale.size / top * (bottom - TOP); }
    function write(content, attributes) {
      var written = shape("text", attributes);
      written.textContent = content;
      made.appendChild(written);
    }
    gaps().forEach(function (gap) {
      var from = x(gap[0]);
      made.appendChild(shape("rect", { "class": "hole", x: from, y: TOP, width: x(gap[1]) - from, height: bottom - TOP }));
    });
    for (i = 0; i * distance <= top * 1.001; i += 1) {
      level = y(i * distance * scale.size);
      made.appendChild(shape("path", { "class": "rule", d: "M" + LEFT + " " + level + "H" + (width - RIGHT) }));
      write(inUnits(scale, Number((i * distance).toPrecision(3))), { x: LEFT - 8, y: level + 5, "text-anchor": "end" });
    }
    moments(width).forEach(function (at) {
      moment = x(at.getTime());
      made.appendChild(shape("path", { "class": "rule", d: "M" + moment + " " + TOP + "V" + (bottom + 6) }));
      write(label(at), { x: Math.min(moment, width - RIGHT - 16), y: HEIGHT - 8, "text-anchor": "middle" });
    });
    lines.forEach(function (line, place) {
      made.appendChild(shape("path", { "class": "line line-" + place, d: path(line, x, y) }));
    });
    return made;
  }

  // Each line with the stroke that it is drawn in: a legend, and what a screen reader reads of the plot.
  function legend(plot) {
    var list = element("ul", "", "legend");
    list.id = "words-" + plot[0];
    plot[3].forEach(function (line, place) {
      var item = element("li", ""), sample = shape("svg", { width: 40, height: 12, "aria-hidden": "true", focusable: "false" });
      sample.appendChild(shape("path", { "class": "line line-" + place, d: "M2 6H38" }));
      item.appendChild(sample);
      item.appendChild(element("b", line.name));
      item.appendChild(document.createTextNode(": " + summary(plot[2], line)));
      list.appendChild(item);
    });
    if (!plot[3].length) list.appendChild(element("li", text("admin.plot.nothing")));
    if (unknown()) {
      list.appendChild(element("li", text("admin.plot.unknown") + ": " + words.duration(unknown()), "unknown"));
    }
    return list;
  }

  function row(tag, scope, cells) {
    var made = element("tr", "");
    cells.forEach(function (cell, place) {
      var one = element(place && tag === "td" ? "td" : "th", cell);
      if (one.tagName === "TH") one.setAttribute("scope", scope);
      made.appendChild(one);
    });
    return made;
  }

  function table(plot) {
    var box = element("div", "", "figures"), made = element("table", "");
    var head = element("thead", ""), body = element("tbody", ""), lines = plot[3];
    head.appendChild(row("th", "col", [text("admin.plot.time")].concat(lines.map(function (line) { return line.name; }))));
    told.points.forEach(function (point, place) {
      var at = new Date(begin(point));
      body.appendChild(row("td", "row", [words.day(at) + " " + time(at)].concat(lines.map(function (line) {
        var value = line.dots[place].value;
        return value === null ? "" : inWords(plot[2], value);
      }))));
    });
    made.appendChild(head);
    made.appendChild(body);
    box.appendChild(made);
    box.tabIndex = 0; // so that the keys scroll it
    box.id = "figures-" + plot[0];
    box.setAttribute("role", "region");
    box.setAttribute("aria-labelledby", "plot-" + plot[0]);
    return box;
  }

  // --- the page -------------------------------------------------------------------------------------------------

  function begun(plot) {
    var place = element("div", "", "plotted"), title = element("h3", text(plot[1]));
    var button = element("button", text("admin.plot.figures"));
    title.id = "plot-" + plot[0];
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-label", text("admin.plot.figures") + ": " + text(plot[1]));
    button.addEventListener("click", function () {
      open[plot[0]] = !open[plot[0]];
      button.setAttribute("aria-expanded", String(open[plot[0]]));
      draw();
    });
    place.id = "place-" + plot[0];
    [title, element("div", "", "drawn"), button, element("div", "")].forEach(function (part) { place.appendChild(part); });
    byId("plots").appendChild(place);
    return place;
  }

  function draw() {
    if (!told) return;
    all().forEach(function (plot) {
      var place = byId("place-" + plot[0]) || begun(plot), drawn = place.childNodes[1], figures = place.childNodes[3], at = 0;
      drawn.textContent = "";
      drawn.appendChild(picture(plot, Math.max(240, drawn.clientWidth)));
      drawn.appendChild(legend(plot));
      if (figures.firstChild) at = figures.firstChild.scrollTop;
      var held = figures.contains(document.activeElement);
      figures.textContent = "";
      if (!open[plot[0]]) return;
      figures.appendChild(table(plot));
      figures.firstChild.scrollTop = at;
      if (held) figures.firstChild.focus();
    });
  }

  function show(history) {
    told = history;
    draw();
  }

  function clear() {
    told = null;
    open = {};
    byId("plots").textContent = "";
  }

  window.addEventListener("resize", draw);

  return { show: show, clear: clear };
})();
