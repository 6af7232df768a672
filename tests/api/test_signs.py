"""What screens show of each state: the staff's light and words, and the customers' sentences."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from agent.api import events, signs
from agent.api.schemas_state import CustomerAnswer
from agent.messages import LANGUAGES, Messages

PAGE = ("/page/status", "/page/texts", "/page/events")
NOW = datetime(2026, 11, 20, 9, 5, 12, tzinfo=UTC)


def silent(house):
    house.link.silent(NOW, house.clock.monotonic())


def refused(house):
    house.link.credentials_refused(NOW, house.clock.monotonic())


def parked(house):
    house.conditions.set("feed.gap", stands=True, now=NOW, detail="file 17")


def lost(house):
    house.conditions.set("benefits.lost", stands=True, now=NOW, detail="1 (50 SEK)")


def full(house):
    house.room["error"] = "no room"


def silent_and_full(house):
    silent(house)
    full(house)


CASES = [
    pytest.param(None, 3, "green", "state.online", [], id="all-works"),
    pytest.param(parked, 3, "amber", "state.online", [], id="something-else-is-wrong"),
    pytest.param(lost, 3, "green", "state.online", [], id="something-is-merely-told"),
    pytest.param(refused, 3, "amber", "level.3", ["loyalty.points_later"], id="sign-in-refused"),
    pytest.param(silent, 1, "red", "level.1", ["loyalty.unavailable", "loyalty.general_offers"], id="level-1"),
    pytest.param(silent, 2, "red", "level.2", ["loyalty.points_later", "loyalty.general_offers"], id="level-2"),
    pytest.param(silent, 3, "red", "level.3", ["loyalty.points_later"], id="level-3"),
    pytest.param(silent, 4, "red", "level.4", ["loyalty.points_later"], id="level-4"),
    pytest.param(full, 3, "red", "state.unkept", ["storage.full"], id="nothing-kept"),
    pytest.param(silent_and_full, 4, "red", "state.unkept", ["storage.full"], id="nothing-kept-and-no-line"),
]


@pytest.mark.parametrize(("happens", "level", "light", "words", "codes"), CASES)
async def test_each_state_has_its_sign(open_door, *, happens, level, light, words, codes):
    """Staff see the light and what works; what to tell, and what a customer reads, fits what works for customers."""
    async with open_door(level=level) as house:
        if happens is not None:
            happens(house)
        page = house.rooms.messages.page("sv-SE")
        status = (await house.http.get("/page/status")).json()
        shown = (await house.http.get("/customer/status")).json()

        said = [m.text for m in house.rooms.messages.render(codes, "sv-SE") if m.audience == "customer"]
        assert shown == {"locale": "sv-SE", "welcome": "Välkommen!", "sentences": said}
        assert status["sign"]["light"] == light
        assert status["sign"]["works"] == page[f"{words}.works"]
        assert status["sign"]["tell"] == (said[0] if words == "state.unkept" else page[f"{words}.tell"])
        headline = words if words == "state.unkept" else f"state.{status['state']}"
        assert status["sign"]["headline"] == page[f"{headline}.title"]


async def test_a_customer_is_told_nothing_internal(house, sale):
    """With sales waiting and members stale, what a display hears has no count, code, name of a system or time."""
    body = sale(identifier={"type": "mobile_phone", "value": "+46701740605"})
    assert (await house.http.post("/v1/transactions", json=body)).status_code == 202
    silent(house)
    house.people.as_of = NOW - timedelta(hours=25)
    answer = await house.http.get("/customer/status", headers={"authorization": ""})

    CustomerAnswer.model_validate_json(answer.content, strict=True)
    for internal in ("voyado", "loyalty.", "2026", "offline", "70174", "1042"):
        assert internal not in answer.text
    assert not any(figure in answer.text for figure in "0123456789")


@pytest.mark.parametrize("language", LANGUAGES)
async def test_customers_read_the_shops_language(house, language):
    """A display shows what its address asks for, else the configured language, never the browser's."""
    french = {"accept-language": "de, en;q=0.5"}
    assert (await house.http.get("/customer/status", headers=french)).json()["locale"] == "sv-SE"
    asked = (await house.http.get("/customer/status", params={"lang": language}, headers=french)).json()
    assert asked["locale"].startswith(language)
    assert asked["welcome"] == Messages(language).page(language)["customer.welcome"]
    assert (await house.http.get("/customer/status", params={"lang": "fr"})).json()["locale"] == "sv-SE"


@pytest.mark.parametrize("path", [*PAGE, "/customer/status", "/customer/events"])
@pytest.mark.parametrize("query", ["lang=sv&lang=de", "lang=%3Cb%3E", f"lang={'x' * 36}"])
async def test_a_page_asks_for_a_language(house, path, query):
    """A query that names none is refused, and its value is not repeated."""
    answer = await house.http.get(f"{path}?{query}")
    assert answer.status_code == 422
    assert "<b>" not in answer.text


@pytest.mark.parametrize("path", [*PAGE[:2], "/customer/status"])
async def test_a_page_may_be_asked_for_with_more(house, path):
    """A kiosk's parameter against old answers is passed over, and nothing of it is repeated."""
    answer = await house.http.get(f"{path}?t=70174&lang=en")
    assert answer.status_code == 200
    assert answer.json() == (await house.http.get(f"{path}?lang=en")).json()
    assert "70174" not in answer.text


@pytest.mark.parametrize("path", PAGE[:2])
async def test_the_staff_page_may_be_asked_for_in_a_language(house, path):
    """The address of the page wins over what the browser prefers, which wins over the configured language."""
    german = {"accept-language": "de"}
    told = [
        (await house.http.get(path, headers=german, params={"lang": "fi"})).text,
        (await house.http.get(path, headers=german)).text,
        (await house.http.get(path)).text,
    ]
    for text, language in zip(told, ("fi", "de", "sv"), strict=True):
        assert Messages(language).page(language)["state.online.title"] in text


async def test_a_display_is_told_at_every_change(house):
    """Events have what a display shows, at once and when it is something else; its places are its own."""
    async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(house.http.stream("GET", "/customer/events?lang=en"))
            for _ in range(events.MAX_LISTENERS)
        ]
        assert {stream.status_code for stream in streams} == {200}
        assert (await house.http.get("/customer/events")).status_code == 503
        assert (await stack.enter_async_context(house.http.stream("GET", "/page/events"))).status_code == 200
        lines = streams[0].aiter_lines()
        told = []
        async for line in lines:
            if line.startswith("data: ") and line != "data: {}":
                told.append(CustomerAnswer.model_validate_json(line.removeprefix("data: ")).sentences)
                silent(house)
                house.rooms.status.changed()
            if len(told) == 2:
                break
        assert told[0] == ()
        assert len(told[1]) == 1


def test_the_shops_own_welcome_wins():
    """`agent.welcome` stands as it is, in every language."""
    snapshot = type("Now", (), {"conditions": (), "vendors": [type("Vendor", (), {"state": "online"})]})()
    shown = signs.of_customers(snapshot, Messages("sv-SE"), "de", ready=True, welcome="Hej hej på Hörnan")
    assert (shown.welcome, shown.sentences) == ("Hej hej på Hörnan", ())
