"""What figures look like to people."""

import pytest

from agent.cli.render import progress
from agent.cli.state import _lines

LOADS = pytest.mark.parametrize(
    ("files", "applied", "rows", "told"),
    [
        pytest.param(0, 0, 0, "asking what is new", id="nothing yet"),
        pytest.param(3, 1, 10_000, "1 of 3 files, 10,000 rows", id="files"),
        pytest.param(0, 2, 1_000, "2 pages, 1,000 rows", id="pages"),
    ],
)


@LOADS
def test_how_far_a_load_is(files, applied, rows, told):
    """Files of a number that is known, or pages of one that is not."""
    assert progress({"files": files, "applied": applied, "rows": rows}) == told


def status(**changes):
    return {
        "version": "1.0", "state": "online",
        "since": "2026-02-14T12:00:00Z", "level": 3, "vendors": [], "conditions": [],
        "replica": {"as_of": None, "loading": None},
        "queue": {"depth": 0, "held": 0, "parked": 0, "in_doubt": 0, "bytes": 0, "oldest_age_s": None,
                  "outage_left_s": None},
        **changes,
    }  # fmt: skip


@LOADS
def test_the_status_says_how_far_a_load_is(files, applied, rows, told):
    """In the words of `sync`."""
    answer = status(replica={"as_of": None, "loading": {"files": files, "applied": applied, "rows": rows}})
    assert f"         loading: {told}" in list(_lines(answer))


def test_the_status_says_where_a_sale_s_own_time_is_lost():
    """Each system in which a late sale counts when it arrives; nothing where there is none."""
    row = {"role": "forward", "state": "online", "since": None, "last_success_at": None, "waiting": 0}
    vendors = [
        {**row, "vendor": name, "keeps_time": name == "mparticle"} for name in ("antavo", "mparticle", "monetary")
    ]
    said = "         a sale that comes late counts when it arrives: antavo, monetary"
    assert said in list(_lines(status(vendors=vendors)))
    assert not [line for line in _lines(status(vendors=vendors[1:2])) if "counts when" in line]
