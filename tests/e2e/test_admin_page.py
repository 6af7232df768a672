"""The administrators' page in a real Chromium, beside a real agent.

`make screenshots` keeps what is photographed here in docs/images. Everybody in it is made up.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from chromium import Tab
from e2e import pages
from e2e.pages import LANGUAGES, OLD_BROWSER, flaws, park, photographed
from e2e.shop import Till, Vendor, eventually

from agent.domain.history import Sample, joined
from agent.store.history import HistoryFile

pytestmark = pages.marks
SCREENS = ((360, 780), (800, 600), (1280, 900), (1920, 1080))
ENGLISH = {"locale": "en-GB"}
MEMBER = {"type": "mobile_phone", "value": "070-174 06 05"}
AHEAD = "var now = Date.now; Date.now = function () { return now() + (window.ahead || 0); };"
"""The page's clock goes ahead by `ahead` milliseconds."""
AT_THE_DOOR = "document.activeElement && document.activeElement.id === 'token'"
"""Not so for a moment while the page is being loaded."""
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27}


def lived(till: Till) -> None:
    """A week of a till, minute by minute: an outage yesterday, half a day off, and quiet nights."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    samples = []
    for minutes in range(7 * 24 * 60, 0, -1):
        at = now - timedelta(minutes=minutes)
        if 2.2 < minutes / 1440 < 2.7:
            continue
        busy = max(0.0, math.sin((at.hour - 7) / 13 * math.pi)) if 7 <= at.hour <= 20 else 0.0
        out = 0.6 < minutes / 1440 < 0.75
        waited = int((0.75 - minutes / 1440) * 86_400) if out else 0
        sales = round(3 * busy)
        samples.append(
            Sample(
                at,
                depth=waited // 300 if out else minutes % 2 * sales,
                parked=2 if minutes < 900 else 0,
                in_doubt=0,
                oldest_age_s=waited or None,
                replica_age_s=(minutes * 60) % 900 + waited,
                answers=(0, 0, sales, minutes % 3, int(minutes % 97 == 0)) if sales else (),
                delivered={} if out or not sales else {"voyado": (sales, 0, minutes % 2), "mparticle": (0, sales)},
            )
        )
    till.state.mkdir(exist_ok=True)
    HistoryFile(till.state).add(joined(samples))


def arrive(tab: Tab, till: Till, *, lang: str = "en-GB", before: str = "") -> None:
    """The page as it is for everybody: a door."""
    tab.open(f"http://127.0.0.1:{till.port}/admin?lang={lang}", before=before)
    tab.until(AT_THE_DOOR)


def present(tab: Tab, token: str) -> None:
    """Types a token where the keyboard is, and Enter."""
    if token:
        tab.ask("Input.insertText", text=token)
    press(tab, "Enter")


def press(tab: Tab, *keys: str) -> None:
    for key in keys:
        code = KEYS[key]
        text = {"text": "\r"} if key == "Enter" else {}
        tab.ask("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        tab.ask("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)


def enter(tab: Tab, till: Till, *, lang: str = "en-GB", before: str = "") -> None:
    """The page as an administrator has it, everything drawn."""
    arrive(tab, till, lang=lang, before=before)
    present(tab, till.token)
    tab.until("!document.getElementById('desk').hidden && document.getElementById('sign').className !== 'unknown'")
    tab.until("document.querySelectorAll('#plots svg.plot').length === 5")


def click(tab: Tab, selector: str) -> None:
    tab.until(f"document.querySelector({selector!r}) && (document.querySelector({selector!r}).click(), true)")


def entries(tab: Tab) -> int:
    return int(tab.evaluate("document.querySelectorAll('#queue > li').length"))


def says(tab: Tab, text: str) -> None:
    tab.until(f"document.getElementById('said').textContent.indexOf({text!r}) >= 0")


def refused(tab: Tab, text: str) -> None:
    tab.until(f"document.getElementById('refusal').textContent.indexOf({text!r}) >= 0")


@pytest.fixture(name="parked")
def _parked(open_till: Callable[..., Till]) -> Till:
    """A till with a past, and two sales that need a decision."""
    till = open_till(agent=ENGLISH)
    lived(till)
    till.start()
    eventually(till.loaded)
    park(till)
    return till


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_conditions_queue_and_plots(tab, parked: Till, album, axe, *, dark):
    """What stands in the way, what waits and how the days were: seen, said in words, and without a flaw for axe."""
    page, theme = tab(), "dark" if dark else "light"
    page.look(width=1280, height=900, dark=dark)
    arrive(page, parked)
    photographed(page, album(f"admin-entrance-{theme}"))
    found = {"entrance": flaws(page, axe)}
    present(page, parked.token)
    page.until("document.querySelectorAll('#plots svg.plot').length === 5")
    page.until("document.querySelectorAll('#queue > li').length === 2")
    assert page.evaluate("document.activeElement.id") == "headline"
    assert page.text("#headline") == "Works, but something needs attention"
    assert "Tell IT support" in page.text("#conditions")
    first = page.text("#queue > li")
    assert "Purchase p-0" in first
    assert "Need a decision" in first
    photographed(page, album(f"admin-{theme}"))
    found["desk"] = flaws(page, axe)

    click(page, "#queue > li button + button")
    found["deciding"] = flaws(page, axe)
    page.evaluate("document.getElementById('h-queue').scrollIntoView(); 0")
    photographed(page, album(f"admin-decision-{theme}"))
    click(page, "#place-answers > button")
    page.until("document.querySelectorAll('#figures-answers tbody tr').length > 100")
    page.evaluate(
        "document.getElementById('figures-answers').style.maxHeight = 'none'; 0"
    )  # axe judges what is in sight
    found["figures"] = flaws(page, axe)
    click(page, "#place-answers > button")
    click(page, "#span-3")
    page.until("document.querySelectorAll('#plots rect.hole').length === 5")
    assert re.search(r"No figures, because the agent was not running, for: 1[12] hours", page.text("#words-depth"))
    assert "Highest" in page.text("#words-oldest")
    page.evaluate("document.getElementById('h-plots').scrollIntoView(); 0")
    photographed(page, album(f"admin-plots-{theme}"))
    assert page.evaluate("document.querySelectorAll('#plots path.line').length") == 20  # and each in its legend
    page.look(width=360, height=780, dark=dark)
    page.until("document.querySelector('#plots svg.plot').getAttribute('width') < 340")
    photographed(page, album(f"admin-narrow-{theme}"))
    found["narrow"] = flaws(page, axe)
    assert found == {state: [] for state in found}


def test_only_an_administrators_token_opens_it(tab, parked: Till):
    """No token, a wrong one and a till's are refused, each in its own words; the page keeps none of them anywhere."""
    page = tab()
    arrive(page, parked)
    present(page, "")
    refused(page, "Enter the token first")
    for wrong in ("wrong", "två tokens"):
        present(page, wrong)
        refused(page, "not valid")
        page.evaluate("document.getElementById('refusal').textContent = document.getElementById('token').value = ''; 0")
    added = parked.command("token", "add", "till-9", "--scope", "pos", "--json")
    present(page, json.loads(added.stdout)["token"])
    refused(page, "This token is a till's")
    assert page.evaluate("document.getElementById('desk').hidden")
    page.evaluate("document.getElementById('token').value = ''; 0")
    present(page, parked.token)
    page.until("!document.getElementById('desk').hidden")
    kept = page.evaluate(
        "[location.href, document.cookie, document.referrer, JSON.stringify(localStorage),"
        " JSON.stringify(sessionStorage), document.documentElement.outerHTML, document.getElementById('token').value,"
        " JSON.stringify(history.state)].join()"
    )
    assert parked.token not in kept
    page.ask("Page.reload")
    page.until(AT_THE_DOOR)
    assert page.evaluate("document.getElementById('desk').hidden")


