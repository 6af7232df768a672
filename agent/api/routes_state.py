"""How the agent is: for tills with a token, and without one for probes, Prometheus and the staff page."""

from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Response

from agent.api import metrics
from agent.api.events import Broadcast, EventStream
from agent.api.problems import ROUTE_UNKNOWN, DoorError
from agent.api.rooms import Rooms
from agent.api.routes_till import ANSWERED_BY_GUARD, TheVisit
from agent.api.schemas import (
    Alive,
    ConditionAnswer,
    QueueAnswer,
    Ready,
    ReplicaAnswer,
    StatusAnswer,
    Texts,
    VendorAnswer,
)
from agent.api.visits import PAGE_POLICY, Reply, Visit, Voice
from agent.errors import StorageError

STATUS: Final = ("GET", "/v1/status")
EVENTS: Final = ("GET", "/v1/events")
PAGE_EVENTS: Final = ("GET", "/page/events")
ASSETS: Final = {
    "page.js": "text/javascript",
    "page.css": "text/css",
    "docs.js": "text/javascript",
    "docs.css": "text/css",
    "icon.svg": "image/svg+xml",
}
_STREAM: Final[dict[int | str, dict[str, object]]] = {
    200: {
        "description": "Events `status`, whose data is that of `GET /v1/status`, and `heartbeat`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


class StateCalls:
    """The state of the agent in words.

    Args:
        rooms: what is behind the door.
        voice: the texts.
    """

    def __init__(self, rooms: Rooms, voice: Voice) -> None:
        self._rooms, self._voice = rooms, voice

    async def status(self, visit: Visit) -> Reply:
        """`GET /v1/status`."""
        return Reply(200, self.render(self._voice.locale(visit)))

    def render(self, locale: str) -> bytes:
        """The status as JSON."""
        return self.answer(locale).model_dump_json().encode()

    def answer(self, locale: str) -> StatusAnswer:
        """The status, its conditions and messages in a language."""
        now = self._rooms.status.snapshot()
        conditions = []
        for condition in now.conditions:
            text = self._rooms.messages.condition(condition.code, locale)
            conditions.append(
                ConditionAnswer(
                    code=condition.code,
                    severity=condition.severity,
                    since=condition.since,
                    title=text.title,
                    detail=f"{text.detail} ({condition.detail})" if condition.detail else text.detail,
                    remedy=text.remedy,
                )
            )
        return StatusAnswer(
            state=now.state,
            level=now.level,
            since=now.since,
            version=now.version,
            vendors=tuple(VendorAnswer.model_validate(vendor) for vendor in now.vendors),
            replica=ReplicaAnswer.model_validate(now.replica),
            queue=QueueAnswer.model_validate(now.queue),
            conditions=tuple(conditions),
            messages=self._voice.say(now.codes, locale),
        )


def state_router(calls: StateCalls, voice: Voice, broadcast: Broadcast) -> APIRouter:
    """The state for tills: scope `pos`."""
    router = APIRouter(tags=["state"])
    listeners: set[object] = set()

    @router.get(STATUS[1], summary="The state of the agent")
    async def status() -> StatusAnswer:
        """State, level, vendors, replica, queue and conditions, without personal data."""
        raise NotImplementedError(ANSWERED_BY_GUARD)

    @router.get(EVENTS[1], summary="The state as events", response_class=Response, responses=_STREAM)
    async def events(visit: TheVisit) -> EventStream:
        """Server-sent events: the status at once and at every change, and a heartbeat every 15 s."""
        locale = voice.locale(visit)
        return broadcast.stream(lambda: calls.render(locale), kind=listeners)

    return router


def open_router(rooms: Rooms) -> APIRouter:
    """Probes and figures: no token, no personal data."""
    router = APIRouter(tags=["open"])

    @router.get("/healthz", summary="The process lives")
    async def healthz() -> Alive:
        """200 as long as the event loop turns; it looks at nothing."""
        return Alive()

    @router.get("/readyz", summary="It can take a sale")
    async def readyz() -> Ready:
        """200 when a sale can be put on disk, else 503, whatever vendor and replica do."""
        if not rooms.status.ready():
            raise StorageError
        return Ready()

    @router.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def figures() -> Response:
        """The text exposition format."""
        return Response(rooms.metrics.render(), headers={"content-type": metrics.CONTENT_TYPE.decode()})

    return router


def page_router(rooms: Rooms, calls: StateCalls, voice: Voice, broadcast: Broadcast) -> APIRouter:
    """The staff page and what feeds it: no token, no personal data."""
    router = APIRouter(tags=["page"])
    listeners: set[object] = set()

    @router.get("/page/status", summary="The state for the staff page")
    async def page_status(visit: TheVisit) -> StatusAnswer:
        """What `GET /v1/status` says."""
        return calls.answer(voice.locale(visit))

    @router.get(PAGE_EVENTS[1], summary="The events for the staff page", response_class=Response, responses=_STREAM)
    async def page_events(visit: TheVisit) -> EventStream:
        """What `GET /v1/events` says."""
        locale = voice.locale(visit)
        return broadcast.stream(lambda: calls.render(locale), kind=listeners)

    @router.get("/page/texts", summary="The staff page's words")
    async def page_texts(visit: TheVisit) -> Texts:
        """Labels, states and levels in the language asked for."""
        locale = voice.locale(visit)
        return Texts(locale=locale, texts=dict(rooms.messages.page(locale)))

    @router.get("/page/{asset}", include_in_schema=False)
    async def page_asset(asset: str) -> Response:
        """A file of the pages."""
        if asset not in ASSETS:
            raise DoorError(ROUTE_UNKNOWN)
        return Response(_file(asset), media_type=ASSETS[asset])

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        """The staff page."""
        return _page("page.html")

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """The OpenAPI document, to read; nothing is loaded from elsewhere."""
        return _page("docs.html")

    return router


def _page(name: str) -> Response:
    headers = {"content-security-policy": PAGE_POLICY.decode()}
    return Response(_file(name), media_type="text/html; charset=utf-8", headers=headers)


@cache
def _file(name: str) -> bytes:
    return (files("agent.api") / "page" / name).read_bytes()
