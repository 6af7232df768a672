"""The agent's own tables, frozen: each refuses what it does not know, and each field is described.

`config.example.toml` is generated from here. A vendor's table is described in its own room.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from agent.domain.benefits import BenefitKind, GeneralOffer, Worth
from agent.domain.earning import EarningRule, Rounding
from agent.domain.identifiers import IdentifierType
from agent.domain.money import minor_unit, parse_amount
from agent.domain.offline import Allowance, OfflinePolicy
from agent.errors import Fault
from agent.settings.spellings import (
    Country,
    Currency,
    Duration,
    FormerSecret,
    Line,
    Listen,
    Name,
    OptionalSecret,
    Origin,
    Proxy,
    Rate,
    Ration,
    Secret,
    Size,
    SocketUser,
    Zone,
)

FORWARD = "forward"
Role = Literal["loyalty", "forward"]
"""What a system is to this shop: the one that owns the contacts, or a further one that gets sales."""


class Section(BaseModel):
    """A frozen table that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)

    @field_validator("*", mode="before")
    @classmethod
    def _tell_apart(cls, value: object, info: ValidationInfo) -> object:
        """A yes is no number, though Python and pydantic count it as one."""
        field = cls.model_fields[str(info.field_name)]
        has_spelling = any(isinstance(part, BeforeValidator) for part in field.metadata)
        if isinstance(value, bool) and field.annotation in (int, float) and not has_spelling:
            raise ValueError("is true or false, and has to be a number")
        return value


class AgentSection(Section):
    """Which till this is."""

    store_id: Name = Field(description="the store's id as the loyalty system knows it", examples=["1042"])
    till_id: Name = Field(description="the till within the store", examples=["03"])
    country: Country = Field("SE", description="how a national phone number is read")
    timezone: Zone = Field("Europe/Stockholm", description="the store's time zone")
    locale: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = Field(
        "sv-SE", description="messages for staff and customers", examples=["sv-SE"]
    )
    support: Line = Field(
        "",
        description="whom staff call, as the staff page shows it: a desk and its number, such as "
        '"IT support, 08-465 004 10", and nobody\'s name',
    )
    welcome: Line = Field(
        "",
        description="what customers read at /customer while everything works; by default a welcome in their language",
    )
    state_dir: str | None = Field(None, description="databases, keys and tokens", examples=["/var/lib/loyalty-agent"])


class ApiSection(Section):
    """The till's door."""

    listen: Annotated[tuple[Listen, ...], Field(min_length=1)] = Field(
        ("127.0.0.1:8787",),
        description='loopback addresses, also "unix:pos.sock" in the runtime directory, or unix: and a path',
    )
    web_pos_origin: Origin = Field("", description="one exact origin, if the POS is a web page")
    socket_users: dict[SocketUser, Literal["pos", "admin"]] = Field(
        {},
        description='who needs no token on a unix: address, as { kassa = "pos", "@tills" = "pos", root = "admin" }: '
        "a user, or @ and a group, and the scope",
    )
    hits: Ration = Field(
        Rate(5.0), description='look-up ration per token, burst 60; "off" for benches', examples=["300/min"]
    )
    misses: Ration = Field(
        Rate(0.5), description="the same for look-ups that find nobody, burst 20", examples=["30/min"]
    )


