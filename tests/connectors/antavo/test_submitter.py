"""Sales handed in to be processed later: done when the workspace says so, and nothing twice, whatever is cut off."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.connectors.antavo import build
from agent.connectors.antavo.simulator import Fault
from agent.connectors.antavo.submitter import Place
from agent.domain.delivery import TAKEN_IN_PART
from agent.domain.identifiers import IdentifierType
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.antavo.conftest import KEY, MEMBER, SECRET, make_settings
from tests.connectors.antavo.test_sender import (
    BACK,
    CONTACT,
    DONE,
    DUPLICATE,
    HAT,
    HAT_BACK,
    HOLD,
    IN_DOUBT,
    PARK,
    PHONE,
    RETRY,
    SOCKS,
    back,
    sale,
    void,
)
from tests.connectors.mparticle.sales import NOW, Reference
from tests.fakes import surroundings
from tests.wire import POLICY, answer, in_turn, wire

LATER = timedelta(hours=1)
BOTH = {"lines": [SOCKS, HAT], "total": "350.00", "payments": [{"type": "card", "amount": "350.00"}]}


class Lane:
    """What the outbox keeps of one delivery between its attempts, and what it makes of verdicts."""

    def __init__(self, room, make, **what):
        self.room, self.make, self.what = room, make, what
        self.attempts, self.maybe_received, self.reference, self.progress = 0, False, None, None
        self.verdicts = []

    def outgoing(self):
        made = self.make(attempts=self.attempts, maybe_received=self.maybe_received, **self.what)
        return replace(made, progress=self.progress)

    async def attempt(self, *, cut=False):
        """One attempt; of one that is ``cut`` off nothing is written down."""
        [verdict] = await self.room.sender.send([self.outgoing()])
        self.attempts += 1
        if cut:
            self.maybe_received = True
            return None
        self.maybe_received |= not (verdict.not_received or verdict.kind is PARK)
        self.reference = verdict.reference or self.reference
        self.progress = verdict.progress or self.progress
        self.verdicts.append((verdict.kind, verdict.code))
        return verdict

    def sent_again_by_a_person(self):
        kind, code = self.verdicts[-1]
        if kind is IN_DOUBT and code not in TAKEN_IN_PART:
            self.maybe_received = False


@pytest.fixture
def hand_in(simulator, clock, afterwards):
    """Begins a delivery; what it has at the vendor is ``simulator``."""
    _, running = simulator

    def hand_in_(
        make=sale, *, url=None, key=KEY, secret=SECRET, primary=IdentifierType.MEMBER_NUMBER, table=(), **what
    ):
        secrets = {"credential:antavo-key": Reference(key), "credential:antavo-secret": Reference(secret)}
        room = build(
            make_settings(url or running.url, auth_mode="oauth", **dict(table)),
            surroundings(role="forward", secret=secrets.__getitem__, http=POLICY, clock=clock, primary=primary),
        )
        afterwards.push_async_callback(room.close)
        lane = Lane(room, make, **what)
        lane.secrets = secrets
        return lane

    return hand_in_


def counted(sim, action="checkout"):
    return len(sim.applied(action))


async def test_a_sale(simulator, hand_in, clock):
    """It is queued at first, and delivered when it was processed; it waits for that however long it takes."""
    sim, _ = simulator
    sim.queue.delay = LATER
    lane = hand_in()

    queued = await lane.attempt()
    waiting = await lane.attempt()
    assert (queued.kind, queued.code, queued.awaits, queued.not_received) == (RETRY, "vendor.queued", True, False)
    assert lane.reference == next(iter(sim.queue.events))
    assert lane.progress == f"1/1:2:first:{lane.reference}"
    assert (waiting.kind, counted(sim)) == (RETRY, 0)
    sim.now = lambda: NOW + LATER
    sim.queue.delay = timedelta()
    for queued in sim.queue.events.values():
        queued.due_at = NOW
    done = await lane.attempt()

    assert (done.kind, done.code, done.reference) == (DONE, "", "t-1")
    assert sim.held() == {"t-1": 1}
    assert dict(sim.requests) == {"POST token": 1, "POST async": 1, "GET async": 2}


async def test_several_events(simulator, hand_in):
    """One after the other, the next one only when the one before is processed; where it stands is on disk."""
    sim, _ = simulator
    await hand_in(**BOTH).attempt()
    sim.run_due()
    lane = hand_in(back, lines=[BACK, HAT_BACK])

    places = []
    for _ in range(3):
        await lane.attempt()
        places.append(lane.progress.rpartition(":")[0])

    assert places[:2] == ["1/2:1:first", "2/2:2:first"]
    assert lane.verdicts[-1] == (DONE, "")
    assert lane.reference == list(sim.queue.events)[-1]
    assert (counted(sim, "refund_item"), counted(sim)) == (2, 1)


async def test_a_newcomer(simulator, hand_in):
    """They become a member first, under the id that is known; who is one already counts as made."""
    sim, _ = simulator
    table = {"opt_in_new_contacts": True}
    lane, again = hand_in(table=table, new_contact=CONTACT), hand_in(name="t-2", table=table, new_contact=CONTACT)

    for one in (lane, again):
        for _ in range(3):
            await one.attempt()

    assert [lane.verdicts[-1], again.verdicts[-1]] == [(DONE, ""), (DONE, "")]
    assert sim.held() == {"t-1": 1, "t-2": 1}


async def test_a_void(simulator, hand_in):
    """It is a refund: whether the sale is still pending cannot be asked, and the vendor says so by refusing it."""
    sim, _ = simulator
    await hand_in().attempt()
    sim.run_due()
    lane = hand_in(void)

    await lane.attempt()
    await lane.attempt()

    assert lane.verdicts[-1] == (DONE, "")
    assert sim.transaction("t-1").status == "refunded"


@pytest.mark.parametrize(
    ("poison", "kind", "code"),
    [
        (160212, PARK, "contact.unknown"),
        (112201, PARK, "sale.pending"),
        (127201, DONE, "vendor.interrupted"),
        (5003, PARK, "sale.collision"),
        (160216, PARK, "vendor.rejected"),
    ],
)
async def test_what_processing_comes_to(simulator, hand_in, poison, kind, code):
    """The numbers mean what they mean of an event that is processed at once."""
    sim, _ = simulator
    sim.add(Fault(kind="poison", transaction_id="t-1", code=poison))
    lane = hand_in()

    await lane.attempt()
    verdict = await lane.attempt()

    assert (verdict.kind, verdict.code, verdict.vendor_code) == (kind, code, str(poison))


async def test_a_refused_sale_is_put_right(simulator, hand_in):
    """A person has it sent again: it is handed in once more, and what was processed before it is not."""
    sim, _ = simulator
    await hand_in(**BOTH).attempt()
    sim.run_due()
    exchange = {"type": "return", "original_transaction_id": "t-1", "lines": [BACK, HAT_BACK]}
    lane = hand_in(name="r-1", **exchange)
    await lane.attempt()
    await lane.attempt()  # the first product is back, the second is handed in
    fault = sim.add(Fault(kind="poison", transaction_id="t-1"))
    refused = await lane.attempt()
    sim.remove(fault)

    lane.sent_again_by_a_person()
    for _ in range(2):
        await lane.attempt()

    assert (refused.kind, lane.verdicts[-1]) == (PARK, (DONE, ""))
    assert counted(sim, "refund_item") == 2


@pytest.mark.parametrize("after", [0, 1], ids=["handing in", "the outcome"])
async def test_an_attempt_that_is_cut_off(simulator, hand_in, after):
    """A checkout is handed in again, and the vendor recognises it; nothing counts twice."""
    sim, _ = simulator
    lane = hand_in()
    for number in range(after + 1):
        await lane.attempt(cut=number == after)
    while not lane.verdicts or lane.verdicts[-1][0] is RETRY:
        await lane.attempt()

    assert lane.verdicts[-1][0] in (DONE, DUPLICATE)
    assert sim.held() == {"t-1": 1}


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_return_of_which_an_attempt_is_cut_off(simulator, hand_in, after):
    """Whatever may have been handed in is left to a person, unless its outcome can be asked for: never twice."""
    sim, _ = simulator
    await hand_in(**BOTH).attempt()
    sim.run_due()
    lane = hand_in(back, lines=[BACK, HAT_BACK])
    for number in range(after + 1):
        await lane.attempt(cut=number == after)
    for _ in range(4):
        verdict = await lane.attempt()
        if verdict.kind is not RETRY:
            break
    sim.run_due()

    products = [event["data"]["product_id"] for event in sim.applied("refund_item")]
    assert len(products) == len(set(products))
    expected = {0: (IN_DOUBT, "sale.partly_taken"), 1: (IN_DOUBT, "sale.partly_taken"), 2: (DONE, "")}
    assert lane.verdicts[-1] == expected[after]


async def test_cut_off_after_a_pause_was_asked_for(simulator, hand_in):
    """Where it stands was written down without an id: what was cut off since may have been handed in."""
    sim, _ = simulator
    await hand_in().attempt()
    sim.run_due()
    lane = hand_in(back)
    busy = sim.add(Fault(kind="answer", status=429, path="/v1/async/events"))
    await lane.attempt()
    sim.remove(busy)
    await lane.attempt(cut=True)
    doubt = await lane.attempt()

    assert (lane.verdicts[0], doubt.kind) == ((RETRY, "vendor.busy"), IN_DOUBT)
    sim.run_due()
    assert counted(sim, "refund_item") == 1


async def test_a_question_that_fails_after_something_was_cut_off(simulator, hand_in):
    """That something was cut off is not forgotten over it."""
    sim, _ = simulator
    await hand_in(**BOTH).attempt()
    sim.run_due()
    lane = hand_in(back, lines=[BACK, HAT_BACK])
    await lane.attempt()
    await lane.attempt(cut=True)  # the first is processed, the second handed in
    broken = sim.add(Fault(kind="answer", status=503, path="/v1/async/events/*"))
    await lane.attempt()
    sim.remove(broken)
    doubt = await lane.attempt()
    sim.run_due()

    assert (doubt.kind, doubt.code) == (IN_DOUBT, "sale.partly_taken")
    assert counted(sim, "refund_item") == 2


@pytest.mark.parametrize("lost", ["failed", "forgotten"])
async def test_an_outcome_that_nobody_knows(simulator, hand_in, lost):
    """A checkout is handed in again; of a return a person decides, and is believed unless its outcome turns up."""
    sim, _ = simulator
    await hand_in(name="s-1").attempt()
    sim.run_due()
    checkout, given_back = hand_in(), hand_in(back, original="s-1")
    sim.queue.word = lost
    for lane in (checkout, given_back):
        await lane.attempt()
    sim.run_due()
    if lost == "forgotten":
        sim.queue.events.clear()
    sim.queue.word = None
    for _ in range(2):
        await checkout.attempt()
    doubt = await given_back.attempt()
    still = await given_back.attempt()

    assert (checkout.verdicts[-1], doubt.code, still.code) == ((DONE, ""), *["sale.maybe_received"] * 2)
    assert counted(sim, "refund_item") == 0
    given_back.sent_again_by_a_person()
    for _ in range(2):
        await given_back.attempt()
    assert (given_back.verdicts[-1], counted(sim, "refund_item")) == ((DONE, ""), 1)


async def test_an_outcome_that_turns_up(simulator, hand_in):
    """It is asked for before a repeat that a person ordered: what was processed is not handed in again."""
    sim, _ = simulator
    await hand_in().attempt()
    sim.run_due()
    lane = hand_in(back)
    sim.queue.word = "failed"
    await lane.attempt()
    doubt = await lane.attempt()
    sim.queue.word = None
    list(sim.queue.events.values())[-1].status = "queued"  # the vendor's own support has put it right

    lane.sent_again_by_a_person()
    verdict = await lane.attempt()

    assert (doubt.kind, verdict.kind, counted(sim, "refund_item")) == (IN_DOUBT, DONE, 1)


@pytest.mark.parametrize("word", ["retried", "exported", "somewhere"])
async def test_words_that_are_no_end(simulator, hand_in, word):
    """The sale waits, and is never called delivered."""
    sim, _ = simulator
    sim.queue.word = word
    lane = hand_in(back)
    for _ in range(4):
        await lane.attempt()

    assert lane.verdicts == [(RETRY, "vendor.queued")] * 4
    assert dict(sim.requests)["POST async"] == 1


@pytest.mark.parametrize(
    ("fault", "first", "then"),
    [
        ({"kind": "drop", "after_processing": True}, (RETRY, "vendor.offline"), (IN_DOUBT, "sale.maybe_received")),
        ({"kind": "answer", "status": 503}, (RETRY, "vendor.error"), (IN_DOUBT, "sale.maybe_received")),
        ({"kind": "answer", "status": 429}, (RETRY, "vendor.busy"), (RETRY, "vendor.queued")),
    ],
    ids=["no answer", "an error", "too fast"],
)
async def test_trouble_on_the_way(simulator, hand_in, fault, first, then):
    """A return goes out again only when it cannot have been taken."""
    sim, _ = simulator
    lane = hand_in(back)
    broken = sim.add(Fault(path="/v1/async*", **fault))
    await lane.attempt()
    sim.remove(broken)
    await lane.attempt()

    assert lane.verdicts == [first, then]


async def test_trouble_with_the_question(simulator, hand_in):
    """What is queued is asked for again, and not handed in again."""
    sim, _ = simulator
    await hand_in().attempt()
    sim.run_due()
    lane = hand_in(back)
    await lane.attempt()
    broken = sim.add(Fault(path="/v1/async*", kind="answer", status=503))
    await lane.attempt()
    sim.remove(broken)
    await lane.attempt()

    assert lane.verdicts == [(RETRY, "vendor.queued"), (RETRY, "vendor.error"), (DONE, "")]
    assert counted(sim, "refund_item") == 1


@pytest.mark.parametrize(
    ("what", "table", "code"),
    [
        ({"tag": PHONE}, {}, "contact.unresolved"),
        ({}, {"external_id_field": "crm_id"}, "contact.unresolved"),
        ({"lines": [], "payments": [], "total": "0"}, {}, "sale.without_lines"),
    ],
    ids=["somebody by phone", "an external id without its field", "nothing"],
)
async def test_what_cannot_be_handed_in(simulator, hand_in, what, table, code):
    """Nobody is asked for, and nobody guessed."""
    sim, _ = simulator
    lane = hand_in(table=table, **what)

    await lane.attempt()

    assert (lane.verdicts, dict(sim.requests)) == ([(PARK, code)], {})


async def test_a_customer_by_an_external_id(simulator, hand_in):
    """It is told by its field."""
    sim, _ = simulator
    sim.add_member("c-9", external_ids={"crm_id": MEMBER})
    lane = hand_in(table={"external_id_field": "crm_id", "external_id_mode": "field_name"})

    await lane.attempt()
    await lane.attempt()

    assert lane.verdicts[-1] == (DONE, "")
    assert sim.applied("checkout")[0]["external_id"] == "crm_id"


async def test_a_token_that_ends(simulator, hand_in, clock):
    """It is renewed before, and once when it is refused all the same."""
    sim, _ = simulator
    lane = hand_in()
    await lane.attempt()
    clock.advance(275)
    await lane.attempt()
    assert sim.requests["POST token"] == 2
    sim.queue.tokens.clear()
    other = hand_in(name="t-2")
    other.room = lane.room

    await other.attempt()

    assert (other.verdicts, sim.requests["POST token"]) == ([(RETRY, "vendor.queued")], 3)


async def test_credentials_that_are_refused(hand_in):
    """The lane is held, the credentials are read again, and nothing was taken."""
    lane = hand_in(back, secret="wrong")

    verdict = await lane.attempt()

    assert (verdict.kind, verdict.code, verdict.not_received) == (HOLD, "vendor.credentials_missing", True)
    assert [one.refusals for one in lane.secrets.values()] == [1, 1]
    assert not lane.maybe_received
    with pytest.raises(VendorRefusedError):
        await lane.room.ping()


async def test_a_token_that_is_never_good(simulator, hand_in):
    """It is renewed once; then it is the credentials."""
    sim, _ = simulator
    sim.queue.counts_s = -1
    lane = hand_in()

    verdict = await lane.attempt()

    assert (verdict.kind, verdict.code) == (HOLD, "vendor.credentials_refused")
    assert sim.requests["POST token"] == 2


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (answer(200, b"{}"), RETRY),
        (answer(200, b'{"access_token": "a b"}'), RETRY),
        (answer(200, b"<html>"), RETRY),
        (answer(503), RETRY),
        (answer(400, b'{"status": "error", "error": "invalid_scope", "details": {"type": "x", "code": 220015}}'), HOLD),
    ],
)
async def test_no_token(hand_in, told, kind):
    """Whatever comes instead of one: the event was not sent."""
    async with wire(told) as server:
        lane = hand_in(back, url=server.url)
        verdict = await lane.attempt()

    assert (verdict.kind, verdict.not_received, len(server.requests)) == (kind, True, 1)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"payload": {"correlation_id": "a b"}}', b'{"payload": {"correlation_id": 7}}', b"[]", b"null"]
)
async def test_an_answer_without_an_id(hand_in, body):
    """Nobody knows then whether it was taken."""
    token = answer(200, b'{"access_token": "t", "expires_in": "300"}')
    async with wire(in_turn(token, answer(200, body))) as server:
        lane = hand_in(back, url=server.url)
        for _ in range(2):
            await lane.attempt()

    assert [kind for kind, _ in lane.verdicts] == [RETRY, IN_DOUBT]


async def test_pinging(simulator, hand_in):
    """An answer to a question for nobody's event is enough; nothing is handed in."""
    sim, _ = simulator
    room = hand_in().room
    await room.ping()
    fault = sim.add(Fault(kind="answer", status=503))
    with pytest.raises(VendorUnreachableError):
        await room.ping()
    sim.remove(fault)

    assert dict(sim.requests) == {"POST token": 1, "GET async": 1}


