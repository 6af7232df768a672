"""People in the replica: found with all that leads to them, taken out without a trace, and kept out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from told import ToldReplica

from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import Identifier, IdentifierType
from agent.ports import AppliedFile, ChangePage
from agent.store import replica_people
from agent.store.database import DatabaseFile
from agent.store.keyhash import KeyHash
from agent.store.refusals import ErasedPeople, Refusals
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile
from agent.store.replica_people import ReplicaPeople
from tests.fakes import open_outbox

ID, MEMBER, PHONE, EMAIL = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.EMAIL,
)
NOW = datetime(2026, 2, 20, 10, 15, tzinfo=UTC)
KEY = bytes(range(32))
HASH = KeyHash(KEY).of
ALMA = {
    ID: "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10",
    MEMBER: "10000421",
    PHONE: "+46701740605",
    EMAIL: "alma@example.com",
}
BO = {ID: "5b8d7a90-21b4-4d0f-8a77-9f0f3f9f1c22", MEMBER: "10000007", PHONE: ALMA[PHONE]}
KEYLESS = {MEMBER: "10000009", PHONE: "+46701740609"}


def upsert(identifiers, **fields):
    return ContactChange(ChangeKind.UPSERT, identifiers, fields)


def delete(identifiers):
    return ContactChange(ChangeKind.DELETE, identifiers)


def named(kind, value):
    return (Identifier(kind, value),)


class World:
    """A replica and who looks after the people in it."""

    def __init__(self, tmp_path):
        database = DatabaseFile(tmp_path / "replica.db", None, "NORMAL")
        self.file = ReplicaFile(database, KEY, MEMBER, "contacts", ("first_name",))
        self.store = SqliteReplicaStore(self.file)
        self.replica = ToldReplica(self.file)
        self.writing = asyncio.Lock()
        self.people = ReplicaPeople(self.replica, self.writing)
        self.directory = tmp_path
        self.applied = 0

    def page(self, *changes, store=None, at=NOW):
        with (store or self.store).open_writer() as writer:
            counts = writer.apply_page(ChangePage(changes, "1", last=True), at=at)
            writer.finish(as_of=at)
        return counts

    def build(self, *changes, store=None, finish=True, rebuild=False):
        """Applies a file to what is being built; the counts."""
        store = store or self.store
        self.applied += 1
        with store.open_loader(rebuild=rebuild) as loader:
            file = AppliedFile(f"file-{self.applied}.xml", self.applied, f"{self.applied:064x}")
            counts = loader.apply_file(file, store.digest(changes), at=NOW)
            if finish:
                loader.finish(as_of=NOW)
        return counts

    def bytes(self):
        return b"".join(path.read_bytes() for path in self.directory.iterdir())


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.replica.close()


@pytest.mark.parametrize(("kind", "value"), list(ALMA.items()), ids=list(ALMA))
async def test_a_person_is_found_by_any_identifier(world, kind, value):
    """Each identifier leads to the same person, with every hash that leads to them."""
    world.page(upsert(ALMA, first_name="Alma"), upsert({ID: BO[ID], MEMBER: BO[MEMBER]}))
    (person,) = world.people.persons(named(kind, value))

    assert person.member.key.value == ALMA[MEMBER]
    assert person.member.fields == {"first_name": "Alma"}
    assert person.keys == {kind: HASH(kind, value) for kind, value in ALMA.items()}
    assert (person.identity.mark, person.identity.primary) == (HASH(ID, ALMA[ID]), HASH(MEMBER, ALMA[MEMBER]))
    assert person.identity.ref == person.member.ref
    assert person.shared == frozenset()


async def test_a_person_who_has_no_contact_id_here(world):
    """Who is known by the primary key alone is told by that."""
    world.page(upsert(KEYLESS))
    (person,) = world.people.persons(named(PHONE, KEYLESS[PHONE]))
    assert (person.identity.mark, person.identity.primary) == (HASH(MEMBER, KEYLESS[MEMBER]), None)


async def test_several_who_share_a_key(world):
    """A shared phone leads to both, and says of each that it is shared."""
    world.page(upsert(ALMA), upsert(BO))
    found = world.people.persons(named(PHONE, ALMA[PHONE]))

    assert {person.member.key.value for person in found} == {ALMA[MEMBER], BO[MEMBER]}
    assert {person.shared for person in found} == {frozenset({HASH(PHONE, ALMA[PHONE])})}
    assert len(world.people.persons((*named(PHONE, ALMA[PHONE]), *named(MEMBER, BO[MEMBER])))) == 2


async def test_a_replica_that_is_still_loading_tells_who_is_in_it(world):
    """What a till may not be told yet is held all the same."""
    with world.store.open_writer() as writer:
        writer.apply_page(ChangePage((upsert(ALMA),), "1", last=False), at=NOW)
    assert world.replica.resolve(named(PHONE, ALMA[PHONE])) == ()
    assert len(world.people.persons(named(PHONE, ALMA[PHONE]))) == 1


@pytest.mark.parametrize(
    ("readings", "mark"),
    [
        (named(ID, ALMA[ID]), HASH(ID, ALMA[ID])),
        (named(MEMBER, ALMA[MEMBER]), HASH(MEMBER, ALMA[MEMBER])),
        (named(PHONE, ALMA[PHONE]), None),
        ((*named(MEMBER, "0701740605"), *named(PHONE, ALMA[PHONE])), None),
        ((), None),
    ],
    ids=["contact id", "primary key", "phone", "any of several", "nothing"],
)
async def test_who_a_stranger_would_be(world, readings, mark):
    """A contact id or the primary key says who somebody is; what may be shared or guessed does not."""
    identity = world.people.identity_of(readings)
    assert (identity.mark if identity else None) == mark


async def test_erasing_leaves_no_trace(world):
    """Row, keys, tombstones, free pages and log: nothing of the person is left, and everybody else is."""
    crowd = [
        upsert({ID: f"id-{n:05}", MEMBER: f"{n}", PHONE: f"+999{n:09}"}, first_name=f"Bovik{n}") for n in range(900)
    ]
    world.page(*crowd[:400], upsert(ALMA, first_name="Almanova"), *crowd[400:])
    world.page(upsert({ID: ALMA[ID]}, first_name="Almanova" * 50))
    (person,) = world.people.persons(named(EMAIL, ALMA[EMAIL]))
    canaries = [b"Almanova", *person.keys.values()]
    assert all(canary in world.bytes() for canary in canaries)

    assert await world.people.erase(person.identity, person.keys.values()) == 1
    assert [canary for canary in canaries if canary in world.bytes()] == []
    assert world.people.persons(named(EMAIL, ALMA[EMAIL])) == ()
    assert world.replica.info().contacts == 900
    assert await world.people.erase(person.identity, person.keys.values()) == 0


async def test_erasing_who_has_no_contact_id_here(world):
    """The primary key takes out the row without a contact id, and not another's with the same key."""
    world.page(upsert(KEYLESS), upsert({ID: ALMA[ID], MEMBER: "77"}))
    (person,) = world.people.persons(named(MEMBER, KEYLESS[MEMBER]))
    assert await world.people.erase(person.identity, person.keys.values()) == 1
    assert world.replica.info().contacts == 1


