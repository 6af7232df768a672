"""The `[antavo]` and `[forward.antavo]` tables."""

import re
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from agent.connectors.addresses import base_url
from agent.connectors.antavo.signing import is_signable
from agent.domain.benefits import BenefitKind
from agent.errors import Fault
from agent.settings import Duration, Role, Secret, Settings, VendorSection

_ANTAVO_HOST = re.compile(r"(?:read-)?api\.([a-z0-9-]+)\.antavo\.com")
_KNOWN_BY = ("mobile_phone", "email", "card_number")
_REPLICA_LEVEL, _WRITE_LEVEL = 3, 4
_SCHEME_PORTS = {"http": 80, "https": 443}


def _base_url(value: str, *, example: str = "https://api.st2.antavo.com") -> str:
    parts = base_url(value, example=example)
    if parts.path not in ("", "/"):
        raise ValueError("has a path: it is the address alone")
    return f"{parts.scheme}://{_netloc(value)}"


def _read_base_url(value: str) -> str:
    return _base_url(value, example="https://read-api.st2.antavo.com") if value else ""


def _netloc(value: str) -> str:
    parts = urlsplit(value)
    own = parts.port == _SCHEME_PORTS[parts.scheme]
    return parts.netloc.lower().rpartition(":")[0] if own else parts.netloc.lower()


def _signed(value: str) -> str:
    if value != "escher":
        raise ValueError('is "escher" in this version: api_key ends on 2026-12-31, and oauth is not available yet')
    return value


def _members_only(value: bool) -> bool:  # noqa: FBT001 - pydantic calls it
    if value:
        raise ValueError("is false in this version: what the event of a guest has to hold is not known")
    return value


def _field(value: str) -> str:
    if not is_signable(value):
        raise ValueError('ends in a dot or holds "./", which a signed path cannot')
    return value


def _feed(value: str) -> str:
    if value.startswith("file:"):
        raise ValueError("cannot be a file in this version: what stands in an export is each workspace's own choice")
    if value not in ("events", "read_api"):
        raise ValueError("is events or read_api")
    return value


