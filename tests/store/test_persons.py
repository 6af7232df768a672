"""Everything the outbox holds on one person: found, exported, and erased to the last byte."""

from __future__ import annotations

import contextlib
import json
import random
from datetime import timedelta

import pytest

from agent.domain.belonging import Wanted, belonging
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.retention import RetentionPlan
from agent.ports import ErasedSales, Settled
from agent.store import persons
from agent.store.persons import PersonalSales
from tests.fakes import NAMES, NOW, VENDOR, acceptance, email, member_key, open_outbox, phone, phone_key

DONE = Verdict(VerdictKind.DONE)
PARK = Verdict(VerdictKind.PARK, "vendor.rejected", 422)
DOUBT = Verdict(VerdictKind.IN_DOUBT, "vendor.offline")
DAY = timedelta(days=1)
SAID = {
    "cashier_id": "canary-cashier",
    "vouchers_used": [{"number": "canary-voucher"}],
    "payments": [{"type": "card", "amount": "250.00", "reference": "canary-card"}],
}


def wanted(*identifiers, refs=(), before=None):
    return Wanted(frozenset(refs), {NAMES.of_identifier(identifier): before for identifier in identifiers})


@contextlib.contextmanager
def shop(tmp_path, *, guests=()):
    """An outbox and what looks for people in it."""
    with open_outbox(tmp_path / "outbox.db") as outbox:
        sales = PersonalSales(outbox, outbox._writer, outbox._reader, names=NAMES, guests=guests)
        yield outbox, sales


async def find(sales, whom, *, others=()):
    traces = await sales.traces(whom)
    found = belonging(traces, whom, others)
    return {trace.transaction_id for trace in traces if trace.sale in found}


async def erase(sales, whom, *, others=(), now=NOW):
    return await sales.erase(belonging(await sales.traces(whom), whom, others), now)


def bytes_of(tmp_path):
    return b"".join(path.read_bytes() for path in tmp_path.iterdir())


async def settle(outbox, verdict, *, retag=None):
    (outgoing,) = await outbox.lease(VENDOR, 1, NOW)
    if retag is not None:
        await outbox.retag(outgoing.entry, retag, NOW)
    await outbox.settle([Settled(outgoing.entry, verdict)], NOW)
    return outgoing.entry


@pytest.mark.parametrize(
    ("record", "whom"),
    [
        ({"key": phone_key(5)}, wanted(phone(5))),
        ({"key": member_key("4711")}, wanted(member_key("4711").identifier)),
        ({"key": member_key("4711"), "readings": (phone(5),)}, wanted(phone(5))),
        ({"readings": (phone(5), email("alma")), "open_": True}, wanted(email("alma"))),
        ({"key": member_key("4711")}, wanted(phone(9), member_key("4711").identifier)),
    ],
    ids=["secondary key", "primary key", "what was said", "any reading", "one of many keys"],
)
async def test_a_sale_is_found_by_whatever_names_its_person(tmp_path, record, whom):
    """Every key of a sale leads to it: its tag, and everything that the customer's words can be."""
    with shop(tmp_path) as (outbox, sales):
        await outbox.accept(acceptance("theirs", **record), NOW)
        await outbox.accept(acceptance("another", key=phone_key(6), readings=(phone(6), email("bo"))), NOW)
        await outbox.accept(acceptance("guest", vendors=()), NOW)

        assert await find(sales, whom) == {"theirs"}
        assert await find(sales, wanted(phone(7))) == set()


async def test_a_value_is_found_under_its_type_alone(tmp_path):
    """A member number of the same digits as somebody's phone is somebody else."""
    with shop(tmp_path) as (outbox, sales):
        await outbox.accept(acceptance("s-1", key=member_key(phone(5).value)), NOW)
        assert await find(sales, wanted(phone(5))) == set()


async def test_a_sale_is_found_by_its_member_s_handle(tmp_path):
    """Who was known as a member is found by the handle alone: the feed may name no more than a contact id."""
    with shop(tmp_path) as (outbox, sales):
        record = acceptance("s-1", key=member_key("4711"))
        await outbox.accept(type(record)(**{**_fields(record), "ref": "c0ffee"}), NOW)
        assert await find(sales, wanted(refs=["c0ffee"])) == {"s-1"}
        assert await find(sales, wanted(refs=["beef"])) == set()


def _fields(record):
    return {name: getattr(record, name) for name in record.__slots__}


