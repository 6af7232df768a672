"""docs/gdpr.md has a row for every column of every table, and for every file of the state directory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.domain.identifiers import IdentifierType
from agent.store.audit import AuditTrail
from agent.store.database import DatabaseFile, migrate
from agent.store.migrations import outbox as outbox_migrations
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile
from agent.tokens import Tokens
from tests.fakes import NOW, STORAGE_KEY, FakeClock

PAGE = (Path(__file__).parents[1] / "docs/gdpr.md").read_text(encoding="utf-8")
CELLS = 6


def rows(heading):
    """The cells of each row of the table under a heading."""
    section = PAGE.split(f"### {heading}\n")[1].split("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def documented(heading):
    """Each table with the columns that its rows name."""
    found: dict[str, list[str]] = {}
    for table, columns, *_ in rows(heading):
        if table:
            found.setdefault(table.strip("`"), []).extend(re.findall(r"`(\w+)`", columns))
    return found


def schema(connection):
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in tables}
    connection.close()
    return {table: sorted(columns) for table, columns in found.items() if not table.startswith("sqlite_")}


def outbox_schema(directory):
    connection = DatabaseFile(directory / "outbox.db", None, "FULL").connect()
    migrate(connection, outbox_migrations)
    return schema(connection)


def replica_schema(directory):
    """Of a replica that is being built, which has tables of its own."""
    file = ReplicaFile(
        DatabaseFile(directory / "replica.db", None, "NORMAL"), STORAGE_KEY, IdentifierType.MEMBER_NUMBER
    )
    with SqliteReplicaStore(file).open_loader(rebuild=True):
        return schema(file.side.connect())


@pytest.mark.parametrize(
    ("heading", "of"), [("outbox.db", outbox_schema), ("replica.db", replica_schema)], ids=["outbox", "replica"]
)
def test_every_column_has_its_row(heading, of, tmp_path):
    """The tables of the page are those of the schema, column by column, none twice and none made up."""
    assert {table: sorted(columns) for table, columns in documented(heading).items()} == of(tmp_path)


@pytest.mark.parametrize("heading", ["outbox.db", "replica.db"])
def test_every_row_says_everything(heading):
    """What it is for, whether it is personal, how long it stays and how it goes: no cell is empty."""
    for row in rows(heading):
        assert len(row) == CELLS, row
        assert all(row[2:]), row
        assert re.match(r"yes|no\b|keyed hash", row[3]), row


def test_every_file_has_its_row(tmp_path):
    """Whatever the rooms of the agent put into the state directory is on the page."""
    documented_files = {name for cells in rows("Files") for name in re.findall(r"`([\w./-]+)`", cells[0])}
    outbox_schema(tmp_path)
    replica_schema(tmp_path)
    tokens = Tokens(tmp_path, FakeClock())
    tokens.add("pos-1", "pos")
    tokens.make_own()
    AuditTrail(tmp_path).append("token.added", NOW, {"name": "pos-1"})
    made = {path.name + "/" * path.is_dir() for path in tmp_path.iterdir()}

    assert made - documented_files == set()
    assert {"agent.lock", "storage.key", "spool/", "audit.jsonl"} <= documented_files