def test_a_token_that_is_revoked_opens_nothing_any_more(tab, parked: Till):
    """Within seconds the page is closed, says so, and nothing of what it showed is left on it."""
    page = tab()
    added = parked.command("token", "add", "boss", "--scope", "admin", "--json")
    arrive(page, parked)
    present(page, json.loads(added.stdout)["token"])
    page.until("document.querySelectorAll('#queue > li').length === 2")
    parked.command("token", "revoke", "boss")
    refused(page, "not valid any more")
    assert page.evaluate("document.getElementById('desk').hidden")
    assert page.evaluate("document.querySelectorAll('#queue > li, #plots svg, #conditions > li').length") == 0


def test_the_token_is_forgotten(tab, parked: Till):
    """By the button, and by itself after a quarter of an hour without use; whoever uses the page keeps it."""
    page = tab()
    enter(page, parked, before=AHEAD)
    click(page, "#leave")
    refused(page, "Signed out. The token is forgotten.")
    present(page, parked.token)
    page.until("!document.getElementById('desk').hidden")
    page.evaluate("window.ahead = 14 * 60000; 0")
    press(page, "Tab")
    page.evaluate("window.ahead = 28 * 60000; 0")
    press(page, "Tab")
    assert not page.evaluate("document.getElementById('desk').hidden")
    page.evaluate("window.ahead = 44 * 60000; 0")
    refused(page, "after 15 minutes without use")
    assert entries(page) == 0