@pytest.mark.parametrize(
    "text",
    [None, "", "t-1", "1/2:3:first", "0x1/2:3:first:", "1/2:3:perhaps:", "1/2:3:first:a b"],
)
def test_what_is_no_place(text):
    """Another room's words, or damaged ones."""
    assert Place.parse(text) is None


def test_places():
    """What is written is what is read."""
    for place in (Place(0, 1), Place(3, 4, 17, again=True, id="5f0c-1"), Place(1, 2, 3)):
        assert Place.parse(str(place)) == place


@pytest.mark.parametrize("progress", [None, "2/3:1:first:abc"], ids=["cut off at once", "another count of events"])
async def test_a_return_of_which_nobody_knows_how_far_it_is(simulator, hand_in, progress):
    """It is left to a person: some of it may have been taken."""
    sim, _ = simulator
    lane = hand_in(back, lines=[BACK, HAT_BACK])
    lane.attempts, lane.maybe_received, lane.progress = 1, True, progress

    await lane.attempt()

    assert (lane.verdicts, sim.queue.events) == ([(IN_DOUBT, "sale.partly_taken")], {})


EXCHANGE = {
    "type": "return", "original_transaction_id": "s-1", "lines": [BACK, HAT_BACK, {**SOCKS, "sku": "SK-99"}],
}  # fmt: skip
TROUBLE = (
    {"kind": "drop", "after_processing": True}, {"kind": "drop"}, {"kind": "answer", "status": 503},
    {"kind": "answer", "status": 429}, {"kind": "answer", "status": 401},
)  # fmt: skip


