"""The life of a delivery: one sale on its way to one vendor.

States and what moves between them::

    queued ──lease──▶ queued (leased) ──done, duplicate──▶ delivered
      ▲  ▲                │  │  └──────hold───────────────▶ held
      │  └────retry───────┘  ├─────────park───────────────▶ parked
      │                      └─────────in_doubt───────────▶ in_doubt
      ├──credentials work again── held
      └──a person: retry───────── parked, in_doubt
    queued, held ──the sale is voided before it was sent──▶ cancelled
    queued (not leased), held, parked, in_doubt ──a person: discard──▶ discarded

Rules: a lease is written before the vendor is called, so whatever happens afterwards the record knows that an
attempt may have arrived. Only a verdict that proves the vendor did not take the record clears that. Nothing leaves
``queued`` or ``held`` because of the number of attempts or of time alone; retention acts on the personal part.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class DeliveryState(StrEnum):
    """Where a delivery stands. The last two are the agent's own: the door shows them as nothing and as parked."""

    QUEUED = "queued"
    HELD = "held"
    DELIVERED = "delivered"
    PARKED = "parked"
    IN_DOUBT = "in_doubt"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


WAITING = frozenset({DeliveryState.QUEUED, DeliveryState.HELD})
_LEAST_FINISHED = (
    DeliveryState.IN_DOUBT,
    DeliveryState.PARKED,
    DeliveryState.HELD,
    DeliveryState.QUEUED,
    DeliveryState.DELIVERED,
)


def in_lane(state: DeliveryState, *, held: bool) -> DeliveryState:
    """The state that a delivery is in: what is queued in a held lane is held, which is never stored."""
    return DeliveryState.HELD if held and state is DeliveryState.QUEUED else state


def shown_state(state: DeliveryState) -> DeliveryState:
    """The state that the door's contract has a word for."""
    return DeliveryState.PARKED if state is DeliveryState.DISCARDED else state


def overall_state(states: Iterable[DeliveryState]) -> DeliveryState:
    """The least finished of a sale's deliveries; `delivered` when there is nothing to deliver."""
    present = {shown_state(state) for state in states}
    return next((state for state in _LEAST_FINISHED if state in present), DeliveryState.DELIVERED)


class VerdictKind(StrEnum):
    """What a vendor's answer means for a record; see the table in docs/source-map.md."""

    DONE = "done"
    DUPLICATE = "duplicate"
    RETRY = "retry"
    SPLIT = "split"
    HOLD = "hold"
    PARK = "park"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A vendor room's reading of one answer. It carries no personal data: vendor words are redacted before.

    Attributes:
        kind: what it means.
        code: our own stable code, such as ``vendor.rejected``.
        status: the HTTP status, or None without an answer.
        title: a short text for a person.
        vendor_code: the vendor's own code name, such as ``ValidationError``.
        after_s: the vendor's `Retry-After`, in seconds; with DONE, how long the next delivery should wait.
        alone: with RETRY, the record itself may be the cause (a 5xx while the vendor answers).
        awaits: with RETRY, the sale waits for something on this side: nothing is said of the line, or against it.
        reached: the vendor answered at all; False means the line is down.
        not_received: the vendor cannot have taken the record (refused connection, 429, 401 ...).
        reference: what the vendor calls the record, when it says so.
        progress: how far a record of several calls has come, in the room's own words: the next attempt is given them.
    """

    kind: VerdictKind
    code: str = ""
    status: int | None = None
    title: str = ""
    vendor_code: str | None = None
    after_s: float | None = None
    alone: bool = False
    awaits: bool = False
    reached: bool = True
    not_received: bool = False
    reference: str | None = None
    progress: str | None = None


DONE = Verdict(VerdictKind.DONE, reached=True)

TAKEN_IN_PART: Final = frozenset({"sale.partly_taken", "sale.maybe_given_back"})
"""Codes of what is in doubt though some of it is known to have been taken: nobody can decide that it did not arrive."""
