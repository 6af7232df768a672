"""The simulated workspace's Read API: everybody but those who opted out, by when they were made."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agent.connectors.antavo.simulator.members import Member, Members
from agent.connectors.antavo.simulator.refusal import Refused

_MOST = 1_000
_FILTER = "filter[created_at]"
_OPERATORS = ("eq", "lt", "lte", "gt", "gte")


def listed(members: Members, query: Mapping[str, str]) -> dict[str, Any]:
    """A page of members. Raises Refused."""
    limit, offset = _whole(query.get("limit", "20")), _whole(query.get("offset", "0"))
    if not 1 <= limit <= _MOST:
        raise Refused(422, 0, "Validation failed")
    bounds = {name: _second(query[f"{_FILTER}[{name}]"]) for name in _OPERATORS if f"{_FILTER}[{name}]" in query}
    rows = [one for one in members.by_id.values() if _is_listed(one, members.hidden) and _within(one, bounds)]
    if query.get("sort[0][field]") == "created_at":
        rows.sort(key=_made_at, reverse=query.get("sort[0][direction]") == "desc")
    taken = rows[offset : offset + limit]
    end = offset + len(taken)
    links = {"next": f"/v1/customers?offset={end}" if end < len(rows) else None, "previous": None}
    payload = {"customers": [_shown(one) for one in taken]}
    return {"status": "success", "metadata": {"pagination": links}, "payload": payload}


def _is_listed(member: Member, hidden: set[str]) -> bool:
    return member.fields.get("status") != "opted_out" and member.id not in hidden


def _shown(member: Member) -> dict[str, Any]:
    made_at = datetime.fromtimestamp(member.created_at, UTC).isoformat().replace("+00:00", "Z")
    points = {"score": member.score, "spent": member.spent, "expired": 0, "reserved": 0, "pending": member.pending}
    return {"_id": member.id, "status": "active", "created_at": made_at, **points, **member.data()}


def _within(member: Member, bounds: Mapping[str, int]) -> bool:
    at = _made_at(member)
    tests = {"eq": at.__eq__, "gt": at.__gt__, "gte": at.__ge__, "lt": at.__lt__, "lte": at.__le__}
    return all(tests[name](bound) for name, bound in bounds.items())


def _made_at(member: Member) -> int:
    """When they became a customer; before everybody else where it is not said."""
    return 0 if member.fields.get("created_at", "") is None else member.created_at


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise Refused(422, 0, "Validation failed")
    return int(text)


def _second(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(422, 0, "Validation failed") from None
    return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp())
