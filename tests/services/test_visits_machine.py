"""Visits to a shop against a model of the vendor: people join, buy, use vouchers up and are erased, in any order.

Everything between the till and the vendor is real: intake, enrolling, identifying, redeeming, the lane with its
buffer, privacy, both databases and the loader of exports. Time is the test's. The vendor answers, does not, or does
what it is asked without being heard; it makes a contact as often as it is asked to.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections import Counter, defaultdict
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final
from unittest import mock

import pytest
from hypothesis import HealthCheck, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from seeds import SEED
from told import ToldReplica

from agent.connectors.base import IDLE_PING_S
from agent.domain.benefits import Benefit, BenefitKind, Benefits, Worth
from agent.domain.bulk import BulkSent, RowWord
from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.delivery import DONE, Verdict, VerdictKind
from agent.domain.health import Conditions
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.offline import Allowance, OfflinePolicy
from agent.domain.redemption import Reason, RedemptionMode, Standing, VendorStanding, VendorWord
from agent.domain.tagging import Found, Outcome, TaggingPolicy
from agent.domain.transaction import IdentifierStatement, NewContact
from agent.errors import ContactRefusedError, UnderWayError
from agent.ports import AppliedFile, Recipient
from agent.services import together
from agent.services.asking import Asking
from agent.services.audit import Audit
from agent.services.benefits import Remembered
from agent.services.bringing import Bringing, Manner
from agent.services.buffer import Buffer, BufferPolicy
from agent.services.contacts import LocalContacts, Newcomers
from agent.services.enrolling import Enrolling, EnrolPolicy
from agent.services.gathering import Gathering
from agent.services.handles import Handles, Refs
from agent.services.identify import Identify, IdentifyPolicy
from agent.services.intake import Intake, IntakePolicy
from agent.services.judge import DispatchPolicy
from agent.services.lane import Lane
from agent.services.notices import Notices
from agent.services.privacy import Privacy
from agent.services.redeeming import Redeeming, Wanted
from agent.services.turns import OWN_FAILURES, Turns
from agent.store.activities import Activities
from agent.store.audit import AuditAnchor, AuditTrail
from agent.store.bulk import new_contacts
from agent.store.database import DatabaseFile
from agent.store.enrolments import Enrolments
from agent.store.persons import PersonalSales
from agent.store.redemptions import Redemptions
from agent.store.refusals import ErasedPeople
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile
from agent.store.replica_people import ReplicaPeople
from tests.fakes import (
    NAMES,
    STORAGE_KEY,
    VENDOR,
    FakeClock,
    Offline,
    contact_id_of,
    email,
    member_key,
    open_outbox,
    phone,
    transaction,
)

ID, MEMBER, PHONE, EMAIL, EXTERNAL = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.EMAIL,
    IdentifierType.EXTERNAL_ID,
)
PREFIX, DAY, LONG_S = "1042-03-", timedelta(days=1), 1_000.0
TAGGING = TaggingPolicy(MEMBER, (PHONE, EMAIL), 4)
VOUCHER = BenefitKind.VOUCHER
ALLOWED = OfflinePolicy({VOUCHER: Allowance(Decimal(50), "SEK", 100, timedelta(days=30))})
UNHEARD = Verdict(VerdictKind.RETRY, "vendor.offline", title="no answer", reached=False)
AWAY = Verdict(VerdictKind.RETRY, "vendor.offline", title="cannot be reached", reached=False, not_received=True)
TWICE = Verdict(VerdictKind.DUPLICATE, status=409)
PEOPLE = (0, 1, 2, 3)
MEMBER_FROM_THE_START = 3
VOUCHERS = ("a", "b")
HOWS = ("phone", "found", "slip", "gives", "mail")
GIVEN = ("redeemed", "queued")


def vouchers_of(person):
    return tuple(f"v-{person}-{letter}" for letter in VOUCHERS)


def phone_of(person):
    return phone(10 + person)


def email_of(person):
    return email(f"zaphira{person}")


class Killed(BaseException):
    """The program ends here: no error, as nothing may handle it."""


def survived(do):
    """The rule, with a new run of the program where one was killed in the middle of it."""

    @functools.wraps(do)
    def rule_of(shop, *stated, **drawn):
        try:
            do(shop, *stated, **drawn)
        except* Killed:
            shop.starts_again()

    return rule_of


class Vendor:
    """Has contacts, sales and vouchers.

    ``mode`` is ``up``, ``down``, ``deaf``: it tells what it is asked, does what it is to do, and does not say so; or
    ``fatal``: when it has done so, the program is killed.

    Attributes:
        people: who it has, each with everything that names them.
        made: for whom it was asked to make a contact, in order.
        arrived: under which key each sale came, each time.
        counts: how often each sale counts; it recognises one by its id.
        touched: the vouchers it was asked about.
    """

    name, guests, connections, requests_per_second, batch_size, idle_ping_s = VENDOR, False, 1, 0.0, 1, IDLE_PING_S
    modes: Final = {VOUCHER: RedemptionMode.ONCE}
    redeems = modes.keys()

    def __init__(self):
        self.sender = self.lookup = self.writer = self
        self.mode, self.refuses = "up", set()
        self.people: dict[str, set[Identifier]] = {}
        self.made: list[tuple[Identifier, ...]] = []
        self.arrived: dict[str, list] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self.used: set[str] = set()
        self.touched: list[str] = []
        self.rows: dict[bytes, tuple[Identifier, ...]] = {}
        self.batches: dict[str, list[bytes]] = {}
        self.carried_out: dict[str, list[RowWord]] = {}
        self.add({phone_of(MEMBER_FROM_THE_START), email_of(MEMBER_FROM_THE_START)})

    def add(self, names):
        number = str(20_000_001 + len(self.people))
        self.people[number] = {*names, Identifier(ID, contact_id_of(number)), Identifier(MEMBER, number)}
        return number

    def numbers(self, identifier):
        return [number for number, names in self.people.items() if identifier in names]

    def _reached(self):
        if self.mode == "down":
            raise Offline

    def _heard(self):
        if self.mode == "deaf":
            raise Offline(maybe_received=True)
        if self.mode == "fatal":
            self.mode = "up"
            raise Killed

    def spelled(self, _kind, id_):
        return id_

    def knows(self, identifier):
        return identifier.type in (ID, MEMBER, PHONE, EMAIL)

    async def find(self, identifier, *, timeout_s, pace):
        await pace()
        self._reached()
        numbers = self.numbers(identifier)
        if len(numbers) != 1:
            return Found(Outcome.AMBIGUOUS if numbers else Outcome.NOT_FOUND)
        return Found(Outcome.MATCHED, member_key(numbers[0]), contact_id_of(numbers[0]))

    def without_place(self, _contact):
        return ()

    async def create(self, contact, identifiers, *, store_id, pace):
        await pace()
        self._reached()
        self.made.append(tuple(identifiers))
        if self.refuses.intersection(identifiers):
            self._heard()
            raise ContactRefusedError(422, "ValidationError")
        number = self.add(identifiers)
        self._heard()
        return Found(Outcome.MATCHED, member_key(number), contact_id_of(number))

    async def send(self, batch):
        (outgoing,) = batch
        name = outgoing.transaction.transaction_id
        if self.mode == "down":
            return [AWAY]
        self.arrived[name].append((outgoing.key, frozenset(self.people)))
        before, self.counts[name] = self.counts[name], 1
        if self.mode == "fatal":
            self._heard()
        if self.mode == "deaf":
            return [UNHEARD]
        return [TWICE if before else DONE]

    async def ping(self):
        self._reached()

    # --- several by one call; its phone is a member's key

    max_rows, max_bytes = 100, 1 << 20

    def key_of(self, made):
        return next((one for one in made.identifiers if one.type is PHONE), None)

    def row(self, made, *, store_id):
        row = made.own_key.value.encode()
        self.rows[row] = (*made.identifiers, made.own_key.identifier)
        return row

    async def send_several(self, rows, *, pace):
        await pace()
        self._reached()
        name = f"b-{len(self.batches)}"
        self.batches[name] = list(rows)
        self._heard()
        return BulkSent(name, 202)

    def carry_out(self):
        for name, rows in self.batches.items():
            if name not in self.carried_out:
                self.carried_out[name] = [self._word(self.rows[row]) for row in rows]

    def _word(self, names):
        (key,) = [one for one in names if one.type is PHONE]
        makes = not self.numbers(key) and not self.refuses.intersection(names)
        if makes:
            self.add(names)
        return RowWord(makes, None if makes else key.value)

    async def said(self, vendor_id, *, size, pace):
        await pace()
        self._reached()
        self._heard()
        assert vendor_id not in self.carried_out or len(self.carried_out[vendor_id]) == size
        return self.carried_out.get(vendor_id)

    async def find_made(self, made, *, sure, timeout_s, pace):
        await pace()
        self._reached()
        numbers = self.numbers(made.own_key.identifier)
        assert numbers or not sure, "who is said to be made is there"
        return Found(Outcome.MATCHED, member_key(numbers[0]), contact_id_of(numbers[0])) if numbers else None

    async def standing(self, one, *, timeout_s, pace):
        await pace()
        self.touched.append(one.id)
        self._reached()
        if not self.numbers(one.key.identifier):
            return VendorStanding(Standing.ABSENT)
        return VendorStanding(Standing.USED if one.id in self.used else Standing.AVAILABLE)

    async def redeem(self, one, *, timeout_s, pace):
        await pace()
        self.touched.append(one.id)
        self._reached()
        used = one.id in self.used
        self.used.add(one.id)
        self._heard()
        return VendorWord(Reason.USED, "AlreadyRedeemed") if used else VendorWord()

    async def release(self, one, *, timeout_s, pace):
        await pace()
        self.touched.append(one.id)
        self._reached()
        self.used.discard(one.id)
        self._heard()
        return VendorWord()


class Several:
    """The vendor's way to take several; two of its calls have the names of others."""

    max_rows, max_bytes = Vendor.max_rows, Vendor.max_bytes

    def __init__(self, vendor):
        self.key_of, self.row, self.said = vendor.key_of, vendor.row, vendor.said
        self.send, self.find = vendor.send_several, vendor.find_made


