"""Who joined and what changed, as customers: as much as the table lets go, whole or not at all, however often."""

import json

import pytest
from structlog.testing import capture_logs

from agent.connectors.voucherify import activities_of, shares
from agent.connectors.voucherify.contacts import render_contact
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.simulator import Fault
from agent.domain.activity import ContactEvent
from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import NewContact
from tests.connectors.mparticle.sales import make_activity, make_key, make_outgoing

JOINED, CHANGED = ContactEvent.JOINED, ContactEvent.CHANGED
ADDRESS = {"street": "Storgatan 1", "zip_code": "111 22", "city": "Stockholm"}
YLVA = {
    "first_name": "Ylva", "last_name": "Torpmark", "email": "ylva@example.com", "mobile_phone": "+46701740605",
    "personal_number": "198112189876", **ADDRESS, "attributes": {"shoe_size": 38, "vf_referral_code": "R-1"},
    "consents": [{"id": "news", "value": True, "given_at": "2026-02-14T15:41:09+01:00", "place": "1042"}],
}  # fmt: skip
EVERYTHING = {
    "send_identities": ["email", "mobile_phone"],
    "send_attributes": ["name", "street", "zip_code", "city"],
    "customer_metadata": {"shoe_size": "number"},
}


def settings_of(**table):
    return VoucherifySettings.model_validate(table)


def told(kind, contact=None, *, key=None, **changes):
    activity = make_activity(type=kind, order_id=None, attributes={}, new_contact=contact or YLVA)
    return make_outgoing(activity, key=key, **changes)


def customer(kind, contact=None, **table):
    given = NewContact.model_validate(contact or YLVA)
    rendered = render_contact(settings_of(**table), kind, given, make_key())
    return None if rendered is None else json.loads(rendered.body)


def test_who_joined():
    """Everything that the table lets go, and nothing else: no personal number, no consent, no code of a programme."""
    assert customer(JOINED, **EVERYTHING) == {
        "source_id": "10000421", "name": "Ylva Torpmark", "email": "ylva@example.com", "phone": "+46701740605",
        "address": {"line_1": "Storgatan 1", "postal_code": "111 22", "city": "Stockholm"},
        "metadata": {"shoe_size": 38},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        ({"email": "new@example.com"}, {"email": "new@example.com"}),
        ({"first_name": "Ylvali"}, None),
        ({"first_name": "Ylvali", "last_name": "Torp"}, {"name": "Ylvali Torp"}),
        ({"city": "Uppsala"}, None),
        (
            ADDRESS,
            {"address": {"line_1": "Storgatan 1", "postal_code": "111 22", "city": "Stockholm"}},
        ),
        ({"attributes": {"shoe_size": 39}}, None),
    ],
    ids=["an address of mail", "half a name", "a name", "a part of an address", "an address", "an attribute"],
)
def test_what_changed(contact, expected):
    """A part that could take the rest with it stays here: half a name, a part of an address, one of many attributes."""
    found = customer(CHANGED, contact, **EVERYTHING)
    assert found == (None if expected is None else {"source_id": "10000421", **expected})
    shared = shares(settings_of(**EVERYTHING), CHANGED, NewContact.model_validate(contact))
    assert (shared is None) is (expected is None)


def test_a_part_is_whole_where_no_more_is_wanted():
    """Where the city alone may go, a new city is the whole address."""
    assert customer(CHANGED, {"city": "Uppsala"}, send_attributes=["city"])["address"] == {"city": "Uppsala"}


@pytest.mark.parametrize("kind", ContactEvent)
def test_nothing_by_default(kind):
    """Nobody who joins or changes is told of unless the table lets something of a person go."""
    assert shares(settings_of(), kind, NewContact.model_validate(YLVA)) is None
    assert activities_of(settings_of()) == frozenset()
    assert activities_of(settings_of(send_identities=["email"])) == frozenset(ContactEvent)


