"""Everything that may happen in a shop, at its vendor and between them; what has to hold is judged beside it."""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from interleavings.agents import InProcess
from interleavings.books import FIELDS, TERMS, Books, VoyadoBooks
from interleavings.judgement import Judgement
from interleavings.promises import NAMES, PEOPLE, Person, Sale, Voucher, traces
from interleavings.shop import Shop

T = TypeVar("T")
FAULTS: dict[str, dict[str, Any]] = {
    "drops": {"kind": "drop"},
    "loses answers": {"kind": "drop", "after_processing": True},
    "hangs": {"kind": "hang"},
    "hangs afterwards": {"kind": "hang", "after_processing": True},
    "429": {"kind": "answer", "status": 429, "headers": {"Retry-After": "20"}},
    "500 afterwards": {"kind": "answer", "status": 500, "after_processing": True},
    "503": {"kind": "answer", "status": 503, "body": "html"},
    "401": {"kind": "answer", "status": 401},
}
KEPT_S = 80_000.0
"""Longer than that, and `retention.delivered` may have taken what it was that a sale was about."""
MOST_GIVEN_BACK = 2
"""Voyado gives a voucher back three times at most."""
LINE = {"kind": "purchase", "sku": "SK-77", "name": "Wool socks", "quantity": "2", "gross_paid": "250.00"}
people = st.sampled_from(PEOPLE)
picks = st.integers(0, 59)
"""One of what there is by then: how many that are may depend on who was faster, and what is drawn must not."""


