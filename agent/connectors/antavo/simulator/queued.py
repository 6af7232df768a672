"""The simulated workspace's Async Events API: tokens for its clients, and events that wait to be processed.

The forms are the reference's. This simulator's own choices: the form of ids and tokens; that what is wrong with the
form of an event is told at once, and everything else by its outcome; how long an event waits.
"""

import base64
import binascii
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from agent.connectors.antavo.simulator.refusal import Refused

ACTIONS = frozenset({
    "point_add", "checkout", "checkout_item", "checkout_update", "checkout_update_item", "checkout_accept",
    "checkout_accept_item", "checkout_reject", "partial_refund", "refund_item", "refund", "opt_in", "opt_out",
    "profile",
})  # fmt: skip
_SCOPE = "loyalty.async_events"


@dataclass
class Queued:
    """An event that was handed in.

    Attributes:
        due_at: when it is processed.
        status: the vendor's word.
        response: what came of it.
    """

    event: dict[str, Any]
    due_at: datetime
    status: str = "queued"
    response: Mapping[str, Any] | None = None


class Queue:
    """Tokens and events.

    Attributes:
        delay: how long an event waits before it is processed.
        word: what is said of events from now on instead of processing them, such as ``failed``.
        counts_s: for how long a token counts.
        tokens: when each ends.
        events: by correlation id, in the order of arrival.
    """

    def __init__(
        self, keys: Callable[[], Mapping[str, str]], now: Callable[[], datetime], take: Callable[[Any], dict[str, Any]]
    ) -> None:
        self._keys, self._now, self._take = keys, now, take
        self.delay, self.counts_s = timedelta(), 300
        self.word: str | None = None
        self.tokens: dict[str, datetime] = {}
        self.events: dict[str, Queued] = {}

    def token(self, authorization: str, form: bytes) -> dict[str, Any]:
        """A token for a client's credentials. Raises Refused."""
        try:
            pair = base64.b64decode(authorization.removeprefix("Basic "), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            pair = ""
        client, _, secret = pair.partition(":")
        if self._keys().get(client) != secret or not secret:
            raise Refused(401, 220010, "Client authentication failed", "UnauthorizedException")
        asked = parse_qs(form.decode("ascii", "replace"))
        if asked != {"grant_type": ["client_credentials"], "scope": [_SCOPE]}:
            raise Refused(400, 220015, "The requested scope or grant type is invalid")
        token = uuid.uuid4().hex
        self.tokens[token] = self._now() + timedelta(seconds=self.counts_s)
        return {"access_token": token, "token_type": "Bearer", "expires_in": self.counts_s, "scope": _SCOPE}

    def let_in(self, authorization: str) -> None:
        """Raises Refused without a token that counts."""
        ends_at = self.tokens.get(authorization.removeprefix("Bearer "))
        if ends_at is None or ends_at <= self._now():
            raise Refused(401, 220052, "The access token is invalid or has expired", "UnauthorizedException")

    def put(self, event: Any) -> str:
        """Takes an event; the id by which its outcome is asked for. Raises Refused."""
        for name in ("customer", "action", "data"):
            if not isinstance(event, dict) or not event.get(name):
                raise Refused(400, 203401, f"Property {name} cannot be empty")
        if event["action"] not in ACTIONS:
            raise Refused(400, 203404, "Invalid action")
        correlation_id = str(uuid.uuid4())
        self.events[correlation_id] = Queued(event, self._now() + self.delay)
        return correlation_id

    def work(self) -> None:
        """Processes what is due, in the order of arrival."""
        for queued in self.events.values():
            if queued.status != "queued" or queued.due_at > self._now():
                continue
            if self.word is not None:
                queued.status = self.word
                continue
            try:
                queued.response = {"success": self._take(queued.event), "error": []}
                queued.status = "processed"
            except Refused as refused:
                queued.response = {"success": [], **refused.body("standard")}
                queued.status = "error"

    def outcome(self, correlation_id: str) -> dict[str, Any]:
        """What became of an event. Raises Refused."""
        self.work()
        queued = self.events.get(correlation_id)
        if queued is None:
            raise Refused(400, 203408, "Correlation id not found")
        return {"status": queued.status, "response": queued.response or {"success": [], "error": []}}
