"""Bytes to checked values: exact numbers, clean refusals."""

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api import bodies
from agent.api.problems import DoorError
from agent.api.schemas import IdentifyRequest
from agent.api.schemas_state import QueueQuery
from agent.domain.transaction import NewContact, Transaction
from agent.errors import InputError


def test_numbers_are_exact():
    """A number with twenty significant digits is read digit by digit, never through a binary float."""
    value = bodies.parse_json(b'{"a": 12345678901234.567891, "b": 0.1, "c": 2.5e2, "d": 7}')
    assert value == {"a": Decimal("12345678901234.567891"), "b": Decimal("0.1"), "c": Decimal("2.5E+2"), "d": 7}


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12))
def test_every_decimal_survives(number):
    """Whatever decimal is written as a JSON number is the decimal that is read."""
    assert Decimal(bodies.parse_json(f'{{"n": {number:f}}}'.encode())["n"]) == number


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut-short"),
        pytest.param(b'{"a": 1} x', id="more-behind"),
        pytest.param(b"{'a': 1}", id="single-quotes"),
        pytest.param(b'{"a": NaN}', id="nan"),
        pytest.param(b'{"a": -Infinity}', id="infinity"),
        pytest.param(b'{"a": "\xff"}', id="not-utf-8"),
        pytest.param('{"a": "å"}'.encode("utf-16"), id="utf-16"),
        pytest.param(b'{"a": "\\ud800"}', id="half-a-surrogate-pair"),
        pytest.param(b'{"a": 1, "a": 2}', id="a-key-twice"),
        pytest.param(b"[" * 100_000, id="nested-open"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="nested"),
        pytest.param(b'{"a":' * 20_000 + b"1" + b"}" * 20_000, id="nested-objects"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte-order-mark"),
        pytest.param(b'{"a": "\n"}', id="raw-line-break-in-a-string"),
    ],
)
def test_what_is_not_json_is_malformed(body):
    """What is not JSON draws request.malformed, without a word of what was in it."""
    with pytest.raises(DoorError) as refused:
        bodies.parse_json(body)
    assert refused.value.kind.code == "request.malformed"


def test_whole_surrogate_pairs_are_characters():
    """An escaped pair is one character and is kept."""
    assert bodies.parse_json(rb'{"a": "\ud83d\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize(
    "number",
    [
        *("1e-999999999", "1E999999999999999999999", "0." + "1" * 100, "1e-400000"),
        *("1" * 41, "-" + "1" * 41, "9" * 5_000, "12e39", "1e-40", "1." + "0" * 40),
    ],
)
def test_numbers_that_unfold_are_not_unfolded(number):
    """A short text for a gigabyte of digits is no number here, nor one of more than forty places: it fits no field."""
    assert math.isnan(bodies.parse_json(f'{{"a": {number}}}'.encode())["a"])


@pytest.mark.parametrize("number", ["1" * 40, "-" + "1" * 40, "1e39", "1e-39", "1." + "0" * 39, "-0", "0e39"])
def test_numbers_of_forty_places_are_read(number):
    """However they are spelled."""
    assert bodies.parse_json(f'{{"a": {number}}}'.encode())["a"] == Decimal(number)


@pytest.mark.parametrize("number", ["1" * 41, "9" * 5_000, "1e40", "1e400", "-1e40"])
def test_no_attribute_takes_such_a_number(number):
    """It is refused at its place."""
    with pytest.raises(InputError) as refused:
        bodies.parse(NewContact, f'{{"attributes": {{"size": {number}}}}}'.encode())
    assert [fault.pointer for fault in refused.value.faults] == ["/attributes/size"]


def pointers(model, value) -> dict[str, str]:
    with pytest.raises(InputError) as refused:
        bodies.parse(model, json.dumps(value).encode())
    return {fault.pointer: fault.message for fault in refused.value.faults}


@pytest.mark.parametrize("value", [[], "x", 3, None, True])
def test_a_body_is_an_object(value):
    """A body that is JSON but no object does not fit as a whole."""
    assert list(pointers(IdentifyRequest, value)) == [""]


