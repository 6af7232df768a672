"""Lists of everybody in a folder, as the Exports module puts them there: read whole, believed whole, or left alone."""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta

import pytest

from agent.connectors.antavo import exports, lists
from agent.connectors.antavo.exports import Ended, ListReader, tell
from agent.connectors.antavo.lists import AntavoLists
from agent.connectors.folders import FolderFile, scan
from agent.domain.contact import ChangeKind
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.errors import FeedError, FeedGapError, FeedUnreadableError, VendorUnreachableError
from tests.connectors.antavo.world import CARD, ID, MEMBER, PHONE
from tests.connectors.feeding import Fed
from tests.fakes import FakeClock

HEAD = "id,first_name,email,mobile_phone,membership_id,status\n"
ALMA = 'm-1,Alma,alma@example.com,+46701740605,"10000421,77123456",active\n'
BO = "m-2,Bo,bo@example.com,,,active\n"
LEFT = "m-3,Cia,cia@example.com,,,opted_out\n"
EVERY = timedelta(hours=24)


class Folder(Fed):
    """A folder, and a replica that is filled from it."""

    def __init__(self, tmp_path, primary: IdentifierType = ID, fields=(), external_id_field="") -> None:
        contents = {"contents": "contacts", "fields": fields} if fields else {}
        super().__init__("antavo", tmp_path, primary, **contents)
        self.folder = tmp_path / "lists"
        self.folder.mkdir()

        def reader():
            return ListReader(Normaliser("SE", guid_contact_ids=False), fields, external_id_field, self.clock.today())

        self.feed = AntavoLists(self.folder, reader, self.clock, sweep_every=EVERY, unseen=self.unseen)

    def calls(self):
        return 0

    def put(self, text, name="customers.csv", *, age_s=3600.0):
        file = self.folder / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        at = self.clock.now().timestamp() - age_s
        os.utime(file, (at, at))
        return file

    def known(self, kind, value):
        return [found.key.value for found in self.replica.resolve([Identifier(kind, value)])]


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path)
    yield made
    made.replica.close()


async def test_a_list(folder):
    """Everybody is known by what stands there; who opted out is not, and the contacts are as old as the list."""
    file = folder.put(HEAD + ALMA + BO + LEFT)

    await folder.sync()

    assert folder.contacts() == 2
    assert [folder.known(*one) for one in ((ID, "m-1"), (PHONE, "+46701740605"), (MEMBER, "10000421"))] == [["m-1"]] * 3
    assert folder.known(CARD, "77123456") == ["m-1"]
    assert folder.known(ID, "m-3") == []
    assert folder.replica.info().as_of.timestamp() == pytest.approx(file.stat().st_mtime, abs=0.01)


async def test_a_list_as_json(folder):
    """The same people in another form."""
    people = [{"_id": "m-1", "membership_id": ["10000421"], "mobile_phone": "+46701740605"}, {"id": 7}]
    folder.put(json.dumps({"data": people}), "c.JSON")

    await folder.sync()

    assert (folder.contacts(), folder.known(MEMBER, "10000421"), folder.known(ID, "7")) == (2, ["m-1"], ["7"])


async def test_the_next_list(folder):
    """Who is not in it is gone, who is new is there; until then nothing happens, and nothing is any newer."""
    people = [f"m-{number},A,a{number}@example.com,,,active\n" for number in range(40)]
    folder.put(HEAD + "".join(people))
    await folder.sync()
    folder.former = 40
    before = folder.replica.info().as_of
    folder.clock.advance(900)
    await folder.sync()
    assert folder.replica.info().as_of == before

    folder.put(HEAD + "".join(people[1:]) + "m-99,Z,,,,active\n", "later.csv")
    await folder.sync()

    assert (folder.contacts(), folder.known(ID, "m-0"), folder.known(ID, "m-99")) == (40, [], ["m-99"])
    assert folder.replica.info().as_of > before


async def test_a_list_that_lacks_too_many(folder):
    """It is hardly everybody: nobody is gone, nobody is new, and it is said until a whole one comes."""
    people = [f"m-{number},A,a{number}@example.com,,,active\n" for number in range(40)]
    folder.put(HEAD + "".join(people), "a.csv", age_s=7200)
    await folder.sync()
    folder.former = 40
    as_of = folder.replica.info().as_of
    folder.put(HEAD + "".join(people[:20]) + "m-99,Z,,,,active\n", "b.csv")

    for _ in range(2):
        with pytest.raises(FeedGapError):
            await folder.sync()
    assert (folder.contacts(), folder.known(ID, "m-99"), folder.standing()) == (40, [], ["feed.gap"])
    assert folder.replica.info().as_of == as_of
    folder.put(HEAD + "".join(people[1:]), "c.csv", age_s=1800)
    await folder.sync()

    assert (folder.contacts(), folder.standing()) == (39, [])


