"""What a tenant remembers: its contacts with their indexes, what changed, its stores and its integration log.

Only bookkeeping lives here. Which request may do what, and what it is answered, is decided in the rooms beside it.
"""

import random
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from agent.connectors.voyado.simulator.clock import TenantClock
from agent.connectors.voyado.simulator.formats import fold
from agent.connectors.voyado.simulator.keys import ApiKey
from agent.connectors.voyado.simulator.records import (
    KEY_FIELDS,
    PREFERENCES,
    STANDARD_ATTRIBUTES,
    Change,
    Contact,
    Kind,
    LogEntry,
    Pending,
)
from agent.connectors.voyado.simulator.settings import SimulatorSettings

RESTORE_WINDOW = timedelta(days=7)
FIRST_MEMBER_NUMBER = 10_000_000
_OWN = frozenset({"memberNumber", "rfm", "age"})  # assigned or computed by Engage, ignored in a write
_NEUTRAL = ("memberNumber", "createdInStore", "store")  # what a purged contact may keep: it identifies nobody


class State:
    """The tenant's memory.

    Args:
        settings: Replaced as a whole when a knob is turned.
        clock: The tenant's time.
        rng: Source of ids.
    """

    def __init__(self, settings: SimulatorSettings, clock: TenantClock, rng: random.Random) -> None:
        self.settings = settings
        self.clock = clock
        self.rng = rng
        self.contacts: dict[str, Contact] = {}
        self.changes: list[Change] = []
        self.pending: dict[str, Pending] = {}
        self.being_created: set[tuple[str, str]] = set()
        self.keys = {key: ApiKey(name=f"key-{place}") for place, key in enumerate(settings.api_keys, 1)}
        self.stores: dict[str, dict[str, Any]] = {}
        self.consents: list[dict[str, Any]] = [_MEMBER_TERMS]
        self.log: list[LogEntry] = []
        self.next_member_number = FIRST_MEMBER_NUMBER
        self.point_definition_id = self.new_id()
        self._requests = 0
        self._index: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in KEY_FIELDS}
        self._deleted: dict[str, datetime] = {}
        for external_id in settings.stores:
            self.open_store(external_id, {"name": f"Store {external_id}"})

    # Contacts

    def new_id(self) -> str:
        """A fresh GUID."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def request_id(self) -> str:
        """A fresh `requestId` for an error body."""
        self._requests += 1
        return f"sim-{self._requests:08d}"

    def take_member_number(self) -> str:
        """The next number of the tenant's series."""
        number = self.next_member_number
        self.next_member_number += 1
        return str(number)

    def live(self, contact_id: str) -> Contact | None:
        """The contact, unless it is unknown or deleted."""
        contact = self.contacts.get(fold("contactId", contact_id, ""))
        return contact if contact is not None and contact.deleted_at is None else None

    def find(self, name: str, value: str, contact_type: str | None = None) -> list[Contact]:
        """Every live contact whose key field holds the value, oldest first."""
        if name == "contactId":
            contact = self.live(value)
            return [contact] if contact else []
        ids = self._index[name].get(fold(name, value, self.settings.calling_code), ())
        found = [self.contacts[contact_id] for contact_id in ids]
        if contact_type is not None:
            found = [contact for contact in found if contact.contact_type == contact_type]
        return sorted(found, key=lambda contact: contact.created_at) if len(found) > 1 else found

    def contact_type(self, name: str) -> str:
        """The tenant's own spelling of a contact type, or the name as given when there is no such type."""
        return next((known for known in self.settings.contact_types if known.lower() == name.lower()), name)

    def members(self) -> Iterable[Contact]:
        """Every live, approved contact of type Member: what an export may contain."""
        return (contact for contact in self.contacts.values() if _exportable(contact))

    def settle(self, people: Iterable[Contact]) -> None:
        """Take in contacts that have long been there: in the change feed, not in the next export."""
        for contact in people:
            self._enter(contact)
            self.changes.append(Change(contact.created_at, "Created", contact.contact_id))
        self.changes.sort(key=lambda change: change.at)

    def add(self, contact: Contact) -> None:
        """Take in a contact created now; the next export carries it as new."""
        self._enter(contact)
        self.changes.append(Change(self.clock.now(), "Created", contact.contact_id))
        self.pending[contact.contact_id] = Pending("new")

    def write(self, contact: Contact, values: Mapping[str, Any], *, export: bool = True) -> set[str]:
        """Set attributes and preferences, and return the names of those that changed.

        Unknown names and Engage's own fields are ignored, an empty value clears, `createdInStore` is never changed once
        set. Nothing is recorded for a write that changes nothing. Without `export` the next export does not hear of it.
        """
        known = {*STANDARD_ATTRIBUTES, *self.settings.custom_attributes, *PREFERENCES} - _OWN
        if contact.attributes.get("createdInStore"):
            known.discard("createdInStore")
        changed = {
            name for name, value in values.items() if name in known and (contact.value(name) or None) != (value or None)
        }
        if changed:
            self._unindex(contact)
            for name in changed:
                if name in PREFERENCES:
                    contact.preferences[name] = bool(values[name])
                elif values[name] in (None, ""):
                    contact.attributes.pop(name, None)
                else:
                    contact.attributes[name] = values[name]
            self._index_keys(contact)
            self.touch(contact, changed, export=export)
        return changed

    def touch(
        self,
        contact: Contact,
        fields: Iterable[str],
        kind: Kind = "updated",
        *,
        export: bool = True,
    ) -> None:
        """Record that fields of a contact changed, for the change feed and the next export."""
        contact.modified_at = self.clock.now()
        self.changes.append(Change(contact.modified_at, "Updated", contact.contact_id))
        if not export:
            return
        pending = self.pending.setdefault(contact.contact_id, Pending(kind))
        if pending.kind == "deleted" or kind == "new":
            pending.kind = kind
        pending.fields.update(fields)

    def number(self, contact: Contact) -> None:
        """Give a contact a number of the member series."""
        self._unindex(contact)
        contact.attributes["memberNumber"] = self.take_member_number()
        self._index_keys(contact)

    def delete(self, contact: Contact) -> None:
        """Hide a contact; for seven days it can be restored."""
        contact.deleted_at = self.clock.now()
        self._deleted[contact.contact_id] = contact.deleted_at
        self._unindex(contact)
        self.changes.append(Change(contact.deleted_at, "Deleted", contact.contact_id))
        waiting = self.pending.pop(contact.contact_id, None)
        if waiting is None or waiting.kind != "new":
            self.pending[contact.contact_id] = Pending("deleted")

    def restore(self, contact_id: str) -> Contact | None:
        """Bring a deleted contact back, or None when there is none within the seven days."""
        if self._deleted.pop(contact_id, None) is None:
            return None
        contact = self.contacts[contact_id]
        contact.deleted_at = None
        self._index_keys(contact)
        self.touch(contact, STANDARD_ATTRIBUTES + PREFERENCES, kind="new")
        return contact

    def next_purge_at(self) -> datetime | None:
        """When the oldest deletion turns final."""
        return next(iter(self._deleted.values())) + RESTORE_WINDOW if self._deleted else None

    def purge(self) -> None:
        """Erase the personal data of contacts whose seven days are over; the id stays."""
        while (due_at := self.next_purge_at()) is not None and due_at <= self.clock.now():
            contact_id = next(iter(self._deleted))
            del self._deleted[contact_id]
            contact = self.contacts[contact_id]
            contact.attributes = {name: contact.attributes[name] for name in _NEUTRAL if name in contact.attributes}
            contact.preferences = {}
            contact.consents = []
            self.note("contact purged", contact_id)

    # Stores and the log

    def open_store(self, external_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Create a store, or change the one with this external id."""
        blank = {
            "name": external_id,
            "externalId": external_id,
            "city": None,
            "countryCode": "SE",
            "type": "RETAIL",
            "active": True,
            "timeZone": "Europe/Stockholm",
        }
        store = self.stores.setdefault(external_id, blank)
        store.update({**fields, "externalId": external_id})
        return store

    def note(self, event: str, reference: str) -> None:
        """Write a line into the Integration log."""
        self.log.append(LogEntry(self.clock.now(), event, reference))

    # Indexes

    def _enter(self, contact: Contact) -> None:
        self.contacts[contact.contact_id] = contact
        self._index_keys(contact)

    def _index_keys(self, contact: Contact) -> None:
        for name in KEY_FIELDS:
            value = contact.attributes.get(name)
            if value:
                key = fold(name, str(value), self.settings.calling_code)
                index = self._index[name]
                index[key] = (*index.get(key, ()), contact.contact_id)

    def _unindex(self, contact: Contact) -> None:
        for name in KEY_FIELDS:
            value = contact.attributes.get(name)
            if value:
                key = fold(name, str(value), self.settings.calling_code)
                rest = tuple(other for other in self._index[name].get(key, ()) if other != contact.contact_id)
                if rest:
                    self._index[name][key] = rest
                else:
                    self._index[name].pop(key, None)


def _exportable(contact: Contact) -> bool:
    return contact.deleted_at is None and contact.approved and contact.contact_type == "Member"


_MEMBER_TERMS = {
    "id": "memberTerms",
    "name": "Member terms",
    "metaData": {
        "displayText": {"sv-SE": "Jag godkänner medlemsvillkoren", "en-GB": "I accept the member terms"},
        "linkText": {"sv-SE": "Läs villkoren", "en-GB": "Read the terms"},
        "conditionText": {"sv-SE": "<p>Villkor.</p>", "en-GB": "<p>Terms.</p>"},
    },
}
