"""Errors as the door answers them: one table, `application/problem+json` (RFC 9457), never a personal value.

`agent.errors` is the tree that the services raise; :class:`DoorError` is what the door itself refuses.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.api.schemas import FaultItem, Message, Problem
from agent.errors import (
    ActivityConflictError,
    AmbiguousContactError,
    AmbiguousPersonError,
    ConflictError,
    ContactRefusedError,
    Fault,
    IdentifierInvalidError,
    InputError,
    LoyaltyAgentError,
    ReadOnlyContactsError,
    StorageError,
    StorageFullError,
    UnderWayError,
    UnknownRecordError,
)

Headers = tuple[tuple[bytes, bytes], ...]

PROBLEM_TYPE: Final = "urn:loyalty-agent:problem:"
PROBLEM_MEDIA_TYPE: Final = b"application/problem+json"
MAX_FAULTS: Final = 50


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of refusal: stable code, HTTP status, and a title for people."""

    code: str
    status: int
    title: str


HOST_UNKNOWN: Final = Kind("host.unknown", 421, "The Host header does not name this agent.")
ORIGIN_REFUSED: Final = Kind("origin.refused", 403, "Web pages of that origin may not call this agent.")
ROUTE_UNKNOWN: Final = Kind("route.unknown", 404, "There is no such call.")
METHOD_NOT_ALLOWED: Final = Kind("method.not_allowed", 405, "That path does not take this method.")
TOKEN_MISSING: Final = Kind("token.missing", 401, "The call carries no bearer token.")
TOKEN_INVALID: Final = Kind("token.invalid", 401, "The token is not valid here.")
TOKEN_SCOPE: Final = Kind("token.scope", 403, "The token's scope does not cover this call.")
MEDIA_TYPE: Final = Kind("request.media_type", 415, "A body must be application/json in UTF-8.")
TOO_LARGE: Final = Kind("request.too_large", 413, "The body is larger than 256 KiB.")
RATION_EXHAUSTED: Final = Kind("ration.exhausted", 429, "The look-up ration of this token is used up for now.")
MALFORMED: Final = Kind("request.malformed", 400, "The body is not JSON.")
HTTP_INVALID: Final = Kind("request.http", 400, "That is not an HTTP request.")
HEAD_TOO_LARGE: Final = Kind("request.head_too_large", 431, "The request's head is too large.")
TIMED_OUT: Final = Kind("request.timeout", 408, "The request took too long to arrive.")
BUSY: Final = Kind("agent.busy", 503, "Too many are connected already.")
UNEXPECTED: Final = Kind("agent.error", 500, "Something went wrong in the agent.")

DOOR_KINDS: Final = (
    HOST_UNKNOWN, ORIGIN_REFUSED, ROUTE_UNKNOWN, METHOD_NOT_ALLOWED, TOKEN_MISSING, TOKEN_INVALID, TOKEN_SCOPE,
    MEDIA_TYPE, TOO_LARGE, RATION_EXHAUSTED, MALFORMED, HTTP_INVALID, HEAD_TOO_LARGE, TIMED_OUT, BUSY, UNEXPECTED,
)  # fmt: skip

_STATUS: Final[Mapping[type[LoyaltyAgentError], int]] = {
    InputError: 422,
    IdentifierInvalidError: 422,
    ContactRefusedError: 422,
    ConflictError: 409,
    ActivityConflictError: 409,
    UnderWayError: 409,
    UnknownRecordError: 404,
    AmbiguousPersonError: 409,
    AmbiguousContactError: 409,
    ReadOnlyContactsError: 409,
    StorageError: 503,
    StorageFullError: 507,
}
"""What the services' errors are as HTTP; a subclass that is not listed answers as its parent."""

TREE_KINDS: Final = tuple(
    Kind(error.code, status, (error.__doc__ or "").split("\n", 1)[0]) for error, status in _STATUS.items()
)
_SAID: Final = {"storage.full": "storage.full"}
"""Problems that a cashier hears about, and the message for it."""


class DoorError(Exception):
    """The door refuses a request.

    Args:
        kind: why.
        detail: more about it; the kind's title if None.
        headers: that the answer carries in addition.
        faults: each place that does not fit.
    """

    def __init__(
        self, kind: Kind, detail: str | None = None, *, headers: Headers = (), faults: Sequence[Fault] = ()
    ) -> None:
        self.kind, self.detail, self.headers, self.faults = kind, detail or kind.title, headers, tuple(faults)
        super().__init__(kind.code)


def door_error(error: LoyaltyAgentError) -> DoorError | None:
    """A service's error as the door answers it; None for one that no call should meet."""
    for ancestor in type(error).__mro__:
        status = _STATUS.get(ancestor)
        if status is not None:
            title = (type(error).__doc__ or "").split("\n", 1)[0]
            faults = error.faults if isinstance(error, InputError) else ()
            return DoorError(Kind(error.code, status, title), str(error), faults=faults)
    return None


def message_code(kind: Kind) -> str | None:
    """The message for the cashier that goes with a refusal, if there is one."""
    return _SAID.get(kind.code)


def render(error: DoorError, request_id: str, messages: Iterable[Message] = ()) -> bytes:
    """The body of the answer."""
    kind = error.kind
    problem = Problem(
        type=PROBLEM_TYPE + kind.code,
        title=kind.title,
        status=kind.status,
        detail=error.detail,
        code=kind.code,
        request_id=request_id,
        errors=tuple(FaultItem(pointer=fault.pointer, message=fault.message) for fault in error.faults[:MAX_FAULTS]),
        messages=tuple(messages),
    )
    return problem.model_dump_json(exclude_defaults=True).encode()
