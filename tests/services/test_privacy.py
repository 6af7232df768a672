"""Everything about one person, in a real outbox and a real replica: whom it is about, what goes, what is said."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from told import ToldReplica

from agent.domain.activity import MemberEvent
from agent.domain.benefits import BenefitKind
from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.health import Conditions
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.transaction import IdentifierStatement, NewContact
from agent.errors import AmbiguousPersonError, IdentifierInvalidError, StorageError, StorageFullError
from agent.ports import ChangePage, ErasureRequest, Recipient, RedemptionWish, Settled
from agent.services.audit import Audit
from agent.services.notices import Notices
from agent.services.privacy import REBUILD_EVERY_S, Privacy
from agent.store import replica_writer
from agent.store.activities import Activities
from agent.store.audit import AuditAnchor, AuditTrail
from agent.store.database import DatabaseFile
from agent.store.enrolments import Enrolments
from agent.store.persons import PersonalSales
from agent.store.redemptions import Redemptions
from agent.store.refusals import ErasedPeople
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile
from agent.store.replica_people import ReplicaPeople
from agent.store.revisions import Revisions
from tests.fakes import (
    NAMES,
    NOW,
    STORAGE_KEY,
    VENDOR,
    FakeClock,
    acceptance,
    member_key,
    open_outbox,
    phone,
    phone_key,
)

ID, MEMBER, PHONE, EMAIL = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.EMAIL,
)
ALMA = {
    ID: "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10",
    MEMBER: "10000421",
    PHONE: "+46701740605",
    EMAIL: "alma@example.com",
}
BO = {ID: "5b8d7a90-21b4-4d0f-8a77-9f0f3f9f1c22", MEMBER: "10000422", PHONE: ALMA[PHONE], EMAIL: "bo@example.com"}
BYSTANDER = "bystander"
DAY = timedelta(days=1)


class RememberedBenefits:
    """What is remembered of benefits: who was asked about, and how often it was forgotten."""

    def __init__(self):
        self.forgotten = 0

    def forget(self):
        self.forgotten += 1

    def export(self, names):
        return [{"named": sorted(f"{name.type.value} {name.value}" for name in names)}]


class WaitingFiles:
    """Files that wait to be fetched, each row with whose it is and the sale; who was erased in them."""

    def __init__(self):
        self.rows, self.away = [], False

    async def erase(self, is_theirs, transaction_ids):
        if self.away:
            raise StorageError("the folder is not there")
        left = [
            (number, sale)
            for number, sale in self.rows
            if not (is_theirs(Identifier(MEMBER, number)) or sale in transaction_ids)
        ]
        gone, self.rows = len(self.rows) - len(left), left
        return gone


class World:
    """A till's two databases, who looks after the people in them, and what was halted meanwhile."""

    def __init__(self, tmp_path, outbox, *, tells=False):
        self.directory, self.outbox, self.clock, self.conditions = tmp_path, outbox, FakeClock(), Conditions()
        file = ReplicaFile(DatabaseFile(tmp_path / "replica.db", None, "NORMAL"), STORAGE_KEY, MEMBER)
        self.store, self.replica = SqliteReplicaStore(file), ToldReplica(file)
        writer, reader = outbox._writer, outbox._reader
        self.erased = ErasedPeople(writer, reader)
        self.trail = AuditTrail(tmp_path)
        self.audit = Audit(
            clock=self.clock, trail=self.trail, anchor=AuditAnchor(writer, reader), told=lambda _intact: None
        )
        self.people = ReplicaPeople(self.replica, asyncio.Lock())
        self.sales = PersonalSales(outbox, writer, reader, names=NAMES, guests=())
        self.normaliser = Normaliser("SE")
        self.halted: list[str] = []
        self.spooled = self.changes = self.rebuilt = 0
        self.benefits, self.files = RememberedBenefits(), WaitingFiles()
        self.redemptions = Redemptions(writer, reader, key=STORAGE_KEY, names=NAMES)
        self.enrolments = Enrolments(writer, reader, names=NAMES)
        self.kept_before, self.kept_files = [], 0
        leave_no_trace = self.people.leave_no_trace

        async def counted():
            self.rebuilt += 1
            await leave_no_trace()

        self.people.leave_no_trace = counted
        told = frozenset[str](MemberEvent) if tells else frozenset[str]()
        notices = Notices(
            clock=self.clock, outbox=Activities(outbox, writer), primary=MEMBER, place=("1042", "03"),
            recipients=(Recipient(VENDOR), Recipient("platform", owner=False, activities=told)),
            announced=self._changed,
        )  # fmt: skip
        self.privacy = Privacy(
            clock=self.clock, readings=self._readings, contacts=self.people, sales=self.sales, refused=self.erased,
            notices=notices,
            trail=self.audit, kept=self, benefits=self.benefits,
            redemptions=self.redemptions, enrolments=self.enrolments, spool=self._spool, handed_over=(self.files,),
            conditions=self.conditions,
            feed_halted=lambda: self._halt("feed"), lanes_halted=lambda: self._halt("lanes"), alone=asyncio.Lock(),
            changed=self._changed,
        )  # fmt: skip

    def _readings(self, statement):
        if statement.type == "any":
            return self.normaliser.readings(statement.value, today=NOW.date())
        return (self.normaliser.normalise(IdentifierType(statement.type), statement.value, today=NOW.date()),)

    @contextlib.asynccontextmanager
    async def _halt(self, what):
        self.halted.append(what)
        yield
        self.halted.append(f"{what} goes on")

    def _spool(self):
        self.spooled += 1
        return 0

    async def purge(self, taken_before, now):
        """As whoever keeps damaged files."""
        self.kept_before.append(taken_before)
        files, self.kept_files = self.kept_files, 0
        return files

    def _changed(self):
        self.changes += 1

    def feed(self, *changes, at=NOW):
        """The feed brings changes."""
        with self.store.refusing(self.erased.refusals()).open_writer() as writer:
            counts = writer.apply_page(ChangePage(changes, "1", last=True), at=at)
            writer.finish(as_of=at)
        return counts

    async def sell(self, name, *, verdict=None, ref=None, at=NOW, **record):
        await self.outbox.accept(replace(acceptance(name, **record), ref=ref), at)
        if verdict is not None:
            (outgoing,) = await self.outbox.lease(VENDOR, 1, at)
            await self.outbox.settle([Settled(outgoing.entry, verdict)], at)

    def erase(self, kind, value):
        return self.privacy.erase(IdentifierStatement(type=kind, value=value), "officer")

    def export(self, kind, value):
        return self.privacy.export(IdentifierStatement(type=kind, value=value), "officer")

    def remembered(self):
        """The sales whose person is remembered."""
        return {
            row[0] for row in self.outbox._reader.execute("SELECT transaction_id FROM sales WHERE erased_at IS NULL")
        }

    def recorded(self, event):
        return [entry for entry in self.trail.entries() if entry["event"] == event]

    def bytes(self):
        return b"".join(path.read_bytes() for path in self.directory.iterdir())


