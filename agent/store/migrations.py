"""The schema of the outbox, step by step. A step is never edited once released; migrated equals fresh, as a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils.migrations import Migrations

if TYPE_CHECKING:
    from sqlite_utils import Database

outbox = Migrations("outbox")


@outbox()
def sales_and_deliveries(db: Database) -> None:
    """Sales, their deliveries, what happened to them, and counters: of numbers given, and of deliveries by state."""
    for statement in _FIRST:
        db.execute(statement)


@outbox()
def contacts_asked_for(db: Database) -> None:
    """Of a contact made here, whether the vendor was asked to make it: whoever is found there then has joined here."""
    db.execute("ALTER TABLE enrolments ADD COLUMN asked INTEGER NOT NULL DEFAULT 0")


@outbox()
def contacts_in_bulk(db: Database) -> None:
    """Calls with several new contacts, and which contact stands where in one."""
    for statement in _BULK:
        db.execute(statement)


@outbox()
def progress_of_deliveries(db: Database) -> None:
    """How far a delivery of several calls has come, which was in the place of what the vendor calls it."""
    db.execute("ALTER TABLE deliveries ADD COLUMN progress TEXT")
    db.execute(
        """
        UPDATE deliveries SET progress = substr(vendor_reference, 7), vendor_reference = NULL
        WHERE vendor_reference >= 'async:' AND vendor_reference < 'async;'"""
    )


@outbox()
def changes_in_bulk(db: Database) -> None:
    """Calls with several changes, too, and which version of a record stands in a call."""
    db.execute("ALTER TABLE bulk_calls ADD COLUMN kind TEXT NOT NULL DEFAULT 'contact'")
    db.execute("ALTER TABLE bulk_rows ADD COLUMN version INTEGER")


# Personal data is in `statements` alone, whose rows are never moved: agent.store.statements says why. The rest of a
# sale, its deliveries and what happened to them name nobody. docs/gdpr.md has a row for every column. Activities stand
# among the sales: agent.store.activities.
_FIRST = (
    """
    CREATE TABLE statements (
        id INTEGER PRIMARY KEY,
        forgotten INTEGER NOT NULL DEFAULT 0,
        content BLOB NOT NULL
    ) STRICT""",
    "CREATE TABLE hash_key (one INTEGER PRIMARY KEY CHECK (one = 1), sealed BLOB NOT NULL) STRICT",
    """
    CREATE TABLE sales (
        id INTEGER PRIMARY KEY,
        transaction_id TEXT NOT NULL UNIQUE,
        type TEXT NOT NULL,
        till TEXT NOT NULL,
        number INTEGER NOT NULL,
        day INTEGER NOT NULL,
        fingerprint BLOB NOT NULL,
        accepted_at INTEGER NOT NULL,
        clock_off INTEGER NOT NULL DEFAULT 0,
        occurred_at TEXT NOT NULL,
        original TEXT,
        statement INTEGER,
        bytes INTEGER NOT NULL,
        body TEXT,
        key_kind TEXT,
        key_type TEXT,
        answered_kind TEXT,
        answered_type TEXT,
        quiet INTEGER NOT NULL DEFAULT 0,
        finished_at INTEGER,
        erased_at INTEGER
    ) STRICT""",
    "CREATE INDEX sales_by_original ON sales (original, type) WHERE original IS NOT NULL",
    # The last three columns make it a list of all days and numbers that is read without the sales themselves.
    "CREATE INDEX sales_by_age ON sales (erased_at IS NULL, accepted_at, day, till, number)",
    "CREATE INDEX sales_finished ON sales (finished_at) WHERE erased_at IS NULL AND finished_at IS NOT NULL",
    "CREATE INDEX sales_to_erase_elsewhere ON sales (type) WHERE type = 'member_erasure' AND finished_at IS NULL",
    """
    CREATE INDEX sales_told_elsewhere ON sales (type)
    WHERE type IN ('member_deleted', 'member_erasure') AND erased_at IS NULL AND finished_at IS NOT NULL""",
    """
    CREATE TABLE deliveries (
        entry INTEGER PRIMARY KEY,
        sale INTEGER NOT NULL REFERENCES sales (id) ON DELETE CASCADE,
        vendor TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'delivered', 'parked', 'in_doubt', 'cancelled', 'discarded')),
        rank INTEGER NOT NULL,
        person BLOB NOT NULL,
        open INTEGER NOT NULL DEFAULT 0,
        after_sale INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        maybe_received INTEGER NOT NULL DEFAULT 0,
        lease_run TEXT,
        sending INTEGER NOT NULL DEFAULT 0,
        next_attempt_at INTEGER,
        delivered_at INTEGER,
        vendor_reference TEXT,
        error_code TEXT,
        error_status INTEGER,
        error_title TEXT,
        vendor_code TEXT,
        note INTEGER,
        UNIQUE (sale, vendor)
    ) STRICT""",
    "CREATE INDEX deliveries_in_line ON deliveries (vendor, rank, entry) WHERE state = 'queued'",
    "CREATE INDEX deliveries_leased ON deliveries (lease_run) WHERE lease_run IS NOT NULL",
    """
    CREATE INDEX deliveries_backing_off ON deliveries (vendor, next_attempt_at, person)
    WHERE next_attempt_at IS NOT NULL""",
    """
    CREATE INDEX deliveries_unenrolled ON deliveries (vendor, person)
    WHERE state = 'parked' AND error_code = 'contact.refused'""",
    "CREATE INDEX deliveries_stuck ON deliveries (state, entry) WHERE state IN ('parked', 'in_doubt')",
    "CREATE INDEX deliveries_by_reference ON deliveries (vendor_reference) WHERE vendor_reference IS NOT NULL",
    "CREATE INDEX deliveries_unfinished ON deliveries (entry) WHERE state IN ('queued', 'parked', 'in_doubt')",
    """
    CREATE TABLE attempts (
        entry INTEGER NOT NULL REFERENCES deliveries (entry) ON DELETE CASCADE,
        at INTEGER NOT NULL,
        verdict TEXT NOT NULL,
        code TEXT NOT NULL,
        status INTEGER
    ) STRICT""",
    "CREATE INDEX attempts_by_entry ON attempts (entry)",
    """
    CREATE TABLE events (
        sale INTEGER NOT NULL REFERENCES sales (id) ON DELETE CASCADE,
        at INTEGER NOT NULL,
        what TEXT NOT NULL,
        vendor TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX events_by_sale ON events (sale)",
    # One page for both kinds of counters: it is written with every sale anyway, and another encrypted page a commit
    # costs as much as all of the counting.
    """
    CREATE TABLE counts (
        of TEXT NOT NULL, what TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (of, what)
    ) STRICT, WITHOUT ROWID""",
    """
    CREATE TABLE gaps (
        till TEXT NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        reason TEXT NOT NULL CHECK (reason IN ('retention', 'rescue', 'skipped')),
        at INTEGER NOT NULL,
        PRIMARY KEY (till, first)
    ) STRICT, WITHOUT ROWID""",
    """
    CREATE TRIGGER count_new AFTER INSERT ON deliveries BEGIN
        INSERT INTO counts VALUES (new.vendor, new.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
    END""",
    """
    CREATE TRIGGER count_moved AFTER UPDATE OF state ON deliveries WHEN old.state <> new.state BEGIN
        UPDATE counts SET n = n - 1 WHERE of = old.vendor AND what = old.state;
        INSERT INTO counts VALUES (new.vendor, new.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
    END""",
    """
    CREATE TRIGGER count_gone AFTER DELETE ON deliveries BEGIN
        UPDATE counts SET n = n - 1 WHERE of = old.vendor AND what = old.state;
    END""",
    """
    CREATE TRIGGER number_given AFTER INSERT ON sales BEGIN
        INSERT INTO counts VALUES (new.till, 'number', new.number) ON CONFLICT DO UPDATE SET n = max(n, excluded.n);
    END""",
    "CREATE TABLE unfinished (bytes INTEGER NOT NULL) STRICT",
    "INSERT INTO unfinished VALUES (0)",
    """
    CREATE TRIGGER weigh_new AFTER INSERT ON sales WHEN new.finished_at IS NULL BEGIN
        UPDATE unfinished SET bytes = bytes + new.bytes;
    END""",
    """
    CREATE TRIGGER weigh_finished AFTER UPDATE OF finished_at ON sales
    WHEN old.finished_at IS NULL AND new.finished_at IS NOT NULL BEGIN
        UPDATE unfinished SET bytes = bytes - old.bytes;
    END""",
    """
    CREATE TRIGGER weigh_gone AFTER DELETE ON sales WHEN old.finished_at IS NULL BEGIN
        UPDATE unfinished SET bytes = bytes - old.bytes;
    END""",
    """
    CREATE TRIGGER sale_finished AFTER UPDATE OF state ON deliveries
    WHEN new.state IN ('delivered', 'cancelled', 'discarded') BEGIN
        UPDATE sales SET finished_at =
            coalesce((SELECT max(delivered_at) FROM deliveries WHERE sale = new.sale), accepted_at)
        WHERE id = new.sale AND NOT EXISTS (
            SELECT 1 FROM deliveries WHERE sale = new.sale AND state IN ('queued', 'parked', 'in_doubt'));
    END""",
    # Which benefit of whom is in `statements`; `item` tells two benefits apart and names none.
    """
    CREATE TABLE redemptions (
        id INTEGER PRIMARY KEY,
        transaction_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        item BLOB NOT NULL,
        state TEXT NOT NULL CHECK (state IN (
            'queued', 'sending', 'lost', 'asking', 'redeemed', 'refused', 'undoing', 'released', 'stuck')),
        statement INTEGER,
        amount TEXT,
        currency TEXT,
        person BLOB NOT NULL,
        unasked_on INTEGER,
        accepted_at INTEGER NOT NULL,
        asked_at INTEGER,
        settled_at INTEGER,
        code TEXT,
        UNIQUE (transaction_id, kind, item)
    ) STRICT""",
    "CREATE INDEX redemptions_by_item ON redemptions (item, kind)",
    "CREATE INDEX redemptions_by_day ON redemptions (unasked_on) WHERE unasked_on IS NOT NULL",
    "CREATE INDEX redemptions_of_person ON redemptions (person) WHERE statement IS NOT NULL",
    "CREATE INDEX redemptions_by_state ON redemptions (state)",
    "CREATE INDEX redemptions_remembered ON redemptions (settled_at, accepted_at) WHERE statement IS NOT NULL",
    "CREATE INDEX redemptions_forgotten ON redemptions (settled_at) WHERE statement IS NULL",
    # Whom a contact made here is, and whose a change is, is in `statements`; `enrolment_keys` finds it by keyed hashes.
    """
    CREATE TABLE enrolments (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('contact', 'change')),
        ref TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL CHECK (state IN ('queued', 'parked', 'delivered')),
        statement INTEGER NOT NULL,
        accepted_at INTEGER NOT NULL,
        settled_at INTEGER,
        status INTEGER,
        vendor_code TEXT
    ) STRICT""",
    "CREATE INDEX enrolments_by_state ON enrolments (kind, state)",
    "CREATE INDEX enrolments_by_age ON enrolments (coalesce(settled_at, accepted_at))",
    """
    CREATE TABLE enrolment_keys (
        mark BLOB NOT NULL, enrolment INTEGER NOT NULL, PRIMARY KEY (mark, enrolment)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX enrolment_keys_of_one ON enrolment_keys (enrolment)",
    "CREATE TABLE series (prefix TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    """
    CREATE TABLE erasures (
        mark BLOB PRIMARY KEY,
        primary_key BLOB,
        receipt TEXT NOT NULL,
        erased_at INTEGER NOT NULL,
        refused_at INTEGER
    ) STRICT, WITHOUT ROWID""",
    """
    CREATE TABLE anchor (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        seq INTEGER NOT NULL,
        hash TEXT NOT NULL
    ) STRICT""",
)

# A row is there from before its call goes out until the vendor has the contact, or refuses it. Without `said` the call
# is under way. It names nobody: agent.store.bulk.
_BULK = (
    """
    CREATE TABLE bulk_calls (
        id INTEGER PRIMARY KEY,
        vendor_id TEXT,
        size INTEGER NOT NULL,
        begun_at INTEGER NOT NULL
    ) STRICT""",
    """
    CREATE TABLE bulk_rows (
        enrolment INTEGER PRIMARY KEY,
        call INTEGER NOT NULL,
        place INTEGER NOT NULL,
        said TEXT CHECK (said IN ('made', 'unknown'))
    ) STRICT""",
    "CREATE INDEX bulk_rows_of_call ON bulk_rows (call, place)",
)
