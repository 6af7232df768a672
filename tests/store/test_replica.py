"""The replica answers who a reading names, however the changes came in."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from told import ToldReplica

from agent.domain.contact import WITHHELD, ChangeKind, ContactChange
from agent.domain.identifiers import Identifier, IdentifierType
from agent.errors import StorageDamagedError, StorageKeyError
from agent.ports import AppliedFile, Batch, ChangePage
from agent.store.database import ENCRYPTED, DatabaseFile
from agent.store.keyhash import KeyHash
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile

ID, MEMBER, PHONE, EMAIL = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.EMAIL,
)
NOW = datetime(2026, 2, 20, 10, 15, tzinfo=UTC)
KEY = bytes(range(32))
ALMA = {
    ID: "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10",
    MEMBER: "10000421",
    PHONE: "+46701740605",
    EMAIL: "alma@example.com",
}
BO = {ID: "5b8d7a90-21b4-4d0f-8a77-9f0f3f9f1c22", MEMBER: "10000007", PHONE: "+46701740606"}


def upsert(identifiers, fields=None, *, full=False):
    return ContactChange(ChangeKind.UPSERT, identifiers, fields or {}, full)


def delete(identifiers):
    return ContactChange(ChangeKind.DELETE, identifiers)


@pytest.fixture
def file(tmp_path):
    return ReplicaFile(DatabaseFile(tmp_path / "replica.db", None, "NORMAL"), KEY, MEMBER)


@pytest.fixture
def contacts_file(tmp_path):
    database = DatabaseFile(tmp_path / "replica.db", None, "NORMAL")
    return ReplicaFile(database, KEY, MEMBER, "contacts", ("first_name", "member_level"))


@pytest.fixture
def opened():
    """Opens replicas and closes them when the test is over."""
    replicas = []

    def open_(file):
        replicas.append(ToldReplica(file))
        return replicas[-1]

    yield open_
    for replica in replicas:
        replica.close()


def page(file, *changes, cursor="1", at=NOW):
    with SqliteReplicaStore(file).open_writer() as writer:
        counts = writer.apply_page(ChangePage(changes, cursor, last=True), at=at)
        writer.finish(as_of=at)
    return counts


def load(file, *files, rebuild=False, at=NOW):
    store = SqliteReplicaStore(file)
    with store.open_loader(rebuild=rebuild) as loader:
        for number, changes in enumerate(files):
            loader.apply_file(AppliedFile(f"{number}", 1, f"sha-{at}-{number}"), store.digest(changes), at=at)
        loader.finish(as_of=at)
        return loader.builds


def who(replica, kind, value):
    return {member.key.value for member in replica.resolve([Identifier(kind, value)])}


@pytest.mark.parametrize("way", ["pages", "files"])
def test_a_field_with_half_a_character(contacts_file, opened, way):
    """Whatever a vendor says, a field of it never keeps a page or a file out."""
    replica = opened(contacts_file)
    changes = [upsert(ALMA, {"first_name": "Alma \ud83d"})]
    if way == "pages":
        page(contacts_file, *changes)
    else:
        load(contacts_file, changes)
        replica.adopt()
    replica.refresh()
    [member] = replica.resolve([Identifier(MEMBER, "10000421")])
    assert member.fields["first_name"] == "Alma ?"


STREET = {"street": "Exempelgatan 7"}
MARKED = ContactChange(ChangeKind.UPSERT, ALMA, {"street": WITHHELD})


@pytest.mark.parametrize("way", ["pages", "files"])
@pytest.mark.parametrize(
    ("changes", "street"),
    [
        ([upsert(ALMA, STREET), MARKED], None),
        ([upsert(ALMA, STREET), MARKED, upsert(ALMA, STREET)], None),
        ([MARKED, upsert(ALMA, STREET), upsert(ALMA, {"street": "Exempelgatan 8"})], None),
        ([MARKED, ContactChange(ChangeKind.UPSERT, ALMA, STREET, lifted=True)], "Exempelgatan 7"),
        ([MARKED, ContactChange(ChangeKind.UPSERT, ALMA, lifted=True), upsert(ALMA, STREET)], "Exempelgatan 7"),
        ([MARKED, upsert(ALMA, STREET, full=True)], "Exempelgatan 7"),
    ],
    ids=["erased", "stays away", "stays away for long", "lifted", "lifted first", "whole"],
)
def test_what_is_withheld_does_not_come_back_by_itself(tmp_path, opened, way, changes, street):
    """A sparse row that brings an address says nothing of the identity's protection."""
    file = ReplicaFile(DatabaseFile(tmp_path / "replica.db", None, "NORMAL"), KEY, MEMBER, "contacts", ("street",))
    replica = opened(file)
    if way == "files":
        load(file, changes)
        replica.adopt()
    else:
        for number, change in enumerate(changes):
            page(file, change, cursor=str(number))
    (member,) = replica.resolve([Identifier(PHONE, ALMA[PHONE])])
    assert member.fields["street"] == street
    assert street or b"Exempelgatan" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_an_empty_replica_knows_nobody(file, opened):
    """Before the first load everything is answered, with nobody and no freshness."""
    replica = opened(file)
    assert replica.resolve([Identifier(PHONE, "+46701740605")]) == ()
    assert replica.member("0" * 32) is None
    assert (replica.info().contacts, replica.info().as_of) == (0, None)


