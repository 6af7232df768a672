"""The staff page and the customers' display in a real Chromium, beside a real agent.

`make screenshots` keeps what is photographed here in docs/images. Everybody in it is made up.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from chromium import Tab
from e2e import pages
from e2e.pages import LANGUAGES, OLD_BROWSER, flaws, park, photographed
from e2e.shop import Till, Vendor, eventually

pytestmark = pages.marks
SCREENS = ((390, 844), (800, 600), (1120, 720), (1920, 1080))
DISPLAYS = ((800, 480), (1024, 600), (480, 800), (320, 240), (1920, 360))
COLOURS = {"green": "rgb(23, 112, 63)", "amber": "rgb(255, 182, 39)", "red": "rgb(179, 38, 30)"}
OFFER = {"id": "member-10", "name": "10 % off", "percent": 10}
SUPPORT = {"support": "IT support, 08-465 004 10", "locale": "en-GB"}
ANOTHER_VERSION = """
var parse = JSON.parse;
JSON.parse = function (text) {
  var value = parse(text);
  if (window.updated && value.version) value.version = "99.0.0";
  return value;
};
"""
"""As if the agent had been updated, once the page has `updated`."""


def staff(tab: Tab, till: Till, *, lang: str = "en-GB", light: str = "", before: str = "") -> None:
    """The staff page, once it shows that light, or any."""
    tab.open(f"http://127.0.0.1:{till.port}/?lang={lang}", before=before)
    shows(tab, light)


def shows(tab: Tab, light: str) -> None:
    known = f"=== {light!r}" if light else "!== 'unknown'"
    # A page that loads itself anew has for a moment no sign at all.
    tab.until(f"(document.getElementById('sign') || {{ className: 'unknown' }}).className {known}")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_green_amber_and_red(tab, open_till, vendor: Vendor, album, axe, *, dark):
    """Each state has its light, its words, whom to call and what waits; axe finds nothing, in either theme."""
    till = open_till(agent=SUPPORT).start()
    eventually(till.loaded)
    page, theme = tab(), "dark" if dark else "light"
    page.look(width=1120, height=720, dark=dark)

    staff(page, till, light="green")
    assert page.text("#headline") == "Everything works"
    assert " ".join(page.text("#support").replace("\u2011", "-").split()) == SUPPORT["support"]
    assert page.evaluate("document.querySelector('#support .number').getClientRects().length") == 1
    assert page.evaluate("document.title").startswith("Everything works")
    photographed(page, album(f"staff-online-{theme}"))
    told = {"green": page.evaluate("getComputedStyle(document.getElementById('sign')).backgroundColor")}
    found = {"green": flaws(page, axe)}

    park(till)
    shows(page, "amber")
    page.until("document.getElementById('queue').innerText.match(/Need a decision\\s+2/)")
    assert "Tell IT support" in page.text("#conditions")
    assert page.text("#works") == "Members, offers and points work as usual."
    photographed(page, album(f"staff-degraded-{theme}"))
    told["amber"] = page.evaluate("getComputedStyle(document.getElementById('sign')).backgroundColor")
    found["amber"] = flaws(page, axe)

    vendor.cut()
    for number in range(3):
        till.sell(f"s-{number}", identifier={"type": "mobile_phone", "value": "070-174 06 05"})
    shows(page, "red")
    page.until("document.getElementById('queue').innerText.match(/Waiting\\s+3/)")
    assert "Members are found in this till's own copy" in page.text("#works")
    assert "Fallback level 3" in page.text("#level")
    photographed(page, album(f"staff-offline-{theme}"))
    told["red"] = page.evaluate("getComputedStyle(document.getElementById('sign')).backgroundColor")
    found["red"] = flaws(page, axe)
    assert told == COLOURS
    assert found == {"green": [], "amber": [], "red": []}
    page.look(width=390, height=844, dark=dark)
    photographed(page, album(f"staff-narrow-{theme}"))
    assert flaws(page, axe) == []


def test_every_language_fits_every_screen(tab, open_till, vendor: Vendor):
    """In no language is the page wider than its screen, whatever its words, and the whole of it is in that language."""
    till = open_till(agent=SUPPORT).start()
    eventually(till.loaded)
    park(till)
    vendor.cut()
    page, headlines = tab(), set()
    eventually(lambda: till.http.get("/page/status").json()["state"] == "offline")
    for lang in LANGUAGES:
        staff(page, till, lang=lang, light="red")
        assert page.evaluate("document.documentElement.lang") == lang
        headlines.add(page.text("#headline"))
        assert page.evaluate("[].every.call(document.querySelectorAll('[data-text]'), function (e) "
                             "{ return e.textContent; })")  # fmt: skip
        for width, height in SCREENS:
            page.look(width=width, height=height)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (lang, width)
    assert len(headlines) == len(LANGUAGES)


def test_what_matters_is_seen_without_scrolling(tab, open_till, vendor: Vendor):
    """On a till's screen the light, the words, what waits, the members' age and whom to call stand at the top."""
    till = open_till(agent=SUPPORT).start()
    eventually(till.loaded)
    vendor.cut()
    till.sell("s-1", identifier={"type": "mobile_phone", "value": "070-174 06 05"})
    page = tab()
    page.look(width=1024, height=768)
    staff(page, till, light="red")
    for place in ("headline", "works", "tell", "queue", "replica", "support"):
        assert page.evaluate(f"document.getElementById('{place}').getBoundingClientRect().bottom") <= 768, place


def test_the_keyboard_reaches_everything(tab, open_till):
    """Whoever has no mouse scrolls with the keys; nothing on the page traps them."""
    till = open_till(agent=SUPPORT).start()
    page = tab()
    page.look(width=390, height=600)
    staff(page, till)
    for kind in ("keyDown", "keyUp"):
        page.ask("Input.dispatchKeyEvent", type=kind, key="End", code="End", windowsVirtualKeyCode=35)
    page.until("window.scrollY > 0 && window.innerHeight + window.scrollY >= document.body.scrollHeight - 1")
    assert page.evaluate("document.activeElement === document.body")


def test_what_has_not_changed_is_not_read_out_again(tab, till):
    """While sales come and go, what a screen reader announces is not touched."""
    page = tab()
    staff(page, till, light="green")
    page.evaluate(
        "window.touched = 0; window.drawn = 0;"
        "['sign', 'works', 'tell'].forEach(function (id) {"
        " new MutationObserver(function (all) { window.touched += all.length; })"
        ".observe(document.getElementById(id), { childList: true, characterData: true, subtree: true }); });"
        "new MutationObserver(function () { window.drawn += 1; })"
        ".observe(document.getElementById('queue').parentNode, { childList: true, subtree: true }); 0"
    )
    assert till.http.post("/v1/pause").status_code == 202
    shows(page, "amber")
    page.evaluate("window.touched = 0; window.drawn = 0; 0")
    till.sell("s-1", identifier={"type": "mobile_phone", "value": "070-174 06 05"})
    page.until("window.drawn > 0")
    assert page.evaluate("window.touched") == 0


@pytest.mark.parametrize("before", ["", OLD_BROWSER], ids=["events", "old-browser"])
def test_an_agent_that_goes_and_comes_back(tab, open_till, vendor: Vendor, album, before):
    """The page says that its agent is gone, and shows the state again once it is back, by itself."""
    till = open_till(agent=SUPPORT).start()
    eventually(till.loaded)
    page = tab()
    page.look(width=1120, height=720)
    staff(page, till, light="green", before=before)
    till.kill()
    page.until("document.getElementById('lost').textContent")
    assert "lost contact" in page.evaluate("document.title")
    assert not page.evaluate("document.getElementById('sign').offsetHeight")
    assert "can't be saved" in page.text("#works")
    assert "aren't available right now" in page.text("#tell")
    if not before:
        photographed(page, album("staff-lost"))

    vendor.cut()
    till.start()
    till.sell("s-1", identifier={"type": "mobile_phone", "value": "070-174 06 05"})
    page.until("!document.getElementById('lost').textContent")
    shows(page, "red")
    vendor.mend()
    shows(page, "green")


def test_an_agent_that_stands_still(tab, till):
    """An agent that takes connections and says nothing any more is as good as gone, and the page says so."""
    page = tab()
    staff(page, till, light="green")
    os.kill(till.process.pid, signal.SIGSTOP)
    try:
        page.until("document.getElementById('lost').textContent")
    finally:
        os.kill(till.process.pid, signal.SIGCONT)
    page.until("!document.getElementById('lost').textContent")


def test_a_page_of_an_older_version_goes(tab, till):
    """Once the agent is another version its page is fetched anew, but not before that agent has stayed for a while."""
    page = tab()
    staff(page, till, light="green", before=ANOTHER_VERSION)
    page.evaluate("window.updated = true; 0")
    assert till.http.post("/v1/pause").status_code == 202  # something to tell
    page.until("document.getElementById('version').textContent === '99.0.0'")
    assert page.evaluate("window.updated")
    page.until("!window.updated")
    shows(page, "amber")


def test_the_customers_display(tab, open_till, vendor: Vendor, album, axe):
    """Customers read a welcome while everything works, and what concerns them while it does not; then the welcome."""
    till = open_till(agent=SUPPORT | {"welcome": "Welcome to Hörnan!"}).start()
    eventually(till.loaded)
    page = tab()
    page.look(width=1024, height=600)
    page.open(f"http://127.0.0.1:{till.port}/customer")
    words = "document.getElementById('words').innerText"
    page.until(f"{words} === 'Welcome to Hörnan!'")
    photographed(page, album("customer-light"))
    assert flaws(page, axe) == []

    park(till)
    time.sleep(1.0)
    assert page.evaluate(words) == "Welcome to Hörnan!"  # nothing of this is a customer's business
    vendor.cut()
    till.sell("s-1", identifier={"type": "mobile_phone", "value": "070-174 06 05"})
    page.until(f"{words} === 'The points for your purchase will be added automatically a little later.'")
    page.look(width=1024, height=600, dark=True)
    photographed(page, album("customer-offline-dark"))
    assert flaws(page, axe) == []

    till.kill()
    page.until(f"{words} === 'Welcome to Hörnan!'")  # a customer can do nothing about it
    vendor.mend()
    till.start()
    page.until("document.title === 'Welcome to Hörnan!'")


def test_the_longest_words_fit_every_display(tab, open_till, vendor: Vendor):
    """At level 1 customers are told most; in each language all of it is seen, as large as the display allows."""
    till = open_till(agent=SUPPORT, loyalty={"fallback_level": 1}, benefits={"general": [OFFER]}).start()
    vendor.cut()
    till.sell("s-1", identifier={"type": "mobile_phone", "value": "070-174 06 05"})
    eventually(lambda: till.http.get("/customer/status").json()["sentences"])
    page = tab()
    for lang in LANGUAGES:
        page.open(f"http://127.0.0.1:{till.port}/customer?lang={lang}")
        page.until("document.getElementById('words').childElementCount === 2")
        assert page.evaluate("document.documentElement.lang") == lang
        for width, height in DISPLAYS:
            page.look(width=width, height=height)
            page.evaluate(
                "new Promise(function (done) { requestAnimationFrame(function () { setTimeout(done, 50); }); })"
            )
            tall, wide = page.evaluate("var w = document.getElementById('screen'); [w.scrollHeight, w.scrollWidth]")
            assert (tall <= height, wide <= width) == (True, True), (lang, width, height, tall, wide)
            assert page.evaluate("parseFloat(getComputedStyle(document.getElementById('words')).fontSize)") >= 9