class Till:
    """One run of the program over the files of a directory."""

    def __init__(self, directory, stack, run, clock, vendor, *, together=False):
        self.clock, self.vendor, self.conditions, self.outbox = clock, vendor, Conditions(), None
        recipients = (Recipient(VENDOR, guests=False, owner=True),)
        outbox = stack.enter_context(open_outbox(directory / "outbox.db", run=f"run-{run}", recipients=recipients))
        writer, reader = outbox._writer, outbox._reader
        file = ReplicaFile(DatabaseFile(directory / "replica.db", None, "NORMAL"), STORAGE_KEY, MEMBER)
        self.outbox, self.reader, self.store = outbox, reader, SqliteReplicaStore(file)
        self.replica = replica = ToldReplica(file)
        stack.callback(replica.close)
        normaliser, handles = Normaliser("SE"), Handles(clock)
        self.made_here = Enrolments(writer, reader, names=NAMES)
        self.newcomers = Newcomers(self.made_here)
        self.contacts = LocalContacts(replica, TAGGING, self.newcomers)
        self.link = link = Link(
            VENDOR,
            "loyalty",
            requests_per_second=0,
            backoff_first_s=10,
            backoff_max_s=900,
            uniform=_longest,
        )
        self.redemptions = Redemptions(writer, reader, key=STORAGE_KEY, names=NAMES)
        self.identify = Identify(
            clock=clock,
            normaliser=normaliser,
            replica=replica,
            lookup=vendor,
            asking=self._asking(patient=False),
            link=link,
            handles=handles,
            named=self.redemptions.named,
            policy=IdentifyPolicy(TAGGING, DAY, frozenset(IdentifierType)),
            newcomers=self.newcomers,
        )
        self.calls = new_contacts(writer, reader)
        gathering = Gathering(
            clock=clock,
            record=self.made_here,
            calls=self.calls,
            bulk=Several(vendor),
            turns=Turns(clock, link, first_s=10.0, longest_s=900.0, uniform=_longest),
            store_id="1042",
            timeout_s=15.0,
            pace=self.pace,
            listed=LocalContacts(replica, TAGGING).lists,
        )
        self.bringing = Bringing(
            clock=clock,
            record=self.made_here,
            newcomers=self.newcomers,
            lookup=vendor,
            writer=vendor,
            turns=Turns(clock, link, first_s=10.0, longest_s=900.0, uniform=_longest),
            manner=Manner("1042", 15.0, self.pace),
            existing=self._existing,
            sales_again=lambda key: outbox.go_again(VENDOR, key, clock.now()),
            conditions=self.conditions,
            gathering=gathering if together else None,
        )
        self.enrolling = Enrolling(
            clock=clock,
            normaliser=normaliser,
            record=self.made_here,
            newcomers=self.newcomers,
            contacts=self.contacts,
            live=self.identify.live,
            asking=self._asking(),
            bringing=self.bringing,
            link=link,
            policy=EnrolPolicy(True, PREFIX, DAY),
            room=lambda: True,
            added=lambda: None,
        )
        buffer = Buffer(
            clock=clock,
            replica=replica,
            lookup=vendor,
            writer=vendor,
            link=link,
            policy=BufferPolicy(TAGGING, live=True, unknown_at_delivery="tag", timeout_s=15.0),
            pace=self.pace,
            newcomers=self.newcomers,
            made=self.bringing.key_of,
        )
        self.lane = Lane(
            clock=clock,
            queue=outbox,
            connector=vendor,
            link=link,
            settle_tag=buffer.settle,
            corrected=link.corrected,
            policy=DispatchPolicy(flush_every_s=1.0, backoff_first_s=10.0, backoff_max_s=900.0),
            uniform=_longest,
            told=lambda _vendor, _verdict, _waited: None,
            changed=lambda: None,
            contacts=(self.bringing,),
        )
        link.on_change = self.lane.line_changed
        self.intake = Intake(
            clock=clock,
            normaliser=normaliser,
            replica=replica,
            outbox=outbox,
            room=lambda: True,
            link=link,
            policy=IntakePolicy(TAGGING, "1042", "03", UTC, DAY, recipients),
            accepted=lambda: None,
            newcomers=self.newcomers,
        )
        self.redeeming = Redeeming(
            clock=clock,
            record=self.redemptions,
            vendor=vendor,
            asking=self._asking(),
            refs=Refs(self.contacts, handles),
            spend_with=frozenset(IdentifierType),
            unasked=ALLOWED,
            remembered=self._remembered,
            over=lambda _key, _kind, _id: None,
            conditions=self.conditions,
        )
        self.erased = ErasedPeople(writer, reader)
        self.privacy = Privacy(
            clock=clock,
            readings=lambda said: (normaliser.normalise(IdentifierType(said.type), said.value, today=clock.today()),),
            contacts=ReplicaPeople(replica, asyncio.Lock()),
            sales=PersonalSales(outbox, writer, reader, names=NAMES, guests=()),
            benefits=_Memory(handles),
            redemptions=self.redemptions,
            enrolments=self.made_here,
            refused=self.erased,
            notices=Notices(
                clock=clock,
                outbox=Activities(outbox, writer),
                primary=MEMBER,
                recipients=recipients,
                place=("1042", "03"),
                announced=lambda: None,
            ),
            trail=Audit(
                clock=clock,
                trail=AuditTrail(directory),
                anchor=AuditAnchor(writer, reader),
                told=lambda _intact: None,
            ),
            kept=_NoFiles(),
            handed_over=(),
            spool=lambda: 0,
            conditions=self.conditions,
            feed_halted=_nothing_halted,
            lanes_halted=self.lane.halted,
            alone=asyncio.Lock(),
            changed=self.bringing.tell,
        )

    async def pace(self):
        pass

    async def _existing(self, _made, _key):
        """Nobody here says no to anything, and all else of whom the vendor has already is not kept."""

    def _asking(self, *, patient=True):
        return Asking(self.clock, self.link, live=True, budget_s=60.0, patient=patient)

    def _remembered(self, key):
        """Whoever is a member at the vendor was told of their vouchers a moment ago."""
        numbers = self.vendor.numbers(key.identifier)
        if not numbers:
            return None
        person = next(person for person in PEOPLE if phone_of(person) in self.vendor.people[numbers[0]])
        worth = Worth("money", Decimal(20), "SEK")
        items = tuple(Benefit(VOUCHER, id_, "A voucher", worth, None, None) for id_ in vouchers_of(person))
        return Remembered(Benefits(None, items), self.clock.now(), self.clock.monotonic())

    async def turns(self):
        """The lane works as long as it has something to do."""
        for _ in range(200):
            if not await self.lane._turn_alone():
                return
        raise AssertionError("the lane comes to no end")

    def states(self):
        rows = self.reader.execute(
            "SELECT s.transaction_id, coalesce(d.state, 'none'), d.entry"
            " FROM sales AS s LEFT JOIN deliveries AS d ON d.sale = s.id"
        )
        return {name: (state, entry) for name, state, entry in rows}