@pytest.fixture
async def world(tmp_path):
    with open_outbox(tmp_path / "outbox.db") as outbox:
        world = World(tmp_path, outbox)
        yield world
        world.replica.close()


def counted(**erased):
    kinds = (
        *("contacts", "sales_waiting", "sales_finished", "activities", "redemptions", "enrolments", "notes"),
        "kept_files",
        "file_rows",
    )
    return dict.fromkeys(kinds, 0) | erased


def upsert(identifiers):
    return ContactChange(ChangeKind.UPSERT, identifiers)


def delete(identifiers):
    return ContactChange(ChangeKind.DELETE, identifiers)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("contact_id", ALMA[ID].upper()),
        ("member_number", ALMA[MEMBER]),
        ("mobile_phone", "070-174 06 05"),
        ("email", "Alma@Example.com"),
        ("any", "0701740605"),
        ("any", "alma@example.com"),
        ("any", ALMA[MEMBER]),
    ],
)
async def test_a_person_is_erased_by_any_identifier(world, kind, value):
    """Whatever names them, everything of theirs goes: the contact, and their sales under whichever key."""
    world.feed(upsert(ALMA), upsert({**BO, PHONE: "+46701740606"}))
    await world.sell("by-number", key=member_key(ALMA[MEMBER]))
    await world.sell("by-phone", key=phone_key(5), readings=(phone(5),), open_=True)
    await world.sell("delivered", key=member_key(ALMA[MEMBER]), verdict=Verdict(VerdictKind.DONE))
    await world.sell(BYSTANDER, key=member_key(BO[MEMBER]))
    done = await world.erase(kind, value)

    assert done.counts == counted(contacts=1, sales_waiting=2, sales_finished=1)
    assert world.remembered() == {BYSTANDER}
    assert world.replica.info().contacts == 1
    assert not [value for value in ALMA.values() if value.encode() in world.bytes()]
    assert world.halted == ["feed", "lanes", "lanes goes on", "feed goes on"]
    assert (world.spooled, world.changes) == (1, 1)


@pytest.fixture
async def telling(tmp_path):
    """A till with a further system that is told of whoever is erased."""
    with open_outbox(tmp_path / "outbox.db") as outbox:
        world = World(tmp_path, outbox, tells=True)
        yield world
        world.replica.close()


async def told(world):
    return await world.outbox.lease("platform", 9, NOW)


@pytest.mark.parametrize(
    ("kind", "value", "key", "names"),
    [
        ("mobile_phone", "070-174 06 05", ALMA[MEMBER], [PHONE]),
        ("member_number", ALMA[MEMBER], ALMA[MEMBER], []),
        ("any", ALMA[EMAIL], ALMA[MEMBER], [EMAIL]),
    ],
)
async def test_further_systems_are_asked_to_erase_them_too(telling, kind, value, key, names):
    """By the member's own key, which the local contacts knew, and by what was said; then that the member is gone."""
    telling.feed(upsert(ALMA))
    await telling.sell("theirs", key=member_key(ALMA[MEMBER]))
    done = await telling.erase(kind, value)

    deleted, erasure = await told(telling)
    assert (deleted.record.type, erasure.record.type) == (MemberEvent.DELETED, MemberEvent.ERASURE)
    assert (deleted.key.value, deleted.readings) == (key, ())
    assert (erasure.key.value, [one.type for one in erasure.readings]) == (key, names)
    assert done.requests == (ErasureRequest("platform", f"erasure-{done.id}"),)
    assert telling.recorded("privacy.erased")[0]["requests"] == 1
    assert done.counts["activities"] == 0
    assert not [value for value in ALMA.values() if value in str(done)]


async def test_whom_nobody_knows_is_asked_for_by_what_was_said(telling):
    """A phone that is in no local contact may be known elsewhere; nobody can be said to be a deleted member."""
    done = await telling.erase("mobile_phone", "070-174 06 88")
    [erasure] = await told(telling)
    assert (erasure.key, [one.value for one in erasure.readings]) == (None, ["+46701740688"])
    assert len(done.requests) == 1


async def test_what_can_be_two_things_is_asked_for_under_neither(telling):
    """Nobody is guessed at another system either."""
    done = await telling.erase("any", "0701740688")
    assert len(telling.normaliser.readings("0701740688", today=NOW.date())) > 1
    assert (await told(telling), done.requests) == ([], ())


async def test_a_request_outlives_another_erasure(telling):
    """Asked again before the first request is through, neither is erased with the person: both still go."""
    telling.feed(upsert(ALMA))
    first = await telling.erase("member_number", ALMA[MEMBER])
    again = await telling.erase("member_number", ALMA[MEMBER])
    assert {one.record.activity_id for one in await told(telling)} == {
        f"{word}-{done.id}" for done in (first, again) for word in ("deleted", "erasure")
    }