class LoyaltySection(Section):
    """The system that owns the contacts."""

    vendor: str = Field("voyado", description="voyado | voucherify | antavo | monetary: its table has the same name")
    fallback_level: Annotated[int, Field(ge=1, le=4)] = Field(
        3, description="1 message only, 2 tag, 3 read replica, 4 read and write: contacts are made at the till"
    )
    primary_key: Literal["contact_id", "member_number", "external_id"] = Field(
        "member_number", description="contact_id | member_number | external_id"
    )
    secondary_keys: tuple[Literal["mobile_phone", "email", "personal_number", "card_number", "external_id"], ...] = (
        Field(("mobile_phone", "email"), description="in order; [] forbids personal keys on transactions")
    )
    live_lookup: bool = Field(True, description="ask the vendor about somebody the replica does not know")
    live_lookup_budget: Duration = Field(
        timedelta(milliseconds=800), description="how long a cashier waits for that at most", examples=["800ms"]
    )
    unknown_at_delivery: Literal["tag", "create", "park"] | None = Field(
        None,
        description="tag | create | park: what becomes of a person the vendor turns out not to know; by default tag "
        "where it matches later, else park",
        examples=["park"],
    )

    @property
    def primary(self) -> IdentifierType:
        """The primary key's type."""
        return IdentifierType(self.primary_key)

    @property
    def secondary(self) -> tuple[IdentifierType, ...]:
        """The secondary keys' types, in order."""
        return tuple(IdentifierType(kind) for kind in self.secondary_keys)


class ReplicaSection(Section):
    """The local copy of the contacts."""

    contents: Literal["keys", "contacts"] = Field(
        "keys", description="keys: keyed hashes and the integration key; contacts: the fields below too"
    )
    fields: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], ...] = Field(
        (), description='with contents = "contacts": ["first_name", "member_level"], ...; otherwise empty'
    )
    sync_every: Duration = Field(timedelta(minutes=15), description="how often changes are asked for", examples=["15m"])
    stale_after: Duration = Field(timedelta(hours=24), description="answers say stale", examples=["24h"])
    expires_after: Duration = Field(
        timedelta(days=14), description="the replica makes itself unreadable; tagging goes on", examples=["14d"]
    )


class GeneralOfferItem(Section):
    """An offer for everybody: an id, a name, what it is worth in one of three ways, and for how long."""

    id: Name
    name: Annotated[str, Field(min_length=1, max_length=200)]
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    amount: Annotated[Decimal, BeforeValidator(parse_amount), Field(ge=0)] = Decimal(0)
    currency: str = ""
    price_rule: str = ""
    last_day: date | None = None

    @model_validator(mode="after")
    def _is_worth_one_thing(self) -> Self:
        if bool(self.percent) + bool(self.amount) + bool(self.price_rule) != 1:
            raise ValueError("is worth one of percent, amount and price_rule")
        unit = minor_unit(self.currency)
        if bool(self.amount) != bool(self.currency) or (self.currency and unit is None):
            raise ValueError("needs the ISO 4217 currency of its amount, and none without one")
        if unit is not None and self.amount % unit:
            raise ValueError("has an amount with more decimals than its currency")
        return self

    def offer(self) -> GeneralOffer:
        """What it says."""
        if self.percent:
            worth = Worth("percent", percent=Decimal(self.percent))
        elif self.amount:
            worth = Worth(
                "money", amount=self.amount.quantize(minor_unit(self.currency) or self.amount), currency=self.currency
            )
        else:
            worth = Worth("price_rule", text=self.price_rule)
        return GeneralOffer(self.id, self.name, worth, self.last_day)


class AllowanceItem(Section):
    """What may be given unasked: how much one benefit takes off, how many a person and day, and since which contact."""

    amount: Annotated[Decimal, BeforeValidator(parse_amount), Field(ge=0)]
    currency: Currency
    per_day: Annotated[int, Field(ge=1, le=100)]
    within: Duration

    def allowance(self) -> Allowance:
        """What it says."""
        return Allowance(self.amount, self.currency, self.per_day, self.within)


class OfflineSection(Section):
    """What is given unasked; nothing by default."""

    voucher: AllowanceItem | None = None
    offer: AllowanceItem | None = None
    offers: dict[str, AllowanceItem] = {}

    def policy(self) -> OfflinePolicy:
        """What it says."""
        kinds = {BenefitKind.VOUCHER: self.voucher, BenefitKind.OFFER: self.offer}
        return OfflinePolicy(
            {kind: item.allowance() for kind, item in kinds.items() if item is not None},
            {promotion: item.allowance() for promotion, item in self.offers.items()},
        )


