"""What a batch says of its person. Pure.

One batch is one person (mParticle: several users in one request go as several batches). Nothing but the integration
key names them unless the configuration asks for more, and nothing describes somebody whom nothing names.

===========================  ===================================================  ==================================
ours                         mParticle's                                          source (mParticle documentation)
===========================  ===================================================  ==================================
the primary integration key  user_identities.customer_id                          JSON reference; the login id of the
                                                                                  default identity strategy
contact_id that is not it    user_identities.other                                inferred: it must not mint a profile
external_id that is not it   user_identities.other_id_2                           under customer_id, and each type
card_number                  user_identities.other_id_3                           needs a name of its own
mobile_phone                 user_identities.mobile_number, E.164                 JSON reference
email                        user_identities.email                                JSON reference
personal_number              not sent                                             our choice
new_contact.first_name ...   user_attributes.$firstname ..., small letters        reserved attributes, JSON reference
new_contact.language         user_attributes.language                             our choice: nothing is reserved
new_contact.consents         consent_state.gdpr.<purpose>                         consent state, JSON reference
===========================  ===================================================  ==================================

A primary key is never made up while nobody can be asked: a sale under a secondary key goes under that alone.
"""

from collections.abc import Mapping
from typing import Any

from agent.connectors.mparticle.settings import MparticleSettings
from agent.connectors.mparticle.values import milliseconds
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import NewContact
from agent.ports import Outgoing

IDENTITIES: Mapping[IdentifierType, str] = {
    IdentifierType.CONTACT_ID: "other",
    IdentifierType.EXTERNAL_ID: "other_id_2",
    IdentifierType.CARD_NUMBER: "other_id_3",
    IdentifierType.MOBILE_PHONE: "mobile_number",
    IdentifierType.EMAIL: "email",
}
ATTRIBUTES: Mapping[str, str] = {
    "first_name": "$firstname",
    "last_name": "$lastname",
    "street": "$address",
    "zip_code": "$zip",
    "city": "$city",
    "country_code": "$country",
    "language": "language",
}
BRIDGE = ("vf_loyalty_code", "vf_referral_code", "vf_referral_referrer_id")


def render_person(outgoing: Outgoing, settings: MparticleSettings, *, primary: IdentifierType) -> dict[str, Any]:
    """The batch's keys about its person; empty for a guest.

    Args:
        outgoing: the sale or activity with its tag.
        settings: what may go along.
        primary: the type of the primary integration key.
    """
    identities = _identities(outgoing, settings, primary)
    if not identities:
        return {}
    person: dict[str, Any] = {"user_identities": identities}
    contact = outgoing.new_contact
    if contact is None:
        return person
    given = {ATTRIBUTES[name]: getattr(contact, name) for name in settings.send_attributes}
    if attributes := {name: value for name, value in given.items() if value is not None}:
        person["user_attributes"] = attributes
    if purposes := _purposes(contact, settings.consent_purposes):
        person["consent_state"] = {"gdpr": purposes}
    return person


def render_bridge(outgoing: Outgoing) -> dict[str, str]:
    """The attributes that a Voucherify output reads off an event, as far as a sale knows them.

    The loyalty code is a card number that was given at the till; all three may stand among a new contact's attributes.
    """
    contact = outgoing.new_contact
    stated = contact.attributes if contact else {}
    known = {name: str(stated[name]) for name in BRIDGE if stated.get(name) not in (None, "")}
    key = outgoing.key.identifier if outgoing.key else None
    cards = (named.value for named in (key, _said(outgoing)) if named and named.type is IdentifierType.CARD_NUMBER)
    for card in cards:
        known.setdefault("vf_loyalty_code", card)
    return known


def _identities(outgoing: Outgoing, settings: MparticleSettings, primary: IdentifierType) -> dict[str, str]:
    named: dict[str, str] = {}
    if outgoing.key is not None:
        kind = outgoing.key.type
        name = "customer_id" if kind is primary else IDENTITIES.get(kind)
        if name is not None:
            named[name] = outgoing.key.value
    said = _said(outgoing)
    for identifier in (*((said,) if said else ()), *_of_contact(outgoing)):
        if identifier.type in settings.send_identities:
            named.setdefault(IDENTITIES[identifier.type], identifier.value)
    return named


def _of_contact(outgoing: Outgoing) -> tuple[Identifier, ...]:
    """The identifiers that a new contact gave; on disk they are in one form already."""
    contact = outgoing.new_contact
    statements = contact.identifier_statements() if contact else ()
    return tuple(Identifier(IdentifierType(given.type), given.value) for given in statements)


def _said(outgoing: Outgoing) -> Identifier | None:
    """The identifier that was said at the till, when it can be only one thing."""
    contact = set(_of_contact(outgoing))
    own = [reading for reading in outgoing.readings if reading not in contact]
    return own[0] if len(own) == 1 else None


def _purposes(contact: NewContact, purposes: Mapping[str, str]) -> dict[str, Any]:
    """The newest word on each purpose."""
    found: dict[str, Any] = {}
    for consent in sorted(contact.consents, key=lambda consent: consent.given_at):
        if consent.id in purposes:
            row = {
                "consented": consent.value,
                "timestamp_unixtime_ms": milliseconds(consent.given_at),
                "document": consent.text_version,
                "location": consent.place,
            }
            found[purposes[consent.id]] = {name: value for name, value in row.items() if value is not None}
    return found
