"""The bodies of the calls about one person. An export is personal data: it goes to whoever asked, and nowhere else."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from agent.api.schemas import Answer, Request
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IdentifierStatement, IntegrationKey


class PersonRequest(Request):
    """Whom it is about, by any identifier; `any` lets the agent decide what the value can be."""

    identifier: IdentifierStatement


class ErasureCounts(Answer):
    """How many records of each kind were erased, or lost their personal part; zeros for an unknown person.

    But for ``kept_files``: nobody can be searched for in a damaged file.
    """

    contacts: int = Field(description="members taken out of the replica")
    sales_waiting: int = Field(description="sales that were still owed to a vendor; they stay, untagged")
    sales_finished: int = Field(description="sales that were not; they stay without their person")
    redemptions: int = Field(description="offers and vouchers that were used up for sales; what became of them stays")
    notes: int = Field(description="reasons for giving a sale up")
    kept_files: int = Field(
        description="damaged databases that were kept, and their logs: whoever is asked for, all of them go"
    )


class ErasedItem(Answer):
    """So many of something, and where they were."""

    where: str
    what: str
    count: int


class AuditHead(Answer):
    """An entry of the audit trail: its number, and the SHA-256 of its line."""

    seq: int
    hash: str


class ErasureReceipt(Answer):
    """The proof that somebody was erased, without saying who."""

    id: str
    erased_at: datetime
    removed: tuple[ErasedItem, ...]
    audit: AuditHead


class ErasureAnswer(Answer):
    """Everything about the person is gone."""

    counts: ErasureCounts
    receipt: ErasureReceipt


class ExportCounts(Answer):
    """How much there is. ``withheld``: sales under a key that somebody else has too; they may be about them."""

    contacts: int
    sales: int
    withheld: int
    audit: int


class ExportedContact(Answer):
    """A member as the replica has them: what is clear, and the types of identifiers of which a keyed hash is kept."""

    ref: str
    integration_key: IntegrationKey
    known_by: tuple[IdentifierType, ...]
    fields: dict[str, str | None]


class EarlierErasure(Answer):
    """The person was erased here before: a keyed hash is kept, so that the feed cannot bring them back."""

    receipt: str
    erased_at: datetime


Document = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "additionalProperties": True})]


class ExportAnswer(Answer):
    """Everything that is held on one person. Each sale carries what the till stated, and what became of it."""

    exported_at: datetime
    counts: ExportCounts
    contacts: tuple[ExportedContact, ...]
    benefits: tuple[Document, ...] = Field(description="what the loyalty system said last of what they can use")
    redemptions: tuple[Document, ...] = Field(description="offers and vouchers that were used up for sales")
    sales: tuple[Document, ...]
    audit: tuple[Document, ...]
    erased_before: tuple[EarlierErasure, ...]
