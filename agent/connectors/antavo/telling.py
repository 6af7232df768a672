"""Who joined and what changed, as Antavo's events: `opt_in` for who is not there, `profile` for who is.

Whoever is to be changed is asked for first, whatever names them: at a workspace with anonymous registration an event
for an id that nobody has would make a ghost of a member. An `opt_in` is refused the second time (112101), and a
`profile` says the same twice.
"""

from dataclasses import replace
from typing import Final

from agent.connectors.antavo.mapping import (
    GIVEN_FIELDS,
    Customer,
    Event,
    membership_of,
    new_customer_id,
    render_opt_in,
    render_profile,
)
from agent.connectors.antavo.people import MEMBERSHIP_ID, UNKNOWN, AntavoPeople
from agent.connectors.antavo.settings import AntavoSettings
from agent.domain.activity import Activity, ContactEvent
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.transaction import IntegrationKey, NewContact
from agent.ports import Outgoing

_THERE: Final = Verdict(VerdictKind.DUPLICATE)
_NOT_THERE: Final = Verdict(
    VerdictKind.DONE, "contact.not_there", title="Nothing was sent: the vendor does not know this customer."
)
NOT_WANTED: Final = Verdict(
    VerdictKind.DONE, "contact.not_wanted", title="Nothing was sent: the configuration lets nothing of it go any more."
)


def is_told(settings: AntavoSettings) -> bool:
    """Whether anything is told of members beside their sales: never where nobody can be asked for first."""
    return settings.opt_in_new_contacts and settings.asks


def shares(settings: AntavoSettings, what: ContactEvent, contact: NewContact) -> frozenset[str] | None:
    """The fields of a contact that are told of when somebody joined with it, or changed it; None where nothing is.

    Nobody can become a member under an external id: no event says what their id and what that one is.
    """
    if not is_told(settings):
        return None
    if what is ContactEvent.JOINED:
        return GIVEN_FIELDS if settings.external_id_field in ("", MEMBERSHIP_ID) else None
    return GIVEN_FIELDS if any(getattr(contact, name) is not None for name in GIVEN_FIELDS) else None


class AntavoTelling:
    """Finds out what is to be told of somebody.

    Args:
        people: finds members.
        settings: the workspace's table.
    """

    def __init__(self, people: AntavoPeople, settings: AntavoSettings) -> None:
        self._people, self._settings = people, settings

    async def event(self, outgoing: Outgoing, activity: Activity) -> Event | Verdict:
        """The event; a verdict where there is none. Raises VendorUnreachableError, VendorRefusedError."""
        contact = activity.new_contact or NewContact()
        what = ContactEvent(activity.type)
        if shares(self._settings, what, contact) is None:
            return NOT_WANTED
        if what is ContactEvent.JOINED:
            key = self._people.key_of(outgoing)
            return key if isinstance(key, Verdict) else await self._joined(key, contact)
        # What is new of them names nobody there yet.
        key = self._people.key_of(replace(outgoing, record=activity.model_copy(update={"new_contact": None})))
        return key if isinstance(key, Verdict) else await self._changed(key, contact)

    async def _joined(self, key: IntegrationKey, contact: NewContact) -> Event | Verdict:
        customer, number = self._people.known(key), ""
        if customer is None:
            customer = await self._people.ask(key)
            if isinstance(customer, Customer):
                return _THERE
            if customer is UNKNOWN and self._people.can_enrol(key):
                customer, number = Customer(new_customer_id(contact, key, self._settings)), membership_of(key)
        if isinstance(customer, Verdict):
            return customer
        return render_opt_in(contact, customer, self._settings, membership_id=number)

    async def _changed(self, key: IntegrationKey, contact: NewContact) -> Event | Verdict:
        customer = self._people.known(key)
        if not isinstance(customer, Verdict):
            customer = await self._people.ask(key)
        if customer is UNKNOWN:
            return _NOT_THERE
        return customer if isinstance(customer, Verdict) else render_profile(contact, customer, self._settings)