def test_pointers_name_places(sale):
    """Each fault has the pointer of its place: what is missing, what is too many, and what does not fit."""
    body = sale(currency="kr", lines=[{"kind": "purchase", "sku": 7, "gross_paid": "x", "colour": "red"}], total=None)
    assert set(pointers(Transaction, body)) == {
        "/currency", "/lines/0/sku", "/lines/0/quantity", "/lines/0/gross_paid", "/lines/0/colour", "/total",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        pytest.param("favourite_colour", "favourite_colour", id="a-name"),
        pytest.param("alma@example.com", "*", id="an-address"),
        pytest.param("+46701740605", "*", id="a-phone"),
        pytest.param("tel0701740605", "*", id="a-phone-behind-a-word"),
        pytest.param("line_12", "line_12", id="a-short-number"),
        pytest.param("x" * 60, "*", id="too-long"),
        pytest.param("", "*", id="empty"),
        pytest.param("a/b~c", "*", id="pointer-characters"),
    ],
)
def test_unknown_keys_are_named_only_when_they_are_names(sale, key, shown):
    """An unknown key could be a personal value; it is shown only when it looks like a field's name."""
    assert pointers(Transaction, sale(**{key: "x"})) == {f"/{shown}": "is not a field of this call"}


@pytest.mark.parametrize(
    "attributes", [{"size": {"a": 1}}, {"size": 1.5}, {"alma@example.com": [1]}, {"two words": "x"}], ids=str
)
def test_members_of_a_union_are_no_places(sale, attributes):
    """A pointer names the value itself, not the types it could have had."""
    contact = {"mobile_phone": "+46701740605", "attributes": attributes}
    (pointer,) = pointers(Transaction, sale(new_contact=contact))
    assert pointer in ("/new_contact/attributes/size", "/new_contact/attributes/*")


def test_faults_are_bounded(sale):
    """A body with a thousand faults is told fifty."""
    lines = [{"kind": "purchase"} for _ in range(1000)]
    assert len(pointers(Transaction, sale(lines=lines))) == 50


def test_countless_faults_are_not_looked_at(sale):
    """A body of nothing but unknown keys is refused as a whole: listing them takes longer than a cashier waits."""
    unknown = {f"k{number}": 1 for number in range(bodies.MAX_LISTED + 1)}
    assert pointers(Transaction, sale(**unknown)) == {"": "does not fit in more than 10000 places"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_nothing_but_clean_refusals(value):
    """Whatever JSON comes, a sale is either parsed or refused with pointers."""
    with pytest.raises((InputError, DoorError)):
        bodies.parse(Transaction, json.dumps(value).encode())


def test_a_query_without_values_is_no_query():
    """The spelled-out form of the reference, every parameter blank, lists everything."""
    assert bodies.parse_query(QueueQuery, b"state=&vendor=&limit=&after=") == QueueQuery()
    assert bodies.parse_query(QueueQuery, b"limit=5&state=in_doubt") == QueueQuery(limit=5, state="in_doubt")


@pytest.mark.parametrize(
    ("sent", "pointer"),
    [
        (b"limit=0", "/query/limit"),
        (b"limit=five", "/query/limit"),
        (b"state=open", "/query/state"),
        (b"page=2", "/query/page"),
        (b"%2b46701740605=1", "/query/*"),
        (b"limit=1&limit=2", "/query"),
        (b"vendor=%ff", "/query"),
        (b"vendor=\xe5", "/query"),
        (b"&".join(b"a%d=1" % number for number in range(99)), "/query"),
    ],
)
def test_a_query_that_does_not_fit_is_pointed_at(sent, pointer):
    """Each fault has its place; what the caller wrote is not repeated."""
    with pytest.raises(InputError) as refused:
        bodies.parse_query(QueueQuery, sent)
    assert [fault.pointer for fault in refused.value.faults] == [pointer]
    assert "46701740605" not in str(refused.value.faults)
