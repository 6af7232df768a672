"""What a call is once the guard has let it in, and what answers it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from agent.api.problems import Headers
from agent.api.schemas import Message
from agent.messages import Messages
from agent.tokens import Scope, Token

JSON: Final = b"application/json"
PAGE_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFETY: Final[Headers] = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Headers of every answer; the pages bring a content security policy of their own."""


@dataclass(slots=True)
class Visit:
    """One call.

    Attributes:
        request_id: names it in the answer and the log.
        accept_language: the header as sent.
        token: whose call it is; None on the open paths.
        may_look_up: the look-up ration has room for it.
        params: what stands in the path's braces.
        body: as received; empty unless the call writes.
        found: whether a look-up found somebody; None when nobody was asked for. It decides what the ration is charged.
    """

    request_id: str
    accept_language: str | None = None
    token: Token | None = None
    may_look_up: bool = False
    params: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    found: bool | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whole."""

    status: int
    body: bytes
    media_type: bytes = JSON
    headers: Headers = ()


Handler = Callable[[Visit], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Call:
    """A method of a path.

    Attributes:
        route: the path's template.
        scope: whose token it takes; None for the open paths.
        handler: answers it straight from the guard; None: FastAPI does.
        ration: ``refuse`` draws 429 when the look-up ration is used up, ``tell`` goes on without looking up.
        query: it takes query parameters.
        stream: it does not end by itself.
    """

    route: str
    scope: Scope | None
    handler: Handler | None = None
    ration: Literal["refuse", "tell"] | None = None
    query: bool = False
    stream: bool = False


class Voice:
    """The texts in the language a caller asked for, as the schemas publish them.

    Args:
        messages: the texts.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self.say = lru_cache(maxsize=256)(self._say)
        """The messages for a tuple of codes in a locale from :meth:`locale`."""

    def locale(self, visit: Visit) -> str:
        """The locale to answer a call in."""
        return self._messages.negotiate(visit.accept_language)

    def _say(self, codes: Sequence[str], locale: str) -> tuple[Message, ...]:
        return tuple(Message.model_validate(message) for message in self._messages.render(codes, locale))
