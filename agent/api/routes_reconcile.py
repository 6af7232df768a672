"""The day-end check: is what the till sold all here, and all with the vendors. What it answers names no person."""

from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer
from typing_extensions import TypeAliasType

from agent.api import bodies
from agent.api.calls import Call
from agent.api.rooms import Rooms
from agent.api.schemas import Answer, Request
from agent.api.visits import Reply, Visit
from agent.domain.transaction import TransactionId, TransactionType
from agent.services.reconcile import Reconciliation

SAMPLE: Final = 20


def _spelled_out(value: object) -> object:
    # A number would be taken for seconds since 1970.
    if value is None or isinstance(value, date) or (isinstance(value, str) and len(value) == len("2026-02-14")):
        return value
    raise ValueError("is not a date such as 2026-02-14")


Day = Annotated[
    date | None,
    BeforeValidator(_spelled_out),
    Field(description="the business day; yesterday, the last that is over, without it"),
]
Sample = Annotated[
    int, Field(ge=0, le=100, description="delivered sales to ask each vendor about, drawn at random; 0 asks nobody")
]
Sum = Annotated[Decimal, PlainSerializer(lambda amount: format(amount, "f"), return_type=str)]
Ids = tuple[str, ...]


class ReconcileQuery(Request):
    """Which day, and how many sales to ask the vendors about."""

    day: Day = None
    sample: Sample = SAMPLE


class ReconcileRequest(Request):
    """The same with the till's own list, which proves what the agent has never seen."""

    day: Day = None
    sample: Annotated[Sample, Field(strict=True)] = SAMPLE
    expected: tuple[TransactionId, ...] = Field(description="ids of what the till says it sold that day")


class TotalAnswer(Answer):
    """Sales of one kind in one currency, added up as the till stated them."""

    type: TransactionType
    currency: str
    count: int
    total: Sum


class TillAnswer(Answer):
    """One till's sales of the day, and the lowest and highest of their numbers."""

    store_id: str
    till_id: str
    sold: int
    first: int
    last: int


BreakReason = TypeAliasType("BreakReason", Literal["rescue", "skipped"])


class BreakAnswer(Answer):
    """Numbers without a sale, or one that stands twice.

    ``after`` and ``before`` are the sales on either side. ``reason`` is `rescue` (lost in a damaged file at ``at``),
    `skipped` (left out then, because nobody knows whether they had been given) or null: nobody knows.
    """

    store_id: str
    till_id: str
    kind: Literal["missing", "twice"]
    first: int
    last: int
    after: str | None
    before: str | None
    reason: BreakReason | None
    at: datetime | None


class ListingAnswer(Answer):
    """The till's own list, compared.

    ``missing``: sold, and never seen here. ``other_day``: on record under another day. ``twice``: named more than once.
    ``unlisted``: on record, but not in the list, which names other sales of that till.
    """

    listed: int
    missing: Ids
    other_day: Ids
    twice: Ids
    unlisted: Ids


class VendorSampleAnswer(Answer):
    """What a vendor's books say of a random sample of what it was delivered.

    ``outcome``: `asked`; `not_asked` (no sample, or nothing that can be asked for); `cannot_be_asked`: it has no such
    question; `unreachable`, `refused`: it did not answer, or not to us. ``can_be_asked`` are delivered sales with a
    primary key whose personal part is not erased yet. ``not_yet`` are absent but too recent to be sure.
    """

    outcome: Literal["asked", "not_asked", "cannot_be_asked", "unreachable", "refused"]
    can_be_asked: int
    asked: int
    found: int
    not_yet: Ids
    missing: Ids
    twice: Ids
    unclear: Ids


class VendorDayAnswer(Answer):
    """How the day's sales stand with one vendor; the figures add up to ``sold``. ``guests`` are owed to nobody."""

    vendor: str
    delivered: int
    queued: int
    held: int
    parked: int
    in_doubt: int
    discarded: int
    cancelled: int
    guests: int
    books: VendorSampleAnswer


class StuckAnswer(Answer):
    """A delivery that waits for a person, or that one gave up."""

    transaction_id: str
    vendor: str
    state: Literal["parked", "in_doubt", "discarded"]
    code: str | None


class ReconcileAnswer(Answer):
    """A day, checked; ``ok`` when nothing is missing and nothing is there twice, by any witness.

    ``missing`` and ``twice`` count what each witness misses; one sale may be missed by several. ``unreadable`` records
    are in ``sold`` but not in ``totals``. ``breaks_elsewhere`` are numbers missing or twice on other days.
    """

    day: date
    timezone: str
    ok: bool
    sold: int
    unreadable: int
    totals: tuple[TotalAnswer, ...]
    missing: int
    twice: int
    tills: tuple[TillAnswer, ...]
    breaks: tuple[BreakAnswer, ...]
    breaks_elsewhere: int
    expected: ListingAnswer | None
    vendors: tuple[VendorDayAnswer, ...]
    stuck: tuple[StuckAnswer, ...]


class ReconcileCalls:
    """The calls of the day-end check.

    Args:
        rooms: what is behind the door.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def calls(self) -> tuple[Call, ...]:
        """What is offered."""
        unreadable = {503: "The record cannot be read now."}
        return (
            Call(
                "GET", "/v1/reconcile", "admin", self.check, "Is a day complete", name="check_day",
                query=ReconcileQuery, gives={200: ReconcileAnswer}, refuses=unreadable,
            ),
            Call(
                "POST", "/v1/reconcile", "admin", self.compare, "Is a day complete, by the till's own list",
                name="compare_day",
                takes=ReconcileRequest, gives={200: ReconcileAnswer}, refuses=unreadable,
            ),
        )  # fmt: skip

    async def check(self, visit: Visit) -> Reply:
        """What was sold on a business day, what became of it, what is missing and what is there twice.

        Asks the vendors about a random sample, within their allowance and 15 s.
        """
        query: ReconcileQuery = visit.query
        return self._reply(await self._rooms.reconcile.check(query.day, sample=query.sample))

    async def compare(self, visit: Visit) -> Reply:
        """The same, compared with what the till says it sold. Nothing is changed; a list is too long for a URL."""
        request = bodies.parse(ReconcileRequest, visit.body)
        return self._reply(
            await self._rooms.reconcile.check(request.day, sample=request.sample, listed=request.expected)
        )

    def _reply(self, found: Reconciliation) -> Reply:
        return Reply(200, _answer(found, self._rooms.settings.agent.timezone).model_dump_json().encode())


def _answer(found: Reconciliation, timezone: str) -> ReconcileAnswer:
    return ReconcileAnswer(
        day=found.day,
        timezone=timezone,
        ok=not found.missing and not found.twice,
        sold=found.sold,
        unreadable=found.unreadable,
        totals=tuple(TotalAnswer.model_validate(total) for total in found.totals),
        missing=found.missing,
        twice=found.twice,
        tills=tuple(TillAnswer.model_validate(till) for till in found.tills),
        breaks=tuple(BreakAnswer.model_validate(gap) for gap in found.breaks),
        breaks_elsewhere=found.breaks_elsewhere,
        expected=ListingAnswer.model_validate(found.listing) if found.listing else None,
        vendors=tuple(
            VendorDayAnswer(**asdict(vendor.handled), books=VendorSampleAnswer.model_validate(vendor.answer))
            for vendor in found.vendors
        ),
        stuck=tuple(StuckAnswer.model_validate(one) for one in found.stuck),
    )
