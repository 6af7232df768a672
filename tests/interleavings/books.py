"""What the machine asks of a vendor: a simulator on a line, what an agent's configuration says of it, and its books.

Another vendor is another class like these two.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, ClassVar, Protocol

from interleavings.line import Line
from interleavings.passing import PassingClock

from agent.connectors.antavo.simulator import AntavoSimulator
from agent.connectors.antavo.simulator import Fault as AntavoFault
from agent.connectors.voyado.simulator import Fault as VoyadoFault
from agent.connectors.voyado.simulator import SimulatorSettings, VoyadoSimulator, contacts
from agent.connectors.voyado.simulator.records import Contact

TERMS = "memberTerms"


class Books(Protocol):
    """A vendor, from behind its counter.

    Attributes:
        line: to it.
        matches_later: a sale of somebody whom it does not know is taken all the same.
        in_bulk: contacts go by calls that could hold several: one that nobody heard of is asked about ten times.
        tables: what an agent's configuration says of it.
    """

    line: Line
    matches_later: ClassVar[bool]
    in_bulk: ClassVar[bool]
    tables: dict[str, dict[str, Any]]

    def meet(self, **fault: Any) -> None:
        """The fault that every request meets from now on, or the next few."""

    def is_well(self) -> None:
        """No fault any more."""

    def ids(self, phone: str) -> list[str]:
        """Everybody who is there under that phone."""

    def join(self, phone: str, email: str, first_name: str) -> None:
        """Another till, or the web shop, makes somebody a member."""

    def change(self, phone: str, field: str, value: Any) -> None:
        """Somebody else changes something of a member's."""

    def leave(self, phone: str) -> None:
        """A member is erased there."""

    def said(self, phone: str) -> dict[str, Any]:
        """What it has of a member, by the names of :data:`FIELDS`."""

    def settle(self) -> None:
        """Books what has come in."""

    def arrived(self) -> dict[str, int]:
        """How often each sale came in."""

    def counts(self) -> dict[str, int]:
        """How often each counts, by its id; one that was given back counts as if it had never been."""

    def whose(self, sale: str) -> str:
        """Whose a sale that counts is."""

    def keys(self) -> dict[str, set[str]]:
        """Under which keys each sale came."""

    def voucher(self, phone: str) -> str:
        """A member gets one."""

    def is_used(self, voucher: str) -> bool:
        """Whether it is used up."""

    def use(self, voucher: str) -> None:
        """Another till uses it up."""


FIELDS = ("first_name", "accepts_email", "terms")
"""What the machine changes of a member: a name, a way of contact, a consent."""


