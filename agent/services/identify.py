"""Who is at the till: the replica first, the vendor within a cashier's patience, a secondary key when neither knows.

The replica answers in microseconds, so a hit in a fresh replica never waits for the network. The vendor is asked when
the replica does not know, has grown stale, or there is none; behind a breaker, within `loyalty.live_lookup_budget`.
Whatever the vendor does, the answer is there within the budget and looks the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.domain.contact import Member
from agent.domain.fallback import Served, level_served, served
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.tagging import Found, Outcome, TaggingPolicy, outcome_of, secondary_key, together
from agent.domain.transaction import IdentifierStatement, IntegrationKey
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, Lookup, Replica


@dataclass(frozen=True, slots=True)
class Identification:
    """The answer to "who is this".

    Attributes:
        outcome: what is known.
        key: the primary key when matched, else the secondary key if the configuration allows one.
        member: what may be shown; None unless matched.
        served: how it was served.
        codes: messages for the cashier's screen.
    """

    outcome: Outcome
    key: IntegrationKey | None
    member: Member | None
    served: Served
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IdentifyPolicy:
    """The part of the configuration that identification obeys."""

    tagging: TaggingPolicy
    live: bool
    budget_s: float
    stale_after: timedelta
    expires_after: timedelta


class Identify:
    """Answers who an identifier belongs to.

    Args:
        clock: for ages and the budget.
        normaliser: how this store reads identifiers.
        replica: the local contacts.
        lookup: the vendor's question, or None where it has none.
        link: what is known of the line.
        policy: the configuration.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        normaliser: Normaliser,
        replica: Replica,
        lookup: Lookup | None,
        link: Link,
        policy: IdentifyPolicy,
    ) -> None:
        self._clock, self._normaliser, self._replica = clock, normaliser, replica
        self._lookup, self._link, self._policy = lookup, link, policy

    def readings(self, statement: IdentifierStatement) -> tuple[Identifier, ...]:
        """What the given value can be. Raises IdentifierInvalidError."""
        if statement.type == "any":
            return self._normaliser.readings(statement.value, today=self._clock.today())
        kind = IdentifierType(statement.type)
        return (self._normaliser.normalise(kind, statement.value, today=self._clock.today()),)

    async def identify(self, statement: IdentifierStatement) -> Identification:
        """Who it is, within the budget. Raises IdentifierInvalidError."""
        readings = self.readings(statement)
        now = self._clock.now()
        members, as_of = self._from_replica(readings, now)
        if members and as_of is not None and now - as_of <= self._policy.stale_after:
            return self._answer(outcome_of(members), members, readings, "replica", as_of)
        live = await self._ask(readings)
        if live is not None:
            return self._answer(live.outcome, self._as_members(live), readings, "live", self._clock.now())
        return self._answer(outcome_of(members), members, readings, "replica" if members else "none", as_of if members else None)

    def _from_replica(self, readings: Sequence[Identifier], now: datetime) -> tuple[tuple[Member, ...], datetime | None]:
        if self._policy.tagging.level < 3:  # noqa: PLR2004 - level 3 reads the replica
            return (), None
        as_of = self._replica.info().as_of
        if as_of is None or now - as_of > self._policy.expires_after:
            return (), None
        return self._replica.resolve(readings), as_of

    async def _ask(self, readings: Sequence[Identifier]) -> Found | None:
        """The vendor's answer, or None when it cannot be asked or does not answer in time."""
        if self._lookup is None or not self._policy.live:
            return None
        askable = [reading for reading in readings if self._lookup.knows(reading)]
        if not askable or not self._link.lookups.allows(self._clock.monotonic()):
            return None
        try:
            async with asyncio.timeout(self._policy.budget_s):
                answers = await asyncio.gather(
                    *(self._lookup.find(reading, timeout_s=self._policy.budget_s) for reading in askable)
                )
        except TimeoutError:
            self._link.too_slow(self._clock.monotonic())
            return None
        except VendorRefusedError:
            self._link.credentials_refused(self._clock.now(), self._clock.monotonic(), lookup=True)
            return None
        except VendorUnreachableError as error:
            self._link.silent(self._clock.now(), self._clock.monotonic(), lookup=True, after_s=error.retry_after_s)
            return None
        self._link.worked(self._clock.now(), self._clock.monotonic(), lookup=True)
        return together(answers)

    def _as_members(self, found: Found) -> tuple[Member, ...]:
        if found.key is None:
            return ()
        contact_id = Identifier(IdentifierType.CONTACT_ID, found.contact_id) if found.contact_id else None
        known = self._replica.resolve([contact_id]) if contact_id else ()
        if len(known) == 1:
            return (Member(known[0].ref, found.key, {**known[0].fields, **found.fields}),)
        return (Member("", found.key, found.fields),)

    def _answer(
        self, outcome: Outcome, members: Sequence[Member], readings: Sequence[Identifier], source: str, as_of: datetime | None
    ) -> Identification:
        now = self._clock.now()
        info = self._replica.info()
        answers = self._link.answers is not False
        usable = info.as_of is not None and now - info.as_of <= self._policy.expires_after
        tagging = self._policy.tagging
        level = level_served(
            configured=tagging.level, vendor_answers=answers, replica_usable=usable, secondary_keys=bool(tagging.secondary)
        )
        how = served(source, as_of=as_of, now=now, stale_after=self._policy.stale_after, level=level)
        matched = outcome is Outcome.MATCHED and len(members) == 1
        key = members[0].key if matched else secondary_key(readings, tagging)
        return Identification(outcome, key, members[0] if matched else None, how, _codes(outcome, how, answers=answers))


def _codes(outcome: Outcome, how: Served, *, answers: bool) -> tuple[str, ...]:
    codes = []
    if outcome is Outcome.MATCHED:
        if not answers:
            codes.append("loyalty.offline.replica")
        if how.stale:
            codes.append("loyalty.stale")
    elif outcome is Outcome.UNKNOWN and how.level == 1:
        codes += ["loyalty.unavailable", "loyalty.general_offers"]
    else:
        codes.append(f"loyalty.{outcome.value}")
    return tuple(codes)
