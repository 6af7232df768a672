"""What every vendor room keeps to, whatever its vendor: the promises that the lanes are built on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import re
import socket
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from agent.cli.workbench import simulate
from agent.connectors.base import IDLE_PING_S, Cache, with_lost_time
from agent.connectors.registry import ROOMS
from agent.domain.activity import ContactEvent
from agent.domain.benefits import BenefitKind
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.redemption import Redeemable, RedemptionMode, VendorWord
from agent.domain.transaction import NewContact
from agent.errors import FeedError, VendorRefusedError, VendorUnreachableError
from agent.workbench import simulate as bench
from agent.workbench.further import RECIPES
from tests.connectors.mparticle.sales import make_key, make_outgoing, make_sale
from tests.contract.rooms import (
    ASKED_BY_URL,
    LEFT_TO_A_PERSON,
    PREVIEWS,
    SECRET,
    SHARING,
    TABLES,
    TAKEN,
    WITH_THE_SALE,
    WITHOUT_OUR_ID,
    after_questions,
    connector,
    deliveries,
    table,
)
from tests.fakes import NOW, at_once, feed_surroundings
from tests.wire import answer, cut, cut_in_the_body, flood, nonsense, wire

ROOT = Path(__file__).parents[2]
PHONE, MAIL = "+46701740605", "alma@example.com"
PERSON = (PHONE, PHONE.removeprefix("+46"), MAIL, "10000421", "Alma")
SETTLED = {VerdictKind.DONE, VerdictKind.DUPLICATE}

TROUBLE = [
    pytest.param(answer(401, b"{}"), VendorRefusedError, id="refused"),
    pytest.param(answer(503, b""), VendorUnreachableError, id="away"),
    pytest.param(cut, VendorUnreachableError, id="cut"),
    pytest.param(answer(200, b"<html>"), VendorUnreachableError, id="page"),
    pytest.param(answer(200, b'{"unheard": ["of"]}'), VendorUnreachableError, id="another shape"),
]

each_owner = pytest.mark.parametrize("name", sorted(name for name, room in ROOMS.items() if room.owner))
each_feed = pytest.mark.parametrize(
    "name", sorted(name for name, room in ROOMS.items() if room.owner and not isinstance(room.owner.feed, Cache))
)
REDEEMERS = sorted(name for name, room in ROOMS.items() if room.owner and room.owner.redeemer)
each_redeemer = pytest.mark.parametrize("name", REDEEMERS)
OFFERS = {"antavo": {"rewards": True}, "monetary": {}, "voyado": {}}
"""What has to stand in the tables of those whose offers are used up at a till."""
TRIED = [
    *((name, BenefitKind.VOUCHER) for name in REDEEMERS if name != "monetary"),
    *((name, BenefitKind.OFFER) for name in OFFERS),
    ("voucherify", BenefitKind.POINTS),
]
each_that_is_told = pytest.mark.parametrize(("name", "kind"), [one for one in TRIED if one[0] not in WITH_THE_SALE])
each_question = pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        (name, kind, part)
        for name, kind in TRIED
        for part in ("benefits", "standing", "redeem")
        if part != "redeem" or name not in WITH_THE_SALE
    ],
)
each_room = pytest.mark.parametrize("name", sorted(ROOMS))


GIVEN = NewContact(
    first_name="Alma", last_name="Torp", mobile_phone=PHONE, email=MAIL, personal_number="198112189876",
    attributes={"shoe_size": 38},
)  # fmt: skip


@pytest.mark.parametrize("what", ContactEvent)
@each_room
def test_who_joins_or_changes_is_told_of_by_key_alone(name, what):
    """Unless a setting lets more go; that it is told of at all is said by its activities too, for a rescued outbox."""
    room = ROOMS[name]
    bare = table(name, "http://127.0.0.1:1")
    shared = room.shares(bare, what, GIVEN) if room.shares is not None else None
    assert not shared
    assert (shared is not None) is (what in room.activities(bare))


@pytest.mark.parametrize("what", ContactEvent)
@pytest.mark.parametrize("name", sorted(SHARING))
def test_what_is_told_of_who_joins_or_changes(name, what):
    """Fields of a contact, and no personal number among them; a rescue, another process, is told the same.

    Who joined is told of by every such room; one that cannot change anybody safely hears of no change.
    """
    room, asked = ROOMS[name], table(name, "http://127.0.0.1:1", **SHARING[name])
    shares = pickle.loads(pickle.dumps(partial(room.shares, asked)))
    shared = shares(what, GIVEN)
    assert (shared is not None) is (what in room.activities(asked))
    assert shared or what is not ContactEvent.JOINED
    assert (shared or frozenset()) <= NewContact.model_fields.keys() - {"personal_number"}


def test_every_room_that_shares_is_tried():
    """A room that is told of who joins has a line of its own in the suite."""
    assert {name for name, room in ROOMS.items() if room.shares is not None} == SHARING.keys()


def sale(number=1, **changes):
    """A member's sale, of whom the agent knows more than the key."""
    transaction = make_sale(transaction_id=f"1042-03-{number}", **changes)
    readings = (Identifier(IdentifierType.MOBILE_PHONE, PHONE), Identifier(IdentifierType.EMAIL, MAIL))
    cleared = make_sale(transaction_id="1042-03-0") if transaction.original_transaction_id else None
    person = number.to_bytes(4, "big")
    return make_outgoing(transaction, key=make_key(), readings=readings, entry=number, person=person, original=cleared)


