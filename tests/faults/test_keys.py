"""Encryption at rest, the storage key exchanged, and the data lease, with the installed agent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import random
import shutil
import subprocess
import time
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from e2e import powercut
from e2e.shop import COMMAND, Till, eventually, members

from agent import daemon, settings
from agent.connectors.registry import settings_models
from agent.domain.identifiers import Identifier, IdentifierType
from agent.errors import StorageKeyError
from agent.keys import StorageKeys
from agent.rotation import rotate
from agent.state import State
from agent.store.database import ENCRYPTED
from agent.store.hashkey import hash_key, lookup_key
from agent.store.replica import SqliteReplica

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ENCRYPTED, reason="there is nothing to encrypt with here"),
]

FEW = pytest.mark.parametrize("vendor", [20], indirect=True, ids=["few"])
MANY = pytest.mark.parametrize("vendor", [3_000], indirect=True, ids=["many"])
CONTACTS = {"contents": "contacts", "fields": ["first_name", "last_name", "street", "mobile_phone", "email"]}
NOISE = (".db", ".db-wal", ".xml", ".part")
PLAIN = {
    *("agent.lock", "audit.jsonl", "cli.token", "replica.lease", "replica.size", "reserve"),
    *("tokens.json", "tokens.lock"),
}


def number_of(contact):
    return {"type": "member_number", "value": contact.value("memberNumber")}


def values_of(people):
    """What names somebody, as bytes that a file may hold."""
    names = ("memberNumber", "mobilePhone", "email", "street")
    texts = {str(person.value(name)) for person in people for name in names if person.value(name)}
    return {text.removeprefix("+46").encode() for text in texts} | {person.contact_id.encode() for person in people}


def found(directory, values):
    """Each file of a directory that holds one of the values."""
    return {
        path.name
        for path in directory.rglob("*")
        if path.is_file() and any(value in path.read_bytes() for value in values)
    }


def readable(directory):
    """The files that are neither noise nor known to hold nothing of anybody."""
    left = set()
    for path in directory.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        # Frames of a write-ahead log have heads of 24 bytes in clear; -shm files hold page numbers and no page.
        noise = path.name.endswith(NOISE) and len(zlib.compress(content, 9)) > 0.98 * len(content)
        if content and not noise and path.name not in PLAIN and not path.name.endswith((".db-shm", ".key")):
            left.add(path.name)
    return left


def refused(till):
    """What `run` says when it does not start."""
    return subprocess.run(
        [COMMAND, "run", "--config", till.config], capture_output=True, text=True, timeout=60, check=False
    )


def killed_while_reading(till):
    """Kills the agent while a downloaded export lies in its spool."""
    spool = till.state / "spool"
    for _ in range(10):
        till.start()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and till.process and not till.logged("synced"):
            if any(_size(path) > 50_000 for path in spool.glob("*")):
                till.kill()
                break
        till.kill()
        if any(spool.iterdir()):
            return
        for path in till.state.glob("replica*"):  # it was faster: everything is loaded anew
            path.unlink()
        till.log.unlink()
    raise AssertionError("no export was ever seen in the spool")


def _size(path):
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


# --- without the key ----------------------------------------------------------------------------------------------


@MANY
@pytest.mark.parametrize("encryption", ["on", "off"])
def test_everything_on_disk_is_noise(vendor, open_till, sftp, encryption):
    """Killed at work: no file of the state directory shows anybody, and every one that could is noise; off, many do."""
    people = members(vendor, 200)
    till = open_till(voyado=sftp, storage={"encryption": encryption}, replica=CONTACTS)
    killed_while_reading(till)
    values = values_of(people)
    spool = till.state / "spool"
    assert found(spool, values) == set()
    assert readable(spool) == set()
    till.start()
    eventually(till.loaded)
    vendor.cut()
    for index, person in enumerate(people):
        phone = {"type": "mobile_phone", "value": person.value("mobilePhone")}
        assert till.sell(f"s-{index}", identifier=phone, cashier_id="Zaphira").status_code == 202
    shown = {path.name: path.read_bytes() for path in till.state.iterdir() if path.is_file()}
    till.kill()

    assert {"outbox.db", "outbox.db-wal", "outbox.db-shm", "replica.db", "replica.key"} <= shown.keys()
    traces = {name for name, content in shown.items() if any(value in content for value in {*values, b"Zaphira"})}
    if encryption == "on":
        assert traces == found(till.state, values) == readable(till.state) == set()
    else:
        assert {"outbox.db-wal", "replica.db"} <= traces
        assert {"outbox.db-wal", "replica.db"} <= readable(till.state)


@FEW
def test_the_key_thrown_away_is_the_end_of_the_data(vendor, open_till):
    """78 in clear words without it, with another one, and beside it; with the key back everything is there."""
    till = open_till().start()
    eventually(till.loaded)
    vendor.cut()
    till.sell("s-1", identifier=number_of(members(vendor, 1)[0]))
    till.stop()
    key = till.state / "storage.key"
    kept, files = key.read_bytes(), {path.name: path.read_bytes() for path in till.state.glob("*.db")}
    for content, text in (
        (None, "there are databases, but their key is missing: file:storage.key"),
        (base64.b64encode(bytes(32)), "the key does not open outbox.db"),
    ):
        key.unlink(missing_ok=True)
        if content is not None:
            key.write_bytes(content)
        run = refused(till)
        assert (run.returncode, text in run.stderr, "storage.key" in run.stderr) == (78, True, True)
        assert {path.name: path.read_bytes() for path in till.state.glob("*.db")} == files
        assert till.command("status").returncode == 2
    # A key of one's own does not help: it takes a file with it that nobody has any more.
    assert till.command("key", "rotate").returncode in (74, 78)
    (till.state / "storage.key.next").unlink(missing_ok=True)
    key.write_bytes(kept)
    vendor.mend()
    till.start()
    eventually(lambda: vendor.held() == {"s-1": 1})


@FEW
def test_another_key_beside_a_replica_alone(vendor, open_till):
    """No outbox tells whether the key is right: 78, and neither is an outbox made nor the replica given up."""
    till = open_till().start()
    eventually(lambda: till.logged("synced"))
    till.stop()
    for path in till.state.glob("outbox.db*"):
        path.unlink()
    key = till.state / "storage.key"
    kept, files = key.read_bytes(), {path.name: path.read_bytes() for path in till.state.glob("replica*")}
    key.write_bytes(base64.b64encode(bytes(32)))
    for _ in range(2):
        run = refused(till)
        assert (run.returncode, "the key does not open replica.key" in run.stderr) == (78, True)
    assert not (till.state / "outbox.db").exists()
    assert {path.name: path.read_bytes() for path in till.state.glob("replica*")} == files
    key.write_bytes(kept)
    till.start()
    assert till.identify("member_number", members(vendor, 1)[0].value("memberNumber"))["outcome"] == "matched"
    assert not till.logged("damage.found")


# --- the key exchanged --------------------------------------------------------------------------------------------


class Books:
    """A till with a delivered, erased sale and a waiting one, and the means to see that nothing has been lost."""

    def __init__(self, vendor, open_till, **overrides):
        self.vendor, self.people = vendor, members(vendor, 2)
        self.till: Till = open_till(retention={"delivered": "1s"}, **overrides).start()
        eventually(self.till.loaded)
        self.said = {f"s-{index}": number_of(person) for index, person in enumerate(self.people)}
        assert self.till.sell("s-0", identifier=self.said["s-0"]).status_code == 202
        eventually(lambda: self.till.delivered("s-0"))
        time.sleep(1.1)  # retention.delivered
        self.till.purge()
        vendor.cut()
        assert self.till.sell("s-1", identifier=self.said["s-1"]).status_code == 202

    def check(self):
        """Old sales are recognised, the replica answers, and what waited goes out once."""
        till = self.till
        loads = len(till.logged("feed.applied"))
        assert {name: till.sell(name, identifier=who).status_code for name, who in self.said.items()} == {
            "s-0": 200, "s-1": 200,
        }  # fmt: skip
        assert till.sell("s-0", identifier=self.said["s-1"]).status_code == 409
        assert till.identify("mobile_phone", self.people[0].value("mobilePhone"))["served"]["source"] == "replica"
        assert len(till.logged("feed.applied")) == loads
        assert not till.conditions() & {"storage.damaged", "replica.expired"}

    def deliver(self):
        self.vendor.mend()
        self.till.order("flush")
        eventually(self.till.drained)
        assert self.vendor.posts() == {"s-0": 1, "s-1": 1}


@FEW
def test_a_stopped_agents_key_is_exchanged(vendor, open_till):
    """`key rotate`: another key, and everything means what it meant; the former one opens nothing."""
    books = Books(vendor, open_till)
    till, key = books.till, books.till.state / "storage.key"
    till.stop()
    former = key.read_bytes()
    done = till.command("key", "rotate")

    assert (done.returncode, "outbox.db, replica.db, replica.key" in done.stdout) == (0, True), done.stderr
    assert key.read_bytes() != former
    till.start()
    books.check()
    till.stop()
    current = key.read_bytes()
    key.write_bytes(former)
    assert refused(till).returncode == 78
    key.write_bytes(current)
    till.start()
    books.deliver()


@FEW
def test_a_running_agents_key_is_exchanged_at_its_next_start(vendor, open_till):
    """The command makes the key, the agent goes on undisturbed, and exchanges it when it is started, killed or not."""
    books = Books(vendor, open_till)
    till, key = books.till, books.till.state / "storage.key"
    former = key.read_bytes()
    done = till.command("key", "rotate")
    assert (done.returncode, "next started" in done.stdout) == (0, True)
    assert key.read_bytes() == former
    books.check()
    till.kill()
    till.start()

    (rotated,) = till.logged("key.rotated")
    assert '"event":"key.rotated"' in (till.state / "audit.jsonl").read_text()
    assert rotated["files"] == ["outbox.db", "replica.db", "replica.key"]
    assert key.read_bytes() != former
    books.check()
    books.deliver()


@FEW
def test_a_credential_is_exchanged_by_who_hands_it_over(vendor, open_till):
    """From the agent's own file to a credential and to the next one; each former key may be taken away afterwards."""
    books = Books(vendor, open_till)
    till = books.till
    credentials = till.home / "credentials"
    credentials.mkdir(mode=0o700)
    config = till.config.read_text()
    previous = "file:storage.key"
    for name in ("first", "second"):
        till.stop()
        (credentials / name).write_bytes(base64.b64encode(os.urandom(32)))
        lines = f'\n[storage]\nkey = "credential:{name}"\nprevious_key = "{previous}"\n'
        till.config.write_text(config + lines)
        till.start()
        assert till.logged("key.rotated")[-1]["files"] == ["outbox.db", "replica.db", "replica.key"]
        books.check()
        till.stop()
        (till.state / "storage.key").unlink(missing_ok=True)
        for path in credentials.iterdir():
            if path.name != name:
                path.unlink()
        till.start()
        books.check()
        previous = f"credential:{name}"
    books.deliver()


