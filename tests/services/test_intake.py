"""Taking a sale: what is refused, whom it is tagged with, what is on disk, and what the cashier hears."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from agent.domain.delivery import DONE
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.tagging import TaggingPolicy
from agent.errors import ConflictError, Fault, InputError, StorageDamagedError, StorageFullError
from agent.ports import Recipient, Settled
from agent.services.intake import Intake, IntakePolicy
from tests.fakes import (
    NOW,
    VENDOR,
    FakeClock,
    FakeReplica,
    email,
    member,
    member_key,
    open_outbox,
    phone,
    phone_key,
    primary_key,
    transaction,
)

PHONE_SAID = {"type": "mobile_phone", "value": "070-174 06 05"}
CONTACT = {"first_name": "Alma", "mobile_phone": "070-174 06 05", "email": "Alma@Example.com"}


class Till:
    """An intake with a real outbox behind it."""

    def __init__(
        self, outbox, *, level=3, secondary=("mobile_phone", "email"), guests=False, further=(), misnamed=None
    ):
        self.clock, self.replica, self.outbox = FakeClock(), FakeReplica(), outbox
        self.link = Link(
            VENDOR, "loyalty", requests_per_second=0, backoff_first_s=10, backoff_max_s=900, uniform=lambda _a, b: b
        )
        self.woken, self.room = 0, True
        self.held = set()
        self.intake = Intake(
            clock=self.clock,
            normaliser=Normaliser("SE"),
            replica=self.replica,
            outbox=outbox,
            room=lambda: self.room,
            link=self.link,
            policy=IntakePolicy(
                tagging=TaggingPolicy(
                    IdentifierType.MEMBER_NUMBER, tuple(IdentifierType(kind) for kind in secondary), level, "1042-03-"
                ),
                store_id="1042",
                till_id="03",
                zone=ZoneInfo("Europe/Stockholm"),
                stale_after=timedelta(hours=24),
                recipients=(Recipient(VENDOR, guests=guests), *further),
            ),
            accepted=self._accepted,
            held=lambda: self.held,
            misnamed=misnamed,
        )

    def _accepted(self):
        self.woken += 1

    def offline(self):
        self.link.silent(self.clock.now(), self.clock.monotonic())

    async def sell(self, name="sale", *, resolve=True, **changes):
        return await self.intake.accept(transaction(name, **changes), resolve=resolve)

    async def kept(self):
        (outgoing,) = await self.outbox.lease(VENDOR, 1, self.clock.now())
        return outgoing

    def empty(self):
        return self.outbox._reader.execute(
            "SELECT (SELECT count(*) FROM sales) + (SELECT count(*) FROM statements)"
        ).fetchone()[0] == 0  # fmt: skip


@pytest.fixture
def outbox(tmp_path):
    with open_outbox(tmp_path / "outbox.db") as outbox:
        yield outbox


@pytest.fixture
def till(tmp_path, outbox):
    return Till(outbox)


def line(**changes):
    return [{"kind": "purchase", "sku": "A", "quantity": "1", "gross_paid": "250.00", **changes}]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"currency": "XXX"}, "/currency"),
        ({"total": "249.99"}, "/total"),
        ({"payments": [{"type": "cash", "amount": "249"}]}, "/payments"),
        ({"lines": []}, "/lines"),
        ({"lines": line(gross_paid="250.001")}, "/lines/0/gross_paid"),
        ({"lines": line(sku=None)}, "/lines/0/sku"),
        ({"lines": line(quantity="-1")}, "/lines/0/quantity"),
        ({"lines": line(unit_price="200.00")}, "/lines/0/gross_paid"),
        ({"type": "return"}, "/lines"),
        ({"type": "void", "lines": [], "payments": [], "total": "0"}, "/original_transaction_id"),
        ({"original_transaction_id": "sale"}, "/original_transaction_id"),
        ({"identifier": {"type": "mobile_phone", "value": "12"}}, "/identifier/value"),
        ({"identifier": {"type": "any", "value": "\u0001"}}, "/identifier/value"),
        ({"identifier": PHONE_SAID, "integration_key": member_key()}, "/integration_key"),
        ({"new_contact": {"first_name": "Alma"}}, "/new_contact"),
        ({"new_contact": {"mobile_phone": "12", "email": "alma"}}, "/new_contact/mobile_phone"),
        ({"new_contact": {"mobile_phone": "12", "email": "alma"}}, "/new_contact/email"),
        ({"integration_key": {"kind": "secondary", "type": "mobile_phone", "value": "12"}}, "/integration_key/value"),
        ({"integration_key": {"kind": "secondary", "type": "card_number", "value": "735001"}}, "/integration_key/type"),
        ({"integration_key": {"kind": "primary", "type": "email", "value": "a@example.com"}}, "/integration_key/type"),
        (
            {"integration_key": {"kind": "primary", "type": "external_id", "value": "1042-04-27993907"}},
            "/integration_key/type",
        ),
        ({"type": "points_claim"}, "/identifier"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_unsound_is_refused_and_not_kept(till, changes, pointer):
    """Everything wrong is named by its place, no value is repeated, and nothing is on disk."""
    if changes.get("type") == "return":
        changes = {**changes, "lines": line(), "total": "250.00", "payments": [{"type": "card", "amount": "250.00"}]}
    with pytest.raises(InputError) as caught:
        await till.sell(**changes)
    faults = {fault.pointer for fault in caught.value.faults}
    assert pointer in faults
    assert "alma" not in str([fault.message for fault in caught.value.faults]).lower()
    assert till.empty()
    assert till.woken == 0


async def test_what_is_no_free_attribute_is_refused(outbox):
    """By the loyalty system's names; a new contact is one wherever it stands."""
    till = Till(outbox, misnamed=lambda given: [Fault(f"/attributes/{name}", "is none") for name in given.attributes])
    with pytest.raises(InputError) as caught:
        await till.sell(new_contact={**CONTACT, "attributes": {"memberNumber": "1"}})
    assert caught.value.faults == (Fault("/new_contact/attributes/memberNumber", "is none"),)
    assert till.empty()
    await till.sell(new_contact=CONTACT)
    assert not till.empty()


