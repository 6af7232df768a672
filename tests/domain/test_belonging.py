"""Whose a sale is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.domain.belonging import Redeemed, Trace, Wanted, belonging, redeemers

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
ALMA = Wanted(frozenset({"alma"}), {b"phone": None, b"number": None})


def trace(sale, *, ref=None, keyed=False, nobodys=False, original=None):
    return Trace(sale, f"s-{sale}", f"s-{original}" if original else None, ref, keyed, nobodys)


@pytest.mark.parametrize(
    ("traces", "others", "theirs"),
    [
        ([trace(1, ref="alma")], (), {1}),
        ([trace(1, keyed=True)], (), {1}),
        ([trace(1, ref="bo", keyed=True)], ("bo",), set()),
        ([trace(1, ref="bo", keyed=True)], (), {1}),
        ([trace(1, nobodys=True)], (), set()),
        ([trace(1, keyed=True), trace(2, nobodys=True, original=1)], (), {1, 2}),
        ([trace(1, nobodys=True), trace(2, keyed=True, original=1)], (), {1, 2}),
        ([trace(1, keyed=True), trace(2, nobodys=True, original=1), trace(3, nobodys=True, original=2)], (), {1, 2, 3}),
        ([trace(1, keyed=True), trace(2, nobodys=True, original=3)], (), {1}),
        ([trace(1, ref="bo", keyed=True), trace(2, ref="alma", original=1)], ("bo",), {2}),
        ([trace(1, ref="alma", original=1)], (), {1}),
    ],
    ids=[
        "known as the member",
        "by a key",
        "by a key, known as somebody else",
        "by a key, known as somebody who is gone",
        "a guest",
        "a return without a member",
        "claimed by a member afterwards",
        "a return of a return",
        "a return of another's",
        "their return of somebody else's sale",
        "about itself",
    ],
)
def test_whose_a_sale_is(traces, others, theirs):
    """A member's sale is theirs; a key's is everybody's whom it names; nobody's goes with what it is about."""
    assert belonging(traces, ALMA, others) == theirs


@pytest.mark.parametrize(
    ("limit", "counts"),
    [(None, True), (NOW + timedelta(seconds=1), True), (NOW, False), (NOW - timedelta(days=1), False)],
    ids=["theirs for good", "accepted before", "accepted at that moment", "accepted after"],
)
def test_a_key_counts_for_as_long_as_it_was_theirs(limit, counts):
    """A key that may be somebody else's by now names them in earlier sales alone."""
    wanted = Wanted(frozenset(), {b"phone": limit})
    assert wanted.by_key([b"other", b"phone"], NOW) is counts
    assert not wanted.by_key([b"other"], NOW)


def redeemed(number, own, *said, ref=""):
    return Redeemed(number, ref, frozenset(own), frozenset(said), NOW)


BY_PHONE = Wanted(frozenset(), {b"phone": None})
BY_CONTACT = Wanted(frozenset({"alma"}), {b"contact": None})
A_PHONE_OF_BEFORE = Wanted(frozenset(), {b"phone": NOW})


@pytest.mark.parametrize(
    ("wanted", "records", "others", "people"),
    [
        (BY_PHONE, [redeemed(1, [b"number"], b"phone")], (), [{1}]),
        (BY_PHONE, [redeemed(1, [b"number"])], (), []),
        (BY_PHONE, [redeemed(1, [b"number"], b"phone"), redeemed(2, [b"number"])], (), [{1, 2}]),
        (
            BY_PHONE,
            [redeemed(1, [b"contact"], b"phone"), redeemed(2, [b"number"]), redeemed(3, [b"number", b"contact"])],
            (),
            [{1, 2, 3}],
        ),
        (BY_PHONE, [redeemed(1, [b"1"], b"phone"), redeemed(2, [b"2"], b"phone")], (), [{1}, {2}]),
        (BY_PHONE, [redeemed(1, [b"1"], b"phone"), redeemed(2, [b"2"], b"other")], (), [{1}]),
        (BY_PHONE, [redeemed(1, [b"1"], b"phone", ref="bo")], ("bo",), []),
        (BY_PHONE, [redeemed(1, [b"1"], b"phone", ref="bo")], (), [{1}]),
        (A_PHONE_OF_BEFORE, [redeemed(1, [b"1"], b"phone")], (), []),
        (BY_CONTACT, [redeemed(1, [b"number", b"contact"]), redeemed(2, [b"number"])], (), [{1, 2}]),
        (ALMA, [redeemed(1, [b"number"]), redeemed(2, [b"2"], b"phone")], (), [{1}, {2}]),
        (replace(ALMA, known=True), [redeemed(1, [b"number"]), redeemed(2, [b"2"], b"phone")], (), [{1}]),
        (replace(ALMA, known=True), [redeemed(1, [b"2"], b"number", ref="alma")], (), [{1}]),
        (replace(ALMA, known=True), [redeemed(1, [b"2"], b"phone")], (), []),
    ],
    ids=[
        "named by it",
        "never named by it",
        "named by it once",
        "under two keys of theirs",
        "two who were named by it",
        "somebody else besides",
        "of another member who is there",
        "of a member who is gone",
        "a key that was theirs before",
        "by what the vendor calls them",
        "by a number, and another by the phone",
        "known, and another by the shared phone",
        "known by the handle",
        "known, and it is another's",
    ],
)
def test_whose_a_redemption_is(wanted, records, others, people):
    """By what is theirs alone; by what else named them where nothing more is known, and then by person."""
    found = redeemers(records, wanted, others)
    assert sorted(sorted(one.number for one in person) for person in found) == sorted(map(sorted, people))
