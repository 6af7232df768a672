"""A sale as the till states it: its shape, its arithmetic, and when two statements are the same sale.

These models are the published contract of `POST /v1/transactions` (docs/till-api.md) and the value that waits in
the outbox. Shape is checked by parsing; sums are checked by :func:`faults`, which needs the whole.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from agent.domain import money
from agent.domain.identifiers import Identifier, IdentifierType
from agent.errors import Fault

MAX_LINES = 1_000
MAX_ROWS = 100
ZERO = money.ZERO
UNIT_PRICE_DECIMALS = 4


def _instant(value: object) -> object:
    # A number would be taken for seconds since 1970; the contract wants the till's own time with its offset.
    if isinstance(value, str) and len(value) > len("2026-02-14") and value[10] in "Tt ":
        return value
    if isinstance(value, datetime):
        return value
    raise ValueError("is not an ISO 8601 time with an offset, such as 2026-02-14T16:41:09+01:00")


def _day(value: object) -> object:
    if isinstance(value, date) or (isinstance(value, str) and len(value) == len("2026-02-14")):
        return value
    raise ValueError("is not a date such as 1988-03-14")


_AMOUNT_SCHEMA = {
    "anyOf": [{"type": "string", "pattern": r"^[+-]?[0-9]{1,15}(\.[0-9]{1,6})?$"}, {"type": "number"}],
    "examples": ["250.00"],
}

Amount = Annotated[
    Decimal,
    BeforeValidator(money.parse_amount),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(_AMOUNT_SCHEMA, mode="validation"),
]
"""An exact decimal: a string, or a JSON number read without a binary float."""

Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_instant),
    PlainSerializer(datetime.isoformat, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-02-14T16:41:09+01:00"]}),
]
TransactionId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:-]{1,64}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=250)]
Code = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\s\x00-\x1f]+$")]


class Record(BaseModel):
    """A frozen value that refuses fields it does not know and never repeats its input in an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class IdentifierStatement(Record):
    """What the customer or the scanner gave, before it is brought to one form."""

    type: Literal["contact_id", "member_number", "external_id", "card_number", "mobile_phone", "email", "personal_number", "any"]
    value: Annotated[str, StringConstraints(min_length=1, max_length=254)] = Field(repr=False)


class IntegrationKey(Record):
    """What ties a sale to a member: the vendor's own key (primary), or something said at the till (secondary)."""

    kind: Literal["primary", "secondary"]
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
    """One line of the receipt. ``gross_paid`` is what was paid for the whole line, tax included, positive on returns too."""

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
    awards_points: bool = True
    discounts: Annotated[tuple[Discount, ...], Field(max_length=MAX_ROWS)] = ()

    @property
    def product_id(self) -> str:
        """The vendor's product id: `sku`, else `article_number`."""
        return self.sku or self.article_number or ""


PaymentType = Literal["card", "cash", "invoice", "gift_card", "member_cash", "loyalty_points", "loyalty_reward", "voucher", "other"]


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

    accepts_email: bool | None = None
    accepts_sms: bool | None = None
    accepts_postal: bool | None = None


class Consent(Record):
    """One consent as given: which text, when and where."""

    id: Code
    value: bool
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
    consents: Annotated[tuple[Consent, ...], Field(max_length=MAX_ROWS)] = ()
    attributes: Annotated[dict[Code, str | int | bool | None], Field(max_length=MAX_ROWS)] = Field(
        default_factory=dict, repr=False
    )

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


class Transaction(Record):
    """The whole statement. ``store_id`` and ``till_id`` default to the configuration, ``receipt_number`` to the id."""

    transaction_id: TransactionId
    type: TransactionType
    receipt_number: Text | None = None
    store_id: Code | None = None
    till_id: Code | None = None
    cashier_id: Text | None = Field(default=None, repr=False)
    channel: Literal["pos", "online", "app", "kiosk"] = "pos"
    occurred_at: Instant
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    total: Amount
    rounding: Amount = ZERO
    original_transaction_id: TransactionId | None = None
    identifier: IdentifierStatement | None = None
    integration_key: IntegrationKey | None = None
    lines: Annotated[tuple[Line, ...], Field(max_length=MAX_LINES)] = ()
    payments: Annotated[tuple[Payment, ...], Field(max_length=MAX_ROWS)] = ()
    vouchers_used: Annotated[tuple[VoucherUsed, ...], Field(max_length=MAX_ROWS)] = ()
    offers_used: Annotated[tuple[OfferUsed, ...], Field(max_length=MAX_ROWS)] = ()
    new_contact: NewContact | None = None


