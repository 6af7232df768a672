"""The `[forward.mparticle]` table."""

import pytest
from pydantic import ValidationError

from agent.connectors.mparticle.settings import MparticleSettings
from agent.settings import Settings, secret_keys

BASE = {"base_url": "https://s2s.eu1.mparticle.com/v2"}
AGENT = Settings.model_validate({"agent": {"store_id": "1042", "till_id": "03"}})


def test_defaults():
    """Nothing of a person goes out unless it is asked for, and guests' sales from a POS do not."""
    table = MparticleSettings.model_validate(BASE)

    assert (table.environment, table.profile, table.guest_pos_sales) == ("production", "redcat", False)
    assert (table.send_identities, table.send_attributes, table.consent_purposes) == ((), (), {})
    assert table.payment_type_order[-1] == "POS Charge"
    assert (table.delete_event_name, table.voucherify_bridge) == ("member_delete", False)
    assert MparticleSettings.not_loyalty


@pytest.mark.parametrize(
    "written",
    [
        "https://s2s.mparticle.com/v2",
        "https://s2s.us2.mparticle.com/v2/",
        "https://inbound.mparticle.com/s2s/v2",
        "http://127.0.0.1:8791/v2",
    ],
)
def test_base_urls(written):
    """TLS anywhere, plain http on loopback; no slash at the end."""
    assert MparticleSettings(base_url=written).base_url == written.rstrip("/")


@pytest.mark.parametrize(
    "table",
    [
        pytest.param({}, id="no address"),
        pytest.param({"base_url": "https://s2s.eu1.mparticle.com"}, id="no version"),
        pytest.param({"base_url": "http://s2s.eu1.mparticle.com/v2"}, id="plain http"),
        pytest.param({"base_url": "https://key:secret@s2s.eu1.mparticle.com/v2"}, id="credentials in the address"),
        pytest.param({"base_url": "https://s2s.eu1.mparticle.com:0/v2"}, id="an impossible port"),
        pytest.param({"base_url": "https://s2s.eu1.mparticle.com:x/v2"}, id="no port at all"),
        pytest.param({**BASE, "api_key": "plain-text"}, id="a secret instead of a reference"),
        pytest.param({**BASE, "environment": "test"}, id="an environment that is none"),
        pytest.param({**BASE, "profile": "blackcat"}, id="a profile that is none"),
        pytest.param({**BASE, "payment_type_order": ["POS Charge"]}, id="types missing from the order"),
        pytest.param({**BASE, "payment_type_order": ["POS Charge"] * 4}, id="a type named four times"),
        pytest.param({**BASE, "send_identities": ["personal_number"]}, id="an identity that is never sent"),
        pytest.param({**BASE, "send_attributes": ["birth_date"]}, id="an attribute that is never sent"),
        pytest.param({**BASE, "consent_purposes": {"newsletter": ""}}, id="a purpose without a name"),
        pytest.param({**BASE, "requests_per_second": 0}, id="no requests at all"),
        pytest.param({**BASE, "unknown": 1}, id="a key that is not known"),
    ],
)
def test_what_is_refused(table):
    """A table that cannot mean anything is refused when it is read."""
    with pytest.raises(ValidationError):
        MparticleSettings.model_validate(table)


@pytest.mark.parametrize(
    ("table", "faults"),
    [
        ({}, []),
        ({"profile": "plain"}, []),
        ({"profile": "redcat", "delete_event_name": "gone"}, []),
        ({"profile": "plain", "delete_event_name": "member_delete"}, []),
        ({"profile": "plain", "delete_event_name": "gone"}, ["delete_event_name"]),
        (
            {
                "profile": "plain",
                "payment_type_order": [
                    "POS Charge", "Loyalty Redemption", "e-Gift Card Redemption", "Hybrid Cash Card Redemption",
                ],
            },
            ["payment_type_order"],
        ),
        ({"opendsr_key": "credential:k"}, ["opendsr_secret"]),
        ({"opendsr_secret": "credential:s"}, ["opendsr_key"]),
        ({"opendsr_key": "credential:k", "opendsr_secret": "credential:s", "profile": "plain"}, []),
    ],
    ids=["redcat", "plain", "redcat with its keys", "plain with a default",
         "plain with a name of redcat's", "plain with redcat's order", "a key alone", "a secret alone", "both"],
)  # fmt: skip
def test_contradictions(table, faults):
    """What only the Redcat profile heeds is not to be set beside another; a key and its secret belong together."""
    said = MparticleSettings.model_validate({**BASE, **table}).contradictions(AGENT, "forward")

    assert [fault.pointer for fault in said] == faults


@pytest.mark.parametrize("written", ["https://opendsr.mparticle.com", "http://opendsr.mparticle.com/v3", "nonsense"])
def test_where_erasure_is_asked_for(written):
    """TLS, and the version that is spoken."""
    with pytest.raises(ValidationError):
        MparticleSettings(**BASE, opendsr_url=written)


def test_the_workspace_s_credentials_are_secrets():
    """They are listed as such where they are set, so that a check reads them; left out they are nothing to read."""
    assert secret_keys(MparticleSettings(**BASE)).keys() == {"api_key", "api_secret"}
    both = MparticleSettings(**BASE, opendsr_key="credential:k", opendsr_secret="credential:s")
    assert secret_keys(both).keys() == {"api_key", "api_secret", "opendsr_key", "opendsr_secret"}