@pytest.mark.parametrize(
    ("table", "fields"),
    [
        ({"send_identities": ["email"]}, {"email"}),
        ({"send_attributes": ["name", "city"]}, {"first_name", "last_name", "city"}),
        ({"customer_metadata": {"shoe_size": "number"}}, {"attributes"}),
    ],
)
def test_no_more_is_recorded_than_goes(table, fields):
    """By the names of the contact's own fields."""
    assert shares(settings_of(**table), JOINED, NewContact.model_validate(YLVA)) == fields


async def test_sent_twice(simulator, connect):
    """One customer, who has what came last, and what a change leaves out stays as it is."""
    sim, running = simulator
    sender = connect(running.url, **EVERYTHING)
    joined, changed = told(JOINED), told(CHANGED, {"email": "new@example.com"})
    verdicts = [(await sender.send([one]))[0] for one in (joined, joined, changed, changed)]
    assert [(one.kind, one.code, one.reference) for one in verdicts] == [(VerdictKind.DONE, "", None)] * 4
    [known] = sim.customers.values()
    assert (known["source_id"], known["name"], known["email"]) == ("10000421", "Ylva Torpmark", "new@example.com")
    assert known["metadata"] == {"shoe_size": 38}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "drop", "after_processing": True}, VerdictKind.RETRY),
        ({"kind": "answer", "status": 503}, VerdictKind.RETRY),
        ({"kind": "answer", "status": 429, "headers": {"Retry-After": "7"}}, VerdictKind.RETRY),
        ({"kind": "answer", "status": 401}, VerdictKind.HOLD),
        ({"kind": "answer", "status": 400}, VerdictKind.PARK),
    ],
    ids=["a lost answer", "503", "429", "401", "400"],
)
async def test_trouble(simulator, connect, fault, kind):
    """As with a sale; nothing of it is ever in doubt, as sending it again does no harm."""
    sim, running = simulator
    sim.add(Fault(**fault))
    [verdict] = await connect(running.url, **EVERYTHING, earn_with="event").send([told(JOINED)])
    assert verdict.kind is kind
    assert "ylva" not in str(verdict).lower()


async def test_what_the_schema_has_no_place_for(simulator, connect):
    """It goes without, and is told by name, never by value."""
    _, running = simulator
    table = {**EVERYTHING, "customer_metadata": {"size": "number"}}
    with capture_logs() as logs:
        [verdict] = await connect(running.url, **table).send([told(JOINED)])
    assert (verdict.kind, verdict.code) == (VerdictKind.DONE, "contact.metadata_omitted")
    assert [(one["event"], one["detail"]) for one in logs] == [("contact.metadata_omitted", "shoe_size")]


async def test_whom_no_key_of_a_customer_names(simulator, connect):
    """A key that may be no source_id: nobody is made under another, such as the address that is new of them."""
    sim, running = simulator
    key = make_key(IdentifierType.CONTACT_ID, "5b8d7a90-21b4-4d0f-8a77-9f0f3f9f1c22")
    sender = connect(running.url, **EVERYTHING, identities=["email"])
    [verdict] = await sender.send([told(CHANGED, {"email": "new@example.com"}, key=key)])
    assert (verdict.kind, verdict.code, len(sim.customers)) == (VerdictKind.PARK, "activity.without_member", 0)
    [verdict] = await connect(running.url, **EVERYTHING, identities=["contact_id"]).send([told(JOINED, key=key)])
    assert (verdict.kind, list(sim.customers)) == (VerdictKind.DONE, [key.value])


async def test_what_may_go_no_more(simulator, connect):
    """The table was changed while it waited: nothing is sent, and the attempt says so."""
    sim, running = simulator
    [verdict] = await connect(running.url).send([told(JOINED)])
    assert (verdict.kind, verdict.code, len(sim.customers)) == (VerdictKind.DONE, "contact.not_wanted", 0)
