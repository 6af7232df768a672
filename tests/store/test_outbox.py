"""The outbox, row by row: what is accepted, in which order it goes, and what a verdict does to it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.domain.delivery import DeliveryState, Verdict, VerdictKind
from agent.domain.retention import RetentionPlan
from agent.domain.transaction import IntegrationKey
from agent.errors import ConflictError, InputError, StorageError, UnderWayError, UnknownRecordError
from agent.ports import Recipient, Settled
from tests.fakes import NOW, PHONE, VENDOR, acceptance, email, member_key, open_outbox, phone, phone_key

DONE = Verdict(VerdictKind.DONE, status=200)
LATER = Verdict(VerdictKind.RETRY, "vendor.offline", title="cannot be reached", reached=False, not_received=True)
CUT = replace(LATER, not_received=False)
PARK = Verdict(VerdictKind.PARK, "vendor.rejected", 422, "refused", "ValidationError")
DOUBT = Verdict(VerdictKind.IN_DOUBT, "vendor.silent", title="sent, no answer", reached=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path):
    with open_outbox(path) as outbox:
        yield outbox


async def leased(outbox, limit=100, now=NOW, vendor=VENDOR):
    return await outbox.lease(vendor, limit, now)


async def names(outbox, limit=100, now=NOW):
    """The ids of what can be sent now; gives the leases back."""
    batch = await leased(outbox, limit, now)
    await outbox.release([outgoing.entry for outgoing in batch])
    return [outgoing.transaction.transaction_id for outgoing in batch]


async def send(outbox, verdict=DONE, now=NOW, retry_at=None):
    """Leases one delivery and settles it."""
    (outgoing,) = await leased(outbox, 1, now)
    await outbox.settle([Settled(outgoing.entry, verdict, retry_at)], now)
    return outgoing


def state(outbox, transaction_id):
    return [delivery.state for delivery in outbox.story(transaction_id).deliveries]


def everything(now):
    """A plan that erases whatever is older than ``now``."""
    return RetentionPlan(now, now, now - timedelta(days=400), now)


# --- intake ---------------------------------------------------------------------------------------------------


async def test_a_repeat_is_recognised_and_gets_the_first_answer(outbox):
    """The same content again is a duplicate with the first instant and key, and leaves one sale."""
    record = acceptance(key=phone_key(), readings=(phone(),), open_=True)
    first = await outbox.accept(record, NOW)
    second = await outbox.accept(record, NOW + timedelta(hours=1))

    assert (first.duplicate, first.state, first.key) == (False, DeliveryState.QUEUED, phone_key())
    assert second == replace(first, duplicate=True)
    assert outbox.info().depth == 1


async def test_other_content_is_a_conflict(outbox):
    """An id that stands for another sale is refused, and the first sale stays as it was."""
    await outbox.accept(acceptance(), NOW)
    with pytest.raises(ConflictError):
        await outbox.accept(acceptance(cashier_id="78"), NOW)
    assert outbox.info().depth == 1


async def test_sales_of_one_group_are_told_apart(outbox):
    """What comes in at the same moment is judged as if it came one after the other: repeat, conflict, void and all."""
    void = acceptance("void", type="void", original_transaction_id="voided", lines=(), payments=(), total="0")
    together = [
        acceptance("sale"), acceptance("voided"), acceptance("sale"), acceptance("sale", cashier_id="78"), void,
        acceptance("other"),
    ]  # fmt: skip
    release = threading.Event()
    blocking = asyncio.ensure_future(outbox._writer.run_alone(lambda _db: release.wait(60)))
    waiting = [asyncio.ensure_future(outbox.accept(record, NOW)) for record in together]
    await asyncio.sleep(0)
    release.set()
    await blocking
    first, voided, again, conflict, clearing, other = await asyncio.gather(*waiting, return_exceptions=True)

    assert (first.duplicate, voided.duplicate, other.duplicate) == (False, False, False)
    assert again == replace(first, duplicate=True)
    assert isinstance(conflict, ConflictError)
    assert (state(outbox, "voided"), clearing.state) == (["cancelled"], DeliveryState.DELIVERED)
    assert await names(outbox) == ["sale", "other"]


async def test_another_identifier_is_other_content(outbox):
    """The same receipt for somebody else is a conflict too."""
    await outbox.accept(acceptance(key=phone_key(5), readings=(phone(5),)), NOW)
    with pytest.raises(ConflictError):
        await outbox.accept(acceptance(key=phone_key(6), readings=(phone(6),)), NOW)


async def test_a_repeat_after_the_purge_is_recognised_without_its_key(outbox):
    """The keyed hash outlives the person: a repeat is a duplicate whose key is null, its kind still known."""
    record = acceptance(key=phone_key(), readings=(phone(),))
    await outbox.accept(record, NOW)
    await send(outbox)
    await outbox.purge(everything(NOW + timedelta(days=2)), NOW + timedelta(days=2))
    again = await outbox.accept(record, NOW + timedelta(days=2))

    assert (again.duplicate, again.state, again.key) == (True, DeliveryState.DELIVERED, None)
    assert (again.key_kind, again.key_type) == ("secondary", "mobile_phone")
    with pytest.raises(ConflictError):
        await outbox.accept(acceptance(cashier_id="78"), NOW)


@pytest.mark.parametrize(
    "record",
    [
        acceptance(key=phone_key(), readings=(phone(), email()), open_=True),
        acceptance(key=phone_key(), open_=True, integration_key=phone_key()),
    ],
    ids=["an identifier", "a stated key"],
)
async def test_a_repeat_after_the_tag_rose_names_the_first_key(outbox, record):
    """The till hears the key it heard first, although the sale has risen to the member's own since."""
    await outbox.accept(record, NOW)
    (outgoing,) = await leased(outbox)
    await outbox.retag(outgoing.entry, member_key(), NOW)
    again = await outbox.accept(record, NOW)

    assert again.key == phone_key()
    assert outbox.story(again.transaction_id).key_type == "member_number"


async def test_a_guest_without_vendors_is_delivered_at_once(outbox):
    """A sale that no vendor wants has no deliveries and is done."""
    receipt = await outbox.accept(acceptance(vendors=()), NOW)
    assert receipt.state is DeliveryState.DELIVERED
    assert state(outbox, receipt.transaction_id) == []
    assert not await leased(outbox)