@contextlib.asynccontextmanager
async def connected(name, url, **more):
    room = connector(name, url, **more)
    try:
        yield room
    finally:
        await room.close()


async def sent(name, url, batch):
    async with connected(name, url) as room:
        return await room.sender.send(batch)


def test_each_room_is_tried():
    """A new room has its line in this suite."""
    assert set(TABLES) == set(TAKEN) == set(ROOMS)
    assert set(PREVIEWS) == {name for name, room in ROOMS.items() if room.owner and room.owner.preview}


@each_room
def test_what_belongs_to_a_room(name):
    """The files that a reader looks for, a page of what is known of the vendor, and a simulator with a page."""
    room, docs, tests = ROOT / "agent" / "connectors" / name, ROOT / "docs", ROOT / "tests"
    files = re.findall(r"^\| `([a-z_]+(?:\.py|/))`", (docs / "adding-a-vendor.md").read_text(), re.MULTILINE)
    assert len(files) > 6, "the checklist names no files any more"
    assert not [file for file in (*files, "simulator/faults.py", "simulator/api.py") if not (room / file).exists()]
    page = (docs / "vendors" / f"{name}.md").read_text().lower()
    words = ("inferred", "unknown", "## how late a sale may come", "simulat")
    assert not [word for word in words if word not in page]
    assert not [file for file in ("test_mapping.py", "test_errors.py", "test_settings.py", "simulator")
                if not (tests / "connectors" / name / file).exists()]  # fmt: skip
    assert [path for path in (tests / "e2e").glob("test_*.py") if name in path.read_text()]
    assert f"simulate {name}" in (docs / "operations.md").read_text()
    for told in ("source-map.md", "gdpr.md"):
        assert name in (docs / told).read_text().lower(), told
    assert f"[{name}]" in (example := (ROOT / "config.example.toml").read_text()) or f"[forward.{name}]" in example
    assert name in simulate.commands
    assert hasattr(bench, name)


@each_room
def test_it_takes_part_in_the_demonstration(name):
    """Whoever can get sales beside the loyalty system is shown doing so."""
    assert ROOMS[name].settings.not_forward or name in RECIPES


@each_room
def test_every_setting_is_described(name):
    """An admin finds each key of the table explained."""
    undescribed = [key for key, field in ROOMS[name].settings.model_fields.items() if not field.description]
    assert undescribed == []


@each_room
async def test_the_face(name):
    """It is called as in the registry, and says how it wants to be used."""
    async with connected(name, "http://127.0.0.1:9") as room:
        assert room.name == name
        assert room.connections >= 1
        assert room.requests_per_second > 0
        assert room.idle_ping_s >= IDLE_PING_S
        assert room.sender.batch_size >= 1
        assert (ROOMS[name].owner is None) == (room.lookup is None)


@each_room
def test_a_room_without_contacts_says_why_it_cannot_own_them(name):
    """`loyalty.vendor` is refused with the reason."""
    assert (ROOMS[name].owner is None) == bool(ROOMS[name].settings.not_loyalty)


