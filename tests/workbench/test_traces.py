"""The byte search that proves an erasure."""

from pathlib import Path

import pytest

from agent.workbench.traces import find_traces

PEOPLE = frozenset({"+46701740605", "+46701740606", "alma@example.com"})


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"nothing", set()),
        (b"\x00+46701740605\x00", {"+46701740605"}),
        (b"+467017406051234", {"+46701740605"}),
        (b"+46701740605+46701740606", {"+46701740605", "+46701740606"}),
        (b"mobile_phone1alma@example.comX", {"alma@example.com"}),
        (b"+46701740699 bo@example.com", set()),
    ],
    ids=["clean", "alone", "digits behind", "two in a row", "text before", "other people"],
)
def test_values_are_found_whatever_stands_beside_them(tmp_path, content, found):
    """A value is found without a separator around it, as a database writes it, and no other is."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.db-wal").write_bytes(content)

    assert find_traces([tmp_path], PEOPLE) == ({"file.db-wal": found} if found else {})


def test_single_files_and_directories_are_searched(tmp_path):
    """A log beside the state directory counts as well; what is not there has nothing in it."""
    log = tmp_path / "agent.log"
    log.write_text("alma@example.com")

    assert find_traces([log, tmp_path / "missing"], PEOPLE) == {"agent.log": {"alma@example.com"}}


@pytest.fixture
def renaming(tmp_path, monkeypatch):
    """Files of which one gets another name while another is read, at so many of the first searches."""
    (tmp_path / "a.db").touch()
    (tmp_path / "0").write_text("alma@example.com")
    read, names = Path.read_bytes, iter(())

    def read_bytes(self):
        if self.name == "a.db" and (pair := next(names, None)):
            (tmp_path / pair[0]).rename(tmp_path / pair[1])
        return read(self)

    def begin(times):
        nonlocal names
        names = iter([(str(number), str(number + 1)) for number in range(times)])

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    return begin


def test_a_file_that_gets_another_name_meanwhile(tmp_path, renaming):
    """What moved to a name that was not listed is found all the same."""
    renaming(1)
    assert find_traces([tmp_path], PEOPLE) == {"1": {"alma@example.com"}}


def test_files_that_never_rest(tmp_path, renaming):
    """Then it is not said that nothing was found."""
    renaming(100)
    with pytest.raises(FileNotFoundError):
        find_traces([tmp_path], PEOPLE)