@FEW
def test_no_room_for_the_copy_stops_nobody(vendor, open_till):
    """The agent starts with both keys at hand, says why, and exchanges it at the next start."""
    books = Books(vendor, open_till)
    till = books.till
    assert till.command("key", "rotate").returncode == 0
    till.kill()
    copy = till.state / "outbox.rekeyed.db"
    copy.mkdir()  # where the copy would be
    till.start()

    assert till.logged("key.not_rotated")
    books.check()
    till.kill()
    copy.rmdir()
    till.start()
    assert till.logged("key.rotated")
    books.check()
    books.deliver()


STEPS = {
    "rename": range(1, 12),
    "unlink": range(1, 25),
    "fsync": range(1, 20),
    "ftruncate": range(1, 8),
    "pwrite64": (*range(1, 20, 3), *range(20, 400, 23)),
    "sendfile": range(1, 4),
    "copy_file_range": range(1, 4),
}
"""Which calls of each kind the command is killed at."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(4))
@FEW
def test_killed_at_every_step(vendor, open_till, tmp_path, part):
    """Kill -9 before each call that changes the disk: every file is readable with the keys at hand, and it goes on."""
    if powercut.STRACE is None:
        powercut.wrapper(tmp_path / "none")  # skips, or fails in CI
    books = Books(vendor, open_till)
    till = books.till
    till.kill()
    configuration = settings.load(config=till.config, vendors=settings_models(), environ={})
    before = _read(State(configuration), StorageKeys(base64.b64decode((till.state / "storage.key").read_bytes())), till)
    moments = [(call, number) for call, numbers in STEPS.items() for number in numbers][part::4]
    kills = 0
    for call, number in moments:
        state = State(replace(configuration, state_dir=tmp_path / "copy"))
        shutil.copytree(till.state, state.directory)
        kills += _killed_at(call, number, till, state.directory)
        keys = state.keys(may_create=False)
        assert _read(state, keys, till) == before, (call, number)
        rotate(state, keys)
        after = StorageKeys(base64.b64decode((state.directory / "storage.key").read_bytes()))
        assert after.current == keys.current
        assert _read(state, after, till) == before, (call, number)
        assert not list(state.directory.glob("*.rekeyed.db*"))
        shutil.rmtree(state.directory)

    assert kills > 10


@FEW
@pytest.mark.timeout(600)
def test_the_power_goes_while_the_key_is_exchanged(vendor, open_till, tmp_path):
    """After each call that changes the disk, with nothing or some of what was not synced: everything is readable."""
    wrapper = powercut.wrapper(tmp_path / "traces")
    books = Books(vendor, open_till)
    till = books.till
    till.kill()
    state = State(settings.load(config=till.config, vendors=settings_models(), environ={}))
    present = _read(state, state.keys(may_create=False), till)
    files = {path: path.read_bytes() for path in till.state.iterdir() if path.is_file() and path.suffix != ".db-shm"}
    run = subprocess.run([*wrapper, COMMAND, "key", "rotate", "--config", till.config], timeout=100, check=True)
    history = powercut.events(tmp_path / "traces", till.state)
    ends = sorted(event.done_at for event in history)
    telling = {event.done_at for event in history if event.call not in ("pwrite64", "write", "openat")}
    chance = random.Random(11)
    some = lambda changes: chance.sample(changes, chance.randint(0, len(changes)))  # noqa: E731 - two words
    moments = sorted({ends[0], *telling, *ends[::25]})
    for cut_at in moments:
        for unsynced in (None, some):
            copy = State(
                replace(
                    settings.load(config=till.config, vendors=settings_models(), environ={}), state_dir=tmp_path / "cut"
                )
            )
            powercut.disk_after(history, cut_at, copy.directory, unsynced=unsynced, before=files)
            keys = copy.keys(may_create=False)
            assert _read(copy, keys, till) == present
            rotate(copy, keys)
            assert _read(copy, copy.keys(may_create=False), till) == present
            shutil.rmtree(copy.directory)

    assert run.returncode == 0
    assert len(telling) > 15


def _killed_at(call: str, number: int, till: Till, directory: Path) -> bool:
    """Runs the command in another state directory until it is killed; False when it came to its end before."""
    trace = ("-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}")
    run = subprocess.run(
        [powercut.STRACE, *trace, COMMAND, "key", "rotate", "--config", till.config],
        env={**os.environ, "LOYALTY_AGENT__AGENT__STATE_DIR": str(directory)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.returncode in (0, -9, 137), run.stderr
    return run.returncode != 0


def _read(state: State, keys: StorageKeys, till: Till) -> dict[str, object]:
    """What is in the files, and what it means."""
    outbox = state.outbox(keys).connect()
    try:
        tables = [row[0] for row in outbox.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        rows = {name: outbox.execute(f"SELECT * FROM {name}").fetchall() for name in tables if name != "hash_key"}
        assert outbox.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows["hash key"] = hash_key(outbox, keys)
    finally:
        outbox.close()
    lease = state.lease(keys)
    assert lease is not None
    replica = SqliteReplica(state.replica(keys, lease, lookup_key(rows["hash key"])))
    try:
        rows["contacts"] = replica.info().contacts
        rows["lease"] = lease.load()
        number = next(iter(till.vendor.sim.state.members())).value("memberNumber")
        rows["member"] = replica.resolve([Identifier(IdentifierType.MEMBER_NUMBER, number)])
    finally:
        replica.close()
    return rows


@FEW
def test_an_agent_killed_while_it_starts(vendor, open_till):
    """Ten starts with a key to be exchanged, killed at any moment: the eleventh has everything."""
    books = Books(vendor, open_till)
    till = books.till
    chance = random.Random(7)
    till.kill()
    state = State(settings.load(config=till.config, vendors=settings_models(), environ={}))
    for _ in range(10):
        with state.held():  # as by a running agent, so that the key is only made
            assert till.command("key", "rotate").returncode == 0
        with till.log.open("ab") as log:
            process = subprocess.Popen([COMMAND, "run", "--config", till.config], stderr=log, stdout=log)
        time.sleep(chance.uniform(0.1, 1.5))
        process.kill()
        process.wait()
    till.start()
    books.check()
    books.deliver()


# --- the data lease -----------------------------------------------------------------------------------------------


def gone(vendor, till):
    """The loyalty system and its exports are out of reach."""
    vendor.cut()
    hidden = vendor.exports.with_name("hidden")
    vendor.exports.rename(hidden)
    return hidden


@FEW
def test_it_ends_by_itself_while_the_agent_runs(vendor, open_till):
    """Nobody is found any more, a copy of the file made before is noise, its key is overwritten, tagging goes on."""
    alma = members(vendor, 1)[0]
    till = open_till(replica={"stale_after": "1s", "expires_after": "8s"}).start()
    eventually(lambda: till.logged("synced"))
    everybody = till.status()["replica"]["contacts"]
    gone(vendor, till)
    assert till.identify("member_number", alma.value("memberNumber"))["served"]["source"] == "replica"
    stolen = till.home / "stolen"
    shutil.copytree(till.state, stolen, ignore=shutil.ignore_patterns("*.new"))  # which are renamed meanwhile
    with (till.state / "replica.key").open("rb") as key:
        eventually(lambda: "replica.expired" in till.conditions())
        eventually(lambda: till.logged("replica.expired"))
        assert set(key.read()) == {0}
    phone = {"type": "mobile_phone", "value": alma.value("mobilePhone")}

    assert till.ask(phone["type"], phone["value"]).json()["outcome"] == "unknown"
    assert till.status()["replica"]["contacts"] == 0
    assert till.status()["level"] == 2
    sold = till.sell("s-1", identifier=phone).json()
    assert sold["integration_key"] == {"kind": "secondary", **phone}
    for name in ("replica.key", "replica.lease"):
        shutil.copy(till.state / name, stolen / name)
    state = State(replace(settings.load(config=till.config, vendors=settings_models(), environ={}), state_dir=stolen))
    keys = state.keys(may_create=False)
    with pytest.raises(StorageKeyError):
        state.replica_pages(keys, state.lease(keys)).connect()

    vendor.exports.with_name("hidden").rename(vendor.exports)
    vendor.mend()
    till.order("sync")
    eventually(lambda: till.loaded(everybody))
    eventually(lambda: "replica.expired" not in till.conditions())


@FEW
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_it_ends_at_the_start(vendor, open_till, how):
    """Off over its end: from its first answer the agent knows nobody, and says why; a later start says so too."""
    alma = members(vendor, 1)[0]
    till = open_till(replica={"stale_after": "1s", "expires_after": "5s"}).start()
    eventually(lambda: till.logged("synced"))
    before = (till.state / "replica.key").read_bytes()
    gone(vendor, till)
    till.stop() if how == "stopped" else till.kill()
    time.sleep(5.1)
    for _ in range(2):
        till.start()
        assert till.ask("member_number", alma.value("memberNumber")).json()["outcome"] == "unknown"
        assert "replica.expired" in till.conditions()
        assert (till.state / "replica.key").read_bytes() != before
        assert till.sell("s-1", identifier=number_of(alma)).status_code in (200, 202)
        till.stop()
    assert len(till.logged("replica.expired")) == 1


@FEW
def test_a_lost_record_ends_it(vendor, open_till):
    """A record that was tampered with counts as none: nobody knows how old the replica is, and it is fetched anew."""
    till = open_till().start()
    eventually(lambda: till.logged("synced"))
    everybody = till.status()["replica"]["contacts"]
    till.stop()
    record = till.state / "replica.lease"
    record.write_text(record.read_text().replace('"contents": "held"', '"contents": "none"'))
    till.start()
    assert till.logged("lease.unreadable")
    eventually(lambda: till.loaded(everybody))


@dataclass
class OddClock:
    """The machine's clock, with a wall that can be moved."""

    off_by: timedelta = field(default=timedelta(0))

    def now(self):
        return datetime.now(UTC) + self.off_by

    def monotonic(self):
        return time.monotonic()

    def today(self):
        return self.now().date()


