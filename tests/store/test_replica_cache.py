"""The replica as a cache: found is who was asked for, by what was asked for, with the age of that answer."""

from __future__ import annotations

import asyncio
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from told import ToldReplica

from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import Identifier, IdentifierType
from agent.ports import Told
from agent.store.database import DatabaseFile
from agent.store.keyhash import KeyHash
from agent.store.refusals import Refusals
from agent.store.replica_cache import SqliteContactCache
from agent.store.replica_file import ReplicaFile
from agent.store.replica_people import ReplicaPeople

ID, MEMBER, PHONE, EMAIL = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.EMAIL,
)
NOW = datetime(2026, 2, 20, 10, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = bytes(range(32))
HASH = KeyHash(KEY).of
SHARED, OTHER = "+46701740605", "+46701740606"
ALMA = {ID: "101", MEMBER: "10000421", PHONE: SHARED, EMAIL: "alma@example.com"}
BO = {ID: "102", MEMBER: "10000422", PHONE: SHARED, EMAIL: None}
BY_PHONE, BY_OTHER = Identifier(PHONE, SHARED), Identifier(PHONE, OTHER)
BY_NUMBER, BY_ID = Identifier(MEMBER, "10000421"), Identifier(ID, "101")


def whole(identifiers, **fields):
    return ContactChange(ChangeKind.UPSERT, identifiers, fields, full_row=True)


class World:
    """A cache, and what is found in it."""

    def __init__(self, tmp_path, primary=MEMBER):
        database = DatabaseFile(tmp_path / "replica.db", None, "NORMAL")
        self.file = ReplicaFile(database, KEY, primary, "contacts", ("first_name",), by_question=True)
        self.replica = ToldReplica(self.file)
        self.cache = SqliteContactCache(self.file)
        self.people = ReplicaPeople(self.replica, asyncio.Lock())

    def told(self, question, *contacts, at=NOW, cache=None):
        return self.together((question, contacts), at=at, cache=cache)

    def together(self, *answers, at=NOW, cache=None):
        told = [Told(question, tuple(whole(one) for one in contacts)) for question, contacts in answers]
        counts = (cache or self.cache).remember([told], at=at)
        self.replica.refresh()
        return counts

    def plant(self, *contacts, as_of=NOW):
        counts = self.cache.plant([whole(one) for one in contacts], as_of=as_of)
        self.cache.finish(as_of=NOW)
        self.replica.refresh()
        return counts

    def found(self, *readings):
        return [member.key.value for member in self.replica.resolve(readings)]

    def rows(self, table="contacts"):
        (count,) = self.replica._execute(f"SELECT count(*) FROM {table}").fetchone()
        return count


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.replica.close()


def test_who_was_asked_for_is_found_again(world):
    """By what was asked for and by what is theirs alone, with the age of the answer."""
    world.told(BY_PHONE, ALMA)
    for reading in (BY_PHONE, BY_NUMBER, BY_ID):
        [member] = world.replica.resolve((reading,))
        assert (member.key.value, member.key.type, member.as_of) == ("10000421", MEMBER, NOW)
        assert world.replica.member(member.ref) == member


def test_a_key_that_was_not_asked_for_leads_to_nobody(world):
    """Who else has this phone is not known: it finds nobody, and is not even kept."""
    world.told(BY_NUMBER, ALMA)
    assert world.found(BY_PHONE) == []
    assert world.replica._execute("SELECT mobile_phone, email FROM contacts").fetchall() == [(None, None)]


def test_several_who_share_a_key(world):
    """All of them are found, so that nobody is guessed."""
    world.told(BY_PHONE, ALMA, BO)
    assert sorted(world.found(BY_PHONE)) == ["10000421", "10000422"]
    assert world.found(BY_NUMBER) == ["10000421"]


def test_each_key_has_the_age_of_its_own_question(world):
    """That a member was asked for by number says nothing of who shares the phone."""
    world.told(BY_PHONE, ALMA)
    world.told(BY_NUMBER, ALMA, at=NOW + HOUR)
    [by_phone], [by_number] = world.replica.resolve((BY_PHONE,)), world.replica.resolve((BY_NUMBER,))
    assert (by_phone.as_of, by_number.as_of) == (NOW, NOW + HOUR)


def test_an_older_answer_does_not_make_a_key_older(world):
    """Answers can be written in another order than they came."""
    world.told(BY_NUMBER, ALMA, at=NOW + HOUR)
    world.told(BY_PHONE, ALMA, at=NOW)
    [member] = world.replica.resolve((BY_NUMBER,))
    assert member.as_of == NOW + HOUR


def test_a_phone_that_moved_to_somebody_else(world):
    """Whoever is not shown with it any more has lost it; they are found by their number as before."""
    world.told(BY_PHONE, ALMA)
    world.told(BY_PHONE, BO, at=NOW + HOUR)
    assert world.found(BY_PHONE) == ["10000422"]
    assert world.found(BY_NUMBER) == ["10000421"]


def test_a_phone_that_was_changed(world):
    """Shown with another phone, a member is not found by the former one; nor by the new one, until it is asked for."""
    world.told(BY_PHONE, ALMA)
    world.told(BY_NUMBER, {**ALMA, PHONE: OTHER}, at=NOW + HOUR)
    assert (world.found(BY_PHONE), world.found(BY_OTHER), world.found(BY_NUMBER)) == ([], [], ["10000421"])


def test_customers_that_were_merged(world):
    """The number is another customer's now: the former one goes, and nobody is buried."""
    world.told(BY_PHONE, ALMA)
    counts = world.told(BY_NUMBER, {**ALMA, ID: "103"}, at=NOW + HOUR)
    assert (counts.inserted, counts.deleted, world.rows(), world.rows("tombstones")) == (1, 1, 1, 0)
    assert (world.found(BY_NUMBER), world.found(BY_ID), world.found(Identifier(ID, "103"))) == (
        ["10000421"],
        [],
        ["10000421"],
    )


@pytest.mark.parametrize("question", [BY_NUMBER, BY_ID], ids=["number", "id"])
def test_who_is_not_known_any_more_leaves(world, question):
    """With every key and without a tombstone: what waits for them is not touched."""
    world.told(BY_PHONE, ALMA)
    counts = world.told(question, at=NOW + HOUR)
    assert (counts.deleted, world.rows(), world.rows("vouched"), world.rows("tombstones")) == (1, 0, 0, 0)
    assert world.replica.info().contacts == 0


def test_a_phone_that_is_nobody_s_any_more(world):
    """The member stays, without it."""
    world.told(BY_PHONE, ALMA)
    world.told(BY_PHONE, at=NOW + HOUR)
    assert (world.found(BY_PHONE), world.found(BY_NUMBER), world.rows("vouched")) == ([], ["10000421"], 2)


def test_strangers_leave_no_trace(world):
    """A phone of nobody's is not kept."""
    world.told(BY_PHONE)
    assert (world.rows(), world.rows("vouched")) == (0, 0)


def test_a_value_that_can_be_two_things(world):
    """Found by both readings only once both were asked for, however few of them lead to anybody."""
    number = Identifier(MEMBER, "0701740605")
    world.told(BY_PHONE, ALMA)
    assert world.found(BY_PHONE, number) == []
    world.together((BY_PHONE, (ALMA,)), (number, ()), at=NOW + HOUR)
    [member] = world.replica.resolve((BY_PHONE, number))
    assert (member.key.value, member.as_of) == ("10000421", NOW + HOUR)


@pytest.mark.parametrize(
    ("alma", "own", "known"),
    [(ALMA, BY_NUMBER, 4), ({**ALMA, MEMBER: None}, BY_ID, 3)],
    ids=["number", "an id alone"],
)
def test_what_led_to_nobody_goes_with_whom_it_stood_beside(world, alma, own, known):
    """It was a value that a member said of themselves."""
    world.together((BY_PHONE, (alma,)), (Identifier(MEMBER, "0701740605"), ()))
    assert world.rows("vouched") == known
    world.told(own, at=NOW + HOUR)
    assert world.rows("vouched") == 0


def test_a_key_that_a_member_changes_is_forgotten(world):
    """A member who has another phone now is known by it alone, and nothing is kept of the one before."""
    world.told(BY_PHONE, ALMA)
    world.told(BY_OTHER, {**ALMA, PHONE: OTHER}, at=NOW + HOUR)
    assert (world.found(BY_PHONE), world.found(BY_OTHER), world.rows("vouched")) == ([], ["10000421"], 3)


def test_what_stood_beside_a_number_of_before_goes_with_it(world):
    """Somebody without an id is known by their number: with another number they are somebody else."""
    world.together((BY_NUMBER, ({**ALMA, ID: None},)), (BY_OTHER, ()))
    world.told(BY_NUMBER, {**ALMA, MEMBER: "10000429"}, at=NOW + HOUR)
    assert (world.found(BY_NUMBER), world.rows(), world.rows("vouched")) == ([], 1, 2)


def test_a_changed_field_costs_no_look_at_everybody(world):
    """What is forgotten is found by the keys that a member lost, however many there are."""
    statements = []

    class Traced(DatabaseFile):
        def connect(self, **how):
            connection = super().connect(**how)
            connection.set_trace_callback(statements.append)
            return connection

    given = {name.name: getattr(world.file.database, name.name) for name in dataclass_fields(DatabaseFile)}
    cache = SqliteContactCache(replace(world.file, database=Traced(**given)))
    for at, alma in enumerate((whole(ALMA, first_name="Alma"), whole({**ALMA, PHONE: OTHER}, first_name="Alva"))):
        cache.remember([[Told(BY_NUMBER, (alma,)), Told(BY_PHONE, (alma,))]], at=NOW + at * HOUR)
    plans = [
        plan
        for statement in statements
        if statement.startswith("DELETE FROM vouched")
        for *_, plan in world.replica._execute(f"EXPLAIN QUERY PLAN {statement}")
    ]
    assert plans
    assert not [plan for plan in plans if plan.startswith("SCAN")]


def test_two_readings_that_lead_to_two_people(world):
    """Both are found, and neither is guessed."""
    number = Identifier(MEMBER, "0701740605")
    world.together((BY_PHONE, (ALMA,)), (number, ({**BO, MEMBER: number.value, PHONE: OTHER},)))
    assert sorted(world.found(BY_PHONE, number)) == ["0701740605", "10000421"]


def test_a_customer_without_a_number(world):
    """Found, and known by their id."""
    world.told(BY_PHONE, {**ALMA, MEMBER: None})
    [member] = world.replica.resolve((BY_PHONE,))
    assert (member.key.type, member.key.value) == (ID, "101")


async def test_who_was_erased_is_not_kept_again(world):
    """Taken out with every key; what shows them later is refused, and that they are gone there ends it."""
    world.together((BY_PHONE, (ALMA,)), (Identifier(MEMBER, "0701740605"), ()))
    [person] = world.people.persons((BY_PHONE,))
    assert await world.people.erase(person.identity, person.keys.values()) == 1
    assert (world.rows(), world.rows("vouched")) == (0, 0)
    mark, primary = HASH(ID, "101"), HASH(MEMBER, "10000421")
    refusing = SqliteContactCache(replace(world.file, refusals=Refusals(frozenset({mark}), {primary: mark})))
    assert world.told(BY_PHONE, ALMA, cache=refusing).refused == {mark}
    assert world.told(BY_NUMBER, cache=refusing).removed == {mark}
    assert (world.rows(), world.rows("vouched")) == (0, 0)


@pytest.mark.parametrize("question", [BY_NUMBER, BY_ID], ids=["number", "contact id"])
def test_who_was_erased_by_number_and_is_gone_there(world, question):
    """Who was shown with a contact id is told by that, too, among the answers that are kept together."""
    mark = HASH(MEMBER, "10000421")
    refusing = SqliteContactCache(replace(world.file, refusals=Refusals(frozenset({mark}))))
    counts = world.together((BY_PHONE, (ALMA,)), (question, ()), cache=refusing)
    assert (counts.removed, counts.named) == ({mark}, {HASH(ID, "101"): mark})


def test_a_key_shared_with_somebody_who_was_erased(world):
    """Two people have it there: whoever is kept is not found by it."""
    world.told(BY_PHONE, BO)
    refusing = SqliteContactCache(replace(world.file, refusals=Refusals(frozenset({HASH(ID, "101")}), {})))
    world.told(BY_PHONE, ALMA, BO, cache=refusing, at=NOW + HOUR)
    assert world.found(BY_PHONE) == []
    assert world.found(Identifier(MEMBER, "10000422")) == ["10000422"]


def test_a_key_that_led_to_nobody_until_somebody_who_was_erased_had_it(world):
    """The value names two people there: nobody is found by it."""
    number = Identifier(MEMBER, "0701740605")
    world.together((BY_PHONE, (ALMA,)), (number, ()))
    refusing = SqliteContactCache(replace(world.file, refusals=Refusals(frozenset({HASH(ID, "102")}), {})))
    world.told(number, {**BO, MEMBER: number.value}, cache=refusing, at=NOW + HOUR)
    assert (world.found(BY_PHONE, number), world.found(BY_PHONE)) == ([], ["10000421"])


def test_a_key_that_led_to_nobody_until_a_member_took_it(world):
    """Shown with it by another question, they are not found by it: who else has it was not asked since."""
    world.together((BY_NUMBER, ({**ALMA, PHONE: None},)), (BY_OTHER, ()))
    world.told(BY_NUMBER, {**ALMA, PHONE: OTHER}, at=NOW + HOUR)
    assert (world.found(BY_OTHER), world.found(BY_NUMBER)) == ([], ["10000421"])


def test_of_whom_nothing_was_heard_goes(world):
    """With what they were found by; who was asked for since stays."""
    world.told(BY_PHONE, ALMA)
    world.told(Identifier(MEMBER, "10000422"), BO, at=NOW + HOUR)
    assert world.cache.expire(NOW + HOUR) == 1
    world.replica.refresh()
    assert (world.rows(), world.rows("vouched"), world.replica.info().contacts) == (1, 2, 1)
    assert (world.found(BY_PHONE), world.found(Identifier(MEMBER, "10000422"))) == ([], ["10000422"])


def test_who_is_due(world):
    """The longest unheard of first, by the keys they are kept under, no more than are wanted; and which of theirs."""
    world.told(BY_PHONE, ALMA, at=NOW + HOUR)
    world.told(Identifier(ID, "102"), {**BO, MEMBER: None})
    due = NOW + 2 * HOUR
    assert world.cache.outdated(due, 9) == (Identifier(ID, "102"), BY_NUMBER)
    assert world.cache.outdated(due, 1) == (Identifier(ID, "102"),)
    assert world.cache.outdated(NOW + HOUR, 9) == (Identifier(ID, "102"),)
    assert world.cache.outdated_among((BY_PHONE, Identifier(EMAIL, "alma@example.com")), due) == (BY_PHONE,)
    assert world.cache.outdated_among((BY_PHONE,), NOW + HOUR) == ()


def test_a_list_names_everybody(world):
    """Each key of a list leads to whom it names; who shares one is ambiguous."""
    world.plant(ALMA, BO)
    assert sorted(world.found(BY_PHONE)) == ["10000421", "10000422"]
    assert world.found(Identifier(EMAIL, "alma@example.com")) == ["10000421"]


def test_a_list_knows_nothing_better(world):
    """What was asked since the list was written stays as it is; its other people come."""
    world.told(BY_PHONE, {**ALMA, EMAIL: None}, at=NOW + HOUR)
    world.plant({**ALMA, PHONE: OTHER}, BO)
    assert (world.found(BY_PHONE), world.found(BY_OTHER)) == (["10000421"], [])
    assert world.found(Identifier(MEMBER, "10000422")) == ["10000422"]


def test_a_list_without_ids(world):
    """Whom it names by number alone becomes one with the customer that an answer shows."""
    world.plant({MEMBER: "10000421", PHONE: SHARED})
    world.told(BY_NUMBER, ALMA, at=NOW + HOUR)
    assert (world.rows(), world.found(BY_ID), world.found(BY_PHONE)) == (1, ["10000421"], ["10000421"])


def test_which_list_was_planted(world):
    """None before the first, and kept by a refresh that planted none."""
    assert world.cache.planted() is None
    world.cache.finish(as_of=NOW, planted="list-1")
    world.cache.finish(as_of=NOW + HOUR)
    world.replica.refresh()
    assert (world.cache.planted(), world.replica.info().as_of) == ("list-1", NOW + HOUR)


def test_ids_as_primary_keys(tmp_path):
    """A member is kept under the id; a number that is nobody's any more is not theirs."""
    world = World(tmp_path, primary=ID)
    world.told(BY_NUMBER, ALMA)
    assert (world.found(BY_NUMBER), world.found(BY_ID)) == (["101"], ["101"])
    world.told(BY_NUMBER, at=NOW + HOUR)
    assert (world.found(BY_NUMBER), world.found(BY_ID)) == ([], ["101"])
    world.replica.close()
