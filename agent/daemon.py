"""The running agent: started, watched over, stopped.

Every loop of the agent is supervised: one that dies is logged and started again, because a till that stops
forwarding must never look healthy.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from agent import coredump, logs
from agent.api.app import create_app
from agent.api.rooms import Rooms
from agent.api.server import Server
from agent.assembly import Agent, open_agent
from agent.errors import StorageError
from agent.ports import Clock
from agent.service_manager import ServiceManager
from agent.settings import Configuration
from agent.storage import Storage
from agent.tokens import Tokens, forget_own

log = structlog.get_logger(__name__)

RESTART_PAUSE_S = 5.0
STOP_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class RunningAgent:
    """An agent that answers.

    Attributes:
        addresses: where, ports resolved.
        rooms: what it is made of, for a demonstration.
        tokens: its tokens.
    """

    addresses: list[str]
    rooms: Rooms
    tokens: Tokens


@contextlib.asynccontextmanager
async def running(
    configuration: Configuration,
    *,
    clock: Clock | None = None,
    chance: random.Random | None = None,
    manager: ServiceManager | None = None,
) -> AsyncIterator[RunningAgent]:
    """An agent that takes sales while the block runs, and stops in order at its end."""
    manager = manager or ServiceManager({})
    async with open_agent(configuration, clock=clock, chance=chance) as agent:
        await _look_at_the_trail(agent)
        users = bool(configuration.settings.api.socket_users)
        server = Server(create_app(agent.rooms), configuration.listen, users=users, handed_over=manager.listeners())
        unwritten = _make_own_token(agent.tokens)
        await server.start()
        work: dict[str, Callable[[], Awaitable[None]]] = {
            **{f"dispatch.{lane.vendor}": lane.run for lane in agent.dispatch.lanes},
            "clock": agent.timekeeper.run,
            "integrity": agent.storage.integrity.run,
            "redemptions": agent.redeeming.run,
            "room": agent.storage.room.watch,
            "purge": agent.purge.run_often,
            "lease": agent.lease.run,
            "status": agent.status.watch,
            "history": agent.history.run,
            "tokens": agent.tokens.watch,
        }
        if agent.sync is not None:
            work["sync"] = agent.sync.run
        if agent.seen is not None:
            work["cache"] = agent.seen.run
        if manager.beat_s is not None:
            work["life"] = partial(_show_life, manager, manager.beat_s, agent.storage)
        loops = [asyncio.create_task(_supervised(name, loop)) for name, loop in work.items()]
        if unwritten:
            loops.append(asyncio.create_task(_own_token_later(agent.tokens)))
        agent.calendar.start()
        log.info("started", version=agent.rooms.version, listen=list(server.addresses))
        manager.ready(f"takes sales on {', '.join(server.addresses)}")
        try:
            yield RunningAgent(list(server.addresses), agent.rooms, agent.tokens)
        finally:
            manager.stopping()
            agent.calendar.stop()
            await server.stop(STOP_GRACE_S)
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            forget_own(configuration.state_dir)
            log.info("stopped")


async def _look_at_the_trail(agent: Agent) -> None:
    try:
        await agent.audit.check()
    except StorageError:  # sales do not wait for it; the purge looks again by the hour
        log.exception("audit.unreadable")


def main(
    configuration: Configuration,
    *,
    manager: ServiceManager | None = None,
    stoppable: Callable[[Callable[[], object]], None] | None = None,
    log_file: Path | None = None,
) -> int:
    """Runs until it is told to stop; the exit status.

    Args:
        configuration: what it is to be.
        manager: who started it; without one, whoever the environment names.
        stoppable: is handed what stops the agent, from any thread, before it starts; without it SIGTERM and SIGINT do.
        log_file: where the log goes instead of standard error.

    Raises:
        LoyaltyAgentError: it could not start.
    """
    coredump.forbid()
    logs.configure(configuration.settings.log.level, configuration.settings.log.format, file=log_file)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_until_told(configuration, manager or ServiceManager(), stoppable or _at_signals))
    return 0


async def _until_told(
    configuration: Configuration, manager: ServiceManager, stoppable: Callable[[Callable[[], object]], None]
) -> None:
    stop = asyncio.Event()
    stoppable(partial(asyncio.get_running_loop().call_soon_threadsafe, stop.set))
    async with running(configuration, manager=manager):
        await stop.wait()


def _at_signals(stop: Callable[[], object]) -> None:
    if sys.platform == "win32":  # no event loop takes signals there; Ctrl-Break is what can be sent to a process
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGBREAK):
            signal.signal(number, lambda *_: stop())
    else:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _supervised(name: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception:  # whatever it was, the till goes on
            log.exception("loop.failed", name=name)
        await asyncio.sleep(RESTART_PAUSE_S)


async def _show_life(manager: ServiceManager, beat_s: float, storage: Storage) -> None:
    """Tells the service manager that the loop turns and the disk answers. Nothing else is reason to be killed."""
    while True:
        await storage.answer()
        manager.alive()
        await asyncio.sleep(beat_s)


def _make_own_token(tokens: Tokens) -> bool:
    """Leaves a token for the commands; whether that failed, which is no reason not to take sales."""
    try:
        tokens.make_own()
    except StorageError as error:
        log.warning("token.unwritten", code=error.code, reason=str(error))
        return True
    return False


async def _own_token_later(tokens: Tokens) -> None:
    while _make_own_token(tokens):  # noqa: ASYNC110 - no event tells of room on the disk
        await asyncio.sleep(RESTART_PAUSE_S)
