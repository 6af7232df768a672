"""The configuration: models, where values come from, and every fault at once.

Order: flag, environment (`LOYALTY_AGENT__SECTION__KEY`), `conf.d/*.toml`, `config.toml`, default. The models are
frozen and refuse what they do not know; each field is described, and `config.example.toml` is generated from here.
A vendor's table is described in its own room and handed in.
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from agent import messages, paths
from agent.domain.benefits import BenefitKind, GeneralOffer, Worth
from agent.domain.earning import EarningRule, Rounding
from agent.domain.identifiers import IdentifierType
from agent.domain.money import minor_unit, parse_amount
from agent.domain.offline import Allowance, OfflinePolicy
from agent.errors import ConfigurationError, Fault
from agent.secrets import SecretReference
from agent.tls import client_context

M = TypeVar("M", bound=BaseModel)

ENV_PREFIX = "LOYALTY_AGENT__"
KNOWN_VENDORS = ("voyado", "antavo", "voucherify", "monetary", "mparticle")
FORWARD = "forward"
Role = Literal["loyalty", "forward"]
"""What a system is to this shop: the one that owns the contacts, or a further one that gets sales."""
_DURATION = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SIZE = re.compile(r"([1-9][0-9]{0,12})(B|KiB|MiB|GiB)")
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_RATE = re.compile(r"([1-9][0-9]{0,6})/(s|min|h)")
_PERIODS = {"s": 1, "min": 60, "h": 3600}
_LISTEN = re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):([0-9]{1,5})")
_MAX_PORT = 65_535
_OWN_PORTS = {"http": "80", "https": "443"}
_MAX_DEPTH = 16  # of tables in each other; the code of a message has five parts
_UNIX = "unix:"
_SOCKET_NAME = re.compile(r"unix:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    raise ValueError("is not a duration: a positive whole number and ms, s, m, h or d, such as 15m")


def _currency(value: str) -> str:
    if minor_unit(value) is None:
        raise ValueError("is not an ISO 4217 code")
    return value


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _SIZES[match[2]]
    raise ValueError("is not a size: a positive whole number and B, KiB, MiB or GiB, such as 16MiB")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls a second; None means no ration at all."""

    per_second: float | None


def _rate(value: object) -> Rate:
    if isinstance(value, Rate):
        return value
    if value == "off":
        return Rate(None)
    if isinstance(value, str) and (match := _RATE.fullmatch(value)):
        return Rate(int(match[1]) / _PERIODS[match[2]])
    raise ValueError('is not a rate: a number and /s, /min or /h, such as 300/min, or "off"')


def _listen(value: str) -> str:
    if value.startswith("unix:/") or _SOCKET_NAME.fullmatch(value):
        return value
    match = _LISTEN.fullmatch(value)
    if match is None or int(match[2]) > _MAX_PORT:
        raise ValueError(
            "is not a loopback address with a port, such as 127.0.0.1:8787, nor unix: and a path or a name"
        )
    return value


