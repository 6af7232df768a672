// The customers' display: draws the sentences of /customer/status. When the agent is gone it goes back to its welcome:
// a customer can do nothing about it, and what was said last may no longer be so.
(function () {
  "use strict";
  var LARGEST = 13, SMALLEST = 3, STEP = 0.5; // hundredths of the screen's shorter side
  var welcome = "";
  var shown = "";

  function draw(sentences) {
    var words = document.getElementById("words"), all, i, made;
    if (!sentences.length) sentences = [welcome];
    all = sentences.join(" ");
    if (all === shown) return;
    shown = all;
    document.title = sentences[0];
    words.textContent = "";
    for (i = 0; i < sentences.length; i += 1) {
      made = document.createElement(i === 0 ? "h1" : "p");
      made.textContent = sentences[i];
      words.appendChild(made);
    }
    fit();
  }

  // The words are as large as all of them fit.
  function fit() {
    var screen = document.getElementById("screen"), root = document.documentElement, size = LARGEST;
    do {
      screen.style.fontSize = size + "vmin";
      size -= STEP;
    } while (size >= SMALLEST && (screen.scrollHeight > root.clientHeight || screen.scrollWidth > root.clientWidth));
  }

  function told(said) {
    welcome = said.welcome;
    document.documentElement.lang = said.locale;
    draw(said.sentences);
  }

  window.addEventListener("resize", fit);
  live.follow("/customer/status", "/customer/events", told, function () { draw([]); });
})();
