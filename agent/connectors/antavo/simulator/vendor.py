"""The simulated workspace as a whole: its keys, its books, and the face that tests and HTTP work through."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.connectors.antavo.simulator.api import build_app
from agent.connectors.antavo.simulator.events import Books, Transaction
from agent.connectors.antavo.simulator.faults import Fault, transaction_of
from agent.connectors.antavo.simulator.imports import Report, run_import
from agent.connectors.antavo.simulator.members import Member
from agent.connectors.antavo.simulator.queued import Queue
from agent.connectors.antavo.simulator.refusal import Refused, Shape
from agent.connectors.simulation.vendor import SimulatedVendor


class AntavoSimulator(SimulatedVendor[Fault]):
    """One stateful, made-up workspace.

    Args:
        keys: the secret of each API key that it accepts.
        now: the clock it lives by, aware instants.
        environment: what signatures have to be made for.

    Attributes:
        queue: the events that were handed in to be processed later.
        received: every event, repetitions and refused ones included, in the order of arrival.
        requests: calls that were let in, by method and first part of the path.
        shape: the form of its errors.
        errors_are_200: it tells of a refused event with 200 and an `error` in the body.
        unsigned: `api_key` in the address lets in, as in old sandboxes.
    """

    def __init__(self, keys: dict[str, str], *, now: Callable[[], datetime], environment: str = "st2") -> None:
        super().__init__(keys, now=now)
        self.environment = environment
        self.books = Books(lambda: int(self.now().timestamp()))
        self.queue = Queue(lambda: self.keys, now, self.take)
        self.received: list[Any] = []
        self.shape: Shape = "standard"
        self.errors_are_200 = self.unsigned = False
        self.app = build_app(self)

    def add_member(self, member_id: str, **fields: Any) -> Member:
        """A member whom the workspace knows."""
        with self.lock:
            return self.books.members.add(member_id, **fields)

    def give(self, member_id: str, code: str, **fields: Any) -> None:
        """A member gets a coupon."""
        with self.lock:
            self.books.coupons.give(member_id, code, **fields)

    def coupon(self, code: str) -> dict[str, Any]:
        """A coupon as it stands."""
        with self.lock:
            return dict(self.books.coupons.by_code[code])

    def reward(self, reward_id: str, **fields: Any) -> None:
        """The workspace gets a reward, or an old one is changed."""
        with self.lock:
            self.books.rewards.add(reward_id, **fields)

    def rewards_of(self, member_id: str) -> list[str]:
        """The rewards that a member has, a claim each."""
        with self.lock:
            return self.books.rewards.held(member_id)

    def leave(self, member_id: str) -> None:
        """A member opts out. Raises Refused."""
        with self.lock:
            self.books.members.opt_out(member_id)

    def vanish(self, member_id: str) -> None:
        """A member is gone without a word, as after an erasure."""
        with self.lock:
            del self.books.members.by_id[member_id]

    def merge(self, member_id: str, into: str) -> None:
        """A member becomes part of another one; the action's name is this simulator's own."""
        with self.lock:
            self.books.members.get(member_id).fields["status"] = "merged"
            self.books.history.tell("customer_merge", into, int(self.now().timestamp()))
            self.books.history.tell("customer_merge", member_id, int(self.now().timestamp()))

    def member(self, member_id: str) -> Member:
        """A member by id. Raises Refused."""
        with self.lock:
            return self.books.members.get(member_id)

    def transaction(self, transaction_id: str) -> Transaction:
        """A checkout on the books."""
        with self.lock:
            return self.books.transactions[transaction_id]

    def held(self) -> dict[str, int]:
        """How often each checkout counted."""
        with self.lock:
            checkouts = [event for event in self.books.applied if event["action"] == "checkout"]
            return dict(Counter(event["data"]["transaction_id"] for event in checkouts))

    def given_back(self) -> dict[str, int]:
        """How many times a product of each checkout was given back."""
        return dict(Counter(event["data"]["transaction_id"] for event in self.applied("refund_item")))

    def applied(self, action: str) -> list[dict[str, Any]]:
        """The events of one action that counted, in their order."""
        with self.lock:
            return [event for event in self.books.applied if event["action"] == action]

    def forget(self) -> None:
        """Begins anew: nothing received, no members, no faults, the same keys."""
        with self.lock:
            super().forget()
            self.received.clear()
            self.queue.events.clear()
            self.queue.tokens.clear()
            self.books.transactions.clear()
            self.books.applied.clear()
            self.books.members.by_id.clear()
            self.books.coupons.by_code.clear()
            self.books.rewards.forget()
            self.books.history.told.clear()

    def run_import(self, folder: Path) -> Report:
        """Fetches the files of events that lie in a folder. Raises OSError."""
        with self.lock:
            return run_import(folder, self.take)

    def run_due(self) -> None:
        """Processes the events that were handed in, once it is time."""
        with self.lock:
            self.queue.work()

    # What the calls do; the lock is held.

    def take(self, event: Any, *, in_bulk: bool = False) -> dict[str, Any]:
        """Processes one event; what the answer says of it. Raises Refused."""
        self.received.append(event)
        if in_bulk and isinstance(event, dict) and "guest" in event:
            raise Refused(400, 0, "A guest event cannot be in a bulk request")
        poison = self.fault_of("poison", transaction_of(event))
        if poison is not None:
            raise Refused(400, poison.code, "A value of this event is not valid.")
        member, made = self.books.process(event)
        numbered = [{"id": f"{len(self.received):024x}", **one} for one in made]
        return {**(member.shown() if member else {}), "events": numbered}
