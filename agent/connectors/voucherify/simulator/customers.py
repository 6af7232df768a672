"""The project's customers: made and updated by either of their names, listed as the vendor lists them, deleted.

Sources: customers pages (upsert by `id` or `source_id`; `source_id` is ignored beside an `id`; a new customer has no
`updated_at`; the orders and filters of the list, its limits). Whether `starting_after` takes in its own instant is not
documented: it is a switch here.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.connectors.voucherify.simulator.checks import NotTaken

MAX_LIMIT, MAX_PAGE = 100, 99
_ORDERS = ("created_at", "-created_at", "updated_at", "-updated_at", "source_id", "-source_id")


class Customers(dict[str, dict[str, Any]]):
    """Customers by `source_id`, those without one by `id`.

    Attributes:
        inclusive: `starting_after` takes in its own instant.
        hidden: names that the list leaves out, though they are there: rows that slip from page to page.
        made: how many there ever were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inclusive = False
        self.hidden: set[str] = set()
        self.made = 0

    def find(self, name: str) -> dict[str, Any]:
        """A customer by either name. Raises NotTaken when there is none."""
        for key, customer in self.items():
            if name in (key, customer["id"]):
                return customer
        raise NotTaken("not_found", "There is nothing under this id.", 404)

    def write(self, body: Mapping[str, Any], *, now: str) -> dict[str, Any]:
        """Makes a customer, or updates the one that is named; what is left out stays.

        Raises:
            NotTaken: an `id` is named that nobody has.
        """
        known = self.find(body["id"]) if body.get("id") else self.get(str(body.get("source_id")))
        if known is None:
            known = {"id": f"cust_{self.made:08d}", "object": "customer", "source_id": None, "created_at": now}
            self.made += 1
            changed: dict[str, Any] = {}
        else:
            changed = {"updated_at": now}
        names = ("id", "source_id") if body.get("id") else ("id",)
        stated = {key: value for key, value in body.items() if key not in names}
        merged = {**known.get("metadata", {}), **body.get("metadata", {})}
        customer = {**known, **stated, **changed, "metadata": merged}
        self[str(customer["source_id"] or customer["id"])] = customer
        return customer

    def remove(self, name: str) -> None:
        """Deletes a customer. Raises NotTaken when there is none."""
        customer = self.find(name)
        del self[str(customer["source_id"] or customer["id"])]

    def listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of the list, as the call answers it. Raises NotTaken: the query is not one."""
        limit, page, order = query.get("limit", "10"), query.get("page", "1"), query.get("order")
        if not _within(limit, MAX_LIMIT) or not _within(page, MAX_PAGE) or (order and order not in _ORDERS):
            raise NotTaken("invalid_query_params", "limit is 1 to 100, page is 1 to 99, order is one of six.")
        field = (order or "-created_at").removeprefix("-")
        backwards = (order or "-created_at").startswith("-")
        rows = [row for name, row in self.items() if name not in self.hidden]
        rows.sort(key=lambda row: row.get(field) or "", reverse=backwards)
        if "email" in query:
            rows = [row for row in rows if row.get("email") == query["email"]]
        if (after := query.get("starting_after")) is not None:
            at = _instant(after)
            rows = [row for row in rows if row.get(field) and self._follows(row[field], at, backwards=backwards)]
        first = (int(page) - 1) * int(limit)
        shown = rows[first : first + int(limit)]
        told = {"object": "list", "data_ref": "customers", "customers": shown, "total": len(rows)}
        return {**told, "has_more": first + len(shown) < len(rows)}

    def _follows(self, text: str, at: datetime, *, backwards: bool) -> bool:
        own = _instant(text)
        return (own < at if backwards else own > at) or (self.inclusive and own == at)


def _within(text: str, most: int) -> bool:
    return text.isdecimal() and 1 <= int(text) <= most


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise NotTaken("invalid_query_params", "starting_after is an ISO 8601 instant.")
    return at
