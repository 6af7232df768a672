"""The agent as it is installed: a state directory, its command, and what it says of itself."""

import contextlib
import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from agent.clock import SystemClock
from agent.connectors.registry import settings_models
from agent.settings import Configuration, load
from agent.tokens import Tokens
from bench import members
from bench.processes import BIN, free_port, process, wait_until
from bench.runs import python

READY_WITHIN_S = 30.0
SYNCED_WITHIN_S = 400.0
TOKEN = "bench"


@dataclass(frozen=True, slots=True)
class Place:
    """A till's state directory and configuration.

    Attributes:
        folder: holds both.
        port: of the door.
        token: of scope admin.
    """

    folder: Path
    port: int
    token: str

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "config.toml"

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    def configuration(self) -> Configuration:
        """As the agent reads it."""
        return load(config=self.config, vendors=settings_models(), environ={})


@dataclass(frozen=True, slots=True)
class Till:
    """A running agent."""

    place: Place
    child: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Its door."""
        return f"http://127.0.0.1:{self.place.port}"

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of one call."""
        connection = http.client.HTTPConnection("127.0.0.1", self.place.port, timeout=30)
        headers = {"Authorization": f"Bearer {self.place.token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text else None

    def replica(self) -> dict[str, Any]:
        """What it says of its replica."""
        code, status = self.call("GET", "/v1/status")
        if code != 200:
            raise RuntimeError(f"/v1/status answers {code} {status['code']}")
        found: dict[str, Any] = status["replica"]
        return found

    def as_of(self) -> float:
        """Up to when its replica is complete, in seconds since 1970; 0 before the first load ended."""
        as_of = self.replica()["as_of"]
        return datetime.fromisoformat(as_of).timestamp() if as_of else 0.0

    def wait_for_sync(self, since: float) -> float:
        """Seconds until a sync that began after ``since`` (seconds since 1970) has ended; look-ups see it by then."""
        return wait_until(lambda: self.as_of() >= max(since, 1.0), child=self.child, within_s=SYNCED_WITHIN_S)


@contextlib.contextmanager
def place(*, vendor_port: int, feed: Path, state: Path | None = None, encryption: str = "on") -> Iterator[Place]:
    """A configured till, removed at the end.

    Args:
        vendor_port: where the loyalty system would answer.
        feed: the folder of its exports.
        state: a state directory to begin with, copied; None: an empty one.
        encryption: ``on`` or ``off``.
    """
    members.OUT.mkdir(parents=True, exist_ok=True)
    folder = members.OUT / f"till-{time.time_ns()}"
    folder.mkdir()
    try:
        if state is None:
            (folder / "state").mkdir(mode=0o700)
        else:
            subprocess.run(["cp", "-a", "--reflink=auto", state, folder / "state"], check=True)
        port = free_port()
        key = folder / "api-key"
        key.write_text("made-up")
        key.chmod(0o600)
        (folder / "config.toml").write_text(
            f"""
[agent]
store_id = "1042"
till_id = "03"
country = "SE"
locale = "sv-SE"
state_dir = "{folder}/state"
[api]
listen = ["127.0.0.1:{port}"]
hits = "off"
misses = "off"
[queue]
max_bytes = "100GiB"
[replica]
expires_after = "10000d"
[storage]
encryption = "{encryption}"
[voyado]
base_url = "http://127.0.0.1:{vendor_port}"
api_key = "file:api-key"
requests_per_second = 50
feed = "file://{feed}"
[log]
level = "warning"
format = "json"
"""
        )
        tokens = Tokens(folder / "state", SystemClock(ZoneInfo("Europe/Stockholm")))
        if any(token.name == TOKEN for token in tokens.list()):
            tokens.revoke(TOKEN)
        yield Place(folder, port, tokens.add(TOKEN, "admin"))
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def running(at: Place, *, inside: bool = False) -> Iterator[Till]:
    """The agent, started by its command and ready for sales; stopped at the end.

    Args:
        at: where.
        inside: started by :mod:`bench.inside` instead.
    """
    installed = [str(BIN / "loyalty-agent"), "run", "--config", str(at.config)]
    command = python("bench.inside", str(at.config)) if inside else installed
    with process(command, log=members.OUT / "agent.log") as child:
        till = Till(at, child)
        wait_until(lambda: _is_ready(till), child=child, within_s=READY_WITHIN_S)
        yield till


@contextlib.contextmanager
def loaded(count: int, *, vendor_port: int | None = None, feed: Path | None = None) -> Iterator[Place]:
    """A till whose replica holds so many members.

    Args:
        count: of members.
        vendor_port: where the loyalty system answers; None: nowhere.
        feed: a folder with the export's files; None: the export itself.
    """
    state = loaded_state(count)
    with place(vendor_port=vendor_port or free_port(), feed=feed or members.export(count), state=state) as at:
        yield at


def loaded_state(count: int) -> Path:
    """A state directory with the replica, made by the agent's own first load when there is none yet."""
    kept = members.kept_state(count)
    if not kept.exists():
        members.forget_other_states(kept)
        with place(vendor_port=free_port(), feed=members.export(count)) as at:
            with running(at) as till:
                till.wait_for_sync(0.0)
            keep(at, count)
    return kept


def keep(at: Place, count: int) -> None:
    """Keeps a stopped agent's state for later benches."""
    kept = members.kept_state(count)
    if not kept.exists():
        shutil.copytree(at.state, kept.with_suffix(".part"))
        kept.with_suffix(".part").rename(kept)


def _is_ready(till: Till) -> bool:
    try:
        return till.call("GET", "/readyz")[0] == 200
    except OSError:
        return False
