"""Every statement of the outbox, named. Instants come in as parameters, in milliseconds since 1970.

`tests/store/test_outbox_plans.py` holds them to their indexes: with a million sales waiting each must stay as fast as
with ten. A `+` before a column keeps SQLite from an index that looks good and is not.
"""

from __future__ import annotations

from functools import cache

RANK_PRIMARY, RANK_SECONDARY = 1, 2
ROWS_BYTES = 320
"""What the rows of a sale with one delivery take beside its statement, indexes included; measured."""

# --- intake -----------------------------------------------------------------------------------------------------

FIND_SALE = """
    SELECT id, fingerprint, accepted_at, number, quiet, answered_kind, answered_type, key_kind, key_type, statement,
           erased_at, type
    FROM sales WHERE transaction_id = ?"""
KNOWS = "SELECT 1 FROM sales WHERE transaction_id = ?"
LAST_IDS = """
    SELECT (SELECT coalesce(max(id), 0) FROM sales), (SELECT coalesce(max(id), 0) FROM statements),
           (SELECT json_group_object(of, n) FROM counts WHERE what = 'number')"""
"""The last row of each table, and the last number that each till's sales were given."""
TAKEN = """
    SELECT vendor_reference FROM deliveries
    WHERE +vendor = ?1 AND vendor_reference IN (SELECT value FROM json_each(?2))"""
KNOWN = "SELECT transaction_id FROM sales WHERE transaction_id IN (SELECT value FROM json_each(?))"
INSERT_SALES = """
    INSERT INTO sales (id, transaction_id, type, till, number, day, fingerprint, accepted_at, occurred_at, original,
                       statement, bytes, key_kind, key_type, answered_kind, answered_type, quiet,
                       finished_at) VALUES """
INSERT_DELIVERIES = "INSERT INTO deliveries (sale, vendor, state, rank, person, open, after_sale) VALUES "
STATES = "SELECT state, vendor FROM deliveries WHERE sale = ?"
CANCEL_UNSENT = """
    UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL
    WHERE sale = ? AND state IN ('queued', 'parked') AND maybe_received = 0 AND lease_run IS NULL"""
CANCEL_PARKED = """
    UPDATE deliveries SET state = 'cancelled'
    WHERE sale = ? AND vendor = ? AND state = 'parked' AND maybe_received = 0"""
VENDORS_REACHED = "SELECT vendor, open FROM deliveries WHERE sale = ? AND state <> 'cancelled'"
VOIDED = "SELECT 1 FROM sales WHERE original = ? AND type = 'void' LIMIT 1"
COUNTED = """
    SELECT 1 FROM sales AS s JOIN deliveries AS d ON d.sale = s.id
    WHERE s.transaction_id = ?1 AND d.vendor = ?2 AND (s.key_kind IS NOT NULL OR d.open = 1)
      AND (d.state IN ('queued', 'in_doubt', 'delivered') OR (d.state = 'parked' AND d.maybe_received = 1))
    UNION ALL
    SELECT 1 FROM sales AS s JOIN deliveries AS d ON d.sale = s.id
    WHERE s.original = ?1 AND s.type = 'points_claim' AND d.vendor = ?2 AND d.state NOT IN ('cancelled', 'discarded')
    LIMIT 1"""
"""Whether the points of a sale were or will be given to somebody: by the sale itself, or by an earlier claim."""

# --- delivery ---------------------------------------------------------------------------------------------------

LEASE = """
    UPDATE deliveries SET lease_run = ?1, attempts = attempts + 1 WHERE entry IN (
        SELECT entry FROM deliveries AS d
        WHERE vendor = ?2 AND state = 'queued' AND lease_run IS NULL AND coalesce(next_attempt_at, 0) <= ?3
          AND (after_sale IS NULL OR NOT EXISTS (
              SELECT 1 FROM deliveries AS earlier WHERE earlier.sale = d.after_sale AND earlier.vendor = d.vendor
                AND earlier.state IN ('queued', 'parked', 'in_doubt')))
          AND person NOT IN (
              SELECT person FROM deliveries
              WHERE vendor = ?2 AND next_attempt_at > ?3 AND state = 'queued' AND person <> x'')
          AND person NOT IN (
              SELECT person FROM deliveries
              WHERE vendor = ?2 AND state = 'parked' AND error_code = 'contact.refused' AND person <> x'')
          AND (?2 = ?5 OR NOT EXISTS (
              SELECT 1 FROM deliveries AS own JOIN sales AS s ON s.id = own.sale
              LEFT JOIN statements AS t ON t.id = s.statement
              WHERE own.sale = d.sale AND own.vendor = ?5 AND own.state = 'queued' AND own.open = 1
                AND (s.key_kind IS NULL OR instr(t.content, '"new_contact":{') > 0)))
        ORDER BY rank, entry LIMIT ?4)
    RETURNING entry"""
