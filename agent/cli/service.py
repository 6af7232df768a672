"""`service`: the agent as a Windows service, put in place, started, stopped. The MSI does so by itself."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import click

from agent import paths, windows_service
from agent.cli import exits, files
from agent.cli.configuration import file_of, load
from agent.cli.errors import UsageMistakeError
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.queue import STATES
from agent.disk import write_durably
from agent.errors import LoyaltyAgentError, StateHeldError
from agent.locks import try_hold
from agent.service_manager import ServiceManager
from agent.state import LOCK, OUTBOX
from agent.windows_service import Stoppable

LOG = "agent.log"


class UnsentError(LoyaltyAgentError):
    """Sales have not reached the loyalty system yet; nothing is erased."""

    code = "service.unsent"
    advice = "Let the agent deliver them, or give them up: loyalty-agent service erase --unsent."


@click.group(short_help="The Windows service: install, uninstall, start, stop, status.")
def service() -> None:
    """The agent as a Windows service. On Linux systemd runs it, and systemctl does all this."""
    if paths.PLATFORM != "win32":
        raise UsageMistakeError("There are no Windows services here: systemctl starts and stops the agent.")


@service.command(short_help="Put the service in place, without the MSI.")
@common
@pass_invocation
def install(invocation: Invocation) -> None:
    """Put the service in place and close its directories to everybody else; it starts with the machine."""
    named = ["--config", str(invocation.config.resolve())] if invocation.config is not None else []
    windows_service.install("service", "run", *named)
    _answer(invocation)


@service.command(short_help="What the service needs beside its name; the MSI calls this.")
@click.option(
    "--take",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A configuration that is put in place where there is none.",
)
@common
@pass_invocation
def prepare(invocation: Invocation, *, take: Path | None) -> None:
    """Have an installed service started again after failures, and close its directories to everybody else."""
    windows_service.prepare()
    if take is not None and not file_of(invocation).exists():
        write_durably(file_of(invocation), take.read_bytes())
    _answer(invocation)


@service.command(short_help="Take the service away; configuration and sales stay.")
@common
@pass_invocation
def uninstall(invocation: Invocation) -> None:
    """Stop the service and take it away; configuration, secrets and sales stay."""
    windows_service.uninstall()
    invocation.answer({"state": "uninstalled"}, "The service is gone; configuration and sales are still there.")


@service.command(short_help="Start the service.")
@common
@pass_invocation
def start(invocation: Invocation) -> None:
    """Start the service; whether it takes sales, `loyalty-agent status` says."""
    windows_service.start()
    _answer(invocation)


@service.command(short_help="Stop the service.")
@common
@pass_invocation
def stop(invocation: Invocation) -> None:
    """Stop the service and wait until it has ended."""
    windows_service.stop()
    _answer(invocation)


@service.command(short_help="How the service is.")
@common
@pass_invocation
def status(invocation: Invocation) -> int:
    """How Windows says that the service is; 0 only while it runs."""
    return exits.OK if _answer(invocation) == "running" else exits.DEGRADED


@service.command(short_help="Erase configuration, secrets, sales and logs; the MSI calls this.")
@click.option("--unsent", is_flag=True, help="Even while sales have not reached the loyalty system.")
@common
@pass_invocation
def erase(invocation: Invocation, *, unsent: bool) -> None:
    """Erase everything that the agent keeps on this machine: for KEEPDATA=0, once the service has stopped."""
    directory = paths.config_dir()
    _refuse_running(paths.state_dir(None) / LOCK)
    if not unsent and (file_of(invocation).exists() or (paths.state_dir(None) / OUTBOX).exists()):
        _refuse_unsent(invocation)
    if directory.exists():
        shutil.rmtree(directory)
    invocation.answer({"erased": str(directory)}, f"{directory}: erased")


@service.command(hidden=True)
@common
@pass_invocation
def run(invocation: Invocation) -> None:
    """Be the service: what Windows' service manager starts."""
    windows_service.host(partial(_agent, invocation), exits.status_for)


def _agent(invocation: Invocation, manager: ServiceManager, stoppable: Stoppable) -> int:
    configuration = load(invocation, secrets=True)
    from agent import daemon  # noqa: PLC0415 - the whole agent: a faulty configuration is told before it loads

    log = paths.log_dir() / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    return daemon.main(configuration, manager=manager, stoppable=stoppable, log_file=log)


def _answer(invocation: Invocation) -> str:
    found = windows_service.status()
    document = {"state": found.state, "exit_status": found.exit_status, "automatic": found.automatic}
    ended = f", its last end with status {found.exit_status}" if found.exit_status else ""
    invocation.answer(document, f"The service is {found.state}{ended}.")
    return found.state


def _refuse_running(lock: Path) -> None:
    """Raises StateHeldError while an agent works with what is to be erased."""
    if lock.exists():
        handle = os.open(lock, os.O_RDWR)
        try:
            if not try_hold(handle):
                raise StateHeldError
        finally:
            os.close(handle)


def _refuse_unsent(invocation: Invocation) -> None:
    """Raises UnsentError while sales wait, or nobody can say."""
    found = files.look(load(invocation, secrets=False))
    if found["outbox"] is not None and found["queue"] is None:
        raise UnsentError("Whether sales wait cannot be read; nothing is erased.")
    if unsent := sum((found["queue"] or {}).get(state, 0) for state in STATES):
        raise UnsentError(f"{unsent} deliveries have not reached their systems; nothing is erased.")
