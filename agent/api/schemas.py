"""The bodies that the door publishes; those of a sale are `agent.domain.transaction`.

Requests refuse fields they do not know. Answers may grow: clients ignore fields they do not know.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema
from typing_extensions import TypeAliasType

from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IdentifierStatement, IntegrationKey, KeyKind, Speakable

# A type that several bodies share, or that can be null, has a name of its own in the document too: a client that is
# generated from it has one type then, and not one for each place.
DeliveryState = TypeAliasType("DeliveryState", Literal["queued", "held", "delivered", "parked", "in_doubt"])
UnfinishedState = TypeAliasType("UnfinishedState", Literal["queued", "held", "parked", "in_doubt"])
Severity = TypeAliasType("Severity", Literal["info", "warning", "error"])
OnlineState = TypeAliasType("OnlineState", Literal["online", "degraded", "offline"])


class Request(BaseModel):
    """What a caller sends."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Answer(BaseModel):
    """What a caller gets."""

    model_config = ConfigDict(frozen=True, from_attributes=True, json_schema_serialization_defaults_required=True)


class Message(Answer):
    """One sentence for a screen."""

    code: str
    audience: Literal["staff", "customer"]
    severity: Severity
    text: str
    locale: str


class Served(Answer):
    """How an answer about a person was served; ``level`` is the fallback level in force."""

    source: Literal["live", "replica", "none"]
    as_of: datetime | None
    age_s: int | None
    stale: bool
    level: Annotated[int, Field(ge=1, le=4)]


# --- identify and contacts --------------------------------------------------------------------------------------


class IdentifyRequest(Request):
    """The question: who is this."""

    identifier: IdentifierStatement


Contact = TypeAliasType(
    "Contact",
    Annotated[
        dict[str, Any],
        WithJsonSchema(
            {
                "title": "Contact",
                "type": "object",
                "description": "The handle, the integration key's value under its type, and the configured fields.",
                "properties": {
                    "ref": {
                        "type": ["string", "null"],
                        "description": "Opaque, not personal. Of somebody whom only the vendor knows it lasts four "
                        "hours.",
                    }
                },
                "required": ["ref"],
                "additionalProperties": {"type": ["string", "null"]},
                "examples": [{"ref": "c_5f3a", "member_number": "10000421", "first_name": "Alma"}],
            }
        ),
    ],
)


class Allowed(Answer):
    """What may be done with the membership now."""

    earn: bool = Field(description="A sale can be tagged so that it earns.")
    spend: bool = Field(
        description="The member is known by an identifier of `benefits.spend_with`, and the loyalty system answers."
    )
    see_details: bool = Field(description="The configuration keeps details that may be shown.")


class IdentifyAnswer(Answer):
    """Who it is."""

    outcome: Literal["matched", "not_found", "ambiguous", "unknown"]
    integration_key: IntegrationKey | None
    contact: Contact | None
    allowed: Allowed
    served: Served
    messages: tuple[Message, ...]


class ContactTaken(Answer):
    """A new contact is on disk, or was somebody already."""

    ref: str = Field(description="Opaque, not personal; for the other calls.")
    integration_key: IntegrationKey = Field(
        description="The loyalty system's; while it is `queued` or `parked` this till's own number. Sales take either."
    )
    state: Literal["queued", "parked", "delivered", "existing"] = Field(
        description="`delivered`: the loyalty system has it; `queued`: it will get it; `parked`: it refuses what was "
        "given; `existing`: they were a member already"
    )
    served: Served
    messages: tuple[Message, ...]


class ContactChanged(Answer):
    """A change to a contact is on disk."""

    ref: str = Field(description="The handle that the change was for.")
    integration_key: IntegrationKey = Field(description="As it was: no change has a key.")
    state: Literal["queued", "delivered"] = Field(
        description="`delivered`: the loyalty system has it; `queued`: it will get it"
    )
    served: Served
    conflicts: tuple[str, ...] = Field(
        description="What the loyalty system keeps as it has it, because its word is the later one: such as "
        "`consents/news`, `preferences/accepts_sms`. Known once it is `delivered`."
    )
    messages: tuple[Message, ...]