async def test_all_faults_are_told_at_once(till):
    """The POS learns everything in one answer."""
    with pytest.raises(InputError) as caught:
        await till.sell(total="1", identifier={"type": "email", "value": "x"}, new_contact={"email": "y"})
    assert {"/total", "/payments", "/identifier/value", "/new_contact/email"} <= {
        f.pointer for f in caught.value.faults
    }


async def test_defaults_come_from_the_configuration(till):
    """Store, till and receipt number are filled in, and what the till says wins."""
    await till.sell(identifier=PHONE_SAID)
    sale = (await till.kept()).transaction
    assert (sale.store_id, sale.till_id, sale.receipt_number) == ("1042", "03", "sale")
    await till.sell("other", identifier=PHONE_SAID, store_id="7", till_id="9", receipt_number="000187")
    sale = (await till.kept()).transaction
    assert (sale.store_id, sale.till_id, sale.receipt_number) == ("7", "9", "000187")


async def test_a_repeat_with_the_defaults_spelled_out_is_the_same_sale(till):
    """And its delivery is not begun a second time."""
    await till.sell(identifier=PHONE_SAID)
    again = await till.sell(
        identifier={"type": "mobile_phone", "value": "+46 70 174 06 05"}, store_id="1042", till_id="03"
    )
    assert again.receipt.duplicate
    assert till.woken == 1


async def test_a_new_contact_spelled_otherwise_is_the_same_sale(till):
    """Its identifiers are compared normalised, too."""
    first = {"mobile_phone": "070-174 06 05", "email": "Alma@Example.com"}
    await till.sell(new_contact=first)
    again = await till.sell(new_contact={"mobile_phone": "+46701740605", "email": "alma@example.com"})
    assert again.receipt.duplicate


async def test_a_repeat_of_a_delivered_sale_says_nothing_of_later(till):
    """What was true when the sale was taken is not said again once it is done."""
    assert (await till.sell(identifier=PHONE_SAID)).codes == ("loyalty.points_later",)
    assert (await till.sell(identifier=PHONE_SAID)).codes == ("loyalty.points_later",)
    (outgoing,) = await till.outbox.lease(VENDOR, 1, NOW)
    await till.outbox.settle([Settled(outgoing.entry, DONE)], NOW)
    assert (await till.sell(identifier=PHONE_SAID)).codes == ()


