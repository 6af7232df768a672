"""Keeping the databases whole: damage is found, what is readable is rescued, and sales go on without anybody's help.

Each database is looked through at the start, every day, and at once when somebody meets damage in it. It is taken away
from its users for as long as it is being made whole; they hear that it is not available, and nothing is half done.
What a rescue did stands as a condition until an administrator has seen it. A database that cannot be opened for another
reason, such as a full disk, is tried again until it can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from agent.errors import StorageDamagedError, StorageError, StorageFullError, StorageKeyError
from agent.kept import Kept, Report
from agent.ports import Clock

log = structlog.get_logger(__name__)

FIRST_CHECK_S = 2.0
"""After the start, so that the first sale does not wait for it."""
RETRY_FIRST_S, RETRY_MAX_S = 1.0, 60.0
SETTLE_S = 5.0
AGAIN_S = 3600.0
"""A second suspicion within this time is believed, whatever the examination says."""


class Guarded(Protocol):
    """A database as this room needs it. Every method raises StorageError for what cannot be done now."""

    name: str
    irreplaceable: bool

    async def open(self) -> None:
        """Opens it; nothing when it is open. Raises StorageDamagedError, and leaves it as it is then."""

    async def shut(self, reason: StorageError) -> None:
        """Takes it away from its users, who hear the reason."""

    async def examine(self) -> str | None:
        """What is wrong with it, whether or not it is in use; None when it is whole."""

    async def mend(self, reason: str, now: datetime) -> Report:
        """Keeps what is damaged aside and puts what can be rescued in its place, shut still."""

    @property
    def whole(self) -> bool:
        """Whether there is nothing left to be fetched again."""


@dataclass(slots=True)
class _Case:
    """How it stands with one database.

    Attributes:
        shut: what its users hear; None while it is open.
        damage: what is known to be wrong with it, until it has been made whole.
        suspected: somebody met damage in it.
        acquitted_mono: when an examination last found nothing after a suspicion.
        failures: attempts to open or mend it that came to nothing, in a row.
        due_mono: when the next one is made.
    """

    guarded: Guarded
    shut: StorageError | None = None
    damage: str | None = None
    suspected: bool = False
    acquitted_mono: float = float("-inf")
    failures: int = 0
    due_mono: float = 0.0


class Integrity:
    """Watches over the databases.

    Args:
        clock: for instants and intervals.
        guarded: the databases, the outbox first.
        kept: what was set aside, with its reports.
        alone: held while files are read through or exchanged; whoever rewrites them holds it too.
        changed: called when something changed for whoever waits for a database.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        guarded: Sequence[Guarded],
        kept: Kept,
        alone: asyncio.Lock,
        changed: Callable[[], None],
    ) -> None:
        self._clock, self._kept, self._alone, self._changed = clock, kept, alone, changed
        self._cases = {one.name: _Case(one) for one in guarded}
        self._wake = asyncio.Event()
        self._reports: tuple[Report, ...] = ()
        self._unkept: dict[str, Report] = {}
        """Of files that there was no room to keep aside, so that there is no folder for the report either."""

    async def start(self) -> None:
        """Opens the databases. What cannot be opened now is left to :meth:`attend`.

        Raises:
            StorageKeyError: the outbox is there, but not its key.
        """
        for case in self._cases.values():
            await self._open(case)
        self._read_reports()

    async def attend(self) -> None:
        """Makes whole what is damaged and opens what is shut, where it is time for that. Raises StorageKeyError."""
        for case in tuple(self._cases.values()):
            await self._attend(case)

    def guard(self, guarded: Guarded) -> None:
        """Watches over another one, which somebody else opens."""
        self._cases[guarded.name] = _Case(guarded)

    def suspect(self, name: str) -> None:
        """Somebody met damage in a database."""
        self._cases[name].suspected = True
        self._wake.set()

    def unavailable(self, name: str, error: StorageError) -> None:
        """A database could not be opened by somebody else: it is made whole, or tried again until it can."""
        case = self._cases[name]
        if isinstance(error, StorageKeyError):  # its own key was read: the file is another one's
            error = StorageDamagedError(str(error))
        if isinstance(error, StorageDamagedError):
            case.damage = str(error)
        self._failed(case, error)
        self._wake.set()

    def findings(self) -> tuple[str, ...]:
        """What is damaged or was, in words for an administrator; nothing once it is whole and has been seen."""
        standing = [
            f"{case.guarded.name}: {case.damage or case.shut}"
            for case in self._cases.values()
            if case.damage is not None or not (case.shut is None or isinstance(case.shut, StorageFullError))
        ]
        return (*standing, *(describe(report) for report in self._reports if report.acknowledged_at is None))

    @property
    def reports(self) -> tuple[Report, ...]:
        """What was set aside and is still kept."""
        return self._reports

    def acknowledge(self) -> int:
        """An administrator has seen the reports; how many were new. Raises StorageError."""
        now = self._clock.now()
        try:
            seen = self._kept.acknowledge(now)
        except OSError as error:
            raise StorageError(f"the report cannot be written: {error.strerror}") from error
        for name, report in self._unkept.items():
            if report.acknowledged_at is None:
                self._unkept[name], seen = replace(report, acknowledged_at=now), seen + 1
        self._read_reports()
        self._changed()
        return seen

    async def purge(self, taken_before: datetime, now: datetime) -> int:
        """Erases kept files that hold personal data from before; how many. Raises StorageError."""
        try:
            erased = await asyncio.to_thread(self._kept.purge, taken_before, now)
        except OSError as error:
            raise StorageError(f"kept files cannot be erased: {error.strerror}") from error
        self._read_reports()
        return erased

    async def check(self) -> None:
        """Looks both databases through; what is not whole is made so at once."""
        for case in self._cases.values():
            if case.shut is not None:
                continue
            async with self._alone:
                try:
                    wrong = await case.guarded.examine()
                except StorageError as error:
                    log.warning("damage.check_failed", file=case.guarded.name, code=error.code)
                    continue
            log.info("damage.checked", file=case.guarded.name, stands=wrong is not None)
            if wrong is not None and case.shut is None:
                case.damage = wrong
                self._wake.set()

    async def run(self) -> None:
        """Works for ever; ends by cancellation."""
        first = asyncio.create_task(self._first_check())
        try:
            while True:
                self._wake.clear()
                await self.attend()
                self._settle()
                try:
                    async with asyncio.timeout(self._pause_s()):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            first.cancel()

    # --- one database ---------------------------------------------------------------------------------------

    async def _first_check(self) -> None:
        await asyncio.sleep(FIRST_CHECK_S)
        await self.check()

    async def _attend(self, case: _Case) -> None:
        if case.suspected:
            case.suspected = False
            await self._look_into(case)
        if self._clock.monotonic() < case.due_mono:
            return
        if case.damage is not None:
            await self._mend(case, case.damage)
        elif case.shut is not None:
            await self._open(case)

    async def _look_into(self, case: _Case) -> None:
        """Somebody met damage: nobody else is to. A suspicion that comes back is believed without another look."""
        name = case.guarded.name
        log.warning("damage.suspected", file=name)
        await self._shut(case, StorageError(f"{name} is being looked through: it seems to be damaged"))
        if self._clock.monotonic() - case.acquitted_mono < AGAIN_S:
            case.damage = "it turned out to be damaged again, although nothing was found"
            return
        try:
            case.damage = await case.guarded.examine()
        except StorageDamagedError as error:
            case.damage = str(error)
        except StorageError as error:
            self._failed(case, error)
        else:
            case.acquitted_mono = self._clock.monotonic()

    async def _open(self, case: _Case) -> None:
        try:
            await case.guarded.open()
        except StorageKeyError:
            raise
        except StorageError as error:
            if isinstance(error, StorageDamagedError):
                case.damage = str(error)
            self._failed(case, error)
            return
        if case.shut is not None:
            log.info("database.open", file=case.guarded.name)
        case.shut, case.damage, case.suspected, case.failures = None, None, False, 0
        self._changed()

    async def _mend(self, case: _Case, reason: str) -> None:
        name = case.guarded.name
        log.error("damage.found", file=name, reason=reason)
        await self._shut(case, StorageError(f"{name} is damaged and being made whole"))
        try:
            report = await case.guarded.mend(reason, self._clock.now())
        except StorageError as error:
            self._failed(case, error)
            return
        log.warning("damage.mended", file=name, counts={"rescued": dict(report.rescued), "lost": dict(report.lost)})
        case.damage = None
        if not report.folder:
            self._unkept[name] = report
        self._read_reports()
        await self._open(case)

    async def _shut(self, case: _Case, reason: StorageError) -> None:
        case.shut = reason
        await case.guarded.shut(reason)
        self._changed()

    def _failed(self, case: _Case, error: StorageError) -> None:
        """Tried again later; what is found to be damaged is made whole at once the first time."""
        if type(error) is not type(case.shut):
            log.warning("database.unavailable", file=case.guarded.name, code=error.code, reason=str(error))
        first = case.failures == 0 and isinstance(error, StorageDamagedError)
        pause_s = 0.0 if first else min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(case.failures, 10))
        case.due_mono = self._clock.monotonic() + pause_s
        case.shut, case.failures = error, case.failures + 1
        self._changed()

    # --- what is kept ---------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """What was fetched again is whole: nothing of the former file is needed any more."""
        done = [
            report
            for report in self._reports
            if not self._irreplaceable(report) and self._cases[report.file].guarded.whole
        ]
        if done:
            try:
                for report in done:
                    if report.folder:
                        self._kept.erase(report.folder)
                    else:
                        del self._unkept[report.file]
            except OSError as error:
                log.warning("damage.unfinished", error=type(error).__name__)
            self._read_reports()
            self._changed()

    def _read_reports(self) -> None:
        try:
            self._reports = (*self._kept.reports(), *self._unkept.values())
        except OSError as error:
            log.warning("damage.unfinished", error=type(error).__name__)

    def _pause_s(self) -> float | None:
        """Seconds until there is something to do; None when somebody has to say so."""
        now = self._clock.monotonic()
        open_cases = [case for case in self._cases.values() if case.damage is not None or case.shut is not None]
        pauses = [max(0.0, case.due_mono - now) for case in open_cases]
        if any(report.file in self._cases and not self._irreplaceable(report) for report in self._reports):
            pauses.append(SETTLE_S)
        return min(pauses, default=None)

    def _irreplaceable(self, report: Report) -> bool:
        case = self._cases.get(report.file)
        return case is None or case.guarded.irreplaceable


def describe(report: Report) -> str:
    """A report in a line."""
    counts = [f"{count} {name.replace('_', ' ')} rescued" for name, count in report.rescued.items()]
    counts += [f"{count} {name} lost" for name, count in report.lost.items()]
    kept = f"kept as damaged/{report.folder}" if report.folder else "not kept: there was no room"
    return f"{report.file} {report.found_at:%Y-%m-%d %H:%M} UTC: {', '.join([*counts, kept])}"