"""Takes what is due, primary keys first. A return or a void waits for its sale; nobody's sale overtakes an earlier one
of theirs that backs off; nobody's goes while their enrolment is parked; and what somebody bought is no guest's, and
nobody who joins with a sale is made, as long as the owner of the contacts may still say who that is. Within a JSON
string the quotation marks of `"new_contact":{` are escaped, so that what a till wrote somewhere is not taken for it."""
LEASED = """
    SELECT d.entry, d.attempts, d.maybe_received, d.open, d.person, s.accepted_at, s.clock_off,
           d.vendor_reference, (SELECT count(*) FROM attempts WHERE entry = d.entry), d.progress,
           p.amount, pt.content, s.key_kind, s.key_type, t.content, s.body, s.occurred_at,
           o.key_kind, o.key_type, ot.content, o.body, o.occurred_at
    FROM deliveries AS d JOIN sales AS s ON s.id = d.sale LEFT JOIN statements AS t ON t.id = s.statement
    LEFT JOIN sales AS o ON o.transaction_id = s.original LEFT JOIN statements AS ot ON ot.id = o.statement
    LEFT JOIN redemptions AS p ON p.transaction_id = s.transaction_id AND p.kind = 'points' AND p.state = 'redeemed'
    LEFT JOIN statements AS pt ON pt.id = p.statement
    WHERE d.entry IN (SELECT value FROM json_each(?)) ORDER BY d.rank, d.entry"""
SENDING = "UPDATE deliveries SET sending = 1 WHERE entry IN (SELECT value FROM json_each(?)) AND lease_run = ?"
SETTLE = """
    UPDATE deliveries SET state = :state, lease_run = NULL, sending = 0, next_attempt_at = :next_attempt_at,
        maybe_received = CASE WHEN :not_received THEN maybe_received ELSE 1 END,
        delivered_at = :delivered_at,
        vendor_reference = coalesce(:reference, vendor_reference),
        progress = iif(:delivered_at IS NULL, coalesce(:progress, progress), NULL),
        error_code = :code, error_status = :status, error_title = :title, vendor_code = :vendor_code
    WHERE entry = :entry AND lease_run = :run"""
NOTE = """
    UPDATE deliveries SET vendor_reference = ?2
    WHERE entry IN (SELECT value FROM json_each(?1)) AND lease_run = ?3"""
HANDED_OVER = """
    SELECT EXISTS (SELECT 1 FROM deliveries WHERE +vendor = ?1 AND vendor_reference = ?2 AND +state = 'delivered')"""
HANDED_OVER_OF = """
    SELECT max(s.accepted_at) FROM deliveries AS d JOIN sales AS s ON s.id = d.sale
    WHERE +d.vendor = ?1 AND d.vendor_reference = ?2"""
WITHDRAW = """
    UPDATE deliveries SET vendor_reference = NULL, maybe_received = 0
    WHERE +vendor = ?1 AND vendor_reference = ?2 AND +state IN ('queued', 'parked', 'in_doubt')"""
RELEASE = """
    UPDATE deliveries SET lease_run = NULL, sending = 0, attempts = attempts - 1
    WHERE entry IN (SELECT value FROM json_each(?)) AND lease_run = ?"""
RECORD_EVENT = """
    INSERT INTO events (sale, at, what, vendor) SELECT sale, ?2, ?3, vendor FROM deliveries WHERE entry = ?1"""
ENROLLING = """
    INSERT INTO events (sale, at, what, vendor)
    SELECT sale, ?2, 'enrolling', vendor FROM deliveries AS d
    WHERE entry = ?1 AND lease_run = ?3
      AND NOT EXISTS (SELECT 1 FROM events WHERE sale = d.sale AND what = 'enrolling')"""
NOT_ENROLLED = """
    DELETE FROM events WHERE what = 'enrolling' AND sale = (SELECT sale FROM deliveries WHERE entry = ?)"""