PATHS = ("/v1/async/events", "/v1/async/events/*", "/v1/auth/token")


def times(sim):
    """How often each event of the exchange counted."""
    own = [event for event in sim.books.applied if "r-1" in event["data"].values() or event["action"] == "refund_item"]
    return [sum(one["data"] == event["data"] for one in own) for event in own]


def has_arrived(sim, lane):
    """Whether the event that is in doubt counted, as a person sees in the Management UI."""
    return len(times(sim)) > Place.parse(lane.progress).index


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_happens(simulator, hand_in, seed):
    """Cut off, refused, forgotten and unanswered in any order: nothing counts twice, and done is all of it."""
    chance = random.Random(seed)
    sim, _ = simulator
    items = [
        {"product_id": name, "price": price, "quantity": 2, "subtotal": 2 * price}
        for name, price in (("SK-77", 125), ("SK-88", 100))
    ]
    bought = {"transaction_id": "s-1", "total": 450, "items": items}
    sim.books.process({"customer": MEMBER, "action": "checkout", "data": bought})
    lane = hand_in(name="r-1", **EXCHANGE)
    for _ in range(40):
        sim.queue.word = chance.choice(["failed", "retried"]) if chance.random() < 0.1 else None
        fault = sim.add(Fault(path=chance.choice(PATHS), **chance.choice(TROUBLE))) if chance.random() < 0.4 else None
        await lane.attempt(cut=chance.random() < 0.15)
        if fault is not None:
            sim.remove(fault)
        sim.queue.word = None
        sim.run_due()
        for queued in sim.queue.events.values():
            queued.status = "queued" if queued.status == "retried" else queued.status
        kind, code = lane.verdicts[-1] if lane.verdicts else (RETRY, "")
        if kind is DONE or kind is DUPLICATE or code in TAKEN_IN_PART:
            break
        if kind is IN_DOUBT:
            if has_arrived(sim, lane):
                break  # a person discards it
            lane.sent_again_by_a_person()
    sim.run_due()

    assert set(times(sim)) <= {1}
    if lane.verdicts[-1][0] in (DONE, DUPLICATE):
        assert len(times(sim)) == 3
