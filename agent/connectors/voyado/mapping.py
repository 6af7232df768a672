"""Sales and contacts in Voyado's words, and back. Pure.

===========================  ===================================================  ==================================
ours                         Voyado's                                             source (Voyado documentation)
===========================  ===================================================  ==================================
transaction_id               uniqueReceiptId (a second one is silently dropped)   field definitions
receipt_number               receiptNumber                                        field definitions
occurred_at                  createdDate, the store's local time with offset      field definitions: never UTC
corrected_at                 extraData: correctedDate, where the till's clock     field definitions (extraData: name
                             was wrong                                            and value)
store_id                     storeExternalId (an unknown one is created)          stores
total                        totalGrossPrice, negative on a return                register a return
own number of a new contact  externalId: the series that an integrator owns       introduction to contacts; level 4
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

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any

import simplejson

from agent.connectors.voyado.fields import canonical
from agent.domain import money
from agent.domain.enrolment import attribute_pointer
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import (
    Consent,
    IntegrationKey,
    Line,
    NewContact,
    OfferUsed,
    Payment,
    Preferences,
    Transaction,
    TransactionType,
)
from agent.errors import Fault

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
_CENT = Decimal("0.01")


def render_receipt(
    sale: Transaction,
    key: IntegrationKey,
    *,
    original: Transaction | None,
    contact_type: str,
    zone: tzinfo,
    corrected_at: datetime | None = None,
) -> bytes:
    """The body of `POST /receipts` for a sale.

    A void gives back what the sale it clears took, every line the other way round. Where that sale is not known, the
    void's own lines are taken: turned round when they restate a sale (their total is positive), as they are when they
    already say what was given back.

    Args:
        sale: what happened; a void without lines needs ``original``.
        key: the tag.
        original: the earlier sale that it names, if it is known here.
        contact_type: the tenant's type of members.
        zone: the store's time zone.
        corrected_at: when it took place by Voyado's clock, where the till's was wrong.
    """
    told = original if sale.type is TransactionType.VOID and original is not None else sale
    reverse = sale.type is TransactionType.VOID and (told is not sale or sale.total > 0)
    minor = money.minor_unit(told.currency) or _CENT
    vouchers = {voucher.number for voucher in told.vouchers_used}
    contact = {"matchKey": key.value, "matchKeyType": MATCH_KEY_TYPES[key.type]}
    if key.type is not IdentifierType.CONTACT_ID:
        contact["contactType"] = contact_type
    return render_json(
        {
            "contact": contact,
            "uniqueReceiptId": sale.transaction_id,
            "receiptNumber": sale.receipt_number or sale.transaction_id,
            "createdDate": _local(sale.occurred_at, zone),
            "storeExternalId": sale.store_id or told.store_id,
            "currency": told.currency,
            "totalGrossPrice": _signed(told.total, minor, reverse=reverse),
            "paymentMethods": [_tender(payment, vouchers, minor, reverse=reverse) for payment in told.payments],
            "items": [_item(line, minor, reverse=reverse) for line in told.lines],
            "usedBonusChecks": [] if reverse else [{"checkNumber": used.number} for used in told.vouchers_used],
            "usedPromotions": [] if reverse else [_promotion(used) for used in told.offers_used],
            **({"extraData": [{"name": "correctedDate", "value": _local(corrected_at, zone)}]} if corrected_at else {}),
        }
    )


def _local(at: datetime, zone: tzinfo) -> str:
    return at.astimezone(zone).isoformat(timespec="seconds")


def _tender(payment: Payment, vouchers: set[str], minor: Decimal, *, reverse: bool) -> dict[str, Any]:
    tender = _TENDERS[payment.type]
    if payment.type == "voucher" and payment.reference in vouchers:
        tender = _VOUCHER_TENDER
    row: dict[str, Any] = {"type": tender, "value": _signed(payment.amount, minor, reverse=reverse)}
    if tender == _VOUCHER_TENDER and payment.reference:
        row["extraData"] = [{"name": "checkNumber", "value": payment.reference}]
    return row


def _item(line: Line, minor: Decimal, *, reverse: bool) -> dict[str, Any]:
    returned = (line.kind == "return") != reverse
    quantity = abs(line.quantity)
    whole = quantity == quantity.to_integral_value()
    count = int(quantity) if whole else 1
    item: dict[str, Any] = {
        "type": "RETURN" if returned else "PURCHASE",
        "sku": line.product_id,
        "articleNumber": line.article_number or line.product_id,
        "articleName": line.name or line.article_number or line.product_id,
        "articleGroup": line.plu_class,
        "quantity": -count if returned else count,
        "packQuantity": None if whole else quantity,
        "grossPaidPrice": line.gross_paid.quantize(minor),
        "taxAmount": (line.tax_amount or money.ZERO).quantize(minor),
        "taxPercent": line.tax_percent or money.ZERO,
        "awardsBonus": line.awards_points,
    }
    if line.discounts:
        item["discounts"] = [
            _without_none({"type": cut.type, "description": cut.description, "value": (-cut.amount).quantize(minor)})
            for cut in line.discounts
        ]
    return _without_none(item)


def _promotion(used: OfferUsed) -> dict[str, Any]:
    return _without_none({"promotionId": used.promotion_id, "couponId": used.offer_id})


def _signed(amount: Decimal, minor: Decimal, *, reverse: bool) -> Decimal:
    return (-amount if reverse else amount).quantize(minor)


def render_contact(contact: NewContact, identifiers: Sequence[Identifier], *, contact_type: str, source: str) -> bytes:
    """The body of `POST /contacts`. What the customer was not asked is left out: it is never switched on by default.

    Args:
        contact: what the customer gave. Its free attributes never replace what has a field of its own.
        identifiers: the normalised identifiers that name the customer; they stand before the spelling in ``contact``.
        contact_type: the tenant's type of members, unless the contact states one.
        source: what consents are marked with.
    """
    named = {identifier.type: identifier.value for identifier in identifiers}
    keys = {
        "contactType": contact.contact_type or contact_type,
        "externalId": named.get(IdentifierType.EXTERNAL_ID),
    }
    return render_json({**_attributes(contact, identifiers, source), **_without_none(keys)})


def render_change(contact: NewContact, identifiers: Sequence[Identifier], *, source: str) -> bytes:
    """The body of `PATCH /contacts/{contactId}`: what is given, and nothing else, lest it overwrites what is there.

    Args:
        contact: what is new, without attributes that are `VOYADOS_OWN`.
        identifiers: of it, each in its one form.
        source: what consents are marked with.
    """
    return render_json(_attributes(contact, identifiers, source))


def render_bulk_change(
    key_name: str, key: str, contact: NewContact, identifiers: Sequence[Identifier], *, source: str
) -> bytes:
    """A row of `PATCH /contacts/bulk`: what is given, under the key of whose contact it is.

    Args:
        key_name: the type's key, by our name.
        key: the contact's value of it.
        contact: as for :func:`render_change`.
        identifiers: likewise.
        source: likewise.
    """
    theirs = {ours: name for name, ours in FIELDS.items()}
    return render_json({theirs[key_name]: key, **_attributes(contact, identifiers, source)})


def _attributes(contact: NewContact, identifiers: Sequence[Identifier], source: str) -> dict[str, Any]:
    """What the customer gave. What they were not asked is left out."""
    named = {identifier.type: identifier.value for identifier in identifiers}
    preferences = contact.preferences or Preferences()
    asked = {
        "acceptsEmail": preferences.accepts_email,
        "acceptsSms": preferences.accepts_sms,
        "acceptsPostal": preferences.accepts_postal,
    }
    ours: dict[str, Any] = {
        "firstName": contact.first_name,
        "lastName": contact.last_name,
        "mobilePhone": named.get(IdentifierType.MOBILE_PHONE, contact.mobile_phone),
        "email": named.get(IdentifierType.EMAIL, contact.email),
        "socialSecurityNumber": named.get(IdentifierType.PERSONAL_NUMBER, contact.personal_number),
        "birthDay": contact.birth_date.isoformat() if contact.birth_date else None,
        "street": contact.street,
        "zipCode": contact.zip_code,
        "city": contact.city,
        "countryCode": contact.country_code,
        "language": contact.language,
        "preferences": _without_none(asked) or None,
        "consents": [_consent(consent, source) for consent in contact.consents] or None,
    }
    return _without_none({**contact.attributes, **_without_none(ours)})


VOYADOS_OWN: frozenset[str] = frozenset(
    {
        *("id", "contactid", "contacttype", "membernumber", "externalid", "approved", "createdinstore", "rfm"),
        *("preferences", "consents", "acceptsemail", "acceptssms", "acceptspostal"),
    }
)
"""Attributes that no free attribute of a change may name, by their canonical form: keys and what Engage computes are
Engage's, and what a customer allowed is said with its time. Source: introduction to contacts; update-contact page."""


