"""The simulated account as a whole: its keys, what it holds, and the face that tests and HTTP work through."""

import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from agent.connectors.monetary.simulator.api import build_app
from agent.connectors.monetary.simulator.faults import Fault
from agent.connectors.monetary.simulator.offers import Offers
from agent.connectors.monetary.simulator.receipts import marks_of, read_receipt
from agent.connectors.monetary.simulator.values import Refused, customer_fields
from agent.connectors.simulation.vendor import SimulatedVendor

MARK = "AGENT-RECEIPT"
_FIRST_CUSTOMER = 101
_REPEATS = timedelta(hours=24)
_SAMPLE_TAXES = 0.075


class MonetarySimulator(SimulatedVendor[Fault]):
    """One stateful, made-up business with its locations.

    Args:
        keys: the location of each secret key that it accepts; `holding` is the business itself.
        now: the clock it lives by, aware instants.

    Attributes:
        drops_repeats: a receipt that is the same as one of the last 24 hours is answered with that one, as the sister
            API Pay does; off, as nothing says that this one does.
        echoes_taxes_oddly: Taxes come back as the readme's sample has them, whatever was sent.
        customers: by CustomerID, as they are shown.
        receipts: in the order of arrival, as they were sent, with their ids.
        offers: what customers have been offered, and campaigns.
    """

    def __init__(self, keys: Mapping[str, str], *, now: Callable[[], datetime]) -> None:
        super().__init__(dict(keys), now=now)
        self.drops_repeats, self.echoes_taxes_oddly = False, True
        self.customers: dict[int, dict[str, Any]] = {}
        self._registered = 0
        self.receipts: list[dict[str, Any]] = []
        self._arrivals: list[tuple[datetime, str]] = []
        self.offers = Offers()
        self.app = build_app(self)

    def held(self) -> dict[str, int]:
        """How often each sale counts that its receipts name; a receipt that names none stands under its own id."""
        with self.lock:
            return dict(Counter(name for one in self.receipts for name in marks_of(one, MARK) or [one["ReceiptID"]]))

    def add_customer(self, **fields: Any) -> int:
        """Makes a customer and returns the CustomerID."""
        with self.lock:
            made: int = self.register(fields)["CustomerID"]
            return made

    def forget(self) -> None:
        """Begins anew: nothing received, no faults, the same keys."""
        with self.lock:
            super().forget()
            for kept in (self.customers, self.receipts, self._arrivals):
                kept.clear()
            self.offers, self._registered = Offers(), 0

    def leave(self, customer_id: int) -> None:
        """Nobody has this CustomerID any more, as when the vendor has erased somebody; their receipts stay."""
        with self.lock:
            del self.customers[customer_id]

    def merge(self, customer_id: int, into: int) -> None:
        """Two customers become one, who takes over what only the other one said, and the receipts."""
        with self.lock:
            former = self.customers.pop(customer_id)
            self.customers[into] = {**former, **self.customers[into]}
            for receipt in self.receipts:
                if receipt["CustomerID"] == customer_id:
                    receipt["CustomerID"] = into

    # What the calls do; the lock is held.

    def register(self, body: Any) -> dict[str, Any]:
        """Makes a customer, whoever is there already. Raises Refused."""
        fields = customer_fields(body)
        if not {"ExternalID", "Phone", "Email"} & fields.keys():
            raise Refused(400, "The request is invalid: a customer has an ExternalID, a Phone or an Email.")
        consents = {"AcceptsSMS": False, "AcceptsEmail": False}
        made = {"CustomerID": _FIRST_CUSTOMER + self._registered, **consents, **fields, "Points": 0}
        self.customers[made["CustomerID"]] = made
        self._registered += 1
        return made

    def update(self, customer_id: int, body: Any) -> dict[str, Any]:
        """Puts what is stated in the place of what was there. Raises Refused."""
        customer = self.customer(customer_id)
        customer.update(customer_fields(body))
        return customer

    def customer(self, customer_id: Any) -> dict[str, Any]:
        """A customer. Raises Refused when there is none."""
        found = self.customers.get(customer_id) if isinstance(customer_id, int) else None
        if found is None:
            raise Refused(404, "No customer of this CustomerID.")
        return found

    def search(self, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
        """Those of whom each field begins so, in the order in which they came; everybody without a filter."""
        filters = {name.lower(): value.casefold() for name, value in wanted.items()}

        def fits(customer: dict[str, Any]) -> bool:
            lowered = {name.lower(): str(value).casefold() for name, value in customer.items()}
            return all(lowered.get(name, "").startswith(value) for name, value in filters.items())

        return [customer for customer in self.customers.values() if fits(customer)]

    def take_receipt(self, body: Any, location: str) -> dict[str, Any]:
        """Makes a receipt, however many there are of the same. Raises Refused."""
        receipt, now = read_receipt(body), self.now()
        if self.fault_of("poison", *(row["SKU"] for row in receipt["Skus"])):
            raise Refused(400, "The request is invalid.")
        customer = None if receipt["CustomerID"] is None else self.customer(receipt["CustomerID"])
        if self.drops_repeats:
            for earlier, (at, where) in zip(self.receipts, self._arrivals, strict=True):
                if now - at < _REPEATS and where == location and {**earlier, **receipt} == earlier:
                    return self._shown(earlier)
        used = [row["OfferID"] for row in receipt["Discounts"] if row["OfferID"] is not None]
        self.offers.use(used, receipt["CustomerID"], location, receipt["SubTotal"], now)
        receipt |= {"ReceiptID": uuid.uuid4().hex}
        self.receipts.append(receipt)
        self._arrivals.append((now, location))
        if customer is not None:
            customer["Points"] += int(receipt["Total"])
        return self._shown(receipt)

    def receipts_of(self, customer_id: int) -> list[dict[str, Any]]:
        """All receipts of a customer. Raises Refused when there is none such."""
        self.customer(customer_id)
        return [self._shown(one) for one in self.receipts if one["CustomerID"] == customer_id]

    def receipt(self, receipt_id: str) -> dict[str, Any]:
        """One receipt. Raises Refused when there is none such."""
        found = next((one for one in self.receipts if one["ReceiptID"] == receipt_id), None)
        if found is None:
            raise Refused(404, "No receipt of this ReceiptID.")
        return self._shown(found)

    def buyers(self, location: str) -> set[int]:
        """Customers with a receipt at that location."""
        arrived = zip(self.receipts, self._arrivals, strict=True)
        return {receipt["CustomerID"] for receipt, (_, where) in arrived if where == location}

    def _shown(self, receipt: dict[str, Any]) -> dict[str, Any]:
        return {**receipt, "Taxes": _SAMPLE_TAXES} if self.echoes_taxes_oddly else receipt
