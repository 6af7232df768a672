"""Making an outbox whole again from the rows that a damaged one still gave.

What is there stays as it is: a delivered sale stays delivered. What is gone is made up for on the safe side: a sale
whose delivery is gone may have been received, so it goes out again under its own id, which the vendor has or has not;
a sale whose content is gone keeps its place, parked, and is put right by the till's repeating it; a delivery without
its sale names nothing that could be sent, and goes. A row of which a later version may be lost is taken for what it
may have become since.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.domain.activity import activity_id_of
from agent.domain.enrolment import is_of_series
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import transaction_of
from agent.ports import Recipient
from agent.store import numbering, statements
from agent.store.enrolment_rows import ADD_KEY, Given
from agent.store.hashkey import lookup_key
from agent.store.keyhash import KeyHash
from agent.store.outbox_rows import person_group, said
from agent.store.outbox_sql import RANK_PRIMARY, RANK_SECONDARY
from agent.store.outbox_view import from_ms, to_ms
from agent.store.said import Said

if TYPE_CHECKING:
    from sqlite3 import Connection

UNREFERENCED = """
    SELECT id FROM statements WHERE forgotten = 0
      AND id NOT IN (SELECT statement FROM sales WHERE statement IS NOT NULL)
      AND id NOT IN (SELECT note FROM deliveries WHERE note IS NOT NULL)
      AND id NOT IN (SELECT statement FROM redemptions WHERE statement IS NOT NULL)
      AND id NOT IN (SELECT statement FROM enrolments)"""
WITHOUT_STATEMENT = """
    SELECT id FROM sales WHERE statement IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM statements AS t WHERE t.id = sales.statement AND t.forgotten = 0)"""
LOSE_STATEMENT = "UPDATE sales SET statement = NULL WHERE id = ?"
PARK_UNREADABLE = """
    UPDATE deliveries SET state = 'parked', next_attempt_at = NULL, error_code = 'sale.unreadable', error_status = NULL,
        error_title = 'The recorded sale cannot be read.', vendor_code = NULL
    WHERE sale = ? AND state IN ('queued', 'in_doubt', 'parked')"""
LOSE_NOTES = """
    UPDATE deliveries SET note = NULL WHERE note IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM statements AS t WHERE t.id = deliveries.note AND t.forgotten = 0)"""
LOSE_REDEEMED = """
    UPDATE redemptions SET statement = NULL, person = x'', settled_at = coalesce(settled_at, ?),
        code = iif(state IN ('queued', 'sending', 'asking', 'undoing'), 'redemption.unreadable', code),
        state = CASE WHEN state IN ('asking', 'undoing') THEN 'stuck' WHEN state IN ('queued', 'sending') THEN 'lost'
                ELSE state END
    WHERE statement IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM statements AS t WHERE t.id = redemptions.statement AND t.forgotten = 0)"""
MAYBE_ASKED_SINCE = """
    UPDATE redemptions SET settled_at = NULL, asked_at = NULL,
        state = iif(state IN ('queued', 'sending'), 'sending', 'asking')
    WHERE id = ? AND state IN ('queued', 'sending', 'asking', 'refused', 'redeemed')"""
"""What is refused may have been asked for again since, and what is redeemed given back: how it stands is
looked up. When it was asked for last is not known any more, whatever the row says: what was used up then by this
till would be taken for another's."""
LOSE_ENROLMENTS = """
    DELETE FROM enrolments WHERE NOT EXISTS (
        SELECT 1 FROM statements AS t WHERE t.id = enrolments.statement AND t.forgotten = 0)"""
LOSE_ENROLMENT_KEYS = "DELETE FROM enrolment_keys WHERE enrolment NOT IN (SELECT id FROM enrolments)"
LOSE_BULK_ROWS = "DELETE FROM bulk_rows WHERE enrolment NOT IN (SELECT id FROM enrolments WHERE state = 'queued')"
LOSE_BULK_CALLS = "UPDATE bulk_rows SET said = 'unknown' WHERE said IS NULL AND call NOT IN (SELECT id FROM bulk_calls)"
"""Nobody can ask any more what has become of such a call: each of its contacts is looked up."""
PREFIXES = "SELECT prefix FROM series"
ENROLMENTS = "SELECT e.id, t.content FROM enrolments AS e JOIN statements AS t ON t.id = e.statement"
ORPHANED = "SELECT entry, sale, state FROM deliveries WHERE sale NOT IN (SELECT id FROM sales)"
DROP_DELIVERY = "DELETE FROM deliveries WHERE entry = ?"
DROP_ATTEMPTS = "DELETE FROM attempts WHERE entry NOT IN (SELECT entry FROM deliveries)"
DROP_EVENTS = "DELETE FROM events WHERE sale NOT IN (SELECT id FROM sales)"
UNSETTLED = """
    SELECT s.id FROM sales AS s
    WHERE s.finished_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM deliveries AS d WHERE d.sale = s.id AND d.state IN ('queued', 'parked', 'in_doubt'))"""
