"""A simulated vendor on a port, for POS vendors and integrators to work against."""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agent.clock import SystemClock
from agent.connectors.antavo.simulator import AntavoSimulator
from agent.connectors.monetary.simulator import MonetarySimulator
from agent.connectors.mparticle.simulator import MparticleSimulator
from agent.connectors.simulation.server import Simulated, serve
from agent.connectors.voucherify.simulator import VoucherifySimulator
from agent.connectors.voyado.simulator import SimulatorSettings, VoyadoSimulator

TICK_S = 0.5


def run(simulator: Simulated, port: int, ready: Callable[[str], None]) -> None:
    """Serves a simulated vendor until SIGINT or SIGTERM; what it does by itself happens in real time.

    Args:
        simulator: the vendor.
        port: where it listens on loopback; 0 takes a free port.
        ready: called once, when it listens, with the URL.

    Raises:
        OSError: the port is taken.
    """
    asyncio.run(_serve(simulator, port, ready))


async def _serve(simulator: Simulated, port: int, ready: Callable[[str], None]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    running = await serve(simulator, port=port, tick_s=TICK_S)
    try:
        ready(running.url)
        await stop.wait()
    finally:
        await running.stop()


@contextmanager
def voyado(
    directory: Path | None,
    *,
    contacts: int,
    api_key: str,
    receipt_interval_s: float,
    export_interval_s: float,
    seed: int,
) -> Iterator[VoyadoSimulator]:
    """A Voyado Engage tenant whose whole membership lies in its export folder.

    Args:
        directory: stands in for the SFTP account; None makes one that is removed at the end.
        contacts: size of the made-up membership.
        api_key: the key that it accepts.
        receipt_interval_s: seconds between imports of receipts.
        export_interval_s: seconds between contact exports.
        seed: makes the same membership again.

    Raises:
        OSError: the directory cannot be written.
    """
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voyado-simulator-")))
        settings = SimulatorSettings(
            root=directory,
            api_keys=(api_key,),
            receipt_interval_s=receipt_interval_s,
            export_interval_s=export_interval_s,
        )
        # Made-up people: a seed that can be named again is the point, not secrecy.
        simulator = VoyadoSimulator(settings, now=SystemClock().now, rng=random.Random(seed))  # noqa: S311
        simulator.seed(contacts)
        simulator.export_full()
        yield simulator


def mparticle(api_key: str, api_secret: str) -> MparticleSimulator:
    """An mParticle input that accepts this key."""
    return MparticleSimulator({api_key: api_secret}, now=SystemClock().now)


def antavo(api_key: str, api_secret: str, *, environment: str, anonymous: bool, accepts: bool) -> AntavoSimulator:
    """An Antavo workspace.

    Args:
        api_key: the key that it accepts.
        api_secret: the secret that belongs to the key.
        environment: what signatures have to be made for.
        anonymous: an event for a customer whom it does not know makes one.
        accepts: checkouts wait until they are accepted.
    """
    simulator = AntavoSimulator({api_key: api_secret}, now=SystemClock().now, environment=environment)
    simulator.books.anonymous, simulator.books.accepts = anonymous, accepts
    return simulator


def voucherify(app_id: str, app_token: str, *, per_minute: int) -> VoucherifySimulator:
    """A Voucherify project that accepts this application id, and so many calls in a minute."""
    return VoucherifySimulator({app_id: app_token}, now=SystemClock().now, per_minute=per_minute)


def monetary(key: str) -> MonetarySimulator:
    """An account of Monetary Engage whose one location has this key."""
    return MonetarySimulator({key: "location-1"}, now=SystemClock().now)
