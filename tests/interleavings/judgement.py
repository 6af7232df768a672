"""What has to hold: after every step what can be seen at once, and in the end what every single answer has promised."""

from __future__ import annotations

from collections import Counter
from typing import Any

from interleavings.books import Books
from interleavings.promises import Person, Sale, Voucher, traces
from interleavings.shop import Shop

RUNS: Counter[str] = Counter()
"""How many came to their end, by vendor: hypothesis tries out more than it counts."""


class Judgement:
    """Of a shop and of what it was told.

    Attributes:
        shop: the agent and the line.
        vendor: the other end of it.
        people: everybody, by number.
        sales: every one that was accepted, by its id.
        vouchers: every one that was given to a member, by its id.
    """

    shop: Shop
    vendor: Books
    people: dict[int, Person]
    sales: dict[str, Sale]
    vouchers: dict[str, Voucher]

    async def looks(self) -> None:
        """What can be seen at once."""
        status = await self.shop.status()
        codes, queue = {one["code"] for one in status["conditions"]}, status["queue"]
        assert not queue["parked"] or "queue.parked" in codes
        assert not queue["in_doubt"] or "queue.in_doubt" in codes
        assert not queue["held"] or "vendor.credentials_refused" in codes
        self._nothing_twice()
        for them in self.people.values():
            if them.gone:
                assert traces(self.shop.agent.state, them) == {}, "somebody who was erased is back"

    def _nothing_twice(self) -> None:
        arrived = self.vendor.arrived()
        assert arrived.keys() <= self.sales.keys()
        assert set(self.vendor.counts().values()) <= {1}, "a sale counts twice"
        for keys in self.vendor.keys().values():
            assert len(keys) == 1, "a sale went out under two keys"
            assert not any(key.startswith("1042-03-") for key in keys), "a sale went out under this till's number"
        for name, sale in self.sales.items():
            assert sale.arrived is None or arrived.get(name, 0) <= sale.arrived, "what was erased went out"
            assert sale.person is not None or name not in arrived, "a guest's sale went to somebody"
        for them in self.people.values():
            assert len(self.vendor.ids(them.phone)) <= 1, "somebody is a member twice"

    async def ends_well(self) -> None:
        """With the line up and nothing under way."""
        self.vendor.line.kills(None)
        self.vendor.is_well()
        await self.vendor.line.mend()
        await self.looks()
        status = await self._drained()
        self.vendor.settle()
        await self.looks()
        await self._sales_are_there()
        self._people_are_there()
        self._vouchers_are_used()
        RUNS[type(self.vendor).__name__] += 1
        codes = {one["code"] for one in status["conditions"]}
        # A void waits with its sale for as long as that is parked, which is told.
        voided = [name for name, sale in self.sales.items() if sale.void not in (None, name)]
        parked = [name for name in voided if (await self.shop.get(f"/v1/transactions/{name}"))["state"] == "parked"]
        assert status["queue"]["depth"] <= len(parked), status
        assert not codes & {"vendor.offline", "vendor.credentials_refused", "queue.in_doubt"}, codes
        assert not codes & {"contacts.parked"}, codes

    async def _drained(self) -> dict[str, Any]:
        """Every pause has ended, whatever was parked was tried again, and the feed has said what there is."""
        for turn in range(16 if self.vendor.in_bulk else 6):
            self.shop.pass_by(61.0)
            if turn in (1, 3):
                await self.syncs_whole()
                for entry in (await self.shop.get("/v1/queue?state=parked"))["entries"]:
                    await self.shop.call("POST", f"/v1/queue/{entry['entry']}/retry")
            await self.shop.call("POST", "/v1/flush")
            await self.shop.settles()
        return await self.shop.until(_is_well)

    async def _sales_are_there(self) -> None:
        arrived, counts = self.vendor.arrived(), self.vendor.counts()
        for name, sale in self.sales.items():
            told = await self.shop.get(f"/v1/transactions/{name}")
            there = self.vendor.ids(self.people[sale.person].phone) if sale.person is not None else []
            if sale.void is not None:
                void = await self.shop.get(f"/v1/transactions/{sale.void}")
                if void["state"] == "parked" and _code(void) in ("sale.without_lines", "sale.without_member"):
                    continue  # a day later nobody knows whose the sale was, which is told: queue.parked stands
                assert counts.get(name, 0) == counts.get(sale.void, 0) or sale.faint, "half of what was voided is there"
                continue
            if sale.faint or sale.arrived is not None:
                assert told["state"] in ("delivered", "parked"), told
                continue
            if sale.person is not None and not there and not self.vendor.matches_later:
                assert told["state"] == "parked", told
                continue
            assert told["state"] == "delivered", (name, told)
            assert (name in arrived) is (sale.person is not None), f"{name} was said to be delivered"
            if there:
                assert counts.get(name) == 1, f"{name} was said to be delivered, and does not count"
                assert self.vendor.whose(name) == there[0], f"{name} is another's"

    def _people_are_there(self) -> None:
        for them in self.people.values():
            there = self.vendor.ids(them.phone)
            if them.wanted and not them.blurred:
                assert len(there) == 1, "whoever joined is a member"
            if not there or them.blurred:
                continue
            said = self.vendor.said(them.phone)
            for field, may in them.may.items():
                kept_off = field == "accepts_email" and them.entangled and not said[field]
                assert said[field] in may or kept_off, f"{field}: {said[field]!r}, and a till was told {may}"

    def _vouchers_are_used(self) -> None:
        for id_, voucher in self.vouchers.items():
            if not voucher.faint:
                assert self.vendor.is_used(id_) is (voucher.held is not None), f"{id_}: {voucher}"

    async def syncs_whole(self) -> None:
        """Reads the feed; where it was read to its end, the till has heard of who has left."""
        before = (await self.shop.status())["replica"]["as_of"]
        at = self.shop.clock.now().isoformat()
        await self.shop.sync()
        after = (await self.shop.status())["replica"]["as_of"]
        if after is None or after == before or after < at:
            return
        for number, them in self.people.items():
            if them.blurred and not self.vendor.ids(them.phone):
                self.people[number] = Person(number)


def _code(told: dict[str, Any]) -> str | None:
    """Why a sale does not get on."""
    return next((one["last_error"]["code"] for one in told["deliveries"] if one["last_error"]), None)


def _is_well(status: dict[str, Any]) -> bool:
    """The line is up, our credentials are taken, and nothing waits but for a person."""
    refused = any(one["code"] == "vendor.credentials_refused" for one in status["conditions"])
    waits = status["queue"]["depth"] > status["queue"]["parked"]
    return status["state"] != "offline" and not refused and not waits
