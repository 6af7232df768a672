"""Taking an activity: checked, tagged from the replica as a sale is, on disk, answered. No network is waited for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from agent.domain.activity import ActivityStatement
from agent.domain.fallback import served
from agent.domain.identifiers import Identifier, Normaliser
from agent.domain.link import Link
from agent.domain.tagging import TaggingPolicy, tag
from agent.domain.transaction import IntegrationKey
from agent.errors import Fault, InputError, StorageFullError
from agent.ports import Clock, Occurrence, Recipient, Replica
from agent.services.contacts import LocalContacts
from agent.services.naming import Names
from agent.services.taking import Recorder, Taken

_TOLD: Final = frozenset({"loyalty.ambiguous"})
"""What a cashier hears of a tag. The others speak of a purchase and its points."""


@dataclass(frozen=True, slots=True)
class ActivityPolicy:
    """The part of the configuration that is obeyed here."""

    tagging: TaggingPolicy
    store_id: str
    till_id: str
    stale_after: timedelta
    recipients: tuple[Recipient, ...]


class ActivityIntake:
    """Takes activities.

    Args:
        clock: for the instant of acceptance.
        normaliser: how this store reads identifiers.
        replica: the local contacts.
        outbox: where activities are recorded.
        room: whether there is room for another one.
        link: the line to the loyalty system.
        policy: the configuration.
        accepted: called after one is on disk, so that its delivery can begin.
        held: the vendors whose lane is held.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        normaliser: Normaliser,
        replica: Replica,
        outbox: Recorder[Occurrence],
        room: Callable[[], bool],
        link: Link,
        policy: ActivityPolicy,
        accepted: Callable[[], None],
        held: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._clock, self._outbox, self._room, self._link = clock, outbox, room, link
        self._contacts = LocalContacts(replica, policy.tagging)
        self._names = Names(clock, normaliser, policy.tagging)
        self._policy, self._accepted, self._held = policy, accepted, held

    async def accept(self, statement: ActivityStatement, *, resolve: bool = True) -> Taken:
        """Records an activity.

        Args:
            statement: well-shaped; whom it names is checked here.
            resolve: whether the caller may learn who is a member; no when the look-up ration is used up.

        Raises:
            InputError: it names nobody, or an identifier cannot be one; nothing is kept.
            ActivityConflictError: the id is taken by other content.
            StorageError: it could not be put on disk; nothing of it is kept.
        """
        stated, readings = self._named(statement)
        if not self._room() and not self._outbox.knows(statement.activity_id):  # a repeat needs no room
            raise StorageFullError
        now = self._clock.now()
        members, as_of = self._contacts.find(readings if resolve else ())
        # Whether the loyalty system answers is nothing to an activity: it does not get it.
        decision = tag(
            stated_key=stated, readings=readings, members=members, policy=self._policy.tagging, vendor_answers=True
        )
        record = Occurrence(
            activity=statement.recorded(self._policy.store_id, self._policy.till_id),
            content=statement.content(stated, readings),
            readings=readings,
            key=decision.key,
            stated=stated,
            open=decision.open,
            vendors=tuple(
                recipient.vendor for recipient in self._policy.recipients if statement.type in recipient.activities
            ),
            quiet=bool(readings) and not resolve,
            ref=members[0].ref if len(members) == 1 else None,
        )
        receipt = await self._outbox.accept(record, now, self._held())
        if not receipt.duplicate:
            self._accepted()
        how = served(
            "replica",
            as_of=as_of if members else None,
            now=now,
            stale_after=self._policy.stale_after,
            level=self._contacts.level(as_of, vendor_answers=self._link.answers is not False),
        )
        codes = [decision.code] if decision.code in _TOLD and not receipt.duplicate else []
        if how.stale:
            codes.append("loyalty.stale")
        return Taken(receipt, how, tuple(codes), len(members) == 1 if readings and resolve else None)

    def _named(self, statement: ActivityStatement) -> tuple[IntegrationKey | None, tuple[Identifier, ...]]:
        """Whom a sound statement names. Raises InputError with everything that is wrong with it."""
        found: list[Fault] = []
        readings = self._names.readings(statement.identifier, found)
        stated = self._names.key(statement.integration_key, found)
        if number := self._names.own_number(stated):  # which nobody else knows
            stated, readings = None, number
        if statement.identifier is None and statement.integration_key is None:
            found.append(Fault("/identifier", "is needed, or integration_key: an activity happens to a member"))
        elif statement.identifier is not None and statement.integration_key is not None:
            found.append(Fault("/integration_key", "stands beside identifier: one of them names the member"))
        if found:
            raise InputError(found, "The activity does not fit.")
        return stated, readings
