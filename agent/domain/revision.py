"""A change to a contact, given at the till: what may be in it, and who wins where somebody else changed it too. Pure.

The rule, field by field:

* Numbers, type, points and whatever else the loyalty system gives out are its own: a change at the till has none of
  them.
* Of two changes given here the later word counts (:func:`agent.domain.enrolment.over`).
* What a customer says at the till is written over what the loyalty system has: it is their word, and newer than
  anything that was there when they gave it. Where the loyalty system has changed the contact since, and has another
  value, ours is written all the same, and that it was is said.
* A consent withdrawn anywhere wins over one given: of two words about one consent the later counts, and the withdrawal
  where nobody can tell which is later. Ways of contact (preferences) carry no time of their own: one that was
  withdrawn in a contact that has changed since the customer allowed it here is not switched on.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from agent.domain.enrolment import EnrolmentState
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import Consent, IntegrationKey, NewContact, Preferences
from agent.errors import Fault

NOTHING: Final = NewContact()
_NO_PLAIN_FIELDS: Final = frozenset({"contact_type", "preferences", "consents", "attributes"})
_A_SECOND: Final = timedelta(seconds=1)
"""So much earlier than it was, an instant of ours can be by the vendor's clock, of which we hear in whole seconds."""
ADDRESS: Final = frozenset({"street", "zip_code", "city", "country_code"})


@dataclass(frozen=True, slots=True)
class Revision:
    """A change to a contact, as it is on record.

    Attributes:
        number: the record's.
        version: of what is in it; another one once more was given.
        state: ``queued``, ``parked`` or ``delivered``.
        key: the primary key of whose contact it is.
        contact: what is new.
        identifiers: of it, each in its one form.
        accepted_at: when it was given; of several that became one, the first.
        settled_at: when the vendor had it.
        status: the vendor's status when it refused.
        vendor_code: its own name for why.
        bulk: the call in which it went to the vendor together with others; None where it did not, or is settled.
        under_way: the end of that call is not known.
    """

    number: int
    version: int
    state: EnrolmentState
    key: IntegrationKey = field(repr=False)
    contact: NewContact = field(repr=False)
    identifiers: tuple[Identifier, ...] = field(repr=False)
    accepted_at: datetime
    settled_at: datetime | None = None
    status: int | None = None
    vendor_code: str | None = None
    bulk: int | None = None
    under_way: bool = False


@dataclass(frozen=True, slots=True)
class ConsentThere:
    """What the vendor has of one consent.

    Attributes:
        value: given, or withdrawn.
        given_at: when; None where it does not say.
    """

    value: bool
    given_at: datetime | None


@dataclass(frozen=True, slots=True)
class ContactThere:
    """A contact as the vendor has it now.

    Attributes:
        contact_id: its own id.
        values: by our field names, what it has of them.
        preferences: by our names.
        consents: by id.
        modified_at: when anything of it was changed last; None where it does not say.
        contact_type: of which type it says that it is; empty where it says none.
        approved: it does not say that it is not.
        numbers: what else can be somebody's key, as far as it shows them.
    """

    contact_id: str = field(repr=False)
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    preferences: Mapping[str, bool] = field(default_factory=dict, repr=False)
    consents: Mapping[str, ConsentThere] = field(default_factory=dict, repr=False)
    modified_at: datetime | None = None
    contact_type: str = ""
    approved: bool = True
    numbers: tuple[Identifier, ...] = field(default=(), repr=False)

    @property
    def keys(self) -> tuple[IntegrationKey, ...]:
        """Every key under which a change of this contact may have been given."""
        names = (Identifier(IdentifierType.CONTACT_ID, self.contact_id), *self.numbers)
        return tuple(IntegrationKey(kind="primary", type=one.type, value=one.value) for one in names)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What is to be written at the vendor.

    Attributes:
        contact: what of the change is to be written; may be nothing.
        kept_there: names of what is not, because the vendor has a word that counts more.
        overwritten: names of what is written over a value that may be as new.
        there: what of the change the vendor has once that is written; part of it may have been there before, by an
            attempt whose answer was lost.
    """

    contact: NewContact = field(repr=False)
    kept_there: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()
    there: NewContact = field(default=NOTHING, repr=False)


def faults_of_change(contact: NewContact) -> list[Fault]:
    """What a change cannot be: nothing, or of the type of contact, which is the loyalty system's."""
    faults = []
    if contact.contact_type is not None:
        faults.append(Fault("/contact_type", "is not changed at a till"))
    if said_in(contact) == NOTHING and not faults:
        faults.append(Fault("", "changes nothing"))
    return faults


def said_in(contact: NewContact) -> NewContact:
    """The contact without what says nothing: preferences of which none is given, attributes without a value."""
    preferences = contact.preferences if contact.preferences != Preferences() else None
    attributes = {name: value for name, value in contact.attributes.items() if value is not None}
    return contact.model_copy(update={"preferences": preferences, "attributes": attributes})


