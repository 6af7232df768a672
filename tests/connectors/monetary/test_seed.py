"""Whom a seed file lists, and what is wrong with one."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from agent.connectors.monetary import seed
from agent.connectors.monetary.seed import open_seed
from agent.domain.identifiers import IdentifierType
from agent.errors import FeedUnreadableError
from tests.fakes import NOW, feed_surroundings

ID, NUMBER, PHONE, EMAIL = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.EMAIL,
)
HEAD = "CustomerID,ExternalID,Phone,email,FirstName\n"


@pytest.fixture
def listed(tmp_path):
    """Writes a file of an hour ago, and reads it."""

    def listed_(text, *, written_at=NOW - timedelta(hours=1)):
        path = tmp_path / "members.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        os.utime(path, (written_at.timestamp(), written_at.timestamp()))
        return open_seed(path, feed_surroundings(fields=("first_name",)))

    return listed_


def test_a_list(listed):
    """Columns in any order and case; a row without an id of either kind is nobody."""
    told = listed(
        HEAD + "101,10000421,0701740605,Alma@example.com,Alma\n"
        ',10000422,,,"Bo, the other"\n\n'
        ",,0701740606,,\n"
        "103,,12,no address,\n"
    )
    assert told.as_of == NOW - timedelta(hours=1)
    shown = [(dict(one.identifiers), dict(one.fields), one.full_row) for one in told.contacts]
    assert shown == [
        (
            {ID: "101", NUMBER: "10000421", PHONE: "+46701740605", EMAIL: "alma@example.com"},
            {"first_name": "Alma"},
            True,
        ),
        ({NUMBER: "10000422", PHONE: None, EMAIL: None}, {"first_name": "Bo, the other"}, True),
        ({ID: "103", NUMBER: None, PHONE: None, EMAIL: None}, {"first_name": None}, True),
    ]


def test_another_list_has_another_mark(listed):
    """The same one has the same."""
    first, again = listed(HEAD), listed(HEAD)
    assert first.mark == again.mark
    assert listed(HEAD, written_at=NOW).mark != first.mark
    assert listed(HEAD + "101,,,,\n").mark != first.mark


def test_a_list_from_the_future(listed):
    """It is as old as now: somebody's clock was wrong."""
    assert listed(HEAD, written_at=datetime(2050, 1, 1, tzinfo=UTC)).as_of == NOW


def test_no_file(tmp_path):
    """It may have gone once it was read."""
    assert open_seed(tmp_path / "gone.csv", feed_surroundings()) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "first line"),
        ("Name,Phone\nAlma,0701740605\n", "first line"),
        (HEAD + "101,10000421\n", "row 2"),
        (HEAD + '101,"10000421\n', "Error"),
        (HEAD.encode() + b"101,\xff,,,\n", "UnicodeDecodeError"),
    ],
    ids=["empty", "no ids", "another row", "an open quote", "another encoding"],
)
def test_no_list(listed, text, said):
    """It is said what is wrong, and nothing of what is in it."""
    with pytest.raises(FeedUnreadableError, match=said) as caught:
        list(listed(text).contacts)
    assert not [value for value in ("Alma", "0701740605", "10000421") if value in str(caught.value)]


def test_a_directory(tmp_path):
    """It cannot be read."""
    with pytest.raises(FeedUnreadableError):
        list(open_seed(tmp_path, feed_surroundings()).contacts)


def test_more_than_a_shop_has(listed, monkeypatch):
    """A file beyond all measure is not read."""
    monkeypatch.setattr(seed, "MAX_BYTES", 100)
    with pytest.raises(FeedUnreadableError, match="larger"):
        listed(HEAD + "101,,,,\n" * 20)
