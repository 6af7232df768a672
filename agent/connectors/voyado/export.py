"""Reads Engage's contact export: XML files that somebody else writes and that may be cut short or hostile.

The tree is built in C and looked at once for every 64 KiB, not once for every element: finished contacts are taken
out of the tree while the rest is still being parsed. That is faster than `iterparse`, and it is what bounds memory:
whatever a file does, no more of it is in the tree than one record may take.

Sources: Voyado, contact XML export (containers, member, one element for each attribute, UTF-8). What the documentation
leaves open is an alias here: the containers of updates and deletions, and the element of a contact.
"""

from __future__ import annotations

import os
import re
import stat
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from operator import attrgetter
from typing import BinaryIO
from xml.parsers import expat

from agent.connectors.voyado.fields import ContactMapping, ReadReport, RowReader, canonical
from agent.connectors.voyado.files import MAX_FILE_BYTES, overlooked_files, plan_files
from agent.domain.contact import ChangeKind, ContactChange
from agent.errors import FeedUnreadableError
from agent.ports import AppliedFile, ExportFile, FilePlan, LocalFile

CHUNK_BYTES = 64 * 1024
MAX_RECORD_BYTES = 256 * 1024
"""Most that may lie between the ends of two contacts; it bounds depth, texts and attributes alike."""
MAX_ROWS = 250_000
"""Most contacts in one file; Engage puts 10,000 into each. They are held in memory until the file is applied."""
MANY_ROWS = 10
"""Of so many contacts one at least can be used, or it is not they that are wrong."""
MAX_NAMES = 5_000
"""Most different element and attribute names: the parser keeps each for as long as it lives."""

_ENCODINGS = frozenset({"utf-8", "us-ascii"})
_CUT_SHORT = frozenset(
    expat.errors.codes[text]
    for text in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
)
_WEB_PAGE = re.compile(rb"\s*<(?:!doctype\s+)?html\b", re.IGNORECASE).match
_PREFIXES = re.compile(rb"xmlns:[^\s=]{1,100}").findall
_tag = attrgetter("tag")
_attributes = ET.Element.keys


@dataclass(frozen=True, slots=True)
class VoyadoExportReader:
    """Reads contact export files. Picklable: it holds settings, no state.

    Element names are compared without namespace and case, because a tenant's XSLT can change both.

    Args:
        mapping: how a contact is read.
        updated_is_full_row: whether an updated contact is complete, so that what is absent is cleared; otherwise what
            is absent is unchanged. A new contact is always complete.
        roots: names of the document element, lower case.
        new: names of the container of new contacts.
        updated: names of the container of updated contacts; contacts outside any container count as updated.
        deleted: names of the container of deleted contacts.
        members: names of the element of one contact, beside the configured contact type's own.
        max_bytes: largest file that is read.
    """

    mapping: ContactMapping
    updated_is_full_row: bool = False
    roots: frozenset[str] = frozenset({"contacts", "customers", "members"})
    new: frozenset[str] = frozenset({"created", "insert", "new"})
    updated: frozenset[str] = frozenset({"changed", "update", "updated"})
    deleted: frozenset[str] = frozenset({"delete", "deleted", "removed"})
    members: frozenset[str] = frozenset({"contact", "customer", "member"})
    max_bytes: int = MAX_FILE_BYTES

    def plan(self, listing: Sequence[ExportFile], ledger: Sequence[AppliedFile]) -> FilePlan:
        """What to apply next; see :func:`agent.connectors.voyado.files.plan_files`."""
        return plan_files(listing, ledger)

    def overlooked(
        self, strangers: Sequence[ExportFile], listing: Sequence[ExportFile], ledger: Sequence[AppliedFile]
    ) -> Sequence[ExportFile]:
        """What may be an export under another name; see :func:`agent.connectors.voyado.files.overlooked_files`."""
        return overlooked_files(strangers, listing, ledger)

    def read(self, path: LocalFile, *, today: date) -> Reading:
        """The changes of one file, in order, streamed, with a report of what was left out.

        Args:
            path: a regular file, or a copy of one in the spool.
            today: the store's date, for ten-digit personal numbers.

        Raises:
            FeedUnreadableError: while iterating, possibly after some changes: the file is empty, cut short, too
                large, not UTF-8, not well-formed, not an export, or hostile; or it has many contacts of which none can
                be used: applied, they would be lost once the configuration is put right. Names the file and the
                reason only.
        """
        rows = RowReader(self.mapping, today)
        return Reading(_changes(self, path, rows), rows.report)

    def is_member(self, name: str) -> bool:
        """Whether a local name is that of one contact's element."""
        return name in self.members or name == self.mapping.contact_type.lower()

    def meaning(self, container: str) -> tuple[ChangeKind, bool] | None:
        """What a container says of its contacts, and whether they are full rows; None when it is none."""
        if container in self.new:
            return ChangeKind.UPSERT, True
        if container in self.updated:
            return ChangeKind.UPSERT, self.updated_is_full_row
        if container in self.deleted:
            return ChangeKind.DELETE, False
        return None