def test_half_a_first_load_answers_nothing(file, opened):
    """Contacts are found only once everything that was to be loaded is in."""
    replica = opened(file)
    with SqliteReplicaStore(file).open_writer() as writer:
        writer.apply_page(ChangePage((upsert(ALMA),), "7", last=False), at=NOW)
        assert who(replica, PHONE, ALMA[PHONE]) == set()
        writer.finish(as_of=NOW)
        assert writer.cursor() == "7"
    assert who(replica, PHONE, ALMA[PHONE]) == {ALMA[MEMBER]}
    assert (replica.info().contacts, replica.info().as_of) == (1, NOW)


@pytest.mark.parametrize("kind", [ID, MEMBER, PHONE, EMAIL], ids=str)
def test_every_key_finds_its_contact(file, opened, kind):
    """A contact is found by each of its keys, and the sale gets the primary one."""
    replica = opened(file)
    page(file, upsert(ALMA), upsert(BO))
    (member,) = replica.resolve([Identifier(kind, ALMA[kind])])
    assert (member.key.kind, member.key.type, member.key.value) == ("primary", MEMBER, ALMA[MEMBER])
    assert replica.member(member.ref) == member


def test_a_shared_phone_is_ambiguous(file, opened):
    """Two members with one phone are both found, each once, also when another reading names one of them."""
    replica = opened(file)
    page(file, upsert(ALMA), upsert({**BO, PHONE: ALMA[PHONE]}))
    readings = [Identifier(PHONE, ALMA[PHONE]), Identifier(MEMBER, ALMA[MEMBER])]
    assert [member.key.value for member in replica.resolve(readings)] == [ALMA[MEMBER], BO[MEMBER]]


def test_the_same_digits_of_two_types_are_two_keys(file, opened):
    """A member number that looks like a phone number does not answer for the phone."""
    replica = opened(file)
    page(file, upsert({**ALMA, MEMBER: "46701740606"}), upsert(BO))
    assert who(replica, IdentifierType.CARD_NUMBER, "46701740606") == set()
    assert who(replica, MEMBER, "46701740606") == {"46701740606"}


def test_without_a_primary_key_the_contact_id_stands_in(file, opened):
    """A contact without member number is tagged by its contact id, until it gets one."""
    replica = opened(file)
    page(file, upsert({ID: ALMA[ID], PHONE: ALMA[PHONE]}))
    (member,) = replica.resolve([Identifier(PHONE, ALMA[PHONE])])
    assert (member.key.type, member.key.value) == (ID, ALMA[ID])
    page(file, upsert({ID: ALMA[ID], MEMBER: ALMA[MEMBER]}))
    (promoted,) = replica.resolve([Identifier(PHONE, ALMA[PHONE])])
    assert (promoted.ref, promoted.key.value) == (member.ref, ALMA[MEMBER])


