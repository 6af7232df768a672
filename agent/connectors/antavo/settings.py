"""The `[antavo]` and `[forward.antavo]` tables."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from agent.connectors.addresses import base_url
from agent.connectors.antavo.signing import is_signable
from agent.connectors.folders import folder_of
from agent.domain.benefits import BenefitKind
from agent.errors import Fault
from agent.settings import Duration, Role, Secret, Settings, VendorSection

_ANTAVO_HOST = re.compile(r"(?:read-)?api\.([a-z0-9-]+)\.antavo\.com")
_KNOWN_BY = ("mobile_phone", "email", "card_number")
_REPLICA_LEVEL = 3
CONSENT_PARTS = ("given_at", "text_version", "place")
"""What of a consent can have a field of its own beside the yes or no."""
_SAID = re.compile(
    r"street|zip_code|city|preferences/accepts_(email|sms|postal)|attributes/\S{1,64}"
    rf"|(?P<consent>consents/[^\s/]{{1,64}})(/({'|'.join(CONSENT_PARTS)}))?"
)
_PLACE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_ANTAVOS_OWN = frozenset({
    "id", "customer", "action", "data", "account", "accounts", "status", "score", "spent", "reserved", "expired",
    "spendable", "pending", "first_name", "last_name", "email", "mobile_phone", "birth_date", "language", "country",
    "membership_id", "optin_at", "optout_at", "created_at", "updated_at", "last_login_at", "properties", "referrer",
    "referrals", "tiers", "campaigns", "groups", "purchase_total", "purchase_count", "purchase_last_date",
    "external_id", "external_ids",
})  # fmt: skip
_SCHEME_PORTS = {"http": 80, "https": 443}


def _base_url(value: str, *, example: str = "https://api.st2.antavo.com") -> str:
    if not value:
        return ""
    parts = base_url(value, example=example)
    if parts.path not in ("", "/"):
        raise ValueError("has a path: it is the address alone")
    return f"{parts.scheme}://{_netloc(value)}"


def _read_base_url(value: str) -> str:
    return _base_url(value, example="https://read-api.st2.antavo.com")


def _netloc(value: str) -> str:
    parts = urlsplit(value)
    own = parts.port == _SCHEME_PORTS[parts.scheme]
    return parts.netloc.lower().rpartition(":")[0] if own else parts.netloc.lower()


def _field(value: str) -> str:
    if not is_signable(value):
        raise ValueError('ends in a dot or holds "./", which a signed path cannot')
    return value


def _contact_fields(value: dict[str, str]) -> dict[str, str]:
    for name, place in value.items():
        said = _SAID.fullmatch(name)
        if said is None:
            raise ValueError(f"names what no contact has, or what has its place already: {name}")
        consent = said["consent"]
        if consent and not {consent, f"{consent}/given_at"} <= value.keys():
            raise ValueError(f"needs a field for {consent}, and one for {consent}/given_at: a consent has its time")
        if not _PLACE.fullmatch(place) or place in _ANTAVOS_OWN:
            raise ValueError(f"puts {name} into what is no field of the workspace's own: {place}")
    if len(set(value.values())) != len(value):
        raise ValueError("puts two into one field")
    return value


def _feed(value: str) -> str:
    parts = urlsplit(value)
    is_folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
    if value not in ("events", "read_api") and not is_folder:
        raise ValueError("is events, read_api or file:///folder")
    return value


def _events_folder(value: str) -> str:
    if value and not Path(value).is_absolute():
        raise ValueError("is no whole path, such as /srv/antavo/events")
    return value


_OF_CALLS = (
    "base_url", "environment", "api_key", "api_secret", "auth_mode", "external_id_field", "external_id_mode",
    "guest_sales",
)  # fmt: skip
_OF_AN_OWNER = (
    "read_base_url", "feed", "feed_overlap", "sweep_every", "contact_fields", "rewards", "spend_points", "store",
)  # fmt: skip


class AntavoSettings(VendorSection):
    """Antavo Loyalty Cloud, which owns the contacts or gets every member's sale beside the system that does.

    One key pair is the whole workspace's: whoever holds it can read and change every member.
    """

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        "",
        description="needed, but with events_folder: the API of the environment, such as https://api.st2.antavo.com",
    )
    environment: Annotated[str, Field(pattern=r"^[a-z0-9-]{0,32}$")] = Field(
        "", description="needed likewise: the name that stands in that address, such as st2; requests are signed for it"
    )
    api_key: Secret = Field("credential:antavo-key", description="the workspace's API key")
    api_secret: Secret = Field("credential:antavo-secret", description="the secret that belongs to the key")
    auth_mode: Literal["escher", "api_key", "oauth"] = Field(
        "escher",
        description="escher | api_key | oauth: each request is signed; the key alone, for old sandboxes, until "
        "2026-12-31; or events alone, by the credentials of a client (api_key: its id, api_secret: its secret)",
    )
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
        False,
        description="whoever gave their data at the till and is not known there becomes a member there, and what is "
        "changed at the till is changed there",
    )
    contact_fields: Annotated[dict[str, str], AfterValidator(_contact_fields)] = Field(
        {},
        description="as the owner of the contacts: the workspace's own fields of a customer for what a till says of a "
        'contact and Antavo has none for: { "preferences/accepts_sms" = "sms_ok", "attributes/shoe_size" = "shoes" }',
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
        description="as the owner of the contacts: events | read_api | file:///path: where changes come from. events "
        "tells of them within the next sync; read_api only of new members, and the sweep of the rest; a folder of "
        "exported lists of customers, the newest, of everybody",
    )
    feed_overlap: Duration = Field(
        timedelta(minutes=5), description="so much is read again from sync to sync, for what shows up late"
    )
    sweep_every: Duration = Field(
        timedelta(hours=24),
        description="as the owner of the contacts: how often everybody is walked over, which alone shows who is gone; "
        "with a folder, how often a new list is due",
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
    events_folder: Annotated[str, AfterValidator(_events_folder)] = Field(
        "",
        description="beside another owner of the contacts, where Antavo is never called: sales are written as CSV "
        "files into this folder, from which its import fetches them; base_url, environment and keys are left out then",
    )
    guest_sales: bool = Field(
        False, description='also purchases that name nobody; "Guest events" must be switched on in the workspace'
    )

    @property
    def folder(self) -> Path | None:
        """Where lists of customers come to lie; None where the API is asked."""
        parts = urlsplit(self.feed)
        return folder_of(self.feed) if parts.scheme == "file" else None

    @property
    def asks(self) -> bool:
        """Whether Antavo can be asked anything."""
        return self.auth_mode != "oauth" and not self.events_folder

    @property
    def host(self) -> str:
        """What the `Host` header says."""
        return urlsplit(self.base_url or "").netloc  # it is None where it is missing, which is told elsewhere

    @property
    def redeems(self) -> frozenset[BenefitKind]:
        """What tills may use up."""
        switched = {BenefitKind.OFFER: self.rewards, BenefitKind.POINTS: self.spend_points, BenefitKind.VOUCHER: True}
        return frozenset(kind for kind, on in switched.items() if on)

    @property
    def read_host(self) -> str:
        """The same at the Read API; empty without one."""
        return urlsplit(self.read_base_url).netloc

    def unused_secrets(self, role: Role) -> set[str]:  # noqa: ARG002 - the same whatever it is
        """The secret, where nothing is signed, and both, where nothing is called."""
        if self.events_folder:
            return {"api_key", "api_secret"}
        return {"api_secret"} if self.auth_mode == "api_key" else set()

    def warnings(self, base: Path) -> list[Fault]:  # noqa: ARG002 - no path of it need be there
        """What ends soon, and what is lost on the way through files."""
        soon = "ends on 2026-12-31: from then on every environment takes signed requests alone (escher)"
        unheard = (
            "what the import refuses is told in the Management UI alone, and a line of a sale is an event of its own"
        )
        late = "is off: a sale counts when the import runs, and not when it was made"
        rules = (
            (self.auth_mode == "api_key", "auth_mode", soon),
            (bool(self.events_folder), "events_folder", unheard),
            (bool(self.events_folder) and not self.backdate, "backdate", late),
        )
        return [Fault(key, text) for stands, key, text in rules if stands]

    def contradictions(self, settings: Settings, role: Role) -> list[Fault]:
        """What this table says against itself, and against what the system is to this shop."""
        return [*self._against_itself(), *(self._as_owner(settings) if role == "loyalty" else self._as_forward())]

    def cannot_own(self, settings: Settings) -> list[Fault]:
        """What Antavo cannot do as the owner of the contacts: match a sale later, or know somebody by any key."""
        loyalty = settings.loyalty
        found = []
        if loyalty.unknown_at_delivery == "tag":
            text = 'needs a system that matches a sale later; with antavo it is "park" or "create"'
            found.append(Fault("loyalty.unknown_at_delivery", text))
        if strange := [key for key in loyalty.secondary_keys if key not in (*_KNOWN_BY, "external_id")]:
            found.append(Fault("loyalty.secondary_keys", f"names what no member of Antavo's has: {strange[0]}"))
        return found

    def _against_itself(self) -> list[Fault]:
        if self.events_folder:
            return self._against_a_folder()
        faults = [Fault(key, "is needed") for key in ("base_url", "environment") if not getattr(self, key)]
        for key, host in (("environment", self.host), ("read_base_url", self.read_host)):
            named = _ANTAVO_HOST.fullmatch(host)
            if named and named[1] != self.environment:
                text = f"is not the one of base_url, which is {named[1]}"
                faults.append(Fault(key, text if key == "environment" else "is not of the environment"))
        if self.external_id_mode != "none" and self.external_id_field in ("", "membership_id"):
            faults.append(Fault("external_id_mode", "needs the name of an external id in external_id_field"))
        if self.auth_mode == "oauth":
            faults += self._by_events_alone()
        return faults

    def _by_events_alone(self) -> list[Fault]:
        """What cannot be without a question, for which these credentials are not good."""
        rules = (
            (self.external_id_field == "membership_id", "external_id_field",
             "cannot be with oauth: who has a number has to be asked for"),
            (self.external_id_field not in ("", "membership_id") and self.external_id_mode != "field_name",
             "external_id_mode", "is field_name with oauth: in any other mode the customer has to be asked for"),
            (self.opt_in_new_contacts and bool(self.external_id_field), "opt_in_new_contacts",
             "makes nobody with oauth and external_id_field: no event of a new member says both of their ids"),
            (self.guest_sales, "guest_sales", "cannot be with oauth: whether it takes them is not known"),
        )  # fmt: skip
        return [Fault(key, text) for contradicts, key, text in rules if contradicts]

    def _against_a_folder(self) -> list[Fault]:
        return [Fault(key, "is for calls, and with events_folder there are none") for key in self._changed(_OF_CALLS)]

    def _changed(self, keys: Sequence[str]) -> list[str]:
        return [key for key in keys if getattr(self, key) != AntavoSettings.model_fields[key].default]

    def _as_owner(self, settings: Settings) -> list[Fault]:
        loyalty = settings.loyalty
        needs_field = "external_id" in (loyalty.primary_key, *loyalty.secondary_keys)
        rules = (
            (bool(self.events_folder), "events_folder",
             "is for a system beside the owner of the contacts, who has to be asked for and answers"),
            (self.auth_mode == "oauth", "auth_mode",
             "takes events and answers nothing else: it is for a system beside the owner of the contacts"),
            (not (self.read_base_url or self.folder) and loyalty.fallback_level >= _REPLICA_LEVEL, "read_base_url",
             "or a folder as feed is needed: else nothing lists the local contacts, without which fallback_level is 2"),
            (bool(self.read_base_url and self.folder), "read_base_url", "is not asked where the feed is a folder"),
            (self.folder is not None and 2 * self.sweep_every > settings.replica.expires_after, "sweep_every",
             "is longer than half of replica.expires_after, and a list counts for twice as long"),
            (self.folder is None and self.sweep_every > settings.replica.expires_after, "sweep_every",
             "is longer than replica.expires_after"),
            (self.external_id_field == "membership_id", "external_id_field",
             "is for an external id: a membership_id is the member_number here"),
            (needs_field and not self.external_id_field, "external_id_field",
             "is needed, as loyalty.primary_key or secondary_keys has external_id"),
            (self.opt_in_new_contacts, "opt_in_new_contacts",
             "is for a system beside the owner: this one makes members of whoever gave their data at the till"),
            (self.external_id_field in self.contact_fields.values(), "contact_fields",
             "puts something into external_id_field, by which members are found"),
        )  # fmt: skip
        return [Fault(key, text) for contradicts, key, text in rules if contradicts]

    def _as_forward(self) -> list[Fault]:
        text = "is for the owner of the contacts, which is another system"
        return [Fault(key, text) for key in self._changed(_OF_AN_OWNER)]
