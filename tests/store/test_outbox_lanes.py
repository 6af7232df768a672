"""Sales that several systems get: each has a delivery of its own, and what one settles is known to all."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.domain.belonging import Wanted, belonging
from agent.domain.delivery import DeliveryState, Verdict, VerdictKind
from agent.domain.retention import RetentionPlan
from agent.errors import ConflictError
from agent.ports import Recipient, Settled
from agent.store.mending import Clues, mend
from agent.store.persons import PersonalSales
from tests.fakes import NAMES, NOW, acceptance, member_key, open_outbox, phone, phone_key

OWNER, LEDGER, CLUB = "voyado", "ledger", "club"
ALL = (OWNER, LEDGER, CLUB)
RECIPIENTS = (
    Recipient(OWNER, guests=False, owner=True),
    Recipient(LEDGER, guests=True, owner=False),
    Recipient(CLUB, guests=False, owner=False),
)
DONE = Verdict(VerdictKind.DONE, status=200)
REFUSED = Verdict(VerdictKind.PARK, "vendor.rejected", 422)
UNKNOWN = Verdict(VerdictKind.PARK, "contact.unknown", not_received=True)
OFFLINE = Verdict(VerdictKind.RETRY, "vendor.offline", reached=False, not_received=True)
CUT = Verdict(VerdictKind.RETRY, "vendor.offline", reached=False)


@pytest.fixture
def outbox(tmp_path):
    with open_outbox(tmp_path / "outbox.db", recipients=RECIPIENTS) as outbox:
        yield outbox


async def lease(outbox, vendor, *, now=NOW, limit=10):
    return await outbox.lease(vendor, limit, now)


async def settle(outbox, vendor, verdict, *, now=NOW, **more):
    """Everything that is due for one vendor draws this verdict."""
    batch = await lease(outbox, vendor, now=now)
    await outbox.settle([Settled(outgoing.entry, verdict, **more) for outgoing in batch], now)
    return batch


def states(outbox, name="sale"):
    return {delivery.vendor: delivery.state.value for delivery in outbox.story(name).deliveries}


async def test_a_sale_is_delivered_when_the_last_has_it(outbox):
    """Until then it is as far as the least finished; its person is kept for whoever still waits."""
    await outbox.accept(acceptance("sale", key=member_key(), vendors=ALL), NOW)
    plan = RetentionPlan(NOW + timedelta(days=1), NOW - timedelta(days=1), NOW - timedelta(days=1), NOW)
    for vendor in ALL:
        assert not outbox.due(plan)
        await settle(outbox, vendor, DONE)
    assert states(outbox) == dict.fromkeys(ALL, "delivered")
    assert (await outbox.purge(plan, NOW))["delivered"] == 1


async def test_what_is_wrong_in_one_lane_is_in_one_lane(outbox):
    """Parked at one, backing off at another, delivered at the third."""
    await outbox.accept(acceptance("sale", key=member_key(), vendors=ALL), NOW)
    await settle(outbox, OWNER, OFFLINE, retry_at=NOW + timedelta(hours=1))
    await settle(outbox, LEDGER, REFUSED)
    await settle(outbox, CLUB, DONE)
    assert states(outbox) == {OWNER: "queued", LEDGER: "parked", CLUB: "delivered"}
    info = outbox.info()
    assert (info.depth, info.parked, info.waiting) == (1, 1, {OWNER: 1})
    assert [entry.vendor for entry in outbox.queue(state=None, vendor=LEDGER, limit=10, after=0)] == [LEDGER]


async def test_a_back_off_is_forgotten_at_one_vendor_alone(outbox):
    """That the line to one is back says nothing of a record that waits for another."""
    await outbox.accept(acceptance("sale", key=member_key(), vendors=ALL), NOW)
    for vendor in ALL:
        await settle(outbox, vendor, OFFLINE, retry_at=NOW + timedelta(hours=1))
    await outbox.make_due(LEDGER)
    assert [len(await lease(outbox, vendor)) for vendor in ALL] == [0, 1, 0]


async def test_the_tag_is_open_for_the_owner_of_the_contacts_alone(tmp_path):
    """After a kill the owner's unsent delivery is still to be settled; at a further system it may have arrived."""
    path = tmp_path / "killed.db"
    with open_outbox(path, run="one", recipients=RECIPIENTS) as outbox:
        record = acceptance("sale", key=phone_key(), readings=(phone(),), open_=True, vendors=ALL)
        await outbox.accept(record, NOW)
        found = {vendor: (await lease(outbox, vendor))[0] for vendor in ALL}
        assert {vendor: outgoing.open for vendor, outgoing in found.items()} == {
            OWNER: True,
            LEDGER: False,
            CLUB: False,
        }
    with open_outbox(path, run="two", recipients=RECIPIENTS) as outbox:
        found = {vendor: (await lease(outbox, vendor))[0] for vendor in ALL}
    assert {vendor: outgoing.maybe_received for vendor, outgoing in found.items()} == {
        OWNER: False, LEDGER: True, CLUB: True
    }  # fmt: skip


