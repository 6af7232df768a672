"""What an administrator calls: the queue, and orders that start something and answer at once."""

import re
from typing import Final

from agent.api import bodies
from agent.api.calls import Call, Handler
from agent.api.rooms import Rooms
from agent.api.routes_till import delivery_fields, stored_key
from agent.api.schemas import (
    AboutIt,
    AttemptAnswer,
    StoryAnswer,
    StoryDelivery,
    StoryEvent,
)
from agent.api.schemas_state import (
    DamageAcknowledged,
    DamageAnswer,
    DamageList,
    DiscardRequest,
    Nothing,
    OrderAccepted,
    QueueEntry,
    QueueList,
    QueueQuery,
)
from agent.api.visits import Reply, Visit
from agent.domain.activity import activity_id_of
from agent.domain.numbering import store_and_till
from agent.errors import UnknownRecordError

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_ORDERS: Final = {
    "sync": ("sync_contacts", "Ask for contact changes now"),
    "flush": (
        "flush_queue",
        "Try everything queued or held now, whatever its back-off; a vendor's Retry-After still wins",
    ),
    "purge": ("purge_personal_data", "Erase now what retention names"),
    "pause": ("pause_deliveries", "Stop delivering; sales go on being taken"),
    "resume": ("resume_deliveries", "Deliver again"),
}
"""The name of the call and what it does, by the order."""