# --- the tag and the messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("online", "known", "changes", "key", "code"),
    [
        (True, 1, {"identifier": PHONE_SAID}, member_key(), None),
        (False, 1, {"identifier": PHONE_SAID}, member_key(), "loyalty.offline.replica"),
        (True, 0, {"identifier": PHONE_SAID}, phone_key(), "loyalty.points_later"),
        (False, 0, {"identifier": PHONE_SAID}, phone_key(), "loyalty.offline.tagged"),
        (True, 2, {"identifier": PHONE_SAID}, phone_key(), "loyalty.ambiguous"),
        (True, 0, {"identifier": {"type": "card_number", "value": "735001"}}, None, "loyalty.points_later"),
        (False, 0, {"identifier": {"type": "card_number", "value": "735001"}}, None, "loyalty.offline.untagged"),
        (True, 0, {}, None, None),
        (True, 0, {"integration_key": phone_key()}, phone_key(), "loyalty.points_later"),
        (False, 0, {"integration_key": phone_key()}, phone_key(), "loyalty.offline.tagged"),
        (True, 2, {"integration_key": member_key("77")}, member_key("77"), None),
        (False, 2, {"integration_key": member_key("77")}, member_key("77"), "loyalty.offline.tagged"),
    ],
    ids=[
        "member", "member, offline", "unknown", "unknown, offline", "shared", "no key for it", "no key for it, offline",
        "guest", "stated secondary", "stated secondary, offline", "stated primary", "stated primary, offline",
    ],
)  # fmt: skip
async def test_the_tag_and_what_is_said_about_it(  # noqa: PLR0917 - a table's columns
    tmp_path, outbox, online, known, changes, key, code
):
    """A primary key is never guessed, a secondary one kept, and the cashier told."""
    till = Till(outbox, guests=True)
    for number in range(known):
        till.replica.add(member(["10000421", "2"][number]), phone())
    if not online:
        till.offline()
    taken = await till.sell(**changes)
    assert (taken.receipt.key, taken.codes) == (key, (code,) if code else ())
    assert (await till.kept()).key == key


async def test_the_answer_says_how_it_was_served(till):
    """From the replica with its age, or from nowhere; and with which level."""
    till.replica.add(member(), phone())
    till.clock.advance(90)
    served = (await till.sell(identifier=PHONE_SAID)).served
    assert (served.source, served.age_s, served.stale, served.level) == ("replica", 90, False, 3)
    served = (await till.sell("guest")).served
    assert (served.source, served.as_of, served.age_s, served.level) == ("none", None, None, 3)


async def test_an_old_replica_says_so_and_an_expired_one_says_nothing(till):
    """A day old: the member and a warning. After its end: the secondary key, level 2 while offline."""
    till.replica.add(member(), phone())
    till.clock.advance(25 * 3600)
    taken = await till.sell(identifier=PHONE_SAID)
    assert (taken.receipt.key, taken.codes, taken.served.stale) == (member_key(), ("loyalty.stale",), True)
    till.offline()
    till.replica.as_of = None
    taken = await till.sell("late", identifier=PHONE_SAID)
    assert (taken.receipt.key, taken.served.level) == (phone_key(), 2)
    assert taken.looked_up is False


@pytest.mark.parametrize("method", ["info", "resolve"])
async def test_a_damaged_replica_does_not_stop_a_sale(till, method):
    """It is worth as much as none: the secondary key."""

    def broken(*_args):
        raise StorageDamagedError

    till.replica.add(member(), phone())
    setattr(till.replica, method, broken)
    assert (await till.sell(identifier=PHONE_SAID)).receipt.key == phone_key()


@pytest.mark.parametrize(("level", "online"), [(1, False), (2, True)])
async def test_below_level_three_the_replica_is_not_read(tmp_path, outbox, level, online):
    """Level 1 offline puts nothing on the sale; level 2 tags with what was said."""
    till = Till(outbox, level=level)
    till.replica.add(member(), phone())
    if not online:
        till.offline()
    taken = await till.sell(identifier=PHONE_SAID)
    assert taken.receipt.key == (phone_key() if level == 2 else None)
    assert taken.looked_up is False


