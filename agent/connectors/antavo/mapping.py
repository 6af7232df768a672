"""Sales as Antavo's events: which events a sale makes, and what stands in them. Pure.

===========================  ===================================================  ==================================
ours                         Antavo's                                             source
===========================  ===================================================  ==================================
transaction_id               checkout: data.transaction_id, unchanged             Events API: unique, 5003 otherwise
Σ gross_paid of what is      checkout: data.total                                 Events API; retail page: the sum of
bought                                                                            the subtotals, points not taken off
lines bought, those of one   checkout: data.items[]: product_id, product_name,    retail page; that equal products of
product as one               price, quantity, discount, subtotal                  a sale must not repeat is inferred
currency, channel            checkout: data.currency, data.channel                Events API; Antavo's own connectors
payments in points           checkout: data.points_burned, with `points_per_unit` Events API; the price is the shop's
points noted for the sale    checkout: data.points_burned, instead of those       Events API
occurred_at (corrected_at    checkout: data.effective_timestamp, with `backdate`  Events API's specification; its
where the till's clock was                                                        rules are unknown. Without it the
wrong)                                                                            time of arrival counts
lines given back, those of   refund_item: transaction_id of the earlier sale,     in use at a retailer, no page read;
one product as one           product_id, quantity and subtotal, positive; what    amount errors 112202 to 112204
                             had cost nothing is not sent
a void                       refund or, while the checkout is pending,            Events API, names; in use
                             checkout_reject: transaction_id of the earlier sale
a claim                      checkout under the claim's own id                    our choice
a voucher that is used up,   coupon_redeem, coupon_unredeem: data.code            Events API, names; wiki
or given back
the primary integration key  customer, or external_id beside it                   Events API; see `people.py`
nobody, with `guest_sales`   checkout: guest, the text "true", and no customer    Events API; wiki: a guest's event
                                                                                  that has a customer is refused
new_contact of what is       opt_in, with `opt_in_new_contacts`; a number that    retail page
bought, who joined           they have as membership_id
what changed of a member     profile, with `opt_in_new_contacts`: what is new     connectors; the vendor's SDK
awards_points, tax, PLU      not sent                                             no attribute for it was found
class, store, receipt
vouchers_used, offers_used   not sent                                             they are the loyalty system's
cashier_id, references       not sent                                             our choice: people, and not needed
===========================  ===================================================  ==================================
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import phonenumbers
import simplejson

from agent.connectors.antavo.settings import AntavoSettings
from agent.domain import money
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IntegrationKey, Line, NewContact, Transaction, TransactionType
from agent.ports import Outgoing

_NAMESPACE = uuid.UUID("0d3c1b5e-7f1c-5f0a-8b2e-64f0c2a9d718")
_PRICE = Decimal("0.0001")
GIVEN_FIELDS = frozenset({"email", "mobile_phone", "first_name", "last_name", "birth_date", "language", "country_code"})
"""The fields of a contact that a member is made of, and changed by."""


@dataclass(frozen=True, slots=True)
class Customer:
    """Whose event it is, as Antavo names them.

    Attributes:
        id: the customer's id, or the value of the external id that ``external_id`` names.
        external_id: what stands there beside it; empty where nothing does.
    """

    id: str = field(repr=False)
    external_id: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        body: as it is sent.
        once: Antavo itself refuses to take it twice.
    """

    body: dict[str, Any] = field(repr=False)
    once: bool


def render_sale(outgoing: Outgoing, customer: Customer | None, settings: AntavoSettings) -> list[Event]:
    """What a sale, a return or a claim makes: what was bought, then what was given back.

    Args:
        outgoing: no void.
        customer: whose it is; None for a guest, who only buys.
        settings: the table.
    """
    sale = outgoing.transaction
    bought = [line for line in sale.lines if line.kind == "purchase"]
    events = [Event(_event(customer, "checkout", _checkout(outgoing, bought, settings)), once=True)] if bought else []
    for given_back in returned(sale):
        data = {
            "transaction_id": sale.original_transaction_id,
            "product_id": given_back[0].product_id,
            "quantity": sum((abs(line.quantity) for line in given_back), money.ZERO),
            "subtotal": _paid(given_back),
        }
        events.append(Event(_event(customer, "refund_item", data), once=False))
    return events


def render_void(sale: Transaction, customer: Customer, *, pending: bool) -> Event:
    """What clears the earlier sale that a void names.

    Args:
        sale: the void.
        customer: whose it is.
        pending: the earlier sale's checkout waits to be accepted.
    """
    action = "checkout_reject" if pending else "refund"
    return Event(_event(customer, action, {"transaction_id": sale.original_transaction_id}), once=False)


def render_opt_in(
    contact: NewContact, customer: Customer, settings: AntavoSettings, *, membership_id: str = ""
) -> Event:
    """What makes somebody a member, with nothing but what they gave and the number that they have already."""
    number = {"membership_id": membership_id} if membership_id else {}
    return Event(_event(Customer(customer.id), "opt_in", {**number, **_given(contact, settings)}), once=True)


def render_profile(contact: NewContact, customer: Customer, settings: AntavoSettings) -> Event:
    """What changes a member: what is new of them, and nothing else."""
    return Event(_event(Customer(customer.id), "profile", _given(contact, settings)), once=False)


def _given(contact: NewContact, settings: AntavoSettings) -> dict[str, str]:
    """What somebody gave, as the vendor calls it; `GIVEN_FIELDS` are the fields that it comes from."""
    phone = contact.mobile_phone
    given = {
        "email": contact.email,
        "mobile_phone": spell_phone(phone, settings) if phone else None,
        "first_name": contact.first_name,
        "last_name": contact.last_name,
        "birth_date": contact.birth_date.isoformat() if contact.birth_date else None,
        "language": contact.language,
        "country": contact.country_code,
    }
    return {name: value for name, value in given.items() if value is not None}