class AdminCalls:
    """The calls of scope `admin`.

    Args:
        rooms: what is behind the door.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def calls(self) -> tuple[Call, ...]:
        """What is offered."""
        unreadable = {503: "The record cannot be read now."}
        unknown = {
            404: "No such unfinished delivery.",
            503: "It cannot be written now.",
            507: "There is no room to write it down.",
        }
        return (
            Call(
                "GET", "/v1/queue", "admin", self.queue, "What is not delivered", name="list_queue",
                query=QueueQuery, gives={200: QueueList}, refuses=unreadable,
            ),
            Call(
                "GET", "/v1/transactions/{transaction_id}/story", "admin", self.story, "A sale's whole life",
                name="get_transaction_story",
                gives={200: StoryAnswer}, refuses={404: "No such sale.", **unreadable},
            ),
            Call(
                "POST", "/v1/queue/{entry}/retry", "admin", self.retry, "Try a delivery again", name="retry_delivery",
                gives={202: OrderAccepted}, refuses=unknown,
            ),
            Call(
                "POST", "/v1/queue/{entry}/discard", "admin", self.discard, "Give a delivery up",
                name="discard_delivery",
                takes=DiscardRequest, gives={202: OrderAccepted},
                refuses={**unknown, 409: "It is under way right now."},
            ),
            Call(
                "GET", "/v1/damage", "admin", self.damage, "What was damaged", name="list_damage",
                gives={200: DamageList},
            ),
            Call(
                "POST", "/v1/damage/acknowledge", "admin", self.acknowledge, "Damage has been seen",
                name="acknowledge_damage",
                gives={200: DamageAcknowledged}, refuses={503: "It cannot be written now."},
            ),
            *(
                Call(
                    "POST", f"/v1/{order}", "admin", self._order(order), summary, name=name,
                    gives={202: OrderAccepted},
                )
                for order, (name, summary) in _ORDERS.items()
            ),
        )  # fmt: skip

    async def queue(self, visit: Visit) -> Reply:
        """Unfinished deliveries in order of acceptance, a page at a time."""
        query: QueueQuery = visit.query
        found = self._rooms.outbox.queue(
            state=query.state,
            vendor=query.vendor,
            limit=query.limit + 1,
            after=query.after,
            held=self._rooms.orders.held(),
        )
        rests = self._rooms.orders.rests()
        entries = tuple(
            QueueEntry.model_validate(delivery_fields(delivery, rests)) for delivery in found[: query.limit]
        )
        answer = QueueList(entries=entries, next=entries[-1].entry if len(found) > query.limit else None)
        return Reply(200, answer.model_dump_json().encode())

    async def story(self, visit: Visit) -> Reply:
        """What happened to a sale, attempt by attempt, without the person in it."""
        story = self._rooms.outbox.story(visit.params["transaction_id"], self._rooms.orders.held())
        store_id, till_id = store_and_till(story.till)
        answer = StoryAnswer(
            transaction_id=story.transaction_id,
            type=story.type,
            store_id=store_id,
            till_id=till_id,
            number=story.number,
            occurred_at=story.occurred_at,
            accepted_at=story.accepted_at,
            erased_at=story.erased_at,
            original_transaction_id=story.original_transaction_id,
            answered_key=stored_key(story.answered_kind, story.answered_type),
            integration_key=stored_key(story.key_kind, story.key_type),
            about_it=tuple(AboutIt.model_validate(later) for later in story.about_it),
            deliveries=tuple(
                StoryDelivery.model_validate(
                    delivery_fields(delivery, self._rooms.orders.rests()) | {"state": delivery.state.value}
                )
                for delivery in story.deliveries
            ),
            attempts=tuple(AttemptAnswer.model_validate(attempt) for attempt in story.attempts),
            events=tuple(StoryEvent.model_validate(event) for event in story.events),
        )
        return Reply(200, answer.model_dump_json().encode())

    async def retry(self, visit: Visit) -> Reply:
        """Puts a parked or doubtful delivery back in line, or drops the back-off of a waiting one."""
        _take_nothing(visit.body)
        entry = _entry_of(visit)
        name = await self._rooms.outbox.retry(entry, self._rooms.clock.now())
        self._rooms.orders.wake()
        await self._record("queue.retried", visit, entry, name)
        return Reply(202, OrderAccepted(ordered="retry", entry=entry).model_dump_json().encode())

    async def discard(self, visit: Visit) -> Reply:
        """Gives up a delivery for a stated reason, unless it is under way right now; the sale stays on record."""
        request = bodies.parse(DiscardRequest, visit.body)
        entry = _entry_of(visit)
        name = await self._rooms.outbox.discard(entry, request.reason, self._rooms.clock.now())
        await self._record("queue.discarded", visit, entry, name)
        return Reply(202, OrderAccepted(ordered="discard", entry=entry).model_dump_json().encode())

    async def damage(self, _visit: Visit) -> Reply:
        """Damaged files that were set aside: what was rescued of each, and what was not."""
        damages = tuple(DamageAnswer.model_validate(report) for report in self._rooms.damage.reports)
        return Reply(200, DamageList(damages=damages).model_dump_json().encode())

    async def acknowledge(self, visit: Visit) -> Reply:
        """Ends the condition `storage.damaged` for what is whole again; the files stay until retention takes them."""
        _take_nothing(visit.body)
        seen = self._rooms.damage.acknowledge()
        return Reply(200, DamageAcknowledged(acknowledged=seen).model_dump_json().encode())

    async def _record(self, event: str, visit: Visit, entry: int, name: str) -> None:
        activity_id = activity_id_of(name)
        of = {"transaction_id": name} if activity_id is None else {"activity_id": activity_id}
        await self._rooms.record(event, by=visit.caller, entry=entry, **of)

    def _order(self, name: str) -> Handler:
        start = getattr(self._rooms.orders, name)

        async def order(visit: Visit) -> Reply:
            """Starts and answers at once, with or without a body."""
            _take_nothing(visit.body)
            start()
            return Reply(202, OrderAccepted.model_validate({"ordered": name}).model_dump_json().encode())

        return order


def _entry_of(visit: Visit) -> int:
    number = visit.params["entry"]
    if not _NUMBER.fullmatch(number):
        raise UnknownRecordError
    return int(number)


def _take_nothing(body: bytes) -> None:
    """An order's body, if there is one, is an object without fields."""
    if body:
        bodies.parse(Nothing, body)
