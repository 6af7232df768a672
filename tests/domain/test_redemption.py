"""What follows from what is on record of a redemption, and from how its benefit stands."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.domain.redemption import (
    CALL,
    CARRIED_OUT_WITHIN,
    CLOCKS_APART,
    Reason,
    RedemptionState,
    Standing,
    Trace,
    Use,
    VendorStanding,
    after_looking,
    own_use,
    without_asking,
)

NOW, SECOND = datetime(2026, 11, 20, 9, 0, tzinfo=UTC), timedelta(seconds=1)

ASKING, REDEEMED, REFUSED = RedemptionState.ASKING, RedemptionState.REDEEMED, RedemptionState.REFUSED
UNDOING, RELEASED, STUCK = RedemptionState.UNDOING, RedemptionState.RELEASED, RedemptionState.STUCK


@pytest.mark.parametrize(
    ("state", "elsewhere", "answer"),
    [
        (None, False, None),
        (None, True, Reason.USED),
        (REFUSED, False, None),
        (REFUSED, True, Reason.USED),
        (ASKING, False, None),
        (ASKING, True, None),
        (REDEEMED, False, REDEEMED),
        (REDEEMED, True, REDEEMED),
        (UNDOING, False, Reason.RELEASED),
        (RELEASED, False, Reason.RELEASED),
        (STUCK, False, Reason.RELEASED),
        (RELEASED, True, Reason.RELEASED),
    ],
)
def test_what_the_record_says(state, elsewhere, answer):
    """A repeat gets the same answer, what another sale here has used is used, anything else is asked."""
    assert without_asking(state, elsewhere=elsewhere) is answer


@pytest.mark.parametrize(
    ("state", "standing", "step"),
    [
        (None, Standing.AVAILABLE, CALL),
        (None, Standing.USED, Reason.USED),
        (None, Standing.ABSENT, Reason.NOT_THEIRS),
        (REFUSED, Standing.AVAILABLE, CALL),
        (REFUSED, Standing.USED, Reason.USED),
        (ASKING, Standing.AVAILABLE, CALL),
        (ASKING, Standing.USED, REDEEMED),
        (ASKING, Standing.ABSENT, Reason.NOT_THEIRS),
    ],
)
def test_what_follows_from_how_it_stands(state, standing, step):
    """It is asked for while it is there; used up after a lost answer it was used up by that."""
    assert after_looking(state, standing, ours=True) == step


def test_what_another_has_used_up():
    """Whatever this sale has asked for."""
    assert after_looking(RedemptionState.ASKING, Standing.USED, ours=False) is Reason.USED


@pytest.mark.parametrize(
    ("used_at", "asked_at", "since", "ours"),
    [
        (None, NOW, NOW, True),
        (NOW, NOW, None, True),
        (NOW - CLOCKS_APART, NOW, None, True),
        (NOW - CLOCKS_APART - SECOND, NOW, None, False),
        (NOW + CARRIED_OUT_WITHIN, NOW, None, True),
        (NOW + CARRIED_OUT_WITHIN + SECOND, NOW, None, False),
        (NOW + 99 * CARRIED_OUT_WITHIN, None, NOW, True),
        (NOW - CLOCKS_APART - SECOND, None, NOW, False),
        (NOW, None, None, True),
    ],
    ids=[
        "nobody knows when",
        "then",
        "as early as clocks may be apart",
        "earlier",
        "as late as it may be carried out",
        "later",
        "after it was accepted",
        "before it was accepted",
        "nobody knows since when",
    ],
)
def test_whose_a_use_is(used_at, asked_at, since, ours):
    """What was used up about when the call went out may have been by it."""
    assert VendorStanding(Standing.USED, used_at).used_by(asked_at, since=since) is ours
    assert not VendorStanding(Standing.AVAILABLE).used_by(asked_at, since=since)
    assert not VendorStanding(Standing.USED, used_at, theirs=False).used_by(asked_at, since=since)


OURS, ELSE = Use("e-1", NOW), Use("e-2", NOW + SECOND)
LATER = NOW + CARRIED_OUT_WITHIN + SECOND


@pytest.mark.parametrize(
    ("uses", "others", "own"),
    [
        ((OURS,), (), OURS),
        ((OURS, ELSE), ("e-2",), OURS),
        ((OURS, ELSE), (), Trace.UNCLEAR),
        ((Use("e-1", NOW, certain=False),), (), Trace.UNCLEAR),
        ((OURS, Use("e-2", NOW, certain=False)), (), Trace.UNCLEAR),
        ((OURS, Use("e-2", NOW, certain=False)), ("e-2",), OURS),
        ((Use("e-1", None),), (), Trace.UNCLEAR),
        ((Use("", NOW, certain=False),), (), Trace.UNCLEAR),
        ((OURS,), ("e-1",), Trace.NOTHING),
        ((), (), Trace.NOTHING),
        ((Use("e-1", NOW - CLOCKS_APART),), (), Use("e-1", NOW - CLOCKS_APART)),
        ((Use("e-1", NOW - CLOCKS_APART - SECOND),), (), Trace.NOTHING),
        ((Use("e-1", NOW + CARRIED_OUT_WITHIN),), (), Use("e-1", NOW + CARRIED_OUT_WITHIN)),
        ((Use("e-1", LATER),), (), Trace.NOTHING),
    ],
)  # fmt: skip
def test_the_use_that_a_lost_call_made(uses, others, own):
    """The only one about then, if it says of what it is; of several nobody says which."""
    assert own_use(uses, NOW, now=LATER, others=others) == own


@pytest.mark.parametrize(
    ("now", "trace"), [(NOW, Trace.NOT_YET), (LATER - SECOND, Trace.NOT_YET), (LATER, Trace.NOTHING)]
)
def test_a_use_that_does_not_show(now, trace):
    """It may yet, until it can not be carried out any more."""
    assert own_use((), NOW, now=now, others=()) is trace
