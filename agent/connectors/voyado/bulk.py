"""Making or changing several contacts at Voyado by one call: `/contacts/bulk`, carried out in Engage's own time.

Sources: the bulk contacts page (`POST` makes, `PATCH` changes; at most 4,000 contacts, each row with at least the key
of its type; the answer is a batch id; its status is polled) and the introduction to contacts (a type has one configured
key). Not documented: the status object, whether a row's own id comes back, and that a row whose key is taken is refused
as `POST /contacts` refuses it. So a batch that is over is believed only where its figures and its errors fit our rows;
contacts are asked for under their key; and what is not plainly done is left to the calls for one contact.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.errors import raise_unless_answered, vendor_code
from agent.connectors.voyado.mapping import render_bulk_change, render_contact
from agent.connectors.voyado.people import VoyadoPeople
from agent.connectors.voyado.settings import VoyadoSettings
from agent.domain.bulk import BulkSent, RowWord
from agent.domain.enrolment import Enrolment
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.revision import ContactThere
from agent.domain.tagging import Found, Outcome
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import VendorUnreachableError
from agent.ports import Pace
from agent.transport import Answer

_REDIRECT: Final = 300
_OVER: Final = frozenset({"completed", "complete", "done", "finished"})
_MAX_ID_CHARS: Final = 200


class _Calls:
    """Bulk calls of one kind.

    Args:
        client: the tenant.
        settings: its table; `member_key` is known.
        post: sends the rows.
        figure: what the status counts them as, once they are done.
    """

    max_rows = 4_000
    max_bytes = 1 << 20
    """Ours: how large a request may be is documented nowhere, and 4,000 plain contacts are about this."""

    def __init__(
        self, client: VoyadoClient, settings: VoyadoSettings, *, post: Callable[..., Awaitable[Answer]], figure: str
    ) -> None:
        self._client, self._settings, self._post, self._figure = client, settings, post, figure

    async def send(self, rows: Sequence[bytes], *, pace: Pace) -> BulkSent:
        """One call.

        Raises:
            VendorUnreachableError: no answer, or none that names the batch: it may be there.
            VendorRefusedError: our credentials are refused.
        """
        await pace()
        answer = await self._post(b"[" + b",".join(rows) + b"]", contact_type=self._settings.contact_type)
        raise_unless_answered(answer)
        if answer.status >= _REDIRECT:
            return BulkSent(None, answer.status, vendor_code(answer))
        return BulkSent(_batch_id(answer), answer.status)

    async def said(self, vendor_id: str, *, size: int, pace: Pace) -> Sequence[RowWord] | None:
        """What became of each row; None while Engage is at it, has no such batch, or says it in words that are none.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        await pace()
        answer = await self._client.bulk_status(vendor_id)
        if answer.status < _REDIRECT:  # with errors in it that are not the answer's own
            return read_status(answer.json(), size, self._figure)
        raise_unless_answered(answer)
        return None


class VoyadoBulkChanges(_Calls):
    """Changes several contacts by one call.

    Args:
        client: the tenant.
        settings: its table; `member_key` is known.
    """

    def __init__(self, client: VoyadoClient, settings: VoyadoSettings) -> None:
        super().__init__(client, settings, post=client.update_contacts, figure="updated")

    def key_of(self, there: ContactThere, changed: Sequence[Identifier]) -> str | None:
        """The contact's key of its type; None where it shows none, or that is what changes.

        And where that key may be somebody else's: a key is one person's among approved contacts of the members' type.
        """
        name, ours = self._settings.member_key, self._settings.contact_type.casefold()
        if not there.approved or there.contact_type.casefold() not in ("", ours):
            return None
        return None if any(one.type == name for one in changed) else there.values.get(name)

    def row(self, key: str, contact: NewContact, identifiers: Sequence[Identifier]) -> bytes:
        """What is given, under that key."""
        settings = self._settings
        return render_bulk_change(settings.member_key, key, contact, identifiers, source=settings.source)


