"""Whether a till's day is complete: what was sold, where each sale is now, and what is missing or there twice. Pure.

Three witnesses, none of which needs to trust another: the numbers that each till's sales are given at intake, without
gaps (:class:`Break`); the till's own list of what it sold (:func:`compare`); and the vendor's books, asked about a
sample (:class:`Answer`). A sale belongs to the day on which it happened at the till, in the store's time zone, because
that is what the till's own closing report counts; when it reached the agent makes no difference.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime, tzinfo
from decimal import Decimal

from agent.domain.delivery import DeliveryState
from agent.domain.money import ZERO, minor_unit
from agent.domain.numbering import Break
from agent.domain.transaction import IntegrationKey, TransactionType


def business_day(occurred_at: datetime, zone: tzinfo) -> date:
    """The day that a sale belongs to: the store's own date when it happened."""
    return occurred_at.astimezone(zone).date()


@dataclass(frozen=True, slots=True)
class Handling:
    """How one sale stands with one vendor.

    Attributes:
        vendor: its name.
        state: also `cancelled` and `discarded`.
        delivered_at: when the vendor accepted it.
        error_code: why not, as far as that is known.
    """

    vendor: str
    state: DeliveryState
    delivered_at: datetime | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class DaySale:
    """One sale of a day.

    Attributes:
        transaction_id: the till's own.
        type: what happened.
        till: store and till.
        number: among all sales of that till.
        currency: None when the record cannot be read any more.
        total: as the till stated it; None likewise.
        handlings: how it stands with each vendor; empty for a guest's, where no vendor wants guests.
        key: the primary key it was tagged with; None without one, and once the personal part is erased.
    """

    transaction_id: str
    type: TransactionType
    till: str
    number: int
    currency: str | None
    total: Decimal | None
    handlings: tuple[Handling, ...]
    key: IntegrationKey | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class DayRecord:
    """A day as the outbox has it.

    Attributes:
        sales: of that day, in the order of acceptance.
        breaks: every one on record, whichever day it concerns.
        elsewhere: ids asked for that belong to another day, with that day.
    """

    sales: tuple[DaySale, ...]
    breaks: tuple[Break, ...]
    elsewhere: Mapping[str, date]


@dataclass(frozen=True, slots=True)
class Total:
    """Sales of one kind in one currency; ``total`` is the sum of what the till stated."""

    type: TransactionType
    currency: str
    count: int
    total: Decimal


