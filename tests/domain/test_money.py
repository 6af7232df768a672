"""Amounts: exact, however they are written."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain import money


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param('"250.00"', "250", id="string"),
        pytest.param("250.0", "250", id="number"),
        pytest.param("250", "250", id="integer"),
        pytest.param("2.5e2", "250", id="number with an exponent"),
        pytest.param('"+0.10"', "0.1", id="plus sign"),
        pytest.param("-0.00", "0", id="negative zero"),
        pytest.param('"-0"', "0", id="negative zero as a string"),
        pytest.param("0.1", "0.1", id="no binary fraction"),
        pytest.param("999999999999999.999999", "999999999999999.999999", id="as long as they come"),
        pytest.param("123456789012345.67", "123456789012345.67", id="more digits than a float holds"),
        pytest.param('"007.50"', "7.5", id="leading zeros"),
    ],
)
def test_amounts_are_exact(written, expected):
    """A JSON string or number is read as the decimal that stands there, in its shortest form."""
    amount = money.parse_amount(json.loads(written, parse_float=Decimal))

    assert str(amount) == expected


@pytest.mark.parametrize(
    "value",
    ["", " 1", "1 ", "1,5", "1.", ".5", "1e5", "1_000", "0x10", "NaN", "Infinity", "--1", "1.0000001", "1" * 16,
     "\u0661", "12\n", None, True, False, 1.5, float("nan"), [], {}, b"1", 10**15, -(10**15), 10**6000,
     Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1E+15"), Decimal("0.0000001")],
    ids=lambda value: ascii(value)[:20] if not isinstance(value, int) else str(value.bit_length()),
)  # fmt: skip
def test_what_is_no_amount(value):
    """Everything else is refused, binary floats among it."""
    with pytest.raises(ValueError, match="plain decimal"):
        money.parse_amount(value)


@pytest.mark.parametrize("text", ["1e-99999999", "1e99999999", "0e-99999999"])
def test_an_exponent_is_never_written_out(text):
    """Eleven bytes of JSON do not become a hundred million digits in memory."""
    with pytest.raises(ValueError, match="plain decimal"):
        money.parse_amount(json.loads(text, parse_float=Decimal))


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15) + 1, max_value=10**15 - 1, places=6))
def test_reading_loses_nothing(amount):
    """What is read equals what was written, as a string and as a number, and reading it again changes nothing."""
    read = money.parse_amount(str(amount) if amount else "0")

    assert read == amount
    assert read == money.parse_amount(amount) == money.parse_amount(str(read))
    assert "E" not in str(read)


@pytest.mark.parametrize(
    ("currency", "expected"),
    [("SEK", "0.01"), ("EUR", "0.01"), ("NOK", "0.01"), ("DKK", "0.01"), ("JPY", "1"), ("ISK", "1"), ("KWD", "0.001")],
)
def test_minor_units(currency, expected):
    """A currency has the decimals that ISO 4217 gives it."""
    assert str(money.minor_unit(currency)) == expected


@pytest.mark.parametrize("currency", ["XXX", "sek", "SKR", "", "EURO", "HRK"])
def test_what_is_no_currency(currency):
    """A code that is not active in ISO 4217 is none."""
    assert money.minor_unit(currency) is None


@pytest.mark.parametrize(("text", "expected"), [("250.00", 0), ("0.5", 1), ("0.125", 3), ("1000", 0), ("-0.01", 2)])
def test_decimals(text, expected):
    """Trailing zeros are no decimals."""
    assert money.decimals(money.parse_amount(text)) == expected
