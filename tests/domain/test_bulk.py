"""Several new contacts in one call: how many fit, and what of the vendor's word about them is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.bulk import RowWord, believed, fitting

MADE, NOT_MADE = RowWord(made=True), RowWord(made=False)


@pytest.mark.parametrize(
    ("sizes", "max_rows", "max_bytes", "count"),
    [
        ([], 3, 100, 0),
        ([10, 10, 10], 3, 100, 3),
        ([10, 10, 10, 10], 3, 100, 3),
        ([10, 10, 10], 3, 22, 2),
        ([10, 10, 10], 3, 21, 1),
        ([500, 10], 3, 100, 1),
    ],
    ids=["none", "all", "too many", "to the byte", "a byte less", "a large one goes alone"],
)
def test_a_call_is_bounded(sizes, max_rows, max_bytes, count):
    """By rows and by bytes; what is too large by itself goes by itself."""
    assert fitting([b"x" * size for size in sizes], max_rows=max_rows, max_bytes=max_bytes) == count


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 10), st.integers(1, 200))
def test_as_many_as_fit(sizes, max_rows, max_bytes):
    """Never more than is allowed, never fewer than fit, and always one."""
    rows = [b"x" * size for size in sizes]
    count = fitting(rows, max_rows=max_rows, max_bytes=max_bytes)

    def fits(number):
        return number <= max_rows and sum(len(row) + 1 for row in rows[:number]) <= max_bytes

    assert fits(count) or count == 1
    assert count == len(rows) or not fits(count + 1)
    assert count >= min(1, len(rows))


def named(key):
    return RowWord(made=False, key=key)


@pytest.mark.parametrize(
    ("words", "keys", "made"),
    [
        ([MADE, NOT_MADE], {0: "a@example.com", 1: "b@example.com"}, [True, False]),
        ([MADE, named(" B@example.com ")], {0: "a@example.com", 1: "b@example.com"}, [True, False]),
        ([MADE, named("a@example.com")], {0: "a@example.com", 1: "b@example.com"}, [False, False]),
        ([MADE, named("b@example.com")], {0: "a@example.com", 1: None}, [False, False]),
        ([MADE, named("b@example.com")], {0: "a@example.com"}, [True, False]),
    ],
    ids=["by place", "by place and key", "another's place", "one that has no key", "erased meanwhile"],
)
def test_only_words_about_our_rows_are_believed(words, keys, made):
    """A vendor that counts its places otherwise than we do says nothing of anybody."""
    assert [word.made for word in believed(words, keys)] == made