async def test_a_list_that_is_still_being_written(folder, monkeypatch):
    """It is left alone, and the one before it is taken."""
    folder.put(HEAD + ALMA, "a.csv")
    growing = folder.put(HEAD + ALMA + BO, "b.csv", age_s=1)

    async def meanwhile(_seconds):
        folder.put(HEAD + ALMA + BO + LEFT, "b.csv", age_s=0)

    monkeypatch.setattr(lists.asyncio, "sleep", meanwhile)
    await folder.sync()
    assert folder.contacts() == 1
    monkeypatch.undo()
    monkeypatch.setattr(lists, "SETTLE_S", 0)
    folder.put(growing.read_bytes(), "b.csv", age_s=0)
    await folder.sync()

    assert folder.contacts() == 2


async def test_lists_that_have_become_old(folder):
    """Twice the time in which a new one is due, and no more: then the contacts are not renewed by it."""
    folder.put(HEAD + ALMA)
    await folder.sync()
    folder.clock.advance(46 * 3600)
    await folder.sync()
    folder.clock.advance(2 * 3600)

    with pytest.raises(FeedError, match="older than twice"):
        await folder.sync()
    assert folder.contacts() == 1


async def test_an_older_list(folder):
    """The one that was read is moved away: an older one brings nothing back."""
    folder.put(HEAD + ALMA + BO, "a.csv", age_s=7200)
    file = folder.put(HEAD + ALMA, "b.csv")
    await folder.sync()
    file.unlink()

    await folder.sync()

    assert folder.known(ID, "m-2") == []


async def test_a_list_from_the_future(folder):
    """It is left alone: it would hide every later one."""
    folder.put(HEAD + ALMA + BO, "a.csv", age_s=-86_400)
    with pytest.raises(FeedError, match="dated ahead"):
        await folder.sync()
    folder.put(HEAD + ALMA, "b.csv")
    await folder.sync()

    assert folder.contacts() == 1


@pytest.mark.parametrize("cursor", ['{"changed_at": "2026-02-14T10:00:00+00:00"}', "list then", "list "])
async def test_another_feed_before(folder, cursor):
    """Its cursor says nothing here: the list is read."""
    folder.put(HEAD + ALMA)
    pages = [page async for page in folder.feed.pages(cursor)]
    assert [len(page.changes) for page in pages] == [1, 0]


@pytest.mark.parametrize("name", ["notes.txt", ".customers.csv", "customers.csv.part"])
async def test_no_list(folder, name):
    """An empty folder, or other files, are no news of anybody; nor is a folder that is not there."""
    folder.put(HEAD + ALMA, name)
    with pytest.raises(FeedError, match="there is none"):
        await folder.sync()
    folder.put(b"", name).unlink()
    folder.folder.rmdir()
    with pytest.raises(VendorUnreachableError):
        await folder.sync()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.csv", "", "neither id nor _id"),
        ("c.csv", "Name,Phone\nAlma,0701740605\n", "neither id nor _id"),
        ("c.csv", HEAD + ALMA + "m-2,Bo,bo@exa\n", "row 3"),
        ("c.csv", HEAD + BO + "m-1,Alma,alma@example.com,,,act", "middle of a line"),
        ("c.csv", HEAD + 'm-1,"Alma,alma@example.com\n', "Error"),
        ("c.csv", HEAD.encode() + b"m-1,\xc5lma,,,,\n", "UnicodeDecodeError"),
        ("c.csv", HEAD + "m./1,Alma,,,,active\n" * 3, "3 rows, and none"),
        ("c.csv", b"\x00" * 100, "middle of a line"),
        ("c.csv", "id," + "x" * 200_000 + "\nm-1,a\n", "Error"),
        ("c.json", '[{"id": "m-1"}', "not JSON"),
        ("c.json", '[{"name": "Alma"}]', "neither id nor _id"),
        ("c.json", '{"people": []}', "not a list"),
        ("c.json", '["m-1"]', "not a list"),
        ("c.json", "[" * 100_000, "not JSON"),
    ],
)
def test_an_unreadable_list(tmp_path, name, content, said):
    """It is said what is wrong, and nothing of what is in it or of its name; nothing of it is told."""
    [told] = said_of(tmp_path, name, content)

    assert isinstance(told, FeedUnreadableError)
    assert re.search(said, str(told))
    assert not [value for value in ("Alma", "0701740605", "m-1", name) if value in str(told)]