async def test_a_settled_tag_is_everybodys(outbox):
    """What one lane found out, those that have not gone yet send under; nobody waits for it."""
    record = acceptance("sale", key=phone_key(), readings=(phone(),), open_=True, vendors=ALL)
    await outbox.accept(record, NOW)
    (early,) = await lease(outbox, LEDGER)
    assert early.key == phone_key()
    (owned,) = await lease(outbox, OWNER)
    await outbox.retag(owned.entry, member_key(), NOW)
    (late,) = await lease(outbox, CLUB)
    assert (late.key, late.readings) == (member_key(), ())


@pytest.mark.parametrize("word", ["made", "refused"])
async def test_who_joins_with_a_sale_is_made_by_the_owner_first(outbox, word):
    """Made under a phone elsewhere, and then under the number that the owner gave, they would be two people there."""
    joins = {"new_contact": {"mobile_phone": "070-174 06 05"}}
    record = acceptance("sale", key=phone_key(), readings=(phone(),), open_=True, vendors=ALL, **joins)
    await outbox.accept(record, NOW)
    assert await lease(outbox, LEDGER) == await lease(outbox, CLUB) == []
    (owned,) = await lease(outbox, OWNER)
    assert await lease(outbox, LEDGER) == []
    if word == "made":
        await outbox.retag(owned.entry, member_key(), NOW)
    else:
        await outbox.settle([Settled(owned.entry, REFUSED)], NOW)
    for vendor in (LEDGER, CLUB):
        (told,) = await lease(outbox, vendor)
        assert told.key == (member_key() if word == "made" else phone_key())


async def test_who_did_not_know_them_by_their_phone_is_told_by_the_number(outbox):
    """What was parked for want of a member goes again by itself; what was refused for another reason stays."""
    await outbox.accept(acceptance("sale", key=phone_key(), readings=(phone(),), open_=True, vendors=ALL), NOW)
    await settle(outbox, LEDGER, UNKNOWN)
    await settle(outbox, CLUB, REFUSED)
    (owned,) = await lease(outbox, OWNER)
    await outbox.retag(owned.entry, member_key(), NOW)
    assert states(outbox) == {OWNER: "queued", LEDGER: "queued", CLUB: "parked"}
    (again,) = await lease(outbox, LEDGER)
    assert again.key == member_key()


async def test_members_only_get_a_sale_once_its_member_is_known(tmp_path):
    """Not before, once, and the delivery survives a restart; who takes guests is owed it all the while."""
    path = tmp_path / "later.db"
    with open_outbox(path, run="one", recipients=RECIPIENTS) as outbox:
        await outbox.accept(acceptance("sale", readings=(phone(),), open_=True, vendors=(OWNER, LEDGER)), NOW)
        (owned,) = await lease(outbox, OWNER)
        await outbox.retag(owned.entry, member_key(), NOW)
    with open_outbox(path, run="two", recipients=RECIPIENTS) as outbox:
        assert states(outbox) == {OWNER: "queued", LEDGER: "queued", CLUB: "queued"}
        (followed,) = await settle(outbox, CLUB, DONE)
        assert (followed.key, followed.open, followed.maybe_received) == (member_key(), False, False)
        await settle(outbox, OWNER, DONE)
        await settle(outbox, LEDGER, DONE)
        assert states(outbox) == dict.fromkeys(ALL, "delivered")


