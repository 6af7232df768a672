"""The `[forward.antavo]` table."""

import pytest
from pydantic import ValidationError

from agent.connectors.antavo.settings import AntavoSettings
from agent.settings import Settings

BASE = {"base_url": "https://api.st2.antavo.com", "environment": "st2"}
AGENT = Settings.model_validate({"agent": {"store_id": "1042", "till_id": "03"}})


def test_defaults():
    """The vendor keeps its own time, nobody becomes a member, and every sale of a member goes."""
    table = AntavoSettings.model_validate(BASE)

    assert (table.auth_mode, table.backdate, table.guest_sales, table.opt_in_new_contacts) == (
        "escher", False, False, False,
    )  # fmt: skip
    assert (table.external_id_field, table.external_id_mode, table.phone_format) == ("", "none", "e164")
    assert (table.batch_size, table.requests_per_minute, table.points_per_unit) == (50, 60, 0)
    assert AntavoSettings.not_loyalty


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
        {"auth_mode": "api_key"},
        {"auth_mode": "oauth"},
        {"guest_sales": True},
        {"external_id_field": "crm."},
        {"batch_size": 51},
        {"requests_per_minute": 1},
        {"feed": "events"},
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
    ],
)
def test_contradictions(table, keys):
    """What the table says against itself is found at `config check`."""
    faults = AntavoSettings.model_validate({**BASE, **table}).contradictions(AGENT, "forward")
    assert [fault.pointer for fault in faults] == keys