WAS_ENROLLING = "SELECT EXISTS (SELECT 1 FROM events WHERE sale = ? AND what = 'enrolling')"
RECORD_ATTEMPT = "INSERT INTO attempts (entry, at, verdict, code, status) VALUES (?, ?, ?, ?, ?)"
TO_RETAG = """
    SELECT s.id, s.statement, s.key_kind, s.key_type, s.transaction_id
    FROM deliveries AS d JOIN sales AS s ON s.id = d.sale
    WHERE d.entry = ? AND d.lease_run = ? AND d.maybe_received = 0 AND s.statement IS NOT NULL"""
RETAG = "UPDATE sales SET key_kind = ?, key_type = ?, statement = ? WHERE id = ?"
FOLLOW = """
    INSERT INTO deliveries (sale, vendor, state, rank, person, after_sale)
    SELECT sale, value, 'queued', ?1, ?4, after_sale FROM deliveries, json_each(?2) WHERE entry = ?3
    ON CONFLICT (sale, vendor) DO UPDATE SET rank = excluded.rank, person = excluded.person
    WHERE state = 'queued' AND attempts = 0"""
"""Whose sale it is has just been found out: who did not get it until now does from now on, in line with what else is
theirs by that key, and behind what tells that they joined."""
RISEN = """
    UPDATE deliveries SET rank = ?1, person = ?2, state = 'queued'
    WHERE sale = (SELECT sale FROM deliveries WHERE entry = ?3) AND vendor IN (SELECT value FROM json_each(?4))
      AND (state = 'queued' AND attempts = 0
           OR state = 'parked' AND maybe_received = 0
             AND error_code IN ('contact.unknown', 'contact.unresolved', 'sale.without_member'))"""
"""Who has not had it yet gets it under the settled key, in line with what else is theirs; who had parked it because
nobody was known by the other key is given it anew."""
FOLLOWING = """
    SELECT s.id, s.type, s.statement, d.entry
    FROM sales AS s JOIN deliveries AS d ON d.sale = s.id AND d.vendor = ?2
    WHERE s.original = ?1 AND s.type IN ('return', 'void') AND s.statement IS NOT NULL
      AND d.state IN ('queued', 'parked', 'in_doubt')"""
FOLLOW_SALE = """
    INSERT OR IGNORE INTO deliveries (sale, vendor, state, rank, person, after_sale)
    SELECT d.sale, o.vendor, 'queued', ?1, d.person, d.after_sale
    FROM deliveries AS d JOIN deliveries AS o ON o.sale = d.after_sale AND o.state <> 'cancelled'
    WHERE d.entry = ?2"""
"""What was taken meanwhile and is about that sale goes wherever the sale goes."""
SETTLE_FOLLOWING = "UPDATE deliveries SET open = 0, rank = ? WHERE entry = ?"
CLOSE_TAG = "UPDATE deliveries SET open = 0, sending = 1, rank = ?1, person = ?3 WHERE entry = ?2"
"""In line from here on with what else is theirs by that key."""
RECOVER = """
    UPDATE deliveries SET lease_run = NULL, sending = 0,
        maybe_received = CASE WHEN open = 1 AND sending = 0 THEN maybe_received ELSE 1 END
    WHERE lease_run IS NOT NULL"""
"""An open sale's tag is settled before it is sent, and that is written down: one that was not sent stays open."""
RECOVER_OWN = RECOVER.replace("lease_run IS NOT NULL", "lease_run = ? AND vendor = ?")
MAKE_DUE = """
    UPDATE deliveries SET next_attempt_at = iif(maybe_received, min(next_attempt_at, ?2), NULL)
    WHERE vendor = ?1 AND +state = 'queued' AND next_attempt_at IS NOT NULL"""
CLAMP_DUE = "UPDATE deliveries SET next_attempt_at = ?1 WHERE +state = 'queued' AND next_attempt_at > ?1"
NEXT_DUE = "SELECT min(next_attempt_at) FROM deliveries WHERE vendor = ? AND state = 'queued' AND next_attempt_at > ?"
LAST_SALE = "SELECT coalesce(max(id), 0) FROM sales"
SHIFT = """
    UPDATE sales SET accepted_at = accepted_at + ?1, finished_at = finished_at + ?1, clock_off = clock_off + ?1
    WHERE id > ?2 AND erased_at IS NULL"""