async def test_a_request_is_on_disk_before_anything_is_erased(telling):
    """The disk is full when the contacts are to be erased: the request is there, and asking again goes on."""
    telling.feed(upsert(ALMA))
    erase = telling.people.erase

    async def full(*_):
        raise StorageFullError

    telling.people.erase = full
    with pytest.raises(StorageFullError):
        await telling.erase("member_number", ALMA[MEMBER])
    assert len(await told(telling)) == 2
    telling.people.erase = erase
    assert (await telling.erase("member_number", ALMA[MEMBER])).counts["contacts"] == 1


async def test_the_receipt_names_nobody(world):
    """It says what was erased and when, and which entry of the audit trail says the same."""
    world.feed(upsert(ALMA))
    done = await world.erase("mobile_phone", ALMA[PHONE])
    (entry,) = world.recorded("privacy.erased")

    assert (entry["receipt"], entry["by"], entry["contacts"]) == (done.id, "officer", 1)
    assert world.trail.verify(done.entry).intact
    assert done.erased_at == NOW
    assert not [value for value in ALMA.values() if value in str(done) or value in str(entry)]


async def test_nobody_known_is_zeros(world):
    """Who is nowhere is erased without finding anything: nothing else is touched, and the lanes go on."""
    world.feed(upsert(ALMA))
    await world.sell(BYSTANDER, key=member_key(ALMA[MEMBER]))
    done = await world.erase("mobile_phone", "+46701740699")

    assert set(done.counts.values()) == {0}
    assert world.remembered() == {BYSTANDER}
    assert world.replica.info().contacts == 1
    assert "lanes" not in world.halted
    assert not world.erased.refusals()


@pytest.mark.parametrize("call", ["erase", "export"])
async def test_nobody_is_guessed(world, call):
    """Several people share it: nothing is erased, nothing shown, nothing recorded."""
    world.feed(upsert(ALMA), upsert(BO))
    await world.sell("s-1", key=phone_key(5))
    with pytest.raises(AmbiguousPersonError) as refused:
        await getattr(world, call)("mobile_phone", ALMA[PHONE])

    assert world.remembered() == {"s-1"}
    assert world.replica.info().contacts == 2
    assert list(world.trail.entries()) == []
    assert ALMA[PHONE] not in str(refused.value)


@pytest.mark.parametrize("call", ["erase", "export"])
async def test_a_value_that_cannot_be_one(world, call):
    """What cannot be of its type is refused before anything is halted."""
    with pytest.raises(IdentifierInvalidError):
        await getattr(world, call)("email", "alma")
    assert world.halted == []


async def test_what_is_shared_goes_and_what_is_anothers_stays(world):
    """A sale under a shared phone may be theirs and is erased; one that is known to be the other's is not."""
    world.feed(upsert(ALMA), upsert(BO))
    (bo,) = world.people.persons([*world._readings(IdentifierStatement(type="email", value=BO[EMAIL]))])
    await world.sell("unresolved", key=phone_key(5), readings=(phone(5),), open_=True)
    await world.sell("bo-s", key=member_key(BO[MEMBER]), readings=(phone(5),), ref=bo.member.ref)
    done = await world.erase("member_number", ALMA[MEMBER])

    assert done.counts["sales_waiting"] == 1
    assert world.remembered() == {"bo-s"}


async def test_a_member_the_replica_lost_is_found_by_contact_id(world):
    """A sale knows its member by handle, so that a contact id still leads to it when the replica is gone."""
    world.feed(upsert(ALMA))
    (alma,) = world.people.persons([*world._readings(IdentifierStatement(type="email", value=ALMA[EMAIL]))])
    await world.sell("s-1", key=member_key(ALMA[MEMBER]), ref=alma.member.ref)
    world.replica.start_over(world.replica.file)
    done = await world.erase("contact_id", ALMA[ID])

    assert done.counts == counted(sales_waiting=1)
    assert world.remembered() == set()


async def test_the_feed_cannot_bring_them_back(world):
    """An erased person is refused, and it is told for as long as they are sent; the vendor's removal ends it."""
    world.feed(upsert(ALMA))
    done = await world.erase("email", ALMA[EMAIL])
    world.privacy.tell()
    assert world.conditions.standing() == ()

    counts = world.feed(upsert(ALMA))
    await world.privacy.heard(counts.refused, counts.removed, counts.named)
    (condition,) = world.conditions.standing()
    assert (condition.code, condition.detail) == ("privacy.erasure_refused_by_feed", done.id)
    assert world.replica.info().contacts == 0

    counts = world.feed(delete({ID: ALMA[ID]}))
    await world.privacy.heard(counts.refused, counts.removed, counts.named)
    assert world.conditions.standing() == ()
    assert world.feed(upsert(ALMA)).inserted == 1, "registered again by the vendor's own decision"


async def test_a_stranger_named_by_contact_id_is_refused_later(world):
    """Somebody who is to be erased before the feed brings them is never let in."""
    await world.erase("contact_id", ALMA[ID])
    assert world.feed(upsert(ALMA)).refused
    assert world.replica.info().contacts == 0


async def sent(world, *changes):
    """The feed brings changes, and what it says of the erased is heard; the receipts that are told then."""
    counts = world.feed(*changes)
    await world.privacy.heard(counts.refused, counts.removed, counts.named)
    return [one.detail for one in world.conditions.standing()]


@pytest.mark.parametrize("kind", ["contact_id", "member_number"])
async def test_asking_again_by_another_name(world, kind):
    """Who is refused already stays under the first receipt: the vendor's removal ends all of it."""
    world.feed(upsert(ALMA))
    done = await world.erase("email", ALMA[EMAIL])
    assert (await world.erase(kind, ALMA[IdentifierType(kind)])).counts == counted()
    assert await sent(world, upsert(ALMA)) == [done.id]
    assert await sent(world, delete({ID: ALMA[ID]})) == []
    assert not world.erased.refusals()
    assert world.feed(upsert(ALMA)).inserted == 1, "restored by the vendor's own decision"


