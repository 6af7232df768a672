"""The replica's own key, the record of its lease, and what ends with them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.lease import Contents, LeaseRecord
from agent.errors import StorageDamagedError, StorageError, StorageKeyError
from agent.keys import subkey
from agent.store.database import DatabaseFile, remove
from agent.store.lease_file import KEY_FILE, RECORD_FILE, LeaseFile
from agent.store.leased_replica import LeasedReplica
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile
from tests.store.test_replica import ALMA, PHONE, page, upsert

STORAGE_KEY, OTHER_KEY = b"k" * 32, b"x" * 32
NOW = datetime(2026, 2, 14, 15, 0, tzinfo=UTC)
RECORD = LeaseRecord(86_400.25, NOW, -3.5, Contents.HELD)


def names(path):
    return sorted(file.name for file in path.iterdir())


def test_the_key_is_found_again_under_its_storage_key_alone(tmp_path):
    """Nothing of it shows on disk or in a repr; another storage key is told apart from none."""
    made = LeaseFile.made(tmp_path, STORAGE_KEY)
    content = (tmp_path / KEY_FILE).read_bytes()

    assert LeaseFile.found(tmp_path, [OTHER_KEY, STORAGE_KEY]) == made
    assert made.key not in content
    assert made.key.hex() not in repr(made)
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageKeyError):
        LeaseFile.found(tmp_path, [OTHER_KEY])
    made.erase()
    assert LeaseFile.found(tmp_path, [STORAGE_KEY]) is None
    made.erase()


def test_another_storage_key_seals_it_anew(tmp_path):
    """The key stays the same, and the former storage key does not open it any more."""
    made = LeaseFile.made(tmp_path, STORAGE_KEY)
    made.save(RECORD)
    assert made.reseal(OTHER_KEY)
    assert not made.reseal(OTHER_KEY)
    found = LeaseFile.found(tmp_path, [OTHER_KEY])
    assert found == made
    assert found.load() == RECORD
    with pytest.raises(StorageKeyError):
        LeaseFile.found(tmp_path, [STORAGE_KEY])


def test_a_record_is_read_as_it_was_written(tmp_path):
    """Until then there is none; the newest counts."""
    made = LeaseFile.made(tmp_path, STORAGE_KEY)
    assert made.load() is None
    made.save(LeaseRecord(0.0, NOW))
    made.save(RECORD)
    assert made.load() == RECORD
    assert names(tmp_path) == [KEY_FILE, RECORD_FILE]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b"86400", b"00400"),
        lambda text: text.replace(b"2026", b"2036"),
        lambda text: text.replace(b"held", b"none"),
        lambda text: text[:-20],
        lambda _text: b"",
        lambda _text: b"[1]",
        lambda _text: b'{"signature": 7}',
        lambda _text: bytes(range(256)),
    ],
    ids=["younger", "later", "nothing held", "cut short", "empty", "a list", "another shape", "noise"],
)
def test_a_record_that_was_tampered_with_is_none(tmp_path, spoil):
    """Nobody without the storage key writes one that counts."""
    made = LeaseFile.made(tmp_path, STORAGE_KEY)
    made.save(RECORD)
    path = tmp_path / RECORD_FILE
    before = path.read_bytes()
    path.write_bytes(spoil(before))
    assert path.read_bytes() != before
    assert made.load() is None


def test_a_record_of_another_replica_is_none(tmp_path):
    """One that was kept aside from an earlier key says nothing of a later one."""
    first = LeaseFile.made(tmp_path, STORAGE_KEY)
    first.save(RECORD)
    kept = (tmp_path / RECORD_FILE).read_bytes()
    second = LeaseFile.made(tmp_path, STORAGE_KEY)
    assert names(tmp_path) == [KEY_FILE]
    (tmp_path / RECORD_FILE).write_bytes(kept)
    assert second.load() is None


# --- the replica on top of it ---------------------------------------------------------------------------------


class House:
    """A leased replica in a directory."""

    def __init__(self, path):
        self.path, self.damages = path, []
        lease = LeaseFile.made(path, STORAGE_KEY)
        self.replica = SqliteReplica(self.file_of(lease), withheld=True)
        self.leased = LeasedReplica(
            self.replica, lease, renew_key=lambda: LeaseFile.made(path, STORAGE_KEY), file_of=self.file_of,
            failed=self.damages.append,
        )  # fmt: skip

    def file_of(self, lease):
        database = DatabaseFile(self.path / "replica.db", subkey(STORAGE_KEY, "replica", lease.key), "NORMAL")
        return ReplicaFile(database, subkey(lease.key, "lookup"), IdentifierType.MEMBER_NUMBER)

    def load(self):
        page(self.replica.file, upsert(ALMA))
        self.replica.refresh()

    def knows(self):
        return bool(self.replica.resolve([Identifier(PHONE, ALMA[PHONE])]))


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.replica.close()


def test_it_is_closed_until_it_is_opened(house):
    """Nothing is made on disk before."""
    assert not house.leased.there()
    assert names(house.path) == [KEY_FILE]
    house.leased.open()
    house.load()
    assert house.knows()
    assert house.leased.there()


def test_starting_over_leaves_noise_at_most(house):
    """The key's bytes are overwritten, the files are gone, a copy made before cannot be read any more; loads go on."""
    house.leased.open()
    house.load()
    house.leased.save(RECORD)
    old_file = house.replica.file
    with (house.path / KEY_FILE).open("rb") as key, old_file.database.path.open("rb") as content:
        house.leased.start_over()
        assert set(key.read()) == {0}
        copy = content.read()
    assert not house.knows()
    assert house.leased.load() is None
    assert house.replica.file.database.key != old_file.database.key
    (house.path / "copy.db").write_bytes(copy)
    with pytest.raises(StorageKeyError):
        dataclasses.replace(house.replica.file.database, path=house.path / "copy.db").connect()

    house.load()
    assert house.knows()


