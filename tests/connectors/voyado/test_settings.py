"""The `[voyado]` table."""

import pytest
from pydantic import ValidationError

from agent.connectors.voyado.settings import VoyadoSettings
from agent.settings import Settings

BASE = {"base_url": "https://acme.voyado.com"}


def faults(level: int, **table: str) -> list[str]:
    settings = Settings.model_validate(
        {"agent": {"store_id": "1042", "till_id": "03", "country": "SE"}, "loyalty": {"fallback_level": level}}
    )
    return [
        fault.pointer for fault in VoyadoSettings.model_validate({**BASE, **table}).contradictions(settings, "loyalty")
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("https://acme.voyado.com", "https://acme.voyado.com"),
        ("https://acme.staging.voyado.com/", "https://acme.staging.voyado.com"),
        ("https://gateway.example.com:8443/voyado/", "https://gateway.example.com:8443/voyado"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_base_urls(written, expected):
    """TLS anywhere, plain http on loopback; no slash at the end."""
    assert VoyadoSettings(base_url=written).base_url == expected


@pytest.mark.parametrize(
    "written",
    [
        "",
        "acme.voyado.com",
        "ftp://acme.voyado.com",
        "https://",
        "https://acme.voyado.com?key=1",
        "https://a#b",
        "https://user@acme.voyado.com",
        "https://:canary@acme.voyado.com",
        "http://acme.voyado.com",
        "http://127.0.0.1.example.com",
        "https://acme.voyado.com:99999",
        "https://acme.voyado.com:x",
        "https://acme.voyado.com:0",
        "https://[::1",
        "https://acme.voyado.com\n",
        "https://acme voyado.com",
        "https://acme.voyado.com/api",
        "https://acme.voyado.com/api/v3/",
        "https://gateway.example.com/voyado/API/v2",
        "https://acme.voyado.com/\u00e5",
    ],
    ids=ascii,
)
def test_what_is_no_base_url(written):
    """Credentials, queries and impossible ports are refused, and not repeated; so is the API that is added anyway."""
    with pytest.raises(ValidationError) as caught:
        VoyadoSettings(base_url=written)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "feed",
    ["", "api", "file:///srv/voyado", "sftp://acme@ftp.voyado.com/integration/customerExport", "sftp://a@h:2222/x"],
)
def test_feeds(feed):
    """No feed, the API, a folder, or a folder on an SFTP server."""
    assert VoyadoSettings.model_validate({**BASE, "feed": feed}).feed == feed


@pytest.mark.parametrize(
    "feed",
    [
        "API",
        "file://srv/voyado",
        "file:relative",
        "/srv/voyado",
        "sftp://ftp.voyado.com/x",
        "sftp://a:pw@h/x",
        "sftp://a@h",
        "https://a@h/x",
    ],
)
def test_what_is_no_feed(feed):
    """A password never stands in the address, and an SFTP folder needs its account."""
    with pytest.raises(ValidationError):
        VoyadoSettings.model_validate({**BASE, "feed": feed})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api_version", 1),
        ("requests_per_second", 0),
        ("requests_per_second", 51),
        ("source", "a\r\nb"),
        ("source", "\u00e5"),
        ("contact_type", ""),
        ("custom_key", "email"),
        ("colour", "red"),
        ("api_key", "plain-text-key"),
    ],
)
def test_what_is_refused(key, value):
    """Unknown keys, header injections and rates above Voyado's advice are faults."""
    with pytest.raises(ValidationError):
        VoyadoSettings.model_validate({**BASE, key: value})


@pytest.mark.parametrize(
    ("level", "table", "expected"),
    [
        pytest.param(2, {}, [], id="level 2 needs no feed"),
        pytest.param(3, {}, ["feed"], id="level 3 needs one"),
        pytest.param(3, {"feed": "api"}, [], id="level 3 with the API"),
        pytest.param(3, {"feed": "sftp://a@h/x"}, ["feed_known_hosts"], id="SFTP without a host key"),
        pytest.param(3, {"feed": "sftp://a@h/x", "feed_known_hosts": "/k"}, [], id="SFTP with one"),
    ],
)
def test_contradictions(level, table, expected):
    """What the table says against the agent's own is found."""
    assert faults(level, **table) == expected


def test_secrets_that_are_not_needed():
    """The SFTP secret is asked for only where there is SFTP."""
    assert VoyadoSettings.model_validate(BASE | {"feed": "api"}).unused_secrets("loyalty") == {"feed_secret"}
    assert VoyadoSettings.model_validate(BASE | {"feed": "sftp://a@h/x"}).unused_secrets("loyalty") == set()


def test_a_host_key_that_is_not_there(tmp_path):
    """It is warned of, and is no fault: sales go out all the same. Of another feed none is needed."""
    sftp = {**BASE, "feed": "sftp://acme@ftp.example.com/export", "feed_known_hosts": "known_hosts"}
    table = VoyadoSettings.model_validate(sftp)
    assert [warning.pointer for warning in table.warnings(tmp_path)] == ["feed_known_hosts"]
    (tmp_path / "known_hosts").write_text("ftp.example.com ssh-ed25519 AAAA\n")
    assert table.warnings(tmp_path) == []
    assert VoyadoSettings.model_validate({**BASE, "feed": "api"}).warnings(tmp_path) == []
