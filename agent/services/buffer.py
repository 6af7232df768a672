"""The intelligent buffer: who an open sale belongs to, found out at the moment it is about to be sent.

When the line is back the vendor can be asked again. The sale then rises to its member's primary key, becomes a new
contact's first purchase, keeps its secondary key, or waits for a person: :func:`agent.domain.tagging.settle` decides.
A sale of which an earlier attempt may have arrived is never touched: the vendor would see two receipts under one id.
One under this till's own number of somebody made here was never sent so: it goes under the vendor's key, once there is
one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from agent.domain.contact import Member
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.fallback import REPLICA_LEVEL
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.link import Link
from agent.domain.tagging import Found, Outcome, Settlement, TaggingPolicy, is_own, settle, together
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import (
    AmbiguousPersonError,
    ConfigurationError,
    ContactRefusedError,
    VendorRefusedError,
    VendorUnreachableError,
)
from agent.ports import Clock, Lookup, Outgoing, Pace, Remember, Replica, Writer
from agent.services.contacts import LocalContacts, Newcomers

_UNKNOWN = Verdict(
    VerdictKind.PARK, "contact.unknown", title="The vendor does not know this member.", not_received=True
)
_UNRESOLVED = Verdict(
    VerdictKind.PARK,
    "contact.unresolved",
    title="What was said at the till does not tell which member this is.",
    not_received=True,
)
_AWAITED = Verdict(
    VerdictKind.RETRY,
    "contact.awaited",
    title="The loyalty system cannot be asked for this key, and the local contacts are older than the sale.",
    awaits=True,
    not_received=True,
)
_SHARED = Verdict(
    VerdictKind.PARK,
    "contact.ambiguous",
    title="Several people share what was given of the new contact.",
    not_received=True,
)
_CREATABLE = (IdentifierType.MOBILE_PHONE, IdentifierType.EMAIL, IdentifierType.PERSONAL_NUMBER)


@dataclass(frozen=True, slots=True)
class BufferPolicy:
    """The part of the configuration that the buffer obeys.

    Attributes:
        tagging: of tags.
        live: the vendor is asked although a sale could go without.
        unknown_at_delivery: what becomes of a person the vendor does not know.
        timeout_s: longest wait for any one answer.
        matches_later: the vendor matches a sale later by itself.
        fresh_for: up to which age a local contact is believed without asking; at any age if None.
    """

    tagging: TaggingPolicy
    live: bool
    unknown_at_delivery: str
    timeout_s: float
    matches_later: bool = True
    fresh_for: timedelta | None = None


class Attempts(Protocol):
    """At which sales the vendor was asked to make somebody. Each call raises StorageError."""

    async def enrolling(self, entry: int, now: datetime) -> bool:
        """Writes down that it is asked now; whether it was at an earlier attempt."""

    async def not_enrolled(self, entry: int) -> None:
        """Writes down that it had them before it was asked."""


class Buffer:
    """Settles open sales.

    Args:
        clock: for the link's bookkeeping.
        replica: asked first; it costs nothing.
        lookup: the vendor's question.
        writer: makes contacts; None where the vendor cannot.
        link: the line, fed with what happens here.
        policy: the configuration.
        pace: waits for this agent's share of the vendor's allowance; before each call.
        newcomers: who was made at this till.
        made: the vendor's key of somebody made at this till, who is made there if they are not yet; None where nobody
            is known by that number any more, a verdict where it is to be tried again. Raises as vendors do, and
            AmbiguousPersonError.
        asking_now: what keeps the answers of a look-up that begins now; None where they are not kept.
        attempts: writes down that the vendor is asked to make the new contact of a leased sale; None where nobody asks
            whether they joined here.
        alone: while it is held, nobody else makes somebody of these names.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        replica: Replica,
        lookup: Lookup | None,
        writer: Writer | None,
        link: Link,
        policy: BufferPolicy,
        pace: Pace,
        newcomers: Newcomers | None = None,
        made: Callable[[IntegrationKey], Awaitable[IntegrationKey | Verdict | None]] | None = None,
        asking_now: Callable[[], Remember] | None = None,
        attempts: Attempts | None = None,
        alone: Callable[[Sequence[Identifier]], AbstractAsyncContextManager[Any]] = nullcontext,
    ) -> None:
        self._attempts, self._alone = attempts, alone
        self._clock, self._lookup, self._writer = clock, lookup, writer
        self._contacts, self._made = LocalContacts(replica, policy.tagging, newcomers), made
        self._link, self._policy, self._pace, self._asking_now = link, policy, pace, asking_now

    async def settle(self, outgoing: Outgoing) -> Outgoing | Verdict:
        """The sale with the tag to send it under, or a verdict that keeps it from being sent now."""
        own = outgoing.key if is_own(outgoing.key, open_=outgoing.open) else None
        if not outgoing.open or (outgoing.maybe_received and own is None):
            return outgoing
        try:
            if own is not None:
                settling = self._of_newcomer(outgoing, own)
            else:
                settling = self._settle(outgoing, outgoing.readings or _of_key(outgoing.key))
            return await settling
        except VendorRefusedError as error:
            return Verdict(VerdictKind.HOLD, error.code, title="The vendor refuses our credentials.", not_received=True)
        except ConfigurationError:
            return Verdict(
                VerdictKind.HOLD, "vendor.credentials_missing", title="The API key cannot be read.", not_received=True
            )
        except VendorUnreachableError as error:  # the line's trouble, not this sale's: it keeps its place
            return Verdict(
                VerdictKind.RETRY, error.code, title=str(error), after_s=error.retry_after_s, reached=False,
                not_received=True,
            )  # fmt: skip
        except ContactRefusedError as error:
            return Verdict(VerdictKind.PARK, error.code, error.status, str(error), error.vendor_code, not_received=True)

    async def _settle(self, outgoing: Outgoing, readings: Sequence[Identifier]) -> Outgoing | Verdict:
        """By what was said: whoever may be made for the sale is asked for, and made, by nobody else meanwhile."""
        makes = outgoing.new_contact is not None or self._policy.unknown_at_delivery == "create"
        async with self._alone(readings) if makes else nullcontext():
            settled = await self._settled(outgoing, readings)
        return await self._of_newcomer(outgoing, settled) if isinstance(settled, IntegrationKey) else settled

    async def _settled(self, outgoing: Outgoing, readings: Sequence[Identifier]) -> Outgoing | Verdict | IntegrationKey:
        """As :meth:`settle`; or this till's own number of somebody made here."""
        contact = outgoing.new_contact
        outcome, member = await self._who(readings, asked_for=contact is not None)
        if member is not None and member.own:
            return member.key
        if not self._policy.matches_later:
            if outcome is Outcome.AMBIGUOUS:
                return _UNRESOLVED
            if outcome is Outcome.NOT_FOUND and self._is_too_early(outgoing, readings):
                return _AWAITED
        decision = settle(
            key=outgoing.key,
            readings=readings,
            outcome=outcome,
            member=member,
            new_contact=contact is not None and self._writer is not None,
            unknown_at_delivery=self._policy.unknown_at_delivery,
            policy=self._policy.tagging,
        )
        match decision.settlement:
            case Settlement.SEND:
                return replace(outgoing, key=decision.key)
            case Settlement.CREATE:
                return await self._create(outgoing, readings)
            case Settlement.ASK_AGAIN:
                raise VendorUnreachableError
            case _:
                return _UNKNOWN if outcome is Outcome.NOT_FOUND else _UNRESOLVED

    async def _of_newcomer(self, outgoing: Outgoing, own: IntegrationKey) -> Outgoing | Verdict:
        """The sale of somebody made here, whom the vendor has, or is given now."""
        try:
            key = await self._made(own) if self._made is not None else None
        except AmbiguousPersonError:
            return _SHARED
        if isinstance(key, Verdict):
            return key
        return replace(outgoing, key=key) if key is not None else _UNKNOWN

    async def _who(self, readings: Sequence[Identifier], *, asked_for: bool) -> tuple[Outcome, Member | None]:
        """Who it is by the replica, else by the vendor; ``unknown`` when asking failed and the sale can go without.

        Raises:
            VendorRefusedError: our credentials are refused.
            VendorUnreachableError: it cannot be asked, and without an answer the sale must wait.
        """
        members, as_of = self._contacts.find(readings)
        if self._is_old(as_of):
            members = ()
        if len(members) == 1:
            return Outcome.MATCHED, members[0]
        needed = asked_for or self._policy.unknown_at_delivery != "tag"
        if self._lookup is None or not (self._policy.live or needed):
            return Outcome.AMBIGUOUS, None
        askable = [reading for reading in readings if self._lookup.knows(reading)]
        if not askable:
            alone = not members and not self._policy.matches_later  # the local contacts are all there is to ask
            return Outcome.NOT_FOUND if alone else Outcome.AMBIGUOUS, None
        found, error = await self._ask(self._lookup, askable)
        if found.key is not None:
            return Outcome.MATCHED, Member("", found.key)
        if error is not None and needed:
            raise error
        if error is not None:
            return Outcome.UNKNOWN, None
        return (Outcome.AMBIGUOUS if members else found.outcome), None

    def _is_old(self, as_of: datetime | None) -> bool:
        """Whether what was kept from a look-up is to be asked for again."""
        fresh_for = self._policy.fresh_for
        return fresh_for is not None and (as_of is None or self._clock.now() - as_of > fresh_for)

    def _is_too_early(self, outgoing: Outgoing, readings: Sequence[Identifier]) -> bool:
        """Whether only newer contacts can tell who it is: some of what was said cannot be asked for."""
        if self._policy.tagging.level < REPLICA_LEVEL:
            return False
        if self._lookup is not None and all(map(self._lookup.knows, readings)):
            return False
        as_of = self._contacts.as_of()
        return as_of is None or as_of <= outgoing.accepted_at

    async def _ask(self, lookup: Lookup, readings: Sequence[Identifier]) -> tuple[Found, VendorUnreachableError | None]:
        """What the vendor says of all readings together, and why it said nothing of one of them."""
        remember = self._asking_now() if self._asking_now is not None else None
        said: list[tuple[Identifier, Found]] = []
        error: VendorUnreachableError | None = None
        for reading in readings:
            try:
                found = await lookup.find(reading, timeout_s=self._policy.timeout_s, pace=self._pace)
                said.append((reading, found))
            except VendorUnreachableError as failed:
                error = failed
                if failed.retry_after_s is not None:
                    break
        answers = [found for _, found in said]
        if remember is not None:
            remember(said)
        now, mono = self._clock.now(), self._clock.monotonic()
        if error is not None and (not answers or error.retry_after_s is not None):
            self._link.silent(now, mono, lookup=True, after_s=error.retry_after_s, why=str(error))
        else:  # who answers one question is not down
            self._link.worked(now, mono, lookup=True)
        return together(answers), error

    async def _create(self, outgoing: Outgoing, readings: Sequence[Identifier]) -> Outgoing | Verdict:
        identifiers = [reading for reading in readings if reading.type in _CREATABLE]
        if self._writer is None or not identifiers:
            return _UNKNOWN
        before = self._attempts is None or await self._attempts.enrolling(outgoing.entry, self._clock.now())
        store_id = outgoing.record.store_id or ""
        found = await self._writer.create(
            outgoing.new_contact or NewContact(), identifiers, store_id=store_id, pace=self._pace
        )
        if found.existed and not before and self._attempts is not None:
            await self._attempts.not_enrolled(outgoing.entry)
        if found.key is None:  # another till was faster: the next attempt finds the contact
            return Verdict(
                VerdictKind.RETRY,
                "contact.exists",
                title="Somebody else makes this contact.",
                alone=True,
                not_received=True,
            )
        return replace(outgoing, key=found.key)


def _of_key(key: IntegrationKey | None) -> tuple[Identifier, ...]:
    return (key.identifier,) if key is not None else ()