@pytest.mark.parametrize(
    "names",
    [("member_number",), ("member_number", "contact_id"), ("contact_id", "member_number")],
    ids=["number", "number, then id", "id, then number"],
)
@pytest.mark.parametrize("named", [ID, MEMBER], ids=["removed by id", "removed by number"])
async def test_a_stranger_s_refusal_ends_by_whichever_name(world, names, named):
    """What the feed brings says who is who: one person is one refusal, and is removed by the contact id alone, too."""
    receipts = []
    for name in names:
        receipts.append((await world.erase(name, ALMA[IdentifierType(name)])).id)
        world.clock.advance(1)
    assert await sent(world, upsert(ALMA)) == receipts[:1]
    assert (await world.erase("member_number", ALMA[MEMBER])).counts == counted()
    assert await sent(world, upsert(ALMA)) == receipts[:1]
    assert await sent(world, delete({named: ALMA[named]})) == []
    assert not world.erased.refusals()
    assert world.feed(upsert(ALMA)).inserted == 1, "restored by the vendor's own decision"


async def test_asking_again_by_number_once_the_feed_has_said_whose_it_is(world):
    """Erased by the contact id before the feed brought them; by the number they are known since."""
    done = await world.erase("contact_id", ALMA[ID])
    await sent(world, upsert(ALMA))
    await world.erase("member_number", ALMA[MEMBER])
    export = await world.export("member_number", ALMA[MEMBER])
    assert [one.receipt for one in export.erased_before] == [done.id]
    assert await sent(world, delete({ID: ALMA[ID]})) == []
    assert not world.erased.refusals()


async def test_registering_anew_is_possible(world):
    """With a new contact id the same phone and address are somebody who is not erased."""
    world.feed(upsert(ALMA))
    await world.erase("email", ALMA[EMAIL])
    world.feed(upsert({**ALMA, ID: BO[ID], MEMBER: "10000999"}))
    assert world.replica.info().contacts == 1


@pytest.mark.parametrize(("room", "step"), [("sales", "traces"), ("sales", "erase"), ("people", "erase")])
async def test_what_fails_is_asked_for_again(world, monkeypatch, room, step):
    """An erasure that the disk interrupts says so, keeps refusing the person, and is finished by the next.

    By whatever names them: nothing that leads to the rest is gone before the rest is.
    """
    world.feed(upsert(ALMA))
    await world.sell("s-1", key=phone_key(5))
    await world.sell("s-2", key=member_key(ALMA[MEMBER]))

    async def refuse(*_):
        raise StorageError("the write-ahead log is in use")

    with monkeypatch.context() as patch:
        patch.setattr(getattr(world, room), step, refuse)
        with pytest.raises(StorageError):
            await world.erase("mobile_phone", ALMA[PHONE])
    assert world.erased.refusals()
    done = await world.erase("mobile_phone", ALMA[PHONE])
    assert done.counts["contacts"] == 1
    assert world.remembered() == set()
    assert not [value for value in ALMA.values() if value.encode() in world.bytes()]


async def test_a_replica_that_cannot_be_rebuilt_is_rebuilt_when_asked_again(world, monkeypatch):
    """The row was taken out and its traces were not: the next one knows."""
    world.feed(upsert(ALMA))
    await world.sell("s-1", key=member_key(ALMA[MEMBER]))

    def refuse(_connection):
        raise StorageError("there is no room")

    with monkeypatch.context() as patch:
        patch.setattr(replica_writer, "erase_leftovers", refuse)
        with pytest.raises(StorageError):
            await world.erase("mobile_phone", ALMA[PHONE])
    done = await world.erase("mobile_phone", ALMA[PHONE])
    assert set(done.counts.values()) == {0}
    assert world.remembered() == set()
    assert not [value for value in ALMA.values() if value.encode() in world.bytes()]


async def test_damaged_files_that_were_kept_go_whole(world):
    """Nobody can be searched for in them, so none outlives an erasure, however new it is; receipt and trail say so."""
    world.feed(upsert(ALMA))
    world.kept_files = 3
    done = await world.erase("mobile_phone", "070-174 06 77")
    (before,) = world.kept_before
    assert before > NOW + timedelta(days=36_500)
    assert {name: count for name, count in done.counts.items() if count} == {"kept_files": 3}
    (entry,) = world.recorded("privacy.erased")
    assert entry["kept_files"] == 3


@pytest.mark.parametrize("how", ["asked", "by the feed"])
async def test_files_that_wait_to_be_fetched(world, how):
    """Whoever is erased goes from them by their key, and by their sales where the file has a key nobody knows here."""
    world.feed(upsert(ALMA), upsert({**BO, PHONE: "+46701740606"}))
    await world.sell("s-1", key=phone_key(5), verdict=Verdict(VerdictKind.DONE), at=NOW - DAY)
    world.files.rows = [(ALMA[MEMBER], "old"), ("made-there", "s-1"), (BO[MEMBER], "s-2")]
    if how == "asked":
        assert (await world.erase("mobile_phone", ALMA[PHONE])).counts["file_rows"] == 2
    else:
        world.feed(delete({ID: ALMA[ID]}))
        await world.privacy.carry_out()
        (entry,) = world.recorded("privacy.erased_by_feed")
        assert entry["file_rows"] == 2
    assert world.files.rows == [(BO[MEMBER], "s-2")]


async def test_files_that_cannot_be_gone_through(world):
    """Nobody hears that they are erased, and asked again they are found."""
    world.feed(upsert(ALMA))
    world.files.rows, world.files.away = [(ALMA[MEMBER], "old")], True
    with pytest.raises(StorageError):
        await world.erase("mobile_phone", ALMA[PHONE])
    world.files.away = False
    assert (await world.erase("mobile_phone", ALMA[PHONE])).counts["file_rows"] == 1
    assert world.files.rows == []


