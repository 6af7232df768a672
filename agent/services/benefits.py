"""What a member can use at the till: asked for within a cashier's patience, and remembered for when nobody answers.

What is remembered lies in memory alone and is never written down: which benefits somebody has is personal, it is
right for minutes, and a till that starts again asks again. It goes when its time is up, when somebody is erased (all
of it: nobody is searched for), and with the process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from agent.domain.benefits import GENERAL_REF, Benefit, BenefitKind, Benefits, GeneralOffer, current, general_offers
from agent.domain.fallback import REPLICA_LEVEL, TAG_LEVEL, Served, served
from agent.domain.identifiers import Identifier
from agent.domain.link import Link
from agent.domain.offline import OfflinePolicy, OfflineReason
from agent.domain.transaction import IntegrationKey
from agent.errors import UnknownRecordError
from agent.ports import Clock, MemberBenefits
from agent.services.asking import Asking
from agent.services.handles import Refs

MOST_REMEMBERED = 1_000
"""Members; a till sees fewer in the time that benefits are kept for."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the vendor said last of a member's benefits.

    Attributes:
        benefits: what it said.
        as_of: when.
        mono: the same, monotonic seconds: a clock that is put right keeps nothing longer.
    """

    benefits: Benefits = field(repr=False)
    as_of: datetime
    mono: float


@dataclass(frozen=True, slots=True)
class ShownBenefits:
    """The answer to "what can be used".

    Attributes:
        benefits: the member's own.
        general: what is for everybody now.
        welcome: what is for somebody who has just joined here.
        refused: of each offer and voucher, why it is not given unasked; None: it is.
        live: the vendor has just said so.
        served: how it was served.
        codes: messages for the cashier's screen.
    """

    benefits: Benefits = field(repr=False)
    general: tuple[GeneralOffer, ...]
    refused: Mapping[Benefit, OfflineReason | None] = field(repr=False)
    live: bool
    served: Served
    codes: tuple[str, ...]
    welcome: tuple[GeneralOffer, ...] = ()


@dataclass(frozen=True, slots=True)
class BenefitsPolicy:
    """The part of the configuration that benefits obey.

    Attributes:
        keep: `benefits.keep`.
        stale_after: `replica.stale_after`.
        general: `benefits.general`.
        welcome: `benefits.welcome`.
        unasked: `benefits.offline`.
    """

    keep: timedelta
    stale_after: timedelta
    general: tuple[GeneralOffer, ...] = ()
    welcome: tuple[GeneralOffer, ...] = ()
    unasked: OfflinePolicy = field(default_factory=OfflinePolicy)


class MemberBenefitsDesk:
    """Answers what a member can use.

    Args:
        clock: for ages and what has expired.
        refs: whose a handle is.
        vendor: the vendor's question, or None where it has none.
        asking: how it is asked.
        link: what is known of the line.
        given_unasked: how many benefits somebody, by key and names, was given unasked on a day. Raises StorageError.
        policy: the configuration.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        refs: Refs,
        vendor: MemberBenefits | None,
        asking: Asking,
        link: Link,
        given_unasked: Callable[[IntegrationKey, Collection[Identifier], date], int],
        policy: BenefitsPolicy,
    ) -> None:
        self._clock, self._refs, self._contacts = clock, refs, refs.contacts
        self._vendor, self._asking, self._link, self._policy = vendor, asking, link, policy
        self._remembered: OrderedDict[IntegrationKey, Remembered] = OrderedDict()
        self._given_unasked = given_unasked
        self._forgotten = 0

    async def of(self, ref: str) -> ShownBenefits:
        """What the member behind a handle can use, or everybody (`GENERAL_REF`).

        Raises:
            UnknownRecordError: nobody is known under that handle.
        """
        if ref == GENERAL_REF:
            return self._shown(None, reached=self._link.answers is not False, somebody=False)
        key = self._refs.key(ref)
        if key is None:
            raise UnknownRecordError("Nobody is known here under that handle.")
        if self._refs.joining(ref):  # the vendor cannot be asked about a number of ours
            return self._of_newcomer()
        if self._vendor is None or not self._asking.live:
            return self._shown(None, reached=self._link.answers is not False)
        fresh = await self._fetch(self._vendor, key)
        if fresh is not None:
            return self._shown(fresh, key, self._refs.handles.names(ref), reached=True, live=True)
        return self._shown(self.remembered(key), key, self._refs.handles.names(ref), reached=False)

    def _of_newcomer(self) -> ShownBenefits:
        """What the shop gives whoever joins, in the same sale: what the vendor gives them comes when it has them."""
        shown = self._shown(None, reached=self._link.answers is not False)
        return replace(shown, welcome=current(self._policy.welcome, self._clock.today()))

    def remembered(self, key: IntegrationKey) -> Remembered | None:
        """What the vendor said last, unless that is too long ago."""
        self.purge()
        return self._remembered.get(key)

    def drop(self, key: IntegrationKey, kind: BenefitKind, id_: str) -> None:
        """Forgets one benefit of a member's: the vendor has said since that it cannot be used."""
        known = self._remembered.get(key)
        if known is not None:
            items = tuple(item for item in known.benefits.items if (item.kind, item.id) != (kind, id_))
            self._remembered[key] = replace(known, benefits=replace(known.benefits, items=items))

    def export(self, names: Collection[Identifier]) -> list[dict[str, Any]]:
        """What is remembered of whoever is named by one of these, as documents of texts."""
        self.purge()
        return [_document(known) for key, known in self._remembered.items() if key.identifier in names]

    def forget(self) -> None:
        """Forgets everybody, whoever is being asked about included."""
        self._forgotten += 1
        self._remembered.clear()
        self._refs.handles.forget()

    def purge(self) -> None:
        """Drops what is too old, handles and names of people too."""
        self._refs.handles.purge()
        oldest = self._clock.monotonic() - self._policy.keep.total_seconds()
        for key in [key for key, known in self._remembered.items() if known.mono <= oldest]:
            del self._remembered[key]

    async def _fetch(self, vendor: MemberBenefits, key: IntegrationKey) -> Remembered | None:
        """What the vendor says, remembered; None when it does not answer."""
        forgotten = self._forgotten
        found = await self._asking.ask(
            lambda: vendor.benefits(key, timeout_s=self._asking.budget_s, pace=self._asking.spend)
        )
        if found is None:
            return None
        fresh = Remembered(found, self._clock.now(), self._clock.monotonic())
        if forgotten == self._forgotten:  # somebody may have been erased while this was on its way: not kept then
            self._remembered[key] = fresh
            self._remembered.move_to_end(key)
            if len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return fresh

    def _refused(
        self, known: Remembered, key: IntegrationKey, names: Collection[Identifier], now: datetime
    ) -> dict[Benefit, OfflineReason | None]:
        """Why each benefit is not given unasked; what takes off as much as the till says is judged without that."""
        given_today = self._given_unasked(key, names, self._clock.today())
        known_for = timedelta(seconds=self._clock.monotonic() - known.mono)
        return {
            item: self._policy.unasked.refusal(
                item, known_for=known_for, given_today=given_today, now=now, stated=Decimal(0)
            )
            for item in known.benefits.items
        }

    def _shown(
        self,
        known: Remembered | None,
        key: IntegrationKey | None = None,
        names: Collection[Identifier] = (),
        *,
        reached: bool,
        live: bool = False,
        somebody: bool = True,
    ) -> ShownBenefits:
        now = self._clock.now()
        level = self._contacts.level(self._contacts.as_of(), vendor_answers=self._link.answers is not False)
        how = served(
            "live" if live else "replica",
            as_of=known.as_of if known is not None else None,
            now=now,
            stale_after=self._policy.stale_after,
            level=level,
        )
        general = () if reached else general_offers(self._policy.general, level=level, today=self._clock.today())
        benefits = known.benefits.usable(now) if known is not None else Benefits()
        refused = self._refused(known, key, names, now) if known is not None and key is not None else {}
        return ShownBenefits(
            benefits, general, refused, live, how, _codes(how, reached=reached, general=general, somebody=somebody)
        )


def _document(known: Remembered) -> dict[str, Any]:
    points = known.benefits.points
    return {
        "as_of": known.as_of.isoformat(),
        "points": str(points.balance) if points is not None else None,
        "items": [
            {"kind": item.kind.value, "id": item.id, "name": item.name, "reference": item.reference}
            for item in known.benefits.items
        ],
    }


def _codes(how: Served, *, reached: bool, general: Sequence[GeneralOffer], somebody: bool) -> tuple[str, ...]:
    codes = []
    if not reached and how.level < TAG_LEVEL:
        codes.append("loyalty.unavailable")
    elif not reached and somebody and how.level >= REPLICA_LEVEL:  # it says that this member is in the local contacts
        codes.append("loyalty.offline.replica")
    if how.stale:
        codes.append("loyalty.stale")
    if general:
        codes.append("loyalty.general_offers")
    return tuple(codes)