def test_a_page_that_is_left(tab, parked: Till):
    """Whoever goes back to it finds the entrance alone, also where the browser has kept the page as it was."""
    page = tab()
    enter(page, parked)
    page.until("document.querySelectorAll('#queue > li').length === 2")
    page.evaluate("document.getElementById('token').value = 'half a token'; 0")
    page.evaluate("window.dispatchEvent(new Event('pagehide')); 0")
    refused(page, "Signed out. The token is forgotten.")
    assert page.evaluate("document.getElementById('desk').hidden && !document.getElementById('token').value")
    assert page.evaluate("document.querySelectorAll('#queue > li, #plots svg, #conditions > li').length") == 0


def test_a_queue_that_cannot_be_read_keeps_nobody_out(tab, parked: Till):
    """Who comes because the disk fails sees the conditions, and that the queue is not shown as it is."""
    page = tab()
    unreadable = (
        "var open = XMLHttpRequest.prototype.open; XMLHttpRequest.prototype.open = function (method, path) {"
        " return open.call(this, method, path.replace('/v1/queue', '/v1/nothing')); };"
    )
    enter(page, parked, before=unreadable)
    page.until("document.querySelectorAll('#conditions > li').length > 0")
    says(page, "(route.unknown)")
    assert entries(page) == 0


def test_an_answer_that_comes_late(tab, parked: Till):
    """The plots are of the time that was chosen last, whichever answer comes last."""
    page = tab()
    enter(page, parked)
    page.evaluate(
        "var open = XMLHttpRequest.prototype.open, send = XMLHttpRequest.prototype.send;"
        "XMLHttpRequest.prototype.open = function (method, path) {"
        " this.path = path; return open.apply(this, arguments); };"
        "XMLHttpRequest.prototype.send = function (body) {"
        " var held = this; if (held.path.indexOf('hours=168') < 0) return send.call(held, body);"
        " held.addEventListener('loadend', function () { window.came = true; });"
        " window.late = function () { send.call(held, body); }; }; 0"
    )
    click(page, "#span-7")
    click(page, "#span-3")
    page.until("document.querySelectorAll('#plots rect.hole').length === 5")
    click(page, "#span-1")
    page.until("!document.querySelector('#plots rect.hole')")
    page.evaluate("window.late(); 0")
    page.until("window.came")
    assert not page.evaluate("document.querySelector('#plots rect.hole')")


def test_giving_up_and_sending_again(tab, parked: Till):
    """With the keyboard alone: what it means is said, a reason is asked for, and the queue is what was decided."""
    page = tab()
    enter(page, parked)
    page.until("document.querySelectorAll('#queue > li').length === 2")
    page.evaluate("document.querySelectorAll('#queue > li button')[1].focus(); 0")
    press(page, "Enter")
    page.until("document.activeElement.tagName === 'INPUT'")
    assert "cannot be undone" in page.text(".decision")
    press(page, "Escape")
    page.until("!document.querySelector('.decision') && document.activeElement.textContent === 'Give up'")
    press(page, "Enter")
    page.until("document.activeElement.tagName === 'INPUT'")
    press(page, "Enter")
    page.until("document.querySelector('.decision .bad').textContent === 'Give a reason first.'")
    present(page, "booked by hand")
    says(page, "Purchase p-0: It is given up.")
    page.until("document.querySelectorAll('#queue > li').length === 1")
    assert page.evaluate("document.activeElement.id") == "h-queue"
    assert [entry["transaction_id"] for entry in parked.queue("parked")] == ["p-1"]

    attempts = parked.queue("parked")[0]["attempts"]
    click(page, "#queue > li button")
    page.until("document.activeElement.textContent === 'Yes, send it again'")
    press(page, "Enter")
    says(page, "Purchase p-1: It is back in line.")
    eventually(lambda: [entry["attempts"] for entry in parked.queue("parked")] == [attempts + 1])
    page.until(f"document.querySelector('#queue > li').innerText.match(/Attempts\\s+{attempts + 1}/)")


def test_a_decision_that_comes_too_late(tab, parked: Till, vendor: Vendor):
    """What somebody else decided meanwhile is gone, and what is being sent right now cannot be given up: it is said."""
    page = tab()
    enter(page, parked)
    page.until("document.querySelectorAll('#queue > li').length === 2")
    click(page, "#queue > li button + button")
    entry = parked.queue("parked")[0]["entry"]
    assert parked.http.post(f"/v1/queue/{entry}/discard", json={"reason": "done"}).status_code == 202
    present(page, "too late")
    says(page, "Purchase p-0: It is not in the queue any more.")
    page.until("document.querySelectorAll('#queue > li').length === 1")

    with vendor.sim.lock:  # it hears, and does not answer yet
        parked.sell("s-1", identifier=MEMBER)
        page.until("document.getElementById('queue').innerText.indexOf('Purchase s-1') >= 0")
        click(page, "#queue > li:last-child button + button")
        present(page, "in a hurry")
        says(page, "It is being sent right now")
    eventually(lambda: parked.delivered("s-1"))
    page.until("document.getElementById('queue').innerText.indexOf('Purchase s-1') < 0")