def faults(transaction: Transaction) -> list[Fault]:
    """Everything in a well-shaped transaction that does not add up; empty when it is sound.

    The sums of the contract: per line ``|quantity| x unit_price - discounts = gross_paid`` to within one minor
    unit; purchase lines less return lines = total; payments = total + rounding.
    """
    minor = money.minor_unit(transaction.currency)
    if minor is None:
        return [Fault("/currency", "is not an ISO 4217 code")]
    found = [*_reference_faults(transaction), *_decimal_faults(transaction, minor)]
    if transaction.type is TransactionType.VOID and not transaction.lines:
        return found
    if not transaction.lines:
        found.append(Fault("/lines", "is needed: a sale has at least one line"))
        return found
    for index, line in enumerate(transaction.lines):
        found += _line_faults(line, f"/lines/{index}", minor)
    found += _sum_faults(transaction)
    return found


def _reference_faults(transaction: Transaction) -> list[Fault]:
    found = []
    if transaction.identifier is not None and transaction.integration_key is not None:
        found.append(Fault("/integration_key", "stands beside an identifier: a sale names its member once"))
    if transaction.type is TransactionType.VOID and transaction.original_transaction_id is None:
        found.append(Fault("/original_transaction_id", "is needed: a void names the sale it clears"))
    if transaction.original_transaction_id == transaction.transaction_id:
        found.append(Fault("/original_transaction_id", "is the transaction itself"))
    if transaction.new_contact is not None and not transaction.new_contact.identifier_statements():
        found.append(Fault("/new_contact", "needs an identifier: mobile_phone, email or personal_number"))
    return found


def _decimal_faults(transaction: Transaction, minor: Decimal) -> list[Fault]:
    places = money.decimals(minor)
    amounts = [("/total", transaction.total), ("/rounding", transaction.rounding)]
    for index, line in enumerate(transaction.lines):
        amounts += [
            (f"/lines/{index}/gross_paid", line.gross_paid),
            (f"/lines/{index}/tax_amount", line.tax_amount or ZERO),
            *((f"/lines/{index}/discounts/{row}/amount", cut.amount) for row, cut in enumerate(line.discounts)),
        ]
    amounts += [(f"/payments/{index}/amount", payment.amount) for index, payment in enumerate(transaction.payments)]
    return [
        Fault(pointer, f"has more decimals than {transaction.currency} has ({places})")
        for pointer, amount in amounts
        if money.decimals(amount) > places
    ]


def _line_faults(line: Line, at: str, minor: Decimal) -> list[Fault]:
    found = []
    if line.sku is None and line.article_number is None:
        found.append(Fault(f"{at}/sku", "is needed, or article_number"))
    if line.quantity == 0 or (line.quantity < 0) != (line.kind == "return"):
        found.append(Fault(f"{at}/quantity", "is positive on a purchase line and negative on a return line"))
    for name in ("unit_price", "gross_paid", "tax_amount", "tax_percent"):
        amount = getattr(line, name)
        if amount is not None and amount < 0:
            found.append(Fault(f"{at}/{name}", "is negative"))
    found += [Fault(f"{at}/discounts/{row}/amount", "is negative") for row, cut in enumerate(line.discounts) if cut.amount < 0]
    if line.tax_amount is not None and line.tax_amount > line.gross_paid >= 0:
        found.append(Fault(f"{at}/tax_amount", "is more than gross_paid, of which it is a part"))
    if line.unit_price is not None:
        if money.decimals(line.unit_price) > UNIT_PRICE_DECIMALS:
            found.append(Fault(f"{at}/unit_price", f"has more than {UNIT_PRICE_DECIMALS} decimals"))
        due = abs(line.quantity) * line.unit_price - sum((cut.amount for cut in line.discounts), ZERO)
        if abs(due - line.gross_paid) > minor:
            found.append(Fault(f"{at}/gross_paid", "is not |quantity| x unit_price less the discounts"))
    return found


def _sum_faults(transaction: Transaction) -> list[Fault]:
    found = []
    kinds = {line.kind for line in transaction.lines}
    if transaction.type is TransactionType.RETURN and "return" not in kinds:
        found.append(Fault("/lines", "has no return line, but the type is return"))
    if transaction.type in (TransactionType.PURCHASE, TransactionType.POINTS_CLAIM) and "purchase" not in kinds:
        found.append(Fault("/lines", f"has no purchase line, but the type is {transaction.type}"))
    signed = sum((line.gross_paid if line.kind == "purchase" else -line.gross_paid for line in transaction.lines), ZERO)
    if signed != transaction.total:
        found.append(Fault("/total", "is not the sum of the purchase lines less the return lines"))
    if sum((payment.amount for payment in transaction.payments), ZERO) != transaction.total + transaction.rounding:
        found.append(Fault("/payments", "do not add up to total + rounding"))
    return found


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
