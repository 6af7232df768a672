"""What Engage allows to be asked about contacts and done to them: look-up, create, update, change of type, bulk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from agent.connectors.voyado.simulator.formats import fold
from agent.connectors.voyado.simulator.records import PREFERENCES, STANDARD_ATTRIBUTES, Contact
from agent.connectors.voyado.simulator.refusal import Refusal
from agent.connectors.voyado.simulator.state import State
from agent.connectors.voyado.simulator.values import find_errors, flatten, has_format, normalise

_LOOKUP_FIELDS = {
    "email": "InvalidEmailAddress",
    "socialSecurityNumber": "InvalidSocialSecurityNumber",
    "mobilePhone": "InvalidPhoneNumber",
}
_CHANGE_TYPES = ("Created", "Updated", "Deleted")


def look_up(state: State, query: Mapping[str, str]) -> Contact:
    """The one contact that a `/contacts/id` query describes.

    `any` takes the first of e-mail, personal number, phone and custom key whose format accepts the value, and stops
    there even when nothing matches.

    Raises:
        Refusal: With the statuses and code names of the look-up page.
    """
    contact_type = query.get("contactType")
    if contact_type is not None:
        contact_type = known_type(state, contact_type)
    wanted: list[tuple[str, str]] = []
    if value := query.get("any"):
        name = next((name for name in _LOOKUP_FIELDS if has_format(state, name, value)), None)
        wanted.append((name or _custom_key(state), value))
    for name, code in _LOOKUP_FIELDS.items():
        if value := query.get(name):
            if not has_format(state, name, value):
                raise Refusal(400, code)
            wanted.append((name, value))
    if value := query.get("customKey"):
        wanted.append((_custom_key(state), value))
    if not wanted:
        raise Refusal(400, "InvalidSearchQuery")
    hits = [{contact.contact_id: contact for contact in state.find(*pair, contact_type)} for pair in wanted]
    found = [contact for contact_id, contact in hits[0].items() if all(contact_id in others for others in hits[1:])]
    return only(found)


def only(found: Sequence[Contact]) -> Contact:
    """The single contact found.

    Raises:
        Refusal: 404 when there is none, 409 with the ids when there are several.
    """
    if not found:
        raise Refusal(404, "ContactNotFound")
    if len(found) > 1:
        raise Refusal(
            409,
            "MultipleMatches",
            details={"multipleMatchesFound": [contact.contact_id for contact in found]},
        )
    return found[0]


def by_type_key(state: State, contact_type: str, value: str) -> Contact:
    """The contact of this type whose key, as the tenant configured it, has the value."""
    name = known_type(state, contact_type)
    return only(state.find(state.settings.contact_types[name], value, name))


def known_type(state: State, name: str) -> str:
    """The tenant's spelling of a contact type.

    Raises:
        Refusal: 400 when the tenant has no such type.
    """
    known = state.contact_type(name)
    if known not in state.settings.contact_types:
        raise Refusal(400, "InvalidContactType")
    return known


def _custom_key(state: State) -> str:
    if state.settings.custom_key is None:
        raise Refusal(500, "InvalidSystemConfiguration")
    return state.settings.custom_key


# Creating


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A create request that has passed its checks and reserved its key."""

    contact_type: str
    values: Mapping[str, Any]
    consents: Sequence[Mapping[str, Any]]
    source: str | None
    approved: bool
    reserved: tuple[str, str]


def begin_create(
    state: State,
    body: Any,
    *,
    source: str | None,
    store: str | None,
    approved: bool,
) -> Draft | Contact:
    """Check a create request and reserve its key until `finish_create` or `abandon_create`.

    Returns:
        The draft; or the contact that has the key already, where the tenant answers with that one.

    Raises:
        Refusal: 400 without data or with an unknown type, 409 for a key taken or being taken, 422 for a wrong field.
    """
    if not isinstance(body, dict) or not body:
        raise Refusal(400, "NoData")
    contact_type = known_type(state, str(body.get("contactType") or "Member"))
    values = flatten(body)
    errors = find_errors(state, values, body.get("consents"))
    key = state.settings.contact_types[contact_type]
    if not values.get(key):
        errors.append(f"{key}: required")
    if errors:
        raise Refusal(422, "ValidationError", validation=errors)
    reserved = (contact_type, fold(key, str(values[key]), state.settings.calling_code))
    if reserved in state.being_created:
        raise Refusal(409, "ContactWithKeyIsBeingCreated")
    if taken := [contact for contact in state.find(key, str(values[key]), contact_type) if contact.approved]:
        if state.settings.existing_key == "return":
            return taken[0]
        raise Refusal(409, "ApprovedContactWithKeyExists")
    state.being_created.add(reserved)
    if store:
        values = {**values, "createdInStore": store}
    return Draft(
        contact_type=contact_type,
        values=normalise(state, values),
        consents=body.get("consents") or (),
        source=source,
        approved=approved,
        reserved=reserved,
    )


