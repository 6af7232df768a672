"""Asking the loyalty system while a cashier waits: within a budget, behind a breaker, and never for longer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from agent.domain.identifiers import Identifier
from agent.domain.link import Link
from agent.domain.tagging import Found, Outcome, together
from agent.errors import ConfigurationError, VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, Lookup, Remember

T = TypeVar("T")
_NEARLY = 0.9


class Asking:
    """The loyalty system, as far as a cashier has patience for it.

    Args:
        clock: for the budget.
        link: what is known of the line; it hears what came of each question.
        live: `loyalty.live_lookup`.
        budget_s: `loyalty.live_lookup_budget`, or what there is patience for.
        patient: whoever was too slow for a look-up may still answer within this budget: it is asked all the same.
        asking_now: what keeps the answers of a look-up that begins now; None where they are not kept.
    """

    def __init__(
        self,
        clock: Clock,
        link: Link,
        *,
        live: bool,
        budget_s: float,
        patient: bool = False,
        asking_now: Callable[[], Remember] | None = None,
    ) -> None:
        self._clock, self._link, self._patient = clock, link, patient
        self.live, self.budget_s, self.asking_now = live, budget_s, asking_now

    @property
    def vendor(self) -> str:
        """Who is asked."""
        return self._link.vendor

    @property
    def is_refused(self) -> bool:
        """Whether the vendor answers, and refuses our credentials: no outage."""
        return self._link.state == "degraded"

    @property
    def worked_at(self) -> datetime | None:
        """When the line to the vendor worked last, whoever called."""
        return self._link.last_success_at

    def their_time(self, now: datetime) -> datetime:
        """An instant of ours by the vendor's clock, as far as we have heard of it."""
        return now + timedelta(seconds=self._link.skew_s)

    async def ask(self, question: Callable[[], Awaitable[T]], *, within_s: float | None = None) -> T | None:
        """The answer; None when the vendor cannot be asked now or does not answer in time.

        Args:
            question: asks it.
            within_s: how long it is waited for; the budget if None.
        """
        started = self._clock.monotonic()
        merely_slow = self._patient and self._link.answers is not False
        if not self.live or not (self._link.lookups.allows(started) or merely_slow):
            return None
        budget_s = self.budget_s if within_s is None else within_s
        try:
            async with asyncio.timeout(budget_s):
                answer = await question()
        except TimeoutError:
            self._link.too_slow(self._clock.monotonic())
            return None
        except (VendorRefusedError, ConfigurationError):  # refused, or the credentials cannot even be read
            self._link.credentials_refused(self._clock.now(), self._clock.monotonic(), lookup=True)
            return None
        except VendorUnreachableError as error:
            mono = self._clock.monotonic()
            if mono - started >= budget_s * _NEARLY:  # the call's own time-out was a moment faster
                self._link.too_slow(mono)
            else:
                now = self._clock.now()
                self._link.silent(now, mono, lookup=True, after_s=error.retry_after_s, why=str(error))
            return None
        self._link.worked(self._clock.now(), self._clock.monotonic(), lookup=True)
        return answer

    async def spend(self) -> None:
        """Takes one call out of this agent's share: a cashier does not wait for it; deliveries do."""
        self._link.bucket.spend(self._clock.monotonic())


async def look_up(lookup: Lookup, readings: Sequence[Identifier], asking: Asking) -> Found | None:
    """One answer for everything that a value can be, asked side by side; a question for :meth:`Asking.ask`.

    Who is found by one reading is found, whatever becomes of the others; that nobody is says nothing while the vendor
    answered only some of them: None. Otherwise the first error, once none is under way any more.

    Args:
        lookup: the vendor's question.
        readings: what it can be asked for.
        asking: whose budget and share of the allowance it is.

    Raises:
        VendorUnreachableError, VendorRefusedError: as everywhere.
    """
    remember = asking.asking_now() if asking.asking_now is not None else None
    answers = await asyncio.gather(
        *(lookup.find(reading, timeout_s=asking.budget_s, pace=asking.spend) for reading in readings),
        return_exceptions=True,
    )
    said = [(key, answer) for key, answer in zip(readings, answers, strict=True) if isinstance(answer, Found)]
    if remember is not None:
        remember(said)
    found = [answer for _, answer in said]
    for answer in answers:
        if isinstance(answer, VendorUnreachableError) and found and answer.retry_after_s is None:
            continue  # who answers one question is not down
        if isinstance(answer, BaseException):
            raise answer
    whole = together(found)
    return None if whole.outcome is Outcome.NOT_FOUND and len(found) < len(answers) else whole