def _socket_user(value: str) -> str:
    if not re.fullmatch(r"@?[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value):
        raise ValueError("is not a user, nor @ and a group")
    if value.removeprefix("@") in ("nobody", "nogroup", "65534"):
        raise ValueError("stands for whoever the kernel cannot name, which may be anybody")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not an IANA time zone, such as Europe/Stockholm") from None
    return value


def _country(value: str) -> str:
    if value not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("is not an ISO 3166 country code, such as SE")
    return value


def _reference(value: str | None) -> str | None:
    if value is not None:
        SecretReference.parse(value, Path())
    return value


def _reference_or_nothing(value: str) -> str:
    if value:
        SecretReference.parse(value, Path())
    return value


_REFERENCES = (_reference, _reference_or_nothing)


def _proxy(value: str) -> str:
    if not value:
        return value
    if "@" in value:
        raise ValueError("holds a user or a password: they are a secret, which http.proxy_secret refers to")
    try:
        parts = urlsplit(value)  # an impossible host raises
        is_address = bool(parts.hostname) and parts.port != 0  # an impossible port raises
        is_proxy = is_address and parts.scheme in ("http", "https") and parts.path in ("", "/")
    except ValueError:
        is_proxy = False
    if not (is_proxy and value.isascii() and value.isprintable() and not set(value) & set("?# ")):
        raise ValueError("is not a proxy's URL, such as http://proxy.example.com:3128")
    return value


def _origin(value: str) -> str:
    match = re.fullmatch(r"(https?)://[a-z0-9.-]+(?::([1-9][0-9]{0,4}))?", value)
    if value and (match is None or int(match[2] or 0) > _MAX_PORT):
        raise ValueError("is not one exact origin, such as https://pos.example.com")
    if match is not None and match[2] == _OWN_PORTS[match[1]]:
        raise ValueError(f"names the port that browsers leave out of an origin: leave :{match[2]} out")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Size = Annotated[int, BeforeValidator(_size)]
Ration = Annotated[Rate, BeforeValidator(_rate)]
Secret = Annotated[str, AfterValidator(_reference)]
"""A reference to a secret; its value never stands in the configuration."""
OptionalSecret = Annotated[str | None, AfterValidator(_reference)]
SecretOrNothing = Annotated[str, AfterValidator(_reference_or_nothing)]
"""A reference to a secret, or nothing."""
FormerSecret = Annotated[str, AfterValidator(lambda value: value and _reference(value))]
"""A reference to a secret that need not be there any more, or nothing."""
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")]


class Section(BaseModel):
    """A frozen table that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


class AgentSection(Section):
    """Which till this is."""

    store_id: Name = Field(description="the store's id as the loyalty system knows it", examples=["1042"])
    till_id: Name = Field(description="the till within the store", examples=["03"])
    country: Annotated[str, AfterValidator(_country)] = Field("SE", description="how a national phone number is read")
    timezone: Annotated[str, AfterValidator(_zone)] = Field("Europe/Stockholm", description="the store's time zone")
    locale: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = Field(
        "en-GB", description="messages for staff and customers", examples=["sv-SE"]
    )
    state_dir: str | None = Field(None, description="databases, keys and tokens", examples=["/var/lib/loyalty-agent"])


class ApiSection(Section):
    """The till's door."""

    listen: Annotated[tuple[Annotated[str, AfterValidator(_listen)], ...], Field(min_length=1)] = Field(
        ("127.0.0.1:8787",),
        description='loopback addresses, also "unix:pos.sock" in the runtime directory, or unix: and a path',
    )
    web_pos_origin: Annotated[str, AfterValidator(_origin)] = Field(
        "", description="one exact origin, if the POS is a web page"
    )
    socket_users: dict[Annotated[str, AfterValidator(_socket_user)], Literal["pos", "admin"]] = Field(
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
    currency: Annotated[str, AfterValidator(_currency)]
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
    currency: Annotated[str, AfterValidator(_currency)]
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
        '"SEK", or price_rule, the id of a rule of the till; last_day = 2026-12-31 ends one',
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
    proxy: Annotated[str, AfterValidator(_proxy)] = Field(
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

    def unused_secrets(self, role: Role) -> set[str]:  # noqa: ARG002 - a room's own rules
        """References that this configuration does not need."""
        return set()


@dataclass(frozen=True, slots=True)
class Configuration:
    """A checked configuration.

    Attributes:
        settings: the agent's own tables.
        vendor: the loyalty vendor's table, a model of its room.
        forwards: the tables of the further systems, by vendor, in the order of the file.
        origins: where each key's value came from, by dotted path; what is not in it is a default.
        base: the directory that relative references start from.
        state_dir: the state directory, decided.
        runtime_dir: where a socket lies that is named without a directory.
    """

    settings: Settings
    vendor: VendorSection
    forwards: Mapping[str, VendorSection]
    origins: Mapping[str, str]
    base: Path
    state_dir: Path
    runtime_dir: Path

    def vendor_tables(self) -> Iterator[tuple[str, str, VendorSection]]:
        """Each system's name, where its table stands, and the table; the loyalty system's first."""
        name = self.settings.loyalty.vendor
        yield name, name, self.vendor
        for name, table in self.forwards.items():
            yield name, f"{FORWARD}.{name}", table

    @property
    def listen(self) -> tuple[str, ...]:
        """`api.listen`, each socket with its directory."""
        return tuple(
            f"{_UNIX}{self.runtime_dir / place.removeprefix(_UNIX)}" if place.startswith(_UNIX) else place
            for place in self.settings.api.listen
        )

    def secret(self, text: str) -> SecretReference:
        """The reference that a checked setting spells."""
        return SecretReference.parse(text, self.base)


@dataclass(frozen=True, slots=True)
class _Table:
    """A vendor's table as it was found: where it stands, and what of it is sound."""

    path: str
    role: Role
    model: VendorSection


def load(
    *,
    config: Path | None,
    vendors: Mapping[str, type[VendorSection]],
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    secrets: bool = True,
) -> Configuration:
    """The configuration of this machine.

    Args:
        config: the file named on the command line, or None for the machine's own place.
        vendors: the settings model of each vendor room.
        flags: values from the command line, by dotted path.
        environ: the environment; `os.environ` if None.
        secrets: whether each referenced secret must be readable.

    Raises:
        ConfigurationError: with every fault, each with its file and key path.
    """
    file = config or paths.config_dir() / "config.toml"
    values, origins, faults = _collect(file, os.environ if environ is None else environ, flags or {})

    def fault(key: str, text: str) -> Fault:
        place = next((origins[known] for known in _prefixes(key) if known in origins), str(file))
        return Fault(f"{place}: {key}", text)

    beside = {name: values.pop(name) for name in list(values) if name in vendors}
    further = values.pop(FORWARD, {})
    settings, found = _parse(Settings, values)
    name = settings.loyalty.vendor
    loyalty, of_loyalty = _loyalty_table(name, beside.pop(name, {}), vendors)
    forwards, of_forwards = _forward_tables(further, name, vendors)
    found += of_loyalty + of_forwards
    tables = [*([loyalty] if loyalty else []), *forwards.values()]
    # From here on a key that is at fault has its default: whatever is said about it would be said of that.
    broken = {prefix for key, _ in found for prefix in _prefixes(key)}
    found += [(key, text) for key, others, text in contradictions(settings) if not broken & {key, *others}]
    base = file.parent.resolve()
    unreadable: list[tuple[str, str]] = []
    if secrets and not settings.storage.key.startswith("file:"):  # that one is made
        unreadable += [(f"storage.{key}", text) for key, text in _secret_faults(settings.storage, base)]
    unreadable += [(item.pointer, item.message) for item in _ca_faults(settings.http, base)]
    if secrets:
        unreadable += [(f"http.{key}", text) for key, text in _secret_faults(settings.http, base)]
    for table in tables:
        if "loyalty" not in broken:  # which the rooms' own rules read
            said = table.model.contradictions(settings, table.role)
            unreadable += [(f"{table.path}.{item.pointer}", item.message) for item in said]
            if table.role == "loyalty":
                asked = table.model.cannot_own(settings)
                unreadable += [(item.pointer, item.message) for item in asked]
        if secrets:
            unused = table.model.unused_secrets(table.role)
            unreadable += [(f"{table.path}.{key}", text) for key, text in _secret_faults(table.model, base, unused)]
    found += [(key, text) for key, text in unreadable if key not in broken]
    found += _text_faults(values.get("messages"))
    found += [(other, _out_of_place(other, vendors[other])) for other in beside]
    if faults:  # what is missing may stand in the file that could not be read
        found = [(key, text) for key, text in found if key in origins]
    faults += [fault(key, text) for key, text in found]
    if faults or loyalty is None:
        raise ConfigurationError(faults)
    configured = settings.agent.state_dir
    return Configuration(
        settings,
        loyalty.model,
        {vendor: table.model for vendor, table in forwards.items()},
        origins,
        base,
        paths.state_dir(configured),
        paths.runtime_dir(configured),
    )


def _loyalty_table(
    name: str, values: Any, vendors: Mapping[str, type[VendorSection]]
) -> tuple[_Table | None, list[tuple[str, str]]]:
    """The table of the system that owns the contacts, and its faults."""
    able = [vendor for vendor, model in vendors.items() if not model.not_loyalty]
    if name not in vendors:
        return None, [("loyalty.vendor", _unknown(name, able))]
    if reason := vendors[name].not_loyalty:
        return None, [("loyalty.vendor", f"{reason}; available: {', '.join(sorted(able))}")]
    model, found = _parse(vendors[name], values)
    return _Table(name, "loyalty", model), [(f"{name}.{key}" if key else name, text) for key, text in found]


def _forward_tables(
    values: Any, loyalty: str, vendors: Mapping[str, type[VendorSection]]
) -> tuple[dict[str, _Table], list[tuple[str, str]]]:
    """The tables of the further systems by vendor, and their faults."""
    if not isinstance(values, dict):
        return {}, [(FORWARD, "is not a table: a further system has its own, such as [forward.mparticle]")]
    able = [vendor for vendor, model in vendors.items() if not model.not_forward]
    tables, found = {}, []
    for name, table in values.items():
        path = f"{FORWARD}.{name}"
        if name not in vendors:
            found.append((path, _unknown(name, able)))
            continue
        if reason := vendors[name].not_forward:
            found.append((path, reason))
            continue
        if name == loyalty:
            found.append((path, "is loyalty.vendor, which gets every sale already"))
        model, of_table = _parse(vendors[name], table)
        tables[name] = _Table(path, "forward", model)
        found += [(f"{path}.{key}" if key else path, text) for key, text in of_table]
    return tables, found


def _unknown(name: str, able: Sequence[str]) -> str:
    known = "is not available in this version" if name in KNOWN_VENDORS else "is not a vendor"
    return f"{known}; available: {', '.join(sorted(able)) or 'none'}"


def _out_of_place(name: str, model: type[VendorSection]) -> str:
    text = "is set, but loyalty.vendor is another system"
    return text if model.not_forward else f"{text}; as a further one its table is [{FORWARD}.{name}]"


def contradictions(settings: Settings) -> list[tuple[str, tuple[str, ...], str]]:
    """What the agent's own tables say against each other, as (key, the other keys it is held against, text)."""
    loyalty, replica, queue, retention = settings.loyalty, settings.replica, settings.queue, settings.retention
    secondary, listen, http = loyalty.secondary_keys, settings.api.listen, settings.http
    rules = (
        (bool(replica.fields) and replica.contents == "keys", "replica.fields", ("replica.contents",),
         'needs replica.contents = "contacts"'),
        (loyalty.primary_key in secondary, "loyalty.secondary_keys", ("loyalty.primary_key",), "names the primary key"),
        (len(set(secondary)) != len(secondary), "loyalty.secondary_keys", (), "names a key twice"),
        (queue.backoff_first > queue.backoff_max, "queue.backoff_first", ("queue.backoff_max",),
         "is longer than queue.backoff_max"),
        (queue.reserve_bytes >= queue.max_bytes, "queue.reserve_bytes", ("queue.max_bytes",),
         "is not less than queue.max_bytes"),
        (replica.stale_after > replica.expires_after, "replica.stale_after", ("replica.expires_after",),
         "is longer than replica.expires_after"),
        (retention.delivered > retention.undelivered, "retention.delivered", ("retention.undelivered",),
         "is longer than retention.undelivered"),
        (retention.undelivered > retention.audit, "retention.undelivered", ("retention.audit",),
         "is longer than retention.audit"),
        (len(set(listen)) != len(listen), "api.listen", (), "names an address twice"),
        (bool(settings.api.socket_users) and not any(place.startswith("unix:") for place in listen),
         "api.socket_users", ("api.listen",), "needs a unix: address in api.listen"),
        (len({offer.id for offer in settings.benefits.general}) != len(settings.benefits.general),
         "benefits.general", (), "names an id twice"),
        (len({offer.id for offer in settings.benefits.welcome}) != len(settings.benefits.welcome),
         "benefits.welcome", (), "names an id twice"),
        (http.proxy_secret is not None and not http.proxy, "http.proxy_secret", ("http.proxy",),
         "is set, but http.proxy is not"),
    )  # fmt: skip
    return [(key, others, text) for contradicts, key, others, text in rules if contradicts]


def _text_faults(table: Any) -> list[tuple[str, str]]:
    """What is wrong with the texts of `[messages]` that are texts, each by its key."""
    found = []
    texts = {key: text for key, text in table.items() if isinstance(text, str)} if isinstance(table, dict) else {}
    for line in messages.check_overrides(texts):  # messages."code.audience.locale": what is wrong
        key, _, text = line.partition('": ')
        found.append((f'{key}"', text))
    return found


def _ca_faults(http: HttpSection, base: Path) -> list[Fault]:
    if http.ca_file:
        try:
            client_context(str(base / http.ca_file))
        except ConfigurationError as error:
            return list(error.faults)
    return []


def secret_keys(section: Section) -> dict[str, str]:
    """The references in a table, by key; empty ones are left out."""
    found = {}
    for key, field in type(section).model_fields.items():
        if any(getattr(item, "func", None) in _REFERENCES for item in field.metadata) and getattr(section, key):
            found[key] = getattr(section, key)
    return found


def _secret_faults(section: Section, base: Path, unused: Collection[str] = ()) -> list[tuple[str, str]]:
    found = []
    for key, text in secret_keys(section).items():
        if key in unused:
            continue
        try:
            SecretReference.parse(text, base).read()
        except ValueError as error:
            found.append((key, str(error)))
    return found


def _parse(model: type[M], values: Any) -> tuple[M, list[tuple[str, str]]]:
    """The table and its faults, as (key, text); with faults, what is sound of it, so that the rest can be judged."""
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        inner = {item["loc"][:length] for item in found for length in range(len(item["loc"]))}
        # "Too short" of a list whose only item is at fault would be a second fault for one mistake.
        faults = [(".".join(map(str, item["loc"])), _text(item)) for item in found if item["loc"] not in inner]
        return _sound(model, values), faults


def _sound(model: type[M], values: Any) -> M:
    """A table in which each key that is at fault has its default, and one that has none is None."""
    given = values if isinstance(values, dict) else {}
    sound: dict[str, Any] = {}
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            sound[key] = _sound(field.annotation, given.get(key))
            continue
        sound[key] = None if field.is_required() else field.get_default(call_default_factory=True)
        if key in given:
            with contextlib.suppress(ValidationError):
                annotation: Any = Annotated[field.annotation, field]
                sound[key] = TypeAdapter(annotation).validate_python(given[key])
    return model.model_construct(**sound)


_SHAPES = {
    "tuple_type": 'is not a list, such as ["a", "b"], which is spelled so in the environment too',
    "too_short": "needs at least one item",
    "model_type": "is not a table",
    "model_attributes_type": "is not a table",
    "dict_type": "is not a table",
}


def _text(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "is not a setting"
    if item["type"] == "missing":
        return "is needed"
    if item["type"] in _SHAPES:
        return _SHAPES[item["type"]]
    text = str(item["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _prefixes(key: str) -> list[str]:
    """The key and the tables it may lie in, the innermost first: as many as tables can be nested, however many dots."""
    parts = key.split(".", _MAX_DEPTH)
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def _collect(
    file: Path, environ: Mapping[str, str], flags: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str], list[Fault]]:
    """All values in one tree, with where each came from, and the files that could not be read."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    faults = []
    drop_ins = sorted((file.parent / "conf.d").glob("*.toml"))
    for path in (file, *drop_ins):
        try:
            _merge(values, _tree(path), origins, str(path))
        except ValueError as error:
            faults.append(Fault(str(path), str(error)))
    for variable, raw in sorted(environ.items()):
        if variable.startswith(ENV_PREFIX):
            keys = variable.removeprefix(ENV_PREFIX).lower().split("__")
            try:
                _merge(values, _branch(keys, raw), origins, variable)
            except ValueError as error:
                faults.append(Fault(f"{variable}: {'.'.join(keys)}", str(error)))
    for dotted, value in flags.items():
        _merge(values, _nest(dotted.split("."), value), origins, "the command line")
    return values, origins, faults


def _tree(path: Path) -> dict[str, Any]:
    """The tables in a file. Raises ValueError, which says what is wrong with it."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' own editors begin with the mark
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except UnicodeDecodeError:
        raise ValueError("cannot be read: it is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:  # tomllib's own, or a number of thousands of digits
        raise ValueError(f"is not TOML: {error}") from None
    return _shallow(tree)


def _branch(keys: list[str], raw: str) -> dict[str, Any]:
    """The tables that a variable spells. Raises ValueError, which says what is wrong with it."""
    try:
        value = tomllib.loads(f"value = {raw}")["value"] if raw.startswith(("[", "{")) else raw
    except (ValueError, RecursionError):
        raise ValueError("is not a TOML value") from None
    return _shallow(_nest(keys, value))


def _shallow(tree: dict[str, Any]) -> dict[str, Any]:
    """The same tables, if they are not nested deeper than any setting. Raises ValueError."""
    level = [tree]
    for _ in range(_MAX_DEPTH):
        level = [value for table in level for value in table.values() if isinstance(value, dict)]
        if not level:
            return tree
    raise ValueError("is nested too deeply")


def _nest(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _merge(into: dict[str, Any], new: Mapping[str, Any], origins: dict[str, str], origin: str, at: str = "") -> None:
    for key, value in new.items():
        path = f"{at}.{key}" if at else key
        if isinstance(value, dict) and path != "messages":
            if not isinstance(into.get(key), dict):
                into[key] = {}
            _merge(into[key], value, origins, origin, path)
            origins.setdefault(path, origin)
        elif isinstance(value, dict):
            into[key] = {**into.get(key, {}), **_flatten(value)}
            origins[path] = origin
        else:
            into[key] = value
            origins[path] = origin


def _flatten(table: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    # `a.b.staff.sv-SE = "..."` without quotes is a nest of tables to TOML; both spellings mean the same here.
    flat: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{at}.{key}" if at else key
        flat.update(_flatten(value, path) if isinstance(value, dict) else {path: value})
    return flat
