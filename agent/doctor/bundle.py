"""The support bundle: what is in it, field by field, and the last look for secrets and people before it is written.

What goes in is listed here; everything else stays out, whatever it is called: no rows, no bodies, nothing that a vendor
or a till wrote. Each part is text that its sender can read first.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from agent.logs import ALLOWED

README: Final = """\
What a technician asks for first about a loyalty-agent, as text. Read it before you send it.

{parts}

Not in it: sales, members, anything that a till, a customer or a vendor said; secrets, keys, tokens; texts of your own.
Sales are named by their transaction ids. Before it was written, everything was searched for every secret of this
machine's configuration, for e-mail addresses and for phone numbers that begin with +. Where a setting holds such an
address or number, its kind stands in its place.
"""
PARTS: Final = {
    "doctor.json": "every check of `loyalty-agent doctor`",
    "status.json": "what the running agent says of itself, or what its files tell",
    "configuration.json": "every setting and where it comes from; of secrets the references",
    "queue.json": "deliveries that are not finished: ids, states, times, codes",
    "metrics.txt": "the running agent's figures",
    "versions.json": "versions of the program, of Python, of the system and of each library",
    "log.jsonl": "the last lines of the agent's own journal, listed fields alone",
}
OWN_TEXTS: Final = ("agent.support", "agent.welcome")
OURS: Final = ("doctor.json", "configuration.json")
"""Written here, of what a technician typed: people in them are masked, as a user's name may look like an address."""
OF_AN_ENTRY: Final = ("entry", "transaction_id", "vendor", "state", "attempts", "accepted_at", "next_attempt_at")
OF_AN_ERROR: Final = ("code", "status")
_PEOPLE: Final = (
    ("an e-mail address", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    ("a phone number", re.compile(r"(?<![\w.])\+\d{8,15}\b")),
)
_SOMEBODY_S_HOME: Final = re.compile(r"(/home/|[Uu]sers[/\\])[^/\\\"]+")
_TOO_SHORT_TO_TELL: Final = 6
"""A secret of five characters occurs by chance; the vendors' have twenty and more."""


def queue_part(entries: Iterable[Mapping[str, Any]]) -> str:
    """Deliveries of `GET /v1/queue`, without what a vendor wrote of them."""
    return _json([_picked(entry, OF_AN_ENTRY) | {"last_error": _error(entry.get("last_error"))} for entry in entries])


def configuration_part(rows: Iterable[Mapping[str, Any]]) -> str:
    """Settings as `config show` has them: of addresses no user, of a shop's own texts their length."""
    return _json([{**row, "value": _setting(str(row["key"]), row["value"])} for row in rows])


def log_part(lines: Iterable[str]) -> str:
    """Lines of the journal that are the agent's own; of each the fields that a log may have."""
    kept = []
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and "event" in said:
            kept.append(json.dumps({key: value for key, value in said.items() if key in ALLOWED}, ensure_ascii=False))
    return "\n".join(kept)


def json_part(document: Any) -> str:
    """A document of our own making."""
    return _json(document)


def masked(parts: Mapping[str, str]) -> dict[str, str]:
    """The parts, in what is written here a word in place of each address and number of somebody."""
    return {name: _masked(text) if name in OURS else text for name, text in parts.items()}


def leaks(parts: Mapping[str, str], secrets: Collection[str]) -> list[str]:
    """What must not be in a bundle and is: the part and the kind, never the value. People that are masked are not.

    Args:
        parts: of the bundle, by name.
        secrets: values that must not occur.
    """
    wanted = {spelled for secret in secrets if len(secret) >= _TOO_SHORT_TO_TELL for spelled in _spellings(secret)}
    found = []
    for name, text in parts.items():  # of secrets as it is: masked, half of one might be left
        if any(secret in text for secret in wanted):
            found.append(f"{name}: a secret")
    for name, text in masked(parts).items():
        found += [f"{name}: {kind}" for kind, pattern in _PEOPLE if pattern.search(text)]
    return found


def readme(parts: Collection[str]) -> str:
    """What is in a bundle of these parts, for who sends it."""
    width = max(map(len, PARTS))
    return README.format(parts="\n".join(f"{name:<{width}}  {PARTS[name]}" for name in PARTS if name in parts))


def write(path: Path, parts: Mapping[str, str]) -> None:
    """Puts the parts into a new zip file that its owner alone can read. Raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in parts.items():
                archive.writestr(name, text)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _json(document: Any) -> str:
    return _SOMEBODY_S_HOME.sub(r"\1...", json.dumps(document, indent=1, ensure_ascii=False, default=str))


def _masked(text: str) -> str:
    for kind, pattern in _PEOPLE:
        # A letter behind a backslash is how JSON spells a control character, and no part of an address.
        text = re.sub(rf"(\\[a-z])?{pattern.pattern}", rf"\1[{kind}]", text)
    return text


def _picked(row: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    return {field: row.get(field) for field in fields}


def _error(error: Any) -> dict[str, Any] | None:
    return _picked(error, OF_AN_ERROR) if isinstance(error, Mapping) else None


def _setting(key: str, value: Any) -> Any:
    if value and (key.startswith("messages.") or key in OWN_TEXTS):
        return f"a text of {len(str(value))} characters"
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return value


def _spellings(secret: str) -> tuple[str, ...]:
    """A secret as it stands, and as JSON would have it."""
    return secret, json.dumps(secret, ensure_ascii=False)[1:-1], json.dumps(secret)[1:-1]
