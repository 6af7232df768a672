"""What an activity becomes: one event about one member."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from agent.connectors.mparticle import activities_of, shares
from agent.connectors.mparticle.activities import render_activity
from agent.connectors.mparticle.mapping import render_batch
from agent.connectors.mparticle.simulator import Fault
from agent.connectors.mparticle.simulator.checks import check_batch
from agent.domain.activity import MAX_ATTRIBUTES, ActivityType, ContactEvent, MemberEvent
from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType
from tests.connectors.mparticle.sales import NOW, make_activity, make_key, make_outgoing, make_sale, make_settings

SCHEMA = Path(__file__).parents[4] / "shared" / "vendors" / "specs" / "mparticle-eventsapi.schema.json"
PHONE = "+46701740605"


def rendered(outgoing=None, *, now=NOW, **table) -> dict[str, Any]:
    outgoing = outgoing or make_outgoing(make_activity())
    batch = render_activity(
        outgoing, outgoing.record, make_settings(**table), primary=IdentifierType.MEMBER_NUMBER, now=now
    )
    body: dict[str, Any] = json.loads(batch.body)
    assert batch.events == len(body["events"])
    check_batch(body)
    return body


def test_a_member_s_order_is_picked_up():
    """One batch, one custom event, everything as the field table says."""
    body = rendered()
    [event] = body["events"]

    assert body["user_identities"] == {"customer_id": "10000421"}
    assert event == {
        "event_type": "custom_event",
        "data": {
            "event_name": "delivery_order_picked_up",
            "custom_event_type": "transaction",
            "source_message_id": event["data"]["source_message_id"],
            "timestamp_unixtime_ms": 1771083669000,
            "custom_attributes": {
                "provider": "Cykelbud", "bags": "2", "contactless": "true", "activity_id": "order-4711-picked-up",
                "order_id": "4711", "store_id": "1042", "till_id": "03", "member": "true",
            },
        },
    }  # fmt: skip


@pytest.mark.parametrize("profile", ["redcat", "plain"])
@pytest.mark.parametrize(
    ("kind", "custom_event_type"),
    [
        (ActivityType.MEMBER_REGISTRATION_VERIFICATION, "user_preference"),
        (ActivityType.DELIVERY_ORDER_PICKED_UP, "transaction"),
        (ActivityType.DELIVERY_ORDER_APPROACHING, "transaction"),
        (ActivityType.DELIVERY_ORDER_DELIVERED, "transaction"),
    ],
)
def test_every_type_is_an_event_of_its_name(kind, custom_event_type, profile):
    """The names are Redcat's, in either profile: a till that tells of an activity means it to be sent."""
    [event] = rendered(make_outgoing(make_activity(type=kind)), profile=profile)["events"]
    assert (event["data"]["event_name"], event["data"]["custom_event_type"]) == (kind.value, custom_event_type)


def test_every_type_is_in_the_table():
    """A type that the contract gains has to be mapped."""
    assert {rendered(make_outgoing(make_activity(type=kind)))["events"][0]["data"]["event_name"]
            for kind in ActivityType} == {kind.value for kind in ActivityType}  # fmt: skip


def test_a_deleted_member():
    """The event has the configured name, and says of whom by the member's key alone."""
    gone = make_activity(activity_id="deleted-9f86", type=MemberEvent.DELETED, order_id=None, attributes={})
    body = rendered(make_outgoing(gone), delete_event_name="Member_delete request")
    [event] = body["events"]
    assert (event["data"]["event_name"], event["data"]["custom_event_type"]) == (
        "Member_delete request", "user_preference",
    )  # fmt: skip
    assert event["data"]["custom_attributes"] == {
        "activity_id": "deleted-9f86", "store_id": "1042", "till_id": "03", "member": "true",
    }  # fmt: skip
    assert body["user_identities"] == {"customer_id": "10000421"}


GIVEN = {
    "first_name": "Ylva", "email": "ylva@example.com", "mobile_phone": PHONE, "personal_number": "198112189876",
    "consents": [{"id": "news", "value": False, "given_at": NOW.isoformat(), "place": "1042"}],
}  # fmt: skip


@pytest.mark.parametrize("profile", ["redcat", "plain"])
@pytest.mark.parametrize("kind", ContactEvent)
def test_who_joined_and_what_changed(kind, profile):
    """Redcat's names, under the member's key alone where the configuration asks for no more."""
    told = make_activity(activity_id="joined-9f86", type=kind, order_id=None, attributes={}, new_contact=GIVEN)
    body = rendered(make_outgoing(told), profile=profile)
    [event] = body["events"]
    assert (event["data"]["event_name"], event["data"]["custom_event_type"]) == (kind.value, "user_preference")
    assert event["data"]["custom_attributes"] == {
        "activity_id": "joined-9f86", "store_id": "1042", "till_id": "03", "member": "true",
    }  # fmt: skip
    assert body.keys() == {"environment", "source_request_id", "user_identities", "events"}
    assert body["user_identities"] == {"customer_id": "10000421"}


