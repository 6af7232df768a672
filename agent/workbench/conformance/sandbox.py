"""What an agent is tested with: its configuration, the export with the kit's members, and its tokens."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.clock import SystemClock
from agent.tokens import Tokens
from agent.workbench.agent_process import AgentProcess, free_port, write_configuration
from agent.workbench.conformance.door import Door
from agent.workbench.conformance.kit import DIRECTORY, MEMBERS, SEED, ZONE, loyalty_system
from agent.workbench.tenant import API_KEY, Tenant

HIGHEST_LEVEL: Final = 4


@dataclass(frozen=True, slots=True)
class Prepared:
    """Where everything lies, and the tokens."""

    config: Path
    pos_file: Path
    admin_file: Path
    pos: str = field(repr=False)
    admin: str = field(repr=False)


def prepare(directory: Path, *, listen: str, vendor: str, level: int) -> Prepared:
    """Fills an empty directory with what an agent needs to be tested.

    Args:
        directory: is made if it is not there.
        listen: where the agent will listen.
        vendor: where the kit's loyalty system will be.
        level: the fallback level.

    Raises:
        FileExistsError: there is something in it.
        OSError: it cannot be written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError(errno.EEXIST, "there is something in it; name a new directory", os.fspath(directory))
    directory, clock = directory.resolve(), SystemClock(ZONE)
    made_up = random.Random(SEED)  # noqa: S311 - the same made-up people each time
    with Tenant(directory / "voyado", MEMBERS, clock, made_up) as tenant:
        feed = tenant.feed
    state_dir = directory / "state"
    state_dir.mkdir(mode=0o700)
    tokens = Tokens(state_dir, clock)
    pos, admin = tokens.add("conformance", "pos"), tokens.add("conformance-admin", "admin")
    _write(directory / "voyado.key", API_KEY)
    tables = _tables(listen, vendor, feed, os.fspath(state_dir), level)
    return Prepared(
        config=write_configuration(directory / "config.toml", tables),
        pos_file=_write(directory / "pos.token", pos),
        admin_file=_write(directory / "admin.token", admin),
        pos=pos,
        admin=admin,
    )


@contextmanager
def own() -> Iterator[tuple[Door, Tenant]]:
    """The door of an agent of this version, started for it, and its loyalty system. Raises AgentDiedError, OSError."""
    with tempfile.TemporaryDirectory(prefix=DIRECTORY) as name, loyalty_system(0) as tenant:
        address = f"127.0.0.1:{free_port()}"
        prepared = prepare(Path(name) / "agent", listen=address, vendor=tenant.url, level=HIGHEST_LEVEL)
        process = AgentProcess(prepared.config, f"http://{address}", Path(name) / "agent.log")
        try:
            process.start()
            with Door(f"http://{address}", prepared.pos, prepared.admin) as door:
                yield door, tenant
        finally:
            process.stop()


def _tables(listen: str, vendor: str, feed: str, state_dir: str, level: int) -> dict[str, dict[str, Any]]:
    """Short pauses, no ration: the kit looks more people up in a minute than a cashier."""
    contacts = {"contents": "contacts", "fields": ["first_name", "last_name"]} if level > 2 else {}  # noqa: PLR2004 - the replica's
    return {
        "agent": {"store_id": "1042", "till_id": "03", "timezone": str(ZONE), "state_dir": state_dir},
        "api": {"listen": [listen], "hits": "off", "misses": "off"},
        "loyalty": {"fallback_level": level},
        "replica": contacts,
        "benefits": {"estimate": {"points_per_unit": "0.1", "currency": "SEK"}},
        "queue": {"flush_every": "1s", "backoff_first": "200ms", "backoff_max": "500ms"},
        "voyado": {
            "base_url": vendor,
            "api_key": "file:voyado.key",
            "requests_per_second": 50,
            "feed": feed,
        },
    }


def _write(file: Path, text: str) -> Path:
    file.touch(mode=0o600)
    file.write_text(f"{text}\n", encoding="ascii")
    return file
