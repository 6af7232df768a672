"""The `[forward.mparticle]` table."""

import re
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field

from agent.connectors.addresses import base_url
from agent.errors import Fault
from agent.settings import Role, Secret, SecretOrNothing, Settings, VendorSection

PaymentType = Literal["Loyalty Redemption", "Hybrid Cash Card Redemption", "e-Gift Card Redemption", "POS Charge"]
Attribute = Literal["first_name", "last_name", "street", "zip_code", "city", "country_code", "language"]

_VERSION = "/v2"
_PURPOSE = re.compile(r"[^\s\x00-\x1f]{1,64}")
_OF_REDCAT = ("payment_type_order", "delete_event_name")


def _base_url(value: str) -> str:
    parts = base_url(value, example="https://s2s.eu1.mparticle.com/v2")
    if not parts.path.rstrip("/").endswith(_VERSION):
        raise ValueError("does not end in /v2, the version of the Events API that is spoken")
    return value.rstrip("/")


def _opendsr_url(value: str) -> str:
    parts = base_url(value, example="https://opendsr.mparticle.com/v3")
    if not parts.path.rstrip("/").endswith("/v3"):
        raise ValueError("does not end in /v3, the version of OpenDSR that is spoken")
    return value.rstrip("/")


def _each_once(value: tuple[PaymentType, ...]) -> tuple[PaymentType, ...]:
    known = get_args(PaymentType)
    if sorted(value) != sorted(known):
        raise ValueError(f"does not name each of these once: {', '.join(known)}")
    return value


def _purposes(value: dict[str, str]) -> dict[str, str]:
    if not all(_PURPOSE.fullmatch(name) for names in value.items() for name in names):
        raise ValueError("holds a name that is empty, too long or has blanks in it")
    return value


class MparticleSettings(VendorSection):
    """mParticle, a system that gets every sale beside the one that owns the contacts.

    The four names of payment types are the Redcat integration's. What a batch says of a person beyond the integration
    key is nothing unless ``send_identities``, ``send_attributes`` and ``consent_purposes`` ask for it.
    """

    not_loyalty: ClassVar[str] = (
        "owns no contacts: it has no list of members and no feed of their changes, so that no replica could be filled"
    )

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="the Events API of the pod that holds the organisation: us1, us2, eu1 or au1",
        examples=["https://s2s.eu1.mparticle.com/v2"],
    )
    api_key: Secret = Field("credential:mparticle-key", description="the key of a custom feed or platform input")
    api_secret: Secret = Field("credential:mparticle-secret", description="the secret that belongs to the key")
    environment: Literal["production", "development"] = Field("production", description="production | development")
    profile: Literal["redcat", "plain"] = Field(
        "redcat",
        description="redcat | plain: event names, triggers and payment types as the Redcat integration sends them",
    )
    exclude_plu_classes: tuple[Annotated[str, Field(min_length=1, max_length=250)], ...] = Field(
        ("System Sale Type Headers",), description="lines of these classes are left out; the totals stay"
    )
    payment_type_order: Annotated[tuple[PaymentType, ...], AfterValidator(_each_once)] = Field(
        ("Loyalty Redemption", "Hybrid Cash Card Redemption", "e-Gift Card Redemption", "POS Charge"),
        description="which one a split payment shows",
    )
    guest_pos_sales: bool = Field(
        False, description="Redcat sends guest sales from a POS only as coupon_redemption; true sends them all"
    )
    delete_event_name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_ ]{0,63}$")] = Field(
        "member_delete", description="the event of a member who is erased"
    )
    voucherify_bridge: bool = Field(False, description="vf_... attributes for a Voucherify output")
    send_identities: tuple[Literal["mobile_phone", "email"], ...] = Field(
        (),
        description='what else may name the customer beside the integration key, if given at the till: ["email"]',
    )
    send_attributes: tuple[Attribute, ...] = Field(
        (),
        description='fields of a new contact or a change that go along as user attributes: ["first_name", "city"]',
    )
    consent_purposes: Annotated[dict[str, str], AfterValidator(_purposes)] = Field(
        {},
        description='consents, new or changed, that go along: { id = "GDPR purpose, as it is set up at mParticle" }',
    )
    opendsr_url: Annotated[str, AfterValidator(_opendsr_url)] = Field(
        "https://opendsr.mparticle.com/v3", description="where erasure requests are filed"
    )
    opendsr_key: SecretOrNothing = Field(
        "",
        description="the workspace's key: whoever is erased here is asked to be erased there; without it nobody is",
    )
    opendsr_secret: SecretOrNothing = Field("", description="the secret that belongs to it")
    opendsr_regulation: Literal["gdpr", "ccpa"] = Field("gdpr", description="gdpr | ccpa: under which they are asked")
    requests_per_second: Annotated[float, Field(gt=0, le=50)] = Field(
        5, description="this agent's share of the organisation's allowance; burst at most one second's share"
    )

    def contradictions(self, settings: Settings, role: Role) -> list[Fault]:  # noqa: ARG002 - against itself alone
        """What this table says against itself."""
        found = []
        if bool(self.opendsr_key) != bool(self.opendsr_secret):
            missing = "opendsr_secret" if self.opendsr_key else "opendsr_key"
            found.append(Fault(missing, "is needed: a key and its secret belong together"))
        if self.profile == "redcat":
            return found
        changed = (name for name in _OF_REDCAT if getattr(self, name) != type(self).model_fields[name].default)
        return [*found, *(Fault(name, 'belongs to profile = "redcat", and profile is "plain"') for name in changed)]
