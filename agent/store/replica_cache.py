"""The replica where the vendor lists nobody: those are kept who were asked for, each answer with its age.

What one question shows is not everybody: a member who is asked for by number shows a phone, and who else has that phone
is not known. So a key leads to somebody only once it was itself asked for (`vouched`), and a row keeps no other key
than these and the two that are the member's own. An answer takes the place of what was known: whoever had the key and
is not shown any more loses it, and goes if it was the key they are kept under. Nobody is buried: that a vendor does not
find somebody by a number says that the number leads nowhere, not that the person was erased there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import Identifier, IdentifierType
from agent.ports import AppliedCounts, Batch, Told
from agent.store.database import sqlite, storage_error, transaction
from agent.store.keyhash import KeyHash
from agent.store.replica_file import KEY_COLUMNS, ReplicaFile, instant
from agent.store.replica_rows import CONTACT_ID, KEYS, Followed, digest
from agent.store.replica_writer import FORGET_UNHELD, REMOVE, Merger

if TYPE_CHECKING:
    from sqlite3 import Connection

_VOUCH = (
    "INSERT INTO vouched (key, at, beside) VALUES (?1, ?2, ?3)"
    " ON CONFLICT (key) DO UPDATE SET at = ?2, beside = ?3 WHERE at <= ?2"
)
_VOUCHED = "SELECT at FROM vouched WHERE key = ?"
_LEADS = "SELECT 1 FROM vouched WHERE key = ? AND beside IS NULL"
_DOUBT = "DELETE FROM vouched WHERE key = ?"
_WITH = f"SELECT rowid, {', '.join(KEY_COLUMNS)} FROM contacts WHERE {{column}} = ?"  # noqa: S608 - names of ours
_CLEAR = "UPDATE contacts SET {column} = NULL WHERE rowid = ?"
_COUNT = "UPDATE state SET contacts = contacts - ?, erasures = erasures + ?"
_AGES = (
    "SELECT primary_key, contact_key FROM contacts JOIN vouched ON key = ifnull(contact_id, {primary})"
    " WHERE at < ? ORDER BY at LIMIT ?"
)
_EVERYBODY = -1
_EXPIRE = "DELETE FROM contacts WHERE ifnull(contact_id, {primary}) NOT IN (SELECT key FROM vouched WHERE at >= ?)"
_CLAMP = "UPDATE vouched SET at = ?1 WHERE at > ?1"
_FORGET = "DELETE FROM vouched WHERE at < ?"
_FORGET_LOST = f"{FORGET_UNHELD} AND key = ?"
_FORGET_BESIDE = f"{FORGET_UNHELD} AND beside IS NOT NULL"
_FINISH = "UPDATE state SET as_of = ?1, cursor = ifnull(?2, cursor)"
_BEGUN = "UPDATE state SET as_of = ifnull(as_of, ?)"


class SqliteContactCache:
    """The port `ContactCache` over the replica's file.

    Args:
        file: what is kept in it, and who is left out.
    """

    def __init__(self, file: ReplicaFile) -> None:
        self._file, self._hash = file, KeyHash(file.key).of_identifier
        self._primary = file.primary.value

    def remember(self, told: Sequence[Sequence[Told]], *, at: datetime) -> AppliedCounts:
        """Keeps answers, those to questions that were asked together side by side; what they contradict goes."""
        with self._transaction() as connection:
            keeping = _Keeping(self._file, self._hash, connection, at)
            for together in told:
                keeping.keep(together)
            connection.execute(_BEGUN, (instant(at),))
            return keeping.end()

    def plant(self, contacts: Iterable[ContactChange], *, as_of: datetime) -> AppliedCounts:
        """Keeps people of a list, all of whom it names, unless newer is known; nobody if iterating it raises."""
        with self._transaction() as connection:
            keeping = _Keeping(self._file, self._hash, connection, as_of)
            keeping.plant(contacts)
            return keeping.end()

    def planted(self) -> str | None:
        """Which list was planted last."""
        with self._transaction() as connection:
            row: tuple[str | None] = connection.execute("SELECT cursor FROM state").fetchone()
            return row[0]

    def finish(self, *, as_of: datetime, planted: str | None = None) -> None:
        """Records that all is as fresh as it is meant to be, and which list was planted."""
        with self._transaction() as connection:
            connection.execute(_FINISH, (instant(as_of), planted))

    def outdated(self, before: datetime, limit: int | None) -> tuple[Identifier, ...]:
        """Of whom nothing was heard since, the longest ago first, by the keys they are kept under."""
        with self._transaction() as connection:
            most = _EVERYBODY if limit is None else limit
            rows = connection.execute(_AGES.format(primary=self._primary), (instant(before), most)).fetchall()
        return tuple(
            Identifier(self._file.primary, primary_key)
            if primary_key is not None
            else Identifier(IdentifierType.CONTACT_ID, contact_key or "")
            for primary_key, contact_key in rows
        )

    def outdated_among(self, keys: Sequence[Identifier], before: datetime) -> tuple[Identifier, ...]:
        """Those of the keys that were asked for, and not since."""
        with self._transaction() as connection:
            ages = [(key, connection.execute(_VOUCHED, (self._hash(key),)).fetchone()) for key in keys]
        return tuple(key for key, row in ages if row is not None and row[0] < instant(before))

    def clamp(self, latest: datetime) -> None:
        """Of nobody anything was heard after an instant."""
        with self._transaction() as connection:
            connection.execute(_CLAMP, (instant(latest),))

    def expire(self, before: datetime) -> int:
        """Takes out of whom nothing was heard since; how many."""
        with self._transaction() as connection:
            gone = connection.execute(_EXPIRE.format(primary=self._primary), (instant(before),)).rowcount
            forgotten = connection.execute(_FORGET, (instant(before),)).rowcount
            if gone or forgotten:
                connection.execute(FORGET_UNHELD)
                connection.execute(_COUNT, (gone, gone + forgotten))
            return int(gone)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        connection = self._file.database.connect()
        try:
            with transaction(connection):
                yield connection
        except sqlite.Error as error:
            raise storage_error(error) from error
        finally:
            connection.close()


class _Merger(Merger):
    """Also tells which keys rows have lost, each with its column: to look at all that are known takes long."""

    def __init__(self, connection: Connection, primary: IdentifierType) -> None:
        super().__init__(connection, primary)
        self.lost: set[tuple[int, bytes]] = set()

    def loses(self, old: Sequence[Any], new: Sequence[Any] = (None,) * KEYS) -> None:
        """Notes which keys of a row go."""
        pairs = enumerate(zip(old[:KEYS], new[:KEYS], strict=True))
        self.lost |= {(column, bytes(key)) for column, (key, left) in pairs if key is not None and key != left}

    def _update(self, number: int, old: Sequence[Any], new: Sequence[Any]) -> None:
        self.loses(old, new)
        super()._update(number, old, new)


class _Keeping:
    """The answers of one instant, on their way into the rows, inside the caller's transaction."""

    def __init__(
        self, file: ReplicaFile, hash_of: Callable[[Identifier], bytes], connection: Connection, at: datetime
    ) -> None:
        self._file, self._hash, self._connection, self._at = file, hash_of, connection, at
        self._own = (IdentifierType.CONTACT_ID, file.primary)
        self._primary = KEY_COLUMNS.index(file.primary.value)
        self._merger = _Merger(connection, file.primary)
        self._refused: frozenset[bytes] = frozenset()
        self._removed: frozenset[bytes] = frozenset()
        self._named: dict[bytes, bytes] = {}
        self._followed = Followed()
        self._rows = 0

    def keep(self, together: Sequence[Told]) -> None:
        """Keeps answers to questions that were asked together: what one value can be."""
        shown: set[bytes] = set()
        for told in together:
            shown |= self._answer(told)
        if len(shown) == 1:
            for told in together:
                if not told.contacts:
                    self._vouch(self._hash(told.question), beside=next(iter(shown)))

    def plant(self, contacts: Iterable[ContactChange]) -> None:
        """Keeps people of a list that names all of its own; what is known since is not touched."""
        for change in contacts:
            keys = self._keys(change)
            if any(self._since(keys[kind]) for kind in self._own if kind in keys):
                continue
            known = {kind for kind in keys if kind in self._own or not self._since(keys[kind])}
            self._apply(self._digest([_with_keys(change, known)]), [keys[kind] for kind in keys if kind in known])

    def end(self) -> AppliedCounts:
        """Counts what was done, and drops what is known of keys that lead to nobody any more."""
        merger = self._merger
        self._connection.executemany(_FORGET_LOST, [(key,) for _column, key in merger.lost])
        if any(column in (CONTACT_ID, self._primary) for column, _key in merger.lost):
            self._connection.execute(_FORGET_BESIDE)
        merger.record()
        return AppliedCounts(
            rows=self._rows,
            inserted=merger.inserted,
            updated=merger.updated,
            unchanged=merger.unchanged,
            deleted=merger.deleted,
            refused=self._refused,
            removed=self._removed,
            named=self._named,
        )

    def _answer(self, told: Told) -> set[bytes]:
        """Keeps one answer; whom it shows, by their marks. Nobody, if it shows somebody who may not be kept."""
        question, key = told.question, self._hash(told.question)
        whole = len(self._digest(told.contacts).rows) == len(told.contacts)
        if not told.contacts and question.type in self._own:  # ends the refusal of somebody who was erased here
            self._digest([ContactChange(ChangeKind.DELETE, {question.type: question.value})])
        shown: set[bytes] = set()
        if whole:
            kept = [_with_keys(change, self._asked_for(change, question)) for change in told.contacts]
            shown = self._apply(self._digest(kept), [key] if kept else [])
        else:  # the one who is left out has this key as well: it leads to nobody here
            self._connection.execute(_DOUBT, (key,))
        self._take_from_others(question.type, key, shown)
        return shown

    def _digest(self, changes: Sequence[ContactChange]) -> Batch:
        batch = self._followed.through(digest(changes, self._file))
        self._refused |= batch.refused
        self._removed |= batch.removed
        self._named |= batch.named
        return batch

    def _apply(self, batch: Batch, keys: Iterable[bytes]) -> set[bytes]:
        """Merges rows and vouches for their own keys and others; whom they are about, by their marks."""
        self._merger.apply(batch.rows, at=self._at)
        self._rows += len(batch.rows)
        marks: set[bytes] = set()
        for row in batch.rows:
            own = [bytes(key) for column in (CONTACT_ID, self._primary) if (key := row.key(column)) is not None]
            marks.add(own[0])
            for key in own:
                self._vouch(key)
        for key in keys if batch.rows else ():
            self._vouch(key)
        return marks

    def _take_from_others(self, kind: IdentifierType, key: bytes, shown: set[bytes]) -> None:
        """Takes a key from whoever has it and is not shown with it; who is kept under it goes."""
        for number, *keys in self._connection.execute(_WITH.format(column=kind.value), (key,)).fetchall():
            if (keys[CONTACT_ID] or keys[self._primary]) in shown:
                continue
            if kind in self._own:
                self._connection.execute(REMOVE, (number,))
                self._merger.loses(keys)
                self._merger.deleted += 1
            else:
                self._connection.execute(_CLEAR.format(column=kind.value), (number,))
                self._merger.lost.add((KEY_COLUMNS.index(kind.value), key))
            self._merger.erasures += 1

    def _asked_for(self, change: ContactChange, question: Identifier) -> set[IdentifierType]:
        """The keys of somebody by which they may be found: their own, and what was asked for."""
        wanted = {*self._own, question.type}
        return wanted | {kind for kind, key in self._keys(change).items() if self._leads(key)}

    def _keys(self, change: ContactChange) -> dict[IdentifierType, bytes]:
        said = change.identifiers.items()
        return {kind: self._hash(Identifier(kind, value)) for kind, value in said if value is not None}

    def _leads(self, key: bytes) -> bool:
        return self._connection.execute(_LEADS, (key,)).fetchone() is not None

    def _since(self, key: bytes) -> bool:
        """Whether something newer than this is known of a key."""
        row = self._connection.execute(_VOUCHED, (key,)).fetchone()
        return row is not None and row[0] > instant(self._at)

    def _vouch(self, key: bytes, *, beside: bytes | None = None) -> None:
        self._connection.execute(_VOUCH, (key, instant(self._at), beside))


def _with_keys(change: ContactChange, wanted: set[IdentifierType]) -> ContactChange:
    """The whole contact, found by these keys alone."""
    return replace(change, identifiers={kind: value for kind, value in change.identifiers.items() if kind in wanted})
