"""Who is at the till: the replica first, the vendor within a cashier's patience, a secondary key when neither knows.

The replica answers in microseconds, so a hit in a fresh replica never waits for the network. The vendor is asked when
the replica does not know, has grown stale, or there is none; behind a breaker, within `loyalty.live_lookup_budget`.
Whatever the vendor does, the answer is there within the budget and looks the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from agent.domain.benefits import GeneralOffer, general_offers
from agent.domain.contact import Member
from agent.domain.fallback import Served, served
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.tagging import Found, Outcome, TaggingPolicy, outcome_of, secondary_key
from agent.domain.transaction import IdentifierStatement, IntegrationKey
from agent.errors import StorageError
from agent.ports import Clock, Lookup, Replica
from agent.services.asking import Asking, look_up
from agent.services.contacts import LocalContacts, Newcomers
from agent.services.handles import Handles, names_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identification:
    """The answer to "who is this".

    Attributes:
        outcome: what is known.
        key: the primary key when matched, else the secondary key if the configuration allows one.
        member: what may be shown; None unless matched.
        may_spend: the member is known by something that not anybody may say, and the vendor answers.
        served: how it was served.
        codes: messages for the cashier's screen.
    """

    outcome: Outcome
    key: IntegrationKey | None
    member: Member | None
    may_spend: bool
    served: Served
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IdentifyPolicy:
    """The part of the configuration that identification obeys.

    Attributes:
        tagging: of tags.
        stale_after: from which age on answers say that they are old.
        spend_with: what members have to be named by to use benefits up.
        fresh_for: up to which age the vendor is not asked; up to ``stale_after`` if None.
        general: `benefits.general`.
    """

    tagging: TaggingPolicy
    stale_after: timedelta
    spend_with: frozenset[IdentifierType]
    fresh_for: timedelta | None = None
    general: tuple[GeneralOffer, ...] = ()


class Identify:
    """Answers who an identifier belongs to.

    Args:
        clock: for ages and the budget.
        normaliser: how this store reads identifiers.
        replica: the local contacts.
        lookup: the vendor's question, or None where it has none.
        asking: how it is asked.
        link: what is known of the line.
        handles: for people whom only the vendor knows.
        named: hears what else a member was named by, for what is on record of them. May raise StorageError.
        policy: the configuration.
        newcomers: who was made at this till.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        normaliser: Normaliser,
        replica: Replica,
        lookup: Lookup | None,
        asking: Asking,
        link: Link,
        handles: Handles,
        named: Callable[[IntegrationKey, Collection[Identifier]], Awaitable[None]],
        policy: IdentifyPolicy,
        newcomers: Newcomers | None = None,
    ) -> None:
        self._clock, self._normaliser = clock, normaliser
        self._contacts = LocalContacts(replica, policy.tagging, newcomers)
        self._lookup, self._asking, self._link, self._handles = lookup, asking, link, handles
        self._named, self._policy = named, policy

    def readings(self, statement: IdentifierStatement) -> tuple[Identifier, ...]:
        """What the given value can be. Raises IdentifierInvalidError."""
        if statement.type == "any":
            return self._normaliser.readings(statement.value, today=self._clock.today())
        kind = IdentifierType(statement.type)
        return (self._normaliser.normalise(kind, statement.value, today=self._clock.today()),)

    async def identify(self, statement: IdentifierStatement) -> Identification:
        """Who it is, within the budget. Raises IdentifierInvalidError."""
        readings = self.readings(statement)
        answer, contact_id = await self._who(readings)
        if answer.member is not None and answer.member.ref:
            await self._note(answer.member, readings, contact_id)
        return answer

    async def _who(self, readings: Sequence[Identifier]) -> tuple[Identification, str | None]:
        """The answer, and what the vendor calls whoever it is, where it was asked."""
        now = self._clock.now()
        members, as_of = self._contacts.find(readings)
        answer = partial(self._answer, readings, usable_as_of=as_of)
        if self._contacts.knows_better(members, readings):  # made or changed here: nobody knows better
            return answer(outcome_of(members), members, "replica", now), None
        fresh_for = self._policy.stale_after if self._policy.fresh_for is None else self._policy.fresh_for
        if members and as_of is not None and timedelta() <= now - as_of <= fresh_for:
            return answer(outcome_of(members), members, "replica", as_of), None
        live = await self._ask(readings)
        if live is not None:
            return answer(live.outcome, self._as_members(live), "live", self._clock.now()), live.contact_id
        if members:
            return answer(outcome_of(members), members, "replica", as_of), None
        return answer(Outcome.UNKNOWN, (), "none", None), None

    async def _note(self, member: Member, readings: Sequence[Identifier], contact_id: str | None) -> None:
        """Remembers how somebody was named; whatever is on record of them is found by it when they are to be erased."""
        names = names_of(member.key, readings, contact_id)
        if not self._handles.named(member.ref, (reading.type for reading in readings), names):
            return
        try:
            await self._named(member.key, names)
        except StorageError as error:  # a cashier hears who it is whatever the disk does, which tells of itself
            log.warning("redemptions.unnamed", code=error.code)

    async def live(self, readings: Sequence[Identifier]) -> tuple[Outcome, tuple[Member, ...]] | None:
        """What the vendor says of them, within the budget; None when it cannot be asked or does not answer in time."""
        found = await self._ask(readings)
        return (found.outcome, self._as_members(found)) if found is not None else None

    async def _ask(self, readings: Sequence[Identifier]) -> Found | None:
        lookup = self._lookup
        askable = [reading for reading in readings if lookup is not None and lookup.knows(reading)]
        if lookup is None or not askable:
            return None
        return await self._asking.ask(lambda: look_up(lookup, askable, self._asking))

    def _as_members(self, found: Found) -> tuple[Member, ...]:
        if found.key is None:
            return ()
        contact_id = (Identifier(IdentifierType.CONTACT_ID, found.contact_id),) if found.contact_id else ()
        known, _ = self._contacts.find(contact_id)
        if len(known) == 1:
            member = Member(known[0].ref, found.key, {**known[0].fields, **found.fields})
        else:
            member = Member(self._handles.give(found.key), found.key, found.fields)
        return (self._contacts.live(member),)

    def _answer(
        self,
        readings: Sequence[Identifier],
        outcome: Outcome,
        members: Sequence[Member],
        source: str,
        as_of: datetime | None,
        *,
        usable_as_of: datetime | None,
    ) -> Identification:
        now, answers = self._clock.now(), self._link.answers is not False
        level = self._contacts.level(usable_as_of, vendor_answers=answers)
        types = frozenset(reading.type for reading in readings)
        how = served(source, as_of=as_of, now=now, stale_after=self._policy.stale_after, level=level)
        member = members[0] if outcome is Outcome.MATCHED and len(members) == 1 else None
        may_spend = member is not None and answers and types <= self._policy.spend_with
        key = member.key if member else secondary_key(readings, self._policy.tagging)
        general = () if answers else general_offers(self._policy.general, level=level, today=self._clock.today())
        codes = _codes(outcome, how, answers=answers, general=general)
        return Identification(outcome, key, member, may_spend, how, codes)


def _codes(outcome: Outcome, how: Served, *, answers: bool, general: Sequence[GeneralOffer]) -> tuple[str, ...]:
    codes = []
    if outcome is Outcome.MATCHED:
        if not answers:
            codes.append("loyalty.offline.replica")
        if how.stale:
            codes.append("loyalty.stale")
    elif outcome is Outcome.UNKNOWN and how.level == 1:
        codes.append("loyalty.unavailable")
        if general:
            codes.append("loyalty.general_offers")
    else:
        codes.append(f"loyalty.{outcome.value}")
    return tuple(codes)
