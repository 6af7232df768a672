"""Changes given at the till: what may be in one, and who wins where somebody else has changed the contact too."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.domain.enrolment import over
from agent.domain.revision import (
    NOTHING,
    ConsentThere,
    ContactThere,
    faults_of_change,
    reconciled,
    said_in,
    shown_over,
    withdrawn_in,
)
from agent.domain.transaction import NewContact
from tests.fakes import NOW, phone

BEFORE, LATER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)


def news(value, at=NOW):
    return {"id": "news", "value": value, "given_at": at.isoformat(), "place": "1042"}


def change(**fields):
    return NewContact.model_validate(fields)


def there(**has):
    return ContactThere("0f6c2c52", **has)


@pytest.mark.parametrize(
    ("earlier", "later", "stands"),
    [
        ((True, BEFORE), (False, NOW), (False, NOW)),
        ((False, BEFORE), (True, NOW), (True, NOW)),
        ((False, NOW), (True, BEFORE), (False, NOW)),
        ((True, NOW), (False, BEFORE), (True, NOW)),
        ((False, NOW), (True, NOW), (False, NOW)),
        ((True, NOW), (False, NOW), (False, NOW)),
    ],
    ids=[
        "withdrawn", "given anew", "a late repeat of what was given", "a late repeat of what was withdrawn",
        "withdrawn and given at once", "given and withdrawn at once",
    ],
)  # fmt: skip
def test_two_words_about_one_consent(earlier, later, stands):
    """The later counts, by the time that it was given; of two of one time the withdrawal, whichever comes first."""
    both = over(change(consents=[news(*later)]), change(consents=[news(*earlier)]))
    assert [(consent.value, consent.given_at) for consent in both.consents] == [stands]


def test_two_changes_become_one_field_by_field():
    """What the later does not speak of stays."""
    first = change(first_name="Alma", email="a@example.com", preferences={"accepts_email": True}, attributes={"a": 1})
    second = change(
        email="b@example.com", preferences={"accepts_email": False, "accepts_sms": True}, attributes={"b": 2}
    )
    assert over(second, first) == change(
        first_name="Alma",
        email="b@example.com",
        preferences={"accepts_email": False, "accepts_sms": True},
        attributes={"a": 1, "b": 2},
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "modified_at", "written", "kept"),
    [
        (True, None, None, True, False),
        (False, None, None, True, False),
        (True, (False, BEFORE), LATER, True, False),
        (True, (False, LATER), LATER, False, True),
        (True, (False, NOW), None, False, True),
        (True, (False, None), BEFORE, True, False),
        (True, (False, None), LATER, False, True),
        (True, (False, None), None, False, True),
        (False, (True, BEFORE), LATER, True, False),
        (False, (True, LATER), LATER, False, True),
        (False, (True, NOW), None, True, False),
        (False, (True, None), None, True, False),
        (False, (True, None), LATER, True, False),
        (True, (True, BEFORE), None, True, False),
        (True, (True, LATER), None, False, False),
    ],
    ids=[
        "never asked there", "withdrawn, never asked there", "given after it was withdrawn there",
        "withdrawn there since", "withdrawn there at once", "withdrawn there some time before",
        "withdrawn there, perhaps since", "withdrawn there, nobody knows when", "withdrawn after it was given there",
        "given there anew since", "withdrawn at once", "withdrawn, given there nobody knows when",
        "withdrawn, given there perhaps since",
        "given again, with another text", "given there since",
    ],
)  # fmt: skip
def test_a_consent_and_the_vendors_word(ours, theirs, modified_at, written, kept):
    """The later word counts, and the withdrawal where nobody can tell; that theirs stands against ours is said."""
    has = {"news": ConsentThere(*theirs)} if theirs is not None else {}
    result = reconciled(change(consents=[news(ours)]), there(consents=has, modified_at=modified_at), NOW)
    assert [consent.value for consent in result.contact.consents] == ([ours] if written else [])
    assert result.kept_there == (("consents/news",) if kept else ())


@pytest.mark.parametrize(
    ("ours", "theirs", "modified_at", "written"),
    [
        (True, None, LATER, True),
        (True, False, BEFORE, True),
        (True, False, None, True),
        (True, True, LATER, True),
        (True, False, LATER, False),
        (False, True, LATER, True),
        (False, False, LATER, True),
    ],
    ids=[
        "never asked there", "off before", "off, nobody knows since when", "on there too",
        "off, in a contact changed since", "withdrawn here", "withdrawn in both",
    ],
)  # fmt: skip
def test_a_way_of_contact_and_the_vendors_word(ours, theirs, modified_at, written):
    """What may have been withdrawn there since is not switched on, and that is said; a withdrawal always goes."""
    has = {"accepts_sms": theirs} if theirs is not None else {}
    result = reconciled(change(preferences={"accepts_sms": ours}), there(preferences=has, modified_at=modified_at), NOW)
    assert (result.contact == NOTHING) is not written
    assert result.kept_there == (() if written else ("preferences/accepts_sms",))
    if written:
        assert result.contact.preferences.accepts_sms is ours


@pytest.mark.parametrize(
    ("has", "modified_at", "overwritten"),
    [
        ({"first_name": "Bea", "email": "alma@example.com "}, LATER, ("first_name",)),
        ({"first_name": "Bea"}, NOW + timedelta(seconds=1), ()),
        ({"first_name": "Bea"}, NOW + timedelta(seconds=2), ("first_name",)),
        ({"first_name": "Bea"}, BEFORE, ()),
        ({"first_name": "Bea"}, None, ()),
        ({"first_name": "ALMA", "email": "Alma@Example.com"}, LATER, ()),
        ({}, LATER, ()),
    ],
    ids=[
        "changed there since",
        "within the second",
        "after it",
        "changed there before",
        "nobody knows when",
        "the same",
        "nothing there",
    ],
)
def test_a_field_and_the_vendors_word(has, modified_at, overwritten):
    """What the customer says is written; where the vendor's word may be as new, that it was written over is said."""
    ours = change(first_name="Alma", email="alma@example.com")
    result = reconciled(ours, there(values=has, modified_at=modified_at), NOW)
    assert (result.contact, result.overwritten, result.kept_there) == (ours, overwritten, ())


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"first_name": "Alma"}, []),
        ({"preferences": {"accepts_sms": False}}, []),
        ({}, [""]),
        ({"first_name": None, "consents": []}, [""]),
        ({"preferences": {}, "attributes": {"size": None}}, [""]),
        ({"contact_type": "Employee"}, ["/contact_type"]),
        ({"contact_type": "Employee", "first_name": "Alma"}, ["/contact_type"]),
    ],
    ids=["a name", "a no", "nothing", "nothing but null", "nothing but frames", "a type", "a type beside a name"],
)
def test_what_a_change_cannot_be(fields, pointers):
    """Nothing, and of another type: that is the loyalty system's."""
    assert [fault.pointer for fault in faults_of_change(change(**fields))] == pointers