async def test_what_the_feed_removed_before_goes_too(world):
    """Erasing somebody who is not here any more erases the tombstone, and the traces of their row."""
    world.page(upsert(ALMA, first_name="Almanova"))
    world.page(delete({ID: ALMA[ID]}))
    assert HASH(EMAIL, ALMA[EMAIL]) in world.bytes()
    identity = world.people.identity_of(named(ID, ALMA[ID]))
    assert await world.people.erase(identity, [identity.mark]) == 0
    assert not [canary for canary in (b"Almanova", *(HASH(*pair) for pair in ALMA.items())) if canary in world.bytes()]


@pytest.mark.parametrize("finished", [False, True], ids=["half built", "built, not adopted"])
@pytest.mark.parametrize("present", [False, True], ids=["first load", "rebuild"])
async def test_what_is_being_built_is_begun_anew(world, present, finished):
    """A person in the replica that is being built is erased with it, and the build is not forgotten."""
    if present:
        world.build(upsert(BO))
        world.replica.adopt()
    world.build(upsert(ALMA, first_name="Almanova"), rebuild=present, finish=finished)
    assert b"Almanova" in world.bytes()
    await world.people.erase(None, [HASH(EMAIL, ALMA[EMAIL])])

    assert b"Almanova" not in world.bytes()
    assert world.file.side.path.exists()
    with world.store.open_loader(rebuild=False) as loader:
        assert (loader.builds, loader.ledger()) == (True, [])


