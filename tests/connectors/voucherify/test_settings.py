"""The `[voucherify]` and `[forward.voucherify]` tables."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from agent.connectors.voucherify.settings import VoucherifySettings
from agent.settings import Settings

AGENT = Settings.model_validate({"agent": {"store_id": "1042", "till_id": "03"}})


def test_defaults():
    """Nothing of a person goes out unless it is asked for; returns are a person's, and guests stay here."""
    table = VoucherifySettings()

    assert (table.base_url, table.earn_with, table.on_return) == ("https://api.voucherify.io", "order", "park")
    assert (table.on_doubt, table.event_name, table.requests_per_minute) == ("hold", "pos_purchase", 60)
    assert (table.identities, table.send_identities, table.send_attributes) == ((), (), ())
    assert (table.customer_metadata, table.guest_sales, table.card_is_loyalty_code) == ({}, False, False)
    assert table.sweep_every == timedelta(hours=24)


@pytest.mark.parametrize(
    "written", ["https://api.voucherify.io", "https://us1.api.voucherify.io/", "http://127.0.0.1:8792"]
)
def test_base_urls(written):
    """TLS anywhere, plain http on loopback; no slash at the end."""
    assert VoucherifySettings(base_url=written).base_url == written.rstrip("/")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        pytest.param({"base_url": "http://api.voucherify.io"}, "plain http", id="plain http"),
        pytest.param({"base_url": "https://api.voucherify.io/v1"}, "has a path", id="the version in the address"),
        pytest.param({"base_url": "https://id:token@api.voucherify.io"}, "not a base URL", id="credentials in it"),
        pytest.param({"base_url": "https://api.voucherify.io:0"}, "not a base URL", id="an impossible port"),
        pytest.param({"base_url": "api.voucherify.io"}, "not a base URL", id="no scheme"),
        pytest.param({"app_id": "plain-text"}, "reference", id="a secret instead of a reference"),
        pytest.param({"earn_with": "both"}, "order", id="both at once"),
        pytest.param({"on_return": "points"}, "adjust_points", id="another return"),
        pytest.param({"on_doubt": "guess"}, "hold", id="a guess"),
        pytest.param({"event_name": " "}, "pattern", id="an event without a name"),
        pytest.param({"event_name": "e" * 301}, "pattern", id="a name that is too long"),
        pytest.param({"identities": ["personal_number"]}, "contact_id", id="an identity that is never sent"),
        pytest.param({"identities": ["email", "email"]}, "twice", id="an identity twice"),
        pytest.param({"send_attributes": ["birth_date"]}, "name", id="an attribute that is never sent"),
        pytest.param({"order_metadata": {"cashier_id": "string"}}, "what no sale has", id="a fact that is none"),
        pytest.param({"order_metadata": {"store_id": "geopoint"}}, "a type that is none", id="a type that is none"),
        pytest.param({"customer_metadata": {"a b": "string"}}, "blanks", id="a name with a blank"),
        pytest.param({"customer_metadata": {"a": "text"}}, "a type that is none", id="another type that is none"),
        pytest.param({"requests_per_minute": 0}, "greater than 0", id="no requests at all"),
        pytest.param({"unknown": 1}, "Extra inputs", id="a key that is not known"),
    ],
)
def test_what_is_refused(table, said):
    """A table that cannot mean anything is refused when it is read, with the reason."""
    with pytest.raises(ValidationError, match=said):
        VoucherifySettings.model_validate(table)


@pytest.mark.parametrize(
    ("table", "faults"),
    [
        ({}, []),
        ({"on_return": "order_update", "guest_sales": True}, []),
        ({"earn_with": "event", "on_doubt": "resend", "event_name": "sale"}, []),
        ({"earn_with": "event", "on_return": "order_update"}, ["on_return"]),
        ({"earn_with": "event", "on_return": "adjust_points"}, ["on_return"]),
        ({"on_return": "adjust_points"}, []),
        ({"on_return": "adjust_points", "loyalty_api": "v2"}, ["on_return"]),
        ({"earn_with": "event", "guest_sales": True}, ["guest_sales"]),
        ({"earn_with": "event", "order_metadata": {"coupon_codes": "string[]"}}, ["order_metadata"]),
        ({"earn_with": "event", "order_metadata": {"store_id": "image_url"}}, ["order_metadata"]),
        ({"earn_with": "event", "customer_metadata": {"photo": "image_url", "sizes": "number[]"}}, []),
        ({"order_metadata": {"coupon_codes": "string[]"}}, []),
        (
            {"on_doubt": "resend", "event_name": "sale", "card_is_loyalty_code": True},
            ["event_name", "on_doubt", "card_is_loyalty_code"],
        ),
    ],
    ids=[
        "orders",
        "orders with all",
        "events",
        "returns without orders",
        "points without orders",
        "points of v1",
        "points of v2",
        "guests without orders",
        "a list in an event",
        "a picture in an event",
        "both of a customer",
        "a list in an order",
        "an event's keys",
    ],
)
def test_contradictions(table, faults):
    """What only events or only orders heed is not to be set beside the other."""
    said = VoucherifySettings.model_validate(table).contradictions(AGENT, "forward")

    assert [fault.pointer for fault in said] == faults


def test_a_sweep_is_the_owner_s():
    """A further system reads no contacts."""
    [fault] = VoucherifySettings(sweep_every="1h").contradictions(AGENT, "forward")
    assert fault.pointer == "sweep_every"
    assert VoucherifySettings(sweep_every="1h").contradictions(AGENT, "loyalty") == []


@pytest.mark.parametrize(
    ("table", "faults"),
    [
        ({"identities": ["email"]}, ["identities"]),
        ({"sweep_every": "15d"}, ["sweep_every"]),
        ({"sweep_every": "14d"}, []),
    ],
    ids=["a key that would make customers", "a sweep later than the end", "a sweep at the end"],
)
def test_what_the_owner_s_table_cannot_say(table, faults):
    """Whoever is gone must be found before the replica expires, and nobody is made under another key."""
    said = VoucherifySettings.model_validate(table).contradictions(AGENT, "loyalty")
    assert [fault.pointer for fault in said] == faults


@pytest.mark.parametrize(
    ("loyalty", "keys"),
    [
        ({}, []),
        ({"primary_key": "contact_id", "unknown_at_delivery": "park"}, []),
        ({"secondary_keys": ["email"], "fallback_level": 2}, []),
        ({"unknown_at_delivery": "tag"}, ["loyalty.unknown_at_delivery"]),
        ({"fallback_level": 4}, ["loyalty.fallback_level"]),
        ({"unknown_at_delivery": "create"}, ["loyalty.unknown_at_delivery"]),
        ({"primary_key": "external_id"}, ["loyalty.primary_key"]),
        ({"secondary_keys": ["email", "card_number"]}, ["loyalty.secondary_keys"]),
        ({"fallback_level": 2}, ["loyalty.secondary_keys"]),
    ],
    ids=["defaults", "own id", "mail", "tag", "level 4", "create", "another key", "card", "phone without a replica"],
)
def test_what_voucherify_cannot_do_as_the_owner(loyalty, keys):
    """It is said of the key that asks for it."""
    settings = Settings.model_validate({"agent": {"store_id": "1042", "till_id": "03"}, "loyalty": loyalty})
    assert [fault.pointer for fault in VoucherifySettings().cannot_own(settings)] == keys
