"""The day-end check in words, and the list that it takes."""

import pytest

from agent.cli.dayend import tell

VENDOR = {
    "vendor": "voyado", "delivered": 12, "queued": 0, "held": 0, "parked": 0, "in_doubt": 0, "discarded": 0,
    "cancelled": 0, "guests": 0,
}  # fmt: skip
BOOKS = {
    "outcome": "asked",
    "can_be_asked": 12,
    "asked": 10,
    "found": 10,
    "not_yet": [],
    "missing": [],
    "twice": [],
    "unclear": [],
}
GAP = {
    "store_id": "1042", "till_id": "03", "kind": "missing", "first": 7, "last": 7, "after": "s-6", "before": "s-8",
    "reason": None, "at": None,
}  # fmt: skip


def answer(books=None, vendor=None, **more):
    return {
        "day": "2026-02-14",
        "timezone": "Europe/Stockholm",
        "ok": True,
        "sold": 12,
        "unreadable": 0,
        "totals": [{"type": "purchase", "currency": "SEK", "count": 12, "total": "3000.00"}],
        "missing": 0,
        "twice": 0,
        "tills": [{"store_id": "1042", "till_id": "03", "sold": 12, "first": 1, "last": 12}],
        "breaks": [],
        "breaks_elsewhere": 0,
        "expected": None,
        "vendors": [{**VENDOR, **(vendor or {}), "books": {**BOOKS, **(books or {})}}],
        "stuck": [],
        **more,
    }


def text(**how):
    return "\n".join(tell(answer(**how)))


def listing(**more):
    return {"listed": 12, "missing": [], "other_day": [], "twice": [], "unlisted": [], **more}


def test_a_complete_day_is_told_in_a_line():
    """The verdict comes first, then the sums a manager compares with the till's report."""
    lines = list(tell(answer()))

    assert lines[0] == "2026-02-14 (Europe/Stockholm): complete. Nothing is missing, nothing is there twice."
    assert lines[2:4] == ["Sold: 12", "  purchases          12          3,000.00 SEK"]
    assert "  store 1042, till 03: 12 sales, numbers 1 to 12" in lines
    assert "  delivered          12" in lines
    assert "  asked about 10 of 12 delivered sales whose member is still known here; 10 are there" in lines
    assert "explain" not in lines[-1]


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        ({}, "MISSING  store 1042, till 03, number 7, after s-6 and before s-8: was here, and the record is gone"),
        ({"last": 9}, "numbers 7 to 9, after s-6"),
        ({"after": None}, "number 7, before s-8:"),
        ({"after": None, "before": None}, "number 7: was here"),
        (
            {"reason": "rescue", "at": "2026-02-20T03:10:00+00:00"},
            "was lost when the damaged file was rescued (2026-02-20",
        ),
        ({"reason": "skipped", "at": "2026-02-20T03:10:00+00:00"}, "nobody knows whether it had been given"),
        ({"kind": "twice"}, "TWICE    store 1042, till 03, number 7: two sales have it, s-6 and s-8"),
    ],
    ids=["one", "several", "first", "all", "rescue", "skipped", "twice"],
)
def test_a_gap_is_told(gap, words):
    """Which numbers, between which sales, and what is known of why."""
    told = text(ok=False, missing=1, breaks=[{**GAP, **gap}])
    assert words in told
    assert told.startswith("2026-02-14 (Europe/Stockholm): NOT COMPLETE: ")
    assert told.endswith("What became of a sale: loyalty-agent explain TRANSACTION_ID")


def test_gaps_of_other_days_are_mentioned():
    """They do not spoil this day, and are not kept back."""
    assert "note     on other days: 3 missing or twice" in text(breaks_elsewhere=3)


def test_the_verdict_names_each_witness():
    """A sale can be missed by several, so what each misses is not added up."""
    told = text(
        ok=False,
        missing=7,
        twice=2,
        breaks=[{**GAP, "last": 9}, {**GAP, "kind": "twice"}],
        expected=listing(missing=["s-7", "s-99"]),
        books={"missing": ["s-1", "s-2"], "twice": ["s-3"]},
    )
    assert told.splitlines()[0].endswith(
        "NOT COMPLETE: 3 missing by its number, 1 twice by its number, 2 missing by the till's list, "
        "2 missing at voyado, 1 twice at voyado."
    )


