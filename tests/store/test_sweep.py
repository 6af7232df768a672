"""A walk through everybody, page by page: who was not shown is gone, unless that would be far too many."""

from __future__ import annotations

from datetime import timedelta

import pytest
from told import ToldReplica

from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import Identifier, IdentifierType
from agent.ports import ChangePage, Sweep
from agent.store.database import DatabaseFile
from agent.store.keyhash import KeyHash
from agent.store.refusals import Refusals
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile
from tests.fakes import NOW, STORAGE_KEY

ID, MEMBER, PHONE = IdentifierType.CONTACT_ID, IdentifierType.MEMBER_NUMBER, IdentifierType.MOBILE_PHONE
HASH = KeyHash(STORAGE_KEY).of


def person(number, *, member=True):
    known = {ID: f"cust_{number:08d}", PHONE: f"+467017406{number:02d}"}
    return known | ({MEMBER: f"{10_000_000 + number}"} if member else {})


def upsert(number, **options):
    return ContactChange(ChangeKind.UPSERT, person(number, **options), full_row=True)


class World:
    """A replica that pages are put into."""

    def __init__(self, tmp_path, least=0, former=0):
        self.file = ReplicaFile(DatabaseFile(tmp_path / "replica.db", None, "NORMAL"), STORAGE_KEY, MEMBER)
        self.store = SqliteReplicaStore(self.file, least, former)
        self.replica = ToldReplica(self.file)
        self.at = NOW

    def page(self, *changes, sweep=None, refusals=None):
        self.at += timedelta(seconds=1)
        store = self.store.refusing(refusals) if refusals else self.store
        with store.open_writer() as writer:
            counts = writer.apply_page(ChangePage(changes, "1", last=True, sweep=sweep), at=self.at)
            writer.finish(as_of=self.at)
        return counts

    def removed(self):
        with self.store.open_writer() as writer:
            return writer.removed()

    def swept(self):
        connection = self.file.database.connect()
        try:
            return connection.execute("SELECT count(*) FROM swept").fetchone()[0]
        finally:
            connection.close()

    def numbers(self):
        found = [self.replica.resolve([Identifier(PHONE, f"+467017406{n:02d}")]) for n in range(5, 15)]
        return [int(member.key.value[-2:]) for members in found for member in members]


@pytest.fixture(name="world")
def _world(tmp_path):
    world = World(tmp_path)
    yield world
    world.replica.close()


def test_who_was_not_shown_is_gone(world):
    """With a tombstone that has every key of theirs, so that what else is kept of them can be erased."""
    world.page(upsert(5), upsert(6), upsert(7))
    world.page(upsert(5), sweep=Sweep.BEGINS)
    world.page(upsert(7), sweep=Sweep.GOES_ON)
    assert world.store.unseen() == (Identifier(MEMBER, "10000006"),)

    counts = world.page(sweep=Sweep.ENDS)

    assert (world.numbers(), counts.deleted, world.replica.info().contacts) == ([5, 7], 1, 2)
    [(identity, keys, at)] = world.removed()
    assert (identity, at) == (HASH(ID, "cust_00000006"), world.at)
    assert HASH(PHONE, "+46701740606") in keys
    assert HASH(MEMBER, "10000006") in keys
    assert world.swept() == 0


def test_who_was_made_again(world):
    """What waits under a key that somebody who remains has is theirs: it is not erased with who is gone."""
    world.page(upsert(5))
    again = {**person(5), ID: "cust_99999999", PHONE: "+46701740688"}
    world.page(ContactChange(ChangeKind.UPSERT, again, full_row=True), sweep=Sweep.BEGINS)
    world.page(sweep=Sweep.ENDS)
    [(identity, keys, _at)] = world.removed()
    assert identity == HASH(ID, "cust_00000005")
    assert HASH(MEMBER, "10000005") not in keys
    assert HASH(PHONE, "+46701740605") in keys


def test_a_family_of_whom_nobody_is_left(world):
    """A key that only those who are gone have is nobody's any more."""
    family = [{**person(number), PHONE: "+46701740605"} for number in (5, 6)]
    world.page(*(ContactChange(ChangeKind.UPSERT, one, full_row=True) for one in family))
    world.page(sweep=Sweep.BEGINS)
    world.page(sweep=Sweep.ENDS)
    assert [HASH(PHONE, "+46701740605") in keys for _, keys, _ in world.removed()] == [True, True]


def test_whoever_is_made_meanwhile_is_seen(world):
    """A change that comes while a sweep is under way shows its contact as well as the sweep does."""
    world.page(upsert(5), sweep=Sweep.BEGINS)
    world.page(upsert(6), sweep=Sweep.GOES_ON)
    world.page(sweep=Sweep.ENDS)
    assert world.numbers() == [5, 6]


def test_a_sweep_starts_from_nothing(world):
    """What a sweep that was broken off had shown says nothing in the next."""
    world.page(upsert(5), upsert(6), sweep=Sweep.BEGINS)
    world.page(upsert(5), sweep=Sweep.BEGINS)
    world.page(sweep=Sweep.ENDS)
    assert world.numbers() == [5]


def test_pages_beside_a_sweep_take_nobody_out(world):
    """Without a sweep nobody is missed."""
    world.page(upsert(5))
    world.page(upsert(6))
    assert (world.numbers(), world.swept()) == ([5, 6], 0)


