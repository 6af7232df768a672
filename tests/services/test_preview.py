"""What a sale would earn: asked for within a cashier's patience, or estimated, and nobody is told who is a member."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from agent.domain.earning import Basis, EarningRule, Forecast
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.tagging import TaggingPolicy
from agent.domain.transaction import OpenTransaction, Transaction
from agent.errors import InputError, VendorRefusedError
from agent.services.asking import Asking
from agent.services.preview import NO_ID, Preview, Previewed, PreviewPolicy
from tests.fakes import (
    NOW,
    VENDOR,
    FakeClock,
    FakeReplica,
    FakeVendor,
    Offline,
    member,
    member_key,
    phone,
    phone_key,
    primary_key,
)

BUDGET_S = 60.0
NO_PATIENCE_S = 0.05
RULE = EarningRule(Decimal("0.1"), "SEK")
PHONE = {"type": "mobile_phone", "value": "070-174 06 05"}
LINE = {"kind": "purchase", "sku": "SK-1", "quantity": "1", "gross_paid": "250.00"}
BACK = {"kind": "return", "sku": "SK-1", "quantity": "-1", "gross_paid": "50.00"}
LIVE = (Decimal(40), Basis.LIVE, ())
ESTIMATE = (Decimal(25), Basis.ESTIMATE, ("loyalty.points_estimated",))
NOTHING = (None, Basis.UNAVAILABLE, ("loyalty.points_unavailable",))


class Previewer:
    """Says what it is told to, when the gate is open."""

    def __init__(self):
        self.says, self.fault, self.asked = Forecast(Decimal(40)), None, []
        self.gate = asyncio.Event()
        self.gate.set()

    async def points(self, key, sale, *, timeout_s, pace):
        await pace()
        self.asked.append((key, sale))
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return self.says


class Desk:
    """A service and everything it asks."""

    def __init__(self, *, level=3, live=True, previews=True, rule=RULE, budget_s=BUDGET_S, knows=True):
        self.clock, self.replica, self.vendor, self.people = FakeClock(), FakeReplica(), Previewer(), FakeVendor()
        self.link = Link(
            VENDOR, "loyalty", requests_per_second=0, backoff_first_s=10, backoff_max_s=900, uniform=lambda _a, b: b
        )
        tagging = TaggingPolicy(IdentifierType.MEMBER_NUMBER, (IdentifierType.MOBILE_PHONE,), level, "1042-03-")
        self.preview = Preview(
            clock=self.clock,
            normaliser=Normaliser("SE"),
            replica=self.replica,
            lookup=self.people if knows else None,
            vendor=self.vendor if previews else None,
            asking=Asking(self.clock, self.link, live=live, budget_s=budget_s),
            link=self.link,
            policy=PreviewPolicy(tagging, "1042", "03", rule),
        )

    async def ask(self, *, resolve=True, **sale) -> Previewed:
        stated = {"currency": "SEK", "lines": [LINE], **sale}
        return await self.preview.of(OpenTransaction.model_validate(stated), resolve=resolve)


def told(previewed):
    return previewed.points, previewed.basis, previewed.codes


@pytest.fixture
def desk():
    return Desk()


async def test_the_loyalty_system_is_asked(desk):
    """For the member whom the replica knows, about the sale as it would stand if it were closed now."""
    desk.replica.add(member(), phone())
    previewed = await desk.ask(identifier=PHONE)
    assert (told(previewed), previewed.looked_up) == (LIVE, True)
    ((key, sale),) = desk.vendor.asked
    assert key == member_key()
    assert isinstance(sale, Transaction)
    assert (sale.transaction_id, sale.store_id, sale.till_id, sale.occurred_at, sale.total, sale.payments) == (
        NO_ID, "1042", "03", NOW, Decimal(250), (),
    )  # fmt: skip
    assert desk.people.asked == []


async def test_what_the_till_states_stands(desk):
    """Its id, its place and its time."""
    stated = {"transaction_id": "s-1", "store_id": "7", "till_id": "9", "occurred_at": "2026-02-14T16:41:09+01:00"}
    await desk.ask(integration_key=member_key(), **stated)
    sale = desk.vendor.asked[0][1]
    assert {name: getattr(sale, name) for name in ("transaction_id", "store_id", "till_id")} == {
        name: stated[name] for name in ("transaction_id", "store_id", "till_id")
    }
    assert sale.occurred_at.isoformat() == stated["occurred_at"]


async def test_a_stated_key_is_not_looked_up(desk):
    """A primary one is asked about as it stands; nobody was looked up if no answer came."""
    previewed = await desk.ask(integration_key=member_key())
    assert (told(previewed), previewed.looked_up, desk.people.asked) == (LIVE, True, [])
    desk.vendor.fault = Offline()
    previewed = await desk.ask(integration_key=member_key())
    assert (told(previewed), previewed.looked_up) == (ESTIMATE, None)


async def test_a_number_of_this_till_is_not_asked_about(desk):
    """The vendor knows nobody by it: whoever has it is asked about by their own key."""
    number = primary_key(IdentifierType.EXTERNAL_ID, "1042-03-27993907")
    await desk.ask(integration_key=number)
    assert desk.vendor.asked == []
    desk.replica.add(member(), number.identifier)
    assert told(await desk.ask(integration_key=number)) == LIVE
    assert [key for key, _ in desk.vendor.asked] == [member_key()]


@pytest.mark.parametrize("how", [{"identifier": PHONE}, {"integration_key": phone_key()}], ids=["said", "a key"])
async def test_whom_only_the_vendor_knows(desk, how):
    """They are looked up there first, within the same budget."""
    desk.people.contacts[phone()] = ["10000499"]
    previewed = await desk.ask(**how)
    assert (told(previewed), previewed.looked_up) == (LIVE, True)
    assert [key for key, _ in desk.vendor.asked] == [member_key("10000499")]


@pytest.mark.parametrize(
    ("people", "looked_up"),
    [([], False), (["1", "2"], True)],
    ids=["nobody", "several"],
)
async def test_who_is_not_one_member(desk, people, looked_up):
    """The estimate is anybody's; nobody found costs a miss, several a hit, as a look-up does."""
    desk.people.contacts[phone()] = people
    previewed = await desk.ask(identifier=PHONE)
    assert (told(previewed), previewed.looked_up, desk.vendor.asked) == (ESTIMATE, looked_up, [])