@each_room
def test_no_secret_in_a_table(name):
    """What is shown of a table holds references, never values."""
    assert SECRET not in repr(table(name, "http://127.0.0.1:9"))


@each_room
@pytest.mark.parametrize(
    ("script", "kind"),
    [
        pytest.param(answer(401, b"{}"), VerdictKind.HOLD, id="401"),
        pytest.param(answer(403, b"{}"), VerdictKind.HOLD, id="403"),
        pytest.param(answer(400, b"{}"), VerdictKind.PARK, id="400"),
        pytest.param(answer(408, b"{}"), VerdictKind.RETRY, id="408"),
        pytest.param(answer(429, b"{}"), VerdictKind.RETRY, id="429"),
        pytest.param(answer(500, b"{}"), VerdictKind.RETRY, id="500"),
        pytest.param(answer(502, b"<html>"), VerdictKind.RETRY, id="502"),
        pytest.param(answer(503, b""), VerdictKind.RETRY, id="503"),
        pytest.param(answer(504, b""), VerdictKind.RETRY, id="504"),
        pytest.param(answer(302, b"", location="http://127.0.0.1:9/"), VerdictKind.RETRY, id="redirect"),
        pytest.param(answer(200, b"<html>Sign in</html>", content_type="text/html"), VerdictKind.RETRY, id="page"),
        pytest.param(cut, VerdictKind.RETRY, id="cut"),
        pytest.param(cut_in_the_body, VerdictKind.RETRY, id="cut in the body"),
        pytest.param(nonsense, VerdictKind.RETRY, id="another protocol"),
        pytest.param(answer(200, b'{"object": "order", "id": "ord_0'), VerdictKind.RETRY, id="half an object"),
        pytest.param(flood, VerdictKind.RETRY, id="a body without end"),
        pytest.param(answer(200, b"{}", content_encoding="gzip"), VerdictKind.RETRY, id="packed"),
    ],
)  # fmt: skip
async def test_an_answer_becomes_a_verdict(name, script, kind):
    """The same trouble means the same at every vendor that deduplicates; none of it is taken for a delivery."""
    async with wire(after_questions(name, script)) as vendor:
        [verdict] = await sent(name, vendor.url, [sale()])
    assert verdict.kind is kind


@each_room
async def test_nobody_is_there(name):
    """A refused connection says so, and that nothing was received."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        [verdict] = await sent(name, f"http://127.0.0.1:{free.getsockname()[1]}", [sale()])
    assert (verdict.kind, verdict.reached, verdict.not_received) == (VerdictKind.RETRY, False, True)


@each_room
@pytest.mark.parametrize(
    "asked",
    [
        {"retry_after": "17"},
        {"retry_after": "Fri, 20 Nov 2026 09:00:17 GMT", "date": "Fri, 20 Nov 2026 09:00:00 GMT"},
    ],
    ids=["seconds", "a date"],
)
@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_a_pause_that_is_asked_for_is_passed_on(name, status, asked):
    """`Retry-After` reaches the lane, which keeps it."""
    async with wire(after_questions(name, answer(status, b"", **asked))) as vendor:
        [verdict] = await sent(name, vendor.url, [sale()])
    assert verdict.after_s == pytest.approx(17, abs=1)


@each_room
@pytest.mark.parametrize(
    "status", [*range(200, 206), 304, 400, 402, 404, 405, 409, 410, 413, 415, 418, 422, 451, 507, 599]
)
async def test_any_status_at_all(name, status):
    """As many verdicts as sales, in their order, and no exception, whatever comes."""
    body = b"" if status in (204, 304) else b'{"unheard": ["of"]}'
    async with wire(after_questions(name, answer(status, body))) as vendor, connected(name, vendor.url) as room:
        batch = [sale(number) for number in range(1, room.sender.batch_size + 1)][:3]
        verdicts = await room.sender.send(batch)
    assert len(verdicts) == len(batch)
    assert status < 300 or not SETTLED & {verdict.kind for verdict in verdicts} or status == 409


@each_room
@pytest.mark.parametrize("status", [200, 202, 400, 401, 404, 409, 413, 422, 429, 500])
async def test_a_vendor_that_repeats_what_it_was_told(name, status):
    """Its words reach people without anybody in them."""
    echo = json.dumps({
        "message": f"no contact with {PHONE} or {MAIL}", "errors": [{"message": f"{PHONE} Alma", "code": MAIL}],
        "errorCode": PHONE, "title": f"Alma {MAIL}", "detail": "member 10000421",
    })  # fmt: skip
    script = after_questions(name, answer(status, echo.encode(), content_type="application/json"))
    async with wire(script) as vendor:
        verdicts = await sent(name, vendor.url, [sale()])
    told = repr(verdicts)
    assert not [value for value in PERSON if value in told]


@each_room
async def test_the_same_sale_is_the_same_request(name):
    """Another attempt sends the same bytes: what the vendor deduplicates by is born with the sale."""
    async with wire(after_questions(name, cut)) as vendor:
        for _ in range(2):
            await sent(name, vendor.url, [sale()])
        requests = deliveries(name, vendor.requests)
    bodies = {request.partition(b"\r\n\r\n")[2] for request in requests}
    lines = {request.split(b"\r\n", 1)[0] for request in requests}
    assert len(requests) >= 2
    assert (len(bodies), len(lines)) == (1, 1)
    assert name in WITHOUT_OUR_ID or b"1042-03-1" in next(iter(bodies))


TIMELESS = {"antavo": [{}, {"backdate": True}], "voucherify": [{}, {"earn_with": "event"}]}
"""Tables that decide whether a sale's own time counts."""


