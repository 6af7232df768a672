"""The story of a sale in words, and how figures are shown."""

import pytest

from agent.cli.render import age, instant, number, size, table
from agent.cli.story import tell

PRIMARY = {"kind": "primary", "type": "member_number"}
SECONDARY = {"kind": "secondary", "type": "mobile_phone"}


def story(state="delivered", verdicts=("done",), **more):
    delivery = {
        "entry": 7,
        "vendor": "voyado",
        "state": state,
        "attempts": len(verdicts),
        "next_attempt_at": None,
        "last_error": {"code": "vendor.rejected", "status": 422, "title": "Refused."} if state == "parked" else None,
    }
    return {
        "transaction_id": "1042-03-1",
        "type": "purchase",
        "occurred_at": "2026-02-14T16:41:09+01:00",
        "accepted_at": "2026-02-14T15:41:10+00:00",
        "erased_at": None,
        "original_transaction_id": None,
        "integration_key": PRIMARY,
        "answered_key": PRIMARY,
        "deliveries": [delivery],
        "attempts": [
            {"entry": 7, "at": f"2026-02-14T15:4{2 + place}:00+00:00", "verdict": verdict, "code": "", "status": None}
            for place, verdict in enumerate(verdicts)
        ],
        **more,
    }


def test_a_story_is_told_in_order():
    """What happened stands in the order of time, whatever offset it was written with."""
    lines = list(tell(story(verdicts=("retry", "done"), erased_at="2026-02-15T16:00:00+00:00")))

    assert lines[0] == "1042-03-1: purchase"
    assert [line.split("  ")[-1].split(":")[0].split(",")[0] for line in lines[1:-1]] == [
        "happened at the till",
        "accepted and on disk",
        "attempt 1",
        "attempt 2",
        "the personal part was erased; the sale itself stays for the audit",
    ]
    assert lines[-1] == "Now it is with voyado."


def test_a_tag_that_rose_is_told():
    """A sale that was answered with a phone number and sent under a member number says both."""
    text = "\n".join(tell(story(answered_key=SECONDARY)))

    assert "tagged with the secondary key (mobile_phone)" in text
    assert "voyado took it, under the primary key (member_number)" in text


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("duplicate", "counts once"),
        ("hold", "refuses our credentials"),
        ("park", "waits for a person"),
        ("in_doubt", "nobody knows whether it arrived"),
        ("split", "smaller ones"),
    ],
)
def test_each_verdict_has_words(verdict, words):
    """What a vendor said is told as what it means."""
    assert words in "\n".join(tell(story(verdicts=(verdict,))))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("queued", "waits for its turn"),
        ("held", "because voyado refuses our credentials"),
        ("parked", "`loyalty-agent queue retry 7` or `queue discard 7` (Refused.)"),
        ("in_doubt", "may be with voyado or not"),
    ],
)
def test_each_state_has_words(state, words):
    """Where it stands is told with what can be done about it."""
    assert words in list(tell(story(state, verdicts=())))[-1]


def test_a_guests_story_ends_here():
    """A sale without a member is owed to nobody."""
    lines = list(tell(story(deliveries=[], attempts=[], integration_key=None, answered_key=None)))

    assert "tagged with no member" in lines[2]
    assert lines[-1].startswith("Nobody is owed it")


def test_a_void_names_what_it_clears():
    """A void is the void of something."""
    assert next(tell(story(type="void", original_transaction_id="1042-03-0"))) == "1042-03-1: void of 1042-03-0"


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (age(None), "-"),
        (age(0), "0 s"),
        (age(59), "59 s"),
        (age(3_725), "1 h 2 min"),
        (age(90_000), "1 d 1 h"),
        (number(1_234_567), "1,234,567"),
        (size(1023), "1023 B"),
        (size(1536), "1.5 KiB"),
        (size(3 << 30), "3.0 GiB"),
        (instant(None), "-"),
        (table(("A", "BB"), [(1, None), ("long", 2)]), "A     BB\n1     -\nlong  2"),
    ],
)
def test_figures_are_shown_short(shown, text):
    """Ages, counts, sizes and tables as people read them."""
    assert shown == text
