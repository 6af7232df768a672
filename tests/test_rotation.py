"""The storage key exchanged: what is moved, what stays the same, and what a failure on the way leaves behind."""

from __future__ import annotations

import base64
import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from agent.connectors.registry import settings_models
from agent.domain.identifiers import Identifier
from agent.domain.lease import Contents, LeaseRecord
from agent.errors import StorageError, StorageFullError, StorageKeyError
from agent.keys import StorageKeys
from agent.rotation import rotate
from agent.settings import load
from agent.state import OUTBOX, REPLICA, State
from agent.store.database import ENCRYPTED, migrate
from agent.store.hashkey import hash_key, lookup_key
from agent.store.lease_file import KEY_FILE
from agent.store.migrations import outbox as migrations
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile
from tests.fakes import NOW
from tests.store.test_replica import ALMA, BO, PHONE, page, upsert

CONFIG = """
[agent]
store_id = "1042"
till_id = "03"
state_dir = "{root}/state"
[loyalty]
primary_key = "member_number"
[storage]
encryption = "{encryption}"
{storage}
[voyado]
base_url = "http://127.0.0.1:9"
api_key = "file:voyado.key"
feed = "file:///nowhere"
"""
EVERYTHING = [OUTBOX, REPLICA, KEY_FILE]


class House:
    """A state directory with a sale and a member in it, and no agent."""

    def __init__(self, root: Path, encryption: str = "on") -> None:
        self.root, self.encryption, self.path = root, encryption, root / "state"
        self.path.mkdir(parents=True)
        self.state = self.configured()
        keys = self.state.keys(may_create=True)
        self.lease = self.state.make_lease(keys)
        self.lease.save(LeaseRecord(5.0, NOW, contents=Contents.HELD))
        outbox = self.state.outbox(keys).connect()
        migrate(outbox, migrations)
        self.hash_key = hash_key(outbox, keys)
        outbox.execute("INSERT INTO statements (content) VALUES (?)", (b"Alma Made-Up bought wool socks",))
        outbox.close()
        file = self.replica(keys)
        SqliteReplica(file).close()
        page(file, upsert(ALMA))

    def configured(self, storage: str = "") -> State:
        config = self.root / "config.toml"
        config.write_text(CONFIG.format(root=self.root, encryption=self.encryption, storage=storage))
        return State(load(config=config, vendors=settings_models(), environ={}, secrets=False))

    def replica(self, keys: StorageKeys) -> ReplicaFile:
        return self.state.replica(keys, self.lease, lookup_key(self.hash_key))

    def exchange(self) -> list[str]:
        self.state.key_place.prepare()
        return rotate(self.state, self.state.keys(may_create=False))

    def check(self, keys: StorageKeys | None = None) -> None:
        """Everything is there and means what it meant, with the keys at hand."""
        keys = keys or self.state.keys(may_create=False)
        outbox = self.state.outbox(keys).connect()
        assert outbox.execute("SELECT content FROM statements").fetchall() == [(b"Alma Made-Up bought wool socks",)]
        assert hash_key(outbox, keys) == self.hash_key
        outbox.close()
        lease = self.state.lease(keys)
        assert lease == self.lease
        assert lease.load() == LeaseRecord(5.0, NOW, contents=Contents.HELD)
        replica = SqliteReplica(self.replica(keys))
        assert replica.resolve([Identifier(PHONE, ALMA[PHONE])])
        replica.close()

    def key(self, name: str = "storage.key") -> bytes:
        return base64.b64decode((self.path / name).read_bytes())

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())


encrypted = pytest.mark.skipif(not ENCRYPTED, reason="there is nothing to encrypt with here")
BOTH = pytest.mark.parametrize("encryption", [pytest.param("on", marks=encrypted), "off"])


@pytest.fixture
def house(tmp_path, request):
    return House(tmp_path, getattr(request, "param", "on"))


