"""What Engage calls a contact's attributes, and how a row of them becomes a change.

The XML export and the API spell the same contact differently; both are brought here to one row of texts under our
own names, and from there to a :class:`ContactChange`. Nothing in here reads a file or a network.

=====================  ==================================================  ==========================================
ours                   Engage's (case, dots and underscores do not count)  source
=====================  ==================================================  ==========================================
contact_id             contactId; `id` of an API contact                   contact field definitions; swagger v2
member_number          memberNumber                                        contact field definitions
external_id            externalId                                          contact field definitions
card_number            cardNumber, cardId                                  receipt `matchKeyType` CardId
mobile_phone           mobilePhone                                         contact field definitions
email                  email                                               contact field definitions
personal_number        socialSecurityNumber                                contact field definitions
birth_date             birthDay                                            contact field definitions
language               language, lang                                      contact; contact overview
accepts_email, …       acceptsEmail or AcceptsEmails, …                    contact overview; contact
secrecy_marked         secrecyMarked                                       contact overview
any other              the same words: member_level is memberLevel         attributes are the tenant's configuration
=====================  ==================================================  ==========================================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from agent.domain.contact import WITHHELD, ChangeKind, ContactChange
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.revision import ConsentThere, ContactThere
from agent.errors import IdentifierInvalidError

CONTACT_TYPE = "contact_type"
SECRECY_MARKED = "secrecy_marked"

_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "accepts_email": ("acceptsEmail", "acceptsEmails"),
    "accepts_postal": ("acceptsPostal", "acceptsPostals"),
    "accepts_sms": ("acceptsSms",),
    "birth_date": ("birthDay",),
    "language": ("language", "lang"),
    IdentifierType.CARD_NUMBER: ("cardNumber", "cardId"),
    IdentifierType.PERSONAL_NUMBER: ("socialSecurityNumber",),
}
_ADDRESS = frozenset(
    {
        *("address", "street", "street2", "careof", "zipcode", "postalcode", "city"),
        *("county", "region", "state", "country", "countrycode"),
    }
)
_IDENTIFIERS: Mapping[str, IdentifierType] = {kind: kind for kind in IdentifierType}
_NOT_MARKED = frozenset({"", "0", "false", "no"})

# A value that already has the one form is taken as it is; the normaliser would answer the same, in ten times the time.
_NEVER = re.compile(r"(?!)").fullmatch
_ALREADY_NORMAL = {
    IdentifierType.CONTACT_ID: re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch,
    IdentifierType.MEMBER_NUMBER: re.compile(r"[0-9A-Za-z]{1,64}").fullmatch,
    IdentifierType.EXTERNAL_ID: re.compile(r"[!-~]{1,254}").fullmatch,
    IdentifierType.CARD_NUMBER: re.compile(r"[0-9A-Za-z]{4,64}").fullmatch,
    IdentifierType.EMAIL: re.compile(
        r"[0-9a-z._+-]{1,64}@(?:[0-9a-z]{1,30}(?:-[0-9a-z]{1,30})?\.){1,2}[a-z]{2,30}"
    ).fullmatch,
    IdentifierType.MOBILE_PHONE: _NEVER,  # how many digits a number has depends on its country
    IdentifierType.PERSONAL_NUMBER: _NEVER,  # its date and check digit are always computed
}


def canonical(name: str) -> str:
    """An attribute name without case and punctuation: `memberLevel`, `MEMBER_LEVEL` and `member.level` are one."""
    return "".join(filter(str.isalnum, name.casefold()))


def names_of(ours: Iterable[str]) -> dict[str, str]:
    """Our name for each of Engage's that is wanted, by its :func:`canonical` form; protection is always wanted."""
    return {canonical(theirs): name for name in (*ours, SECRECY_MARKED) for theirs in _SPELLINGS.get(name, (name,))}


