"""A shop: the installed agent as a process of its own, a simulated Voyado Engage, and a POS that calls the agent.

Nothing of the agent is imported here but the simulator: the tests see what a shop sees.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from ports import free_port

from agent.connectors.voyado.simulator import SimulatorSettings, ThreadedSimulator, VoyadoSimulator, contacts
from agent.connectors.voyado.simulator.records import Contact
from agent.settings.values import toml

COMMAND = Path(sys.executable).with_name("loyalty-agent")
API_KEY = "sim-key"
PATIENCE_S = 180.0
"""It costs time only where something is wrong: that a machine is slow is no fault of the agent."""
ORDER_AGAIN_S = 15.0


def eventually(what: Callable[[], Any]) -> Any:
    """The first truthy value of ``what``; fails when none comes in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := what()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {PATIENCE_S} s; last: {value!r}")
        time.sleep(0.02)
    return value


class Vendor:
    """A tenant of the simulator on a port that stays the same while the line is cut and mended."""

    def __init__(self, root: Path, members: int, **knobs: Any) -> None:
        settings = SimulatorSettings(
            root=root, api_keys=(API_KEY,), receipt_interval_s=None, export_interval_s=None, hard_rate=None, **knobs
        )
        self.sim = VoyadoSimulator(settings, now=lambda: datetime.now(UTC), rng=random.Random(20260214))
        if members:
            self.sim.seed(members)
        self._open = contextlib.ExitStack()
        self.server = self._open.enter_context(ThreadedSimulator(self.sim, port=free_port()))
        self.close = self._open.close

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def exports(self) -> Path:
        return self.sim.exports.folder

    def cut(self) -> None:
        """The line is down: connections are refused."""
        self.server.stop()

    def mend(self) -> None:
        self.server.start()

    def held(self) -> dict[str, int]:
        """How often each sale counts at the vendor, after its import."""
        self.sim.import_receipts_now()
        purchases = self.sim.receipts.by_contact.values()
        return dict(Counter(posted.receipt_id for posts in purchases for posted in posts))

    def posts(self) -> dict[str, int]:
        """How often each sale was posted."""
        return dict(self.sim.receipts.posts)

    def receipts(self) -> list[dict[str, Any]]:
        """Every receipt as it was posted, repetitions included, in the order of arrival."""
        return [posted.receipt() for posted in self.sim.receipts.received]

    def requests(self) -> int:
        """Calls with the agents' key so far."""
        return self.sim.state.keys[API_KEY].requests

    def enrol(self, **attributes: Any) -> Contact:
        """Another till, or the web shop, makes a member."""
        state = self.sim.state
        with self.sim.lock:
            body = {"contactType": "Member", **attributes}
            return contacts.finish_create(
                state, contacts.begin_create(state, body, source="web", store=None, approved=True)
            )

    def delete(self, contact: Contact) -> None:
        """The member leaves; the next export says so."""
        with self.sim.lock:
            self.sim.state.delete(contact)


