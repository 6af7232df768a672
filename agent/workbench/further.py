"""The further systems of the demonstration: simulated vendors that get every sale beside the loyalty system."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from agent.connectors.antavo.simulator import AntavoSimulator
from agent.connectors.monetary.simulator import MonetarySimulator
from agent.connectors.mparticle.simulator import MparticleSimulator
from agent.connectors.simulation.line import LineFault
from agent.connectors.simulation.server import ThreadedSimulator
from agent.connectors.simulation.vendor import SimulatedVendor
from agent.connectors.voucherify.simulator import VoucherifySimulator
from agent.connectors.voyado.simulator.membership import fictional_phone
from agent.ports import Clock
from agent.workbench.tenant import SWEDISH
from agent.workbench.till import Json

CALLS_PER_SECOND: Final = 50


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one vendor takes part.

    Attributes:
        make: the simulator, living by a clock.
        path: what its base URL has behind the port.
        table: what else its table says: the pace of calls, at least.
        secrets: its credentials, made up, by the name of their setting.
        calls: the paths of the calls that bring sales, as a shell pattern.
        given_back: how often something of each sale came back, for one that is told no return's own id.
        beside: the names of what it holds beside sales, such as that somebody joined; each counts once.
        takes_back: it has a form for what comes back; where it has none, such a sale waits for a person.
    """

    make: Callable[[Clock], SimulatedVendor[Any]]
    path: str
    table: Mapping[str, Any]
    secrets: Mapping[str, str]
    calls: str
    given_back: Callable[[Any], Mapping[str, int]] | None = None
    beside: Callable[[Any], Collection[str]] = lambda _simulator: ()
    takes_back: bool = True


_KEYS: Final = {"api_key": "demo-key", "api_secret": "demo-secret"}
_APP: Final = {"app_id": "demo-id", "app_token": "demo-token"}
_SECRET: Final = {"secret_key": "test-demo-key"}


def _mparticle(clock: Clock) -> MparticleSimulator:
    return MparticleSimulator({_KEYS["api_key"]: _KEYS["api_secret"]}, now=clock.now)


def _antavo(clock: Clock) -> AntavoSimulator:
    simulator = AntavoSimulator({_KEYS["api_key"]: _KEYS["api_secret"]}, now=clock.now)
    # It knows everybody of the day: by phone whoever can be a stranger to Voyado, by number whoever cannot.
    simulator.books.anonymous = True
    for place in range(SWEDISH):
        simulator.add_member(f"app-{place}", mobile_phone=fictional_phone(place))
    return simulator


def _voucherify(clock: Clock) -> VoucherifySimulator:
    return VoucherifySimulator({_APP["app_id"]: _APP["app_token"]}, now=clock.now)


def _monetary(clock: Clock) -> MonetarySimulator:
    return MonetarySimulator({_SECRET["secret_key"]: "location-1"}, now=clock.now)


_ORDERS: Final = {
    "on_return": "order_update",
    "identities": ["card_number", "mobile_phone", "email"],
    "requests_per_minute": 60 * CALLS_PER_SECOND,
}
_RECEIPTS: Final = {
    "unknown_customer": "register",
    "mark_receipts": True,
    "requests_per_minute": 60 * CALLS_PER_SECOND,
}


RECIPES: Final[Mapping[str, Recipe]] = {
    "mparticle": Recipe(
        _mparticle,
        "/v2",
        {"requests_per_second": CALLS_PER_SECOND},
        _KEYS,
        "*events",
        beside=MparticleSimulator.activities,
    ),
    "antavo": Recipe(
        _antavo,
        "",
        {"environment": "st2", "requests_per_minute": 60 * CALLS_PER_SECOND},
        _KEYS,
        "/events*",
        given_back=AntavoSimulator.given_back,
    ),
    "voucherify": Recipe(_voucherify, "", _ORDERS, _APP, "/v1/orders"),
    "monetary": Recipe(_monetary, "/v1", _RECEIPTS, _SECRET, "/v1/Receipts", takes_back=False),
}
"""By vendor, those that can take part."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the sales that one further system gets.

    Attributes:
        made: sales that it should have: every member's, and what else the agent has a delivery to it for.
        delivered: of these, how many it has.
        doubled: how often it counts a sale beyond once, and sales that nobody owed it.
        lost: of those made, how many it does not have.
    """

    made: int
    delivered: int
    doubled: int
    lost: int

    @property
    def sound(self) -> bool:
        """Whether nothing is lost or doubled."""
        return self.made > 0 and self.made == self.delivered and not self.doubled and not self.lost


class Further:
    """One further system behind a line that can be cut. A context manager.

    Args:
        name: of the vendor, one of :data:`RECIPES`.
        directory: for the files of its credentials.
        clock: its time.
    """

    def __init__(self, name: str, directory: Path, clock: Clock) -> None:
        self.name, self._recipe, self._directory = name, RECIPES[name], directory
        self._simulator = self._recipe.make(clock)
        self._server = ThreadedSimulator(self._simulator)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def table(self) -> Json:
        """Its table of the configuration; the credentials lie in files."""
        table: Json = {
            "base_url": self._server.url + self._recipe.path,
            **self._recipe.table,
        }
        for setting, value in self._recipe.secrets.items():
            file = self._directory / f"{self.name}.{setting}"
            file.touch(mode=0o600)
            file.write_text(value + "\n", encoding="ascii")
            table[setting] = f"file:{file.name}"
        return table

    def cut(self) -> None:
        """Nobody can reach it any more."""
        self._server.stop()

    def mend(self, *, lost_answers: int) -> None:
        """It can be reached again; of its first answers some get lost after the work is done."""
        fault = LineFault(
            kind="drop", path=self._recipe.calls, method="POST", count=lost_answers, after_processing=True
        )
        self._simulator.add(fault)
        self._server.start()

    def left_to_a_person(self, sales: Iterable[Json]) -> set[str]:
        """Those of some members' sales that wait for a person, because it takes nothing back."""
        return set() if self._recipe.takes_back else {sale["transaction_id"] for sale in sales if _returned(sale)}

    def count(self, made: Mapping[str, Json]) -> Tally:
        """What it has of the sales that it should have, by transaction id.

        Where a return has no id of its own there, each product of a sale that came back counts as one of them.
        """
        held = Counter(self._simulator.held()) - Counter(self._recipe.beside(self._simulator))
        told = self._recipe.given_back
        if told is None:
            left = self.left_to_a_person(made.values())
            return tally(dict.fromkeys(made.keys() - left, 1), held)
        owed = Counter(name for name, sale in made.items() if sale["type"] != "return")
        back = Counter(earlier for sale in made.values() for earlier, _ in _returned(sale))
        return tally(owed | _back(back), {**held, **_back(told(self._simulator))})


def tally(made: Mapping[str, int], held: Mapping[str, int]) -> Tally:
    """Sales that a system should have and how often, against how often it counts which."""
    there = sum(min(times, held.get(name, 0)) for name, times in made.items())
    owed = sum(made.values())
    return Tally(owed, there, sum(held.values()) - there, owed - there)


def _returned(sale: Json) -> set[tuple[str, str]]:
    """The products that came back in a sale, each with the earlier sale that it is of."""
    lines = (line for line in sale.get("lines", ()) if line["kind"] == "return")
    return {(sale["original_transaction_id"], line["sku"]) for line in lines}


def _back(times: Mapping[str, int]) -> Counter[str]:
    return Counter({f"something of {name}": count for name, count in times.items()})
