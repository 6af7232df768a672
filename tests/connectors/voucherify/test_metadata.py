"""Metadata typed as a schema has it: what parses, what is rejected, what is omitted."""

import json
from decimal import Decimal

import pytest
import simplejson
from hypothesis import given
from hypothesis import strategies as st

from agent.connectors.voucherify.metadata import TYPES, fit, parse


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("string", "500$", "500$"),
        ("string", 500, "500"),
        ("string", True, "true"),
        ("number", "500", 500),
        ("number", " 500 ", 500),
        ("number", "500.0", Decimal("500.0")),
        ("number", "-5", -5),
        ("number", "1e3", Decimal("1E+3")),
        ("number", 43, 43),
        ("number", "500A", None),
        ("number", "500$", None),
        ("number", "", None),
        ("number", "1,000", None),
        ("number", "0x10", None),
        ("number", "NaN", None),
        ("number", "Infinity", None),
        ("number", "\uff11\uff12", None),
        ("number", "9" * 400, None),
        ("number", "1e999", None),
        ("number", "5\n", None),
        ("number", True, None),
        ("boolean", "TRUE", True),
        ("boolean", "false", False),
        ("boolean", False, False),
        ("boolean", "1", None),
        ("boolean", "yes", None),
        ("boolean", "", None),
        ("date", "2026-02-14", "2026-02-14"),
        ("date", "2026-02-30", None),
        ("date", "05/01/2026", None),
        ("date", "20260214", None),
        ("datetime", "2026-02-14T16:41:09+01:00", "2026-02-14T15:41:09.000Z"),
        ("datetime", "2026-02-14T15:41:09Z", "2026-02-14T15:41:09.000Z"),
        ("datetime", "2026-02-14T15:41:09", None),
        ("datetime", "0001-01-01T00:00:00+14:00", None),
        ("datetime", "yesterday", None),
        ("image_url", "https://shop.example.com/a/b.JPG", "https://shop.example.com/a/b.JPG"),
        ("image_url", "ftp://shop.example.com/a.jpg", None),
        ("image_url", "https://shop.example.com/a.gif", None),
        ("string[]", "red", ["red"]),
        ("string[]", '["red", "blue"]', ["red", "blue"]),
        ("number[]", "[1, 2.5]", [1, Decimal("2.5")]),
        ("number[]", '["1", "x"]', None),
        ("number[]", "[", None),
        ("string[]", "[" * 100_000, ["[" * 100_000]),
        ("string[]", '[["red"]]', ['[["red"]]']),
        ("boolean[]", True, [True]),
    ],
)
def test_parsing(kind, value, expected):
    """Each type takes what it can mean and nothing else."""
    parsed = parse(value, kind)

    assert parsed == expected
    assert type(parsed) is type(expected)


@given(st.one_of(st.text(), st.integers(), st.booleans()), st.sampled_from(sorted(TYPES)))
def test_whatever_is_stated(value, kind):
    """Anything at all is parsed or not, and what is parsed is JSON that any reader takes."""
    parsed = parse(value, kind)

    written = simplejson.dumps({"value": parsed}, use_decimal=True)
    json.loads(written, parse_constant=lambda _name: pytest.fail("no number"))


def test_what_is_omitted():
    """What is not defined, and what is of another type, is left out and told by its name; what is unsaid is not."""
    stated = {"age": "43", "brands": "x", "vip": "maybe", "none": None}

    typed = fit(stated, {"age": "number", "vip": "boolean", "none": "string", "unsaid": "string"})

    assert dict(typed.values) == {"age": 43}
    assert typed.omitted == ("brands", "vip")


def test_a_name_that_is_no_name():
    """A name that could be somebody's number or address is not repeated."""
    typed = fit({"+46701740605": "x", "alma@example.com": "y"}, {})

    assert typed.omitted == ("another",)
    assert "alma" not in repr(typed)
