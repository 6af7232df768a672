"""Asking Voyado who somebody is, and making and changing contacts there.

Sources: find-contact, create-contact, update-contact and contact pages. `customKey` is whichever of memberNumber and
externalId the tenant was set up with. A member number is never asked for through `any`: Voyado stops at the first
attribute whose format accepts the value, so that a number that looks like a phone is not found.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.errors import raise_unless_answered, refused_words, vendor_code
from agent.connectors.voyado.fields import canonical, kept_of, there_of
from agent.connectors.voyado.mapping import FIELDS, VOYADOS_OWN, misnamed, render_change, render_contact
from agent.connectors.voyado.settings import VoyadoSettings
from agent.domain.identifiers import MAX_VALUE_CHARS, Identifier, IdentifierType
from agent.domain.revision import ContactThere
from agent.domain.tagging import Found, Outcome, together
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import ContactRefusedError, Fault, VendorError, VendorUnreachableError
from agent.ports import Pace
from agent.transport import Answer

_OK, _CREATED, _ACCEPTED, _BAD_REQUEST, _NOT_FOUND, _CONFLICT = 200, 201, 202, 400, 404, 409
_MAX_CANDIDATES = 8
_TAKEN = "ApprovedContactWithKeyExists"
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PARAMETERS = {
    IdentifierType.MOBILE_PHONE: "mobilePhone",
    IdentifierType.EMAIL: "email",
    IdentifierType.PERSONAL_NUMBER: "socialSecurityNumber",
}
_PRIMARY_ATTRIBUTES = {IdentifierType.MEMBER_NUMBER: "memberNumber", IdentifierType.EXTERNAL_ID: "externalId"}
_CANNOT_BE_ONE = ("InvalidEmailAddress", "InvalidPhoneNumber", "InvalidSocialSecurityNumber", "InvalidContactId")


class VoyadoPeople:
    """Look-ups, new contacts and changes.

    Args:
        client: the tenant.
        settings: its table.
        primary: the type of the primary integration key.
        fields: what the till may be shown of a match, by our names.
    """

    def __init__(
        self, client: VoyadoClient, settings: VoyadoSettings, primary: IdentifierType, fields: Sequence[str] = ()
    ) -> None:
        self._client, self._settings, self._primary, self._fields = client, settings, primary, fields

    def knows(self, identifier: Identifier) -> bool:
        """Whether Voyado can be asked for that type."""
        return identifier.type is IdentifierType.CONTACT_ID or self._parameter(identifier.type) is not None

    async def find(self, identifier: Identifier, *, timeout_s: float, pace: Pace) -> Found:
        """Who it is, each call at its pace. Raises VendorUnreachableError, VendorRefusedError."""
        if identifier.type is IdentifierType.CONTACT_ID:
            await pace()
            contact = await self._client.contact(identifier.value, timeout_s=timeout_s)
            if contact is None or self._is_of_another_type(contact):
                return Found(Outcome.NOT_FOUND)
            return self.match(identifier.value, contact)
        parameter = self._parameter(identifier.type)
        if parameter is None:
            raise VendorUnreachableError(f"cannot be asked for a {identifier.type}")
        params = {"contactType": self._settings.contact_type, parameter: identifier.value}
        return await self._found(params, timeout_s, pace)

    async def _found(
        self, params: Mapping[str, str], timeout_s: float | None, pace: Pace, *, whole: bool = False
    ) -> Found:
        await pace()
        answer = await self._client.find_contact_id(params, timeout_s=timeout_s)
        raise_unless_answered(answer)
        if answer.status == _OK:
            return await self._with_primary_key(_read_contact_id(answer), timeout_s, pace, whole=whole)
        if answer.status == _CONFLICT:
            return await self._only_member(answer.json(), timeout_s, pace)
        code = vendor_code(answer)
        if answer.status == _NOT_FOUND or (answer.status == _BAD_REQUEST and code in _CANNOT_BE_ONE):
            return Found(Outcome.NOT_FOUND)
        # A question that Voyado does not understand says nothing about whether somebody is there.
        raise VendorUnreachableError(f"answered {answer.status} to a look-up ({code or 'without a code'})")

    async def contact_id(self, identifier: Identifier, *, timeout_s: float) -> str | None:
        """The one contact's id and nothing more: one call. None when there is none, or several, or no such question.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        parameter = self._parameter(identifier.type)
        if parameter is None:
            return None
        params = {"contactType": self._settings.contact_type, parameter: identifier.value}
        answer = await self._client.find_contact_id(params, timeout_s=timeout_s)
        raise_unless_answered(answer)
        return _read_contact_id(answer) if answer.status == _OK else None

    def without_place(self, contact: NewContact) -> Sequence[Fault]:
        """What is no free attribute. Whether a tenant has an attribute or a consent shows when it is sent."""
        return misnamed(contact)

    async def create(
        self, contact: NewContact, identifiers: Sequence[Identifier], *, store_id: str, pace: Pace
    ) -> Found:
        """Makes a contact, or finds the one that has its keys already, of whatever type that is.

        ``ambiguous`` when it is being made by somebody else, or nobody can say which it is.

        Raises:
            VendorUnreachableError: no answer, or 504, after which Voyado keeps nothing.
            VendorRefusedError: our credentials are refused.
            ContactRefusedError: Voyado refuses what the customer gave.
        """
        body = render_contact(
            contact, identifiers, contact_type=self._settings.contact_type, source=self._settings.source
        )
        await pace()
        answer = await self._client.create_contact(body, store_id=store_id)
        raise_unless_answered(answer)
        if answer.status == _CONFLICT:
            taken = vendor_code(answer) == _TAKEN
            there = await self._of_any_type(identifiers, pace) if taken else Found(Outcome.AMBIGUOUS)
            return replace(there, existed=True)
        if answer.status not in (_OK, _CREATED, _ACCEPTED):
            raise _refusal(answer)
        made = answer.json()
        contact_id = _contact_id(made.get("id")) if isinstance(made, dict) else None
        return Found(Outcome.AMBIGUOUS) if contact_id is None else self.match(contact_id, made)

    async def contact_there(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> ContactThere | None:
        """A contact as Voyado has it now; None where it has none, or several, or cannot be asked for such a key.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        contact_id: str | None = key.value
        if key.type is not IdentifierType.CONTACT_ID:
            await pace()
            contact_id = await self.contact_id(key.identifier, timeout_s=timeout_s)
        if contact_id is None:
            return None
        await pace()
        contact = await self._client.contact(contact_id, timeout_s=timeout_s)
        if contact is None:
            return None
        try:
            return there_of(contact_id, contact)
        except ValueError:
            raise VendorUnreachableError("answers something that is no contact") from None

    async def update(
        self, contact_id: str, contact: NewContact, identifiers: Sequence[Identifier], *, pace: Pace
    ) -> None:
        """Writes what is given over what Voyado has. Success is any 2xx; its body is the contact, and not needed.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere; sending it again does no harm.
            ContactRefusedError: Voyado refuses what the customer gave, or it would change what is Voyado's own.
        """
        # The door refuses these; an earlier version's did not, and what that has taken may still wait.
        if any(canonical(name) in VOYADOS_OWN for name in contact.attributes):
            raise ContactRefusedError(_BAD_REQUEST, "AttributeNotChangedHere", ["attributes"])
        await pace()
        answer = await self._client.update_contact(
            contact_id, render_change(contact, identifiers, source=self._settings.source)
        )
        raise_unless_answered(answer)
        if answer.status not in (_OK, _CREATED, _ACCEPTED):
            raise _refusal(answer)

    async def _of_any_type(self, identifiers: Sequence[Identifier], pace: Pace) -> Found:
        """Who has these keys: a contact that keeps a member from being made need not be a member.

        Its primary key is waited for: further systems know them by what is found here from now on.
        """
        asked = [(self._parameter(one.type), one.value) for one in identifiers]
        answers = [
            await self._found({name: value}, None, pace, whole=True) for name, value in asked if name is not None
        ]
        found = together(answers)
        return found if found.key is not None else Found(Outcome.AMBIGUOUS)

    def _parameter(self, kind: IdentifierType) -> str | None:
        if kind.value == self._settings.custom_key:
            return "customKey"
        return _PARAMETERS.get(kind)

    async def _with_primary_key(
        self, contact_id: str, timeout_s: float | None, pace: Pace, *, whole: bool = False
    ) -> Found:
        if self._primary is IdentifierType.CONTACT_ID and not self._fields:
            return self.match(contact_id, {})
        await pace()
        try:
            contact = await self._client.contact(contact_id, timeout_s=timeout_s)
        except VendorError:
            if whole:
                raise
            return self.match(contact_id, {})  # the id alone ties the sale as well
        if contact is None:  # deleted, and the vendor's index does not know it yet
            return Found(Outcome.NOT_FOUND)
        return self.match(contact_id, contact)

    async def _only_member(self, body: Any, timeout_s: float | None, pace: Pace) -> Found:
        """Of several contacts that share a key, the one of the members' type; nobody is guessed among several."""
        details = body.get("messageDetails") if isinstance(body, dict) else None
        listed = details.get("multipleMatchesFound") if isinstance(details, dict) else None
        ids = [_contact_id(item) for item in listed] if isinstance(listed, list) else []
        if not 0 < len(ids) <= _MAX_CANDIDATES:
            return Found(Outcome.AMBIGUOUS)
        members = []
        for contact_id in ids:
            if contact_id is None:
                return Found(Outcome.AMBIGUOUS)
            await pace()
            candidate = await self._client.contact(contact_id, timeout_s=timeout_s)
            if candidate is not None and self._is_member(candidate):
                members.append(self.match(contact_id, candidate))
            if len(members) > 1:
                break
        return members[0] if len(members) == 1 else Found(Outcome.AMBIGUOUS)

    def _is_member(self, contact: Mapping[str, Any]) -> bool:
        return _type(contact) == self._settings.contact_type.casefold()

    def _is_of_another_type(self, contact: Mapping[str, Any]) -> bool:
        """Whether it says so; one that says nothing is not."""
        return _type(contact) not in ("", self._settings.contact_type.casefold())

    def match(self, contact_id: str, contact: Mapping[str, Any]) -> Found:
        """The match under its primary key, or under its contact id when that field is not there.

        And when it is of another type: Voyado searches a receipt's other keys among contacts of the type that the
        receipt names, members, and drops a receipt that matches nobody; a contact id it finds whatever the type.
        """
        attributes = contact.get("attributes")
        name = None if self._is_of_another_type(contact) else _PRIMARY_ATTRIBUTES.get(self._primary)
        value = _key_value(attributes.get(name)) if name and isinstance(attributes, dict) else None
        key = IntegrationKey(
            kind="primary", type=self._primary if value else IdentifierType.CONTACT_ID, value=value or contact_id
        )
        try:
            fields = kept_of(contact, self._fields) if contact else {}
        except ValueError:
            raise VendorUnreachableError("answers something that is no contact") from None
        return Found(Outcome.MATCHED, key, contact_id, fields)


def _refusal(answer: Answer) -> ContactRefusedError:
    words = refused_words(answer)
    fields = [ours for theirs, ours in FIELDS.items() if theirs in words]
    return ContactRefusedError(answer.status, vendor_code(answer), fields)


def _type(contact: Mapping[str, Any]) -> str:
    meta = contact.get("meta")
    kind = meta.get("contactType") if isinstance(meta, dict) else None
    return kind.strip().casefold() if isinstance(kind, str) else ""


def _read_contact_id(answer: Answer) -> str:
    """The contact id that an answer of 200 is. Raises VendorUnreachableError: it is something else, not nobody."""
    contact_id = _contact_id(answer.json())
    if contact_id is None:
        raise VendorUnreachableError("answered without a contact id", maybe_received=True)
    return contact_id


def _contact_id(value: Any) -> str | None:
    contact_id = value.strip().lower() if isinstance(value, str) else ""
    return contact_id if _GUID.fullmatch(contact_id) else None


def _key_value(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value).strip()
    return text if text.isprintable() and 0 < len(text) <= MAX_VALUE_CHARS else None
