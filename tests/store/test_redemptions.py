"""Redemptions on disk: found again, settled, and erased to the last byte."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from agent.domain.belonging import Wanted, redeemers
from agent.domain.benefits import BenefitKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.redemption import RedemptionState
from agent.domain.retention import RetentionPlan
from agent.domain.transaction import IntegrationKey
from agent.ports import Loss, RedemptionWish
from agent.store.mending import Clues, mend
from agent.store.outbox_view import read
from agent.store.redemptions import SLICE, Redemptions
from tests.fakes import NAMES, NOW, STORAGE_KEY, member_key, open_outbox, phone

VOUCHER, OFFER = BenefitKind.VOUCHER, BenefitKind.OFFER
WISH = RedemptionWish(member_key("90817263"), "ref-canary", VOUCHER, "canary-voucher", "s-1", Decimal("50.00"))
DAY = timedelta(days=1)


def states(record):
    """How many are on disk in each state."""
    return dict(read(record._reader, "SELECT state, count(*) FROM redemptions GROUP BY state"))


@contextlib.contextmanager
def shop(tmp_path, run="run-1"):
    with open_outbox(tmp_path / "outbox.db", run=run) as outbox:
        yield outbox, Redemptions(outbox._writer, outbox._reader, key=STORAGE_KEY, names=NAMES)


def wanted(*identifiers, refs=()):
    return Wanted(frozenset(refs), {NAMES.of_identifier(identifier): None for identifier in identifiers})


async def theirs(record, whom):
    """The numbers of what is on record of somebody."""
    return [one.number for person in redeemers(await record.redeemed(), whom, ()) for one in person]


async def erase(record, whom):
    return await record.erase(await theirs(record, whom), NOW)


def bytes_of(tmp_path):
    return b"".join(path.read_bytes() for path in tmp_path.iterdir())


def plan(*, delivered=NOW - DAY, accepted=NOW - 30 * DAY, audit=NOW - 400 * DAY):
    return RetentionPlan(
        delivered_before=delivered, accepted_before=accepted, audit_before=audit, tombstones_before=NOW
    )


async def test_what_is_asked_is_on_disk(tmp_path):
    """A new run, after whatever ended the last one, finds who asked for which benefit of whom."""
    with shop(tmp_path) as (_, record):
        assert record.find("s-1", VOUCHER, "canary-voucher") is None
        number = await record.ask(WISH, None, NOW)
    with shop(tmp_path, run="run-2") as (_, record):
        (found,) = record.open(0, 10)
        assert found == record.find("s-1", VOUCHER, "canary-voucher")
        assert (found.number, found.state, found.accepted_at) == (number, RedemptionState.ASKING, NOW)
        assert (found.key, found.id, found.ref, found.amount) == (WISH.key, WISH.id, WISH.ref, WISH.amount)
        assert record.find("s-1", OFFER, "canary-voucher") is None
        assert record.find("s-2", VOUCHER, "canary-voucher") is None
        assert states(record) == {"asking": 1}


async def test_the_vendor_s_name_of_a_use(tmp_path):
    """It is kept with the person, and found by the kind; asked again, or erased, no byte of it is left in use."""
    with shop(tmp_path) as (_, record):
        number = await record.ask(WISH, None, NOW)
        assert record.uses(VOUCHER) == frozenset()
        await record.settle(number, RedemptionState.REDEEMED, NOW, use="canary-use")
        await record.named(WISH.key, [phone()])
        found = record.find("s-1", VOUCHER, "canary-voucher")
        assert (found.use, found.state, record.uses(VOUCHER)) == (
            "canary-use",
            RedemptionState.REDEEMED,
            {"canary-use"},
        )
        assert record.uses(OFFER) == frozenset()
        assert record.export([number])[0]["use"] == "canary-use"
        await record.ask(WISH, found, NOW)
        assert record.find("s-1", VOUCHER, "canary-voucher").use is None
        await record.settle(number, RedemptionState.REDEEMED, NOW, use="canary-use")
    with shop(tmp_path, run="run-2") as (outbox, record):
        assert record.find("s-1", VOUCHER, "canary-voucher").use == "canary-use"
        assert await erase(record, wanted(WISH.key.identifier)) == 1
        assert record.uses(VOUCHER) == frozenset()
        kept = read(outbox._reader, "SELECT content FROM statements")
        assert not [row for row in kept if b"canary-use" in bytes(row[0])]


async def test_what_became_of_it(tmp_path):
    """It is settled under the same number, and may be asked for again; no two rows are ever made of it."""
    with shop(tmp_path) as (_, record):
        number = await record.ask(WISH, None, NOW)
        await record.settle(number, RedemptionState.REFUSED, NOW, "RewardVoucherExpired")
        known = record.find("s-1", VOUCHER, "canary-voucher")
        assert (known.state, known.code, record.open(0, 10)) == (RedemptionState.REFUSED, "RewardVoucherExpired", [])
        assert await record.ask(WISH, known, NOW) == number
        again = record.find("s-1", VOUCHER, "canary-voucher")
        assert (again.state, again.code, again.id) == (RedemptionState.ASKING, None, WISH.id)
        assert states(record) == {"asking": 1}
        assert await erase(record, wanted(WISH.key.identifier)) == 1
        await record.purge(plan(), NOW)
        assert b"canary" not in bytes_of(tmp_path), "what the first attempt kept is gone as well"


@pytest.mark.parametrize(
    ("state", "holds"),
    [
        *((state, True) for state in ("queued", "sending", "lost", "asking", "redeemed", "stuck")),
        *((state, False) for state in ("refused", "undoing", "released")),
    ],
)
async def test_another_sale_s(tmp_path, state, holds):
    """A benefit that another sale has used up, or may have, is found whichever sale it is."""
    with shop(tmp_path) as (_, record):
        number = await record.ask(WISH, None, NOW)
        await record.settle(number, RedemptionState(state), NOW)
        assert record.elsewhere("s-2", VOUCHER, "canary-voucher") is holds
        assert not record.elsewhere("s-1", VOUCHER, "canary-voucher")
        assert not record.elsewhere("s-2", OFFER, "canary-voucher")


@pytest.mark.parametrize(
    "whom",
    [wanted(WISH.key.identifier), wanted(phone(), WISH.key.identifier), wanted(refs=("ref-canary",))],
    ids=["key", "one of many keys", "handle"],
)
async def test_a_person_is_erased(tmp_path, whom):
    """No byte of theirs is left; what became of it stays, and what was still open can be asked about no more."""
    with shop(tmp_path) as (outbox, record):
        for transaction_id, state in (("s-1", "asking"), ("s-2", "redeemed"), ("s-3", "undoing")):
            number = await record.ask(replace(WISH, transaction_id=transaction_id), None, NOW)
            await record.settle(number, RedemptionState(state), NOW)
        await record.ask(replace(WISH, key=member_key("1"), ref="ref-other", id="another"), None, NOW)
        assert b"canary" in bytes_of(tmp_path)
        assert [row["id"] for row in record.export(await theirs(record, whom))] == ["canary-voucher"] * 3
        assert await erase(record, whom) == 3
        await record.purge(plan(), NOW)
        assert b"canary" not in bytes_of(tmp_path)
        assert b"90817263" not in bytes_of(tmp_path)
        assert states(record) == {"asking": 1, "redeemed": 1, "stuck": 2}
        assert record.find("s-1", VOUCHER, "canary-voucher") is None, "not even by the id of the benefit"
        assert record.export(await theirs(record, whom)) == []
        assert await erase(record, whom) == 0
        codes = outbox._reader.execute("SELECT code FROM redemptions WHERE state = 'stuck'").fetchall()
        assert codes == [("privacy.erased",)] * 2


CONTACT = Identifier(IdentifierType.CONTACT_ID, "canary-contact")
MAIL = Identifier(IdentifierType.EMAIL, "canary@example.com")
NAMED = replace(WISH, names=(CONTACT, phone()))


@pytest.mark.parametrize("by", [phone(), MAIL, CONTACT], ids=["phone", "mail", "contact id"])
@pytest.mark.parametrize("since", ["asked", "asked again", "named"])
async def test_by_whatever_they_were_named(tmp_path, since, by):
    """Before or since, in another run: they are found by all of it, and none of it can be read."""
    with shop(tmp_path) as (_, record):
        number = await record.ask(replace(NAMED, names=(*NAMED.names, MAIL) if since == "asked" else ()), None, NOW)
        await record.settle(number, RedemptionState.REFUSED, NOW)
    with shop(tmp_path, run="run-2") as (_, record):
        if since == "asked again":
            await record.ask(replace(NAMED, names=(MAIL,)), record.find("s-1", VOUCHER, WISH.id), NOW)
        await record.named(WISH.key, NAMED.names if since != "named" else (CONTACT,))
        await record.named(WISH.key, (MAIL, phone()))
        await record.named(member_key("7"), (phone(6),))
        kept = bytes_of(tmp_path)
        assert not [name for name in (CONTACT, MAIL, phone()) if name.value.encode() in kept]
        assert record.export(await theirs(record, wanted(phone(6)))) == []
        assert [row["id"] for row in record.export(await theirs(record, wanted(by)))] == [WISH.id]
        assert await erase(record, wanted(by)) == 1
        await record.purge(plan(), NOW)
        assert b"canary" not in bytes_of(tmp_path)
        assert b"90817263" not in bytes_of(tmp_path)
        hashes = [NAMES.of_identifier(name).hex().encode() for name in (CONTACT, MAIL, phone())]
        assert not [one for one in hashes if one in bytes_of(tmp_path)]


async def test_what_they_were_named_by_before(tmp_path):
    """Asked for again in another run, which saw nothing of it."""
    with shop(tmp_path) as (_, record):
        number = await record.ask(NAMED, None, NOW)
        await record.settle(number, RedemptionState.REFUSED, NOW)
    with shop(tmp_path, run="run-2") as (_, record):
        await record.ask(replace(NAMED, names=(MAIL,)), record.find("s-1", VOUCHER, WISH.id), NOW)
        assert [await theirs(record, wanted(by)) for by in (phone(), CONTACT, MAIL)] == [[number]] * 3


async def test_one_person_s_second_key_counts_with_the_first(tmp_path):
    """Who was found by a number and by the vendor's id is one; somebody else who has the same phone is not."""
    by_id = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value=CONTACT.value)
    unasked = replace(NAMED, unasked_on=NOW.date())
    with shop(tmp_path) as (_, record):
        await record.ask(unasked, None, NOW)
        await record.ask(replace(unasked, transaction_id="s-2", key=by_id, names=(phone(),)), None, NOW)
        await record.ask(replace(unasked, transaction_id="s-3", key=member_key("7"), names=(phone(),)), None, NOW)
        for key, names, count in (
            (WISH.key, (CONTACT,), 2),
            (WISH.key, (), 2),
            (by_id, (phone(),), 2),
            (member_key("7"), (phone(),), 1),
            (member_key("8"), (phone(),), 0),
        ):
            assert record.given_unasked(key, names, NOW.date()) == count


