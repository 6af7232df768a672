"""What a till calls: identify and transactions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.api import bodies
from agent.api.calls import Call
from agent.api.rooms import Rooms
from agent.api.routes_contacts import shown
from agent.api.schemas import (
    Allowed,
    AnsweredKey,
    DeliveryAnswer,
    IdentifyAnswer,
    IdentifyRequest,
    Served,
    StoredKey,
    TransactionAccepted,
    TransactionAnswer,
)
from agent.api.visits import Reply, Visit, Voice
from agent.domain.activity import activity_id_of
from agent.domain.delivery import WAITING, DeliveryState, overall_state, shown_state
from agent.domain.tagging import Outcome
from agent.domain.transaction import Transaction
from agent.ports import Delivery, Receipt


class TillCalls:
    """The calls of scope `pos` that are about people and sales.

    Args:
        rooms: what is behind the door.
        voice: the texts.
    """

    def __init__(self, rooms: Rooms, voice: Voice) -> None:
        self._rooms, self._voice = rooms, voice
        self._shows_details = rooms.settings.replica.contents == "contacts"

    def calls(self) -> tuple[Call, ...]:
        """What is offered."""
        refused = {429: "The look-up ration is used up."}
        return (
            Call(
                "POST", "/v1/contacts/identify", "pos", self.identify, "Who is this", name="identify_contact",
                takes=IdentifyRequest, gives={200: IdentifyAnswer}, refuses=refused, ration="refuse",
            ),
            Call(
                "POST", "/v1/transactions", "pos", self.accept, "Take a sale", name="record_transaction",
                takes=Transaction, gives={200: TransactionAccepted, 202: TransactionAccepted}, ration="tell",
                refuses={
                    409: "The id is taken by other content.",
                    503: "The sale cannot be put on disk now.",
                    507: "There is no room for another sale.",
                },
            ),
            Call(
                "GET", "/v1/transactions/{transaction_id}", "pos", self.transaction, "How a sale stands",
                name="get_transaction",
                gives={200: TransactionAnswer},
                refuses={404: "No such sale.", 503: "The record cannot be read now."},
            ),
        )  # fmt: skip

    async def identify(self, visit: Visit) -> Reply:
        """Answers who an identifier belongs to, within `loyalty.live_lookup_budget`, whatever the vendor does.

        `outcome`: `matched`; `not_found` (someone who can know says so); `ambiguous` (several people share the key;
        nobody is guessed); `unknown` (the vendor cannot be asked and the replica does not have them).
        Look-ups are rationed per token; beyond the ration the answer is 429 with `Retry-After`.
        """
        question = bodies.parse(IdentifyRequest, visit.body)
        found = await self._rooms.identify.identify(question.identifier)
        visit.found = found.outcome in (Outcome.MATCHED, Outcome.AMBIGUOUS)
        matched = found.member is not None
        answer = IdentifyAnswer(
            outcome=found.outcome.value,
            integration_key=found.key,
            contact=shown(found.member) if found.member is not None else None,
            allowed=Allowed(
                earn=found.key is not None,
                spend=found.may_spend,
                see_details=matched and self._shows_details,
            ),
            served=Served.model_validate(found.served),
            messages=self._voice.say(found.codes, self._voice.locale(visit)),
        )
        self._rooms.metrics.identified(found.outcome.value, found.served.source)
        return Reply(200, answer.model_dump_json().encode())

    async def accept(self, visit: Visit) -> Reply:
        """Puts a sale on disk and answers; delivery happens afterwards. Idempotent on `transaction_id`.

        202: recorded. 200: recorded before, with the same content (`duplicate`). 409: the id is taken by other content.
        507, 503: it could not be put on disk, and nothing of it is kept. Never 429, never waits for a vendor.
        """
        sale = bodies.parse(Transaction, visit.body)
        taken = await self._rooms.intake.accept(sale, resolve=visit.may_look_up)
        visit.found = taken.looked_up
        receipt = taken.receipt
        answer = TransactionAccepted(
            transaction_id=receipt.transaction_id,
            number=receipt.number,
            state=receipt.state.value,
            duplicate=receipt.duplicate,
            accepted_at=receipt.accepted_at,
            integration_key=answered_key(receipt),
            served=Served.model_validate(taken.served),
            messages=self._voice.say(taken.codes, self._voice.locale(visit)),
        )
        self._rooms.metrics.sale(duplicate=receipt.duplicate)
        return Reply(200 if receipt.duplicate else 202, answer.model_dump_json().encode())

    async def transaction(self, visit: Visit) -> Reply:
        """How a sale stands with each vendor; `state` is that of the least finished delivery."""
        story = self._rooms.outbox.story(visit.params["transaction_id"], self._rooms.orders.held())
        answered, risen = (story.answered_kind, story.answered_type), (story.key_kind, story.key_type)
        key = answered if story.quiet else risen
        answer = TransactionAnswer(
            transaction_id=story.transaction_id,
            number=story.number,
            state=overall_state(delivery.state for delivery in story.deliveries).value,
            accepted_at=story.accepted_at,
            integration_key=stored_key(*key),
            deliveries=tuple(
                DeliveryAnswer.model_validate(delivery_fields(delivery, self._rooms.orders.rests()))
                for delivery in story.deliveries
                if delivery.state is not DeliveryState.CANCELLED
            ),
        )
        return Reply(200, answer.model_dump_json().encode())


def answered_key(receipt: Receipt) -> AnsweredKey | None:
    """The key that a record was taken with; None for a guest."""
    if receipt.key_kind is None or receipt.key_type is None:
        return None
    value = receipt.key.value if receipt.key is not None else None
    return AnsweredKey.model_validate({"kind": receipt.key_kind, "type": receipt.key_type, "value": value})


def stored_key(kind: str | None, key_type: str | None) -> StoredKey | None:
    """Which kind of key a record carries; None for a guest."""
    return None if kind is None else StoredKey.model_validate({"kind": kind, "type": key_type})


def delivery_fields(delivery: Delivery, rests: Mapping[str, datetime]) -> dict[str, Any]:
    """A delivery as the answers about it share it.

    Args:
        delivery: as it is on disk.
        rests: vendors of whom nothing is asked for a while, and until when: no delivery that waits goes out before.
    """
    error = note = None
    next_attempt_at, rest = delivery.next_attempt_at, rests.get(delivery.vendor)
    if rest is not None and delivery.state in WAITING:
        next_attempt_at = max(next_attempt_at or rest, rest)
    if delivery.state is DeliveryState.DELIVERED and delivery.error_code is not None:
        note = {"code": delivery.error_code, "title": delivery.error_title or ""}
    elif delivery.error_code is not None:
        error = {
            "code": delivery.error_code,
            "status": delivery.error_status,
            "title": delivery.error_title or "",
            "vendor_code": delivery.vendor_code,
        }
    activity_id = activity_id_of(delivery.transaction_id)
    return {
        "entry": delivery.entry,
        "transaction_id": delivery.transaction_id if activity_id is None else None,
        "activity_id": activity_id,
        "vendor": delivery.vendor,
        "state": shown_state(delivery.state).value,
        "attempts": delivery.attempts,
        "accepted_at": delivery.accepted_at,
        "next_attempt_at": next_attempt_at,
        "delivered_at": delivery.delivered_at,
        "vendor_reference": delivery.vendor_reference,
        "last_error": error,
        "note": note,
    }
