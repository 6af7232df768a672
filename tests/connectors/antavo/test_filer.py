"""Sales written as files for the workspace's import: each is fetched once, whatever is killed and whenever."""

import asyncio
import csv
import io
import itertools
import pathlib
import stat
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.connectors.antavo import build, filer, handed_over_by
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.antavo.simulator import AntavoSimulator
from agent.domain.identifiers import IdentifierType
from agent.errors import StorageError, VendorUnreachableError
from tests.connectors.antavo.conftest import MEMBER
from tests.connectors.antavo.test_sender import (
    BACK,
    DONE,
    DUPLICATE,
    HAT,
    IN_DOUBT,
    PARK,
    PHONE,
    RETRY,
    SOCKS,
    back,
    now,
    sale,
    told,
    void,
)
from tests.connectors.mparticle.sales import NOW, make_activity, make_outgoing
from tests.fakes import FakeClock, FakeHandovers, member_key, surroundings

BOTH = {"lines": [SOCKS, HAT], "total": "350.00", "payments": [{"type": "card", "amount": "350.00"}]}
OTHER, IN_FILE = "10000422", "sale.in_file"


class Killed(BaseException):
    """The process ended here."""


class Shop:
    """A folder, the workspace that fetches from it, and what an outbox keeps of deliveries between runs."""

    def __init__(self, path, *, place=("1042", "03"), **table):
        path.mkdir(mode=0o750, exist_ok=True)
        self.path, self.place, self.clock, self.handovers = path, place, FakeClock(NOW), FakeHandovers()
        self.settings = AntavoSettings.model_validate({"events_folder": str(path), **table})
        self.sim = AntavoSimulator({}, now=lambda: NOW)
        for member in (MEMBER, OTHER):
            self.sim.add_member(member)
        self.deliveries, self.maybe_received, self.killed, self.verdicts = {}, set(), set(), {}
        self.start()

    def start(self):
        """Another run of the program."""
        agent = surroundings(
            role="forward", clock=self.clock, place=self.place, handovers=lambda: self.handovers,
            primary=IdentifierType.MEMBER_NUMBER,
        )  # fmt: skip
        self.room = build(self.settings, agent)
        self.files = handed_over_by(self.room)

    def sell(self, *outgoings):
        for outgoing in outgoings:
            entry = len(self.deliveries) + 1
            self.deliveries[entry] = replace(outgoing, entry=entry)

    async def deliver(self, count=50):
        """One lease, and what becomes of it."""
        leased = [entry for entry in self.deliveries if entry not in self.verdicts][:count]
        noted, unsure = dict(self.handovers.noted), self.maybe_received - self.handovers.withdrawn
        batch = [
            replace(
                self.deliveries[entry],
                reference=noted.get(entry),
                maybe_received=entry in unsure,
                cut_off=entry in self.killed,
            )
            for entry in leased
        ]
        try:
            verdicts = await self.room.sender.send(batch)
        except Killed:
            self.maybe_received |= set(leased)
            self.killed |= set(leased)
            return []
        self.maybe_received -= self.handovers.withdrawn
        for entry, verdict in zip(leased, verdicts, strict=True):
            if verdict.kind is RETRY and not verdict.not_received:
                self.maybe_received.add(entry)
            if verdict.kind in (DONE, DUPLICATE):
                self.verdicts[entry] = verdict
                self.handovers.delivered |= {verdict.reference or noted.get(entry, "")}
        return verdicts

    def dies(self, monkeypatch, step, when):
        """The program is killed before or after a step."""
        of = self.handovers if step == "note" else self.files._folder
        real = getattr(of, step)

        def dying(*given):
            if when == "after":
                real(*given)
            raise Killed

        async def dying_slowly(*given):
            if when == "after":
                await real(*given)
            raise Killed

        monkeypatch.setattr(of, step, dying_slowly if step == "note" else dying)

    def fetched(self):
        return self.sim.run_import(self.path)

    @property
    def names(self):
        return sorted(file.name for file in self.path.iterdir())


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path / "events")


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


