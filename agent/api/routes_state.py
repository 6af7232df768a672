"""How the agent is: for tills with a token, and without one for probes, Prometheus and the staff page."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from agent.api import metrics
from agent.api.calls import Call, Handler
from agent.api.events import Broadcast, EventStream
from agent.api.problems import ROUTE_UNKNOWN, DoorError
from agent.api.rooms import Rooms
from agent.api.schemas import (
    Alive,
    ConditionAnswer,
    Message,
    QueueAnswer,
    Ready,
    ReplicaAnswer,
    StatusAnswer,
    Texts,
    VendorAnswer,
)
from agent.api.visits import PAGE_POLICY, Reply, Visit, Voice
from agent.errors import StorageError

ASSETS: Final = {
    "page.js": b"text/javascript; charset=utf-8",
    "page.css": b"text/css; charset=utf-8",
    "docs.js": b"text/javascript; charset=utf-8",
    "docs.css": b"text/css; charset=utf-8",
    "icon.svg": b"image/svg+xml",
}
_OF_A_CUSTOMER: Final = ("loyalty.offline.replica", "loyalty.offline.tagged")
"""What these tell a customer supposes that somebody was recognised."""
_HTML: Final = b"text/html; charset=utf-8"


class StateCalls:
    """The state of the agent in words.

    Args:
        rooms: what is behind the door.
        voice: the texts.
        broadcast: tells listeners of changes.
    """

    def __init__(self, rooms: Rooms, voice: Voice, broadcast: Broadcast) -> None:
        self._rooms, self._voice, self._broadcast = rooms, voice, broadcast

    def calls(self) -> tuple[Call, ...]:
        """What is offered: to tills, to probes and figures, and to the staff page. Only the first need a token."""
        busy = {503: "Too many listen already."}
        events = {200: "text/event-stream"}
        return (
            Call("GET", "/v1/status", "pos", self.status, "The state of the agent", gives={200: StatusAnswer}),
            Call(
                "GET", "/v1/events", "pos", self._events(), "The state as events",
                gives=events, refuses=busy, stream=True,
            ),
            Call("GET", "/healthz", None, self.healthz, "The process lives", gives={200: Alive}),
            Call(
                "GET", "/readyz", None, self.readyz, "It can take a sale",
                gives={200: Ready}, refuses={503: "No sale can be put on disk now."},
            ),
            Call("GET", "/metrics", None, self.metrics, "Figures for Prometheus", gives={200: "text/plain"}),
            Call(
                "GET", "/page/status", None, self.status, "The state for the staff page", gives={200: StatusAnswer}
            ),
            Call(
                "GET", "/page/events", None, self._events(), "The events for the staff page",
                gives=events, refuses=busy, stream=True,
            ),
            Call("GET", "/page/texts", None, self.texts, "The staff page's words", gives={200: Texts}),
            Call("GET", "/page/{asset}", None, _asset),
            Call("GET", "/", None, _page),
            Call("GET", "/docs", None, _docs),
        )  # fmt: skip

    async def status(self, visit: Visit) -> Reply:
        """State, level, vendors, replica, queue and conditions, without personal data."""
        return Reply(200, self.render(self._voice.locale(visit)))

    def _events(self) -> Handler:
        listeners: Counter[str] = Counter()  # of each path: strangers leave those with a token their places

        async def events(visit: Visit) -> EventStream:
            """Server-sent events: the status at once and at every change, and a heartbeat every 15 s."""
            locale = self._voice.locale(visit)
            name = visit.token.name if visit.token is not None else None
            return self._broadcast.stream(lambda: self.render(locale), kind=listeners, name=name)

        return events

    async def healthz(self, _visit: Visit) -> Reply:
        """200 as long as the event loop turns; it looks at nothing."""
        return Reply(200, Alive().model_dump_json().encode())

    async def readyz(self, _visit: Visit) -> Reply:
        """200 when a sale can be put on disk, else 503, whatever vendor and replica do."""
        if not self._rooms.status.ready():
            raise StorageError
        return Reply(200, Ready().model_dump_json().encode())

    async def metrics(self, _visit: Visit) -> Reply:
        """The text exposition format."""
        return Reply(200, self._rooms.metrics.render(), metrics.CONTENT_TYPE)

    async def texts(self, visit: Visit) -> Reply:
        """Labels, states and levels in the language asked for."""
        locale = self._voice.locale(visit)
        texts = Texts(locale=locale, texts=dict(self._rooms.messages.page(locale)))
        return Reply(200, texts.model_dump_json().encode())

    def render(self, locale: str) -> bytes:
        """The status, its conditions and messages in a language, as JSON."""
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
        answer = StatusAnswer(
            state=now.state,
            level=now.level,
            since=now.since,
            version=now.version,
            vendors=tuple(VendorAnswer.model_validate(vendor) for vendor in now.vendors),
            replica=ReplicaAnswer.model_validate(now.replica),
            queue=QueueAnswer.model_validate(now.queue),
            conditions=tuple(conditions),
            messages=_for_everybody(self._voice.say(now.codes, locale)),
        )
        return answer.model_dump_json().encode()


def _for_everybody(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Those that are true whoever is at the till: nobody has been recognised here."""
    return tuple(message for message in messages if message.audience == "staff" or message.code not in _OF_A_CUSTOMER)


async def _asset(visit: Visit) -> Reply:
    """A file of the pages."""
    name = visit.params["asset"]
    if name not in ASSETS:
        raise DoorError(ROUTE_UNKNOWN)
    return Reply(200, _file(name), ASSETS[name])


async def _page(_visit: Visit) -> Reply:
    """The staff page."""
    return _html("page.html")


async def _docs(_visit: Visit) -> Reply:
    """The OpenAPI document, to read; nothing is loaded from elsewhere."""
    return _html("docs.html")


def _html(name: str) -> Reply:
    return Reply(200, _file(name), _HTML, ((b"content-security-policy", PAGE_POLICY),))


@cache
def _file(name: str) -> bytes:
    return (files("agent.api") / "page" / name).read_bytes()
