"""A call once the guard has let it in, and its answer."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Protocol

from agent.api.problems import Headers
from agent.api.schemas import Message
from agent.domain.audit import word
from agent.messages import Messages
from agent.tokens import Token

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Chunk = Callable[[bytes], Awaitable[None]]

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


class GoneError(Exception):
    """The caller hung up, or takes nothing any more: there is nobody to answer."""


@dataclass(slots=True)
class Visit:
    """One call.

    Attributes:
        request_id: names it in the answer and the log.
        accept_language: the header as sent.
        token: whose call it is; None on the open paths.
        may_look_up: the look-up ration has room for it.
        params: what stands in the path's braces.
        query: the checked query; None where the call takes none.
        body: as received; empty unless the call writes.
        found: whether a look-up found somebody; None when nobody was asked for. It decides what the ration is charged.
    """

    request_id: str
    accept_language: str | None = None
    token: Token | None = None
    may_look_up: bool = False
    params: dict[str, str] = field(default_factory=dict)
    query: Any = None
    body: bytes = b""
    found: bool | None = None

    @property
    def caller(self) -> str:
        """Who asks, as the audit trail may name them: the token it carries, or the Unix user; a dash for nobody."""
        return word(self.token.name if self.token is not None else "")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whole."""

    status: int
    body: bytes
    media_type: bytes = JSON
    headers: Headers = ()


class Stream(Protocol):
    """An answer that goes on until somebody hangs up."""

    media_type: bytes

    async def run(self, receive: Receive, send: Chunk) -> None:
        """Sends its parts."""


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

    def page_locale(self, visit: Visit, header: str | None) -> str:
        """The locale to answer a page in: that of its address (`LanguageQuery`), else of ``header``."""
        return self._messages.negotiate(visit.query.lang or header)

    def _say(self, codes: Sequence[str], locale: str) -> tuple[Message, ...]:
        return tuple(Message.model_validate(message) for message in self._messages.render(codes, locale))