async def test_when_it_was_asked_for(tmp_path):
    """Last, by whichever clock that is told; what became of it later changes nothing of that."""
    with shop(tmp_path) as (_, record):
        number = await record.ask(replace(WISH, asked_at=NOW - DAY), None, NOW)
        await record.settle(number, RedemptionState.REFUSED, NOW)
        assert record.find("s-1", VOUCHER, WISH.id).asked_at == NOW - DAY
        await record.settle(number, RedemptionState.SENDING, NOW, None, NOW - 2 * DAY)
        assert record.find("s-1", VOUCHER, WISH.id).asked_at == NOW - 2 * DAY
        await record.ask(WISH, record.find("s-1", VOUCHER, WISH.id), NOW)
        assert record.find("s-1", VOUCHER, WISH.id).asked_at is None


async def test_what_another_was_named_by_is_not_theirs(tmp_path):
    """Asked for again, a redemption that was refused to one may be another's: their names are not."""
    with shop(tmp_path) as (_, record):
        number = await record.ask(NAMED, None, NOW)
        await record.settle(number, RedemptionState.REFUSED, NOW)
        await record.ask(replace(WISH, key=member_key("7")), record.find("s-1", VOUCHER, WISH.id), NOW)
        assert await theirs(record, wanted(phone())) == []


