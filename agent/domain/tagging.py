"""Whom a sale belongs to: which integration key it carries, and what is still open.

Two decisions, both pure. :func:`tag` at the till, from what the replica says, in microseconds. :func:`settle` when
the sale is about to be sent and the vendor can be asked: the intelligent buffer of Voyado's integration principles
(fallback levels 2 to 4).

Rules:

* A primary key is never guessed: several matches leave the secondary key.
* A secondary key is only used when the configuration lists its type; `secondary_keys = []` forbids them all.
* A tag may rise from secondary to primary while the sale waits, never after an attempt that may have arrived: the
  vendor would see two different receipts under one id.
* What the till itself calls the integration key is believed and never changed.
* This till's own number of somebody made here never leaves it: the sale stays open until the vendor's key is known.
  One of which nothing is on record any more is an identifier like others: a till was told it, and its sale is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from agent.domain.contact import ContactChange, Member
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey


class Outcome(StrEnum):
    """What is known about an identifier; the words of the till's door."""

    MATCHED = "matched"
    NOT_FOUND = "not_found"
    AMBIGUOUS = "ambiguous"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TaggingPolicy:
    """The part of `[loyalty]` that tagging obeys.

    Attributes:
        primary: the type of the primary integration key.
        secondary: the types that may stand in for it, in order of preference.
        level: the configured fallback level; at 1 nothing said at the till is put on a sale.
        series: the prefix of this till's own numbers; empty where there are none.
    """

    primary: IdentifierType
    secondary: tuple[IdentifierType, ...]
    level: int
    series: str = ""


@dataclass(frozen=True, slots=True)
class Tag:
    """The decision at the till.

    Attributes:
        key: what the sale carries now; None for a guest or somebody who cannot be named yet.
        open: an identifier was given that has not been resolved to one member: worth asking again at delivery.
        code: the message for the cashier's screen, or None.
    """

    key: IntegrationKey | None
    open: bool
    code: str | None = None

    @property
    def own(self) -> bool:
        """The key is this till's own number: it stays here, and the vendor's takes its place before the sale goes."""
        return is_own(self.key, open_=self.open)


def is_own(key: IntegrationKey | None, *, open_: bool) -> bool:
    """Whether a sale's key is this till's own number: a primary key that is still to be settled is nothing else."""
    return open_ and key is not None and key.kind == "primary"


def outcome_of(members: Sequence[Member]) -> Outcome:
    """What a set of matches means: one is a match, several are ambiguous, none is unknown."""
    if len(members) == 1:
        return Outcome.MATCHED
    return Outcome.AMBIGUOUS if members else Outcome.UNKNOWN


def secondary_key(readings: Sequence[Identifier], policy: TaggingPolicy) -> IntegrationKey | None:
    """The secondary key for a value: the first allowed type, in the configuration's order, that it fits."""
    if policy.level < 2:  # noqa: PLR2004 - level 2 is where tagging begins
        return None
    return _first_allowed(readings, policy)


def _first_allowed(readings: Sequence[Identifier], policy: TaggingPolicy) -> IntegrationKey | None:
    for kind in policy.secondary:
        for reading in readings:
            if reading.type is kind:
                return IntegrationKey(kind="secondary", type=kind, value=reading.value)
    return None


def tag(
    *,
    stated_key: IntegrationKey | None,
    readings: Sequence[Identifier],
    members: Sequence[Member],
    policy: TaggingPolicy,
    vendor_answers: bool,
) -> Tag:
    """The tag of a sale at the moment it is accepted.

    Args:
        stated_key: what the till itself says is the integration key.
        readings: what the given identifier can be; empty for a guest.
        members: whom the replica found for them, each person once.
        policy: the configuration.
        vendor_answers: whether the loyalty system is being reached; only the messages depend on it.
    """
    if stated_key is not None:
        open_ = stated_key.kind == "secondary"
        return Tag(stated_key, open_, _code(stated_key, open_=open_, vendor_answers=vendor_answers))
    if not readings:
        return Tag(None, open=False)
    outcome = outcome_of(members)
    if outcome is Outcome.MATCHED:
        return Tag(members[0].key, open=members[0].own, code=None if vendor_answers else "loyalty.offline.replica")
    if policy.level < 2 and not vendor_answers:  # noqa: PLR2004 - level 1: message only
        return Tag(None, open=False, code="loyalty.offline.untagged")
    key = secondary_key(readings, policy)
    if outcome is Outcome.AMBIGUOUS:
        return Tag(key, open=True, code="loyalty.ambiguous")
    named = key or _stated_primary(readings, policy)
    return Tag(key, open=True, code=_code(named, open_=True, vendor_answers=vendor_answers))