LACKING = """
    SELECT s.id, s.transaction_id, s.type, s.key_kind, s.key_type, s.original, t.content, s.occurred_at
    FROM sales AS s LEFT JOIN statements AS t ON t.id = s.statement
    WHERE s.finished_at IS NULL AND (
        SELECT count(*) FROM deliveries AS d
        WHERE d.sale = s.id AND d.vendor IN (SELECT value FROM json_each(?1))) < json_array_length(?1)"""
"""Sales that are not finished and lack a delivery to somebody who gets sales, whatever became of those they have."""
CLEARED_UNSENT = """
    SELECT d.vendor FROM deliveries AS d JOIN sales AS s ON s.id = d.sale
    WHERE s.transaction_id = ? AND d.state = 'cancelled'"""
"""Where a void found its sale unsent: it is not owed there itself."""
HAS_DELIVERIES = "SELECT vendor FROM deliveries WHERE sale = ?"
ID_OF = "SELECT id FROM sales WHERE transaction_id = ?"
LAST_ENTRY = (
    "SELECT max(coalesce((SELECT max(entry) FROM deliveries), 0), coalesce((SELECT max(entry) FROM attempts), 0))"
)
SEND_AGAIN = """
    INSERT INTO deliveries (entry, sale, vendor, state, rank, person, open, after_sale, maybe_received, attempts)
    VALUES (?1, ?2, ?3, 'queued', ?4, ?5, ?6, ?7, ?8, (SELECT count(*) FROM attempts WHERE entry = ?1))"""
FINISHED_SINCE = """
    UPDATE deliveries SET state = 'delivered', lease_run = NULL, sending = 0, next_attempt_at = NULL,
        error_code = NULL, error_status = NULL, error_title = NULL, vendor_code = NULL,
        delivered_at = (SELECT finished_at FROM sales WHERE id = deliveries.sale)
    WHERE entry = ? AND state IN ('queued', 'parked', 'in_doubt')
      AND EXISTS (SELECT 1 FROM sales WHERE id = deliveries.sale AND finished_at IS NOT NULL)"""
MAYBE_SENT_SINCE = """
    UPDATE deliveries SET lease_run = NULL, sending = 0,
        maybe_received = open = 0 OR maybe_received
            OR (SELECT key_kind IS NOT NULL FROM sales WHERE id = deliveries.sale)
    WHERE entry = ? AND state IN ('queued', 'parked', 'in_doubt')"""
"""An open sale that still has no key was not sent: whom it belongs to is found out first, and written down."""
VOIDED_UNSENT = """
    UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL, lease_run = NULL, sending = 0
    WHERE entry = ? AND state IN ('queued', 'parked', 'in_doubt') AND EXISTS (
        SELECT 1 FROM sales AS s JOIN sales AS v ON v.original = s.transaction_id AND v.type = 'void'
        WHERE s.id = deliveries.sale AND v.finished_at IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM deliveries AS d WHERE d.sale = v.id AND d.vendor = deliveries.vendor))"""
"""A void that was sent nowhere had found its sale unsent, and cancelled it."""
FINISH = """
    UPDATE sales SET finished_at =
        coalesce((SELECT max(delivered_at) FROM deliveries AS d WHERE d.sale = sales.id), accepted_at)
    WHERE id = ? AND finished_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM deliveries AS d WHERE d.sale = sales.id AND d.state IN ('queued', 'parked', 'in_doubt'))"""
