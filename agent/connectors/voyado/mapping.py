"""Sales and contacts in Voyado's words, and back. Pure.

===========================  ===================================================  ==================================
ours                         Voyado's                                             source (Voyado documentation)
===========================  ===================================================  ==================================
transaction_id               uniqueReceiptId (a second one is silently dropped)   field definitions
receipt_number               receiptNumber                                        field definitions
occurred_at                  createdDate, the store's local time with offset      field definitions: never UTC
store_id                     storeExternalId (an unknown one is created)          stores
total                        totalGrossPrice, negative on a return                register a return
integration key              contact.matchKey, .matchKeyType, .contactType        field definitions; contactType is
                                                                                  not needed with contactId
lines[].kind                 items[].type: PURCHASE, RETURN                       field definitions
lines[].quantity             quantity: whole, negative on RETURN; weighed goods   field definitions; packQuantity for
                             go as 1 with the weight in packQuantity              weights is inferred
lines[].gross_paid, tax      grossPaidPrice, taxAmount: positive on RETURN too    register a return
lines[].discounts[].amount   discounts[].value, negative                          register a purchase (sample)
vouchers_used                usedBonusChecks, and the tender is `bonuscheck`      register a purchase (sample)
offers_used                  usedPromotions: couponId is the instance             promotions XML export (names)
===========================  ===================================================  ==================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal
from typing import Any

import simplejson

from agent.domain import money
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey, Line, NewContact, Payment, Transaction

MATCH_KEY_TYPES: Mapping[IdentifierType, str] = {
    IdentifierType.CONTACT_ID: "contactId",
    IdentifierType.MEMBER_NUMBER: "memberNumber",
    IdentifierType.EXTERNAL_ID: "externalId",
    IdentifierType.MOBILE_PHONE: "mobilePhone",
    IdentifierType.EMAIL: "email",
    IdentifierType.PERSONAL_NUMBER: "socialSecurityNumber",
    IdentifierType.CARD_NUMBER: "CardId",
}
_TENDERS: Mapping[str, str] = {
    "card": "card",
    "cash": "cash",
    "invoice": "invoice",
    "gift_card": "giftcard",
    "member_cash": "membercash",
    "loyalty_points": "points",
    "loyalty_reward": "bonuscheck",
    "voucher": "voucher",
    "other": "other",
}
_VOUCHER_TENDER = "bonuscheck"


def render_receipt(
    sale: Transaction, key: IntegrationKey, *, original: Transaction | None, contact_type: str, zone: tzinfo
) -> bytes:
    """The body of `POST /receipts` for a sale.

    Args:
        sale: what happened; a void without lines clears ``original``.
        key: the tag.
        original: the sale that a void clears.
        contact_type: the tenant's type of members.
        zone: the store's time zone.
    """
    clears = original if sale.type == "void" and not sale.lines else None
    told = clears or sale
    sign = -1 if clears else 1
    minor = money.minor_unit(sale.currency) or Decimal("0.01")
    vouchers = {voucher.number for voucher in told.vouchers_used}
    contact = {"matchKey": key.value, "matchKeyType": MATCH_KEY_TYPES[key.type]}
    if key.type is not IdentifierType.CONTACT_ID:
        contact["contactType"] = contact_type
    receipt: dict[str, Any] = {
        "contact": contact,
        "uniqueReceiptId": sale.transaction_id,
        "receiptNumber": sale.receipt_number or sale.transaction_id,
        "createdDate": sale.occurred_at.astimezone(zone).isoformat(timespec="seconds"),
        "storeExternalId": sale.store_id or told.store_id,
        "currency": sale.currency,
        "totalGrossPrice": (sign * told.total).quantize(minor),
        "paymentMethods": [_tender(payment, sign, vouchers, minor) for payment in told.payments],
        "items": [_item(line, clears is not None, minor) for line in told.lines],
        "usedBonusChecks": [] if clears else [{"checkNumber": voucher.number} for voucher in sale.vouchers_used],
        "usedPromotions": []
        if clears
        else [_without_none({"promotionId": offer.promotion_id, "couponId": offer.offer_id}) for offer in sale.offers_used],
    }
    return render_json(receipt)


def _tender(payment: Payment, sign: int, vouchers: set[str], minor: Decimal) -> dict[str, Any]:
    tender = _TENDERS[payment.type]
    if payment.type == "voucher" and payment.reference in vouchers:
        tender = _VOUCHER_TENDER
    row: dict[str, Any] = {"type": tender, "value": (sign * payment.amount).quantize(minor)}
    if tender == _VOUCHER_TENDER and payment.reference:
        row["extraData"] = [{"name": "checkNumber", "value": payment.reference}]
    return row


def _item(line: Line, reverse: bool, minor: Decimal) -> dict[str, Any]:  # noqa: FBT001 - one caller, two lines up
    returned = (line.kind == "return") != reverse
    whole = line.quantity == line.quantity.to_integral_value()
    count = abs(int(line.quantity)) if whole else 1
    item: dict[str, Any] = {
        "type": "RETURN" if returned else "PURCHASE",
        "sku": line.product_id,
        "articleNumber": line.article_number or line.product_id,
        "articleName": line.name or line.article_number or line.product_id,
        "articleGroup": line.plu_class,
        "quantity": -count if returned else count,
        "packQuantity": None if whole else abs(line.quantity),
        "grossPaidPrice": line.gross_paid.quantize(minor),
        "taxAmount": (line.tax_amount or money.ZERO).quantize(minor),
        "taxPercent": line.tax_percent if line.tax_percent is not None else money.ZERO,
        "awardsBonus": line.awards_points,
    }
    if line.discounts:
        item["discounts"] = [
            _without_none({"type": cut.type, "description": cut.description, "value": (-cut.amount).quantize(minor)})
            for cut in line.discounts
        ]
    return _without_none(item)


def render_contact(contact: NewContact, identifiers: Sequence[Identifier], *, contact_type: str, source: str) -> bytes:
    """The body of `POST /contacts`. What the customer was not asked is left out: it is never switched on by default."""
    values = {identifier.type: identifier.value for identifier in identifiers}
    preferences = contact.preferences
    body: dict[str, Any] = {
        "contactType": contact.contact_type or contact_type,
        "firstName": contact.first_name,
        "lastName": contact.last_name,
        "mobilePhone": values.get(IdentifierType.MOBILE_PHONE),
        "email": values.get(IdentifierType.EMAIL),
        "socialSecurityNumber": values.get(IdentifierType.PERSONAL_NUMBER),
        "birthDay": contact.birth_date.isoformat() if contact.birth_date else None,
        "street": contact.street,
        "zipCode": contact.zip_code,
        "city": contact.city,
        "countryCode": contact.country_code,
        "language": contact.language,
        **contact.attributes,
    }
    if preferences is not None:
        asked = {
            "acceptsEmail": preferences.accepts_email,
            "acceptsSms": preferences.accepts_sms,
            "acceptsPostal": preferences.accepts_postal,
        }
        body["preferences"] = _without_none(asked) or None
    if contact.consents:
        body["consents"] = [
            _without_none(
                {
                    "id": consent.id,
                    "value": consent.value,
                    "source": source,
                    "date": consent.given_at.isoformat(timespec="seconds"),
                    "comment": ", ".join(part for part in (consent.text_version, consent.place) if part),
                }
            )
            for consent in contact.consents
        ]
    return render_json(_without_none(body))


def render_json(value: Any) -> bytes:
    """JSON with exact decimals: 250.00 stays 250.00."""
    return bytes(simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":")), "utf-8")


def _without_none(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}