def test_a_handle_lives_through_learning_the_contact_id(file, opened):
    """A handle given out when only the member number was known still names the member afterwards."""
    replica = opened(file)
    page(file, upsert({MEMBER: ALMA[MEMBER], PHONE: ALMA[PHONE]}))
    (before,) = replica.resolve([Identifier(PHONE, ALMA[PHONE])])
    page(file, upsert(ALMA))
    assert replica.info().contacts == 1
    assert replica.member(before.ref).key.value == ALMA[MEMBER]


@pytest.mark.parametrize("ref", ["", "zz", "0" * 31, "f" * 32, "0" * 4000, "é" * 32], ids=len)
def test_a_made_up_handle_names_nobody(file, opened, ref):
    """Whatever is put into the place of a handle, the answer is nobody."""
    replica = opened(file)
    page(file, upsert(ALMA))
    assert replica.member(ref) is None


_MERGES = {
    "absent is unchanged": ([upsert(ALMA), upsert({ID: ALMA[ID]})], PHONE, {ALMA[MEMBER]}),
    "none is cleared": ([upsert(ALMA), upsert({ID: ALMA[ID], PHONE: None})], PHONE, set()),
    "a full row clears what is absent": ([upsert(ALMA), upsert({ID: ALMA[ID]}, full=True)], PHONE, set()),
    "a full row without a number leaves the contact id": (
        [upsert(ALMA), upsert({ID: ALMA[ID]}, full=True)],
        ID,
        {ALMA[ID]},
    ),
    "a full row by its number leaves the contact id": (
        [upsert(ALMA), upsert({MEMBER: ALMA[MEMBER]}, full=True)],
        ID,
        {ALMA[MEMBER]},
    ),
    "a shared number without contact id means the newest": (
        [upsert({**BO, MEMBER: ALMA[MEMBER]}), upsert(ALMA), upsert({MEMBER: ALMA[MEMBER], PHONE: None})],
        PHONE,
        set(),
    ),
    "a cleared number leaves the contact id": ([upsert(ALMA), upsert({ID: ALMA[ID], MEMBER: None})], PHONE, {ALMA[ID]}),
    "the contact id cannot be cleared": ([upsert(ALMA), upsert({ID: None, MEMBER: ALMA[MEMBER]})], ID, {ALMA[MEMBER]}),
    "a new value replaces the old": ([upsert(ALMA), upsert({ID: ALMA[ID], PHONE: "+46701740607"})], PHONE, set()),
    "the primary key finds it too": ([upsert(ALMA), upsert({MEMBER: ALMA[MEMBER], PHONE: None})], PHONE, set()),
    "the contact id wins over the primary key": (
        [upsert(ALMA), upsert({ID: BO[ID], MEMBER: ALMA[MEMBER], PHONE: None})],
        PHONE,
        {ALMA[MEMBER]},
    ),
    "deleted by contact id": ([upsert(ALMA), delete({ID: ALMA[ID]})], PHONE, set()),
    "deleted by primary key": ([upsert(ALMA), delete({MEMBER: ALMA[MEMBER]})], PHONE, set()),
    "deleted by phone alone": ([upsert(ALMA), delete({PHONE: ALMA[PHONE]})], MEMBER, set()),
    "deleted by another's contact id": (
        [upsert(ALMA), delete({ID: BO[ID], PHONE: ALMA[PHONE]})],
        PHONE,
        {ALMA[MEMBER]},
    ),
    "restored by a later upsert": ([upsert(ALMA), delete(ALMA), upsert(ALMA)], PHONE, {ALMA[MEMBER]}),
    "a moved phone names the new owner too": (
        [upsert(ALMA), upsert({**BO, PHONE: ALMA[PHONE]})],
        PHONE,
        {ALMA[MEMBER], BO[MEMBER]},
    ),
}
_WAYS = {
    "one page": lambda file, changes: [page(file, *changes)],
    "a page each": lambda file, changes: [page(file, change) for change in changes],
    "built": lambda file, changes: [load(file, changes)],
    "built from a file each": lambda file, changes: [load(file, *([change] for change in changes))],
}


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("case", _MERGES)
def test_changes_are_merged(file, opened, case, way):
    """Whichever way the changes come in, the rows they make are the same."""
    changes, kind, expected = _MERGES[case]
    replica = opened(file)
    _WAYS[way](file, changes)
    replica.adopt()
    assert who(replica, kind, ALMA[kind]) == expected