async def test_nothing_of_a_refused_sale_is_kept(outbox):
    """A void of an unknown sale that brings no lines is refused and leaves no record."""
    with pytest.raises(InputError):
        await outbox.accept(acceptance("void-1", type="void", original_transaction_id="unknown"), NOW)
    assert not outbox.knows("void-1")


async def test_a_closed_outbox_takes_nothing(path):
    """After the end a sale is refused with a storage error, not lost in silence."""
    with open_outbox(path) as outbox:
        pass
    with pytest.raises(StorageError):
        await outbox.accept(acceptance(), NOW)


# --- voids and returns ----------------------------------------------------------------------------------------


async def test_a_void_cancels_what_was_not_sent(outbox):
    """Neither the sale nor its void goes anywhere, and both show as done."""
    await outbox.accept(acceptance("sale", key=member_key()), NOW)
    void = await outbox.accept(acceptance("void", type="void", original_transaction_id="sale"), NOW)

    assert void.state is DeliveryState.DELIVERED
    assert not await leased(outbox)
    assert (state(outbox, "sale"), state(outbox, "void")) == (["cancelled"], [])
    assert outbox.info().depth == 0


async def test_a_void_cancels_a_parked_sale(outbox):
    """A sale the vendor refused needs no clearing there."""
    await outbox.accept(acceptance("sale", key=member_key()), NOW)
    await send(outbox, PARK)
    await outbox.accept(acceptance("void", type="void", original_transaction_id="sale"), NOW)

    assert (state(outbox, "sale"), state(outbox, "void"), outbox.info().parked) == (["cancelled"], [], 0)


async def test_a_void_of_a_delivered_sale_follows_it(outbox):
    """It goes out under the sale's key, with the sale beside it."""
    await outbox.accept(acceptance("sale", key=member_key()), NOW)
    await send(outbox)
    receipt = await outbox.accept(acceptance("void", type="void", original_transaction_id="sale"), NOW)
    (outgoing,) = await leased(outbox)

    assert receipt.key == outgoing.key == member_key()
    assert outgoing.original.transaction_id == "sale"
    assert outgoing.original.lines


@pytest.mark.parametrize("verdict", [LATER, CUT], ids=["refused connection", "cut"])
async def test_a_void_while_its_sale_is_being_sent_waits_and_follows(outbox, verdict):
    """What is on its way is not cancelled: the void goes when the sale has arrived."""
    await outbox.accept(acceptance("sale", key=phone_key(), readings=(phone(),)), NOW)
    (sale,) = await leased(outbox)
    await outbox.accept(acceptance("void", type="void", original_transaction_id="sale"), NOW)
    assert not await leased(outbox)

    await outbox.settle([Settled(sale.entry, verdict)], NOW)
    assert (await send(outbox)).transaction.transaction_id == "sale"
    assert (await send(outbox)).transaction.transaction_id == "void"


async def test_a_void_follows_under_the_risen_key(outbox):
    """The void goes under the key its sale went under, even if that rose after the void was taken."""
    await outbox.accept(acceptance("sale", key=phone_key(), readings=(phone(),), open_=True), NOW)
    (sale,) = await leased(outbox)
    await outbox.accept(acceptance("void", type="void", original_transaction_id="sale"), NOW)
    await outbox.retag(sale.entry, member_key(), NOW)
    await outbox.settle([Settled(sale.entry, DONE)], NOW)
    (void,) = await leased(outbox)

    assert void.key == member_key()


@pytest.mark.parametrize("kind", ["void", "return"])
@pytest.mark.parametrize("quiet", [True, False], ids=["quiet", "told"])
async def test_what_follows_a_quiet_sale_does_not_tell_how_it_was_resolved(outbox, kind, quiet):
    """The key that rose at delivery is the later one's too; of a quiet sale's the till hears what it heard then."""
    sale = acceptance("sale", key=phone_key(), readings=(phone(),), open_=True)
    await outbox.accept(replace(sale, quiet=quiet), NOW)
    (sent,) = await leased(outbox)
    await outbox.retag(sent.entry, member_key(), NOW)
    await outbox.settle([Settled(sent.entry, DONE)], NOW)
    later = acceptance("later", type=kind, original_transaction_id="sale")
    receipts = [await outbox.accept(later, NOW) for _ in range(2)]
    story = outbox.story("later")

    told = "secondary" if quiet else "primary"
    assert [receipt.key_kind for receipt in receipts] == [told] * 2
    assert (story.quiet, story.answered_kind) == (quiet, told)
    (following,) = await leased(outbox)
    assert following.key == member_key()


async def test_a_sale_that_may_have_arrived_is_not_cancelled(outbox):
    """After a cut connection the void follows instead of cancelling."""
    await outbox.accept(acceptance("sale", key=member_key()), NOW)
    await send(outbox, CUT)
    await outbox.accept(acceptance("void", type="void", original_transaction_id="sale"), NOW)

    assert await names(outbox) == ["sale"]
    await send(outbox)
    assert await names(outbox) == ["void"]


async def test_a_sale_is_voided_once(outbox):
    """A second void under another id would give the money back twice; the same void again is a duplicate."""
    await outbox.accept(acceptance("sale", key=member_key()), NOW)
    await send(outbox)
    void = acceptance("void", type="void", original_transaction_id="sale")
    await outbox.accept(void, NOW)
    with pytest.raises(ConflictError, match="voided already"):
        await outbox.accept(acceptance("void-2", type="void", original_transaction_id="sale"), NOW)

    assert (await outbox.accept(void, NOW)).duplicate
    assert not outbox.knows("void-2")


@pytest.mark.parametrize("sent", [False, True], ids=["waiting", "sent"])
async def test_a_void_cannot_be_voided(outbox, sent):
    """There is nothing to clear: it is refused, and leaves the first void as it was."""
    await outbox.accept(acceptance("sale", key=member_key()), NOW)
    await send(outbox)
    await outbox.accept(acceptance("void", type="void", original_transaction_id="sale"), NOW)
    if sent:
        await send(outbox)
    before = state(outbox, "void")

    with pytest.raises(InputError) as refused:
        await outbox.accept(acceptance("void-2", type="void", original_transaction_id="void"), NOW)

    assert [fault.pointer for fault in refused.value.faults] == ["/original_transaction_id"]
    assert state(outbox, "void") == before
    assert not outbox.knows("void-2")


