"""Who is to blame for a run of failures: the record, or the line."""

import random

import pytest

from agent.domain.suspicion import Suspicion


def test_an_outage_blames_nobody():
    """While nothing is delivered, failures speak against no record, however many."""
    suspicion = Suspicion()

    assert not any(suspicion.blames(1, at_least=3) for _ in range(1_000))


def test_a_record_that_alone_fails_is_blamed_after_the_least_number_of_failures():
    """On a line on which hundreds pass, one more failure than the least is enough."""
    suspicion = Suspicion()
    tries = 0
    while True:
        for _ in range(300):
            suspicion.delivered()
        tries += 1
        if suspicion.blames(1, at_least=3):
            break

    assert tries == 4


def test_a_quiet_shop_needs_a_few_more():
    """With one delivery between two failures there is less to go by."""
    suspicion = Suspicion()
    tries = 0
    while True:
        suspicion.delivered()
        tries += 1
        if suspicion.blames(1, at_least=3):
            break

    assert 4 < tries <= 10


@pytest.mark.parametrize("lost", [0.1, 0.5, 0.8])
def test_a_bad_line_blames_nobody(lost):
    """Each of ten thousand records fails by chance alone, for as long as it takes: none is blamed."""
    suspicion, rng = Suspicion(), random.Random(1)
    for entry in range(10_000):
        while rng.random() < lost:
            assert not suspicion.blames(entry, at_least=3)
        suspicion.delivered()
        suspicion.clear(entry)


def test_several_bad_records_are_all_found():
    """A tenth of the records never passes: each of them is blamed, and none of the others."""
    suspicion = Suspicion()
    waiting, blamed = list(range(0, 1_000, 10)), set()
    rounds = 0
    while waiting:
        rounds += 1
        for _ in range(9 * len(waiting) if rounds == 1 else 9):
            suspicion.delivered()
        for entry in list(waiting):
            if suspicion.blames(entry, at_least=3):
                blamed.add(entry)
                waiting.remove(entry)
        assert rounds < 2_000

    assert blamed == set(range(0, 1_000, 10))


def test_a_closed_case_begins_anew():
    """A record whose fate became known is judged afresh when it is sent again."""
    suspicion = Suspicion()
    for _ in range(3):
        for _ in range(300):
            suspicion.delivered()
        assert not suspicion.blames(1, at_least=3)
    suspicion.clear(1)
    suspicion.delivered()

    assert not suspicion.blames(1, at_least=3)