async def test_beyond_the_ration_nobody_is_looked_up(till):
    """The sale is tagged with the secondary key and resolved at delivery: the answer tells nobody who is a member."""
    till.replica.add(member(), phone())
    taken = await till.sell(identifier=PHONE_SAID, resolve=False)
    assert (taken.receipt.key, taken.looked_up, taken.codes) == (phone_key(), None, ("loyalty.points_later",))
    assert (await till.kept()).open
    assert till.outbox.story("sale").quiet
    await till.sell("within", identifier=PHONE_SAID)
    await till.sell("guest", resolve=False)
    assert not till.outbox.story("within").quiet
    assert not till.outbox.story("guest").quiet


@pytest.mark.parametrize("kind", ["void", "return"])
async def test_whoever_names_a_sale_alone_is_not_told_whose_it_was(till, kind):
    """It goes under that sale's key, and the answer has no value of it, at once and when it is repeated."""
    till.replica.add(member(), phone())
    await till.sell("sale", identifier=PHONE_SAID)
    about = {"void": {"lines": [], "payments": [], "total": "0"}, "return": {}}[kind] | {
        "type": kind,
        "original_transaction_id": "sale",
    }
    taken = [await till.sell("later", **about) for _ in range(2)]
    assert [(one.receipt.key, one.receipt.key_kind) for one in taken] == [(None, "primary")] * 2
    assert [one.receipt.duplicate for one in taken] == [False, True]


@pytest.mark.parametrize(("known", "said"), [(1, True), (0, False), (2, False)], ids=["hit", "miss", "shared"])
async def test_a_look_up_counts_as_hit_or_miss(till, known, said):
    """What the ration is told."""
    for number in range(known):
        till.replica.add(member(str(number)), phone())
    assert (await till.sell(identifier=PHONE_SAID)).looked_up is said
    assert (await till.sell("guest")).looked_up is None


# --- guests, new contacts, other kinds ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guests", "deliveries"),
    [(True, 1), (False, 0), (lambda sale: sale.channel == "pos", 1), (lambda sale: sale.channel != "pos", 0)],
    ids=["wants guests", "wants none", "wants this one", "wants others"],
)
async def test_a_guest_goes_where_guests_are_wanted(tmp_path, outbox, guests, deliveries):
    """At a vendor without guests the sale is done at once."""
    till = Till(outbox, guests=guests)
    taken = await till.sell()
    assert taken.receipt.state == ("queued" if deliveries else "delivered")
    assert len(outbox.story("sale").deliveries) == deliveries


async def test_a_new_contact_is_tagged_and_kept_with_all_its_identifiers(till):
    """The tag is the first secondary key; delivery looks everything up before a contact is made."""
    taken = await till.sell(new_contact=CONTACT)
    outgoing = await till.kept()
    assert taken.receipt.key == phone_key()
    assert outgoing.readings == (phone(), email())
    assert outgoing.open


async def test_an_identifier_decides_and_the_new_contact_s_are_kept_too(till):
    """The tag is what was identified; the contact's other ways to be known are looked up at delivery."""
    taken = await till.sell(identifier={"type": "email", "value": "alma@example.com"}, new_contact=CONTACT)
    outgoing = await till.kept()
    assert taken.receipt.key.type == "email"
    assert outgoing.readings == (email(), phone())
    assert (
        await till.sell(identifier={"type": "email", "value": "alma@example.com"}, new_contact=CONTACT)
    ).receipt.key == (taken.receipt.key)


async def test_a_stated_key_beside_a_new_contact_is_looked_up_first(till):
    """Then the contact's own identifiers."""
    await till.sell(integration_key=phone_key(6), new_contact={"email": "alma@example.com"})
    outgoing = await till.kept()
    assert (outgoing.key, outgoing.readings) == (phone_key(6), (phone(6), email()))


async def test_a_stated_key_is_normalised(till):
    """However it was spelled, it is what identify would have said."""
    stated = {"kind": "secondary", "type": "mobile_phone", "value": "070-174 06 05"}
    assert (await till.sell(integration_key=stated)).receipt.key == phone_key()


@pytest.mark.parametrize("known", [True, False], ids=["known by the feed", "known to nobody"])
async def test_a_number_of_this_till_of_which_nothing_is_on_record_any_more(till, known):
    """It was told as the key, so its sale is taken: it is whoever has the number, which is found out at delivery."""
    number = primary_key(IdentifierType.EXTERNAL_ID, "1042-03-27993907")
    if known:
        till.replica.add(member(), number.identifier)
    taken = await till.sell(integration_key=number)
    assert (await till.sell(integration_key=number)).receipt.duplicate
    assert taken.receipt.key == (member_key() if known else None)
    outgoing = await till.kept()
    assert (outgoing.key, outgoing.open, outgoing.readings) == (taken.receipt.key, not known, (number.identifier,))