@pytest.mark.parametrize(
    ("name", "more"), [(name, more) for name in sorted(ROOMS) for more in TIMELESS.get(name, [{}])]
)
async def test_the_time_of_a_sale(name, more):
    """A sale that comes late counts at its own time, or it is said that it does not: of the system, and of the sale."""
    taken = b'{"object": "event"}' if more.get("earn_with") == "event" else TAKEN[name]
    async with wire(after_questions(name, answer(202, taken))) as vendor, connected(name, vendor.url, **more) as room:
        at = NOW.isoformat(timespec="seconds")
        [in_time] = await room.sender.send([sale(1, occurred_at=at)])
        [late] = await room.sender.send([sale(2, occurred_at=(NOW - timedelta(hours=1)).isoformat(timespec="seconds"))])
    assert (in_time.kind, in_time.code) == (VerdictKind.DONE, "")
    assert (late.kind, late.code) == (VerdictKind.DONE, "" if room.keeps_time else "sale.time_lost")


@pytest.mark.parametrize(("skew_s", "ago_s", "is_late"), [(1000, 720, True), (1000, 0, False), (-1000, 0, False)])
def test_a_late_sale_beside_a_clock_that_is_wrong(skew_s, ago_s, is_late):
    """How late it comes is told by one clock: the vendor's, by which it has been dated."""
    skew = timedelta(seconds=skew_s)
    taken_at = NOW - timedelta(seconds=ago_s)
    outgoing = replace(sale(occurred_at=taken_at.isoformat()), corrected_at=taken_at + skew, skew=skew)
    verdict = with_lost_time(Verdict(VerdictKind.DONE), outgoing, NOW)
    assert verdict.code == ("sale.time_lost" if is_late else "")


@each_room
async def test_nobody_stands_in_a_url(name):
    """A proxy's log of a delivery names nobody."""
    async with wire(after_questions(name, answer(202, b"{}"))) as vendor:
        await sent(name, vendor.url, [sale()])
        heads = [request.split(b"\r\n", 1)[0].decode() for request in vendor.requests]
        delivered = [request.split(b"\r\n", 1)[0].decode() for request in deliveries(name, vendor.requests)]
    assert delivered
    assert not [value for value in PERSON if value in "".join(delivered)]
    unasked = set(PERSON) - set(ASKED_BY_URL.get(name, ()))
    assert not [value for value in unasked if value in "".join(heads)]