@dataclass(frozen=True, slots=True)
class ContactMapping:
    """How this store reads a contact of its tenant. Picklable.

    Args:
        normaliser: brings identifiers to one form.
        contact_type: the type whose contacts are members; rows of another type are left out.
        primary_key: the type of the configured primary integration key.
        fields: the fields to keep beside the identifiers, by our names, such as ``first_name``; everything else is
            never taken out of the row.
    """

    normaliser: Normaliser
    contact_type: str = "Member"
    primary_key: IdentifierType = IdentifierType.MEMBER_NUMBER
    fields: tuple[str, ...] = ()

    def names(self) -> dict[str, str]:
        """Our name for each of Engage's that is wanted, by its :func:`canonical` form."""
        return names_of((*IdentifierType, CONTACT_TYPE, *self.fields))


@dataclass(slots=True)
class ReadReport:
    """What was left out while reading, in figures only.

    Attributes:
        rows: contacts seen.
        other_type: of them, not of the configured contact type.
        keyless: of them, without any key they could be kept under.
        unusable: identifiers that cannot be of their type, by type; each was taken as cleared.
        ignored: elements around the contacts that mean nothing here.
    """

    rows: int = 0
    other_type: int = 0
    keyless: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    ignored: int = 0


class RowReader:
    """Turns rows into changes, and counts what it leaves out in ``report``.

    Args:
        mapping: how contacts are read.
        today: the store's date, for ten-digit personal numbers.
    """

    def __init__(self, mapping: ContactMapping, today: date) -> None:
        self.report = ReadReport()
        self._normaliser = mapping.normaliser
        self._today = today
        self._contact_type = mapping.contact_type.casefold()
        self._primary_key = mapping.primary_key
        self._kept = frozenset(mapping.fields)
        self._address = _addresses(mapping.fields)

    def change(self, row: Mapping[str, str | None], kind: ChangeKind, *, full_row: bool) -> ContactChange | None:
        """The change a row means, or None when it is left out.

        An identifier that cannot be of its type counts as cleared: the old value is no longer the vendor's, and one
        customer's mistyped number must not hold up everybody else's changes. A contact id is never cleared: it is
        what the row is about. Of a contact with protected identity no address is kept, also when a later row brings
        one without saying whether the identity is still protected.

        Args:
            row: texts as exported, by the names of :meth:`ContactMapping.names`; None or blank is a cleared value.
            kind: what happened to the contact.
            full_row: whether what is absent is cleared too.
        """
        self.report.rows += 1
        if CONTACT_TYPE in row and self.is_other_type(row):
            self.report.other_type += 1
            return None
        identifiers, fields = self._values(row)
        if not identifiers.get(IdentifierType.CONTACT_ID):
            identifiers.pop(IdentifierType.CONTACT_ID, None)
            if kind is ChangeKind.UPSERT and not identifiers.get(self._primary_key):
                self.report.keyless += 1
                return None
        if kind is ChangeKind.DELETE:
            return self._delete(identifiers)
        if not self._address or SECRECY_MARKED not in row:
            return ContactChange(kind, identifiers, fields, full_row)
        if is_marked(row):
            return ContactChange(kind, identifiers, fields | dict.fromkeys(self._address, WITHHELD), full_row)
        return ContactChange(kind, identifiers, fields, full_row, lifted=True)

    def is_other_type(self, row: Mapping[str, str | None]) -> bool:
        """Whether the row says that it is of another contact type; a row that says nothing is not."""
        stated = (row.get(CONTACT_TYPE) or "").strip()
        return bool(stated) and stated.casefold() != self._contact_type

    def _values(self, row: Mapping[str, str | None]) -> tuple[dict[IdentifierType, str | None], dict[str, str | None]]:
        identifiers: dict[IdentifierType, str | None] = {}
        fields: dict[str, str | None] = {}
        for name, text in row.items():
            value = (text and text.strip()) or None
            kind = _IDENTIFIERS.get(name)
            if kind is not None:
                if value and not _ALREADY_NORMAL[kind](value):
                    value = self._normalised(kind, value)
                identifiers[kind] = value
            if name in self._kept:
                fields[name] = value
        return identifiers, fields

    def _normalised(self, kind: IdentifierType, value: str) -> str | None:
        try:
            return self._normaliser.normalise(kind, value, today=self._today).value
        except IdentifierInvalidError:
            self.report.unusable[kind] += 1
            return None

    def _delete(self, identifiers: Mapping[IdentifierType, str | None]) -> ContactChange | None:
        named = {kind: value for kind, value in identifiers.items() if value}
        if not named:
            self.report.keyless += 1
            return None
        return ContactChange(ChangeKind.DELETE, named)


