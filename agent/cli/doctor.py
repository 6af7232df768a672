"""`doctor`: everything that a technician would look at first, as one sheet. It starts and changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any
from zoneinfo import ZoneInfo

import click

from agent.cli import exits
from agent.cli.client import Daemon
from agent.cli.configuration import load, warnings_of
from agent.cli.errors import (
    DaemonRefusedError,
    DaemonSilentError,
    DaemonUnreachableError,
    NotTheAgentError,
    PermissionRefusedError,
    TokenForgottenError,
)
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.ownership import as_owner_of
from agent.doctor.findings import AS_WHOM, Finding, Grade, fail, ok, unknown, warn, worst
from agent.errors import ConfigurationError, StorageError
from agent.locks import PORT_OPTION
from agent.settings import Configuration

_UNIX = "unix:"
_GRADES = {"error": fail, "warning": warn}
_WAIT_S = 10.0
_START = "Start it: systemctl start loyalty-agent, or loyalty-agent run."
_SETTINGS = "config.example.toml explains each setting."


@click.command(short_help="Look at everything, and say what to do.")
@click.option("--online", is_flag=True, help="Also ask the vendors: names, TLS, credentials, clocks, files.")
@common
@pass_invocation
def doctor(invocation: Invocation, *, online: bool) -> int:
    """Look at everything that a till needs, and say what to do about what is wrong: 1 if anything fails.

    Each row is ok, warn, fail, or unknown where it could not be looked at. Works with and without a running agent;
    nothing is started or changed, and no network is used without --online.
    """
    findings: list[Finding] = []
    for finding in look(invocation, online=online):
        findings.append(finding)
        if not invocation.json:
            for line in _lines(finding):
                click.echo(line)
    counts = {str(grade): sum(finding.state is grade for finding in findings) for grade in Grade}
    passed = worst(findings) is not Grade.FAIL
    document = {"ok": passed, "online": online, "counts": counts, "checks": [asdict(one) for one in findings]}
    told = ", ".join(f"{count} {grade}" for grade, count in counts.items() if count)
    invocation.answer(document, f"\n{told}")
    return exits.OK if passed else exits.DEGRADED


def look(invocation: Invocation, *, online: bool) -> Iterator[Finding]:
    """Every finding, as each is made."""
    from agent.clock import SystemClock  # noqa: PLC0415 - what follows takes time to import, and is for this alone
    from agent.doctor.files import look_at_files  # noqa: PLC0415
    from agent.doctor.folders import look_at_folders  # noqa: PLC0415
    from agent.doctor.machine import look_at_clock, look_at_disk, look_at_service  # noqa: PLC0415

    configuration, found = _configured(invocation)
    yield from found
    if configuration is None:
        unread = "nothing else can be looked at before the configuration can be read"
        yield unknown("agent", unread, "Mend the configuration first.")
        return
    clock = SystemClock(ZoneInfo(configuration.settings.agent.timezone))
    yield from _agent(configuration)
    yield look_at_service()
    with as_owner_of(configuration.state_dir):
        yield from look_at_disk(configuration)
        yield from look_at_clock(configuration, clock.now())
        yield from look_at_files(configuration, clock)
        yield from look_at_folders(configuration, clock)
    if online:
        yield from _online(configuration)


def _configured(invocation: Invocation) -> tuple[Configuration | None, list[Finding]]:
    """The configuration, without its secrets if they cannot be read; and what is wrong with it."""
    check = "configuration"
    faults: list[Finding] = []
    for secrets in (True, False):
        try:
            configuration = load(invocation, secrets=secrets)
        except ConfigurationError as error:
            faults = faults or [_fault(f"{fault.pointer} {fault.message}") for fault in error.faults]
            continue
        if not os.access(configuration.state_dir, os.R_OK):  # nor is this the agent's user
            faults = [unknown(check, one.detail, AS_WHOM) if _is_closed(one.detail) else one for one in faults]
        said = [warn(check, f"{one.pointer} {one.message}", _SETTINGS) for one in warnings_of(configuration)]
        return configuration, [*faults, *said] or [ok(check, "no faults, and every secret can be read")]
    return None, faults


def _fault(text: str) -> Finding:
    """A fault of the configuration; a credential that is closed to this user is handed to the service all the same."""
    if " credential:" in text and _is_closed(text):
        return unknown("configuration", text, "Run doctor as root: systemd reads credentials before the agent starts.")
    return fail("configuration", text, "Mend what it names; loyalty-agent config check shows every fault.")


def _is_closed(text: str) -> bool:
    return text.endswith(os.strerror(errno.EACCES))


def _agent(configuration: Configuration) -> Iterator[Finding]:
    """The running agent in its own words; without one, whether its door is free."""
    with Daemon(configuration, timeout_s=_WAIT_S) as daemon:
        try:
            answer = daemon.status()
        except (DaemonSilentError, TokenForgottenError) as error:
            yield fail("agent", str(error), error.advice)
            return
        except DaemonUnreachableError as error:
            not_ours = isinstance(error, NotTheAgentError)
            yield fail("agent", str(error), error.advice if not_ours else _START)
            yield from _doors(configuration)
            return
        except (DaemonRefusedError, PermissionRefusedError, StorageError) as error:
            yield unknown("agent", str(error), AS_WHOM)
            return
    state, text = answer["state"], f"{answer['state']} at {daemon.address}, fallback level {answer['level']}"
    if state == "online":
        yield ok("agent", text)
    else:
        yield warn("agent", text, "The conditions below say why.")
    yield from (_condition(one) for one in answer["conditions"])


def _condition(one: dict[str, Any]) -> Finding:
    detail = f"{one['title']}{': ' if one.get('detail') else ''}{one.get('detail') or ''}"
    make: Callable[[str, str, str], Finding] | None = _GRADES.get(one["severity"])
    return make(one["code"], detail, one.get("remedy") or "") if make else ok(one["code"], detail)


def _doors(configuration: Configuration) -> Iterator[Finding]:
    """Whether each address that the agent would listen at is free: somebody else's door would be taken for ours."""
    for place in configuration.listen:
        if place.startswith(_UNIX):
            yield _socket(place)
            continue
        host, _, port = place.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        try:
            with socket.socket(family) as door:  # which a machine without IPv6 refuses
                door.setsockopt(socket.SOL_SOCKET, PORT_OPTION, 1)
                door.bind((host.strip("[]"), int(port)))
        except OSError as error:
            text = f"{place} cannot be listened at: {error.strerror}"
            yield fail("door", text, f"Stop the other program (ss -ltnp 'sport = :{port}'), or change api.listen.")
        else:
            yield ok("door", f"{place} is free")


def _socket(place: str) -> Finding:
    if sys.platform != "win32":  # where none is listened at
        with socket.socket(socket.AF_UNIX) as door, contextlib.suppress(OSError):
            door.connect(place.removeprefix(_UNIX))
            text = f"{place} cannot be listened at: somebody else does"
            return fail("door", text, "Stop the other program (ss -lxp), or change api.listen.")
    return ok("door", f"{place} is free")


def _online(configuration: Configuration) -> Iterator[Finding]:
    from agent.doctor.online import look_online  # noqa: PLC0415 - every vendor's room

    findings = look_online(configuration)

    async def another() -> Finding | None:
        return await anext(findings, None)

    with asyncio.Runner() as runner:  # each is told as it is made: some take as long as a time-out
        while (finding := runner.run(another())) is not None:
            yield finding


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.state:<8} {finding.check:<22} {finding.detail}"
    if finding.remedy and finding.state is not Grade.OK:
        yield f"{'':<31} -> {finding.remedy}"
