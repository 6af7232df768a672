"""What the outbox's rows say: whose a record is, what it is, and a delivery as it goes out. Nothing is read here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from agent.domain.activity import Activity, record_of
from agent.domain.identifiers import Identifier
from agent.domain.transaction import IntegrationKey, Transaction, TransactionType
from agent.ports import Outgoing
from agent.store.outbox_view import from_ms
from agent.store.redemption_rows import spent_of
from agent.store.said import Said


def person_group(hash_key: bytes, key: IntegrationKey | None, readings: Sequence[Identifier]) -> bytes | None:
    """What deliveries that must not overtake each other have in common; None when they name nobody."""
    named = key.identifier if key else readings[0] if readings else None
    if named is None:
        return None
    text = f"{named.type}:{named.value}".encode()
    return blake2b(text, key=hash_key, person=b"person", digest_size=8).digest()


def said(
    content: bytes, kind: str | None, key_type: str | None
) -> tuple[IntegrationKey | None, tuple[Identifier, ...]]:
    """A kept sale's key, given what its row says of it, and its readings. Raises ValueError when it cannot be read."""
    told = Said.parse(bytes(content).decode())
    return key_of(kind, key_type, told.key), tuple(told.readings)


def key_of(kind: str | None, key_type: str | None, value: str | None) -> IntegrationKey | None:
    """A key of three columns; None where one is empty."""
    if kind is None or key_type is None or value is None:
        return None
    return IntegrationKey.model_validate({"kind": kind, "type": key_type, "value": value})


def outgoing_of(row: Any) -> Outgoing:
    """A leased delivery, as `sql.LEASED` gives it. Raises ValueError, KeyError, TypeError where it cannot be read."""
    (entry, attempts, maybe_received, is_open, person, accepted_at, clock_off, *row) = row
    (reference, recorded, progress, points, whose, *of_sale) = row
    key, readings, record, borrowed = _record(*of_sale[:5])
    original_key, original = None, None
    if of_sale[-1] is not None:
        original_key, _, original, _ = _record(*of_sale[5:])
    if isinstance(original, Activity):
        raise TypeError("a sale is about a sale")
    its_own = key is not None and key.kind == "primary" and not borrowed
    follows = record.type is TransactionType.RETURN and not is_open and not its_own
    if original_key is not None and (record.type is TransactionType.VOID or follows):
        key = original_key  # the tag it was sent under, which may have risen since this one was taken
    return Outgoing(
        entry=entry,
        attempts=attempts - 1,
        maybe_received=bool(maybe_received),
        key=key,
        open=bool(is_open),
        readings=readings,
        record=record,
        original=original,
        person=person,
        accepted_at=from_ms(accepted_at),
        clock_off=timedelta(milliseconds=clock_off),
        reference=reference,
        progress=progress,
        cut_off=attempts - 1 > recorded,
        spent=spent_of(points, whose),
    )


def _record(
    kind: str | None, key_type: str | None, content: bytes | None, body: str | None, occurred_at: str
) -> tuple[IntegrationKey | None, tuple[Identifier, ...], Transaction | Activity, bool]:
    """A record's key, readings and statement, as the till made it or as the purge left it; if the key is borrowed."""
    if content is None:
        return None, (), record_of(body or "", occurred_at), False
    said = Said.parse(bytes(content).decode())
    return key_of(kind, key_type, said.key), tuple(said.readings), record_of(said.body, occurred_at), said.borrowed
