"""API keys of a tenant and the pace at which each is used."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

_SECOND = timedelta(seconds=1)


@dataclass(kw_only=True)
class ApiKey:
    """One key: a name for listings, the addresses it may come from, and what it has been used for.

    Attributes:
        name: Shown in place of the key.
        addresses: Allowed client addresses; empty allows any.
        requests: Calls let through.
        warned: Calls above the recommended pace.
        limited: Calls answered 429.
    """

    name: str
    addresses: frozenset[str] = frozenset()
    requests: int = 0
    warned: int = 0
    limited: int = 0
    _recent: deque[datetime] = field(default_factory=deque, repr=False)

    def admit(self, at: datetime, *, warn_rate: int, hard_rate: int | None) -> bool:
        """Whether one more call fits into the second that ends at `at`; a refused call takes up no room."""
        recent = self._recent
        while recent and recent[0] <= at - _SECOND:
            recent.popleft()
        if hard_rate is not None and len(recent) >= hard_rate:
            self.limited += 1
            return False
        recent.append(at)
        self.requests += 1
        self.warned += len(recent) > warn_rate
        return True