class Reading(Iterator[ContactChange]):
    """An iterator over changes. ``report`` is complete once it is exhausted."""

    def __init__(self, changes: Iterator[ContactChange], report: ReadReport) -> None:
        self.report = report
        self._changes = changes

    @property
    def unidentified(self) -> int:
        """Contacts without any key they could be kept under, which were left out."""
        return self.report.keyless

    def __iter__(self) -> Iterator[ContactChange]:  # noqa: PYI034 - a loop runs the generator, without a call each time
        return self._changes

    def __next__(self) -> ContactChange:
        return next(self._changes)


class _Names(dict[str, str | None]):
    """Our name for a qualified tag, None when the element is not wanted; learned as tags come."""

    def __init__(self, ours: dict[str, str]) -> None:
        super().__init__()
        self._ours = ours

    def __missing__(self, tag: str) -> str | None:
        name = self[tag] = self._ours.get(canonical(_local(tag)))
        return name


def _changes(reader: VoyadoExportReader, path: LocalFile, rows: RowReader) -> Iterator[ContactChange]:
    names = _Names(reader.mapping.names())
    for container, records in _records(reader, path, rows.report):
        meaning = reader.meaning(container)
        if meaning is None:
            meaning = ChangeKind.UPSERT, reader.updated_is_full_row
        kind, full_row = meaning
        for record in records:
            row = {}
            for element in record:
                name = names[element.tag]
                if name is not None and not len(element):
                    row[name] = element.text
            if rows.report.rows >= MAX_ROWS:
                raise FeedUnreadableError(f"{path.name}: has more than {MAX_ROWS} contacts")
            change = rows.change(row, kind, full_row=full_row)
            if change is not None:
                yield change
    report = rows.report
    left_out = report.other_type + report.keyless
    if report.rows == left_out >= MANY_ROWS:
        raise FeedUnreadableError(
            f"{path.name}: none of its {report.rows} contacts can be used; {report.other_type} are of another type than"
            f" voyado.contact_type, {report.keyless} have neither contact id nor loyalty.primary_key"
        )


def _records(reader: VoyadoExportReader, path: LocalFile, report: ReadReport) -> Iterator[tuple[str, list[ET.Element]]]:
    """Finished records with the local name of what they stood in, as the file is parsed."""
    try:
        with path.open("rb", buffering=0) as stream:
            first = _opening(reader, path.name, stream)
            yield from _parsed(reader, path.name, stream, first, report)
    except OSError as error:
        raise FeedUnreadableError(f"{path.name}: cannot be read ({error.strerror})") from error
    except ET.ParseError as error:
        raise FeedUnreadableError(f"{path.name}: {_reason(error.code)}") from error