def _longest(_low, high):
    return high


class _Memory:
    """What is remembered of benefits goes with the handles, as at the desk."""

    def __init__(self, handles):
        self.forget = handles.forget

    def export(self, _names):
        return []


class _NoFiles:
    async def purge(self, _taken_before, _now):
        return 0


@asynccontextmanager
async def _nothing_halted():
    yield


@dataclass
class Person:
    """What the model knows of somebody since they were erased last.

    Attributes:
        mailed: they gave an address before the vendor had them.
        own: the numbers of this till's own series that they were told.
        ref: under which handle they were made here.
        wanted: a till has asked for them to become a contact.
        holds: for which sale each voucher was given.
        asked: a till has asked for one of them.
    """

    own: list = field(default_factory=list)
    ref: str | None = None
    mailed: bool = False
    wanted: bool = False
    holds: dict = field(default_factory=dict)
    asked: bool = False


class Shop(RuleBasedStateMachine):
    """Random days."""

    together = False

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = ExitStack()
        self.directory = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.stack.enter_context(mock.patch.object(together, "FEWEST", 2))
        self.clock, self.vendor = FakeClock(), Vendor()
        self.people = {person: Person() for person in PEOPLE}
        self.sales: dict[str, int] = {}
        self.erased_sales: dict[str, int] = {}
        self.files = self.runs = self.redeemed = 0
        self.open, self.till = None, None

    def wait(self, work):
        return self.loop.run_until_complete(work)

    @initialize()
    def start(self):
        self.runs += 1
        self.open = ExitStack()
        self.till = Till(self.directory, self.open, self.runs, self.clock, self.vendor, together=self.together)

    def teardown(self):
        if self.open is not None:
            self.open.close()
        self.stack.close()
        self.loop.close()

    # --- the till -------------------------------------------------------------------------------------------------

    @rule(person=st.sampled_from(PEOPLE), mailed=st.booleans())
    @survived
    def joins(self, person, mailed):
        """Somebody wants to be a member; the vendor may refuse what they gave."""
        given = {"first_name": f"Zaphira{person}", "mobile_phone": phone_of(person).value}
        if mailed:
            given["email"] = email_of(person).value
        them = self.people[person]
        them.wanted = True
        try:
            made = self.wait(self.till.enrolling.enrol(NewContact(**given)))
        except ContactRefusedError:
            return
        except UnderWayError:
            assert self.together, "who is on the way with others is"
            return
        finally:  # what is said of somebody whom the vendor has already goes nowhere
            them.mailed = self.till.made_here.find((email_of(person),)) != ()
        if made.member.own:
            them.own.append(made.member.key)
        if made.state in ("queued", "parked") and them.ref is not None:
            assert made.member.ref == them.ref, "whoever was made here stays one"
        if made.state != "existing":
            them.ref = made.member.ref
        if made.member.key.type is MEMBER:
            assert phone_of(person) in self.vendor.people[made.member.key.value]

    @rule(person=st.sampled_from(PEOPLE), hows=st.lists(st.sampled_from(HOWS), min_size=1, max_size=3))
    def buys(self, person, hows):
        """By what they say, by the key that the till was told, by a slip with this till's number, as a newcomer."""
        for how in hows:
            self._sell(person, how)

    def _sell(self, person, how):
        them, name = self.people[person], f"s-{len(self.sales)}"
        said = {"identifier": {"type": "mobile_phone", "value": phone_of(person).value}}
        if how == "mail" and them.mailed and them.ref is not None:
            said = {"identifier": {"type": "email", "value": email_of(person).value}}
        if how == "gives":
            said = {"new_contact": {"first_name": f"Zaphira{person}", "mobile_phone": phone_of(person).value}}
            them.wanted = True
        if how == "slip" and them.own:
            said = {"integration_key": them.own[-1].model_dump(mode="json")}
        if how == "found":
            found, _ = self.till.contacts.find((phone_of(person),))
            if found:
                said = {"integration_key": found[0].key.model_dump(mode="json")}
        self.wait(self.till.intake.accept(transaction(name, **said)))
        self.sales[name] = person

    @rule(person=st.sampled_from(PEOPLE), letter=st.sampled_from(VOUCHERS), again=st.booleans())
    @survived
    def uses_a_voucher(self, person, letter, again):
        """For a sale of its own, or for the one it was used for already."""
        id_, them = f"v-{person}-{letter}", self.people[person]
        found = self.wait(self.till.identify.identify(_said(phone_of(person))))
        if found.member is None:
            return
        self.redeemed += 1
        them.asked = True
        name = them.holds[id_] if again and id_ in them.holds else f"r-{self.redeemed}"
        told = self.wait(self.till.redeeming.redeem(Wanted(found.member.ref, VOUCHER, id_, name, Decimal(20))))
        if told.outcome in GIVEN:
            assert them.holds.setdefault(id_, name) == name, "a voucher was given for two sales"
        else:
            assert them.holds.get(id_) != name, "what was given was taken back unasked"

    @precondition(lambda self: any(them.holds for them in self.people.values()))
    @rule(data=st.data())
    @survived
    def gives_a_voucher_back(self, data):
        """Its sale is voided."""
        held = [(them, id_) for them in self.people.values() for id_ in them.holds]
        them, id_ = data.draw(st.sampled_from(held))
        told = self.wait(self.till.redeeming.release(VOUCHER, id_, them.holds.pop(id_)))
        assert told.outcome in ("released", "queued")

    # --- the vendor -----------------------------------------------------------------------------------------------

    @rule(mode=st.sampled_from(["up", "down", "deaf", "fatal"]))
    def the_line(self, mode):
        """It is there, it is not, nothing comes back, or the program is killed before it does."""
        self.vendor.mode = mode

    @rule(person=st.sampled_from(PEOPLE))
    def refuses(self, person):
        """The vendor will have nothing of somebody, or has changed its mind."""
        self.vendor.refuses ^= {phone_of(person)}

    @rule(seconds=st.sampled_from([0, 11, 1_000, 20_000]))
    @survived
    def works(self, seconds):
        """Pauses end, and visits; the lane has its turn, and so has whoever settles what is open of vouchers."""
        self.clock.advance(seconds)
        self.vendor.touched.clear()
        self.wait(self.till.turns())
        self.wait(self.till.redeeming.settle())
        asked = {id_ for person, them in self.people.items() if them.asked for id_ in vouchers_of(person)}
        assert asked.issuperset(self.vendor.touched), "a voucher of somebody who was erased was asked about"

    @rule()
    def is_told_by_the_export(self):
        """Everybody whom the vendor has comes back in a file."""
        changes = [
            ContactChange(ChangeKind.UPSERT, {name.type: name.value for name in names}, {}, full_row=True)
            for names in self.vendor.people.values()
        ]
        self.files += 1
        store = self.till.store.refusing(self.till.erased.refusals())
        with store.open_loader(rebuild=False) as loader:
            file = AppliedFile(f"file-{self.files}.xml", self.files, f"{self.files:064x}")
            counts = loader.apply_file(file, store.digest(changes), at=self.clock.now())
            loader.finish(as_of=self.clock.now())
        self.till.replica.refresh()
        self.wait(self.till.privacy.heard(counts.refused, counts.removed, counts.named))
        self.wait(self.till.privacy.carry_out())

    # --- the agent ------------------------------------------------------------------------------------------------

    @rule()
    def starts_again(self):
        """What was in memory is gone."""
        self.open.close()
        self.start()

    def _known(self):
        """Whoever left something here since they were erased last."""
        bought = {whose for sale, whose in self.sales.items() if sale not in self.erased_sales}
        return [person for person, them in self.people.items() if person in bought or them.wanted or them.asked]

    @precondition(lambda self: len(self._known()) > 2)
    @rule(data=st.data(), by=st.sampled_from(["phone", "mail", "slip"]))
    def is_erased(self, data, by):
        """By what this till can know them by: no byte of theirs is left."""
        person = data.draw(st.sampled_from(self._known()))
        them = self.people[person]
        name = phone_of(person)
        if by == "mail" and them.mailed and them.ref is not None:
            name = email_of(person)
        if by == "slip" and them.own:
            name = them.own[-1].identifier
        self.wait(self.till.privacy.erase(_said(name), "officer"))
        if by == "slip":  # which says nothing of somebody at the vendor who was named by the phone
            self.wait(self.till.privacy.erase(_said(phone_of(person)), "officer"))
        gone = [phone_of(person).value, email_of(person).value, f"Zaphira{person}", *vouchers_of(person)]
        gone += [key.value for key in them.own] + self.vendor.numbers(phone_of(person))
        for path in self.directory.iterdir():
            content = path.read_bytes()
            assert [one for one in gone if one.encode() in content] == [], path.name
        self.people[person] = Person()
        for sale in [sale for sale, whose in self.sales.items() if whose == person and sale not in self.erased_sales]:
            self.erased_sales[sale] = len(self.vendor.arrived[sale])

    @rule()
    def all_is_well(self):
        """The vendor is there and takes everything: nothing is left undone."""
        self.vendor.mode, self.vendor.refuses = "up", set()
        for person, them in self.people.items():
            made = self.till.made_here.find((phone_of(person),))
            if any(one.state == "parked" for one in made):
                self.joins(person, them.mailed)
        unheard = any(call.vendor_id is None for call in self.till.calls.open())
        for _ in range(4 + OWN_FAILURES if unheard else 4):
            self.clock.advance(LONG_S)
            for state, entry in self.till.states().values():
                if state == "parked":
                    self.wait(self.till.outbox.retry(entry, self.clock.now()))
            self.wait(self.till.lane.flush())
            self.wait(self.till.turns())
            self.wait(self.till.redeeming.settle())
            self.vendor.carry_out()
        states = self.till.states()
        for name in self.sales.keys() - self.erased_sales.keys():
            assert (states[name][0], self.vendor.counts[name]) == ("delivered", 1), name
        for them in self.people.values():
            assert them.holds.keys() <= self.vendor.used, "a voucher that was given is used up"
        assert self.till.made_here.queued(10) == []

    # --- always ---------------------------------------------------------------------------------------------------

    @invariant()
    def nobody_is_made_twice(self):
        """However often they were asked for, here and at the vendor; and nobody who was erased since."""
        for person in PEOPLE:
            assert len(self.vendor.numbers(phone_of(person))) <= 1
        for identifiers in self.vendor.made:
            (person,) = [person for person in PEOPLE if phone_of(person) in identifiers]
            assert self.people[person].wanted, "somebody who was erased was made a member"
        self.vendor.made.clear()

    @invariant()
    def sales_go_under_the_vendors_key(self):
        """From the moment that it has somebody; never under this till's number; a sale under one key only."""
        for name, arrivals in self.vendor.arrived.items():
            assert len({key for key, _ in arrivals}) <= 1, "a sale went out under two keys"
            for key, there in arrivals[:1]:
                assert not key.value.startswith(PREFIX)
                has = set(self.vendor.numbers(phone_of(self.sales[name]))) & there
                assert not has or key.value in has, "the vendor had them, and the sale went under something else"

    @invariant()
    def nothing_of_the_erased_goes_out(self):
        """What was waiting when they were erased stays."""
        assert {name: len(self.vendor.arrived[name]) for name in self.erased_sales} == self.erased_sales

    @invariant()
    def nothing_is_lost(self):
        """Each sale is on record, waiting, delivered or parked; who was made here is found by what they gave."""
        if self.till is None:
            return
        states = self.till.states()
        assert states.keys() == self.sales.keys()
        for name in self.sales.keys() - self.erased_sales.keys():
            assert states[name][0] in ("queued", "delivered", "parked"), name
            assert states[name][0] != "delivered" or self.vendor.counts[name] == 1
        for person, them in self.people.items():
            if them.ref is not None:
                found, _ = self.till.contacts.find((phone_of(person),))
                assert len(found) == 1, "whoever was made here is one person"


