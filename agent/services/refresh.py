"""Keeping the members seen here fresh, where the loyalty system lists nobody: each is asked for again in time.

A sync asks for those of whom nothing was heard the longest, a bounded number of them, so that look-ups and deliveries
have their share (an order to build anew asks for everybody); and for each of the keys by which they are found, because
who else has a phone now is a question of its own. Whoever is not known there any more leaves. It begins with one
question that shows that the loyalty system answers, so that it renews the replica even when nobody was due; the date of
that answer says what our clock is worth. While the clock is days off nobody's time ends, and no list is planted; what
it dated ahead gets the right date after.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from agent.domain.health import Conditions
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.link import Link
from agent.errors import FeedError, VendorError, VendorOwnError, VendorUnreachableError
from agent.ports import Clock, LoadProgress, Lookup, Pace, Seed, Told
from agent.services.cache import SeenMembers
from agent.services.sync import to_its_end

log = structlog.get_logger(__name__)

MOST_A_SYNC = 300
ASKED_AT_ONCE = 10
"""So many answers are written together."""
JUDGED_BY = 300
"""Of so many members who were asked for at last a tenth can have left, and always a few."""
FEW_GONE = 10
MOST_GONE = 0.1


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """How fresh members are kept.

    Attributes:
        refresh_after: of whom nothing was heard for so long is asked for again.
        expires_after: of whom nothing was heard for so long is taken out.
        timeout_s: longest wait for any one answer.
    """

    refresh_after: timedelta
    expires_after: timedelta
    timeout_s: float


class Refresh:
    """The feed of a replica that is a cache.

    Args:
        cache: writes into it.
        lookup: the vendor's question.
        ping: any cheap question. Raises VendorError.
        trusted: whether ages by the wall clock mean something.
        seed: whom a file lists, None while it is not there, raises FeedError; None without a file.
        policy: how fresh.
        link: the line, whose pauses are every call's.
        pace: waits for this agent's share of the allowance.
        conditions: told of members and files that cannot be read.
        clock: for instants and intervals.
    """

    def __init__(
        self,
        *,
        cache: SeenMembers,
        lookup: Lookup,
        ping: Callable[[], Awaitable[None]],
        trusted: Callable[[], bool],
        seed: Callable[[], Seed | None] | None,
        policy: RefreshPolicy,
        link: Link,
        pace: Pace,
        conditions: Conditions,
        clock: Clock,
    ) -> None:
        self._cache, self._lookup, self._seed, self._policy = cache, lookup, seed, policy
        self._ping, self._trusted = ping, trusted
        self._link, self._pace, self._conditions, self._clock = link, pace, conditions, clock
        self._leavers = _Leavers()
        self._bad_seed = ("", "")
        """Which file could not be read to its end, and why."""
        self._tried: dict[Identifier, None] = {}
        """Who was asked for, the longest ago first: whoever is due in spite of it comes behind the others."""

    async def read(self, told: Callable[[LoadProgress], None], *, rebuild: bool) -> bool:
        """Asks for who is due, or for everybody with ``rebuild``: True. Raises VendorError, StorageError, FeedError."""
        await self._ask_for_nobody()
        now = self._clock.now()
        planted, unread_file = None, ""
        if self._trusted():
            await self._cache.write(lambda store: store.clamp(now))
            await self._cache.write(lambda store: store.expire(now - self._policy.expires_after))
            planted, unread_file = await self._plant(now)
        before = now if rebuild else now - self._policy.refresh_after
        due = await self._due(before, None if rebuild else MOST_A_SYNC)
        asked = unread = 0
        for start in range(0, len(due), ASKED_AT_ONCE):
            part = due[start : start + ASKED_AT_ONCE]
            told_of = await self._ask_for(part, before)
            asked += told_of
            unread += len(part) - told_of
            told(LoadProgress(0, start // ASKED_AT_ONCE + 1, asked))
        self._say_unread(unread, unread_file)
        self._say_doubted()
        await self._cache.write(lambda store: store.finish(as_of=now, planted=planted))
        return True

    async def _due(self, before: datetime, most: int | None) -> Sequence[Identifier]:
        """Whom to ask for, all of them without ``most``: those who were not asked for in vain come first."""
        limit = None if most is None else most + len(self._tried)
        due = await self._cache.write(lambda store: store.outdated(before, limit))
        still = frozenset(due)
        self._tried = {key: None for key in self._tried if key in still}
        self._leavers.doubted &= still
        turns = {key: turn for turn, key in enumerate(self._tried)}
        return sorted(due, key=lambda key: turns.get(key, -1))[:most]

    async def _ask_for(self, keys: Sequence[Identifier], before: datetime) -> int:
        """Asks for some and keeps what is said; of how many something was said. Raises VendorError, StorageError."""
        answers: dict[Identifier, list[list[Told]]] = {}
        try:
            for key in keys:
                self._tried.pop(key, None)
                self._tried[key] = None
                if (heard := await self._hear_of(key, before)) is not None:
                    answers[key] = heard
        except VendorError:
            await self._keep(answers)
            raise
        await self._keep(answers)
        return len(answers)

    async def _hear_of(self, key: Identifier, before: datetime) -> list[list[Told]] | None:
        """What the vendor says of one member; None if it is about that one that it fails and not about the line."""
        try:
            return await self._about(key, before)
        except VendorUnreachableError as error:
            if error.retry_after_s is not None:
                raise
            if not isinstance(error, VendorOwnError):
                await self._ask_for_nobody()
            return None

    async def _keep(self, answers: Mapping[Identifier, Sequence[Sequence[Told]]]) -> None:
        """Writes answers, by whom they are about, as far as they can be believed."""
        known = {key for key, about in answers.items() if any(told.contacts for together in about for told in together)}
        believed = known.union(self._leavers.believed(known, answers.keys() - known))
        await self._cache.keep([together for key in answers if key in believed for together in answers[key]])

    async def _about(self, key: Identifier, before: datetime) -> list[list[Told]]:
        """What the vendor says now to the questions that led to one member."""
        first = await self._ask(key)
        shown = {
            Identifier(kind, value)
            for change in first.contacts
            for kind, value in change.identifiers.items()
            if value is not None and kind not in (key.type, IdentifierType.CONTACT_ID)  # these it has answered
        }
        askable = sorted((other for other in shown if self._lookup.knows(other)), key=lambda other: other.type.value)
        others = await self._cache.write(lambda store: store.outdated_among(askable, before)) if askable else ()
        return [[first], *[[await self._ask(other)] for other in others]]

    async def _ask(self, key: Identifier) -> Told:
        """What the vendor says to one question. Raises VendorError."""
        with self._between_pauses():
            found = await self._lookup.find(key, timeout_s=self._policy.timeout_s, pace=self._pace)
        if found.shown is None:
            raise VendorOwnError("does not show whom it knows")
        return Told(key, found.shown)

    async def _ask_for_nobody(self) -> None:
        """Shows that the vendor answers. Raises VendorError."""
        with self._between_pauses():
            await self._pace()
            await self._ping()

    def _between_pauses(self) -> contextlib.AbstractContextManager[None]:
        """Keeps a question back while the vendor wants to be left alone, and passes on when it says so."""
        return self._link.between_pauses(self._clock.now, self._clock.monotonic)

    def _say_doubted(self) -> None:
        doubted = len(self._leavers.doubted)
        detail = f"the loyalty system knows hardly anybody any more: {doubted} members stay until it does"
        now = self._clock.now()
        self._conditions.set("feed.gap", stands=doubted > 0, now=now, detail=detail if doubted else "")

    async def _plant(self, now: datetime) -> tuple[str | None, str]:
        """Keeps whom the file lists, once; which file it was, and what is wrong with it."""
        if self._seed is None:
            return None, ""
        try:
            seed, planted = await to_its_end(self._seed), await self._cache.write(lambda store: store.planted())
            if seed is None:  # it was personal data, and is not needed any more
                return None, "" if planted else "the seed file is not there"
            if seed.mark == planted:
                return None, ""
            if seed.as_of < now - self._policy.expires_after:
                return None, "the seed file is older than replica.expires_after"
            await self._plant_whole(seed)
        except FeedError as error:
            log.warning("seed.unreadable", reason=str(error))
            return None, str(error)
        log.info("seed.planted")
        return seed.mark, ""

    async def _plant_whole(self, seed: Seed) -> None:
        """Keeps whom a file lists; of a bad one nobody, as what cannot be read may share keys with the rest.

        Raises StorageError, FeedError.
        """
        mark, why = self._bad_seed
        if seed.mark == mark:
            raise FeedError(why)
        try:
            await self._cache.plant(seed.contacts, as_of=seed.as_of)
        except FeedError as error:
            self._bad_seed = (seed.mark, str(error))
            raise

    def _say_unread(self, contacts: int, file: str) -> None:
        said = f"{contacts} contacts: the loyalty system answers with an error of its own" if contacts else file
        self._conditions.set("feed.unreadable", stands=bool(said), now=self._clock.now(), detail=said)


class _Leavers:
    """Who is not known any more, told from whom another shop's key does not find: few leave at a time."""

    def __init__(self) -> None:
        self.doubted: set[Identifier] = set()
        """Who would have left, among too many."""
        self._left: deque[bool] = deque(maxlen=JUDGED_BY)
        """Of the others who were asked for at last, whether they had left."""

    def believed(self, known: Collection[Identifier], gone: Collection[Identifier]) -> Collection[Identifier]:
        """Who of those that are not known has left: all of them, or for too many none."""
        self.doubted.difference_update(known)
        self._left.extend(False for _ in known)
        suspects = self.doubted.union(gone)
        left = sum(self._left) + len(suspects)
        if left >= FEW_GONE and left > MOST_GONE * (len(self._left) + len(suspects)):
            self.doubted = suspects
            return ()
        self.doubted.difference_update(gone)
        self._left.extend(True for _ in gone)
        return gone
