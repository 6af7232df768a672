"""The bodies of the calls about one person. An export is personal data: it goes to whoever asked, and nowhere else."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema
from typing_extensions import TypeAliasType

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
    activities: int = Field(description="activities, such as an order's delivery; nobody is told of them any more")
    redemptions: int = Field(description="offers and vouchers that were used up for sales; what became of them stays")
    enrolments: int = Field(
        description="contacts made at this till, and changes given here, whether or not the loyalty system has them yet"
    )
    notes: int = Field(description="reasons for giving a sale up")
    kept_files: int = Field(
        description="damaged databases that were kept, and their logs: whoever is asked for, all of them go"
    )
    file_rows: int = Field(
        description="rows of files that wait for a vendor to fetch them; what was fetched is not here"
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


class ErasureRequestItem(Answer):
    """A further system is asked to erase them too; ``id`` is the ``activity_id`` of its entry in the queue."""

    vendor: str
    id: str


class ErasureReceipt(Answer):
    """The proof that somebody was erased, without saying who."""

    id: str
    erased_at: datetime
    removed: tuple[ErasedItem, ...]
    requests: tuple[ErasureRequestItem, ...]
    audit: AuditHead


class ErasureAnswer(Answer):
    """Everything about the person is gone."""

    counts: ErasureCounts
    receipt: ErasureReceipt


class ExportCounts(Answer):
    """How much there is. ``withheld``: sales and activities under a key that somebody else has too.

    They may be about them.
    """

    contacts: int
    sales: int
    activities: int
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


ExportedRecord = TypeAliasType(
    "ExportedRecord", Annotated[dict[str, Any], WithJsonSchema({"type": "object", "additionalProperties": True})]
)


class ExportAnswer(Answer):
    """Everything that is held on one person. Each sale carries what the till stated, and what became of it."""

    exported_at: datetime
    counts: ExportCounts
    contacts: tuple[ExportedContact, ...]
    benefits: tuple[ExportedRecord, ...] = Field(description="what the loyalty system said last of what they can use")
    redemptions: tuple[ExportedRecord, ...] = Field(description="offers and vouchers that were used up for sales")
    enrolments: tuple[ExportedRecord, ...] = Field(
        description="contacts of theirs that were made at this till, and changes"
    )
    sales: tuple[ExportedRecord, ...]
    activities: tuple[ExportedRecord, ...] = Field(description="what happened to them without a sale, as tills told it")
    audit: tuple[ExportedRecord, ...]
    erased_before: tuple[EarlierErasure, ...]