async def test_files_when_the_agent_stops_in_the_middle(world, monkeypatch):
    """Whom the feed has removed is gone from them before the sales are, which alone say whose some rows are."""
    world.feed(upsert(ALMA))
    await world.sell("s-1", key=phone_key(5), verdict=Verdict(VerdictKind.DONE), at=NOW - DAY)
    world.files.rows = [("made-there", "s-1"), (BO[MEMBER], "s-2")]
    world.feed(delete({ID: ALMA[ID]}))

    async def stops():
        raise StorageError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(world.privacy._contacts, "leave_no_trace", stops)
        with pytest.raises(StorageError):
            await world.privacy.carry_out()
    await world.privacy.carry_out()
    assert world.files.rows == [(BO[MEMBER], "s-2")]


async def test_files_that_cannot_be_gone_through_keep_nothing_else(world):
    """A folder that is away leaves nothing of a removed person but itself, and they stay to be carried out."""
    world.feed(upsert(ALMA))
    await world.sell("s-1", key=phone_key(5), verdict=Verdict(VerdictKind.DONE), at=NOW - DAY)
    world.files.rows, world.files.away = [(ALMA[MEMBER], "old")], True
    world.feed(delete({ID: ALMA[ID]}))
    with pytest.raises(StorageError):
        await world.privacy.carry_out()
    assert world.outbox.story("s-1").erased_at is not None
    world.files.away = False
    await world.privacy.carry_out()
    assert world.files.rows == []


async def test_what_is_sold_while_they_are_being_erased_goes_too(world, monkeypatch):
    """A till that is quicker than the erasure still finds them in the replica; nothing of that is left either."""
    world.feed(upsert(ALMA))
    await world.sell("s-1", key=phone_key(5))
    erase = world.people.erase

    async def sold_meanwhile(identity, keys):
        await world.sell("s-2", key=member_key(ALMA[MEMBER]))
        return await erase(identity, keys)

    monkeypatch.setattr(world.people, "erase", sold_meanwhile)
    done = await world.erase("mobile_phone", ALMA[PHONE])
    assert done.counts["sales_waiting"] == 2
    assert world.remembered() == set()


async def test_whom_the_vendor_removed_is_erased_from_the_queue(world):
    """A contact id is all that the feed says: every sale of theirs is found by what the replica knew of them."""
    world.feed(upsert(ALMA))
    await world.sell("by-phone", key=phone_key(5), readings=(phone(5),), open_=True, at=NOW - timedelta(days=20))
    await world.sell("by-number", key=member_key(ALMA[MEMBER]), at=NOW - timedelta(days=20))
    await world.sell(BYSTANDER, key=phone_key(6), at=NOW - timedelta(days=20))
    await world.sell("later", key=phone_key(5), at=NOW + timedelta(seconds=1))
    world.feed(delete({ID: ALMA[ID]}))
    await world.privacy.carry_out()

    assert world.remembered() == {BYSTANDER, "later"}, "a later sale may be another's who has the number now"
    (entry,) = world.recorded("privacy.erased_by_feed")
    assert (entry["contacts"], entry["sales_waiting"]) == (1, 2)
    assert world.halted == ["lanes", "lanes goes on"]
    await world.privacy.carry_out()
    assert len(world.recorded("privacy.erased_by_feed")) == 1, "carried out once"


async def test_a_removal_reaches_a_sale_by_its_member_s_handle(world):
    """The replica is new and never knew more than the removal: the sale still knows whose it was."""
    world.feed(upsert(ALMA))
    (alma,) = world.people.persons([*world._readings(IdentifierStatement(type="email", value=ALMA[EMAIL]))])
    await world.sell("s-1", key=member_key(ALMA[MEMBER]), ref=alma.member.ref, at=NOW - timedelta(days=20))
    world.replica.start_over(world.replica.file)
    world.feed(delete({ID: ALMA[ID]}))
    await world.privacy.carry_out()
    assert world.remembered() == set()


async def test_a_quiet_feed_costs_nothing(world):
    """Nobody was removed: nothing is read, nothing is rebuilt, nothing is recorded."""
    world.feed(upsert(ALMA))
    await world.privacy.carry_out()
    assert (world.rebuilt, list(world.trail.entries()), world.halted) == (0, [], [])


async def test_the_replica_is_rebuilt_once_an_hour_at_most(world):
    """A till's disk wears: traces of the feed's removals go at once, then by the hour with the purge."""
    people = [{ID: f"{n:08}-0000-4000-8000-000000000000", MEMBER: str(n)} for n in range(3)]
    world.feed(*map(upsert, people))
    for number, seconds in enumerate((0, REBUILD_EVERY_S - 1, 1)):
        world.clock.advance(seconds)
        world.feed(delete(people[number]))
        await world.privacy.carry_out()
    assert world.rebuilt == 2
    assert len(world.recorded("privacy.erased_by_feed")) == 3


@pytest.mark.parametrize("how", ["ordered", "by the feed"])
async def test_what_is_remembered_of_benefits_goes_with_anybody(world, how):
    """Nobody is searched for in it."""
    world.feed(upsert(ALMA))
    if how == "ordered":
        await world.erase("mobile_phone", ALMA[PHONE])
    else:
        await world.privacy.carry_out()
        assert world.benefits.forgotten == 0
        world.feed(delete({ID: ALMA[ID]}))
        await world.privacy.carry_out()
    assert world.benefits.forgotten == 1


