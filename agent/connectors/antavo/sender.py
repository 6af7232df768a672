"""Taking sales to Antavo: one event by `/events`, several by `/events/bulk`, in order, with a verdict for each.

A checkout can be repeated: its transaction id is taken once (5003). What gives something back cannot: there Antavo
counts every repetition. So a return that may have arrived, if only in part, goes out again only when the books show
that nothing of the earlier sale has been given back yet, and a void always looks first. A person's retry says of what
was in doubt that it did not arrive; of several events of which some were taken nobody can say that, so that those are
looked up at every attempt but the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from agent.connectors.antavo.books import AntavoBooks
from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.errors import (
    COLLISION,
    verdict_of_event,
    verdict_without_answer,
    verdict_without_credentials,
    verdicts_of_bulk,
)
from agent.connectors.antavo.mapping import (
    Customer,
    Event,
    is_void,
    membership_of,
    new_customer_id,
    only_buys,
    render_json,
    render_opt_in,
    render_sale,
    render_void,
)
from agent.connectors.antavo.people import UNKNOWN, AntavoPeople
from agent.connectors.antavo.sendable import unsendable
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.antavo.telling import AntavoTelling
from agent.connectors.base import with_lost_time
from agent.domain.activity import Activity
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import NewContact
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, Outgoing

MAX_EVENTS = 50
MAX_CALLS = 4
"""Calls that one delivery takes at most: who it is, what is on the books, the events, whose an id in use is."""
_SETTLED = (VerdictKind.DONE, VerdictKind.DUPLICATE)
_ELSEWHERE = Verdict(VerdictKind.SPLIT)
_ANOTHER_S = Verdict(
    VerdictKind.PARK, "sale.points_of_another", not_received=True,
    title="The points that were redeemed for the sale are not those of the member whom it names.",
)  # fmt: skip
_CLEARED = Verdict(VerdictKind.DUPLICATE)
_PARTLY = Verdict(
    VerdictKind.IN_DOUBT, "sale.partly_taken",
    title="Some of what was given back was taken and some was refused; sent again it would count twice.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A sale's events and its place in the batch."""

    place: int
    outgoing: Outgoing
    events: list[Event]

    @property
    def is_guests(self) -> bool:
        """Whether nobody is named, which goes by the call for one event alone."""
        return "customer" not in self.events[0].body


