"""The pages: for staff at `/`, for customers at `/customer`, for administrators at `/admin`, the reference at `/docs`.

None needs a token, and nothing here knows a person. The staff page shows what `GET /v1/status` says; a customers'
display hears sentences alone, so that nothing internal can be read off it. The administrators' page is empty until
somebody gives it a token, with which it calls the door as any administrator does.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Final

from agent.api import signs
from agent.api.calls import Call, Handler
from agent.api.events import Broadcast, EventStream
from agent.api.problems import ROUTE_UNKNOWN, DoorError
from agent.api.rooms import Rooms
from agent.api.schemas_state import CustomerAnswer, LanguageQuery, PageTexts, StatusAnswer
from agent.api.visits import PAGE_POLICY, Reply, Visit, Voice

Render = Callable[[str], bytes]
"""JSON in a locale."""

_SCRIPT: Final = b"text/javascript; charset=utf-8"
_STYLE: Final = b"text/css; charset=utf-8"
_HTML: Final = b"text/html; charset=utf-8"
ASSETS: Final = {
    "live.js": _SCRIPT,
    "words.js": _SCRIPT,
    "page.js": _SCRIPT,
    "page.css": _STYLE,
    "customer.js": _SCRIPT,
    "customer.css": _STYLE,
    "door.js": _SCRIPT,
    "queue.js": _SCRIPT,
    "plots.js": _SCRIPT,
    "admin.js": _SCRIPT,
    "admin.css": _STYLE,
    "docs.js": _SCRIPT,
    "docs.css": _STYLE,
    "icon.svg": b"image/svg+xml",
}


class PageCalls:
    """The pages.

    Args:
        rooms: what is behind the door.
        voice: the texts.
        broadcast: tells listeners of changes.
        status: the JSON of `GET /v1/status`.
    """

    def __init__(self, rooms: Rooms, voice: Voice, broadcast: Broadcast, status: Render) -> None:
        self._rooms, self._voice, self._broadcast, self._status = rooms, voice, broadcast, status

    def calls(self) -> tuple[Call, ...]:
        """What is offered to browsers."""
        busy = {503: "Too many listen already."}
        events = {200: "text/event-stream"}
        return (
            Call(
                "GET", "/page/status", None, self.status, "The state for the staff page", name="get_page_status",
                query=LanguageQuery, gives={200: StatusAnswer},
            ),
            Call(
                "GET", "/page/events", None, self._events(self._status, self._staff_locale),
                "The events for the staff page", name="stream_page_events",
                query=LanguageQuery, gives=events, refuses=busy, stream=StatusAnswer,
            ),
            Call(
                "GET", "/page/texts", None, self.texts, "The staff page's words", name="get_page_texts",
                query=LanguageQuery, gives={200: PageTexts},
            ),
            Call("GET", "/page/{asset}", None, _asset),
            Call(
                "GET", "/customer/status", None, self.customer, "What customers are told", name="get_customer_status",
                query=LanguageQuery, gives={200: CustomerAnswer},
            ),
            Call(
                "GET", "/customer/events", None, self._events(self._sentences, self._customer_locale),
                "The events for the customers' display", name="stream_customer_events",
                query=LanguageQuery, gives=events, refuses=busy, stream=CustomerAnswer,
            ),
            Call("GET", "/customer", None, _html("customer.html")),
            Call("GET", "/", None, _html("page.html")),
            Call("GET", "/admin", None, _html("admin.html")),
            Call("GET", "/docs", None, _html("docs.html")),
        )  # fmt: skip

    async def status(self, visit: Visit) -> Reply:
        """State, level, vendors, replica, queue and conditions, without personal data."""
        return Reply(200, self._status(self._staff_locale(visit)))

    async def texts(self, visit: Visit) -> Reply:
        """Labels, states and levels in the language asked for, and whom to call."""
        locale = self._staff_locale(visit)
        page = dict(self._rooms.messages.page(locale))
        texts = PageTexts(locale=locale, texts=page, support=self._rooms.settings.agent.support)
        return Reply(200, texts.model_dump_json().encode())

    async def customer(self, visit: Visit) -> Reply:
        """Sentences for customers that are true of everybody: a welcome while everything works for them."""
        return Reply(200, self._sentences(self._customer_locale(visit)))

    def _sentences(self, locale: str) -> bytes:
        status, welcome = self._rooms.status, self._rooms.settings.agent.welcome
        said = signs.of_customers(
            status.snapshot(), self._rooms.messages, locale, ready=status.ready(), welcome=welcome
        )
        return said.model_dump_json().encode()

    def _staff_locale(self, visit: Visit) -> str:
        return self._voice.page_locale(visit, visit.accept_language)

    def _customer_locale(self, visit: Visit) -> str:
        """What the shop's customers read is the shop's choice, whatever the language of the display's browser."""
        return self._voice.page_locale(visit, None)

    def _events(self, render: Render, locale_of: Callable[[Visit], str]) -> Handler:
        listeners: Counter[str] = Counter()  # of each path: strangers leave those with a token their places

        async def events(visit: Visit) -> EventStream:
            """Server-sent events: the status at once and at every change, and a heartbeat every 15 s."""
            locale = locale_of(visit)
            return self._broadcast.stream(lambda: render(locale), kind=listeners, name=None)

        return events


def _html(name: str) -> Handler:
    async def page(_visit: Visit) -> Reply:
        """A page; nothing is loaded from elsewhere."""
        return Reply(200, _file(name), _HTML, ((b"content-security-policy", PAGE_POLICY),))

    return page


async def _asset(visit: Visit) -> Reply:
    """A file of the pages."""
    name = visit.params["asset"]
    if name not in ASSETS:
        raise DoorError(ROUTE_UNKNOWN)
    return Reply(200, _file(name), ASSETS[name])


@cache
def _file(name: str) -> bytes:
    return (files("agent.api") / "page" / name).read_bytes()
