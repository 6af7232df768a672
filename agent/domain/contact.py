"""What is known of a member, as a change that a feed reports and as the row a look-up finds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IntegrationKey

WITHHELD: Final = False
"""In place of a field's value: the feed may send one, and it must not be kept, until a row lifts that or is whole."""


class ChangeKind(StrEnum):
    """What a feed says of a contact. An ``UPSERT`` is applied over what is known; a ``DELETE`` leaves a tombstone."""

    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class ContactChange:
    """One row of a feed, normalised.

    Attributes:
        kind: what happened.
        identifiers: normalised values by type. Absent means unchanged, None means cleared.
        fields: the configured extra fields, under the same rule, or `WITHHELD`. Empty with
            `replica.contents = "keys"`.
        lifted: the row says that nothing is withheld any more.
        full_row: what is absent is cleared too: the row is the whole contact.
    """

    kind: ChangeKind
    identifiers: Mapping[IdentifierType, str | None] = field(repr=False)
    fields: Mapping[str, str | Literal[False] | None] = field(default_factory=dict, repr=False)
    full_row: bool = False
    lifted: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody the replica or the vendor knows.

    Attributes:
        ref: an opaque handle without personal meaning, stable while the replica's key lives.
        key: the primary integration key.
        fields: what the replica's configuration keeps, by field name; empty with `keys`.
        own: the key is this till's own number: they were made here, and the vendor does not have them yet.
        as_of: when the vendor said so, where it is asked member by member; None where the whole replica has one age.
    """

    ref: str
    key: IntegrationKey
    fields: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    own: bool = False
    as_of: datetime | None = None
