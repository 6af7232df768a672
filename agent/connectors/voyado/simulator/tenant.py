"""The simulated tenant as a whole: its rooms, its jobs and the face that tests, the demo and HTTP work through."""

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from agent.connectors.voyado.simulator import membership
from agent.connectors.voyado.simulator.api import build_app
from agent.connectors.voyado.simulator.bulk import BulkDesk
from agent.connectors.voyado.simulator.clock import TenantClock
from agent.connectors.voyado.simulator.exports import Exports
from agent.connectors.voyado.simulator.faults import Faults
from agent.connectors.voyado.simulator.receipts import ReceiptCounts, ReceiptDesk
from agent.connectors.voyado.simulator.rewards import Rewards
from agent.connectors.voyado.simulator.settings import SimulatorSettings
from agent.connectors.voyado.simulator.state import State
from agent.connectors.voyado.simulator.uploads import Uploads


class VoyadoSimulator:
    """One stateful, made-up Voyado Engage tenant.

    Every public method may be called from any thread, beside requests being served.

    Args:
        settings: Its configuration.
        now: The clock it lives by, aware instants; `advance` moves it on from there.
        rng: Source of ids, names and chances, so that a run can be repeated.

    Attributes:
        app: The ASGI application; `server.serve` puts it on a port.
        state: What the tenant remembers.
        faults: What goes wrong; empty at first.
        receipts: The receipt desk, with every post it has seen.
        rewards: Points, vouchers and promotions.
        exports: The export job and its files.
        bulk: Bulk requests and how far they are.
        clock: The tenant's time.
        lock: Held while a request or a method works on the state.
    """

    app: ASGIApp
    state: State
    receipts: ReceiptDesk
    rewards: Rewards
    exports: Exports
    bulk: BulkDesk

    def __init__(self, settings: SimulatorSettings, *, now: Callable[[], datetime], rng: random.Random) -> None:
        self._initial = settings
        self._rng = rng
        self.clock = TenantClock(now)
        self.faults = Faults()
        self.lock = threading.RLock()
        self._found()
        self.app = build_app(self)

    @property
    def settings(self) -> SimulatorSettings:
        """The configuration in force."""
        return self.state.settings

    def seed(self, contacts: int) -> None:
        """Add a made-up membership that has long been there: exported by `export_full`, not by the next export run."""
        with self.lock:
            self.state.settle(membership.people(self.state, contacts))

    def configure(self, **changes: Any) -> None:
        """Turn knobs of a running tenant. `api_keys` and `stores` only matter at the start and are not taken here.

        Raises:
            ValueError: There is no such knob.
        """
        known = {field.name for field in fields(SimulatorSettings)} - {"api_keys", "stores"}
        if unknown := sorted(changes.keys() - known):
            raise ValueError(f"no such setting of a running tenant: {', '.join(unknown)}")
        with self.lock:
            self.state.settings = replace(self.state.settings, **changes)
            if "receipt_interval_s" in changes:
                self._receipts_due_at = self._after(self.settings.receipt_interval_s)
            if "export_interval_s" in changes:
                self._export_due_at = self._after(self.settings.export_interval_s)

    def advance(self, seconds: float) -> None:
        """Move the tenant's clock on, running each job at its own moment on the way."""
        with self.lock:
            target = self.clock.now() + timedelta(seconds=seconds)
            for due_at in self._due(target):
                if due_at > self.clock.now():
                    self.clock.move_to(due_at)
                self._run_jobs()
            if target > self.clock.now():
                self.clock.move_to(target)
            self._run_always()

    def run_due(self) -> None:
        """Run the jobs whose moment has come, and let the slow writer go on."""
        with self.lock:
            for _ in self._due(self.clock.now()):
                self._run_jobs()
            self._run_always()

    def export_full(self) -> list[Path]:
        """Write the whole membership as one run of export files, and return them in the order written."""
        with self.lock:
            return self.exports.run_full()

    def export_now(self) -> list[Path]:
        """Run the export job without waiting for its hour, and return its files."""
        with self.lock:
            return self.exports.run()

    def import_receipts_now(self) -> None:
        """Import uploaded files and everything in the receipt inbox without waiting for the interval."""
        with self.lock:
            self._import()

    def counts(self) -> ReceiptCounts:
        """What has become of the receipts received so far."""
        with self.lock:
            return self.receipts.counts()

    def reset(self) -> None:
        """Begin anew: settings as given at first, no contacts, no faults, no files below `integration/`."""
        with self.lock:
            self.faults.clear()
            self._found()
            for path in sorted((self.settings.root / "integration").glob("*/*.xml")):
                path.unlink()

    # Jobs

    def _found(self) -> None:
        self.state = State(self._initial, self.clock, self._rng)
        self.rewards = Rewards(self.state)
        self.receipts = ReceiptDesk(self.state, self.rewards, self.faults)
        self.exports = Exports(self.state, self.rewards, self.faults)
        self.bulk = BulkDesk(self.state)
        self._uploads = Uploads(self.state, self.receipts)
        self._receipts_due_at = self._after(self._initial.receipt_interval_s)
        self._export_due_at = self._after(self._initial.export_interval_s)

    def _after(self, interval_s: float | None) -> datetime | None:
        return None if not interval_s else self.clock.now() + timedelta(seconds=interval_s)

    def _due(self, until: datetime) -> Iterator[datetime]:
        """The moments up to `until` at which a job is due, looked up anew after each."""
        while True:
            moments = (
                self._receipts_due_at,
                self._export_due_at,
                self.bulk.next_due_at(),
                self.state.next_purge_at(),
            )
            due_at = min((moment for moment in moments if moment is not None), default=None)
            if due_at is None or due_at > until:
                return
            yield due_at

    def _run_jobs(self) -> None:
        now = self.clock.now()
        self.bulk.run_due()
        if self._receipts_due_at is not None and self._receipts_due_at <= now:
            self._receipts_due_at = self._after(self.settings.receipt_interval_s)
            self._import()
        if self._export_due_at is not None and self._export_due_at <= now:
            self._export_due_at = self._after(self.settings.export_interval_s)
            self.exports.run()
        self.state.purge()

    def _run_always(self) -> None:
        if self.settings.receipt_interval_s == 0:
            self._import()
        self.exports.write_more()

    def _import(self) -> None:
        self._uploads.run()
        self.receipts.run_import()
