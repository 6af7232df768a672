"""A damaged file: set aside, what is readable rescued and counted, the replica fetched anew; sales go on."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.shop import API_KEY, COMMAND, Till, Vendor, eventually, members, sale

from agent import settings
from agent.connectors.registry import settings_models
from agent.connectors.voyado.simulator import Fault
from agent.state import State
from agent.store import log_frames
from agent.store.database import DatabaseFile
from agent.store.log_frames import FRAME_BYTES, HEADER_BYTES
from agent.store.pagekey import PAGE_BYTES
from tests.store import wreck
from tests.store.wreck import Place, Wreck

pytestmark = pytest.mark.slow

MEMBERS, DELIVERED, WAITING = 30, 60, 140
LINES = [{"kind": "purchase", "sku": f"SK-{line}", "quantity": "1", "gross_paid": "1.00"} for line in range(80)]
TROLLEY: dict[str, Any] = {"lines": LINES, "total": "80.00", "payments": [{"type": "card", "amount": "80.00"}]}
"""More than a page of the outbox holds."""
FEW = pytest.mark.parametrize("vendor", [MEMBERS], indirect=True, ids=["few"])


def outbox_of(till: Till) -> DatabaseFile:
    """The till's outbox as its owner opens it."""
    state = State(settings.load(config=till.config, vendors=settings_models(), environ={}))
    return state.outbox(state.keys(may_create=False))


@dataclass(frozen=True)
class Morning:
    """A till that was killed in the middle of a morning, and what the vendor had by then.

    Attributes:
        state: its state directory.
        answered: the sales it has an answer for, with the bodies.
        posted: what reached the vendor.
        token: for its door.
        survey: its outbox, row by row and page by page.
    """

    state: Path
    answered: dict[str, dict[str, Any]]
    posted: tuple[dict[str, Any], ...]
    token: str
    survey: Wreck


