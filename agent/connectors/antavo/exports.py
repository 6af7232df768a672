"""Reads a list of everybody, as Antavo's Exports module writes customers: CSV or JSON, cut short or hostile perhaps.

Which columns an export has is chosen in the Management UI, and their names are Antavo's of a customer's fields: `id` or
`_id` there has to be. In CSV `membership_id` holds several numbers with something between them, or a list as JSON, and
a name with a dot (`external_ids.crm_id`, `properties.shoe_size`) stands for a value within. What stands between fields
is what the first line has most of. A JSON file is a list of customers, or an object that has it as `data` or
`customers`. All of this is inferred: the module's page names the models and the forms, and shows no file.

Nothing of a file is told before the whole of it has been read once. It is read in a process of its own.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, BinaryIO

from agent.connectors.antavo.customers import change_of
from agent.connectors.folders import FolderFile, listed
from agent.connectors.tables import read_rows
from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import Normaliser
from agent.errors import FeedUnreadableError, LoyaltyAgentError
from agent.ports import ExportFile
from agent.processes import Send, bound_memory

MAX_CSV_BYTES = 512 << 20
MAX_JSON_BYTES = 64 << 20
"""It is read as one piece, unlike CSV."""
MEMORY_BYTES = 1 << 30
"""Most memory that the process may take, whatever it is given to read."""
PAGE = 500
_WHAT = "the list of customers"
_IDENTIFYING = frozenset({"id", "_id"})
_MISSING = "neither id nor _id"
_WITHIN = frozenset({"external_ids", "properties"})
_HEAD_BYTES = 64 << 10
_BETWEEN = re.compile(r"[,;|\s]+")
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class ListReader:
    """Reads one list. Picklable.

    Args:
        normaliser: how this store reads identifiers.
        fields: what the replica keeps of a member.
        external_id_field: whose value is a member's external id.
        today: the store's date.
    """

    normaliser: Normaliser
    fields: Sequence[str]
    external_id_field: str
    today: date

    def change(self, row: Mapping[str, Any]) -> ContactChange | None:
        """The change that a row makes; None where it has no id, or one that nothing can carry."""
        customer = _customer(row)
        return change_of(
            customer, self.normaliser, self.fields, external_id_field=self.external_id_field, today=self.today
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """The whole file was told; so many rows had no id that could be used."""

    left_out: int


def tell(reader: ListReader, path: FolderFile, file: ExportFile, send: Send) -> None:
    """A file's members, some at a time, then :class:`Ended`; or why it cannot be read. Begins a process."""
    bound_memory(MEMORY_BYTES)
    try:
        with path.open("rb") as stream:
            _check(stream, file)
            _told(reader, stream, path.name.lower().endswith(".json"), send)
            _check(stream, file)
    except LoyaltyAgentError as error:
        send(error)
    except MemoryError:
        send(FeedUnreadableError(f"{_WHAT} takes more than {MEMORY_BYTES >> 20} MiB of memory to read"))
    except OSError as error:
        send(FeedUnreadableError(f"{_WHAT} cannot be read: {type(error).__name__}"))


def _told(reader: ListReader, stream: BinaryIO, is_json: bool, send: Send) -> None:  # noqa: FBT001 - of one caller
    rows = _json_rows(stream) if is_json else None
    count = sum(1 for _ in (_csv_rows(stream) if rows is None else rows))  # to its end, before anything is told
    page: list[ContactChange] = []
    left_out = told = 0
    for row in _csv_rows(stream) if rows is None else rows:
        change = reader.change(row)
        left_out += change is None
        if change is not None and change.kind is ChangeKind.UPSERT:  # whoever left is found by not being shown
            page.append(change)
        if len(page) == PAGE:
            send(tuple(page))
            told, page = told + PAGE, []
    if count and left_out == count:
        raise FeedUnreadableError(f"{_WHAT} has {count} rows, and none with an id that can be used")
    if page or not told:
        send(tuple(page))
    send(Ended(left_out))


def _check(stream: BinaryIO, file: ExportFile) -> None:
    """Raises FeedUnreadableError when it is not what was listed."""
    status = os.fstat(stream.fileno())
    if listed(file.name, status.st_size, status.st_mtime) != file:
        raise FeedUnreadableError(f"{_WHAT} has changed since it was looked at")


def _csv_rows(stream: BinaryIO) -> Iterator[dict[str, str]]:
    size = os.fstat(stream.fileno()).st_size
    if size > MAX_CSV_BYTES:
        raise FeedUnreadableError(f"{_WHAT} is larger than {MAX_CSV_BYTES >> 20} MiB")
    stream.seek(max(0, size - 1))
    if stream.read(1) not in (b"", b"\n"):  # half a number may be somebody else's
        raise FeedUnreadableError(f"{_WHAT} ends in the middle of a line, as one that was cut off does")
    stream.seek(0)
    head = stream.read(_HEAD_BYTES).partition(b"\n")[0].decode("utf-8", "replace")
    stream.seek(0)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        delimiter = max(_DELIMITERS, key=head.count)
        yield from read_rows(
            text, what=_WHAT, identifying=_IDENTIFYING, missing=_MISSING, delimiter=delimiter, folded=False
        )
    finally:
        text.detach()


def _json_rows(stream: BinaryIO) -> Sequence[dict[str, Any]]:
    content = stream.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise FeedUnreadableError(f"{_WHAT} is larger than {MAX_JSON_BYTES >> 20} MiB; CSV may be larger")
    try:
        told = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise FeedUnreadableError(f"{_WHAT} is not JSON to its end") from None
    if isinstance(told, dict):
        told = told.get("data", told.get("customers"))
    if not isinstance(told, list) or not all(isinstance(row, dict) for row in told):
        raise FeedUnreadableError(f"{_WHAT} is not a list of objects")
    if told and not any(_IDENTIFYING & row.keys() for row in told):
        raise FeedUnreadableError(f"{_WHAT} names {_MISSING}")
    return told


def _customer(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the API would show the customer; what is empty is not there."""
    customer: dict[str, Any] = {}
    for name, value in row.items():
        if value in ("", None):
            continue
        outer, _, inner = name.partition(".")
        if inner and outer in _WITHIN:
            within = customer.setdefault(outer, {})
            if isinstance(within, dict):
                within[inner] = value
        else:
            customer[name] = value
    numbers = customer.get("membership_id")
    if isinstance(numbers, str):
        customer["membership_id"] = _several(numbers)
    return customer


def _several(text: str) -> list[Any]:
    if text.startswith("["):
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            told = None
        if isinstance(told, list):
            return told
    return [number for number in _BETWEEN.split(text.strip()) if number]
