"""The `[voucherify]` and `[forward.voucherify]` tables."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agent.connectors.addresses import base_url
from agent.connectors.voucherify.metadata import EVENT_TYPES, FACTS, TYPES
from agent.domain.money import minor_unit
from agent.errors import Fault
from agent.settings import Duration, Role, Secret, Settings, VendorSection

Attribute = Literal["name", "street", "zip_code", "city", "country_code"]

_KNOWN_BY = ("mobile_phone", "email")
_REPLICA_LEVEL, _WRITE_LEVEL = 3, 4
_KEY = re.compile(r"[^\s\x00-\x1f\x7f]{1,64}")
_DEFAULT_METADATA = dict.fromkeys(("store_id", "till_id", "receipt_number", "channel", "currency"), "string")
_NOT_WITH_V2 = (
    "has points taken off a card of loyalty v1; v2 gives no name to such a change, so that one whose answer is lost "
    'could be made twice: "park" leaves a return to a person, "order_update" takes it off its order'
)


def _base_url(value: str) -> str:
    parts = base_url(value, example="https://api.voucherify.io")
    if parts.path.strip("/"):
        raise ValueError("has a path: it is the address alone, the version is added")
    return value.rstrip("/")


def _currency(value: str) -> str:
    if value and minor_unit(value) is None:
        raise ValueError("is not an ISO 4217 code")
    return value


def _typed(value: dict[str, str]) -> dict[str, str]:
    if not all(_KEY.fullmatch(name) for name in value):
        raise ValueError("holds a name that is empty, too long or has blanks in it")
    if unknown := sorted(set(value.values()) - TYPES):
        raise ValueError(f"names a type that is none: {unknown[0]}; there are {', '.join(sorted(TYPES))}")
    return value


def _facts(value: dict[str, str]) -> dict[str, str]:
    if unknown := sorted(value.keys() - FACTS):
        raise ValueError(f"names what no sale has: {unknown[0]}; there are {', '.join(sorted(FACTS))}")
    return _typed(value)


def _once(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise ValueError("names one twice")
    return value


class VoucherifySettings(VendorSection):
    """Voucherify, which owns the contacts or gets every sale beside the system that does.

    What is said of a person beyond the integration key is nothing unless ``identities``, ``send_identities``,
    ``send_attributes`` and ``customer_metadata`` ask for it.
    """

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        "https://api.voucherify.io",
        description="the API of the project's region: api, us1.api or as1.api, or an address of its own",
    )
    app_id: Secret = Field("credential:voucherify-id", description="the server-side application id")
    app_token: Secret = Field("credential:voucherify-token", description="the secret that belongs to the id")
    loyalty_api: Literal["v1", "v2"] = Field(
        "v1",
        description="v1 | v2: which loyalty programmes the project has; sales go the same way, and v2 alone says "
        "beforehand what one would earn",
    )
    campaign: str = Field(
        "",
        description="name or id of the loyalty campaign (v1) or programme (v2) whose points count; all if empty",
    )
    currency: Annotated[str, AfterValidator(_currency)] = Field(
        "",
        description="of the project's amounts, such as SEK; they have none, and without it what a voucher of an amount "
        "takes off is not shown",
    )
    earn_with: Literal["order", "event"] = Field(
        "order",
        description="order | event: event has no time and no key of its own; only for earning rules on an event",
    )
    event_name: Annotated[str, Field(pattern=r"^\S(.{0,298}\S)?$")] = Field(
        "pos_purchase", description="the custom event, as it is defined in the project"
    )
    on_return: Literal["park", "order_update", "adjust_points"] = Field(
        "park",
        description="park | order_update | adjust_points: a return is left to a person, taken off the order of its "
        "sale, or the points of that taken off the card that earned them (loyalty v1)",
    )
    on_doubt: Literal["hold", "resend", "drop"] = Field(
        "hold", description="hold | resend | drop: an event that was sent and not answered; an order is looked up"
    )
    card_is_loyalty_code: bool = Field(
        False,
        description="true credits, with an event, the card number given at the till: it is a card of the project's",
    )
    guest_sales: bool = Field(False, description="true sends sales without a member too, as orders without a customer")
    identities: Annotated[
        tuple[Literal["contact_id", "external_id", "card_number", "mobile_phone", "email"], ...], AfterValidator(_once)
    ] = Field(
        (),
        description="what becomes the customer's source_id, in this order, where a sale lacks the primary key: "
        '["card_number"]; a source_id stays for ever',
    )
    send_identities: tuple[Literal["mobile_phone", "email"], ...] = Field(
        (), description='what else is told of the customer, if given or changed at the till: ["email"]'
    )
    send_attributes: tuple[Attribute, ...] = Field(
        (), description='fields of a new contact or a change that go along: ["name", "city"]'
    )
    order_metadata: Annotated[dict[str, str], AfterValidator(_facts)] = Field(
        _DEFAULT_METADATA,
        description="facts of a sale that go along as metadata, each with the type that the project's schema has",
    )
    customer_metadata: Annotated[dict[str, str], AfterValidator(_typed)] = Field(
        {},
        description='attributes of a new contact that the project\'s schema defines: { shoe_size = "number" }',
    )
    sweep_every: Duration = Field(
        timedelta(hours=24),
        description="as the owner of the contacts: how often everybody is walked over, which alone shows who is gone",
        examples=["24h"],
    )
    requests_per_minute: Annotated[float, Field(gt=0, le=60_000)] = Field(
        60, description="this agent's share of the project's allowance; burst at most one second's share"
    )

    def contradictions(self, settings: Settings, role: Role) -> list[Fault]:
        """What this table says against itself, and against what the system is to this shop."""
        return [*self._as_a(role, settings), *self._against_itself()]

    def cannot_own(self, settings: Settings) -> list[Fault]:
        """What Voucherify cannot do as the owner of the contacts: match later, make a contact, look up a phone."""
        loyalty = settings.loyalty
        asked = {"tag": "needs a system that matches a sale later", "create": "needs a system that makes contacts here"}
        found = []
        if loyalty.fallback_level == _WRITE_LEVEL:
            found.append(
                Fault("loyalty.fallback_level", "is 3 at most with voucherify: it gets no contacts from a till")
            )
        if text := asked.get(loyalty.unknown_at_delivery or ""):
            found.append(Fault("loyalty.unknown_at_delivery", f'{text}; with voucherify it is "park"'))
        if loyalty.primary_key == "external_id":
            text = "is no field of Voucherify's: member_number is its source_id, contact_id its own id"
            found.append(Fault("loyalty.primary_key", text))
        if strange := [key for key in loyalty.secondary_keys if key not in _KNOWN_BY]:
            found.append(Fault("loyalty.secondary_keys", f"names what no customer of Voucherify's has: {strange[0]}"))
        if "mobile_phone" in loyalty.secondary_keys and loyalty.fallback_level < _REPLICA_LEVEL:
            text = "names mobile_phone, which Voucherify cannot be asked for: it needs loyalty.fallback_level = 3"
            found.append(Fault("loyalty.secondary_keys", text))
        return found

    def _as_a(self, role: Role, settings: Settings) -> list[Fault]:
        if role == "forward":
            changed = self.sweep_every != _default("sweep_every")
            text = "is for the owner of the contacts, which is another system"
            return [Fault("sweep_every", text)] if changed else []
        found = []
        if self.identities:
            found.append(Fault("identities", "would make customers, where Voucherify owns them: a sale has their key"))
        if self.sweep_every > settings.replica.expires_after:
            found.append(Fault("sweep_every", "is longer than replica.expires_after"))
        return found

    def _against_itself(self) -> list[Fault]:
        if self.earn_with == "event":
            rules = (
                (self.on_return != "park", "on_return", "needs an order to update"),
                (self.guest_sales, "guest_sales", "needs orders: an event has a customer"),
            )
            said = [Fault(key, f'{text}, and earn_with = "event" makes none') for found, key, text in rules if found]
            if strange := sorted(set(self.order_metadata.values()) - EVENT_TYPES):
                known = ", ".join(sorted(EVENT_TYPES))
                said.append(Fault("order_metadata", f"names a type that no event has: {strange[0]}; there are {known}"))
            return said
        changed = (
            name for name in ("event_name", "on_doubt", "card_is_loyalty_code") if getattr(self, name) != _default(name)
        )
        said = [Fault(name, 'belongs to earn_with = "event", and earn_with is "order"') for name in changed]
        by_hand = self.on_return == "adjust_points" and self.loyalty_api == "v2"
        return [*said, Fault("on_return", _NOT_WITH_V2)] if by_hand else said


def _default(name: str) -> object:
    return VoucherifySettings.model_fields[name].default
