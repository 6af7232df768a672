"""While the line is down: a member uses a voucher, somebody becomes a member; afterwards, what became of both."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime

from agent.workbench.stage import PATIENCE_S, POLL_S, Stage
from agent.workbench.tenant import Person
from agent.workbench.till import Json

WORTH_SEK = 50
POLICY = {"voucher": {"amount": "100.00", "currency": "SEK", "per_day": 1, "within": "24h"}}
OFFERS = [{"id": "welcome", "name": "Welcome offer", "percent": 10}]
_OK, _ACCEPTED = 200, 202


@dataclass(slots=True)
class Welcome:
    """The two of them, from chapter to chapter.

    Attributes:
        stage: who takes part.
        saver: has two vouchers.
        newcomer: joins.
    """

    stage: Stage
    saver: Person = field(init=False)
    newcomer: Person = field(init=False)
    _ref: str = field(init=False)
    _sales: list[str] = field(default_factory=list)

    def ask(self) -> None:
        """In the morning, while the loyalty system answers: what the saver has."""
        self.saver = self.stage.tenant.member(45)
        for _ in range(2):
            self.stage.tenant.give_voucher(self.saver, WORTH_SEK)
        found = self.stage.till.identify("member_number", self.saver.member_number or "")
        self._ref = found.body["contact"]["ref"]
        vouchers = self.stage.till.benefits(self._ref).body["vouchers"]
        self.stage.check(
            f"{self.saver.name} looks in: {len(vouchers)} vouchers of {WORTH_SEK} kronor, kept for later",
            right=len(vouchers) == 2,  # noqa: PLR2004 - as many as were given above
        )

    def spend(self, now: datetime) -> None:
        """The saver uses a voucher up, and may not use the other."""
        till, vouchers = self.stage.till, self.stage.till.benefits(self._ref).body["vouchers"]
        sale = self.stage.baskets.purchase(now, _by_number(self.saver))
        redeemed = till.redeem(self._ref, vouchers[0]["id"], sale["transaction_id"])
        self.stage.check(
            f"{self.saver.name} uses a voucher at the shop's risk, within what the shop allows: "
            f"{redeemed.body.get('outcome')}",
            right=(redeemed.status, redeemed.body.get("outcome")) == (_OK, "queued"),
        )
        self._sell(sale)
        second = till.redeem(self._ref, vouchers[1]["id"], f"{sale['transaction_id']}-2")
        self.stage.check(
            f"a second one, which is one a day too many: {second.body.get('outcome')}; the screen says:",
            right=second.body.get("outcome") == "refused",
        )
        self.stage.quote(second, "sv")

    def join(self, now: datetime) -> None:
        """Somebody becomes a member, has what every new member gets, and buys."""
        self.newcomer = self.stage.tenant.stranger("Signe")
        terms = {"id": "memberTerms", "value": True, "text_version": "2026-01", "given_at": now.isoformat()}
        joined = self.stage.till.enrol(
            {
                "first_name": self.newcomer.name,
                "last_name": "Exempel",
                "mobile_phone": self.newcomer.as_said,
                "consents": [{**terms, "place": "1042"}],
            }
        )
        key = joined.body["integration_key"]
        self.stage.check(
            f"{self.newcomer.name} becomes a member, with a number of this till's own ({key['value']}); the screens "
            "say:",
            right=(joined.status, joined.body["state"]) == (_ACCEPTED, "queued"),
        )
        self.stage.quote(joined, "sv")
        offers = self.stage.till.benefits(joined.body["ref"]).body["offers"]
        names = ", ".join(offer["name"] for offer in offers)
        self.stage.check(f"she has what every new member gets: {names}", right=bool(offers))
        self._sell(self.stage.baskets.purchase(now, {"integration_key": key}))

    def arrived(self) -> None:
        """What the loyalty system has of it."""
        found = self.stage.tenant.known_by(self.newcomer.phone)
        numbers = {self.stage.tenant.booked_under(name) for name in self._sales}
        wanted = {self.saver.member_number, *(person.member_number for person in found)}
        self.stage.check(
            f"{self.newcomer.name} is a member there, once, with her consent; her sale is under the number that Voyado "
            "gave her",
            right=len(found) == 1 and numbers == wanted and self.stage.tenant.consented(self.newcomer.phone),
        )
        deadline = time.monotonic() + PATIENCE_S
        while not (used := self.stage.tenant.vouchers_used(self.saver)) and time.monotonic() < deadline:
            time.sleep(POLL_S)  # redemptions go after the sales
        self.stage.check(f"{self.saver.name}'s voucher is used up there, and the other is not", right=used == 1)

    def _sell(self, sale: Json) -> None:
        self.stage.sell(sale)
        self._sales.append(sale["transaction_id"])


def _by_number(person: Person) -> Json:
    return {"identifier": {"type": "member_number", "value": person.member_number}}