@BOTH
def test_everything_moves_and_means_the_same(tmp_path, encryption):
    """Under the new key sales, fingerprints, look-ups and the lease are what they were; the former opens nothing."""
    house = House(tmp_path, encryption)
    before, names = house.key(), house.names()
    moved = house.exchange()

    assert moved == (EVERYTHING if encryption == "on" else [OUTBOX, KEY_FILE])
    assert house.key() != before
    assert house.hash_key not in (before, house.key())
    assert house.names() == names
    house.check()
    with pytest.raises(StorageKeyError):
        house.check(StorageKeys(before))


@encrypted
def test_a_copy_made_before_gives_the_new_files_to_nobody(house):
    """Former key and former files together, once copied, do not open what is written later."""
    stolen = house.path.parent / "stolen"
    shutil.copytree(house.path, stolen)
    house.exchange()
    for name in (OUTBOX, REPLICA):
        shutil.copy(house.path / name, stolen / name)
    thief = house.configured()
    thief.directory = stolen
    thief.key_place = replace(thief.key_place, reference=replace(thief.key_place.reference, base=stolen))
    keys = thief.keys(may_create=False)
    for file in (thief.outbox(keys), thief.replica_pages(keys, house.lease)):
        with pytest.raises(StorageKeyError):
            file.connect()


@BOTH
def test_repeating_it_does_nothing_more(tmp_path, encryption):
    """What is under the new key is left alone, with the former one still at hand."""
    house = House(tmp_path, encryption)
    old = house.key()
    house.exchange()
    keys = StorageKeys(house.key(), (old,))
    before = {name: (house.path / name).stat().st_ino for name in EVERYTHING}
    assert rotate(house.state, keys) == []
    assert {name: (house.path / name).stat().st_ino for name in EVERYTHING} == before
    house.check(keys)


def test_again_and_again(house):
    """Five keys later everything is still there."""
    seen = {house.key()}
    for _ in range(5):
        house.exchange()
        seen.add(house.key())
    house.check()
    assert len(seen) == 6


class Step:
    """Counts the calls that change the disk, and refuses one of them and, if wished, all that follow."""

    CALLS = ("os.fsync", "pathlib.Path.replace", "pathlib.Path.unlink", "shutil.copyfileobj")

    def __init__(self, monkeypatch, refused: int, *, for_good: bool) -> None:
        self.count, self.refused, self.for_good = 0, refused, for_good
        for name in self.CALLS:
            module, _, function = name.rpartition(".")
            monkeypatch.setattr(name, self.wrap(getattr(Path if "Path" in module else __import__(module), function)))

    def wrap(self, call):
        def wrapped(*args, **kwargs):
            self.count += 1
            if self.count == self.refused or (self.for_good and self.count > self.refused):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args, **kwargs)

        return wrapped


@BOTH
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_a_disk_that_says_no_on_the_way(tmp_path, encryption, for_good):
    """At each step in turn: the failure is told or overcome, nothing is unreadable, and the next attempt succeeds."""
    template, steps, told = House(tmp_path / "template", encryption), 0, 0
    while True:
        steps += 1
        root = tmp_path / str(steps)
        house = object.__new__(House)
        house.__dict__.update(template.__dict__, root=root, path=root / "state")
        shutil.copytree(template.root, root)
        house.state = house.configured()
        house.lease = replace(template.lease, directory=house.path)
        house.state.key_place.prepare()
        keys = house.state.keys(may_create=False)
        with pytest.MonkeyPatch.context() as patch:
            step = Step(patch, steps, for_good=for_good)
            try:
                rotate(house.state, keys)
            except StorageError:
                told += 1
        house.check()
        house.check(keys)
        rotate(house.state, house.state.keys(may_create=False))
        house.check()
        assert house.names() == template.names()
        shutil.rmtree(root)
        if step.count < steps:
            break

    assert steps > (15 if encryption == "on" else 5)
    assert told > steps / 2


