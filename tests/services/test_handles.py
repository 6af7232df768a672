"""Handles of people whom only the vendor knows."""

import pytest

from agent.domain.identifiers import Identifier, IdentifierType
from agent.services.handles import KEPT_S, MOST, Handles, names_of
from tests.fakes import FakeClock, member_key, phone


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


STRONG = {IdentifierType.MEMBER_NUMBER, IdentifierType.CARD_NUMBER}


@pytest.mark.parametrize(
    ("named", "strong"),
    [
        ([], False),
        ([IdentifierType.MEMBER_NUMBER], True),
        ([IdentifierType.MEMBER_NUMBER, IdentifierType.CARD_NUMBER], True),
        ([IdentifierType.MOBILE_PHONE], False),
        ([IdentifierType.MEMBER_NUMBER, IdentifierType.MOBILE_PHONE], False),
    ],
    ids=["by nothing", "a number", "a number or a card", "a phone", "a number or a phone"],
)
def test_how_somebody_was_named(named, strong):
    """As strong as the weakest reading of what was said."""
    handles = Handles(FakeClock())
    handles.named("ref-1", named)
    assert handles.is_named_by("ref-1", STRONG) is strong
    assert not handles.is_named_by("ref-2", STRONG)


def test_the_last_word_counts():
    """Whoever says a member's phone number after them is not them; and a visit ends."""
    clock = FakeClock()
    handles = Handles(clock)
    handles.named("ref-1", [IdentifierType.MEMBER_NUMBER])
    handles.named("ref-1", [IdentifierType.MOBILE_PHONE])
    assert not handles.is_named_by("ref-1", STRONG)
    handles.named("ref-1", [IdentifierType.MEMBER_NUMBER])
    clock.advance(KEPT_S - 1)
    assert handles.is_named_by("ref-1", STRONG)
    clock.advance(1)
    assert not handles.is_named_by("ref-1", STRONG)


def test_not_everybody_s_word_is_kept():
    """Whoever was named longest ago goes first; an erasure, which forgets whose handles they are, leaves the types."""
    handles = Handles(FakeClock())
    for number in range(MOST + 1):
        handles.named(f"ref-{number}", [IdentifierType.MEMBER_NUMBER])
    assert [handles.is_named_by(f"ref-{number}", STRONG) for number in (0, 1, MOST)] == [False, True, True]
    handles.forget()
    assert handles.is_named_by("ref-1", STRONG)


def test_everybody_is_forgotten():
    """No handle leads anywhere, and the next one is another."""
    handles = Handles(FakeClock())
    ref = handles.give(member_key("1"))
    handles.forget()
    assert handles.key(ref) is None
    assert handles.give(member_key("1")) != ref


KEY = member_key("10000421")
ID, NUMBER, CARD = IdentifierType.CONTACT_ID, IdentifierType.MEMBER_NUMBER, IdentifierType.CARD_NUMBER


@pytest.mark.parametrize(
    ("key", "readings", "contact_id", "names"),
    [
        (KEY, [phone()], None, (phone(),)),
        (KEY, [phone()], "c-1", (Identifier(ID, "c-1"), phone())),
        (KEY, [KEY.identifier, phone()], None, ()),
        (KEY, [KEY.identifier], "c-1", (Identifier(ID, "c-1"),)),
        (KEY, [Identifier(NUMBER, "7"), Identifier(CARD, "7")], None, (Identifier(CARD, "7"),)),
    ],
    ids=["a phone", "and the vendor's id", "a number that could be a phone", "a number", "a card that could be one"],
)
def test_what_names_somebody_beside_their_key(key, readings, contact_id, names):
    """What a value could be besides names nobody: who was found by their number was not named by somebody's phone."""
    assert names_of(key, readings, contact_id) == names


def test_every_name_of_a_visit():
    """They add up, until the visit is over or somebody is erased; whether one is new is told."""
    clock = FakeClock()
    handles = Handles(clock)
    card = Identifier(CARD, "7")
    assert handles.named("ref-1", [phone().type], [phone()])
    assert not handles.named("ref-1", [phone().type], [phone()])
    assert not handles.named("ref-1", [NUMBER])
    assert handles.named("ref-1", [CARD], [card])
    assert (handles.names("ref-1"), handles.names("ref-2")) == ((phone(), card), ())
    handles.forget()
    assert (handles.names("ref-1"), handles.is_named_by("ref-1", {CARD})) == ((), True)
    handles.named("ref-1", [CARD], [card])
    assert card.value not in repr(handles._named), "and shows nowhere"
    clock.advance(KEPT_S)
    handles.purge()
    assert (handles.names("ref-1"), handles._named) == ((), {})