@pytest.mark.parametrize(
    ("vendor", "words"),
    [
        ({"queued": 3}, "waiting             3  they go out by themselves"),
        ({"held": 3}, "waiting             3  all of them held: it refuses our credentials"),
        ({"parked": 2}, "parked              2  refused; a person decides: loyalty-agent queue list --state parked"),
        ({"in_doubt": 1}, "in doubt            1  nobody knows whether they arrived"),
        ({"discarded": 1}, "given up            1  by a person"),
        ({"cancelled": 2}, "cancelled           2  voided, or claimed anew, before they got there"),
        ({"guests": 4}, "guests              4  no member: there is nothing to deliver"),
    ],
)
def test_each_figure_has_words(vendor, words):
    """Where the sales are is told with what it means."""
    assert words in text(vendor=vendor)


@pytest.mark.parametrize(
    ("books", "words"),
    [
        ({"outcome": "cannot_be_asked", "asked": 0}, "it cannot be asked what it has"),
        ({"outcome": "unreachable", "asked": 0}, "it does not answer"),
        ({"outcome": "refused", "asked": 0}, "it refuses our credentials"),
        ({"outcome": "not_asked", "asked": 0}, "not asked"),
        ({"outcome": "not_asked", "asked": 0, "can_be_asked": 0}, "so none can be asked for"),
        ({"missing": ["s-1"]}, "MISSING  1 accepted, and not there: s-1"),
        ({"twice": ["s-1", "s-2"]}, "TWICE    2 there more than once: s-1, s-2"),
        ({"not_yet": ["s-1"]}, "note     1 not there yet, but accepted only a short while ago: s-1"),
        ({"unclear": ["s-1"]}, "note     1 the books do not tell: s-1"),
    ],
)
def test_what_the_books_say(books, words):
    """Asked or not, and what came of it."""
    assert words in text(books=books)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, "  all here, and nothing else"),
        ({"missing": ["s-1"]}, "MISSING  1 sold, and not on record here: s-1"),
        ({"twice": ["s-1"]}, "TWICE    1 in the list more than once: two sales under one id: s-1"),
        ({"other_day": ["s-1"]}, "note     1 on record, but of another day: s-1"),
        ({"unlisted": ["s-1"]}, "note     1 on record, but not in the list: s-1"),
    ],
)
def test_what_the_tills_list_says(found, words):
    """Compared with the till's own list."""
    assert words in text(expected=listing(**found))


def test_long_lists_are_cut_short():
    """A bad day does not scroll away its verdict; --json has everything."""
    told = text(
        expected=listing(missing=[f"s-{number}" for number in range(500)]),
        breaks=[GAP] * 30,
        stuck=[{"transaction_id": "s-1", "vendor": "voyado", "state": "in_doubt", "code": None}] * 25,
    )
    assert "500 sold, and not on record here: s-0, " in told
    assert "s-9 and 490 more" in told
    assert "and 20 more places like this" in told
    assert "s-1  voyado  in doubt" in told
    assert "and 15 more" in told


def test_an_empty_day_and_a_damaged_record():
    """Nothing sold is said, and so is what no sum holds."""
    assert "no till sold anything" in text(sold=0, totals=[], tills=[])
    assert "2 more cannot be read any more, and are in no sum" in text(unreadable=2)


# --- the list -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["s-1\n+46701740605\n", "s-1\nAlma Made-Up\n", f"s-1\n{'x' * 65}\n"])
def test_a_file_that_is_no_list(call, tmp_path, content):
    """The line is told and its content is not: it may be the wrong file."""
    file = tmp_path / "list.txt"
    file.write_text(content)
    done = call("reconcile", "--expected", file)

    assert done.exit_code == 64
    assert "--expected: line 2 is not a transaction id." in done.stderr
    assert "46701740605" not in done.output
    assert "Alma" not in done.output


def test_a_file_of_another_kind(call, tmp_path):
    """What is not text is no list."""
    file = tmp_path / "list.xlsx"
    file.write_bytes(b"PK\x03\x04\xff\xfe\x00")
    done = call("reconcile", "--expected", file)

    assert (done.exit_code, "it is not text in UTF-8" in done.stderr) == (64, True)


def test_a_file_that_is_not_there(call, tmp_path):
    """A missing file is 74, as everywhere."""
    assert call("reconcile", "--expected", tmp_path / "none.txt").exit_code == 74


@pytest.mark.parametrize("wrong", [("--day", "14/2"), ("--sample", "101"), ("--day", "2026-02-30")])
def test_wrong_usage(call, wrong):
    """What is no day and no sample is 64."""
    assert call("reconcile", *wrong).exit_code == 64


def test_without_an_agent(call):
    """Nobody else can say: 2."""
    assert call("reconcile").exit_code == 2
