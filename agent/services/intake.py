"""Taking a sale: checked, tagged from the replica, on disk, answered. Nothing here waits for a network.

The order is the promise: shape and sums first, so that nothing unsound is kept; then the tag, from local reads alone;
then one durable commit; then the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta, tzinfo

from agent.domain.arithmetic import faults
from agent.domain.completeness import business_day
from agent.domain.delivery import DeliveryState
from agent.domain.fallback import TAG_LEVEL, served
from agent.domain.identifiers import Normaliser
from agent.domain.link import Link
from agent.domain.tagging import Tag, TaggingPolicy, tag
from agent.domain.transaction import Transaction, TransactionType
from agent.errors import Fault, InputError, StorageFullError
from agent.ports import Acceptance, Clock, Recipient, Replica
from agent.services.contacts import LocalContacts, Newcomers
from agent.services.naming import Misnamed, Named, Names
from agent.services.taking import Recorder, Taken


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """The part of the configuration that intake obeys."""

    tagging: TaggingPolicy
    store_id: str
    till_id: str
    zone: tzinfo
    stale_after: timedelta
    recipients: tuple[Recipient, ...]


class Intake:
    """Takes sales.

    Args:
        clock: for the instant of acceptance.
        normaliser: how this store reads identifiers.
        replica: the local contacts.
        outbox: where sales are recorded.
        room: whether there is room for another sale.
        link: the line to the loyalty system.
        policy: the configuration.
        accepted: called after a sale is on disk, so that its delivery can begin.
        held: the vendors whose lane is held.
        newcomers: who was made at this till.
        misnamed: what no new contact may say in its free attributes.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        normaliser: Normaliser,
        replica: Replica,
        outbox: Recorder[Acceptance],
        room: Callable[[], bool],
        link: Link,
        policy: IntakePolicy,
        accepted: Callable[[], None],
        held: Callable[[], Collection[str]] = frozenset,
        newcomers: Newcomers | None = None,
        misnamed: Misnamed | None = None,
    ) -> None:
        self._clock, self._outbox = clock, outbox
        self._names = Names(clock, normaliser, policy.tagging, newcomers, misnamed)
        self._contacts = LocalContacts(replica, policy.tagging, newcomers)
        self._room, self._link, self._policy, self._accepted = room, link, policy, accepted
        self._held = held

    async def accept(self, transaction: Transaction, *, resolve: bool = True) -> Taken:
        """Records a sale.

        Args:
            transaction: well-shaped; its sums are checked here.
            resolve: whether the caller may learn who is a member; no when the look-up ration is used up.

        Raises:
            InputError: it does not add up, or an identifier cannot be one; nothing is kept.
            ConflictError: the id is taken by other content, or the sale is voided or its points are claimed already.
            StorageError: it could not be put on disk; nothing of it is kept.
        """
        people = self._read(transaction)
        if not self._room() and not self._outbox.knows(transaction.transaction_id):  # a repeat needs no room
            raise StorageFullError
        sale = transaction.model_copy(
            update={
                "store_id": transaction.store_id or self._policy.store_id,
                "till_id": transaction.till_id or self._policy.till_id,
                "receipt_number": transaction.receipt_number or transaction.transaction_id,
                "integration_key": people.stated,
                "new_contact": people.contact,
            }
        )
        now = self._clock.now()
        named = people.number or people.named
        members, as_of = self._contacts.find(named if resolve else ())
        answers = self._link.answers is not False
        waits = people.made_here and not members  # nobody may be looked up now: what the vendor calls them is for later
        decision = tag(
            stated_key=people.stated if waits or not people.number else None,
            readings=named,
            members=members,
            policy=self._policy.tagging,
            vendor_answers=answers,
        )
        if waits:
            decision = replace(decision, open=True)
        vendors = self._vendors(sale, decision, vendor_answers=answers)
        ref = members[0].ref if len(members) == 1 else None
        day = business_day(sale.occurred_at, self._policy.zone)
        names_somebody = bool(named) or decision.open
        quiet = names_somebody and not resolve
        record = Acceptance(sale, people.all, decision.key, decision.open, vendors, day, quiet, ref)
        receipt = await self._outbox.accept(record, now, self._held())
        if not people.all and people.stated is None:  # it goes under the key of the sale it names by number alone
            receipt = replace(receipt, key=None)
        if not receipt.duplicate:
            self._accepted()
        how = served(
            "replica",
            as_of=as_of if members else None,
            now=now,
            stale_after=self._policy.stale_after,
            level=self._contacts.level(as_of, vendor_answers=answers),
        )
        still = not receipt.duplicate or receipt.state is DeliveryState.QUEUED  # a repeat long after says no more
        codes = [decision.code] if decision.code and still else []
        if how.stale:
            codes.append("loyalty.stale")
        looked_up = len(members) == 1 if names_somebody and resolve else None
        return Taken(receipt, how, tuple(codes), looked_up)

    def _vendors(self, sale: Transaction, decision: Tag, *, vendor_answers: bool) -> tuple[str, ...]:
        """Who gets a sale. Whom a new contact or an open tag names, the loyalty system alone can tell.

        Any other gets the sale under the key that is known by then. Where none is, those that take members only get it
        once the tag is settled, and those that take guests as well wait with it until then, or until nobody is found.
        Nobody else gets one under this till's own number, guests or not.
        """
        known = decision.key is not None and not decision.own
        member = decision.key is not None or sale.new_contact is not None
        if not member and decision.open:  # somebody, to be resolved when the vendor can be asked; at level 1 only now
            member = vendor_answers or self._policy.tagging.level >= TAG_LEVEL
        return tuple(
            recipient.vendor
            for recipient in self._policy.recipients
            if (recipient.wants_guest(sale) and not decision.own) or (member if recipient.owner else known)
        )

    def _read(self, transaction: Transaction) -> Named:
        """Whom a sound sale names. Raises InputError with everything that is wrong with it."""
        found = faults(transaction)
        people = self._names.read(transaction, found)
        if transaction.type is TransactionType.POINTS_CLAIM and not (people.all or people.stated or found):
            found.append(Fault("/identifier", "is needed: a claim names the member it is for"))
        if found:
            raise InputError(found, "The transaction does not fit.")
        return people
