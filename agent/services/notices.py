"""Telling further systems that somebody was erased here: that they are gone, and that they are to be erased there too.

What has to be told is on disk before anything is erased, as an activity of the agent's own under a key that the system
may know them by. It waits, goes out and is retried as every delivery, and loses its person as every one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from agent.domain.activity import Activity, MemberEvent
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey
from agent.ports import Clock, ErasureRequest, Occurrence, Recipient


class Recorder(Protocol):
    """The outbox's door for what the agent itself has to tell."""

    async def announce(self, records: Sequence[Occurrence], now: datetime) -> None:
        """Puts all of it on disk."""


class Notices:
    """Tells further systems of erased people.

    Args:
        clock: for the instant of the erasure.
        outbox: where it is recorded.
        primary: the type of the primary integration key.
        recipients: who gets what.
        place: the store and the till.
        announced: called after something is on disk, so that its delivery can begin.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        outbox: Recorder,
        primary: IdentifierType,
        recipients: Sequence[Recipient],
        place: tuple[str, str],
        announced: Callable[[], None],
    ) -> None:
        self._clock, self._outbox, self._primary = clock, outbox, primary
        self._recipients, self._place, self._announced = recipients, place, announced

    async def erased(
        self, key: IntegrationKey | None, names: Sequence[Identifier], receipt: str
    ) -> tuple[ErasureRequest, ...]:
        """Puts on disk that somebody was erased; the systems that are asked to erase them.

        Args:
            key: the integration key of the member, where it is known here.
            names: what else names them and nobody else.
            receipt: the id of the erasure's receipt.

        Raises:
            StorageError: it could not be put on disk.
        """
        known = key or next(
            (
                IntegrationKey(kind="primary", type=one.type, value=one.value)
                for one in names
                if one.type is self._primary
            ),
            None,
        )
        own = known.identifier if known else None
        others = tuple(one for one in names if one != own)
        records = []
        if known is not None:  # that a member is gone is told under the member's own key, or not at all
            records.append(self._record(MemberEvent.DELETED, "deleted", receipt, known, ()))
        if known is not None or others:
            records.append(self._record(MemberEvent.ERASURE, "erasure", receipt, known, others))
        wanted = [record for record in records if record.vendors]
        if wanted:
            await self._outbox.announce(wanted, self._clock.now())
            self._announced()
        return tuple(
            ErasureRequest(vendor, record.activity.activity_id)
            for record in wanted
            if record.activity.type is MemberEvent.ERASURE
            for vendor in record.vendors
        )

    def _record(
        self,
        kind: MemberEvent,
        word: str,
        receipt: str,
        key: IntegrationKey | None,
        names: tuple[Identifier, ...],
    ) -> Occurrence:
        store_id, till_id = self._place
        activity = Activity(
            activity_id=f"{word}-{receipt}",
            type=kind,
            occurred_at=self._clock.now(),
            store_id=store_id,
            till_id=till_id,
        )
        return Occurrence(
            activity=activity,
            content=activity.name.encode(),
            readings=names,
            key=key,
            stated=None,
            open=False,
            vendors=tuple(one.vendor for one in self._recipients if kind in one.activities),
        )