async def test_a_sale(shop):
    """It is delivered once its file can be fetched, and the import takes it as what it was, items and all."""
    shop.sell(sale(**BOTH))
    [verdict] = await shop.deliver()

    [name] = shop.names
    assert (verdict.kind, verdict.code, verdict.reference) == (DONE, IN_FILE, f"file:{name}")
    assert name.startswith("antavo-1042-03-20260214T160000000Z-")
    assert stat.S_IMODE((shop.path / name).stat().st_mode) == 0o640
    report = shop.fetched()
    assert (report.files, report.rows, report.refused, shop.names) == ([name], 3, [], [])
    assert shop.sim.held() == {"t-1": 1}
    assert [item["product_id"] for item in shop.sim.transaction("t-1").items] == ["SK-77", "SK-88"]
    assert shop.sim.member(MEMBER).score == 350


async def test_what_a_file_holds(shop):
    """The same columns whatever is in it; every cell quoted; nothing of a person but whose sale it is."""
    shop.sell(make_outgoing(now("t-1")), void("v-1", tag=member_key(OTHER)))
    await shop.deliver()

    [name] = shop.names
    text = (shop.path / name).read_bytes().decode()
    lines = text.split("\r\n")
    assert lines[0] == (
        '"customer","action","transaction_id","total","currency","channel","points_burned","effective_timestamp",'
        '"product_id","product_name","price","quantity","discount","subtotal"'
    )
    assert lines[1] == f'"{MEMBER}","checkout","t-1","250","SEK","pos","","","","","","","",""'
    assert lines[2] == (f'"{MEMBER}","checkout_item","t-1","","","","","","SK-77","Wool socks","125","2","0","250"')
    assert lines[3] == f'"{OTHER}","refund","t-1","","","","","","","","","","",""'
    assert lines[4:] == [""]


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ('=HYPERLINK("http://example.com";"x")', '\'=HYPERLINK("http://example.com";"x")'),
        ("-10 % socks", "'-10 % socks"),
        (" @home", "' @home"),
        ('5", black, "fine"', '5", black, "fine"'),
        ("Strümpfe; 2,5", "Strümpfe; 2,5"),
    ],
)
async def test_words_in_a_cell(shop, name, cell):
    """They are no formula and no other row, and else as they were."""
    shop.sell(sale(lines=[{**SOCKS, "name": name}]))
    await shop.deliver()
    [file] = shop.path.iterdir()
    assert rows_of(file)[1]["product_name"] == cell
    assert shop.fetched().refused == []


async def test_a_return_and_a_void(shop):
    """Both go behind what they give back, in a file of a later name."""
    shop.sell(sale("t-1"), sale("t-2", tag=member_key(OTHER)))
    await shop.deliver()
    shop.clock.advance(-3600)  # a clock that is put back makes no earlier name
    shop.sell(back("r-1", lines=[{**BACK, "gross_paid": "125.00"}]), void("v-2", "t-2", tag=member_key(OTHER)))
    await shop.deliver()

    assert shop.fetched().refused == []
    assert shop.sim.given_back() == {"t-1": 1}
    assert shop.sim.transaction("t-2").status == "refunded"


async def test_what_cannot_be_told(shop):
    """Nobody can be asked who has a phone; nobody's sale has no row; what came of an activity's question neither."""
    shop.sell(sale("t-1", tag=PHONE), back("r-1", original=None), make_outgoing(make_activity()))
    verdicts = await shop.deliver()
    assert told(verdicts) == [
        (PARK, "contact.unresolved"), (PARK, "sale.without_original"), (DONE, "contact.not_wanted"),
    ]  # fmt: skip
    assert shop.names == []


@pytest.mark.parametrize("given", [False, True])
async def test_somebody_new(tmp_path, given):
    """They become a member by a row of their own, if their data may go there; columns of people are there only then."""
    shop = Shop(tmp_path / "events", opt_in_new_contacts=given)
    contact = {"first_name": "=Bo", "mobile_phone": "+46701740606", "email": "bo@example.com"}
    shop.sell(sale("t-1", tag=member_key("10000423"), new_contact=contact))
    await shop.deliver()

    [file] = shop.path.iterdir()
    assert ("+46701740606" in file.read_text()) is given
    report = shop.fetched()
    assert len(report.refused) == (0 if given else 2)  # an unknown customer's rows
    if given:
        fields = shop.sim.member("10000423").fields
        assert (fields["mobile_phone"], fields["first_name"]) == ("+46701740606", "'=Bo")


async def test_the_sales_own_time(tmp_path):
    """With `backdate` it stands in the file, of items too."""
    shop = Shop(tmp_path / "events", backdate=True)
    shop.clock.advance(3600)
    shop.sell(sale())
    assert told(await shop.deliver()) == [(DONE, IN_FILE)]
    [file] = shop.path.iterdir()
    assert {row["effective_timestamp"] for row in rows_of(file)} == {str(int(NOW.timestamp()))}