def test_an_upsert_without_identity_is_counted(file, opened):
    """A row that names nobody is left out and reported, not guessed."""
    opened(file)
    counts = page(file, upsert({PHONE: ALMA[PHONE]}), upsert(BO))
    assert (counts.rows, counts.inserted, counts.unidentified) == (1, 1, 1)


@pytest.mark.parametrize("way", _WAYS)
def test_fields_are_kept_only_as_configured(contacts_file, opened, way):
    """Configured fields are merged like keys; everything else in a change is dropped."""
    replica = opened(contacts_file)
    changes = [
        upsert(ALMA, {"first_name": "Alma", "member_level": "gold", "street": "Exempelgatan 7"}),
        upsert({ID: ALMA[ID]}, {"member_level": None}),
    ]
    _WAYS[way](contacts_file, changes)
    replica.adopt()
    (member,) = replica.resolve([Identifier(PHONE, ALMA[PHONE])])
    assert member.fields == {"first_name": "Alma", "member_level": None}
    assert b"Exempelgatan" not in contacts_file.database.path.read_bytes()


def test_keys_are_never_in_clear(file, opened):
    """With contents = "keys" the file holds the primary key and not one other value of a contact."""
    replica = opened(file)
    load(file, [upsert({**ALMA, IdentifierType.EXTERNAL_ID: "EDGE-000421"}, {"first_name": "Alma"})])
    replica.adopt()
    page(file, upsert({**BO, EMAIL: "bo@example.com"}, {"first_name": "Bo"}))
    replica.close()
    content = b"".join(path.read_bytes() for path in file.database.path.parent.iterdir())
    assert ALMA[MEMBER].encode() in content
    for value in (ALMA[ID], ALMA[PHONE], ALMA[EMAIL], "EDGE-000421", BO[ID], BO[PHONE], "bo@example.com", "Alma"):
        assert value.encode() not in content


def test_applying_a_file_again_changes_nothing(file, opened):
    """A replayed file is recorded and otherwise nothing; the same content under a later name is another event."""
    replica = opened(file)
    load(file, [upsert(ALMA)])
    replica.adopt()
    store = SqliteReplicaStore(file)
    with store.open_loader(rebuild=False) as loader:
        assert not loader.builds
        first = loader.apply_file(AppliedFile("a.xml", 10, "aa"), store.digest([delete(ALMA)]), at=NOW)
        again = loader.apply_file(AppliedFile("a.xml", 10, "aa"), store.digest([delete(ALMA)]), at=NOW)
        copy = loader.apply_file(AppliedFile("0 (copy)", 1, f"sha-{NOW}-0"), store.digest([upsert(ALMA)]), at=NOW)
        assert (first.replay, again.replay, copy.replay) == (False, True, False)
        assert [entry.name for entry in loader.ledger()] == ["0", "a.xml", "0 (copy)"]
    assert replica.info().contacts == 1


def test_a_file_is_applied_whole_or_not_at_all(file, opened):
    """A file that fails half-way leaves neither its rows nor its ledger row."""
    replica = opened(file)
    page(file, upsert(BO))
    store = SqliteReplicaStore(file)
    good = store.digest([upsert(ALMA)])
    broken = Batch([*good.rows, good.rows[0]._replace(keys=object())])
    with store.open_loader(rebuild=False) as loader:
        with pytest.raises(Exception, match="object"):
            loader.apply_file(AppliedFile("a.xml", 10, "aa"), broken, at=NOW)
        assert loader.ledger() == []
    assert (replica.info().contacts, who(replica, PHONE, ALMA[PHONE])) == (1, set())


