"""The simulated workspace's members: their data, their points, and how they are found."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.connectors.antavo.simulator.history import History
from agent.connectors.antavo.simulator.refusal import Refused, not_found

SEARCHABLE = ("email", "mobile_phone", "membership_id", "first_name", "last_name")
_EXACT = ("email", "membership_id")
_CONTROLS = ("match", "fields", "limit", "offset", "api_key")
_EMPTY = 160211


@dataclass
class Member:
    """One member. Amounts of points are whole numbers, instants are in seconds since 1970."""

    id: str
    created_at: int = 0
    updated_at: int = 0
    fields: dict[str, Any] = field(default_factory=dict)
    score: int = 0
    pending: int = 0
    spent: int = 0

    def external(self, name: str) -> Any:
        """The value of an external id's field."""
        return self.fields.get("external_ids", self.fields).get(name)

    @property
    def spendable(self) -> int:
        """What they can pay with."""
        return self.score - self.spent

    def data(self) -> dict[str, Any]:
        """Their fields as both APIs show them: numbers are a list, however they were given."""
        numbers = self.fields.get("membership_id")
        alone = numbers is not None and not isinstance(numbers, list)
        return self.fields | ({"membership_id": [numbers]} if alone else {})

    def shown(self) -> dict[str, Any]:
        """As the API shows them, without personal data: a workspace can be set up so."""
        return {
            "id": self.id, "status": self.fields.get("status", "active"), "score": self.score, "spent": self.spent,
            "pending": self.pending, "spendable": self.spendable,
        }  # fmt: skip


class Members:
    """All members, by id.

    Attributes:
        by_id: everybody.
        unfiltered: a search lets everybody through, as where the field is not searchable.
        hidden: ids that the Read API's list leaves out, as one that slips from page to page.
        unindexed: ids that no search finds yet, though they are there.
        taken: fields that an event may write; None for any, as whether others are refused is not documented.

    Args:
        now: seconds since 1970.
        history: what happens to members is told there.
    """

    def __init__(self, now: Callable[[], int], history: History) -> None:
        self._now, self._history = now, history
        self.by_id: dict[str, Member] = {}
        self.unfiltered = False
        self.hidden: set[str] = set()
        self.unindexed: set[str] = set()
        self.taken: frozenset[str] | None = None

    def add(self, member_id: str, **fields: Any) -> Member:
        """A new member, or an old one with other data."""
        known = self.by_id.get(member_id)
        if known is None:
            known = self.by_id[member_id] = Member(member_id, self._now())
        self._history.tell("profile" if known.fields else "opt_in", member_id, self._now())
        known.fields, known.updated_at = fields, self._now()
        return known

    def write(self, member_id: str, known: Mapping[str, Any], data: Mapping[str, Any]) -> Member:
        """What an event says of a member over what is known of them. Raises Refused, by this simulator's choice."""
        for name in data:
            if self.taken is not None and name not in self.taken:
                raise Refused(400, 0, f"Property {name} is not a field of this workspace")
        return self.add(member_id, **{**known, **data})

    def opt_out(self, member_id: str) -> None:
        """A member leaves: the id stays, and is in no list of the Read API any more. Raises Refused."""
        self.get(member_id).fields["status"] = "opted_out"
        self._history.tell("opt_out", member_id, self._now())

    def get(self, member_id: str) -> Member:
        """The member of an id, or of `field:value`. Raises Refused."""
        name, colon, value = member_id.partition(":")
        found = self.by_id.get(member_id)
        if found is None and colon:
            found = next((one for one in self.by_id.values() if one.external(name) == value), None)
        if found is None:
            raise not_found("Customer not found", 160212)
        return found

    def search(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Ids, and the fields that were asked for, of those whom every filter fits. Raises Refused."""
        filters = {name: value for name, value in query.items() if name not in _CONTROLS}
        if not filters:
            raise not_found("Search criteria cannot be empty", _EMPTY)
        if query.get("match") == "exact" and not filters.keys() <= {"_id", *_EXACT}:
            raise Refused(400, 300122, "Invalid query")
        limit, offset = int(query.get("limit", 100)), int(query.get("offset", 0))
        shown = [name for name in query.get("fields", "").split(",") if name]
        there = (one for one in self.by_id.values() if one.id not in self.unindexed)
        hits = [one for one in there if self.unfiltered or _fits(one, filters.items())]
        return [
            {"id": one.id, **{name: ({"status": "active"} | one.fields).get(name) for name in shown}}
            for one in hits[offset : offset + limit]
        ]


def _fits(member: Member, filters: Iterable[tuple[str, str]]) -> bool:
    for name, value in filters:
        told = member.id if name == "_id" else member.fields.get(name) if name in SEARCHABLE else None
        if value not in (told if isinstance(told, list) else [told]):
            return False
    return True