async def test_a_void_of_an_unknown_sale_with_lines_goes_out(outbox):
    """A sale of another till is cleared by what the void itself says."""
    record = acceptance(
        "void", key=member_key(), type="void", original_transaction_id="elsewhere", total="250.00",
        lines=[{"kind": "purchase", "sku": "A", "quantity": "1", "gross_paid": "250.00"}],
        payments=[{"type": "cash", "amount": "250.00"}],
    )  # fmt: skip
    await outbox.accept(record, NOW)
    (outgoing,) = await leased(outbox)
    assert outgoing.original is None


@pytest.mark.parametrize(
    ("verdict", "retry_at"),
    [(LATER, NOW + timedelta(hours=1)), (PARK, None), (DOUBT, None)],
    ids=["queued", "parked", "in doubt"],
)
async def test_a_return_waits_for_its_purchase(outbox, verdict, retry_at):
    """Until the vendor has the purchase the return stays; then it goes."""
    await outbox.accept(acceptance("sale", key=phone_key()), NOW)
    await outbox.accept(acceptance("return", key=member_key(), type="return", original_transaction_id="sale"), NOW)
    entry = (await send(outbox, verdict, retry_at=retry_at)).entry
    assert await names(outbox) == []

    await outbox.retry(entry, NOW)
    assert await names(outbox) == ["sale"]
    await send(outbox)
    assert await names(outbox) == ["return"]


async def test_a_return_is_released_by_a_discard(outbox):
    """A purchase given up does not hold its return for ever."""
    await outbox.accept(acceptance("sale", key=member_key()), NOW)
    entry = (await send(outbox, PARK)).entry
    await outbox.accept(acceptance("return", key=member_key(), type="return", original_transaction_id="sale"), NOW)
    await outbox.discard(entry, "made twice", NOW)

    assert await names(outbox) == ["return"]


@pytest.mark.parametrize(("verdict", "left"), [(PARK, []), (DOUBT, ["void"])], ids=["not received", "in doubt"])
async def test_discarding_a_sale_takes_its_void_along(outbox, verdict, left):
    """A void of a sale the vendor never had is cancelled with it; of one it may have, it goes out."""
    await outbox.accept(acceptance("sale", key=member_key()), NOW)
    (sale,) = await leased(outbox)
    await outbox.accept(acceptance("void", type="void", original_transaction_id="sale"), NOW)
    await outbox.settle([Settled(sale.entry, verdict)], NOW)
    await outbox.discard(sale.entry, "made twice", NOW)

    assert await names(outbox) == left


async def test_a_return_without_a_person_follows_its_sale(outbox):
    """It goes after the sale, under the key which that one went under, even if that rose in between."""
    await outbox.accept(acceptance("sale", key=phone_key(), readings=(phone(),), open_=True), NOW)
    back = acceptance("return", vendors=(), type="return", original_transaction_id="sale")
    receipt = await outbox.accept(back, NOW)
    assert (receipt.state, receipt.key) == (DeliveryState.QUEUED, phone_key())
    (sale,) = await leased(outbox)
    await outbox.retag(sale.entry, member_key(), NOW)
    assert await leased(outbox) == []
    await outbox.settle([Settled(sale.entry, DONE)], NOW)
    (outgoing,) = await leased(outbox)
    assert (outgoing.transaction.transaction_id, outgoing.key) == ("return", member_key())


@pytest.mark.parametrize("before", ["erased", "a guest's", "elsewhere"])
async def test_a_return_without_a_person_to_follow_is_a_guest_s(outbox, before):
    """Nobody is known to whom it could belong."""
    if before != "elsewhere":
        key = None if before == "a guest's" else member_key()
        await outbox.accept(acceptance("sale", key=key, vendors=(VENDOR,) if key else ()), NOW)
    if before == "erased":
        await send(outbox)
        await outbox.purge(everything(NOW + timedelta(days=2)), NOW + timedelta(days=2))
    back = acceptance("return", vendors=(), type="return", original_transaction_id="sale")
    receipt = await outbox.accept(back, NOW)
    assert (receipt.state, receipt.key, state(outbox, "return")) == (DeliveryState.DELIVERED, None, [])


async def test_a_return_that_names_its_member_keeps_to_it(outbox):
    """Who brings the goods back may be somebody else than who bought them."""
    await outbox.accept(acceptance("sale", key=member_key("1")), NOW)
    back = acceptance("return", key=member_key("2"), type="return", original_transaction_id="sale")
    await outbox.accept(back, NOW)
    await send(outbox)
    (outgoing,) = await leased(outbox)
    assert outgoing.key == member_key("2")


# --- points claimed afterwards --------------------------------------------------------------------------------


def claim(name="claim", original="sale"):
    return acceptance(name, key=member_key(), type="points_claim", original_transaction_id=original)


@pytest.mark.parametrize("verdict", [None, DONE, DOUBT], ids=["waiting", "delivered", "in doubt"])
async def test_points_of_a_member_s_sale_are_not_claimed_again(outbox, verdict):
    """A receipt that carries a member and was or will be delivered counts once."""
    await outbox.accept(acceptance("sale", key=member_key("10000422")), NOW)
    if verdict:
        await send(outbox, verdict)
    with pytest.raises(ConflictError, match="cannot be claimed again"):
        await outbox.accept(claim(), NOW)
    assert not outbox.knows("claim")


async def test_a_claim_replaces_a_sale_that_was_refused(outbox):
    """What is parked and never arrived counts for nobody: the claim goes instead, and the old one cannot come back."""
    await outbox.accept(acceptance("sale", key=phone_key(), readings=(phone(),), open_=True), NOW)
    entry = (await send(outbox, PARK)).entry
    assert not (await outbox.accept(claim(), NOW)).duplicate
    assert outbox.info().parked == 0
    assert await names(outbox) == ["claim"]
    with pytest.raises(UnknownRecordError):
        await outbox.retry(entry, NOW)


async def test_points_of_a_guest_s_sale_can_be_claimed_once(outbox):
    """A receipt nobody was named on is claimed by one id; the same claim again is a duplicate, another a conflict."""
    await outbox.accept(acceptance("sale", vendors=()), NOW)
    assert not (await outbox.accept(claim(), NOW)).duplicate
    assert (await outbox.accept(claim(), NOW)).duplicate
    with pytest.raises(ConflictError):
        await outbox.accept(claim("claim-2"), NOW)