def test_what_may_be_said_of_who_changed():
    """What the settings let go of a sale's new contact, of a change as well: a consent that was withdrawn, too."""
    told = make_activity(type=ContactEvent.CHANGED, order_id=None, attributes={}, new_contact=GIVEN)
    table = {"send_identities": ["email"], "send_attributes": ["first_name"], "consent_purposes": {"news": "marketing"}}
    body = rendered(make_outgoing(told), **table)
    assert body["user_identities"] == {"customer_id": "10000421", "email": "ylva@example.com"}
    assert body["user_attributes"] == {"$firstname": "Ylva"}
    assert body["consent_state"]["gdpr"]["marketing"]["consented"] is False
    assert PHONE not in json.dumps(body)
    shared = [
        shares(make_settings(**one), ContactEvent.CHANGED, told.new_contact)
        for one in (table, {}, {"voucherify_bridge": True})
    ]
    assert shared == [{"email", "first_name", "consents"}, frozenset(), {"attributes"}]


def test_nobody_joins_twice():
    """Two tills that tell of the same person's joining are recognised as one; of two changes each is told."""

    def request(kind, activity_id, key=None):
        told = make_activity(activity_id=activity_id, type=kind, order_id=None, attributes={})
        body = rendered(make_outgoing(told, key=key or make_key()))
        return body["source_request_id"], body["events"][0]["data"]["source_message_id"]

    joined, changed = ContactEvent.JOINED, ContactEvent.CHANGED
    assert request(joined, "joined-1") == request(joined, "joined-2")
    assert request(joined, "joined-1") != request(joined, "joined-1", make_key(value="10000422"))
    assert request(changed, "changed-1") != request(changed, "changed-2")
    assert len({*request(joined, "same"), *request(changed, "same")}) == 4


@pytest.mark.parametrize(
    ("table", "own"),
    [
        ({}, {MemberEvent.DELETED}),
        ({"profile": "plain"}, set()),
        ({"profile": "plain", "opendsr_key": "credential:k", "opendsr_secret": "credential:s"}, {MemberEvent.ERASURE}),
    ],
    ids=["redcat", "plain", "plain with OpenDSR"],
)
def test_what_it_wants(table, own):
    """What tills tell of, who joined, what changed: always; Redcat's own event by its profile; erasures if asked."""
    assert activities_of(make_settings(**table)) == {*ActivityType, *ContactEvent} | own


def test_ids_are_born_with_the_activity():
    """They stay, whatever changes between two attempts, and are none of a sale's, be its id the same."""
    same = "order-4711-picked-up"
    first, later = rendered(), rendered(make_outgoing(make_activity(), attempts=7, entry=99), now=NOW + timedelta(3))
    sale = make_outgoing(make_sale(transaction_id=same))
    of_sale = json.loads(render_batch(sale, make_settings(), primary=IdentifierType.MEMBER_NUMBER, now=NOW).body)

    assert first["source_request_id"] == later["source_request_id"] != of_sale["source_request_id"]
    ids = [body["events"][0]["data"]["source_message_id"] for body in (first, later, of_sale)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("key", "said", "table", "identities"),
    [
        pytest.param(make_key(), (), {}, {"customer_id": "10000421"}, id="a member"),
        pytest.param(make_key(IdentifierType.MOBILE_PHONE, PHONE), (), {}, {"mobile_number": PHONE}, id="a phone"),
        pytest.param(make_key(), (Identifier(IdentifierType.MOBILE_PHONE, PHONE),),
                     {"send_identities": ["mobile_phone"]}, {"customer_id": "10000421", "mobile_number": PHONE},
                     id="a phone beside the key, asked for"),
        pytest.param(make_key(), (Identifier(IdentifierType.MOBILE_PHONE, PHONE),), {}, {"customer_id": "10000421"},
                     id="a phone beside the key"),
    ],
)  # fmt: skip
def test_whom_it_names(key, said, table, identities):
    """The integration key, and nothing beside it that was not asked for."""
    body = rendered(make_outgoing(make_activity(), key=key, readings=said), **table)
    assert body["user_identities"] == identities
    assert "user_attributes" not in body


