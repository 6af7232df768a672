"""The audit trail on disk: appended by whoever acts, whole after a power cut, trimmed by retention."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import signal
from datetime import timedelta

import pytest

from agent.domain.audit import Head
from agent.errors import StorageError, StorageFullError
from agent.store.audit import AuditAnchor, AuditTrail, anchor_in
from agent.store.database import DatabaseFile
from tests.fakes import NOW, open_outbox

HOUR = timedelta(hours=1)


@pytest.fixture
def trail(tmp_path):
    return AuditTrail(tmp_path)


def fill(trail, count, *, start=NOW):
    return [trail.append("token.added", start + n * HOUR, {"name": f"pos-{n}", "scope": "pos"}) for n in range(count)]


def events(trail):
    return [entry["event"] for entry in trail.entries()]


def test_entries_are_numbered_and_chained(trail, tmp_path):
    """Each entry is a line of JSON in a file that its owner alone can read, and names the one before."""
    heads = fill(trail, 3)
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()

    assert [head.seq for head in heads] == [1, 2, 3]
    assert [json.loads(line)["prev"] for line in lines[1:]] == [head.hash for head in heads[:-1]]
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600
    assert trail.verify(heads[1]).intact


def test_nothing_recorded_yet(trail):
    """A state directory without a trail has an empty one."""
    assert list(trail.entries()) == []
    assert trail.verify().entries == 0


@pytest.mark.parametrize("torn", [1, 20, 119], ids=["a byte", "some", "nearly all"])
def test_a_torn_entry_is_mended(trail, tmp_path, torn):
    """What a power cut left of an entry goes, and the next one says how many bytes it was."""
    fill(trail, 2)
    path = tmp_path / "audit.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[1][:torn])
    assert trail.verify().entries == 2
    fill(trail, 1)

    assert events(trail) == ["token.added", "token.added", "audit.mended", "token.added"]
    assert list(trail.entries())[2]["bytes"] == torn
    assert trail.verify().intact
    assert path.read_bytes().startswith(whole)


def test_the_first_entry_torn(trail, tmp_path):
    """A trail that never had a whole entry begins anew."""
    (tmp_path / "audit.jsonl").write_bytes(b'{"seq":1,"at":"20')
    fill(trail, 1)
    assert events(trail) == ["audit.mended", "token.added"]
    assert trail.verify().intact


def test_a_long_trail_is_appended_to_from_its_end(trail, tmp_path):
    """An entry is read back from the end alone, however long the trail is."""
    fill(trail, 100)
    assert (tmp_path / "audit.jsonl").stat().st_size > 4 * 4096
    assert fill(trail, 1)[0].seq == 101
    assert trail.verify().intact


@pytest.mark.parametrize("after", [1, 40], ids=["an entry", "many entries"])
@pytest.mark.parametrize("junk", [b"\x00" * 9_000, b"x" * 4_096], ids=["zeros", "as long as what is read"])
def test_a_long_torn_end_is_mended(trail, tmp_path, after, junk):
    """Whatever a power cut put behind the last entry goes, however much it is."""
    fill(trail, after)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(path.read_bytes() + junk)
    fill(trail, 1)
    assert events(trail)[after:] == ["audit.mended", "token.added"]
    assert trail.verify().intact


def test_a_damaged_entry_does_not_stop_the_trail(trail, tmp_path):
    """What was overwritten stays to be seen, and is appended to."""
    heads = fill(trail, 3)
    path = tmp_path / "audit.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\xff" * (len(lines[1]) - 1) + b"\n" + lines[2])
    fill(trail, 1)
    found = trail.verify(heads[2])

    assert (found.fault, found.at_seq, found.entries) == ("altered", 2, 4)
    assert len(events(trail)) == 3


def test_retention_drops_from_the_front(trail, tmp_path):
    """Entries that are old go; what is left shows what it followed, and says how far it was dropped."""
    heads = fill(trail, 6)
    head = trail.trim(NOW + 4 * HOUR, NOW + 9 * HOUR)
    kept = list(trail.entries())

    assert [entry["seq"] for entry in kept] == [5, 6, 7]
    assert (kept[-1]["event"], kept[-1]["through"], kept[-1]["hash"]) == ("audit.trimmed", 4, heads[3].hash)
    assert head.seq == 7
    assert trail.verify(head).intact
    assert trail.trim(NOW + 4 * HOUR, NOW + 9 * HOUR) is None
    assert fill(trail, 1)[0].seq == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.jsonl", "audit.lock"]


def test_retention_drops_everything_in_the_end(trail):
    """A trail of which all is old keeps the note of what was dropped, and goes on from there."""
    fill(trail, 3)
    head = trail.trim(NOW + 100 * HOUR, NOW + 100 * HOUR)
    assert events(trail) == ["audit.trimmed"]
    assert trail.verify(head).intact
    fill(trail, 2)
    assert trail.verify(head).intact
    assert trail.trim(NOW + 200 * HOUR, NOW + 200 * HOUR).seq == 7
    assert trail.verify(Head(3, "gone")).intact


def test_a_faulty_trail_is_not_trimmed(trail, tmp_path):
    """Retention does not tidy away what shows that somebody was at it."""
    fill(trail, 4)
    path = tmp_path / "audit.jsonl"
    changed = path.read_bytes().replace(b"pos-1", b"pos-9")
    path.write_bytes(changed)
    assert trail.trim(NOW + 100 * HOUR, NOW + 100 * HOUR) is None
    assert path.read_bytes() == changed


def test_a_wrong_fact_writes_nothing(trail, tmp_path):
    """An entry that may not be recorded leaves the trail as it was."""
    fill(trail, 1)
    before = (tmp_path / "audit.jsonl").read_bytes()
    with pytest.raises(ValueError, match="does not belong"):
        trail.append("token.added", NOW, {"name": "Alma Ekvall"})
    assert (tmp_path / "audit.jsonl").read_bytes() == before


def _append(directory, count):
    trail = AuditTrail(directory)
    for number in range(count):
        trail.append("token.added", NOW, {"name": f"p{os.getpid()}-{number}"})


def test_several_may_write(trail, tmp_path):
    """Commands and the agent append side by side: no entry is lost, and the chain is whole."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(tmp_path, 40)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    found = trail.verify()
    assert (found.entries, found.fault) == (120, None)


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, StorageFullError), (errno.EIO, StorageError)], ids=["full", "broken"]
)
def test_a_disk_that_says_no(trail, monkeypatch, number, error):
    """An entry that is not on disk is not recorded: the caller hears of it, in our words."""
    fill(trail, 1)

    def refuse(_handle):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(error) as refused:
            fill(trail, 1)
    assert type(refused.value) is error


