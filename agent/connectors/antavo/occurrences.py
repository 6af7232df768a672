"""What a page of Antavo's events says of members: who has to be asked for again, and when it was. Pure.

Sources: the Events API's page on reading back (`data[]` with `timestamp`, `action` and `Customer`), and its vocabulary.
The feed tells of all that happens in a workspace. What moves points alone changes no key of a member, so that nobody is
asked for because of it, unless the replica keeps what it moves. An action of another name may be anything: a merge's
is not documented.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.connectors.antavo.customers import is_usable, text_of

POINTS_ALONE = frozenset({
    "checkout", "checkout_item", "checkout_update", "checkout_update_item", "checkout_accept", "checkout_accept_item",
    "checkout_reject", "checkout_claim", "refund", "refund_item", "partial_refund", "point_add", "point_sub",
    "point_spend", "point_unspend", "reserve_points", "release_points", "coupon", "coupon_assign", "coupon_change",
    "coupon_redeem", "coupon_unredeem", "campaign_bonus", "pending_campaign_bonus", "reward", "activity", "daily_login",
    "daily_purchase",
})  # fmt: skip
_MOVED = frozenset({
    "points", "score", "spent", "expired", "reserved", "spendable", "pending", "member_level", "purchase_total",
    "purchase_count", "purchase_last_date",
})  # fmt: skip
"""Fields that the events above move."""


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a page of events names.

    Attributes:
        changed: who has to be asked for again, each once.
        left: those of them who are said to have opted out.
        left_out: how many have an id that nothing here can carry.
    """

    changed: Sequence[str]
    left: frozenset[str]
    left_out: int


def customers_in(events: Iterable[Mapping[str, Any]], fields: Sequence[str]) -> Named:
    """Whom events name.

    Args:
        events: as they are listed.
        fields: what the replica keeps of a member.
    """
    everything = not _MOVED.isdisjoint(fields)
    counting = [event for event in events if everything or _action(event) not in POINTS_ALONE]
    named = [one for one in dict.fromkeys(map(_customer, counting)) if one]
    usable = [one for one in named if is_usable(one)]
    left = frozenset(_customer(event) for event in counting if _action(event) == "opt_out")
    return Named(usable, left, len(named) - len(usable))


def _action(event: Mapping[str, Any]) -> str:
    return text_of(event.get("action"))


def _customer(event: Mapping[str, Any]) -> str:
    """The customer's id, which stands alone or in an object; the page has a capital letter that others have not."""
    told = event.get("Customer", event.get("customer"))
    return text_of(told.get("id") or told.get("_id")) if isinstance(told, Mapping) else text_of(told)
