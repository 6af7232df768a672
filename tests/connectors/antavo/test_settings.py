"""The `[antavo]` and `[forward.antavo]` tables."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from agent.connectors.antavo.settings import AntavoSettings
from agent.settings import Settings

BASE = {"base_url": "https://api.st2.antavo.com", "environment": "st2"}
READ = "https://read-api.st2.antavo.com"
TERMS = {"consents/terms": "terms", "consents/terms/given_at": "terms_at"}
AGENT = Settings.model_validate({"agent": {"store_id": "1042", "till_id": "03"}})


def test_defaults():
    """The vendor keeps its own time, nobody becomes a member, and every sale of a member goes."""
    table = AntavoSettings.model_validate(BASE)

    assert (table.auth_mode, table.backdate, table.guest_sales, table.opt_in_new_contacts) == (
        "escher", False, False, False,
    )  # fmt: skip
    assert (table.external_id_field, table.external_id_mode, table.phone_format) == ("", "none", "e164")
    assert (table.batch_size, table.requests_per_minute, table.points_per_unit) == (50, 60, 0)
    assert (table.feed, table.read_base_url, table.feed_overlap, table.sweep_every) == (
        "events", "", timedelta(minutes=5), timedelta(hours=24),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("https://api.st2.antavo.com/", "api.st2.antavo.com"),
        ("https://API.st2.antavo.com:443", "api.st2.antavo.com"),
        ("https://api.eu6.antavo.com:8443", "api.eu6.antavo.com:8443"),
        ("http://127.0.0.1:8792", "127.0.0.1:8792"),
        ("http://[::1]:8792", "[::1]:8792"),
    ],
)
def test_base_urls(written, host):
    """TLS anywhere, plain http on loopback; the host is what a signature covers."""
    assert AntavoSettings.model_validate({**BASE, "base_url": written}).host == host


@pytest.mark.parametrize(
    "table",
    [
        {"base_url": "http://api.st2.antavo.com"},
        {"base_url": "https://api.st2.antavo.com/v1"},
        {"base_url": "https://user@api.st2.antavo.com"},
        {"base_url": "https://api.st2.antavo.com:0"},
        {"environment": "st2/api"},
        {"auth_mode": "basic"},
        {"external_id_field": "crm."},
        {"batch_size": 51},
        {"requests_per_minute": 1},
        {"feed": "file:srv/antavo"},
        {"feed": "file://host/srv/antavo"},
        {"feed": "webhook"},
        {"events_folder": "events"},
        {"events_folder": "file:///srv/antavo"},
        {"read_base_url": "http://read-api.st2.antavo.com"},
        {"feed_overlap": "0s"},
        {"contact_fields": {"first_name": "name"}},
        {"contact_fields": {"personal_number": "ssn"}},
        {"contact_fields": {"preferences/accepts_fax": "fax"}},
        {"contact_fields": {"consents/": "terms"}},
        {"contact_fields": {"consents/terms/given_at": "terms_at"}},
        {"contact_fields": {"consents/terms": "terms"}},
        {"contact_fields": {"consents/terms": "terms", "consents/terms/place": "terms_place"}},
        {"contact_fields": {**TERMS, "consents/terms/said_by": "terms_by"}},
        {"contact_fields": {**TERMS, "consents/terms": "membership_id"}},
        {"contact_fields": {**TERMS, "consents/terms": "status"}},
        {"contact_fields": {**TERMS, "consents/terms": "a field"}},
        {"contact_fields": {**TERMS, "preferences/accepts_sms": "terms"}},
    ],
)
def test_what_cannot_be(table):
    """It is said when the configuration is read."""
    with pytest.raises(ValidationError):
        AntavoSettings.model_validate({**BASE, **table})


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ({}, []),
        ({"environment": "st1"}, ["environment"]),
        ({"base_url": "http://127.0.0.1:8792", "environment": "st1"}, []),
        ({"external_id_mode": "field_name"}, ["external_id_mode"]),
        ({"external_id_mode": "value", "external_id_field": "membership_id"}, ["external_id_mode"]),
        ({"external_id_mode": "field_name", "external_id_field": "crm_id"}, []),
        ({"feed": "read_api"}, ["feed"]),
        ({"contact_fields": {"street": "street"}}, ["contact_fields"]),
        ({"auth_mode": "api_key", "guest_sales": True}, []),
        ({"auth_mode": "oauth"}, []),
        ({"auth_mode": "oauth", "external_id_field": "crm_id", "external_id_mode": "field_name"}, []),
        ({"auth_mode": "oauth", "external_id_field": "crm_id"}, ["external_id_mode"]),
        ({"auth_mode": "oauth", "external_id_field": "membership_id"}, ["external_id_field"]),
        ({"auth_mode": "oauth", "guest_sales": True}, ["guest_sales"]),
        ({"auth_mode": "oauth", "opt_in_new_contacts": True}, []),
        (
            {
                "auth_mode": "oauth",
                "opt_in_new_contacts": True,
                "external_id_field": "crm_id",
                "external_id_mode": "field_name",
            },
            ["opt_in_new_contacts"],
        ),
        (
            {"read_base_url": READ, "feed_overlap": "1m", "sweep_every": "48h"},
            ["read_base_url", "feed_overlap", "sweep_every"],
        ),
    ],
)
def test_contradictions(table, keys):
    """What the table says against itself is found at `config check`."""
    faults = AntavoSettings.model_validate({**BASE, **table}).contradictions(AGENT, "forward")
    assert [fault.pointer for fault in faults] == keys


def test_where_what_a_till_says_goes():
    """Each preference, consent with its parts, attribute, and the address can have a field of the workspace's own."""
    fields = {
        "street": "street", "zip_code": "zip", "city": "city", "preferences/accepts_sms": "sms_ok",
        "consents/member:Terms": "terms", "consents/member:Terms/given_at": "terms_at",
        "consents/member:Terms/text_version": "terms_text", "attributes/shoe": "shoes",
    }  # fmt: skip
    assert AntavoSettings.model_validate({**BASE, "contact_fields": fields}).contact_fields == fields
    assert AntavoSettings.model_validate(BASE).contact_fields == {}


