"""The life of one sale in words, from what the agent recorded of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from agent.cli.render import age, instant

_VERDICTS = {
    "done": "{vendor} took it",
    "duplicate": "{vendor} has it already; it counts once",
    "retry": "did not get through to {vendor}; tried again later",
    "split": "{vendor} refused the batch; tried again in smaller ones",
    "hold": "{vendor} refuses our credentials; everything for it waits",
    "park": "{vendor} refused it; it waits for a person",
    "in_doubt": "sent to {vendor}, and no answer came; nobody knows whether it arrived",
}
_CODES = {
    "vendor.queued": "{vendor} has it and has not processed it yet",
    "sale.in_file": "written into a file for {vendor} to fetch",
}
"""What says more of an attempt than its verdict."""
_STATES = {
    "queued": "waits for its turn to {vendor}",
    "held": "waits, because {vendor} refuses our credentials",
    "delivered": "is with {vendor}",
    "parked": "waits for a person: `loyalty-agent queue retry {entry}` or `queue discard {entry}`",
    "in_doubt": "may be with {vendor} or not: a person decides, `loyalty-agent queue retry {entry}` or `discard`",
    "cancelled": "does not go to {vendor}: it was voided, or claimed anew, before it got there",
    "discarded": "does not go to {vendor}: a person gave it up",
}
_EVENTS = {
    "enrolling": "{vendor} was asked to make its new contact",
    "retagged": "its member was found out before it was sent: tagged with {key} from here on",
    "retried": "a person put it back in line for {vendor}",
    "discarded": "a person gave up its delivery to {vendor}",
}
_LATER = {"return": "returned", "void": "voided", "points_claim": "points claimed"}
_EXPIRED, _ERASED = "retention.expired", "privacy.erased"


def tell(story: dict[str, Any]) -> Iterator[str]:
    """The lines of a sale's story: what happened, in order, and where it stands.

    Args:
        story: the answer of `GET /v1/transactions/{id}/story`.
    """
    deliveries = {delivery["entry"]: delivery for delivery in story["deliveries"]}
    yield f"{story['transaction_id']}: {_kind(story)}"
    yield f"  number {story['number']} of till {story['till_id']} in store {story['store_id']}"
    for at, text in sorted(_events(story, deliveries), key=lambda event: event[0]):
        yield f"  {instant(at.isoformat())}  {text}"
    for delivery in deliveries.values():
        state = _state(delivery).format(**delivery)
        yield f"Now it {state}{_detail(delivery)}."
    if not deliveries:
        yield "Nobody is owed it: a sale without a member stays here, and so does a void of what was never sent."


def _kind(story: dict[str, Any]) -> str:
    original = story.get("original_transaction_id")
    return f"{story['type']} of {original}" if original else str(story["type"])


def _events(story: dict[str, Any], deliveries: dict[int, dict[str, Any]]) -> Iterator[tuple[datetime, str]]:
    answered, now = story["answered_key"], story["integration_key"]
    yield datetime.fromisoformat(story["occurred_at"]), "happened at the till"
    yield datetime.fromisoformat(story["accepted_at"]), f"accepted and on disk, tagged with {_key(answered)}"
    for event in story["events"]:
        text = _EVENTS.get(event["what"], event["what"])
        yield datetime.fromisoformat(event["at"]), text.format(vendor=event["vendor"], key=_key(now))
    yield from _attempts(story["attempts"], deliveries)
    for later in story["about_it"]:
        what = _LATER.get(later["type"], later["type"])
        yield datetime.fromisoformat(later["accepted_at"]), f"{what} by {later['transaction_id']}"
    if story["erased_at"]:
        codes = {_code(delivery) for delivery in deliveries.values()}
        why = "undelivered for too long: " if _EXPIRED in codes else ""
        yield (
            datetime.fromisoformat(story["erased_at"]),
            f"{why}the personal part was erased; the sale itself stays for the audit",
        )


def _attempts(attempts: list[dict[str, Any]], deliveries: dict[int, dict[str, Any]]) -> Iterator[tuple[datetime, str]]:
    """Each attempt: the how manieth, how long after the one before, and what came of it."""
    before: dict[int, list[datetime]] = {}
    for attempt in attempts:
        at = datetime.fromisoformat(attempt["at"])
        earlier = before.setdefault(attempt["entry"], [])
        pause = f", {age((at - earlier[-1]).total_seconds())} later" if earlier else ""
        earlier.append(at)
        verdict = _VERDICTS.get(attempt["verdict"], attempt["verdict"])
        text = _CODES.get(attempt["code"], verdict).format(vendor=deliveries[attempt["entry"]]["vendor"])
        facts = [str(fact) for fact in (attempt["code"], attempt["status"]) if fact]
        yield at, f"attempt {len(earlier)}{pause}: {text}" + (f" ({', '.join(facts)})" if facts else "")


def _state(delivery: dict[str, Any]) -> str:
    if _code(delivery) == _ERASED:
        return "does not go to {vendor}, which takes no sales without a member: the person was erased"
    return _STATES.get(delivery["state"], str(delivery["state"]))


def _code(delivery: dict[str, Any]) -> str | None:
    code: str | None = (delivery.get("last_error") or {}).get("code")
    return code


def _key(key: dict[str, Any] | None) -> str:
    if not key or not key.get("kind"):
        return "no member"
    return f"the {key['kind']} key ({key['type']})"


def _detail(delivery: dict[str, Any]) -> str:
    error, note = delivery.get("last_error"), delivery.get("note")
    if note:
        return f" ({note['title'] or note['code']})"
    if delivery["state"] in ("cancelled", "discarded"):
        return ""
    if error and delivery["state"] != "delivered":
        return f" ({error['title'] or error['code']})"
    if delivery.get("next_attempt_at"):
        return f", next at {instant(delivery['next_attempt_at'])}"
    return ""
