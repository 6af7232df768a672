"""The agent as a program of its own, as a service manager runs it: started, killed without warning, started again."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from agent import paths
from agent.errors import LoyaltyAgentError
from agent.settings import ENV_PREFIX
from agent.settings.values import toml

START_S = 30.0
STOP_S = 15.0
_POLL_S = 0.05
_LAST_LINES = 15
_FROM_A_SERVICE = (
    "CONFIGURATION_DIRECTORY",
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
)


class AgentDiedError(LoyaltyAgentError):
    """The agent did not start, or not so far that it can be worked with."""

    code = "demo.agent_died"
    advice = "Its last log lines are above."


class AgentProcess:
    """An agent that runs beside this program.

    Args:
        config: its configuration file.
        url: where it will answer.
        log: where its log goes.
    """

    def __init__(self, config: Path, url: str, log: Path) -> None:
        self._config, self._url, self._log = config, url, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Starts it and waits until it can take a sale; how many seconds that took. Raises AgentDiedError."""
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [*paths.program(), "run", "--config", str(self._config), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
            )
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() - began > START_S:
                self.kill()
                raise self.died("The agent did not start.")
            time.sleep(_POLL_S)
        return time.monotonic() - began

    def died(self, what: str) -> AgentDiedError:
        """The error that says what became of it, with the last lines of its log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        return AgentDiedError("\n".join([what, *lines]))

    def kill(self) -> None:
        """Ends it as a power cut would: nothing is asked, nothing is written."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Asks it to end, and makes sure that it did."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self._url}/readyz", timeout=1.0, trust_env=False).is_success
        except httpx.TransportError:
            return False


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_configuration(file: Path, tables: Mapping[str, Mapping[str, Any]]) -> Path:
    """Writes settings, by table and key, where an agent reads them; the file."""
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items()), ""]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def _environment() -> dict[str, str]:
    """This environment without what would change the demonstration's configuration."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ENV_PREFIX) and name not in _FROM_A_SERVICE
    }
