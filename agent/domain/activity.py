"""An activity: something that happened to a member without a sale, as the till or its order screen knows of it. Pure.

:class:`ActivityStatement` is the published contract of `POST /v1/activities` (docs/till-api.md), :class:`Activity` the
value that waits in the outbox, where whom it happened to is kept beside it. The names are those of the Redcat
integration's events: what a customer data platform is told of.
"""

import json
from datetime import UTC
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from agent.domain.identifiers import Identifier
from agent.domain.transaction import (
    Code,
    IdentifierStatement,
    Instant,
    IntegrationKey,
    NewContact,
    Record,
    Speakable,
    Transaction,
    TransactionId,
    body_of,
    sorted_by_name,
    transaction_of,
    without_person,
)

MAX_ATTRIBUTES = 50
"""mParticle takes 100 of an event, and ours stand among them."""
MAX_ATTRIBUTE_CHARS = 1_000
PREFIX, CONTACT_PREFIX, OWN_PREFIX = "activity/", "contact/", "member/"
"""Before the id in a record's name, of what a till told, of what became of a contact that it gave, and of what is told
of somebody's erasure: no transaction id can hold a slash, so that none of them ever meet."""


class ActivityType(StrEnum):
    """What happened."""

    MEMBER_REGISTRATION_VERIFICATION = "member_registration_verification"
    DELIVERY_ORDER_PICKED_UP = "delivery_order_picked_up"
    DELIVERY_ORDER_APPROACHING = "delivery_order_approaching"
    DELIVERY_ORDER_DELIVERED = "delivery_order_delivered"


class MemberEvent(StrEnum):
    """What the agent itself has to tell of a member; no till states it."""

    DELETED = "member_deleted"
    ERASURE = "member_erasure"
    """Everything that is known of them there is asked to be erased."""


class ContactEvent(StrEnum):
    """What became of a contact that was given at a till, at the system that owns the contacts; no till states it."""

    JOINED = "member_registration_completed"
    """It has them, and was asked by this till to make them."""
    CHANGED = "member_update"


OF_TILLS = frozenset[str](ActivityType)
"""What tills tell of."""

Attributes = Annotated[
    dict[Code, Annotated[Speakable, StringConstraints(max_length=MAX_ATTRIBUTE_CHARS)] | int | bool | None],
    Field(max_length=MAX_ATTRIBUTES),
    AfterValidator(sorted_by_name),
]


class ActivityStatement(Record):
    """The whole statement; exactly one of ``identifier`` and ``integration_key`` names the member."""

    activity_id: TransactionId
    type: ActivityType
    identifier: IdentifierStatement | None = None
    integration_key: IntegrationKey | None = None
    occurred_at: Instant
    order_id: Code | None = None
    attributes: Attributes = Field(default_factory=dict, repr=False)

    def recorded(self, store_id: str, till_id: str) -> "Activity":
        """What is recorded of it beside its person.

        Args:
            store_id: where it was told.
            till_id: by whom.
        """
        return Activity(
            activity_id=self.activity_id,
            type=self.type,
            occurred_at=self.occurred_at,
            order_id=self.order_id,
            attributes=self.attributes,
            store_id=store_id,
            till_id=till_id,
        )

    def content(self, key: IntegrationKey | None, readings: tuple[Identifier, ...]) -> bytes:
        """The bytes that two statements of the same activity share, however they were spelled.

        Args:
            key: the integration key it states, in one form.
            readings: what its identifier can be.
        """
        at = self.occurred_at.astimezone(UTC).isoformat()
        named = [(item.type, item.value) for item in readings]
        stated = [key.kind, key.type, key.value] if key else []
        return json.dumps([self.activity_id, self.type, at, self.order_id, self.attributes, stated, named]).encode()


class Activity(Record):
    """An activity as it is recorded: a till's, or the agent's own.

    ``new_contact`` is what was given of a member who joined, or is new of theirs, as far as anybody may be told.
    """

    activity_id: TransactionId
    type: ActivityType | ContactEvent | MemberEvent
    occurred_at: Instant
    order_id: Code | None = None
    attributes: Attributes = Field(default_factory=dict, repr=False)
    new_contact: NewContact | None = Field(default=None, repr=False)
    store_id: str
    till_id: str

    @property
    def name(self) -> str:
        """What it is recorded under, among the sales."""
        of = {MemberEvent: OWN_PREFIX, ContactEvent: CONTACT_PREFIX}
        return of.get(type(self.type), PREFIX) + self.activity_id

    def body(self) -> str:
        """The activity as JSON, without its instant, which the outbox keeps beside it."""
        return self.model_dump_json(exclude={"occurred_at"}, exclude_defaults=True)


def activity_id_of(name: str) -> str | None:
    """The activity's id when a record of that name is one; None of a sale."""
    prefix = next((prefix for prefix in (PREFIX, CONTACT_PREFIX, OWN_PREFIX) if name.startswith(prefix)), None)
    return None if prefix is None else name.removeprefix(prefix)


def is_own(name: str) -> bool:
    """Whether a record of that name tells of somebody's erasure, which it outlives."""
    return name.startswith(OWN_PREFIX)


def record_of(body: str, occurred_at: str) -> Transaction | Activity:
    """The sale or the activity that a body tells of.

    Raises:
        ValueError: it is neither.
    """
    stated = json.loads(body)
    if "activity_id" in stated:
        return Activity.model_validate({**stated, "occurred_at": occurred_at})
    return transaction_of(body, occurred_at)


def impersonal_body(body: str, occurred_at: str) -> str:
    """What is left of a record after the purge: nothing that points to a person, such as a till's free attributes.

    Raises:
        ValueError: it is no record.
    """
    record = record_of(body, occurred_at)
    if isinstance(record, Activity):
        return record.model_copy(update={"attributes": {}, "new_contact": None}).body()
    return body_of(without_person(record))
