"""What goes to the vendor one by one between the sales: whose turn it is, and what becomes of what fails.

An outage speaks against nobody. What fails by itself waits longer each time, and in the end for a person; what the
vendor's errors single out, too. Each kind of record has turns of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import structlog

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.link import Link
from agent.domain.suspicion import Suspicion
from agent.errors import LoyaltyAgentError, VendorOwnError, VendorUnreachableError
from agent.ports import Clock
from agent.services.patience import Patience

log = structlog.get_logger(__name__)

SLICE, TURN = 100, 20
"""Records that are looked at, and brought to the vendor, before sales have their turn again. A sale brings its own."""
OWN_FAILURES = 10
"""So often the vendor may answer for a record without taking it, before it waits for a person. The pauses in between
grow: two tills that race are long done by then."""
ERRORS_ALONE = 3
"""So many errors of the vendor's, with others taken in between, before a record may be blamed for them."""
_ALL = 0
_MISTAKEN: Final = Verdict(VerdictKind.RETRY, "agent.error", alone=True, not_received=True)


class Numbered(Protocol):
    """A record that has a number."""

    @property
    def number(self) -> int:
        """The record's, from 1."""


T = TypeVar("T", bound=Numbered)


@dataclass(frozen=True, slots=True)
class Taken:
    """How far a turn came.

    Attributes:
        answered: for how many the vendor answered.
        everybody: whether every record that waits has been looked at.
    """

    answered: int
    everybody: bool


class Turns:
    """The turns of one kind of record.

    Args:
        clock: for the pauses.
        link: the line.
        first_s: the first pause after a record could not be brought to the vendor.
        longest_s: the longest.
        uniform: the source of chance.
    """

    def __init__(
        self, clock: Clock, link: Link, *, first_s: float, longest_s: float, uniform: Callable[[float, float], float]
    ) -> None:
        self._link = link
        self._patience = Patience(clock, first_s=first_s, longest_s=longest_s, uniform=uniform)
        self._refusals = Patience(clock, first_s=first_s, longest_s=longest_s, uniform=uniform)
        self._suspicion = Suspicion()

    async def take(
        self,
        go_on: Callable[[], bool],
        *,
        waiting: Callable[[int], Sequence[T]],
        bring: Callable[[T], Awaitable[Verdict | None]],
        give_up: Callable[[T, str], Awaitable[None]],
        passed: Callable[[T], bool] = lambda _record: False,
    ) -> Taken:
        """Brings to the vendor what waits, the oldest first; how far it came.

        Args:
            go_on: whether another may go.
            waiting: up to `SLICE` of them, after a record's number.
            bring: brings one there; a verdict where it has to be tried again. What it refuses by name is parked by it.
            give_up: parks one, with a code.
            passed: whether one has no turn of its own now.

        Raises:
            VendorUnreachableError: no answer came; what was on its way waits a while.
            VendorRefusedError: our credentials are refused.
            ConfigurationError: they cannot even be read.
            StorageError: what came of it cannot be written down.
        """
        answered, last = 0, 0
        while page := waiting(last):
            last = page[-1].number
            for record in page:
                if answered == TURN or not go_on():
                    return Taken(answered, everybody=False)
                if self._patience.waits(record.number) or self._refusals.waits(record.number) or passed(record):
                    continue
                if not await self._attempt(record, bring, give_up):
                    return Taken(answered, everybody=False)
                answered += 1
            await asyncio.sleep(0)  # a cashier's question comes in between
        return Taken(answered, everybody=True)

    async def _attempt(
        self, record: T, bring: Callable[[T], Awaitable[Verdict | None]], give_up: Callable[[T, str], Awaitable[None]]
    ) -> bool:
        """Brings one there; False when it may be to blame itself for an error of the vendor's: then sales are next."""
        came_of_it: Verdict | None
        try:
            came_of_it = await bring(record)
        except VendorOwnError as error:
            self._patience.put_off(record.number)
            if self._suspicion.blames(record.number, at_least=ERRORS_ALONE):
                await give_up(record, error.code)
            return False
        except VendorUnreachableError:
            self._patience.put_off(record.number)
            raise
        except LoyaltyAgentError:
            raise
        except Exception:  # a mistake of ours in one contact must not stop the others, nor the sales
            log.exception("contact.failed")
            came_of_it = _MISTAKEN
        if came_of_it is None:
            return True
        if came_of_it.awaits:
            return False
        if self._patience.put_off(record.number) >= OWN_FAILURES:
            await give_up(record, came_of_it.code)
        return True

    def line_changed(self) -> None:
        """The line is back: what only failed with it need not wait any longer."""
        self._patience.line_changed()

    def hurry(self) -> None:
        """Somebody asked for an attempt now: nothing waits any longer."""
        self._patience.hurry()
        self._refusals.hurry()

    def anew(self, number: int) -> None:
        """A record says something else now: its pause is over."""
        self._patience.over(number)

    def are_refused(self) -> bool:
        """Whether the vendor has lately refused our credentials for records of this kind."""
        return self._refusals.waits(_ALL)

    def refused(self, number: int) -> None:
        """It refused them for one. Where it takes them otherwise, they may be good for all but this: it waits."""
        if not self._link.refused:
            self._refusals.put_off(_ALL)
            self._refusals.put_off(number)

    def taken(self, number: int) -> None:
        """The vendor has a record."""
        self._refusals.over(_ALL)
        self._suspicion.delivered()
        self.decided(number)

    def decided(self, number: int) -> None:
        """A record's fate is known."""
        self._patience.over(number)
        self._refusals.over(number)
        self._suspicion.clear(number)
