"""The fallback level in force, and the agent's state.

Voyado's integration principles name four levels of what a till can do without the loyalty system: 1 tell people,
2 tag sales with what the customer says, 3 read a local replica, 4 write to it as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

TAG_LEVEL = 2
REPLICA_LEVEL = 3
WRITE_LEVEL = 4


@dataclass(frozen=True, slots=True)
class Served:
    """How an answer about a person was served.

    Attributes:
        source: ``live``, ``replica`` or ``none``.
        as_of: up to when the source is known to be right; None with ``none``.
        age_s: whole seconds since then; None with ``none``.
        stale: the replica is older than `replica.stale_after`.
        level: the fallback level in force, 1 to 4.
    """

    source: str
    as_of: datetime | None
    age_s: int | None
    stale: bool
    level: int


def served(source: str, *, as_of: datetime | None, now: datetime, stale_after: timedelta, level: int) -> Served:
    """How an answer was served, its age counted."""
    if as_of is None:
        return Served("none", None, None, stale=False, level=level)
    age = max(now - as_of, timedelta())
    stale = source == "replica" and age > stale_after
    return Served(source, as_of, int(age.total_seconds()), stale, level)


def level_served(*, configured: int, vendor_answers: bool, replica_usable: bool, secondary_keys: bool) -> int:
    """The level being served now: the configured one while the vendor answers, less when less does.

    Levels 3 and 4 need nobody but the replica: without it a till that writes contacts tags, as any other.

    Args:
        configured: `loyalty.fallback_level`, 1 to 4.
        vendor_answers: the loyalty system is being reached.
        replica_usable: a loaded replica that has not expired.
        secondary_keys: whether any type may stand in for the primary key.
    """
    if vendor_answers:
        return configured
    if configured >= REPLICA_LEVEL and replica_usable:
        return configured
    return min(configured, TAG_LEVEL if secondary_keys else 1)


def agent_state(*, loyalty_answers: bool | None, link_states: Iterable[str], troubled: bool) -> str:
    """``offline`` when the loyalty system does not answer, ``degraded`` when something is held, parked or stale.

    Args:
        loyalty_answers: None: it was not asked yet.
        link_states: of the lines to every system.
        troubled: a condition stands that degrades.
    """
    if loyalty_answers is False:
        return "offline"
    return "degraded" if troubled or any(state != "online" for state in link_states) else "online"
