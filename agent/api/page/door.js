// The door as an administrator calls it. The token is kept here, in the memory of this tab: never in an address, never
// in a store of the browser; it is forgotten when the page goes, by a button, and after a while without use.
// For browsers of 2016 (ECMAScript 5). `door` is the only name that it adds.
var door = (function () {
  "use strict";
  var PATIENCE_MS = 10000; // for an answer
  var IDLE_MS = 15 * 60 * 1000;
  var LOOK_MS = 5000;
  var SENDABLE = /^[\x21-\x7e]+$/; // in a header
  var token = null;
  var usedAt = 0;
  var forgotten = null; // told when nobody has used the page for too long

  // Calls back once, unless the token is forgotten first: with the status, 0 where there was no answer, and the JSON.
  function call(method, path, body, done) {
    var request = new XMLHttpRequest(), mine = token;
    request.onreadystatechange = function () {
      var answer = null;
      if (request.readyState !== 4 || token !== mine) return;
      try {
        answer = JSON.parse(request.responseText);
      } catch (error) { // none, or one that was cut short
        answer = null;
      }
      done(answer === null ? 0 : request.status, answer);
    };
    request.open(method, path);
    request.timeout = PATIENCE_MS;
    request.setRequestHeader("Authorization", "Bearer " + token);
    request.setRequestHeader("Accept-Language", words.locale());
    if (body) request.setRequestHeader("Content-Type", "application/json");
    request.send(body ? JSON.stringify(body) : null);
  }

  // Whether that can be a token at all; if so it is the one that calls carry from here on.
  function open(secret) {
    if (!SENDABLE.test(secret)) return false;
    token = secret;
    usedAt = Date.now();
    return true;
  }

  function close() { token = null; }

  // A clock that was put back says nothing of how long nobody was here.
  function idle() {
    var passed = Date.now() - usedAt;
    return passed > IDLE_MS || passed < -LOOK_MS;
  }

  function look() {
    if (token === null || !idle()) return;
    close();
    if (forgotten) forgotten();
  }

  function used() {
    look();
    usedAt = Date.now();
  }

  ["keydown", "mousedown", "touchstart", "wheel"].forEach(function (kind) { document.addEventListener(kind, used, true); });
  window.addEventListener("pagehide", close);
  window.setInterval(look, LOOK_MS);

  return {
    call: call, open: open, close: close,
    whenForgotten: function (listener) { forgotten = listener; },
    isOpen: function () { return token !== null; }
  };
})();
