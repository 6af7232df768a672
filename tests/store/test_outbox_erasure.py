"""What the purge leaves: the sale, and not one byte of the person in any file of an unencrypted outbox."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.retention import RetentionPlan
from agent.ports import Settled
from agent.store import statements
from agent.store.database import DatabaseFile, immediate, migrate, truncate_log
from agent.store.migrations import outbox as migrations
from tests.fakes import NOW, VENDOR, acceptance, email, member_key, open_outbox, phone, phone_key

DONE = Verdict(VerdictKind.DONE)
PARK = Verdict(VerdictKind.PARK, "vendor.rejected", 422)
DAY = timedelta(days=1)


def plan(now, *, delivered=DAY, undelivered=30 * DAY, audit=400 * DAY):
    return RetentionPlan(now - delivered, now - undelivered, now - audit, now)


def bytes_of(path):
    return b"".join(part.read_bytes() for part in path.parent.iterdir() if part.name.startswith(path.name))


def person(number):
    """A sale full of made-up personal values, and the values."""
    canaries = [
        f"+467017406{number % 100:02d}", f"canary{number}@example.com", f"Alma{number}x", f"Made-Up{number}x",
        f"cashier-{number}-x", f"voucher-{number}-x", f"street-{number}-x", f"card-{number}-x", f"offer-{number}-x",
        f"member-{number}-x",
    ]  # fmt: skip
    tel, mail, first, last, cashier, voucher, street, card, offer, number_text = canaries
    key = phone_key(number % 100) if number % 2 else member_key(number_text)
    record = acceptance(
        f"sale-{number}", key=key, readings=(phone(number % 100), email(f"canary{number}")), open_=bool(number % 2),
        cashier_id=cashier, vouchers_used=[{"number": voucher}], offers_used=[{"offer_id": offer}],
        payments=[{"type": "card", "amount": "250.00", "reference": card}],
        new_contact={
            "first_name": first, "last_name": last, "street": street, "mobile_phone": tel, "email": mail,
            "attributes": {"about": f"x{number}" * 2_000 if number % 17 == 0 else "short"},
        },
    )  # fmt: skip
    return record, [canary.encode() for canary in canaries]


async def send(outbox, verdict=DONE, now=NOW, *, retag=None):
    (outgoing,) = await outbox.lease(VENDOR, 1, now)
    if retag and outgoing.open:
        await outbox.retag(outgoing.entry, retag, NOW)
    await outbox.settle([Settled(outgoing.entry, verdict)], now)
    return outgoing


async def test_no_trace_is_left_of_a_delivered_sale(tmp_path):
    """A day after delivery nothing in the file, its log or its index names the person; the sale stays whole."""
    path = tmp_path / "outbox.db"
    with open_outbox(path) as outbox:
        record, canaries = person(1)
        await outbox.accept(record, NOW)
        assert all(canary in bytes_of(path) for canary in canaries if not canary.startswith(b"member"))
        await send(outbox)
        assert (await outbox.purge(plan(NOW + DAY), NOW + DAY))["delivered"] == 0
        counts = await outbox.purge(plan(NOW + DAY + timedelta(seconds=1)), NOW + 2 * DAY)
        left = bytes_of(path)

        assert counts == {"delivered": 1, "undelivered": 0, "forgotten": 0}
        assert [canary for canary in canaries if canary in left] == []
        assert b"SK-77-RED-M" in left
        story = outbox.story("sale-1")
        assert (story.erased_at, story.deliveries[0].state) == (NOW + 2 * DAY, "delivered")


async def test_no_trace_is_left_of_a_risen_tag_or_a_note(tmp_path):
    """The key a sale was first tagged with, the one it rose to and the words of a discard go with the rest."""
    path = tmp_path / "outbox.db"
    with open_outbox(path) as outbox:
        record, canaries = person(3)
        await outbox.accept(record, NOW)
        entry = (await send(outbox, PARK, retag=member_key("risen-canary"))).entry
        await outbox.discard(entry, "called Alma-note-canary about it", NOW)
        canaries += [b"risen-canary", b"Alma-note-canary"]
        assert b"Alma-note-canary" in bytes_of(path)
        await outbox.purge(plan(NOW + 2 * DAY), NOW + 2 * DAY)

        assert [canary for canary in canaries if canary in bytes_of(path)] == []


async def test_a_note_on_an_erased_sale_is_not_kept(tmp_path):
    """Nothing personal is added to a sale whose person has been erased."""
    path = tmp_path / "outbox.db"
    with open_outbox(path) as outbox:
        await outbox.accept(person(1)[0], NOW)
        (delivery,) = outbox.queue(state=None, vendor=None, limit=1, after=0)
        await outbox.purge(plan(NOW + 31 * DAY), NOW + 31 * DAY)
        await outbox.discard(delivery.entry, "late-note-canary", NOW)
        assert b"late-note-canary" not in bytes_of(path)


async def test_a_sale_that_was_never_delivered_is_parked_without_its_person(tmp_path):
    """After `retention.undelivered`, whatever its state, the sale stays, parked, and names nobody."""
    path = tmp_path / "outbox.db"
    with open_outbox(path) as outbox:
        record, canaries = person(1)
        await outbox.accept(record, NOW)
        now = NOW + 31 * DAY
        assert (await outbox.purge(plan(now), now))["undelivered"] == 1
        (delivery,) = outbox.story("sale-1").deliveries

        assert (delivery.state, delivery.error_code) == ("parked", "retention.expired")
        assert (outbox.info().depth, outbox.info().parked) == (0, 1)
        assert [canary for canary in canaries if canary in bytes_of(path)] == []
        await outbox.retry(delivery.entry, NOW)
        (outgoing,) = await outbox.lease(VENDOR, 1, now)
        assert (outgoing.key, outgoing.readings, outgoing.open) == (None, (), False)
        assert outgoing.transaction.lines == record.transaction.lines


async def test_a_waiting_sale_is_untouched(tmp_path):
    """The purge of others leaves a sale that waits exactly as it was, for as long as it may wait."""
    with open_outbox(tmp_path / "outbox.db") as outbox:
        waiting, gone = person(2)[0], person(4)[0]
        await outbox.accept(gone, NOW)
        await send(outbox)
        await outbox.accept(waiting, NOW)
        await outbox.purge(plan(NOW + 29 * DAY), NOW + 29 * DAY)
        (outgoing,) = await outbox.lease(VENDOR, 9, NOW)

        assert (outgoing.transaction.transaction_id, outgoing.key) == ("sale-2", waiting.key)
        assert outgoing.readings == waiting.readings
        assert outgoing.transaction.new_contact == waiting.transaction.new_contact


async def test_a_cancelled_and_a_guest_s_sale_are_erased_too(tmp_path):
    """A sale that goes nowhere holds a cashier and a card as any other does."""
    path = tmp_path / "outbox.db"
    with open_outbox(path) as outbox:
        cancelled, canaries = person(1)
        await outbox.accept(cancelled, NOW)
        await outbox.accept(acceptance("void", type="void", original_transaction_id="sale-1"), NOW)
        guest, more = person(2)
        await outbox.accept(replace(guest, vendors=()), NOW)
        counts = await outbox.purge(plan(NOW + 2 * DAY), NOW + 2 * DAY)

        assert counts["delivered"] == 3
        assert [canary for canary in canaries + more if canary in bytes_of(path)] == []


async def test_the_record_itself_ends(tmp_path):
    """After `retention.audit` sale, deliveries and attempts are gone, and the figures follow."""
    with open_outbox(tmp_path / "outbox.db") as outbox:
        await outbox.accept(person(1)[0], NOW)
        await send(outbox)
        await outbox.accept(person(2)[0], NOW + 390 * DAY)
        now = NOW + 401 * DAY
        counts = await outbox.purge(plan(now), now)

        assert counts == {"delivered": 1, "undelivered": 0, "forgotten": 1}
        assert not outbox.knows("sale-1")
        for table, rows in (("sales", 1), ("deliveries", 1), ("attempts", 0)):
            assert outbox._reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == rows


async def test_an_unreadable_statement_is_erased_all_the_same(tmp_path):
    """What cannot be parsed any more cannot be stripped of a person, so all of it goes."""
    path = tmp_path / "outbox.db"
    with open_outbox(path) as outbox:
        await outbox.accept(person(1)[0], NOW)
        await outbox._writer.run(lambda db: db.execute("UPDATE statements SET content = ?", (b"broken-canary" * 9,)))
        await outbox.purge(plan(NOW + 31 * DAY), NOW + 31 * DAY)
        assert b"broken-canary" not in bytes_of(path)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
async def test_no_trace_is_left_after_a_busy_time(tmp_path, seed):
    """Many sales in random order, and a purge now and then: nothing is left of anybody erased, everything of others."""
    chance = random.Random(seed)
    path = tmp_path / "outbox.db"
    canaries: dict[str, list[bytes]] = {}
    now = NOW
    with open_outbox(path) as outbox:
        for number in range(500):
            record, found = person(number)
            canaries[record.transaction.transaction_id] = [canary for canary in found if not canary.startswith(b"+")]
            await outbox.accept(record, now)
            now += timedelta(minutes=chance.randrange(30))
            if chance.random() < 0.9:
                outgoing = await send(
                    outbox, DONE if chance.random() < 0.95 else PARK, now, retag=member_key(f"risen-{number}-x")
                )
                name = outgoing.transaction.transaction_id
                if outgoing.open:
                    canaries[name].append(f"risen-{number}-x".encode())
                stuck = outbox.queue(state="parked", vendor=None, limit=1, after=0)
                if stuck and chance.random() < 0.5:
                    await outbox.discard(stuck[0].entry, f"note-{number}-x", NOW)
                    canaries[stuck[0].transaction_id].append(f"note-{number}-x".encode())
            if chance.random() < 0.02:
                await outbox.purge(plan(now, undelivered=5 * DAY, audit=20 * DAY), now)
        await outbox.purge(plan(now, undelivered=5 * DAY, audit=20 * DAY), now)
        left = bytes_of(path)
        kept = erased = 0
        for name, found in canaries.items():
            if outbox.knows(name) and outbox.story(name).erased_at is None:
                kept += 1
                continue
            erased += 1
            assert [canary for canary in found if canary in left] == []

    assert kept > 5
    assert erased > 200


def lively_table(path, synchronous):
    connection = DatabaseFile(path, None, synchronous).connect()
    migrate(connection, migrations)
    return connection


def busy(connection, chance, *, forget, steps=6_000):
    """Keeps and forgets at random, one commit each; the numbers of what was forgotten."""
    remembered, forgotten = {}, []
    for number in range(steps):
        with immediate(connection):
            if chance.random() < 0.55 or not remembered:
                text = f"<canary{number}>" + "z" * chance.randrange(10, 900 if number % 50 else 9_000)
                remembered[statements.keep(connection, text)] = number
            else:
                oldest = list(remembered)[: chance.choice((1, 20, len(remembered)))]
                row = chance.choice(oldest)
                forgotten.append(remembered.pop(row))
                forget(connection, row)
    statements.drop_forgotten(connection)
    truncate_log(connection)
    return forgotten


def delete(connection, row):
    connection.execute("DELETE FROM statements WHERE id = ?", (row,))


def overwrite(connection, row):
    statements.forget(connection, row)
    statements.drop_forgotten(connection)


@pytest.mark.parametrize(
    ("forget", "clean"), [(delete, False), (overwrite, True)], ids=["deleted: copies are left", "overwritten"]
)
def test_rows_that_never_move_leave_no_copies(tmp_path, forget, clean):
    """Why statements are overwritten where they stand: deleting them leaves copies in rearranged pages."""
    path = tmp_path / "a.db"
    connection = lively_table(path, "NORMAL")
    forgotten = busy(connection, random.Random(1), forget=forget)
    check = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    data = path.read_bytes()

    assert check == "ok"
    assert len(forgotten) > 2_000
    assert (sum(f"<canary{number}>".encode() in data for number in forgotten) == 0) is clean


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_rows_that_never_move_leave_no_copies_ever(tmp_path, seed):
    """The same for many random orders of events."""
    path = tmp_path / "a.db"
    connection = lively_table(path, "NORMAL")
    forgotten = busy(connection, random.Random(seed), forget=overwrite)
    connection.close()
    data = path.read_bytes()
    assert [number for number in forgotten if f"<canary{number}>".encode() in data] == []


def test_forgotten_rows_make_room(tmp_path):
    """The table of statements stays as small as what is remembered, and SQLite finds nothing wrong with it."""
    connection = lively_table(tmp_path / "a.db", "NORMAL")
    remembered = []
    for number in range(5_000):
        with immediate(connection):
            remembered.append(statements.keep(connection, f"statement {number} " * 20))
            if len(remembered) > 50:
                statements.forget(connection, remembered.pop(0))
    while statements.drop_forgotten(connection):
        pass
    rows = connection.execute("SELECT count(*) FROM statements").fetchone()[0]
    check = connection.execute("PRAGMA integrity_check").fetchone()[0]
    texts = [statements.read(connection, statement) for statement in remembered]
    connection.close()

    assert rows == 50 + statements.MARGIN_ROWS
    assert check == "ok"
    assert texts == [(f"statement {number} " * 20).strip() for number in range(4_950, 5_000)]


def test_an_old_statement_keeps_what_is_behind_it(tmp_path):
    """Only what stands before the oldest remembered one is removed."""
    connection = lively_table(tmp_path / "a.db", "NORMAL")
    with immediate(connection):
        first = statements.keep(connection, "still waiting")
        for number in range(1_000):
            statements.forget(connection, statements.keep(connection, str(number)))
    assert statements.drop_forgotten(connection) == 0
    assert statements.read(connection, first) == "still waiting"
    connection.close()


def test_forgetting_changes_one_row_alone(tmp_path):
    """Every other byte of the file, overflow pages included, stays where it was."""
    path = tmp_path / "a.db"
    connection = lively_table(path, "NORMAL")
    with immediate(connection):
        kept = [statements.keep(connection, f"<{number}>" + "y" * (number * 37 % 6_000)) for number in range(400)]
    truncate_log(connection)
    before = path.read_bytes()
    statements.forget(connection, kept[161])  # the longest: 5,957 characters, most of them on an overflow page
    truncate_log(connection)
    after = path.read_bytes()
    connection.close()

    assert len(after) == len(before)
    lost = bytes(a for a, b in zip(before[100:], after[100:], strict=True) if a != b)
    assert lost.strip(b"\x08") == b"<161>" + b"y" * 5_957 or lost.count(b"y") == 5_957
    assert all(f"<{number}>".encode() in after for number in range(400) if number != 161)
