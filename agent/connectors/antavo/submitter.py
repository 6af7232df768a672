"""Taking sales to Antavo's Async Events API: handed in event by event, and done when Antavo says so.

The answer to an event is that it is queued, under an id. What became of it is asked for at a later attempt, and only
then the next event of the same sale is handed in: so at any time there is one event of a sale of which nothing is
known. Which one that is, and its id, is the delivery's progress from the moment on when the vendor said it
(:class:`Place`): a restart asks for it, and hands in nothing twice. What was cut off before that could be written down
is handed in again where Antavo itself refuses to count it twice, and left to a person otherwise.

Nothing can be asked with these credentials but this: sales go under their customer's id or external id alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.connectors.antavo.errors import verdict_without_answer, verdict_without_credentials
from agent.connectors.antavo.mapping import Event, render_json
from agent.connectors.antavo.outcomes import LOST, WAITING, correlation_of, outcome_in
from agent.connectors.antavo.people import AntavoKeys
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.antavo.submissions import AntavoSubmissions
from agent.connectors.antavo.unasked import events_unasked
from agent.connectors.base import with_lost_time
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, Outgoing

_SETTLED = (VerdictKind.DONE, VerdictKind.DUPLICATE)
_PARTLY = Verdict(
    VerdictKind.IN_DOUBT, "sale.partly_taken",
    title="Some of the sale was taken, and of the rest it is not known; sent again it could count twice.",
)  # fmt: skip
_PLACE = re.compile(
    r"(?P<number>[0-9]{1,4})/(?P<count>[0-9]{1,4}):(?P<attempt>[0-9]{1,9})"
    r":(?P<again>first|again):(?P<id>[A-Za-z0-9_-]{0,64})"
)


@dataclass(frozen=True, slots=True)
class Place:
    """How far the events of one sale are: all before this one are processed.

    Attributes:
        index: of the event that is next, from 0.
        count: how many events the sale makes.
        attempt: the attempt that wrote this down, from 1; 0 before the first.
        again: the event may have been taken, under no id or another one.
        id: under which it is queued; empty where it is to be handed in.
    """

    index: int
    count: int
    attempt: int = 0
    again: bool = False
    id: str = ""

    @classmethod
    def parse(cls, text: str | None) -> Place | None:
        """The place that a delivery's progress spells; None where it spells none."""
        found = _PLACE.fullmatch(text or "")
        if found is None:
            return None
        index, count = int(found["number"]) - 1, int(found["count"])
        return cls(index, count, int(found["attempt"]), found["again"] == "again", found["id"])

    def __str__(self) -> str:
        again = "again" if self.again else "first"
        return f"{self.index + 1}/{self.count}:{self.attempt}:{again}:{self.id}"


class AntavoSubmitter:
    """Hands sales in, one by one.

    Args:
        client: the workspace.
        settings: its table.
        primary: the type of the primary integration key.
        clock: tells how late a sale is.
    """

    batch_size = 1

    def __init__(
        self, client: AntavoSubmissions, settings: AntavoSettings, *, primary: IdentifierType, clock: Clock
    ) -> None:
        self._client, self._settings, self._clock = client, settings, clock
        self._keys = AntavoKeys(settings, primary=primary)

    async def send(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        """A verdict for each sale; ``done`` means processed by Antavo."""
        return [await self._advanced(outgoing) for outgoing in batch]

    async def _advanced(self, outgoing: Outgoing) -> Verdict:
        """What became of the event that is queued, then the next one handed in; at most one of each."""
        events = events_unasked(outgoing, self._keys, self._settings)
        if isinstance(events, Verdict):
            return events
        place = _standing_of(outgoing, events)
        if isinstance(place, Place) and place.id:
            place = await self._learnt(outgoing, events, place)
        if isinstance(place, Verdict):
            return place
        place = replace(place, attempt=outgoing.attempts + 1)
        if place.again and not events[place.index].once:
            return _at(place, _unknown(place, LOST))
        return await self._submitted(outgoing, events, place)

    async def _learnt(self, outgoing: Outgoing, events: Sequence[Event], place: Place) -> Place | Verdict:
        """What is to be handed in now that the outcome of what is queued has been asked for; or how that stands."""
        was_cut_off = outgoing.maybe_received and place.attempt != outgoing.attempts
        now = replace(place, attempt=outgoing.attempts + 1)
        told = await self._outcome(place)
        match told.kind:
            case VerdictKind.DONE | VerdictKind.DUPLICATE:
                following = Place(place.index + 1, place.count, again=was_cut_off)
                ended = following.index == place.count
                return self._done(outgoing, events, told, place.id) if ended else following
            case VerdictKind.IN_DOUBT if events[place.index].once or not outgoing.maybe_received:
                return replace(place, id="", again=outgoing.maybe_received)
            case VerdictKind.IN_DOUBT:
                return _at(now, _unknown(place, told))
            case VerdictKind.PARK:  # once somebody has put right what it was refused for, it is handed in again
                return _at(replace(now, id=""), told)
            case _:  # nothing new: what may have been cut off since stays so
                return _at(place if was_cut_off else now, told)

    async def _submitted(self, outgoing: Outgoing, events: Sequence[Event], place: Place) -> Verdict:
        told = await self._queued(events[place.index], place)
        if isinstance(told, str):
            return _at(replace(place, id=told), WAITING)
        if told.kind not in _SETTLED:
            return _at(replace(place, again=place.again or not told.not_received), told)
        place = Place(place.index + 1, place.count, place.attempt)  # it is known to be there already
        return _at(place, WAITING) if place.index < place.count else self._done(outgoing, events, told, None)

    async def _queued(self, event: Event, place: Place) -> str | Verdict:
        try:
            return correlation_of(await self._client.submit(render_json(event.body)), again=place.again)
        except VendorUnreachableError as error:
            return verdict_without_answer(error)
        except VendorRefusedError as error:
            return verdict_without_credentials(error)

    async def _outcome(self, place: Place) -> Verdict:
        try:
            return outcome_in(await self._client.outcome(place.id), again=place.again)
        except VendorUnreachableError as error:
            return verdict_without_answer(error)
        except VendorRefusedError as error:
            return verdict_without_credentials(error)

    def _done(self, outgoing: Outgoing, events: Sequence[Event], told: Verdict, reference: str | None) -> Verdict:
        if not any(event.body["action"] == "checkout" for event in events):
            return replace(told, reference=reference)
        told = replace(told, reference=outgoing.transaction.transaction_id)
        return told if self._settings.backdate else with_lost_time(told, outgoing, self._clock.now())


def _standing_of(outgoing: Outgoing, events: Sequence[Event]) -> Place | Verdict:
    """Where a sale stands; a verdict if nobody knows.

    A person who has a sale sent again says of what was in doubt that it did not arrive (``maybe_received`` is off).
    """
    written, count, unsure = Place.parse(outgoing.progress), len(events), outgoing.maybe_received
    if written is None or written.count != count or written.index >= count:  # cut off at once, or configured otherwise
        several = count > 1 and not all(event.once for event in events)
        return _PARTLY if unsure and several else Place(0, count, again=unsure)
    cut_off = not written.id and written.attempt != outgoing.attempts
    return replace(written, again=unsure and (written.again or cut_off))


def _at(place: Place, verdict: Verdict) -> Verdict:
    return replace(verdict, reference=place.id or None, progress=str(place))


def _unknown(place: Place, verdict: Verdict) -> Verdict:
    """In doubt: of a sale of which some is processed, nobody can say that it did not arrive."""
    return replace(_PARTLY, status=verdict.status, vendor_code=verdict.vendor_code) if place.index else verdict