async def test_several_in_the_replica(desk):
    """Nobody is guessed, and nobody is asked."""
    for number in ("1", "2"):
        desk.replica.add(member(number), phone())
    previewed = await desk.ask(identifier=PHONE)
    assert (told(previewed), previewed.looked_up) == (ESTIMATE, True)
    assert (desk.people.asked, desk.vendor.asked, desk.link.answers) == ([], [], None)


async def test_whom_nobody_can_look_up():
    """No call is made, so that the line is not taken for a good one; it costs a miss."""
    desk = Desk(knows=False)
    previewed = await desk.ask(identifier=PHONE)
    assert (told(previewed), previewed.looked_up, desk.link.answers) == (ESTIMATE, False, None)


@pytest.mark.parametrize(
    ("says", "looked_up"),
    [(Forecast(None, member=False), False), (Forecast(None), True)],
    ids=["it does not know the member", "it cannot tell"],
)
async def test_a_system_that_does_not_say(desk, says, looked_up):
    """The estimate stands in."""
    desk.replica.add(member(), phone())
    desk.vendor.says = says
    previewed = await desk.ask(identifier=PHONE)
    assert (told(previewed), previewed.looked_up) == (ESTIMATE, looked_up)


async def test_nothing_is_a_number_too(desk):
    """That a sale earns nothing is live, and no estimate takes its place."""
    desk.vendor.says = Forecast(Decimal(0))
    assert told(await desk.ask(integration_key=member_key())) == (Decimal(0), Basis.LIVE, ())


@pytest.mark.parametrize(
    "sale",
    [
        {},
        {"integration_key": member_key(), "lines": [LINE, BACK]},
        {"integration_key": member_key(), "type": "return"},
    ],
    ids=["a guest", "an exchange", "a return"],
)
async def test_who_and_what_is_not_asked_about(desk, sale):
    """A sale of nobody's, and what takes back; nobody is looked up."""
    previewed = await desk.ask(**sale)
    assert (previewed.basis, previewed.looked_up, desk.vendor.asked) == (Basis.ESTIMATE, None, [])