class Till:
    """The agent beside one till, and its POS."""

    def __init__(self, home: Path, vendor: Vendor, overrides: dict[str, dict[str, Any] | None]) -> None:
        self.home, self.vendor = home, vendor
        self.state = home / "state"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.wrapper: tuple[str, ...] = ()
        self.key_file = home / "api.key"
        self.key_file.write_text(API_KEY)
        tables: dict[str, dict[str, Any]] = {
            "agent": {"store_id": "1042", "till_id": "03", "locale": "sv-SE", "state_dir": str(self.state)},
            "api": {"listen": [f"127.0.0.1:{self.port}"], "hits": "off", "misses": "off"},
            "replica": {"sync_every": "1h"},
            "queue": {"flush_every": "100ms", "backoff_first": "100ms", "backoff_max": "1s"},
            "http": {"connect_timeout": "1s", "read_timeout": "2s"},
            "voyado": {
                "base_url": vendor.url,
                "api_key": f"file:{self.key_file}",
                "feed": f"file://{vendor.exports}",
                "requests_per_second": 50,
            },
            "log": {"format": "json"},
        }
        for table, values in overrides.items():
            if values is None:
                tables.pop(table)
            else:
                tables.setdefault(table, {}).update(values)
        lines = []
        for table, values in tables.items():
            lines += [f"[{table}]", *(f"{key} = {toml(value)}" for key, value in values.items()), ""]
        self.config = home / "config.toml"
        self.config.write_text("\n".join(lines))
        self.log = home / "agent.log"
        self.token = ""
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, trust_env=False)

    def command(self, *words: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.wrapper, COMMAND, *words, "--config", self.config],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **kwargs,
        )

    def start(self, *, wrapper: tuple[str, ...] = ()) -> Till:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*(wrapper or self.wrapper), str(COMMAND), "run", "--config", str(self.config)],
                stderr=log,
                stdout=log,
                start_new_session=True,
            )
        eventually(self._ready)
        if not self.token:
            added = self.command("token", "add", "pos-1", "--scope", "admin", "--json")
            assert added.returncode == 0, added.stderr
            self.token = json.loads(added.stdout)["token"]
            self.http.headers["Authorization"] = f"Bearer {self.token}"
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return self.http.get("/readyz").status_code == 200
        return False

    def kill(self) -> None:
        """Kill -9: nothing of the agent gets to say goodbye."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(timeout=60)
        self.process = None
        return status

    def sell(self, transaction_id: str, **changes: Any) -> httpx.Response:
        """The POS posts a sale of 250.00 kronor."""
        return self.http.post("/v1/transactions", json=sale(transaction_id, **changes))

    def void(self, transaction_id: str, original: str, **changes: Any) -> httpx.Response:
        """The cashier clears a recorded sale."""
        nothing: dict[str, Any] = {"lines": [], "payments": [], "total": "0.00"}
        return self.sell(transaction_id, type="void", original_transaction_id=original, **{**nothing, **changes})

    def ask(self, kind: str, value: str, **kwargs: Any) -> httpx.Response:
        """The answer to "who is this", whatever it is."""
        return self.http.post("/v1/contacts/identify", json={"identifier": {"type": kind, "value": value}}, **kwargs)

    def identify(self, kind: str, value: str) -> dict[str, Any]:
        answer = self.ask(kind, value)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def transaction(self, transaction_id: str) -> dict[str, Any]:
        return self.http.get(f"/v1/transactions/{transaction_id}").json()

    def delivered(self, transaction_id: str) -> bool:
        return self.transaction(transaction_id)["state"] == "delivered"

    def queue(self, state: str) -> list[dict[str, Any]]:
        return self.http.get("/v1/queue", params={"state": state}).json()["entries"]

    def status(self) -> dict[str, Any]:
        answer = self.http.get("/v1/status")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def conditions(self) -> set[str]:
        return {condition["code"] for condition in self.status()["conditions"]}

    def order(self, name: str) -> None:
        assert self.http.post(f"/v1/{name}").status_code == 202

    def logs(self) -> list[dict[str, Any]]:
        """All log lines."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        return [line for line in self.logs() if line["event"] == event]

    def purge(self) -> None:
        """Orders a purge and waits for its end."""
        before = len(self.logged("purged"))
        self.order("purge")
        eventually(lambda: len(self.logged("purged")) > before)

    def sync(self) -> None:
        """Orders a sync and waits for its end, once any other has come to its own.

        One that a slow machine's time-out has cut off is ordered again.
        """
        eventually(lambda: self.status()["replica"]["loading"] is None)
        before, ordered = len(self.logged("synced")), -math.inf

        def synced() -> bool:
            nonlocal ordered
            if time.monotonic() > ordered + ORDER_AGAIN_S:
                self.order("sync")
                ordered = time.monotonic()
            return len(self.logged("synced")) > before

        eventually(synced)

    def drained(self) -> bool:
        return self.status()["queue"]["depth"] == 0

    def loaded(self, contacts: int | None = None) -> bool:
        replica = self.status()["replica"]
        return replica["as_of"] is not None and (contacts is None or replica["contacts"] == contacts)


def sale(transaction_id: str, **changes: Any) -> dict[str, Any]:
    """A purchase of wool socks."""
    return {
        "transaction_id": transaction_id,
        "type": "purchase",
        "occurred_at": "2026-02-14T16:41:09+01:00",
        "currency": "SEK",
        "total": "250.00",
        "lines": [
            {"kind": "purchase", "sku": "SK-77-RED-M", "name": "Wool socks", "quantity": "2", "gross_paid": "250.00"}
        ],
        "payments": [{"type": "card", "amount": "250.00"}],
        **changes,
    }


def members(vendor: Vendor, count: int) -> list[Any]:
    """Members whom phone, mail and number name alone."""
    sim = vendor.sim
    found = []
    for contact in sim.state.contacts.values():
        phone, email = contact.attributes.get("mobilePhone"), contact.attributes.get("email")
        named = contact.contact_type == "Member" and phone and email
        if named and len(sim.state.find("mobilePhone", phone)) == len(sim.state.find("email", email)) == 1:
            found.append(contact)
        if len(found) == count:
            break
    return found