def _opening(reader: VoyadoExportReader, name: str, stream: BinaryIO) -> bytes:
    """The first piece of the file, once everything up to the document element has been found harmless.

    A DOCTYPE can stand nowhere else, so without one here there are no entities and nothing to fetch.
    """
    status = os.fstat(stream.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise FeedUnreadableError(f"{name}: is not a regular file")
    if status.st_size > reader.max_bytes:
        raise FeedUnreadableError(f"{name}: is larger than {reader.max_bytes} bytes")
    first = stream.read(CHUNK_BYTES)
    if not first:
        raise FeedUnreadableError(f"{name}: is empty")
    if _WEB_PAGE(first):
        raise FeedUnreadableError(f"{name}: is a web page, not an export")
    if b"\0" in first:  # the parser would follow UTF-16 whatever it is told
        raise FeedUnreadableError(f"{name}: is not UTF-8")
    prolog = _Prolog()
    try:
        prolog.parser.Parse(first, len(first) < CHUNK_BYTES)
    except expat.ExpatError as error:
        if prolog.harmless and prolog.root is None:
            raise FeedUnreadableError(f"{name}: {_reason(error.code)}") from error
    if not prolog.harmless:
        raise FeedUnreadableError(f"{name}: has a DOCTYPE or another encoding than UTF-8, which an export never has")
    if prolog.root not in reader.roots:
        raise FeedUnreadableError(f"{name}: has another document element than a contact export")
    return first


class _Prolog:
    """What stands before the document element, and its name. The document element is the end of it."""

    def __init__(self) -> None:
        self.encoding = "utf-8"
        self.doctype = False
        self.root: str | None = None
        self.parser = expat.ParserCreate("utf-8", namespace_separator="}")
        self.parser.XmlDeclHandler = self._declared
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._root

    @property
    def harmless(self) -> bool:
        return not self.doctype and self.encoding in _ENCODINGS

    def _declared(self, _version: str, encoding: str | None, _standalone: int) -> None:
        self.encoding = (encoding or self.encoding).lower()

    def _doctype(self, *_: object) -> None:
        self.doctype = True

    def _root(self, name: str, _attributes: object) -> None:
        self.root = _local(name)
        self.parser.StartElementHandler = None


def _parsed(
    reader: VoyadoExportReader, name: str, stream: BinaryIO, first: bytes, report: ReadReport
) -> Iterator[tuple[str, list[ET.Element]]]:
    builder = ET.TreeBuilder()
    window = builder.start("window", {})  # the document grows inside, so that its element can be seen while it does
    parser = ET.XMLParser(target=builder, encoding="utf-8")  # noqa: S314 - _opening refused what is dangerous
    seen: set[str | bytes] = set()
    read_bytes = since_bytes = 0
    chunk = first
    while chunk:
        read_bytes += len(chunk)
        if read_bytes > reader.max_bytes:
            raise FeedUnreadableError(f"{name}: is larger than {reader.max_bytes} bytes")
        since_bytes += len(chunk)
        parser.feed(chunk)
        seen.update(map(_tag, window.iter()))
        seen.update(*filter(None, map(_attributes, window.iter())))
        if b"xmlns:" in chunk:
            seen.update(_PREFIXES(chunk))
        if len(seen) > MAX_NAMES:
            raise FeedUnreadableError(f"{name}: has more than {MAX_NAMES} different names in it")
        for root in window:
            taken = _take(reader, name, root, report, whole=False)
            if taken:
                since_bytes = 0
            yield from taken
        if since_bytes > MAX_RECORD_BYTES:
            raise FeedUnreadableError(f"{name}: has a record of more than {MAX_RECORD_BYTES} bytes")
        chunk = stream.read(CHUNK_BYTES)
    parser.close()
    yield from _take(reader, name, window[0], report, whole=True)


def _take(
    reader: VoyadoExportReader, name: str, root: ET.Element, report: ReadReport, *, whole: bool
) -> list[tuple[str, list[ET.Element]]]:
    """Takes what is finished out of the tree; the last child of anything may still be growing unless it is whole.

    An element without records says that something meaningless was taken: the file gets on.
    """
    taken: list[tuple[str, list[ET.Element]]] = []
    for index, element in enumerate(root, 1):
        grows = index == len(root) and not whole
        local = _local(element.tag)
        if reader.meaning(local) is not None:
            records = _contained(reader, name, element, report, grows=grows)
            if records or not grows:
                taken.append((local, records))
        elif grows:
            break
        elif reader.is_member(local):
            taken.append(("", [element]))
        elif any(reader.is_member(_local(child.tag)) for child in element):
            raise FeedUnreadableError(f"{name}: has contacts in a container of unknown meaning")
        else:
            report.ignored += 1
            taken.append((local, []))
    del root[: len(root) - (not whole)]
    return taken


def _contained(
    reader: VoyadoExportReader, name: str, container: ET.Element, report: ReadReport, *, grows: bool
) -> list[ET.Element]:
    """The finished records of a container: its contacts, or the container itself where it holds a contact's fields."""
    members = {tag for tag in map(_tag, container) if reader.is_member(_local(tag))}
    if not members:
        if grows or not len(container):
            return []
        if all(map(len, container)):
            raise FeedUnreadableError(f"{name}: has contacts under a name that is not known")
        return [container]
    finished = container[: len(container) - grows]
    del container[: len(finished)]
    records = [element for element in finished if element.tag in members]
    if len(records) < len(finished):
        if any(len(element) for element in finished if element.tag not in members):
            raise FeedUnreadableError(f"{name}: has contacts under a name that is not known")
        report.ignored += len(finished) - len(records)
    return records


def _local(tag: str) -> str:
    return tag.rpartition("}")[2].lower()


def _reason(code: int) -> str:
    if code in _CUT_SHORT:
        return "ends before its closing tag"
    return f"is not well-formed XML ({expat.ErrorString(code)})"