def _fill_up(directory):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))  # a write beyond is cut short, then refused
    trail, written = AuditTrail(directory), 0
    try:
        while True:
            trail.append("token.added", NOW, {"name": "pos-1"})
            written += 1
    except StorageError:
        os._exit(written)


def test_an_entry_cut_short_by_the_disk_is_not_recorded(trail, tmp_path):
    """A write that the disk takes half of fails; the next one that succeeds mends the trail."""
    child = multiprocessing.get_context("spawn").Process(target=_fill_up, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == 2
    assert (tmp_path / "audit.jsonl").stat().st_size == 400
    fill(trail, 1)
    assert events(trail) == ["token.added", "token.added", "audit.mended", "token.added"]
    assert trail.verify().intact


async def test_the_anchor_is_in_the_outbox(tmp_path):
    """The trail's end is noted where a commit survives, and can be read while no agent runs."""
    path = tmp_path / "outbox.db"
    with open_outbox(path) as outbox:
        anchor = AuditAnchor(outbox._writer, outbox._reader)
        assert anchor.load() is None
        await anchor.save(Head(1, "a"))
        await anchor.save(Head(2, "b"))
        assert anchor.load() == Head(2, "b")
    assert anchor_in(DatabaseFile(path, None, "FULL")) == Head(2, "b")
