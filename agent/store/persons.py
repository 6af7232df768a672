"""Everything the outbox holds on one person: found, exported, erased.

No index leads from a person to their sales: it would be one more thing to erase, and would cost every sale. So whoever
looks for a person reads what is remembered of every sale, a slice at a time so that no sale waits for it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.domain.activity import activity_id_of, is_own
from agent.domain.belonging import Trace, Wanted
from agent.ports import ErasedSales
from agent.store import outbox_sql as sql
from agent.store import statements
from agent.store.database import Reader, truncate_log
from agent.store.group_commit import Writer
from agent.store.keyhash import KeyHash
from agent.store.outbox import Outbox
from agent.store.outbox_end import ERASE_SLICE, erase
from agent.store.outbox_view import from_ms, read
from agent.store.said import Said

if TYPE_CHECKING:
    from sqlite3 import Connection

_NOBODY = "[]"
_OF_A_SALE = ("transaction_id", "till", "number", "original_transaction_id", "about_it")
READ_SLICE = 200
"""Sales looked through at a time: some 4 ms, for which a sale may have to wait."""


class PersonalSales:
    """The sales of one person.

    Args:
        outbox: where they are.
        writer: the outbox's one writer.
        reader: a connection for point reads, used on the event loop's thread.
        names: hashes what names people, as the replica does.
        guests: vendors that take sales without a member.
    """

    def __init__(
        self, outbox: Outbox, writer: Writer, reader: Reader, *, names: KeyHash, guests: Collection[str]
    ) -> None:
        self._outbox, self._writer, self._reader = outbox, writer, reader
        self._hash, self._guests = names.of, json.dumps(list(guests))

    async def traces(self, wanted: Wanted) -> list[Trace]:
        """What the sales whose person is remembered say of whose they are: theirs by a key or a handle, or nobody's.

        Raises:
            StorageError: the file cannot be read.
        """
        found: list[Trace] = []
        place: tuple[Any, ...] = (-1, -1, "", -1)
        while rows := await self._writer.run(partial(_fetch, statement=sql.REMEMBERED, values=(*place, READ_SLICE))):
            found += (trace for trace in (self._trace(row, wanted) for row in rows) if trace is not None)
            place = rows[-1][:4]
        return found

    def _trace(self, row: Sequence[Any], wanted: Wanted) -> Trace | None:
        accepted_at, *_, sale, transaction_id, original, key_type, content = row
        try:
            said = Said.parse(bytes(content).decode()) if content is not None else Said(None, (), "")
        except ValueError:  # it names nobody any more who could be looked for; it goes when its time is up
            return None
        keyed = wanted.by_key(said.keys(key_type, self._hash), from_ms(accepted_at))
        if not keyed and said.ref not in wanted.refs and not said.names_nobody:
            return None
        return Trace(sale, transaction_id, original, said.ref, keyed, said.names_nobody)

    async def erase(self, sales: Collection[int], now: datetime) -> ErasedSales:
        """Erases the person of these sales and activities without a trace; each stays, untagged if it still waited.

        What tells further systems of an erasure is left alone: it goes by itself once they have been told.

        Raises:
            StorageError: not all of it could be erased; asked again it goes on.
        """
        erased = ErasedSales()
        for slice_ in _slices(sorted(sales), ERASE_SLICE):
            for one in await self._writer.run(partial(self._erase, sales=slice_, now=now)):
                erased += one
        while await self._writer.run(statements.drop_forgotten):
            pass
        await self._writer.run_alone(truncate_log)
        return erased

    def _erase(self, db: Connection, sales: Sequence[int], now: datetime) -> list[ErasedSales]:
        done = []
        for row in db.execute(sql.TO_ERASE, (json.dumps(sales),)).fetchall():
            if is_own(row[-1]):  # it tells a further system that they are to be erased there
                continue
            waits = bool(db.execute(sql.WAITS, row[:1]).fetchone()[0])
            is_activity = activity_id_of(row[-1]) is not None
            notes = erase(db, row, now)
            if waits:
                db.execute(sql.UNTAG, row[:1])
                db.execute(sql.UNTAG_DELIVERIES, row[:1])
                db.execute(sql.CANCEL_UNTAGGED, (row[0], _NOBODY if is_activity else self._guests))
            done.append(
                ErasedSales(activities=1, notes=notes)
                if is_activity
                else ErasedSales(waiting=int(waits), finished=int(not waits), notes=notes)
            )
        return done

    def export(self, sales: Collection[int]) -> list[dict[str, Any]]:
        """Everything that is held of these sales and activities, as documents of texts and numbers.

        Raises:
            StorageError: the file cannot be read.
        """
        rows = read(self._reader, sql.REMEMBERED_OF, json.dumps(sorted(sales)))
        return [self._document(row) for row in rows]

    def _document(self, row: Sequence[Any]) -> dict[str, Any]:
        *_, sale, transaction_id, _, key_type, content = row
        story = asdict(self._outbox.story(transaction_id))
        said = Said.parse(bytes(content).decode()) if content is not None else Said(None, (), "{}")
        key = {"kind": story.pop("key_kind"), "type": story.pop("key_type"), "value": said.key} if key_type else None
        answered = {name: story.pop(f"answered_{name}") for name in ("kind", "type")}
        if (activity_id := activity_id_of(transaction_id)) is not None:
            story = {"activity_id": activity_id, **{name: story[name] for name in story if name not in _OF_A_SALE}}
        return {
            **story,
            "integration_key": key,
            "answered_key": answered if answered["kind"] else None,
            "member": said.ref,
            "identifiers": [{"type": item.type.value, "value": item.value} for item in said.readings],
            "notes": [bytes(note).decode().rstrip() for (note,) in read(self._reader, sql.NOTES_OF, sale)],
            "statement": json.loads(said.body),
        }


def _fetch(db: Connection, statement: str, values: Sequence[Any]) -> list[Any]:
    return db.execute(statement, values).fetchall()


def _slices(items: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
