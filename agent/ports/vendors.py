"""A vendor's room, as the services see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.domain.delivery import Verdict
from agent.domain.identifiers import Identifier
from agent.domain.tagging import Found
from agent.domain.transaction import IntegrationKey
from agent.domain.window import Window
from agent.ports.basics import Pace
from agent.ports.enrolments import Writer
from agent.ports.outbox import Guests, Outgoing


class Lookup(Protocol):
    """Asks the vendor who somebody is."""

    def knows(self, identifier: Identifier) -> bool:
        """Whether this vendor can be asked for that type at all."""

    async def find(self, identifier: Identifier, *, timeout_s: float, pace: Pace) -> Found:
        """Who it is. Raises VendorUnreachableError, VendorRefusedError.

        Args:
            identifier: what was said of them.
            timeout_s: longest wait for any one answer.
            pace: awaited before each call: one question may take several.
        """


class Sender(Protocol):
    """Takes sales, and activities where it wants them, to the vendor.

    It classifies; it never sleeps, retries or touches the queue.
    """

    @property
    def batch_size(self) -> int:
        """Sales that one call takes at most; 1 where the vendor takes them one by one."""

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Verdict]:
        """One call; a verdict for each sale, in their order. Never raises for anything the vendor does.

        Args:
            batch: up to ``batch_size`` sales, in the order of the queue, no two of one person.

        Returns:
            As many verdicts as there are sales. SPLIT says that the call was refused for what was in it together, so
            that nothing of the sale was taken: it is sent again in a smaller one, and parked if it was alone.
        """


@dataclass(frozen=True, slots=True)
class Seen:
    """What a member's purchases at a vendor show.

    Attributes:
        counts: how often each sale stands among them; absent ones are left out.
        whole: they were read to the end and name the sales by our ids. If not, a sale that does not show may be there.
    """

    counts: Mapping[str, int]
    whole: bool


class History(Protocol):
    """Asks the vendor what it has on its books of a member: whether sales that it accepted have become purchases."""

    @property
    def settles_s(self) -> float:
        """Seconds within which an accepted sale shows; before, its absence means nothing."""

    async def count(
        self, key: IntegrationKey, transaction_ids: Collection[str], *, pace: Callable[[], Awaitable[None]]
    ) -> Seen:
        """How often each of these sales of one member is on the books.

        Args:
            key: a primary key: whose they are.
            transaction_ids: the sales.
            pace: waits for this agent's share of the vendor's allowance; awaited before each call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """


class Connector(Protocol):
    """A vendor room's face."""

    @property
    def name(self) -> str:
        """The vendor's name."""

    @property
    def guests(self) -> Guests:
        """Which sales without a member the vendor wants."""

    @property
    def connections(self) -> int:
        """Calls under way at once."""

    @property
    def requests_per_second(self) -> float:
        """This agent's share of the key's allowance."""

    @property
    def idle_ping_s(self) -> float:
        """Seconds without an answer after which an idle line is asked for a sign of life; more where a call costs."""

    @property
    def windows(self) -> Sequence[Window]:
        """How late a sale may come before something of it is lost; none where nothing is known of that."""

    @property
    def keeps_time(self) -> bool:
        """Whether a sale counts at its own time there, however late it comes; else at that of its arrival."""

    @property
    def sender(self) -> Sender:
        """Takes sales."""

    @property
    def lookup(self) -> Lookup | None:
        """Says who somebody is; None where the vendor cannot be asked."""

    @property
    def writer(self) -> Writer | None:
        """Makes contacts; None where the vendor's are made elsewhere."""

    @property
    def history(self) -> History | None:
        """Says what is on its books; None where the vendor cannot be asked."""

    async def ping(self) -> None:
        """Any cheap authenticated question. Raises VendorUnreachableError, VendorRefusedError."""

    async def close(self) -> None:
        """Closes connections."""