# --- whatever is killed -----------------------------------------------------------------------------------------

STEPS = [(step, when) for step in ("next_name", "draft", "note", "publish") for when in ("before", "after")]


@pytest.mark.parametrize("fetching", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize(("step", "when"), STEPS)
async def test_killed_at_any_step(shop, monkeypatch, step, when, fetching):
    """Each is there once, whenever the import runs, and whatever the lane leases together after the restart."""
    shop.sell(*[sale(f"t-{number}", tag=member_key(f"2000{number}"), **BOTH) for number in range(6)])
    for number in range(6):
        shop.sim.add_member(f"2000{number}")
    await shop.deliver()
    shop.sell(*[back(f"r-{number}", f"t-{number}", tag=member_key(f"2000{number}")) for number in range(6)])
    shop.sell(*[sale(f"u-{number}", tag=member_key(f"2000{number}")) for number in range(6)])
    shop.fetched()

    with monkeypatch.context() as patched:
        shop.dies(patched, step, when)
        assert await shop.deliver() == []
    if fetching[0]:
        shop.fetched()
    shop.start()
    while len(shop.verdicts) < len(shop.deliveries):
        await shop.deliver(count=4)
        if fetching[1]:
            shop.fetched()
    report = shop.fetched()

    assert report.refused == []
    assert shop.sim.held() == {f"{kind}-{number}": 1 for kind in "tu" for number in range(6)}
    assert shop.sim.given_back() == {f"t-{number}": 1 for number in range(6)}
    assert shop.names == []


async def test_a_file_that_grew_when_it_was_killed(shop):
    """What was cut off in the middle of being written is never fetched, and does not stay."""
    shop.sell(sale())
    (shop.path / f".{shop.files._folder.next_name(NOW)}.part.new").write_text('"customer","act')
    shop.start()
    await shop.room.ping()
    assert shop.names == []
    await shop.deliver()
    assert len(shop.names) == 1


async def test_a_renaming_that_the_disk_forgot(shop):
    """After a power cut a published file may have its draft's name again: what is settled is published once more."""
    shop.sell(sale())
    await shop.deliver()
    [name] = shop.names
    (shop.path / name).rename(shop.path / f".{name}.part")
    shop.start()
    await shop.room.ping()
    assert shop.names == [name]


@pytest.mark.parametrize("killed", [False, True])
async def test_a_draft_that_somebody_takes_away(shop, monkeypatch, killed):
    """It was never published, and its sales are written again."""
    shop.sell(sale())
    folder = shop.files._folder
    real = folder.publish
    with monkeypatch.context() as patched:
        patched.setattr(folder, "publish", lambda name: (shop.path / f".{name}.part").unlink() or real(name))
        assert told(await shop.deliver()) == [(RETRY, "vendor.offline")]
    assert shop.handovers.noted == {}
    if killed:
        shop.start()
    assert told(await shop.deliver()) == [(DONE, IN_FILE)]
    shop.fetched()
    assert shop.sim.held() == {"t-1": 1}


async def test_a_share_that_renames_and_says_that_it_did_not(shop, monkeypatch):
    """Its answer was lost, and to the second question it says that there is no such file: nothing is written twice."""
    shop.sell(sale("t-1"), sale("t-2", tag=member_key(OTHER)))
    real = pathlib.Path.rename

    def renamed(path, target):
        real(path, target)
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.rename", renamed)
        assert told(await shop.deliver()) == [(DONE, IN_FILE)] * 2
        assert await shop.files.erase(one_of(MEMBER), ()) == 2
    assert shop.fetched().refused == []
    assert (shop.sim.held(), shop.names) == ({"t-2": 1}, [])


async def test_a_call_before_the_configuration_was_changed(shop):
    """What was handed in by a call and may have counted is not repeated, unless Antavo refuses to count it twice."""
    for changes in ({}, {"progress": "1/1:1:first:a0b1", "cut_off": True}):
        checkout, given_back = (replace(one, maybe_received=True, **changes) for one in (sale(), back()))
        assert told(await shop.room.sender.send([given_back])) == [(IN_DOUBT, "sale.maybe_received")]
        assert told(await shop.room.sender.send([checkout])) == [(DONE, IN_FILE)]
        decided = replace(given_back, maybe_received=False)  # by a person, who has it sent again
        assert told(await shop.room.sender.send([decided])) == [(DONE, IN_FILE)]


# --- the folder -------------------------------------------------------------------------------------------------


def missing(path):
    path.rmdir()


def a_file(path):
    path.rmdir()
    path.write_text("")


def open_to_all(path):
    path.chmod(0o777)


@pytest.mark.parametrize("trouble", [missing, a_file, open_to_all])
async def test_a_folder_that_is_not_fit(shop, trouble):
    """Everything waits, nothing was received, and it is said why; once it is put right everything goes."""
    shop.sell(sale())
    trouble(shop.path)
    [verdict] = await shop.deliver()
    assert (verdict.kind, verdict.reached, verdict.not_received) == (RETRY, False, True)
    with pytest.raises(VendorUnreachableError, match=str(shop.path)):
        await shop.room.ping()
    if shop.path.is_file():
        shop.path.unlink()
    shop.path.mkdir(exist_ok=True)
    shop.path.chmod(0o750)
    await shop.room.ping()
    assert told(await shop.deliver()) == [(DONE, IN_FILE)]


@pytest.mark.parametrize("step", ["check", "draft", "publish"])
async def test_a_share_that_does_not_answer(shop, monkeypatch, step):
    """Nobody waits for it, an erasure neither; what it carries out once it is back counts once."""
    shop.sell(sale("t-0"))
    await shop.deliver()
    shop.fetched()
    shop.sell(sale("t-1"), back("r-0", "t-0", tag=member_key(OTHER)))
    real, back_again = getattr(shop.files._folder, step), threading.Event()

    def hanging(*given):
        back_again.wait(60)
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(filer, "ANSWERS_WITHIN_S", 0.01)
        patched.setattr(shop.files._folder, step, hanging)
        verdicts = await shop.deliver()
        assert {(*told([verdict])[0], verdict.not_received) for verdict in verdicts} == {
            (RETRY, "vendor.offline", step != "publish")
        }
        assert "does not answer" in verdicts[0].title
    with pytest.raises(StorageError, match="does not answer"):
        await shop.files.erase(one_of(OTHER), ())
    with pytest.raises(VendorUnreachableError, match="does not answer"):
        await shop.room.ping()
    back_again.set()
    await asyncio.wait([shop.files._stuck])
    assert {kind for kind, _ in told(await shop.deliver())} == {DUPLICATE if step == "publish" else DONE}
    shop.fetched()
    assert (shop.sim.held(), shop.names) == ({"t-0": 1, "t-1": 1}, [])


@pytest.mark.parametrize("step", ["draft", "publish"])
async def test_a_full_disk(shop, monkeypatch, step):
    """Nothing half-written stays, and all of it goes when there is room."""
    shop.sell(sale("t-1"), sale("t-0", tag=member_key(OTHER)))
    await shop.deliver()
    shop.sell(back("r-1", "t-1", lines=[{**BACK, "gross_paid": "125.00"}]), sale("t-2", tag=member_key(OTHER)))
    shop.fetched()
    name = "agent.connectors.antavo.folder.sync_file" if step == "draft" else "pathlib.Path.rename"

    def full(*_given):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(name, full)
        verdicts = await shop.deliver()
    assert told(verdicts) == [(RETRY, "vendor.offline")] * 2
    assert "No space left on device" in verdicts[0].title
    assert not [name for name in shop.names if not name.startswith(".")]
    await shop.deliver()
    assert len(shop.names) == 1
    assert shop.fetched().refused == []
    assert shop.sim.held() == {"t-1": 1, "t-0": 1, "t-2": 1}
    assert shop.sim.given_back() == {"t-1": 1}


async def test_two_tills_and_one_folder(tmp_path):
    """Neither touches what the other one writes, its drafts included."""
    one, two = (Shop(tmp_path / "events", place=("1042", till)) for till in ("03", "04"))
    draft = one.path / f".{one.files._folder.next_name(NOW)}.part"
    draft.write_text("")
    two.sell(sale())
    await two.deliver()
    await two.files.expire(NOW + timedelta(days=99))
    assert two.names == [draft.name]


# --- the end of personal data -----------------------------------------------------------------------------------


def one_of(*values):
    return lambda identifier: identifier.value in values


@pytest.mark.parametrize("by", ["key", "sale"])
async def test_somebody_is_erased(shop, by):
    """Their rows go from every file that waits, other people's stay, and a file of theirs alone is removed."""
    shop.sell(sale("t-1"), sale("t-2", tag=member_key(OTHER)))
    await shop.deliver()
    shop.sell(sale("t-3"))
    await shop.deliver()
    before = shop.names

    removed = await shop.files.erase(one_of(MEMBER) if by == "key" else one_of(), () if by == "key" else ("t-1", "t-3"))

    assert removed == 4
    assert shop.names == before[:1]
    assert MEMBER not in (shop.path / before[0]).read_text()
    assert stat.S_IMODE((shop.path / before[0]).stat().st_mode) == 0o640
    assert shop.fetched().refused == []
    assert shop.sim.held() == {"t-2": 1}
    assert await shop.files.erase(one_of(MEMBER), ()) == 0


async def test_somebody_else_gives_back_what_they_bought(shop):
    """That row names their sale and goes; what else the other one bought does not."""
    shop.sell(sale("t-1"))
    await shop.deliver()
    shop.fetched()
    shop.sell(back("r-1", "t-1", tag=member_key(OTHER)), sale("t-2", tag=member_key(OTHER)), sale("t-3"))
    await shop.deliver()
    assert await shop.files.erase(one_of(), ("t-1", "t-3")) == 3
    assert shop.fetched().refused == []
    assert shop.sim.held() == {"t-1": 1, "t-2": 1}


async def test_somebody_in_a_draft(shop, monkeypatch):
    """What a killed run left holds nobody when an erasure is through."""
    shop.sell(sale("t-1"))
    with monkeypatch.context() as patched:
        shop.dies(patched, "publish", "before")
        await shop.deliver()
    assert len(shop.names) == 1
    shop.start()
    assert await shop.files.erase(one_of(MEMBER), ()) == 0
    assert (shop.names, shop.handovers.noted) == ([], {})


@pytest.mark.parametrize("step", ["take_back", "draft", "publish"])
async def test_an_erasure_that_is_killed(shop, monkeypatch, step):
    """Nobody's sale is lost or fetched twice for it, and asked again it goes on."""
    shop.sell(sale("t-1"), sale("t-2", tag=member_key(OTHER)))
    await shop.deliver()
    with monkeypatch.context() as patched:
        shop.dies(patched, step, "after")
        with pytest.raises(Killed):
            await shop.files.erase(one_of(MEMBER), ())
    shop.start()
    await shop.files.erase(one_of(MEMBER), ())
    assert shop.fetched().refused == []
    assert shop.sim.held() == {"t-2": 1}
    assert shop.names == []


async def test_an_erasure_of_what_is_not_settled_yet(shop, monkeypatch):
    """What a failing disk leaves taken back is published again, though the outbox does not know yet that it was."""
    shop.sell(sale("t-1"), sale("t-2", tag=member_key(OTHER)))
    await shop.deliver()
    shop.handovers.delivered.clear()

    def full(*_given):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("agent.connectors.antavo.folder.sync_file", full)
        with pytest.raises(StorageError, match="No space left"):
            await shop.files.erase(one_of(MEMBER), ())
    await shop.room.ping()
    assert shop.fetched().refused == []
    assert shop.sim.held() == {"t-1": 1, "t-2": 1}


async def test_an_erasure_without_the_folder(shop):
    """It does not say that somebody is gone who may not be."""
    shop.sell(sale())
    await shop.deliver()
    shop.path.rename(shop.path.with_name("away"))
    with pytest.raises(StorageError):
        await shop.files.erase(one_of(MEMBER), ())


async def test_what_nobody_fetches(shop):
    """It goes when its time is up."""
    shop.sell(sale("t-1"))
    await shop.deliver()
    shop.clock.advance(86_400)
    shop.sell(sale("t-2"))
    await shop.deliver()
    [first, last] = shop.names
    shop.handovers.accepted = {f"file:{last}": NOW, f"file:{first}": NOW + timedelta(days=3)}
    assert await shop.files.expire(NOW - timedelta(hours=1)) == 0
    shop.handovers.accepted = {f"file:{last}": NOW + timedelta(days=1)}  # by a clock that was put right
    assert await shop.files.expire(NOW + timedelta(hours=1)) == 1
    assert len(shop.names) == 1
    shop.fetched()
    assert shop.sim.held() == {"t-2": 1}