@each_room
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            {"type": "void", "original_transaction_id": "1042-03-0", "lines": [], "payments": [], "total": "0"},
            id="void",
        ),
        pytest.param(
            {
                "type": "return", "original_transaction_id": "1042-03-0", "total": "-250.00",
                "payments": [{"type": "card", "amount": "-250.00"}],
                "lines": [{"kind": "return", "sku": "SK-77", "quantity": "-2", "gross_paid": "-250.00"}],
            },
            id="return",
        ),
    ],
)  # fmt: skip
async def test_every_kind_of_sale_is_rendered(name, change):
    """What the door takes, a room can send, or says what of it a person has to do."""
    async with wire(after_questions(name, answer(202, TAKEN[name]))) as vendor:
        [verdict] = await sent(name, vendor.url, [sale(**change)])
    if change["type"] in LEFT_TO_A_PERSON.get(name, ()):
        assert (verdict.kind, vendor.requests) == (VerdictKind.PARK, [])
        assert verdict.code.startswith("sale.")
        return
    assert verdict.kind in SETTLED


@each_room
async def test_a_return_without_a_receipt(name):
    """It is sent, or left to a person with the reason."""
    line = {"kind": "return", "sku": "SK-77", "quantity": "-2", "gross_paid": "-250.00"}
    paid = {"type": "card", "amount": "-250.00"}
    async with wire(answer(202, TAKEN[name])) as vendor:
        [verdict] = await sent(name, vendor.url, [sale(type="return", total="-250.00", payments=[paid], lines=[line])])
    if verdict.kind in SETTLED:
        return
    reasons = ("sale.without_original", "sale.return_unsupported")
    assert verdict.kind is VerdictKind.PARK
    assert verdict.code in reasons


@each_room
@pytest.mark.parametrize(("script", "error"), TROUBLE[:4])
async def test_a_ping_says_what_is_wrong(name, script, error):
    """With one of two errors, and no other."""
    async with wire(script) as vendor, connected(name, vendor.url) as room:
        with pytest.raises(error):
            await room.ping()


# --- rooms that own the contacts --------------------------------------------------------------------------------


NUMBER = Identifier(IdentifierType.MEMBER_NUMBER, "10000421")


@each_owner
@pytest.mark.parametrize(("script", "error"), TROUBLE)
async def test_nobody_is_unknown_because_of_the_line(name, script, error):
    """A look-up that is not answered says so: only the vendor can say that somebody is nobody."""
    async with wire(script) as vendor, connected(name, vendor.url) as room:
        assert room.lookup.knows(NUMBER)
        with pytest.raises(error):
            await room.lookup.find(NUMBER, timeout_s=5, pace=at_once)


@each_owner
async def test_each_call_of_a_look_up_is_paced(name):
    """One question may take several calls, and each counts against the allowance."""
    paces = []

    async def pace():
        paces.append(1)

    async with wire(answer(503, b"")) as vendor, connected(name, vendor.url) as room:
        with pytest.raises(VendorUnreachableError):
            await room.lookup.find(NUMBER, timeout_s=5, pace=pace)
        assert len(paces) == len(vendor.requests) == 1


@each_feed
@pytest.mark.parametrize(("script", "error"), TROUBLE)
async def test_a_feed_that_is_not_answered(name, script, error):
    """It brings nothing, and says which kind of trouble it is."""
    async with wire(script) as vendor, connected(name, vendor.url) as room:
        feed = ROOMS[name].owner.feed(room, feed_surroundings())
        with pytest.raises(error):
            await anext(feed.pages(None))


@each_feed
async def test_a_cursor_that_is_none_of_the_feed_s(name):
    """It is refused before anything is asked: a wrong place to go on from would skip changes."""
    async with wire(answer(503, b"")) as vendor, connected(name, vendor.url) as room:
        feed = ROOMS[name].owner.feed(room, feed_surroundings())
        for cursor in ("", "{}", "7", '{"another": "vendor\'s"}'):
            with pytest.raises(FeedError):
                await anext(feed.pages(cursor))
        assert vendor.requests == []


@each_feed
async def test_a_pause_that_a_feed_is_asked_for_is_everybody_s(name):
    """No delivery, no look-up and no other sync asks before it is over."""
    agent = feed_surroundings()
    async with wire(answer(429, b"{}", retry_after="17")) as vendor, connected(name, vendor.url) as room:
        feed = ROOMS[name].owner.feed(room, agent)
        for _ in range(2):
            with pytest.raises(VendorUnreachableError):
                await anext(feed.pages(None))
        assert len(vendor.requests) == 1
    assert agent.link.sending.pause_s(agent.clock.monotonic()) == pytest.approx(17, abs=1)