def without(contact: NewContact, fields: Collection[str]) -> NewContact:
    """The contact without these fields; a name that is none means nothing."""
    return contact.model_copy(update={name: value for name, value in NOTHING if name in fields})


def withdrawn_in(contact: NewContact) -> NewContact:
    """Of what was given, only what was withdrawn or said no to."""
    preferences = {name: value for name, value in contact.preferences or Preferences() if value is False}
    consents = tuple(consent for consent in contact.consents if not consent.value)
    return said_in(NewContact(preferences=Preferences.model_validate(preferences), consents=consents))


def reconciled(contact: NewContact, there: ContactThere, accepted_at: datetime) -> Reconciled:
    """What of a change is to be written over a contact as the vendor has it, by the rule at the head of this module.

    Args:
        contact: the change.
        there: what the vendor has.
        accepted_at: when the change was given.
    """
    changed_since = there.modified_at is not None and there.modified_at > accepted_at
    surely_since = there.modified_at is not None and there.modified_at > accepted_at + _A_SECOND
    kept: list[str] = []
    consents = []
    for consent in contact.consents:
        has = there.consents.get(consent.id)
        if has is None or _counts(consent, has, there.modified_at):
            consents.append(consent)
        elif has.value is not consent.value:
            kept.append(f"consents/{consent.id}")
    allowed: dict[str, bool | None] = {}
    for name, value in contact.preferences or Preferences():
        if value and changed_since and there.preferences.get(name) is False:
            kept.append(f"preferences/{name}")
        else:
            allowed[name] = value
    preferences = Preferences.model_validate(allowed)
    written = contact.model_copy(update={"consents": tuple(consents), "preferences": preferences})
    agreed = tuple(consent for consent in contact.consents if f"consents/{consent.id}" not in kept)
    overwritten = _other_values(contact, there) if surely_since else ()  # else it may be our own last change
    return Reconciled(
        said_in(written), tuple(kept), overwritten, said_in(written.model_copy(update={"consents": agreed}))
    )


def goes_together(contact: NewContact, there: ContactThere, accepted_at: datetime) -> bool:
    """Whether a change may be carried out some time after the contact was read, together with others.

    No word on consents and ways of contact: a yes could come after a withdrawal, and a withdrawal is not to come late.
    Nothing of a contact that was changed since the change was given; and only what can be seen there.

    Args:
        contact: the change.
        there: what the vendor has.
        accepted_at: when the change was given.
    """
    allowed = contact.consents or (contact.preferences or Preferences()) != Preferences()
    changed_since = there.modified_at is None or there.modified_at > accepted_at
    return not (allowed or changed_since or contact.attributes or is_there(contact, there))


def is_there(contact: NewContact, there: ContactThere) -> bool:
    """Whether the vendor has all of a change that may go together with others: plain fields alone."""
    ours = {name: value for name, value in contact if value is not None and name not in _NO_PLAIN_FIELDS}
    return all(_as_told(there.values.get(name, "")) == _as_told(str(value)) for name, value in ours.items())


def _as_told(value: str) -> str:
    return value.strip().casefold()


def _counts(ours: Consent, theirs: ConsentThere, modified_at: datetime | None) -> bool:
    """Whether our word about a consent counts more than the vendor's."""
    at = theirs.given_at or modified_at  # the contact was not changed later than it was changed last
    if at is not None and ours.given_at > at:
        return True
    known = theirs.given_at is not None and theirs.given_at > ours.given_at
    return not ours.value and not known


def _other_values(contact: NewContact, there: ContactThere) -> tuple[str, ...]:
    """The fields in which the vendor has something else, not nothing."""
    ours = {name: str(value) for name, value in contact if value is not None and name not in _NO_PLAIN_FIELDS}
    theirs = {name: _as_told(there.values.get(name, "")) for name in ours}
    return tuple(name for name, value in ours.items() if theirs[name] not in ("", _as_told(value)))


def shown_over(fields: Mapping[str, str | None], contact: NewContact, names: Sequence[str]) -> dict[str, str | None]:
    """What a till is shown of a member, with a change of theirs over what is known.

    An address is only shown over one that is: of people with protected identity none is known, and none is shown.

    Args:
        fields: what is known of them.
        contact: the change.
        names: the fields that a till may be shown.
    """
    preferences = (contact.preferences or Preferences()).model_dump(exclude_none=True)
    said = {**contact.model_dump(mode="json", exclude_none=True), **preferences}
    shown = dict(fields)
    for name in names:
        value = said.get(name)
        if isinstance(value, bool):
            shown[name] = "true" if value else "false"
        elif isinstance(value, str) and (name not in ADDRESS or fields.get(name)):
            shown[name] = value
    return shown
