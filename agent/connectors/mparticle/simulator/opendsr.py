"""Data subject requests, as the OpenDSR page describes them: received, waited with, carried out, by the clock."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from agent.connectors.simulation.answers import Call, answer

WAITS, TAKES = timedelta(days=7), timedelta(days=14)
_MAIN = frozenset({"controller_customer_id", "email"})
_EXTENDED = frozenset(
    {"mobile_number", "phone_number_2", "phone_number_3", "other", *(f"other{n}" for n in range(2, 11))}
)
_DOMAIN = "opendsr.mparticle.com"


@dataclass(frozen=True, slots=True)
class DataSubjectRequest:
    """A request as it came in."""

    body: dict[str, Any]
    received_at: datetime

    @property
    def identities(self) -> dict[str, str]:
        """Whom it names, by the names of both places."""
        extended = self.body.get("extensions", {}).get(_DOMAIN, {}).get("subject_identities", {})
        named = {**self.body["subject_identities"], **extended}
        return {name: identity["value"] for name, identity in named.items()}

    def status(self, now: datetime) -> str:
        """How far it is."""
        age = now - self.received_at
        return "pending" if age < WAITS else "in_progress" if age < WAITS + TAKES else "completed"


class DataSubjectRequests:
    """What a workspace was asked for. The caller holds the vendor's lock.

    Args:
        now: the clock it lives by.

    Attributes:
        received: by id, in the order of arrival.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.received: dict[str, DataSubjectRequest] = {}

    def calls(self) -> list[Call]:
        """The calls that are answered."""
        return [
            ("POST", "/v3/requests/", self._create),
            ("GET", "/v3/requests/{id}", self._show),
            ("DELETE", "/v3/requests/{id}", self._cancel),
        ]

    def _create(self, _request: Request, body: bytes) -> Response:
        try:
            wanted = json.loads(body)
            asked = DataSubjectRequest(wanted, self._now())
            request_id = str(uuid.UUID(wanted["subject_request_id"], version=4))
            sound = _is_sound(wanted) and request_id == wanted["subject_request_id"]
        except (ValueError, TypeError, KeyError, AttributeError):
            return _refused(400, "The request is not a data subject request.")
        if not sound:
            return _refused(400, "The request is not a data subject request.")
        if request_id in self.received:
            return _refused(400, "subject_request_id is not unique.")
        under_way = (one for one in self.received.values() if one.status(self._now()) != "completed")
        if any(one.identities == asked.identities for one in under_way):
            return _refused(409, "A request of these identities is in progress.")
        self.received[request_id] = asked
        told = {
            "expected_completion_time": (self._now() + WAITS + TAKES).isoformat(),
            "received_time": self._now().isoformat(),
            "subject_request_id": request_id,
            "controller_id": "1",
        }
        return answer(told, 201)

    def _show(self, request: Request, _body: bytes) -> Response:
        found = self.received.get(request.path_params["id"])
        if found is None:
            return _refused(404, "There is no such request.")
        return answer({"subject_request_id": request.path_params["id"], "request_status": found.status(self._now())})

    def _cancel(self, request: Request, _body: bytes) -> Response:
        found = self.received.get(request.path_params["id"])
        if found is None:
            return _refused(404, "There is no such request.")
        if found.status(self._now()) != "pending":
            return _refused(400, "The request is not pending any more.")
        del self.received[request.path_params["id"]]
        return answer({"subject_request_id": request.path_params["id"], "request_status": "cancelled"}, 202)


def _is_sound(wanted: dict[str, Any]) -> bool:
    main, extensions = wanted["subject_identities"], wanted.get("extensions", {})
    extended = extensions.get(_DOMAIN, {}).get("subject_identities", {})
    identities = [*main.values(), *extended.values()]
    return (
        wanted["regulation"] in ("gdpr", "ccpa")
        and wanted["subject_request_type"] in ("access", "portability", "erasure")
        and wanted["api_version"] == "3.0"
        and datetime.fromisoformat(wanted["submitted_time"]).tzinfo is not None
        and main.keys() <= _MAIN
        and extended.keys() <= _EXTENDED
        and bool(identities)
        and all(one.keys() == {"value", "encoding"} and one["encoding"] == "raw" for one in identities)
    )


def _refused(status: int, message: str) -> Response:
    error = {"domain": "Validation", "reason": "", "message": message}
    return answer({"code": status, "message": message, "errors": [error]}, status)
