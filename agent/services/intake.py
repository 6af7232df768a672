"""Taking a sale: checked, tagged from the replica, on disk, answered. Nothing here waits for a network.

The order is the promise: shape and sums first, so that nothing unsound is kept; then the tag, from local reads alone;
then one durable commit; then the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Protocol

from agent.domain.arithmetic import faults
from agent.domain.completeness import business_day
from agent.domain.delivery import DeliveryState
from agent.domain.fallback import TAG_LEVEL, Served, served
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.tagging import Tag, TaggingPolicy, tag
from agent.domain.transaction import IdentifierStatement, IntegrationKey, NewContact, Transaction, TransactionType
from agent.errors import Fault, IdentifierInvalidError, InputError, StorageFullError
from agent.ports import Acceptance, Clock, Receipt, Recipient, Replica
from agent.services.contacts import LocalContacts


class Recorder(Protocol):
    """The outbox's door for intake."""

    async def accept(self, record: Acceptance, now: datetime, held: Collection[str] = ()) -> Receipt:
        """Puts the sale on disk; what waits for a vendor of ``held`` is answered as held."""

    def knows(self, transaction_id: str) -> bool:
        """Whether a sale of that id is on disk."""


@dataclass(frozen=True, slots=True)
class Intaken:
    """The answer to a sale.

    Attributes:
        receipt: what is on disk.
        served: how the member was found.
        codes: messages for the cashier's screen.
        looked_up: whether exactly one member was found for whom the sale names; None when it names nobody, or nobody
            may be looked up. Whom the replica does not find counts as not found: the sale's tag will tell at delivery.
    """

    receipt: Receipt
    served: Served
    codes: tuple[str, ...]
    looked_up: bool | None


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
    """

    def __init__(
        self,
        *,
        clock: Clock,
        normaliser: Normaliser,
        replica: Replica,
        outbox: Recorder,
        room: Callable[[], bool],
        link: Link,
        policy: IntakePolicy,
        accepted: Callable[[], None],
        held: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._clock, self._normaliser, self._outbox = clock, normaliser, outbox
        self._contacts = LocalContacts(replica, policy.tagging)
        self._room, self._link, self._policy, self._accepted = room, link, policy, accepted
        self._held = held

    async def accept(self, transaction: Transaction, *, resolve: bool = True) -> Intaken:
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
        asked = people.named if resolve else ()
        members, as_of = self._contacts.find(asked)
        answers = self._link.answers is not False
        decision = tag(
            stated_key=people.stated,
            readings=people.named,
            members=members,
            policy=self._policy.tagging,
            vendor_answers=answers,
        )
        vendors = self._vendors(sale, decision, vendor_answers=answers)
        ref = members[0].ref if len(members) == 1 else None
        day = business_day(sale.occurred_at, self._policy.zone)
        names_somebody = bool(people.named) or decision.open
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
        return Intaken(receipt, how, tuple(codes), looked_up)

    def _vendors(self, sale: Transaction, decision: Tag, *, vendor_answers: bool) -> tuple[str, ...]:
        """Who gets a sale. Whom a new contact or an open tag names, the loyalty system alone can tell.

        Any other gets the sale under the key that is known by then, which may be none: those that take members only
        get it once the tag is settled.
        """
        known = decision.key is not None
        member = known or sale.new_contact is not None
        if not member and decision.open:  # somebody, to be resolved when the vendor can be asked; at level 1 only now
            member = vendor_answers or self._policy.tagging.level >= TAG_LEVEL
        return tuple(
            recipient.vendor
            for recipient in self._policy.recipients
            if recipient.wants_guest(sale) or (member if recipient.owner else known)
        )

    def _read(self, transaction: Transaction) -> _People:
        """Whom a sound sale names. Raises InputError with everything that is wrong with it."""
        found = faults(transaction)
        named = self._named(transaction.identifier, found)
        stated = self._stated_key(transaction.integration_key, found)
        enrolled = self._enrolled(transaction, found)
        if transaction.type is TransactionType.POINTS_CLAIM and not (named or stated or enrolled or found):
            found.append(Fault("/identifier", "is needed: a claim names the member it is for"))
        if found:
            raise InputError(found, "The transaction does not fit.")
        if not enrolled:
            return _People(stated, named, named, transaction.new_contact)
        own = (stated.identifier,) if stated else named
        return _People(
            stated,
            named or (() if stated else enrolled),
            tuple(dict.fromkeys((*own, *enrolled))),
            _respelled(transaction.new_contact, enrolled),
        )

    def _named(self, statement: IdentifierStatement | None, found: list[Fault]) -> tuple[Identifier, ...]:
        if statement is None:
            return ()
        today = self._clock.today()
        try:
            if statement.type == "any":
                return self._normaliser.readings(statement.value, today=today)
            return (self._normaliser.normalise(IdentifierType(statement.type), statement.value, today=today),)
        except IdentifierInvalidError as error:
            found.extend(error.faults)
            return ()

    def _enrolled(self, transaction: Transaction, found: list[Fault]) -> tuple[Identifier, ...]:
        """The identifiers of the customer who may not be a member yet."""
        contact, today = transaction.new_contact, self._clock.today()
        readings: list[Identifier] = []
        for given in contact.identifier_statements() if contact else ():
            try:
                readings.append(self._normaliser.normalise(IdentifierType(given.type), given.value, today=today))
            except IdentifierInvalidError as error:
                found.append(Fault(f"/new_contact/{given.type}", error.reason))
        return tuple(readings)

    def _stated_key(self, key: IntegrationKey | None, found: list[Fault]) -> IntegrationKey | None:
        if key is None:
            return None
        try:
            identifier = self._normaliser.normalise(key.type, key.value, today=self._clock.today())
        except IdentifierInvalidError as error:
            found.append(Fault("/integration_key/value", error.reason))
            return None
        tagging = self._policy.tagging
        if key.kind == "secondary" and key.type not in tagging.secondary:
            found.append(Fault("/integration_key/type", "is not one of loyalty.secondary_keys"))
        if key.kind == "primary" and key.type not in (tagging.primary, IdentifierType.CONTACT_ID):
            found.append(Fault("/integration_key/type", "is neither loyalty.primary_key nor contact_id"))
        return key.model_copy(update={"value": identifier.value})


@dataclass(frozen=True, slots=True)
class _People:
    """Whom a sale names.

    Attributes:
        stated: what the till says is the integration key.
        named: what decides the tag: the identifier, else the new contact's own.
        all: what the vendor is asked for at delivery: the new contact's identifiers too, lest one is made twice.
        contact: the new contact with its identifiers in one form, so that another spelling is the same content.
    """

    stated: IntegrationKey | None
    named: tuple[Identifier, ...]
    all: tuple[Identifier, ...]
    contact: NewContact | None


def _respelled(contact: NewContact | None, identifiers: Sequence[Identifier]) -> NewContact | None:
    if contact is None:
        return None
    return contact.model_copy(update={identifier.type.value: identifier.value for identifier in identifiers})
