"""The run: a loyalty system is put up, each door proves that it is its own, and the cases are played one by one."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import httpx

from agent.clock import SystemClock
from agent.workbench.basket import Baskets
from agent.workbench.conformance.case import Case
from agent.workbench.conformance.door import Door, RationedError
from agent.workbench.conformance.proof import RationUsedUpError, UntestableError, prove
from agent.workbench.conformance.result import DoorResult, Finding
from agent.workbench.conformance.trial import POLL_S, PREFIX, Trial
from agent.workbench.conformance.verdict import NotApplicableError, StrayedError, UnmetError, shown
from agent.workbench.tenant import Tenant

HOST: Final = "127.0.0.1"
MEMBERS: Final = 260
SEED: Final = 11
"""The same members in the export and at the loyalty system, whenever each is made."""
ZONE: Final = ZoneInfo("Europe/Stockholm")
DIRECTORY: Final = "loyalty-agent-conformance-"
_ANSWER: Final = "an answer"
_SILENCES: Final = 3
"""So many cases in a row without one, and the others are not played."""
_LAST_WAIT_S: Final = 5.0
_LETTERS: Final = "bcdfghjkmnpqrstvwxz"


@contextmanager
def loyalty_system(port: int) -> Iterator[Tenant]:
    """The made-up loyalty system, which imports what it gets at once. Raises OSError where the port is taken."""
    made_up = random.Random(SEED)  # noqa: S311 - the same made-up people each time
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix=DIRECTORY))
        tenant = Tenant(Path(name), MEMBERS, SystemClock(ZONE), made_up, port=port)
        try:
            stack.enter_context(tenant)
        except OSError as error:
            where, why = f"{HOST}:{port}", f"{error.strerror}; is another kit at work there?"
            raise OSError(error.errno, why, where) from error
        tenant.simulator.configure(receipt_interval_s=0)
        tenant.vary(random.Random())  # noqa: S311 - and others in each run
        yield tenant


@contextmanager
def named(address: str, token: str, admin: str | None, *, port: int) -> Iterator[tuple[Door, Tenant]]:
    """A door of somebody else's, and a loyalty system on that port. Raises OSError where the port is taken."""
    with loyalty_system(port) as tenant, Door(address, token, admin) as door:
        yield door, tenant


def test(
    door: Door, tenant: Tenant, cases: Sequence[Case], *, patience_s: float, told: Callable[[Finding], None]
) -> DoorResult:
    """Plays the cases at a door; what came of it, also where Ctrl-C broke it off.

    Args:
        door: what is tested.
        tenant: the loyalty system that has to be its own.
        cases: in the order to play them in.
        patience_s: how long anything that takes its time may take.
        told: hears of each case as it ends.
    """
    try:
        level = prove(door, tenant, patience_s=patience_s)
    except UntestableError as untestable:
        return DoorResult(door.address, problem=untestable)
    except KeyboardInterrupt:
        return DoorResult(door.address, broken_off=True)
    run = "".join(random.choices(_LETTERS, k=8))  # noqa: S311 - a name
    baskets = Baskets(PREFIX, run, ZONE, random.Random())  # noqa: S311 - what is bought
    trial = Trial(door, tenant, run, baskets, SystemClock(ZONE), level, patience_s)
    findings: list[Finding] = []
    why, problem = "", None  # of a run that ends before its last case
    try:
        for finding in _played(cases, trial):
            findings.append(finding)
            told(finding)
    except KeyboardInterrupt:
        why = "broken off"
    except RationedError:
        why, problem = "the look-up ration is used up", RationUsedUpError()
    findings += [Finding.of(case, "skipped", why=why) for case in cases[len(findings) :]]
    return DoorResult(door.address, level, tuple(findings), problem, _leave(trial), broken_off=why == "broken off")


def _played(cases: Sequence[Case], trial: Trial) -> Iterator[Finding]:
    """What comes of each; the rest is left alone where the door is gone, or sales go astray."""
    silences, why = 0, ""
    for case in cases:
        if why:
            yield Finding.of(case, "skipped", why=why)
            continue
        try:
            finding = play(case, trial)
        except StrayedError as strayed:
            finding = Finding.of(case, "failed", expected=strayed.expected, got=strayed.got)
            why = "what the door has delivered is not with the kit's loyalty system: nothing more is sold"
        yield finding
        silences = silences + 1 if finding.expected == _ANSWER else 0
        if silences == _SILENCES:
            why = "the door does not answer any more"


def play(case: Case, trial: Trial) -> Finding:
    """What comes of one case. Raises StrayedError, RationedError."""
    if why := _beyond(case, trial):
        return Finding.of(case, "skipped", why=why)
    began = time.monotonic()

    def failed(expected: str, got: str) -> Finding:
        return Finding.of(case, "failed", elapsed_ms=_since(began), expected=expected, got=got)

    try:
        if trial.is_cut and not case.offline:
            trial.online()
        case.play(trial)
    except StrayedError:
        raise
    except UnmetError as unmet:
        return failed(unmet.expected, unmet.got)
    except NotApplicableError as reason:
        return Finding.of(case, "skipped", why=str(reason))
    except httpx.HTTPError as error:
        return failed(_ANSWER, f"none ({type(error).__name__})")
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        # A case asks an answer for what the contract says is in it; the error's own text may hold what somebody said.
        return failed("an answer of the contract's shape", f"another one ({_asked_for(error)})")
    return Finding.of(case, "passed", elapsed_ms=_since(began))


def _asked_for(error: Exception) -> str:
    return f"no {shown(error.args[0])}" if isinstance(error, KeyError) else type(error).__name__


def _beyond(case: Case, trial: Trial) -> str | None:
    if trial.level < case.level:
        return f"it takes fallback level {case.level}, and the agent is at {trial.level}"
    if case.admin and trial.door.admin is None:
        return "it takes a token of scope admin"
    return None


def _leave(trial: Trial) -> int:
    """Mends the line, and gives what waits a moment; how many sales of this run the agent has not delivered."""
    deadline = time.monotonic() + min(_LAST_WAIT_S, trial.patience_s)
    trial.tenant.simulator.faults.clear()
    try:
        trial.mend()
        while (left := trial.waiting()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    except httpx.HTTPError:
        return len(trial.made)
    return left


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
