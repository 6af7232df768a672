"""Whose something is: the one person whom a request is about, and what is theirs wherever it lies.

Whom a request is about is never guessed: where several people share the identifier, the caller is told to name the
person by what is theirs alone. What lies under a key that somebody else has too is theirs or not by the rules of
:mod:`agent.domain.belonging`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Protocol

from agent.domain.belonging import Redeemed, Trace, Wanted, belonging, redeemers
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey
from agent.errors import AmbiguousPersonError
from agent.ports import Identity, Person, Removed


class Contacts(Protocol):
    """The replica: who is who."""

    def persons(self, readings: Sequence[Identifier]) -> tuple[Person, ...]:
        """Everybody whom any of the readings names."""

    def identity_of(self, readings: Sequence[Identifier]) -> Identity | None:
        """What a stranger would be recognised by, were they to come: only if one reading says who it is."""

    def keys_of(self, readings: Sequence[Identifier]) -> frozenset[bytes]:
        """The keyed hashes of the readings."""

    def there(self, refs: Iterable[str]) -> frozenset[str]:
        """Those of the handles behind which somebody is."""


class Sales(Protocol):
    """The outbox: sales, and activities among them."""

    async def traces(self, wanted: Wanted) -> list[Trace]:
        """What the sales say of whose they are."""


class Redemptions(Protocol):
    """What was used up for sales."""

    async def redeemed(self) -> Sequence[Redeemed]:
        """What each whose person is remembered says of whose it is."""


class Enrolments(Protocol):
    """Contacts made at this till."""

    def marks_of(self, marks: Iterable[bytes]) -> tuple[frozenset[bytes], frozenset[str]]:
        """Everything else that names whoever is named by one of these keyed hashes: hashes, and handles."""

    def key_of(self, marks: Iterable[bytes]) -> IntegrationKey | None:
        """The vendor's key of the one whom these name; None where it has none yet, or nobody can tell whose it is."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a request is about.

    Attributes:
        readings: what the request calls them.
        person: who that is in the replica; None where nobody is known.
        identity: what they are recognised by, or would be if they came; None where nobody can say.
        wanted: what to look for.
    """

    readings: tuple[Identifier, ...]
    person: Person | None
    identity: Identity | None
    wanted: Wanted

    @property
    def own(self) -> Wanted:
        """What to look for, without the keys that somebody else has too."""
        shared = self.person.shared if self.person else frozenset()
        return replace(self.wanted, keys={key: at for key, at in self.wanted.keys.items() if key not in shared})


class Whose:
    """Looks for people, and for what is theirs.

    Args:
        contacts: the replica.
        sales: the outbox.
        redemptions: what was used up for sales.
        enrolments: contacts made at this till.
    """

    def __init__(self, *, contacts: Contacts, sales: Sales, redemptions: Redemptions, enrolments: Enrolments) -> None:
        self._contacts, self._sales = contacts, sales
        self._redemptions, self._enrolments = redemptions, enrolments

    def subject(self, readings: tuple[Identifier, ...]) -> Subject:
        """Whom the readings name. Raises AmbiguousPersonError: several people share them."""
        person, identity = self._who(readings)
        keys = self._contacts.keys_of(readings) | frozenset(person.keys.values() if person else ())
        refs = frozenset((identity.ref,) if identity else ())
        numbers = self._contacts.keys_of([one for one in readings if one.type is IdentifierType.EXTERNAL_ID])
        by_number = bool(self._enrolments.marks_of(numbers)[1])  # of this till's series, and nobody else's
        wanted = self._with_newcomers(refs, dict.fromkeys(keys), known=person is not None or by_number)
        return Subject(readings, person, identity, wanted)

    def removed(self, removed: Collection[Removed]) -> Wanted:
        """What to look for of those whom the feed has removed."""
        refs = frozenset(one.identity.ref for one in removed)
        keys = {key: one.at for one in sorted(removed, key=lambda one: one.at) for key in one.keys}
        return self._with_newcomers(refs, keys, known=True)

    def key(self, subject: Subject) -> IntegrationKey | None:
        """The key that they go by at the loyalty system."""
        return subject.person.member.key if subject.person else self._enrolments.key_of(subject.wanted.keys)

    def marks(self, subject: Subject) -> frozenset[bytes]:
        """What they would be known by if they were erased before.

        A member's number may have been another's before; of whom nobody knows every reading is asked for.
        """
        marks = frozenset((subject.identity.mark,) if subject.identity else ())
        return marks if subject.person else marks | self._contacts.keys_of(subject.readings)

    def named(self, identifier: Identifier, wanted: Wanted) -> bool:
        """Whether an identifier names them."""
        return not self._contacts.keys_of((identifier,)).isdisjoint(wanted.keys)

    async def sales(self, wanted: Wanted) -> frozenset[int]:
        """The entries of the sales, and activities, that are theirs."""
        return self._theirs(await self._sales.traces(wanted), wanted)

    async def transaction_ids(self, wanted: Wanted) -> frozenset[str]:
        """What the till calls the sales that are theirs."""
        traces = await self._sales.traces(wanted)
        theirs = self._theirs(traces, wanted)
        return frozenset(trace.transaction_id for trace in traces if trace.sale in theirs)

    async def redeemed(self, wanted: Wanted) -> tuple[Redeemed, ...]:
        """The redemptions that are theirs. Raises AmbiguousPersonError: they are of several people."""
        redeemed = await self._redemptions.redeemed()
        others = self._contacts.there({one.ref for one in redeemed} - wanted.refs)
        people = redeemers(redeemed, wanted, others)
        if len(people) > 1:
            raise AmbiguousPersonError
        return tuple(chain.from_iterable(people))

    def _who(self, readings: Sequence[Identifier]) -> tuple[Person | None, Identity | None]:
        """Whom the readings name, and who they would be as a contact if nobody knows them."""
        persons = self._contacts.persons(readings)
        made = self._enrolments.key_of(self._contacts.keys_of(readings)) if not persons else None
        if made is not None:  # a number that the till was told of, and the feed not yet
            persons = self._contacts.persons((made.identifier,))
        if len(persons) > 1:
            raise AmbiguousPersonError
        if persons:
            return persons[0], persons[0].identity
        identity = self._contacts.identity_of(readings)
        if identity is None and made is not None:
            identity = self._contacts.identity_of((made.identifier,))  # the feed may be about to bring them
        return None, identity

    def _with_newcomers(self, refs: frozenset[str], keys: Mapping[bytes, datetime | None], *, known: bool) -> Wanted:
        """Whom to look for, with all that a contact made here is known by: its sales may have its number alone.

        Whom the loyalty system has not been given yet may be somebody there all the same, who was named by the same:
        then what they gave is not theirs alone.
        """
        more, known = dict(keys), known or self._enrolments.key_of(keys) is not None
        for key, at in keys.items():
            marks, others = self._enrolments.marks_of((key,))
            refs |= others
            more = {**dict.fromkeys(marks, at), **more}
        return Wanted(refs, more, known=known)

    def _theirs(self, traces: Collection[Trace], wanted: Wanted) -> frozenset[int]:
        others = self._contacts.there({trace.ref for trace in traces if trace.ref} - wanted.refs)
        return belonging(traces, wanted, others)


def as_one(wanted: Wanted, redeemed: Sequence[Redeemed]) -> Wanted:
    """Whom we look for, now that it is known whose these are."""
    own = dict.fromkeys(chain.from_iterable(one.own for one in redeemed))
    return replace(wanted, keys={**own, **wanted.keys}, known=wanted.known or bool(own))
