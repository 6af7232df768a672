"""The table: what it takes, and what it says against itself."""

import pytest
from pydantic import ValidationError

from agent.connectors.monetary.settings import MonetarySettings
from agent.settings import AgentSection, LoyaltySection, Settings

SHOP = Settings(agent=AgentSection(store_id="1042", till_id="03"))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("", ""),
        ("https://engage.monetary.co/v1", "https://engage.monetary.co/v1"),
        ("https://engage-cert.monetary.co/V1/", "https://engage-cert.monetary.co/V1"),
        ("http://127.0.0.1:8794/v1", "http://127.0.0.1:8794/v1"),
    ],
    ids=["by the key", "production", "as the vendor writes it", "a simulator"],
)
def test_an_address(url, kept):
    """It ends in the version, which the vendor writes in either case; none is the key's to say."""
    assert MonetarySettings(base_url=url).base_url == kept


@pytest.mark.parametrize(
    "url",
    [
        "engage.monetary.co/v1", "ftp://engage.monetary.co/v1", "http://engage.monetary.co/v1",
        "https://engage.monetary.co", "https://user@engage.monetary.co/v1", "https://engage.monetary.co/v1?x=1",
        "https://engage.monetary.co:0/v1", "https://engage.monetary.co:99999/v1", "https://[::1/v1",
        "https://engage.monetary.co/swagger", "https://engage.monétary.co/v1",
    ],
)  # fmt: skip
def test_no_address(url):
    """What cannot be the API is refused when the configuration is read."""
    with pytest.raises(ValidationError):
        MonetarySettings(base_url=url)


@pytest.mark.parametrize(
    "table",
    [
        {"on_doubt": "ask"}, {"tax": "none"}, {"phone_format": "e164"}, {"unknown_customer": "tag"},
        {"requests_per_minute": 0}, {"secret_key": "sk_live_plain"}, {"refresh": "24h"},
    ],
    ids=lambda table: next(iter(table)),
)  # fmt: skip
def test_what_is_refused(table):
    """An unknown word, key or form, and a secret that is written out."""
    with pytest.raises(ValidationError):
        MonetarySettings.model_validate(table)


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ({}, []),
        ({"guest_sales": True}, []),
        ({"on_doubt": "resend"}, []),
        ({"guest_sales": True, "on_doubt": "resend"}, ["on_doubt"]),
    ],
    ids=["defaults", "guests", "resend", "guests twice"],
)
def test_contradictions(table, keys):
    """A guest's sale is on nobody's books, so that sending it again would always count it twice."""
    faults = MonetarySettings.model_validate(table).contradictions(SHOP, "forward")
    assert [fault.pointer for fault in faults] == keys


@pytest.mark.parametrize(
    ("role", "table", "keys"),
    [
        ("forward", {"refresh_after": "12h", "seed_file": "members.csv"}, ["refresh_after", "seed_file"]),
        ("loyalty", {"refresh_after": "12h", "seed_file": "members.csv"}, []),
        ("loyalty", {"refresh_after": "25h"}, ["refresh_after"]),
        ("loyalty", {"unknown_customer": "register"}, ["unknown_customer"]),
        ("loyalty", {"guest_sales": True, "on_doubt": "resend"}, ["on_doubt"]),
    ],
    ids=["a cache of another's", "a cache", "staler than stale", "registering", "guests twice"],
)
def test_roles(role, table, keys):
    """What belongs to the owner of the contacts, and what does not."""
    faults = MonetarySettings.model_validate(table).contradictions(SHOP, role)
    assert [fault.pointer for fault in faults] == keys


@pytest.mark.parametrize(
    ("loyalty", "keys"),
    [
        ({}, []),
        ({"primary_key": "contact_id", "unknown_at_delivery": "park", "secondary_keys": ["email"]}, []),
        ({"unknown_at_delivery": "tag"}, ["loyalty.unknown_at_delivery"]),
        ({"unknown_at_delivery": "create"}, ["loyalty.unknown_at_delivery"]),
        ({"primary_key": "external_id"}, ["loyalty.primary_key"]),
        ({"secondary_keys": ["mobile_phone", "card_number"]}, ["loyalty.secondary_keys"]),
    ],
    ids=["defaults", "ids", "tag", "create", "a key it does not have", "a card"],
)
def test_as_the_owner(loyalty, keys):
    """What Monetary cannot do is said of the key that asks for it."""
    shop = SHOP.model_copy(update={"loyalty": LoyaltySection.model_validate({"vendor": "monetary", **loyalty})})
    assert [fault.pointer for fault in MonetarySettings().cannot_own(shop)] == keys


def test_nobody_writes_to_a_cache():
    """The level that writes contacts is refused, whether or not this version has it."""
    shop = SHOP.model_copy(update={"loyalty": LoyaltySection.model_construct(vendor="monetary", fallback_level=4)})
    assert [fault.pointer for fault in MonetarySettings().cannot_own(shop)] == ["loyalty.fallback_level"]