async def test_points_of_a_sale_that_will_never_count_can_be_claimed(outbox):
    """A discarded sale gave nobody points; neither did one whose member was erased before it could go."""
    await outbox.accept(acceptance("sale", key=member_key()), NOW)
    entry = (await send(outbox, PARK)).entry
    await outbox.discard(entry, "wrong member", NOW)
    assert not (await outbox.accept(claim(), NOW)).duplicate

    await outbox.accept(acceptance("sale-2", key=member_key()), NOW - timedelta(days=31))
    await outbox.purge(replace(everything(NOW), accepted_before=NOW - timedelta(days=30)), NOW)
    assert not (await outbox.accept(claim("claim-2", "sale-2"), NOW)).duplicate


async def test_points_of_an_unrecorded_sale_can_be_claimed(outbox):
    """A receipt of another till is nothing this one can judge; a second claim of it still is."""
    await outbox.accept(claim(original="elsewhere"), NOW)
    with pytest.raises(ConflictError):
        await outbox.accept(claim("claim-2", "elsewhere"), NOW)


# --- order ----------------------------------------------------------------------------------------------------


async def test_primary_keys_go_before_secondary_ones(outbox):
    """Within each, in the order of acceptance."""
    for number, key in enumerate([phone_key(), member_key(1), phone_key(6), member_key(2)]):
        await outbox.accept(acceptance(f"sale-{number}", key=key), NOW)
    assert await names(outbox) == ["sale-1", "sale-3", "sale-0", "sale-2"]


async def test_nobody_s_sale_overtakes_an_earlier_one_of_theirs(outbox):
    """While one backs off the person's later ones wait; other people's go."""
    for name, key in (("a-1", member_key(1)), ("a-2", member_key(1)), ("b-1", member_key(2)), ("guest", None)):
        await outbox.accept(acceptance(name, key=key), NOW)
    await send(outbox, LATER, retry_at=NOW + timedelta(minutes=5))

    assert await names(outbox) == ["b-1", "guest"]
    assert await names(outbox, now=NOW + timedelta(minutes=5)) == ["a-1", "a-2", "b-1", "guest"]


async def test_a_guest_who_backs_off_holds_nobody_up(outbox):
    """Sales without a person have no order among themselves."""
    for name in ("one", "two"):
        await outbox.accept(acceptance(name), NOW)
    await send(outbox, LATER, retry_at=NOW + timedelta(minutes=5))
    assert await names(outbox) == ["two"]


async def test_later_sales_wait_with_a_parked_enrolment(outbox):
    """Somebody whose enrolment was refused is settled by a person first; their other sales wait."""
    refused = Verdict(VerdictKind.PARK, "contact.refused", title="is refused")
    await outbox.accept(acceptance("enrolment", key=phone_key(5)), NOW)
    await outbox.accept(acceptance("next", key=phone_key(5)), NOW)
    await outbox.accept(acceptance("other", key=phone_key(6)), NOW)
    entry = (await send(outbox, refused)).entry
    assert await names(outbox) == ["other"]

    await outbox.discard(entry, "no consent", NOW)
    assert await names(outbox) == ["next", "other"]


async def test_a_person_is_a_hash(outbox, path):
    """Sales of one person share a group that does not tell who it is."""
    await outbox.accept(acceptance("a", key=phone_key()), NOW)
    await outbox.accept(acceptance("b", key=phone_key(), readings=(phone(),)), NOW)
    first, second = await leased(outbox)
    assert first.person == second.person
    assert PHONE.encode() not in first.person


async def test_a_lease_is_limited_and_exclusive(outbox):
    """Nothing is handed out twice, and no more than asked for."""
    for number in range(5):
        await outbox.accept(acceptance(f"sale-{number}"), NOW)
    first, second = await leased(outbox, 3), await leased(outbox, 3)
    assert [len(first), len(second)] == [3, 2]
    assert not await leased(outbox)
    assert {outgoing.entry for outgoing in first}.isdisjoint({outgoing.entry for outgoing in second})


async def test_vendors_have_lines_of_their_own(outbox):
    """What one vendor took the other still gets."""
    await outbox.accept(acceptance(vendors=("a", "b")), NOW)
    (outgoing,) = await leased(outbox, vendor="a")
    await outbox.settle([Settled(outgoing.entry, DONE)], NOW)

    assert len(await leased(outbox, vendor="b")) == 1
    assert sorted(state(outbox, "1042-03-000001")) == ["delivered", "queued"]


async def test_a_lease_gives_back_everything_that_went_in(outbox):
    """The sale, its key and its readings come out as they were accepted."""
    record = acceptance(
        key=phone_key(), readings=(phone(), email()), open_=True, cashier_id="77",
        vouchers_used=[{"number": "0000000204417"}], new_contact={"first_name": "Alma", "mobile_phone": PHONE},
    )  # fmt: skip
    await outbox.accept(record, NOW)
    (outgoing,) = await leased(outbox)

    assert outgoing.transaction == record.transaction.model_copy(
        update={"occurred_at": outgoing.transaction.occurred_at}
    )
    assert outgoing.transaction.occurred_at.isoformat() == "2026-02-14T16:41:09+01:00"
    assert (outgoing.key, outgoing.readings, outgoing.open) == (phone_key(), record.readings, True)
    assert (outgoing.attempts, outgoing.maybe_received) == (0, False)


# --- verdicts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "after", "maybe_received"),
    [
        (DONE, "delivered", True),
        (Verdict(VerdictKind.DUPLICATE, status=409), "delivered", True),
        (LATER, "queued", False),
        (CUT, "queued", True),
        (Verdict(VerdictKind.HOLD, "vendor.credentials_refused", 401, not_received=True), "queued", False),
        (PARK, "parked", False),
        (DOUBT, "in_doubt", True),
        (Verdict(VerdictKind.SPLIT, "vendor.too_large", 413, not_received=True), "queued", False),
    ],
    ids=["done", "duplicate", "not sent", "cut", "hold", "park", "in doubt", "split"],
)
async def test_what_a_verdict_does(outbox, verdict, after, maybe_received):
    """Each verdict leads to its state, and only proof that the vendor did not take it keeps the tag free to rise."""
    await outbox.accept(acceptance(key=member_key()), NOW)
    entry = (await send(outbox, verdict)).entry
    delivery = outbox.entry(entry)

    assert delivery.state == after
    assert (delivery.delivered_at == NOW) is (after == "delivered")
    assert delivery.attempts == 1
    received = outbox._reader.execute("SELECT maybe_received FROM deliveries").fetchone()[0]
    assert bool(received) is maybe_received
    if after != "delivered":
        assert (delivery.error_code, delivery.error_status) == (verdict.code, verdict.status)
        assert (delivery.error_title, delivery.vendor_code) == (verdict.title, verdict.vendor_code)