@pytest.mark.parametrize(
    "outgoing",
    [make_outgoing(make_activity(), guest=True),
     make_outgoing(make_activity(), key=make_key(IdentifierType.PERSONAL_NUMBER, "198803142387"))],
    ids=["nobody", "a personal number"],
)  # fmt: skip
def test_about_nobody_nothing_is_sent(outgoing):
    """An activity is a member's: without one who may be named there is no event."""
    assert rendered(outgoing)["events"] == []


def test_what_is_ours_wins():
    """A till's attribute of the same name does not hide which activity it was, nor where."""
    told = {"activity_id": "x", "store_id": "x", "member": "x", "order_id": "x", "colour": "red"}
    [event] = rendered(make_outgoing(make_activity(attributes=told)))["events"]
    attributes = event["data"]["custom_attributes"]
    assert (attributes["activity_id"], attributes["store_id"]) == ("order-4711-picked-up", "1042")
    assert (attributes["member"], attributes["order_id"], attributes["colour"]) == ("true", "4711", "red")


def test_what_comes_late_says_so():
    """As a sale does; and where the till's clock was wrong the right time stands beside it."""
    outgoing = make_outgoing(make_activity(), corrected_at=NOW)
    [event] = rendered(outgoing, now=NOW + timedelta(days=2))["events"]
    attributes = event["data"]["custom_attributes"]
    assert (attributes["late"], attributes["corrected_at"]) == ("true", "2026-02-14T16:00:00+00:00")


def test_the_bridge_to_voucherify():
    """A card that was given at the till goes along as the loyalty code, when it is asked for."""
    card = make_key(IdentifierType.CARD_NUMBER, "99001122")
    [event] = rendered(make_outgoing(make_activity(), key=card), voucherify_bridge=True)["events"]
    assert event["data"]["custom_attributes"]["vf_loyalty_code"] == "99001122"


@pytest.mark.skipif(not SCHEMA.exists(), reason="mParticle's published shape is not beside this checkout")
@pytest.mark.parametrize("kind", list(ActivityType))
def test_it_has_the_published_shape(kind):
    """The schema that mParticle publishes takes each, also one with as many attributes as a till may state."""
    many = {f"attribute-{number}": "x" * 1_000 for number in range(MAX_ATTRIBUTES)}
    schema = json.loads(SCHEMA.read_text())
    for attributes in ({}, many):
        outgoing = make_outgoing(make_activity(type=kind, attributes=attributes), corrected_at=NOW)
        jsonschema_rs.validator_for(schema).validate(rendered(outgoing, now=NOW + timedelta(days=2)))


async def test_among_sales(simulator, connect):
    """Together they go in one request; alone by the call that says what is wrong with it."""
    sim, running = simulator
    sender = connect(running.url)
    activity = make_outgoing(make_activity(), entry=2, person=b"q")

    verdicts = await sender.send([make_outgoing(), activity])
    [again] = await sender.send([activity])

    assert [verdict.kind for verdict in (*verdicts, again)] == [VerdictKind.DONE] * 3
    assert sim.held() == {"1042-03-20260214-000187": 1, "order-4711-picked-up": 1}
    assert sim.counts() == {"processed": 2, "duplicate": 1}


@pytest.mark.parametrize(
    ("changes", "kind", "code"),
    [
        ({"guest": True}, VerdictKind.PARK, "activity.without_member"),
        ({"maybe_received": True, "accepted_at": NOW - timedelta(days=31)}, VerdictKind.IN_DOUBT, "sale.window_closed"),
    ],
    ids=["about nobody", "it may have arrived, long ago"],
)
async def test_what_is_not_sent(simulator, connect, changes, kind, code):
    """It is left to a person."""
    sim, running = simulator
    [verdict] = await connect(running.url).send([make_outgoing(make_activity(), **changes)])
    assert (verdict.kind, verdict.code, sim.received) == (kind, code, [])


@pytest.mark.parametrize(
    ("days", "told"),
    [(0, ("", "events")), (3, ("activity.late", "events")), (40, ("activity.historical", "historical"))],
)
async def test_what_comes_late_is_reported(simulator, connect, clock, days, told):
    """Outputs may not get it, and the attempt says so."""
    sim, running = simulator
    clock.wall += timedelta(days=days)
    [verdict] = await connect(running.url).send([make_outgoing(make_activity())])
    assert verdict.kind is VerdictKind.DONE
    assert (verdict.code, sim.received[0].call) == told


async def test_a_poisoned_activity(simulator, connect):
    """It is parked alone, with the vendor's code."""
    sim, running = simulator
    sim.add(Fault(kind="poison", transaction_id="order-4711-picked-up"))
    [verdict] = await connect(running.url).send([make_outgoing(make_activity())])
    assert (verdict.kind, verdict.vendor_code) == (VerdictKind.PARK, "BAD_REQUEST")
