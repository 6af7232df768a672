"""What an administrator calls: the queue, and orders that start something and answer at once."""

import re
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from agent.api import bodies
from agent.api.rooms import Rooms
from agent.api.routes_till import ANSWERED_BY_GUARD, ThatSale, TheVisit, delivery_fields, stored_key
from agent.api.schemas import (
    AttemptAnswer,
    DiscardRequest,
    Nothing,
    OrderAccepted,
    QueueEntry,
    QueueList,
    QueueQuery,
    StoryAnswer,
    StoryDelivery,
)
from agent.api.visits import Reply, Visit
from agent.errors import UnknownRecordError

STORY: Final = ("GET", "/v1/transactions/{transaction_id}/story")
RETRY: Final = ("POST", "/v1/queue/{entry}/retry")
DISCARD: Final = ("POST", "/v1/queue/{entry}/discard")
Entry = Annotated[int, Path(ge=1, le=2**63 - 1, description="of the queue's list")]
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
ORDERS: Final = {
    "sync": "Ask for contact changes now",
    "flush": "Try everything queued or held now, whatever its back-off; a vendor's Retry-After still wins",
    "purge": "Erase now what retention names",
    "pause": "Stop delivering; sales go on being taken",
    "resume": "Deliver again",
}


class AdminCalls:
    """What is asked about one sale and done with one delivery.

    Args:
        rooms: what is behind the door.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def story(self, visit: Visit) -> Reply:
        """`GET /v1/transactions/{transaction_id}/story`."""
        story = self._rooms.outbox.story(visit.params["transaction_id"], self._rooms.orders.held())
        answer = StoryAnswer(
            transaction_id=story.transaction_id,
            type=story.type,
            occurred_at=story.occurred_at,
            accepted_at=story.accepted_at,
            erased_at=story.erased_at,
            original_transaction_id=story.original_transaction_id,
            answered_key=stored_key(story.answered_kind, story.answered_type),
            integration_key=stored_key(story.key_kind, story.key_type),
            deliveries=tuple(StoryDelivery.model_validate(delivery_fields(delivery)) for delivery in story.deliveries),
            attempts=tuple(AttemptAnswer.model_validate(attempt) for attempt in story.attempts),
        )
        return Reply(200, answer.model_dump_json().encode())

    async def retry(self, visit: Visit) -> Reply:
        """`POST /v1/queue/{entry}/retry`."""
        _take_nothing(visit.body)
        entry = _entry_of(visit)
        await self._rooms.outbox.retry(entry)
        self._rooms.orders.wake()
        return Reply(202, OrderAccepted(ordered="retry", entry=entry).model_dump_json().encode())

    async def discard(self, visit: Visit) -> Reply:
        """`POST /v1/queue/{entry}/discard`."""
        request = bodies.parse(DiscardRequest, visit.body)
        entry = _entry_of(visit)
        await self._rooms.outbox.discard(entry, request.reason)
        return Reply(202, OrderAccepted(ordered="discard", entry=entry).model_dump_json().encode())


def admin_router(rooms: Rooms) -> APIRouter:
    """The routes of scope `admin`."""
    router = APIRouter(tags=["admin"])

    @router.get("/v1/queue", summary="What is not delivered")
    async def queue(query: Annotated[QueueQuery, Query()]) -> QueueList:
        """Unfinished deliveries in order of acceptance, a page at a time."""
        found = rooms.outbox.queue(
            state=query.state, vendor=query.vendor, limit=query.limit + 1, after=query.after, held=rooms.orders.held()
        )
        entries = tuple(QueueEntry.model_validate(delivery_fields(delivery)) for delivery in found[: query.limit])
        return QueueList(entries=entries, next=entries[-1].entry if len(found) > query.limit else None)

    @router.get(STORY[1], summary="A sale's whole life")
    async def story(transaction_id: ThatSale) -> StoryAnswer:
        """What happened to a sale, attempt by attempt, without the person in it."""
        raise NotImplementedError(ANSWERED_BY_GUARD)

    @router.post(RETRY[1], status_code=202, summary="Try a delivery again")
    async def retry(entry: Entry) -> OrderAccepted:
        """Puts a parked or doubtful delivery back in line, or drops the back-off of a waiting one."""
        raise NotImplementedError(ANSWERED_BY_GUARD)

    @router.post(DISCARD[1], status_code=202, summary="Give a delivery up")
    async def discard(entry: Entry, request: DiscardRequest) -> OrderAccepted:
        """Gives up a parked or doubtful delivery for a stated reason; the sale stays on record."""
        raise NotImplementedError(ANSWERED_BY_GUARD)

    for name, summary in ORDERS.items():
        router.add_api_route(
            f"/v1/{name}",
            _order(name, getattr(rooms.orders, name)),
            methods=["POST"],
            status_code=202,
            summary=summary,
            name=name,
            response_model=OrderAccepted,
        )
    return router


def _order(name: str, start: Callable[[], None]) -> Callable[..., object]:
    async def order(visit: TheVisit) -> OrderAccepted:
        """Starts and answers at once, with or without a body."""
        _take_nothing(visit.body)
        start()
        return OrderAccepted.model_validate({"ordered": name})

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
