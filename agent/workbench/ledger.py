"""The book of the demonstration: what the till was promised, against what the loyalty system really has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from agent.connectors.voyado.simulator import VoyadoSimulator
from agent.workbench.till import Json, Reply

_KEPT = (200, 202)


@dataclass(frozen=True, slots=True)
class Count:
    """The result, counted at the loyalty system by transaction id.

    Attributes:
        made: sales with a member that the till has an answer for and that were not voided before they were sent.
        delivered: of these, how many the loyalty system has.
        doubled: bookings beyond the first, and sales that should never have arrived.
        lost: of these, how many it does not have.
        guests: sales without a member; there is nothing to deliver.
        voided: sales and their voids that cancelled each other before they were sent.
        risen: tags that rose from secondary to primary on the way.
        repeated: posts that the loyalty system recognised and dropped.
        unmatched: delivered sales whose key the loyalty system knows nobody by.
    """

    made: int
    delivered: int
    doubled: int
    lost: int
    guests: int
    voided: int
    risen: int
    repeated: int
    unmatched: int

    @property
    def sound(self) -> bool:
        """Whether nothing is lost or doubled."""
        return self.made > 0 and self.made == self.delivered and not self.doubled and not self.lost


@dataclass(slots=True)
class Ledger:
    """Every promise of the agent, by transaction id."""

    answered: dict[str, Json | None] = field(default_factory=dict)
    guests: set[str] = field(default_factory=set)
    voided: set[str] = field(default_factory=set)

    def note(self, sale: Json, reply: Reply) -> None:
        """Writes down an answer to a sale; what was refused is no promise, and what was known already no new one."""
        name = sale["transaction_id"]
        if reply.status not in _KEPT or name in self.answered:
            return
        self.answered[name] = reply.body["integration_key"]
        if self.answered[name] is None and sale["type"] != "void" and "new_contact" not in sale:
            self.guests.add(name)

    def note_voided(self, *names: str) -> None:
        """These cancelled each other before they were sent."""
        self.voided.update(names)

    def of_members(self) -> set[str]:
        """The sales under a member's primary key: every system gets them."""
        return {
            name
            for name, key in self.answered.items()
            if (key or {}).get("kind") == "primary" and name not in self.voided
        }

    def count(self, tenant: VoyadoSimulator) -> Count:
        """The result so far."""
        with tenant.lock:
            bookings = Counter(post.receipt_id for posts in tenant.receipts.by_contact.values() for post in posts)
            arrived = {post.receipt_id: post.match_key_type.lower() for post in tenant.receipts.received}
            counts = tenant.counts()
        owed = self.answered.keys() - self.guests - self.voided
        secondary = {name for name in owed if (self.answered[name] or {}).get("kind") == "secondary"}
        risen = {name for name in secondary if arrived.get(name) in ("membernumber", "contactid")}
        return Count(
            made=len(owed),
            delivered=len(owed & arrived.keys()),
            doubled=sum(bookings.values()) - len(bookings) + len(arrived.keys() - owed),
            lost=len(owed - arrived.keys()),
            guests=len(self.guests),
            voided=len(self.voided),
            risen=len(risen),
            repeated=counts.duplicates,
            unmatched=counts.unmatched + counts.ambiguous,
        )
