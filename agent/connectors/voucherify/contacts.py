"""Who joined and what changed, as Voucherify's customers. Pure.

One call makes the customer of a `source_id` or updates them, so that sending it again does no harm (customers pages).
What is left out stays as it is; of an address and of metadata nothing says so for their parts. So of a change a name or
an address goes whole or not at all, and metadata go with who joins alone.

===========================  ===================================================  ==================================
ours                         Voucherify's                                         source
===========================  ===================================================  ==================================
the key                      source_id: the primary key, else one of a type that  customers page: unique, upsert, and
                             `identities` names; nothing that is new of them      never changed afterwards
mobile_phone, email          phone, email, as `send_identities` has it            customers page
first_name and last_name     name, with `send_attributes`; of a change only both  customers page: it is one field
street, zip_code, ...        address, with `send_attributes`; of a change only    unknown whether a part that is left
                             with every part that it names                        out stays
attributes                   metadata, as `customer_metadata` has it, of who      unknown whether metadata are merged
                             joins alone                                          or replaced
consents, preferences        not sent                                             our choice
===========================  ===================================================  ==================================
"""

from dataclasses import dataclass, field
from typing import Any

from agent.connectors.voucherify.mapping import render_json
from agent.connectors.voucherify.person import ADDRESS, TOLD, described, metadata_of
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.domain.activity import ContactEvent
from agent.domain.identifiers import IdentifierType
from agent.domain.revision import without
from agent.domain.transaction import IntegrationKey, NewContact

_NAME = ("first_name", "last_name")


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody, ready to be sent.

    Attributes:
        body: the customer as JSON.
        omitted: names of attributes that the schema has no place for.
    """

    body: bytes = field(repr=False)
    omitted: tuple[str, ...] = ()


def shares(settings: VoucherifySettings, what: ContactEvent, contact: NewContact) -> frozenset[str] | None:
    """The fields of a contact that are told of when somebody joined with it, or changed it; None where nothing is.

    Nothing, then, unless a setting lets it go: that somebody has a key is told by their first sale.
    """
    if not _details(settings, what, contact)[0]:
        return None
    address = (name for name in settings.send_attributes if name in ADDRESS)
    name = _NAME if "name" in settings.send_attributes else ()
    attributes = ("attributes",) if settings.customer_metadata and what is ContactEvent.JOINED else ()
    return frozenset[str]((*settings.send_identities, *address, *name, *attributes))


def is_nameable(settings: VoucherifySettings, key: IntegrationKey | None, primary: IdentifierType) -> bool:
    """Whether a customer may be known by that key."""
    return key is not None and key.type in (primary, *settings.identities)


def render_contact(
    settings: VoucherifySettings, what: ContactEvent, contact: NewContact, key: IntegrationKey
) -> Customer | None:
    """The customer; None where the configuration lets nothing of theirs go.

    Args:
        settings: what may go along.
        what: happened.
        contact: what was given when they joined, or what is new.
        key: whose it is, by which a customer may be known.
    """
    details, omitted = _details(settings, what, contact)
    return Customer(render_json({"source_id": key.value, **details}), omitted) if details else None


def _details(
    settings: VoucherifySettings, what: ContactEvent, contact: NewContact
) -> tuple[dict[str, Any], tuple[str, ...]]:
    joined = what is ContactEvent.JOINED
    given = {TOLD[IdentifierType(kind)]: getattr(contact, kind) for kind in settings.send_identities}
    details = {name: value for name, value in given.items() if value is not None}
    details |= described(contact if joined else _whole(contact, settings), settings.send_attributes)
    metadata = metadata_of(contact, settings.customer_metadata if joined else {})
    if metadata.values:
        details["metadata"] = dict(metadata.values)
    return details, metadata.omitted


def _whole(contact: NewContact, settings: VoucherifySettings) -> NewContact:
    """A change without the parts of a name or an address that is not given whole."""
    address = tuple(name for name in ADDRESS if name in settings.send_attributes)
    broken = (
        name for parts in (_NAME, address) if any(getattr(contact, one) is None for one in parts) for name in parts
    )
    return without(contact, frozenset(broken))
