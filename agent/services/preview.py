"""What a sale would earn, while it is still being rung up: asked for within a cashier's patience, or estimated.

Nothing is written down, here or at the loyalty system, and nothing is kept of whom it was for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from agent.domain.arithmetic import open_faults, sum_of_lines
from agent.domain.earning import Basis, EarningRule, Forecast
from agent.domain.fallback import TAG_LEVEL
from agent.domain.identifiers import Identifier, Normaliser
from agent.domain.link import Link
from agent.domain.tagging import Found, Outcome, TaggingPolicy
from agent.domain.transaction import OpenTransaction, Transaction, TransactionType
from agent.errors import InputError
from agent.ports import Clock, Lookup, PointsPreview, Replica
from agent.services.asking import Asking, look_up
from agent.services.contacts import LocalContacts, Newcomers
from agent.services.naming import Misnamed, Named, Names

NO_ID = "preview"
"""What a sale is called at the loyalty system whose till has not named it yet."""
_ASKABLE = (TransactionType.PURCHASE, TransactionType.POINTS_CLAIM)


@dataclass(frozen=True, slots=True)
class Previewed:
    """The answer to "what would it earn".

    Attributes:
        points: None where nobody can say.
        basis: who says so.
        codes: messages for the cashier's screen.
        looked_up: whether somebody was found whom the sale names; None when nobody was looked up.
    """

    points: Decimal | None = field(repr=False)
    basis: Basis
    codes: tuple[str, ...] = ()
    looked_up: bool | None = None


@dataclass(frozen=True, slots=True)
class PreviewPolicy:
    """The part of the configuration that previews obey.

    Attributes:
        tagging: which keys may stand on a sale.
        store_id: of this till.
        till_id: of this till.
        rule: `benefits.estimate`.
    """

    tagging: TaggingPolicy
    store_id: str
    till_id: str
    rule: EarningRule | None = None


class Preview:
    """Says what a sale would earn.

    Args:
        clock: for the instant that a till has not stated.
        normaliser: how this store reads identifiers.
        replica: the local contacts.
        lookup: the vendor's question for people, or None where it has none.
        vendor: the vendor's own preview, or None where it has none.
        asking: how both are asked; its budget is for them together.
        link: what is known of the line.
        policy: the configuration.
        newcomers: who was made at this till.
        misnamed: what no new contact may say in its free attributes.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        normaliser: Normaliser,
        replica: Replica,
        lookup: Lookup | None,
        vendor: PointsPreview | None,
        asking: Asking,
        link: Link,
        policy: PreviewPolicy,
        newcomers: Newcomers | None = None,
        misnamed: Misnamed | None = None,
    ) -> None:
        self._clock, self._policy = clock, policy
        self._names = Names(clock, normaliser, policy.tagging, newcomers, misnamed)
        self._contacts = LocalContacts(replica, policy.tagging, newcomers)
        self._lookup, self._vendor, self._asking, self._link = lookup, vendor, asking, link

    async def of(self, sale: OpenTransaction, *, resolve: bool = True) -> Previewed:
        """What it would earn, within the budget.

        Args:
            sale: well-shaped; what adds up of it is checked here.
            resolve: whether the caller may learn who is a member; no when the look-up ration is used up.

        Raises:
            InputError: it does not add up, or names somebody by what cannot be.
        """
        found = open_faults(sale)
        people = self._names.read(sale, found)
        if found:
            raise InputError(found, "The transaction does not fit.")
        forecast, looked_up = None, None
        if resolve and self._vendor is not None and _is_askable(sale):
            forecast, looked_up = await self._ask(self._vendor, sale, people)
        if forecast is not None and forecast.points is not None:
            return Previewed(forecast.points, Basis.LIVE, (), looked_up)
        if self._is_lost(sale):
            return Previewed(None, Basis.UNAVAILABLE, ("loyalty.unavailable",), looked_up)
        estimate = self._policy.rule.estimate(sale) if self._policy.rule is not None else None
        if estimate is None:
            return Previewed(None, Basis.UNAVAILABLE, ("loyalty.points_unavailable",), looked_up)
        return Previewed(estimate, Basis.ESTIMATE, ("loyalty.points_estimated",), looked_up)

    async def _ask(
        self, vendor: PointsPreview, sale: OpenTransaction, people: Named
    ) -> tuple[Forecast | None, bool | None]:
        """What the vendor says, None when it cannot be asked; and whether somebody was found who was looked up."""
        stated = people.stated
        if stated is not None and stated.kind == "primary" and not people.number:
            keys, readings = [stated], tuple[Identifier, ...]()
        else:
            readings = people.number or people.named or ((stated.identifier,) if stated is not None else ())
            keys = [member.key for member in self._contacts.find(readings)[0] if not member.own]
        found = bool(keys) if readings else None
        askable = [reading for reading in readings if self._lookup is not None and self._lookup.knows(reading)]
        if len(keys) > 1 or not (keys or askable):
            return None, found
        closed = self._as_if_closed(sale)

        async def question() -> Forecast:
            who = Found(Outcome.MATCHED, keys[0]) if keys else await self._look_up(askable)
            if who is None or who.key is None:
                return Forecast(None, member=who is not None and who.outcome is Outcome.AMBIGUOUS)
            return await vendor.points(who.key, closed, timeout_s=self._asking.budget_s, pace=self._asking.spend)

        forecast = await self._asking.ask(question)
        return forecast, found if forecast is None else forecast.member

    async def _look_up(self, readings: Sequence[Identifier]) -> Found | None:
        """Whom the vendor finds; None when it did not answer everything."""
        return await look_up(self._lookup, readings, self._asking) if self._lookup is not None else None

    def _is_lost(self, sale: OpenTransaction) -> bool:
        """Whether the sale would be linked to nobody if it were closed now: nobody can be promised points then."""
        says_who = sale.identifier is not None and sale.new_contact is None
        return says_who and self._policy.tagging.level < TAG_LEVEL and self._link.answers is False

    def _as_if_closed(self, sale: OpenTransaction) -> Transaction:
        """The sale with what it lacks, as it would stand if nothing came on top."""
        return Transaction.model_construct(
            **{
                **dict(sale),
                "transaction_id": sale.transaction_id or NO_ID,
                "store_id": sale.store_id or self._policy.store_id,
                "till_id": sale.till_id or self._policy.till_id,
                "occurred_at": sale.occurred_at or self._clock.now(),
                "total": sum_of_lines(sale),
            }
        )


def _is_askable(sale: OpenTransaction) -> bool:
    """What a return takes back is what its purchase earned: no rule about a cart says that."""
    return sale.type in _ASKABLE and all(line.kind == "purchase" for line in sale.lines)