class ContactAnswer(Answer):
    """What the replica may show of a member."""

    integration_key: IntegrationKey
    contact: Contact
    served: Served
    messages: tuple[Message, ...]


# --- transactions -----------------------------------------------------------------------------------------------


class AnsweredKey(Answer):
    """The integration key a sale or activity was taken with; ``value`` is null once it has been erased."""

    kind: KeyKind
    type: IdentifierType
    value: str | None = Field(repr=False)


class TransactionAccepted(Answer):
    """The sale is on disk; ``number`` is its own among all sales of that till, one more than the sale's before."""

    transaction_id: str
    number: int
    state: DeliveryState
    duplicate: bool
    accepted_at: datetime
    integration_key: AnsweredKey | None
    served: Served
    messages: tuple[Message, ...]


class ActivityAccepted(Answer):
    """The activity is on disk."""

    activity_id: str
    state: DeliveryState
    duplicate: bool
    accepted_at: datetime
    integration_key: AnsweredKey | None
    served: Served
    messages: tuple[Message, ...]


class StoredKey(Answer):
    """Which kind of integration key a sale carries; its value is not shown."""

    kind: KeyKind
    type: IdentifierType


class LastError(Answer):
    """Why the last attempt failed."""

    code: str
    status: int | None
    title: str


class DeliveryNote(Answer):
    """What a vendor took a sale without."""

    code: str
    title: str


class DeliveryAnswer(Answer):
    """How a sale stands with one vendor. ``delivered`` means accepted by it."""

    vendor: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    vendor_reference: str | None
    last_error: LastError | None
    note: DeliveryNote | None = Field(
        description="Of a delivered sale: what of it was lost or left out on the way, such as its own time."
    )


class TransactionAnswer(Answer):
    """How a sale stands; ``state`` is that of the least finished delivery, ``number`` its own at that till."""

    transaction_id: str
    number: int
    state: DeliveryState
    accepted_at: datetime
    integration_key: StoredKey | None
    deliveries: tuple[DeliveryAnswer, ...]


class StoryDelivery(DeliveryAnswer):
    """How a sale stands with one vendor, with the entry that the queue's calls take.

    Two states more than elsewhere: ``cancelled``, voided or claimed anew before it got there; ``discarded``, given up
    by a person.
    """

    state: Literal["queued", "held", "delivered", "parked", "in_doubt", "cancelled", "discarded"]  # type: ignore[assignment] # it only widens
    entry: int


class AttemptAnswer(Answer):
    """One attempt to deliver, and what came of it."""

    entry: int
    at: datetime
    verdict: str
    code: str | None
    status: int | None


class StoryEvent(Answer):
    """What else happened to a sale: its tag rose (``retagged``), or a person decided (``retried``, ``discarded``)."""

    at: datetime
    what: str
    vendor: str


class AboutIt(Answer):
    """A later sale that names this one: a return, a void, a claim."""

    transaction_id: str
    type: str
    accepted_at: datetime


class StoryAnswer(Answer):
    """A sale's whole life without the person in it; ``number`` is its own among all sales of that till."""

    transaction_id: str
    type: str
    store_id: str
    till_id: str
    number: int
    occurred_at: str
    accepted_at: datetime
    erased_at: datetime | None
    original_transaction_id: str | None
    answered_key: StoredKey | None
    integration_key: StoredKey | None
    about_it: tuple[AboutIt, ...]
    deliveries: tuple[StoryDelivery, ...]
    attempts: tuple[AttemptAnswer, ...]
    events: tuple[StoryEvent, ...]


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


# --- errors -----------------------------------------------------------------------------------------------------


class FaultItem(Answer):
    """One thing that does not fit: where, as a JSON pointer, and what. Values are never repeated."""

    pointer: str
    message: str


class Problem(Answer):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)  # what is empty is left out

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: tuple[FaultItem, ...] = Field((), description="only for a body or query that does not fit")
    messages: tuple[Message, ...] = Field((), description="only where a cashier should be told")
