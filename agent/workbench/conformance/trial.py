"""What a case works with: the door, the made-up loyalty system behind it, people and goods.

Each case takes people of its own, so that what the loyalty system has of them is that case's alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from agent.connectors.voyado.simulator import Fault
from agent.connectors.voyado.simulator.receipts import Posted
from agent.domain.fallback import REPLICA_LEVEL, TAG_LEVEL
from agent.ports import Clock
from agent.workbench.basket import Baskets
from agent.workbench.conformance.door import Door, Json, Reply
from agent.workbench.conformance.verdict import StrayedError, UnmetError, answered, shown
from agent.workbench.tenant import Person, Tenant

PREFIX: Final = "kit"
POLL_S: Final = 0.05
_KEPT: Final = (200, 202)
_Seen = TypeVar("_Seen")


@dataclass(slots=True)
class Trial:
    """Everything that takes part.

    Attributes:
        door: what is tested.
        tenant: the loyalty system.
        run: stands in the ids of this run's sales, behind :data:`PREFIX`.
        baskets: what is bought, under these ids.
        clock: the time of day.
        level: the fallback level while everything answers.
        patience_s: how long anything that takes its time may take.
        made: the ids of the sales that were kept.
        is_cut: whether the line is.
    """

    door: Door
    tenant: Tenant
    run: str
    baskets: Baskets
    clock: Clock
    level: int
    patience_s: float
    made: list[str] = field(default_factory=list)
    is_cut: bool = False

    # People

    def member(self) -> Person:
        """A member whom no other case has, known by number, phone and address."""
        return self.tenant.next_member()

    def names(self, key: Any, person: Person) -> None:
        """The integration key is that person's own, of either kind that is primary. Raises UnmetError."""
        wanted = {"member_number": person.member_number, "contact_id": self.tenant.contact_id(person)}
        found = key if isinstance(key, dict) else {}
        kind, value = found.get("type"), found.get("value")
        if found.get("kind") != "primary" or value is None or wanted.get(str(kind)) != value:
            raise UnmetError("the member's primary integration key", f"integration_key: {shown(key)}")

    def key_said_by(self, person: Person) -> Json | None:
        """The secondary key of somebody who says their phone number; none at level 1, where nobody is tagged."""
        said = {"kind": "secondary", "type": "mobile_phone", "value": person.phone}
        return said if self.level >= TAG_LEVEL else None

    def tags(self, key: Any, person: Person) -> None:
        """The key in the answer to that person's sale is theirs. Raises UnmetError.

        An agent without a copy asks nobody while the customer waits: it tags with what was said, or, at level 1, with
        nothing, and settles it when it delivers. Raises RationedError where that is why.
        """
        is_primary = isinstance(key, dict) and key.get("kind") == "primary"
        if self.level >= REPLICA_LEVEL and not is_primary:
            self.door.identify("member_number", person.member_number or "")  # beyond the ration any key will do
        if self.level >= REPLICA_LEVEL or is_primary:
            self.names(key, person)
        elif self.level == TAG_LEVEL or key is not None:
            said = [key.get("kind"), key.get("type")] if isinstance(key, dict) else key
            if said not in (["secondary", "mobile_phone"], ["secondary", "email"]):
                raise UnmetError("the member's secondary integration key", f"integration_key: {shown(key)}")

    # Sales

    def purchase(self, who: Mapping[str, Any]) -> Json:
        """A sale that adds up."""
        return self.baskets.purchase(self.clock.now(), who)

    def sell(self, sale: Json) -> Reply:
        """Hands a sale over that has to be kept. Raises UnmetError."""
        reply = self.door.sell(sale)
        answered(reply, *_KEPT)
        if sale["transaction_id"] not in self.made:
            self.made.append(sale["transaction_id"])
        return reply

    def sold(self, who: Mapping[str, Any]) -> Json:
        """A purchase that is kept."""
        sale = self.purchase(who)
        self.sell(sale)
        return sale

    def delivered(self, sale: Json) -> Json:
        """How a sale stands, once it is delivered. Raises UnmetError."""
        name = sale["transaction_id"]
        return self.until(
            "the sale's state: delivered",
            lambda: self.door.sale(name),
            lambda reply: reply.body.get("state") == "delivered",
            lambda reply: f"status {reply.status}, state {shown(reply.body.get('state'))}",
        ).body

    def waiting(self) -> int:
        """How many of the sales that were kept are not delivered."""
        return sum(self.door.sale(name).body.get("state") != "delivered" for name in self.made)

    # The loyalty system
    def has_once(self, person: Person, *sales: Json) -> list[Posted]:
        """The bookings of somebody, which are these sales, each once and in that order, once they are delivered.

        Raises:
            StrayedError: the door says that one is delivered, and it never came.
            UnmetError: they are not.
        """
        wanted = [sale["transaction_id"] for sale in sales]
        what = f"{len(wanted)} of the member's sales at the loyalty system, each once and in order"
        for sale in sales:
            stands = self.delivered(sale)  # without a delivery it is owed to nobody, as a guest's is
            if stands.get("deliveries") != [] and sale["transaction_id"] not in self.tenant.posted():
                raise StrayedError(what, "one that never came, of which the door says: delivered")
        booked = self.until(
            what,
            lambda: list(self._of_this_run(self.tenant.booked(person))),
            lambda booked: len(booked) >= len(wanted) or bool({one.receipt_id for one in booked} - set(wanted)),
            lambda booked: _instead([one.receipt_id for one in booked], wanted),
        )
        if [one.receipt_id for one in booked] != wanted:
            raise UnmetError(what, _instead([one.receipt_id for one in booked], wanted))
        return booked

    def has_none(self, *sales: Json) -> None:
        """The loyalty system was never told of these sales. Raises UnmetError."""
        told = {sale["transaction_id"] for sale in sales} & self.tenant.posted()
        if told:
            raise UnmetError("nothing of it at the loyalty system", f"{len(told)} of {len(sales)} sales were sent")

    def nothing_else(self) -> None:
        """The loyalty system has booked nothing twice, and nothing that was not sold. Raises UnmetError."""
        booked = Counter(one.receipt_id for one in self._of_this_run(self.tenant.every_booking()))
        twice, strange = sum(count > 1 for count in booked.values()), len(booked.keys() - set(self.made))
        if twice or strange:
            raise UnmetError("every booking a sale of this run, once", f"{twice} twice, {strange} that nobody sold")

    def _of_this_run(self, booked: Iterable[Posted]) -> Iterator[Posted]:
        """Without what an earlier run has left at the agent."""
        mine, every = f"{PREFIX}-{self.run}-", f"{PREFIX}-"
        return (one for one in booked if one.receipt_id.startswith(mine) or not one.receipt_id.startswith(every))

    # The line

    def offline(self) -> None:
        """Cuts the line, if it is not cut, and sees to it that the agent knows."""
        if not self.is_cut:
            self.is_cut = True
            self.tenant.cut()
        stranger = self.tenant.stranger().phone

        def look() -> Json:
            if (status := self.door.status()).get("state") != "offline":
                self.door.identify("mobile_phone", stranger)  # who asks nobody misses nobody
            return status

        self.until("the agent's state: offline", look, lambda status: status.get("state") == "offline", _state)

    def online(self) -> None:
        """Mends the line, if it is cut, and waits until the agent has noticed, whatever it calls for."""
        self.mend()
        stranger = self.tenant.stranger().phone
        self.until(
            "a look-up of a stranger that the loyalty system answers: not_found",
            lambda: self.door.identify("mobile_phone", stranger).body.get("outcome"),
            lambda outcome: outcome == "not_found",
            shown,
        )
        self.says("online")

    def mend(self) -> None:
        """Mends the line, if it is cut; who may, tells the agent to try at once."""
        if self.is_cut:
            self.is_cut = False
            self.tenant.mend(lost_answers=0)
        if self.door.admin is not None:
            self.door.order("/v1/flush")

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Meanwhile the loyalty system takes every call, and answers none."""
        fault = self.tenant.simulator.faults.add(Fault(kind="hang"))
        try:
            yield
        finally:
            self.tenant.simulator.faults.remove(fault)
            self.tenant.cut()  # who still waits for an answer hears that there is none
            self.tenant.mend(lost_answers=0)

    def says(self, state: str) -> Json:
        """The status, once it has that state. Raises UnmetError."""
        what = f"the agent's state: {state}"
        return self.until(what, self.door.status, lambda status: status.get("state") == state, _state)

    def until(
        self, what: str, look: Callable[[], _Seen], fits: Callable[[_Seen], bool], show: Callable[[_Seen], str]
    ) -> _Seen:
        """What is seen, once it fits. Raises UnmetError after the patience is over."""
        deadline = time.monotonic() + self.patience_s
        while not fits(seen := look()):
            if time.monotonic() > deadline:
                raise UnmetError(f"{what}, within {self.patience_s:.0f} s", show(seen))
            time.sleep(POLL_S)
        return seen


def _state(status: Json) -> str:
    return shown(status.get("state"))


def _instead(booked: list[str], wanted: list[str]) -> str:
    missing, strange = len(set(wanted) - set(booked)), len(set(booked) - set(wanted))
    twice = len(booked) - len(set(booked))
    told = f"{missing} missing, {twice} twice, {strange} that nobody sold"
    return told if missing or strange or twice else "another order"
