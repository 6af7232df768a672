"""The look-up ration: nobody harvests a member list through a till.

Each token has two allowances, one for look-ups that find somebody and a tighter one for those that do not. Which of the
two a look-up costs is known only afterwards, so it sets one of each aside and gives one back: what runs at the same
time cannot overdraw, and who has used up either is refused before any work, so that the refusal tells nothing.
"""

from typing import Final

from agent.domain.pacing import TokenBucket
from agent.settings import Rate

HIT_BURST: Final = 60
MISS_BURST: Final = 20
TOLD_EVERY_S: Final = 60.0
"""Somebody who goes on asking is told of again after so long."""


class Ration:
    """The two allowances of one caller.

    Args:
        hits: look-ups that find somebody.
        misses: look-ups that do not.
    """

    __slots__ = ("_hits", "_misses", "_told_mono")

    def __init__(self, hits: Rate, misses: Rate) -> None:
        self._hits = TokenBucket(hits.per_second or 0.0, HIT_BURST)
        self._misses = TokenBucket(misses.per_second or 0.0, MISS_BURST)
        self._told_mono = float("-inf")

    def reserve(self, now: float) -> float:
        """Sets one of each aside and answers 0, or sets nothing aside and answers the seconds to wait."""
        wait_s = self._hits.wait_s(now)
        if wait_s:
            return wait_s
        wait_s = self._misses.wait_s(now)
        if wait_s:
            self._hits.spend(now, -1.0)
        return wait_s

    def to_be_told(self, now: float) -> bool:
        """Whether an administrator should hear of a look-up that there was nothing left for: not of every one."""
        if now - self._told_mono < TOLD_EVERY_S:
            return False
        self._told_mono = now
        return True

    def hit(self, now: float) -> None:
        """Somebody was found: the other half of what was set aside comes back."""
        self._misses.spend(now, -1.0)

    def miss(self, now: float) -> None:
        """Nobody was found."""
        self._hits.spend(now, -1.0)

    def unused(self, now: float) -> None:
        """Nobody was asked for at all."""
        self._hits.spend(now, -1.0)
        self._misses.spend(now, -1.0)


class Rations:
    """The ration of each caller, from the first look-up on.

    It goes by name: two tokens of one name, while one replaces the other, share it.

    Args:
        hits: as configured.
        misses: as configured.
    """

    def __init__(self, hits: Rate, misses: Rate) -> None:
        self._hits, self._misses = hits, misses
        self._by_name: dict[str, Ration] = {}

    def of(self, name: str) -> Ration:
        """The ration of the caller of that name."""
        found = self._by_name.get(name)
        if found is None:
            found = self._by_name[name] = Ration(self._hits, self._misses)
        return found
