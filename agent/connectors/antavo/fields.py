"""A contact of a till as a customer's fields at Antavo, and back. Pure.

==========================  ====================================================  ==================================
ours                        Antavo's                                              source
==========================  ====================================================  ==================================
first_name, last_name,      the same                                              Customers API; retail page (opt_in)
email, mobile_phone,
birth_date, language
country_code                country                                               Customers API
our number of somebody      membership_id, a text in the event; customers show a  retail page; that a text given
made at a till              list                                                  becomes one of the list: inferred
preferences, consents,      the field that `contact_fields` names: true or false; no page has a field for them. Each
attributes, street, city,   of a consent also its time, text and place, each in a workspace has its own
zip_code                    field of its own
contact_type,               nowhere                                               there are none there
personal_number
==========================  ====================================================  ==================================

What is given and has no place is refused by name: a consent that is lost without a word would be no consent.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from agent.connectors.antavo.customers import instant_of, numbers_of, stated_id, text_of
from agent.connectors.antavo.mapping import spell_phone
from agent.connectors.antavo.settings import CONSENT_PARTS, AntavoSettings
from agent.domain.enrolment import attribute_pointer
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.domain.revision import ConsentThere, ContactThere
from agent.domain.transaction import NewContact
from agent.errors import Fault, IdentifierInvalidError

_DOCUMENTED: Final = {
    "first_name": "first_name",
    "last_name": "last_name",
    "email": "email",
    "mobile_phone": "mobile_phone",
    "birth_date": "birth_date",
    "language": "language",
    "country_code": "country",
}
_NEVER_PLACED: Final = ("contact_type", "personal_number")
_OWN_PLACE: Final = ("street", "zip_code", "city")
_IDENTIFIERS: Final = (IdentifierType.MOBILE_PHONE, IdentifierType.EMAIL)
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True, slots=True)
class _Said:
    """One thing that a customer said.

    Attributes:
        name: what `contact_fields` calls it.
        pointer: where it stands in the contact.
        value: as an event has it.
        optional: a contact without a place for it is not refused.
    """

    name: str
    pointer: str
    value: Any = field(repr=False)
    optional: bool = False


def render_contact(contact: NewContact, settings: AntavoSettings) -> dict[str, Any]:
    """The data of an event with what was given, its identifiers each in one form; what has no place is left out."""
    data = {}
    for said in _said(contact, settings):
        place = _place(said.name, settings)
        if place is not None:
            data[place] = said.value
    return data


def without_place(contact: NewContact, settings: AntavoSettings) -> list[Fault]:
    """What of a contact a workspace has no field for, each with where it stands."""
    return [
        Fault(said.pointer, "has no place at the loyalty system")
        for said in _said(contact, settings)
        if not said.optional and _place(said.name, settings) is None
    ]


def named_in(words: str, settings: AntavoSettings) -> list[str]:
    """Our names of the fields that a refusal names, for whoever has to mend them."""
    places = {**_DOCUMENTED, **settings.contact_fields}
    named = (ours.partition("/")[0] for ours, place in places.items() if re.search(rf"\b{re.escape(place)}\b", words))
    return list(dict.fromkeys(named))


def there_of(
    customer: Mapping[str, Any], settings: AntavoSettings, normaliser: Normaliser, *, today: date
) -> ContactThere:
    """A customer, as far as a change can meet it.

    Args:
        customer: as the Customers API shows them.
        settings: the table.
        normaliser: brings their phone and address to the form that ours have.
        today: the store's date.
    """
    places = {**_DOCUMENTED, **{name: settings.contact_fields.get(name) for name in _OWN_PLACE}}
    values = {name: text_of(shown(customer, place)) for name, place in places.items() if place is not None}
    for kind in _IDENTIFIERS:
        try:
            values[kind.value] = normaliser.normalise(kind, values[kind.value], today=today).value
        except IdentifierInvalidError:  # it stays as it is there: other than anything that can be given here
            continue
    preferences: dict[str, bool] = {}
    consents: dict[str, ConsentThere] = {}
    for name, place in settings.contact_fields.items():
        group, _, rest = name.partition("/")
        told = _is_on(shown(customer, place))
        if told is None:
            continue
        if group == "preferences":
            preferences[rest] = told
        elif group == "consents" and "/" not in rest:
            dated = settings.contact_fields.get(f"{name}/given_at")
            consents[rest] = ConsentThere(told, instant_of(shown(customer, dated)) if dated else None)
    return ContactThere(
        contact_id=stated_id(customer),
        values={name: value for name, value in values.items() if value},
        preferences=preferences,
        consents=consents,
        modified_at=instant_of(customer.get("updated_at")),
    )


def shown(customer: Mapping[str, Any], place: str) -> Any:
    """What a customer has in a field: one of Antavo's, or one of the workspace's own."""
    own = customer.get("properties")
    return customer[place] if place in customer else own.get(place) if isinstance(own, Mapping) else None


def shows_all(customer: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Whether a customer has everything that an event wrote."""
    return all(_alike(shown(customer, place), value) for place, value in data.items())


def same_person(customer: Mapping[str, Any], contact: NewContact, number: str, settings: AntavoSettings) -> bool | None:
    """Whether a customer with an id that we gave is whom it was given for; None where nothing shown tells.

    A phone or an address says so or denies it; our number counts where neither is shown.

    Args:
        customer: as the Customers API shows them.
        contact: what was given.
        number: our number of them; empty where they have none.
        settings: the table.
    """
    named = render_contact(NewContact(mobile_phone=contact.mobile_phone, email=contact.email), settings)
    told = [_alike(shown(customer, place), value) for place, value in named.items() if text_of(shown(customer, place))]
    if told:
        return any(told)
    return True if number and number in numbers_of(customer) else None


def _place(name: str, settings: AntavoSettings) -> str | None:
    return _DOCUMENTED.get(name) or settings.contact_fields.get(name)


def _said(contact: NewContact, settings: AntavoSettings) -> Iterator[_Said]:
    """Everything that a customer said, and nothing that they were not asked."""
    for name in (*_DOCUMENTED, *_OWN_PLACE, *_NEVER_PLACED):
        value = getattr(contact, name)
        if name == "mobile_phone" and value is not None:
            value = spell_phone(value, settings)
        if value is not None:
            yield _Said(name, f"/{name}", value.isoformat() if isinstance(value, date) else value)
    for name, value in contact.preferences or ():
        if value is not None:
            yield _Said(f"preferences/{name}", f"/preferences/{name}", value)
    yield from _consented(contact)
    for name, value in contact.attributes.items():
        if value is not None:
            yield _Said(f"attributes/{name}", attribute_pointer(name), value)


def _consented(contact: NewContact) -> Iterator[_Said]:
    for number, consent in enumerate(contact.consents):
        name = f"consents/{consent.id}"
        yield _Said(name, f"/consents/{number}", consent.value)
        parts = (consent.given_at.isoformat(timespec="seconds"), consent.text_version, consent.place)
        for part, value in zip(CONSENT_PARTS, parts, strict=True):
            if value is not None:
                yield _Said(f"{name}/{part}", f"/consents/{number}/{part}", value, optional=True)


def _alike(there: Any, ours: Any) -> bool:
    if isinstance(ours, bool):
        return _is_on(there) is ours
    return text_of(there).casefold() == text_of(ours).casefold()


def _is_on(told: Any) -> bool | None:
    """What a yes or a no says, in any of the forms that a field can have; None where it is neither."""
    text = str(told).strip().casefold() if isinstance(told, bool) else text_of(told).casefold()
    return True if text in _TRUE else False if text in _FALSE else None