@pytest.fixture(scope="module", name="morning")
def _morning(tmp_path_factory) -> Morning:
    """Some sales are delivered, one is refused; the line goes, more are taken, some of them only in the log."""
    home = tmp_path_factory.mktemp("morning")
    vendor = Vendor(home / "ftp", MEMBERS)
    vendor.sim.export_full()
    till = Till(home, vendor, {})
    people = [{"type": "member_number", "value": person.value("memberNumber")} for person in members(vendor, 7)]
    answered = {}

    def sell(first: int, last: int) -> None:
        for number in range(first, last):
            body = sale(f"s-{number:03}", identifier=people[number % 7], **(TROLLEY if number % 10 == 3 else {}))
            assert till.http.post("/v1/transactions", json=body).status_code == 202
            answered[body["transaction_id"]] = body

    try:
        till.start()
        eventually(till.loaded)
        vendor.sim.faults.add(Fault(kind="poison", receipt_id="s-007"))
        sell(0, DELIVERED)
        eventually(till.drained)
        vendor.cut()
        sell(DELIVERED, DELIVERED + WAITING // 2)
        till.purge()  # which moves the log into the file
        sell(DELIVERED + WAITING // 2, DELIVERED + WAITING)
    finally:
        till.kill()
        till.http.close()
        vendor.close()
    kept = home / "kept"
    shutil.copytree(till.state, kept)
    shutil.copytree(till.state, home / "surveyed")
    posted = tuple(posted.receipt() for posted in vendor.sim.receipts.received)
    return Morning(kept, answered, posted, till.token, wreck.survey(home / "surveyed", outbox_of(till).key))


@dataclass
class Afternoon:
    """The same till again, with a vendor that has what it had."""

    till: Till
    vendor: Vendor
    morning: Morning

    def start(self) -> None:
        self.till.start()
        self.till.http.headers["Authorization"] = f"Bearer {self.till.token}"

    def settle(self) -> dict[str, Any]:
        """Waits until everything has gone that can, and says what the agent tells of damage."""
        eventually(lambda: self.till.http.get("/readyz").status_code == 200)
        self.till.order("flush")
        eventually(lambda: (queue := self.till.status()["queue"])["depth"] == queue["held"] == 0)
        return self.till.http.get("/v1/damage").json()["damages"]

    def check(
        self, damages: list[dict[str, Any]], damaged: set[Place] | None = None, *, nameless: bool = False
    ) -> None:
        """Every sale that the till has an answer for is at the vendor once, or is told to be gone or unreadable.

        Args:
            damages: what the agent says was damaged.
            nameless: nothing is left that could tell which sales are gone, only that some are.
            damaged: what was; a sale of which the rest says that it was delivered is not sent again. None when nothing
                is known of what can be read.
        """
        held, posts = self.vendor.held(), self.vendor.posts()
        gone = {name for damage in damages for name in damage["lost_ids"]}
        parked = {entry["transaction_id"] for entry in self.till.queue("parked")}
        missing = self.morning.answered.keys() - held.keys() - gone - parked
        if nameless and missing:
            assert any(damage["lost"] for damage in damages)
            missing -= self._gone(damaged or set())
        assert missing == set()
        assert set(held.values()) == {1}
        assert {posts[name] for name in self._done(damaged)} <= {1}

    def _gone(self, damaged: set[Place]) -> set[str]:
        """The sales that cannot be read."""
        survey = self.morning.survey
        readable = survey.readable(damaged)["sales"]
        return {row[1] for number, row in survey.rows["sales"].items() if number not in readable}

    def _done(self, damaged: set[Place] | None) -> set[str]:
        """The sales that are readably delivered."""
        if damaged is None:
            return set()
        survey = self.morning.survey
        readable, sales, deliveries = survey.readable(damaged), survey.rows["sales"], survey.rows["deliveries"]
        return {
            sales[deliveries[entry][1]][1]
            for entry in readable["deliveries"]
            if deliveries[entry][3] == "delivered" and deliveries[entry][1] in readable["sales"]
        }

    def mended(self) -> list[dict[str, Any]]:
        """Waits until damage was found and everything has gone that can; what is told of it."""
        eventually(lambda: self.till.http.get("/v1/damage").json()["damages"])
        return self.settle()

    def sells(self) -> None:
        """New sales are taken and delivered."""
        person = {"type": "member_number", "value": members(self.vendor, 1)[0].value("memberNumber")}
        assert self.till.sell("afternoon", identifier=person).status_code == 202
        eventually(lambda: "afternoon" in self.vendor.held())

    def goes_on(self) -> None:
        """New sales are taken and delivered, and the till's repeat of an old one is no second sale."""
        self.sells()
        assert self.till.http.post("/v1/transactions", json=self.morning.answered["s-000"]).status_code in (200, 202)
        eventually(self.till.drained)
        assert self.vendor.held()["s-000"] == 1


@pytest.fixture(name="afternoon")
def _afternoon(morning: Morning, tmp_path: Path) -> Iterator[Afternoon]:
    vendor = Vendor(tmp_path / "ftp", MEMBERS)
    vendor.sim.export_full()
    with httpx.Client(base_url=vendor.url, headers={"apikey": API_KEY}, trust_env=False) as http:
        for receipt in morning.posted:
            if receipt["uniqueReceiptId"] != "s-007":
                assert http.post("/api/v3/receipts", json=receipt).is_success
    vendor.sim.faults.add(Fault(kind="poison", receipt_id="s-007"))
    till = Till(tmp_path, vendor, {})
    till.token = morning.token
    shutil.copytree(morning.state, till.state)
    yield Afternoon(till, vendor, morning)
    till.kill()
    till.http.close()
    vendor.close()


def told(afternoon: Afternoon) -> str:
    """What the status says of damage; it is never healthy with that."""
    status = afternoon.till.status()
    (condition,) = [one for one in status["conditions"] if one["code"] == "storage.damaged"]
    assert status["state"] == "degraded"
    assert condition["remedy"]
    return condition["detail"]


def test_nothing_is_damaged(afternoon):
    """The yardstick: killed and started again, everything goes out once, and nobody is alarmed."""
    afternoon.start()
    assert afternoon.settle() == []
    afternoon.check([])
    afternoon.goes_on()
    eventually(lambda: len(afternoon.till.logged("damage.checked")) == 2)
    assert "storage.damaged" not in afternoon.till.conditions()
    assert set(afternoon.vendor.posts().values()) == {1}


# --- pages of the outbox --------------------------------------------------------------------------------------------


def overwrite_pages(file: DatabaseFile, pages: list[int], chance: random.Random) -> set[Place]:
    """Makes noise of pages wherever they lie: in the file and in each frame of the log."""
    frames = log_frames.read(file.path).frames
    size = file.path.stat().st_size // PAGE_BYTES
    places = {Place(page) for page in pages if page <= size}
    places |= {Place(frame.page, number) for number, frame in enumerate(frames, 1) if frame.page in pages}
    for place in places:
        wreck.overwrite(file, place, chance.randbytes(PAGE_BYTES))
    return places


TREES = (
    "sqlite_schema", "hash_key", "sales", "deliveries", "statements", "attempts", "counts", "overflow",
    "sqlite_autoindex_sales_1", "sqlite_autoindex_deliveries_1", "sales_by_age", "deliveries_in_line",
    "deliveries_unfinished", "attempts_by_entry",
)  # fmt: skip


@pytest.mark.parametrize("place", ["root", "last"])
@pytest.mark.parametrize("tree", TREES)
def test_a_page_of_each_tree(afternoon, tree, place):
    """The root (an inner page, where there is more than one) and the last page of each table and index."""
    pages = sorted(afternoon.morning.survey.pages_of(tree))
    assert pages
    file = outbox_of(afternoon.till)
    damaged = overwrite_pages(file, [pages[0 if place == "root" else -1]], random.Random(f"{tree} {place}"))
    afternoon.start()
    damages = afternoon.mended()

    assert "outbox.db" in told(afternoon)
    assert (afternoon.till.state / "damaged" / damages[0]["folder"] / "outbox.db").stat().st_size > 0
    afternoon.check(damages, damaged)
    afternoon.goes_on()


@pytest.mark.parametrize("seed", range(8))
def test_pages_at_random(afternoon, seed):
    """Up to a third of the file's pages become noise, zeros, or half of each."""
    chance = random.Random(seed)
    file = outbox_of(afternoon.till)
    pages = file.path.stat().st_size // PAGE_BYTES
    in_log = {frame.page for frame in log_frames.read(file.path).frames}
    chosen = chance.sample(range(1, pages + 1), chance.randint(1, pages // 3))
    chosen.append(chance.choice([page for page in range(1, pages + 1) if page not in in_log]))  # others are replaced
    damaged = {Place(page) for page in chosen}
    for place in damaged:
        noise, zeros = chance.randbytes(PAGE_BYTES), bytes(PAGE_BYTES)
        wreck.overwrite(file, place, chance.choice((noise, zeros, noise[:2000] + zeros[2000:])))
    afternoon.start()
    damages = afternoon.mended()

    told(afternoon)
    afternoon.check(damages, damaged)
    afternoon.goes_on()


def test_a_page_that_is_not_in_use(afternoon):
    """A free page is damage too: the next sale would have been put there."""
    file = outbox_of(afternoon.till)
    connection = file.connect()
    connection.execute("CREATE TABLE filling (content BLOB)")
    used = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute("INSERT INTO filling VALUES (zeroblob(1000000))")
    connection.execute("DROP TABLE filling")
    connection.close()
    for page in range(
        int(used) + 1, file.path.stat().st_size // PAGE_BYTES
    ):  # some of them are used before they are seen
        wreck.overwrite(file, Place(page), os.urandom(PAGE_BYTES))
    afternoon.start()
    damages = afternoon.mended()

    (damage,) = damages
    assert damage["lost"] == {}
    assert damage["rescued"]["sales"] == len(afternoon.morning.answered)
    afternoon.check(damages, set())
    afternoon.goes_on()


# --- the log --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_log_is_overwritten(afternoon, seed):
    """Some frames of what was not in the file yet: SQLite would pass over everything behind them without a word."""
    chance = random.Random(seed)
    file = outbox_of(afternoon.till)
    frames = log_frames.read(file.path).frames
    damaged = set()
    for number in chance.sample(range(1, len(frames) + 1), chance.randint(1, 4)):
        damaged.add(Place(frames[number - 1].page, number))
        with Path(f"{file.path}-wal").open("r+b") as stream:
            stream.seek(HEADER_BYTES + (number - 1) * FRAME_BYTES + chance.randrange(FRAME_BYTES - 16))
            stream.write(chance.randbytes(16))
    afternoon.start()
    damages = afternoon.mended()

    told(afternoon)
    afternoon.check(damages, damaged)
    afternoon.goes_on()


@pytest.mark.parametrize("what", ["head", "index", "both"])
def test_the_heads_of_log_and_index(afternoon, what):
    """The log's head hides all of it; its index alone says nothing that the log does not say."""
    path = outbox_of(afternoon.till).path
    if what != "index":
        wreck_head(Path(f"{path}-wal"), HEADER_BYTES)
    if what != "head":
        wreck_head(Path(f"{path}-shm"), 200)
    afternoon.start()
    damages = afternoon.settle() if what == "index" else afternoon.mended()

    afternoon.check(damages, set())
    afternoon.goes_on()


def wreck_head(path: Path, size: int) -> None:
    """Overwrites the beginning of a file."""
    with path.open("r+b") as stream:
        stream.write(os.urandom(size))


def test_the_log_of_another_till(afternoon, tmp_path):
    """A log that was copied here by mistake is not played into the outbox."""
    file = outbox_of(afternoon.till)
    file.connect().close()
    home = tmp_path / "other"
    home.mkdir()
    other = Till(home, afternoon.vendor, {})
    other.start()
    other.kill()
    other.http.close()
    for part in ("-wal", "-shm"):
        shutil.copy(other.state / f"outbox.db{part}", f"{file.path}{part}")
    afternoon.start()
    damages = afternoon.mended()

    assert damages[0]["rescued"]["sales"] == len(afternoon.morning.answered)
    afternoon.check(damages, set())
    afternoon.goes_on()


# --- whole files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("part", ["", "-wal"], ids=["file", "log"])
def test_a_file_is_cut_off(afternoon, part, share):
    """Whatever stands before the cut is rescued; of an empty file what its log holds."""
    file = outbox_of(afternoon.till)
    whole = log_frames.read(file.path).frames
    path = Path(f"{file.path}{part}")
    pages = file.path.stat().st_size // PAGE_BYTES
    size = int(path.stat().st_size * share)
    os.truncate(path, size)
    kept = (size - HEADER_BYTES) // FRAME_BYTES
    damaged = {Place(frame.page, number) for number, frame in enumerate(whole, 1) if number > kept}
    in_log = {frame.page for frame in whole}
    gone = set() if part else {page for page in range(size // PAGE_BYTES + 1, pages + 1) if page not in in_log}
    afternoon.start()
    if part and size < HEADER_BYTES + FRAME_BYTES:  # what an orderly checkpoint leaves: nothing tells of a loss
        eventually(afternoon.till.drained)
    elif not part and not gone:  # the log has what was cut off
        assert afternoon.settle() == []
        afternoon.check([], set())
    else:
        damages = afternoon.mended()
        told(afternoon)
        assert damages[0]["lost"]
        if part:
            afternoon.check(damages, damaged, nameless=True)
    afternoon.sells()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(os.urandom(path.stat().st_size)),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.write_bytes(b"no database at all " * 10_000),
    ],
    ids=["empty", "gone", "noise", "zeros", "a text"],
)
def test_the_whole_file(afternoon, spoil):
    """The outbox is something else altogether: its log is rescued, the agent starts, and sales go on."""
    spoil(outbox_of(afternoon.till).path)
    afternoon.start()
    damages = afternoon.mended()

    told(afternoon)
    assert damages[0]["rescued"]["sales"] > 0
    assert damages[0]["lost"]["sales"] > 0
    assert set(afternoon.vendor.held().values()) == {1}
    afternoon.sells()


# --- while it runs --------------------------------------------------------------------------------------------------


def test_damage_while_sales_are_being_taken(afternoon):
    """Pages go bad under a running agent: sales are refused for moments, never half kept, and go on by themselves."""
    chance = random.Random(20260214)
    afternoon.start()
    pid = afternoon.till.process.pid
    file = outbox_of(afternoon.till)
    pages = file.path.stat().st_size // PAGE_BYTES
    for page in chance.sample(range(2, pages + 1), pages // 4):
        wreck.overwrite(file, Place(page), chance.randbytes(PAGE_BYTES))
    people = [{"type": "member_number", "value": one.value("memberNumber")} for one in members(afternoon.vendor, 7)]
    answers: dict[str, int] = {}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        name = f"r-{len(answers):04}"
        answer = afternoon.till.sell(name, identifier=people[len(answers) % 7])
        answers[name] = answer.status_code
        if answer.status_code == 503:
            assert answer.json()["code"] in ("storage.unavailable", "storage.damaged")
        if afternoon.till.logged("damage.mended") and answer.status_code == 202:
            break
    damages = afternoon.mended()

    assert set(answers.values()) <= {202, 503}
    assert afternoon.till.process.pid == pid
    told(afternoon)
    taken = {name for name, status in answers.items() if status == 202}
    gone = {name for damage in damages for name in damage["lost_ids"]}
    parked = {entry["transaction_id"] for entry in afternoon.till.queue("parked")}
    held = afternoon.vendor.held()
    assert taken - held.keys() - gone - parked == set()
    assert not (answers.keys() - taken) & held.keys()
    afternoon.check(damages)
    afternoon.goes_on()


@pytest.mark.parametrize("after_s", [0.05, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6])
def test_killed_while_it_rescues(afternoon, after_s):
    """Kill -9 at any moment of a rescue: the next start goes on with it, and nothing is lost or doubled."""
    file = outbox_of(afternoon.till)
    pages = sorted(afternoon.morning.survey.pages_of("statements"))
    damaged = overwrite_pages(file, pages[:3], random.Random(7))
    till = afternoon.till
    with till.log.open("ab") as log:
        till.process = subprocess.Popen(
            [str(COMMAND), "run", "--config", str(till.config)], stderr=log, stdout=log, start_new_session=True
        )
    eventually(lambda: till.logged("damage.found"))
    time.sleep(after_s)
    till.kill()
    afternoon.start()
    damages = afternoon.mended()

    assert len(damages) == 1
    assert not list((till.state / "damaged").glob("*/fresh.*"))
    afternoon.check(damages, damaged)
    afternoon.goes_on()


# --- what an administrator sees and does ----------------------------------------------------------------------------


def test_an_administrator_sees_it_and_says_so(afternoon):
    """`damage list` tells what was rescued and lost; after `damage acknowledge` all is well, and stays so."""
    till = afternoon.till
    overwrite_pages(outbox_of(till), afternoon.morning.survey.pages_of("statements")[:2], random.Random(1))
    afternoon.start()
    damages = afternoon.mended()
    listed = till.command("damage", "list")
    assert listed.returncode == 0, listed.stderr
    assert "outbox.db" in listed.stdout
    assert damages[0]["folder"] in listed.stdout
    assert json.loads(till.command("damage", "list", "--json").stdout)["damages"] == damages
    till.stop()
    till.start()
    assert "storage.damaged" in till.conditions()

    assert till.command("damage", "acknowledge").returncode == 0
    assert "storage.damaged" not in till.conditions()
    till.stop()
    till.start()
    assert "storage.damaged" not in till.conditions()
    assert (till.state / "damaged" / damages[0]["folder"] / "outbox.db").exists()


@pytest.mark.parametrize("encryption", ["on", "off"])
@FEW
def test_what_is_kept_names_nobody_and_dies_in_time(vendor, open_till, encryption):
    """Encrypted as it was, readable by its owner alone, gone with `retention.undelivered`, and not a byte is left."""
    canary = "Zaphira Kvistgren"
    till = open_till(
        storage={"encryption": encryption}, retention={"delivered": "4s", "undelivered": "25s"}, log={"level": "debug"}
    ).start()
    eventually(till.loaded)
    vendor.cut()
    person = {"type": "member_number", "value": members(vendor, 1)[0].value("memberNumber")}
    for number in range(40):
        assert till.sell(f"s-{number}", identifier=person, cashier_id=canary).status_code == 202
    till.kill()
    file = outbox_of(till)
    frames = log_frames.read(file.path).frames
    wreck.overwrite(file, Place(frames[20].page, 21), os.urandom(PAGE_BYTES))
    till.start()
    eventually(lambda: till.http.get("/v1/damage").json()["damages"])
    kept = [path for path in (till.state / "damaged").rglob("*") if path.is_file()]
    assert {path.name for path in kept} == {"outbox.db", "outbox.db-wal", "report.json"}
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    shown = any(canary.encode() in path.read_bytes() for path in kept)
    assert shown is (encryption == "off")
    assert canary.encode() not in next(path for path in kept if path.name == "report.json").read_bytes()
    assert canary not in till.log.read_text()

    eventually(lambda: till.transaction("s-39")["state"] == "parked")  # the last one's time is over
    till.purge()
    assert till.http.get("/v1/damage").json()["damages"] == []
    assert "storage.damaged" not in till.conditions()
    found = [path for path in till.state.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()]
    assert found == []


# --- the replica ----------------------------------------------------------------------------------------------------


def spoil_pages(path: Path) -> None:
    """Overwrites the beginning of each page but the first two."""
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // PAGE_BYTES):
        content[page * PAGE_BYTES : page * PAGE_BYTES + 512] = os.urandom(512)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_pages,
        lambda path: wreck_head(path, PAGE_BYTES),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(os.urandom(200_000)),
    ],
    ids=["inner pages", "first page", "cut off", "empty", "noise"],
)
@FEW
def test_a_damaged_replica_is_fetched_anew(vendor, till, spoil):
    """Sales and look-ups go on, the condition ends by itself when everybody is back, and the damaged file goes."""
    number = {"type": "member_number", "value": members(vendor, 1)[0].value("memberNumber")}
    everybody = till.status()["replica"]["contacts"]
    till.stop()
    spoil(till.state / "replica.db")
    till.start()
    assert till.sell("s-1", identifier=number).status_code == 202
    assert till.identify("member_number", number["value"])["outcome"] == "matched"
    eventually(lambda: till.loaded(everybody))
    eventually(lambda: till.identify("member_number", number["value"])["served"]["source"] == "replica")
    eventually(lambda: "storage.damaged" not in till.conditions())
    eventually(lambda: not list((till.state / "damaged").glob("*")))
    eventually(lambda: vendor.held() == {"s-1": 1})


@FEW
def test_a_replica_that_is_damaged_while_it_runs_is_fetched_anew(vendor, till):
    """Found within moments of the start, or by whoever looks somebody up; nobody restarts anything."""
    number = {"type": "member_number", "value": members(vendor, 1)[0].value("memberNumber")}
    everybody = till.status()["replica"]["contacts"]
    till.stop()
    till.start()
    pid = till.process.pid
    spoil_pages(till.state / "replica.db")
    eventually(lambda: till.logged("damage.mended"))
    assert till.sell("s-1", identifier=number).status_code == 202
    eventually(lambda: till.loaded(everybody))
    eventually(lambda: till.identify("member_number", number["value"])["served"]["source"] == "replica")
    eventually(lambda: "storage.damaged" not in till.conditions())
    assert till.process.pid == pid