class EstimateItem(Section):
    """The shop's rule of thumb for points: so many for each unit of what is paid."""

    points_per_unit: Annotated[Decimal, BeforeValidator(parse_amount), Field(gt=0, le=10_000)]
    currency: Currency
    rounding: Rounding = Rounding.DOWN

    def rule(self) -> EarningRule:
        """What it says."""
        return EarningRule(self.points_per_unit, self.currency, self.rounding)


class BenefitsSection(Section):
    """What members, and everybody, can use at the till."""

    keep: Duration = Field(
        timedelta(hours=24),
        description="how long a member's benefits are remembered, in memory, for when the loyalty system does not "
        "answer",
        examples=["24h"],
    )
    redeem_budget: Duration = Field(
        timedelta(seconds=8), description="how long a cashier waits for a redemption at most", examples=["8s"]
    )
    spend_with: tuple[IdentifierType, ...] = Field(
        (
            IdentifierType.CONTACT_ID,
            IdentifierType.MEMBER_NUMBER,
            IdentifierType.EXTERNAL_ID,
            IdentifierType.CARD_NUMBER,
            IdentifierType.PERSONAL_NUMBER,
        ),
        description="what members have to be named by to use benefits up; a phone number or an address said aloud is "
        'good for earning, unless "mobile_phone" or "email" is added',
    )
    offline: OfflineSection = Field(
        OfflineSection(),
        description="what is given, at the shop's risk, while the loyalty system does not answer; nothing by default: "
        'voucher = { amount = "100.00", currency = "SEK", per_day = 1, within = "24h" }, the same under offer, and '
        "under offers for single promotions by their id: the most one takes off, how many a person and day, and how "
        "long ago the loyalty system may have listed it",
    )
    estimate: EstimateItem | None = Field(
        None,
        description="points that a sale would earn, where the loyalty system cannot be asked: so many for each unit of "
        "what is paid for lines that award points, in one currency, and which way they become whole (down, nearest, "
        "up); an answer says that it is an estimate",
        examples=[{"points_per_unit": "0.1", "currency": "SEK", "rounding": "down"}],
    )
    general: tuple[GeneralOfferItem, ...] = Field(
        (),
        description="offers for everybody while the loyalty system does not answer, at levels 1 and 2, such as "
        '{ id = "member-10", name = "10 % off", percent = 10 }; instead of percent, amount = "20.00" with currency = '
        '"SEK", or price_rule, the id of a rule of the till; last_day = 2026-12-31 ends one; no '
        "offer of the loyalty system's has the same id",
    )
    welcome: tuple[GeneralOfferItem, ...] = Field(
        (),
        description="offers for somebody who has joined at this till, as long as the loyalty system does not have them "
        "yet: what every new member gets, in the same sale; written like those under general",
        examples=[[{"id": "welcome", "name": "Welcome offer", "percent": 10}]],
    )


class EnrolSection(Section):
    """Contacts made at the till, at level 4."""

    number_series: Annotated[str, Field(pattern=r"^(?:[0-9A-Za-z][0-9A-Za-z_.:-]{0,31})?$")] = Field(
        "",
        description="prefix of this till's own member numbers, which no other till may have; store and till by default",
        examples=["1042-03-"],
    )
    budget: Duration = Field(
        timedelta(seconds=3),
        description="how long a cashier waits at most for the loyalty system to make a contact; then it gets the "
        "contact later",
        examples=["3s"],
    )

    def prefix(self, agent: AgentSection) -> str:
        """The series' prefix, decided."""
        return self.number_series or f"{agent.store_id}-{agent.till_id}-"


