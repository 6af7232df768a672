"""Figures, ages and tables for people at a terminal. JSON is for programs and does not pass through here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import click

from agent.cli.invocation import Invocation

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_KIB = 1024


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under headers, in columns; None shows as a dash."""
    cells = [tuple(headers), *(tuple("-" if cell is None else str(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def age(seconds: float | None) -> str:
    """Seconds in the two largest units, such as ``2 h 5 min``; a dash for None."""
    if seconds is None:
        return "-"
    left, parts = max(0, int(seconds)), []
    for step, unit in _STEPS:
        count, left = divmod(left, step)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def instant(text: str | None) -> str:
    """An instant of the door in the store's time with its offset, to the second; a dash for None.

    A till's machine need not know where it stands: its clock may well be kept in UTC.
    """
    if text is None:
        return "-"
    context = click.get_current_context(silent=True)
    invocation = context.find_object(Invocation) if context is not None else None
    zone = invocation.zone if invocation is not None else None
    return datetime.fromisoformat(text).astimezone(zone).isoformat(sep=" ", timespec="seconds")


def number(count: int) -> str:
    """A count with its thousands apart."""
    return f"{count:,}"


def progress(loading: Mapping[str, int]) -> str:
    """How far a load is: of files as a listing showed them, or in pages, of which nobody knows how many there are."""
    if loading["files"]:
        return f"{loading['applied']} of {loading['files']} files, {number(loading['rows'])} rows"
    return f"{loading['applied']} pages, {number(loading['rows'])} rows" if loading["applied"] else "asking what is new"


def size(count: int) -> str:
    """Bytes in a unit that leaves few digits."""
    if count < _KIB:
        return f"{count} B"
    scaled, unit = count / _KIB, "KiB"
    for larger in ("MiB", "GiB"):
        if scaled < _KIB:
            break
        scaled, unit = scaled / _KIB, larger
    return f"{scaled:.1f} {unit}"
