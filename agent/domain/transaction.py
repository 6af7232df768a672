"""A sale as the till states it: its shape, its arithmetic, and when two statements are the same sale.

These models are the published contract of `POST /v1/transactions` (docs/till-api.md) and the value that waits in
the outbox. Shape is checked by parsing; sums are checked by :mod:`agent.domain.arithmetic`, which needs the whole.
"""

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticKnownError
from typing_extensions import TypeAliasType

from agent.domain import money
from agent.domain.identifiers import MAX_VALUE_CHARS, Identifier, IdentifierType

MAX_LINES = 1_000
MAX_ROWS = 100
ZERO = money.ZERO
_YEARS = range(1970, 2200)
_MINUTE = timedelta(minutes=1)
_CLOCK: Final = re.compile(r"[0-9:]*[0-9]([.,][0-9]+)?(Z|[+-][0-9:]+)")
"""The time of a day with its offset. Python alone would pass over one character before the offset, whatever it is."""


def _instant(value: object) -> datetime:
    # A number would be taken for seconds since 1970; the contract wants the till's own time with its offset.
    if isinstance(value, str) and value[10:11] in ("T", "t", " ") and _CLOCK.fullmatch(value[11:].upper()):
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError:
            value = None
    offset = value.utcoffset() if isinstance(value, datetime) else None
    # An offset with seconds Python reads, and no vendor does.
    if not isinstance(value, datetime) or offset is None or offset % _MINUTE:
        raise ValueError("is not an ISO 8601 time with an offset, such as 2026-02-14T16:41:09+01:00")
    if value.year not in _YEARS:
        raise ValueError("has not come yet" if value.year >= _YEARS.stop else f"lies before {_YEARS.start}")
    return value


def _day(value: object) -> object:
    if isinstance(value, date) or (isinstance(value, str) and len(value) == len("2026-02-14")):
        return value
    raise ValueError("is not a date such as 1988-03-14")


def _bounded(rows: object) -> object:
    # Before each row is looked at: a body of empty rows would draw a hundred thousand faults.
    if isinstance(rows, list | tuple) and len(rows) > MAX_LINES:
        raise ValueError(f"has more than {MAX_LINES} rows")
    return rows


_ABSENT: Final = object()


def _absent() -> Any:
    return _ABSENT


def sorted_by_name(attributes: dict[str, str | int | bool | None]) -> dict[str, str | int | bool | None]:
    """Attributes in one order, so that another one is the same content."""
    return dict(sorted(attributes.items()))


_AMOUNT_SCHEMA = {
    "title": "Amount",
    "description": "An exact decimal: send a string. A JSON number is read digit by digit, as the sender spelled it.",
    "anyOf": [{"type": "string", "pattern": r"^[+-]?[0-9]{1,15}(\.[0-9]{1,6})?$"}, {"type": "number"}],
    "examples": ["250.00"],
}

Amount = TypeAliasType(
    "Amount",
    Annotated[
        Decimal,
        PlainValidator(money.parse_amount),
        PlainSerializer(str, return_type=str, when_used="json"),
        WithJsonSchema(_AMOUNT_SCHEMA),
    ],
)
"""An exact decimal: a string, or a JSON number read without a binary float."""

Instant = Annotated[
    datetime,
    PlainValidator(_instant),
    PlainSerializer(datetime.isoformat, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-02-14T16:41:09+01:00"]}),
]
"""A time with the offset it was stated with; never one without."""

_UNSPEAKABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def _speakable(text: str) -> str:
    if _UNSPEAKABLE.search(text):
        raise ValueError("contains a control character, or what is no character at all")
    return text


TransactionId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:-]{1,64}$")]
Speakable = Annotated[
    str,
    AfterValidator(_speakable),
    Field(json_schema_extra={"pattern": r"^[^\x00-\x1f\x7f-\x9f\ufffe\uffff]*$"}),
]
"""One line of text. A vendor may turn it into XML, as Voyado does, and XML has no control characters and no halves of
a surrogate pair (XML 1.0, 2.2): the whole receipt would be dropped at its import, where nobody is told."""
Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=250),
    AfterValidator(_speakable),
    Field(json_schema_extra={"pattern": r"^[^\x00-\x1f\x7f-\x9f\ufffe\uffff]*$"}),
]
Row = TypeVar("Row")
Rows = Annotated[tuple[Row, ...], Field(max_length=MAX_ROWS), BeforeValidator(_bounded)]
Code = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\s\x00-\x1f\x7f-\x9f\ufffe\uffff]+$")]


