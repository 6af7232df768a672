"""Every row that a damaged database's pages still give, put into a fresh one of the same schema.

A leaf page belongs to the table whose tree leads to it; where the way there is damaged, to the one table whose columns
its rows fit. Rows go in by ascending row number, so that nothing is moved afterwards and leaves a copy behind
(:mod:`agent.store.statements`); of several versions of one the last written wins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.store.pages import Page, Pages
from agent.store.records import Kind, Record, Tree, Value

if TYPE_CHECKING:
    from sqlite3 import Connection

_TYPES: dict[str, type | tuple[type, ...]] = {"INTEGER": int, "TEXT": str, "BLOB": bytes, "REAL": (int, float)}
_OURS = "name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name NOT LIKE '~_sqlite~_%' ESCAPE '~'"
TABLES = f"SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND {_OURS}"  # noqa: S608 - ours
COLUMNS = 'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(?) ORDER BY cid'
ROOTS = "SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0"
SCHEMA_ROOT = 1
_SCHEMA_COLUMNS = 5


@dataclass(slots=True)
class Salvage:
    """What came of it.

    Attributes:
        rows: how many were put into each table.
        stale: numbers of rows, by table, of which a later version may have been lost; of a table WITHOUT ROWID its
            root, when any row may be.
        broken: rows that stand on a readable page and cannot be read.
        pages: pages of which nothing could be read; 0 where no table had to be gone through page by page.
    """

    rows: dict[str, int] = field(default_factory=dict)
    stale: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    broken: int = 0
    pages: int = 0


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the fresh database, and what a row of it looks like.

    Attributes:
        columns: names, in the order in which a record has them.
        types: of their values.
        needed: whether a value may be missing.
        alias: the column that stands for the row's number and is not in the record; None if there is none.
        has_rowid: False for a table WITHOUT ROWID.
        known: what :meth:`fits` found of records by their values' types.
    """

    name: str
    columns: tuple[str, ...]
    types: tuple[Any, ...]
    needed: tuple[bool, ...]
    alias: int | None
    has_rowid: bool
    known: dict[tuple[type, ...], bool] = field(default_factory=dict)

    def fits(self, record: Record) -> bool:
        """Whether that can be a row of this table. One from before a column was added is shorter."""
        types = tuple(map(type, record.values))
        fitting = self.known.get(types)
        if fitting is None:
            fitting = self.known[types] = self._fits(types)
        return fitting and (record.rowid is not None) is self.has_rowid

    def _fits(self, types: tuple[type, ...]) -> bool:
        return (
            len(types) <= len(self.columns)
            and not any(self.needed[len(types) :])
            and all(
                not needed if found is type(None) else issubclass(found, allowed)
                for found, allowed, needed in zip(types, self.types, self.needed, strict=False)
            )
        )

    def insert(self, width: int) -> str:
        """The statement that puts in a record of so many values, behind its number where it has one."""
        names = [f'"{name}"' for name in self.columns[:width]]
        if self.has_rowid:
            names = ["rowid", *(name for place, name in enumerate(names) if place != self.alias)]
        return f'INSERT OR IGNORE INTO "{self.name}" ({", ".join(names)}) VALUES ({", ".join("?" * len(names))})'  # noqa: S608 - names of our schema

    def row(self, record: Record) -> tuple[Value, ...]:
        """The values for :meth:`insert`."""
        if not self.has_rowid:
            return record.values
        values = record.values
        return (record.rowid, *(values if self.alias is None else values[: self.alias] + values[self.alias + 1 :]))


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A page of a table's rows: the numbers of the first and the last, how late it was written, and where it is."""

    first: int
    last: int
    written: int
    page: int