async def test_what_is_being_built_goes_on_without_a_reason(world):
    """A build in which the person is not is left alone: a first load takes long."""
    world.build(upsert(BO), finish=False)
    await world.people.erase(None, [HASH(EMAIL, ALMA[EMAIL])])
    with world.store.open_loader(rebuild=False) as loader:
        assert len(loader.ledger()) == 1


async def test_a_build_with_traces_of_whoever_was_taken_out_is_begun_anew(world):
    """Finished and not adopted yet, it was told of a removal: the row is gone, and bytes of it may not be."""
    world.build(upsert(ALMA, first_name="Almanova"), upsert(BO))
    with world.store.open_loader(rebuild=False) as loader:
        loader.apply_file(AppliedFile("z.xml", 9, f"{9:064x}"), world.store.digest([delete({ID: ALMA[ID]})]), at=NOW)
    await world.people.erase(None, [HASH(EMAIL, ALMA[EMAIL])])
    with world.store.open_loader(rebuild=False) as loader:
        assert (loader.builds, loader.ledger()) == (True, [])


async def test_what_was_never_committed_leaves_no_trace_either(world):
    """A load that was cut off in the middle of a file has pages in the log that no row tells of."""
    world.page(upsert(BO))
    with world.store.open_writer() as writer:
        connection = writer._connection
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("PRAGMA cache_spill = 1")
        connection.execute("BEGIN IMMEDIATE")
        for number in range(200):
            row = (bytes([number]) * 16, "Almanova" * 100)
            connection.execute("INSERT INTO contacts (contact_id, fields) VALUES (?, ?)", row)
        connection.execute("ROLLBACK")
    assert b"AlmanovaAlmanova" in world.bytes()
    assert await world.people.erase(world.replica.identity(HASH(ID, ALMA[ID])), [HASH(ID, ALMA[ID])]) == 0
    assert b"AlmanovaAlmanova" not in world.bytes()


async def test_a_damaged_build_is_begun_anew(world):
    """What cannot be searched is not kept."""
    world.build(upsert(BO), finish=False)
    world.file.side.path.write_bytes(b"Almanova" * 4096)
    await world.people.erase(None, [HASH(EMAIL, ALMA[EMAIL])])
    assert b"Almanova" not in world.bytes()


async def test_the_feed_s_removals_wait_to_be_carried_out(world):
    """Whom the feed removed is told once, with everything that named them, until somebody has carried it out."""
    world.page(upsert(ALMA), upsert(KEYLESS))
    world.page(delete({ID: ALMA[ID]}), delete({PHONE: "+46701740699"}))
    alma, stranger = sorted(await world.people.removed(), key=lambda one: -len(one.keys))

    assert set(alma.keys) == {HASH(*pair) for pair in ALMA.items()}
    assert alma.identity == world.people.identity_of(named(ID, ALMA[ID]))
    assert stranger.keys == (HASH(PHONE, "+46701740699"),)
    await world.people.carried_out([alma])
    assert await world.people.removed() == (stranger,)
    await world.people.carried_out([stranger])
    world.page(delete({ID: ALMA[ID]}), at=NOW + timedelta(hours=1))
    assert [one.at for one in await world.people.removed()] == [NOW + timedelta(hours=1)], "removed again"


async def test_a_rebuild_remembers_what_was_carried_out(world):
    """Tombstones that a new replica takes over are not carried out twice."""
    world.page(upsert(ALMA))
    world.page(delete({ID: ALMA[ID]}))
    await world.people.carried_out(await world.people.removed())
    world.build(upsert(BO), rebuild=True)
    world.replica.adopt()
    assert await world.people.removed() == ()


def refusing(*people, keyless=()):
    marks = [HASH(ID, person[ID]) for person in people] + [HASH(MEMBER, person[MEMBER]) for person in keyless]
    return Refusals(frozenset(marks), {HASH(MEMBER, person[MEMBER]): HASH(ID, person[ID]) for person in people})


