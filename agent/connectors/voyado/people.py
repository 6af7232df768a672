"""Asking Voyado who somebody is, and making a contact there.

Sources: find-contact, create-contact and contact pages. `customKey` is whichever of memberNumber and externalId the
tenant was set up with. A member number is never asked for through `any`: Voyado stops at the first attribute whose
format accepts the value, so that a number that looks like a phone is not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.errors import raise_unless_answered, vendor_code
from agent.connectors.voyado.mapping import render_contact
from agent.connectors.voyado.settings import VoyadoSettings
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.tagging import Found, Outcome
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import Fault, InputError, VendorError, VendorUnreachableError

_OK, _CREATED, _ACCEPTED, _NOT_FOUND, _CONFLICT = 200, 201, 202, 404, 409
_MAX_CANDIDATES = 8
_PARAMETERS = {
    IdentifierType.MOBILE_PHONE: "mobilePhone",
    IdentifierType.EMAIL: "email",
    IdentifierType.PERSONAL_NUMBER: "socialSecurityNumber",
}
_PRIMARY_ATTRIBUTES = {IdentifierType.MEMBER_NUMBER: "memberNumber", IdentifierType.EXTERNAL_ID: "externalId"}


class VoyadoPeople:
    """Look-ups and new contacts.

    Args:
        client: the tenant.
        settings: its table.
        primary: the type of the primary integration key.
    """

    def __init__(self, client: VoyadoClient, settings: VoyadoSettings, primary: IdentifierType) -> None:
        self._client, self._settings, self._primary = client, settings, primary

    def knows(self, identifier: Identifier) -> bool:
        """Whether Voyado can be asked for that type."""
        return identifier.type is IdentifierType.CONTACT_ID or self._parameter(identifier.type) is not None

    async def find(self, identifier: Identifier, *, timeout_s: float) -> Found:
        """Who it is. Raises VendorUnreachableError, VendorRefusedError."""
        if identifier.type is IdentifierType.CONTACT_ID:
            return await self._read(identifier.value, timeout_s) or Found(Outcome.NOT_FOUND)
        parameter = self._parameter(identifier.type)
        if parameter is None:
            raise VendorUnreachableError(f"cannot be asked for a {identifier.type}")
        params = {"contactType": self._settings.contact_type, parameter: identifier.value}
        answer = await self._client.find_contact_id(params, timeout_s=timeout_s)
        raise_unless_answered(answer)
        if answer.status == _OK:
            contact_id = answer.json()
            if not isinstance(contact_id, str) or not contact_id:
                raise VendorUnreachableError("answered without a contact id")
            return await self._with_primary_key(contact_id.lower(), timeout_s)
        if answer.status == _CONFLICT:
            return await self._only_member(answer.json(), timeout_s)
        # 400 says that the value cannot be of its type at Voyado: nobody there has it.
        return Found(Outcome.NOT_FOUND)

    async def create(self, contact: NewContact, identifiers: Sequence[Identifier], *, store_id: str) -> Found:
        """Makes a contact; ``ambiguous`` when Voyado says that it exists already or is being made by somebody else.

        Raises:
            VendorUnreachableError: no answer, or 504, after which Voyado keeps nothing.
            VendorRefusedError: our credentials are refused.
            InputError: Voyado refuses what the customer gave.
        """
        body = render_contact(
            contact, identifiers, contact_type=self._settings.contact_type, source=self._settings.source
        )
        answer = await self._client.create_contact(body, store_id=store_id)
        raise_unless_answered(answer)
        if answer.status == _CONFLICT:
            return Found(Outcome.AMBIGUOUS)
        if answer.status not in (_OK, _CREATED, _ACCEPTED):
            code = vendor_code(answer) or str(answer.status)
            raise InputError([Fault("/new_contact", f"is refused by the loyalty system ({code})")])
        body_json = answer.json()
        found = self._found(body_json.get("id"), body_json) if isinstance(body_json, dict) else None
        return found or Found(Outcome.AMBIGUOUS)

    def _parameter(self, kind: IdentifierType) -> str | None:
        if kind.value == self._settings.custom_key:
            return "customKey"
        return _PARAMETERS.get(kind)

    async def _with_primary_key(self, contact_id: str, timeout_s: float) -> Found:
        by_id = Found(
            Outcome.MATCHED, IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value=contact_id), contact_id
        )
        if self._primary is IdentifierType.CONTACT_ID:
            return by_id
        try:
            return await self._read(contact_id, timeout_s) or by_id
        except VendorError:
            return by_id  # the id alone ties the sale as well

    async def _read(self, contact_id: str, timeout_s: float) -> Found | None:
        answer = await self._client.get_contact(contact_id, timeout_s=timeout_s)
        raise_unless_answered(answer)
        if answer.status == _NOT_FOUND:
            return None
        body = answer.json()
        if answer.status != _OK or not isinstance(body, dict):
            raise VendorUnreachableError(f"answered {answer.status} without a contact")
        return self._found(contact_id, body)

    async def _only_member(self, body: Any, timeout_s: float) -> Found:
        """Of several contacts that share a key, the one of the members' type; nobody is guessed among several."""
        details = body.get("messageDetails") if isinstance(body, dict) else None
        ids = details.get("multipleMatchesFound") if isinstance(details, dict) else None
        if not isinstance(ids, list) or not 0 < len(ids) <= _MAX_CANDIDATES or not all(isinstance(item, str) for item in ids):
            return Found(Outcome.AMBIGUOUS)
        members = []
        for contact_id in ids:
            answer = await self._client.get_contact(contact_id.lower(), timeout_s=timeout_s)
            raise_unless_answered(answer)
            candidate = answer.json() if answer.status == _OK else None
            meta = candidate.get("meta") if isinstance(candidate, dict) else None
            kind = meta.get("contactType") if isinstance(meta, dict) else None
            if isinstance(kind, str) and kind.casefold() == self._settings.contact_type.casefold():
                members.append(self._found(contact_id, candidate))
        if len(members) == 1 and members[0] is not None:
            return members[0]
        return Found(Outcome.AMBIGUOUS)

    def _found(self, contact_id: Any, body: Mapping[str, Any]) -> Found | None:
        if not isinstance(contact_id, str) or not contact_id:
            return None
        contact_id = contact_id.lower()
        attributes = body.get("attributes")
        name = _PRIMARY_ATTRIBUTES.get(self._primary)
        value = attributes.get(name) if name and isinstance(attributes, dict) else None
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
            key = IntegrationKey(kind="primary", type=self._primary, value=str(value).strip())
        else:
            key = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value=contact_id)
        return Found(Outcome.MATCHED, key, contact_id)