async def test_what_was_used_up_for_sales(world):
    """It is exported with its person, and goes with them, by order as by the feed's removal."""
    world.feed(upsert(ALMA), upsert({**BO, PHONE: "+46701740606"}))
    for person, name in ((ALMA, "hers"), (BO, BYSTANDER)):
        wish = RedemptionWish(member_key(person[MEMBER]), "", BenefitKind.VOUCHER, f"voucher-{name}", name)
        await world.redemptions.ask(wish, None, NOW - timedelta(hours=1))
    export = await world.export("email", ALMA[EMAIL])
    assert [row["id"] for row in export.redemptions] == ["voucher-hers"]
    done = await world.erase("mobile_phone", ALMA[PHONE])
    assert done.counts == counted(contacts=1, redemptions=1)
    assert b"voucher-hers" not in world.bytes()
    world.feed(delete({ID: BO[ID]}))
    await world.privacy.carry_out()
    assert b"voucher-" not in world.bytes()
    (entry,) = world.recorded("privacy.erased_by_feed")
    assert entry["redemptions"] == 1


async def enrol(world, *identifiers):
    """Somebody made at this till."""
    contact = NewContact(first_name="Canaryalma", mobile_phone=ALMA[PHONE])
    (made,) = (await world.enrolments.add(contact, identifiers, prefix="1042-03-", now=NOW - DAY)).enrolments
    return made


@pytest.mark.parametrize("delivered", [False, True], ids=["waiting", "delivered"])
async def test_who_was_made_at_this_till(world, delivered):
    """By the phone that they gave: their contact goes, and so does each sale that has only their number."""
    made = await enrol(world, Identifier(PHONE, ALMA[PHONE]))
    await enrol(world, Identifier(PHONE, "+46701740606"))
    await world.sell("hers", key=made.own_key, open_=True)
    await world.sell(BYSTANDER, key=member_key(BO[MEMBER]))
    if delivered:
        await world.enrolments.deliver(made.number, member_key("90817263"), None, NOW)
        await world.sell("hers-later", key=member_key("90817263"))
    export = await world.export("mobile_phone", ALMA[PHONE])
    assert [row["number"] for row in export.enrolments] == [made.own_key.value]
    assert {sale["transaction_id"] for sale in export.sales} == ({"hers", "hers-later"} if delivered else {"hers"})
    done = await world.erase("mobile_phone", ALMA[PHONE])
    assert done.counts == counted(sales_waiting=1 + delivered, enrolments=1)
    assert (world.remembered(), world.enrolments.by_ref(made.ref)) == ({BYSTANDER}, None)
    assert made.own_key.value.encode() not in world.bytes()
    assert b"90817263" not in world.bytes()
    assert world.halted[-3:] == ["lanes", "lanes goes on", "feed goes on"]


async def test_somebody_by_a_number_that_the_till_alone_knows_yet(world):
    """A change waits for the loyalty system: the new number leads to the member, and the change goes with all else."""
    world.feed(upsert(ALMA))
    changes = Revisions(world.enrolments._writer, world.enrolments._reader, names=NAMES)
    new = Identifier(PHONE, "+46701740609")
    key = member_key(ALMA[MEMBER])
    await changes.add(key, NewContact(mobile_phone=new.value), (new,), known_by=(), now=NOW)
    export = await world.export("mobile_phone", new.value)
    assert ([row["what"] for row in export.enrolments], len(export.contacts)) == (["change"], 1)
    done = await world.erase("mobile_phone", new.value)
    assert (done.counts["contacts"], done.counts["enrolments"]) == (1, 1)
    assert changes.of(key) == ()


@pytest.mark.parametrize(
    ("room", "step"), [("redemptions", "erase"), ("sales", "erase"), ("enrolments", "erase"), ("people", "erase")]
)
async def test_what_was_made_here_is_gone_on_with(world, monkeypatch, room, step):
    """Interrupted anywhere and asked for again by their number: nothing waits to be made at the vendor, or is left."""
    world.feed(upsert(ALMA))
    made = await enrol(world, Identifier(PHONE, ALMA[PHONE]))
    await world.sell("hers", key=made.own_key, open_=True)
    await redeem(world, "hers", made.own_key, ref=made.ref, names=())

    async def refuse(*_):
        raise StorageFullError

    with monkeypatch.context() as patch:
        patch.setattr(getattr(world, room), step, refuse)
        with pytest.raises(StorageFullError):
            await world.erase("member_number", ALMA[MEMBER])
    assert (await world.erase("member_number", ALMA[MEMBER])).counts["contacts"] == 1
    assert (world.enrolments.queued(5), world.remembered()) == ([], set())
    assert not [word for word in (b"Canaryalma", b"voucher-hers", made.own_key.value.encode()) if word in world.bytes()]


async def test_who_is_made_while_they_are_being_erased_goes_too(world, monkeypatch):
    """A till that makes them meanwhile is no quicker than the erasure."""
    erase = world.people.erase

    async def meanwhile(*about):
        await enrol(world, Identifier(PHONE, ALMA[PHONE]))
        return await erase(*about)

    monkeypatch.setattr(world.people, "erase", meanwhile)
    assert (await world.erase("mobile_phone", ALMA[PHONE])).counts == counted(enrolments=1)
    assert world.enrolments.queued(5) == []


@pytest.mark.parametrize(("kind", "names"), [("mobile_phone", [PHONE]), ("any", [])])
async def test_who_was_made_here_is_asked_for_by_the_vendors_key(telling, kind, names):
    """No feed has brought them yet: their contact knows the key that they go by elsewhere."""
    made = await enrol(telling, Identifier(PHONE, ALMA[PHONE]))
    await telling.enrolments.deliver(made.number, member_key("90817263"), None, NOW)
    done = await telling.erase(kind, "0701740605")
    deleted, erasure = await told(telling)
    assert (deleted.key, deleted.readings) == (member_key("90817263"), ())
    assert (erasure.key, [one.type for one in erasure.readings]) == (member_key("90817263"), names)
    assert len(done.requests) == 1


