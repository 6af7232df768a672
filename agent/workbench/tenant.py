"""The loyalty system of the demonstration: a simulated Voyado Engage tenant, its people, and what happens there."""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent.connectors.voyado.simulator import Fault, SimulatorSettings, ThreadedSimulator, VoyadoSimulator, contacts
from agent.connectors.voyado.simulator.membership import MOST_PEOPLE, fictional_phone
from agent.connectors.voyado.simulator.receipts import Posted
from agent.connectors.voyado.simulator.records import Contact
from agent.ports import Clock

API_KEY = "demo-key"
TICK_S = 0.2
SWEDISH = 95
"""So many Swedish mobile numbers are kept free for fiction; strangers and newcomers have one of them."""
_RESERVED = 24
"""So many of the numbers kept free for fiction belong to nobody at first; newcomers and strangers get them."""
_VARIED = 500
"""So many of them there are once they are drawn anew."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody made up. The values are personal all the same, and treated so."""

    name: str
    phone: str = field(repr=False)
    email: str | None = field(default=None, repr=False)
    member_number: str | None = field(default=None, repr=False)

    @property
    def as_said(self) -> str:
        """The phone number as a Swede says it at a till; a foreign one as it is."""
        if not self.phone.startswith("+46"):
            return self.phone
        national = "0" + self.phone.removeprefix("+46")
        return f"{national[:3]}-{national[3:6]} {national[6:8]} {national[8:]}"


