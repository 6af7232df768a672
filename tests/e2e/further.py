"""A system that gets the sales beside the loyalty system: a simulated vendor on a port, and its lane at a till."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from e2e.shop import COMMAND, Till, Vendor, members
from ports import free_port

from agent.connectors.simulation.server import ThreadedSimulator
from agent.connectors.simulation.vendor import SimulatedVendor

LINE = {"kind": "purchase", "sku": "SK-77", "quantity": "1", "gross_paid": "250.00"}
BACK = {**LINE, "kind": "return", "quantity": "-1"}


class System:
    """A simulated vendor on a port that stays the same while the line is cut and mended.

    ``files`` hold its credentials, by setting; ``table`` is what an agent's configuration says of it.
    """

    def __init__(
        self, sim: SimulatedVendor[Any], home: Path, credentials: Mapping[str, str], *, path: str = "", **table: Any
    ) -> None:
        self.sim: Any = sim
        self._open = contextlib.ExitStack()
        self.server = self._open.enter_context(ThreadedSimulator(sim, port=free_port()))
        self.close, self.cut, self.mend = self._open.close, self.server.stop, self.server.start
        self.files = {setting: home / f"{self.server.port}.{setting}" for setting in credentials}
        for setting, value in credentials.items():
            self.files[setting].write_text(value)
        references = {setting: f"file:{file}" for setting, file in self.files.items()}
        self.table: dict[str, Any] = {"base_url": f"{self.server.url}{path}", **references, **table}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def sell(till: Till, name: str, **changes: Any) -> None:
    """A sale of now: what is old may go another way."""
    answer = till.sell(name, **{"occurred_at": now(), "lines": [LINE], **changes})
    assert answer.status_code == 202, answer.text


def phone(number: int) -> str:
    """The phone of one of the first ninety members of a system that owns the contacts."""
    return f"+467017406{5 + number:02d}"


def by_phone(number: int) -> dict[str, str]:
    return {"type": "mobile_phone", "value": phone(number)}


def redeem(till: Till, body: dict[str, Any]) -> tuple[str, str | None]:
    """What becomes of a benefit that is to be used up, and why."""
    answer = till.http.post("/v1/benefits/redeem", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["outcome"], answer.json()["reason"]


def numbers(vendor: Vendor, count: int) -> list[dict[str, str]]:
    """The member numbers of so many members."""
    return [{"type": "member_number", "value": one.value("memberNumber")} for one in members(vendor, count)]


def deliveries(till: Till, name: str) -> dict[str, dict[str, Any]]:
    """What became of a sale, by vendor; each has it once."""
    rows = till.transaction(name)["deliveries"]
    found = {row["vendor"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def objection(till: Till) -> str:
    """What `config check` says of a configuration that cannot be."""
    told = till.command("config", "check", "--json")
    assert told.returncode == 78, told.stderr
    return json.dumps(json.loads(told.stdout), ensure_ascii=False).replace('\\"', '"')


@contextlib.contextmanager
def simulated(vendor: str, *options: str) -> Iterator[dict[str, Any]]:
    """`simulate VENDOR` on a free port, and what it prints; it ends in order."""
    command = [COMMAND, "simulate", vendor, "--port", "0", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        text = ""
        for line in process.stdout or ():
            text += line
            if line.startswith("}"):
                break
        try:
            yield json.loads(text)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
