"""What a vendor room is given, and what it gives: the form that `agent.connectors.registry` lists rooms in.

A room is built from its table and these surroundings, and knows nothing else of the agent. Nothing of a vendor enters
here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, TypeVar

from agent.domain.activity import ContactEvent
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.transaction import NewContact
from agent.errors import Fault, VendorUnreachableError
from agent.ports import (
    BulkUpdater,
    BulkWriter,
    CarriedOffers,
    ChangeFeed,
    Clock,
    Connector,
    ExportReader,
    FileSource,
    HandedOver,
    Handovers,
    MemberBenefits,
    Outgoing,
    Pace,
    PointsPreview,
    Redeemer,
    Secret,
    Seed,
)
from agent.settings import Role, VendorSection
from agent.transport import Answer, HttpPolicy

T = TypeVar("T")
IDLE_PING_S = 10.0
"""How soon an idle line is asked for a sign of life, where a question costs nothing."""
TIME_MATTERS = timedelta(minutes=5)
"""Where the time of arrival counts, a sale that is told later than this is reported."""
_BEFORE = 0.9  # of the patience there is: what would come later leaves no time to be acted on


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The agent, as a room needs it.

    Attributes:
        role: what the system is to this shop.
        secret: the secret that a checked setting refers to.
        http: how every vendor is called.
        normaliser: how this store reads identifiers.
        primary: `loyalty.primary_key`, of the system that owns the contacts.
        zone: the store's time zone.
        fields: what a till may be shown of a member.
        user_agent: how calls introduce themselves.
        heard: called with each answer, for its `Date`.
        clock: for how old a sale is.
        taken: which of some names of the vendor's are recorded for a sale that it took. Raises StorageError.
        offers: the offers that were redeemed here, which a vendor hears of by their sale alone.
        handovers: writes down which deliveries go out in which file.
        place: the store's id and the till's.
    """

    role: Role
    secret: Callable[[str], Secret]
    http: HttpPolicy
    normaliser: Normaliser
    primary: IdentifierType
    zone: tzinfo
    fields: tuple[str, ...]
    user_agent: str
    heard: Callable[[Answer], None]
    clock: Clock
    taken: Callable[[Collection[str]], Collection[str]]
    offers: Callable[[], CarriedOffers]
    handovers: Callable[[], Handovers]
    place: tuple[str, str]


@dataclass(frozen=True, slots=True)
class FeedSurroundings:
    """The agent, as a feed of contacts needs it.

    Attributes:
        normaliser: how this store reads identifiers.
        primary: `loyalty.primary_key`.
        fields: what the replica keeps of a member.
        secret: the secret that a checked setting refers to.
        base: the directory that relative paths of the configuration start from.
        spool: where downloads go.
        link: the line, whose allowance and pauses are every call's.
        pace: waits for this agent's share of the allowance.
        clock: for instants and intervals.
        unseen: whom the sweep under way has not shown, by the keys they are kept under; None if it is far too many.
    """

    normaliser: Normaliser
    primary: IdentifierType
    fields: tuple[str, ...]
    secret: Callable[[str], Secret]
    base: Path
    spool: Path
    link: Link
    pace: Pace
    clock: Clock
    unseen: Callable[[], Awaitable[Sequence[Identifier] | None]]


@dataclass(frozen=True, slots=True)
class ExportFeed:
    """Contact changes that come in files: makes a source of them for each sync, and reads one."""

    source: Callable[[], FileSource]
    reader: ExportReader


@dataclass(frozen=True, slots=True)
class Cache:
    """How contacts are kept where the vendor lists nobody: those who were asked for, as its look-up shows them.

    Attributes:
        fresh_for: how long what was said of somebody counts as fresh, given the connector.
        seed: what reads a list for a first fill, given the connector and the surroundings; None without one.
    """

    fresh_for: Callable[[Any], timedelta]
    seed: Callable[[Any, FeedSurroundings], Callable[[], Seed | None] | None]


