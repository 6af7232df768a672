"""Whom a sale or an activity names: everything that it says of people, read as this store reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent.domain.enrolment import identifiers_of, is_of_series, respelled
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.tagging import TaggingPolicy
from agent.domain.transaction import IdentifierStatement, IntegrationKey, NewContact, OpenTransaction
from agent.errors import Fault, IdentifierInvalidError
from agent.ports import Clock
from agent.services.contacts import Newcomers

Misnamed = Callable[[NewContact], Sequence[Fault]]
"""What of a contact stands among its free attributes and is none, each with where it stands."""


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a sale names.

    Attributes:
        stated: what the till says is the integration key.
        named: what decides the tag: the identifier, else the new contact's own.
        all: what the vendor is asked for at delivery: the new contact's identifiers too, lest one is made twice.
        contact: the new contact with its identifiers in one form, so that another spelling is the same content.
        number: what is stated, where it is one of this till's own numbers.
        made_here: it is the number of somebody of whose making there is a record.
    """

    stated: IntegrationKey | None = field(repr=False)
    named: tuple[Identifier, ...] = field(repr=False)
    all: tuple[Identifier, ...] = field(repr=False)
    contact: NewContact | None = field(repr=False)
    number: tuple[Identifier, ...] = field(default=(), repr=False)
    made_here: bool = False


class Names:
    """Reads whom a sale or an activity names.

    Args:
        clock: for the date, which a personal number is judged by.
        normaliser: how this store reads identifiers.
        tagging: which keys may stand on it.
        newcomers: who was made at this till; their numbers may too.
        misnamed: what no new contact may say in its free attributes, by the loyalty system's names; None: anything.
    """

    def __init__(
        self,
        clock: Clock,
        normaliser: Normaliser,
        tagging: TaggingPolicy,
        newcomers: Newcomers | None = None,
        misnamed: Misnamed | None = None,
    ) -> None:
        self._clock, self._normaliser, self._tagging, self._newcomers = clock, normaliser, tagging, newcomers
        self._misnamed = misnamed

    def read(self, sale: OpenTransaction, found: list[Fault]) -> Named:
        """Whom it names; what cannot be read is added to the faults, and the rest means nothing then.

        Args:
            sale: closed or not.
            found: faults of the sale.
        """
        named = self.readings(sale.identifier, found)
        stated = self.key(sale.integration_key, found)
        number, made_here = self.own_number(stated), stated is not None and self._is_made_here(stated)
        if number and not made_here:
            named = number
        enrolled = self._enrolled(sale.new_contact, found)
        if not enrolled:
            return Named(stated, named, named, sale.new_contact, number, made_here)
        own = (stated.identifier,) if stated else named
        return Named(
            stated,
            named or (() if stated else enrolled),
            tuple(dict.fromkeys((*own, *enrolled))),
            respelled(sale.new_contact, enrolled) if sale.new_contact is not None else None,
            number,
            made_here,
        )

    def readings(self, statement: IdentifierStatement | None, found: list[Fault]) -> tuple[Identifier, ...]:
        """What an identifier can be; none where there is none. Faults as with :meth:`read`."""
        if statement is None:
            return ()
        today = self._clock.today()
        try:
            if statement.type == "any":
                return self._normaliser.readings(statement.value, today=today)
            return (self._normaliser.normalise(IdentifierType(statement.type), statement.value, today=today),)
        except IdentifierInvalidError as error:
            found.extend(error.faults)
            return ()

    def _enrolled(self, contact: NewContact | None, found: list[Fault]) -> tuple[Identifier, ...]:
        """The identifiers of the customer who may not be a member yet."""
        if contact is None:
            return ()
        readings, faults = identifiers_of(contact, self._normaliser, today=self._clock.today(), root="/new_contact")
        found += faults
        misnamed = self._misnamed(contact) if self._misnamed is not None else ()
        found += [Fault(f"/new_contact{fault.pointer}", fault.message) for fault in misnamed]
        return readings

    def key(self, key: IntegrationKey | None, found: list[Fault]) -> IntegrationKey | None:
        """A stated key in one form; None where there is none. Faults as with :meth:`read`."""
        if key is None:
            return None
        try:
            identifier = self._normaliser.normalise(key.type, key.value, today=self._clock.today())
        except IdentifierInvalidError as error:
            found.append(Fault("/integration_key/value", error.reason))
            return None
        tagging = self._tagging
        if key.kind == "secondary" and key.type not in tagging.secondary:
            found.append(Fault("/integration_key/type", "is not one of loyalty.secondary_keys"))
        stated = key.model_copy(update={"value": identifier.value})
        ours = key.type in (tagging.primary, IdentifierType.CONTACT_ID) or self.own_number(stated)
        if key.kind == "primary" and not ours:
            found.append(Fault("/integration_key/type", "is neither loyalty.primary_key nor contact_id"))
        return stated

    def own_number(self, key: IntegrationKey | None) -> tuple[Identifier, ...]:
        """The key as an identifier, if it is a number that this till gave, whatever became of whoever had it."""
        if key is None or key.kind != "primary" or key.type is not IdentifierType.EXTERNAL_ID:
            return ()
        # Where external ids are the primary key anyway, only who is on record is told apart from others.
        given_here = key.type is not self._tagging.primary and is_of_series(key.value, self._tagging.series)
        return (key.identifier,) if given_here or self._is_made_here(key) else ()

    def _is_made_here(self, key: IntegrationKey) -> bool:
        number = key.kind == "primary" and key.type is IdentifierType.EXTERNAL_ID
        return number and self._newcomers is not None and bool(self._newcomers.find((key.identifier,)))
