"""The `[voyado]` table."""

import os
import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from agent.connectors.addresses import base_url
from agent.errors import Fault
from agent.settings import Role, Secret, Settings, VendorSection


def _base_url(value: str) -> str:
    parts = base_url(value, example="https://acme.voyado.com")
    if re.search(r"/api(/v[0-9]+)?/*$", parts.path, re.IGNORECASE):
        raise ValueError("ends in /api: it is the tenant's address alone, the API and its version are added")
    return value.rstrip("/")


def _version(value: object) -> object:
    return int(value) if value in ("2", "3") else value  # the environment has nothing but text


def _feed(value: str) -> str:
    parts = urlsplit(value)
    if value in ("", "api") or (parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")):
        return value
    if parts.scheme == "sftp" and parts.hostname and parts.username and not parts.password and parts.path:
        return value
    raise ValueError('is not sftp://user@host/folder, file:///folder or "api"')


def _header_safe(value: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]{1,64}", value):
        raise ValueError("is not a short text of plain characters")
    return value


class VoyadoSettings(VendorSection):
    """Voyado Engage, the system that owns the contacts."""

    not_forward: ClassVar[str] = "takes sales of its own members only: it is a loyalty.vendor, not a further system"

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="the tenant's address", examples=["https://acme.voyado.com"]
    )
    api_version: Annotated[Literal[2, 3], BeforeValidator(_version)] = Field(3, description="2 | 3")
    api_key: Secret = Field("credential:voyado-api-key", description="one key per store, allow-listed at Voyado")
    source: Annotated[str, AfterValidator(_header_safe)] = Field("POS", description="what new contacts are marked with")
    contact_type: Annotated[str, AfterValidator(_header_safe)] = Field("Member", description="the type of members")
    requests_per_second: Annotated[float, Field(gt=0, le=50)] = Field(
        5, description="this agent's share of the key's allowance; burst at most one second's share"
    )
    custom_key: Literal["member_number", "external_id"] = Field(
        "member_number", description="what the tenant's customKey is: member_number | external_id"
    )
    member_key: Literal["", "email", "mobile_phone", "personal_number", "external_id"] = Field(
        "",
        description="the key of contact_type as the tenant has it configured: email | mobile_phone | personal_number | "
        "external_id; with it many newcomers, and many changes, go in one call (contacts/bulk), without it one by one",
    )
    updated_is_full_row: bool = Field(False, description="how to read <updated> rows")
    feed: Annotated[str, AfterValidator(_feed)] = Field(
        "",
        description="sftp://user@host/folder, or file:///path (the folder of the files, full and delta alike), "
        'or "api" (contacts/changes)',
        examples=["sftp://acme@ftp.voyado.com/integration/customerExport"],
    )
    feed_secret: Secret = Field("credential:voyado-sftp", description="the SFTP account's private key or password")
    feed_known_hosts: str = Field(
        "", description="the SFTP server's host key, as in known_hosts", examples=["/etc/loyalty-agent/known_hosts"]
    )

    def contradictions(self, settings: Settings, role: Role) -> list[Fault]:  # noqa: ARG002 - there is only one here
        """What this table says against the agent's own."""
        found = []
        if settings.loyalty.fallback_level >= 3 and not self.feed:  # noqa: PLR2004 - level 3 reads the replica
            found.append(Fault("feed", "is needed: loyalty.fallback_level is 3"))
        if self.feed.startswith("sftp:") and not self.feed_known_hosts:
            found.append(Fault("feed_known_hosts", "is needed: the SFTP server's host key is pinned"))
        return found

    def warnings(self, base: Path) -> list[Fault]:
        """What keeps the export from being read, though not a sale from going out."""
        if self.feed.startswith("sftp:") and not os.access(base / self.feed_known_hosts, os.R_OK):
            return [
                Fault("feed_known_hosts", "is no file that can be read: the SFTP server is not spoken to without it")
            ]
        return []

    def unused_secrets(self, role: Role) -> set[str]:  # noqa: ARG002 - there is only one here
        """References that this configuration does not need."""
        return set() if self.feed.startswith("sftp:") else {"feed_secret"}
