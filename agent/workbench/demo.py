"""The demonstration: everything that takes part, set up in a directory of its own, and the result at the end.

It needs nothing but this program: the loyalty system is a simulator in a thread, the agent a process of its own, so
that it can be killed, and the till speaks HTTP.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from agent.clock import SystemClock
from agent.tokens import Tokens
from agent.workbench.agent_process import AgentProcess, free_port, write_configuration
from agent.workbench.basket import Baskets
from agent.workbench.day import Day
from agent.workbench.further import Further, Tally
from agent.workbench.ledger import Count
from agent.workbench.narration import Narrator
from agent.workbench.stage import Stage
from agent.workbench.tenant import API_KEY, Tenant
from agent.workbench.till import Till
from agent.workbench.welcome import OFFERS, POLICY

MEMBERS = 20_000
STORE, TILL, ZONE = "1042", "03", "Europe/Stockholm"
SEED = 7
_KEPT_INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """How the demonstration ended: the count, and what did not go as told."""

    count: Count
    wrong: list[str]
    elapsed_s: float
    further: dict[str, Tally] = field(default_factory=dict)

    @property
    def fine(self) -> bool:
        """Nothing is lost or doubled in any lane, and everything went as told."""
        return self.count.sound and all(tally.sound for tally in self.further.values()) and not self.wrong


@dataclass(frozen=True, slots=True)
class Kept:
    """Where everything is found while the demonstration stays up."""

    page: str
    customers: str
    administration: str
    documentation: str
    config: str
    pos_token: str = field(repr=False)
    admin_token: str = field(repr=False)
    voyado_url: str
    voyado_state: str
    voyado_api_key: str
    export_folder: str


def play(
    *,
    quiet: bool,
    told: Callable[[Result, Kept | None], None],
    keep: Callable[[], None] | None,
    vendors: Sequence[str] = (),
) -> Result:
    """Plays the day from beginning to end.

    Args:
        quiet: tell nothing on the way.
        told: called with the result, and where everything is if it stays up.
        keep: called to stay up for as long as it does not return; None to end at once.
        vendors: who gets the sales beside the loyalty system, of :data:`agent.workbench.further.RECIPES`.

    Raises:
        AgentDiedError: the agent did not start.
        OSError: no directory or port could be had.
    """
    began = time.monotonic()
    clock = SystemClock(ZoneInfo(ZONE))
    rng = random.Random(SEED)  # noqa: S311 - the same made-up people each time
    narrator = Narrator(quiet=quiet)
    with tempfile.TemporaryDirectory(prefix="loyalty-agent-demo-") as name:
        directory = Path(name)
        with Tenant(directory / "voyado", MEMBERS, clock, rng) as tenant, ExitStack() as lines:
            further = [lines.enter_context(Further(vendor, directory, clock)) for vendor in vendors]
            state_dir = directory / "state"
            state_dir.mkdir(mode=0o700)
            tokens = Tokens(state_dir, clock)
            pos, admin = tokens.add("demo-till", "pos"), tokens.add("demo-admin", "admin")
            address = f"127.0.0.1:{free_port()}"
            config, log = _configure(directory, state_dir, address, tenant, further), directory / "agent.log"
            agent = AgentProcess(config, f"http://{address}", log)
            till = Till(f"http://{address}", pos, admin)
            baskets = Baskets(STORE, TILL, clock.zone, rng)
            stage = Stage(clock, tenant, agent, till, baskets, narrator, [state_dir, log], further)
            try:
                count, tallies = Day(stage).play()
                result = Result(count, stage.wrong, time.monotonic() - began, tallies)
                _tell(narrator, result)
                if keep is None:
                    told(result, None)
                else:
                    tenant.simulator.import_receipts_now()
                    tenant.simulator.configure(receipt_interval_s=_KEPT_INTERVAL_S, export_interval_s=_KEPT_INTERVAL_S)
                    told(result, _kept(address, config, pos, admin, tenant))
                    keep()
            finally:
                till.close()
                agent.stop()
    return result


def _configure(directory: Path, state_dir: Path, address: str, tenant: Tenant, further: Sequence[Further]) -> Path:
    """Writes the agent's configuration: short pauses and retention, no encryption; the last chapter says why."""
    key = directory / "voyado.key"
    key.touch(mode=0o600)
    key.write_text(API_KEY + "\n", encoding="ascii")
    tables: dict[str, dict[str, Any]] = {
        "agent": {
            "store_id": STORE,
            "till_id": TILL,
            "timezone": ZONE,
            "locale": "sv-SE",
            "support": "IT-supporten, 08-465 004 10",
            "state_dir": os.fspath(state_dir),
        },
        "api": {"listen": [address], "hits": "off", "misses": "off"},
        "loyalty": {"fallback_level": 4},
        "benefits": {"offline": POLICY, "welcome": OFFERS},
        "queue": {"flush_every": "1s", "backoff_first": "1s", "backoff_max": "2s"},
        "retention": {"delivered": "1s"},
        "storage": {"encryption": "off"},
        "voyado": {
            "base_url": tenant.url,
            "api_key": f"file:{key.name}",
            "requests_per_second": 50,
            "feed": tenant.feed,
        },
        **{f"forward.{one.name}": one.table() for one in further},
    }
    return write_configuration(directory / "config.toml", tables)


def _kept(address: str, config: Path, pos: str, admin: str, tenant: Tenant) -> Kept:
    url = f"http://{address}"
    return Kept(
        page=f"{url}/",
        customers=f"{url}/customer",
        administration=f"{url}/admin",
        documentation=f"{url}/docs",
        config=os.fspath(config),
        pos_token=pos,
        admin_token=admin,
        voyado_url=tenant.url,
        voyado_state=f"{tenant.url}/_sim/state",
        voyado_api_key=API_KEY,
        export_folder=os.fspath(tenant.simulator.exports.folder),
    )


def _tell(narrator: Narrator, result: Result) -> None:
    narrator.chapter("The count", "At the loyalty system, by transaction id.")
    count = asdict(result.count)
    rows = (
        ("made", "sales with a member that the till got an answer for"),
        ("delivered", "of these, at the loyalty system"),
        ("doubled", "booked more than once, or arrived though they should not"),
        ("lost", "of these, not at the loyalty system"),
    )
    for name, words in rows:
        narrator.plain(f"   {name:<10} {count[name]:>6,}   {words}")
    for vendor, tally in result.further.items():
        ends = f"{tally.doubled} doubled, {tally.lost} lost"
        narrator.plain(f"   {vendor:<10} {tally.delivered:>6,} of {tally.made:,} delivered, {ends}")
    narrator.plain("")
    sound = result.count.sound and all(tally.sound for tally in result.further.values())
    verdict = "nothing lost, nothing doubled" if sound else "NOT WHAT WAS PROMISED"
    narrator.say(f"{verdict}; the day took {result.elapsed_s:.0f} s", good=result.fine)
    for text in result.wrong:
        narrator.say(f"did not go as told: {text}", good=False)