FIELDS: Mapping[str, str] = {
    "firstName": "first_name",
    "lastName": "last_name",
    "mobilePhone": "mobile_phone",
    "email": "email",
    "socialSecurityNumber": "personal_number",
    "birthDay": "birth_date",
    "street": "street",
    "zipCode": "zip_code",
    "city": "city",
    "countryCode": "country_code",
    "language": "language",
    "consents": "consents",
}
"""Our name for each attribute that Voyado may refuse."""
_HAS_A_FIELD: Mapping[str, str] = {
    **{canonical(name): ours for theirs, ours in FIELDS.items() for name in (theirs, ours)},
    "lang": "language",
    "contacttype": "contact_type",
    "preferences": "preferences",
    **{f"accepts{way}": f"preferences/accepts_{way}" for way in ("email", "sms", "postal")},
    **{f"accepts{way}s": f"preferences/accepts_{way}" for way in ("email", "postal")},
}
"""Our field for each of Voyado's names and of our own, by their canonical form."""
_COMPUTED = frozenset(
    {
        *("age", "discoverykey", "secrecymarked", "npsgrade", "npsdatetime", "npsaveragegrade"),
        *("retailkeyvaluerecency", "retailkeyvaluefrequency", "retailkeyvaluemonetary"),
    }
)
"""What else is Engage's to say, likewise. Source: contact field definitions; contact overview."""


def misnamed(contact: NewContact) -> list[Fault]:
    """What of the free attributes is none: it is checked and compared under the name of its field, or is Voyado's own.

    However it is spelled. One without a value says nothing.
    """
    found = []
    for name, value in contact.attributes.items():
        ours = _HAS_A_FIELD.get(canonical(name))
        if value is None or (ours is None and canonical(name) not in VOYADOS_OWN | _COMPUTED):
            continue
        text = f"has a field of its own: {ours}" if ours else "is no free attribute at the loyalty system"
        found.append(Fault(attribute_pointer(name), text))
    return found


def _consent(consent: Consent, source: str) -> dict[str, Any]:
    return {
        "id": consent.id,
        "value": consent.value,
        "source": source,
        "date": consent.given_at.isoformat(timespec="seconds"),
        "comment": ", ".join(part for part in (consent.text_version, consent.place) if part),
    }


def render_json(value: Any) -> bytes:
    """JSON with exact decimals: 250.00 stays 250.00."""
    return bytes(simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":")), "utf-8")


def _without_none(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}
