"""The life of one sale in words, from what the agent recorded of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from agent.cli.render import instant

_VERDICTS = {
    "done": "{vendor} took it",
    "duplicate": "{vendor} has it already; it counts once",
    "retry": "did not get through to {vendor}; tried again later",
    "split": "{vendor} refused the batch; tried again in smaller ones",
    "hold": "{vendor} refuses our credentials; everything for it waits",
    "park": "{vendor} refused it; it waits for a person",
    "in_doubt": "sent to {vendor}, and no answer came; nobody knows whether it arrived",
}
_STATES = {
    "queued": "waits for its turn",
    "held": "waits, because {vendor} refuses our credentials",
    "delivered": "is with {vendor}",
    "parked": "waits for a person: `loyalty-agent queue retry {entry}` or `queue discard {entry}`",
    "in_doubt": "may be with {vendor} or not: a person decides, `loyalty-agent queue retry {entry}` or `discard`",
}


def tell(story: dict[str, Any]) -> Iterator[str]:
    """The lines of a sale's story: what happened, in order, and where it stands.

    Args:
        story: the answer of `GET /v1/transactions/{id}/story`.
    """
    deliveries = {delivery["entry"]: delivery for delivery in story["deliveries"]}
    yield f"{story['transaction_id']}: {_kind(story)}"
    for at, text in sorted(_events(story, deliveries)):
        yield f"  {instant(at.isoformat())}  {text}"
    for delivery in deliveries.values():
        state = _STATES.get(delivery["state"], delivery["state"]).format(**delivery)
        yield f"Now it {state}{_detail(delivery)}."
    if not deliveries:
        yield "Nobody is owed it: a sale without a member stays here."


def _kind(story: dict[str, Any]) -> str:
    original = story.get("original_transaction_id")
    return f"{story['type']} of {original}" if original else str(story["type"])


def _events(story: dict[str, Any], deliveries: dict[int, dict[str, Any]]) -> Iterator[tuple[datetime, str]]:
    answered, now = story["answered_key"], story["integration_key"]
    yield datetime.fromisoformat(story["occurred_at"]), "happened at the till"
    yield datetime.fromisoformat(story["accepted_at"]), f"accepted and on disk, tagged with {_key(answered)}"
    attempts: dict[int, int] = {}
    for attempt in story["attempts"]:
        entry = attempt["entry"]
        attempts[entry] = attempts.get(entry, 0) + 1
        text = _VERDICTS.get(attempt["verdict"], attempt["verdict"]).format(vendor=deliveries[entry]["vendor"])
        facts = [str(fact) for fact in (attempt["code"], attempt["status"]) if fact]
        risen = now != answered and attempt["verdict"] == "done"
        text += f", under {_key(now)}" if risen else ""
        yield (
            datetime.fromisoformat(attempt["at"]),
            f"attempt {attempts[entry]}: {text}" + (f" ({', '.join(facts)})" if facts else ""),
        )
    if story["erased_at"]:
        yield (
            datetime.fromisoformat(story["erased_at"]),
            "the personal part was erased; the sale itself stays for the audit",
        )


def _key(key: dict[str, Any] | None) -> str:
    if not key or not key.get("kind"):
        return "no member"
    return f"the {key['kind']} key ({key['type']})"


def _detail(delivery: dict[str, Any]) -> str:
    error = delivery.get("last_error")
    if error and delivery["state"] != "delivered":
        return f" ({error['title'] or error['code']})"
    if delivery.get("next_attempt_at"):
        return f", next at {instant(delivery['next_attempt_at'])}"
    return ""