@pytest.mark.parametrize(("word", "key"), [("found", member_key()), ("nobody", None), ("erased", None)])
async def test_what_somebody_bought_is_no_guests_while_they_may_be_found(outbox, word, key):
    """Whose id is taken by a guest's sale is nobody's any more: who takes guests waits for the owner's word as well."""
    await outbox.accept(acceptance("sale", readings=(phone(),), open_=True, vendors=(OWNER, LEDGER)), NOW)
    assert await lease(outbox, LEDGER) == []
    (owned,) = await lease(outbox, OWNER)
    assert await lease(outbox, LEDGER) == []
    if word == "found":
        await outbox.retag(owned.entry, key, NOW)
    elif word == "nobody":
        await outbox.settle([Settled(owned.entry, UNKNOWN)], NOW)
    else:
        await outbox.settle([Settled(owned.entry, OFFLINE)], NOW)
        persons = PersonalSales(outbox, outbox._writer, outbox._reader, names=NAMES, guests=(LEDGER,))
        wanted = Wanted(frozenset(), {NAMES.of_identifier(phone()): None})
        await persons.erase(belonging(await persons.traces(wanted), wanted, ()), NOW)
    (told,) = await lease(outbox, LEDGER)
    assert (told.key, told.maybe_received) == (key, False)


async def test_who_takes_guests_gets_them_in_line_with_what_else_is_theirs(outbox):
    """Under the key that was found: what they bought before goes first."""
    await outbox.accept(acceptance("first", key=member_key(), vendors=ALL), NOW)
    await settle(outbox, LEDGER, OFFLINE, retry_at=NOW + timedelta(hours=1))
    await outbox.accept(acceptance("sale", readings=(phone(),), open_=True, vendors=(OWNER, LEDGER)), NOW)
    (owned,) = [one for one in await lease(outbox, OWNER) if one.record.transaction_id == "sale"]
    await outbox.retag(owned.entry, member_key(), NOW)
    assert await lease(outbox, LEDGER) == []
    later = NOW + timedelta(hours=2)
    assert [one.record.transaction_id for one in await lease(outbox, LEDGER, now=later)] == ["first", "sale"]


async def test_a_return_of_a_sale_that_nobody_could_name_yet_follows_it(outbox):
    """It waits for the sale, and goes wherever that goes once somebody is found, under the same key."""
    await outbox.accept(acceptance("sale", readings=(phone(),), open_=True, vendors=(OWNER, LEDGER)), NOW)
    about = {"type": "return", "original_transaction_id": "sale"}
    receipt = await outbox.accept(acceptance("back", vendors=(LEDGER,), **about), NOW)
    assert (receipt.state, receipt.key) == (DeliveryState.QUEUED, None)

    (owned,) = await lease(outbox, OWNER)
    assert owned.record.transaction_id == "sale"
    await outbox.retag(owned.entry, member_key(), NOW)
    await outbox.settle([Settled(owned.entry, DONE)], NOW)
    for vendor, names in ((OWNER, ["back"]), (LEDGER, ["sale", "back"]), (CLUB, ["sale", "back"])):
        followed = [one for _ in range(2) for one in await settle(outbox, vendor, DONE)]
        assert [(one.record.transaction_id, one.key) for one in followed] == [(name, member_key()) for name in names]


async def test_what_is_bought_in_exchange_of_such_a_sale_is_a_guests(outbox):
    """It names nobody and nothing is settled for it later: whoever takes members only is not owed it."""
    await outbox.accept(acceptance("sale", readings=(phone(),), open_=True, vendors=(OWNER, LEDGER)), NOW)
    await outbox.accept(acceptance("new", vendors=(LEDGER,), original_transaction_id="sale"), NOW)
    assert states(outbox, "new") == {LEDGER: "queued"}


async def test_a_tag_that_rises_adds_nobody(outbox):
    """A sale that had a key at the till went to whoever wanted it then."""
    await outbox.accept(acceptance("sale", key=phone_key(), readings=(phone(),), open_=True, vendors=(OWNER,)), NOW)
    (owned,) = await lease(outbox, OWNER)
    await outbox.retag(owned.entry, member_key(), NOW)
    assert states(outbox) == {OWNER: "queued"}


