"""Asking Monetary who somebody is, in one call: by CustomerID, or by a search for the number, the phone or the address.

Sources: the readme for the calls, the example till for the search. That a search without a match is an empty list, and
that the reading of a single customer answers 404 for nobody, is inferred. Whether a search is exact is not known: who
is listed counts only if they show the value itself, and where nobody who is listed shows it, nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.connectors.monetary.client import MonetaryClient
from agent.connectors.monetary.customers import change_of, customer_id_in, customer_id_of, kept_of, lowered
from agent.connectors.monetary.errors import raise_unless_answered
from agent.connectors.monetary.people import ASKED, form_of, spell_phone
from agent.domain.contact import ContactChange
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.tagging import Found, Outcome
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorOwnError, VendorUnreachableError
from agent.ports import Clock, Pace

_OK, _NOT_FOUND = 200, 404


class MonetaryLookup:
    """Look-ups.

    Args:
        client: the location's account.
        normaliser: how this store reads identifiers.
        primary: the type of the primary integration key.
        fields: what the till may be shown of a match, by our names.
        clock: for the store's date.
    """

    def __init__(
        self,
        client: MonetaryClient,
        normaliser: Normaliser,
        *,
        primary: IdentifierType,
        fields: Sequence[str],
        clock: Clock,
    ) -> None:
        self._client, self._normaliser, self._primary = client, normaliser, primary
        self._fields, self._clock = fields, clock

    def knows(self, identifier: Identifier) -> bool:
        """Whether Monetary can be asked for that: a phone has ten digits at home, a CustomerID is a number."""
        return self._question(identifier) is not None

    async def find(self, identifier: Identifier, *, timeout_s: float, pace: Pace) -> Found:
        """Who it is, and everybody who shows that value. Raises VendorUnreachableError, VendorRefusedError."""
        found = await self.shown(identifier, timeout_s=timeout_s, pace=pace)
        changes = tuple(self._change(row, identifier) for row in found.values())
        if len(changes) != 1:
            return Found(Outcome.AMBIGUOUS if changes else Outcome.NOT_FOUND, shown=changes)
        [(customer, row)] = found.items()
        number = changes[0].identifiers[IdentifierType.MEMBER_NUMBER]
        by_number = self._primary is IdentifierType.MEMBER_NUMBER and number is not None
        kind = IdentifierType.MEMBER_NUMBER if by_number else IdentifierType.CONTACT_ID
        key = IntegrationKey(kind="primary", type=kind, value=number if by_number and number else str(customer))
        return Found(Outcome.MATCHED, key, str(customer), kept_of(row, self._fields), shown=changes)

    async def shown(self, identifier: Identifier, *, timeout_s: float, pace: Pace) -> dict[int, dict[str, Any]]:
        """The row of everybody who shows that value, by CustomerID. Raises as :meth:`find` does."""
        question = self._question(identifier)
        if question is None:
            raise VendorUnreachableError(f"cannot be asked for a {identifier.type}")
        await pace()
        if isinstance(question, int):
            rows = await self._read(question, timeout_s)
        else:
            rows = await self._search(*question, timeout_s)
        return {row["customerid"]: row for row in rows}

    async def _read(self, customer: int, timeout_s: float) -> list[dict[str, Any]]:
        answer = await self._client.customer(customer, timeout_s=timeout_s)
        body = raise_unless_answered(answer, named=True)
        if answer.status == _NOT_FOUND:
            return []
        row = lowered(body)
        if answer.status != _OK or customer_id_of(row) != customer:
            raise VendorOwnError(f"answered {answer.status} without the customer")
        return [{**row, "customerid": customer}]

    async def _search(self, field: str, value: str, timeout_s: float) -> list[dict[str, Any]]:
        answer = await self._client.search({ASKED[field]: value}, timeout_s=timeout_s)
        body = raise_unless_answered(answer, named=False)
        if answer.status != _OK or not isinstance(body, list) or not all(isinstance(row, Mapping) for row in body):
            raise VendorOwnError(f"answered {answer.status} without a list of customers")
        listed = [lowered(row) for row in body]
        fitting = [row for row in listed if form_of(field, row.get(field)) == form_of(field, value)]
        if listed and not fitting:
            raise VendorOwnError("lists customers who do not show what was asked for")
        rows = [{**row, "customerid": customer_id_of(row)} for row in fitting]
        if any(row["customerid"] is None for row in rows):
            raise VendorOwnError("lists a customer without a CustomerID")
        return rows

    def _change(self, row: Mapping[str, Any], wanted: Identifier) -> ContactChange:
        change = change_of(row, self._normaliser, self._fields, today=self._clock.today())
        if change is None:  # which a row with a CustomerID is not
            raise VendorOwnError("lists a customer without a CustomerID")
        by_search = wanted.type is not IdentifierType.CONTACT_ID
        if by_search and change.identifiers[wanted.type] != wanted.value:  # two values can have one form
            raise VendorOwnError("lists customers who do not show what was asked for")
        return change

    def _question(self, identifier: Identifier) -> int | tuple[str, str] | None:
        """What to ask for: a customer, or a value in Monetary's name and spelling; None where there is no question."""
        match identifier.type:
            case IdentifierType.CONTACT_ID:
                return customer_id_in(identifier.value)
            case IdentifierType.MEMBER_NUMBER:
                return "externalid", identifier.value
            case IdentifierType.EMAIL:
                return "email", identifier.value
            case IdentifierType.MOBILE_PHONE:
                number = spell_phone(identifier.value, self._normaliser.country)
                return ("phone", number) if number else None
            case _:
                return None