class VoyadoBooks:
    """Voyado Engage."""

    matches_later: ClassVar = True
    in_bulk: ClassVar = False
    simulated: ClassVar[dict[str, Any]] = {}

    def __init__(self, home: Path, clock: PassingClock, port: int) -> None:
        settings = SimulatorSettings(
            root=home / "ftp",
            receipt_interval_s=None,
            export_interval_s=None,
            hard_rate=None,
            voucher_threshold=None,
            **self.simulated,
        )
        self._sim = VoyadoSimulator(settings, now=clock.now, rng=random.Random(20260214))
        self.line = Line(self, port)
        (home / "api.key").write_text(settings.api_keys[0])
        self.tables = {
            "loyalty": {"fallback_level": 4},
            "voyado": {
                "base_url": self.line.url,
                "api_key": f"file:{home / 'api.key'}",
                "feed": "api",
                "requests_per_second": 50,
            },
        }

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Gets to the bulk calls that are due, and answers."""
        self._sim.bulk.run_due()
        await self._sim.app(scope, receive, send)

    def meet(self, **fault: Any) -> None:
        self._sim.faults.add(VoyadoFault(**fault))

    def is_well(self) -> None:
        self._sim.faults.clear()

    def ids(self, phone: str) -> list[str]:
        return [one.contact_id for one in self._sim.state.find("mobilePhone", phone)]

    def join(self, phone: str, email: str, first_name: str) -> None:
        body = {"contactType": "Member", "mobilePhone": phone, "email": email, "firstName": first_name}
        draft = contacts.begin_create(self._sim.state, body, source="web", store=None, approved=True)
        assert isinstance(draft, contacts.Draft)
        contacts.finish_create(self._sim.state, draft)

    def change(self, phone: str, field: str, value: Any) -> None:
        body: dict[str, Any] = {
            "first_name": {"firstName": value},
            "accepts_email": {"preferences": {"acceptsEmail": value}},
            "terms": {"consents": [{"id": TERMS, "value": value}]},
        }[field]
        contacts.update(self._sim.state, self._one(phone), body)

    def leave(self, phone: str) -> None:
        self._sim.state.delete(self._one(phone))

    def said(self, phone: str) -> dict[str, Any]:
        one = self._one(phone)
        terms = [consent["value"] for consent in one.consents if consent["id"] == TERMS]
        return {
            "first_name": one.attributes.get("firstName"),
            "accepts_email": one.preferences["acceptsEmail"],
            "terms": terms[0] if terms else None,
        }

    def settle(self) -> None:
        self._sim.import_receipts_now()

    def arrived(self) -> dict[str, int]:
        return dict(self._sim.receipts.posts)

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for posts in self._sim.receipts.by_contact.values():
            for posted in posts:
                found[posted.receipt_id] = found.get(posted.receipt_id, 0) + 1
        return found

    def whose(self, sale: str) -> str:
        return self._sim.receipts.imported[sale].contact_id or ""

    def keys(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for posted in self._sim.receipts.received:
            found.setdefault(posted.receipt_id, set()).add(posted.match_key)
        return found

    def voucher(self, phone: str) -> str:
        return self._sim.rewards.issue_voucher(self._one(phone).contact_id, amount=20.0).voucher_id

    def is_used(self, voucher: str) -> bool:
        held = (one for vouchers in self._sim.rewards.vouchers.values() for one in vouchers)
        return next(one.redeemed_at is not None for one in held if one.voucher_id == voucher)

    def use(self, voucher: str) -> None:
        self._sim.rewards.redeem_voucher(voucher)

    def _one(self, phone: str) -> Contact:
        (one,) = self._sim.state.find("mobilePhone", phone)
        return one


class VoyadoInBulk(VoyadoBooks):
    """Voyado Engage, where new contacts and changes go by one call, which it gets to later."""

    in_bulk: ClassVar = True
    simulated: ClassVar = {"contact_types": {"Member": "mobilePhone"}, "bulk_delay_s": 20.0}

    def __init__(self, home: Path, clock: PassingClock, port: int) -> None:
        super().__init__(home, clock, port)
        self.tables["voyado"]["member_key"] = "mobile_phone"


class AntavoBooks:
    """Antavo, as the owner of the contacts, whose workspace has fields for a preference and a consent."""

    matches_later: ClassVar = False
    in_bulk: ClassVar = False
    _KEY, _SECRET = "AN1EXAMPLEKEY", "sim-secret"

    def __init__(self, home: Path, clock: PassingClock, port: int) -> None:
        self._sim, self._now = AntavoSimulator({self._KEY: self._SECRET}, now=clock.now), clock.now
        self.line = Line(self._sim, port)
        (home / "key").write_text(self._KEY)
        (home / "secret").write_text(self._SECRET)
        self._joined = 0
        self.tables = {
            "loyalty": {"vendor": "antavo", "primary_key": "contact_id", "fallback_level": 4},
            "antavo": {
                "base_url": self.line.url,
                "read_base_url": self.line.url,
                "api_key": f"file:{home / 'key'}",
                "api_secret": f"file:{home / 'secret'}",
                "environment": "st2",
                "requests_per_minute": 20_000,
                "contact_fields": {
                    "preferences/accepts_email": "accepts_email",
                    f"consents/{TERMS}": "terms",
                    f"consents/{TERMS}/given_at": "terms_at",
                },
            },
        }

    def meet(self, **fault: Any) -> None:
        self._sim.add(AntavoFault(**fault))

    def is_well(self) -> None:
        self._sim.faults.clear()

    def ids(self, phone: str) -> list[str]:
        there = self._sim.books.members.by_id.values()
        return [
            one.id
            for one in there
            if one.fields.get("mobile_phone") == phone and one.fields.get("status") != "opted_out"
        ]

    def join(self, phone: str, email: str, first_name: str) -> None:
        self._joined += 1
        self._sim.add_member(f"medlem-{self._joined}", mobile_phone=phone, email=email, first_name=first_name)

    def change(self, phone: str, field: str, value: Any) -> None:
        (one,) = self.ids(phone)
        dated = {"terms_at": self._now().isoformat(timespec="seconds")} if field == "terms" else {}
        self._sim.add_member(one, **{**self._sim.member(one).fields, field: value, **dated})

    def leave(self, phone: str) -> None:
        (one,) = self.ids(phone)
        self._sim.leave(one)

    def said(self, phone: str) -> dict[str, Any]:
        (one,) = self.ids(phone)
        fields = self._sim.member(one).fields
        return {name: fields.get(name) for name in FIELDS}

    def settle(self) -> None:
        """Events count as they come."""

    def arrived(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for event in self._sim.received:
            if event["action"] == "checkout":
                name = event["data"]["transaction_id"]
                found[name] = found.get(name, 0) + 1
        return found

    def counts(self) -> dict[str, int]:
        back = {name for name, one in self._sim.books.transactions.items() if one.status == "refunded"}
        return {name: count for name, count in self._sim.held().items() if name not in back}

    def whose(self, sale: str) -> str:
        return self._sim.transaction(sale).customer

    def keys(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for event in self._sim.received:
            if event["action"] == "checkout":
                found.setdefault(event["data"]["transaction_id"], set()).add(event["customer"])
        return found

    def voucher(self, phone: str) -> str:
        code = f"KUPONG-{len(self._sim.books.coupons.by_code)}"
        self._sim.give(self.ids(phone)[0], code)
        return code

    def is_used(self, voucher: str) -> bool:
        return bool(self._sim.coupon(voucher)["status"] == "redeemed")

    def use(self, voucher: str) -> None:
        self._sim.books.coupons.redeem(self._sim.coupon(voucher)["customer"], voucher)
