"""A made-up membership: its export files, the replica that the agent makes of them, and a plain table of the same.

Everything is kept under `bench/out` between runs. The replica is made by the agent itself and made again when the
code that decides its form has changed.
"""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

OUT = Path(__file__).parent / "out"
PART = 10_000
LONG_AGO_S = 1_770_000_000
"""Files that lie still since then need no second look."""
_AGENT = Path(__file__).parent.parent / "agent"


def contact_id(number: int) -> str:
    """The contact id of a member."""
    return str(UUID(bytes=hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).digest(), version=4))


def phone(number: int) -> str:
    """The mobile phone of a member."""
    return f"+4670{number:07d}"


def record(number: int, mailbox: str = "alma") -> str:
    """A member as the export spells it, about 600 bytes; another mailbox makes it a changed one."""
    return (
        f'<member source="POS"><contactId>{contact_id(number)}</contactId><firstName>Alma{number}</firstName>'
        f"<lastName>Ekvall{number % 997}</lastName><memberNumber>{10_000_000 + number}</memberNumber>"
        f"<externalId>EDGE-{number:08d}</externalId><email>{mailbox}.{number}@example.com</email>"
        f"<mobilePhone>{phone(number)}</mobilePhone><street>Exempelgatan {number}</street>"
        "<zipCode>123 45</zipCode><city>Exempelstad</city><countryCode>SE</countryCode><birthDay>1988-03-14</birthDay>"
        "<gender>Female</gender><createdInStore>1042</createdInStore><store>1042</store><acceptsEmail>true</acceptsEmail>"
        "<acceptsSms>false</acceptsSms><acceptsPostal>false</acceptsPostal></member>\n"
    )


def write(path: Path, container: str, records: Iterable[str]) -> None:
    """An export file that has lain still for long."""
    aside = path.with_suffix(".part")
    aside.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<contacts xmlns="http://eClub.Schemas.ExportMember">'
        f"<{container}>\n{''.join(records)}</{container}></contacts>\n"
    )
    os.utime(aside, (LONG_AGO_S, LONG_AGO_S))
    aside.replace(path)


def export(members: int) -> Path:
    """The folder of the full export."""
    folder = OUT / f"export-{members}"
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(-(-members // PART)):
        path = folder / f"20260218101500_{part}_members.xml"
        if not path.exists():
            write(path, "new", map(record, range(part * PART, min(members, (part + 1) * PART))))
    return folder


def linked(members: int, folder: Path) -> Path:
    """A folder with the export's files under their own names, to which changes may be added."""
    for path in export(members).iterdir():
        (folder / path.name).hardlink_to(path)
    return folder


def plain_table(members: int) -> Path:
    """The same members in a plain SQLite table with an index for each key: what a reference looks up and upserts."""
    path = OUT / f"plain-{members}.db"
    if not path.exists():
        aside = path.with_suffix(".part")
        aside.unlink(missing_ok=True)
        connection = sqlite3.connect(aside)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE members"
            " (contact_id TEXT, member_number TEXT, external_id TEXT, mobile_phone TEXT, email TEXT)"
        )
        connection.executemany(
            "INSERT INTO members VALUES (?, ?, ?, ?, ?)",
            (
                (contact_id(n), str(10_000_000 + n), f"EDGE-{n:08d}", phone(n), f"alma.{n}@example.com")
                for n in range(members)
            ),
        )
        for column in ("contact_id", "member_number", "external_id", "mobile_phone", "email"):
            connection.execute(f"CREATE UNIQUE INDEX by_{column} ON members ({column})")
        connection.commit()
        connection.close()
        aside.replace(path)
    return path


def kept_state(members: int) -> Path:
    """Where the state with the loaded replica is kept; its name changes with the code that decides its form."""
    form = hashlib.sha256()
    names = ("replica_schema", "replica_rows", "replica_file", "keyhash", "pagekey", "lease_file")
    for name in names:
        form.update((_AGENT / "store" / f"{name}.py").read_bytes())
    form.update(record(1).encode())
    return OUT / f"state-{members}-{form.hexdigest()[:12]}"


def forget_other_states(kept: Path) -> None:
    """Removes replicas that an earlier form of the code made."""
    for old in OUT.glob("state-*"):
        if old != kept and old.name.split("-")[1] == kept.name.split("-")[1]:
            shutil.rmtree(old)