async def test_an_unreadable_list_among_others(folder):
    """Nothing of it is applied, and that stands until another one comes."""
    folder.put(HEAD + ALMA + BO, "before.csv", age_s=7200)
    await folder.sync()
    folder.put(HEAD + ALMA + "m-9,Zo\n", "c.csv")

    with pytest.raises(FeedUnreadableError):
        await folder.sync()
    assert (folder.contacts(), folder.standing()) == (2, ["feed.unreadable"])
    folder.put(HEAD + ALMA + BO, "after.csv", age_s=1800)
    await folder.sync()

    assert folder.standing() == []


async def test_a_link(folder, tmp_path):
    """What it leads to is not looked at."""
    secret = tmp_path / "elsewhere.csv"
    secret.write_text(HEAD + ALMA)
    (folder.folder / "c.csv").symlink_to(secret)

    with pytest.raises(FeedError, match="there is none"):
        await folder.sync()


@pytest.mark.parametrize(("name", "limit"), [("c.csv", "MAX_CSV_BYTES"), ("c.json", "MAX_JSON_BYTES")])
def test_more_than_is_read(tmp_path, monkeypatch, name, limit):
    """It is refused before it is read."""
    monkeypatch.setattr(exports, limit, 10)
    assert "larger than" in str(said_of(tmp_path, name, HEAD + ALMA)[0])


def test_a_list_that_changes(tmp_path):
    """Whoever writes it goes on: what was read is not the list that was looked at."""
    [file] = written(tmp_path, "c.csv", HEAD + ALMA)
    (tmp_path / "c.csv").write_text(HEAD)
    said = []
    tell_bounded(tmp_path, file, said.append)

    assert "has changed" in str(said[-1])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ('m-1,"10000421,10000422"', ("10000421", "10000422")),
        ("m-1,10000421;10000422", ("10000421", "10000422")),
        ("m-1,10000421 | 10000422", ("10000421", "10000422")),
        ('m-1,"[""10000421"", 10000422]"', ("10000421", "10000422")),
        ("m-1,", (None, None)),
    ],
)
def test_numbers(tmp_path, text, numbers):
    """Several in one field, however they are set apart."""
    [[change], ended] = said_of(tmp_path, "c.csv", f"id,membership_id\n{text}\n")
    assert (change.identifiers[MEMBER], change.identifiers[CARD], ended) == (*numbers, Ended(0))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_what_stands_between_fields(tmp_path, delimiter):
    """It is what the first line has most of; a mark before it, and blank lines, are nothing."""
    rows = [["id", "email", "external_ids.crmId", "properties.size"], [], ["m-1", "a@example.com", "X-1", "42"]]
    text = "\ufeff" + "".join(delimiter.join(row) + "\n" for row in rows)

    [[change], _] = said_of(tmp_path, "c.csv", text, fields=("size",), external_id_field="crmId")

    assert change.kind is ChangeKind.UPSERT
    assert (change.identifiers[IdentifierType.EXTERNAL_ID], change.fields["size"]) == ("X-1", "42")


def test_who_cannot_be_named(tmp_path):
    """They are left out, and counted; the others are there."""
    *pages, ended = said_of(tmp_path, "c.csv", HEAD + ALMA + ",Nobody,,,,\n" + "a./b,Bo,,,,\n")
    assert (sum(map(len, pages)), ended) == (1, Ended(2))


def written(folder, name, text):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return scan(folder, lambda _name: True)


def said_of(folder, name, text, *, fields=(), external_id_field=""):
    [file] = written(folder, name, text)
    said = []
    tell_bounded(folder, file, said.append, fields, external_id_field)
    return said


def tell_bounded(folder, file, send, fields=(), external_id_field=""):
    """As in its own process, without bounding this one."""
    reader = ListReader(Normaliser("SE", guid_contact_ids=False), fields, external_id_field, FakeClock().today())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exports, "bound_memory", lambda _size: None)
        tell(reader, FolderFile(folder / file.name), file, send)