class VoyadoBulk(_Calls):
    """Makes several contacts by one call.

    Args:
        client: the tenant.
        settings: its table; `member_key` is known.
        people: asks who somebody is.
    """

    def __init__(self, client: VoyadoClient, settings: VoyadoSettings, people: VoyadoPeople) -> None:
        super().__init__(client, settings, post=client.create_contacts, figure="created")
        self._people = people

    def key_of(self, made: Enrolment) -> Identifier | None:
        """What of a contact is the key of its type; None where it has none, or is to be of another type."""
        if made.contact is None or (made.contact.contact_type or self._settings.contact_type) != (
            self._settings.contact_type
        ):
            return None
        return next((one for one in _names(made) if one.type == self._settings.member_key), None)

    def row(self, made: Enrolment, *, store_id: str) -> bytes:
        """The contact as `POST /contacts` takes it, and the store as an attribute: the call has no parameter for it."""
        contact, settings = made.contact or NewContact(), self._settings
        contact = contact.model_copy(update={"attributes": {**contact.attributes, "createdInStore": store_id}})
        return render_contact(contact, _names(made), contact_type=settings.contact_type, source=settings.source)

    async def find(self, made: Enrolment, *, sure: bool, timeout_s: float, pace: Pace) -> Found | None:
        """Whom a call has made: by this till's own number where `customKey` is that, else by the key of the type.

        One call where Engage says that it made them: the only contact with their key is theirs, and its id ties a
        sale. Else the contact is looked at, and is theirs if it has this till's number.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        by_number = self._settings.custom_key == "external_id"
        name = made.own_key.identifier if by_number else self.key_of(made)
        if name is None:
            return None
        await pace()
        contact_id = await self._people.contact_id(name, timeout_s=timeout_s)
        if contact_id is None:
            return None
        if by_number or sure:
            key = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value=contact_id)
            return Found(Outcome.MATCHED, key, contact_id)
        await pace()
        contact = await self._client.contact(contact_id, timeout_s=timeout_s)
        attributes = contact.get("attributes") if contact is not None else None
        if contact is None or not isinstance(attributes, Mapping):
            return None
        return self._people.match(contact_id, contact) if attributes.get("externalId") == made.own_key.value else None


def _names(made: Enrolment) -> tuple[Identifier, ...]:
    return (*made.identifiers, made.own_key.identifier)


def _batch_id(answer: Answer) -> str:
    """The batch id that an answer is: a JSON string. Raises VendorUnreachableError: it may be there, without a name."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _MAX_ID_CHARS:
        return value
    raise VendorUnreachableError("answered a bulk call without a batch id", maybe_received=True)


def read_status(body: Any, size: int, figure: str) -> Sequence[RowWord] | None:
    """What a status says of each row; None while it is not over.

    Nothing is taken for done unless all of it fits: as many rows as there are, as many errors as failed, each at a
    place of its own.

    Args:
        body: the parsed answer.
        size: rows of the call.
        figure: what it counts them as, once they are done: ``created``, ``updated``.
    """
    if not isinstance(body, Mapping) or str(body.get("status")).casefold() not in _OVER:
        return None
    at_fault = _at_fault(body.get("errors"), size)
    figures = body.get("total"), body.get(figure), body.get("failed")
    if at_fault is None or figures != (size, size - len(at_fault), len(at_fault)):
        return [RowWord(made=False)] * size
    return [at_fault.get(place, RowWord(made=True)) for place in range(size)]


def _at_fault(errors: Any, size: int) -> Mapping[int, RowWord] | None:
    """The rows that errors are about, by their places; None where that cannot be told of each."""
    found: dict[int, RowWord] = {}
    if not isinstance(errors, list):
        return None
    for error in errors:
        if not isinstance(error, Mapping):
            return None
        place = error.get("index")
        if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < size or place in found:
            return None
        key = error.get("key")
        found[place] = RowWord(made=False, key=key if isinstance(key, str) else None)
    return found