def _code(key: IntegrationKey | None, *, open_: bool, vendor_answers: bool) -> str | None:
    """The message for a sale that no member of the replica stands behind."""
    if vendor_answers:
        return "loyalty.points_later" if open_ else None
    return "loyalty.offline.tagged" if key is not None else "loyalty.offline.untagged"


@dataclass(frozen=True, slots=True)
class Found:
    """What a vendor says of an identifier: `matched`, `not_found` or `ambiguous`.

    Attributes:
        outcome: what it says.
        key: the match's primary key; None unless matched.
        contact_id: the vendor's own id of the match, where it gives one.
        fields: what it tells of the match, by our field names.
        shown: everybody whom it knows by the identifier, whole; None where that is not to be kept.
        existed: they were to be made, and it says that it had them, or that somebody else makes them.
    """

    outcome: Outcome
    key: IntegrationKey | None = None
    contact_id: str | None = field(default=None, repr=False)
    fields: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    shown: tuple[ContactChange, ...] | None = field(default=None, repr=False)
    existed: bool = False


def together(answers: Sequence[Found]) -> Found:
    """One answer for all readings of a value: one person is a match, two are ambiguous, nobody is not found."""
    matches = {answer.contact_id or answer.key.value: answer for answer in answers if answer.key is not None}
    doubtful = any(answer.outcome is Outcome.AMBIGUOUS for answer in answers)
    if len(matches) == 1 and not doubtful:
        return next(iter(matches.values()))
    return Found(Outcome.AMBIGUOUS if matches or doubtful else Outcome.NOT_FOUND)


class Settlement(StrEnum):
    """What becomes of an open sale when it is about to be sent."""

    SEND = "send"
    CREATE = "create"
    PARK = "park"
    ASK_AGAIN = "ask_again"


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision at delivery, and the key to send with (None with everything but SEND)."""

    settlement: Settlement
    key: IntegrationKey | None = None


def settle(
    *,
    key: IntegrationKey | None,
    readings: Sequence[Identifier],
    outcome: Outcome,
    member: Member | None,
    new_contact: bool,
    unknown_at_delivery: str,
    policy: TaggingPolicy,
) -> Decision:
    """What to do with an open sale, given what the vendor says of its member.

    Args:
        key: the tag it has now.
        readings: what its identifier can be.
        outcome: `unknown` when the vendor could not be asked.
        member: the match, when there is exactly one.
        new_contact: whether the customer gave enough at the till to be enrolled.
        unknown_at_delivery: `tag`, `create` or `park`, from the configuration.
        policy: the configuration.
    """
    if outcome is Outcome.MATCHED and member is not None:
        return Decision(Settlement.SEND, member.key)
    if outcome is Outcome.NOT_FOUND:
        if new_contact or (unknown_at_delivery == "create" and readings):
            return Decision(Settlement.CREATE)
        if unknown_at_delivery == "park":
            return Decision(Settlement.PARK)
    elif outcome is Outcome.UNKNOWN and (new_contact or unknown_at_delivery != "tag"):
        return Decision(Settlement.ASK_AGAIN)
    fallback = key or _stated_primary(readings, policy)
    if fallback is None and outcome is not Outcome.UNKNOWN:
        # Level 1 tags nothing while nobody answers; here the vendor has answered.
        fallback = _first_allowed(readings, policy)
    if fallback is not None:
        return Decision(Settlement.SEND, fallback)
    return Decision(Settlement.ASK_AGAIN if outcome is Outcome.UNKNOWN else Settlement.PARK)


def _stated_primary(readings: Sequence[Identifier], policy: TaggingPolicy) -> IntegrationKey | None:
    # A scanned member number is the primary key itself; the vendor may know it although nobody could be asked.
    for reading in readings:
        if reading.type is policy.primary:
            return IntegrationKey(kind="primary", type=reading.type, value=reading.value)
    return None