@pytest.mark.parametrize(
    ("verdict", "maybe_received"),
    [
        pytest.param(DOUBT, False, id="in doubt"),
        pytest.param(replace(DOUBT, code="sale.maybe_received"), False, id="unanswered"),
        pytest.param(replace(DOUBT, code="sale.partly_taken"), True, id="some of it was taken"),
        pytest.param(replace(DOUBT, code="sale.maybe_given_back"), True, id="something was given back"),
        pytest.param(CUT, True, id="on its way"),
    ],
)
async def test_a_person_decides_that_it_did_not_arrive(outbox, verdict, maybe_received):
    """What is in doubt and is sent again by a person did not arrive; what was taken in part still has."""
    await outbox.accept(acceptance(key=member_key()), NOW)
    entry = (await send(outbox, verdict)).entry

    await outbox.retry(entry, NOW)
    [leased] = await outbox.lease(VENDOR, 10, NOW + timedelta(days=1))

    assert leased.maybe_received is maybe_received


async def test_a_vendor_s_names_of_sales_are_looked_up(outbox):
    """Which of some references are recorded, at that vendor alone."""
    await outbox.accept(acceptance("a"), NOW)
    await send(outbox, replace(DONE, reference="r-1"))
    assert outbox.taken(VENDOR, ["r-1", "r-2"]) == {"r-1"}
    assert outbox.taken("another", ["r-1"]) == outbox.taken(VENDOR, []) == frozenset()


async def received(outbox):
    return [row[0] for row in outbox._rows("SELECT maybe_received FROM deliveries")]


async def test_what_goes_out_in_a_file(outbox):
    """It is noted with each delivery before it goes, survives a restart, and is taken back where it never went."""
    for name in ("a", "b"):
        await outbox.accept(acceptance(name), NOW)
    leased = await outbox.lease(VENDOR, 10, NOW)
    await outbox.note([outgoing.entry for outgoing in leased], "file:1")
    await outbox.recover(VENDOR)
    again = await outbox.lease(VENDOR, 10, NOW)
    assert [(one.reference, one.maybe_received) for one in again] == [("file:1", True)] * 2

    assert await outbox.withdraw("another", "file:1")
    assert outbox.taken(VENDOR, ["file:1"]) == {"file:1"}, "of another vendor"
    assert await outbox.withdraw(VENDOR, "file:1")
    assert not any(await received(outbox)), "it was never handed over"
    assert outbox.taken(VENDOR, ["file:1"]) == frozenset()

    await outbox.note([again[0].entry], "file:2")
    await outbox.settle([Settled(again[0].entry, DONE)], NOW)
    assert not await outbox.withdraw(VENDOR, "file:2"), "it did go"
    assert outbox.taken(VENDOR, ["file:2"]) == {"file:2"}


async def test_nothing_is_noted_of_what_is_not_leased(outbox):
    """A lease that was taken back meanwhile is somebody else's to note."""
    await outbox.accept(acceptance("a"), NOW)
    [leased] = await outbox.lease(VENDOR, 10, NOW)
    await outbox.recover(VENDOR)
    with pytest.raises(StorageError):
        await outbox.note([leased.entry], "file:1")
    assert outbox.taken(VENDOR, ["file:1"]) == frozenset()


async def test_an_attempt_that_was_cut_off(outbox):
    """It is told from one of which something is recorded, however many there are of each."""
    await outbox.accept(acceptance("a"), NOW)

    async def cut_off():
        [leased] = await outbox.lease(VENDOR, 10, NOW)
        return leased.cut_off

    assert not await cut_off()
    await outbox.recover(VENDOR)
    [again] = await outbox.lease(VENDOR, 10, NOW)
    assert again.cut_off
    await outbox.release([again.entry])
    [again] = await outbox.lease(VENDOR, 10, NOW)
    await outbox.settle([Settled(again.entry, CUT)], NOW)
    assert await cut_off(), "the first of two attempts"


async def test_an_attempt_that_is_recorded(outbox):
    """Whatever came of it, it was not cut off."""
    await outbox.accept(acceptance("a"), NOW)
    await send(outbox, CUT)
    [again] = await outbox.lease(VENDOR, 10, NOW)
    assert (again.maybe_received, again.cut_off) == (True, False)


async def test_when_what_is_in_a_file_was_taken(outbox):
    """By the last of its sales, the clock put right since."""
    for minute, name in enumerate(("a", "b")):
        await outbox.accept(acceptance(name), NOW + timedelta(minutes=minute))
    leased = await outbox.lease(VENDOR, 10, NOW)
    await outbox.note([one.entry for one in leased], "file:1")
    assert outbox.handed_over_of(VENDOR, "file:1") == NOW + timedelta(minutes=1)
    await outbox.shift(timedelta(days=3))
    assert outbox.handed_over_of(VENDOR, "file:1") == NOW + timedelta(days=3, minutes=1)
    assert outbox.handed_over_of(VENDOR, "file:2") is None


async def test_success_clears_the_last_error_and_names_the_vendor_s_reference(outbox):
    """What went wrong before is no longer shown, and every attempt stays in the story."""
    await outbox.accept(acceptance(), NOW)
    await send(outbox, CUT)
    await send(outbox, replace(DONE, reference="ord_1"), NOW + timedelta(seconds=5))
    story = outbox.story("1042-03-000001")
    (delivery,) = story.deliveries

    assert (delivery.error_code, delivery.error_status, delivery.vendor_reference) == (None, None, "ord_1")
    assert [(attempt["verdict"], attempt["code"]) for attempt in story.attempts] == [
        ("retry", "vendor.offline"),
        ("done", ""),
    ]
    assert story.attempts[1]["at"] == NOW + timedelta(seconds=5)


