"""How old the replica is, by clocks that lie."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.domain.lease import Ageing, Contents, LeaseRecord, Standing

SEEN_AT = datetime(2026, 2, 14, 15, 0, tzinfo=UTC)
HOUR_S, DAY_S = 3_600.0, 86_400.0
YEAR_S = 365 * DAY_S
TERM = timedelta(days=14)
MONO = 1_000.0


def after(seconds):
    return SEEN_AT + timedelta(seconds=seconds)


def left(age_s=0.0, skew_s=0.0):
    return LeaseRecord(age_s, SEEN_AT, skew_s, Contents.HELD)


@pytest.mark.parametrize(
    ("skew_s", "told_s", "off_s"),
    [
        pytest.param(0, 3 * DAY_S, 3 * DAY_S, id="a clock that is right"),
        pytest.param(0, -3 * DAY_S, 0, id="set back"),
        pytest.param(3 * YEAR_S, 2 * DAY_S - 3 * YEAR_S, 2 * DAY_S, id="still three years behind"),
        pytest.param(3 * YEAR_S, 2 * DAY_S, 2 * DAY_S, id="was three years behind, mended since"),
        pytest.param(-3 * YEAR_S, 2 * DAY_S + 3 * YEAR_S, 2 * DAY_S, id="still three years ahead"),
        pytest.param(-3 * YEAR_S, 2 * DAY_S, 2 * DAY_S, id="was three years ahead, mended since"),
        pytest.param(3 * YEAR_S, -20 * YEAR_S, 0, id="behind as never before"),
    ],
)
def test_the_time_between_two_runs(skew_s, told_s, off_s):
    """The clock is right, or as wrong as the vendor last said: the shorter time that is possible counts."""
    assert left(skew_s=skew_s).off_s(after(told_s)) == off_s
    assert Ageing(left(5, skew_s), after(told_s), MONO).age_s(MONO) == 5 + off_s


@pytest.mark.parametrize(
    ("age_s", "told_s", "run_s", "standing"),
    [
        pytest.param(0, 0, 14 * DAY_S, Standing.VALID, id="on its last second"),
        pytest.param(0, 0, 14 * DAY_S + 1, Standing.RUN_OUT, id="the program ran too long"),
        pytest.param(13 * DAY_S, 2 * DAY_S, 0, Standing.RUN_OUT, id="off over its end"),
        pytest.param(0, 20 * DAY_S, 0, Standing.RUN_OUT, id="off for twenty days"),
        pytest.param(0, 366 * DAY_S, 0, Standing.RUN_OUT, id="off for a year"),
        pytest.param(0, 3 * YEAR_S, 0, Standing.DOUBTFUL, id="a clock that claims three years"),
        pytest.param(0, 3 * YEAR_S, 14 * DAY_S + 1, Standing.RUN_OUT, id="and nobody said otherwise"),
        pytest.param(15 * DAY_S, 3 * YEAR_S, 0, Standing.RUN_OUT, id="it was over before"),
        pytest.param(13 * DAY_S, -3 * YEAR_S, 2 * DAY_S, Standing.RUN_OUT, id="a clock set back saves nothing"),
    ],
)
def test_whether_it_may_be_read(age_s, told_s, run_s, standing):
    """Time in which the program ran counts for certain; a difference of years is doubted."""
    assert Ageing(left(age_s), after(told_s), MONO).standing(MONO + run_s, TERM) is standing


@pytest.mark.parametrize(
    ("told_s", "true_s", "standing"),
    [
        pytest.param(3 * YEAR_S, 2 * DAY_S, Standing.VALID, id="a clock years ahead, two days off"),
        pytest.param(3 * YEAR_S, 3 * YEAR_S, Standing.RUN_OUT, id="it really was off so long"),
        pytest.param(-3 * YEAR_S, 20 * DAY_S, Standing.RUN_OUT, id="a clock set back over twenty days off"),
        pytest.param(0, -2 * DAY_S, Standing.VALID, id="a vendor whose clock is behind"),
    ],
)
def test_the_vendors_word_counts(told_s, true_s, standing):
    """What the vendor says of the time decides, whatever our clock claimed; of one run the first word."""
    ageing = Ageing(left(), after(told_s), MONO)
    ageing.hear(after(true_s + 10), MONO + 10)
    assert ageing.standing(MONO + 10, TERM) is standing
    assert ageing.age_s(MONO + 10) == max(0.0, true_s) + 10
    ageing.hear(after(30 * YEAR_S), MONO + 20)
    assert ageing.standing(MONO + 20, TERM) is standing


def test_a_renewal_counts_from_nothing():
    """By the monotonic clock alone, whatever is heard later."""
    ageing = Ageing(left(13 * DAY_S), after(DAY_S / 2), MONO)
    ageing.renew(after(DAY_S / 2), MONO + 60)
    ageing.hear(after(40 * DAY_S), MONO + 90)
    assert ageing.age_s(MONO + 100) == 40
    assert ageing.standing(MONO + 60 + 14 * DAY_S, TERM) is Standing.VALID
    assert ageing.standing(MONO + 61 + 14 * DAY_S, TERM) is Standing.RUN_OUT


@pytest.mark.parametrize("told_s", [2 * DAY_S, -3 * YEAR_S], ids=["right", "set back"])
def test_what_is_written_down_goes_on_in_the_next_run(told_s):
    """Ten runs of an hour, each begun with the same clock, are ten hours older; the newest instant never goes back."""
    record = left()
    for _ in range(10):
        ageing = Ageing(record, max(record.seen_at, after(told_s)) if told_s > 0 else after(told_s), MONO)
        record = ageing.record(record.contents, after(told_s), MONO + HOUR_S)
    off_s = max(0.0, told_s)
    assert record.age_s == off_s + 10 * HOUR_S
    assert record.seen_at == after(off_s + 10 * HOUR_S)


def test_a_doubted_time_is_not_written_down():
    """A clock that claims years once does not cost the replica at the next start."""
    doubted = Ageing(left(), after(3 * YEAR_S), MONO)
    record = doubted.record(Contents.HELD, after(3 * YEAR_S), MONO + HOUR_S)
    assert (record.age_s, record.seen_at) == (HOUR_S, after(HOUR_S))
    assert Ageing(record, after(2 * HOUR_S), MONO).standing(MONO, TERM) is Standing.VALID


def test_the_vendors_clock_is_written_down():
    """How wrong ours is helps the next run, which begins before anybody is heard."""
    ageing = Ageing(left(), after(-3 * YEAR_S), MONO)
    ageing.hear(after(DAY_S), MONO)
    record = ageing.record(Contents.HELD, after(HOUR_S - 3 * YEAR_S), MONO + HOUR_S)
    assert record == LeaseRecord(DAY_S + HOUR_S, after(DAY_S + HOUR_S), 3 * YEAR_S + DAY_S, Contents.HELD)


def test_a_renewal_without_the_vendors_word_trusts_our_clock():
    """There is nothing better, and the time before it does not matter any more."""
    ageing = Ageing(left(skew_s=7), after(-3 * YEAR_S), MONO)
    ageing.renew(after(HOUR_S), MONO + 10)
    assert ageing.record(Contents.HELD, after(0), MONO + 70) == LeaseRecord(60, after(HOUR_S + 60), 7, Contents.HELD)
