"""The door, put together: calls, guard, OpenAPI document."""

from agent.api.calls import Call, Table
from agent.api.events import HEARTBEAT_S, Broadcast
from agent.api.guard import AsgiScope, Guard, Send
from agent.api.openapi import Document
from agent.api.rooms import Rooms
from agent.api.routes_activities import ActivityCalls
from agent.api.routes_admin import AdminCalls
from agent.api.routes_benefits import BenefitCalls
from agent.api.routes_contacts import ContactCalls
from agent.api.routes_history import HistoryCalls
from agent.api.routes_pages import PageCalls
from agent.api.routes_privacy import PrivacyCalls
from agent.api.routes_reconcile import ReconcileCalls
from agent.api.routes_state import StateCalls
from agent.api.routes_till import TillCalls
from agent.api.visits import Receive, Voice


class Door:
    """The ASGI application of the till's door.

    Args:
        rooms: what is behind it.
        heartbeat_s: of event streams.
    """

    def __init__(self, rooms: Rooms, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        voice = Voice(rooms.messages)
        self._broadcast = Broadcast(rooms.status, heartbeat_s=heartbeat_s)
        document = Document(rooms.version)
        state = StateCalls(rooms, voice, self._broadcast)
        offered = (
            *TillCalls(rooms, voice).calls(),
            *ContactCalls(rooms, voice).calls(),
            *ActivityCalls(rooms, voice).calls(),
            *BenefitCalls(rooms, voice).calls(),
            *state.calls(),
            *PageCalls(rooms, voice, self._broadcast, state.render).calls(),
            *AdminCalls(rooms).calls(),
            *HistoryCalls(rooms).calls(),
            *ReconcileCalls(rooms).calls(),
            *PrivacyCalls(rooms).calls(),
            Call("GET", "/openapi.json", None, document.answer),
        )
        document.describe(offered)
        self.calls = {(call.method, call.path): call for call in offered}
        """Every call by method and path template."""
        self._guard = Guard(rooms, Table(offered))
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
