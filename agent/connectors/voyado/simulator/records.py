"""The records a tenant keeps: a contact, what changed about it, a line of the log."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

STANDARD_ATTRIBUTES = (
    "firstName",
    "lastName",
    "street",
    "zipCode",
    "city",
    "email",
    "mobilePhone",
    "countryCode",
    "rfm",
    "careOf",
    "country",
    "age",
    "birthDay",
    "externalId",
    "socialSecurityNumber",
    "gender",
    "memberNumber",
    "createdInStore",
    "store",
    "language",
    "cardId",
    "secrecyMarked",
)
PREFERENCES = ("acceptsEmail", "acceptsSms", "acceptsPostal")
KEY_FIELDS = ("email", "mobilePhone", "socialSecurityNumber", "memberNumber", "externalId", "cardId")
Kind = Literal["new", "updated", "deleted"]


@dataclass(slots=True, kw_only=True)
class Contact:
    """One contact. `attributes` holds what is set; an absent name is a null."""

    contact_id: str
    contact_type: str
    attributes: dict[str, Any]
    preferences: dict[str, bool]
    consents: list[dict[str, Any]]
    source: str | None
    created_at: datetime
    modified_at: datetime
    approved: bool = True
    deleted_at: datetime | None = None

    def value(self, name: str) -> Any:
        """The attribute or preference of this name, None when it is not set."""
        return self.preferences.get(name) if name in PREFERENCES else self.attributes.get(name)


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the change feed."""

    at: datetime
    type: Literal["Created", "Updated", "Deleted"]
    contact_id: str


@dataclass(slots=True)
class Pending:
    """What the next export says about one contact, and which fields changed."""

    kind: Kind
    fields: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of the Integration log. `reference` names a receipt, batch or file, never a person."""

    at: datetime
    event: str
    reference: str
