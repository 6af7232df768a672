"""The simulated workspace's Imports module: files of events, fetched from a folder, a row an event.

A file has the columns `customer` and `action`, and every further one is an attribute; a row that is refused stops no
other (wiki). That files are fetched in the order of their names, rows processed in theirs, that an empty cell is no
attribute, and that a file is deleted once it is through (a choice of the module's) are this simulator's.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.connectors.antavo.simulator.refusal import Refused

_NEEDED = ("customer", "action")


@dataclass
class Report:
    """What came of an import, as the Management UI would tell it.

    Attributes:
        files: those that were fetched.
        rows: events that were processed.
        refused: file, line from 2, and the vendor's number, of each that was not.
        failed: files that are none of events; they stay.
    """

    files: list[str] = field(default_factory=list)
    rows: int = 0
    refused: list[tuple[str, int, int]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run_import(folder: Path, take: Callable[[Any], dict[str, Any]]) -> Report:
    """Fetches what lies in a folder and processes it. Raises OSError."""
    report = Report()
    for path in sorted(folder.glob("[!.]*.csv")):
        try:
            rows = _rows(path.read_bytes())
        except ValueError:
            report.failed.append(path.name)
            continue
        report.files.append(path.name)
        for line, row in enumerate(rows, 2):
            data = {name: value for name, value in row.items() if value and name not in _NEEDED}
            try:
                take({"customer": row["customer"], "action": row["action"], "data": data})
                report.rows += 1
            except Refused as refused:
                report.refused.append((path.name, line, refused.code))
        path.unlink()
    return report


def _rows(content: bytes) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise ValueError("is no CSV") from error
    if not set(_NEEDED) <= set(reader.fieldnames or ()) or any(None in row for row in rows):
        raise ValueError("is no file of events")
    return rows