async def test_who_is_named_in_vain_costs_no_write(tmp_path, monkeypatch):
    """A look-up of somebody of whom nothing is on record waits for no disk."""
    with shop(tmp_path) as (_, record):
        await record.ask(WISH, None, NOW)
        monkeypatch.setattr(record._writer, "run", None)
        await record.named(member_key("7"), (phone(),))


async def test_nobody_else_is_erased(tmp_path):
    """A stranger's keys lead nowhere."""
    with shop(tmp_path) as (_, record):
        await record.ask(WISH, None, NOW)
        assert await erase(record, wanted(phone())) == 0
        assert record.find("s-1", VOUCHER, "canary-voucher").key == WISH.key


@pytest.mark.parametrize(
    ("state", "settled_at", "what", "goes"),
    [
        ("redeemed", NOW - 2 * DAY, plan(), True),
        ("redeemed", NOW, plan(), False),
        ("asking", NOW, plan(), False),
        ("asking", NOW, plan(accepted=NOW + DAY), True),
    ],
    ids=["settled long ago", "settled just now", "open", "open for too long"],
)
async def test_a_person_goes_by_age(tmp_path, state, settled_at, what, goes):
    """As a sale's does: a while after it is settled, and in any case some time after it was taken."""
    with shop(tmp_path) as (_, record):
        number = await record.ask(WISH, None, NOW)
        await record.settle(number, RedemptionState(state), settled_at)
        assert record.due(what) is goes
        assert await record.purge(what, NOW) == {"redemptions": int(goes)}
        assert (b"canary" in bytes_of(tmp_path)) is not goes
        assert not record.due(what)