class AntavoSettings(VendorSection):
    """Antavo Loyalty Cloud, which owns the contacts or gets every member's sale beside the system that does.

    One key pair is the whole workspace's: whoever holds it can read and change every member.
    """

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="the API of the environment", examples=["https://api.st2.antavo.com"]
    )
    environment: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] = Field(
        description="the name that stands in that address; requests are signed for it", examples=["st2"]
    )
    api_key: Secret = Field("credential:antavo-key", description="the workspace's API key")
    api_secret: Secret = Field("credential:antavo-secret", description="the secret that belongs to the key")
    auth_mode: Annotated[str, AfterValidator(_signed)] = Field("escher", description="escher: each request is signed")
    read_base_url: Annotated[str, AfterValidator(_read_base_url)] = Field(
        "", description="as the owner of the contacts: the Read API, https://read-api.<environment>.antavo.com"
    )
    external_id_field: Annotated[str, Field(pattern=r"^([A-Za-z][A-Za-z0-9_.]{0,63})?$"), AfterValidator(_field)] = (
        Field(
            "",
            description='what the primary key is there: "" the customer id, membership_id, or an external id\'s field; '
            "of the owner of the contacts the external id's field alone",
        )
    )
    external_id_mode: Literal["none", "field_name", "value"] = Field(
        "none", description="none | field_name | value: how events carry an external id"
    )
    phone_format: Literal["e164", "national"] = Field(
        "e164", description="e164 | national: how members' numbers are written there; their search is exact"
    )
    opt_in_new_contacts: bool = Field(
        False, description="whoever gave their data at the till and is not known there becomes a member there"
    )
    points_per_unit: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        0,
        description="points that one unit of the currency costs, for payments in points; 0: they are other points",
    )
    backdate: bool = Field(
        False, description="send the sale's own time (effective_timestamp); else it counts when it arrives"
    )
    batch_size: Annotated[int, Field(ge=1, le=50)] = Field(50, description="sales in a call; it is made for 50")
    requests_per_minute: Annotated[int, Field(ge=3, le=20_000)] = Field(
        60, description="this agent's share of the 1,500 (shared stack) or 20,000 that all tills of the key have"
    )
    feed: Annotated[str, AfterValidator(_feed)] = Field(
        "events",
        description="as the owner of the contacts: events | read_api: where changes come from. events tells of them "
        "within the next sync; read_api only of new members, and the sweep of the rest",
    )
    feed_overlap: Duration = Field(
        timedelta(minutes=5), description="so much is read again from sync to sync, for what shows up late"
    )
    sweep_every: Duration = Field(
        timedelta(hours=24),
        description="as the owner of the contacts: how often everybody is walked over, which alone shows who is gone",
        examples=["24h"],
    )
    rewards: bool = Field(
        False,
        description="as the owner of the contacts: a till is shown what a member can have for points, and claims it; "
        "try it in a test workspace first",
    )
    spend_points: bool = Field(
        False,
        description="as the owner of the contacts: points that a till redeems for a sale are burned by its checkout; "
        "try it in a test workspace first",
    )
    store: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{0,64}$")] = Field(
        "", description="the workspace's id of this store, for rewards that some stores alone have"
    )
    guest_sales: Annotated[bool, AfterValidator(_members_only)] = Field(
        False, description="sales that name nobody are not sent"
    )

    @property
    def host(self) -> str:
        """What the `Host` header says."""
        return urlsplit(self.base_url).netloc

    @property
    def redeems(self) -> frozenset[BenefitKind]:
        """What tills may use up."""
        switched = {BenefitKind.OFFER: self.rewards, BenefitKind.POINTS: self.spend_points, BenefitKind.VOUCHER: True}
        return frozenset(kind for kind, on in switched.items() if on)

    @property
    def read_host(self) -> str:
        """The same at the Read API; empty without one."""
        return urlsplit(self.read_base_url).netloc

    def contradictions(self, settings: Settings, role: Role) -> list[Fault]:
        """What this table says against itself, and against what the system is to this shop."""
        return [*self._against_itself(), *(self._as_owner(settings) if role == "loyalty" else self._as_forward())]

    def cannot_own(self, settings: Settings) -> list[Fault]:
        """What Antavo cannot do here as the owner of the contacts: match later, or make a member."""
        loyalty = settings.loyalty
        asked = {"tag": "needs a system that matches a sale later", "create": "needs a system that makes contacts here"}
        found = []
        if loyalty.fallback_level == _WRITE_LEVEL:
            found.append(Fault("loyalty.fallback_level", "is 3 at most with antavo: it gets no contacts from a till"))
        if text := asked.get(loyalty.unknown_at_delivery or ""):
            found.append(Fault("loyalty.unknown_at_delivery", f'{text}; with antavo it is "park"'))
        if strange := [key for key in loyalty.secondary_keys if key not in (*_KNOWN_BY, "external_id")]:
            found.append(Fault("loyalty.secondary_keys", f"names what no member of Antavo's has: {strange[0]}"))
        return found

    def _against_itself(self) -> list[Fault]:
        faults = []
        for key, host in (("environment", self.host), ("read_base_url", self.read_host)):
            named = _ANTAVO_HOST.fullmatch(host)
            if named and named[1] != self.environment:
                text = f"is not the one of base_url, which is {named[1]}"
                faults.append(Fault(key, text if key == "environment" else "is not of the environment"))
        if self.external_id_mode != "none" and self.external_id_field in ("", "membership_id"):
            faults.append(Fault("external_id_mode", "needs the name of an external id in external_id_field"))
        return faults

    def _as_owner(self, settings: Settings) -> list[Fault]:
        loyalty = settings.loyalty
        needs_field = "external_id" in (loyalty.primary_key, *loyalty.secondary_keys)
        rules = (
            (not self.read_base_url and loyalty.fallback_level >= _REPLICA_LEVEL, "read_base_url",
             "is needed: nothing else lists the members for the local contacts, without which fallback_level is 2"),
            (self.sweep_every > settings.replica.expires_after, "sweep_every", "is longer than replica.expires_after"),
            (self.external_id_field == "membership_id", "external_id_field",
             "is for an external id: a membership_id is the member_number here"),
            (needs_field and not self.external_id_field, "external_id_field",
             "is needed, as loyalty.primary_key or secondary_keys has external_id"),
            (self.opt_in_new_contacts, "opt_in_new_contacts",
             "would make members of Antavo at a sale, which is not available where it owns the contacts"),
        )  # fmt: skip
        return [Fault(key, text) for contradicts, key, text in rules if contradicts]

    def _as_forward(self) -> list[Fault]:
        changed = (
            key
            for key in ("read_base_url", "feed", "feed_overlap", "sweep_every", "rewards", "spend_points", "store")
            if getattr(self, key) != AntavoSettings.model_fields[key].default
        )
        return [Fault(key, "is for the owner of the contacts, which is another system") for key in changed]
