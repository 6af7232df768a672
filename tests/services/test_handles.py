"""Handles of people whom only the vendor knows."""

from agent.services.handles import KEPT_S, MOST, Handles
from tests.fakes import FakeClock, member_key


def test_a_handle_leads_back_and_says_nothing():
    """The same person has the same one, and nothing of the key stands in it."""
    handles = Handles(FakeClock())
    ref = handles.give(member_key("10000421"))
    assert handles.key(ref) == member_key("10000421")
    assert handles.give(member_key("10000421")) == ref
    assert handles.give(member_key("10000422")) != ref
    assert "10000421" not in ref
    assert handles.key("v_nobody") is None


def test_a_handle_does_not_last():
    """Whoever is asked about again keeps theirs; the others' lead nowhere."""
    clock = FakeClock()
    handles = Handles(clock)
    old, again = handles.give(member_key("1")), handles.give(member_key("2"))
    clock.advance(KEPT_S - 1)
    assert handles.give(member_key("2")) == again
    assert handles.key(old) is not None
    clock.advance(1)
    assert (handles.key(old), handles.key(again)) == (None, member_key("2"))
    assert handles.give(member_key("1")) != old


def test_there_are_never_too_many():
    """Whoever has not been asked about for longest goes first."""
    handles = Handles(FakeClock())
    first, second = handles.give(member_key("1")), handles.give(member_key("2"))
    handles.give(member_key("1"))
    for number in range(10, 10 + MOST - 1):
        handles.give(member_key(number))
    assert (handles.key(first), handles.key(second)) == (member_key("1"), None)


def test_everybody_is_forgotten():
    """No handle leads anywhere, and the next one is another."""
    handles = Handles(FakeClock())
    ref = handles.give(member_key("1"))
    handles.forget()
    assert handles.key(ref) is None
    assert handles.give(member_key("1")) != ref
