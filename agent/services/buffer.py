"""The intelligent buffer: who an open sale belongs to, found out at the moment it is about to be sent.

When the line is back the vendor can be asked again. The sale then rises to its member's primary key, becomes a new
contact's first purchase, keeps its secondary key, or waits for a person: :func:`agent.domain.tagging.settle` decides.
A sale of which an earlier attempt may have arrived is never touched: the vendor would see two receipts under one id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.domain.contact import Member
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.fallback import REPLICA_LEVEL
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.link import Link
from agent.domain.tagging import Found, Outcome, Settlement, TaggingPolicy, settle, together
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import ConfigurationError, ContactRefusedError, VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, Lookup, Outgoing, Pace, Replica, Writer
from agent.services.contacts import LocalContacts

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
_CREATABLE = (IdentifierType.MOBILE_PHONE, IdentifierType.EMAIL, IdentifierType.PERSONAL_NUMBER)


@dataclass(frozen=True, slots=True)
class BufferPolicy:
    """The part of the configuration that the buffer obeys, and whether the vendor matches a sale later by itself."""

    tagging: TaggingPolicy
    live: bool
    unknown_at_delivery: str
    timeout_s: float
    matches_later: bool = True


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
    ) -> None:
        self._clock, self._lookup, self._writer = clock, lookup, writer
        self._contacts = LocalContacts(replica, policy.tagging)
        self._link, self._policy, self._pace = link, policy, pace

    async def settle(self, outgoing: Outgoing) -> Outgoing | Verdict:
        """The sale with the tag to send it under, or a verdict that keeps it from being sent now."""
        if not outgoing.open or outgoing.maybe_received:
            return outgoing
        try:
            return await self._settle(outgoing, outgoing.readings or _of_key(outgoing.key))
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
        contact = outgoing.transaction.new_contact
        outcome, member = await self._who(readings, asked_for=contact is not None)
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

    async def _who(self, readings: Sequence[Identifier], *, asked_for: bool) -> tuple[Outcome, Member | None]:
        """Who it is by the replica, else by the vendor; ``unknown`` when asking failed and the sale can go without.

        Raises:
            VendorRefusedError: our credentials are refused.
            VendorUnreachableError: it cannot be asked, and without an answer the sale must wait.
        """
        members, _ = self._contacts.find(readings)
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
        answers: list[Found] = []
        error: VendorUnreachableError | None = None
        for reading in readings:
            try:
                answers.append(await lookup.find(reading, timeout_s=self._policy.timeout_s, pace=self._pace))
            except VendorUnreachableError as failed:
                error = failed
                if failed.retry_after_s is not None:
                    break
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
        store_id = outgoing.transaction.store_id or ""
        found = await self._writer.create(
            outgoing.transaction.new_contact or NewContact(), identifiers, store_id=store_id, pace=self._pace
        )
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