class AntavoSender:
    """Sends sales.

    Args:
        client: the workspace.
        settings: its table.
        primary: the type of the primary integration key.
        clock: tells how late a sale is.
        owns_contacts: Antavo owns the contacts.
    """

    def __init__(
        self,
        client: AntavoClient,
        settings: AntavoSettings,
        *,
        primary: IdentifierType,
        clock: Clock,
        owns_contacts: bool = False,
    ) -> None:
        self._client, self._settings, self._clock = client, settings, clock
        self._owns = owns_contacts
        self._people = AntavoPeople(client, settings, primary=primary, owns_contacts=owns_contacts)
        self._books = AntavoBooks(client)
        self._telling = AntavoTelling(self._people, settings)
        self.batch_size = settings.batch_size

    async def send(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        """A verdict for each sale; ``done`` means processed by Antavo.

        One request is made for those that nothing has to be asked about; the others are split off. Where something has
        to be asked about each, the first is asked about and sent.
        """
        if not self._owns:  # the points that a till redeemed are another system's
            batch = [replace(outgoing, spent=None) for outgoing in batch]
        verdicts: dict[int, Verdict] = {}
        ready: list[_Parcel] = []
        asking: list[int] = []
        for place, outgoing in enumerate(batch):
            rendered = self._rendered(outgoing)
            if isinstance(rendered, Verdict):
                verdicts[place] = rendered
            elif rendered is None:
                asking.append(place)
            else:
                ready.append(_Parcel(place, outgoing, rendered))
        if not ready and asking:
            outgoing = batch[asking[0]]
            asked = await self._asked(outgoing)
            if isinstance(asked, Verdict):
                verdicts[asking[0]] = asked
            else:
                ready.append(_Parcel(asking[0], outgoing, asked))
        if ready:
            verdicts |= await self._post(_together(ready))
        return [verdicts.get(place, _ELSEWHERE) for place in range(len(batch))]

    def _rendered(self, outgoing: Outgoing) -> list[Event] | Verdict | None:
        """The events of a sale; a verdict where there can be none; None where something has to be asked first."""
        if isinstance(outgoing.record, Activity):  # who joined, or what changed
            return None
        refused = unsendable(outgoing) or _of_another(outgoing)
        if refused is not None:
            return refused
        sale = outgoing.transaction
        if outgoing.key is None and self._settings.guest_sales and only_buys(sale):
            return render_sale(replace(outgoing, spent=None), None, self._settings)  # whose points were is forgotten
        key = self._people.key_of(outgoing)
        customer = key if isinstance(key, Verdict) else self._people.known(key)
        if isinstance(customer, Verdict):
            return customer
        if customer is None or is_void(sale):
            return None
        events = self._events(outgoing, customer, is_new=True)
        return None if _may_be_there(outgoing, events) else events

    def _events(self, outgoing: Outgoing, customer: Customer, *, is_new: bool, membership_id: str = "") -> list[Event]:
        contact = self._enrolled(outgoing)
        events = render_sale(outgoing, customer, self._settings)
        if contact is None or not is_new or customer.external_id:
            return events
        return [render_opt_in(contact, customer, self._settings, membership_id=membership_id), *events]

    def _enrolled(self, outgoing: Outgoing) -> NewContact | None:
        """Who becomes a member with a sale, if Antavo does not know them; giving back makes nobody one."""
        sale = outgoing.transaction
        buys = any(line.kind == "purchase" for line in sale.lines)
        return sale.new_contact if buys and self._settings.opt_in_new_contacts else None

    async def _asked(self, outgoing: Outgoing) -> list[Event] | Verdict:
        """The events of a sale about which something has to be asked, or what came of asking: it was not sent then."""
        try:
            answer = await self._ask(outgoing)
        except VendorUnreachableError as error:
            answer = verdict_without_answer(error)
        except VendorRefusedError as error:
            answer = verdict_without_credentials(error)
        if not isinstance(answer, Verdict) or answer.kind in (*_SETTLED, VerdictKind.IN_DOUBT):
            return answer
        return replace(answer, not_received=True)

    async def _ask(self, outgoing: Outgoing) -> list[Event] | Verdict:
        if isinstance(outgoing.record, Activity):
            told = await self._telling.event(outgoing, outgoing.record)
            return told if isinstance(told, Verdict) else [told]
        return await self._ask_about_sale(outgoing)

    async def _ask_about_sale(self, outgoing: Outgoing) -> list[Event] | Verdict:
        key, sale = self._people.key_of(outgoing), outgoing.transaction
        if isinstance(key, Verdict):
            return key
        known = self._people.known(key)
        customer, is_new = known or await self._people.ask(key), known is not None
        contact, number = self._enrolled(outgoing), ""
        if customer is UNKNOWN and contact is not None and self._people.can_enrol(key):
            customer, is_new = Customer(new_customer_id(contact, key, self._settings)), True
            number = membership_of(key)
        if isinstance(customer, Verdict):
            return customer
        if is_void(sale):
            return await self._voided(outgoing, customer)
        events = self._events(outgoing, customer, is_new=is_new, membership_id=number)
        if not _may_be_there(outgoing, events):
            return events
        return await self._books.nothing_given_back(str(sale.original_transaction_id)) or events

    async def _voided(self, outgoing: Outgoing, customer: Customer) -> list[Event] | Verdict:
        status = await self._books.status(str(outgoing.transaction.original_transaction_id))
        if isinstance(status, Verdict):
            return status
        if status in ("refunded", "rejected"):
            return _CLEARED
        return [render_void(outgoing.transaction, customer, pending=status in ("pending", "draft"))]

    async def _post(self, parcels: Sequence[_Parcel]) -> dict[int, Verdict]:
        events = [event for parcel in parcels for event in parcel.events]
        earlier = [parcel.outgoing.maybe_received for parcel in parcels for _ in parcel.events]
        try:
            if len(events) == 1:
                answer = await self._client.post_event(render_json(events[0].body))
                verdicts = [verdict_of_event(answer, maybe_received=earlier[0])]
            else:
                answer = await self._client.post_bulk(render_json({"events": [event.body for event in events]}))
                verdicts = verdicts_of_bulk(answer, earlier)
        except VendorUnreachableError as error:
            verdicts = [verdict_without_answer(error)] * len(events)
        except VendorRefusedError as error:
            verdicts = [verdict_without_credentials(error)] * len(events)
        found: dict[int, Verdict] = {}
        told = iter(verdicts)
        for parcel in parcels:
            verdict = _combined(await self._looked_up(parcel, list(islice(told, len(parcel.events))), parcels))
            if verdict.kind is VerdictKind.SPLIT and len(parcels) == 1:
                verdict = replace(verdict, kind=VerdictKind.PARK)
            found[parcel.place] = self._reported(parcel, verdict)
        return found

    async def _looked_up(
        self, parcel: _Parcel, verdicts: Sequence[Verdict], parcels: Sequence[_Parcel]
    ) -> list[tuple[Event, Verdict]]:
        """Each event with its verdict; whose an id in use is has been looked up.

        Among others a sale that can be repeated is split off for it, so that no delivery takes more calls than counted.
        """
        looked: list[tuple[Event, Verdict]] = []
        for event, verdict in zip(parcel.events, verdicts, strict=True):
            told = verdict
            if verdict.code == COLLISION.code:
                repeatable = all(one.once for one in parcel.events)
                told = _ELSEWHERE if repeatable and len(parcels) > 1 else await self._whose(event)
                told = replace(told, vendor_code=verdict.vendor_code)
            looked.append((event, told))
        return looked

    async def _whose(self, checkout: Event) -> Verdict:
        if "customer" not in checkout.body:  # it cannot be told apart from another guest's
            return replace(COLLISION, not_received=True)
        body, named = checkout.body, self._settings.external_id_mode == "field_name"
        sale, field = body["data"], body.get("external_id", "") if named else ""
        try:
            told = await self._books.whose(sale["transaction_id"], body["customer"], sale["total"], field=field)
        except VendorUnreachableError as error:
            told = verdict_without_answer(error)
        except VendorRefusedError as error:
            told = verdict_without_credentials(error)
        return replace(told, not_received=told.kind not in _SETTLED)

    def _reported(self, parcel: _Parcel, verdict: Verdict) -> Verdict:
        """The verdict with the vendor's name of the sale, and a word when its own time was lost."""
        sale = parcel.outgoing.record
        checkout = any(event.body["action"] == "checkout" for event in parcel.events)
        if verdict.kind not in _SETTLED or not checkout or isinstance(sale, Activity):
            return verdict
        verdict = replace(verdict, reference=sale.transaction_id)
        return verdict if self._settings.backdate else with_lost_time(verdict, parcel.outgoing, self._clock.now())


def _of_another(outgoing: Outgoing) -> Verdict | None:
    """Whether the points that were redeemed for a sale are another member's than its own."""
    spent = outgoing.spent
    return _ANOTHER_S if spent is not None and spent.key not in (None, outgoing.key) else None


def _may_be_there(outgoing: Outgoing, events: Sequence[Event]) -> bool:
    """Whether something that counts at every repetition may have been taken already."""
    before = outgoing.maybe_received or (outgoing.attempts > 0 and len(events) > 1)
    return before and any(not event.once for event in events)


def _together(parcels: Sequence[_Parcel]) -> list[_Parcel]:
    """As many as go into one request; the first whatever its size, a guest's by itself."""
    taken, events = [parcels[0]], len(parcels[0].events)
    if taken[0].is_guests:
        return taken
    for parcel in parcels[1:]:
        if parcel.is_guests:
            continue
        events += len(parcel.events)
        if events > MAX_EVENTS:
            break
        taken.append(parcel)
    return taken


def _combined(told: Sequence[tuple[Event, Verdict]]) -> Verdict:
    """What the verdicts on a sale's events mean for the sale."""
    failed = [verdict for _, verdict in told if verdict.kind not in _SETTLED]
    settled = [(event, verdict) for event, verdict in told if verdict.kind in _SETTLED]
    if not failed:
        spoken = (verdict for _, verdict in settled if verdict.code)
        done = (verdict for _, verdict in settled if verdict.kind is VerdictKind.DONE)
        return next(spoken, None) or next(done, settled[0][1])
    worst = next((verdict for verdict in failed if verdict.kind is not VerdictKind.PARK), failed[0])
    if not settled:
        return worst
    if any(not event.once for event, _ in settled):
        return replace(_PARTLY, status=worst.status, vendor_code=worst.vendor_code)
    return replace(worst, not_received=False)
