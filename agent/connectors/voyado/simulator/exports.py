"""The export job: XML files of members, and of vouchers, in the folder that stands in for SFTP.

Files are written straight to their final name, as no temporary name is documented; the slow writer makes that visible.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from agent.connectors.voyado.simulator.faults import Faults
from agent.connectors.voyado.simulator.records import Contact, Kind
from agent.connectors.voyado.simulator.rewards import Rewards, Voucher
from agent.connectors.voyado.simulator.state import State

_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
_NAMESPACE = "http://eClub.Schemas.ExportMember"
_ORDER: tuple[Kind, ...] = ("new", "updated", "deleted")
_STEP = timedelta(seconds=1)  # between the timestamps of two parts of one run
_ENOUGH_TO_SKIP_INSIDE = 3
_LOCAL = "%Y-%m-%dT%H:%M:%S"  # the voucher export names no offset

Row = tuple[Kind, Contact, frozenset[str] | None]


class Exports:
    """Writes the export files of a tenant.

    Args:
        state: The tenant's memory, whose pending changes a run takes.
        rewards: Whose new vouchers a run takes.
        faults: Asked how a file is spoiled.
    """

    def __init__(self, state: State, rewards: Rewards, faults: Faults) -> None:
        self._state = state
        self._rewards = rewards
        self._faults = faults
        self._last_stamp = datetime.min.replace(tzinfo=UTC)
        self._unwritten: deque[tuple[Path, deque[bytes]]] = deque()
        self._spoiled: list[tuple[Path, bytes]] = []

    @property
    def folder(self) -> Path:
        """Where contact export files appear."""
        return self._state.settings.root / "integration" / self._state.settings.export_folder

    def run(self) -> list[Path]:
        """Write what changed since the last run, and return the files; none when nothing changed."""
        self._export_vouchers()
        pending, self._state.pending = self._state.pending, {}
        rows: list[Row] = [
            (change.kind, contact, self._fields(change.kind, change.fields))
            for contact_id, change in pending.items()
            if _is_member(contact := self._state.contacts[contact_id])
        ]
        rows.sort(key=lambda row: _ORDER.index(row[0]))
        return self._write(rows)

    def run_full(self) -> list[Path]:
        """Write the whole membership as one run, and return the files."""
        return self._write([("new", contact, None) for contact in self._state.members()])

    def write_more(self) -> None:
        """Let the slow writer append one more piece."""
        if self._unwritten:
            path, pieces = self._unwritten[0]
            with path.open("ab") as file:
                file.write(pieces.popleft())
            if not pieces:
                self._unwritten.popleft()

    def repair(self) -> list[Path]:
        """Deliver every spoiled or missing file once more, whole and under its own name, and return them."""
        spoiled, self._spoiled = self._spoiled, []
        for path, content in spoiled:
            path.write_bytes(content)
        return [path for path, _ in spoiled]

    def _fields(self, kind: Kind, changed: Iterable[str]) -> frozenset[str] | None:
        sparse = self._state.settings.sparse_updates and kind == "updated"
        return frozenset(changed) | {"memberNumber"} if sparse else None

    # Files

    def _write(self, rows: Sequence[Row]) -> list[Path]:
        if not rows:
            return []
        size = self._state.settings.split_at
        parts = [self._render(rows[at : at + size]) for at in range(0, len(rows), size)]
        stamps = [self._next_stamp() for _ in parts]
        if len(parts) > 1 and self._faults.take_file("reordered"):
            stamps.reverse()
        names = [f"{stamp}_{number}_{self._state.settings.export_name}.xml" for number, stamp in enumerate(stamps)]
        files = [(self.folder / name, part) for name, part in zip(names, parts, strict=True)]
        files = self._spoil(files)
        self._state.note("contact xml exported", f"{len(rows)} members in {len(parts)} files")
        self.folder.mkdir(parents=True, exist_ok=True)
        for path, content in files:
            self._put(path, content)
        return [path for path, _ in files]

    def _spoil(self, files: list[tuple[Path, bytes]]) -> list[tuple[Path, bytes]]:
        faults = self._faults
        if faults.take_file("wrong_encoding"):
            self._spoiled += files
            files = [(path, content.decode().encode("iso-8859-1", "xmlcharrefreplace")) for path, content in files]
        if faults.take_file("truncated"):
            path, content = files[-1]
            self._spoiled.append((path, content))
            files[-1] = (path, content[: len(content) // 2])
        if faults.take_file("duplicate"):
            path, content = files[-1]
            again = self._next_stamp() + path.name[path.name.index("_") :]
            files.append((path.with_name(again), content))
        if len(files) > 1 and faults.take_file("missing_part"):
            self._spoiled.append(files.pop(len(files) // 2 if len(files) >= _ENOUGH_TO_SKIP_INSIDE else 0))
        return files

    def _put(self, path: Path, content: bytes) -> None:
        if not self._state.settings.slow_writer:
            path.write_bytes(content)
            return
        length = -(-len(content) // self._state.settings.slow_writer_pieces)
        pieces = deque(content[at : at + length] for at in range(0, len(content), length))
        self._unwritten.append((path, pieces))
        if len(self._unwritten) == 1:
            self.write_more()

    def _next_stamp(self) -> str:
        now = self._state.clock.now().astimezone(UTC).replace(microsecond=0)
        self._last_stamp = max(now, self._last_stamp + _STEP)
        return self._last_stamp.strftime("%Y%m%d%H%M%S")

    # XML

    def _render(self, rows: Sequence[Row]) -> bytes:
        settings = self._state.settings
        lines = [_DECLARATION, "<contacts>\n" if settings.omit_namespace else f'<contacts xmlns="{_NAMESPACE}">\n']
        for kind, group in groupby(rows, key=lambda row: row[0]):
            container = settings.container_names.get(kind, kind)
            if container:
                lines.append(f"  <{container}>\n")
            lines += [self._render_member(contact, kind, fields) for _, contact, fields in group]
            if container:
                lines.append(f"  </{container}>\n")
        lines.append("</contacts>\n")
        return "".join(lines).encode()

    def _render_member(self, contact: Contact, kind: Kind, fields: frozenset[str] | None) -> str:
        element = self._state.settings.member_element
        contact_id = self._faults.guid(contact.contact_id)
        if kind == "deleted":
            number = _element("memberNumber", contact.value("memberNumber"))
            return f"    <{element}>\n      <contactId>{contact_id}</contactId>\n{number}    </{element}>\n"
        source = f" source={quoteattr(contact.source)}" if contact.source else ""
        phone = self._faults.phone
        body = "".join(
            [
                _element(name, phone(value) if name == "mobilePhone" and value else value)
                for name in self._state.settings.export_fields
                if fields is None or name in fields
                for value in (contact.value(name),)
            ],
        )
        return f"    <{element}{source}>\n      <contactId>{contact_id}</contactId>\n{body}    </{element}>\n"

    def _export_vouchers(self) -> None:
        vouchers, self._rewards.unexported = self._rewards.unexported, []
        if vouchers:
            folder = self._state.settings.root / "integration" / "bonusCheckExport"
            folder.mkdir(parents=True, exist_ok=True)
            body = "".join(_voucher(voucher, self._state.contacts[voucher.contact_id]) for voucher in vouchers)
            content = f"{_DECLARATION}<bonusChecks>\n{body}</bonusChecks>\n"
            (folder / f"{self._next_stamp()}_0_bonusChecks.xml").write_text(content, encoding="utf-8")


def _is_member(contact: Contact) -> bool:
    return contact.contact_type == "Member" and contact.approved


def _element(name: str, value: object) -> str:
    if value is None or value == "":
        # Both empty forms occur; which one an attribute takes is of no meaning, so it goes by its name's length.
        return f"      <{name}/>\n" if len(name) % 2 else f"      <{name}></{name}>\n"
    if isinstance(value, bool):
        return f"      <{name}>{'true' if value else 'false'}</{name}>\n"
    return f"      <{name}>{escape(str(value))}</{name}>\n"


def _voucher(voucher: Voucher, contact: Contact) -> str:
    members = (
        _element("checkNumber", voucher.check_number),
        _element("contactKey", contact.value("memberNumber")),
        _element("amount", f"{voucher.amount:.4f}"),
        _element("validFrom", f"{voucher.issued_at:{_LOCAL}}"),
        _element("expires", f"{voucher.expires_at:{_LOCAL}}"),
        _element("bonusPoints", f"{voucher.points:.4f}"),
        _element("contactId", voucher.contact_id),
    )
    return f"  <new>\n{''.join(members)}  </new>\n"