async def test_returns_and_voids_find_their_sale(till):
    """A void of an unsent sale takes both off the line; a return waits behind its purchase."""
    await till.sell(identifier=PHONE_SAID)
    await till.sell("return", type="return", original_transaction_id="sale", identifier=PHONE_SAID)
    await till.sell("blind", type="return", identifier=PHONE_SAID)
    batch = await till.outbox.lease(VENDOR, 9, NOW)
    assert [outgoing.transaction.transaction_id for outgoing in batch] == ["sale", "blind"]
    await till.outbox.release([outgoing.entry for outgoing in batch])
    taken = await till.sell("void", type="void", original_transaction_id="sale")
    assert taken.receipt.state == "delivered"
    assert [d.transaction_id for d in till.outbox.queue(state=None, vendor=None, limit=9, after=0)] == [
        "return",
        "blind",
    ]


async def test_points_are_claimed_once(till):
    """A guest's receipt can be claimed; a member's cannot be claimed again, and the text says why."""
    await till.sell("guest")
    claim = {"type": "points_claim", "original_transaction_id": "guest", "identifier": PHONE_SAID}
    assert (await till.sell("claim", **claim)).receipt.key == phone_key()
    with pytest.raises(ConflictError, match="cannot be claimed again"):
        await till.sell("claim-2", **claim)
    await till.sell("members", identifier=PHONE_SAID)
    with pytest.raises(ConflictError, match="cannot be claimed again"):
        await till.sell("claim-3", **{**claim, "original_transaction_id": "members"})
    assert (await till.sell("claim-4", type="points_claim", identifier=PHONE_SAID)).receipt.key == phone_key()


# --- room -----------------------------------------------------------------------------------------------------


async def test_without_room_new_sales_are_refused(till):
    """No half-kept sale; a repeat of one that is kept is still answered; with room again, sales go on."""
    await till.sell("kept", identifier=PHONE_SAID)
    till.room = False
    with pytest.raises(StorageFullError):
        await till.sell("refused", identifier=PHONE_SAID)
    assert not till.outbox.knows("refused")
    assert (await till.sell("kept", identifier=PHONE_SAID)).receipt.duplicate

    till.room = True
    assert not (await till.sell("refused", identifier=PHONE_SAID)).receipt.duplicate


async def test_a_sale_for_a_held_lane_is_answered_as_held(till):
    """The till hears at once what it would hear when it asks."""
    till.held.add(VENDOR)
    assert (await till.sell(identifier=PHONE_SAID)).receipt.state == "held"


async def test_a_disk_that_fills_up_between_two_looks_keeps_nothing_of_the_sale(till):
    """The commit itself fails: 507, nothing kept, nothing woken."""
    await till.outbox._writer.run_alone(lambda db: db.execute("PRAGMA max_page_count = 1").fetchall())
    big = {"email": "a@example.com", "attributes": {"a": "x" * 50_000}}
    with pytest.raises(StorageFullError):
        await till.sell(identifier=PHONE_SAID, new_contact=big)
    assert till.empty()
    assert till.woken == 0


@pytest.mark.parametrize(
    ("secondary", "changes", "expected"),
    [
        ((), {}, ["ledger"]),
        (("mobile_phone",), {"integration_key": member_key().model_dump()}, [VENDOR, "ledger", "club"]),
        (("mobile_phone",), {"identifier": PHONE_SAID}, [VENDOR, "ledger", "club"]),
        ((), {"identifier": PHONE_SAID}, [VENDOR, "ledger"]),
        ((), {"new_contact": CONTACT}, [VENDOR, "ledger"]),
    ],
    ids=["a guest", "a member", "a phone that may be sent", "a phone that may not", "a new contact"],
)
async def test_each_system_gets_what_it_wants(outbox, secondary, changes, expected):
    """Guests go to who takes them; who takes members only gets a sale at once only under a key."""
    further = (Recipient("ledger", guests=True, owner=False), Recipient("club", owner=False))
    till = Till(outbox, secondary=secondary, further=further)
    await till.sell("sale", **changes)
    assert [delivery.vendor for delivery in outbox.story("sale").deliveries] == expected
