"""Where the replica lies and what its rows mean: what its reader, its writer and its builder share.

A row holds a keyed hash of every key a contact is known by and, in clear, only what a sale has to carry: the primary
integration key. With `replica.contents = "contacts"` the configured fields are kept too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.domain.identifiers import IdentifierType
from agent.store.database import DatabaseFile, migrate, sqlite, transaction
from agent.store.keyhash import KeyHash
from agent.store.refusals import NOBODY, Refusals

if TYPE_CHECKING:
    from sqlite3 import Connection

KEY_COLUMNS = tuple(kind.value for kind in IdentifierType)
"""One hash column for every type, `contact_id` first."""

COLUMNS = (*KEY_COLUMNS, "primary_key", "contact_key", "fields")
"""A contact's row. `contact_key` is the contact id in clear, kept only while the row has no primary key; `fields` is a
JSON object, in which null is a field that was cleared."""

_STATE = "INSERT INTO state (one, shape, contacts, erasures) VALUES (1, ?, 0, 0) ON CONFLICT DO NOTHING"


@dataclass(frozen=True, slots=True)
class ReplicaFile:
    """The replica's file and what is kept in it; picklable, so that every process reads and writes it alike.

    Attributes:
        database: the file, and how it is opened.
        key: secret bytes under which keys are hashed (:class:`KeyHash`).
        primary: the type of the primary integration key.
        contents: ``keys``, or ``contacts`` to keep ``fields`` too.
        fields: the names of the extra fields that are kept.
        refusals: whose rows are left out.
        vendor: the system that owns the contacts.
        by_question: only those are kept who were asked for; a key leads to nobody unless it was itself asked for.
    """

    database: DatabaseFile
    key: bytes = field(repr=False)
    primary: IdentifierType
    contents: str = "keys"
    fields: tuple[str, ...] = ()
    refusals: Refusals = NOBODY
    vendor: str = ""
    by_question: bool = False

    @property
    def kept_fields(self) -> frozenset[str]:
        """The extra fields that may be stored."""
        return frozenset(self.fields if self.contents == "contacts" else ())

    @property
    def side(self) -> DatabaseFile:
        """The file in which a new replica is built."""
        return side_of(self.database)

    @property
    def shape(self) -> bytes:
        """A fingerprint of what decides the meaning of rows; rows of another shape are of no use."""
        return KeyHash(self.key).of(self.primary, "\n".join((self.vendor, *sorted(self.kept_fields))))

    def ensure(self, connection: Connection) -> None:
        """Brings an open file to this program's schema.

        Raises:
            StorageSchemaError: it cannot be; it has to be made anew.
            StorageError: the disk or the file said no.
        """
        from agent.store.replica_schema import replica  # noqa: PLC0415 - sqlite-utils: only who creates or migrates

        migrate(connection, replica)
        with transaction(connection):
            connection.execute(_STATE, (self.shape,))

    def fits(self, connection: Connection) -> bool:
        """Whether an open file holds rows of this shape: same vendor, hash key, primary key and fields.

        A file that was never brought to its schema does not.
        """
        try:
            row: tuple[bytes] | None = connection.execute("SELECT shape FROM state").fetchone()
        except sqlite.OperationalError:
            return False
        return row is not None and row[0] == self.shape


def side_of(database: DatabaseFile) -> DatabaseFile:
    """The file beside a replica in which the next one is built."""
    return replace(database, path=database.path.with_suffix(".next.db"))


def instant(at: datetime) -> str:
    """An aware instant as text that sorts in time."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