def totals(sales: Iterable[DaySale]) -> tuple[Total, ...]:
    """Sums by kind and currency, in the order of the kinds. Sales that cannot be read are left out."""
    sums: dict[tuple[TransactionType, str], list[Decimal]] = {}
    for sale in sales:
        if sale.currency is not None and sale.total is not None:
            sums.setdefault((sale.type, sale.currency), []).append(sale.total)
    order = list(TransactionType)
    return tuple(
        Total(kind, currency, len(amounts), sum(amounts, ZERO).quantize(minor_unit(currency) or ZERO))
        for (kind, currency), amounts in sorted(sums.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    )


@dataclass(frozen=True, slots=True)
class Handled:
    """How the day's sales stand with one vendor. The figures add up to the number of sales."""

    vendor: str
    delivered: int
    queued: int
    held: int
    parked: int
    in_doubt: int
    discarded: int
    cancelled: int
    guests: int


def handled(sales: Iterable[DaySale], vendor: str, *, held: bool) -> Handled:
    """Counts the sales of a day by what became of them at one vendor.

    Args:
        sales: of the day; those without a delivery to the vendor are its guests.
        vendor: its name.
        held: its lane is held, and with it what is queued.
    """
    states = Counter(
        next((handling.state.value for handling in sale.handlings if handling.vendor == vendor), "guests")
        for sale in sales
    )
    if held:
        states["held"] += states.pop("queued", 0)
    return Handled(vendor, *(states[figure.name] for figure in fields(Handled)[1:]))


@dataclass(frozen=True, slots=True)
class Stuck:
    """A delivery that waits for a person, or that one gave up."""

    transaction_id: str
    vendor: str
    state: DeliveryState
    code: str | None


def stuck(sales: Iterable[DaySale]) -> tuple[Stuck, ...]:
    """What of a day will not go further by itself."""
    states = (DeliveryState.PARKED, DeliveryState.IN_DOUBT, DeliveryState.DISCARDED)
    return tuple(
        Stuck(sale.transaction_id, handling.vendor, handling.state, handling.error_code)
        for sale in sales
        for handling in sale.handlings
        if handling.state in states
    )


@dataclass(frozen=True, slots=True)
class Listing:
    """The till's own list, compared.

    Attributes:
        listed: different ids in it.
        missing: the till sold it and the agent has never seen it.
        other_day: on record, but of another day.
        twice: ids that the list names more than once: two sales under one id, of which the agent kept one.
        unlisted: sales of the day that the list does not name, though it names others of the same till.
    """

    listed: int
    missing: tuple[str, ...]
    other_day: tuple[str, ...]
    twice: tuple[str, ...]
    unlisted: tuple[str, ...]


def compare(listed: Sequence[str], record: DayRecord) -> Listing:
    """What the till says it sold, against what is on record."""
    times = Counter(listed)
    here = {sale.transaction_id: sale.till for sale in record.sales}
    tills = {here[name] for name in times if name in here}
    return Listing(
        listed=len(times),
        missing=tuple(name for name in times if name not in here and name not in record.elsewhere),
        other_day=tuple(name for name in times if name in record.elsewhere),
        twice=tuple(name for name, count in times.items() if count > 1),
        unlisted=tuple(name for name, till in here.items() if till in tills and name not in times),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a vendor's books say of a sample.

    Attributes:
        outcome: `asked`; `not_asked`: no sample was wanted, or no sale of the day can be asked for; `cannot_be_asked`:
            this vendor has no such question; `unreachable`, `refused`: it did not answer, or not to us.
        can_be_asked: delivered sales with a primary key whose personal part is not erased yet.
        asked: of these.
        found: in its books once.
        not_yet: not there, but delivered so recently that it may not be processed.
        missing: accepted long enough ago, and not there.
        twice: there more than once.
        unclear: the books do not tell.
    """

    outcome: str
    can_be_asked: int = 0
    asked: int = 0
    found: int = 0
    not_yet: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Askable:
    """A delivered sale that a vendor can be asked about."""

    transaction_id: str
    key: IntegrationKey = field(repr=False)
    delivered_at: datetime


def askable(sales: Iterable[DaySale], vendor: str) -> list[Askable]:
    """Those of the sales that a vendor can be asked about: delivered to it, under a primary key that is still known."""
    return [
        Askable(sale.transaction_id, sale.key, handling.delivered_at)
        for sale in sales
        for handling in sale.handlings
        if handling.vendor == vendor and handling.delivered_at is not None and sale.key is not None
    ]


def answer(
    asked: Collection[Askable], counts: Mapping[str, int], unclear: Collection[str], *, settled_before: datetime
) -> Answer:
    """Judges what a vendor's books showed.

    Args:
        asked: the sales asked about.
        counts: how often each stands in the books.
        unclear: those of which absence proves nothing.
        settled_before: what was delivered before must be in the books by now.
    """
    absent = [sale for sale in asked if not counts.get(sale.transaction_id)]
    sure = [sale for sale in absent if sale.transaction_id not in unclear]
    return Answer(
        "asked",
        asked=len(asked),
        found=sum(1 for sale in asked if counts.get(sale.transaction_id) == 1),
        not_yet=tuple(sale.transaction_id for sale in sure if sale.delivered_at >= settled_before),
        missing=tuple(sale.transaction_id for sale in sure if sale.delivered_at < settled_before),
        twice=tuple(sale.transaction_id for sale in asked if counts.get(sale.transaction_id, 0) > 1),
        unclear=tuple(sale.transaction_id for sale in absent if sale.transaction_id in unclear),
    )
