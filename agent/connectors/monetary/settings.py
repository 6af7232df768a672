"""The `[forward.monetary]` table."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from agent.connectors.addresses import base_url
from agent.errors import Fault
from agent.settings import Role, Secret, Settings, VendorSection

_VERSION = "/v1"


def _base_url(value: str) -> str:
    if not value:
        return value
    parts = base_url(value, example="https://engage.monetary.co/v1")
    if not parts.path.rstrip("/").lower().endswith(_VERSION):
        raise ValueError("does not end in /v1, the version of the API that is spoken")
    return value.rstrip("/")


class MonetarySettings(VendorSection):
    """Monetary Engage, a system that gets members' sales beside the one that owns the contacts. Experimental.

    One key is one location's. What Monetary is told of a person is the integration key that the sale is tagged with,
    unless ``unknown_customer`` has strangers registered there.
    """

    not_loyalty: ClassVar[str] = (
        "cannot own the contacts in this version: it has no list of its customers and no feed of their changes, so "
        "that no replica could be filled"
    )

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
        "park", description="park | register: whom Monetary does not know is left to a person, or made a customer"
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

    def contradictions(self, settings: Settings, role: Role) -> list[Fault]:  # noqa: ARG002 - against the agent alone
        """What this table says against itself and the agent's own."""
        faults = []
        if self.guest_sales and self.on_doubt == "resend":
            text = (
                "counts a guest's sale twice whenever an answer is lost: nobody's receipts tell, and guest_sales is on"
            )
            faults.append(Fault("on_doubt", text))
        return faults
