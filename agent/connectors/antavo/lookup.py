"""Asking Antavo, which owns the contacts, who somebody is.

By id a customer is asked for at once, and by an external id; a number, a phone and an address are searched for, which
names ids alone, so that the customer is asked for after that. Who is found has to show what was searched for: a filter
that a workspace does not know lets anybody through. Nobody is guessed.

Sources: Customers API: `match=exact` for `email` and `membership_id`; a phone has to be searchable in the workspace,
and every search is exact, so that it is spelt as the workspace spells it (`phone_format`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.connectors.antavo.answers import read_customer, read_ids
from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.customers import (
    customer_id,
    external_id,
    is_gone,
    is_usable,
    kept_of,
    member_number,
    stated_id,
)
from agent.connectors.antavo.people import FIELDS, search_params, shows, spelled
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.antavo.signing import is_signable
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.tagging import Found, Outcome
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorUnreachableError
from agent.ports import Pace

_NOBODY, _SEVERAL = Outcome.NOT_FOUND, Outcome.AMBIGUOUS


class AntavoLookup:
    """Look-ups.

    Args:
        client: the workspace.
        settings: its table.
        primary: the type of the primary integration key.
        fields: what the till may be shown of a match, by our names.
    """

    def __init__(
        self, client: AntavoClient, settings: AntavoSettings, primary: IdentifierType, fields: Sequence[str] = ()
    ) -> None:
        self._client, self._settings, self._primary, self._fields = client, settings, primary, fields

    def knows(self, identifier: Identifier) -> bool:
        """Whether Antavo can be asked for it."""
        match identifier.type:
            case IdentifierType.CONTACT_ID:
                return is_usable(identifier.value)
            case IdentifierType.EXTERNAL_ID:
                return bool(self._settings.external_id_field) and is_signable(identifier.value)
            case kind:
                return kind in FIELDS

    async def find(self, identifier: Identifier, *, timeout_s: float | None, pace: Pace) -> Found:
        """Who it is, in one call or two. Raises VendorUnreachableError, VendorRefusedError."""
        customer = await self._asked(identifier, timeout_s, pace)
        if isinstance(customer, Outcome):
            return Found(customer)
        contact_id = stated_id(customer)
        return Found(Outcome.MATCHED, self._key(customer, contact_id), contact_id, kept_of(customer, self._fields))

    async def customer(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> Mapping[str, Any] | None:
        """The customer behind a primary key, as Antavo shows them; None when there is none, or nobody can be named.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        found = await self._asked(key.identifier, timeout_s, pace) if self.knows(key.identifier) else None
        return None if isinstance(found, Outcome) else found

    async def customer_of(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> str | None:
        """Their id, asked for unless it is the key. None, and raises, as :meth:`customer`."""
        if key.type is IdentifierType.CONTACT_ID:
            return key.value if self.knows(key.identifier) else None
        found = await self.customer(key, timeout_s=timeout_s, pace=pace)
        return None if found is None else stated_id(found)

    async def _asked(self, identifier: Identifier, timeout_s: float | None, pace: Pace) -> Mapping[str, Any] | Outcome:
        """The one customer, whose id can be said here; else what became of the question."""
        if not self.knows(identifier):
            raise VendorUnreachableError(f"cannot be asked for this {identifier.type}")
        await pace()
        if identifier.type is IdentifierType.CONTACT_ID:
            return await self._customer("", identifier.value, timeout_s)
        if identifier.type is IdentifierType.EXTERNAL_ID:
            return await self._customer(self._settings.external_id_field, identifier.value, timeout_s)
        field, value = FIELDS[identifier.type], spelled(identifier, self._settings)
        ids = read_ids(await self._client.search(search_params(field, value), timeout_s=timeout_s))
        if len(ids) != 1 or not is_usable(ids[0]):
            return _SEVERAL if ids else _NOBODY
        await pace()
        return await self._customer("", ids[0], timeout_s, searched=(field, value))

    async def _customer(
        self, field: str, value: str, timeout_s: float | None, *, searched: tuple[str, str] | None = None
    ) -> Mapping[str, Any] | Outcome:
        customer = read_customer(await self._client.customer(field, value, timeout_s=timeout_s))
        if customer is None or is_gone(customer):
            return _NOBODY
        contact_id = customer_id(customer)
        if not field and contact_id != value:  # an external id can look like an id
            return _SEVERAL if searched else _NOBODY
        if contact_id is None:
            return _SEVERAL
        if searched is not None and searched[0] in customer and not shows(customer, *searched):
            return _SEVERAL
        return customer

    def _key(self, customer: Mapping[str, Any], contact_id: str) -> IntegrationKey:
        """The primary key, or the id of a customer who has none of its kind."""
        own = {
            IdentifierType.MEMBER_NUMBER: member_number(customer),
            IdentifierType.EXTERNAL_ID: external_id(customer, self._settings.external_id_field),
        }
        value = own.get(self._primary)
        kind = IdentifierType.CONTACT_ID if value is None else self._primary
        return IntegrationKey(kind="primary", type=kind, value=value or contact_id)