def test_the_key_goes_first(house, monkeypatch):
    """A disk that keeps the files keeps noise; the next attempt removes them."""
    house.leased.open()
    house.load()

    def refuse(_file):
        raise PermissionError

    monkeypatch.setattr("agent.store.replica.remove", refuse)
    for _ in range(2):
        with pytest.raises(PermissionError):
            house.leased.start_over()
        assert not house.knows()
    lease = LeaseFile.found(house.path, [STORAGE_KEY])
    with pytest.raises(StorageKeyError):
        house.file_of(lease).database.connect()
    monkeypatch.undo()
    house.leased.start_over()
    assert house.replica.info().contacts == 0


@pytest.mark.parametrize("how", ["another key's", "damaged"])
def test_a_file_that_cannot_be_read_stays_barred(house, how):
    """Whoever is told makes it whole; until then nobody is found, and the lease does not open it."""
    house.leased.open()
    house.load()
    house.replica.withhold()
    path = house.replica.file.database.path
    if how == "damaged":
        path.write_bytes(b"\x07" * 100)
    else:
        path.unlink()
        other = dataclasses.replace(house.replica.file, key=b"z" * 32, database=DatabaseFile(path, OTHER_KEY, "NORMAL"))
        SqliteReplica(other).close()
    house.leased.open()
    assert [type(error) for error in house.damages] == [StorageDamagedError if how == "damaged" else StorageKeyError]
    house.leased.open()
    assert (house.leased.barred, house.knows(), len(house.damages)) == (True, False, 1)
    with pytest.raises(StorageError):
        house.leased.unbar()
    assert house.leased.barred

    remove(house.replica.file.database)
    house.leased.unbar()
    house.load()
    assert house.knows()


def test_both_have_a_say(house):
    """What the lease withholds stays closed when it is whole again, and what is barred stays closed when it is lent."""
    house.leased.open()
    house.load()
    house.leased.bar()
    assert not house.knows()
    house.leased.withhold()
    house.leased.unbar()
    assert not house.knows()
    house.leased.bar()
    house.leased.open()
    assert not house.knows()
    house.leased.unbar()
    assert house.knows()


def test_a_replica_being_built_is_there_too(house):
    """Its side file is something that a lease would be about."""
    house.leased.open()
    with SqliteReplicaStore(house.replica.file).open_loader(rebuild=True):
        pass
    house.replica.close()
    house.replica.file.database.path.unlink()
    assert house.leased.there()
