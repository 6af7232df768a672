"""The bodies of the agent's state, of the pages that show it, and of what administrators do."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from agent.api.schemas import Answer, DeliveryState, LastError, Message, Request, Severity
from agent.domain.transaction import Speakable

UnfinishedState = TypeAliasType("UnfinishedState", Literal["queued", "held", "parked", "in_doubt"])
OnlineState = TypeAliasType("OnlineState", Literal["online", "degraded", "offline"])


# --- the state of the agent -------------------------------------------------------------------------------------


class VendorAnswer(Answer):
    """One vendor. ``waiting``: deliveries to it that are queued or held."""

    vendor: str
    role: Literal["loyalty", "forward"]
    state: OnlineState
    since: datetime | None
    last_success_at: datetime | None
    circuit: str
    waiting: int
    keeps_time: bool = Field(
        description="A sale that comes late counts at its own time there; else at the time when it arrives."
    )


class LoadingAnswer(Answer):
    """How far a running load is; ``files`` is 0 with a feed that has none."""

    files: int
    applied: int
    rows: int


class ReplicaAnswer(Answer):
    """The local copy of the members."""

    loading: LoadingAnswer | None

    contacts: int
    as_of: datetime | None
    age_s: int | None
    stale: bool
    contents: str


class QueueAnswer(Answer):
    """The queue in figures; ``depth`` is queued + held, ``outage_left_s`` how long sales can still be kept.

    ``erasures``: people whom a further system has not been asked yet to erase.
    """

    depth: int
    held: int
    parked: int
    in_doubt: int
    oldest_age_s: int | None
    bytes: int
    outage_left_s: int | None
    erasures: int


class ConditionAnswer(Answer):
    """Something that stands in the way; ``detail`` ends with which vendor, file or count it is about."""

    code: str
    severity: Severity
    since: datetime
    title: str
    detail: str
    remedy: str


class SignAnswer(Answer):
    """What a screen for staff shows: a light, what works now, and what to tell the customer.

    ``light`` is red where the loyalty system does not answer, and where no sale can be kept.
    """

    light: Literal["green", "amber", "red"]
    headline: str
    works: str
    tell: str


class StatusAnswer(Answer):
    """The state of the agent, without personal data."""

    state: OnlineState
    level: Annotated[int, Field(ge=1, le=4)]
    since: datetime
    version: str
    vendors: tuple[VendorAnswer, ...]
    replica: ReplicaAnswer
    queue: QueueAnswer
    conditions: tuple[ConditionAnswer, ...]
    messages: tuple[Message, ...]
    sign: SignAnswer


class DamageAnswer(Answer):
    """What became of a damaged file; no personal data."""

    folder: str = Field(description="Below `damaged/` of the state directory; empty when the file was not kept.")
    file: str
    found_at: datetime
    reason: str
    rescued: dict[str, int] = Field(description="How many of each kind of record are whole again.")
    lost: dict[str, int] = Field(description="How many of each kind are not.")
    lost_ids: tuple[str, ...] = Field(description="Transaction ids of sales that are gone and may be owed.")
    acknowledged_at: datetime | None


class DamageList(Answer):
    """Damaged files, the oldest first."""

    damages: tuple[DamageAnswer, ...]


class DamageAcknowledged(Answer):
    """How many of them had not been seen before."""

    acknowledged: int


class Alive(Answer):
    """The process lives."""

    alive: Literal[True] = True


class Ready(Answer):
    """A sale can be put on disk."""

    ready: Literal[True] = True


class PageTexts(Answer):
    """The staff page's words in one language, and whom to call, as the shop has it (`agent.support`)."""

    locale: str
    texts: dict[str, str]
    support: str


class CustomerAnswer(Answer):
    """What a display for customers shows: sentences that are true of everybody, or the welcome while there are none."""

    locale: str
    welcome: str
    sentences: tuple[str, ...]


class LanguageQuery(Request):
    """In which language; it wins over `Accept-Language`, which an event source cannot set."""

    model_config = ConfigDict(extra="ignore")  # a kiosk adds a parameter of its own, so that nothing old is shown

    lang: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,35}$")] | None = Field(
        None, description="a BCP-47 tag such as `sv-SE`"
    )


# --- admin ------------------------------------------------------------------------------------------------------


class QueueQuery(Request):
    """Which deliveries to list."""

    state: UnfinishedState | None = Field(None, description="only these; all that are unfinished without it")
    vendor: Annotated[str, StringConstraints(pattern=r"^[a-z]{1,32}$")] | None = Field(
        None, description="only this vendor's"
    )
    limit: Annotated[int, Field(ge=1, le=1000)] = Field(100, description="at most so many")
    after: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(0, description="`next` of the page before")


class QueueError(LastError):
    """Why the last attempt failed, with the vendor's own code."""

    vendor_code: str | None


class QueueEntry(Answer):
    """An unfinished delivery: of a sale, or of an activity; the other's id is null."""

    entry: int
    transaction_id: str | None
    activity_id: str | None
    vendor: str
    state: DeliveryState
    attempts: int
    accepted_at: datetime
    next_attempt_at: datetime | None
    last_error: QueueError | None


class QueueList(Answer):
    """A page of the queue; ``next`` goes into ``after``, null on the last page."""

    entries: tuple[QueueEntry, ...]
    next: int | None


class DiscardRequest(Request):
    """Why a delivery is given up."""

    reason: Annotated[Speakable, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)] = Field(
        repr=False, description="for the record; not personal"
    )


class Nothing(Request):
    """An order takes no fields."""


class OrderAccepted(Answer):
    """The order was taken; it runs on its own."""

    ordered: Literal["sync", "flush", "purge", "pause", "resume", "retry", "discard"]
    entry: int | None = Field(None, description="the delivery that a retry or discard is about")
