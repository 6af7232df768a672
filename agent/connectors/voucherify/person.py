"""What a sale says of its customer, and what it says for Voucherify's programmes. Pure.

Every call with a customer in it makes or updates that customer (orders, events pages). Nothing but the integration key
names them unless the configuration asks for more.

===========================  ===================================================  ==================================
ours                         Voucherify's                                         source
===========================  ===================================================  ==================================
the primary integration key  customer.source_id                                   customers page: unique, upsert, and
                                                                                  never changed afterwards
else the first of            customer.source_id                                   the mParticle page: identities in an
`identities` that is there                                                        order, a missing one falls through
the owner's contact_id       customer.id, where Voucherify owns the contacts      customers page: one of the two names
mobile_phone                 customer.phone, E.164                                customers page
email                        customer.email                                       customers page
personal_number              not sent                                             our choice
new_contact.first_name, ...  customer.name, .address                              customers page
new_contact.attributes       customer.metadata, as `customer_metadata` has it     metadata page; mParticle page: what is
                                                                                  not defined is omitted
vf_loyalty_code              event.loyalty.code                                   mParticle page, events page
a card number                the same, with `card_is_loyalty_code` alone          ours: the owner's card is another's
vf_referral_code             event.referral.code                                  mParticle page, events page
vf_referral_referrer_id      event.referral.referrer_id                           mParticle page, events page
===========================  ===================================================  ==================================

A key is never made up: whom nothing names is no customer of Voucherify's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.connectors.voucherify.metadata import Typed, fit
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import NewContact
from agent.ports import Outgoing

LOYALTY_CODE, REFERRAL_CODE, REFERRER = "vf_loyalty_code", "vf_referral_code", "vf_referral_referrer_id"
BRIDGE = (LOYALTY_CODE, REFERRAL_CODE, REFERRER)
TOLD = {IdentifierType.MOBILE_PHONE: "phone", IdentifierType.EMAIL: "email"}
ADDRESS = {"street": "line_1", "zip_code": "postal_code", "city": "city", "country_code": "country"}
_NOTHING = Typed({})


@dataclass(frozen=True, slots=True)
class Naming:
    """What names a customer.

    Attributes:
        primary: the type of the primary integration key.
        owns_contacts: Voucherify owns the contacts: their keys are its own, and it matches no other.
    """

    primary: IdentifierType
    owns_contacts: bool = False


def render_customer(
    outgoing: Outgoing, settings: VoucherifySettings, naming: Naming
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The customer, empty when nothing names one, and the names of attributes that the schema has no place for.

    Args:
        outgoing: the sale with its tag.
        settings: what may go along.
        naming: what names them.
    """
    named = _named(outgoing)
    customer: dict[str, Any] = dict(_name(outgoing, named, settings, naming))
    if not customer:
        return {}, ()
    for kind in settings.send_identities:
        if (told := named.get(IdentifierType(kind))) is not None:
            customer[TOLD[IdentifierType(kind)]] = told
    contact = outgoing.transaction.new_contact
    if contact is None:
        return customer, ()
    metadata = metadata_of(contact, settings.customer_metadata)
    customer |= described(contact, settings.send_attributes)
    if metadata.values:
        customer["metadata"] = dict(metadata.values)
    return customer, metadata.omitted


def _name(
    outgoing: Outgoing, named: Mapping[IdentifierType, str], settings: VoucherifySettings, naming: Naming
) -> dict[str, str]:
    """The customer's `source_id` or `id`; where Voucherify owns the contacts, only what is the sale's tag."""
    if naming.owns_contacts:
        key = outgoing.key
        ours = {IdentifierType.CONTACT_ID: "id", IdentifierType.MEMBER_NUMBER: "source_id"}
        return {ours[key.type]: key.value} if key is not None and key.type in ours else {}
    order = (naming.primary, *(IdentifierType(kind) for kind in settings.identities))
    return next(({"source_id": named[kind]} for kind in order if kind in named), {})


def render_bridge(outgoing: Outgoing, *, card_is_loyalty_code: bool) -> dict[str, dict[str, str]]:
    """`loyalty` and `referral` of an event, as far as a sale knows them.

    A referrer without a code is left out: `code` is what a referral is.

    Args:
        outgoing: the sale with its tag.
        card_is_loyalty_code: a card number that was given is the code of a card of Voucherify's.
    """
    stated = stated_bridge(outgoing)
    card = _named(outgoing).get(IdentifierType.CARD_NUMBER) if card_is_loyalty_code else None
    loyalty, referral = stated.get(LOYALTY_CODE, card), stated.get(REFERRAL_CODE)
    found: dict[str, dict[str, str]] = {}
    if loyalty is not None:
        found["loyalty"] = {"code": loyalty}
    if referral is not None:
        referrer = {"referrer_id": stated[REFERRER]} if REFERRER in stated else {}
        found["referral"] = {"code": referral, **referrer}
    return found


def stated_bridge(outgoing: Outgoing) -> dict[str, str]:
    """What the till said for Voucherify's programmes, by name."""
    contact = outgoing.transaction.new_contact
    attributes = contact.attributes if contact else {}
    return {name: str(attributes[name]) for name in BRIDGE if attributes.get(name) not in (None, "")}


def _named(outgoing: Outgoing) -> dict[IdentifierType, str]:
    """Everything that names the customer, by type: the key, what the till said, what a new contact gave."""
    found: dict[IdentifierType, str] = {}
    key = (outgoing.key.identifier,) if outgoing.key else ()
    for identifier in (*key, *_said(outgoing)):
        found.setdefault(identifier.type, identifier.value)
    return found


def _said(outgoing: Outgoing) -> tuple[Identifier, ...]:
    """What was said at the till, when it can be only one thing, and what a new contact gave."""
    contact = outgoing.transaction.new_contact
    statements = contact.identifier_statements() if contact else ()
    given = tuple(Identifier(IdentifierType(stated.type), stated.value) for stated in statements)
    own = tuple(reading for reading in outgoing.readings if reading not in given)
    return (*(own if len(own) == 1 else ()), *given)


def described(contact: NewContact, wanted: tuple[str, ...]) -> dict[str, Any]:
    """The customer's name and address, as far as they were given and `send_attributes` wants them."""
    found: dict[str, Any] = {}
    name = " ".join(part for part in (contact.first_name, contact.last_name) if part)
    if "name" in wanted and name:
        found["name"] = name
    address = {theirs: getattr(contact, ours) for ours, theirs in ADDRESS.items() if ours in wanted}
    if known := {part: value for part, value in address.items() if value is not None}:
        found["address"] = known
    return found


def metadata_of(contact: NewContact, schema: Mapping[str, str]) -> Typed:
    """What fits the schema; where none is configured nothing was meant to go, and nothing is missing."""
    if not schema:
        return _NOTHING
    return fit({name: value for name, value in contact.attributes.items() if name not in BRIDGE}, schema)
