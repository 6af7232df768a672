"""Activities as they are told: what fits, what is the same, and what is left of one."""

import pytest
from pydantic import ValidationError

from agent.domain.activity import (
    MAX_ATTRIBUTES,
    Activity,
    ActivityStatement,
    ContactEvent,
    activity_id_of,
    impersonal_body,
    is_own,
    record_of,
)
from agent.domain.transaction import IntegrationKey, NewContact, Transaction, body_of
from tests.fakes import activity_statement, phone, transaction

AT = "2026-02-14T16:41:09+01:00"
MANY = {f"a{number}": 1 for number in range(MAX_ATTRIBUTES + 1)}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"activity_id": "with a blank"}, "activity_id"),
        ({"activity_id": "activity/1"}, "activity_id"),
        ({"activity_id": "x" * 65}, "activity_id"),
        ({"type": "purchase"}, "type"),
        ({"type": "member_update"}, "type"),
        ({"occurred_at": "2026-02-14T16:41:09"}, "occurred_at"),
        ({"order_id": ""}, "order_id"),
        ({"attributes": {"a b": 1}}, "attributes"),
        ({"attributes": {"a": "x" * 1_001}}, "attributes"),
        ({"attributes": {"a": "a\nb"}}, "attributes"),
        ({"attributes": {"a": [1]}}, "attributes"),
        ({"attributes": MANY}, "attributes"),
        ({"store_id": "1042"}, "store_id"),
    ],
    ids=["blank", "slash", "long id", "a sale", "not the till's", "no offset", "empty order", "name", "long value",
         "two lines", "a list", "many", "unknown field"],
)  # fmt: skip
def test_what_does_not_fit(changes, place):
    """Shape is checked by parsing, and an error never repeats the value."""
    with pytest.raises(ValidationError) as failed:
        activity_statement(**changes)
    assert failed.value.errors()[0]["loc"][0] == place
    assert "canary-note" not in str(failed.value)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"occurred_at": "2026-02-14T15:41:09Z"}, True),
        ({"attributes": {"b": 1, "note": "canary-note"}}, False),
        ({"order_id": "4712"}, False),
        ({"type": "delivery_order_delivered"}, False),
        ({"occurred_at": "2026-02-14T16:41:10+01:00"}, False),
    ],
    ids=["again", "another offset", "another attribute", "another order", "another type", "another time"],
)
def test_when_two_statements_are_the_same(changes, same):
    """Spelling makes no difference, what is said does."""
    first = activity_statement().content(None, (phone(5),))
    assert (activity_statement(**changes).content(None, (phone(5),)) == first) is same


def test_the_order_of_attributes_makes_no_difference():
    """Two spellings of one object are one content."""
    one, other = activity_statement(attributes={"a": 1, "b": 2}), activity_statement(attributes={"b": 2, "a": 1})
    assert one.content(None, ()) == other.content(None, ())


def test_whom_it_names_makes_a_difference():
    """Another person is another content, and so is the same value in another place."""
    said = activity_statement()
    key = IntegrationKey(kind="secondary", type=phone(5).type, value=phone(5).value)
    contents = {said.content(None, (phone(5),)), said.content(None, (phone(6),)), said.content(key, ())}
    assert len(contents) == 3


def test_nobody_reads_a_person_off_its_repr():
    """Attributes and identifier stay out of what a log could show."""
    assert "canary-note" not in repr(activity_statement())
    assert phone(5).value not in repr(activity_statement())


def test_a_record_is_what_was_written():
    """An activity and a sale come back from their bodies as what they were."""
    activity = activity_statement().recorded("1042", "03")
    assert record_of(activity.body(), AT) == activity
    sale = transaction()
    assert isinstance(record_of(body_of(sale), AT), Transaction)
    assert activity_id_of(activity.name) == activity.activity_id
    assert activity_id_of(sale.transaction_id) is None


def test_what_is_left_of_it():
    """The purge takes the till's free words, and leaves what happened, when and in which order."""
    activity = activity_statement().recorded("1042", "03")
    left = record_of(impersonal_body(activity.body(), AT), AT)
    assert left == activity.model_copy(update={"attributes": {}})
    assert isinstance(left, Activity)
    assert "canary-note" not in impersonal_body(activity.body(), AT)


@pytest.mark.parametrize("kind", ContactEvent)
def test_what_became_of_a_contact(kind):
    """It is recorded under a name of its own, comes back as it was written, and loses who it is about."""
    told = activity_statement().recorded("1042", "03")
    contact = NewContact(first_name="Canaryalma", email="canary@example.com")
    told = told.model_copy(update={"type": kind, "attributes": {}, "new_contact": contact})
    assert record_of(told.body(), AT) == told
    assert (told.name, activity_id_of(told.name)) == (f"contact/{told.activity_id}", told.activity_id)
    assert not is_own(told.name)
    assert "anary" not in repr(told)
    assert "anary" not in impersonal_body(told.body(), AT)


def test_the_contract_s_types():
    """The four that a till can tell, and no other."""
    kinds = ActivityStatement.model_json_schema()["$defs"]["ActivityType"]["enum"]
    assert kinds == [
        "member_registration_verification",
        "delivery_order_picked_up",
        "delivery_order_approaching",
        "delivery_order_delivered",
    ]
