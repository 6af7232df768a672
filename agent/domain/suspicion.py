"""Whether a record that keeps failing is itself the cause, or only unlucky on a bad line.

A record is to blame when so long a run of failures would be next to impossible on a line that fails as often as it
fails for the others. Failures count only with deliveries of others in between: while all of them fail it is an outage,
which speaks against nobody. The others' rate is estimated with one failure more than was seen, as Laplace's rule of
succession has it, so that a short look at a line is not taken for a proof that it is good.
"""

from __future__ import annotations

from dataclasses import dataclass

BELIEVED = 1e-6
"""How improbable bad luck must be before a record is blamed."""


@dataclass(slots=True)
class _Case:
    """A record that failed: the books at its first failure, and its own share in them since."""

    delivered_before: int
    failed_before: int
    delivered_at_last: int
    failures: int = 0
    counted: int = 0


class Suspicion:
    """The failures of one lane's records, measured against the fate of their neighbours."""

    def __init__(self) -> None:
        self._delivered = self._failed = 0
        self._cases: dict[int, _Case] = {}

    def delivered(self) -> None:
        """A record was delivered."""
        self._delivered += 1

    def knows(self, entry: int) -> bool:
        """Whether a record has failed and its fate is open."""
        return entry in self._cases

    def clear(self, entry: int) -> None:
        """The record's fate is known: delivered, or refused by name."""
        self._cases.pop(entry, None)

    def blames(self, entry: int, *, at_least: int) -> bool:
        """Notes a failure of a record; whether it is to blame, and then its case is closed.

        Args:
            entry: the record.
            at_least: failures, with deliveries of others in between, without which nobody is blamed.
        """
        case = self._cases.get(entry)
        if case is None:
            case = self._cases[entry] = _Case(self._delivered, self._failed, delivered_at_last=-1)
        self._failed += 1
        case.failures += 1
        if self._delivered > case.delivered_at_last:
            case.counted += 1
            case.delivered_at_last = self._delivered
        delivered = self._delivered - case.delivered_before
        failed = self._failed - case.failed_before - case.failures
        bad_luck = ((failed + 1) / (failed + delivered + 2)) ** case.counted
        if case.counted <= at_least or bad_luck > BELIEVED:
            return False
        self.clear(entry)
        return True