class Salvager:
    """Fills the empty tables of a fresh database.

    Args:
        pages: of the damaged one.
        fresh: a connection to the other, its schema made; constraints hold, and triggers would fire.
    """

    def __init__(self, pages: Pages, fresh: Connection) -> None:
        self._pages, self._fresh = pages, fresh
        self._tree = Tree(pages.usable_bytes, self._content)
        self._tables = {table.name: table for table in _tables(fresh)}
        self._done = Salvage()
        self._owner: dict[int, str] = {}
        self._roots = dict(fresh.execute(ROOTS).fetchall()) | self._read_roots()
        for name, root in self._roots.items():
            self._follow(root, name)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that can be filled."""
        return tuple(self._tables)

    def run(self, tables: Collection[str]) -> Salvage:
        """Puts every row of these tables that can be read where it belongs."""
        if not tables:
            return self._done
        leaves = self._leaves()
        self._done.pages += self._pages.unreadable
        for name in tables:
            table = self._tables[name]
            inserted = self._rows(table, leaves[name]) if table.has_rowid else self._tree_rows(table)
            self._done.rows[name] = inserted
        return self._done

    def entries(self, index: str) -> Iterator[tuple[Value, ...]]:
        """What an index of the damaged file says, of rows that are gone too: its columns and the row's number."""
        for record in self._below(self._roots.get(index, 0)):
            yield record.values

    def _content(self, number: int) -> bytes | None:
        page = self._pages.read(number)
        return page.content if page is not None else None

    # --- whose is which page --------------------------------------------------------------------------------

    def _read_roots(self) -> dict[str, int]:
        """The roots of the damaged file's tables and indexes, as far as its schema can be read."""
        self._follow(SCHEMA_ROOT, "sqlite_schema")
        return {
            str(record.values[1]): record.values[3]
            for record in self._below(SCHEMA_ROOT)
            if len(record.values) == _SCHEMA_COLUMNS and isinstance(record.values[3], int) and record.values[3]
        }

    def _follow(self, root: int, name: str) -> None:
        """Writes down whose the pages of a tree are."""
        for number, _ in self._walk(root):
            self._owner.setdefault(number, name)

    def _walk(self, root: int) -> Iterator[tuple[int, Page | None]]:
        """Every page below a root, and itself; only inner ones and the root are read."""
        seen = {root}
        waiting = [(root, True)]
        while waiting:
            number, inner = waiting.pop()
            page = self._pages.read(number) if inner else None
            yield number, page
            if page is None:
                continue
            kind = self._tree.kind(number, page.content)
            if kind in (Kind.TABLE_INNER, Kind.INDEX_INNER):
                children = [child for child in self._tree.children(number, page.content) if child not in seen]
                seen.update(children)
                below = self._is_inner(children)
                waiting += [(child, below) for child in children]

    def _is_inner(self, children: list[int]) -> bool:
        """Whether a node's children are inner nodes themselves: all are, or none is."""
        for child in children:
            if (content := self._content(child)) is not None:
                return self._tree.kind(child, content) in (Kind.TABLE_INNER, Kind.INDEX_INNER)
        return False

    def _leaves(self) -> dict[str, list[_Leaf]]:
        """The leaves of each table, known from their place or from their rows."""
        found: defaultdict[str, list[_Leaf]] = defaultdict(list)
        for page in self._pages:
            kind = self._tree.kind(page.number, page.content)
            if kind is None and page.number in self._owner:
                self._done.pages += 1  # nothing signs it, but it is not what belongs there
            if kind is not Kind.TABLE_LEAF:
                continue
            table, span = self._table_of(page), self._tree.span(page.number, page.content)
            if table is not None and span is not None:
                found[table].append(_Leaf(*span, page.written, page.number))
        return found

    def _table_of(self, page: Page) -> str | None:
        """Whose rows a leaf holds: of whose tree it is, if its rows fit there, else of the one table that they fit."""
        owner = self._tables.get(self._owner.get(page.number, ""))
        for record in self._tree.records(page.number, page.content):
            if record is None:
                continue
            if owner is not None and owner.fits(record):
                return owner.name
            fitting = [table for table in self._tables.values() if table.fits(record)]
            exact = [table for table in fitting if len(table.columns) == len(record.values)]
            if len(exact or fitting) == 1:
                return (exact or fitting)[0].name
        return None

    # --- rows -----------------------------------------------------------------------------------------------

    def _rows(self, table: _Table, leaves: list[_Leaf]) -> int:
        inserted = 0
        for cluster in _clusters(leaves):
            best: dict[int, Record] = {}
            for leaf in sorted(cluster, key=lambda leaf: leaf.written):
                for record in self._of(leaf, table):
                    best[record.rowid or 0] = record
            inserted += self._put(table, [best[number] for number in sorted(best)])
        return inserted

    def _of(self, leaf: _Leaf, table: _Table) -> Iterator[Record]:
        page = self._pages.read(leaf.page)
        for record in self._tree.records(leaf.page, page.content) if page is not None else ():
            if record is None or record.rowid is None or not table.fits(record):
                self._done.broken += 1
                continue
            if page is not None and page.stale:
                self._done.stale[table.name].add(record.rowid)
            else:
                self._done.stale[table.name].discard(record.rowid)
            yield record

    def _tree_rows(self, table: _Table) -> int:
        """The rows of a table WITHOUT ROWID; any of them may be stale as soon as one page is."""
        root = self._roots[table.name]
        if any((page := self._pages.read(number)) is not None and page.stale for number, _ in self._walk(root)):
            self._done.stale[table.name].add(root)
        return self._put(table, [record for record in self._below(root) if table.fits(record)])

    def _below(self, root: int) -> Iterator[Record]:
        """Every record of a tree, of an index's inner nodes too."""
        for number, page in list(self._walk(root)):
            content = page.content if page is not None else self._content(number)
            if content is None:
                continue
            for record in self._tree.records(number, content):
                if record is not None:
                    yield record

    def _put(self, table: _Table, records: list[Record]) -> int:
        by_width: defaultdict[int, list[tuple[Value, ...]]] = defaultdict(list)
        for record in records:
            by_width[len(record.values)].append(table.row(record))
        return sum(self._fresh.executemany(table.insert(width), rows).rowcount for width, rows in by_width.items())


def _tables(fresh: Connection) -> Iterator[_Table]:
    for name, without_rowid in fresh.execute(TABLES).fetchall():
        columns = fresh.execute(COLUMNS, (name,)).fetchall()
        if without_rowid:  # a record begins with the key's columns
            columns = sorted(columns, key=lambda column: column[4] or len(columns))
        keys = [place for place, column in enumerate(columns) if column[4]]
        alias = keys[0] if not without_rowid and len(keys) == 1 and columns[keys[0]][1] == "INTEGER" else None
        yield _Table(
            name,
            tuple(column[0] for column in columns),
            tuple(_TYPES.get(column[1], object) for column in columns),
            tuple(bool(column[2]) and column[3] is None and place != alias for place, column in enumerate(columns)),
            alias,
            not without_rowid,
        )


def _clusters(leaves: list[_Leaf]) -> Iterator[list[_Leaf]]:
    """Leaves by ascending row number, those together whose numbers overlap: one is an older version of the other."""
    cluster: list[_Leaf] = []
    for leaf in sorted(leaves, key=lambda leaf: (leaf.first, leaf.last)):
        if cluster and leaf.first > max(other.last for other in cluster):
            yield cluster
            cluster = []
        cluster.append(leaf)
    if cluster:
        yield cluster
