"""Stand-ins that keep the contracts of `agent.ports`, and makers of made-up sales.

The outbox is never faked: :func:`open_outbox` opens the real one on a real file.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.connectors.base import IDLE_PING_S, FeedSurroundings, Surroundings
from agent.domain.activity import ActivityStatement
from agent.domain.contact import Member
from agent.domain.delivery import DONE, Verdict
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.redemption import RedemptionState
from agent.domain.revision import ContactThere
from agent.domain.tagging import Found, Outcome
from agent.domain.transaction import IntegrationKey, NewContact, Transaction
from agent.errors import Fault, VendorUnreachableError
from agent.ports import Acceptance, Occurrence, Outgoing, Pace, Recipient, ReplicaInfo
from agent.store.database import DatabaseFile, migrate
from agent.store.group_commit import GroupWriter
from agent.store.hashkey import hash_key
from agent.store.keyhash import KeyHash
from agent.store.migrations import outbox as outbox_migrations
from agent.store.outbox import Outbox

NOW = datetime(2026, 2, 14, 15, 41, 9, tzinfo=UTC)
VENDOR = "voyado"
PHONE = "+46701740605"
EMAIL = "alma@example.com"
STORAGE_KEY = bytes(range(32))
NAMES = KeyHash(STORAGE_KEY)


async def at_once() -> None:
    """The pace of an allowance without end."""


@dataclass
class FakeClock:
    """Stands still until it is told to go on."""

    wall: datetime = NOW
    mono: float = 1_000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def today(self) -> date:
        return self.wall.date()

    def advance(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.mono += seconds


@dataclass
class FakeReplica:
    """Knows who it is told of, by identifier; several people may share one."""

    people: dict[Identifier, list[Member]] = field(default_factory=dict)
    as_of: datetime | None = NOW
    contents: str = "keys"

    def add(self, member: Member, *identifiers: Identifier) -> Member:
        for identifier in identifiers:
            self.people.setdefault(identifier, []).append(member)
        return member

    def resolve(self, readings) -> tuple[Member, ...]:
        if self.as_of is None:
            return ()
        found = {member.key: member for reading in readings for member in self.people.get(reading, [])}
        return tuple(found.values())

    def member(self, ref: str) -> Member | None:
        return next((member for found in self.people.values() for member in found if member.ref == ref), None)

    def info(self) -> ReplicaInfo:
        return ReplicaInfo(len({m.key for found in self.people.values() for m in found}), self.as_of, self.contents)


class FakeVendor:
    """A vendor that deduplicates by transaction id, knows contacts, and can be made to fail.

    Attributes:
        taken: what it took, by transaction id, in order; each with the key it came under.
        attempts: every sale that reached `send`, in order.
        calls: the transaction ids of each call.
        answer: verdict for a sale, or an exception to raise; may be replaced at any time.
        of_call: verdict for every sale of a call, before any of them is looked at.
        contacts: who it knows, by identifier.
        there: what it has of contacts, by the value of their key; nothing but a contact id where it is not said.
        updated: what it was told of them.
        refuses_change: raised by a change that comes so far, while it is set.
        fault: raised by every look-up, creation, change and ping while it is set.
    """

    def __init__(
        self,
        *,
        name: str = VENDOR,
        guests: bool = False,
        connections: int = 4,
        rate: float = 0.0,
        batch_size: int = 1,
    ) -> None:
        self.name, self.guests, self.connections, self.requests_per_second = name, guests, connections, rate
        self.idle_ping_s = IDLE_PING_S
        self.keeps_time = True
        self.sender = self.lookup = self.writer = self
        self.batch_size = batch_size
        self.calls: list[list[str]] = []
        self.of_call: Callable[[Sequence[Outgoing]], Verdict | None] = lambda _batch: None
        self.taken: dict[str, IntegrationKey | None] = {}
        self.attempts: list[Outgoing] = []
        self.answer: Callable[[Outgoing], Verdict | BaseException | None] = lambda _outgoing: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.contacts: dict[Identifier, list[str]] = defaultdict(list)
        self.created: list[tuple[NewContact, tuple[Identifier, ...]]] = []
        self.there: dict[str, ContactThere | None] = {}
        self.updated: list[tuple[str, NewContact, tuple[Identifier, ...]]] = []
        self.refuses_change: Exception | None = None
        self.placeless: list[Fault] = []
        self.asked: list[Identifier] = []
        self.fault: Exception | None = None
        self.pings = 0
        self.under_way = self.most_under_way = 0
        self.primary_known = True

    async def send(self, batch) -> list[Verdict]:
        assert len(batch) <= self.batch_size
        self.calls.append([outgoing.transaction.transaction_id for outgoing in batch])
        if (whole := self.of_call(batch)) is not None:
            self.attempts += batch
            return [whole] * len(batch)
        return [await self._send(outgoing) for outgoing in batch]

    async def _send(self, outgoing: Outgoing) -> Verdict:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            self.attempts.append(outgoing)
            await asyncio.sleep(0)
            await self.gate.wait()
            verdict = self.answer(outgoing)
            if isinstance(verdict, BaseException):
                raise verdict
            if verdict is None or verdict.kind is DONE.kind:
                self.taken[outgoing.transaction.transaction_id] = outgoing.key
                return verdict or DONE
            return verdict
        finally:
            self.under_way -= 1

    def knows(self, identifier: Identifier) -> bool:
        return identifier.type is not IdentifierType.CARD_NUMBER

    async def find(self, identifier: Identifier, *, timeout_s: float, pace: Pace) -> Found:
        await pace()
        self.asked.append(identifier)
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        numbers = self.contacts.get(identifier, [])
        if not numbers:
            return Found(Outcome.NOT_FOUND)
        if len(numbers) > 1:
            return Found(Outcome.AMBIGUOUS)
        return self._found(numbers[0])

    def without_place(self, contact: NewContact) -> Sequence[Fault]:
        return [fault for fault in self.placeless if fault.pointer.split("/")[1] in contact.model_fields_set]

    async def create(self, contact: NewContact, identifiers, *, store_id: str, pace: Pace) -> Found:
        await pace()
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        if any(self.contacts.get(identifier) for identifier in identifiers):
            return Found(Outcome.AMBIGUOUS)
        self.created.append((contact, tuple(identifiers)))
        number = str(20_000_000 + len(self.created))
        for identifier in identifiers:
            self.contacts[identifier].append(number)
        return self._found(number)

    async def contact_there(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> ContactThere | None:
        await pace()
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        return self.there[key.value] if key.value in self.there else ContactThere(contact_id_of(key.value))

    async def update(self, contact_id: str, contact: NewContact, identifiers, *, pace: Pace) -> None:
        await pace()
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        if self.refuses_change is not None:
            raise self.refuses_change
        self.updated.append((contact_id, contact, tuple(identifiers)))

    async def ping(self) -> None:
        self.pings += 1
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault

    async def close(self) -> None:
        pass

    def _found(self, number: str) -> Found:
        contact_id = contact_id_of(number)
        key = member_key(number) if self.primary_known else primary_key(IdentifierType.CONTACT_ID, contact_id)
        return Found(Outcome.MATCHED, key, contact_id)


class FakeHandovers:
    """Notes kept in memory, as an outbox keeps them on disk; ``delivered`` are the references of settled ones."""

    def __init__(self) -> None:
        self.noted: dict[int, str] = {}
        self.delivered: set[str] = set()
        self.withdrawn: set[int] = set()
        self.accepted: dict[str, datetime] = {}

    async def note(self, entries: Collection[int], reference: str) -> None:
        self.noted |= dict.fromkeys(entries, reference)

    def handed_over_of(self, _vendor: str, reference: str) -> datetime | None:
        return self.accepted.get(reference)

    async def withdraw(self, _vendor: str, reference: str) -> bool:
        if reference in self.delivered:
            return False
        self.withdrawn |= {entry for entry, noted in self.noted.items() if noted == reference}
        self.noted = {entry: noted for entry, noted in self.noted.items() if noted != reference}
        return True


class NoOffers:
    """Nothing was redeemed here."""

    def of_sale(self, _transaction_id: str) -> dict[str, RedemptionState]:
        return {}

    async def lost(self, _transaction_id: str, _offer_id: str) -> None:
        """Nobody hears of it."""


def surroundings(**changes: Any) -> Surroundings:
    """What a vendor room is given."""
    given: dict[str, Any] = {
        "role": "loyalty",
        "secret": None,
        "http": None,
        "normaliser": Normaliser("SE", guid_contact_ids=False),
        "primary": IdentifierType.MEMBER_NUMBER,
        "zone": UTC,
        "fields": (),
        "user_agent": "LoyaltyAgent/0.1",
        "heard": lambda _answer: None,
        "clock": FakeClock(),
        "taken": lambda _names: (),
        "offers": NoOffers,
        "handovers": FakeHandovers,
        "place": ("1042", "03"),
    }
    return Surroundings(**{**given, **changes})


def feed_surroundings(**changes: Any) -> FeedSurroundings:
    """What a feed of contacts is given."""

    async def nobody() -> tuple[Identifier, ...]:
        return ()

    given: dict[str, Any] = {
        "normaliser": Normaliser("SE"),
        "primary": IdentifierType.MEMBER_NUMBER,
        "fields": (),
        "secret": None,
        "base": Path(),
        "spool": Path(),
        "link": Link(
            VENDOR, "loyalty", requests_per_second=0, backoff_first_s=1, backoff_max_s=9, uniform=lambda low, _high: low
        ),
        "pace": at_once,
        "clock": FakeClock(),
        "unseen": nobody,
    }
    return FeedSurroundings(**{**given, **changes})


class Offline(VendorUnreachableError):  # noqa: N818 - what it stands for
    """The line is down."""


def contact_id_of(number: str) -> str:
    return f"00000000-0000-4000-8000-{int(number):012d}"


def phone(number: int = 5) -> Identifier:
    """A made-up phone, +46701740600 to 99."""
    return Identifier(IdentifierType.MOBILE_PHONE, f"+467017406{number:02d}")


def email(name: str = "alma") -> Identifier:
    return Identifier(IdentifierType.EMAIL, f"{name}@example.com")


def primary_key(kind: IdentifierType, value: str) -> IntegrationKey:
    return IntegrationKey(kind="primary", type=kind, value=value)


def member_key(number: str | int = "10000421") -> IntegrationKey:
    return primary_key(IdentifierType.MEMBER_NUMBER, str(number))


def phone_key(number: int = 5) -> IntegrationKey:
    return IntegrationKey(kind="secondary", type=IdentifierType.MOBILE_PHONE, value=phone(number).value)


def member(number: str = "10000421", **fields: str) -> Member:
    return Member(ref=f"ref-{number}", key=member_key(number), fields=fields)


def transaction(transaction_id: str = "1042-03-000001", **changes: Any) -> Transaction:
    """A sound sale of 250.00 SEK."""
    document: dict[str, Any] = {
        "transaction_id": transaction_id,
        "type": "purchase",
        "occurred_at": "2026-02-14T16:41:09+01:00",
        "currency": "SEK",
        "total": "250.00",
        "lines": [{"kind": "purchase", "sku": "SK-77-RED-M", "quantity": "2", "gross_paid": "250.00"}],
        "payments": [{"type": "card", "amount": "250.00"}],
    }
    if changes.get("type") == "return":
        document |= {
            "total": "-250.00",
            "lines": [{"kind": "return", "sku": "SK-77-RED-M", "quantity": "-2", "gross_paid": "250.00"}],
            "payments": [{"type": "card", "amount": "-250.00"}],
        }
    if changes.get("type") == "void":
        document |= {"lines": [], "payments": [], "total": "0"}
    return Transaction.model_validate({**document, **changes})


def acceptance(
    transaction_id: str = "1042-03-000001",
    *,
    key: IntegrationKey | None = None,
    readings: tuple[Identifier, ...] = (),
    open_: bool = False,
    vendors: tuple[str, ...] = (VENDOR,),
    **changes: Any,
) -> Acceptance:
    sale = transaction(transaction_id, **changes)
    return Acceptance(sale, readings, key, open_, vendors, sale.occurred_at.date())


def activity_statement(activity_id: str = "picked-up-1", **changes: Any) -> ActivityStatement:
    """An order of +46701740605's is picked up."""
    named = {} if "integration_key" in changes else {"identifier": {"type": "mobile_phone", "value": PHONE}}
    return ActivityStatement.model_validate(
        {
            "activity_id": activity_id,
            "type": "delivery_order_picked_up",
            "occurred_at": "2026-02-14T16:41:09+01:00",
            "order_id": "4711",
            "attributes": {"note": "canary-note"},
            **named,
            **changes,
        }
    )


