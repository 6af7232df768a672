"""Windows: how late a sale may reach a vendor before something of it is lost there. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

WARN_AT: Final = 0.75
"""The share of a window after which somebody has to know: of a day, six hours are left."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time after which a sale is worth less to a vendor, or nothing.

    Attributes:
        length: counted from the sale.
        loss: what is lost then, in words for an administrator that go on from "after 24 h".
    """

    length: timedelta
    loss: str

    def __str__(self) -> str:
        """As an administrator reads it."""
        hours = self.length // timedelta(hours=1)
        return f"after {hours} h {self.loss}" if hours < 72 else f"after {hours // 24} days {self.loss}"  # noqa: PLR2004 - three days


def closing(windows: Sequence[Window], waited: timedelta) -> Window | None:
    """The longest window that a sale which has waited so long is near the end of, or past; None while there is none."""
    near = [window for window in windows if waited >= window.length * WARN_AT]
    return max(near, key=lambda window: window.length, default=None)
