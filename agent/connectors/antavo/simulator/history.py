"""What happened in the simulated workspace: as `GET /customers/-/events` lists it, and that of one customer."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from agent.connectors.antavo.simulator.refusal import Refused

_FORM = "%Y-%m-%dT%H:%M:%S.000+0000"
_MOST = 500
_BOUNDS = ("timestamp.gt", "timestamp.gte", "timestamp.lt", "timestamp.lte")


class History:
    """All that happened, in its order.

    Attributes:
        told: each with its instant in seconds.
        without: actions that the lists leave out: whether an opt-out stands in them is not documented.
        unordered: a customer's list takes no notice of the order that was asked for.
    """

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.without: set[str] = set()
        self.unordered = False

    def tell(
        self, action: str, customer: str, at: int, points: int = 0, properties: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        """Something happened to a customer; the event's id."""
        event = f"{len(self.told):024x}"
        self.told.append({"id": event, "action": action, "customer": customer, "at": at, "points": points,
                          "properties": list(properties)})  # fmt: skip
        return event

    def listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of it. Raises Refused."""
        limit, offset = int(query.get("limit", 100)), int(query.get("offset", 0))
        bounds = {name: _seconds(query[name]) for name in _BOUNDS if name in query}
        rows = [one for one in self.told if one["action"] not in self.without and _within(one["at"], bounds)]
        rows.sort(key=lambda one: int(one["at"]), reverse=query.get("order") != "asc")
        taken = rows[offset : offset + min(limit, _MOST)]
        end = offset + len(taken)
        link = f"/customers/-/events?offset={end}" if "limit" in query and end < len(rows) else None
        return {"total": len(rows), "data": [_shown(one) for one in taken], "next": link, "prev": None}

    def of(self, customer: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The first page of what happened to one customer."""
        limit, wanted = int(query.get("limit", 100)), query.get("action")
        rows = [one for one in self.told if one["customer"] == customer and one["action"] not in self.without]
        rows = [one for one in rows if wanted in (None, one["action"])]
        if query.get("order") == "desc" and not self.unordered:
            rows.reverse()
        link = f"/customers/{customer}/events?offset={limit}" if "limit" in query and limit < len(rows) else None
        return {"data": [_own(one) for one in rows[:limit]], "next": link, "prev": None}


def _shown(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**_own(one), "properties": [], "Customer": {"id": one["customer"]}}


def _own(one: Mapping[str, Any]) -> dict[str, Any]:
    stamp = datetime.fromtimestamp(one["at"], UTC).strftime(_FORM)
    return {"id": one["id"], "action": one["action"], "points": one["points"], "timestamp": stamp,
            "properties": one["properties"]}  # fmt: skip


def _within(at: int, bounds: Mapping[str, float]) -> bool:
    tests = {"gt": at.__gt__, "gte": at.__ge__, "lt": at.__lt__, "lte": at.__le__}
    return all(tests[name.rpartition(".")[2]](int(bound)) for name, bound in bounds.items())


def _seconds(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, 300122, "Invalid query") from None
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp()
