"""The bodies that the door publishes; those of a sale are `agent.domain.transaction`.

Requests refuse fields they do not know. Answers may grow: clients ignore fields they do not know.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import TypeAliasType

from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IdentifierStatement, IntegrationKey, KeyKind

# A type that several bodies share, or that can be null, has a name of its own in the document too: a client that is
# generated from it has one type then, and not one for each place.
DeliveryState = TypeAliasType("DeliveryState", Literal["queued", "held", "delivered", "parked", "in_doubt"])
Severity = TypeAliasType("Severity", Literal["info", "warning", "error"])


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
