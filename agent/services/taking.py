"""What taking a sale and taking an activity have in common: a door to the outbox, and the answer to the till."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from agent.domain.fallback import Served
from agent.ports import Receipt

_Record_contra = TypeVar("_Record_contra", contravariant=True)


class Recorder(Protocol[_Record_contra]):
    """The outbox's door for one kind of record."""

    async def accept(self, record: _Record_contra, now: datetime, held: Collection[str] = ()) -> Receipt:
        """Puts it on disk; what waits for a vendor of ``held`` is answered as held."""

    def knows(self, id_: str, /) -> bool:
        """Whether one of that id is on disk."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to a sale or an activity.

    Attributes:
        receipt: what is on disk.
        served: how the member was found.
        codes: messages for the cashier's screen.
        looked_up: whether exactly one member was found for whom it names; None when it names nobody, or nobody may be
            looked up. Whom the replica does not find counts as not found: a sale's tag will tell at delivery.
    """

    receipt: Receipt
    served: Served
    codes: tuple[str, ...]
    looked_up: bool | None
