"""Sales that name nobody, where the workspace takes guests' events."""

import pickle
from decimal import Decimal

import pytest

from agent.connectors.antavo import build
from agent.domain.delivery import VerdictKind
from agent.ports import Recipient, Spent
from tests.connectors.antavo.conftest import MEMBER, make_settings
from tests.connectors.antavo.test_sender import BACK, DONE, DUPLICATE, PARK, SOCKS, SPLIT, now, sale, told
from tests.connectors.mparticle.sales import Reference, make_outgoing
from tests.fakes import surroundings
from tests.wire import POLICY

LINES = [SOCKS]


def guest(name="g-1", **changes):
    state = {key: changes.pop(key) for key in ("maybe_received", "entry", "spent") if key in changes}
    return make_outgoing(now(name, lines=changes.pop("lines", LINES), **changes), guest=True, person=b"", **state)


async def test_a_purchase_of_nobody(simulator, connect):
    """It is told as a guest's, with no customer beside it, and makes nobody a member."""
    sim, running = simulator
    sim.books.guests = sim.books.anonymous = True

    [verdict] = await connect(running.url, guest_sales=True).send([guest()])

    assert (verdict.kind, verdict.reference) == (DONE, "g-1")
    [event] = sim.received
    assert (event["guest"], event["action"], "customer" in event) == ("true", "checkout", False)
    assert set(sim.books.members.by_id) == {MEMBER}


async def test_points_of_somebody_who_was_erased(simulator, connect):
    """They were noted for the sale, which is nobody's now: it goes as a guest's, and burns nothing."""
    sim, running = simulator
    sim.books.guests = True

    [verdict] = await connect(running.url, guest_sales=True).send([guest(spent=Spent(Decimal(100), None))])

    [event] = sim.received
    assert (verdict.kind, event["guest"], "points_burned" in event) == (DONE, "true", False)


async def test_guests_among_members(simulator, connect):
    """A bulk request takes no guests: members go together, and each guest by itself."""
    sim, running = simulator
    sim.books.guests = True
    sender = connect(running.url, guest_sales=True)

    first = await sender.send([sale("t-1"), guest("g-1"), sale("t-2"), guest("g-2")])
    second = await sender.send([guest("g-1"), guest("g-2")])
    third = await sender.send([guest("g-2")])

    assert [verdict.kind for verdict in (*first, *second, *third)] == [DONE, SPLIT, DONE, SPLIT, DONE, SPLIT, DONE]
    assert sim.held() == {"t-1": 1, "t-2": 1, "g-1": 1, "g-2": 1}


async def test_an_answer_that_is_lost(simulator, connect):
    """A guest's checkout is known by its id; at a first attempt nobody can say whose that is."""
    sim, running = simulator
    sim.books.guests = True
    sender = connect(running.url, guest_sales=True)

    await sender.send([guest()])
    [again] = await sender.send([guest(maybe_received=True)])
    [taken] = await sender.send([guest()])

    assert (again.kind, told([taken]), taken.vendor_code) == (DUPLICATE, [(PARK, "sale.collision")], "5003")
    assert sim.held() == {"g-1": 1}


async def test_a_workspace_that_takes_no_guests(simulator, connect):
    """Parked, with the vendor's number: nothing is made up to stand for a customer."""
    sim, running = simulator

    [verdict] = await connect(running.url, guest_sales=True).send([guest()])

    assert (verdict.kind, verdict.code) == (VerdictKind.PARK, "vendor.rejected")
    assert sim.held() == {}


@pytest.mark.parametrize(
    ("table", "changes"), [({}, {}), ({"guest_sales": True}, {"lines": [SOCKS, BACK], "original_transaction_id": "t"})]
)
async def test_what_is_not_told(simulator, connect, table, changes):
    """Of giving something back without a customer nothing is known; without the setting nothing of guests goes."""
    sim, running = simulator
    sim.books.guests = True

    verdicts = await connect(running.url, **table).send([guest(**changes)])

    assert (told(verdicts), sim.received) == ([(PARK, "sale.without_member")], [])


@pytest.mark.parametrize(
    ("on", "changes", "wanted"),
    [
        (False, {}, False),
        (True, {}, True),
        (True, {"lines": [BACK], "type": "return", "original_transaction_id": "t-1"}, False),
        (True, {"lines": [], "type": "void", "original_transaction_id": "t-1", "payments": [], "total": "0"}, False),
    ],
    ids=["off", "bought", "given back", "cleared"],
)
async def test_which_are_wanted(on, changes, wanted):
    """It is asked when a sale is recorded."""
    room = build(make_settings(guest_sales=on), surroundings(secret=lambda _name: Reference("x"), http=POLICY))
    recipient = pickle.loads(pickle.dumps(Recipient("antavo", room.guests)))

    assert recipient.wants_guest(now(**{"lines": LINES, **changes})) is wanted
    await room.close()
