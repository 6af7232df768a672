// Keeps a page told how the agent is: by its events, and by asking where those are missing or break off.
// Like all scripts of the staff page and the customers' display it is written for browsers of 2016 (ECMAScript 5):
// kiosks are old and nobody updates them. `live` is the only name that it adds.
var live = (function () {
  "use strict";
  var BEAT_MS = 5000; // how often a page that hears no events asks
  var QUIET_BEATS = 4; // a heartbeat comes every 15 s; one that is late is asked after
  var PATIENCE_MS = 4000; // for an answer

  // What ?lang= of the page's own address says, for the calls of the page; nothing where it is no language's name.
  function language() {
    var found = /[?&]lang=([A-Za-z0-9-]{1,35})(?:&|$)/.exec(window.location.search);
    return found ? "?lang=" + found[1] : "";
  }

  // Calls back once: with what is at the path, or that there was nothing to be had.
  function get(path, good, bad) {
    var request = new XMLHttpRequest();
    request.onreadystatechange = function () {
      var body;
      if (request.readyState !== 4) return;
      try {
        body = request.status === 200 ? JSON.parse(request.responseText) : null;
      } catch (error) { // an answer that was cut short
        body = null;
      }
      if (body) good(body); else bad();
    };
    request.open("GET", path + language());
    request.timeout = PATIENCE_MS;
    request.send();
  }

  // Calls `told` with each status from now on, and `lost` for as long as there is none.
  function follow(statusPath, eventsPath, told, lost) {
    var source = null;
    var listening = false; // events come, as far as is known
    var asking = false;
    var quiet = 0;

    function heard(body) {
      quiet = 0;
      if (body) told(body);
    }

    function ask() {
      if (asking) return;
      asking = true;
      get(statusPath, function (body) { asking = false; heard(body); }, function () { asking = false; lost(); });
    }

    function listen() {
      if (!window.EventSource) return;
      if (source) source.close();
      source = new EventSource(eventsPath + language());
      source.addEventListener("status", function (event) {
        listening = true;
        heard(JSON.parse(event.data));
      });
      source.addEventListener("heartbeat", function () { heard(null); });
      source.onerror = function () {
        listening = false;
        ask();
      };
    }

    function beat() {
      quiet += 1;
      if (listening && quiet < QUIET_BEATS) return;
      ask();
      if (!source || source.readyState === 2 || quiet >= QUIET_BEATS) { // given up by the browser, or silent
        quiet = 0;
        listening = false;
        listen();
      }
    }

    ask();
    listen();
    window.setInterval(beat, BEAT_MS);
  }

  return { get: get, follow: follow, beatMs: BEAT_MS };
})();