def test_an_echo_writes_nothing(file, opened):
    """A change that says what is known already is counted as unchanged."""
    opened(file)
    page(file, upsert(ALMA))
    assert page(file, upsert(ALMA)).unchanged == 1
    assert page(file, upsert({**ALMA, PHONE: "+46701740607"})).updated == 1


def buried(file):
    """The keyed hashes in all tombstones."""
    connection = file.database.connect()
    found = connection.execute("SELECT keys, deleted_at FROM tombstones").fetchall()
    connection.close()
    assert {datetime.fromisoformat(at) for _, at in found} <= {NOW}
    return {keys[start : start + 16] for keys, _ in found for start in range(0, len(keys), 16)}


def test_a_delete_leaves_hashes_until_they_are_purged(file, opened):
    """A tombstone holds the hashes of the contact's keys, and goes when its time is over."""
    replica = opened(file)
    page(file, upsert(ALMA), upsert(BO))
    page(file, delete({ID: ALMA[ID]}), delete({PHONE: "+46701740699"}))
    keys = KeyHash(KEY)
    assert buried(file) == {keys.of(kind, value) for kind, value in ALMA.items()} | {keys.of(PHONE, "+46701740699")}
    with SqliteReplicaStore(file).open_writer() as writer:
        assert writer.purge(NOW + timedelta(days=7)) == 0, "nobody has carried the removals out yet"
        writer.carried_out([(identity, at) for identity, _, at in writer.removed()])
        assert writer.purge(NOW) == 0
        assert writer.purge(NOW + timedelta(days=7)) == 2
    assert buried(file) == set()
    assert replica.info().contacts == 1


def test_a_restored_contact_has_no_tombstone(file, opened):
    """A later upsert wins over a delete and takes its tombstone with it."""
    opened(file)
    page(file, upsert(ALMA), delete({MEMBER: ALMA[MEMBER]}))
    page(file, upsert(ALMA))
    assert buried(file) == set()


def test_a_rebuild_keeps_tombstones_of_who_is_gone(file, opened):
    """A new replica still knows who was deleted lately, unless they are in it again."""
    replica = opened(file)
    page(file, upsert(ALMA), upsert(BO), delete(ALMA), delete(BO))
    assert load(file, [upsert(BO)], rebuild=True)
    replica.adopt()
    keys = KeyHash(KEY)
    assert buried(file) == {keys.of(kind, value) for kind, value in ALMA.items()}


def test_a_purge_leaves_no_trace(contacts_file, opened):
    """After a delete and a purge no byte of the person is in the database or its log, while a reader is open."""

    def traces():
        return sum(path.read_bytes().count(b"Almanova") for path in contacts_file.database.path.parent.iterdir())

    replica = opened(contacts_file)
    crowd = [
        upsert({ID: f"id-{n:05}", MEMBER: f"{n}", PHONE: f"+999{n:09}"}, {"first_name": f"Bovik{n}"})
        for n in range(3000)
    ]
    page(contacts_file, *crowd[:1500], upsert(ALMA, {"first_name": "Almanova"}), *crowd[1500:])
    page(contacts_file, upsert({ID: ALMA[ID]}, {"first_name": "Almanova" * 50}))
    page(contacts_file, delete({ID: ALMA[ID]}))
    assert traces() > 0  # in the log, where the delete does not reach
    with SqliteReplicaStore(contacts_file).open_writer() as writer:
        assert writer.purge(NOW) == 0
    assert traces() == 0
    assert replica.info().contacts == 3000


def test_erasing_forgets_everybody(file, opened):
    """Starting over removes the replica and what is being built, and look-ups go on with nobody, under another key."""
    replica = opened(file)
    page(file, upsert(ALMA))
    load(file, [upsert(BO)], rebuild=True)
    other = dataclasses.replace(file, key=b"another hash key".ljust(32))
    replica.start_over(other)
    assert who(replica, PHONE, ALMA[PHONE]) == set()
    assert replica.info().as_of is None
    assert not file.side.path.exists()
    page(other, upsert(ALMA))
    replica.refresh()
    assert replica.file is other
    assert who(replica, PHONE, ALMA[PHONE])