def abandon_create(state: State, draft: Draft) -> None:
    """Give the reserved key up; nothing was stored."""
    state.being_created.discard(draft.reserved)


def finish_create(state: State, draft: Draft) -> Contact:
    """Store the contact."""
    abandon_create(state, draft)
    known = {*STANDARD_ATTRIBUTES, *state.settings.custom_attributes} - {"memberNumber", "rfm", "age"}
    attributes = {name: value for name, value in draft.values.items() if name in known and value not in (None, "")}
    attributes.setdefault("store", attributes.get("createdInStore"))
    if attributes["store"] is None:
        del attributes["store"]
    if draft.contact_type == "Member":
        attributes["memberNumber"] = state.take_member_number()
    now = state.clock.now()
    contact = Contact(
        contact_id=state.new_id(),
        contact_type=draft.contact_type,
        attributes=attributes,
        preferences={name: bool(draft.values.get(name)) for name in PREFERENCES},
        consents=[],
        source=draft.source,
        created_at=now,
        modified_at=now,
        approved=draft.approved,
    )
    _set_consents(state, contact, draft.consents)
    state.add(contact)
    return contact


# Changing


def update(state: State, contact: Contact, body: Any, *, export: bool = True) -> Contact:
    """Write the attributes that are present; an empty value clears, an unknown name is ignored, the type stays.

    Raises:
        Refusal: 400 without data, 422 for a wrong field, and then nothing is written.
    """
    if not isinstance(body, dict) or not body:
        raise Refusal(400, "NoData")
    values = flatten(body)
    consents = body.get("consents")
    if errors := find_errors(state, values, consents):
        raise Refusal(422, "ValidationError", validation=errors)
    state.write(contact, normalise(state, values), export=export)
    if consents and _set_consents(state, contact, consents):
        state.touch(contact, ["consents"], export=export)
    return contact


def change_type(state: State, contact: Contact, contact_type: str) -> Contact:
    """Make the contact one of another type; a new Member gets a member number and is new to the export."""
    contact.contact_type = known_type(state, contact_type)
    if contact.contact_type == "Member" and "memberNumber" not in contact.attributes:
        state.number(contact)
    state.touch(contact, STANDARD_ATTRIBUTES + PREFERENCES, kind="new")
    return contact


def set_preference(state: State, contact: Contact, name: str, value: bool) -> Contact:  # noqa: FBT001 (the API's own shape)
    """Set one of the accept flags; this approves an unapproved contact."""
    state.write(contact, {name: value})
    if not contact.approved:
        contact.approved = True
        state.touch(contact, STANDARD_ATTRIBUTES + PREFERENCES, kind="new")
    return contact


def changes(state: State, query: Mapping[str, str], parse: Callable[[str], Any]) -> list[str]:
    """Ids of the contacts that were created, updated or deleted within a span, each once, oldest first.

    Raises:
        Refusal: 400 for an unknown type, a span that cannot be read, or more ids than the cap.
    """
    if query.get("changeType") not in _CHANGE_TYPES:
        raise Refusal(400, "InvalidChangeType")
    since = parse(query.get("fromDate", ""))
    until = parse(query["toDate"]) if "toDate" in query else state.clock.now()
    if since is None or until is None:
        raise Refusal(400, "InvalidDate")
    recent = takewhile(lambda change: change.at >= since, reversed(state.changes))
    ids = {change.contact_id: None for change in recent if change.type == query["changeType"] and change.at <= until}
    if len(ids) > state.settings.changes_cap:
        raise Refusal(400, "TooManyChanges")
    return list(reversed(ids))


def _set_consents(state: State, contact: Contact, consents: Sequence[Mapping[str, Any]]) -> bool:
    before = [dict(row) for row in contact.consents]
    for row in consents:
        entry = {
            "id": row["id"],
            "value": row["value"],
            "date": row.get("date") or state.clock.now().isoformat(timespec="seconds"),
            "source": row.get("source"),
            "comment": row.get("comment"),
        }
        contact.consents = [known for known in contact.consents if known["id"] != row["id"]] + [entry]
    return contact.consents != before