def test_what_the_vendor_has_of_a_change():
    """What is written, and what was there already by an attempt that nobody heard of; nothing that it keeps."""
    given = change(first_name="Alma", consents=[news(value=True), {**news(value=True), "id": "terms"}])
    has = {"news": ConsentThere(value=True, given_at=NOW), "terms": ConsentThere(value=False, given_at=LATER)}
    result = reconciled(given, there(consents=has), NOW)
    assert result.contact == change(first_name="Alma")
    assert result.there == change(first_name="Alma", consents=[news(value=True)])
    assert result.kept_there == ("consents/terms",)


def test_what_says_nothing_is_not_sent():
    """A frame without a picture must not look like a change, nor overwrite what is there."""
    assert said_in(change(preferences={}, attributes={"a": None, "b": 0})) == change(attributes={"b": 0})


@pytest.mark.parametrize(
    ("given", "withdrawn"),
    [
        ({"first_name": "Alma", "preferences": {"accepts_sms": True}, "consents": [news(True)]}, {}),
        ({"preferences": {"accepts_sms": False, "accepts_email": True}}, {"preferences": {"accepts_sms": False}}),
        ({"email": "a@example.com", "consents": [news(False)]}, {"consents": [news(False)]}),
    ],
    ids=["nothing", "a preference", "a consent"],
)
def test_what_somebody_said_no_to(given, withdrawn):
    """That and nothing else of what they gave."""
    assert withdrawn_in(change(**given)) == change(**withdrawn)


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        ({}, {"first_name": "Alma", "accepts_sms": "false"}),
        (
            {"first_name": "Bea", "street": "Old 1", "email": "b@example.com"},
            {"first_name": "Alma", "accepts_sms": "false", "street": "New 2", "email": "b@example.com"},
        ),
        ({"street": None}, {"first_name": "Alma", "accepts_sms": "false", "street": None}),
    ],
    ids=["nothing known", "over what is known", "an address that is not shown"],
)
def test_what_a_till_is_shown(known, shown):
    """The change over what is known, as far as the configuration shows it; an address only over an address."""
    ours = change(
        first_name="Alma",
        last_name="Ek",
        street="New 2",
        mobile_phone=phone(5).value,
        preferences={"accepts_sms": False},
    )
    assert shown_over(known, ours, ("first_name", "street", "accepts_sms", "email")) == shown