class Record(BaseModel):
    """A frozen value that refuses fields it does not know and never repeats its input in an error.

    Null stands for a field that is left out: whoever renders a POS's own objects as JSON has one for each empty field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    defaulted: ClassVar[frozenset[str]] = frozenset()
    """Fields that may be left out and have no null of their own."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: Any) -> None:
        """Knows the fields once they are there."""
        fields = cls.model_fields.items()
        cls.defaulted = frozenset(
            name for name, field in fields if not field.is_required() and field.default is not None
        )

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, stated: Any) -> Any:
        if not isinstance(stated, dict) or None not in stated.values():
            return stated
        return {name: value for name, value in stated.items() if value is not None or name not in cls.defaulted}


class IdentifierStatement(Record):
    """What the customer or the scanner gave, before it is brought to one form: that also judges its length."""

    type: Literal[
        "contact_id", "member_number", "external_id", "card_number", "mobile_phone", "email", "personal_number", "any"
    ]
    value: str = Field(repr=False, json_schema_extra={"minLength": 1, "maxLength": MAX_VALUE_CHARS})


KeyKind = TypeAliasType("KeyKind", Literal["primary", "secondary"])


class IntegrationKey(Record):
    """What ties a sale to a member: the vendor's own key (primary), or something said at the till (secondary)."""

    kind: KeyKind
    type: IdentifierType
    value: Annotated[str, StringConstraints(min_length=1, max_length=254)] = Field(repr=False)

    @property
    def identifier(self) -> Identifier:
        """The key's value as an identifier."""
        return Identifier(self.type, self.value)


class Discount(Record):
    """Money taken off a line; never negative."""

    type: Text | None = None
    description: Text | None = None
    amount: Amount


class Line(Record):
    """One line of the receipt.

    ``gross_paid`` is what was paid for the whole line, tax included, positive on returns too.
    """

    kind: Literal["purchase", "return"]
    sku: Text | None = None
    article_number: Text | None = None
    name: Text | None = None
    plu_class: Text | None = None
    quantity: Amount
    unit_price: Amount | None = None
    gross_paid: Amount
    tax_amount: Amount | None = None
    tax_percent: Amount | None = None
    awards_points: StrictBool = True
    discounts: Rows[Discount] = ()

    @property
    def share(self) -> Decimal:
        """Its part of the sale's total: of a return line less than nothing."""
        return self.gross_paid if self.kind == "purchase" else -self.gross_paid

    @property
    def product_id(self) -> str:
        """The vendor's product id: `sku`, else `article_number`."""
        return self.sku or self.article_number or ""


PaymentType = Literal[
    "card", "cash", "invoice", "gift_card", "member_cash", "loyalty_points", "loyalty_reward", "voucher", "other"
]


class Payment(Record):
    """One tender. A ``voucher`` that also stands in ``vouchers_used`` is a loyalty reward."""

    type: PaymentType
    amount: Amount
    reference: Text | None = Field(default=None, repr=False)


class VoucherUsed(Record):
    """A voucher of the loyalty system that paid for part of the sale."""

    number: Code = Field(repr=False)


class OfferUsed(Record):
    """A personal offer that was used: the person's instance and its template."""

    offer_id: Code = Field(repr=False)
    promotion_id: Code | None = None


class Preferences(Record):
    """Ways of contact that the customer allowed. What was not asked stays unset: it is never switched on by default."""

    accepts_email: StrictBool | None = None
    accepts_sms: StrictBool | None = None
    accepts_postal: StrictBool | None = None


class Consent(Record):
    """One consent as given: which text, when and where."""

    id: Code
    value: StrictBool
    text_version: Code | None = None
    given_at: Instant
    place: Text


class NewContact(Record):
    """What a customer gave at the till who may not be a member yet."""

    contact_type: Code | None = None
    first_name: Text | None = Field(default=None, repr=False)
    last_name: Text | None = Field(default=None, repr=False)
    email: Text | None = Field(default=None, repr=False)
    mobile_phone: Text | None = Field(default=None, repr=False)
    personal_number: Text | None = Field(default=None, repr=False)
    birth_date: Annotated[date, BeforeValidator(_day)] | None = Field(default=None, repr=False)
    street: Text | None = Field(default=None, repr=False)
    zip_code: Text | None = Field(default=None, repr=False)
    city: Text | None = Field(default=None, repr=False)
    country_code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = None
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")] | None = None
    preferences: Preferences | None = None
    consents: Rows[Consent] = ()
    attributes: Annotated[
        dict[Code, Speakable | int | bool | None], Field(max_length=MAX_ROWS), AfterValidator(sorted_by_name)
    ] = Field(default_factory=dict, repr=False)

    def identifier_statements(self) -> tuple[IdentifierStatement, ...]:
        """Each identifier the customer gave, as the till stated it."""
        return tuple(
            IdentifierStatement(type=kind, value=value)
            for kind, value in (
                ("mobile_phone", self.mobile_phone),
                ("email", self.email),
                ("personal_number", self.personal_number),
            )
            if value is not None
        )