@encrypted
def test_no_room_for_a_copy(house, monkeypatch):
    """The other file moves, the failure is told, both keys stay, and everything is readable."""
    copy = shutil.copyfileobj

    def refuse(source, target, length):
        if Path(source.name).name == OUTBOX:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copy(source, target, length)

    monkeypatch.setattr("shutil.copyfileobj", refuse)
    old = house.key()
    with pytest.raises(StorageFullError):
        house.exchange()
    assert house.key() == old
    assert "storage.key.next" in house.names()
    house.check()
    monkeypatch.undo()
    assert rotate(house.state, house.state.keys(may_create=False)) == [OUTBOX]
    house.check()


@encrypted
def test_what_is_being_built_is_begun_anew(house):
    """A half-done replica would stay under the former key."""
    keys = house.state.keys(may_create=False)
    file = house.replica(keys)
    with SqliteReplicaStore(file).open_loader(rebuild=True):
        pass
    assert "replica.next.db" in house.names()
    house.exchange()
    assert "replica.next.db" not in house.names()
    house.check()


def test_an_empty_directory_gets_another_key(tmp_path):
    """There is nothing to move."""
    house = House(tmp_path)
    for name in house.names():
        if name != "storage.key":
            (house.path / name).unlink()
    old = house.key()
    assert house.exchange() == []
    assert house.key() != old


def test_an_outbox_without_tables_is_no_obstacle(house):
    """Killed at its very first start."""
    connection = house.state.outbox(house.state.keys(may_create=False)).connect()
    connection.execute("DROP TABLE hash_key")
    connection.close()
    assert house.exchange() == EVERYTHING if ENCRYPTED else [KEY_FILE]


# --- keys that are handed over --------------------------------------------------------------------------------


def handed_over(house, monkeypatch, current, previous):
    """The state of a configuration whose keys come from outside."""
    for name, key in (("MADE_UP_NEW", current), ("MADE_UP_OLD", previous)):
        if key is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, base64.b64encode(key).decode())
    house.state = house.configured('key = "env:MADE_UP_NEW"\nprevious_key = "env:MADE_UP_OLD"')
    return house.state.keys(may_create=False)


def test_from_a_file_to_a_credential_and_on(house, monkeypatch):
    """`storage.previous_key` names what everything was under; then it is not needed any more."""
    keys = handed_over(house, monkeypatch, b"1" * 32, house.key())
    assert rotate(house.state, keys) == (EVERYTHING if ENCRYPTED else [OUTBOX, KEY_FILE])
    house.check(handed_over(house, monkeypatch, b"1" * 32, None))
    rotate(house.state, handed_over(house, monkeypatch, b"2" * 32, b"1" * 32))
    house.check(handed_over(house, monkeypatch, b"2" * 32, None))
    with pytest.raises(StorageKeyError):
        house.check(handed_over(house, monkeypatch, b"1" * 32, None))


@encrypted
def test_a_former_key_that_is_missed_is_told(house, monkeypatch):
    """Nothing opens the outbox: the error says so, and why the former key could not be read."""
    keys = handed_over(house, monkeypatch, b"1" * 32, None)
    with pytest.raises(StorageKeyError, match=r"does not open outbox\.db; storage\.previous_key: env:MADE_UP_OLD"):
        house.state.outbox(keys)
    house.check(handed_over(house, monkeypatch, house.key(), None))


# --- what a key proves ----------------------------------------------------------------------------------------


def test_a_replica_key_that_cannot_be_read_is_fetched_anew_only_beside_an_outbox(house):
    """Whose pages tell whether the storage key is the right one; without it the key is asked for."""
    keys = house.state.keys(may_create=False)
    (house.path / KEY_FILE).write_bytes(os.urandom(64))
    assert house.state.lease(keys) is None
    (house.path / OUTBOX).unlink()
    with pytest.raises(StorageKeyError, match=KEY_FILE):
        house.state.lease(keys)


def test_other_contacts_are_others(house):
    """The check that the tests above rely on finds who is not there."""
    replica = SqliteReplica(house.replica(house.state.keys(may_create=False)))
    assert not replica.resolve([Identifier(PHONE, BO[PHONE])])
    replica.close()
