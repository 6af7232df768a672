"""Who is erased stands in no cursor any more, whichever feed's it is."""

from __future__ import annotations

import json

import pytest

from agent.store.feed_cursor import without

HERS, HIS = "medlem-zaphira", "medlem-bo"


@pytest.mark.parametrize(
    ("cursor", "left"),
    [
        ({"changed_at": "2026-02-14", "unread": [HERS, HIS]}, {"changed_at": "2026-02-14", "unread": [HIS]}),
        ({"pending": [HERS], "unread": [HERS]}, {"pending": [], "unread": []}),
        ({"from_at": "2026-02-14", "after": HERS}, {"from_at": "2026-02-14"}),
        ({"sweep": {"offset": 3}, "unread": [HERS]}, {"sweep": {"offset": 3}, "unread": []}),
    ],
    ids=["one of two", "in both lists", "the place in a list", "during a walk"],
)
def test_she_is_taken_out(cursor, left):
    """And the others stay, with where the feed stands."""
    assert json.loads(without(json.dumps(cursor), HERS.__eq__)) == left


@pytest.mark.parametrize(
    "cursor", ['{"unread":["medlem-bo"] }', "120-1771083669000000000", "12", '["medlem-zaphira"'], ids=str
)
def test_what_names_nobody_who_is_gone_stays_as_it_is(cursor):
    """To the letter: also the mark of a planted list, which is no feed's cursor."""
    assert without(cursor, HERS.__eq__) == cursor
