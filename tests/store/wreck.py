"""A busy outbox to wreck, and what of it must be readable afterwards, by where each row lies."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agent.domain.benefits import BenefitKind
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.redemption import RedemptionState
from agent.domain.retention import RetentionPlan
from agent.domain.transaction import IntegrationKey
from agent.errors import ConflictError
from agent.ports import RedemptionWish, Settled
from agent.store import log_frames
from agent.store.database import DatabaseFile, truncate_log
from agent.store.pagekey import PAGE_BYTES
from agent.store.pages import Pages
from agent.store.records import Kind, Tree
from agent.store.redemptions import Redemptions
from tests.fakes import NAMES, NOW, STORAGE_KEY, VENDOR, acceptance, member_key, open_outbox, phone, phone_key

PARTS = ("", "-wal", "-shm")
TABLES = {
    "sales": "SELECT id, * FROM sales",
    "statements": "SELECT id, * FROM statements",
    "deliveries": "SELECT entry, * FROM deliveries",
    "attempts": "SELECT rowid, * FROM attempts",
    "events": "SELECT rowid, * FROM events",
    "redemptions": "SELECT id, * FROM redemptions",
}
DONE = Verdict(VerdictKind.DONE, status=202)
VERDICTS = (
    DONE,
    DONE,
    Verdict(VerdictKind.RETRY, "vendor.offline", reached=False),
    Verdict(VerdictKind.PARK, "vendor.rejected", 422, "refused"),
    Verdict(VerdictKind.IN_DOUBT, "vendor.silent", reached=False),
)
LINE = {"kind": "purchase", "sku": "SK-77", "quantity": "1", "gross_paid": "1.00"}


@dataclass(frozen=True)
class Wreck:
    """An outbox as its owner left it when it was killed, and everything it held.

    Attributes:
        folder: its file `outbox.db`, its log and the log's index.
        key: what it is encrypted with.
        rows: by table and row number.
        places: the pages that a row needs, by table and row number: those in the file, and of the log its frames.
        owners: the names of the trees that pages belong to.
    """

    folder: Path
    key: bytes | None
    rows: dict[str, dict[int, tuple[Any, ...]]]
    places: dict[str, dict[int, frozenset[Place]]]
    owners: dict[int, str] = field(default_factory=dict)

    def copy(self, target: Path) -> DatabaseFile:
        """The same outbox elsewhere, to be damaged."""
        target.mkdir()
        for part in PARTS:
            if (source := self.folder / f"outbox.db{part}").exists():
                shutil.copy(source, target / source.name)
        return DatabaseFile(target / "outbox.db", self.key, "FULL")

    def readable(self, damaged: set[Place]) -> dict[str, set[int]]:
        """The rows of each table none of whose pages is damaged."""
        return {
            table: {number for number, needs in places.items() if not needs & damaged}
            for table, places in self.places.items()
        }

    def pages_of(self, tree: str) -> list[int]:
        """The pages of a table or an index."""
        return [page for page, owner in self.owners.items() if owner == tree]


@dataclass(frozen=True, order=True)
class Place:
    """A page in the file (frame 0), or in a frame of the log, from 1."""

    page: int
    frame: int = 0


async def fill(path: Path, key: bytes | None, *, sales: int, seed: int) -> None:
    """Some weeks at a till: sales of every kind, in every state, a part of them erased; the log is left as it is."""
    chance = random.Random(seed)
    with open_outbox(path, key=key) as outbox:
        redemptions = Redemptions(outbox._writer, outbox._reader, key=STORAGE_KEY, names=NAMES)
        for number in range(sales):
            now = NOW + timedelta(minutes=number)
            with contextlib.suppress(ConflictError):  # voided twice
                await outbox.accept(_record(number, chance), now)
            if chance.random() < 0.6:
                batch = await outbox.lease(VENDOR, 3, now)
                await outbox.settle([Settled(one.entry, chance.choice(VERDICTS), now) for one in batch], now)
            if number % 8 == 0:
                await _redeem(redemptions, number, now)
            if number % 40 == 39:
                for delivery in outbox.queue(state="parked", vendor=None, limit=2, after=0):
                    await outbox.discard(delivery.entry, "the cashier says it was a mistake", now)
            if number == sales // 2:
                before = now - timedelta(minutes=sales // 4)
                never = NOW - timedelta(days=9)
                await outbox.purge(RetentionPlan(before, never, never, never), now)
            if number == sales * 3 // 4:
                await outbox._writer.run_alone(truncate_log)
        await outbox.lease(VENDOR, 5, NOW + timedelta(days=9))
        for part in PARTS:  # as a killed process leaves them: closing would move the log into the file
            shutil.copy(f"{path}{part}", f"{path}.left{part}")
    _put_back(path)


async def _redeem(redemptions: Redemptions, number: int, now: datetime) -> None:
    """A voucher is used up for a sale; what became of it is one thing after another."""
    wish = RedemptionWish(member_key(number), f"ref-{number}", BenefitKind.VOUCHER, f"v-{number}", f"sale-{number:05}")
    row = await redemptions.ask(wish, None, now)
    await redemptions.settle(row, list(RedemptionState)[number // 8 % len(RedemptionState)], now)


def _put_back(path: Path) -> None:
    for part in PARTS:
        Path(f"{path}.left{part}").replace(f"{path}{part}")


def _record(number: int, chance: random.Random) -> Any:
    name = f"sale-{number:05}"
    original = f"sale-{chance.randrange(number + 1):05}"
    person = phone(605 + chance.randrange(90))
    kind = chance.random()
    if kind < 0.05 and number:
        return acceptance(
            name, key=None, readings=(), type="void", original_transaction_id=original, lines=(), payments=(), total="0"
        )
    if kind < 0.1:
        return acceptance(name, key=None, readings=(), vendors=())
    if kind < 0.2:
        lines, total = [LINE] * 60, "60.00"  # more than a page
        return acceptance(name, lines=lines, total=total, payments=[{"type": "cash", "amount": total}])
    key: IntegrationKey | None = chance.choice((member_key(), phone_key(605), None))
    return acceptance(name, key=key, readings=(person,), open_=key is None or key.kind == "secondary")


def survey(folder: Path, key: bytes | None) -> Wreck:
    """What an outbox holds, by SQLite's own account, and where."""
    file = DatabaseFile(folder / "outbox.db", key, "FULL")
    with Pages(file, log_frames.read(file.path)) as pages:
        places, owners = _places(pages, *_roots(folder, key))
    reading = folder.with_name(f"{folder.name}-reading")
    connection = Wreck(folder, key, {}, {}).copy(reading).connect()
    rows = {name: {row[0]: row[1:] for row in connection.execute(select)} for name, select in TABLES.items()}
    connection.close()
    shutil.rmtree(reading)
    return Wreck(folder, key, rows, places, owners)