def render_event(action: str, customer: str, data: dict[str, Any]) -> bytes:
    """An event about a customer and no sale."""
    return render_json(_event(Customer(customer), action, data))


def render_coupon(action: str, customer: Customer, code: str) -> bytes:
    """The event that uses a coupon up, or gives it back."""
    return render_json(_event(customer, action, {"code": code}))


def render_preview(sale: Transaction, customer: Customer, settings: AntavoSettings) -> bytes:
    """The event that a sale of purchase lines alone would become, for a question about it.

    It has no time of its own: what is asked is what the sale would earn now.
    """
    return render_json(_event(customer, "checkout", _cart(sale, sale.lines, settings)))


def membership_of(key: IntegrationKey) -> str:
    """The number by which somebody goes; empty where it is a phone or an address."""
    return "" if key.type in (IdentifierType.MOBILE_PHONE, IdentifierType.EMAIL) else key.value


def new_customer_id(contact: NewContact, key: IntegrationKey, settings: AntavoSettings) -> str:
    """The id of somebody who becomes a member with a sale: the same at every attempt and from every till.

    It is made of what tells them apart in the workspace: their number, else their phone, else their address, each in
    the one form that it has on disk.
    """
    said = {key.type: key.value}
    number = membership_of(key)
    phone = contact.mobile_phone or said.get(IdentifierType.MOBILE_PHONE, "")
    email = contact.email or said.get(IdentifierType.EMAIL, "")
    named = ("membership_id", number) if number else ("mobile_phone", phone) if phone else ("email", email.casefold())
    return str(uuid.uuid5(_NAMESPACE, "\n".join((settings.environment, *named))))


def returned(sale: Transaction) -> list[list[Line]]:
    """What was given back in a sale, by product, without what had cost nothing: the vendor refuses to refund that."""
    products = _by_product([line for line in sale.lines if line.kind == "return"])
    return [lines for lines in products if _paid(lines)]


def is_free(sale: Transaction) -> bool:
    """Whether a sale is of nothing but what had cost nothing and was given back: it makes no event."""
    return bool(sale.lines) and all(line.kind == "return" for line in sale.lines) and not returned(sale)


def spell_phone(number: str, settings: AntavoSettings) -> str:
    """A phone number in international form as the workspace writes them."""
    if settings.phone_format == "e164":
        return number
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return number
    national = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
    return "".join(character for character in national if character.isdecimal())


def render_json(value: Any) -> bytes:
    """JSON with exact decimals."""
    return bytes(simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":")), "utf-8")


def _event(customer: Customer | None, action: str, data: dict[str, Any]) -> dict[str, Any]:
    if customer is None:
        return {"guest": "true", "action": action, "data": data}
    beside = {"external_id": customer.external_id} if customer.external_id else {}
    return {"customer": customer.id, **beside, "action": action, "data": data}


def _checkout(outgoing: Outgoing, bought: Sequence[Line], settings: AntavoSettings) -> dict[str, Any]:
    sale = outgoing.transaction
    data = _cart(sale, bought, settings)
    if outgoing.spent is not None:
        data["points_burned"] = int(outgoing.spent.points)
    if settings.backdate:
        data["effective_timestamp"] = int((outgoing.corrected_at or sale.occurred_at).astimezone(UTC).timestamp())
    return data


def _cart(sale: Transaction, bought: Sequence[Line], settings: AntavoSettings) -> dict[str, Any]:
    data: dict[str, Any] = {
        "transaction_id": sale.transaction_id,
        "total": _paid(bought),
        "currency": sale.currency,
        "channel": sale.channel,
        "items": [_item(lines) for lines in _by_product(bought)],
    }
    in_points = sum((paid.amount for paid in sale.payments if paid.type == "loyalty_points"), money.ZERO)
    burned = (in_points * Decimal(str(settings.points_per_unit))).quantize(Decimal(1), ROUND_HALF_UP)
    if burned > 0:
        data["points_burned"] = int(burned)
    return data


def _item(lines: Sequence[Line]) -> dict[str, Any]:
    """Lines of one product: `subtotal = price * quantity - discount`."""
    quantity = sum((line.quantity for line in lines), money.ZERO)
    discount = sum((cut.amount for line in lines for cut in line.discounts), money.ZERO)
    prices = {line.unit_price for line in lines}
    price = prices.pop() if len(prices) == 1 else None
    if price is None:
        price = ((_paid(lines) + discount) / quantity).quantize(_PRICE, ROUND_HALF_UP).normalize()
    return {
        "product_id": lines[0].product_id,
        "product_name": lines[0].name or lines[0].article_number or lines[0].product_id,
        "price": Decimal(format(price, "f")),
        "quantity": quantity,
        "discount": discount,
        "subtotal": _paid(lines),
    }


def _by_product(lines: Sequence[Line]) -> Iterator[list[Line]]:
    together: dict[str, list[Line]] = {}
    for line in lines:
        together.setdefault(line.product_id, []).append(line)
    yield from together.values()


def _paid(lines: Sequence[Line]) -> Decimal:
    return sum((line.gross_paid for line in lines), money.ZERO)


def only_buys(sale: Transaction) -> bool:
    """Whether a guest's sale can be told: of giving back without a customer nothing is known."""
    return bool(sale.lines) and all(line.kind == "purchase" for line in sale.lines)


def is_void(sale: Transaction) -> bool:
    """Whether it clears an earlier sale."""
    return sale.type is TransactionType.VOID