@pytest.mark.parametrize(
    ("mode", "warned", "unused"),
    [("escher", [], set()), ("api_key", ["auth_mode"], {"api_secret"}), ("oauth", [], set())],
)
def test_ways_in(mode, warned, unused):
    """The one that ends is warned of, and needs no secret."""
    table = AntavoSettings.model_validate({**BASE, "auth_mode": mode})
    assert [warning.pointer for warning in table.warnings(Path())] == warned
    assert table.unused_secrets("forward") == unused


FOLDER = {"events_folder": "/srv/antavo/events"}


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ({}, []),
        ({"backdate": True, "opt_in_new_contacts": True, "points_per_unit": 100, "batch_size": 10}, []),
        ({"base_url": BASE["base_url"]}, ["base_url"]),
        ({**BASE, "api_key": "file:key"}, ["base_url", "environment", "api_key"]),
        ({"auth_mode": "oauth"}, ["auth_mode"]),
        ({"external_id_field": "crm_id", "external_id_mode": "field_name"}, ["external_id_field", "external_id_mode"]),
        ({"guest_sales": True, "phone_format": "national"}, ["guest_sales"]),
        ({"feed": "read_api"}, ["feed"]),
    ],
)
def test_files_instead_of_calls(table, keys):
    """Whatever is for calls contradicts them; nothing else is needed."""
    faults = AntavoSettings.model_validate({**FOLDER, **table}).contradictions(AGENT, "forward")
    assert [fault.pointer for fault in faults] == keys


def test_what_files_lose():
    """It is warned of, and no secret has to be there."""
    table = AntavoSettings.model_validate(FOLDER)
    assert [warning.pointer for warning in table.warnings(Path())] == ["events_folder", "backdate"]
    assert table.unused_secrets("forward") == {"api_key", "api_secret"}
    dated = AntavoSettings.model_validate({**FOLDER, "backdate": True})
    assert [warning.pointer for warning in dated.warnings(Path())] == ["events_folder"]


def test_calls_need_an_address():
    """Without a folder both are needed, and said together."""
    faults = AntavoSettings.model_validate({}).contradictions(AGENT, "forward")
    assert [(fault.pointer, fault.message) for fault in faults] == [
        ("base_url", "is needed"), ("environment", "is needed"),
    ]  # fmt: skip


def agent(**loyalty):
    return Settings.model_validate({
        "agent": {"store_id": "1042", "till_id": "03"}, "loyalty": {"vendor": "antavo", **loyalty},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("table", "loyalty", "keys"),
    [
        ({}, {}, []),
        ({"read_base_url": ""}, {}, ["read_base_url"]),
        ({"read_base_url": ""}, {"fallback_level": 2}, []),
        ({"read_base_url": "", "feed": "file:///srv/antavo%20lists"}, {}, []),
        ({"feed": "file:///srv/antavo"}, {}, ["read_base_url"]),
        ({"read_base_url": "", "feed": "file:///srv/antavo", "sweep_every": "8d"}, {}, ["sweep_every"]),
        ({"read_base_url": "https://read-api.st1.antavo.com"}, {}, ["read_base_url"]),
        ({"environment": "st1"}, {}, ["environment", "read_base_url"]),
        ({"auth_mode": "oauth"}, {}, ["auth_mode"]),
        ({**FOLDER, "base_url": "", "environment": "", "read_base_url": READ}, {}, ["events_folder"]),
        ({"sweep_every": "15d", "opt_in_new_contacts": True}, {}, ["sweep_every", "opt_in_new_contacts"]),
        ({"external_id_field": "membership_id"}, {}, ["external_id_field"]),
        ({}, {"primary_key": "external_id"}, ["external_id_field"]),
        ({}, {"secondary_keys": ["external_id"]}, ["external_id_field"]),
        ({"external_id_field": "crm_id"}, {"primary_key": "external_id"}, []),
        ({"external_id_field": "crm_id", "contact_fields": {"attributes/crm": "crm_id"}}, {}, ["contact_fields"]),
        ({"read_base_url": ""}, {"fallback_level": 4}, ["read_base_url"]),
        ({"feed": "read_api", "feed_overlap": "1m", "sweep_every": "48h"}, {"primary_key": "contact_id"}, []),
    ],
)
def test_as_the_owner_of_the_contacts(table, loyalty, keys):
    """What it needs for that is said at `config check`, all at once."""
    settings = AntavoSettings.model_validate({**BASE, "read_base_url": READ, **table})
    faults = settings.contradictions(agent(**loyalty), "loyalty")
    assert [fault.pointer for fault in faults] == keys


@pytest.mark.parametrize(
    ("loyalty", "keys"),
    [
        ({}, []),
        ({"unknown_at_delivery": "park", "secondary_keys": ["card_number", "mobile_phone", "email"]}, []),
        ({"unknown_at_delivery": "tag"}, ["loyalty.unknown_at_delivery"]),
        ({"fallback_level": 4, "unknown_at_delivery": "create"}, []),
        ({"unknown_at_delivery": "create", "secondary_keys": ["personal_number"]}, ["loyalty.secondary_keys"]),
    ],
)
def test_what_it_cannot_do_as_the_owner(loyalty, keys):
    """It is said of the key that asks for it."""
    assert [fault.pointer for fault in AntavoSettings.model_validate(BASE).cannot_own(agent(**loyalty))] == keys
