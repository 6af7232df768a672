"""The life of a redemption: a benefit used up at the loyalty system for one sale, once, and perhaps given back. Pure.

What is on record before the vendor is asked, what the vendor says of the benefit now, and what follows from both.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Final

from agent.domain.benefits import BenefitKind
from agent.domain.transaction import IntegrationKey


class RedemptionMode(Enum):
    """How a vendor hears that a benefit was used, which says what is done about a lost answer.

    ``ONCE``: by a call. It can be used once, so that the benefit itself shows whether the call was carried out, and the
    call may be repeated. ``FINAL``: the same, and it cannot be given back.

    ``EACH_TIME``: by a call that counts whenever it is made, by many sales and members under one id. A lost one is
    looked for among the uses that the vendor lists, and never repeated blindly; it is given back by its use's name.

    ``BY_SALE``: by a call that counts whenever it is made, and is found again by the sale's id, though not at once.

    ``WITH_SALE``: by the sale alone, which names it: no call says so, and it counts when that sale arrives.

    ``NOTED``: by the sale alone, with which the sender tells what was noted here for it (`Outgoing.spent`).
    """

    ONCE = "once"
    FINAL = "final"
    EACH_TIME = "each_time"
    BY_SALE = "by_sale"
    WITH_SALE = "with_sale"
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class Redeemable:
    """One of a member's benefits, as their vendor is asked about it.

    Attributes:
        key: whose, a primary key.
        kind: of benefit.
        id: which one; of points the sale's id.
        amount: how many points; of anything else what it takes off, as far as anybody says.
        use: the vendor's name of the use that is meant, where there may be several.
    """

    key: IntegrationKey = field(repr=False)
    kind: BenefitKind
    id: str = field(repr=False)
    amount: Decimal | None = None
    use: str = field(default="", repr=False)


class RedemptionState(StrEnum):
    """Where a redemption stands.

    ``QUEUED``: given unasked, under the shop's policy, and the vendor was not told yet. ``SENDING``: the same, and it
    may have been told. ``LOST``: given, and the vendor refused it afterwards: the shop's loss.

    ``ASKING``: on record, and the vendor may have been asked. ``REDEEMED``: used up. ``REFUSED``: it is not, and may be
    asked for again. ``UNDOING``: to be given back, whatever the vendor made of it. ``RELEASED``: not used up, and not
    asked for again in this sale. ``STUCK``: used up, and it cannot be given back; a person has to know.
    """

    QUEUED = "queued"
    SENDING = "sending"
    LOST = "lost"
    ASKING = "asking"
    REDEEMED = "redeemed"
    REFUSED = "refused"
    UNDOING = "undoing"
    RELEASED = "released"
    STUCK = "stuck"


class Standing(StrEnum):
    """What the vendor says of a member's benefit: there to be used, used up, or not theirs."""

    AVAILABLE = "available"
    USED = "used"
    ABSENT = "absent"