class Interleavings(Judgement, RuleBasedStateMachine):
    """One shop, one vendor, and everything that may happen."""

    books: ClassVar[Callable[..., Books]] = VoyadoBooks
    agent: ClassVar[Any] = InProcess

    def __init__(self) -> None:
        super().__init__()
        root = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.home = Path(tempfile.mkdtemp(dir=root))
        self.shop = Shop(self.home, self.books, self.agent)
        self.vendor, self.call = self.shop.vendor, self.shop.call
        self.people = {number: Person(number) for number in PEOPLE}
        self.sales: dict[str, Sale] = {}
        self.vouchers: dict[str, Voucher] = {}
        self.names = itertools.count()
        self.broken = False

    @initialize(there=st.sets(people), chance=st.integers(0, 999))
    def opens(self, there: set[int], chance: int) -> None:
        """Some are members already."""
        self.vendor.line.chance.seed(chance)
        self.shop.loop.chance.seed(chance)
        for number in sorted(there):
            self._joins_there(self.people[number])
        self.shop.do(self.shop.open())
        self.shop.do(self.shop.settles())

    def teardown(self) -> None:
        try:
            if self.shop.runs and not self.broken:  # else its end would be told in place of what went wrong
                self.shop.do(self.ends_well())
        finally:
            self.shop.end()
            shutil.rmtree(self.home)

    def do(self, work: Any) -> None:
        self.broken = True
        self.shop.do(work)
        self.shop.do(self.looks())
        self.broken = False

    # --- at the till ----------------------------------------------------------------------------------------------

    @rule(number=people, email=st.booleans(), accepts=st.booleans(), terms=st.booleans())
    def joins(self, number: int, *, email: bool, accepts: bool, terms: bool) -> None:
        """Somebody wants to be a member: they are new, or known, or became one elsewhere meanwhile."""
        self.do(self._joins(self.people[number], email=email, accepts=accepts, terms=terms))

    async def _joins(self, them: Person, *, email: bool, accepts: bool, terms: bool) -> None:
        consent = {"id": TERMS, "value": terms, "given_at": self._now(), "place": "1042"}
        body: dict[str, Any] = {"first_name": NAMES[them.number], "mobile_phone": them.phone}
        body |= {"preferences": {"accepts_email": accepts}, "consents": [consent]}
        if email:
            body["email"] = them.email
        them.gone = False
        answer = await self.call("POST", "/v1/contacts", body)
        if self._is_under_way(answer):
            return
        assert answer.status_code in (200, 202), answer.text
        told = answer.json()
        self._knows_number(them, told["integration_key"])
        if them.blurred:
            return
        if told["state"] in ("queued", "delivered"):
            given = {"first_name": body["first_name"], "accepts_email": accepts, "terms": terms}
            them.newcomer = told["state"] == "queued"
            if them.newcomer:
                there = self.vendor.said(them.phone) if self.vendor.ids(them.phone) else {}
                for name, value in given.items():  # of a member, a no is brought there, beside what waits already
                    waits = them.may[name] if name in them.waits and name in there else set()
                    them.may[name] = {value, there.get(name, value)} | waits if value is not False else {value}
                them.wait_for(FIELDS)
            elif not them.wanted:
                them.may.update({name: {value} for name, value in given.items()})
        else:
            assert told["state"] == "existing", told["state"]
        them.asked.add("at the till")

    @rule(number=people, accepts=st.booleans(), terms=st.booleans())
    def joins_here_and_there(self, number: int, *, accepts: bool, terms: bool) -> None:
        """Without the line, while another till makes them a member too."""
        self.the_line_is_cut()
        self.joins(number, email=False, accepts=accepts, terms=terms)
        self.joins_elsewhere(number)
        self.the_line_is_back()

    @rule(
        number=people,
        field=st.sampled_from(FIELDS),
        value=st.booleans(),
        fails=st.sampled_from((None, *sorted(FAULTS))),
    )
    def changes(self, number: int, field: str, *, value: bool, fails: str | None) -> None:
        """A member has another name, or a word about mail or terms; the line may fail just then."""
        if fails:
            self.vendor.meet(**FAULTS[fails], count=1, method="P*")
        self.do(self._changes(self.people[number], field, value=value))

    @rule(number=people)
    def changes_and_changes(self, number: int) -> None:
        """Without the line, and again as soon as it is back: the first may be under way."""
        self.the_line_is_cut()
        self.changes(number, "first_name", value=True, fails=None)
        self.the_line_is_back()
        self.goes_on()
        self.changes(number, "first_name", value=True, fails=None)

    async def _changes(self, them: Person, field: str, *, value: bool) -> None:
        known = await self._finds(them)
        if known is None:
            return
        said: Any = f"{NAMES[them.number]}{next(self.names)}" if field == "first_name" else value
        consents = [{"id": TERMS, "value": value, "given_at": self._now(), "place": "1042"}]
        body = {"first_name": {"first_name": said}, "accepts_email": {"preferences": {"accepts_email": value}}}
        answer = await self.call("PATCH", f"/v1/contacts/{known['ref']}", body.get(field, {"consents": consents}))
        if answer.status_code == 404:
            them.may[field] = them.may.get(field, set()) | {said}  # it may be on disk all the same
            if not them.may[field] - {said}:
                del them.may[field]
            if not self.vendor.ids(them.phone) or them.blurred:
                return
            # Their handle was in memory alone, and went with a kill or with whoever was erased: they are asked for.
            await self._changes(them, field, value=value)
            return
        if self._is_under_way(answer):
            return
        assert answer.status_code == 202, answer.text
        told = answer.json()
        if them.blurred:
            return
        if told["state"] == "delivered":
            them.newcomer = False
            there = self.vendor.said(them.phone)[field]
            assert told["conflicts"] or there == said, f"told as delivered: {field}"
            them.may[field] = {there}
            them.waits.discard(field)
        else:
            # Of a newcomer who turns out to be a member already, what was said no to is brought there, and no more.
            newcomer = them.newcomer and said is not False and self.vendor.ids(them.phone)
            them.may[field] = {said, self.vendor.said(them.phone)[field]} if newcomer else {said}
            them.wait_for([field])

    @rule(number=people, how=st.sampled_from(("phone", "mail", "key", "slip", "gives", "guest")), again=st.booleans())
    def buys(self, number: int, how: str, *, again: bool) -> None:
        """By what they say, by the key that the till was told, as a newcomer, as nobody; sometimes posted twice."""
        self.do(self._buys(self.people[number], how, again=again))

    async def _buys(self, them: Person, how: str, *, again: bool) -> None:
        body: dict[str, Any] = {"identifier": them.by_phone}
        if how == "guest":
            body = {}
        elif how == "slip" and them.own:
            body = {"integration_key": {"kind": "primary", "type": "external_id", "value": them.own[-1]}}
        elif how == "gives":
            body = {"new_contact": {"first_name": NAMES[them.number], "mobile_phone": them.phone}}
        elif how == "key" and (known := await self._finds(them)) is not None:
            body = {"integration_key": known["key"]}
        name = f"s-{len(self.sales)}"
        nobodys = "integration_key" in body and body["integration_key"]["value"] in them.forgotten
        body |= {
            "transaction_id": name, "type": "purchase", "occurred_at": self._now(), "currency": "SEK",
            "total": "250.00", "lines": [LINE], "payments": [{"type": "card", "amount": "250.00"}],
        }  # fmt: skip
        self.sales[name] = Sale(body, None if how == "guest" else them.number, faint=them.blurred or nobodys)
        await self._posts(body)
        if how != "guest":
            them.gone = False
        if how == "gives" and not them.blurred:
            if not self.vendor.ids(them.phone) and not them.wanted:  # whoever is known already says nothing new by it
                them.may.setdefault("first_name", {NAMES[them.number]})
            them.asked.add(name)
        if again:
            await self._posts(body, status=200)

    @rule(which=picks)
    def posts_again(self, which: int) -> None:
        """A POS repeats itself, or says something else under the same name."""
        if self.sales:
            self.do(self._posts_again(_picked(self.sales.values(), which)))

    async def _posts_again(self, sale: Sale) -> None:
        await self._posts(sale.body, status=200)
        other = {**sale.body, "receipt_number": "another"}
        assert (await self.call("POST", "/v1/transactions", other)).status_code == 409
        if sale.person is not None and sale.arrived is not None:
            return
        if sale.person is not None:
            self.people[sale.person].gone = False

    async def _posts(self, body: dict[str, Any], *, status: int | None = None) -> None:
        answer = await self.call("POST", "/v1/transactions", body)
        assert answer.status_code in ((200, 202) if status is None else (status,)), answer.text
        assert answer.json()["duplicate"] is (answer.status_code == 200)

    @rule(which=picks)
    def voids(self, which: int) -> None:
        """The cashier clears a sale, sent or not."""
        open_ = [name for name, one in self.sales.items() if one.void is None]
        if open_:
            self.do(self._voids(_picked(open_, which)))

    async def _voids(self, name: str) -> None:
        sale, void = self.sales[name], f"s-{len(self.sales)}"
        body = {
            "transaction_id": void, "type": "void", "original_transaction_id": name, "occurred_at": self._now(),
            "currency": "SEK", "total": "0.00", "lines": [], "payments": [],
        }  # fmt: skip
        await self._posts(body)
        sale.void = void
        if sale.person is not None:  # who wanted to join by it, and was not sent with it, does not
            them = self.people[sale.person]
            them.asked.discard(name)
            if not them.wanted and not self.vendor.ids(them.phone):
                them.may.clear()
        self.sales[void] = Sale(body, sale.person, faint=sale.faint, arrived=sale.arrived and 0, void=void)

    @rule(
        which=picks,
        looks=st.booleans(),
        again=st.booleans(),
        fails=st.sampled_from((None, *sorted(FAULTS))),
        silent_after=st.sampled_from((None, 0, 1, 2, 3)),
    )
    def uses_a_voucher(
        self, which: int, *, looks: bool, again: bool, fails: str | None, silent_after: int | None
    ) -> None:
        """For a sale of its own, or for the one that it was used up for already; the line may fail just then."""
        if self.vouchers:
            if fails:
                self.vendor.meet(**FAULTS[fails], count=1, method="P*")
            if fails and silent_after is not None:  # so that the answer that was lost cannot be looked up either
                self.vendor.meet(kind="drop", method="GET", skip=silent_after)
            self.do(self._uses(_picked(self.vouchers, which), looks=looks, again=again))

    async def _uses(self, id_: str, *, looks: bool, again: bool) -> None:
        voucher = self.vouchers[id_]
        them = self.people[voucher.person]
        known = await self._finds(them)
        if known is None:
            return
        if looks:
            await self.call("GET", f"/v1/contacts/{known['ref']}/benefits")
        name = voucher.held if again and voucher.held else f"r-{len(self.sales)}-{random.getrandbits(40):x}"
        body = {"ref": known["ref"], "kind": "voucher", "id": id_, "transaction_id": name, "amount": "20.00"}
        answer = await self.call("POST", "/v1/benefits/redeem", body)
        if answer.status_code == 404:
            if not them.blurred:  # as above
                await self._uses(id_, looks=looks, again=again)
            return
        assert answer.status_code == 200, answer.text
        told = answer.json()
        if told["outcome"] != "refused":
            assert voucher.held in (None, name) or voucher.faint, "a voucher was given for two sales"
            voucher.held, voucher.at = name, self.shop.loop.time()
        else:
            forgotten = self.shop.loop.time() - voucher.at > KEPT_S
            assert voucher.held != name or voucher.faint or forgotten, "what was given was taken back unasked"

    @rule(which=picks)
    def gives_a_voucher_back(self, which: int) -> None:
        """Its sale is voided."""
        held = [id_ for id_, one in self.vouchers.items() if one.held and one.back < MOST_GIVEN_BACK]
        if held:
            self.do(self._gives_back(_picked(held, which)))

    async def _gives_back(self, id_: str) -> None:
        voucher = self.vouchers[id_]
        body = {"kind": "voucher", "id": id_, "transaction_id": voucher.held}
        answer = await self.call("POST", "/v1/benefits/release", body)
        forgotten = self.shop.loop.time() - voucher.at > KEPT_S
        if (voucher.faint or forgotten) and answer.status_code == 404:
            return
        assert answer.status_code == 200, answer.text
        assert answer.json()["outcome"] in ("released", "queued") or voucher.faint or forgotten
        if answer.json()["outcome"] == "refused":
            return
        voucher.held, voucher.back = None, voucher.back + 1

    # --- at the vendor --------------------------------------------------------------------------------------------

    def _lets_others(self) -> None:
        """What others do there falls between two answers to the till, not between its question and what it then does.

        Nobody can be asked to prevent that: of two tills that make one person at the same instant, neither hears.
        """
        self.shop.do(self.shop.settles(quiet=5.0))

    @rule(number=people)
    def joins_elsewhere(self, number: int) -> None:
        """Another till makes somebody a member."""
        self._lets_others()
        them = self.people[number]
        if not self.vendor.ids(them.phone) and not them.blurred:
            self._joins_there(them)

    def _joins_there(self, them: Person) -> None:
        them.gone = False
        self.vendor.join(them.phone, them.email, f"{NAMES[them.number]} There")
        for field, value in self.vendor.said(them.phone).items():
            ours = them.may.get(field, set())
            if field not in them.waits:
                them.may[field] = {value}
            elif ours != {False}:  # a no is brought there; all else of whoever is there already is not kept
                them.may[field] = ours | {value}
        self.vouchers[self.vendor.voucher(them.phone)] = Voucher(them.number)

    @rule(number=people, field=st.sampled_from(FIELDS), value=st.booleans())
    def changes_elsewhere(self, number: int, field: str, *, value: bool) -> None:
        """Somebody else changes something of a member's."""
        self._lets_others()
        them = self.people[number]
        if not self.vendor.ids(them.phone):
            return
        before = self.vendor.said(them.phone)[field]
        said: Any = f"{NAMES[them.number]} Else" if field == "first_name" else value
        self.vendor.change(them.phone, field, said)
        if "accepts_email" in them.waits:  # which is not switched on in a contact that has changed since
            them.may["accepts_email"] |= {self.vendor.said(them.phone)["accepts_email"]}
        if field not in them.waits:
            them.may[field] = {said}
        elif before in them.may[field] or field != "first_name":  # ours is there, or is what was there before
            them.may[field] = them.may[field] | {said}

    @rule(number=people)
    def leaves_there(self, number: int) -> None:
        """A member is erased at the vendor, which has booked what it has of theirs."""
        self._lets_others()
        them = self.people[number]
        if self.vendor.ids(them.phone):
            self.vendor.settle()
            counts = self.vendor.counts()
            for name in self.vendor.arrived().keys() - counts.keys():  # of somebody whom it does not have yet
                self.sales[name].faint = True
            self.vendor.leave(them.phone)
            self._faint(number)
            self.people[number] = Person(number, own=them.own, forgotten=them.forgotten, blurred=True)

    @rule(which=picks)
    def uses_a_voucher_elsewhere(self, which: int) -> None:
        """Another till is faster."""
        self._lets_others()
        free = [id_ for id_ in self.vouchers if not self.vendor.is_used(id_)]
        if free:
            id_ = _picked(free, which)
            self.vendor.use(id_)
            self.vouchers[id_].faint = True

    # --- between them ---------------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(sorted(FAULTS)), count=st.sampled_from((1, 2, None)), writes=st.booleans())
    def the_line_fails(self, kind: str, count: int | None, *, writes: bool) -> None:
        """In its own way, once or until further notice."""
        self.vendor.meet(**FAULTS[kind], count=count, method="P*" if writes else "*")

    @rule()
    def the_line_is_cut(self) -> None:
        """Nobody is reached."""
        self.shop.do(self.vendor.line.cut())

    @rule()
    def the_line_is_back(self) -> None:
        """Everything works again."""
        self.vendor.is_well()
        self.shop.do(self.vendor.line.mend())

    @rule(calls=st.integers(0, 2), after=st.booleans())
    def will_be_killed(self, calls: int, *, after: bool) -> None:
        """Kill -9, as it writes to the vendor."""
        self.vendor.line.kills(self.shop.agent.strike, calls=calls, after=after)

    @rule()
    def is_killed(self) -> None:
        """Kill -9, now."""
        self.do(self.shop.kill())

    @rule()
    def starts_again(self) -> None:
        """In order."""
        self.shop.do(self.shop.stop())
        self.do(self.shop.start())

    @rule(seconds=st.sampled_from((11, 100, 4_000, 90_000)))
    def time_passes(self, seconds: int) -> None:
        """Pauses end, and what is due by the hour and by the day is done."""
        self.shop.pass_by(seconds)
        self.do(self.shop.settles())

    @rule()
    def goes_on(self) -> None:
        """The agent has the time that it needs."""
        self.do(self.shop.settles())

    @rule()
    def syncs(self) -> None:
        """What was written here, and by others, comes back by the feed."""
        self.do(self.syncs_whole())

    @rule()
    def purges(self) -> None:
        """By order."""
        self.do(self.call("POST", "/v1/purge"))

    @rule(number=people, by=st.sampled_from(("phone", "mail", "slip")))
    def is_erased(self, number: int, by: str) -> None:
        """By the shop's order: no byte of theirs is left, and nothing of theirs goes out any more."""
        self.do(self._erased(self.people[number], by))

    async def _erased(self, them: Person, by: str) -> None:
        names = [them.by_phone]
        if by == "slip" and them.own:
            names.insert(0, {"type": "external_id", "value": them.own[-1]})
        known = 0
        for name in names:
            answer = await self.call("POST", "/v1/privacy/erase", {"identifier": name})
            assert answer.status_code == 200, answer.text
            known += answer.json()["counts"]["contacts"]
        assert traces(self.shop.agent.state, them) == {}
        self._faint(them.number)
        arrived = self.vendor.arrived()
        for name, sale in self.sales.items():
            if sale.person == them.number and sale.arrived is None:
                sale.arrived = arrived.get(name, 0)
        # Else the feed may yet bring who was named by a phone, or is still made by a call that the vendor has.
        gone = known > 0 or not (self.vendor.in_bulk or self.vendor.ids(them.phone))
        self.people[them.number] = Person(
            them.number, own=them.own, forgotten=tuple(them.own), gone=gone, blurred=them.blurred
        )

    def _is_under_way(self, answer: httpx.Response) -> bool:
        """Nothing of it is kept: the contact is on its way in a call."""
        return self.vendor.in_bulk and answer.status_code == 409

    # --- words ----------------------------------------------------------------------------------------------------

    async def _finds(self, them: Person) -> dict[str, Any] | None:
        """The handle and the key of somebody whom the till knows, by phone."""
        them.gone = False
        answer = await self.call("POST", "/v1/contacts/identify", {"identifier": them.by_phone})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        if found["outcome"] != "matched":
            return None
        self._knows_number(them, found["integration_key"])
        return {"ref": found["contact"]["ref"], "key": found["integration_key"]}

    def _knows_number(self, them: Person, key: dict[str, Any]) -> None:
        if key["value"].startswith("1042-03-") and key["value"] not in them.own:
            them.own.append(key["value"])

    def _faint(self, number: int) -> None:
        for voucher in self.vouchers.values():
            voucher.faint = voucher.faint or voucher.person == number
        for sale in self.sales.values():
            sale.faint = sale.faint or sale.person == number

    def _now(self) -> str:
        return self.shop.clock.now().isoformat()


def _picked(some: Iterable[T], which: int) -> T:
    several = list(some)
    return several[which % len(several)]
