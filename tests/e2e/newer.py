"""Runs the installed agent as its next version would: `python newer.py FILE STEP COMMAND ARGUMENTS`.

FILE is the database whose schema that version changes, `outbox` or `replica`; STEP how well: `good`, `refused` (by
SQLite, half-way) or `crashed` (by an error in its own code, half-way).
"""

from __future__ import annotations

import runpy
import sys

from agent.store.migrations import outbox
from agent.store.replica_schema import replica

TABLES = {"outbox": "deliveries", "replica": "contacts"}


def step(table, outcome):
    def of_tomorrow(db):
        db.execute("CREATE TABLE of_tomorrow (one INTEGER)")
        db.execute(f"ALTER TABLE {table} ADD COLUMN of_tomorrow INTEGER")
        if outcome != "good":
            db.execute(f"DELETE FROM {table}")
        if outcome == "refused":
            db.execute("INSERT INTO nowhere VALUES (1)")
        if outcome == "crashed":
            raise ValueError("of_tomorrow")

    return of_tomorrow


if __name__ == "__main__":
    name, outcome = sys.argv[1:3]
    {"outbox": outbox, "replica": replica}[name]()(step(TABLES[name], outcome))
    sys.argv = sys.argv[3:]
    runpy.run_path(sys.argv[0], run_name="__main__")
