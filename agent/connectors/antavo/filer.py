"""Taking sales to Antavo as files, where it cannot be called: written into a folder from which its import fetches them.

`done` means written where the import fetches it; what the import makes of it is never heard. Nobody fetches a sale
twice, and none is lost, whatever is killed when::

    draft, on disk ──▶ noted with the deliveries, on disk ──▶ published by renaming, on disk ──▶ settled

What is noted and has no draft any more was published, whether its file is still there or not: it is never written
again. A draft that is there was not published: the note is taken back, the draft removed, and its sales are written
anew, as they are now. A draft of which some is settled was published once (a file system may forget a renaming, and an
erasure takes files back to work on them): it is published again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import structlog

from agent.connectors.antavo.errors import verdict_without_answer
from agent.connectors.antavo.folder import EventsFolder
from agent.connectors.antavo.mapping import Event
from agent.connectors.antavo.outcomes import LOST
from agent.connectors.antavo.people import AntavoKeys
from agent.connectors.antavo.rows import columns, parse_file, render_file, render_rows
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.antavo.submitter import Place
from agent.connectors.antavo.unasked import events_unasked
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.errors import StorageError, VendorUnreachableError
from agent.ports import Clock, Handovers, Outgoing

log = structlog.get_logger(__name__)

T = TypeVar("T")
ANSWERS_WITHIN_S = 30.0
"""How long a step in the folder may take: a share that is gone can hold it up for ever, and all who wait for it."""
_REFERENCE = "file:"
_WRITTEN = Verdict(VerdictKind.DONE, "sale.in_file", title="Written where the vendor's import fetches it.")


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A sale's events and its place in the batch."""

    place: int
    outgoing: Outgoing
    events: list[Event]


