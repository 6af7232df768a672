"""A contact made at the till: what of it is wrong, the number that it goes by until the vendor has one, its life. Pure.

The number is this till's own. It is given before anybody can be asked, so it can be no vendor's; it travels along when
the contact is made there, as its `external_id`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import Fault, IdentifierInvalidError

_SERIES_BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_CLOCKS_DIFFER: Final = timedelta(days=1)


class EnrolmentState(StrEnum):
    """Where a contact made here stands.

    ``QUEUED``: the vendor does not have it yet, or was not heard. ``PARKED``: the vendor refuses what was given; it
    waits for a person. ``DELIVERED``: the vendor has it, or had the person already.
    """

    QUEUED = "queued"
    PARKED = "parked"
    DELIVERED = "delivered"


class BulkWord(StrEnum):
    """What is known of a contact that went to the vendor together with others.

    ``MADE``: it says that it has made it. ``UNKNOWN``: it did not say what became of it: that is to be looked up.
    """

    MADE = "made"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A contact made here, as it is on record.

    Attributes:
        number: the record's.
        version: of what is in it; another one once something else was given.
        ref: their handle.
        state: where it stands.
        own_key: this till's own number for them.
        key: the vendor's key; None until it has one.
        contact: what was given; None once the vendor has it.
        identifiers: what was given, each in its one form; empty once the vendor has it.
        accepted_at: when it was given.
        status: the vendor's status when it refused.
        vendor_code: its own name for why.
        bulk: the call in which it went to the vendor together with others; None where it did not, or is settled.
        said: what the vendor says of it in that call; None while it is under way.
    """

    number: int
    version: int
    ref: str
    state: EnrolmentState
    own_key: IntegrationKey = field(repr=False)
    key: IntegrationKey | None = field(repr=False)
    contact: NewContact | None = field(repr=False)
    identifiers: tuple[Identifier, ...] = field(repr=False)
    accepted_at: datetime
    status: int | None = None
    vendor_code: str | None = None
    bulk: int | None = None
    said: BulkWord | None = None

    @property
    def under_way(self) -> bool:
        """The vendor has it, or may have it, in a call whose end is not known."""
        return self.bulk is not None and self.said is None

    @property
    def best_key(self) -> IntegrationKey:
        """The vendor's key, and until it has one our own."""
        return self.key or self.own_key


def over(later: NewContact, earlier: NewContact) -> NewContact:
    """What was given at two times as one: field by field the later word, where there is one.

    Preferences go one by one, and so do consents, of which that counts that was given last: a repeat of the first call
    that comes late must not undo a withdrawal. Of two that were given at once the withdrawal counts.
    """
    said = {name: value for name, value in later if value not in (None, (), {})}
    if later.preferences is not None and earlier.preferences is not None:
        answered = {name: value for name, value in later.preferences if value is not None}
        said["preferences"] = earlier.preferences.model_copy(update=answered)
    consents = {consent.id: consent for consent in earlier.consents}
    for consent in later.consents:
        known = consents.get(consent.id)
        if known is None or (consent.given_at, not consent.value) >= (known.given_at, not known.value):
            consents[consent.id] = consent
    said["consents"] = tuple(consents.values())
    said["attributes"] = {**earlier.attributes, **later.attributes}
    return earlier.model_copy(update=said)


def names_over(later: Sequence[Identifier], earlier: Sequence[Identifier]) -> tuple[Identifier, ...]:
    """The identifiers of two times as one: of each type the later."""
    return tuple({one.type: one for one in (*earlier, *later)}.values())


def next_of_series(last: int, now: datetime) -> int:
    """The number to give next: one that no till with this prefix was ever given, whatever became of its records.

    At least as many as there have been seconds since the series began: where the record of the last one was put back
    from an old copy, or lost, the clock alone leads past every number that was given since.

    Args:
        last: the last one on record; 0 when there is none.
        now: by the wall clock; one that is years back leads to the next number on record.
    """
    return max(last + 1, int((now - _SERIES_BEGAN).total_seconds()))


def is_of_series(value: str, prefix: str) -> bool:
    """Whether a till with this prefix gave the number, whatever became of its record."""
    return bool(prefix) and value.startswith(prefix) and value.removeprefix(prefix).isdecimal()


def own_key(prefix: str, number: int) -> IntegrationKey:
    """The integration key of a number of a series."""
    return IntegrationKey(kind="primary", type=IdentifierType.EXTERNAL_ID, value=f"{prefix}{number}")


def identifiers_of(
    contact: NewContact, normaliser: Normaliser, *, today: date, root: str = ""
) -> tuple[tuple[Identifier, ...], list[Fault]]:
    """Each identifier that was given, in its one form; and a fault for each that cannot be one.

    Args:
        contact: what was given.
        normaliser: how this store reads identifiers.
        today: the store's date.
        root: where the contact stands in the body.
    """
    found: list[Identifier] = []
    faults: list[Fault] = []
    for given in contact.identifier_statements():
        try:
            found.append(normaliser.normalise(IdentifierType(given.type), given.value, today=today))
        except IdentifierInvalidError as error:
            faults.append(Fault(f"{root}/{given.type}", error.reason))
    return tuple(found), faults


def faults_of(contact: NewContact, *, now: datetime, today: date) -> list[Fault]:
    """What cannot be right of a contact whose shape is: days and consents that have not come yet.

    Args:
        contact: what was given.
        now: the instant; a till's clock may be some way off it.
        today: the store's date.
    """
    faults = []
    if contact.birth_date is not None and contact.birth_date > today:
        faults.append(Fault("/birth_date", "has not come yet"))
    faults += [
        Fault(f"/consents/{place}/given_at", "has not come yet")
        for place, consent in enumerate(contact.consents)
        if consent.given_at > now + _CLOCKS_DIFFER
    ]
    named = [consent.id for consent in contact.consents]
    faults += [
        Fault(f"/consents/{place}/id", "stands twice") for place, id_ in enumerate(named) if id_ in named[:place]
    ]
    return faults


def attribute_pointer(name: str) -> str:
    """Where a free attribute stands in a contact."""
    return f"/attributes/{name.replace('~', '~0').replace('/', '~1')}"


def respelled(contact: NewContact, identifiers: tuple[Identifier, ...]) -> NewContact:
    """The contact with its identifiers in one form, so that another spelling is the same content."""
    return contact.model_copy(update={identifier.type.value: identifier.value for identifier in identifiers})
