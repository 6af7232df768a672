"""The audit trail as lines: what a run of them proves."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.domain.audit import START, Head, head_of, line_of, parse, verify, word

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def chain(count, *, first=1, before=START):
    lines = []
    for number in range(first, first + count):
        lines.append(line_of(number, NOW + timedelta(hours=number), "token.added", {"name": f"pos-{number}"}, before))
        before = head_of(lines[-1]).hash
    return lines


def test_a_trail_is_intact():
    """Entries that follow from each other, from the first on, are a trail; its head is the last of them."""
    lines = chain(5)
    found = verify(lines, head_of(lines[2]))

    assert found.intact
    assert (found.entries, found.first, found.head, found.incidents) == (5, 1, head_of(lines[4]), 0)


def test_nothing_yet():
    """An empty trail is intact, unless something was anchored."""
    assert verify([], None).intact
    assert verify([], Head(3, "x")).fault == "cut"


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda lines, at: lines.__setitem__(at, lines[at].replace(b"pos-", b"pox-")), "altered"),
        (lambda lines, at: lines.__setitem__(at, b"\x00" * len(lines[at])), "altered"),
        (lambda lines, at: lines.__setitem__(at, b"{}"), "altered"),
        (lambda lines, at: lines.insert(at + 1, lines[at]), "altered"),
    ],
    ids=["edited", "zeros", "another document", "said twice"],
)
def test_what_is_changed_shows(place, change, fault):
    """Whichever entry is changed, the anchor or the next entry tells."""
    lines = chain(5)
    anchor = head_of(lines[-1])
    change(lines, place)
    assert verify(lines, anchor).fault == fault


@pytest.mark.parametrize("place", range(5))
def test_what_is_taken_out_shows(place):
    """An entry that is missing shows, wherever it was: at the front, in the middle and at the end."""
    lines = chain(5)
    anchor = head_of(lines[-1])
    del lines[place]
    assert verify(lines, anchor).fault == {0: "begun", 4: "cut"}.get(place, "altered")


@pytest.mark.parametrize("left", range(5))
def test_a_cut_shows(left):
    """A trail that ends before the anchor was cut; without an anchor nobody could tell."""
    lines = chain(5)
    found = verify(lines[:left], head_of(lines[-1]))

    assert (found.fault, found.at_seq) == ("cut", left + 1)
    assert verify(lines[:left], None).intact


def test_another_history_shows():
    """A chain that is sound in itself but is not the anchored one is altered."""
    lines = chain(5)
    other = [line_of(1, NOW, "token.revoked", {"name": "pos-1"}, START)]
    other += chain(4, first=2, before=head_of(other[0]).hash)
    assert verify(other, None).intact
    assert verify(other, head_of(lines[-1])).fault == "altered"


def test_a_trimmed_trail_says_so():
    """What retention dropped is named by the trail itself; a front that nobody dropped is missing."""
    lines = chain(5)
    dropped = head_of(lines[1])
    trimmed = line_of(6, NOW, "audit.trimmed", {"through": 2, "hash": dropped.hash}, head_of(lines[-1]).hash)

    assert verify([*lines[2:], trimmed], head_of(trimmed)).intact
    assert verify([*lines[2:], trimmed], None).first == 3
    assert verify([*lines[3:], trimmed], head_of(trimmed)).fault == "begun"
    assert verify([*lines, trimmed], head_of(trimmed)).fault == "begun"


def test_incidents_are_counted():
    """A fault that the agent recorded stays visible after the chain is whole again."""
    lines = chain(2)
    lines.append(line_of(3, NOW, "audit.broken", {"fault": "cut", "at_seq": 9}, head_of(lines[-1]).hash))
    assert verify(lines, head_of(lines[-1])).incidents == 1


@pytest.mark.parametrize(
    ("event", "facts", "error"),
    [
        ("privacy.looked_at", {}, KeyError),
        ("privacy.erased", {"phone": 1}, ValueError),
        ("privacy.erased", {"by": "Alma Ekvall"}, ValueError),
        ("privacy.erased", {"by": "+46701740605"}, ValueError),
        ("privacy.erased", {"by": "alma@example.com"}, ValueError),
        ("privacy.erased", {"contacts": None}, ValueError),
        ("queue.retried", {"seq": 1}, ValueError),
    ],
    ids=["no event", "no fact of it", "a name", "a phone number", "an address", "no value", "the chain's own"],
)
def test_nothing_else_is_recorded(event, facts, error):
    """An entry holds what is listed for its event, as counts and words; a person's name fits nowhere."""
    with pytest.raises(error) as refused:
        line_of(1, NOW, event, facts, START)
    assert not any(str(value) in str(refused.value) for value in facts.values() if isinstance(value, str))


def test_an_entry_reads_as_it_was_written():
    """A line is one JSON object with its number, instant, event, facts and the hash before it."""
    line = line_of(7, NOW, "privacy.erased", {"by": "cli", "contacts": 1}, START)
    assert parse(line) == {
        "seq": 7, "at": NOW.isoformat(), "event": "privacy.erased", "by": "cli", "contacts": 1, "prev": START,
    }  # fmt: skip
    assert b"\n" not in line


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("till-03", "till-03"),
        ("unix:@staff", "unix:-staff"),
        ("unix:CORP\\alma ek@example.com", "unix:CORP-alma-ek-example.com"),
        ("x" * 200, "x" * 64),
        ("", "-"),
    ],
    ids=["a token", "a group", "an account of a directory", "long", "nobody"],
)
def test_whoever_asks_has_a_name_that_can_be_recorded(name, kept):
    """No name of a token or of a Unix user makes an erasure fail at its last step."""
    assert word(name) == kept
    assert parse(line_of(1, NOW, "privacy.erased", {"by": word(name)}, START))["by"] == kept
