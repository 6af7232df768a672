"""The drill: outages rehearsed on this till, so that nobody meets one for the first time with customers in line.

Beside the till's own agent, which goes on untouched, an agent of the same version is started with this till's settings:
its store, its language, its fallback level, its patience. It has a state directory of its own on the same disk, a door
of its own, and a made-up loyalty system, to which everything happens that happens to real ones. In each scene a till
sells and asks; what it must see then stands in the sheet, passed or failed, with what was measured.
"""

from __future__ import annotations

import random
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import httpx

from agent.clock import SystemClock
from agent.connectors.voyado.simulator import Fault
from agent.domain.fallback import REPLICA_LEVEL, TAG_LEVEL
from agent.settings import Configuration
from agent.settings.values import duration
from agent.tokens import Tokens
from agent.workbench.agent_process import AgentProcess, free_port, write_configuration
from agent.workbench.basket import Baskets
from agent.workbench.certificates import make
from agent.workbench.ledger import Ledger
from agent.workbench.stage import by_phone
from agent.workbench.tenant import API_KEY, Person, Tenant
from agent.workbench.till import Json, Reply, Till

PREFIX: Final = "drill-"
MEMBERS: Final = 500
SALES: Final = 5
"""In each scene, beside the questions."""
AT_ONCE_MS: Final = 1_000
"""Within this a sale has its answer, whatever the loyalty system does."""
MARGIN_MS: Final = 500
"""So much longer than `loyalty.live_lookup_budget` a question may take: the machine is busy with the drill as well."""
PATIENCE_S: Final = 60.0
_ROOM: Final = {"reserve_bytes": "64KiB", "max_bytes": "128KiB"}
_FILLED_BY: Final = 5_000
_KNOWN_BY: Final = ("mobile_phone", "email")
_POLL_S: Final = 0.1
_ACCEPTED, _FULL = 202, 507


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to be so, and whether it was."""

    text: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Sheet:
    """What came of one scene."""

    scene: str
    checks: tuple[Check, ...]
    elapsed_s: float

    @property
    def ok(self) -> bool:
        """Whether everything was as it had to be."""
        return all(check.ok for check in self.checks)


@dataclass(slots=True)
class Sandbox:
    """An agent like this till's, its made-up loyalty system, and a till at its door."""

    tenant: Tenant
    till: Till
    baskets: Baskets
    clock: SystemClock
    honest: ssl.SSLContext
    impostor: ssl.SSLContext
    budget_ms: float
    level: int
    locale: str
    people: list[Person]
    stranger: Person
    ledger: Ledger = field(default_factory=Ledger)

    def is_ready(self) -> bool:
        """Waits until the members are known here, where they are to be; whether they are."""

        def known(status: Json) -> bool:
            return self.level < REPLICA_LEVEL or status["replica"]["as_of"] is not None

        return known(self._until(known))

    def sells(self, count: int = SALES) -> Iterator[Check]:
        """Members buy: each sale is answered at once, and kept."""
        replies = [self.sell(by_phone(self._next())) for _ in range(count)]
        slowest = max(reply.elapsed_ms for reply in replies)
        kept = sum(reply.status == _ACCEPTED for reply in replies)
        yield Check(f"{kept} of {count} sales were kept, the slowest answer took {slowest:.0f} ms",
                    kept == count and slowest <= AT_ONCE_MS)  # fmt: skip

    def sell(self, who: Mapping[str, Any]) -> Reply:
        """One purchase; what was promised is written down."""
        sale = self.baskets.purchase(self.clock.now(), who)
        reply = self.till.post(sale)
        self.ledger.note(sale, reply)
        return reply

    def recognises(self) -> Iterator[Check]:
        """A member is known from the local copy; of a stranger the answer comes in time, with a text for the screen."""
        member = self.till.identify("mobile_phone", self._next().as_said, language=self.locale)
        outcome = member.body.get("outcome", member.status)
        known = outcome == "matched" or self.level < REPLICA_LEVEL
        yield Check(f"a member at the till: {outcome} in {member.elapsed_ms:.0f} ms", known and self._in_time(member))
        other = self.till.identify("mobile_phone", self.stranger.as_said, language=self.locale)
        outcome, texts = other.body.get("outcome", other.status), other.texts("staff")
        yield Check(f"somebody else: {outcome} in {other.elapsed_ms:.0f} ms, and the cashier reads: {' '.join(texts)}",
                    outcome == "unknown" and bool(texts) and self._in_time(other))  # fmt: skip

    def _in_time(self, reply: Reply) -> bool:
        return reply.elapsed_ms <= self.budget_ms + MARGIN_MS

    def says(self, state: str, condition: str | None = None) -> Iterator[Check]:
        """The state turns to what it has to be, with the condition that explains it."""

        def as_wanted(status: Json) -> bool:
            codes = {one["code"] for one in status["conditions"]}
            return status["state"] == state and (condition is None or condition in codes)

        status = self._until(as_wanted)
        codes = ", ".join(sorted(one["code"] for one in status["conditions"])) or "no condition"
        yield Check(f"the status says {status['state']}: {codes}", as_wanted(status))

    def arrives(self) -> Iterator[Check]:
        """With the line back everything is delivered, once, and the status is well again."""
        began = time.monotonic()
        status = self._until(lambda status: not status["queue"]["depth"] and status["state"] == "online")
        count = self.ledger.count(self.tenant.simulator)
        text = f"{count.delivered} of {count.made} sales delivered, {count.doubled} twice, {count.lost} lost"
        yield Check(f"{text}, {time.monotonic() - began:.1f} s after the line was back", count.sound)
        yield from self._well(status)

    def _well(self, status: Json) -> Iterator[Check]:
        queue = status["queue"]
        stuck = queue["parked"] + queue["in_doubt"]
        yield Check(f"the status says {status['state']}, {stuck} sales wait for a person",
                    status["state"] == "online" and not stuck)  # fmt: skip

    def _next(self) -> Person:
        self.people.append(self.people.pop(0))
        return self.people[-1]

    def _until(self, done: Callable[[Json], bool]) -> Json:
        deadline = time.monotonic() + PATIENCE_S
        while not done(status := self.till.status()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return status


def _outage(
    sandbox: Sandbox, begin: Callable[[], object], end: Callable[[], object], state: str, condition: str
) -> Iterator[Check]:
    begin()
    yield from sandbox.sells()
    yield from sandbox.recognises()
    yield from sandbox.says(state, condition)
    end()
    yield from sandbox.arrives()


def _answering(sandbox: Sandbox, fault: Fault, state: str, condition: str) -> Iterator[Check]:
    """The loyalty system answers everything in one way."""
    faults = sandbox.tenant.simulator.faults
    yield from _outage(sandbox, lambda: faults.add(fault), faults.clear, state, condition)


def line_down(sandbox: Sandbox) -> Iterator[Check]:
    """Nobody can be reached."""
    tenant = sandbox.tenant
    yield from _outage(sandbox, tenant.cut, lambda: tenant.mend(lost_answers=2), "offline", "vendor.offline")


def slow(sandbox: Sandbox) -> Iterator[Check]:
    """The loyalty system answers, much too late for a till."""
    yield from _answering(sandbox, Fault(kind="latency", delay_s=20.0), "offline", "vendor.offline")


def silent(sandbox: Sandbox) -> Iterator[Check]:
    """It takes every question and never answers, after it has done what it was asked."""
    yield from _answering(sandbox, Fault(kind="hang", after_processing=True), "offline", "vendor.offline")


def errors(sandbox: Sandbox) -> Iterator[Check]:
    """It answers 500 to everything."""
    yield from _answering(sandbox, Fault(kind="answer", status=500), "offline", "vendor.offline")


def throttled(sandbox: Sandbox) -> Iterator[Check]:
    """It answers 429 to everything, and asks for two seconds each time."""
    fault = Fault(kind="answer", status=429, headers={"Retry-After": "2"})
    yield from _answering(sandbox, fault, "offline", "vendor.offline")


def credentials(sandbox: Sandbox) -> Iterator[Check]:
    """It refuses our key: everything waits, and nothing is given up."""
    fault = Fault(kind="answer", status=401)
    yield from _answering(sandbox, fault, "degraded", "vendor.credentials_refused")


def certificate(sandbox: Sandbox) -> Iterator[Check]:
    """Somebody else answers in its place, with a certificate that nobody vouches for."""
    tenant, receipts = sandbox.tenant, sandbox.tenant.simulator.receipts
    tenant.prove_to_be(sandbox.impostor)
    before = len(receipts.received)
    yield from sandbox.sells()
    yield from sandbox.recognises()
    yield from sandbox.says("offline", "vendor.offline")
    yield Check("nothing was told to whoever answered", len(receipts.received) == before)
    tenant.prove_to_be(sandbox.honest)
    yield from sandbox.arrives()


def full(sandbox: Sandbox) -> Iterator[Check]:
    """The line is down until there is no room for another sale: it is refused at once, and none of the others is."""
    sandbox.tenant.cut()
    reply, tries = sandbox.sell(by_phone(sandbox.people[0])), 1
    while reply.status == _ACCEPTED and tries < _FILLED_BY:
        reply, tries = sandbox.sell(by_phone(sandbox.people[0])), tries + 1
    code = reply.body.get("code", reply.status)
    yield Check(f"after {tries - 1} sales: {code} in {reply.elapsed_ms:.0f} ms",
                reply.status == _FULL and reply.elapsed_ms <= AT_ONCE_MS)  # fmt: skip
    yield from sandbox.says("offline", "storage.full")
    sandbox.tenant.mend(lost_answers=0)
    yield from sandbox.arrives()
    yield from sandbox.sells(1)


def clock(sandbox: Sandbox) -> Iterator[Check]:
    """The loyalty system's clock and this till's are three hours apart, and then agree again."""
    faults = sandbox.tenant.simulator.faults
    faults.clock_skew_s = 3 * 3600.0
    yield from sandbox.sells()
    yield from sandbox.says("degraded", "clock.wrong")
    faults.clear()
    yield from sandbox.sells(1)
    yield from sandbox.arrives()


SCENES: Final[Mapping[str, Callable[[Sandbox], Iterator[Check]]]] = {
    "line-down": line_down,
    "slow": slow,
    "silent": silent,
    "500": errors,
    "429": throttled,
    "credentials": credentials,
    "certificate": certificate,
    "full": full,
    "clock": clock,
}
"""By the name that `--scene` takes."""


def rehearse(
    configuration: Configuration, scenes: Sequence[str], told: Callable[[Sheet], None], rng: random.Random
) -> list[Sheet]:
    """Plays scenes one after the other; what came of each.

    Args:
        configuration: this till's.
        scenes: of :data:`SCENES`, in the order to play them in.
        told: hears of each scene as it ends.
        rng: who buys what.

    Raises:
        AgentDiedError: the agent of the drill did not start, or did not get to know the members.
        OSError: no directory or port could be had.
    """
    sheets = []
    zone = ZoneInfo(configuration.settings.agent.timezone)
    place = configuration.state_dir if configuration.state_dir.is_dir() else None  # the disk that sales go to
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as name,
        _set_up(configuration, Path(name), SystemClock(zone), rng) as sandbox,
    ):
        for scene in scenes:
            sheets.append(_play(scene, sandbox))
            told(sheets[-1])
    return sheets


