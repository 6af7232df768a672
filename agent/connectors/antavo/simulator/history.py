"""What happened in the simulated workspace, as `GET /customers/-/events` lists it."""

from collections.abc import Mapping
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
        without: actions that the list leaves out: whether an opt-out stands in it is not documented.
    """

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.without: set[str] = set()

    def tell(self, action: str, customer: str, at: int, points: int = 0) -> None:
        """Something happened to a customer."""
        self.told.append({"id": f"{len(self.told):024x}", "action": action, "customer": customer, "at": at,
                          "points": points})  # fmt: skip

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


def _shown(one: Mapping[str, Any]) -> dict[str, Any]:
    stamp = datetime.fromtimestamp(one["at"], UTC).strftime(_FORM)
    return {"id": one["id"], "action": one["action"], "points": one["points"], "timestamp": stamp, "properties": [],
            "Customer": {"id": one["customer"]}}  # fmt: skip


def _within(at: int, bounds: Mapping[str, float]) -> bool:
    tests = {"gt": at.__gt__, "gte": at.__ge__, "lt": at.__lt__, "lte": at.__le__}
    return all(tests[name.rpartition(".")[2]](int(bound)) for name, bound in bounds.items())


def _seconds(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, 300122, "Invalid query") from None
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp()
