"""Redemptions on disk: found again, settled, and erased to the last byte."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from agent.domain.belonging import Wanted
from agent.domain.benefits import BenefitKind
from agent.domain.redemption import RedemptionState
from agent.domain.retention import RetentionPlan
from agent.ports import Loss, RedemptionWish
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
        (found,) = record.open(10)
        assert found == record.find("s-1", VOUCHER, "canary-voucher")
        assert (found.number, found.state, found.accepted_at) == (number, RedemptionState.ASKING, NOW)
        assert (found.key, found.id, found.ref, found.amount) == (WISH.key, WISH.id, WISH.ref, WISH.amount)
        assert record.find("s-1", OFFER, "canary-voucher") is None
        assert record.find("s-2", VOUCHER, "canary-voucher") is None
        assert states(record) == {"asking": 1}


async def test_what_became_of_it(tmp_path):
    """It is settled under the same number, and may be asked for again; no two rows are ever made of it."""
    with shop(tmp_path) as (_, record):
        number = await record.ask(WISH, None, NOW)
        await record.settle(number, RedemptionState.REFUSED, NOW, "RewardVoucherExpired")
        known = record.find("s-1", VOUCHER, "canary-voucher")
        assert (known.state, known.code, record.open(10)) == (RedemptionState.REFUSED, "RewardVoucherExpired", [])
        assert await record.ask(WISH, known, NOW) == number
        again = record.find("s-1", VOUCHER, "canary-voucher")
        assert (again.state, again.code, again.id) == (RedemptionState.ASKING, None, WISH.id)
        assert states(record) == {"asking": 1}
        assert await record.erase(wanted(WISH.key.identifier), NOW) == 1
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
        assert [row["id"] for row in await record.export(whom)] == ["canary-voucher"] * 3
        assert await record.erase(whom, NOW) == 3
        await record.purge(plan(), NOW)
        assert b"canary" not in bytes_of(tmp_path)
        assert b"90817263" not in bytes_of(tmp_path)
        assert states(record) == {"asking": 1, "redeemed": 1, "stuck": 2}
        assert record.find("s-1", VOUCHER, "canary-voucher") is None, "not even by the id of the benefit"
        assert await record.export(whom) == []
        assert await record.erase(whom, NOW) == 0
        codes = outbox._reader.execute("SELECT code FROM redemptions WHERE state = 'stuck'").fetchall()
        assert codes == [("privacy.erased",)] * 2


async def test_nobody_else_is_erased(tmp_path):
    """A stranger's keys lead nowhere."""
    with shop(tmp_path) as (_, record):
        await record.ask(WISH, None, NOW)
        assert await record.erase(wanted(phone()), NOW) == 0
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
        assert [record.given_unasked(key, NOW.date()) for key in (WISH.key, again.key)] == [0, 1]


async def test_what_was_given_unasked(tmp_path):
    """It is counted by person and day; what was refused is summed up; erased before the vendor was told it is lost."""
    unasked = replace(WISH, currency="SEK", unasked_on=NOW.date())
    with shop(tmp_path) as (_, record):
        number = await record.ask(unasked, None, NOW)
        assert record.find("s-1", VOUCHER, WISH.id).state is RedemptionState.QUEUED
        assert record.elsewhere("s-2", VOUCHER, WISH.id)
        assert record.given_unasked(WISH.key, NOW.date()) == 1
        assert (
            record.given_unasked(WISH.key, NOW.date() + DAY) == record.given_unasked(member_key("1"), NOW.date()) == 0
        )
        assert record.losses(NOW - DAY) == []
        await record.settle(number, RedemptionState.LOST, NOW)
        await record.ask(replace(unasked, transaction_id="s-2", id="v-2", amount=None, currency=None), None, NOW)
        await record.erase(wanted(WISH.key.identifier), NOW)
        assert record.losses(NOW - DAY) == [Loss("-", 1, Decimal(0)), Loss("SEK", 1, Decimal("50.00"))]
        assert record.losses(NOW + DAY) == []
        assert record.given_unasked(WISH.key, NOW.date()) == 0
