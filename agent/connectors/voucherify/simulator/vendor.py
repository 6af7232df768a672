"""The simulated project as a whole: its keys, what it holds, and the face that tests and HTTP work through."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from agent.connectors.simulation.vendor import SimulatedVendor
from agent.connectors.voucherify.simulator.allowance import Allowance
from agent.connectors.voucherify.simulator.api import build_app
from agent.connectors.voucherify.simulator.checks import (
    NotTaken,
    check_customer,
    check_event,
    check_metadata,
    check_order,
)
from agent.connectors.voucherify.simulator.customers import Customers
from agent.connectors.voucherify.simulator.faults import Fault
from agent.connectors.voucherify.simulator.ledger import Ledger
from agent.connectors.voucherify.simulator.loyalty import Program, Programs
from agent.connectors.voucherify.simulator.vouchers import Vouchers

UNLIMITED = 1_000_000


class VoucherifySimulator(SimulatedVendor[Fault]):
    """One stateful, made-up project.

    Args:
        keys: the token of each application id that it accepts.
        now: the clock it lives by, aware instants.
        per_minute: calls that it takes in a minute.

    Attributes:
        allowance: how many calls are left.
        schemas: metadata schemas by object (`order`, `customer`, `event`); without one anything is allowed.
        orders: by `source_id`, as Voucherify would show them.
        customers: by `source_id`, without one by `id`.
        programs: loyalty programmes of version 2, by id.
        vouchers: what was assigned to customers, by id.
        ledger: what happened on loyalty cards of version 1.
        cards: codes of the loyalty cards that exist; an event that names another is answered with 404.
        events: in the order of arrival; each call is one more.
        earned: how often an order became paid, by `source_id`; more than once is points given twice.
        paid: how often an order was sent as paid. Whether a second time earns is not documented.
        requests: calls that were let in, by method and first part of the path.
    """

    def __init__(self, keys: dict[str, str], *, now: Callable[[], datetime], per_minute: int = UNLIMITED) -> None:
        super().__init__(keys, now=now)
        self.allowance = Allowance(per_minute)
        self.schemas: dict[str, Mapping[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.customers = Customers()
        self.cards: set[str] = set()
        self.programs, self.vouchers, self.ledger = Programs(), Vouchers(), Ledger()
        self.events: list[dict[str, Any]] = []
        self.earned: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.app = build_app(self)

    def enrol(self, **customer: Any) -> dict[str, Any]:
        """Somebody becomes a customer elsewhere, or changes what they said."""
        with self.lock:
            return self.write_customer(customer)

    def leave(self, name: str) -> None:
        """A customer is deleted, by either name."""
        with self.lock:
            self.customers.remove(name)

    def held(self) -> dict[str, int]:
        """How often each sale counts: orders that became paid, and returns that orders say are taken off them."""
        with self.lock:
            told = [str(order.get("metadata", {}).get("agent_returns", "")) for order in self.orders.values()]
            back = Counter(name for names in told for name in names.split(",") if name)
            return dict(self.earned | back)  # of an exchange both are one sale

    def forget(self) -> None:
        """Begins anew: nothing received, no faults, the same keys."""
        with self.lock:
            super().forget()
            mine = (self.orders, self.customers, self.events, self.earned, self.paid, self.schemas, self.cards)
            for kept in (*mine, self.programs, self.vouchers, self.ledger):
                kept.clear()

    def join(self, name: str, program: Program, points: int = 0) -> None:
        """A customer, by either name, joins a programme with so many points. Raises NotTaken."""
        with self.lock:
            self.programs.setdefault(program.id, program).cards[self.customers.find(name)["id"]] = points

    def give(self, name: str, code: str, **voucher: Any) -> dict[str, Any]:
        """A voucher is assigned to a customer, by either name; see :meth:`Vouchers.give`. Raises NotTaken."""
        with self.lock:
            return self.vouchers.give(self.customers.find(name)["id"], code, **voucher)

    # What the calls do; the lock is held.

    def redeemables(self, name: str, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of what was assigned to a customer. Raises NotTaken."""
        return self.vouchers.held_by(self.customers.find(name)["id"], query, now=self.now())

    def redeem(self, body: Any) -> dict[str, Any]:
        """Redeems a voucher; the customer that is named is made or updated. Raises NotTaken."""
        if not isinstance(body, dict):
            raise NotTaken("invalid_payload", "A redemption is an object.")
        check_customer(body.get("customer"))
        return self.vouchers.redeem(body, self.write_customer(body["customer"])["id"], now=self.now())

    def transactions(self, code: str, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of what happened on a loyalty card. Raises NotTaken."""
        return self.ledger.of(self.vouchers.card(code), query)

    def adjust(self, code: str, body: Any) -> dict[str, Any]:
        """Adds points to a loyalty card, or takes some off. Raises NotTaken."""
        return self.ledger.adjust(self.vouchers.card(code), body, at=self._stamp())

    def memberships(self, name: str, query: Mapping[str, str]) -> dict[str, Any]:
        """A customer's memberships. Raises NotTaken."""
        return self.programs.of(self.customers.find(name), name, query)

    def examine(self, body: Any) -> dict[str, Any]:
        """What an order would earn in loyalty programmes. Raises NotTaken."""
        return self.programs.examine(body, self.customers.find, self.schemas.get("order"))

    def write_order(self, body: Any, *, source_id: str | None = None) -> dict[str, Any]:
        """Makes an order, or updates the one that has its `source_id`; what is left out stays.

        Args:
            body: as it was sent.
            source_id: from the path.

        Raises:
            NotTaken: it is malformed; it is on purpose refused; the path names an order that is not there.
        """
        order = check_order(body, self.schemas.get("order"))
        name = source_id or order.get("source_id") or f"none-{len(self.orders)}"
        if self.fault_of("poison", name):
            raise NotTaken("invalid_order", "A value of this order is not valid.")
        if source_id is not None:
            self.order(source_id)
        now = self._stamp()
        known = self.orders.get(name)
        held = known or {"id": f"ord_{len(self.orders):08d}", "object": "order", "created_at": now, "status": "CREATED"}
        was_paid = held["status"] == "PAID"
        stated = {key: value for key, value in order.items() if key != "customer"}
        merged = {**held.get("metadata", {}), **stated.get("metadata", {})}
        held = {**held, **stated, "source_id": name, "metadata": merged, "updated_at": now if known else None}
        if "customer" in order:
            customer = self.write_customer(order["customer"])
            held |= {"customer": {"id": customer["id"], "object": "customer"}, "customer_id": customer["id"]}
        held["total_amount"] = held.get("amount", 0)
        if order.get("status") == "PAID":
            self.paid[name] += 1
            if not was_paid:
                self.earned[name] += 1
                self.ledger.accrue(self.vouchers.cards_of(held.get("customer_id")), held, at=now)
        self.orders[name] = held
        return held

    def order(self, source_id: str) -> dict[str, Any]:
        """An order as it is held. Raises NotTaken when there is none."""
        return _found(self.orders, source_id)

    def customer(self, source_id: str) -> dict[str, Any]:
        """A customer as they are held, by either name. Raises NotTaken when there is none."""
        return self.customers.find(source_id)

    def write_customer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Makes a customer, or updates the one that is named. Raises NotTaken."""
        check_metadata(body.get("metadata", {}), self.schemas.get("customer"))
        return self.customers.write(body, now=self._stamp())

    def take_event(self, body: Any) -> dict[str, Any]:
        """Takes an event: one more, whatever came before. Raises NotTaken."""
        event = check_event(body, self.schemas.get("event"))
        if "loyalty" in event and event["loyalty"]["code"] not in self.cards:
            raise NotTaken("not_found", "There is no card of this code.", 404)
        customer = self.write_customer(event["customer"])
        self.events.append(event)
        shown = {"object": "customer", "id": customer["id"], "source_id": customer.get("source_id")}
        return {
            "object": "event",
            "type": event["event"],
            "customer": shown,
            "referral": event.get("referral"),
            "loyalty": event.get("loyalty"),
            "metadata": event.get("metadata", {}),
        }

    def _stamp(self) -> str:
        return self.now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _found(held: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in held:
        raise NotTaken("not_found", "There is nothing under this id.", 404)
    return held[name]