class Tenant:
    """A membership of made-up people behind a line that can be cut. A context manager.

    Args:
        root: stands in for the SFTP account.
        members: how many there are.
        clock: its time.
        rng: makes the same people again.
        tls: what it proves to be; None for plain text.
        port: where its API is; 0 takes a free one.
    """

    def __init__(
        self,
        root: Path,
        members: int,
        clock: Clock,
        rng: random.Random,
        *,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        settings = SimulatorSettings(root=root, api_keys=(API_KEY,), receipt_interval_s=None, export_interval_s=None)
        self.simulator = VoyadoSimulator(settings, now=clock.now, rng=rng)
        self._server = ThreadedSimulator(self.simulator, port=port, tick_s=TICK_S, tls=tls)
        self.simulator.seed(members)
        self._free = list(self._free_numbers())
        self._family()
        self._people = set(self._values())
        self._given = 0

    def __enter__(self) -> Self:
        self._server.__enter__()
        self.simulator.export_full()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)

    @property
    def url(self) -> str:
        """Where its API is."""
        return self._server.url

    @property
    def feed(self) -> str:
        """Its export folder as `voyado.feed` spells it."""
        return self.simulator.exports.folder.resolve().as_uri()

    @property
    def people(self) -> frozenset[str]:
        """Every phone number and address that anybody here has or ever had."""
        self._people |= set(self._values())
        return frozenset(self._people)

    # The line

    def cut(self) -> None:
        """Nobody can reach it any more."""
        self._server.stop()

    def prove_to_be(self, tls: ssl.SSLContext) -> None:
        """Cuts the line and mends it; from then on it proves to be somebody else, or itself again."""
        self._server.stop()
        self._server.tls = tls
        self._server.start()

    def mend(self, *, lost_answers: int) -> None:
        """It can be reached again; of its first answers to receipts some get lost after the work is done."""
        fault = Fault(
            kind="drop", path="/api/*/receipts", method="POST", count=lost_answers, skip=10, after_processing=True
        )
        self.simulator.faults.add(fault)
        self._server.start()

    # People

    def member(self, place: int) -> Person:
        """The member at a place of the list who can be asked for by phone without doubt."""
        return next(person for person in self._regulars(place))

    def members(self, count: int) -> list[Person]:
        """So many members, each known by a phone number of their own, and by an address."""
        regulars = self._regulars(SWEDISH)
        return [person for _, person in zip(range(count), (one for one in regulars if one.email), strict=False)]

    def next_member(self) -> Person:
        """A member like those, whom nobody was given by this before."""
        self._given += 1
        return self.members(self._given)[self._given - 1]

    def family(self) -> Person:
        """A phone number that two members share."""
        return Person("a family", self._family_phone)

    def stranger(self, name: str = "somebody") -> Person:
        """Somebody whom the tenant does not know."""
        phone = self._free.pop()
        self._people.add(phone)
        return Person(name, phone)

    def join(self, name: str) -> Person:
        """Somebody becomes a member elsewhere: in the app, or in another store."""
        newcomer = self.stranger(name)
        body = {"contactType": "Member", "firstName": name, "lastName": "Exempel", "mobilePhone": newcomer.phone}
        with self.simulator.lock:
            state = self.simulator.state
            made = contacts.begin_create(state, body, source="APP", store=None, approved=True)
            contact = made if isinstance(made, Contact) else contacts.finish_create(state, made)
        return _person(contact)

    def vary(self, rng: random.Random) -> None:
        """From now on ids, numbers and phones are drawn anew: who joins, and who is a stranger, was in no other run."""
        with self.simulator.lock:
            state = self.simulator.state
            state.rng = rng
            state.next_member_number = rng.randrange(20_000_000, 90_000_000)
            places = rng.sample(range(len(state.contacts) + SWEDISH, MOST_PEOPLE), _VARIED)
            self._free = [fictional_phone(place) for place in places]

    def move(self, person: Person) -> Person:
        """A member gets another phone number."""
        phone = self._free.pop()
        with self.simulator.lock:
            self.simulator.state.write(self._contact(person), {"mobilePhone": phone})
        return Person(person.name, phone, person.email, person.member_number)

    def leave(self, person: Person) -> None:
        """A member asks to be deleted."""
        with self.simulator.lock:
            self.simulator.state.delete(self._contact(person))

    def give_voucher(self, person: Person, amount: int) -> None:
        """A member gets a reward voucher."""
        with self.simulator.lock:
            self.simulator.rewards.issue_voucher(self._contact(person).contact_id, points=0, amount=amount)

    def vouchers_used(self, person: Person) -> int:
        """How many of a member's vouchers are used up."""
        with self.simulator.lock:
            held = self.simulator.rewards.vouchers[self._contact(person).contact_id]
            return sum(voucher.redeemed_at is not None for voucher in held)

    def known_by(self, phone: str) -> list[Person]:
        """Everybody who has that number."""
        with self.simulator.lock:
            return [_person(contact) for contact in self.simulator.state.find("mobilePhone", phone)]

    def consented(self, phone: str) -> bool:
        """Whether whoever has that number has agreed to anything, each time with the version of the text."""
        with self.simulator.lock:
            consents = [one for contact in self.simulator.state.find("mobilePhone", phone) for one in contact.consents]
        return bool(consents) and all(consent["value"] for consent in consents)

    def booked_under(self, transaction_id: str) -> str | None:
        """The member number under which a sale came; None where it did not, or under another key."""
        with self.simulator.lock:
            for post in self.simulator.receipts.received:
                if post.receipt_id == transaction_id and post.match_key_type.lower() == "membernumber":
                    return post.match_key
        return None

    def booked(self, person: Person) -> list[Posted]:
        """What was imported for somebody, oldest first; a doubled receipt stands there twice."""
        with self.simulator.lock:
            return list(self.simulator.receipts.by_contact.get(self.contact_id(person), ()))

    def every_booking(self) -> list[Posted]:
        """What was imported, for whomever; a doubled receipt stands there twice."""
        with self.simulator.lock:
            return [one for booked in self.simulator.receipts.by_contact.values() for one in booked]

    def posted(self) -> frozenset[str]:
        """The id of every receipt that ever came, whatever became of it."""
        with self.simulator.lock:
            return frozenset(self.simulator.receipts.posts)

    def contact_id(self, person: Person) -> str:
        """What somebody is called here."""
        return self._contact(person).contact_id

    def _contact(self, person: Person) -> Contact:
        return self.simulator.state.find("memberNumber", person.member_number or "", "Member")[0]

    def _regulars(self, place: int) -> Iterator[Person]:
        state = self.simulator.state
        everybody = [contact for contact in state.members() if contact.attributes.get("mobilePhone")]
        for contact in everybody[place:]:
            if len(state.find("mobilePhone", contact.attributes["mobilePhone"])) == 1:
                yield _person(contact)

    def _free_numbers(self) -> Iterator[str]:
        state = self.simulator.state
        for place in range(SWEDISH - _RESERVED, SWEDISH):
            phone = fictional_phone(place)
            for contact in state.find("mobilePhone", phone):
                state.write(contact, {"mobilePhone": ""}, export=False)
            yield phone

    def _family(self) -> None:
        self._family_phone = self._free.pop()
        members = list(self.simulator.state.members())[:2]
        for contact in members:
            self.simulator.state.write(contact, {"mobilePhone": self._family_phone}, export=False)

    def _values(self) -> Iterator[str]:
        with self.simulator.lock:
            for contact in self.simulator.state.contacts.values():
                values: tuple[Any, ...] = (contact.attributes.get("mobilePhone"), contact.attributes.get("email"))
                yield from (value for value in values if value)


def _person(contact: Contact) -> Person:
    values = contact.attributes
    return Person(values["firstName"], values["mobilePhone"], values.get("email"), values["memberNumber"])
