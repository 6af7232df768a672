"""What follows from what is on record of a redemption, and from how its benefit stands."""

import pytest

from agent.domain.redemption import CALL, Reason, RedemptionState, Standing, after_looking, without_asking

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
    assert after_looking(state, standing) == step