def _addresses(fields: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in fields if canonical(name) in _ADDRESS)


def kept_of(contact: Mapping[str, Any], fields: Sequence[str]) -> dict[str, str | None]:
    """The configured fields of an API contact; of one with protected identity no address.

    Raises:
        ValueError: it has not the shape of a contact.
    """
    row = json_row(contact, names_of(fields))
    kept = {name: (row.get(name) or "").strip() or None for name in fields}
    if is_marked(row):
        kept.update(dict.fromkeys(_addresses(fields)))
    return kept


_PREFERENCES = ("accepts_email", "accepts_postal", "accepts_sms")
_WRITTEN = (
    *("first_name", "last_name", "mobile_phone", "email", "personal_number", "birth_date"),
    *("street", "zip_code", "city", "country_code", "language"),
)
_MODIFIED, _APPROVED = "modified_on", "approved"
_NUMBERS = (IdentifierType.MEMBER_NUMBER, IdentifierType.EXTERNAL_ID)


def there_of(contact_id: str, contact: Mapping[str, Any]) -> ContactThere:
    """An API contact, as far as a change can meet it. Times without an offset are taken for UTC [assumed].

    Raises:
        ValueError: it has not the shape of a contact.
    """
    numbers = [kind.value for kind in _NUMBERS]
    row = json_row(contact, names_of((*_WRITTEN, *_PREFERENCES, _MODIFIED, _APPROVED, CONTACT_TYPE, *numbers)))
    rows = contact.get("consents")
    consents = {}
    for consent in rows if isinstance(rows, list) else ():
        if (
            isinstance(consent, Mapping)
            and isinstance(consent.get("id"), str)
            and isinstance(consent.get("value"), bool)
        ):
            consents[consent["id"]] = ConsentThere(consent["value"], _instant(consent.get("date")))
    return ContactThere(
        contact_id=contact_id,
        values={name: value for name in _WRITTEN if (value := row.get(name))},
        preferences={name: row[name] == "true" for name in _PREFERENCES if row.get(name) in ("true", "false")},
        consents=consents,
        modified_at=_instant(row.get(_MODIFIED)),
        contact_type=(row.get(CONTACT_TYPE) or "").strip(),
        approved=(row.get(_APPROVED) or "").strip().casefold() != "false",
        numbers=tuple(Identifier(kind, value) for kind in _NUMBERS if (value := (row.get(kind.value) or "").strip())),
    )


def _instant(value: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


def is_marked(row: Mapping[str, str | None]) -> bool:
    """Whether the contact's identity is protected; what is not plainly a no is a yes."""
    return (row.get(SECRECY_MARKED) or "").strip().casefold() not in _NOT_MARKED


def json_row(contact: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str | None]:
    """The row in an API contact: `id`, `meta`, `preferences` and `attributes`, the last winning over the others.

    Args:
        contact: the parsed body of `GET /contacts/{contactId}`.
        names: see :meth:`ContactMapping.names`.

    Raises:
        ValueError: it has not the shape of a contact.
    """
    row: dict[str, str | None] = {}
    for part in ("meta", "preferences", "attributes"):
        values = contact.get(part) or {}
        if not isinstance(values, Mapping):
            raise ValueError(f"{part} is not an object")  # noqa: TRY004 - the caller's one question is whether it fits
        for theirs, value in values.items():
            name = names.get(canonical(str(theirs)))
            if name is not None and not isinstance(value, (Mapping, list)):
                row[name] = _text(value)
    if isinstance(contact.get("id"), str):
        row[IdentifierType.CONTACT_ID] = contact["id"]
    return row


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
