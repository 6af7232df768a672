"""Whose a sale or a redemption is, for whoever has to erase or export everything of one person. Pure.

A sale names people by keys: what its integration key says, what the customer said, and the member whom the replica
knew them as. Several people can share a key (a family its phone), so that a key alone does not always say whose it is:

* Known as a member, it is that member's, whatever keys it names besides, for as long as that member is there.
* Otherwise it belongs to everybody whom one of its keys names.
* What names nobody (a return without a member, the cash sale whose points were claimed afterwards) belongs with the
  sale that it is about, or that is about it: also where it goes under the key that this had when it was taken.

A redemption always says whose it is, by what is that person's alone; what else they were named by finds it where we
know nothing of whom we look for but that. So it can show that several people were named by the same.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whom to look for.

    Attributes:
        refs: their handles as a member.
        keys: keyed hashes of everything that names them; with an instant, only sales accepted before it count: the
            key may be somebody else's by now.
        known: ``keys`` has what is theirs alone: whatever is somebody's by another such key is not theirs.
    """

    refs: frozenset[str]
    keys: Mapping[bytes, datetime | None] = field(repr=False)
    known: bool = False

    def by_key(self, keys: Iterable[bytes], accepted_at: datetime) -> bool:
        """Whether one of the keys of a sale accepted then names them."""
        limits = (self.keys[key] for key in keys if key in self.keys)
        return any(limit is None or accepted_at < limit for limit in limits)


@dataclass(frozen=True, slots=True)
class Trace:
    """What a sale says of whose it is.

    Attributes:
        sale: the store's number of it.
        transaction_id: the till's own.
        original: the transaction that it is about.
        ref: the handle of the member whom the replica knew them as.
        keyed: one of its keys names whom we look for.
        nobodys: the till named nobody in it.
    """

    sale: int
    transaction_id: str
    original: str | None
    ref: str | None
    keyed: bool
    nobodys: bool


def belonging(traces: Collection[Trace], wanted: Wanted, others: Collection[str]) -> frozenset[int]:
    """The sales that are theirs.

    Args:
        traces: of every sale that is theirs by a key or a handle, and of every sale that names nobody.
        wanted: whom we look for.
        others: handles of other members who are still there.
    """
    named = [trace for trace in traces if trace.ref in wanted.refs or (trace.keyed and trace.ref not in others)]
    by_id = {trace.transaction_id: trace for trace in traces if trace.nobodys}
    about: dict[str, list[Trace]] = defaultdict(list)
    for trace in by_id.values():
        if trace.original is not None:
            about[trace.original].append(trace)
    found: set[int] = set()
    waiting = list(named)
    while waiting:
        trace = waiting.pop()
        if trace.sale in found:
            continue
        found.add(trace.sale)
        waiting += about[trace.transaction_id]
        if trace.original in by_id:
            waiting.append(by_id[trace.original])
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a redemption says of whose it is.

    Attributes:
        number: the record's.
        ref: their handle.
        own: keyed hashes of what is theirs alone: the primary key, the contact id.
        said: keyed hashes of what else they were named by; somebody else may be named by it too.
        accepted_at: when it was asked for first.
    """

    number: int
    ref: str
    own: frozenset[bytes] = field(repr=False)
    said: frozenset[bytes] = field(repr=False)
    accepted_at: datetime


def redeemers(
    redeemed: Iterable[Redeemed], wanted: Wanted, others: Collection[str]
) -> tuple[tuple[Redeemed, ...], ...]:
    """The redemptions that are theirs, by person: more than one where nobody can tell which of them is meant.

    Args:
        redeemed: every redemption whose person is remembered.
        wanted: whom we look for.
        others: handles of other members who are still there.
    """
    if wanted.known:
        theirs = tuple(one for one in redeemed if _is_own(one, wanted))
        return (theirs,) if theirs else ()
    return tuple(
        tuple(person)
        for person in _by_person(redeemed)
        if any(
            _is_own(one, wanted) or (one.ref not in others and wanted.by_key(one.said, one.accepted_at))
            for one in person
        )
    )


def _is_own(one: Redeemed, wanted: Wanted) -> bool:
    return one.ref in wanted.refs or wanted.by_key(one.own, one.accepted_at)


def _by_person(redeemed: Iterable[Redeemed]) -> Iterable[Sequence[Redeemed]]:
    """Who has a key of theirs alone in common is one person, under whichever of their keys."""
    people: dict[bytes, list[Redeemed]] = {}
    for one in redeemed:
        known = {id(person): person for key in one.own if (person := people.get(key)) is not None}
        person = [one, *chain.from_iterable(known.values())]
        people |= dict.fromkeys(chain.from_iterable(each.own for each in person), person)
    return {id(person): person for person in people.values()}.values()