def _said(identifier):
    return IdentifierStatement(type=identifier.type.value, value=identifier.value)


class Together(Shop):
    """The same where the vendor takes several new contacts by one call, which it gets to when it gets to it."""

    together = True

    @rule(people=st.permutations(PEOPLE))
    @survived
    def an_outage(self, people):
        """Several join while nobody answers, and the line comes back.

        None of them has a sale that the vendor has taken unheard: under which key that goes is not their call's doing.
        """
        states = self.till.states()
        unheard = {self.sales[name] for name in self.vendor.arrived if states[name][0] == "queued"}
        self.vendor.mode = "down"
        for person in [one for one in people if one not in unheard][:3]:
            self.joins(person, mailed=person % 2 == 0)
        self.vendor.mode = "up"

    @rule()
    def carries_out(self):
        """What it has taken becomes members, whoever waits to hear of it; who is there already is not made again."""
        self.vendor.carry_out()


@seed(SEED)
class Patient(Shop):
    """The same, for longer."""

    def __init__(self):
        super().__init__()
        note(f"SEED={SEED}")


common = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
TestShop = Shop.TestCase
TestShop.settings = settings(max_examples=40, stateful_step_count=25, **common)
TestTogether = Together.TestCase
TestTogether.settings = settings(max_examples=40, stateful_step_count=25, **common)
TestPatientShop = pytest.mark.slow(pytest.mark.timeout(900)(Patient.TestCase))
TestPatientShop.settings = settings(
    max_examples=1_000, stateful_step_count=50, derandomize=False, database=None, **common
)