def test_a_withheld_replica_knows_nobody(file, opened):
    """Closed, it finds nobody and counts as never loaded, whoever writes to it; opened, everybody is there again."""
    replica = opened(file)
    page(file, upsert(ALMA))
    replica.refresh()
    (ref,) = (member.ref for member in replica.resolve([Identifier(PHONE, ALMA[PHONE])]))
    replica.withhold()
    page(file, upsert(BO))
    replica.refresh()

    assert (replica.info().as_of, replica.info().contacts) == (None, 0)
    assert who(replica, PHONE, ALMA[PHONE]) == set()
    assert replica.member(ref) is None

    replica.open()
    assert replica.info().contacts == 2
    assert replica.member(ref) is not None


def test_a_rebuild_goes_on_beside_the_old_replica(file, opened):
    """While a new replica is built the old one answers; adopting swaps them."""
    replica = opened(file)
    page(file, upsert(ALMA))
    store = SqliteReplicaStore(file)
    with store.open_loader(rebuild=True) as loader:
        loader.apply_file(AppliedFile("a", 1, "a"), store.digest([upsert(BO)]), at=NOW)
        assert not replica.adopt()
        assert who(replica, PHONE, ALMA[PHONE]) == {ALMA[MEMBER]}
        loader.finish(as_of=NOW)
    assert replica.adopt()
    assert not replica.adopt()
    assert (who(replica, PHONE, ALMA[PHONE]), who(replica, PHONE, BO[PHONE])) == (set(), {BO[MEMBER]})
    page(file, upsert(ALMA))
    assert who(replica, PHONE, ALMA[PHONE]) == {ALMA[MEMBER]}


def test_a_finished_replica_is_adopted_at_the_next_start(file, opened):
    """A side file that was finished when the agent died is the replica after the start."""
    opened(file).close()
    load(file, [upsert(ALMA)])
    assert who(opened(file), PHONE, ALMA[PHONE]) == {ALMA[MEMBER]}


def test_a_finished_replica_takes_what_is_newer(file, opened):
    """A finished side file that nobody adopted yet is gone on with, not built again."""
    replica = opened(file)
    load(file, [upsert(ALMA)])
    assert load(file, [upsert(BO)], at=NOW + timedelta(hours=1))
    assert replica.adopt()
    assert replica.info().contacts == 2
    assert replica.info().as_of == NOW + timedelta(hours=1)


def test_an_interrupted_build_is_gone_on_with(file, opened):
    """What was built stays in its ledger, and the next load adds to it."""
    replica = opened(file)
    store = SqliteReplicaStore(file)
    with store.open_loader(rebuild=False) as loader:
        loader.apply_file(AppliedFile("a", 1, "a"), store.digest([upsert(ALMA)]), at=NOW)
    with store.open_loader(rebuild=False) as loader:
        assert [entry.name for entry in loader.ledger()] == ["a"]
        loader.apply_file(AppliedFile("b", 1, "b"), store.digest([upsert({ID: ALMA[ID], EMAIL: None})]), at=NOW)
        loader.finish(as_of=NOW)
    assert replica.adopt()
    assert (who(replica, PHONE, ALMA[PHONE]), who(replica, EMAIL, ALMA[EMAIL])) == ({ALMA[MEMBER]}, set())


def test_a_rebuild_is_abandoned_a_first_load_is_not(file, opened):
    """Giving up keeps what a first load has built, and drops what stands beside a good replica."""
    replica = opened(file)
    store = SqliteReplicaStore(file)
    with store.open_loader(rebuild=False) as loader:
        loader.abandon()
        assert file.side.path.exists()
    load(file, [upsert(ALMA)])
    replica.adopt()
    with store.open_loader(rebuild=True) as loader:
        loader.abandon()
    assert not file.side.path.exists()
    with store.open_loader(rebuild=False) as loader:
        assert not loader.builds


