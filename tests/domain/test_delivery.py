"""The life of a delivery, as the door shows it."""

import itertools

import pytest

from agent.domain.delivery import DeliveryState, Verdict, VerdictKind, overall_state, shown_state

S = DeliveryState


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([], S.DELIVERED, id="nothing to deliver"),
        pytest.param([S.DELIVERED], S.DELIVERED, id="delivered"),
        pytest.param([S.DELIVERED, S.QUEUED], S.QUEUED, id="one still waits"),
        pytest.param([S.HELD, S.QUEUED], S.HELD, id="one is held"),
        pytest.param([S.PARKED, S.HELD, S.DELIVERED], S.PARKED, id="one is parked"),
        pytest.param([S.IN_DOUBT, S.PARKED], S.IN_DOUBT, id="one is in doubt"),
        pytest.param([S.DISCARDED, S.DELIVERED], S.PARKED, id="one was given up"),
        pytest.param([S.CANCELLED], S.DELIVERED, id="nothing is owed any more"),
        pytest.param([S.CANCELLED, S.QUEUED], S.QUEUED, id="cancelled counts for nothing"),
    ],
)
def test_the_least_finished_counts(states, expected):
    """A sale is as far as its least finished delivery, in whatever order they stand."""
    for order in itertools.permutations(states):
        assert overall_state(order) is expected


def test_the_door_has_a_word_for_each_state():
    """Every state but a cancelled one is shown in the contract's words."""
    words = {"queued", "held", "delivered", "parked", "in_doubt"}

    assert {shown_state(state).value for state in S if state is not S.CANCELLED} == words


def test_a_verdict_is_a_value():
    """Two readings of the same answer are equal, and nothing is assumed to have arrived or failed."""
    verdict = Verdict(VerdictKind.RETRY, "vendor.offline")

    assert verdict == Verdict(VerdictKind.RETRY, "vendor.offline")
    assert (verdict.reached, verdict.not_received, verdict.alone, verdict.after_s) == (True, False, False, None)
