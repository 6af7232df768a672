"""Copies of exports on disk: noise to everybody but the processes that read them."""

from __future__ import annotations

import pickle

import pytest

from agent.spool import SpooledFile

TEXT = b"<member><firstName>Alma Made-Up</firstName></member>\n" * 40_000


def write(path, piece_bytes):
    spooled = SpooledFile.at(path)
    with path.open("wb") as file:
        put = spooled.writing(file)
        for start in range(0, len(TEXT), piece_bytes):
            put(TEXT[start : start + piece_bytes])
    return spooled


@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize("piece_bytes", [1_000_000, 4_097, 10_000_000])
def test_what_is_written_is_read_again(tmp_path, piece_bytes, buffering):
    """In pieces of any size, in another process too; on disk nothing of it shows."""
    spooled = pickle.loads(pickle.dumps(write(tmp_path / "export.xml", piece_bytes)))
    read = b""
    with spooled.open("rb", buffering=buffering) as file:
        while piece := file.read(70_001):
            read += piece
    noise = spooled.path.read_bytes()

    assert read == TEXT
    assert spooled.name == "export.xml"
    assert len(noise) == len(TEXT)
    assert b"Alma" not in noise
    assert max(noise.count(bytes([value])) for value in range(256)) < 2 * len(noise) / 256


def test_no_two_copies_are_alike(tmp_path):
    """Each has its own key, which shows nowhere."""
    first, second = (write(tmp_path / name, 100_000) for name in "ab")
    assert first.path.read_bytes() != second.path.read_bytes()
    assert repr(first) == f"SpooledFile(path={first.path!r})"


def test_it_is_for_reading_bytes(tmp_path):
    """Nothing else is offered."""
    with pytest.raises(ValueError, match="as bytes"):
        write(tmp_path / "a", 1_000).open("r")
