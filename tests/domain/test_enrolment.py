"""Contacts made at the till: what of them cannot be right, and the numbers of this till's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.enrolment import faults_of, identifiers_of, next_of_series, own_key, respelled
from agent.domain.identifiers import Normaliser
from agent.domain.transaction import NewContact
from tests.fakes import NOW, email, phone

SE = Normaliser("SE")
TODAY = NOW.date()
TERMS = {"id": "memberTerms", "value": True, "given_at": "2026-02-14T16:40:00+01:00", "place": "1042"}
NEWS = TERMS | {"id": "news"}
SECONDS = int((NOW - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds())


def contact(**changes):
    return NewContact.model_validate({"first_name": "Alma", **changes})


def test_each_identifier_comes_in_its_one_form():
    """However a phone or an address is spelled, the contact that is kept has it in one form."""
    given_ = contact(mobile_phone="070-174 06 05", email=" Alma@Example.com")
    identifiers, faults = identifiers_of(given_, SE, today=TODAY)
    assert (identifiers, faults) == ((phone(5), email()), [])
    kept = respelled(given_, identifiers)
    assert (kept.mobile_phone, kept.email, kept.first_name) == (phone(5).value, "alma@example.com", "Alma")


def test_what_cannot_be_an_identifier_is_named():
    """Each with its place in the body and the rule; the one that is sound is found all the same."""
    identifiers, faults = identifiers_of(
        contact(mobile_phone="12", email="alma", personal_number="198803140000"), SE, today=TODAY, root="/new_contact"
    )
    assert identifiers == ()
    assert [fault.pointer for fault in faults] == [
        "/new_contact/mobile_phone",
        "/new_contact/email",
        "/new_contact/personal_number",
    ]
    assert "alma" not in str(faults)


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({}, []),
        ({"birth_date": TODAY.isoformat(), "consents": [TERMS]}, []),
        ({"birth_date": (TODAY + timedelta(days=1)).isoformat()}, ["/birth_date"]),
        (
            {"consents": [TERMS, TERMS | {"id": "news", "given_at": "2026-02-16T16:42:00+01:00"}]},
            ["/consents/1/given_at"],
        ),
        ({"consents": [TERMS, TERMS | {"value": False}]}, ["/consents/1/id"]),
    ],
    ids=["nothing", "today", "born tomorrow", "a consent of tomorrow", "the same consent twice"],
)
def test_what_cannot_be_right(changes, pointers):
    """Days and consents that have not come yet, and one consent answered twice; a clock may be some hours off."""
    assert [fault.pointer for fault in faults_of(contact(**changes), now=NOW, today=TODAY)] == pointers


@pytest.mark.parametrize(
    ("last", "now", "number"),
    [
        (0, NOW, SECONDS),
        (SECONDS, NOW, SECONDS + 1),
        (SECONDS + 700, NOW, SECONDS + 701),
        (41, NOW, SECONDS),
        (41, datetime(2003, 1, 1, tzinfo=UTC), 42),
        (0, datetime(2003, 1, 1, tzinfo=UTC), 1),
    ],
    ids=["first", "same second", "a rush", "put back from an old copy", "clock years back", "both"],
)
def test_the_next_number(last, now, number):
    """One more than the last, and past every number that a lost record may have held, for as long as the clock goes."""
    assert next_of_series(last, now) == number


@given(st.lists(st.integers(-400, 400), min_size=1, max_size=50))
def test_no_number_is_given_twice(moves):
    """However the clock jumps, numbers only grow."""
    now, last, numbers = NOW, 0, []
    for seconds in moves:
        now += timedelta(seconds=seconds)
        last = next_of_series(last, now)
        numbers.append(last)
    assert numbers == sorted(set(numbers))


def test_a_number_is_a_primary_key_of_its_own_type():
    """It is the series' prefix and the number, as an external id: no vendor gives those out."""
    key = own_key("1042-03-", 7)
    assert (key.kind, key.type.value, key.value) == ("primary", "external_id", "1042-03-7")