def test_a_built_file_has_the_schema_of_a_migrated_one(file, opened, tmp_path):
    """Nothing of the building is left in the schema."""

    def schema(path):
        connection = DatabaseFile(path, None, "NORMAL").connect()
        rows = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
        mode = connection.execute("PRAGMA journal_mode").fetchone()
        connection.close()
        return rows, mode

    replica = opened(file)
    fresh = schema(file.database.path)
    load(file, [upsert(ALMA)], [delete(ALMA)])
    assert replica.adopt()
    assert schema(file.database.path) == fresh


@pytest.mark.parametrize(
    "other",
    [
        lambda file: ReplicaFile(file.database, KEY, IdentifierType.EXTERNAL_ID),
        lambda file: ReplicaFile(file.database, KEY[::-1], MEMBER),
        lambda file: ReplicaFile(file.database, KEY, MEMBER, "contacts", ("first_name",)),
    ],
    ids=["primary key", "hash key", "fields"],
)
def test_another_configuration_starts_empty(file, opened, other):
    """Rows made for another primary key, hash key or other fields are removed, in the side file as well."""
    replica = opened(file)
    page(file, upsert(ALMA))
    load(file, [upsert(BO)], rebuild=True)
    replica.close()
    other_file = other(file)
    replica = opened(other_file)
    assert (replica.info().contacts, replica.info().as_of) == (0, None)
    load(other_file, [upsert(ALMA)])
    assert replica.adopt()
    assert replica.info().contacts == 1


@pytest.mark.skipif(not ENCRYPTED, reason="no SQLCipher on this platform")
def test_an_encrypted_replica_shows_nothing(tmp_path, opened):
    """With a key, not even the primary key is in the file, and another key does not open it."""
    file = ReplicaFile(DatabaseFile(tmp_path / "replica.db", KEY, "NORMAL"), KEY, MEMBER)
    replica = opened(file)
    load(file, [upsert(ALMA)])
    assert replica.adopt()
    assert who(replica, PHONE, ALMA[PHONE]) == {ALMA[MEMBER]}
    replica.close()
    assert ALMA[MEMBER].encode() not in file.database.path.read_bytes()
    with pytest.raises(StorageKeyError):
        ToldReplica(ReplicaFile(DatabaseFile(tmp_path / "replica.db", KEY[::-1], "NORMAL"), KEY, MEMBER))


def test_a_damaged_side_file_is_built_again(file, opened):
    """A side file that is no database costs only the building."""
    replica = opened(file)
    file.side.path.write_bytes(b"not a database" * 1000)
    assert not replica.adopt()
    file.side.path.write_bytes(b"not a database" * 1000)
    assert load(file, [upsert(ALMA)])
    assert replica.adopt()
    assert replica.info().contacts == 1


def test_a_damaged_replica_says_so(file, opened):
    """A file that is no database is left as it is, with an error that names the cause."""
    file.database.path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageDamagedError):
        opened(file)
    assert file.database.path.read_bytes().startswith(b"not a database")


def test_an_older_program_makes_a_newer_file_anew(file, opened):
    """A replica with a migration that this program does not know is fetched again."""
    assert load(file, [upsert(ALMA)])
    replica = opened(file)
    assert replica.info().contacts == 1
    replica.close()
    connection = file.database.connect()
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('replica', 'from_the_future', '2030')"
    )
    connection.close()
    assert opened(file).info().contacts == 0


def test_the_store_crosses_processes(file):
    """What a loader process is given can be pickled, and hides its keys from a repr."""
    store = pickle.loads(pickle.dumps(SqliteReplicaStore(file)))
    assert store == SqliteReplicaStore(file)
    assert str(KEY) not in repr(store)
    keys = pickle.loads(pickle.dumps(KeyHash(KEY)))
    assert keys.of(PHONE, "+46701740605") == KeyHash(KEY).of(PHONE, "+46701740605") != keys.of(MEMBER, "+46701740605")
    assert KEY.hex() not in repr(keys)
