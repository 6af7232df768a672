"""The `[monetary]` and `[forward.monetary]` tables."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agent.connectors.addresses import base_url
from agent.domain.money import minor_unit
from agent.errors import Fault
from agent.settings import Duration, Role, Secret, Settings, VendorSection

_VERSION = "/v1"
_KNOWN_BY = ("mobile_phone", "email")
_CACHE_LEVEL = 3


def _currency(value: str) -> str:
    if value and minor_unit(value) is None:
        raise ValueError("is not an ISO 4217 code")
    return value


def _base_url(value: str) -> str:
    if not value:
        return value
    parts = base_url(value, example="https://engage.monetary.co/v1")
    if not parts.path.rstrip("/").lower().endswith(_VERSION):
        raise ValueError("does not end in /v1, the version of the API that is spoken")
    return value.rstrip("/")


class MonetarySettings(VendorSection):
    """Monetary Engage, which owns the contacts or gets members' sales beside the system that does. Experimental.

    One key is one location's. What Monetary is told of a person is the integration key that the sale is tagged with,
    unless ``unknown_customer`` has strangers registered there.
    """

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        "",
        description="the API (https://engage.monetary.co/v1); empty: test, certification or live, as the key begins",
    )
    secret_key: Secret = Field("credential:monetary-key", description="the location's secret key")
    on_doubt: Literal["hold", "resend", "drop"] = Field(
        "hold",
        description="hold | resend | drop: a sale that may have arrived, where the customer's receipts do not tell",
    )
    tax: Literal["included", "added"] = Field(
        "included", description="included: Taxes 0 and gross amounts | added: net amounts, and Taxes beside them"
    )
    phone_format: Literal["national"] = Field(
        "national", description="national: ten digits as dialled at home, the one form that is known"
    )
    unknown_customer: Literal["park", "register"] = Field(
        "park",
        description="park | register: whom Monetary does not know is left to a person, or made a customer; so is, with "
        "register, whoever joins at the till",
    )
    mark_receipts: bool = Field(
        False,
        description="true puts the sale's id on each receipt, as a line that costs nothing: what may have arrived is "
        "then told for certain",
    )
    guest_sales: bool = Field(
        False, description="true sends sales without a member too; whether Monetary takes them is not known"
    )
    requests_per_minute: Annotated[int, Field(ge=4, le=6_000)] = Field(
        120, description="this agent's share of what the service bears, which is not published"
    )

    refresh_after: Duration = Field(
        timedelta(hours=24),
        description="as the owner of the contacts: a member of whom nothing was heard for so long is asked for again",
        examples=["24h"],
    )
    currency: Annotated[str, AfterValidator(_currency)] = Field(
        "",
        description="as the owner of the contacts: of the account's amounts, such as USD; they have none, and without "
        "it what an offer takes off is not shown",
    )
    seed_file: str = Field(
        "",
        description="as the owner of the contacts: a CSV file of customers for the first fill, with Monetary's names "
        "of the fields in its first line; it can go once it was read",
    )

    def contradictions(self, settings: Settings, role: Role) -> list[Fault]:
        """What this table says against itself and the agent's own."""
        faults = self._as_the_owner(settings) if role == "loyalty" else self._as_a_further_system()
        if self.guest_sales and self.on_doubt == "resend":
            text = (
                "counts a guest's sale twice whenever an answer is lost: nobody's receipts tell, and guest_sales is on"
            )
            faults.append(Fault("on_doubt", text))
        return faults

    def cannot_own(self, settings: Settings) -> list[Fault]:
        """What Monetary cannot do as the owner of the contacts: list them, match later, make one here."""
        loyalty = settings.loyalty
        asked = {"tag": "needs a system that matches a sale later", "create": "needs a system that makes contacts here"}
        found = []
        if text := asked.get(loyalty.unknown_at_delivery or ""):
            found.append(Fault("loyalty.unknown_at_delivery", f'{text}; with monetary it is "park"'))
        if loyalty.fallback_level > _CACHE_LEVEL:
            text = "is more than monetary serves: its contacts are a cache of members seen here, which nobody writes to"
            found.append(Fault("loyalty.fallback_level", text))
        if loyalty.primary_key == "external_id":
            text = "is no field of Monetary's: member_number is its ExternalID, contact_id its CustomerID"
            found.append(Fault("loyalty.primary_key", text))
        if strange := [key for key in loyalty.secondary_keys if key not in _KNOWN_BY]:
            found.append(Fault("loyalty.secondary_keys", f"names what no customer of Monetary's has: {strange[0]}"))
        return found

    def _as_the_owner(self, settings: Settings) -> list[Fault]:
        found = []
        if self.unknown_customer == "register":
            text = (
                'is for a further system: who is unknown to the owner of the contacts is parked, so that it is "park"'
            )
            found.append(Fault("unknown_customer", text))
        if self.refresh_after > min(settings.replica.stale_after, settings.replica.expires_after):
            text = "is longer than replica.stale_after or replica.expires_after: what is stale would not be asked for"
            found.append(Fault("refresh_after", text))
        return found

    def _as_a_further_system(self) -> list[Fault]:
        text = "is for the owner of the contacts, which is another system"
        changed = (name for name in ("refresh_after", "currency", "seed_file") if getattr(self, name) != _default(name))
        return [Fault(name, text) for name in changed]


def _default(name: str) -> object:
    return MonetarySettings.model_fields[name].default