async def test_how_far_a_delivery_is_is_there_at_the_next_attempt(outbox):
    """Also when the attempt after that had nothing to say of it; nobody is shown it, and nothing is left at the end."""
    await outbox.accept(acceptance(), NOW)
    await send(outbox, replace(CUT, reference="c-1", progress="1/2"))
    await send(outbox, CUT)
    (outgoing,) = await leased(outbox)
    assert (outgoing.reference, outgoing.progress, outgoing.attempts) == ("c-1", "1/2", 2)

    await outbox.settle([Settled(outgoing.entry, replace(DONE, progress="2/2"))], NOW)
    assert outbox._reader.execute("SELECT vendor_reference, progress FROM deliveries").fetchall() == [("c-1", None)]


async def test_release_takes_the_attempt_back(outbox):
    """A delivery that was not tried after all has no attempt to its name and is free again."""
    await outbox.accept(acceptance(), NOW)
    (outgoing,) = await leased(outbox)
    await outbox.release([outgoing.entry])
    (again,) = await leased(outbox)
    assert (again.attempts, again.maybe_received) == (0, False)


async def test_a_verdict_without_a_lease_changes_nothing(outbox):
    """Who does not hold the lease has no say: nothing moves and nothing is recorded."""
    await outbox.accept(acceptance(), NOW)
    (outgoing,) = await leased(outbox)
    await outbox.release([outgoing.entry])
    await outbox.settle([Settled(outgoing.entry, DONE), Settled(999, DONE)], NOW)

    assert outbox.entry(outgoing.entry).state == "queued"
    assert outbox.story("1042-03-000001").attempts == ()


async def test_a_cancelled_lease_leaves_nothing_leased(outbox):
    """Who stops waiting for a lease does not take the deliveries along."""
    await outbox.accept(acceptance(), NOW)
    entered, go = threading.Event(), threading.Event()
    holding = asyncio.ensure_future(outbox._writer.run_alone(lambda _db: entered.set() or go.wait(60)))
    while not entered.is_set():  # noqa: ASYNC110 - set by another thread
        await asyncio.sleep(0.001)
    taking = asyncio.ensure_future(leased(outbox))
    await asyncio.sleep(0)
    taking.cancel()
    go.set()
    await asyncio.gather(holding, taking, return_exceptions=True)

    assert taking.cancelled()
    (outgoing,) = await leased(outbox)
    assert outgoing.attempts == 0


async def test_an_unreadable_record_is_parked_and_the_rest_goes(outbox):
    """One damaged record does not stop a lane for ever."""
    for name in ("bad", "good"):
        await outbox.accept(acceptance(name), NOW)
    await outbox._writer.run(lambda db: db.execute("UPDATE statements SET content = ? WHERE id = 1", (b"nonsense",)))

    assert await names(outbox) == ["good"]
    (delivery,) = outbox.story("bad").deliveries
    assert (delivery.state, delivery.error_code) == ("parked", "sale.unreadable")


# --- another run ----------------------------------------------------------------------------------------------


async def test_leases_of_a_former_run_are_taken_back(path):
    """After a kill everything leased is queued again, and known to may have arrived."""
    with open_outbox(path, run="one") as outbox:
        for number in range(3):
            await outbox.accept(acceptance(f"sale-{number}"), NOW)
        await leased(outbox, 2)
    with open_outbox(path, run="two") as outbox:
        batch = await leased(outbox)
        assert [outgoing.maybe_received for outgoing in batch] == [True, True, False]
        assert [outgoing.attempts for outgoing in batch] == [1, 1, 0]


@pytest.mark.parametrize("begun", [False, True], ids=["not sent yet", "on its way"])
async def test_an_open_sale_that_was_not_sent_stays_open_after_a_kill(path, begun):
    """Its tag may still rise: only what was written down as going out may have arrived."""
    with open_outbox(path, run="one") as outbox:
        await outbox.accept(acceptance(key=phone_key(), readings=(phone(),), open_=True), NOW)
        (outgoing,) = await leased(outbox)
        if begun:
            await outbox.sending([outgoing.entry])
    with open_outbox(path, run="two") as outbox:
        (outgoing,) = await leased(outbox)
        assert (outgoing.open, outgoing.maybe_received) == (True, begun)


async def test_everything_survives_a_reopening(path):
    """Sales, states and figures are the same in the next run."""
    with open_outbox(path) as outbox:
        for number in range(4):
            await outbox.accept(acceptance(f"sale-{number}"), NOW)
        await send(outbox)
        await send(outbox, PARK)
        before = outbox.info(), outbox.queue(state=None, vendor=None, limit=9, after=0)
    with open_outbox(path, run="two") as outbox:
        assert (outbox.info(), outbox.queue(state=None, vendor=None, limit=9, after=0)) == before


# --- tags -----------------------------------------------------------------------------------------------------


async def test_a_tag_rises_before_it_is_sent(outbox):
    """The new key is what goes out, first in line, and what it was resolved from is forgotten."""
    await outbox.accept(acceptance("open", key=phone_key(), readings=(phone(),), open_=True), NOW)
    await outbox.accept(acceptance("other", key=member_key(2)), NOW)
    batch = {outgoing.transaction.transaction_id: outgoing for outgoing in await leased(outbox)}
    await outbox.retag(batch["open"].entry, member_key(), NOW)
    await outbox.release([outgoing.entry for outgoing in batch.values()])
    first, _ = await leased(outbox)

    assert first.transaction.transaction_id == "open"
    assert (first.key, first.readings, first.open) == (member_key(), (), False)
    assert outbox.story("open").events == ({"at": NOW, "what": "retagged", "vendor": VENDOR},)


@pytest.mark.parametrize("guests", [True, False, lambda _sale: False], ids=["takes guests", "takes none", "takes some"])
async def test_a_member_who_is_found_out_late(tmp_path, guests):
    """Who did not get the sale while nobody was known, for whatever reason, gets it from then on."""
    recipients = (Recipient(VENDOR), Recipient("platform", guests=guests, owner=False))
    with open_outbox(tmp_path / "outbox.db", recipients=recipients) as outbox:
        await outbox.accept(acceptance(readings=(phone(),), open_=True), NOW)
        [outgoing] = await leased(outbox)
        await outbox.retag(outgoing.entry, member_key(), NOW)

        assert "platform" in {row.vendor for row in outbox.story("1042-03-000001").deliveries}