async def test_a_void_cancels_where_unsent_and_follows_where_sent(outbox):
    """Each system is told of it exactly if it may know of the sale."""
    await outbox.accept(acceptance("sale", key=member_key(), vendors=ALL), NOW)
    await settle(outbox, OWNER, DONE)
    await settle(outbox, LEDGER, CUT, retry_at=NOW + timedelta(hours=1))
    void = acceptance("void", type="void", original_transaction_id="sale", vendors=ALL)
    await outbox.accept(void, NOW)
    assert states(outbox) == {OWNER: "delivered", LEDGER: "queued", CLUB: "cancelled"}
    assert states(outbox, "void") == {OWNER: "queued", LEDGER: "queued"}
    assert len(await lease(outbox, OWNER)) == 1
    assert await lease(outbox, LEDGER) == []  # the sale itself first
    assert [out.transaction.transaction_id for out in await lease(outbox, LEDGER, now=NOW + timedelta(hours=2))] == [
        "sale"
    ]


async def test_a_void_follows_a_sale_whose_member_is_found_out_after_it(outbox):
    """To whoever gets the sale from then on, and not where it had found the sale unsent."""
    await outbox.accept(acceptance("sale", readings=(phone(),), open_=True, vendors=(OWNER, LEDGER)), NOW)
    (owned,) = await lease(outbox, OWNER)
    await outbox.accept(acceptance("void", type="void", original_transaction_id="sale", vendors=ALL), NOW)
    await outbox.retag(owned.entry, member_key(), NOW)
    assert states(outbox) == {OWNER: "queued", LEDGER: "cancelled", CLUB: "queued"}
    assert states(outbox, "void") == {OWNER: "queued", CLUB: "queued"}
    (first,) = await settle(outbox, CLUB, DONE)
    (then,) = await lease(outbox, CLUB)
    assert [(one.transaction.transaction_id, one.key) for one in (first, then)] == [
        ("sale", member_key()), ("void", member_key())
    ]  # fmt: skip


async def test_a_return_that_names_somebody_keeps_its_own_tag_open(outbox):
    """Whose the sale is does not say who brings it back."""
    await outbox.accept(acceptance("sale", readings=(phone(),), open_=True, vendors=(OWNER,)), NOW)
    about = {"type": "return", "original_transaction_id": "sale"}
    await outbox.accept(acceptance("back", readings=(phone(6),), open_=True, vendors=(OWNER,), **about), NOW)
    (owned,) = await lease(outbox, OWNER)
    await outbox.retag(owned.entry, member_key(), NOW)
    await outbox.settle([Settled(owned.entry, DONE)], NOW)
    (back,) = await lease(outbox, OWNER)
    assert (back.key, back.readings, back.open) == (None, (phone(6),), True)
    assert states(outbox, "back") == {OWNER: "queued"}


async def test_points_count_where_the_contacts_are(outbox):
    """A guest's sale that a further system took under no key, and one parked at the owner, can be claimed."""
    await outbox.accept(acceptance("guest", vendors=(LEDGER,)), NOW)
    await outbox.accept(acceptance("parked", key=phone_key(), vendors=ALL), NOW)
    for vendor, verdict in ((OWNER, REFUSED), (LEDGER, REFUSED), (CLUB, DONE)):
        await settle(outbox, vendor, verdict)
    for original in ("guest", "parked"):
        claim = {"type": "points_claim", "original_transaction_id": original, "vendors": ALL, "key": member_key()}
        await outbox.accept(acceptance(f"claim-{original}", **claim), NOW)
        with pytest.raises(ConflictError):
            await outbox.accept(acceptance(f"again-{original}", **claim), NOW)
    assert states(outbox, "parked") == {OWNER: "cancelled", LEDGER: "parked", CLUB: "delivered"}