SHIFT_REDEMPTIONS = """
    UPDATE redemptions SET accepted_at = accepted_at + ?1, settled_at = settled_at + ?1
    WHERE id > ?2 AND statement IS NOT NULL"""
LAST_REDEMPTION = "SELECT coalesce(max(id), 0) FROM redemptions"
SHIFT_ENROLMENTS = """
    UPDATE enrolments SET accepted_at = accepted_at + ?1, settled_at = settled_at + ?1 WHERE id > ?2"""
LAST_ENROLMENT = "SELECT coalesce(max(id), 0) FROM enrolments"
ODDLY_DATED = """
    SELECT EXISTS (SELECT 1 FROM sales WHERE (erased_at IS NULL) = 1 AND accepted_at < ?1)
        OR EXISTS (SELECT 1 FROM sales WHERE (erased_at IS NULL) = 1 AND accepted_at > ?2)
        OR EXISTS (SELECT 1 FROM redemptions WHERE statement IS NOT NULL AND NOT accepted_at BETWEEN ?1 AND ?2)
        OR EXISTS (SELECT 1 FROM enrolments WHERE NOT accepted_at BETWEEN ?1 AND ?2)"""
REDATE = """
    UPDATE sales SET accepted_at = ?3, finished_at = iif(finished_at IS NULL, NULL, ?3),
        clock_off = clock_off + ?3 - accepted_at
    WHERE (erased_at IS NULL) = 1 AND (accepted_at < ?1 OR accepted_at > ?2)"""
REDATE_REDEMPTIONS = """
    UPDATE redemptions SET accepted_at = ?3, settled_at = iif(settled_at IS NULL, NULL, ?3)
    WHERE statement IS NOT NULL AND NOT accepted_at BETWEEN ?1 AND ?2"""
REDATE_ENROLMENTS = """
    UPDATE enrolments SET accepted_at = ?3, settled_at = iif(settled_at IS NULL, NULL, ?3)
    WHERE NOT accepted_at BETWEEN ?1 AND ?2"""
RETRY = """
    UPDATE deliveries SET state = 'queued', next_attempt_at = NULL,
        maybe_received = CASE
            WHEN state = 'in_doubt' AND error_code NOT IN (SELECT value FROM json_each(?2)) THEN 0
            ELSE maybe_received END
    WHERE entry = ?1 AND state IN ('queued', 'parked', 'in_doubt')"""
"""A person who has what is in doubt sent again has decided that it did not arrive, unless it is known that some did."""
UNENROLLED = """
    SELECT entry FROM deliveries
    WHERE vendor = ?1 AND person = ?2 AND state = 'parked' AND error_code = 'contact.refused'"""
WITH_OTHERS = """
    SELECT entry FROM deliveries
    WHERE vendor = ?1 AND person = ?2 AND state = 'queued' AND next_attempt_at IS NOT NULL
      AND error_code = 'contact.with_others'"""
MAKE_ONE_DUE = "UPDATE deliveries SET next_attempt_at = NULL WHERE entry = ? AND state = 'queued'"
TRANSACTION_OF = "SELECT s.transaction_id FROM deliveries AS d JOIN sales AS s ON s.id = d.sale WHERE d.entry = ?"
TO_DISCARD = """
    SELECT d.vendor, d.maybe_received, d.lease_run IS NOT NULL, s.transaction_id, s.erased_at
    FROM deliveries AS d JOIN sales AS s ON s.id = d.sale
    WHERE d.entry = ? AND d.state IN ('queued', 'parked', 'in_doubt')"""
DISCARD = """
    UPDATE deliveries SET state = 'discarded', error_code = 'queue.discarded',
        error_title = 'Somebody decided that it is not to be sent.', error_status = NULL, vendor_code = NULL,
        note = ?, next_attempt_at = NULL
    WHERE entry = ?"""
IS_EXPIRED = """
    SELECT 1 FROM deliveries AS d JOIN sales AS s ON s.id = d.sale
    WHERE d.entry = ? AND s.erased_at IS NOT NULL AND s.key_kind IS NOT NULL"""
"""Its member was erased by age; a sale that was untagged goes as a guest's, if at all."""
CANCEL_VOIDS = """
    UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL
    WHERE vendor = ? AND state = 'queued' AND lease_run IS NULL AND maybe_received = 0
      AND sale IN (SELECT id FROM sales WHERE original = ? AND type = 'void')"""

