"""A simulated vendor on a port, for POS vendors and integrators to work against."""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from agent.clock import SystemClock
from agent.connectors.antavo.simulator import AntavoSimulator
from agent.connectors.mparticle.simulator import MparticleSimulator
from agent.connectors.simulation.server import RunningSimulator, Simulated, serve
from agent.connectors.voucherify.simulator import VoucherifySimulator
from agent.connectors.voyado.simulator import SimulatorSettings, VoyadoSimulator

TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class VoyadoOptions:
    """What a simulated Voyado Engage tenant is started with.

    Attributes:
        port: where it listens on loopback; 0 takes a free port.
        contacts: size of the made-up membership.
        directory: stands in for the SFTP account; None makes one that is removed at the end.
        api_key: the key that it accepts.
        receipt_interval_s: seconds between imports of receipts.
        export_interval_s: seconds between contact exports.
        seed: makes the same membership again.
    """

    port: int
    contacts: int
    directory: Path | None
    api_key: str
    receipt_interval_s: float
    export_interval_s: float
    seed: int


@dataclass(frozen=True, slots=True)
class VoyadoAddress:
    """Where a simulated tenant is found."""

    base_url: str
    control_url: str
    api_key: str
    export_folder: Path
    contacts: int

    @property
    def feed(self) -> str:
        """The export folder as `voyado.feed` spells it."""
        return self.export_folder.resolve().as_uri()


def run_voyado(options: VoyadoOptions, ready: Callable[[VoyadoAddress], None]) -> None:
    """Serves a tenant until SIGINT or SIGTERM, its jobs running in real time.

    Args:
        options: what it is started with.
        ready: called once, when it listens and the whole membership lies in its export folder.

    Raises:
        OSError: the port is taken, or the directory cannot be written.
    """
    with ExitStack() as stack:
        directory = options.directory
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voyado-simulator-")))
        settings = SimulatorSettings(
            root=directory,
            api_keys=(options.api_key,),
            receipt_interval_s=options.receipt_interval_s,
            export_interval_s=options.export_interval_s,
        )
        # Made-up people: a seed that can be named again is the point, not secrecy.
        simulator = VoyadoSimulator(settings, now=SystemClock().now, rng=random.Random(options.seed))  # noqa: S311
        simulator.seed(options.contacts)
        simulator.export_full()

        def listening(running: RunningSimulator) -> None:
            ready(
                VoyadoAddress(
                    base_url=running.url,
                    control_url=f"{running.url}/_sim/state",
                    api_key=options.api_key,
                    export_folder=simulator.exports.folder,
                    contacts=options.contacts,
                )
            )

        asyncio.run(_serve(simulator, options.port, listening))


@dataclass(frozen=True, slots=True)
class MparticleOptions:
    """What a simulated mParticle input is started with.

    Attributes:
        port: where it listens on loopback; 0 takes a free port.
        api_key: the key that it accepts.
        api_secret: the secret that belongs to the key.
    """

    port: int
    api_key: str
    api_secret: str


@dataclass(frozen=True, slots=True)
class MparticleAddress:
    """Where a simulated input is found."""

    base_url: str
    control_url: str
    api_key: str
    api_secret: str


def run_mparticle(options: MparticleOptions, ready: Callable[[MparticleAddress], None]) -> None:
    """Serves an input until SIGINT or SIGTERM.

    Args:
        options: what it is started with.
        ready: called once, when it listens.

    Raises:
        OSError: the port is taken.
    """
    simulator = MparticleSimulator({options.api_key: options.api_secret}, now=SystemClock().now)

    def listening(running: RunningSimulator) -> None:
        ready(MparticleAddress(f"{running.url}/v2", f"{running.url}/_sim/state", options.api_key, options.api_secret))

    asyncio.run(_serve(simulator, options.port, listening))


@dataclass(frozen=True, slots=True)
class AntavoOptions:
    """What a simulated Antavo workspace is started with.

    Attributes:
        port: where it listens on loopback; 0 takes a free port.
        api_key: the key that it accepts.
        api_secret: the secret that belongs to the key.
        environment: what signatures have to be made for.
        anonymous: an event for a customer whom it does not know makes one.
        accepts: checkouts wait until they are accepted.
    """

    port: int
    api_key: str
    api_secret: str
    environment: str
    anonymous: bool
    accepts: bool


@dataclass(frozen=True, slots=True)
class AntavoAddress:
    """Where a simulated workspace is found."""

    base_url: str
    control_url: str
    environment: str
    api_key: str
    api_secret: str


def run_antavo(options: AntavoOptions, ready: Callable[[AntavoAddress], None]) -> None:
    """Serves a workspace until SIGINT or SIGTERM.

    Args:
        options: what it is started with.
        ready: called once, when it listens.

    Raises:
        OSError: the port is taken.
    """
    keys = {options.api_key: options.api_secret}
    simulator = AntavoSimulator(keys, now=SystemClock().now, environment=options.environment)
    simulator.books.anonymous, simulator.books.accepts = options.anonymous, options.accepts

    def listening(running: RunningSimulator) -> None:
        state = f"{running.url}/_sim/state"
        ready(AntavoAddress(running.url, state, options.environment, options.api_key, options.api_secret))

    asyncio.run(_serve(simulator, options.port, listening))


@dataclass(frozen=True, slots=True)
class VoucherifyOptions:
    """What a simulated Voucherify project is started with.

    Attributes:
        port: where it listens on loopback; 0 takes a free port.
        app_id: the application id that it accepts.
        app_token: the token that belongs to the id.
        per_minute: calls that it takes in a minute.
    """

    port: int
    app_id: str
    app_token: str
    per_minute: int


@dataclass(frozen=True, slots=True)
class VoucherifyAddress:
    """Where a simulated project is found."""

    base_url: str
    control_url: str
    app_id: str
    app_token: str


def run_voucherify(options: VoucherifyOptions, ready: Callable[[VoucherifyAddress], None]) -> None:
    """Serves a project until SIGINT or SIGTERM.

    Args:
        options: what it is started with.
        ready: called once, when it listens.

    Raises:
        OSError: the port is taken.
    """
    keys = {options.app_id: options.app_token}
    simulator = VoucherifySimulator(keys, now=SystemClock().now, per_minute=options.per_minute)

    def listening(running: RunningSimulator) -> None:
        ready(VoucherifyAddress(running.url, f"{running.url}/_sim/state", options.app_id, options.app_token))

    asyncio.run(_serve(simulator, options.port, listening))


async def _serve(simulator: Simulated, port: int, listening: Callable[[RunningSimulator], None]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    running = await serve(simulator, port=port, tick_s=TICK_S)
    try:
        listening(running)
        await stop.wait()
    finally:
        await running.stop()
