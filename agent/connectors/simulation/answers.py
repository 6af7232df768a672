"""JSON answers, and plain functions as the endpoints of a simulated vendor."""

import json
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request, bytes], Response]
"""Answers a request whose body has been read; the vendor's lock is held."""
Endpoint = Callable[[Request], Awaitable[Response]]
Call = tuple[str, str, Handler]
"""Method, path and what answers."""


def answer(content: Any, status: int = 200, *, media_type: str = "application/json") -> Response:
    """A JSON answer."""
    return Response(json.dumps(content, ensure_ascii=False), status, media_type=media_type)


def locked(lock: threading.RLock, handler: Handler) -> Endpoint:
    """The function as an endpoint, its body read and the vendor locked."""

    async def respond(request: Request) -> Response:
        body = await request.body()
        with lock:
            return handler(request, body)

    return respond


def routed(lock: threading.RLock, calls: Iterable[Call]) -> Starlette:
    """The ASGI application of these calls; the first whose path fits answers."""
    return Starlette(routes=[Route(path, locked(lock, handler), methods=[method]) for method, path, handler in calls])