@pytest.mark.parametrize("way", ["page", "build"])
@pytest.mark.parametrize(
    ("row", "kept"),
    [
        (ALMA, False),
        ({ID: ALMA[ID], EMAIL: ALMA[EMAIL]}, False),
        ({ID: ALMA[ID], MEMBER: "99999999"}, False),
        ({MEMBER: ALMA[MEMBER], EMAIL: ALMA[EMAIL]}, False),
        ({**ALMA, ID: BO[ID]}, True),
        ({**ALMA, ID: BO[ID], MEMBER: "20000000"}, True),
        (BO, True),
    ],
    ids=["whole", "contact id", "new number", "no contact id", "same number, new id", "registered anew", "another"],
)
async def test_an_erased_person_is_refused(world, way, row, kept):
    """Whoever was erased stays out by contact id, or by primary key where a row has none; anew is somebody else."""
    counts = getattr(world, way)(upsert(row), store=world.store.refusing(refusing(ALMA)))
    assert (counts.rows, counts.refused) == ((1, frozenset()) if kept else (0, {HASH(ID, ALMA[ID])}))


async def test_who_was_erased_by_primary_key_is_refused_by_it(world):
    """Where no contact id was known the primary key is what somebody is recognised by, contact id or not."""
    store = world.store.refusing(refusing(keyless=[KEYLESS]))
    assert world.page(upsert({**KEYLESS, ID: ALMA[ID]}), store=store).refused == {HASH(MEMBER, KEYLESS[MEMBER])}


@pytest.mark.parametrize("way", ["page", "file", "build"])
@pytest.mark.parametrize(
    ("batches", "gone"),
    [
        ([[upsert(ALMA), delete({ID: ALMA[ID]})]], True),
        ([[delete({ID: ALMA[ID]}), upsert(ALMA)]], False),
        ([[upsert(ALMA)], [delete({ID: ALMA[ID]})]], True),
        ([[upsert(ALMA)], [delete({ID: ALMA[ID]}), upsert(ALMA)]], False),
        ([[upsert(ALMA)], [delete({ID: BO[ID]})]], False),
    ],
    ids=["removed", "removed, then sent", "removed later", "removed later, then sent", "another"],
)
async def test_who_was_erased_by_primary_key_is_removed_by_contact_id(world, way, batches, gone):
    """A row that was refused said which contact id they have; it is enough in the same reading of the feed, too."""
    if way == "file":
        world.page()
    store, mark = world.store.refusing(refusing(keyless=[ALMA])), HASH(MEMBER, ALMA[MEMBER])
    last, named = {}, {}
    with store.open_writer() if way == "page" else store.open_loader(rebuild=False) as writer:
        for number, changes in enumerate(batches):
            if way == "page":
                counts = writer.apply_page(ChangePage(tuple(changes), "1", last=False), at=NOW)
            else:
                file = AppliedFile(f"file-{number}.xml", number, f"{number:064x}")
                counts = writer.apply_file(file, store.digest(changes), at=NOW)
            last |= dict.fromkeys(counts.refused, False) | dict.fromkeys(counts.removed, True)
            named |= counts.named
    assert (last, named) == ({mark: gone}, {HASH(ID, ALMA[ID]): mark})


@pytest.mark.parametrize("way", ["page", "build"])
@pytest.mark.parametrize(
    ("rows", "refused", "removed"),
    [
        ([delete(ALMA)], False, True),
        ([delete({MEMBER: ALMA[MEMBER]})], False, True),
        ([upsert(ALMA), delete(ALMA)], False, True),
        ([delete(ALMA), upsert(ALMA)], True, False),
        ([upsert(BO)], False, False),
    ],
    ids=["removed", "removed by number", "sent, then removed", "removed, then sent", "another"],
)
async def test_the_vendor_s_last_word_counts(world, way, rows, refused, removed):
    """A removal ends the refusal, unless the vendor brings the person back after it."""
    counts = getattr(world, way)(*rows, store=world.store.refusing(refusing(ALMA)))
    mark = frozenset({HASH(ID, ALMA[ID])})
    assert (counts.refused, counts.removed) == (mark if refused else frozenset(), mark if removed else frozenset())
    world.replica.adopt()
    assert world.people.persons(named(EMAIL, ALMA[EMAIL])) == ()


