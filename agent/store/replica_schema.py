"""The schema of the replica, step by step. A step is never edited once released; migrated equals fresh, as a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils.migrations import Migrations

if TYPE_CHECKING:
    from sqlite_utils import Database

replica = Migrations("replica")


@replica()
def contacts_and_ledger(db: Database) -> None:
    """Contacts by hashed keys, tombstones, a sweep's progress, the ledger of applied files, and one row of state."""
    for statement in _FIRST:
        db.execute(statement)


_FIRST = (
    # No INTEGER PRIMARY KEY: nothing outside refers to a row, and appending stays the cheapest insert there is.
    """
    CREATE TABLE contacts (
        contact_id BLOB,
        member_number BLOB,
        external_id BLOB,
        card_number BLOB,
        mobile_phone BLOB,
        email BLOB,
        personal_number BLOB,
        primary_key TEXT,
        contact_key TEXT,
        fields TEXT
    ) STRICT""",
    "CREATE INDEX contacts_by_contact_id ON contacts (contact_id) WHERE contact_id IS NOT NULL",
    "CREATE INDEX contacts_by_member_number ON contacts (member_number) WHERE member_number IS NOT NULL",
    "CREATE INDEX contacts_by_external_id ON contacts (external_id) WHERE external_id IS NOT NULL",
    "CREATE INDEX contacts_by_card_number ON contacts (card_number) WHERE card_number IS NOT NULL",
    "CREATE INDEX contacts_by_mobile_phone ON contacts (mobile_phone) WHERE mobile_phone IS NOT NULL",
    "CREATE INDEX contacts_by_email ON contacts (email) WHERE email IS NOT NULL",
    "CREATE INDEX contacts_by_personal_number ON contacts (personal_number) WHERE personal_number IS NOT NULL",
    """
    CREATE TABLE tombstones (
        identity BLOB PRIMARY KEY,
        keys BLOB NOT NULL,
        deleted_at TEXT NOT NULL,
        carried_out INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID""",
    # Whom a walk through everybody has shown, and whether it brought them; empty while none is under way.
    "CREATE TABLE swept (contact_id BLOB PRIMARY KEY, brought INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    # Who was erased here, and whom the last such walk has not shown.
    "CREATE TABLE unlisted (mark BLOB PRIMARY KEY) STRICT, WITHOUT ROWID",
    # Where only those are kept who were asked for: up to when it is known whom a key leads to. One that leads to nobody
    # is kept `beside` whom another reading of the same value named.
    "CREATE TABLE vouched (key BLOB PRIMARY KEY, at TEXT NOT NULL, beside BLOB) STRICT, WITHOUT ROWID",
    """
    CREATE TABLE files (
        name TEXT NOT NULL UNIQUE,
        size_bytes INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        rows INTEGER NOT NULL,
        deletes INTEGER NOT NULL,
        replay INTEGER NOT NULL,
        applied_at TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX files_by_sha256 ON files (sha256)",
    """
    CREATE TABLE state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        shape BLOB NOT NULL,
        contacts INTEGER NOT NULL,
        as_of TEXT,
        cursor TEXT,
        erasures INTEGER NOT NULL
    ) STRICT""",
)
