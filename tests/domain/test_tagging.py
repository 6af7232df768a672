"""Whom a sale belongs to: at the till, and when it is about to be sent."""

import itertools

import pytest

from agent.domain.contact import Member
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.tagging import (
    Decision,
    Found,
    Outcome,
    Settlement,
    Tag,
    TaggingPolicy,
    outcome_of,
    secondary_key,
    settle,
    tag,
    together,
)
from agent.domain.transaction import IntegrationKey

PHONE = Identifier(IdentifierType.MOBILE_PHONE, "+46701740605")
EMAIL = Identifier(IdentifierType.EMAIL, "alma@example.com")
NUMBER = Identifier(IdentifierType.MEMBER_NUMBER, "10000421")
CARD = Identifier(IdentifierType.CARD_NUMBER, "10000421")


def primary(value: str = "10000421") -> IntegrationKey:
    return IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value=value)


def secondary(reading: Identifier = PHONE) -> IntegrationKey:
    return IntegrationKey(kind="secondary", type=reading.type, value=reading.value)


def policy(level: int = 3, kinds: tuple[IdentifierType, ...] = (PHONE.type, EMAIL.type)) -> TaggingPolicy:
    return TaggingPolicy(IdentifierType.MEMBER_NUMBER, kinds, level)


ALMA, BO = Member("a", primary()), Member("b", primary("10000422"))
UP, DOWN = True, False


@pytest.mark.parametrize(
    ("stated", "readings", "members", "rules", "up", "expected"),
    [
        pytest.param(None, [], [], policy(), DOWN, Tag(None, open=False), id="a guest"),
        pytest.param(primary(), [], [], policy(), UP, Tag(primary(), open=False), id="stated primary is believed"),
        pytest.param(primary(), [], [], policy(), DOWN, Tag(primary(), open=False, code="loyalty.offline.tagged"),
                     id="stated primary, line down"),
        pytest.param(secondary(), [], [], policy(), UP, Tag(secondary(), open=True, code="loyalty.points_later"),
                     id="stated secondary may rise"),
        pytest.param(secondary(), [], [], policy(), DOWN, Tag(secondary(), open=True, code="loyalty.offline.tagged"),
                     id="stated secondary, line down"),
        pytest.param(None, [PHONE], [ALMA], policy(), UP, Tag(primary(), open=False), id="known"),
        pytest.param(None, [PHONE], [ALMA], policy(), DOWN, Tag(primary(), open=False, code="loyalty.offline.replica"),
                     id="known, line down"),
        pytest.param(None, [PHONE], [ALMA, BO], policy(), DOWN, Tag(secondary(), open=True, code="loyalty.ambiguous"),
                     id="two share it: nobody is guessed"),
        pytest.param(None, [PHONE], [ALMA, BO], policy(kinds=()), UP, Tag(None, open=True, code="loyalty.ambiguous"),
                     id="two share it, no secondary keys"),
        pytest.param(None, [PHONE], [], policy(), DOWN, Tag(secondary(), open=True, code="loyalty.offline.tagged"),
                     id="unknown, line down"),
        pytest.param(None, [PHONE], [], policy(), UP, Tag(secondary(), open=True, code="loyalty.points_later"),
                     id="unknown, line up"),
        pytest.param(None, [PHONE], [], policy(kinds=()), DOWN,
                     Tag(None, open=True, code="loyalty.offline.untagged"), id="no secondary keys, line down"),
        pytest.param(None, [PHONE], [], policy(kinds=()), UP, Tag(None, open=True, code="loyalty.points_later"),
                     id="no secondary keys, line up"),
        pytest.param(None, [CARD], [], policy(), DOWN, Tag(None, open=True, code="loyalty.offline.untagged"),
                     id="a type that is no secondary key"),
        pytest.param(None, [NUMBER], [], policy(), DOWN, Tag(None, open=True, code="loyalty.offline.tagged"),
                     id="a scanned member number needs no stand-in"),
        pytest.param(None, [PHONE], [], policy(level=2), DOWN,
                     Tag(secondary(), open=True, code="loyalty.offline.tagged"), id="level 2 tags"),
        pytest.param(None, [PHONE], [], policy(level=1), DOWN,
                     Tag(None, open=False, code="loyalty.offline.untagged"), id="level 1 only says so"),
        pytest.param(None, [PHONE], [], policy(level=1), UP, Tag(None, open=True, code="loyalty.points_later"),
                     id="level 1, line up: asked at delivery"),
        pytest.param(None, [NUMBER, PHONE], [], policy(), DOWN,
                     Tag(secondary(), open=True, code="loyalty.offline.tagged"), id="any: the reading that can"),
    ],
)  # fmt: skip
def test_the_tag_at_the_till(*, stated, readings, members, rules, up, expected):
    """What the sale carries, whether it is asked about again, and what the cashier reads."""
    assert tag(stated_key=stated, readings=readings, members=members, policy=rules, vendor_answers=up) == expected


@pytest.mark.parametrize(
    ("readings", "kinds", "expected"),
    [
        pytest.param([PHONE, EMAIL], (PHONE.type, EMAIL.type), PHONE, id="first of the configuration"),
        pytest.param([PHONE, EMAIL], (EMAIL.type, PHONE.type), EMAIL, id="the configuration's order, not the value's"),
        pytest.param([EMAIL], (PHONE.type, EMAIL.type), EMAIL, id="the one that fits"),
        pytest.param([CARD], (PHONE.type, EMAIL.type), None, id="none fits"),
        pytest.param([PHONE], (), None, id="none is allowed"),
    ],
)
def test_the_secondary_key(readings, kinds, expected):
    """It is the first allowed type that the value fits."""
    key = secondary_key(readings, policy(kinds=kinds))

    assert key == (expected and secondary(expected))
    assert secondary_key(readings, policy(level=1, kinds=kinds)) is None


