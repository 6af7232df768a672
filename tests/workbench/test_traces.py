"""The byte search that proves an erasure."""

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
