"""A door on a loopback port: the real services and outbox behind it, a handful of made-up people, no vendor."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx
import pytest

from agent.api.app import Door, create_app
from agent.api.metrics import Metrics
from agent.api.rooms import Rooms
from agent.api.server import Server
from agent.domain.activity import OF_TILLS
from agent.domain.audit import Head
from agent.domain.benefits import BenefitKind, Benefits, GeneralOffer, Worth
from agent.domain.contact import Member
from agent.domain.earning import EarningRule, Forecast
from agent.domain.health import Conditions
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.offline import Allowance, OfflinePolicy
from agent.domain.redemption import Redeemable, RedemptionMode, Standing, VendorStanding, VendorWord
from agent.domain.revision import ContactThere
from agent.domain.tagging import Found, Outcome, TaggingPolicy
from agent.domain.transaction import IntegrationKey, Transaction
from agent.errors import ContactRefusedError, StorageFullError, VendorUnreachableError
from agent.kept import Report
from agent.messages import Messages
from agent.ports import Pace, Recipient, ReplicaInfo
from agent.services.activities import ActivityIntake, ActivityPolicy
from agent.services.asking import Asking
from agent.services.benefits import BenefitsPolicy, MemberBenefitsDesk
from agent.services.bringing import Bringing, Manner
from agent.services.contacts import LocalContacts, Newcomers
from agent.services.enrolling import Enrolling, EnrolPolicy
from agent.services.handles import Handles, Refs
from agent.services.history import History
from agent.services.identify import Identify, IdentifyPolicy
from agent.services.intake import Intake, IntakePolicy
from agent.services.preview import Preview, PreviewPolicy
from agent.services.privacy import Erasure, Export
from agent.services.reconcile import Books, Reconcile
from agent.services.redeeming import Redeeming
from agent.services.revising import Revising
from agent.services.status import Status, StatusPolicy
from agent.services.turns import Turns
from agent.services.updating import Updating
from agent.settings import AgentSection, ApiSection, LoyaltySection, Rate, ReplicaSection, Settings
from agent.store.activities import Activities
from agent.store.database import DatabaseFile, migrate
from agent.store.daybook import OutboxDaybook
from agent.store.enrolments import Enrolments
from agent.store.group_commit import GroupWriter
from agent.store.history import HistoryFile
from agent.store.keyhash import KeyHash
from agent.store.migrations import outbox as migrations
from agent.store.outbox import Outbox
from agent.store.redemptions import Redemptions
from agent.store.revisions import Revisions
from agent.tokens import Tokens

NOW = datetime(2026, 11, 20, 9, 5, 12, tzinfo=UTC)
ALMA_PHONE = "+46701740605"
SHARED_PHONE = "+46701740606"
NOBODYS_PHONE = "+46701740607"
UNKNOWN_PHONE = "+46701740608"
ALMA = Member(
    "c_5f3a",
    IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value="10000421"),
    {"first_name": "Alma"},
)
BO = Member("c_77b0", IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value="10000422"))
CEM = Member("c_19de", IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value="10000423"))


UNASKED = OfflinePolicy({BenefitKind.VOUCHER: Allowance(Decimal(100), "SEK", 1, timedelta(hours=24))})
ONE_FOR_TEN = EarningRule(Decimal("0.1"), "SEK")
WELCOME = GeneralOffer("welcome", "Welcome offer", Worth("money", amount=Decimal("20.00"), currency="SEK"))
TEN_PERCENT = GeneralOffer("member-10", "10 % off", Worth("percent", percent=Decimal(10)))


class HeldClock:
    """A wall clock that stands still and a monotonic one that is moved by hand."""

    def __init__(self) -> None:
        self.mono = 1000.0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return self.mono

    def today(self) -> date:
        return NOW.date()


class People:
    """A replica of three people."""

    def __init__(self) -> None:
        self.as_of: datetime | None = NOW - timedelta(seconds=312)

    def resolve(self, readings: Any) -> tuple[Member, ...]:
        found = {ALMA_PHONE: (ALMA,), SHARED_PHONE: (BO, CEM)}
        return next((found[reading.value] for reading in readings if reading.value in found), ())

    def member(self, ref: str) -> Member | None:
        return {member.ref: member for member in (ALMA, BO, CEM)}.get(ref)

    def info(self) -> ReplicaInfo:
        return ReplicaInfo(3, self.as_of, "contacts")


class Vendor:
    """A vendor that knows who is not a member, and does not answer about one number."""

    def knows(self, identifier: Identifier) -> bool:
        return True

    benefits_of_alma: Benefits | None = None

    async def benefits(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> Benefits:
        if self.benefits_of_alma is None:
            raise VendorUnreachableError
        return self.benefits_of_alma

    modes: Final = dict.fromkeys((BenefitKind.OFFER, BenefitKind.VOUCHER), RedemptionMode.ONCE)
    redeems = modes.keys()
    used: ClassVar[set[str]] = set()

    def spelled(self, kind: Any, id_: str) -> str:
        return id_

    async def standing(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorStanding:
        if self.benefits_of_alma is None:
            raise VendorUnreachableError
        return VendorStanding(Standing.USED if one.id in self.used else Standing.AVAILABLE)

    async def redeem(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord:
        self.used = {*self.used, one.id}
        return VendorWord()

    async def release(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord:
        self.used = self.used - {one.id}
        return VendorWord()

    earns: Decimal | None = None

    async def points(self, key: IntegrationKey, sale: Transaction, *, timeout_s: float, pace: Pace) -> Forecast:
        if self.earns is None:
            raise VendorUnreachableError
        return Forecast(self.earns)

    async def find(self, identifier: Identifier, *, timeout_s: float, pace: Pace) -> Found:
        if identifier.value == UNKNOWN_PHONE:
            raise VendorUnreachableError
        return Found(Outcome.NOT_FOUND)

    refuses: tuple[str, ...] | None = None

    def without_place(self, _contact: Any) -> tuple[()]:
        return ()

    async def create(self, contact: Any, identifiers: Any, *, store_id: str, pace: Pace) -> Found:
        if self.refuses is not None:
            raise ContactRefusedError(422, "ValidationError", self.refuses)
        return Found(
            Outcome.MATCHED, IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value="20000001")
        )

    there: ContactThere | None = ContactThere("0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10")
    answers_changes = True
    updated: ClassVar[list[Any]] = []

    async def contact_there(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> ContactThere | None:
        if not self.answers_changes:
            raise VendorUnreachableError
        return self.there

    async def update(self, contact_id: str, contact: Any, identifiers: Any, *, pace: Pace) -> None:
        if self.refuses is not None:
            raise ContactRefusedError(422, "ValidationError", self.refuses)
        self.updated = [*self.updated, contact]


@dataclass
class Given:
    """Orders as they came."""

    orders: list[str] = field(default_factory=list)
    lanes: set[str] = field(default_factory=set)
    resting: dict[str, datetime] = field(default_factory=dict)

    def sync(self, *, rebuild: bool = False) -> None:
        self.orders.append("rebuild" if rebuild else "sync")

    def flush(self) -> None:
        self.orders.append("flush")

    def purge(self) -> None:
        self.orders.append("purge")

    def pause(self) -> None:
        self.orders.append("pause")

    def resume(self) -> None:
        self.orders.append("resume")

    def wake(self) -> None:
        self.orders.append("wake")

    def held(self) -> set[str]:
        return self.lanes

    def rests(self) -> dict[str, datetime]:
        return self.resting


@dataclass
class Seen:
    """Damaged files, and whether somebody has seen them."""

    reports: tuple[Report, ...] = ()

    def acknowledge(self) -> int:
        new = sum(report.acknowledged_at is None for report in self.reports)
        self.reports = tuple(replace(report, acknowledged_at=report.found_at) for report in self.reports)
        return new


@dataclass
class Officer:
    """Whom was asked about, by which caller; answers as told, that nobody is known if not. And what was recorded."""

    readings: Callable[[Any], Any]
    asked: list[tuple[str, Any, str]] = field(default_factory=list)
    answer: Any = None
    recorded: list[tuple[str, dict[str, int | str]]] = field(default_factory=list)

    async def erase(self, statement: Any, by: str) -> Any:
        nothing = dict.fromkeys(
            (
                *("contacts", "sales_waiting", "sales_finished", "activities", "redemptions", "enrolments", "notes"),
                "kept_files",
                "file_rows",
            ),
            0,
        )
        return self._answer("erase", statement, by) or Erasure("9f86d081", NOW, nothing, Head(1, "a" * 64))

    async def export(self, statement: Any, by: str) -> Any:
        return self._answer("export", statement, by) or Export(NOW, (), (), (), (), (), (), 0, (), ())

    async def record(self, event: str, /, **facts: int | str) -> Head:
        self.recorded.append((event, facts))
        return Head(len(self.recorded), "hash")

    def _answer(self, what: str, statement: Any, by: str) -> Any:
        self.readings(statement)
        self.asked.append((what, statement, by))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class House:
    """A running door and everything behind it."""

    door: Door
    server: Server
    rooms: Rooms
    clock: HeldClock
    people: People
    link: Link
    outbox: Outbox
    orders: Given
    officer: Officer
    tokens: Tokens
    conditions: Conditions
    state_dir: Path
    http: httpx.AsyncClient
    admin: httpx.AsyncClient
    room: dict[str, Any]
    damage: Seen
    vendor: Vendor
    history: History

    @property
    def address(self) -> str:
        return self.server.addresses[0]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    async def raw(self, *pieces: bytes) -> bytes:
        """What comes back for these bytes, up to the end of the connection or of one answer with a length."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            return head + await reader.readexactly(length)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def request(self, method: str, path: str, body: bytes = b"", **headers: str | None) -> bytes:
        """The bytes of a request that is in order unless ``headers`` say otherwise (None leaves one out)."""
        lines: dict[str, str | None] = {"host": self.address, "authorization": self.http.headers["authorization"]}
        if body or method == "POST":
            lines |= {"content-type": "application/json", "content-length": str(len(body))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


async def _at_once() -> None:
    """Nothing to wait for."""


def build(state_dir: Path, settings: Settings, *, heartbeat_s: float = 15.0) -> dict[str, Any]:
    """The rooms, and the hands on them that tests need."""
    clock, people, orders, conditions, damage = HeldClock(), People(), Given(), Conditions(), Seen()
    normaliser = Normaliser("SE")
    loyalty, series = settings.loyalty, settings.enrol.prefix(settings.agent)
    tagging = TaggingPolicy(loyalty.primary, loyalty.secondary, loyalty.fallback_level, series)
    link = Link(
        "voyado",
        "loyalty",
        requests_per_second=0,
        backoff_first_s=10,
        backoff_max_s=900,
        uniform=lambda low, high: high,
    )
    file = DatabaseFile(state_dir / "outbox.db", None, "FULL")
    connection = file.connect()
    migrate(connection, migrations)
    outbox = Outbox(GroupWriter(connection, "outbox"), file.connect(), run="run", recipients=(Recipient("voyado"),))
    outbox.begin(connection, b"k" * 32, KeyHash(b"n" * 32))
    stale_after = settings.replica.stale_after
    room: dict[str, Any] = {"error": None}
    made_here = Enrolments(outbox._writer, outbox._reader, names=KeyHash(b"n" * 32))
    changed_here = Revisions(outbox._writer, outbox._reader, names=KeyHash(b"n" * 32))
    newcomers = Newcomers(made_here, settings.replica.fields, changed_here)
    contacts = LocalContacts(people, tagging, newcomers)
    intake = Intake(
        clock=clock,
        normaliser=normaliser,
        replica=people,
        outbox=outbox,
        room=lambda: True,
        link=link,
        policy=IntakePolicy(tagging, "1042", "03", UTC, stale_after, (Recipient("voyado"),)),
        accepted=lambda: None,
        newcomers=newcomers,
    )

    class Doorman:
        async def accept(self, transaction: Any, *, resolve: bool = True) -> Any:
            room["resolve"] = resolve
            if room["error"] is not None:
                raise room["error"]
            return await intake.accept(transaction, resolve=resolve)

    asking, handles, vendor = Asking(clock, link, live=True, budget_s=60.0), Handles(clock), Vendor()
    record = Redemptions(outbox._writer, outbox._reader, key=b"k" * 32, names=KeyHash(b"n" * 32))
    identify = Identify(
        clock=clock,
        normaliser=normaliser,
        replica=people,
        lookup=vendor,
        asking=asking,
        link=link,
        handles=handles,
        named=record.named,
        policy=IdentifyPolicy(tagging, stale_after, frozenset(settings.benefits.spend_with)),
        newcomers=newcomers,
    )
    officer = Officer(identify.readings)
    updating = Updating(
        clock=clock,
        record=changed_here,
        writer=vendor,
        turns=Turns(clock, link, first_s=10.0, longest_s=900.0, uniform=lambda _low, high: high),
        manner=Manner("1042", 15.0, _at_once),
        as_of=contacts.as_of,
        their_time=asking.their_time,
        conditions=conditions,
        audit=officer.record,
    )
    bringing = Bringing(
        clock=clock,
        record=made_here,
        newcomers=newcomers,
        lookup=vendor,
        writer=vendor,
        turns=Turns(clock, link, first_s=10.0, longest_s=900.0, uniform=lambda _low, high: high),
        manner=Manner("1042", 15.0, _at_once),
        existing=updating.existing,
        sales_again=lambda key: outbox.go_again(link.vendor, key, clock.now()),
        conditions=conditions,
    )
    enrolling = Enrolling(
        clock=clock,
        normaliser=normaliser,
        record=made_here,
        newcomers=newcomers,
        contacts=contacts,
        live=identify.live,
        asking=Asking(clock, link, live=True, budget_s=3.0, patient=True),
        bringing=bringing,
        link=link,
        policy=EnrolPolicy(tagging.level >= 4, "1042-03-", stale_after),
        room=lambda: room["error"] is None,
        added=lambda: None,
    )
    refs = Refs(contacts, handles)
    revising = Revising(
        clock=clock,
        normaliser=normaliser,
        offered=tagging.level >= 4,
        newcomer=enrolling.add_to,
        refs=refs,
        contacts=contacts,
        live=identify.live,
        asking=Asking(clock, link, live=True, budget_s=3.0, patient=True),
        record=changed_here,
        updating=updating,
        link=link,
        stale_after=stale_after,
        room=lambda: room["error"] is None,
        added=lambda: None,
    )
    benefits = MemberBenefitsDesk(
        clock=clock,
        refs=refs,
        vendor=vendor,
        asking=asking,
        link=link,
        given_unasked=record.given_unasked,
        policy=BenefitsPolicy(timedelta(hours=24), stale_after, (TEN_PERCENT,), (WELCOME,), UNASKED),
    )
    redeeming = Redeeming(
        clock=clock,
        record=record,
        vendor=vendor,
        asking=Asking(clock, link, live=True, budget_s=60.0, patient=True),
        refs=refs,
        spend_with=frozenset(settings.benefits.spend_with),
        unasked=UNASKED,
        remembered=benefits.remembered,
        over=benefits.drop,
        conditions=conditions,
        shops=frozenset({TEN_PERCENT.id, WELCOME.id}),
    )
    preview = Preview(
        clock=clock,
        normaliser=normaliser,
        replica=people,
        lookup=vendor,
        vendor=vendor,
        asking=asking,
        link=link,
        policy=PreviewPolicy(tagging, "1042", "03", ONE_FOR_TEN),
    )
    status = Status(
        clock=clock,
        version="0.1.0",
        policy=StatusPolicy(settings.loyalty.fallback_level, True, stale_after, 1 << 30, (TEN_PERCENT,)),
        links=[link],
        replica=people,
        queue=lambda: outbox.info(orders.held()),
        accepted_since=outbox.accepted_since,
        conditions=conditions,
        ready=lambda: room["error"] is None,
        room=lambda: room["error"] is None,
        damage=tuple,
    )
    tokens, metrics = Tokens(state_dir, clock), Metrics("0.1.0")
    history = History(
        clock=clock,
        record=HistoryFile(state_dir),
        queue=lambda: outbox.info(orders.held()),
        replica=people.info,
        answers=metrics.sale_answers,
        delivered=metrics.deliveries_took,
        room=lambda: room["error"] is None,
    )
    rooms = Rooms(
        clock=clock,
        settings=settings,
        version="0.1.0",
        messages=Messages(settings.agent.locale),
        identify=identify,
        intake=Doorman(),
        activities=ActivityIntake(
            clock=clock,
            normaliser=normaliser,
            replica=people,
            outbox=Activities(outbox, outbox._writer),
            room=lambda: room["error"] is None,
            link=link,
            policy=ActivityPolicy(
                tagging, "1042", "03", stale_after, (Recipient("voyado"), Recipient("mparticle", activities=OF_TILLS))
            ),
            accepted=lambda: None,
            held=orders.held,
        ),
        benefits=benefits,
        redeeming=redeeming,
        enrolling=enrolling,
        revising=revising,
        shown=newcomers.shown,
        preview=preview,
        replica=people,
        outbox=outbox,
        privacy=officer,
        record=officer.record,
        status=status,
        tokens=tokens,
        orders=orders,
        reconcile=Reconcile(
            clock=clock,
            daybook=OutboxDaybook(file),
            books=[Books(link, None, _at_once)],
            held=orders.held,
            chance=random.Random(1),
        ),
        damage=damage,
        history=history,
        metrics=metrics,
    )
    return {
        "door": create_app(rooms, heartbeat_s=heartbeat_s),
        "rooms": rooms,
        "clock": clock,
        "people": people,
        "link": link,
        "outbox": outbox,
        "orders": orders,
        "officer": officer,
        "tokens": tokens,
        "conditions": conditions,
        "state_dir": state_dir,
        "room": room,
        "damage": damage,
        "vendor": vendor,
        "history": history,
    }


@contextlib.asynccontextmanager
async def open_house(
    state_dir: Path,
    *,
    heartbeat_s: float = 15.0,
    listen: tuple[str, ...] = ("127.0.0.1:0",),
    level: int = 3,
    **api: Any,
) -> AsyncIterator[House]:
    settings = Settings(
        agent=AgentSection(store_id="1042", till_id="03", locale="sv-SE"),
        api=ApiSection(**({"hits": Rate(None), "misses": Rate(None)} | api)),
        loyalty=LoyaltySection(fallback_level=level),
        replica=ReplicaSection(contents="contacts", fields=("first_name",)),
    )
    parts = build(state_dir, settings, heartbeat_s=heartbeat_s)
    server = Server(parts["door"], listen, users=bool(settings.api.socket_users))
    await server.start()
    base = f"http://{server.addresses[0]}" if not server.addresses[0].startswith("unix:") else "http://localhost"
    pos, admin = (
        httpx.AsyncClient(
            base_url=base,
            headers={"authorization": f"Bearer {parts['tokens'].add(scope, scope)}"},
            trust_env=False,
            timeout=60,
            verify=False,  # plain http: no certificates to load
        )
        for scope in ("pos", "admin")
    )
    try:
        yield House(server=server, http=pos, admin=admin, **parts)
    finally:
        await pos.aclose()
        await admin.aclose()
        await server.stop(1.0)
        parts["outbox"].close()


@pytest.fixture
async def house(tmp_path):
    async with open_house(tmp_path) as opened:
        yield opened


@pytest.fixture
def open_door(tmp_path):
    """Opens a door with other settings; an async context manager."""

    def opener(**how: Any) -> contextlib.AbstractAsyncContextManager[House]:
        return open_house(tmp_path, **how)

    return opener


@pytest.fixture
def sale():
    """A sale that adds up; keyword arguments replace fields, None takes one away."""

    def make(**changes: Any) -> dict[str, Any]:
        body = {
            "transaction_id": "1042-03-20260214-000187",
            "type": "purchase",
            "occurred_at": "2026-02-14T16:41:09+01:00",
            "currency": "SEK",
            "total": "250.00",
            "lines": [{"kind": "purchase", "sku": "SK-77-RED-M", "quantity": "2", "gross_paid": "250.00"}],
            "payments": [{"type": "card", "amount": "250.00"}],
        }
        return {name: value for name, value in (body | changes).items() if value is not None}

    return make


def full_disk() -> StorageFullError:
    return StorageFullError()


def phone(value: str) -> bytes:
    return json.dumps({"identifier": {"type": "mobile_phone", "value": value}}).encode()