def _roots(folder: Path, key: bytes | None) -> tuple[dict[str, int], dict[str, int]]:
    reading = folder.with_name(f"{folder.name}-roots")
    connection = Wreck(folder, key, {}, {}).copy(reading).connect()
    found = connection.execute("SELECT type, name, rootpage FROM sqlite_schema WHERE rootpage > 0").fetchall()
    connection.close()
    shutil.rmtree(reading)
    tables = {name: root for kind, name, root in found if kind == "table"}
    return tables, {name: root for kind, name, root in found if kind == "index"}


def _places(
    pages: Pages, tables: dict[str, int], indexes: dict[str, int]
) -> tuple[dict[str, dict[int, frozenset[Place]]], dict[int, str]]:
    places: defaultdict[str, dict[int, frozenset[Place]]] = defaultdict(dict)
    owners: dict[int, str] = {}
    needed: set[Place] = set()

    def more(number: int) -> bytes:
        page = pages.read(number)
        assert page is not None
        needed.add(Place(number, page.written))
        owners[number] = "overflow"
        return page.content

    tree = Tree(pages.usable_bytes, more)
    for name, root in (tables | indexes | {"sqlite_schema": 1}).items():
        for number in _below(pages, tree, root):
            owners[number] = name
            page = pages.read(number)
            assert page is not None
            if name in TABLES and tree.kind(number, page.content) is Kind.TABLE_LEAF:
                here = Place(number, page.written)
                records = tree.records(number, page.content)
                while True:
                    needed.clear()
                    if (record := next(records, None)) is None:
                        break
                    assert record.rowid is not None
                    places[name][record.rowid] = frozenset(needed | {here})
    return dict(places), owners


def _below(pages: Pages, tree: Tree, root: int) -> Iterator[int]:
    yield root
    page = pages.read(root)
    assert page is not None
    if tree.kind(root, page.content) in (Kind.TABLE_INNER, Kind.INDEX_INNER):
        for child in tree.children(root, page.content):
            yield from _below(pages, tree, child)


def overwrite(file: DatabaseFile, place: Place, content: bytes) -> None:
    """Writes over a page where it lies."""
    path, offset = file.path, (place.page - 1) * PAGE_BYTES
    if place.frame:
        path = Path(f"{file.path}-wal")
        offset = log_frames.HEADER_BYTES + (place.frame - 1) * log_frames.FRAME_BYTES + log_frames.FRAME_HEADER_BYTES
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def noise(chance: random.Random) -> bytes:
    """A page of it."""
    return chance.randbytes(PAGE_BYTES)


def shorten(path: Path, size: int) -> None:
    """Cuts a file off."""
    os.truncate(path, size)