async def test_who_was_made_here_stays_out(world):
    """Erased by their phone before any feed has brought them: the feed that does is refused."""
    made = await enrol(world, Identifier(PHONE, ALMA[PHONE]))
    await world.enrolments.deliver(made.number, member_key(ALMA[MEMBER]), None, NOW)
    await world.erase("mobile_phone", ALMA[PHONE])
    world.feed(upsert(ALMA), upsert({**BO, PHONE: "+46701740606"}))
    assert world.replica.persons([member_key(ALMA[MEMBER]).identifier]) == ()
    assert world.replica.info().contacts == 1


async def test_who_was_made_here_goes_by_the_vendors_word(world):
    """The feed removes the member whom the vendor made of them: what is left of them here goes along."""
    made = await enrol(world, Identifier(PHONE, ALMA[PHONE]))
    await world.enrolments.deliver(made.number, member_key(ALMA[MEMBER]), ALMA[ID], NOW - DAY)
    await world.sell("hers", key=made.own_key, open_=True, at=NOW - DAY)
    world.feed(upsert(ALMA))
    world.feed(delete({ID: ALMA[ID]}))
    await world.privacy.carry_out()
    assert (world.remembered(), world.enrolments.by_ref(made.ref)) == (set(), None)
    (entry,) = world.recorded("privacy.erased_by_feed")
    assert (entry["enrolments"], entry["sales_waiting"]) == (1, 1)


BY_PHONE = (phone(),)


async def redeem(world, name, key, *, ref="", names=BY_PHONE):
    wish = RedemptionWish(key, ref, BenefitKind.VOUCHER, f"voucher-{name}", name, names=names)
    await world.redemptions.ask(wish, None, NOW - timedelta(hours=1))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("mobile_phone", "070-174 06 05"),
        ("any", "0701740605"),
        ("email", "Alma@example.com"),
        ("member_number", ALMA[MEMBER]),
        ("contact_id", ALMA[ID]),
    ],
)
async def test_whom_only_the_vendor_knows(world, kind, value):
    """By whatever they were named when they used something up: it is exported, and goes, with what else is theirs."""
    names = tuple(Identifier(type_, ALMA[type_]) for type_ in (ID, PHONE, EMAIL))
    await redeem(world, "hers", member_key(ALMA[MEMBER]), ref="v_1", names=names)
    await redeem(world, "hers-too", member_key(ALMA[MEMBER]), ref="v_2", names=())
    await redeem(world, BYSTANDER, member_key("7"), names=(phone(6),))
    assert [row["id"] for row in (await world.export(kind, value)).redemptions] == ["voucher-hers", "voucher-hers-too"]
    assert (await world.erase(kind, value)).counts == counted(redemptions=2)
    assert (await world.erase(kind, value)).counts == counted()
    assert b"voucher-hers" not in world.bytes()
    assert b"voucher-bystander" in world.bytes()


@pytest.mark.parametrize("call", ["erase", "export"])
async def test_two_whom_only_the_vendor_knows_and_who_share_a_phone(world, call):
    """Nobody is guessed: each is named by what is theirs alone; who is left then is the only one it names here."""
    await redeem(world, "hers", member_key(ALMA[MEMBER]))
    await redeem(world, "his", member_key(BO[MEMBER]))
    await world.sell("s-1", key=phone_key(5), readings=(phone(5),))
    with pytest.raises(AmbiguousPersonError):
        await getattr(world, call)("mobile_phone", ALMA[PHONE])
    assert (b"voucher-hers" in world.bytes(), world.remembered()) == (True, {"s-1"})
    assert (await world.erase("member_number", ALMA[MEMBER])).counts == counted(redemptions=1)
    assert (b"voucher-hers" in world.bytes(), b"voucher-his" in world.bytes()) == (False, True)
    assert (await world.erase("mobile_phone", ALMA[PHONE])).counts == counted(redemptions=1, sales_waiting=1)


@pytest.mark.parametrize("kind", ["mobile_phone", "external_id"])
async def test_who_joins_without_the_line_may_be_somebody_at_the_vendor(world, kind):
    """What whoever has their phone used up goes with them; by the number of this till's own theirs alone does."""
    made = await enrol(world, Identifier(PHONE, ALMA[PHONE]))
    await redeem(world, "hers", member_key(ALMA[MEMBER]), ref="v_1")
    value = ALMA[PHONE] if kind == "mobile_phone" else made.own_key.value
    by_phone = kind == "mobile_phone"
    assert len((await world.export(kind, value)).redemptions) == by_phone
    assert (await world.erase(kind, value)).counts == counted(enrolments=1, redemptions=by_phone)
    assert (b"voucher-hers" in world.bytes()) is not by_phone
    assert (await world.erase("mobile_phone", ALMA[PHONE])).counts == counted(redemptions=not by_phone)


async def test_who_joins_without_the_line_may_be_one_of_two_at_the_vendor(world):
    """Nobody is guessed by the phone that they share; once the vendor has said who they are it leads to them."""
    made = await enrol(world, Identifier(PHONE, ALMA[PHONE]))
    await redeem(world, "hers", member_key(ALMA[MEMBER]), ref="v_1")
    await redeem(world, "his", member_key(BO[MEMBER]), ref="v_2")
    with pytest.raises(AmbiguousPersonError):
        await world.erase("mobile_phone", ALMA[PHONE])
    assert world.enrolments.by_ref(made.ref) is not None
    await world.enrolments.deliver(made.number, member_key(ALMA[MEMBER]), None, NOW)
    assert (await world.erase("mobile_phone", ALMA[PHONE])).counts == counted(enrolments=1, redemptions=1)
    assert (b"voucher-hers" in world.bytes(), b"voucher-his" in world.bytes()) == (False, True)


@pytest.mark.parametrize("how", ["by the phone", "by the feed"])
async def test_a_member_s_phone_takes_nothing_of_another_s(world, how):
    """Who is known here by more than the phone is not whoever else was named by it."""
    world.feed(upsert(ALMA))
    await redeem(world, "hers", member_key(ALMA[MEMBER]))
    await redeem(world, "his", member_key(BO[MEMBER]))
    if how == "by the phone":
        assert [row["id"] for row in (await world.export("mobile_phone", ALMA[PHONE])).redemptions] == ["voucher-hers"]
        await world.erase("mobile_phone", ALMA[PHONE])
    else:
        world.feed(delete({ID: ALMA[ID]}))
        await world.privacy.carry_out()
    assert (b"voucher-hers" in world.bytes(), b"voucher-his" in world.bytes()) == (False, True)