@FEW
async def test_clocks_that_lie(vendor, open_till):
    """Years ahead, running or at a start, costs nothing that the vendor vouches for; years back saves nothing."""
    alma = number_of(members(vendor, 1)[0])
    till = open_till(replica={"expires_after": "14d"}, queue={"flush_every": "100ms", "backoff_max": "200ms"})
    configuration = settings.load(config=till.config, vendors=settings_models(), environ={})
    clock = OddClock()
    years = timedelta(days=3 * 365)

    async with _agent(configuration, clock) as ask:
        await _until(
            lambda: ask("status"), lambda status: status["replica"]["as_of"] and not status["replica"]["loading"]
        )
        hidden = gone(vendor, till)
        clock.off_by = years
        await _until(lambda: ask("identify", alma), lambda answer: answer["served"]["source"] == "replica")
        assert "replica.expired" not in _codes(await ask("status"))
    async with _agent(configuration, clock) as ask:  # still as far ahead as the vendor last said
        await _until(lambda: ask("identify", alma), lambda answer: answer["outcome"] == "matched")
    clock.off_by = 2 * years
    async with _agent(configuration, clock) as ask:
        assert (await ask("identify", alma))["outcome"] == "unknown"
        assert "replica.expired" in _codes(await ask("status"))
        vendor.mend()  # only the API: what it answers says what time it is, and nothing is loaded
        await _until(lambda: ask("status"), lambda status: "replica.expired" not in _codes(status))
        await _until(lambda: ask("identify", alma), lambda answer: answer["outcome"] == "matched")
        await _until(lambda: ask("status"), lambda status: status["replica"]["contacts"] > 0)
        vendor.cut()
    clock.off_by = timedelta(0)
    async with _agent(configuration, clock) as ask:
        assert "replica.expired" not in _codes(await ask("status"))
    clock.off_by = timedelta(days=20)
    async with _agent(configuration, clock) as ask:
        assert "replica.expired" in _codes(await ask("status"))
    assert hidden.is_dir()


def _codes(status):
    return {condition["code"] for condition in status["conditions"]}


@contextlib.asynccontextmanager
async def _agent(configuration, clock):
    async with daemon.running(configuration, clock=clock, chance=random.Random(1)) as agent:
        name = f"pos-{time.monotonic_ns()}"
        headers = {"Authorization": f"Bearer {agent.tokens.add(name, 'admin')}"}
        async with httpx.AsyncClient(base_url=f"http://{agent.addresses[0]}", headers=headers, trust_env=False) as http:

            async def ask(what, who=None):
                if what == "status":
                    return (await http.get("/v1/status")).json()
                return (await http.post("/v1/contacts/identify", json={"identifier": who})).json()

            yield ask


async def _until(ask, what):
    async with asyncio.timeout(30):
        while not what(await ask()):  # noqa: ASYNC110 - the agent decides
            await asyncio.sleep(0.02)
