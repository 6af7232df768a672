"""The `[forward.antavo]` table."""

import re
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from agent.connectors.addresses import base_url
from agent.connectors.antavo.signing import is_signable
from agent.errors import Fault
from agent.settings import Role, Secret, Settings, VendorSection

_ANTAVO_HOST = re.compile(r"api\.([a-z0-9-]+)\.antavo\.com")
_SCHEME_PORTS = {"http": 80, "https": 443}


def _base_url(value: str) -> str:
    parts = base_url(value, example="https://api.st2.antavo.com")
    if parts.path not in ("", "/"):
        raise ValueError("has a path: it is the address alone")
    return f"{parts.scheme}://{_netloc(value)}"


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


class AntavoSettings(VendorSection):
    """Antavo Loyalty Cloud, a system that gets every member's sale beside the one that owns the contacts.

    One key pair is the whole workspace's: whoever holds it can read and change every member.
    """

    not_loyalty: ClassVar[str] = "cannot own the contacts in this version, which reads no members of it into a replica"

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="the API of the environment", examples=["https://api.st2.antavo.com"]
    )
    environment: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] = Field(
        description="the name that stands in that address; requests are signed for it", examples=["st2"]
    )
    api_key: Secret = Field("credential:antavo-key", description="the workspace's API key")
    api_secret: Secret = Field("credential:antavo-secret", description="the secret that belongs to the key")
    auth_mode: Annotated[str, AfterValidator(_signed)] = Field("escher", description="escher: each request is signed")
    external_id_field: Annotated[str, Field(pattern=r"^([A-Za-z][A-Za-z0-9_.]{0,63})?$"), AfterValidator(_field)] = (
        Field(
            "",
            description='what the primary key is there: "" the customer id, membership_id, or an external id\'s field',
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
    guest_sales: Annotated[bool, AfterValidator(_members_only)] = Field(
        False, description="sales that name nobody are not sent"
    )

    @property
    def host(self) -> str:
        """What the `Host` header says."""
        return urlsplit(self.base_url).netloc

    def contradictions(self, settings: Settings, role: Role) -> list[Fault]:  # noqa: ARG002 - against itself alone
        """What this table says against itself."""
        faults = []
        named = _ANTAVO_HOST.fullmatch(self.host)
        if named and named[1] != self.environment:
            faults.append(Fault("environment", f"is not the one of base_url, which is {named[1]}"))
        if self.external_id_mode != "none" and self.external_id_field in ("", "membership_id"):
            faults.append(Fault("external_id_mode", "needs the name of an external id in external_id_field"))
        return faults