# --- what people ask --------------------------------------------------------------------------------------------

COUNTS = "SELECT what, sum(n) FROM counts WHERE what <> 'number' GROUP BY what"
UNFINISHED_BYTES = "SELECT bytes FROM unfinished"
WAITING = "SELECT of, n FROM counts WHERE what = 'queued'"
OLDEST = """
    SELECT c.of, (
        SELECT min(s.accepted_at) FROM (VALUES (1), (2)) AS r
        JOIN deliveries AS d ON d.entry = (
            SELECT min(first.entry) FROM deliveries AS first
            WHERE first.state = 'queued' AND first.vendor = c.of AND first.rank = r.column1)
        JOIN sales AS s ON s.id = d.sale)
    FROM counts AS c WHERE c.what = 'queued' AND c.n > 0"""
ERASURES_OPEN = "SELECT count(*) FROM sales WHERE type = 'member_erasure' AND finished_at IS NULL"
ACCEPTED_SINCE = "SELECT count(*) FROM sales WHERE (erased_at IS NULL) IN (0, 1) AND accepted_at >= ?"
STORY = """
    SELECT id, type, till, number, occurred_at, accepted_at, erased_at, original,
           key_kind, key_type, answered_kind, answered_type, quiet
    FROM sales WHERE transaction_id = ?"""
DELIVERIES = """
    SELECT d.entry, s.transaction_id, d.vendor, d.state, d.attempts, s.accepted_at, d.next_attempt_at, d.delivered_at,
           d.vendor_reference, d.error_code, d.error_status, d.error_title, d.vendor_code
    FROM deliveries AS d JOIN sales AS s ON s.id = d.sale WHERE {where} ORDER BY d.entry LIMIT ?"""
OF_SALE = "d.sale = ?"
UNFINISHED = "d.state IN ('queued', 'parked', 'in_doubt') AND d.entry > ?"
QUEUED = "d.state = 'queued' AND +d.vendor NOT IN (SELECT value FROM json_each(?))"
HELD = "d.state = 'queued' AND +d.vendor IN (SELECT value FROM json_each(?))"
STUCK = "d.state IN ('parked', 'in_doubt') AND d.state = ?"
"""The terms of the partial index of what is stuck, so that a few are found among a million that wait."""
OF_VENDOR = "+d.vendor = ?"
OF_ENTRY = "d.entry = ?"
ATTEMPTS = "SELECT at, verdict, code, status FROM attempts WHERE entry = ? ORDER BY rowid"
EVENTS = "SELECT at, what, vendor FROM events WHERE sale = ? ORDER BY rowid"
ABOUT = "SELECT transaction_id, type, accepted_at FROM sales WHERE original = ? ORDER BY type, id"

# --- the end ----------------------------------------------------------------------------------------------------

ERASABLE_FINISHED = """
    SELECT id, statement, occurred_at FROM sales
    WHERE erased_at IS NULL AND finished_at < ? ORDER BY finished_at LIMIT ?"""
_TOLD = "type IN ('member_deleted', 'member_erasure') AND erased_at IS NULL AND finished_at IS NOT NULL"
ERASABLE_TOLD = f"""
    SELECT id, statement, occurred_at FROM sales WHERE {_TOLD} LIMIT ?"""  # noqa: S608 - ours
"""What told another system of somebody's erasure: it names who was to be forgotten, and is through."""
ERASABLE_OLD = """
    SELECT id, statement, occurred_at FROM sales
    WHERE (erased_at IS NULL) = 1 AND accepted_at < ? ORDER BY accepted_at LIMIT ?"""
ERASE = "UPDATE sales SET body = ?, statement = NULL, erased_at = ? WHERE id = ?"
DUE = f"""
    SELECT EXISTS (SELECT 1 FROM sales WHERE erased_at IS NULL AND finished_at < ?1)
        OR EXISTS (SELECT 1 FROM sales WHERE (erased_at IS NULL) = 1 AND accepted_at < ?2)
        OR EXISTS (SELECT 1 FROM sales WHERE (erased_at IS NULL) = 0 AND accepted_at < ?3)
        OR EXISTS (SELECT 1 FROM sales WHERE {_TOLD})"""  # noqa: S608 - ours
