"""Taking a sale: checked, tagged from the replica, on disk, answered. Nothing here waits for a network.

The order is the promise: shape and sums first, so that nothing unsound is kept; then the tag, from local reads alone;
then one durable commit; then the answer.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from agent.domain.arithmetic import faults
from agent.domain.fallback import Served, level_served, served
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.tagging import Tag, TaggingPolicy, tag
from agent.domain.transaction import IdentifierStatement, IntegrationKey, Transaction
from agent.errors import Fault, IdentifierInvalidError, InputError, StorageFullError
from agent.ports import Acceptance, Clock, QueueInfo, Receipt, Replica

DISK_CHECK_EVERY_S = 1.0


class Recorder(Protocol):
    """The outbox's door for intake."""

    async def accept(self, record: Acceptance, now: datetime) -> Receipt:
        """Puts the sale on disk."""


@dataclass(frozen=True, slots=True)
class Intaken:
    """The answer to a sale.

    Attributes:
        receipt: what is on disk.
        served: how the member was found.
        codes: messages for the cashier's screen.
        looked_up: whether the replica was asked for a person, and found exactly one; None when it was not asked.
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
    stale_after: timedelta
    expires_after: timedelta
    max_bytes: int
    reserve_bytes: int
    state_dir: Path
    vendors: tuple[tuple[str, bool], ...]
    """Each vendor that gets sales, and whether it wants guests."""


class Intake:
    """Takes sales.

    Args:
        clock: for the instant of acceptance.
        normaliser: how this store reads identifiers.
        replica: the local contacts.
        outbox: where sales are recorded.
        queue: the outbox in figures.
        link: the line to the loyalty system.
        policy: the configuration.
        accepted: called after a sale is on disk, so that its delivery can begin.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        normaliser: Normaliser,
        replica: Replica,
        outbox: Recorder,
        queue: Callable[[], QueueInfo],
        link: Link,
        policy: IntakePolicy,
        accepted: Callable[[], None],
    ) -> None:
        self._clock, self._normaliser, self._replica, self._outbox = clock, normaliser, replica, outbox
        self._queue, self._link, self._policy, self._accepted = queue, link, policy, accepted
        self._room_mono = float("-inf")
        self._room = True

    def has_room(self) -> bool:
        """Whether another sale may be put on disk: the queue's limit and the disk's reserve, looked at once a second."""
        mono = self._clock.monotonic()
        if mono - self._room_mono >= DISK_CHECK_EVERY_S:
            self._room_mono = mono
            free = shutil.disk_usage(self._policy.state_dir).free
            self._room = free > self._policy.reserve_bytes and self._queue().bytes < self._policy.max_bytes
        return self._room

    async def accept(self, transaction: Transaction, *, resolve: bool = True) -> Intaken:
        """Records a sale.

        Args:
            transaction: well-shaped; its sums are checked here.
            resolve: whether the replica may be asked; no when the caller's look-up ration is used up.

        Raises:
            InputError: it does not add up, or an identifier cannot be one; nothing is kept.
            ConflictError: the id is taken by other content.
            StorageError: it could not be put on disk; nothing of it is kept.
        """
        found = faults(transaction)
        readings = self._readings(transaction, found)
        stated = self._stated_key(transaction, found)
        if found:
            raise InputError(found, "The transaction does not fit.")
        if not self.has_room():
            raise StorageFullError
        sale = transaction.model_copy(
            update={
                "store_id": transaction.store_id or self._policy.store_id,
                "till_id": transaction.till_id or self._policy.till_id,
                "receipt_number": transaction.receipt_number or transaction.transaction_id,
                "integration_key": stated,
            }
        )
        now = self._clock.now()
        info = self._replica.info()
        usable = info.as_of is not None and now - info.as_of <= self._policy.expires_after
        asked = bool(readings) and resolve and usable and self._policy.tagging.level >= 3  # noqa: PLR2004 - reads the replica
        members = self._replica.resolve(readings) if asked else ()
        answers = self._link.answers is not False
        decision = tag(
            stated_key=stated, readings=readings, members=members, policy=self._policy.tagging, vendor_answers=answers
        )
        receipt = await self._outbox.accept(
            Acceptance(sale, readings, decision.key, decision.open, self._vendors(sale, decision)), now
        )
        if not receipt.duplicate:
            self._accepted()
        level = level_served(
            configured=self._policy.tagging.level,
            vendor_answers=answers,
            replica_usable=usable,
            secondary_keys=bool(self._policy.tagging.secondary),
        )
        how = served(
            "replica",
            as_of=info.as_of if members else None,
            now=now,
            stale_after=self._policy.stale_after,
            level=level,
        )
        codes = [decision.code] if decision.code else []
        if how.stale:
            codes.append("loyalty.stale")
        return Intaken(receipt, how, tuple(codes), len(members) == 1 if asked else None)

    def _vendors(self, sale: Transaction, decision: Tag) -> tuple[str, ...]:
        member = decision.key is not None or sale.new_contact is not None
        if not member and decision.open:
            member = self._policy.tagging.level > 1  # somebody, to be resolved when the vendor can be asked
        return tuple(vendor for vendor, guests in self._policy.vendors if member or guests)

    def _readings(self, transaction: Transaction, found: list[Fault]) -> tuple[Identifier, ...]:
        statement = transaction.identifier
        today = self._clock.today()
        readings: tuple[Identifier, ...] = ()
        try:
            if statement is not None:
                readings = self._read(statement)
        except IdentifierInvalidError as error:
            found.extend(error.faults)
        if transaction.new_contact is not None:
            for given in transaction.new_contact.identifier_statements():
                try:
                    reading = self._normaliser.normalise(IdentifierType(given.type), given.value, today=today)
                except IdentifierInvalidError as error:
                    found.append(Fault(f"/new_contact/{given.type}", error.reason))
                    continue
                if statement is None and transaction.integration_key is None:
                    readings = (*readings, reading)
        return readings

    def _read(self, statement: IdentifierStatement) -> tuple[Identifier, ...]:
        today = self._clock.today()
        if statement.type == "any":
            return self._normaliser.readings(statement.value, today=today)
        return (self._normaliser.normalise(IdentifierType(statement.type), statement.value, today=today),)

    def _stated_key(self, transaction: Transaction, found: list[Fault]) -> IntegrationKey | None:
        key = transaction.integration_key
        if key is None:
            return None
        try:
            identifier = self._normaliser.normalise(key.type, key.value, today=self._clock.today())
        except IdentifierInvalidError as error:
            found.append(Fault("/integration_key/value", error.reason))
            return None
        if key.kind == "secondary" and key.type not in self._policy.tagging.secondary:
            found.append(Fault("/integration_key/type", "is not one of loyalty.secondary_keys"))
        return key.model_copy(update={"value": identifier.value})
