"""What is kept of contacts that were made or changed here, as rows and one text of each; and how they go.

What was given is a text in `statements`. A row names nobody, and `enrolment_keys` has the keyed hashes that somebody is
found by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.domain.enrolment import BulkWord, Enrolment, EnrolmentState
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey, NewContact
from agent.ports import Occurrence
from agent.store import statements
from agent.store.outbox_view import from_ms

if TYPE_CHECKING:
    from sqlite3 import Connection

Tell = Callable[["Connection", Occurrence, datetime], None]
"""Puts on record, in the transaction that settles something, what further systems are told of it."""

ROWS = """
    SELECT e.id, e.ref, e.state, e.accepted_at, e.status, e.vendor_code, e.statement, b.call, b.said, t.content
    FROM enrolments AS e JOIN statements AS t ON t.id = e.statement LEFT JOIN bulk_rows AS b ON b.enrolment = e.id
    WHERE {where} ORDER BY e.id"""
BY_NUMBER = ROWS.format(where="e.id = ?")
ADD_KEY = "INSERT OR IGNORE INTO enrolment_keys (mark, enrolment) VALUES (?, ?)"
STATEMENT = "SELECT statement FROM enrolments WHERE id = ?"
AMEND = """
    UPDATE enrolments SET state = 'queued', statement = ?2, status = NULL, vendor_code = NULL
    WHERE id = ?1"""
ASKED = "UPDATE enrolments SET asked = ?2 WHERE id = ?1"
PARK = "UPDATE enrolments SET state = 'parked', status = ?2, vendor_code = ?3 WHERE id = ?1 AND state = 'queued'"
DROP = "DELETE FROM enrolments WHERE id = ?"
LEAVE_CALL = "DELETE FROM bulk_rows WHERE enrolment = ?"
DROP_KEYS = "DELETE FROM enrolment_keys WHERE enrolment = ?"


def nobody_told(_db: Connection, _record: Occurrence, _now: datetime) -> None:
    """Where nobody is to be told anything. Raises AssertionError: what was made all the same must not get lost."""
    raise AssertionError


@dataclass(frozen=True, slots=True)
class Given:
    """What is kept of a contact that was made or changed here, as the one text that `statements` has of it.

    Attributes:
        own_number: this till's own; empty with a change of somebody else's.
        contact: what was given; None once the vendor has it.
        identifiers: what was given, in one form.
        key: the vendor's key.
        contact_id: its own id, beside another key.
        known_by: what else names whose contact was changed: what they were named by at the till.
        refused: the fields of a change that the vendor has named as wrong.
    """

    own_number: str = field(repr=False)
    contact: NewContact | None = field(default=None, repr=False)
    identifiers: tuple[Identifier, ...] = field(default=(), repr=False)
    key: IntegrationKey | None = field(default=None, repr=False)
    contact_id: str | None = field(default=None, repr=False)
    known_by: tuple[Identifier, ...] = field(default=(), repr=False)
    refused: tuple[str, ...] = ()

    def text(self) -> str:
        """The text that :meth:`parse` reads."""
        contact = self.contact.model_dump(mode="json", exclude_defaults=True) if self.contact is not None else None
        key = (self.key.type.value, self.key.value) if self.key is not None else None
        identifiers, known_by = ([(one.type, one.value) for one in of] for of in (self.identifiers, self.known_by))
        return json.dumps([self.own_number, contact, identifiers, key, self.contact_id, known_by, self.refused])

    @classmethod
    def parse(cls, text: str) -> Given:
        """What :meth:`text` wrote. Raises ValueError when it is not that."""
        try:
            own_number, contact, identifiers, key, contact_id, known_by, refused = json.loads(text)
            return cls(
                str(own_number),
                NewContact.model_validate(contact) if contact is not None else None,
                tuple(Identifier(IdentifierType(kind), value) for kind, value in identifiers),
                IntegrationKey(kind="primary", type=IdentifierType(key[0]), value=key[1]) if key is not None else None,
                contact_id,
                tuple(Identifier(IdentifierType(kind), value) for kind, value in known_by),
                tuple(map(str, refused)),
            )
        except (TypeError, LookupError) as error:
            raise ValueError("is not a contact that was made here") from error

    @property
    def own(self) -> IntegrationKey:
        """The integration key of the own number."""
        return IntegrationKey(kind="primary", type=IdentifierType.EXTERNAL_ID, value=self.own_number)

    def names(self) -> Iterable[Identifier]:
        """Everything that names the contact."""
        yield from self.identifiers
        yield from self.known_by
        if self.own_number:
            yield self.own.identifier
        if self.key is not None:
            yield self.key.identifier
        if self.contact_id is not None:
            yield Identifier(IdentifierType.CONTACT_ID, self.contact_id)


def given_in(row: Sequence[Any]) -> Given:
    """What is kept of it; nothing but emptiness where that cannot be read any more."""
    try:
        return Given.parse(bytes(row[-1]).decode())
    except ValueError:
        return Given("")


def readable(rows: Iterable[Sequence[Any]]) -> list[Enrolment]:
    """Those of them that can be read."""
    found = []
    for row in rows:
        number, ref, state, accepted_at, status, vendor_code, version, call, said, _ = row
        given = given_in(row)
        if not given.own_number:  # it goes when its time is up
            continue
        found.append(
            Enrolment(
                number=number,
                version=version,
                ref=ref,
                state=EnrolmentState(state),
                own_key=given.own,
                key=given.key,
                contact=given.contact,
                identifiers=given.identifiers,
                accepted_at=from_ms(accepted_at),
                status=status,
                vendor_code=vendor_code,
                bulk=call,
                said=BulkWord(said) if said is not None else None,
            )
        )
    return found


def enrolment(db: Connection, number: int) -> Enrolment | None:
    """A contact that was made here, by its record's number; None where it is gone, or cannot be read any more."""
    return next(iter(readable(db.execute(BY_NUMBER, (number,)).fetchall())), None)


def forget_content(db: Connection, number: int) -> None:
    """Forgets what was given, where it stands."""
    for (statement,) in db.execute(STATEMENT, (number,)).fetchall():
        statements.forget(db, statement)


def drop(db: Connection, numbers: Sequence[int]) -> None:
    """Removes these, and all that leads to them."""
    for number in numbers:
        forget_content(db, number)
        db.execute(DROP_KEYS, (number,))
        db.execute(LEAVE_CALL, (number,))
        db.execute(DROP, (number,))