async def test_a_risen_tag_keeps_the_order(outbox):
    """What was taken under a phone and goes under the member's number is waited for by what was taken under that."""
    await outbox.accept(acceptance("phone", key=phone_key(), readings=(phone(),), open_=True), NOW)
    [first] = await leased(outbox)
    await outbox.retag(first.entry, member_key(), NOW)
    await outbox.settle([Settled(first.entry, LATER, NOW + timedelta(minutes=5))], NOW)
    await outbox.accept(acceptance("number", key=member_key()), NOW)

    assert await names(outbox) == []
    assert await names(outbox, now=NOW + timedelta(minutes=5)) == ["phone", "number"]


async def test_a_tag_stays_after_an_attempt_that_may_have_arrived(outbox):
    """The vendor must not see two different receipts under one id."""
    await outbox.accept(acceptance(key=phone_key(), readings=(phone(),), open_=True), NOW)
    await send(outbox, CUT)
    (outgoing,) = await leased(outbox)
    await outbox.retag(outgoing.entry, member_key(), NOW)
    await outbox.release([outgoing.entry])
    (again,) = await leased(outbox)
    assert (again.key, again.open) == (phone_key(), True)
    assert outbox.story(again.transaction.transaction_id).events == ()


# --- what people ask and decide -------------------------------------------------------------------------------


async def test_retry_puts_back_what_is_stuck_or_waits(outbox):
    """Parked, doubtful and backing-off deliveries are due at once; a finished one is unknown."""
    await outbox.accept(acceptance(), NOW)
    for verdict, retry_at in ((PARK, None), (DOUBT, None), (LATER, NOW + timedelta(hours=1))):
        entry = (await send(outbox, verdict, retry_at=retry_at)).entry
        await outbox.retry(entry, NOW)
        assert await names(outbox) == ["1042-03-000001"]
    await send(outbox)
    for unknown in (entry, 999):
        with pytest.raises(UnknownRecordError):
            await outbox.retry(unknown, NOW)


async def test_discard_gives_up_what_is_not_on_its_way(outbox):
    """A delivery goes out of the queue for good, whether it waits or is stuck; while it is sent it cannot."""
    await outbox.accept(acceptance("waits"), NOW)
    (delivery,) = outbox.queue(state=None, vendor=None, limit=9, after=0)
    await leased(outbox, 1)
    with pytest.raises(UnderWayError):
        await outbox.discard(delivery.entry, "no", NOW)
    await outbox.settle([Settled(delivery.entry, LATER, NOW + timedelta(hours=1))], NOW)
    await outbox.discard(delivery.entry, "made twice", NOW)
    assert outbox.next_due_at(VENDOR, NOW) is None
    assert (outbox.info().depth, await names(outbox)) == (0, [])

    await outbox.accept(acceptance(), NOW)
    (delivery,) = outbox.queue(state=None, vendor=None, limit=9, after=0)
    await send(outbox, PARK)
    await outbox.discard(delivery.entry, "made twice", NOW)

    assert outbox.queue(state=None, vendor=None, limit=9, after=0) == ()
    assert outbox.info().parked == 0
    assert outbox.entry(delivery.entry).state == "discarded"
    with pytest.raises(UnknownRecordError):
        await outbox.retry(delivery.entry, NOW)


async def test_a_back_off_is_forgotten_or_shortened(outbox):
    """Somebody asks for everything now; a clock that was put back lets nothing wait for an instant far away."""
    await outbox.accept(acceptance(), NOW)
    far = NOW + timedelta(days=365)
    await send(outbox, LATER, retry_at=far)
    assert outbox.next_due_at(VENDOR, NOW) == far

    await outbox.clamp_due(NOW + timedelta(minutes=15))
    assert outbox.next_due_at(VENDOR, NOW) == NOW + timedelta(minutes=15)
    await outbox.make_due(VENDOR)
    assert outbox.next_due_at(VENDOR, NOW) is None
    assert await names(outbox) == ["1042-03-000001"]


async def test_a_corrected_clock_moves_what_this_run_accepted(path):
    """Sales taken while the clock was three years back are not three years old once it is right."""
    back = timedelta(days=3 * 365)
    with open_outbox(path, run="one") as outbox:
        await outbox.accept(acceptance("before"), NOW)
    with open_outbox(path, run="two") as outbox:
        await outbox.accept(acceptance("during"), NOW - back)
        await outbox.shift(back)
        now = NOW + timedelta(minutes=1)
        await outbox.purge(replace(everything(now), accepted_before=now - timedelta(days=30)), now)

        assert outbox.story("before").accepted_at == NOW
        assert outbox.story("during").accepted_at == NOW
        before, during = await leased(outbox, 2)
        assert [outgoing.transaction.transaction_id for outgoing in (before, during)] == ["before", "during"]
        assert [outgoing.accepted_at for outgoing in (before, during)] == [NOW, NOW]
        assert [outgoing.clock_off for outgoing in (before, during)] == [timedelta(), back]


async def test_the_queue_is_paged_and_filtered(outbox):
    """Pages follow each other without gap or overlap, under every filter; held is what a held lane has waiting."""
    for number in range(10):
        await outbox.accept(acceptance(f"sale-{number}", vendors=("a", "b") if number % 2 else ("a",)), NOW)
    for verdict in (DONE, PARK, DOUBT):
        (outgoing,) = await leased(outbox, 1, vendor="a")
        await outbox.settle([Settled(outgoing.entry, verdict)], NOW)

    def listed(state=None, vendor=None, held=()):
        found, after = [], 0
        while page := outbox.queue(state=state, vendor=vendor, limit=2, after=after, held=held):
            assert [d.entry for d in page] == sorted(d.entry for d in page)
            assert len(page) <= 2
            found += page
            after = page[-1].entry
        return found

    assert len(listed()) == 14
    assert [(d.vendor, d.state) for d in listed("parked")] == [("a", "parked")]
    assert [(d.vendor, d.state) for d in listed("in_doubt")] == [("a", "in_doubt")]
    assert len(listed("queued")) == 12
    assert listed("held") == []
    assert {d.state for d in listed("held", held={"b"})} == {"held"}
    assert {d.vendor for d in listed("queued", held={"b"})} == {"a"}
    assert len(listed(vendor="b", held={"b"})) == 5
    assert listed("parked", vendor="b") == []
    assert listed("delivered") == []