async def test_a_refused_row_leaves_no_byte(world):
    """Nothing of a refused row is written, not even for a moment."""
    world.page(upsert(ALMA, first_name="Almanova"), store=world.store.refusing(refusing(ALMA)))
    world.build(upsert(ALMA, first_name="Almanova"), store=world.store.refusing(refusing(ALMA)), rebuild=True)
    assert not [canary for canary in (b"Almanova", *(HASH(*pair) for pair in ALMA.items())) if canary in world.bytes()]


@contextlib.contextmanager
def erased_people(tmp_path):
    with open_outbox(tmp_path / "outbox.db") as outbox:
        yield ErasedPeople(outbox._writer, outbox._reader)


async def test_the_list_of_the_erased(world, tmp_path):
    """Who is on it is refused; once sent it is told under which receipt; the vendor's removal ends it."""
    alma, keyless = (world.people.identity_of(named(*pair)) for pair in ((ID, ALMA[ID]), (MEMBER, KEYLESS[MEMBER])))
    with erased_people(tmp_path) as erased:
        assert not erased.refusals()
        await erased.add(alma, "receipt-1", NOW)
        await erased.add(alma, "receipt-2", NOW + timedelta(hours=1))
        await erased.add(keyless, "receipt-3", NOW)
        refusals = pickle.loads(pickle.dumps(erased.refusals()))
        assert refusals.mark_of(alma.mark, None) == alma.mark
        assert refusals.mark_of(None, keyless.mark) == keyless.mark
        assert refusals.mark_of(b"x" * 16, b"y" * 16) is None
        assert refusals.mark_of(None, None) is None
        assert [one.receipt for one in erased.known([alma.mark])] == ["receipt-1"]
        assert erased.still_sent() == ()

        await erased.heard([keyless.mark], [], {}, NOW + timedelta(hours=2))
        assert erased.still_sent() == ("receipt-3",)
        await erased.heard([], [keyless.mark], {}, NOW + timedelta(hours=3))
        assert erased.still_sent() == ()
        assert erased.refusals().marks == {alma.mark}
        assert erased.known([keyless.mark]) == ()


async def test_one_person_is_on_the_list_once(world, tmp_path):
    """By whichever name they come, whoever is on it stays under the first receipt; by each of them they are known."""
    world.page(upsert(ALMA))
    (alma,) = (person.identity for person in world.people.persons(named(PHONE, ALMA[PHONE])))
    by_id, by_number = (world.people.identity_of(named(kind, ALMA[kind])) for kind in (ID, MEMBER))
    for order in ((alma, by_number, by_id), (by_number, alma, by_id), (by_id, by_number, alma)):
        with erased_people(tmp_path) as erased:
            for number, identity in enumerate(order):
                await erased.add(identity, f"receipt-{number}", NOW + timedelta(hours=number))
            assert erased.refusals() == Refusals(frozenset({alma.mark}), {alma.primary: alma.mark})
            for mark in (alma.mark, alma.primary):
                assert [one.receipt for one in erased.known([mark])] == ["receipt-0"]
            await erased.heard([], [alma.mark], {}, NOW)
            assert not erased.refusals()


async def test_the_list_holds_hashes_alone(world, tmp_path):
    """What is kept so that the feed cannot bring somebody back names nobody."""
    person = world.people
    world.page(upsert(ALMA))
    (found,) = person.persons(named(PHONE, ALMA[PHONE]))
    with erased_people(tmp_path) as erased:
        await erased.add(found.identity, "receipt-1", NOW)
        rows = erased._reader.execute("SELECT * FROM erasures").fetchall()
    assert rows == [(HASH(ID, ALMA[ID]), HASH(MEMBER, ALMA[MEMBER]), "receipt-1", int(NOW.timestamp() * 1000), None)]


async def test_a_replica_that_is_closed_to_look_ups_is_erased_from_all_the_same(world):
    """Who may not be found any more is held all the same: by whom they are asked for, and until they are erased."""
    world.page(upsert(ALMA), upsert(BO))
    (bo,) = world.people.persons(named(MEMBER, BO[MEMBER]))
    world.replica.withhold()
    (alma,) = world.people.persons(named(EMAIL, ALMA[EMAIL]))
    assert world.people.there([alma.identity.ref, bo.identity.ref, "nobody's"]) == {alma.identity.ref, bo.identity.ref}

    assert await world.people.erase(alma.identity, alma.keys.values()) == 1
    assert HASH(ID, ALMA[ID]) not in world.bytes()
    assert world.people.there([alma.identity.ref, bo.identity.ref]) == {bo.identity.ref}
    assert world.replica.info().as_of is None, "it stays closed"