# --- rooms whose members use something up at a till ---------------------------------------------------------------


async def asked(name, part, url, *, pace=at_once, kind=BenefitKind.VOUCHER, **table):
    """A question of the part of a room that answers cashiers about a member who is named by number."""
    key, how = make_key(), {"timeout_s": 5, "pace": pace}
    table |= OFFERS[name] if kind is BenefitKind.OFFER else {}
    async with connected(name, url, **table) as room:
        owner = ROOMS[name].owner
        if part == "preview":
            return await owner.preview(room).points(key, make_sale(), **how)
        if part == "benefits":
            return await owner.benefits(room).benefits(key, **how)
        return await getattr(owner.redeemer(room), part)(Redeemable(key, kind, "1"), **how)


def test_what_is_used_up_is_shown():
    """A room that redeems at a till says what there is to be redeemed."""
    assert {name for name, room in ROOMS.items() if room.owner and room.owner.benefits} == {
        name for name, room in ROOMS.items() if room.owner and room.owner.redeemer
    }


@each_redeemer
async def test_how_a_vendor_hears_of_what_is_used_up(name):
    """It is known of each kind that a till may use up, and what is redeemed by a call is what is tried here."""
    async with connected(name, "http://127.0.0.1:9", **OFFERS.get(name, {})) as room:
        redeemer = ROOMS[name].owner.redeemer(room)
        assert set(redeemer.redeems) <= set(redeemer.modes)
        assert set(redeemer.redeems) == {kind for tried, kind in TRIED if tried == name}


@each_question
@pytest.mark.parametrize(("script", "error"), TROUBLE)
async def test_nothing_is_said_of_a_benefit_because_of_the_line(name, kind, part, script, error):
    """Neither that there is none, nor that it is used up: only the vendor can say so."""
    async with wire(script) as vendor:
        with pytest.raises(error):
            await asked(name, part, vendor.url, kind=kind)


@pytest.mark.parametrize("name", sorted(PREVIEWS))
@pytest.mark.parametrize(("script", "error"), TROUBLE)
async def test_no_points_because_of_the_line(name, script, error):
    """That nothing is earned is an answer, which only the vendor can give."""
    async with wire(script) as vendor:
        with pytest.raises(error):
            await asked(name, "preview", vendor.url, **PREVIEWS[name])


@each_question
async def test_each_question_about_benefits_is_paced(name, kind, part):
    """Each counts against the allowance, whatever comes of it."""
    paces = []

    async def pace():
        paces.append(1)

    async with wire(answer(503, b"")) as vendor:
        with pytest.raises(VendorUnreachableError):
            await asked(name, part, vendor.url, pace=pace, kind=kind)
        assert len(paces) == len(vendor.requests) >= 1


@each_that_is_told
async def test_what_nobody_heard_used_nothing_up(name, kind):
    """Where nobody is there it is known that it was not carried out."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(VendorUnreachableError) as error:
            await asked(name, "redeem", f"http://127.0.0.1:{closed.getsockname()[1]}", kind=kind)
    assert not error.value.maybe_received


@pytest.mark.parametrize("name", WITH_THE_SALE)
async def test_what_goes_with_the_sale(name):
    """The vendor is not called about it, and the agent knows that it hears of it by the sale."""
    async with wire(answer(503, b"")) as vendor:
        assert await asked(name, "redeem", vendor.url, kind=BenefitKind.OFFER) == VendorWord()
        assert vendor.requests == []
    async with connected(name, "http://127.0.0.1:9") as room:
        redeemer = ROOMS[name].owner.redeemer(room)
        assert {redeemer.modes[kind] for kind in redeemer.redeems} == {RedemptionMode.WITH_SALE}


@each_room
async def test_it_can_be_cancelled(name):
    """A stop does not wait for a vendor that never answers."""
    asked = asyncio.Event()

    async def never(_request, _writer):
        asked.set()
        await asyncio.Event().wait()

    async with wire(never) as vendor, connected(name, vendor.url) as room:
        sending = asyncio.create_task(room.sender.send([sale()]))
        await asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
