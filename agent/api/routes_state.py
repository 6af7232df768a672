"""How the agent is: for tills with a token, and without one for probes and Prometheus."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from agent.api import metrics, signs
from agent.api.calls import Call, Handler
from agent.api.events import Broadcast, EventStream
from agent.api.rooms import Rooms
from agent.api.schemas import Message
from agent.api.schemas_state import (
    Alive,
    ConditionAnswer,
    QueueAnswer,
    Ready,
    ReplicaAnswer,
    StatusAnswer,
    VendorAnswer,
)
from agent.api.visits import Reply, Visit, Voice
from agent.errors import StorageError

_OF_A_CUSTOMER: Final = ("loyalty.offline.replica", "loyalty.offline.tagged")
"""What these tell a customer supposes that somebody was recognised."""


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
        """What is offered: to tills, with a token, and to probes and figures without one."""
        busy = {503: "Too many listen already."}
        events = {200: "text/event-stream"}
        return (
            Call(
                "GET", "/v1/status", "pos", self.status, "The state of the agent", name="get_status",
                gives={200: StatusAnswer},
            ),
            Call(
                "GET", "/v1/events", "pos", self._events(), "The state as events", name="stream_events",
                gives=events, refuses=busy, stream=StatusAnswer,
            ),
            Call("GET", "/healthz", None, self.healthz, "The process lives", name="get_health", gives={200: Alive}),
            Call(
                "GET", "/readyz", None, self.readyz, "It can take a sale", name="get_readiness",
                gives={200: Ready}, refuses={503: "No sale can be put on disk now."},
            ),
            Call(
                "GET", "/metrics", None, self.metrics, "Figures for Prometheus", name="get_metrics",
                gives={200: "text/plain"},
            ),
        )  # fmt: skip

    async def status(self, visit: Visit) -> Reply:
        """State, level, vendors, replica, queue and conditions, without personal data."""
        return Reply(200, self.render(self._voice.locale(visit)))

    def _events(self) -> Handler:
        listeners: Counter[str] = Counter()  # tills alone: pages have places of their own

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
            sign=signs.of_staff(now, self._rooms.messages, locale, ready=self._rooms.status.ready()),
        )
        return answer.model_dump_json().encode()


def _for_everybody(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Those that are true whoever is at the till: nobody has been recognised here."""
    return tuple(message for message in messages if message.audience == "staff" or message.code not in _OF_A_CUSTOMER)