class QueueSection(Section):
    """Sales that wait for the line."""

    flush_every: Duration = Field(
        timedelta(seconds=10), description="also at once when something is queued and the line is up", examples=["10s"]
    )
    backoff_first: Duration = Field(
        timedelta(seconds=10),
        description="full jitter; doubles up to backoff_max; a vendor's Retry-After wins",
        examples=["10s"],
    )
    backoff_max: Duration = Field(timedelta(minutes=15), description="the longest pause", examples=["15m"])
    max_bytes: Size = Field(1 << 30, description="how large the sales that wait may grow together", examples=["1GiB"])
    reserve_bytes: Size = Field(
        16 << 20, description="kept free so that a full disk can still be worked off", examples=["16MiB"]
    )


class RetentionSection(Section):
    """How long what is kept."""

    delivered: Duration = Field(
        timedelta(hours=24), description="then the personal part of a delivered record is erased", examples=["24h"]
    )
    undelivered: Duration = Field(
        timedelta(days=30),
        description="from acceptance, whatever the state: the personal part is erased, the sale stays, parked",
        examples=["30d"],
    )
    audit: Duration = Field(timedelta(days=400), description="the record without personal data", examples=["400d"])


class StorageSection(Section):
    """The databases on disk."""

    encryption: Literal["on", "off"] = Field("on", description="on | off")
    key: Secret = Field(
        "file:storage.key",
        description="relative to the state directory, made at first start; credential:NAME in a package",
    )
    previous_key: FormerSecret = Field(
        "",
        description="the key before, while one that is handed over takes its place; credential:NAME or file:PATH",
    )


class HttpSection(Section):
    """Calls to all vendors."""

    connect_timeout: Duration = Field(timedelta(seconds=3), description="to reach the vendor", examples=["3s"])
    read_timeout: Duration = Field(timedelta(seconds=30), description="for its answer", examples=["30s"])
    ca_file: str = Field(
        "", description="a private CA, trusted instead of the system's; plain http is accepted for loopback only"
    )
    proxy: Proxy = Field(
        "", description="an http proxy, such as http://proxy.example.com:3128; the environment's are not used"
    )
    proxy_secret: OptionalSecret = Field(
        None, description="its user:password, if it wants one", examples=["credential:proxy"]
    )


class LogSection(Section):
    """The log."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug | info | warning | error")
    format: Literal["auto", "console", "json"] = Field("auto", description="console on a terminal, JSON otherwise")


class Settings(Section):
    """The whole configuration."""

    agent: AgentSection
    api: ApiSection = ApiSection()
    loyalty: LoyaltySection = LoyaltySection()
    replica: ReplicaSection = ReplicaSection()
    benefits: BenefitsSection = BenefitsSection()
    enrol: EnrolSection = EnrolSection()
    queue: QueueSection = QueueSection()
    retention: RetentionSection = RetentionSection()
    storage: StorageSection = StorageSection()
    http: HttpSection = HttpSection()
    messages: dict[str, str] = Field(default_factory=dict, description="replaces a shipped text: code.audience.locale")
    log: LogSection = LogSection()


class VendorSection(Section):
    """A vendor's table: `[<vendor>]` for the system that owns the contacts, `[forward.<vendor>]` for a further one.

    Attributes:
        not_loyalty: why this system cannot be `loyalty.vendor`; empty where it can.
        not_forward: why it cannot be one of `[forward]`; empty where it can.
    """

    not_loyalty: ClassVar[str] = ""
    not_forward: ClassVar[str] = ""

    def contradictions(self, settings: Settings, role: Role) -> list[Fault]:  # noqa: ARG002 - a room's own rules
        """What this table says against the agent's own, by key of this table."""
        return []

    def cannot_own(self, settings: Settings) -> list[Fault]:  # noqa: ARG002 - a room's own rules
        """What the agent's own tables ask of the owner of the contacts that this system cannot do, by their keys."""
        return []

    def warnings(self, base: Path) -> list[Fault]:  # noqa: ARG002 - a room's own rules
        """What works, though not for long or not as it may be meant, by key of this table; ``base``: of its paths."""
        return []

    def unused_secrets(self, role: Role) -> set[str]:  # noqa: ARG002 - a room's own rules
        """References that this configuration does not need."""
        return set()