def occurrence(
    activity_id: str = "picked-up-1",
    *,
    key: IntegrationKey | None = None,
    readings: tuple[Identifier, ...] = (),
    open_: bool = False,
    vendors: tuple[str, ...] = (VENDOR,),
    ref: str | None = None,
    **changes: Any,
) -> Occurrence:
    statement = activity_statement(activity_id, **changes)
    content = statement.content(None, readings)
    return Occurrence(statement.recorded("1042", "03"), content, readings, key, None, open_, vendors, ref=ref)


@contextlib.contextmanager
def open_outbox(
    path: Path,
    *,
    run: str = "run-1",
    key: bytes | None = None,
    recipients: tuple[Recipient, ...] = (Recipient(VENDOR),),
) -> Iterator[Outbox]:
    """The real outbox on a real file; each ``run`` stands for one run of the program."""
    file = DatabaseFile(path, key, "FULL")
    connection = file.connect()
    migrate(connection, outbox_migrations)
    outbox = Outbox(GroupWriter(connection, "outbox"), file.connect(), run=run, recipients=recipients)
    outbox.begin(connection, hash_key(connection, (STORAGE_KEY,)), NAMES)
    try:
        yield outbox
    finally:
        outbox.close()


async def until(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    """Returns when the condition holds; fails when it does not come to hold in time."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the conditions are of the outbox, which has no event to wait for
            await asyncio.sleep(0.002)