async def test_who_is_erased_is_erased_for_every_lane(outbox):
    """What waits goes on without its person to who takes guests, and is owed to nobody else."""
    await outbox.accept(acceptance("sale", key=member_key(), vendors=ALL), NOW)
    (sale,) = outbox._reader.execute("SELECT id FROM sales").fetchone()
    sales = PersonalSales(outbox, outbox._writer, outbox._reader, names=NAMES, guests=(LEDGER,))
    assert (await sales.erase([sale], NOW)).waiting == 1
    assert states(outbox) == {OWNER: "cancelled", LEDGER: "queued", CLUB: "cancelled"}
    (outgoing,) = await lease(outbox, LEDGER)
    assert (outgoing.key, outgoing.readings) == (None, ())


async def test_a_held_lane_shows_in_its_own_deliveries(outbox):
    """The sale is held; only the delivery to the vendor that refuses us says so."""
    await outbox.accept(acceptance("sale", key=member_key(), vendors=ALL), NOW)
    found = outbox.story("sale", {LEDGER}).deliveries
    assert {delivery.vendor: delivery.state for delivery in found} == {
        OWNER: DeliveryState.QUEUED, LEDGER: DeliveryState.HELD, CLUB: DeliveryState.QUEUED
    }  # fmt: skip
    assert outbox.info({LEDGER}).held == 1


async def test_a_delivery_that_damage_took_is_made_anew_for_whom_it_was(outbox):
    """Whatever the other lanes have done: it is there again for whoever wants such a sale, open for the owner alone."""
    await outbox.accept(acceptance("member", key=member_key(), vendors=ALL), NOW)
    await outbox.accept(acceptance("guest", vendors=(LEDGER,)), NOW)
    await outbox.accept(acceptance("open", readings=(phone(),), open_=True, vendors=(OWNER, LEDGER)), NOW)
    await outbox.accept(acceptance("finished", key=phone_key(), vendors=(CLUB,)), NOW)
    for outgoing in await lease(outbox, CLUB):
        verdict = DONE if outgoing.transaction.transaction_id == "finished" else OFFLINE
        await outbox.settle([Settled(outgoing.entry, verdict)], NOW)

    await outbox.accept(acceptance("unsent", key=member_key(2), vendors=ALL), NOW)
    for outgoing in await lease(outbox, LEDGER):
        verdict = DONE if outgoing.transaction.transaction_id == "unsent" else OFFLINE
        await outbox.settle([Settled(outgoing.entry, verdict)], NOW)
    await outbox.accept(acceptance("void", type="void", original_transaction_id="unsent", vendors=ALL), NOW)
    assert states(outbox, "void") == {LEDGER: "queued"}

    def damage(db):
        for name, vendor in (("member", LEDGER), ("guest", LEDGER), ("open", OWNER), ("finished", CLUB)):
            of = "(SELECT id FROM sales WHERE transaction_id = ?)"
            db.execute(f"DELETE FROM deliveries WHERE sale = {of} AND vendor = ?", (name, vendor))
        whole, nothing = {"sales", "statements"}, Clues(lambda: (), lambda: ())
        return mend(
            db, whole=whole, stale={}, clues=nothing, recipients=RECIPIENTS, hash_key=bytes(32), now=NOW
        ).sent_again

    assert await outbox._writer.run(damage) == 3
    assert states(outbox, "member") == {OWNER: "queued", LEDGER: "queued", CLUB: "queued"}
    assert states(outbox, "guest") == {LEDGER: "queued"}
    assert states(outbox, "open") == {OWNER: "queued", LEDGER: "queued"}
    assert states(outbox, "finished") == {}
    assert states(outbox, "void") == {LEDGER: "queued"}  # not where it had found the sale unsent
    found = {out.transaction.transaction_id: out for vendor in (OWNER, LEDGER) for out in await lease(outbox, vendor)}
    assert {(name, out.open, out.maybe_received) for name, out in found.items() if name in ("member", "guest")} == {
        ("member", False, True), ("guest", False, True)
    }  # fmt: skip
    rows = outbox._reader.execute("SELECT vendor, open, maybe_received FROM deliveries WHERE sale = 3 ORDER BY vendor")
    assert [tuple(row) for row in rows.fetchall()] == [(LEDGER, 0, 0), (OWNER, 1, 0)]
