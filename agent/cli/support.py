"""`support-bundle`: what support asks for first, in one file that can be read before it is sent."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from agent.cli import files
from agent.cli.client import Daemon
from agent.cli.configuration import load, rows_of
from agent.cli.doctor import look
from agent.cli.errors import BundleRefusedError, DaemonRefusedError, DaemonUnreachableError, PermissionRefusedError
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.render import size, table
from agent.doctor import bundle
from agent.errors import ConfigurationError, StorageError
from agent.settings import Configuration, secret_keys
from agent.tokens import read_own

_NAME = "loyalty-agent-support-{at:%Y%m%dT%H%M%SZ}.zip"
_ENTRIES, _PAGE = 1_000, 200
_LINES = 5_000
_JOURNAL = ("journalctl", "--namespace=loyalty-agent", "--output=cat", "--no-pager", f"--lines={_LINES}")
_PATIENCE_S = 30.0
_NO_ANSWER = (DaemonUnreachableError, DaemonRefusedError, PermissionRefusedError, StorageError)


@click.command("support-bundle", short_help="Write what support asks for into one readable file.")
@click.option(
    "--output", metavar="FILE", type=click.Path(path_type=Path), help="The file, which must not be there yet."
)
@click.option("--show", is_flag=True, help="Print everything that would be in it, and write nothing.")
@click.option("--online", is_flag=True, help="Let doctor ask the vendors too.")
@common
@pass_invocation
def support_bundle(invocation: Invocation, *, output: Path | None, show: bool, online: bool) -> None:
    """Write what support asks for into one zip file of texts: checks, status, settings, queue, figures, versions, log.

    No sale, no member and no secret is in it. Works with and without a running agent.
    """
    parts = {"doctor.json": bundle.json_part([asdict(finding) for finding in look(invocation, online=online)])}
    try:
        configuration = load(invocation, secrets=False)
    except ConfigurationError:  # doctor.json says what is wrong with it
        configuration = None
    secrets: list[str] = []
    if configuration is not None:
        parts["configuration.json"] = bundle.configuration_part(rows_of(configuration))
        parts |= _from_the_agent(configuration)
        secrets = list(_secrets(configuration))
    parts["versions.json"] = bundle.json_part(_versions())
    if log := bundle.log_part(_journal()):
        parts["log.jsonl"] = log
    parts = {"README.txt": bundle.readme(parts), **parts}
    if found := bundle.leaks(parts, secrets):
        raise BundleRefusedError(f"Not written, because of what would be in it: {'; '.join(found)}.")
    parts = bundle.masked(parts)
    if show:
        invocation.answer(parts, "\n\n".join(f"===== {name} =====\n{text}" for name, text in parts.items()))
        return
    path = output or Path(_NAME.format(at=datetime.now(UTC)))
    bundle.write(path, parts)
    rows = [(name, size(len(text.encode())), bundle.PARTS.get(name, "")) for name, text in parts.items()]
    document = {"path": str(path), "parts": {name: len(text.encode()) for name, text in parts.items()}}
    invocation.answer(document, f"{path}\n{table(('PART', 'SIZE', 'WHAT'), rows)}\nRead it before you send it.")


def _from_the_agent(configuration: Configuration) -> dict[str, str]:
    """What the running agent says; without one, what its files tell."""
    with Daemon(configuration) as daemon:
        try:
            return {
                "status.json": bundle.json_part(daemon.status()),
                "queue.json": bundle.queue_part(_entries(daemon)),
                "metrics.txt": daemon.text("/metrics"),
            }
        except _NO_ANSWER as error:
            found = files.look(configuration)
            return {"status.json": bundle.json_part({"unreachable": str(error), "files": found})}


def _entries(daemon: Daemon) -> Iterator[dict[str, Any]]:
    after: int | None = 0
    for _ in range(_ENTRIES // _PAGE):
        page = daemon.get("/v1/queue", limit=_PAGE, after=after)
        yield from page["entries"]
        if (after := page["next"]) is None:
            return


def _secrets(configuration: Configuration) -> Iterator[str]:
    """Every secret of this machine that can be read: what must not be in the file."""
    tables = (configuration.settings.storage, configuration.settings.http)
    for section in (*tables, *(model for _, _, model in configuration.vendor_tables())):
        for text in secret_keys(section).values():
            try:
                yield configuration.secret(text).read()
            except ValueError:  # it cannot be read: nor can it be in anything that was
                continue
    for name in ("storage.key", "storage.key.next"):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            yield (configuration.state_dir / name).read_text(encoding="ascii", errors="replace").strip()
    with contextlib.suppress(PermissionError):
        if token := read_own(configuration.state_dir):
            yield token


def _versions() -> dict[str, Any]:
    from agent.store.database import ENCRYPTED, sqlite  # noqa: PLC0415 - a library that only this needs here

    return {
        "loyalty-agent": metadata.version("loyalty-agent"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "sqlite": sqlite.sqlite_version,
        "encrypted": ENCRYPTED,
        "libraries": {one.name: one.version for one in sorted(metadata.distributions(), key=lambda one: one.name)},
    }


def _journal() -> list[str]:
    """The last lines of the agent's own journal; none where there is no such journal."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            _JOURNAL, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines() if not done.returncode else []