def test_orders(tab, parked: Till):
    """Each order is carried out and said; while sending is paused it can be resumed, and the keyboard stays there."""
    page = tab()
    enter(page, parked)
    assert not page.evaluate("document.getElementById('order-resume').offsetHeight")
    page.evaluate("document.getElementById('order-pause').focus(); 0")
    press(page, "Enter")
    says(page, "Pause sending: The agent has taken the order")
    page.until("document.activeElement.id === 'order-resume'")
    assert "queue.paused" in parked.conditions()
    assert "Sending is paused" in page.text("#conditions")
    press(page, "Enter")
    page.until("document.activeElement.id === 'order-pause'")
    assert "queue.paused" not in parked.conditions()
    synced = len(parked.logged("synced"))
    click(page, "#order-sync")
    says(page, "Update members")
    eventually(lambda: len(parked.logged("synced")) > synced)
    click(page, "#order-flush")
    says(page, "Send now")


def test_the_queue_in_pages_and_by_state(tab, parked: Till, vendor: Vendor):
    """A long queue comes in pages, a filter shows one state alone, and a page that is done leads back to the first."""
    vendor.cut()
    for number in range(25):
        parked.sell(f"s-{number}", identifier=MEMBER)
    page = tab()
    enter(page, parked)
    page.until("document.querySelectorAll('#queue > li').length === 20")
    click(page, "#queue-next")
    page.until("document.querySelectorAll('#queue > li').length === 7")
    assert page.evaluate("document.activeElement.id") == "h-queue"
    vendor.mend()
    parked.order("flush")
    page.until("document.querySelectorAll('#queue > li').length === 2")
    assert not page.evaluate("document.getElementById('queue-next').offsetHeight")
    page.evaluate(
        "var s = document.getElementById('by-state'); s.value = 'held'; s.dispatchEvent(new Event('change')); 0"
    )
    page.until("!document.querySelector('#queue > li')")
    assert page.text("#queue-empty") == "Nothing here."


@pytest.mark.parametrize("before", ["", OLD_BROWSER], ids=["new", "old-browser"])
def test_an_agent_that_goes_and_comes_back(tab, parked: Till, before):
    """The page says that its agent is gone, and goes on once it is back, with the token that it has."""
    page = tab()
    enter(page, parked, before=before)
    parked.kill()
    page.until("document.getElementById('lost').textContent.indexOf('lost contact') >= 0")
    parked.start()
    page.until("!document.getElementById('lost').textContent")
    says(page, "The agent is back.")
    page.until("document.querySelectorAll('#queue > li').length === 2")
    click(page, "#span-7")
    page.until("document.getElementById('span-7').getAttribute('aria-pressed') === 'true'")
    assert page.evaluate("document.querySelectorAll('#plots svg.plot').length") == 5


def test_every_language_fits_every_screen(tab, parked: Till):
    """In no language is the page wider than its screen, whatever its words, and the whole of it is in that language."""
    page, titles = tab(), set()
    for lang in LANGUAGES:
        enter(page, parked, lang=lang)
        page.until("document.querySelectorAll('#queue > li').length === 2")
        click(page, "#queue > li button + button")
        assert page.evaluate("document.documentElement.lang") == lang
        titles.add(page.text("#h-plots") + page.text("h1"))
        assert page.evaluate("[].every.call(document.querySelectorAll('[data-text], button, label, #plots h3'),"
                             " function (e) { return e.textContent; })")  # fmt: skip
        for width, height in SCREENS:
            page.look(width=width, height=height)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (lang, width)
    assert len(titles) == len(LANGUAGES)


def test_what_has_not_changed_is_not_drawn_again(tab, parked: Till):
    """While nothing changes, neither the queue nor the conditions are touched, and the keyboard stays where it is."""
    page = tab()
    enter(page, parked)
    page.until("document.querySelectorAll('#queue > li').length === 2")
    page.evaluate(
        "window.touched = 0; window.asked = 0;"
        "['queue', 'conditions', 'sign'].forEach(function (id) {"
        " new MutationObserver(function (all) { window.touched += all.length; })"
        ".observe(document.getElementById(id), { childList: true, characterData: true, subtree: true }); });"
        "var open = XMLHttpRequest.prototype.open; XMLHttpRequest.prototype.open = function (method, path) {"
        " if (path.indexOf('/v1/queue') === 0) window.asked += 1; return open.apply(this, arguments); };"
        "document.querySelectorAll('#queue button')[2].focus(); 0"
    )
    page.until("window.asked > 2")
    assert page.evaluate("window.touched") == 0
    assert page.evaluate("document.activeElement === document.querySelectorAll('#queue button')[2]")
