"""The story of a sale in words, and how figures are shown."""

from zoneinfo import ZoneInfo

import click
import pytest

from agent.cli.invocation import Invocation
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
        "store_id": "1042",
        "till_id": "03",
        "number": 187,
        "occurred_at": "2026-02-14T16:41:09+01:00",
        "accepted_at": "2026-02-14T15:41:10+00:00",
        "erased_at": None,
        "original_transaction_id": None,
        "integration_key": PRIMARY,
        "answered_key": PRIMARY,
        "about_it": [],
        "events": [],
        "deliveries": [delivery],
        "attempts": [
            {"entry": 7, "at": f"2026-02-14T15:4{2 + place}:00+00:00", "verdict": verdict, "code": "", "status": None}
            for place, verdict in enumerate(verdicts)
        ],
        **more,
    }


def test_what_is_queued_at_the_vendor_got_through():
    """It was taken and is not processed yet: nobody looks for a fault of the line."""
    told = story(state="queued", verdicts=("retry",))
    told["attempts"][0]["code"] = "vendor.queued"

    [attempt] = [line for line in tell(told) if "attempt 1" in line]

    assert attempt.endswith("attempt 1: voyado has it and has not processed it yet (vendor.queued)")


def test_what_a_vendor_took_it_without():
    """It stands where the sale stands, in the vendor room's words."""
    told = story()
    told["deliveries"][0]["note"] = {"code": "sale.time_lost", "title": "Counted when it arrived."}

    assert list(tell(told))[-1] == "Now it is with voyado (Counted when it arrived.)."


def test_a_story_is_told_in_order():
    """What happened stands in the order of time, whatever offset it was written with."""
    lines = list(tell(story(verdicts=("retry", "done"), erased_at="2026-02-15T16:00:00+00:00")))

    assert lines[0] == "1042-03-1: purchase"
    assert lines[1] == "  number 187 of till 03 in store 1042"
    assert [line.split("  ")[-1].split(":")[0] for line in lines[2:-1]] == [
        "happened at the till",
        "accepted and on disk, tagged with the primary key (member_number)",
        "attempt 1",
        "attempt 2, 1 min later",
        "the personal part was erased; the sale itself stays for the audit",
    ]
    assert lines[-1] == "Now it is with voyado."


def test_a_story_is_told_in_the_store_s_time():
    """However the till, the door and the machine write an instant: with the offset that the store had then."""
    with click.Context(click.Command("explain"), obj=Invocation(zone=ZoneInfo("America/St_Johns"))):
        lines = list(tell(story(erased_at="2026-07-15T16:00:00+00:00")))
    assert [line.split("  ")[1] for line in lines[2:-1]] == [
        "2026-02-14 12:11:09-03:30",
        "2026-02-14 12:11:10-03:30",
        "2026-02-14 12:12:00-03:30",
        "2026-07-15 13:30:00-02:30",
    ]


def test_a_tag_that_rose_is_told():
    """A sale that was answered with a phone number and sent under a member number says both, and when it rose."""
    risen = {"at": "2026-02-14T15:41:30+00:00", "what": "retagged", "vendor": "voyado"}
    lines = list(tell(story(answered_key=SECONDARY, events=[risen])))

    assert lines[3].endswith("tagged with the secondary key (mobile_phone)")
    assert lines[4].endswith("found out before it was sent: tagged with the primary key (member_number) from here on")
    assert lines[5].endswith("attempt 1: voyado took it")


def test_what_came_later_is_told():
    """Who voided, returned or claimed it, and when."""
    about = [
        {"transaction_id": "r-1", "type": "return", "accepted_at": "2026-02-15T10:00:00+00:00"},
        {"transaction_id": "v-1", "type": "void", "accepted_at": "2026-02-14T15:45:00+00:00"},
    ]
    lines = list(tell(story("cancelled", verdicts=(), about_it=about)))

    assert [line.split("  ")[-1] for line in lines[4:6]] == ["voided by v-1", "returned by r-1"]
    assert lines[-1] == "Now it does not go to voyado: it was voided, or claimed anew, before it got there."


@pytest.mark.parametrize(
    ("what", "words"),
    [("retried", "a person put it back in line for voyado"), ("discarded", "a person gave up its delivery to voyado")],
)
def test_what_a_person_decided_is_told(what, words):
    """A retry and a discard stand where they happened."""
    event = {"at": "2026-02-14T18:00:00+00:00", "what": what, "vendor": "voyado"}
    assert list(tell(story("discarded", verdicts=("park",), events=[event])))[-2].endswith(words)


def test_a_sale_that_expired_says_so():
    """A sale whose person was erased before it could be delivered is told apart from one that was delivered."""
    expired = story("parked", verdicts=(), erased_at="2026-03-16T16:00:00+00:00")
    expired["deliveries"][0]["last_error"] = {"code": "retention.expired", "status": None, "title": "Erased."}

    assert "undelivered for too long: the personal part was erased" in "\n".join(tell(expired))
    assert "undelivered for too long" not in "\n".join(tell(story(erased_at="2026-03-16T16:00:00+00:00")))


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
        ("cancelled", "voided, or claimed anew, before it got there"),
        ("discarded", "a person gave it up"),
    ],
)
def test_each_state_has_words(state, words):
    """Where it stands is told with what can be done about it."""
    assert words in list(tell(story(state, verdicts=())))[-1]


def test_a_guests_story_ends_here():
    """A sale without a member is owed to nobody."""
    lines = list(tell(story(deliveries=[], attempts=[], integration_key=None, answered_key=None)))

    assert "tagged with no member" in lines[3]
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
