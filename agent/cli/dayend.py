"""The day-end check in words that a shop manager understands, from the agent's answer. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from agent.cli.render import instant, number

SHOWN = 10
"""Ids named in one line; `--json` has them all."""
_KINDS = {"purchase": "purchases", "return": "returns", "void": "voids", "points_claim": "points claims"}
_STATES = (
    ("delivered", "delivered", ""),
    ("waiting", "waiting", "they go out by themselves"),
    ("parked", "parked", "refused; a person decides: loyalty-agent queue list --state parked"),
    ("in_doubt", "in doubt", "nobody knows whether they arrived: loyalty-agent queue list --state in_doubt"),
    ("discarded", "given up", "by a person"),
    ("cancelled", "cancelled", "voided, or claimed anew, before they got there"),
    ("guests", "guests", "no member: there is nothing to deliver"),
)
_REASONS = {
    None: "was here, and the record is gone",
    "rescue": "was lost when the damaged file was rescued",
    "skipped": "was left out after a damaged file was rescued, because nobody knows whether it had been given",
}
_FAULTS = ("missing", "twice")
_NOT_ASKED = {
    "cannot_be_asked": "it cannot be asked what it has",
    "unreachable": "it does not answer",
    "refused": "it refuses our credentials",
}


def tell(answer: dict[str, Any]) -> Iterator[str]:
    """The lines of the check.

    Args:
        answer: of `GET /v1/reconcile`.
    """
    yield f"{answer['day']} ({answer['timezone']}): {_verdict(answer)}"
    yield ""
    yield from _sold(answer)
    yield from _tills(answer)
    for vendor in answer["vendors"]:
        yield from _where(vendor)
    yield from _stuck(answer["stuck"])
    yield from _listed(answer["expected"])
    for vendor in answer["vendors"]:
        yield from _books(vendor["vendor"], vendor["books"])
    if not answer["ok"] or answer["stuck"]:
        yield "What became of a sale: loyalty-agent explain TRANSACTION_ID"


def _verdict(answer: dict[str, Any]) -> str:
    """By witness, because a sale can be missed by several."""
    if answer["ok"]:
        return "complete. Nothing is missing, nothing is there twice."
    breaks = answer["breaks"]
    counts = {kind: sum(gap["last"] - gap["first"] + 1 for gap in breaks if gap["kind"] == kind) for kind in _FAULTS}
    witnesses = [("by its number", counts)]
    if answer["expected"] is not None:
        witnesses.append(("by the till's list", {kind: len(answer["expected"][kind]) for kind in _FAULTS}))
    witnesses += [
        (f"at {vendor['vendor']}", {kind: len(vendor["books"][kind]) for kind in _FAULTS})
        for vendor in answer["vendors"]
    ]
    found = [
        f"{number(count)} {kind} {where}" for where, counts in witnesses for kind, count in counts.items() if count
    ]
    return f"NOT COMPLETE: {', '.join(found)}."


def _sold(answer: dict[str, Any]) -> Iterator[str]:
    yield f"Sold: {number(answer['sold'])}"
    for row in answer["totals"]:
        total = f"{Decimal(row['total']):,f}"
        yield f"  {_KINDS[row['type']]:<13}  {number(row['count']):>6}  {total:>16} {row['currency']}"
    if answer["unreadable"]:
        yield f"  {number(answer['unreadable'])} more cannot be read any more, and are in no sum"
    yield ""


def _tills(answer: dict[str, Any]) -> Iterator[str]:
    yield "Numbers of the sales:"
    for till in answer["tills"]:
        span = f"{till['first']} to {till['last']}"
        yield f"  store {till['store_id']}, till {till['till_id']}: {_sales(till['sold'])}, numbers {span}"
    if not answer["tills"]:
        yield "  no till sold anything"
    for gap in answer["breaks"][:SHOWN]:
        yield f"  {_break(gap)}"
    if len(answer["breaks"]) > SHOWN:
        yield f"  and {number(len(answer['breaks']) - SHOWN)} more places like this"
    if answer["breaks_elsewhere"]:
        yield f"  note     on other days: {number(answer['breaks_elsewhere'])} missing or twice"
    yield ""


def _break(gap: dict[str, Any]) -> str:
    one = gap["first"] == gap["last"]
    which = f"number {gap['first']}" if one else f"numbers {gap['first']} to {gap['last']}"
    where = f"store {gap['store_id']}, till {gap['till_id']}, {which}"
    if gap["kind"] == "twice":
        return f"TWICE    {where}: two sales have it, {gap['after']} and {gap['before']}"
    between = [f"{word} {gap[name]}" for word, name in (("after", "after"), ("before", "before")) if gap[name]]
    at = f" ({instant(gap['at'])})" if gap["at"] else ""
    return f"MISSING  {where}{', ' if between else ''}{' and '.join(between)}: {_REASONS[gap['reason']]}{at}"


def _where(vendor: dict[str, Any]) -> Iterator[str]:
    yield f"Where they are, {vendor['vendor']}:"
    figures = {**vendor, "waiting": vendor["queued"] + vendor["held"]}
    for name, word, meaning in _STATES:
        if figures[name] or name == "delivered":
            told = "all of them held: it refuses our credentials" if name == "waiting" and vendor["held"] else meaning
            yield f"  {word:<13}  {number(figures[name]):>6}  {told}".rstrip()
    yield ""


def _stuck(stuck: Sequence[dict[str, Any]]) -> Iterator[str]:
    if stuck:
        yield "Not going further by themselves:"
        for one in stuck[:SHOWN]:
            state = one["state"].replace("_", " ")
            yield f"  {one['transaction_id']}  {one['vendor']}  {state}  {one['code'] or ''}".rstrip()
        if len(stuck) > SHOWN:
            yield f"  and {number(len(stuck) - SHOWN)} more"
        yield ""


def _listed(listing: dict[str, Any] | None) -> Iterator[str]:
    if listing is None:
        return
    yield f"The till's own list: {_sales(listing['listed'])}"
    yield from _names("MISSING", "sold, and not on record here", listing["missing"])
    yield from _names("TWICE", "in the list more than once: two sales under one id", listing["twice"])
    yield from _names("note", "on record, but of another day", listing["other_day"])
    yield from _names("note", "on record, but not in the list", listing["unlisted"])
    if not any(listing[name] for name in ("missing", "twice", "other_day", "unlisted")):
        yield "  all here, and nothing else"
    yield ""


def _books(vendor: str, books: dict[str, Any]) -> Iterator[str]:
    yield f"The books of {vendor}:"
    if books["outcome"] in _NOT_ASKED:
        yield f"  {_NOT_ASKED[books['outcome']]}"
    elif not books["can_be_asked"]:
        yield "  there is no delivered sale whose member is still known here, so none can be asked for"
    if books["asked"]:
        drawn = f"asked about {number(books['asked'])} of {number(books['can_be_asked'])} delivered sales"
        yield f"  {drawn} whose member is still known here; {number(books['found'])} are there"
    elif books["outcome"] == "not_asked" and books["can_be_asked"]:
        yield "  not asked"
    yield from _names("MISSING", "accepted, and not there", books["missing"])
    yield from _names("TWICE", "there more than once", books["twice"])
    yield from _names("note", "not there yet, but accepted only a short while ago", books["not_yet"])
    yield from _names("note", "the books do not tell", books["unclear"])
    yield ""


def _names(mark: str, meaning: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        more = f" and {number(len(names) - SHOWN)} more" if len(names) > SHOWN else ""
        yield f"  {mark:<7}  {number(len(names))} {meaning}: {', '.join(names[:SHOWN])}{more}"


def _sales(count: int) -> str:
    return f"{number(count)} sale{'' if count == 1 else 's'}"
