"""What a till was told, and therefore must be so in the end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from e2e.traces import left_in

PEOPLE = (0, 1, 2)
NAMES = ("Zaphira", "Ylvali", "Qvintilla")


@dataclass
class Person:
    """Somebody, since they were erased last.

    Attributes:
        number: which of the people.
        asked: by what they asked to be a member: an answer of the till, or a sale that was not cleared.
        newcomer: the vendor may not have heard of them yet.
        own: the numbers of the till's own series that it was told.
        forgotten: those of them that were erased with whom they were given to.
        may: for each field of theirs, the values of which the vendor must have one in the end.
        waits: the fields of which nobody was told yet that the vendor has them.
        entangled: several have waited at once. What was written of one without being heard has changed the contact: a
            yes to mail that waits beside it is then not switched on, visibly (docs/decisions/0019).
        blurred: they have left the vendor, and the till has not heard of it: what it says of them may go nowhere.
        gone: erased here, and not mentioned since: no byte of theirs is anywhere.
    """

    number: int
    asked: set[str] = field(default_factory=set)
    newcomer: bool = False
    own: list[str] = field(default_factory=list)
    forgotten: tuple[str, ...] = ()
    may: dict[str, set[Any]] = field(default_factory=dict)
    waits: set[str] = field(default_factory=set)
    entangled: bool = False
    blurred: bool = False
    gone: bool = False

    def wait_for(self, fields: Collection[str]) -> None:
        """The vendor is still to hear of these."""
        self.entangled |= bool(self.waits)
        self.waits.update(fields)

    @property
    def wanted(self) -> bool:
        """The till was told that they are, or will be, a member."""
        return bool(self.asked)

    @property
    def phone(self) -> str:
        return f"+4670174060{5 + self.number}"

    @property
    def email(self) -> str:
        return f"{NAMES[self.number].lower()}@example.com"

    @property
    def by_phone(self) -> dict[str, str]:
        return {"type": "mobile_phone", "value": self.phone}

    @property
    def canaries(self) -> tuple[str, ...]:
        """What names them, whatever is changed of theirs."""
        return (NAMES[self.number].lower(), self.phone[3:], *(number.lower() for number in self.own))


@dataclass
class Sale:
    """A sale that was accepted.

    Attributes:
        body: as it was told.
        person: whose it is; None for a guest.
        faint: whether it reaches its person is not said: they had left, or were erased.
        arrived: how often it had come in at the vendor when its person was erased; None while they were not.
        void: the sale that clears it.
    """

    body: dict[str, Any]
    person: int | None
    faint: bool = False
    arrived: int | None = None
    void: str | None = None


@dataclass
class Voucher:
    """A voucher of a member's.

    Attributes:
        person: whose.
        held: for which sale the till was told that it is used up.
        at: when it was told so last.
        faint: whether it stays so is not said: it was used up elsewhere, or its person erased.
        back: how often it was given back.
    """

    person: int
    held: str | None = None
    at: float = 0.0
    faint: bool = False
    back: int = 0


def traces(directory: Any, person: Person) -> dict[str, set[str]]:
    """What is left of somebody in each file of a directory."""
    found: dict[str, set[str]] = left_in(directory, person.canaries)
    return found
