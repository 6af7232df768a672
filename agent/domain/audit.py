"""The audit trail as lines: what may be recorded, how an entry is written, and what a run of them proves. Pure.

Each line of JSON names the SHA-256 of the line before it, so that an edit, a gap or a line put in between shows. That
the end was not cut off is shown by an anchor, an entry noted elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

START: Final = "0" * 64
"""What the first entry of all names as the one before it."""

Facts = Mapping[str, int | str]

EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "privacy.erased": (
        "receipt",
        "by",
        "contacts",
        "sales_waiting",
        "sales_finished",
        "activities",
        "redemptions",
        "enrolments",
        "notes",
        "kept_files",
        "file_rows",
        "requests",
    ),
    "privacy.exported": ("by", "contacts", "sales", "activities", "withheld"),
    "privacy.erased_by_feed": (
        *(
            "contacts",
            "sales_waiting",
            "sales_finished",
            "activities",
            "redemptions",
            "enrolments",
            "notes",
            "file_rows",
        ),
    ),
    "retention.purged": (
        *("delivered", "undelivered", "forgotten", "redemptions", "enrolments", "tombstones", "files", "kept_files"),
        "files_unfetched",
    ),
    "replica.rebuilt": ("contacts",),
    "replica.expired": (),
    "queue.retried": ("by", "entry", "transaction_id", "activity_id"),
    "queue.discarded": ("by", "entry", "transaction_id", "activity_id"),
    "contact.conflict": ("kept", "overwritten"),
    "token.added": ("name", "scope"),
    "token.rotated": ("name", "scope"),
    "token.revoked": ("name", "which"),
    "key.rotated": (),
    "audit.trimmed": ("through", "hash"),
    "audit.mended": ("bytes",),
    "audit.broken": ("fault", "at_seq"),
}
"""What is recorded, and the facts each entry may have: counts, and words. None of them is about a person."""

_WORD: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_NO_PART_OF_A_WORD: Final = re.compile(r"[^A-Za-z0-9_.:-]")


@dataclass(frozen=True, slots=True)
class Head:
    """One entry of the trail: its number, from 1, and the SHA-256 of its line in hex."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What reading the whole trail says.

    Attributes:
        entries: how many there are.
        first: the number of the first that is kept.
        head: the last, None in an empty trail.
        fault: None; ``altered`` (a line does not follow from the one before, or is not the anchor), ``cut`` (it ends
            before the anchor), or ``begun`` (its beginning is missing and was not trimmed).
        at_seq: the number of the entry at which it shows.
        incidents: faults that the agent found earlier and recorded.
    """

    entries: int = 0
    first: int | None = None
    head: Head | None = None
    fault: str | None = None
    at_seq: int | None = None
    incidents: int = 0

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.fault is None


def word(name: str) -> str:
    """A name as the trail may hold it: what is no part of a word becomes a dash; cut after 64 characters."""
    return _NO_PART_OF_A_WORD.sub("-", name)[:64] or "-"


def line_of(seq: int, now: datetime, event: str, facts: Facts, prev: str) -> bytes:
    """An entry's line, without its end.

    Raises:
        KeyError: there is no such event.
        ValueError: a fact does not belong there; it names the fact, not its value.
    """
    allowed = EVENTS[event]
    for name, value in facts.items():
        fits = _WORD.fullmatch(value) if isinstance(value, str) else isinstance(value, int)
        if name not in allowed or not fits:
            raise ValueError(f"{event}: {name} does not belong in the audit trail")
    document = {"seq": seq, "at": now.isoformat(), "event": event, **facts, "prev": prev}
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def head_of(line: bytes) -> Head:
    """The head that a line is; one that cannot be read still has a hash, and the next counts on from nothing."""
    entry = parse(line)
    return Head(entry["seq"] if entry else 0, _hash(line))


def parse(line: bytes) -> dict[str, Any] | None:
    """What a line says, or None when it is not what was written."""
    try:
        entry = json.loads(line)
        fits = isinstance(entry["seq"], int) and isinstance(entry["prev"], str) and isinstance(entry["event"], str)
        datetime.fromisoformat(entry["at"])
    except (ValueError, KeyError, TypeError):
        return None
    return entry if fits else None


def verify(lines: Sequence[bytes], anchor: Head | None) -> Verification:
    """Whether the lines are a trail, and the anchor is in it."""
    head, first, incidents, trimmed = Head(0, START), None, 0, None
    fault: tuple[str, int] | tuple[None, None] = (None, None)
    for line in lines:
        number, entry = head.seq + 1, parse(line)
        if first is None and entry is not None:
            first = number = entry["seq"]
            head = Head(number - 1, entry["prev"])
        head, before = Head(number, _hash(line)), head
        follows = entry is not None and (entry["seq"], entry["prev"]) == (number, before.hash)
        if fault[0] is None and not (follows and (anchor is None or number != anchor.seq or head == anchor)):
            fault = ("altered", number)
        if entry is not None:
            incidents += entry["event"] == "audit.broken"
            trimmed = entry if entry["event"] == "audit.trimmed" else trimmed
    if fault[0] is None and lines and not _begins_well(lines[0], trimmed):
        fault = ("begun", first or 1)
    if fault[0] is None and anchor is not None and anchor.seq > head.seq:
        fault = ("cut", head.seq + 1)
    return Verification(len(lines), first, head if lines else None, fault[0], fault[1], incidents)


def _begins_well(line: bytes, trimmed: Mapping[str, Any] | None) -> bool:
    """Whether the first line is the first of all, or the one after what was trimmed last."""
    entry = json.loads(line)
    place = (entry["seq"] - 1, entry["prev"])
    return place == ((trimmed.get("through"), trimmed.get("hash")) if trimmed else (0, START))


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