NOTES = "SELECT note FROM deliveries WHERE sale = ? AND note IS NOT NULL"
ERASE_NOTES = "UPDATE deliveries SET note = NULL WHERE sale = ? AND note IS NOT NULL"
ERASE_GROUP = "UPDATE deliveries SET person = x'' WHERE sale = ?"
"""Nothing on file can tell any more that two sales are one person's."""
EXPIRE = """
    UPDATE deliveries SET state = 'parked', error_code = 'retention.expired', error_status = NULL, vendor_code = NULL,
        error_title = ?, next_attempt_at = NULL, open = 0
    WHERE sale = ? AND state IN ('queued', 'parked', 'in_doubt')"""

# --- one person -------------------------------------------------------------------------------------------------

_REMEMBERED = """
    SELECT s.accepted_at, s.day, s.till, s.number, s.id, s.transaction_id, s.original, s.key_type, t.content
    FROM sales AS s LEFT JOIN statements AS t ON t.id = s.statement WHERE {where}"""
REMEMBERED = _REMEMBERED.format(
    where="(s.erased_at IS NULL) = 1 AND (s.accepted_at, s.day, s.till, s.number) > (?, ?, ?, ?)"
    " ORDER BY s.accepted_at, s.day, s.till, s.number LIMIT ?"
)
"""In the order of their index: the first four columns of a row lead to the next."""
REMEMBERED_OF = _REMEMBERED.format(
    where="s.id IN (SELECT value FROM json_each(?)) AND s.erased_at IS NULL ORDER BY s.id"
)
TO_ERASE = """
    SELECT id, statement, occurred_at, transaction_id FROM sales
    WHERE id IN (SELECT value FROM json_each(?)) AND erased_at IS NULL"""
WAITS = "SELECT count(*) FROM deliveries WHERE sale = ? AND state IN ('queued', 'parked', 'in_doubt')"
UNTAG = "UPDATE sales SET key_kind = NULL, key_type = NULL WHERE id = ?"
UNTAG_DELIVERIES = """
    UPDATE deliveries SET open = 0, rank = 2, lease_run = NULL, sending = 0
    WHERE sale = ? AND state IN ('queued', 'parked', 'in_doubt')"""
CANCEL_UNTAGGED = """
    UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL, error_code = 'privacy.erased',
        error_title = 'The person was erased.', error_status = NULL, vendor_code = NULL
    WHERE sale = ?1 AND state IN ('queued', 'parked', 'in_doubt')
      AND vendor NOT IN (SELECT value FROM json_each(?2))"""
"""A sale without a member still goes to the vendors that take guests; to the others it is owed no more."""
NOTES_OF = """
    SELECT t.content FROM deliveries AS d JOIN statements AS t ON t.id = d.note WHERE d.sale = ? ORDER BY d.entry"""

ERASURES = "SELECT mark, primary_key, receipt, erased_at, refused_at FROM erasures ORDER BY erased_at"
ADD_ERASURE = """
    INSERT OR IGNORE INTO erasures (mark, primary_key, receipt, erased_at)
    SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM erasures WHERE primary_key = ?1)"""
KEEP_FIRST_ERASURE = """
    DELETE FROM erasures WHERE mark IN (?1, ?2)
        AND erased_at > (SELECT min(erased_at) FROM erasures WHERE mark IN (?1, ?2))"""
NAME_ERASURE = "UPDATE OR REPLACE erasures SET mark = ?1, primary_key = ?2 WHERE mark IN (?1, ?2)"
REFUSED = "UPDATE erasures SET refused_at = ?1 WHERE ?2 IN (mark, primary_key)"
END_ERASURE = "DELETE FROM erasures WHERE ?1 IN (mark, primary_key)"

ANCHOR = "SELECT seq, hash FROM anchor"
SET_ANCHOR = """
    INSERT INTO anchor (one, seq, hash) VALUES (1, ?, ?)
    ON CONFLICT DO UPDATE SET seq = excluded.seq, hash = excluded.hash"""


# --- many rows in one statement ---------------------------------------------------------------------------------


@cache
def rows(statement: str, count: int, columns: int) -> str:
    """An ``INSERT ... VALUES`` of so many rows: it hands the interpreter's lock over once, not once a row."""
    row = "(" + ", ".join(["?"] * columns) + ")"
    return statement + ", ".join([row] * count)
