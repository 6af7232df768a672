"""Asking Voucherify who somebody is.

Sources: get customer, by `id` or `source_id`; list customers (filters: mail, name, city, segment and dates). There is
no question for a phone: that is answered from the replica alone. Whether the mail filter compares whole addresses is
not documented: what it lists is compared here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.customers import customer_id, kept_of, member_number
from agent.connectors.voucherify.errors import is_missing, raise_unless_answered
from agent.connectors.voucherify.feed import Listed
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.tagging import Found, Outcome
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorOwnError, VendorUnreachableError
from agent.ports import Clock, Pace
from agent.transport import Answer

PAGE = 100
_OK = 200
_ASKABLE = (IdentifierType.CONTACT_ID, IdentifierType.MEMBER_NUMBER, IdentifierType.EMAIL)


class VoucherifyPeople:
    """Look-ups.

    Args:
        client: the project.
        primary: the type of the primary integration key.
        fields: what the till may be shown of a match, by our names.
        clock: for pauses that the vendor states as an instant.
    """

    def __init__(
        self, client: VoucherifyClient, primary: IdentifierType, fields: Sequence[str] = (), *, clock: Clock
    ) -> None:
        self._client, self._primary, self._fields, self._clock = client, primary, fields, clock

    def knows(self, identifier: Identifier) -> bool:
        """Whether Voucherify can be asked for that type."""
        return identifier.type in _ASKABLE

    async def find(self, identifier: Identifier, *, timeout_s: float, pace: Pace) -> Found:
        """Who it is, in one call. Raises VendorUnreachableError, VendorRefusedError."""
        if not self.knows(identifier):
            raise VendorUnreachableError(f"cannot be asked for a {identifier.type}")
        await pace()
        if identifier.type is IdentifierType.EMAIL:
            return await self._with_mail(identifier.value, timeout_s)
        answer = await self._client.get_customer(identifier.value, timeout_s=timeout_s)
        customer = read_customer(answer, now=self._clock.now())
        if customer is None or not _is_called(customer, identifier):
            return Found(Outcome.NOT_FOUND)
        return self._match(customer)

    async def _with_mail(self, mail: str, timeout_s: float) -> Found:
        answer = await self._client.list_customers({"email": mail, "limit": str(PAGE)}, timeout_s=timeout_s)
        listed = read_list(answer, now=self._clock.now())
        found = [one for one in listed.customers if str(one.get("email", "")).strip().lower() == mail]
        if len(found) == 1:
            return self._match(found[0])
        if not found and listed.more:
            raise VendorUnreachableError("lists more customers than were asked for")
        return Found(Outcome.AMBIGUOUS if found else Outcome.NOT_FOUND)

    def _match(self, customer: Mapping[str, Any]) -> Found:
        """The match under its primary key, or under its id when it has no `source_id` of a member number's form."""
        contact_id = customer_id(customer)
        number = member_number(customer) if self._primary is IdentifierType.MEMBER_NUMBER else None
        kind = IdentifierType.CONTACT_ID if number is None else IdentifierType.MEMBER_NUMBER
        key = IntegrationKey(kind="primary", type=kind, value=number or contact_id)
        return Found(Outcome.MATCHED, key, contact_id, kept_of(customer, self._fields))


def read_list(answer: Answer, *, now: datetime) -> Listed:
    """The page in an answer. Raises VendorError."""
    raise_unless_answered(answer, "list", now=now)
    body = answer.json() if answer.status == _OK else None
    told = body if isinstance(body, dict) else {}
    named, more = told.get("data_ref"), told.get("has_more")
    rows = told.get(named) if isinstance(named, str) else None
    if not isinstance(rows, list) or not isinstance(more, bool) or (more and not rows):
        raise VendorUnreachableError(f"answered {answer.status} without a list of customers")
    for one in rows:
        customer_id(one)
    return Listed(rows, more, answer.date)


def read_customer(answer: Answer, *, now: datetime) -> Mapping[str, Any] | None:
    """The customer in an answer, None when there is none. Raises VendorError."""
    raise_unless_answered(answer, "customer", now=now)
    if is_missing(answer):
        return None
    body = answer.json() if answer.status == _OK else None
    if body is None:
        raise VendorOwnError(f"answered {answer.status} without a customer")
    customer_id(body)
    return dict(body)


def _is_called(customer: Mapping[str, Any], identifier: Identifier) -> bool:
    """Whether it is the one of that type: one question asks for both names, and one can look like the other."""
    is_id = identifier.type is IdentifierType.CONTACT_ID
    return identifier.value == (customer_id(customer) if is_id else member_number(customer))
