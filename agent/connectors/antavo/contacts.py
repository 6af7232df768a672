"""Making and changing customers at Antavo, which owns the contacts: the events `opt_in` and `profile`.

Antavo takes an id that we choose, and takes it once (112101). It is made of this till's own number of the contact, or,
where a sale alone tells of them, of their phone or address: the same at every attempt, so that an answer that was lost
makes nobody twice. What is refused as taken is looked at: whoever has the id may be another. Two customers may share a
phone there, so that it is searched for before anybody is made.

Sources: Events API (`opt_in`, `profile`), error list (112101, 127201), Customers API. That a customer can be asked for
by an id as soon as the event is answered is not documented: where they cannot, nothing is taken for granted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agent.connectors.antavo.answers import read_customer
from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.customers import is_gone
from agent.connectors.antavo.errors import AntavoError, objection_in, words_of
from agent.connectors.antavo.fields import (
    named_in,
    render_contact,
    same_person,
    shows_all,
    there_of,
    without_place,
)
from agent.connectors.antavo.lookup import AntavoLookup
from agent.connectors.antavo.mapping import new_customer_id, render_event
from agent.connectors.antavo.settings import AntavoSettings
from agent.domain.enrolment import respelled
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.revision import ContactThere
from agent.domain.tagging import Found, Outcome, together
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import ContactRefusedError, Fault, VendorError
from agent.ports import Clock, Pace

_SEARCHED: Final = (IdentifierType.MOBILE_PHONE, IdentifierType.EMAIL)
_BAD_REQUEST, _NOT_FOUND = 400, 404
_TAKEN, _INTERRUPTED, _UNKNOWN_CUSTOMER = (112101, 10001), 127201, 160212


class AntavoContacts:
    """Makes customers, and changes them.

    Args:
        client: the workspace.
        settings: its table.
        lookup: finds who is there already.
        primary: the type of the primary integration key.
        normaliser: how this store reads identifiers.
        clock: for the store's date.
    """

    def __init__(
        self,
        client: AntavoClient,
        settings: AntavoSettings,
        lookup: AntavoLookup,
        *,
        primary: IdentifierType,
        normaliser: Normaliser,
        clock: Clock,
    ) -> None:
        self._client, self._settings, self._lookup = client, settings, lookup
        self._primary, self._normaliser, self._clock = primary, normaliser, clock

    def without_place(self, contact: NewContact) -> list[Fault]:
        """What of a contact this workspace has no field for."""
        return without_place(contact, self._settings)

    async def create(
        self,
        contact: NewContact,
        identifiers: Sequence[Identifier],
        *,
        store_id: str,  # noqa: ARG002 - no attribute for it was found
        pace: Pace,
    ) -> Found:
        """Makes a customer, or finds the one who has the phone or the address already.

        ``ambiguous`` when several have, or nobody can say whose the id is.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
            ContactRefusedError: the workspace refuses what was given or has no field for it, or the id that we gave
                is another's.
        """
        names = [one for one in identifiers if one.type in _SEARCHED]
        number = next((one.value for one in identifiers if one.type is IdentifierType.EXTERNAL_ID), "")
        contact = respelled(contact, tuple(names))
        self._refuse_without_place(contact)
        if not names:  # nobody would find them again
            raise ContactRefusedError(_BAD_REQUEST, "NoPhoneNorAddress", ["mobile_phone"])
        known = together([await self._lookup.find(one, timeout_s=None, pace=pace) for one in names])
        if known.outcome is not Outcome.NOT_FOUND:
            return known
        customer = new_customer_id(contact, _told_apart_by(number, names), self._settings)
        data = {**({"membership_id": number} if number else {}), **render_contact(contact, self._settings)}
        refusal = await self._tell("opt_in", customer, data, pace)
        if refusal is None:
            return await self._made(customer, number, pace)
        may_be_there = refusal.code in (*_TAKEN, _INTERRUPTED)
        there = await self._customer(customer, pace) if may_be_there else None
        theirs = None if there is None else self._is_theirs(there, contact, number)
        if theirs:
            return await self._made(customer, number, pace)
        if theirs is None and refusal.code in _TAKEN:
            return Found(Outcome.AMBIGUOUS)
        raise refusal.of_contact(self._settings)

    async def contact_there(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> ContactThere | None:
        """A customer as Antavo has them now; None where it has none, or several, or cannot be asked for such a key.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        customer = await self._lookup.customer(key, timeout_s=timeout_s, pace=pace)
        if customer is None:
            return None
        return there_of(customer, self._settings, self._normaliser, today=self._clock.today())

    async def update(
        self, contact_id: str, contact: NewContact, identifiers: Sequence[Identifier], *, pace: Pace
    ) -> None:
        """Writes what is given over what Antavo has, and nothing else.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere; sending it again does no harm.
            ContactRefusedError: the workspace refuses what was given, has no field for it, or has no such customer.
        """
        contact = respelled(contact, tuple(one for one in identifiers if one.type in _SEARCHED))
        self._refuse_without_place(contact)
        data = render_contact(contact, self._settings)
        refusal = await self._tell("profile", contact_id, data, pace)
        if refusal is None:
            return
        if refusal.code == _INTERRUPTED:  # whatever stopped it, what counts is what is there now
            there = await self._customer(contact_id, pace)
            if there is not None and shows_all(there, data):
                return
        raise refusal.of_contact(self._settings)

    def _refuse_without_place(self, contact: NewContact) -> None:
        """For what the door could not refuse: a sale is taken whatever it says of somebody new."""
        faults = self.without_place(contact)
        if faults:
            fields = dict.fromkeys(fault.pointer.split("/")[1] for fault in faults)
            raise ContactRefusedError(_BAD_REQUEST, "NoFieldForIt", list(fields))

    def _is_theirs(self, there: Mapping[str, Any], contact: NewContact, number: str) -> bool | None:
        """Whether a customer with an id that we gave is whom it was given for; None where nothing tells."""
        return not is_gone(there) and same_person(there, contact, number, self._settings)

    async def _made(self, customer: str, number: str, pace: Pace) -> Found:
        """The key of somebody who is there: by their number only where they are found by it, as their sales will be."""
        if number and self._primary is IdentifierType.MEMBER_NUMBER:
            try:
                by_number = Identifier(IdentifierType.MEMBER_NUMBER, number)
                found = await self._lookup.find(by_number, timeout_s=None, pace=pace)
            except VendorError:  # the id alone ties the sale as well
                found = Found(Outcome.NOT_FOUND)
            if found.contact_id == customer:
                return found
        key = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value=customer)
        return Found(Outcome.MATCHED, key, customer)

    async def _customer(self, customer: str, pace: Pace) -> Mapping[str, Any] | None:
        await pace()
        return read_customer(await self._client.customer("", customer))

    async def _tell(self, action: str, customer: str, data: dict[str, Any], pace: Pace) -> _Refusal | None:
        """What the workspace has against an event; None: it was processed."""
        await pace()
        answer = await self._client.post_event(render_event(action, customer, data))
        error = objection_in(answer)
        return None if error is None else _Refusal(answer.status, error, words_of(answer.json()))


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why an event was not taken."""

    status: int
    error: AntavoError
    words: str = field(repr=False)

    @property
    def code(self) -> int | None:
        return self.error.code

    def of_contact(self, settings: AntavoSettings) -> ContactRefusedError:
        """The same as what the customer gave being refused."""
        gone = self.code == _UNKNOWN_CUSTOMER
        return ContactRefusedError(_NOT_FOUND if gone else self.status, self.error.name, named_in(self.words, settings))


def _told_apart_by(number: str, names: Sequence[Identifier]) -> IntegrationKey:
    """What the id of somebody new is made of."""
    if number:
        return IntegrationKey(kind="primary", type=IdentifierType.EXTERNAL_ID, value=number)
    return IntegrationKey(kind="secondary", type=names[0].type, value=names[0].value)