@dataclass(frozen=True, slots=True)
class Owner:
    """What a room has that can own the contacts.

    Attributes:
        feed: where its contact changes come from, given its connector and the surroundings; or a cache.
        guid_contact_ids: the vendor's contact ids are GUIDs, and nothing else is one.
        misnamed: what no contact may say in its free attributes, each with where it stands, because it has a field of
            its own or is the vendor's own; refused of a sale's new contact too. None where such names mean nothing.
        matches_later: a sale under a key that nobody knows yet finds its member at the vendor by itself, later.
        benefits: says what a member can use, given its connector; None where the vendor cannot be asked.
        redeemer: uses it up, given its connector; None where nothing can be used up at a till.
        preview: says what a sale would earn, given its connector; None where the vendor, or this table of it, does not.
        bulk: makes several contacts by one call, given its connector; None where the vendor, or this table of it, does
            not.
        bulk_changes: changes several contacts by one call, likewise.
    """

    feed: Callable[[Any, FeedSurroundings], ExportFeed | ChangeFeed] | Cache
    guid_contact_ids: bool = False
    misnamed: Callable[[NewContact], Sequence[Fault]] | None = None
    matches_later: bool = False
    benefits: Callable[[Any], MemberBenefits] | None = None
    redeemer: Callable[[Any], Redeemer] | None = None
    preview: Callable[[Any], PointsPreview | None] | None = None
    bulk: Callable[[Any], BulkWriter | None] | None = None
    bulk_changes: Callable[[Any], BulkUpdater | None] | None = None


def _none(_table: VendorSection) -> frozenset[str]:
    return frozenset()


def _nowhere(_table: VendorSection) -> Path | None:
    return None


def _nothing(_connector: Connector) -> HandedOver | None:
    return None


@dataclass(frozen=True, slots=True)
class Room:
    """A vendor room.

    Attributes:
        settings: its table's model.
        build: its connector, given a table and the surroundings.
        owner: what makes it fit for `loyalty.vendor`; None where `settings.not_loyalty` says why it is not.
        activities: the types of activities that it wants beside the sales, given its table.
        shares: what it is told of somebody who joined or changed, given its table first; None where it is not.
        folder: where files for the vendor wait to be fetched, given its table; None where it has calls.
        handed_over: those files, given its connector; None where there are none.
    """

    settings: type[VendorSection]
    build: Callable[[Any, Surroundings], Connector]
    owner: Owner | None = None
    activities: Callable[[Any], frozenset[str]] = _none
    shares: Callable[[Any, ContactEvent, NewContact], frozenset[str] | None] | None = None
    folder: Callable[[Any], Path | None] = _nowhere
    handed_over: Callable[[Any], HandedOver | None] = _nothing


def with_lost_time(verdict: Verdict, outgoing: Outgoing, now: datetime) -> Verdict:
    """The verdict on a sale whose own time was not told, with a word for it when it counts at another one.

    Args:
        verdict: what became of it; one that has a word already keeps that.
        outgoing: the sale.
        now: when it arrived, by this till's clock.
    """
    late = now + outgoing.skew - (outgoing.corrected_at or outgoing.record.occurred_at) > TIME_MATTERS
    if verdict.kind is not VerdictKind.DONE or verdict.code or not late:
        return verdict
    title = "Counted when it arrived: the vendor was not told the sale's own time."
    return replace(verdict, code="sale.time_lost", title=title)


async def side_by_side(*questions: Coroutine[Any, Any, list[T]]) -> list[list[T]]:
    """The answers of questions that go side by side; the first error of all, once none is under way any more."""
    answers: list[list[T]] = []
    for answer in await asyncio.gather(*questions, return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer
        answers.append(answer)
    return answers


@asynccontextmanager
async def asking(pace: Pace, link: Link, clock: Clock) -> AsyncIterator[None]:
    """One call of a feed: within this agent's share of the allowance, and never in a pause that the vendor asked for.

    Args:
        pace: waits for the share.
        link: the line that the feed shares with deliveries and look-ups.
        clock: for instants and intervals.

    Raises:
        VendorUnreachableError: a pause lasts: the next sync goes on where this one stands.
    """
    await pace()
    with link.between_pauses(clock.now, clock.monotonic):
        yield


async def before_telling(question: Awaitable[T], timeout_s: float) -> T:
    """What has to be known before a vendor is told to do something; whatever becomes of it, it was not told.

    It ends before whoever waits gives up: a call that is cut off then may have told the vendor.

    Args:
        question: asks.
        timeout_s: how long the whole is waited for.

    Raises:
        VendorUnreachableError: no answer came in time, and it was not received.
        VendorRefusedError: our credentials are refused.
    """
    try:
        async with asyncio.timeout(timeout_s * _BEFORE):
            return await question
    except TimeoutError as error:
        raise VendorUnreachableError("did not answer in time") from error
    except VendorUnreachableError as error:
        error.maybe_received = False
        raise