class AntavoFiler:
    """Writes sales into files.

    Args:
        vendor: the lane's name.
        folder: where they go.
        settings: the workspace's table.
        primary: the type of the primary integration key.
        clock: for the names of files.
        handovers: writes down which deliveries go out in which file.
    """

    def __init__(
        self,
        vendor: str,
        folder: EventsFolder,
        settings: AntavoSettings,
        *,
        primary: IdentifierType,
        clock: Clock,
        handovers: Callable[[], Handovers],
    ) -> None:
        self._vendor, self._folder, self._settings = vendor, folder, settings
        self._primary, self._clock, self._handovers = primary, clock, handovers
        self._keys = AntavoKeys(settings, primary=primary)
        self._columns = columns(of_people=settings.opt_in_new_contacts)
        self._alone, self._tidy = asyncio.Lock(), False
        self._stuck: asyncio.Future[Any] | None = None
        # References of this run: drafts that somebody took away; what was withdrawn, which whoever was leased before
        # still has; and what was taken back after it was published, settled or not yet.
        self._gone, self._withdrawn, self._taken_back = set[str](), set[str](), set[str]()
        self.batch_size = settings.batch_size

    async def send(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        """A verdict for each sale; ``done`` means written where the import fetches it.

        Raises:
            StorageError: what must be on disk before a file is published could not be put there.
        """
        return await self._to_its_end(self._send(batch))

    async def ready(self) -> None:
        """Puts in order what an earlier run left, if files can be written.

        Raises:
            VendorUnreachableError: they cannot be.
            StorageError: what was noted cannot be read.
        """
        await self._to_its_end(self._ready())

    async def erase(self, is_theirs: Callable[[Identifier], bool], transaction_ids: Collection[str]) -> int:
        """Takes somebody out of the files that wait; how many rows. What was fetched is not here any more.

        Raises:
            StorageError: the files cannot be read or written; asked again it goes on.
        """
        return await self._to_its_end(self._erase(is_theirs, transaction_ids))

    async def expire(self, before: datetime) -> int:
        """Removes files that were written before an instant and never fetched; how many. Raises StorageError."""
        return await self._to_its_end(self._expire(before))

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """One at a time, and never given up in the middle: a cancelled caller goes when it is through."""
        task = asyncio.ensure_future(self._one(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    async def _one(self, work: Coroutine[Any, Any, T]) -> T:
        async with self._alone:
            return await work

    async def _in_folder(self, step: Callable[..., T], *given: Any) -> T:
        """What a step in the folder gives.

        One that takes too long is given up; it may still be carried out, and none is begun before it has ended. What it
        left is put in order then.

        Raises:
            VendorUnreachableError: it cannot be done, or that is not known.
        """
        if self._stuck is None or self._stuck.done():
            running = asyncio.ensure_future(asyncio.to_thread(step, *given))
            done, _ = await asyncio.wait([running], timeout=ANSWERS_WITHIN_S)
            if done:
                return running.result()
            running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            self._stuck, self._tidy = running, False
        raise VendorUnreachableError(f"{self._folder.path} does not answer")

    # --- sending --------------------------------------------------------------------------------------------

    async def _send(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        try:
            await self._ready()
            verdicts: dict[int, Verdict] = {}
            ready: list[_Parcel] = []
            for place, outgoing in enumerate(batch):
                rendered = self._rendered(outgoing)
                if isinstance(rendered, Verdict):
                    verdicts[place] = rendered
                else:
                    ready.append(_Parcel(place, outgoing, rendered))
            if ready:
                verdicts |= await self._written(ready)
        except VendorUnreachableError as error:
            return [verdict_without_answer(error)] * len(batch)
        return [verdicts[place] for place in range(len(batch))]

    def _rendered(self, outgoing: Outgoing) -> list[Event] | Verdict:
        reference = outgoing.reference or ""
        if reference.startswith(_REFERENCE):
            if reference not in self._withdrawn:
                return replace(_WRITTEN, kind=VerdictKind.DUPLICATE)
            outgoing = replace(outgoing, maybe_received=False)
        events = events_unasked(outgoing, self._keys, self._settings)
        if isinstance(events, list) and _may_be_there(outgoing) and not all(event.once for event in events):
            return LOST
        return events

    async def _written(self, parcels: Sequence[_Parcel]) -> dict[int, Verdict]:
        name = await self._in_folder(self._folder.next_name, self._clock.now())
        reference, handovers = f"{_REFERENCE}{name}", self._handovers()
        events = [event for parcel in parcels for event in parcel.events]
        self._tidy = False
        await self._in_folder(self._folder.draft, name, render_file(events, self._columns))
        await handovers.note([parcel.outgoing.entry for parcel in parcels], reference)
        try:
            published = await self._in_folder(self._folder.publish, name)
        except VendorUnreachableError as error:  # whether it is published shows when the folder can be read again
            error.maybe_received = True
            return dict.fromkeys((parcel.place for parcel in parcels), verdict_without_answer(error))
        if not published:
            self._gone.add(reference)
            await self._forget_gone()  # at once: killed meanwhile, nobody could tell it from what was fetched
            raise VendorUnreachableError("somebody took a draft away before it could be published")
        self._tidy = True
        log.info("events.written", vendor=self._vendor, file=name, count=len(parcels))
        return dict.fromkeys((parcel.place for parcel in parcels), replace(_WRITTEN, reference=reference))

    async def _ready(self) -> None:
        await self._in_folder(self._folder.check)
        if self._tidy:
            return
        await self._forget_gone()
        for name in await self._in_folder(self._folder.drafts):
            reference = f"{_REFERENCE}{name}"
            if reference not in self._taken_back and await self._withdraw(reference):
                await self._in_folder(self._folder.drop, name)
            else:
                await self._in_folder(self._folder.publish, name)
        self._tidy = True

    async def _forget_gone(self) -> None:
        for reference in tuple(self._gone):
            await self._withdraw(reference)
            self._gone.discard(reference)

    async def _withdraw(self, reference: str) -> bool:
        withdrawn = await self._handovers().withdraw(self._vendor, reference)
        if withdrawn:
            self._withdrawn.add(reference)
        return withdrawn

    # --- the end of personal data ---------------------------------------------------------------------------

    async def _erase(self, is_theirs: Callable[[Identifier], bool], transaction_ids: Collection[str]) -> int:
        try:
            await self._ready()
            names = await self._in_folder(self._folder.waiting)
            return sum([await self._without(name, is_theirs, transaction_ids) for name in names])
        except (VendorUnreachableError, ValueError) as error:
            raise StorageError(f"the files in {self._folder.path} cannot be gone through: {error}") from error

    async def _without(
        self, name: str, is_theirs: Callable[[Identifier], bool], transaction_ids: Collection[str]
    ) -> int:
        """Takes somebody out of one file, which nobody can fetch meanwhile; how many rows."""
        content = await self._in_folder(self._folder.read, name)
        if content is None:
            return 0
        header, rows = parse_file(content)
        bought = (row for row in rows if row["action"] == "checkout" and row["transaction_id"] in transaction_ids)
        theirs = {row["customer"] for row in bought}
        theirs |= {row["customer"] for row in rows if is_theirs(Identifier(self._primary, row["customer"]))}
        left = [  # somebody else can give back what they bought: of that one no other row goes
            row for row in rows if row["customer"] not in theirs and row["transaction_id"] not in transaction_ids
        ]
        if len(left) == len(rows):
            return 0
        self._tidy = False
        self._taken_back.add(f"{_REFERENCE}{name}")
        waited = await self._in_folder(self._folder.take_back, name)
        if waited and left:
            await self._in_folder(self._folder.draft, name, render_rows(left, header))
        if waited:
            await self._in_folder(self._folder.publish if left else self._folder.drop, name)
        self._taken_back.discard(f"{_REFERENCE}{name}")
        self._tidy = True
        return len(rows) - len(left) if waited else 0

    def _age_of(self, name: str) -> datetime:
        """When the last sale in a file was taken: the clock by which the file was named may have been wrong."""
        return self._handovers().handed_over_of(self._vendor, f"{_REFERENCE}{name}") or self._folder.written_at(name)

    async def _expire(self, before: datetime) -> int:
        try:
            names = await self._in_folder(self._folder.waiting)
            old = [name for name in names if self._age_of(name) < before]
            for name in old:
                await self._in_folder(self._folder.remove, name)
                log.error("events.expired", vendor=self._vendor, file=name)
        except VendorUnreachableError as error:
            raise StorageError(f"the files in {self._folder.path} cannot be gone through: {error}") from error
        return len(old)


def _may_be_there(outgoing: Outgoing) -> bool:
    """Whether what was not noted here may have arrived: by a call, before the configuration was another one, perhaps.

    What was killed between its lease and its note was not written; of a damaged outbox a note may be lost.
    """
    handed_in = Place.parse(outgoing.progress) is not None
    return outgoing.maybe_received and (handed_in or not outgoing.cut_off)