CLOCKS_APART: Final = timedelta(minutes=2)
"""How far our idea of the vendor's clock may be off."""
CARRIED_OUT_WITHIN: Final = timedelta(minutes=5)
"""A call that was sent has been carried out by then, or never will be."""


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a benefit that can be used again and again, as the vendor lists a member's.

    Attributes:
        id: the vendor's name of it; it is given back by that.
        at: when, by the vendor's clock; None where nobody can tell.
        certain: it is of this benefit; else the list does not say of which it is.
    """

    id: str = field(repr=False)
    at: datetime | None
    certain: bool = True


class Trace(Enum):
    """What shows of a call to use a benefit up, of which no answer came, where it is not one use alone.

    ``NOTHING``: it was not carried out. ``NOT_YET``: nothing shows, and it may yet. ``UNCLEAR``: several uses may be
    its, or one that may be of another benefit.
    """

    NOTHING = "nothing"
    NOT_YET = "not_yet"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class VendorStanding:
    """How the vendor says that a member's benefit stands.

    Attributes:
        standing: what it says.
        used_at: when it was used up, by its own clock; None where it does not say.
        theirs: used up, it may have been for this member; another member's use is no sale's of theirs.
        uses: of a benefit that can be used again and again, by this member, of late.
        balance: of points, what can be spent.
    """

    standing: Standing
    used_at: datetime | None = None
    theirs: bool = True
    uses: tuple[Use, ...] = ()
    balance: Decimal | None = None

    def used_by(self, asked_at: datetime | None, *, since: datetime | None = None) -> bool:
        """Whether it is used up, and may have been by a sale's own call: what another used at another time was not.

        Args:
            asked_at: when the call went out, by the vendor's clock; None where that is not known.
            since: the call did not go out before.
        """
        if self.standing is not Standing.USED or not self.theirs:
            return False
        if self.used_at is None:
            return True
        if asked_at is not None:
            return asked_at - CLOCKS_APART <= self.used_at <= asked_at + CARRIED_OUT_WITHIN
        return since is None or self.used_at >= since - CLOCKS_APART


def own_use(uses: Iterable[Use], asked_at: datetime, *, now: datetime, others: Collection[str]) -> Use | Trace:
    """The use that a call made of which no answer came: the only one about then that is no other call's.

    Such a benefit shows no end of being there, so that a call is never repeated because it is: only once nothing shows
    of it, and it can not be carried out any more.

    Args:
        uses: of the benefit, and those that may be of it.
        asked_at: when the call went out, by the vendor's clock, as are the others here.
        now: the present instant.
        others: uses that are known to be other calls'.
    """
    from_, until = asked_at - CLOCKS_APART, asked_at + CARRIED_OUT_WITHIN
    found = [use for use in uses if use.id not in others and (use.at is None or from_ <= use.at <= until)]
    if not found:
        return Trace.NOTHING if now > until else Trace.NOT_YET
    certain = len(found) == 1 and found[0].certain and found[0].at is not None
    return found[0] if certain else Trace.UNCLEAR


class Reason(StrEnum):
    """Why a benefit was refused, for whoever programs a till.

    ``WEAK``: the member was only named by what anybody may say. ``USED``: it was used up before. ``EXPIRED``: it is too
    late. ``NOT_THEIRS``: the member does not have it. ``OFFLINE``: nobody can be asked, or no answer came; what the
    vendor made of it is undone. ``RELEASED``: this sale has given it back. ``NOT_OFFERED``: the vendor redeems nothing
    of that kind at a till. ``NOT_RELEASED``: it cannot be given back. ``NOT_ENOUGH``: fewer points are there.
    ``REFUSED``: the vendor says no otherwise.
    """

    WEAK = "weak_identification"
    USED = "used"
    EXPIRED = "expired"
    NOT_THEIRS = "not_theirs"
    OFFLINE = "offline"
    RELEASED = "released"
    NOT_OFFERED = "not_offered"
    NOT_RELEASED = "not_released"
    NOT_ENOUGH = "not_enough"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class VendorWord:
    """What a vendor answers to a redemption or a release.

    Attributes:
        reason: why not; None when it did it.
        code: its own name for that.
        use: its name of what it did, by which that is given back, where the benefit can be used again and again.
    """

    reason: Reason | None = None
    code: str | None = None
    use: str | None = field(default=None, repr=False)


CALL: Final = "call"
"""The vendor is to be asked to redeem it."""
GIVEN_UNASKED: Final = (RedemptionState.QUEUED, RedemptionState.SENDING, RedemptionState.LOST)
_FINAL: Final = (RedemptionState.UNDOING, RedemptionState.RELEASED, RedemptionState.STUCK)


def without_asking(state: RedemptionState | None, *, elsewhere: bool) -> RedemptionState | Reason | None:
    """The answer that the record alone gives; None when the vendor has to be asked.

    Args:
        state: of this redemption; None when there is none.
        elsewhere: another sale here has used the benefit up, or may have.
    """
    if state is RedemptionState.REDEEMED or state in GIVEN_UNASKED:
        return state
    if state in _FINAL:
        return Reason.RELEASED
    return Reason.USED if elsewhere and state is not RedemptionState.ASKING else None


def after_looking(state: RedemptionState | None, standing: Standing, *, ours: bool) -> RedemptionState | Reason | str:
    """What follows from how the benefit stands: it is redeemed, refused, or the vendor is asked to (`CALL`).

    An earlier attempt of this sale whose answer was lost had found it unused: used up now, it was used up by that.

    Args:
        state: of this redemption; None when there is none.
        standing: of the benefit.
        ours: used up, it may have been by this sale's own call.
    """
    if standing is Standing.AVAILABLE:
        return CALL
    if standing is Standing.ABSENT:
        return Reason.NOT_THEIRS
    return RedemptionState.REDEEMED if ours and state is RedemptionState.ASKING else Reason.USED