async def test_a_settled_sale_is_still_found_by_what_was_said(tmp_path):
    """When the tag has risen the customer's words are forgotten; their keyed hashes still lead to the sale."""
    with shop(tmp_path) as (outbox, sales):
        await outbox.accept(acceptance("s-1", key=phone_key(5), readings=(phone(5), email("alma")), open_=True), NOW)
        await settle(outbox, DONE, retag=member_key("4711"))
        await outbox._writer.run_alone(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        assert phone(5).value.encode() not in bytes_of(tmp_path)

        for whom in (phone(5), email("alma"), member_key("4711").identifier):
            assert await find(sales, wanted(whom)) == {"s-1"}
        assert await find(sales, wanted(phone(6))) == set()


async def test_a_key_that_was_settled_leads_to_the_sale_too(tmp_path):
    """A till may give no more than a secondary key: it leads to the sale also when the vendor has named the member."""
    with shop(tmp_path) as (outbox, sales):
        await outbox.accept(acceptance("s-1", key=phone_key(5), open_=True), NOW)
        await settle(outbox, DONE, retag=member_key("4711"))
        for whom in (phone(5), member_key("4711").identifier):
            assert await find(sales, wanted(whom)) == {"s-1"}


async def test_a_return_under_the_key_of_its_sale_goes_with_it(tmp_path):
    """It has the phone that the sale went under when it was taken: the member number that came later leads to both."""
    lines = [{"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": "250.00"}]
    with shop(tmp_path) as (outbox, sales):
        await outbox.accept(acceptance("s-1", key=phone_key(5), open_=True), NOW)
        await outbox.accept(acceptance("back", type="return", original_transaction_id="s-1", lines=lines), NOW)
        bos = acceptance("bo-s", type="return", key=phone_key(6), original_transaction_id="s-1", lines=lines)
        await outbox.accept(bos, NOW)
        await settle(outbox, DONE, retag=member_key("4711"))
        whom = wanted(member_key("4711").identifier)
        assert await find(sales, whom) == {"s-1", "back"}

        traces = await sales.traces(whom)
        await sales.erase(belonging(traces, whom, ()), NOW)
        left = bytes_of(tmp_path)
        assert phone(5).value.encode() not in left
        assert phone(6).value.encode() in left


async def test_what_is_about_their_sale_goes_with_it(tmp_path):
    """A return or a void that names nobody, and the guest's sale whose points were claimed, are theirs too."""
    lines = [{"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": "250.00"}]
    with shop(tmp_path) as (outbox, sales):
        await outbox.accept(acceptance("s-1", key=phone_key(5)), NOW)
        await outbox.accept(acceptance("back", type="return", original_transaction_id="s-1", lines=lines), NOW)
        await outbox.accept(acceptance("cash", vendors=()), NOW)
        claim = acceptance("claim", type="points_claim", original_transaction_id="cash", key=phone_key(5))
        await outbox.accept(claim, NOW)
        await outbox.accept(acceptance("cash-2", vendors=()), NOW)
        other = acceptance("other", type="return", original_transaction_id="s-1", lines=lines, key=phone_key(6))
        await outbox.accept(other, NOW)

        assert await find(sales, wanted(phone(5))) == {"s-1", "back", "cash", "claim"}


async def test_an_old_key_counts_for_old_sales_alone(tmp_path):
    """A phone number that the feed took from somebody yesterday may be somebody else's today."""
    with shop(tmp_path) as (outbox, sales):
        await outbox.accept(acceptance("before", key=phone_key(5)), NOW - DAY)
        await outbox.accept(acceptance("after", key=phone_key(5)), NOW + DAY)
        assert await find(sales, wanted(phone(5), before=NOW)) == {"before"}


async def test_everything_waiting_is_looked_through(tmp_path, monkeypatch):
    """However many sales are remembered, and though many were accepted in the same moment, each is looked at."""
    monkeypatch.setattr(persons, "READ_SLICE", 7)
    with shop(tmp_path) as (outbox, sales):
        for number in range(60):
            await outbox.accept(acceptance(f"s-{number}", key=phone_key(number % 3)), NOW + DAY * (number // 25))
        assert await find(sales, wanted(phone(2))) == {f"s-{number}" for number in range(2, 60, 3)}


async def test_no_trace_is_left_of_a_waiting_sale(tmp_path):
    """Not one byte of the person stays; the sale does, untagged, owed to nobody, and another's is as it was."""
    with shop(tmp_path) as (outbox, sales):
        contact = {"first_name": "Canaria", "mobile_phone": phone(5).value, "email": email("canary").value}
        theirs = acceptance("s-1", key=phone_key(5), readings=(phone(5),), open_=True, new_contact=contact, **SAID)
        await outbox.accept(theirs, NOW)
        await outbox.accept(acceptance("s-2", key=phone_key(6), cashier_id="stays"), NOW)
        canaries = [b"canary", b"Canaria", phone(5).value.encode()]
        assert all(canary in bytes_of(tmp_path) for canary in canaries)
        done = await erase(sales, wanted(phone(5)))

        assert done == ErasedSales(waiting=1)
        assert [canary for canary in canaries if canary in bytes_of(tmp_path)] == []
        story = outbox.story("s-1")
        assert (story.erased_at, story.key_kind) == (NOW, None)
        assert [(row.state, row.error_code) for row in story.deliveries] == [("cancelled", "privacy.erased")]
        assert (outbox.info().depth, outbox.info().parked) == (1, 0)
        (outgoing,) = await outbox.lease(VENDOR, 9, NOW)
        assert (outgoing.transaction.transaction_id, outgoing.key) == ("s-2", phone_key(6))
        assert outgoing.transaction.cashier_id == "stays"


async def test_a_vendor_that_takes_guests_gets_the_sale_without_its_person(tmp_path):
    """The sale itself is still owed to a vendor that wants every sale; it names nobody there."""
    with shop(tmp_path, guests=[VENDOR]) as (outbox, sales):
        await outbox.accept(acceptance("s-1", key=phone_key(5), readings=(phone(5),), open_=True, **SAID), NOW)
        await outbox.accept(acceptance("s-2", key=phone_key(5)), NOW)
        assert await erase(sales, wanted(phone(5))) == ErasedSales(waiting=2)
        batch = await outbox.lease(VENDOR, 9, NOW)

        assert [outgoing.transaction.transaction_id for outgoing in batch] == ["s-1", "s-2"]
        for outgoing in batch:
            assert (outgoing.key, outgoing.readings, outgoing.open, outgoing.person) == (None, (), False, b"")
        assert batch[0].transaction.cashier_id is None
        assert batch[0].transaction.lines == acceptance("x").transaction.lines


@pytest.mark.parametrize(("verdict", "waiting"), [(PARK, 1), (DOUBT, 1), (DONE, 0)], ids=["parked", "doubt", "done"])
async def test_whatever_its_state_it_is_erased(tmp_path, verdict, waiting):
    """A parked or doubtful sale leaves the queue; a delivered one stays delivered."""
    with shop(tmp_path) as (outbox, sales):
        await outbox.accept(acceptance("s-1", key=phone_key(5), **SAID), NOW)
        await settle(outbox, verdict)
        done = await erase(sales, wanted(phone(5)))

        assert (done.waiting, done.finished) == (waiting, 1 - waiting)
        assert b"canary" not in bytes_of(tmp_path)
        assert (outbox.info().depth, outbox.info().parked, outbox.info().in_doubt) == (0, 0, 0)
        assert [delivery.state for delivery in outbox.story("s-1").deliveries] == [
            "cancelled" if waiting else "delivered"
        ]


async def test_the_words_of_a_discard_go_with_the_sale(tmp_path):
    """An administrator's reason may name the customer: it is erased, and counted."""
    with shop(tmp_path) as (outbox, sales):
        await outbox.accept(acceptance("s-1", key=phone_key(5)), NOW)
        await outbox.discard(await settle(outbox, PARK), "Canaria called", NOW)
        assert await erase(sales, wanted(phone(5))) == ErasedSales(finished=1, notes=1)
        assert b"Canaria" not in bytes_of(tmp_path)


async def test_erasing_again_finds_nothing(tmp_path):
    """What is erased names nobody: not by key, not by handle, not by the group its deliveries were in."""
    with shop(tmp_path) as (outbox, sales):
        await outbox.accept(acceptance("s-1", key=phone_key(5)), NOW)
        await outbox.accept(acceptance("s-2", key=phone_key(5)), NOW)
        await settle(outbox, DONE)
        await erase(sales, wanted(phone(5)))

        assert await sales.traces(wanted(phone(5))) == []
        assert await erase(sales, wanted(phone(5))) == ErasedSales()
        assert outbox._reader.execute("SELECT DISTINCT person FROM deliveries").fetchall() == [(b"",)]


async def test_a_repeat_is_recognised_after_the_erasure(tmp_path):
    """A till that repeats the sale gets its first answer, without the person, and nothing is kept anew."""
    with shop(tmp_path) as (outbox, sales):
        record = acceptance("s-1", key=phone_key(5), readings=(phone(5),), **SAID)
        await outbox.accept(record, NOW)
        await erase(sales, wanted(phone(5)))
        receipt = await outbox.accept(record, NOW)

        assert (receipt.duplicate, receipt.state, receipt.key) == (True, "delivered", None)
        assert (receipt.key_kind, receipt.key_type) == ("secondary", "mobile_phone")
        assert b"canary" not in bytes_of(tmp_path)


async def test_the_purge_too_leaves_no_group_behind(tmp_path):
    """After retention nothing on file tells that two sales were one person's."""
    with shop(tmp_path) as (outbox, _):
        await outbox.accept(acceptance("s-1", key=phone_key(5)), NOW)
        await settle(outbox, DONE)
        await outbox.purge(RetentionPlan(NOW + DAY, NOW - DAY, NOW - DAY, NOW), NOW)
        assert outbox._reader.execute("SELECT person FROM deliveries").fetchall() == [(b"",)]


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"", b"7\n{}", b'["a"]\n{}', b'[1, [["phone", 1]], 2, 3]\n'], ids=repr
)
async def test_an_unreadable_statement_is_nobody_s(tmp_path, content):
    """What cannot be read any more cannot be found; it neither stops the search nor is anybody's."""
    with shop(tmp_path) as (outbox, sales):
        await outbox.accept(acceptance("broken", key=phone_key(5)), NOW)
        await outbox._writer.run(lambda db: db.execute("UPDATE statements SET content = ?", (content,)))
        await outbox.accept(acceptance("sound", key=phone_key(5)), NOW)
        assert await find(sales, wanted(phone(5))) == {"sound"}


async def test_everything_of_a_sale_is_exported(tmp_path):
    """Tag, words, statement, notes, deliveries and attempts: what is on file is in the document."""
    with shop(tmp_path) as (outbox, sales):
        contact = {"first_name": "Canaria", "birth_date": "1988-03-14"}
        record = acceptance("s-1", key=phone_key(5), readings=(phone(5), email("alma")), new_contact=contact, **SAID)
        await outbox.accept(record, NOW)
        await outbox.discard(await settle(outbox, PARK), "Canaria called", NOW)
        whom = wanted(phone(5))
        (document,) = sales.export(belonging(await sales.traces(whom), whom, ()))

        assert document["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": phone(5).value}
        assert document["identifiers"] == [
            {"type": "mobile_phone", "value": phone(5).value},
            {"type": "email", "value": email("alma").value},
        ]
        assert document["notes"] == ["Canaria called"]
        assert document["statement"]["new_contact"] == contact
        assert document["statement"]["payments"][0]["reference"] == "canary-card"
        assert (document["transaction_id"], document["erased_at"]) == ("s-1", None)
        assert [(row["vendor"], row["state"]) for row in document["deliveries"]] == [(VENDOR, "discarded")]
        assert [row["verdict"] for row in document["attempts"]] == ["park"]
        json.dumps(document, default=str)
        assert sales.export(()) == []


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
async def test_one_of_many_is_erased_whenever_it_may_be(tmp_path, seed):
    """In a busy outbox, one person after the other: nothing is left of the erased, everything of the others."""
    chance = random.Random(seed)
    present: dict[int, set[str]] = {}
    with shop(tmp_path) as (outbox, sales):
        for number in range(300):
            who = chance.randrange(30)
            words = {"first_name": f"<canary{who}>", "attributes": {"about": f"<canary{who}>" * chance.randrange(300)}}
            record = acceptance(
                f"s-{number}", key=phone_key(who), readings=(phone(who), email(f"canary{who}x")),
                open_=chance.random() < 0.5, new_contact=words,
            )  # fmt: skip
            await outbox.accept(record, NOW)
            present.setdefault(who, set()).add(f"s-{number}")
            if chance.random() < 0.7:
                outgoing = (await outbox.lease(VENDOR, 1, NOW))[0]
                if outgoing.open:
                    await outbox.retag(outgoing.entry, member_key(f"number{who}x"), NOW)
                await outbox.settle([Settled(outgoing.entry, chance.choice([DONE, DONE, PARK]))], NOW)
            if chance.random() < 0.05:
                gone = chance.choice(list(present))
                expected = present.pop(gone)
                key = IdentifierType.EMAIL if chance.random() < 0.5 else IdentifierType.MOBILE_PHONE
                whom = wanted(email(f"canary{gone}x") if key is IdentifierType.EMAIL else phone(gone))
                assert await find(sales, whom) == expected
                await erase(sales, whom)
                left = bytes_of(tmp_path)
                assert f"canary{gone}>".encode() not in left
                assert f"canary{gone}x".encode() not in left
        left = bytes_of(tmp_path)
        for who, ids in present.items():
            assert f"<canary{who}>".encode() in left
            assert await find(sales, wanted(phone(who))) == ids