async def test_figures_of_the_queue(outbox):
    """Depth counts what waits, held the part of it in held lanes; the oldest is the oldest that waits."""
    assert (outbox.info().depth, outbox.info().oldest_at) == (0, None)
    for number in range(4):
        key = member_key() if number == 0 else phone_key()
        record = acceptance(f"sale-{number}", key=key, vendors=("a", "b"))
        await outbox.accept(record, NOW + timedelta(minutes=number))
    (outgoing,) = await leased(outbox, 1, vendor="a")
    await outbox.settle([Settled(outgoing.entry, PARK)], NOW)
    info = outbox.info(held={"b"})

    assert (info.depth, info.held, info.parked, info.in_doubt) == (7, 4, 1, 0)
    assert (info.oldest_at, info.oldest) == (NOW, {"a": NOW + timedelta(minutes=1), "b": NOW})
    assert 4 * 300 < info.bytes < 4 * 1_000
    assert outbox.accepted_since(NOW + timedelta(minutes=2)) == 2


async def test_finished_sales_take_no_room_in_the_queue(outbox):
    """The record that is kept of them is no reason to refuse the next sale; a sale to two vendors counts once."""
    await outbox.accept(acceptance("guest", vendors=()), NOW)
    assert outbox.info().bytes == 0
    await outbox.accept(acceptance("one", key=phone_key(), vendors=("a",)), NOW)
    one = outbox.info().bytes
    await outbox.accept(acceptance("two", key=phone_key(), vendors=("a", "b")), NOW)
    assert outbox.info().bytes == 2 * one
    for vendor, left in (("b", 2), ("a", 0)):
        batch = await leased(outbox, 9, vendor=vendor)
        await outbox.settle([Settled(outgoing.entry, DONE) for outgoing in batch], NOW)
        assert outbox.info().bytes == left * one


async def test_what_is_forgotten_unfinished_takes_no_room_either(outbox):
    """A parked sale takes room until its record goes."""
    await outbox.accept(acceptance(key=phone_key()), NOW)
    late = NOW + timedelta(days=401)
    await outbox.purge(RetentionPlan(late, late, NOW, NOW), late)
    assert outbox.info().parked == 1
    assert outbox.info().bytes > 0
    await outbox.purge(RetentionPlan(late, late, late, NOW), late)
    assert (outbox.info().parked, outbox.info().bytes) == (0, 0)


async def test_a_purge_is_due_when_it_would_find_something(outbox):
    """Finished, old or forgotten: each by its own age, and nothing else."""
    await outbox.accept(acceptance(key=phone_key()), NOW)
    (outgoing,) = await leased(outbox, 1)
    before, after = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
    finished = RetentionPlan(after, before, before, before)
    old = RetentionPlan(before, after, before, before)
    forgotten = RetentionPlan(before, before, after, before)
    assert [outbox.due(plan) for plan in (finished, old, forgotten)] == [False, True, False]
    await outbox.settle([Settled(outgoing.entry, DONE)], NOW)
    assert [outbox.due(plan) for plan in (finished, old, forgotten)] == [True, True, False]
    await outbox.purge(finished, NOW)
    assert not outbox.due(RetentionPlan(after, after, before, before))
    assert outbox.due(forgotten)


async def test_a_retry_without_the_member_goes_on_telling_why(outbox):
    """Whatever the vendor says of a sale whose person was erased, it is parked because of that."""
    await outbox.accept(acceptance(key=phone_key()), NOW)
    late = NOW + timedelta(days=31)
    await outbox.purge(RetentionPlan(late, late, NOW, NOW), late)
    (parked,) = outbox.queue(state="parked", vendor=None, limit=9, after=0)
    for verdict in (LATER, PARK):
        await outbox.retry(parked.entry, late)
        await leased(outbox, 1)
        await outbox.settle([Settled(parked.entry, verdict)], late)
    (again,) = outbox.queue(state="parked", vendor=None, limit=9, after=0)
    assert (again.error_code, again.error_title) == ("retention.expired", parked.error_title)
    assert again.error_status == PARK.status


async def test_what_waits_for_a_held_vendor_is_answered_as_held(outbox):
    """As the sale itself says when it is asked for; a repeat too."""
    record = acceptance(key=phone_key(), vendors=("a", "b"))
    for now_held, said in (({"b"}, "held"), (set(), "queued"), ({"a", "b"}, "held")):
        receipt = await outbox.accept(record, NOW, now_held)
        assert receipt.state == said
    assert (await outbox.accept(acceptance("other", vendors=("a",)), NOW, {"b"})).state == "queued"
    assert (await outbox.accept(acceptance("guest", vendors=()), NOW, {"b"})).state == "delivered"


async def test_a_stranger_s_story_is_unknown(outbox):
    """An id or entry that nobody recorded is an error, not an empty answer."""
    with pytest.raises(UnknownRecordError):
        outbox.story("nobody")
    with pytest.raises(UnknownRecordError):
        outbox.entry(7)


async def test_a_story_names_nobody(outbox):
    """Kinds and types of keys, never a value."""
    await outbox.accept(acceptance(key=phone_key(), readings=(phone(),), cashier_id="Alma Made-Up"), NOW)
    story = outbox.story("1042-03-000001", held={VENDOR})
    assert (story.key_kind, story.key_type) == ("secondary", "mobile_phone")
    assert story.deliveries[0].state == "held"
    assert PHONE not in repr(story)
    assert "Alma" not in repr(story)


def test_a_key_shows_no_value():
    """The values that pass through here keep the person out of their repr."""
    assert PHONE not in repr(acceptance(key=phone_key(), readings=(phone(),), cashier_id=PHONE))
    assert IntegrationKey.model_fields["value"].repr is False


@pytest.mark.parametrize("off", [-3 * 365, 3 * 365, 2], ids=["back", "ahead", "two days ahead"])
async def test_what_an_earlier_wrong_clock_dated_gets_todays_date(path, off):
    """Three years ago or in the future: neither can be, and the sale says how far its clock was off."""
    wrong = NOW + timedelta(days=off)
    with open_outbox(path, run="one") as outbox:
        await outbox.accept(acceptance("odd"), wrong)
    with open_outbox(path, run="two") as outbox:
        await outbox.accept(acceptance("even"), NOW - timedelta(days=29))
        assert outbox.oddly_dated(NOW)
        assert await outbox.redate(NOW) == 1
        assert not outbox.oddly_dated(NOW)

        odd, even = await leased(outbox, 2)
        assert (odd.accepted_at, odd.clock_off) == (NOW, NOW - wrong)
        assert (even.accepted_at, even.clock_off) == (NOW - timedelta(days=29), timedelta())