async def test_the_record_goes_at_last(tmp_path):
    """After the audit's time nothing is left, however many there were."""
    with shop(tmp_path) as (_, record):
        for number in range(SLICE + 3):
            row = await record.ask(replace(WISH, transaction_id=f"s-{number}"), None, NOW)
            await record.settle(row, RedemptionState.REDEEMED, NOW)
        late = plan(delivered=NOW + DAY, audit=NOW + DAY)
        assert await record.purge(late, NOW) == {"redemptions": SLICE + 3}
        assert states(record) == {}


async def test_a_clock_that_is_put_right_moves_them_too(tmp_path):
    """What this run took keeps its distance from now; what bears an impossible date gets today's."""
    with shop(tmp_path) as (outbox, record):
        await record.ask(WISH, None, NOW - 900 * DAY)
        assert outbox.oddly_dated(NOW)
        await outbox.shift(timedelta(days=900))
        assert record.find("s-1", VOUCHER, WISH.id).accepted_at == NOW
        assert not outbox.oddly_dated(NOW)
    with shop(tmp_path, run="run-2") as (outbox, record):
        await outbox.shift(timedelta(days=900))
        assert record.find("s-1", VOUCHER, WISH.id).accepted_at == NOW, "another run's clock was right"
        assert outbox.oddly_dated(NOW + 900 * DAY)
        await outbox.redate(NOW + 900 * DAY)
        assert record.find("s-1", VOUCHER, WISH.id).accepted_at == NOW + 900 * DAY


async def test_what_is_asked_again_is_whose_and_what_it_is_now(tmp_path):
    """The person who is counted, the amount and its currency are those of the last attempt."""
    again = replace(WISH, key=member_key("7"), amount=Decimal("9.00"), currency="SEK", unasked_on=NOW.date())
    with shop(tmp_path) as (_, record):
        number = await record.ask(replace(WISH, amount=None), None, NOW)
        await record.settle(number, RedemptionState.REFUSED, NOW)
        await record.ask(again, record.find("s-1", VOUCHER, WISH.id), NOW)
        known = record.find("s-1", VOUCHER, WISH.id)
        assert (known.key, known.amount, known.currency) == (again.key, again.amount, "SEK")
        assert [record.given_unasked(key, (), NOW.date()) for key in (WISH.key, again.key)] == [0, 1]


async def test_what_was_given_unasked(tmp_path):
    """It is counted by person and day; what was refused is summed up; erased before the vendor was told it is lost."""
    unasked = replace(WISH, currency="SEK", unasked_on=NOW.date())
    with shop(tmp_path) as (_, record):
        number = await record.ask(unasked, None, NOW)
        assert record.find("s-1", VOUCHER, WISH.id).state is RedemptionState.QUEUED
        assert record.elsewhere("s-2", VOUCHER, WISH.id)
        assert record.given_unasked(WISH.key, (), NOW.date()) == 1
        assert (
            record.given_unasked(WISH.key, (), NOW.date() + DAY)
            == record.given_unasked(member_key("1"), (), NOW.date())
            == 0
        )
        assert record.losses(NOW - DAY) == []
        await record.settle(number, RedemptionState.LOST, NOW)
        await record.ask(replace(unasked, transaction_id="s-2", id="v-2", amount=None, currency=None), None, NOW)
        await erase(record, wanted(WISH.key.identifier))
        assert record.losses(NOW - DAY) == [Loss("-", 1, Decimal(0)), Loss("SEK", 1, Decimal("50.00"))]
        assert record.losses(NOW + DAY) == []
        assert record.given_unasked(WISH.key, (), NOW.date()) == 0


@pytest.mark.parametrize(
    ("state", "looked_up"),
    [
        ("queued", "sending"),
        ("sending", "sending"),
        ("asking", "asking"),
        ("refused", "asking"),
        ("redeemed", "asking"),
        ("lost", None),
        ("undoing", None),
        ("released", None),
        ("stuck", None),
    ],
)
async def test_a_row_that_may_have_changed_since(tmp_path, state, looked_up):
    """Rescued from a damaged log it is looked up, and when it was asked for last is not known, whatever it says."""
    with shop(tmp_path) as (outbox, record):
        number = await record.ask(replace(WISH, asked_at=NOW), None, NOW)
        await record.settle(number, RedemptionState(state), NOW)
        before = record.find("s-1", VOUCHER, WISH.id)
        await outbox._writer.run(
            lambda db: mend(
                db, whole=(), stale={"redemptions": [number]}, clues=Clues(list, list), recipients=(),
                hash_key=STORAGE_KEY, now=NOW,
            )
        )  # fmt: skip
        after = record.find("s-1", VOUCHER, WISH.id)
        assert after == (before if looked_up is None else replace(before, state=looked_up, asked_at=None))