async def test_a_member_who_is_there_is_not_found_by_a_phone_of_before(world):
    """What a member used up is theirs, whatever they were named by then."""
    world.feed(upsert({**ALMA, PHONE: "+46701740606"}))
    (person,) = world.replica.persons([member_key(ALMA[MEMBER]).identifier])
    await redeem(world, "hers", member_key(ALMA[MEMBER]), ref=person.member.ref)
    assert (await world.erase("mobile_phone", ALMA[PHONE])).counts == counted()
    assert (await world.erase("mobile_phone", "+46701740606")).counts == counted(contacts=1, redemptions=1)


async def test_whom_two_redeemed_for_while_one_is_erased(world, monkeypatch):
    """Who it is was settled at the beginning: another who is named by the same phone meanwhile keeps theirs."""
    await redeem(world, "hers", member_key(ALMA[MEMBER]))
    erase = world.people.erase

    async def meanwhile(*about):
        await redeem(world, "hers-too", member_key(ALMA[MEMBER]), names=())
        await redeem(world, "his", member_key(BO[MEMBER]))
        return await erase(*about)

    monkeypatch.setattr(world.people, "erase", meanwhile)
    assert (await world.erase("mobile_phone", ALMA[PHONE])).counts == counted(redemptions=2)
    assert (b"voucher-hers" in world.bytes(), b"voucher-his" in world.bytes()) == (False, True)


async def test_what_is_used_up_while_they_are_being_erased_goes_too(world, monkeypatch):
    """A till that redeems for them meanwhile finds them in the replica still."""
    world.feed(upsert(ALMA))
    erase = world.people.erase

    async def meanwhile(*about):
        wish = RedemptionWish(member_key(ALMA[MEMBER]), "", BenefitKind.VOUCHER, "voucher-hers", "s-1")
        await world.redemptions.ask(wish, None, NOW)
        return await erase(*about)

    monkeypatch.setattr(world.people, "erase", meanwhile)
    done = await world.erase("mobile_phone", ALMA[PHONE])
    assert done.counts["redemptions"] == 1
    assert b"voucher-hers" not in world.bytes()


async def test_everything_is_exported(world):
    """The contact, every sale, and what the audit trail says of them; an export is recorded itself."""
    world.feed(upsert(ALMA), upsert({**BO, PHONE: "+46701740606"}))
    await world.sell("s-1", key=phone_key(5), readings=(phone(5),), open_=True)
    await world.sell("s-2", key=member_key(ALMA[MEMBER]), verdict=Verdict(VerdictKind.DONE))
    await world.sell(BYSTANDER, key=member_key(BO[MEMBER]))
    await world.audit.record("queue.retried", by="cli", entry=1, transaction_id="s-1")
    await world.audit.record("queue.retried", by="cli", entry=3, transaction_id=BYSTANDER)
    export = await world.export("email", ALMA[EMAIL])

    assert [person.member.key.value for person in export.contacts] == [ALMA[MEMBER]]
    assert export.benefits == ({"named": [f"email {ALMA[EMAIL]}", f"member_number {ALMA[MEMBER]}"]},)
    assert [sale["transaction_id"] for sale in export.sales] == ["s-1", "s-2"]
    assert [entry["transaction_id"] for entry in export.audit] == ["s-1"]
    assert (export.withheld, export.erased_before) == (0, ())
    (entry,) = world.recorded("privacy.exported")
    assert (entry["contacts"], entry["sales"]) == (1, 2)
    assert world.remembered() == {"s-1", "s-2", BYSTANDER}


async def test_what_may_be_anothers_is_not_shown(world):
    """A sale under a phone that two people share is counted, not shown; who has sold it is nobody's business."""
    world.feed(upsert(ALMA), upsert(BO))
    await world.sell("unresolved", key=phone_key(5), readings=(phone(5),), open_=True)
    await world.sell("hers", key=member_key(ALMA[MEMBER]))
    export = await world.export("member_number", ALMA[MEMBER])
    assert ([sale["transaction_id"] for sale in export.sales], export.withheld) == (["hers"], 1)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("contact_id", ALMA[ID]), ("member_number", ALMA[MEMBER]), ("any", ALMA[ID]), ("any", ALMA[MEMBER])],
)
async def test_an_export_after_the_erasure(world, kind, value):
    """All that is left of an erased person is that they were: keyed hashes, with receipt and date."""
    world.feed(upsert(ALMA))
    await world.sell("s-1", key=phone_key(5))
    done = await world.erase("contact_id", ALMA[ID])
    export = await world.export(kind, value)

    assert (export.contacts, export.sales, export.withheld) == ((), (), 0)
    assert [(one.receipt, one.erased_at) for one in export.erased_before] == [(done.id, NOW)]


async def test_an_export_of_who_has_the_number_of_somebody_erased(world):
    """With a new contact id they are somebody else, who was never erased."""
    world.feed(upsert(ALMA))
    await world.erase("contact_id", ALMA[ID])
    world.feed(upsert({**ALMA, ID: BO[ID]}))
    export = await world.export("member_number", ALMA[MEMBER])
    assert ([person.member.key.value for person in export.contacts], export.erased_before) == ([ALMA[MEMBER]], ())


async def test_erasing_and_purging_take_turns(world):
    """Whoever else erases is waited for."""
    async with world.privacy._alone:
        erasing = asyncio.create_task(world.erase("contact_id", ALMA[ID]))
        await asyncio.sleep(0.05)
        assert not erasing.done()
        assert not world.erased.refusals()
    await erasing
