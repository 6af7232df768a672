"""What can go wrong on the line to any simulated vendor, switched on and off by whoever tests against it.

Nothing here acts by itself: the gate asks which fault a request meets, and lets the request suffer it.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal, TypeVar, get_args
from urllib.parse import unquote_plus

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BodyKind = Literal["error", "json", "empty", "html", "text", "truncated", "huge", "echo"]

ABORT = "simulator.abort"
"""Scope extension: closes the connection; the server puts it there."""
_HALF = "simulator.half"
_CHUNK = b"x" * 65_536
_HTML = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Welcome to the guest network</h1></body></html>"
)


@dataclass(kw_only=True)
class LineFault:
    """One fault, met by requests whose method and path fit.

    Attributes:
        kinds: What there is at this vendor. One that takes several records in a request may have `half`, and asks
            `processed` which of them it gets to.
        record_kinds: Those of them that single records meet, and no request.
        kind: `drop` closes the connection without an answer, `latency` waits first, `hang` never answers, `answer`
            gives the status and body below, `half` processes the first half of a request and closes the connection.
        path: Shell pattern for the path, `/api/*/receipts` for instance.
        method: Shell pattern for the method.
        count: How many requests still meet it; None for all.
        skip: How many fitting requests pass before it starts.
        after_processing: For `drop`, `hang` and `answer`: the vendor does the work first, only its answer is replaced.
        delay_s: Waiting time of `latency`.
        status: Status of `answer`; 0 stands for 503.
        body: Body of `answer`; `echo` repeats in its texts whatever was asked.
        size_bytes: Length of a `huge` body.
        headers: Headers of `answer`, such as `Retry-After` or, for a redirect, `Location`.
    """

    kinds: ClassVar[tuple[str, ...]] = ("drop", "latency", "hang", "answer")
    record_kinds: ClassVar[tuple[str, ...]] = ()

    kind: str
    path: str = "*"
    method: str = "*"
    count: int | None = None
    skip: int = 0
    after_processing: bool = False
    delay_s: float = 0.0
    status: int = 0
    body: BodyKind = "error"
    size_bytes: int = 16 * 1024 * 1024
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in self.kinds or self.body not in get_args(BodyKind):
            raise ValueError(f"no such fault: kind {self.kind!r} with body {self.body!r}")
        if self.kind == "answer" and not self.status:
            self.status = 503

    def meets(self, method: str, path: str) -> bool:
        """Whether a request meets this fault; counts it when it does."""
        if self.kind in self.record_kinds:
            return False
        if self.count == 0 or not fnmatchcase(path, self.path) or not fnmatchcase(method, self.method):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.count is not None:
            self.count -= 1
        return True


_AnyFault = TypeVar("_AnyFault", bound=LineFault)
_Record = TypeVar("_Record")


def met(faults: Iterable[_AnyFault], method: str, path: str) -> tuple[float, _AnyFault | None]:
    """The seconds a request waits, and the fault it then meets: the first that fits, latency comes on top."""
    delay_s = 0.0
    for fault in faults:
        if fault.meets(method, path):
            if fault.kind != "latency":
                return delay_s, fault
            delay_s += fault.delay_s
    return delay_s, None


def processed(records: Sequence[_Record], scope: Scope) -> Sequence[_Record]:
    """The records of a request that the vendor gets to: all, or of a request that meets `half` the first half."""
    return records[: len(records) // 2] if scope.get(_HALF) else records


@dataclass(frozen=True, slots=True)
class Wording:
    """How a vendor words an error.

    Attributes:
        own_error: What it says of an error of its own.
        echoed: Its form of an error, around a text.
    """

    own_error: Mapping[str, Any]
    echoed: Callable[[str], Mapping[str, Any]]


async def suffer(
    fault: LineFault, vendor: ASGIApp, scope: Scope, receive: Receive, send: Send, *, wording: Wording
) -> None:
    """Lets a request meet its fault, before the vendor does the work or after.

    Args:
        fault: of any kind that requests meet but `latency`.
        vendor: does the work, where the fault lets it.
        scope: of the request.
        receive: of the request.
        send: of the request.
        wording: the vendor's.
    """
    if fault.after_processing or fault.kind == "half":
        await vendor({**scope, _HALF: fault.kind == "half"}, receive, _swallow)
    if fault.kind == "answer":
        await _answer_instead(fault, scope, receive, send, wording)
        return
    if fault.kind in ("drop", "half"):
        abort = scope.get("extensions", {}).get(ABORT)
        if abort is None:
            raise ConnectionResetError("the connection is dropped")
        abort()
    while (await receive())["type"] != "http.disconnect":
        continue


async def _swallow(_message: Message) -> None:
    """Loses the answer of a request that was processed."""


async def _answer_instead(fault: LineFault, scope: Scope, receive: Receive, send: Send, wording: Wording) -> None:
    headers = dict(fault.headers)
    content: bytes
    media_type: str | None
    if fault.body == "huge":
        await _send_huge(fault, headers, send)
        return
    if fault.body == "echo":
        body = await Request(scope, receive).body()
        asked = f"{scope['path']}?{unquote_plus(scope['query_string'].decode())} {body.decode(errors='replace')}"
        content, media_type = _json(wording.echoed(asked)), "application/json"
    else:
        content, media_type = {
            "error": (_json(wording.own_error), "application/json"),
            "json": (b"{}", "application/json"),
            "empty": (b"", None),
            "html": (_HTML, "text/html"),
            "text": (b"upstream connect error or disconnect/reset before headers", "text/plain"),
            "truncated": (b'{"id":"0f6c2c52-6b0e-4a0c-9c1e', "application/json"),
        }[fault.body]
    await Response(content, fault.status, headers, media_type)(scope, receive, send)


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


async def _send_huge(fault: LineFault, headers: Mapping[str, str], send: Send) -> None:
    names = {"content-type": "application/json", **{name.lower(): value for name, value in headers.items()}}
    start = [(name.encode(), value.encode()) for name, value in names.items()]
    await send({"type": "http.response.start", "status": fault.status, "headers": start})
    for _ in range(fault.size_bytes // len(_CHUNK)):
        await send({"type": "http.response.body", "body": _CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": _CHUNK[: fault.size_bytes % len(_CHUNK)]})
