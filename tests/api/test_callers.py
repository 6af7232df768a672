"""Strangers wait for their turn, whoever is known does not; and who is hung up on first in a crowd."""

import asyncio

import pytest

from agent.api import callers, protocol
from agent.api.callers import Strangers
from agent.api.protocol import DoorProtocol
from agent.api.visits import GoneError


class Line:
    """A connection as the line of strangers knows it."""

    def __init__(self, *, known=False):
        self.known, self.peer, self.turn = known, None, None


@pytest.fixture
async def pauses(monkeypatch):
    """For how long something was put off, each time."""
    found = []
    loop = asyncio.get_running_loop()
    later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda s, what, *args: found.append(s) or later(s, what, *args))
    return found


async def test_strangers_are_answered_one_after_the_other(pauses):
    """In the order in which they came, and with a pause between two of them, in which others are served."""
    strangers, served = Strangers(), []

    async def call(number):
        await strangers.turn(Line())
        served.append((number, len(pauses)))

    await asyncio.gather(*(call(number) for number in range(5)))
    assert [number for number, _ in served] == [0, 1, 2, 3, 4]
    assert pauses == [callers.PAUSE_S] * 4
    await call(5)  # the line is empty again: there is nobody to wait for
    assert pauses == [callers.PAUSE_S] * 4


async def test_whoever_is_known_does_not_stand_in_the_line():
    """However many strangers wait."""
    strangers = Strangers()
    waiting = [asyncio.ensure_future(strangers.turn(Line())) for _ in range(100)]
    await asyncio.sleep(0)
    known = Line(known=True)
    await strangers.turn(known)
    assert known.turn is None
    assert not waiting[-1].done()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_stranger_who_hangs_up_is_passed_over(pauses):
    """The turn goes to the next at once, and whoever waited is told."""
    strangers, lines = Strangers(), [Line() for _ in range(4)]
    waiting = [asyncio.ensure_future(strangers.turn(line)) for line in lines]
    await asyncio.sleep(0)
    for line in lines[:3]:
        line.turn.set_exception(GoneError())
    told = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 30)
    assert [type(one) for one in told] == [GoneError] * 3 + [type(None)]
    assert callers.PAUSE_S not in pauses


class Cycle:
    """A request under way, or answered."""

    def __init__(self, *, complete):
        self.response_complete = complete


def connection(*, now, since, known=False, asked=True, reading=False, complete=True, unread=False, closing=False):
    one = object.__new__(DoorProtocol)
    one.loop = type("Loop", (), {"time": staticmethod(lambda: now)})
    one.transport = type("Transport", (), {"is_closing": staticmethod(lambda: closing)})
    one.flow = type("Flow", (), {"write_paused": unread})
    one.known, one._begun, one._quiet_since = known, since, since
    one._reading = protocol._BODY if reading else protocol._NOTHING
    one.cycle = one._running = Cycle(complete=complete) if asked else None
    return one


CROWD = {  # in the order in which they go
    "closing": {"since": 0.0, "closing": True},
    "silent": {"since": 1.0, "asked": False},
    "stranger-dribbling": {"since": 2.0, "reading": True, "complete": False},
    "known-dribbling": {"since": 3.0, "known": True, "reading": True, "complete": False},
    "taking-nothing": {"since": 4.0, "known": True, "complete": False, "unread": True},
    "stranger-between-calls": {"since": 5.0},
    "stranger-waiting": {"since": 6.0, "complete": False},
    "just-come": {"since": 9.5, "asked": False},
    "till-between-calls": {"since": 7.0, "known": True},
    "till-sending": {"since": 9.6, "known": True, "reading": True, "complete": False},
}


def test_who_is_waited_for_least_goes_first():
    """Silence before dribbling, strangers before tills, and whom an answer is being worked out for never."""
    crowd = {name: connection(now=10.0, **how).patience() for name, how in CROWD.items()}
    assert sorted(crowd, key=lambda name: crowd[name]) == list(CROWD)
    assert connection(now=10.0, since=1.0, known=True, complete=False).patience() is None


@pytest.mark.parametrize(
    ("crowd", "gone"),
    [
        pytest.param(["till-between-calls", "silent", "stranger-waiting"], 2, id="strangers-all-at-once"),
        pytest.param(["till-between-calls"] * 3, 1, id="of-tills-one"),
        pytest.param(["till-sending", "till-between-calls"], 1, id="tills-before-whoever-sends"),
        pytest.param([], 0, id="nobody"),
    ],
)
def test_room_is_made(crowd, gone):
    """Several strangers go at once, because more will come; of tills no more than has to be."""
    connections = {connection(now=10.0, **CROWD[name]) for name in crowd}
    for one in connections:
        one.drop = lambda one=one: setattr(one, "dropped", True)
    before = set(connections)
    assert protocol._make_room(connections) is (gone > 0)
    assert len(before - connections) == gone
    assert all(one.known is False for one in before - connections) or gone == 1


def test_a_token_cannot_keep_the_others_out(monkeypatch):
    """Requests that are being sent are the last to go, unless they are most of the crowd."""
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 4)
    sending = {connection(now=10.0, **CROWD["till-sending"]) for _ in range(3)}
    till = connection(now=10.0, **CROWD["till-between-calls"])
    connections = {*sending, till}
    for one in connections:
        one.drop = lambda: None
    assert protocol._make_room(connections)
    assert connections == {till}
