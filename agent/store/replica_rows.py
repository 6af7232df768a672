"""A change as the replica applies it, and the rules by which it is merged into a row. Pure: no SQL is run here.

* A contact is found by its contact id; a row that has none yet, by the primary key. An upsert that names neither
  cannot be told apart from another person and is left out (and counted).
* Absent means unchanged, None means cleared, and after a full row absent means cleared too. The contact id is never
  cleared: it is who the row is. A withheld field stays withheld until a row lifts that, or is full.
* A key that moved to another contact stands in both rows until the first is changed: that is for the till to call
  ambiguous, not for us to guess.

Changes cross processes and the SQLite binding by the million, so their layout is made for that: all hashes of a row
in one bytearray, no None. Both the standard library's binding and SQLCipher's look for an adapter for every `bytes`
and every None they are given, which costs more than the insert; they do not for `bytearray` and `str`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from agent.domain.contact import WITHHELD, ChangeKind, ContactChange
from agent.domain.identifiers import IdentifierType
from agent.ports import Batch
from agent.store.keyhash import HASH_BYTES, KeyHash
from agent.store.replica_file import KEY_COLUMNS, ReplicaFile

KEYS = len(KEY_COLUMNS)
CONTACT_ID = 0
PRIMARY_KEY, CONTACT_KEY, FIELDS = range(KEYS, KEYS + 3)
"""Places in a stored row, which is in the order of `COLUMNS`."""

DELETE, FULL, CLEARED = 1, 2, 4
LIFTED = CLEARED << KEYS
"""Bits of a mark; ``CLEARED << n`` says that key column ``n`` is cleared."""

NOTHING = bytes(HASH_BYTES)


class Row(NamedTuple):
    """A change: the key hashes side by side (`NOTHING` where there is none), texts (empty where none), its mark."""

    keys: bytearray
    primary_key: str
    contact_key: str
    fields: str
    mark: int

    def key(self, column: int) -> bytearray | None:
        """The hash of one key column."""
        key = self.keys[column * HASH_BYTES : (column + 1) * HASH_BYTES]
        return key if key != NOTHING else None


def pack(stored: Sequence[Any], mark: int) -> Row:
    """A stored row as the change that would make it."""
    keys = bytearray().join(key or NOTHING for key in stored[:KEYS])
    primary_key, contact_key, fields = (text or "" for text in stored[KEYS:])
    return Row(keys, primary_key, contact_key, fields, mark)


def digest(changes: Iterable[ContactChange], file: ReplicaFile) -> Batch:
    """The changes as rows of hashes, in order, with everything and everybody dropped that the replica does not keep.

    Whoever was erased here stays out, however often they are sent; the row that removes them is kept.
    """
    hash_of = KeyHash(file.key).of
    starts = {kind: column * HASH_BYTES for column, kind in enumerate(IdentifierType)}
    primary, kept = file.primary, file.kept_fields
    erased = _Erased(file)
    rows: list[Row] = []
    unidentified = 0
    for change in changes:
        keys = bytearray(KEYS * HASH_BYTES)
        mark = (FULL if change.full_row else 0) | (LIFTED if change.lifted else 0)
        identifiers = change.identifiers
        for kind, value in identifiers.items():
            start = starts[kind]
            if value is not None:
                keys[start : start + HASH_BYTES] = hash_of(kind, value)
            elif start:
                mark |= CLEARED << start // HASH_BYTES
        if file.refusals and erased.refuses(change.kind, keys):
            continue
        if change.kind is ChangeKind.DELETE:
            rows.append(Row(keys, "", "", "", mark | DELETE))
            continue
        primary_key = identifiers.get(primary) or ""
        contact_key = identifiers.get(IdentifierType.CONTACT_ID) or ""
        if not primary_key and not contact_key:
            unidentified += 1
            continue
        fields = ""
        if kept and (wanted := {name: value for name, value in change.fields.items() if name in kept}):
            fields = _json(wanted)
        rows.append(Row(keys, primary_key, "" if primary_key else contact_key, fields, mark))
    return Batch(rows, unidentified, erased.those(gone=False), erased.those(gone=True), erased.named)


class _Erased:
    """Those of a batch who were erased here, and what its last row about each says."""

    def __init__(self, file: ReplicaFile) -> None:
        self._refusals = file.refusals
        self._primary = KEY_COLUMNS.index(file.primary.value)
        self._last: dict[bytes, ChangeKind] = {}
        self.named: dict[bytes, bytes] = {}
        """Primary keys by contact ids, where one of the two was not known."""

    def refuses(self, kind: ChangeKind, keys: bytearray) -> bool:
        """Whether a row is left out."""
        contact, primary = self._key(keys, CONTACT_ID), self._key(keys, self._primary)
        mark = self._refusals.mark_of(contact, primary)
        if mark is None and contact is not None:
            mark = self.named.get(contact)
        if mark is None:
            return False
        if contact is not None and primary is not None and self._refusals.is_news(contact, primary):
            self.named[contact] = primary
        self._last[mark] = kind
        return kind is not ChangeKind.DELETE

    def those(self, *, gone: bool) -> frozenset[bytes]:
        """The marks of those whom the batch removes, or leaves in."""
        return frozenset(mark for mark, kind in self._last.items() if (kind is ChangeKind.DELETE) is gone)

    def _key(self, keys: bytearray, column: int) -> bytes | None:
        key = bytes(keys[column * HASH_BYTES : (column + 1) * HASH_BYTES])
        return key if key != NOTHING else None


class Followed:
    """Who is refused by the primary key alone, by the contact ids that earlier batches of a feed named them by.

    A removal may name the contact id alone; what is refused by that is known to the batch itself.
    """

    def __init__(self) -> None:
        self._marks: dict[bytes, bytes] = {}

    def through(self, batch: Batch) -> Batch:
        """The next batch, with whom its removals are about."""
        ours = batch.refused | batch.removed
        self._marks |= {contact: primary for contact, primary in batch.named.items() if primary in ours}
        if not self._marks:
            return batch
        deleted = {bytes(row.key(CONTACT_ID) or b"") for row in batch.rows if row.mark & DELETE}
        gone = {mark for contact, mark in self._marks.items() if contact in deleted}
        return replace(batch, removed=batch.removed | gone - batch.refused)


def merge(old: Sequence[Any], change: Row, primary: int) -> list[Any]:
    """The row that an upsert makes of a stored one; ``primary`` is the column of the primary key's hash."""
    full = change.mark & FULL
    new: list[Any] = []
    for column in range(KEYS):
        key = change.key(column)
        cleared = change.mark & CLEARED << column or (full and column != CONTACT_ID)
        new.append(key if key is not None else None if cleared else old[column])
    new.append(None if new[primary] is None else change.primary_key or old[PRIMARY_KEY])
    # The clear contact id is needed, and kept, only in the absence of a primary key.
    new.append(None if new[PRIMARY_KEY] is not None else change.contact_key or old[CONTACT_KEY])
    lifted = bool(change.mark & LIFTED)
    if full or old[FIELDS] is None or not (change.fields or lifted):
        new.append(change.fields or (None if full else old[FIELDS]))
    else:
        new.append(_fields(old[FIELDS], change.fields, lifted=lifted))
    return new


def _fields(old: str, told: str, *, lifted: bool) -> str:
    known, news = json.loads(old), json.loads(told) if told else {}
    if lifted:
        known = {name: None if value is WITHHELD else value for name, value in known.items()}
    else:
        news = {name: value for name, value in news.items() if known.get(name) is not WITHHELD}
    return _json({**known, **news})


def _json(fields: Mapping[str, str | Literal[False] | None]) -> str:
    # Half a surrogate pair, which JSON can spell, is no text that SQLite can keep.
    return json.dumps(fields, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace").decode()
