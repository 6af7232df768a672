"""Pages of Antavo's lists: whether another follows, and when they were told."""

import json

import pytest

from agent.connectors.antavo.answers import read_events, read_members
from agent.errors import VendorUnreachableError
from agent.transport import Answer


def page(rows, link, date="Sat, 14 Feb 2026 16:00:00 GMT"):
    return {
        read_members: Answer(200, {"date": date}, json.dumps(
            {"payload": {"customers": rows}, "metadata": {"pagination": {"next": link}}}).encode()),
        read_events: Answer(200, {"date": date}, json.dumps({"data": rows, "next": link}).encode()),
    }  # fmt: skip


@pytest.mark.parametrize("read", [read_members, read_events])
@pytest.mark.parametrize(
    ("rows", "link", "more"),
    [(3, None, False), (3, "/next", True), (5, None, True), (5, "/next", True), (0, "/next", False), (0, None, False)],
    ids=["short", "short, with a link", "full, without a link", "full", "empty, with a link", "empty"],
)
def test_whether_another_follows(read, rows, link, more):
    """If it says so, or is as long as was asked for; never after an empty one."""
    assert read(page([{"id": "c-1"}] * rows, link)[read], limit=5).more is more


@pytest.mark.parametrize("read", [read_members, read_events])
@pytest.mark.parametrize(("year", "told"), [(2026, True), (1999, False), (9999, False)])
def test_when_it_was_told(read, year, told):
    """By the vendor's clock; one far outside of the calendar is none, and nothing is skipped because of it."""
    listed = read(page([], None, f"Sat, 14 Feb {year} 16:00:00 GMT")[read], limit=5)
    assert (listed.told_at is not None) is told


@pytest.mark.parametrize("read", [read_members, read_events])
@pytest.mark.parametrize(
    "body", [b"[]", b'{"data": {}, "payload": {"customers": {}}}', b'{"data": [7], "payload": {"customers": [7]}}',
             b'{"payload": 7, "metadata": 7}', b'{"data": [], "payload": {"customers": []}, "error": {"code": 7}}'],
)  # fmt: skip
def test_what_is_no_list(read, body):
    """It is as good as no answer."""
    with pytest.raises(VendorUnreachableError):
        read(Answer(200, {}, body), limit=5)


@pytest.mark.parametrize(
    ("rows", "fits"),
    [([{}], True), ([{}, {"_id": "c-1"}], True), ([{}, {}], False), ([{"_id": ""}, {"_id": ["c-1"]}], False)],
    ids=["one alone", "one of two", "all", "all, with something else there"],
)
def test_members_without_an_id(rows, fits):
    """One among others is left to the feed; where nobody has one it is no list of members."""
    answer = page(rows, None)[read_members]
    if fits:
        assert len(read_members(answer, limit=5).rows) == len(rows)
        return
    with pytest.raises(VendorUnreachableError, match="nobody has an id"):
        read_members(answer, limit=5)