@pytest.mark.parametrize("fault", [Offline(), VendorRefusedError()], ids=["silent", "refused"])
async def test_no_answer(desk, fault):
    """The estimate stands in, and the line hears of it; whom the replica knows costs a hit."""
    desk.replica.add(member(), phone())
    desk.vendor.fault = fault
    previewed = await desk.ask(identifier=PHONE)
    assert (told(previewed), previewed.looked_up) == (ESTIMATE, True)
    assert desk.link.state != "online"


async def test_a_system_that_is_too_slow():
    """The budget is for everything that is asked, and ends it."""
    desk = Desk(budget_s=NO_PATIENCE_S)
    desk.vendor.gate.clear()
    previewed = await desk.ask(integration_key=member_key())
    assert told(previewed) == ESTIMATE
    assert len(desk.vendor.asked) == 1


@pytest.mark.parametrize(
    ("table", "resolve"),
    [({"previews": False}, True), ({"live": False}, True), ({}, False)],
    ids=["it has no preview", "not asked live", "the ration is used up"],
)
async def test_where_it_is_not_asked(table, resolve):
    """The estimate stands in; where there is nothing to ask for, or nobody may be looked up, nobody is."""
    desk = Desk(**table)
    desk.people.contacts[phone()] = ["10000499"]
    previewed = await desk.ask(identifier=PHONE, resolve=resolve)
    assert told(previewed) == ESTIMATE
    assert (desk.people.asked, desk.vendor.asked, desk.link.answers) == ([], [], None)
    assert previewed.looked_up is (False if "live" in table else None)


@pytest.mark.parametrize(
    ("rule", "currency"), [(None, "SEK"), (RULE, "NOK")], ids=["no rule", "a rule for another currency"]
)
async def test_nobody_can_say(rule, currency):
    """It is told so, and no number is made up."""
    desk = Desk(rule=rule)
    desk.vendor.fault = Offline()
    assert told(await desk.ask(integration_key=member_key(), currency=currency)) == NOTHING
    assert told(await desk.ask(currency=currency)) == NOTHING


@pytest.mark.parametrize(
    ("level", "down", "sale", "expected"),
    [
        (1, True, {"identifier": PHONE}, (None, Basis.UNAVAILABLE, ("loyalty.unavailable",))),
        (1, False, {"identifier": PHONE}, ESTIMATE),
        (2, True, {"identifier": PHONE}, ESTIMATE),
        (1, True, {"integration_key": member_key()}, ESTIMATE),
        (1, True, {"identifier": PHONE, "new_contact": {"mobile_phone": "0701740605"}}, ESTIMATE),
        (1, True, {}, ESTIMATE),
    ],
    ids=["level 1", "it answers", "level 2", "a key is a tag", "somebody new", "a guest"],
)
async def test_a_sale_that_would_be_nobody_s(level, down, sale, expected):
    """No points are shown for what would be linked to nobody: level 1, nobody answers, and only words to go by."""
    desk = Desk(level=level, previews=False)
    if down:
        desk.link.silent(NOW, desk.clock.monotonic())
    assert told(await desk.ask(**sale)) == expected


@pytest.mark.parametrize(
    ("sale", "pointers"),
    [
        ({"total": "1.00"}, ["/total"]),
        ({"identifier": {"type": "mobile_phone", "value": "12"}}, ["/identifier/value"]),
        ({"integration_key": {"kind": "secondary", "type": "email", "value": "a@example.com"}},
         ["/integration_key/type"]),
        ({"new_contact": {"mobile_phone": "12"}, "lines": []}, ["/lines", "/new_contact/mobile_phone"]),
    ],
    ids=["sums", "an identifier", "a key", "both"],
)  # fmt: skip
async def test_what_does_not_fit(desk, sale, pointers):
    """Everything that is wrong is told at once, and nobody is asked."""
    with pytest.raises(InputError) as refused:
        await desk.ask(**sale)
    assert [fault.pointer for fault in refused.value.faults] == pointers
    assert (desk.people.asked, desk.vendor.asked) == ([], [])