def test_a_deleted_row_is_not_seen(world):
    """Who is named as gone is not shown by that."""
    world.page(upsert(5), upsert(6), sweep=Sweep.BEGINS)
    world.page(ContactChange(ChangeKind.DELETE, {MEMBER: "10000006"}), sweep=Sweep.GOES_ON)
    assert world.store.unseen() == ()
    world.page(sweep=Sweep.ENDS)
    assert world.numbers() == [5]


def test_who_has_no_primary_key_is_asked_for_by_the_id(world):
    """The id is what is kept of them."""
    world.page(upsert(5, member=False))
    world.page(sweep=Sweep.BEGINS)
    assert world.store.unseen() == (Identifier(ID, "cust_00000005"),)


@pytest.mark.parametrize(("least", "expected"), [(2, ("10000007",)), (3, None)], ids=["enough", "too few"])
def test_a_list_of_far_too_few(tmp_path, least, expected):
    """It was hardly everybody: nobody is named, and a sweep that is given up takes nobody out."""
    world = World(tmp_path, least, former=3)
    world.page(upsert(5), upsert(6), upsert(7))
    world.page(upsert(5), upsert(6), sweep=Sweep.BEGINS)
    unseen = world.store.unseen()
    assert (None if unseen is None else tuple(one.value for one in unseen)) == expected
    world.page(sweep=Sweep.GIVEN_UP)
    assert (world.numbers(), world.swept()) == ([5, 6, 7], 0)
    world.replica.close()


def test_a_replica_that_is_fetched_again(tmp_path):
    """Of nobody whom it holds anything is missing, however many it held before: there is nothing to give up for."""
    world = World(tmp_path, least=9, former=10)
    world.page(upsert(5), sweep=Sweep.BEGINS)
    assert world.store.unseen() == ()
    world.replica.close()


@pytest.mark.parametrize("count", [1, 3, 4], ids=["fewer", "as many", "more"])
def test_a_list_of_strangers(tmp_path, count):
    """Whoever the sweep brought makes up for nobody, and goes with it, without a tombstone."""
    world = World(tmp_path, least=2, former=3)
    world.page(upsert(5), upsert(6), upsert(7))
    world.page(*(upsert(8 + number) for number in range(count)), sweep=Sweep.BEGINS)
    assert world.store.unseen() is None
    world.page(sweep=Sweep.GIVEN_UP)
    assert (world.numbers(), world.replica.info().contacts, world.removed()) == ([5, 6, 7], 3, [])
    world.replica.close()


@pytest.mark.parametrize("shown", [True, False], ids=["still there", "gone"])
def test_who_was_erased_here(world, shown):
    """Whoever a sweep shows is refused again; whoever two in a row do not show the vendor has removed."""
    mark = HASH(ID, "cust_00000006")
    refusals = Refusals(frozenset({mark}))
    changes = [upsert(5), *([upsert(6)] if shown else [])]
    for removed in (frozenset(), frozenset() if shown else {mark}, frozenset()):
        counts = [
            world.page(*changes, sweep=Sweep.BEGINS, refusals=refusals),
            world.page(sweep=Sweep.ENDS, refusals=refusals),
        ]
        assert counts[0].refused == ({mark} if shown else frozenset())
        assert counts[1].removed == removed
    assert world.numbers() == [5]


def test_who_was_erased_here_and_slips_from_one_list(world):
    """They are still at the vendor: two sweeps in a row have to be without them."""
    refusals = Refusals(frozenset({HASH(ID, "cust_00000006")}))
    for changes in ([], [upsert(6)], []):
        world.page(upsert(5), *changes, sweep=Sweep.BEGINS, refusals=refusals)
        assert world.page(sweep=Sweep.ENDS, refusals=refusals).removed == frozenset()


def test_a_list_of_too_few_says_nothing_of_who_was_erased_here(tmp_path):
    """A replica that is fetched again misses nobody, and another project's keys show none of them."""
    world = World(tmp_path, least=9, former=10)
    refusals = Refusals(frozenset({HASH(ID, "cust_00000006")}))
    for _ in range(3):
        world.page(*(upsert(number) for number in range(7, 15)), sweep=Sweep.BEGINS, refusals=refusals)
        assert world.page(sweep=Sweep.ENDS, refusals=refusals).removed == frozenset()
    world.replica.close()


def test_who_is_erased_while_a_sweep_is_under_way(world):
    """Shown before they were erased here, they are still at the vendor: they stay refused."""
    world.page(upsert(6), sweep=Sweep.BEGINS)
    refusals = Refusals(frozenset({HASH(ID, "cust_00000006")}))
    assert world.page(sweep=Sweep.ENDS, refusals=refusals).removed == frozenset()


def test_another_vendor_s_contacts_are_of_no_use(world, tmp_path):
    """A shop that changes its loyalty system begins with an empty replica, and without the former cursor."""
    world.page(upsert(5))
    world.replica.close()
    other = ReplicaFile(world.file.database, STORAGE_KEY, MEMBER, vendor="another")
    replica = ToldReplica(other)
    assert (replica.info().contacts, replica.info().as_of) == (0, None)
    with SqliteReplicaStore(other).open_writer() as writer:
        assert writer.cursor() is None
    replica.close()