FORGET_NUMBERS = "DELETE FROM counts WHERE what = 'number'"
FORGET_COUNTS = "DELETE FROM counts WHERE what <> 'number'"
COUNT_AGAIN = "INSERT INTO counts SELECT vendor, state, count(*) FROM deliveries GROUP BY vendor, state"
FORGET_WEIGHT = "DELETE FROM unfinished"
WEIGH_AGAIN = "INSERT INTO unfinished SELECT coalesce(sum(bytes), 0) FROM sales WHERE finished_at IS NULL"
SALE_IDS = "SELECT id FROM sales"
OLDEST_PERSON = "SELECT min(accepted_at) FROM sales WHERE erased_at IS NULL"

_RELATED = {
    *("sales", "deliveries", "statements", "attempts", "events", "redemptions"),
    *("enrolments", "enrolment_keys", "bulk_calls", "bulk_rows"),
}
_FINISHED = ("delivered", "cancelled", "discarded")


@dataclass(frozen=True, slots=True)
class Clues:
    """What indexes tell of rows that are gone; read only when some are.

    Attributes:
        sales: transaction id and number of each sale.
        deliveries: sale, vendor and entry of each delivery.
    """

    sales: Callable[[], Iterable[Sequence[Any]]]
    deliveries: Callable[[], Iterable[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Mended:
    """What was made up for, and what is gone.

    Attributes:
        sent_again: deliveries that were gone, and are made anew.
        unreadable: sales whose content is gone, parked unless they were finished.
        lost: sales that are gone: numbers that were given, and whose sale is not there.
        lost_ids: the transaction ids of those that were not known to be delivered, as far as these can be told; of
            activities their names.
        oldest_at: when the oldest sale with a person in it was accepted.
    """

    sent_again: int
    unreadable: int
    lost: int
    lost_ids: tuple[str, ...]
    oldest_at: datetime | None


def mend(
    db: Connection,
    *,
    whole: Collection[str],
    stale: Mapping[str, Collection[int]],
    clues: Clues,
    recipients: Sequence[Recipient],
    hash_key: bytes,
    now: datetime,
) -> Mended:
    """Puts right what does not fit together; call it in a transaction, with the indexes there and no triggers.

    Args:
        db: an outbox with whatever rows were saved.
        whole: the tables of which nothing is missing.
        stale: the numbers of rows of which a later version may have been lost, by table.
        clues: to what is missing.
        recipients: who gets sales.
        hash_key: the outbox's.
        now: when the sales that are gone are written down as lost.
    """
    unreadable = 0
    lost_ids: tuple[str, ...] = ()
    sent_again: list[int] = []
    if not set(whole) >= _RELATED:
        lost_ids = _lost(db, clues)
        for number in stale.get("redemptions", ()):
            db.execute(MAYBE_ASKED_SINCE, (number,))
        unreadable = _without_content(db, now)
        own_numbers = _enrolments(db, KeyHash(lookup_key(hash_key)))
        sent_again = _send_again(db, clues, recipients, hash_key, own_numbers)
        db.execute(DROP_ATTEMPTS)
        db.execute(DROP_EVENTS)
        doubtful = stale.get("deliveries", ())
        for entry in (*doubtful, *sent_again):
            db.execute(VOIDED_UNSENT, (entry,))
        for entry in doubtful:  # taken for what it may have become
            db.execute(FINISHED_SINCE, (entry,))
            db.execute(MAYBE_SENT_SINCE, (entry,))
        for (sale,) in db.execute(UNSETTLED).fetchall():
            db.execute(FINISH, (sale,))
    for statement in (FORGET_COUNTS, COUNT_AGAIN, FORGET_WEIGHT, WEIGH_AGAIN):
        db.execute(statement)
    if stale.get("counts"):  # a number that was given must not be given again
        db.execute(FORGET_NUMBERS)
    lost = numbering.mend(db, now)
    (oldest,) = db.execute(OLDEST_PERSON).fetchone()
    return Mended(len(sent_again), unreadable, lost, lost_ids, from_ms(oldest) if oldest is not None else None)


def _lost(db: Connection, clues: Clues) -> tuple[str, ...]:
    """Drops what is left of sales that are gone; the transaction ids of those that may be owed."""
    orphaned = db.execute(ORPHANED).fetchall()
    db.executemany(DROP_DELIVERY, [(entry,) for entry, _, _ in orphaned])
    gone = {sale: state for _, sale, state in orphaned}
    there = {sale for (sale,) in db.execute(SALE_IDS)}
    named = {sale: name for name, sale in clues.sales() if sale not in there}
    return tuple(name for sale, name in sorted(named.items()) if gone.get(sale) not in _FINISHED)


def _without_content(db: Connection, now: datetime) -> int:
    """Parks what cannot be sent any more, and forgets what belongs to nothing; how many sales lost their content."""
    for (statement,) in db.execute(UNREFERENCED).fetchall():
        statements.forget(db, statement)
    db.execute(LOSE_NOTES)
    db.execute(LOSE_REDEEMED, (to_ms(now),))
    without = [sale for (sale,) in db.execute(WITHOUT_STATEMENT).fetchall()]
    for sale in without:
        db.execute(LOSE_STATEMENT, (sale,))
        db.execute(PARK_UNREADABLE, (sale,))
    return len(without)


def _enrolments(db: Connection, names: KeyHash) -> frozenset[str]:
    """Makes the contacts that were made here findable again by all that is known of them; the own numbers of theirs."""
    db.execute(LOSE_ENROLMENTS)
    db.execute(LOSE_ENROLMENT_KEYS)
    db.execute(LOSE_BULK_ROWS)
    db.execute(LOSE_BULK_CALLS)
    numbers = set()
    for enrolment, content in db.execute(ENROLMENTS).fetchall():
        try:
            given = Given.parse(bytes(content).decode())
        except ValueError:
            continue
        if given.own_number:  # a change of somebody else's has none
            numbers.add(given.own_number)
        db.executemany(ADD_KEY, [(names.of_identifier(one), enrolment) for one in given.names()])
    return frozenset(numbers)


def _send_again(
    db: Connection, clues: Clues, recipients: Sequence[Recipient], hash_key: bytes, own_numbers: Collection[str]
) -> list[int]:
    """Makes the deliveries of sales that are owed to somebody and have none, under the numbers that they had."""
    made: list[int] = []
    lacking = db.execute(LACKING, (json.dumps([recipient.vendor for recipient in recipients]),)).fetchall()
    entries = {(sale, vendor): entry for sale, vendor, entry in clues.deliveries()} if lacking else {}
    (last,) = db.execute(LAST_ENTRY).fetchone()
    prefixes = [prefix for (prefix,) in db.execute(PREFIXES)]
    for sale, name, type_, kind, key_type, original, content, occurred_at in lacking:
        is_activity = activity_id_of(name) is not None
        has = {vendor for (vendor,) in db.execute(HAS_DELIVERIES, (sale,))}
        if type_ == "void":
            has |= {vendor for (vendor,) in db.execute(CLEARED_UNSENT, (original,))}
        key, readings = said(content, kind, key_type) if content is not None else (None, ())
        number = key.value if key is not None and key.type is IdentifierType.EXTERNAL_ID else None
        own = number is not None and (number in own_numbers or any(is_of_series(number, one) for one in prefixes))
        unsettled = kind is None or own
        somebody = content is None or original is not None or any((key, readings))
        if is_activity:
            wanting = [recipient for recipient in recipients if type_ in recipient.activities]
        else:
            wanting = [
                recipient
                for recipient in recipients
                if (somebody if recipient.owner else not unsettled)
                or (not own and _wants_guest(recipient, content, occurred_at))
            ] or [recipient for recipient in recipients if recipient.owner]  # not finished: it was owed to somebody
        missing = [recipient for recipient in wanting if recipient.vendor not in has]
        found = db.execute(ID_OF, (original,)).fetchone() if original is not None else None
        original_id = found[0] if found else None
        person = original_id.to_bytes(8, "big") if original_id is not None else b""
        if content is not None:
            person = person_group(hash_key, key, readings) or person
        rank = RANK_PRIMARY if kind == "primary" else RANK_SECONDARY
        for recipient in missing:
            entry = entries.get((sale, recipient.vendor)) or (last := last + 1)
            is_open = (recipient.owner and unsettled) or (is_activity and kind is None)
            db.execute(SEND_AGAIN, (entry, sale, recipient.vendor, rank, person, is_open, original_id, not is_open))
            made.append(entry)
        if missing and content is None:
            db.execute(PARK_UNREADABLE, (sale,))
    return made


def _wants_guest(recipient: Recipient, content: bytes | None, occurred_at: str) -> bool:
    if not callable(recipient.guests):
        return recipient.guests
    if content is None:
        return False
    return recipient.wants_guest(transaction_of(Said.parse(bytes(content).decode()).body, occurred_at))