@pytest.mark.parametrize(
    ("members", "expected"),
    [([], Outcome.UNKNOWN), ([ALMA], Outcome.MATCHED), ([ALMA, BO], Outcome.AMBIGUOUS)],
    ids=["none", "one", "two"],
)
def test_what_matches_mean(members, expected):
    """One match is a match; several are nobody."""
    assert outcome_of(members) is expected


def match(contact_id: str | None = "a", value: str = "10000421") -> Found:
    return Found(Outcome.MATCHED, primary(value), contact_id)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param([], Found(Outcome.NOT_FOUND), id="nothing asked"),
        pytest.param([Found(Outcome.NOT_FOUND)], Found(Outcome.NOT_FOUND), id="nobody"),
        pytest.param([Found(Outcome.NOT_FOUND), match()], match(), id="one reading finds somebody"),
        pytest.param([match(), match()], match(), id="two readings find the same person"),
        pytest.param([match("a"), match("b", "2")], Found(Outcome.AMBIGUOUS), id="two readings, two people"),
        pytest.param([match(None, "1"), match(None, "2")], Found(Outcome.AMBIGUOUS), id="two keys, two people"),
        pytest.param([match(), Found(Outcome.AMBIGUOUS)], Found(Outcome.AMBIGUOUS), id="one is in doubt"),
    ],
)
def test_one_answer_for_all_readings(answers, expected):
    """Whoever two readings cannot agree on is nobody."""
    assert together(answers) == expected


SEND, CREATE, PARK, AGAIN = Settlement.SEND, Settlement.CREATE, Settlement.PARK, Settlement.ASK_AGAIN


@pytest.mark.parametrize(
    ("outcome", "unknown", "new", "key", "expected"),
    [
        (outcome, unknown, new, key, row[unknown][new][key])
        for outcome, row in {
            # outcome: {unknown_at_delivery: {new_contact: {has a key: settlement}}}
            Outcome.MATCHED: {
                unknown: {new: {True: "rise", False: "rise"} for new in (True, False)}
                for unknown in ("tag", "create", "park")
            },
            Outcome.NOT_FOUND: {
                "tag": {True: {True: CREATE, False: CREATE}, False: {True: SEND, False: PARK}},
                "create": {True: {True: CREATE, False: CREATE}, False: {True: CREATE, False: CREATE}},
                "park": {True: {True: CREATE, False: CREATE}, False: {True: PARK, False: PARK}},
            },
            Outcome.AMBIGUOUS: {
                unknown: {new: {True: SEND, False: PARK} for new in (True, False)}
                for unknown in ("tag", "create", "park")
            },
            Outcome.UNKNOWN: {
                "tag": {True: {True: AGAIN, False: AGAIN}, False: {True: SEND, False: AGAIN}},
                "create": {new: {True: AGAIN, False: AGAIN} for new in (True, False)},
                "park": {new: {True: AGAIN, False: AGAIN} for new in (True, False)},
            },
        }.items()
        for unknown, new, key in itertools.product(("tag", "create", "park"), (True, False), (True, False))
    ],
    ids=lambda value: getattr(value, "value", str(value)),
)
def test_settling(*, outcome, unknown, new, key, expected):
    """What becomes of an open sale, for every answer, configuration, new contact and tag."""
    decision = settle(
        key=secondary() if key else None,
        readings=[PHONE] if key else [CARD],
        outcome=outcome,
        member=ALMA if outcome is Outcome.MATCHED else None,
        new_contact=new,
        unknown_at_delivery=unknown,
        policy=policy(),
    )

    if expected == "rise":
        assert decision == Decision(SEND, primary())
    else:
        assert decision == Decision(expected, secondary() if expected is SEND else None)


@pytest.mark.parametrize("outcome", [Outcome.NOT_FOUND, Outcome.AMBIGUOUS, Outcome.UNKNOWN])
def test_a_scanned_member_number_is_the_primary_key(outcome):
    """Without a tag, a value of the primary type goes as it was said: the vendor decides."""
    decision = settle(
        key=None,
        readings=[NUMBER, CARD],
        outcome=outcome,
        member=None,
        new_contact=False,
        unknown_at_delivery="tag",
        policy=policy(),
    )

    assert decision == Decision(SEND, primary())


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.NOT_FOUND, Decision(SEND, secondary())),
        (Outcome.AMBIGUOUS, Decision(SEND, secondary())),
        (Outcome.UNKNOWN, Decision(AGAIN)),
    ],
)
def test_level_one_tags_once_the_vendor_has_answered(outcome, expected):
    """Nothing is tagged there while nobody answers; what the vendor does not know then is its own to match later."""
    decision = settle(
        key=None,
        readings=[PHONE],
        outcome=outcome,
        member=None,
        new_contact=False,
        unknown_at_delivery="tag",
        policy=policy(level=1),
    )

    assert decision == expected


def test_creating_needs_something_to_create_from():
    """Nobody is created out of a sale that says nothing of them."""
    decision = settle(
        key=None,
        readings=[],
        outcome=Outcome.NOT_FOUND,
        member=None,
        new_contact=False,
        unknown_at_delivery="create",
        policy=policy(),
    )

    assert decision == Decision(PARK)


def test_what_was_found_never_shows():
    """A repr of an answer names nobody."""
    assert "a1b2" not in repr(Found(Outcome.MATCHED, primary("a1b2"), "a1b2", {"first_name": "a1b2"}))
