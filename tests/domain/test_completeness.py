"""A day, counted: sums, what became of the sales, the till's own list, and what the vendor's books prove."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.completeness import (
    Askable,
    DayRecord,
    DaySale,
    Handled,
    Handling,
    answer,
    askable,
    business_day,
    compare,
    handled,
    stuck,
    totals,
)
from agent.domain.delivery import DeliveryState
from agent.domain.transaction import TransactionType
from tests.fakes import NOW, VENDOR, member_key

STOCKHOLM = ZoneInfo("Europe/Stockholm")
DAY = date(2026, 2, 14)


def sale(name="a", kind="purchase", total="250.00", currency="SEK", *, state="delivered", till="1042 03", **more):
    handling = Handling(VENDOR, DeliveryState(state), NOW if state == "delivered" else None, more.pop("code", None))
    return DaySale(
        name, TransactionType(kind), till, 1, currency, Decimal(total) if total else None,
        more.pop("handlings", (handling,)), **more,
    )  # fmt: skip


def record(*sales, elsewhere=None):
    return DayRecord(sales, (), elsewhere or {})


@pytest.mark.parametrize(
    ("occurred_at", "day"),
    [
        ("2026-02-14T00:00:00+01:00", date(2026, 2, 14)),
        ("2026-02-14T23:59:59+01:00", date(2026, 2, 14)),
        ("2026-02-14T23:30:00+00:00", date(2026, 2, 15)),
        ("2026-02-14T01:30:00+05:00", date(2026, 2, 13)),
        ("2026-07-14T22:30:00+00:00", date(2026, 7, 15)),
        ("2026-03-29T02:30:00+01:00", date(2026, 3, 29)),
        ("2026-10-25T02:30:00+01:00", date(2026, 10, 25)),
    ],
    ids=["midnight", "last second", "utc", "another zone", "summer", "spring forward", "fall back"],
)
def test_a_sale_belongs_to_the_stores_own_date(occurred_at, day):
    """Whatever offset a till writes, the day is the one on the shop's wall."""
    assert business_day(datetime.fromisoformat(occurred_at), STOCKHOLM) == day


def test_sums_are_by_kind_and_currency():
    """Each kind in each currency is added up exactly, in the order of the kinds, with the currency's decimals."""
    found = totals(
        [
            sale("a", total="0.10"), sale("b", total="0.20"), sale("c", "return", "-250"), sale("d", "void", "0"),
            sale("e", total="1000", currency="JPY"), sale("f", total=None, currency=None),
            sale("g", "points_claim", "7"),
        ]
    )  # fmt: skip
    assert [(row.type.value, row.currency, row.count, str(row.total)) for row in found] == [
        ("purchase", "JPY", 1, "1000"),
        ("purchase", "SEK", 2, "0.30"),
        ("return", "SEK", 1, "-250.00"),
        ("void", "SEK", 1, "0.00"),
        ("points_claim", "SEK", 1, "7.00"),
    ]


states = st.sampled_from([*(state.value for state in DeliveryState if state is not DeliveryState.HELD), "guests"])


@given(found=st.lists(states, max_size=30), held=st.booleans())
def test_what_became_of_the_sales_adds_up(found, held):
    """Every sale stands under exactly one figure; what a held lane has queued is held."""
    sales = [
        sale(str(n), handlings=()) if state == "guests" else sale(str(n), state=state) for n, state in enumerate(found)
    ]
    figures = handled(sales, VENDOR, held=held)
    counts = {figure.name: getattr(figures, figure.name) for figure in fields(Handled)[1:]}

    assert sum(counts.values()) == len(found)
    assert counts["held" if held else "queued"] == found.count("queued")
    assert {name: count for name, count in counts.items() if name not in ("held", "queued")} == {
        name: found.count(name) for name in counts if name not in ("held", "queued")
    }


def test_another_vendors_sales_are_this_ones_guests():
    """Figures are per vendor: what goes to one alone is owed to the other by nobody."""
    figures = handled([sale("a")], "antavo", held=False)
    assert (figures.vendor, figures.guests, figures.delivered) == ("antavo", 1, 0)


def test_what_is_stuck_is_named():
    """Parked, in doubt and given up, with the reason; what goes by itself is not."""
    found = stuck(
        [
            sale("a"),
            sale("b", state="parked", code="vendor.rejected"),
            sale("c", state="discarded"),
            sale("d", state="queued"),
        ]
    )
    assert [(one.transaction_id, one.state.value, one.code) for one in found] == [
        ("b", "parked", "vendor.rejected"),
        ("c", "discarded", None),
    ]


def test_the_tills_list_tells_what_was_never_seen():
    """An id that is not on record is missing, one of another day is not, and one that stands twice was sold twice."""
    here = record(sale("a"), sale("b"), elsewhere={"late": date(2026, 2, 15)})
    found = compare(["a", "late", "gone", "gone", "b"], here)

    assert (found.listed, found.missing, found.other_day, found.twice) == (4, ("gone",), ("late",), ("gone",))
    assert found.unlisted == ()


def test_sales_that_the_list_leaves_out_are_told_for_its_own_tills():
    """A list of one till says nothing about another's sales."""
    here = record(sale("a"), sale("b"), sale("c", till="1042 04"))
    assert compare(["a"], here).unlisted == ("b",)
    assert compare(["a", "c"], here).unlisted == ("b",)
    assert compare(["nowhere"], here).unlisted == ()


def test_an_empty_list_is_a_till_that_sold_nothing():
    """Nothing listed: nothing missing, and nothing to compare with."""
    found = compare([], record(sale("a")))
    assert (found.listed, found.missing, found.unlisted) == (0, (), ())


def test_only_delivered_sales_with_a_known_member_can_be_asked_about():
    """Not what waits, not what is another vendor's, and nothing whose key is erased or was none."""
    key = member_key()
    found = askable(
        [sale("a", key=key), sale("b"), sale("c", key=key, state="queued"), sale("d", key=key, handlings=())], VENDOR
    )
    assert [(one.transaction_id, one.key, one.delivered_at) for one in found] == [("a", key, NOW)]
    assert key.value not in repr(found)
    assert key.value not in repr(sale("a", key=key))


def test_what_the_books_show_is_judged():
    """Once is fine, more is twice, absent is missing once it has had the time, and nothing is guessed."""
    old, new = NOW - timedelta(hours=2), NOW - timedelta(minutes=10)
    asked = [Askable(name, member_key(), at) for name, at in
             {"there": old, "double": old, "lost": old, "fresh": new, "dark": old, "seen": new}.items()]  # fmt: skip
    found = answer(
        asked, {"there": 1, "double": 2, "seen": 1}, {"dark", "seen"}, settled_before=NOW - timedelta(minutes=75)
    )

    assert (found.asked, found.found) == (6, 2)
    assert (found.twice, found.missing, found.not_yet, found.unclear) == (("double",), ("lost",), ("fresh",), ("dark",))


def test_a_sale_delivered_at_the_very_limit_is_not_missing_yet():
    """The time that the vendor may take is granted whole."""
    limit = datetime(2026, 2, 14, tzinfo=UTC)
    found = answer([Askable("a", member_key(), limit)], {}, (), settled_before=limit)
    assert (found.not_yet, found.missing) == (("a",), ())
