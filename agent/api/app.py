"""The door, put together: routes, guard, OpenAPI document."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from agent.api import bodies, openapi
from agent.api.events import HEARTBEAT_S, Broadcast
from agent.api.guard import AsgiScope, Guard, Methods, Receive, Send
from agent.api.problems import ROUTE_UNKNOWN, DoorError
from agent.api.refusals import Refusals
from agent.api.rooms import Rooms
from agent.api.routes_admin import DISCARD, RETRY, STORY, AdminCalls, admin_router
from agent.api.routes_state import EVENTS, PAGE_EVENTS, STATUS, StateCalls, open_router, page_router, state_router
from agent.api.routes_till import ACCEPT, CONTACT, IDENTIFY, TRANSACTION, TillCalls, till_router
from agent.api.visits import Call, Voice
from agent.errors import InputError, LoyaltyAgentError
from agent.tokens import Scope

OPENAPI: Final = "/openapi.json"


class Door:
    """The ASGI application of the till's door.

    Args:
        rooms: what is behind it.
        heartbeat_s: of event streams.
    """

    def __init__(self, rooms: Rooms, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        voice = Voice(rooms.messages)
        till, state, admin = TillCalls(rooms, voice), StateCalls(rooms, voice), AdminCalls(rooms)
        self._broadcast = Broadcast(rooms.status, heartbeat_s=heartbeat_s)
        inner = FastAPI(title="loyalty-agent", version=rooms.version, docs_url=None, redoc_url=None, openapi_url=None)
        calls = {
            **_include(inner, till_router(rooms, voice), "pos"),
            **_include(inner, state_router(state, voice, self._broadcast), "pos"),
            **_include(inner, admin_router(rooms), "admin"),
            **_include(inner, open_router(rooms), None),
            **_include(inner, page_router(rooms, state, voice, self._broadcast), None),
        }
        _answer_errors(inner, Refusals(voice))
        self.calls = calls | {
            IDENTIFY: Call(IDENTIFY[1], "pos", till.identify, ration="refuse"),
            ACCEPT: Call(ACCEPT[1], "pos", till.accept, ration="tell"),
            TRANSACTION: Call(TRANSACTION[1], "pos", till.transaction),
            STATUS: Call(STATUS[1], "pos", state.status),
            STORY: Call(STORY[1], "admin", admin.story),
            RETRY: Call(RETRY[1], "admin", admin.retry),
            DISCARD: Call(DISCARD[1], "admin", admin.discard),
            CONTACT: replace(calls[CONTACT], ration="refuse"),
            EVENTS: replace(calls[EVENTS], stream=True),
            PAGE_EVENTS: replace(calls[PAGE_EVENTS], stream=True),
            ("GET", OPENAPI): Call(OPENAPI, None),
        }
        """Every call by method and path template."""
        openapi.serve(inner, OPENAPI, self.calls)
        static, patterns = _tables(self.calls)
        self._guard = Guard(rooms, static, patterns, inner)
        self.clock = rooms.clock
        rooms.metrics.watch(rooms.status.snapshot)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await self._guard(scope, receive, send)

    def stop(self) -> None:
        """Ends the event streams, so that the server can stop."""
        self._broadcast.stop()


def create_app(rooms: Rooms, *, heartbeat_s: float = HEARTBEAT_S) -> Door:
    """The door to these rooms; an ASGI application for :class:`agent.api.server.Server`."""
    return Door(rooms, heartbeat_s=heartbeat_s)


def _include(inner: FastAPI, router: APIRouter, scope: Scope | None) -> dict[tuple[str, str], Call]:
    """Adds a router to FastAPI; its calls, for the guard."""
    inner.include_router(router)
    return {
        (method, route.path): Call(route.path, scope, query=bool(route.dependant.query_params))
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def _tables(calls: Mapping[tuple[str, str], Call]) -> tuple[dict[str, Methods], list[tuple[re.Pattern[str], Methods]]]:
    """The calls by path: those without braces by name, those with as patterns."""
    paths: dict[str, dict[str, Call]] = {}
    for (method, path), call in calls.items():
        paths.setdefault(path, {})[method] = call
    static: dict[str, Methods] = {path: methods for path, methods in paths.items() if "{" not in path}
    patterns: list[tuple[re.Pattern[str], Methods]] = [
        (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), methods)
        for path, methods in paths.items()
        if "{" in path
    ]
    return static, patterns


def _answer_errors(inner: FastAPI, refusals: Refusals) -> None:
    """FastAPI's errors, told the same way as the guard's."""

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError):
            sent = {"query": dict(request.query_params), "path": request.path_params}
            error = InputError(bodies.faults(error.errors(), sent))
        elif isinstance(error, HTTPException):  # the guard knows the same paths, so routing itself never fails
            error = DoorError(ROUTE_UNKNOWN)
        reply = refusals.reply(error, request.scope["visit"])
        response = Response(reply.body, reply.status, media_type=reply.media_type.decode())
        response.raw_headers.extend(reply.headers)
        return response

    for kind in (LoyaltyAgentError, DoorError, RequestValidationError, HTTPException, Exception):
        inner.add_exception_handler(kind, answer)