def _play(scene: str, sandbox: Sandbox) -> Sheet:
    began = time.monotonic()
    checks: list[Check] = []
    try:
        checks += SCENES[scene](sandbox)
    except httpx.TransportError:
        checks.append(Check("the agent does not answer any more", ok=False))
    return Sheet(scene, tuple(checks), time.monotonic() - began)


@contextmanager
def _set_up(configuration: Configuration, directory: Path, clock: SystemClock, rng: random.Random) -> Iterator[Sandbox]:
    """Everything that takes part, once the agent of the drill takes sales and knows the members."""
    trusted, other = directory / "loyalty.pem", directory / "impostor.pem"
    honest, impostor = make(trusted), make(other)
    state_dir, address = directory / "state", f"127.0.0.1:{free_port()}"
    state_dir.mkdir(mode=0o700)
    key = directory / "voyado.key"
    key.touch(mode=0o600)
    key.write_text(f"{API_KEY}\n", encoding="ascii")
    own, tokens = configuration.settings, Tokens(state_dir, clock)
    level = min(max(own.loyalty.fallback_level, TAG_LEVEL), REPLICA_LEVEL)
    till = Till(f"http://{address}", tokens.add("drill", "pos"), tokens.add("drill-admin", "admin"))
    with Tenant(directory / "voyado", MEMBERS, clock, rng, tls=honest) as tenant, closing(till):
        tables = _tables(configuration, tenant, level=level, state_dir=state_dir, address=address, trusted=trusted)
        file = write_configuration(directory / "config.toml", tables)
        agent = AgentProcess(file, f"http://{address}", directory / "agent.log")
        try:
            agent.start()
            sandbox = Sandbox(
                tenant=tenant,
                till=till,
                baskets=Baskets(own.agent.store_id, own.agent.till_id, clock.zone, rng),
                clock=clock,
                honest=honest,
                impostor=impostor,
                budget_ms=own.loyalty.live_lookup_budget.total_seconds() * 1000,
                level=level,
                locale=own.agent.locale,
                people=tenant.members(2 * SALES),
                stranger=tenant.stranger(),
            )
            try:
                ready = sandbox.is_ready()
            except httpx.TransportError:
                raise agent.died("The agent does not answer any more.") from None
            if not ready:
                raise agent.died(f"The agent does not know the members after {PATIENCE_S:.0f} s.")
            yield sandbox
        finally:
            agent.stop()


def _tables(
    configuration: Configuration, tenant: Tenant, *, level: int, state_dir: Path, address: str, trusted: Path
) -> dict[str, dict[str, Any]]:
    """This till's settings, as far as they say what happens at the till; short pauses, and little room."""
    own = configuration.settings
    return {
        "agent": {
            **{key: getattr(own.agent, key) for key in ("store_id", "till_id", "country", "timezone", "locale")},
            "state_dir": str(state_dir),
        },
        "api": {"listen": [address], "hits": "off", "misses": "off"},
        "loyalty": {
            "fallback_level": level,
            "secondary_keys": [key for key in own.loyalty.secondary_keys if key in _KNOWN_BY],
            "live_lookup": own.loyalty.live_lookup,
            "live_lookup_budget": duration(own.loyalty.live_lookup_budget),
        },
        "queue": {"flush_every": "1s", "backoff_first": "1s", "backoff_max": "2s", **_ROOM},
        "storage": {"encryption": own.storage.encryption},
        "http": {"connect_timeout": "1s", "read_timeout": "2s", "ca_file": str(trusted)},
        "voyado": {
            "base_url": tenant.url,
            "api_key": "file:voyado.key",
            "requests_per_second": 50,
            "feed": tenant.feed,
        },
    }