class TransactionType(StrEnum):
    """What happened at the till."""

    PURCHASE = "purchase"
    RETURN = "return"
    VOID = "void"
    POINTS_CLAIM = "points_claim"


_NEEDED_BUT_BY_A_VOID: Final[JsonDict] = {
    "if": {"properties": {"type": {"const": "void"}}, "required": ["type"]},
    "else": {"required": ["lines", "payments"]},
}


Channel = TypeAliasType("Channel", Literal["pos", "online", "app", "kiosk"])


class OpenTransaction(Record):
    """What a till can say of a sale that is not closed yet: a `Transaction` of which most may be missing.

    Only ``currency`` and ``lines`` are needed.
    """

    transaction_id: TransactionId | None = None
    type: TransactionType = TransactionType.PURCHASE
    receipt_number: Text | None = None
    store_id: Code | None = None
    till_id: Code | None = None
    cashier_id: Text | None = Field(default=None, repr=False)
    channel: Channel = "pos"
    occurred_at: Instant | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    total: Amount | None = None
    rounding: Amount = ZERO
    original_transaction_id: TransactionId | None = None
    identifier: IdentifierStatement | None = None
    integration_key: IntegrationKey | None = None
    lines: Annotated[tuple[Line, ...], Field(max_length=MAX_LINES), BeforeValidator(_bounded)]
    payments: Rows[Payment] = ()
    vouchers_used: Rows[VoucherUsed] = ()
    offers_used: Rows[OfferUsed] = ()
    new_contact: NewContact | None = None


class Transaction(OpenTransaction):
    """The whole statement. ``store_id`` and ``till_id`` default to the configuration, ``receipt_number`` to the id.

    A void alone may leave out ``lines`` and ``payments``.
    """

    model_config = ConfigDict(json_schema_extra=_NEEDED_BUT_BY_A_VOID)

    transaction_id: TransactionId
    type: TransactionType
    occurred_at: Instant
    total: Amount
    lines: Annotated[tuple[Line, ...], Field(max_length=MAX_LINES), BeforeValidator(_bounded)] = Field(
        default_factory=_absent, validate_default=True
    )
    payments: Rows[Payment] = Field(default_factory=_absent, validate_default=True)

    @field_validator("lines", "payments", mode="before")
    @classmethod
    def _left_out_of_a_void(cls, rows: object, info: ValidationInfo) -> object:
        if rows is not _ABSENT:
            return rows
        if info.data.get("type") is not TransactionType.VOID:
            raise PydanticKnownError("missing")
        return ()


_ELSEWHERE = {"identifier", "integration_key", "occurred_at"}


def body_of(transaction: Transaction) -> str:
    """The sale as JSON, without what the outbox keeps beside it: identifier, integration key and instant."""
    return transaction.model_dump_json(exclude=_ELSEWHERE, exclude_defaults=True)


def content_of(transaction: Transaction, body: str, readings: tuple[Identifier, ...]) -> bytes:
    """The bytes that two statements of the same sale share, however they were spelled.

    Key order, blanks, ``250.0`` or ``250.00``, string or number, the spelling of an identifier, and the offset of
    the same instant make no difference; the order of lines does.

    Args:
        transaction: the sale, its defaults filled in.
        body: its :func:`body_of`.
        readings: its normalised identifier.
    """
    key = transaction.integration_key
    return "\0".join(
        (
            body,
            transaction.occurred_at.astimezone(UTC).isoformat(),
            *((key.kind, key.type, key.value) if key else ()),
            *(part for reading in readings for part in (reading.type, reading.value)),
        )
    ).encode()


def transaction_of(body: str, occurred_at: str) -> Transaction:
    """The sale that :func:`body_of` wrote."""
    return Transaction.model_validate({**json.loads(body), "occurred_at": occurred_at})


def without_person(transaction: Transaction) -> Transaction:
    """The sale without anything that points to a person: what is left after the purge."""
    return transaction.model_copy(
        update={
            "identifier": None,
            "integration_key": None,
            "new_contact": None,
            "cashier_id": None,
            "vouchers_used": (),
            "offers_used": (),
            "payments": tuple(payment.model_copy(update={"reference": None}) for payment in transaction.payments),
        }
    )
