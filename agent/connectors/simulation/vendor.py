"""What a simulated vendor is beneath its own rules: keys, a clock, a lock, and the faults that are switched on."""

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

from starlette.types import ASGIApp, Scope

from agent.connectors.simulation.line import met
from agent.connectors.simulation.records import RecordFault

_Fault = TypeVar("_Fault", bound=RecordFault)


class SimulatedVendor(ABC, Generic[_Fault]):
    """A stateful, made-up vendor whose calls are let in by a key.

    Every public method may be called from any thread, beside requests being served.

    Args:
        keys: the secret of each key that it accepts.
        now: the clock it lives by, aware instants.

    Attributes:
        app: the ASGI application, made by the vendor; a port is put under it by `serve`.
        keys: the secret of each key; taking one out revokes it.
        requests: calls that were let in.
        faults: what goes wrong; empty at first.
        lock: held while a request or a method works on the state.
    """

    app: ASGIApp

    def __init__(self, keys: dict[str, str], *, now: Callable[[], datetime]) -> None:
        self.keys, self.now = keys, now
        self.requests: Counter[str] = Counter()
        self.faults: list[_Fault] = []
        self.lock = threading.RLock()

    @abstractmethod
    def held(self) -> dict[str, int]:
        """How often each sale counts, by its id."""

    def run_due(self) -> None:
        """It does nothing by itself."""

    def add(self, fault: _Fault) -> _Fault:
        """Switches a fault on, and returns it for a later `remove`."""
        with self.lock:
            self.faults.append(fault)
        return fault

    def remove(self, fault: _Fault) -> None:
        """Switches one fault off."""
        with self.lock:
            self.faults.remove(fault)

    def forget(self) -> None:
        """Begins anew: nothing received, no faults, the same keys."""
        with self.lock:
            self.requests.clear()
            self.faults.clear()

    def meet(self, scope: Scope) -> tuple[float, _Fault | None]:
        """The seconds a request waits, and the fault it then meets."""
        with self.lock:
            return met(self.faults, scope["method"], scope["path"])

    def fault_of(self, kind: str, *records: str | None) -> _Fault | None:
        """The first fault of this kind that is about one of these records; the lock is held."""
        return next((fault for fault in self.faults if fault.kind == kind and fault.record in records), None)