async def test_whoever_writes_waits_for_the_other(world, monkeypatch):
    """A sync under way, or the end of the replica, never meets an erasure in the same file."""
    world.page(upsert(ALMA))
    (alma,) = world.people.persons(named(EMAIL, ALMA[EMAIL]))
    run, held = world.people._run, []

    async def watched(work):
        held.append(world.writing.locked())
        return await run(work)

    monkeypatch.setattr(world.people, "_run", watched)
    for write in (
        lambda: world.people.erase(alma.identity, ()),
        world.people.removed,
        lambda: world.people.carried_out(()),
        world.people.leave_no_trace,
        lambda: world.people.purge(NOW),
    ):
        held.clear()
        async with world.writing:
            waiting = asyncio.create_task(write())
            for _ in range(20):
                await asyncio.sleep(0)
            assert held == []
        await waiting
        assert held == [True]
        assert not world.writing.locked()


async def test_a_purge_waits_as_well_but_not_for_ever(world, monkeypatch):
    """What a sync that takes long leaves no time for goes with the next purge."""
    world.page(upsert(ALMA))
    world.page(delete(ALMA))
    await world.people.carried_out(await world.people.removed())
    later = NOW + timedelta(days=9)
    async with world.writing:
        waiting = asyncio.create_task(world.people.purge(later))
        await asyncio.sleep(0.02)
        assert not waiting.done()
    assert await waiting == {"tombstones": 1}
    assert not world.writing.locked()

    monkeypatch.setattr(replica_people, "PURGE_PATIENCE_S", 0.01)
    async with world.writing:
        assert await world.people.purge(later) == {}
        assert world.writing.locked()


async def test_it_is_the_present_replica_that_is_written(world):
    """A replica that ended and began anew lies in another file; whoever wrote to the former writes to that."""
    other = replace(world.file, database=replace(world.file.database, path=world.directory / "other.db"))
    world.replica.start_over(other)
    with SqliteReplicaStore(other).open_writer() as writer:
        writer.apply_page(ChangePage((upsert(ALMA),), "1", last=True), at=NOW)
    (alma,) = world.people.persons(named(EMAIL, ALMA[EMAIL]))
    assert await world.people.erase(alma.identity, ()) == 1
    assert world.people.persons(named(EMAIL, ALMA[EMAIL])) == ()


# --- who has still to be asked for ------------------------------------------------------------------------------


def _standing(world, *ids, refusals=None):
    """The feed has read its page, and has these to ask for again; what the cursor says then."""
    store = world.store if refusals is None else world.store.refusing(refusals)
    cursor = json.dumps({"changed_at": "2026-02-14T15:41:09+00:00", "unread": list(ids)})
    with store.open_writer() as writer:
        writer.apply_page(ChangePage((), cursor, last=True), at=NOW)
        writer.finish(as_of=NOW)
        return writer.cursor()


async def test_an_erasure_takes_whom_the_feed_would_ask_for_again_out_of_its_cursor(world):
    """Whether or not the replica has them: no byte is left, and the others are asked for as before."""
    _standing(world, ALMA[ID], BO[ID])
    assert ALMA[ID].encode() in world.bytes()
    identity = world.people.identity_of(named(ID, ALMA[ID]))
    assert await world.people.erase(identity, world.people.keys_of(named(ID, ALMA[ID]))) == 0
    assert ALMA[ID].encode() not in world.bytes()
    with world.store.open_writer() as writer:
        assert json.loads(writer.cursor())["unread"] == [BO[ID]]


async def test_whoever_was_erased_is_not_remembered_to_be_asked_for(world):
    """However often the feed cannot tell of them: their id is not put on disk again."""
    cursor = _standing(world, ALMA[ID], BO[ID], refusals=Refusals(frozenset({HASH(ID, ALMA[ID])})))
    assert json.loads(cursor)["unread"] == [BO[ID]]
    assert ALMA[ID].encode() not in world.bytes()
