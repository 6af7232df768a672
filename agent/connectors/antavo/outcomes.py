"""What the Async Events API's answers mean. Pure.

============================  =====================================================================================
answer                        meaning; source
============================  =====================================================================================
to an event: an id            it is queued, and nothing more is known; reference
to an event: an error         judged as the answer to an event that is processed at once (`errors.py`)
processed                     done, if there is no error beside it; reference. An error beside it counts: inferred
error                         the error's own meaning; reference: business errors come with HTTP 200
failed; 203408 (no such id)   nobody knows whether it counted. What Antavo itself refuses to take twice is handed in
                              again, anything else is in doubt; the words are in the reference, their meaning is not
queued, retried, exported     not processed yet: asked for again later. That `exported` and `retried` are not an end
and any other word            is unknown; never is such a sale called delivered
============================  =====================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.connectors.antavo.errors import (
    STRANGE,
    UNREADABLE,
    AntavoError,
    error_in,
    trouble_of,
    verdict_of_error,
)
from agent.domain.delivery import DONE, Verdict, VerdictKind
from agent.errors import VendorUnreachableError
from agent.transport import Answer

WAITING = Verdict(
    VerdictKind.RETRY, "vendor.queued", title="The vendor has the event and has not processed it yet.", awaits=True
)
LOST = Verdict(
    VerdictKind.IN_DOUBT, "sale.maybe_received",
    title="The vendor took it and does not say what became of it; it would count what comes again.",
)  # fmt: skip
_SUCCESS = range(200, 300)
_NO_SUCH_ID = 203408
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def correlation_of(answer: Answer, *, again: bool) -> str | Verdict:
    """What the vendor calls an event that it has queued, or what else its answer means.

    Args:
        answer: to the event.
        again: the event may have been taken before.
    """
    verdict = trouble_of(answer)
    if verdict is not None:
        return verdict
    body, error = _read(answer)
    if error is not None or answer.status not in _SUCCESS:
        return verdict_of_error(error or AntavoError(None), answer.status, maybe_received=again)
    told = _payload(body).get("correlation_id")
    return told if isinstance(told, str) and _ID.fullmatch(told) else replace(UNREADABLE, status=answer.status)


def outcome_in(answer: Answer, *, again: bool) -> Verdict:
    """What became of an event.

    Args:
        answer: to the question for it.
        again: the event may have been taken before it was queued under this id.
    """
    verdict = trouble_of(answer)
    if verdict is not None:
        return verdict
    body, error = _read(answer)
    if error is not None and error.code == _NO_SUCH_ID:
        return replace(LOST, status=answer.status, vendor_code=error.name)
    payload = _payload(body)
    word = payload.get("status")
    if error is not None or answer.status not in _SUCCESS or not isinstance(word, str):
        return replace(STRANGE, status=answer.status)
    if word not in ("processed", "error"):
        open_still = replace(LOST, vendor_code=word) if word == "failed" else WAITING
        return replace(open_still, status=answer.status)
    refused = _error_beside(payload) or (AntavoError(None) if word == "error" else None)
    if refused is None:
        return replace(DONE, status=answer.status)
    return verdict_of_error(refused, answer.status, maybe_received=again)


def _error_beside(payload: Mapping[str, Any]) -> AntavoError | None:
    """The error in an outcome; an empty list stands for none."""
    response = payload.get("response")
    return error_in({"error": response.get("error")}) if isinstance(response, dict) else None


def _payload(body: Any) -> Mapping[str, Any]:
    payload = body.get("payload") if isinstance(body, dict) else None
    return payload if isinstance(payload, dict) else {}


def _read(answer: Answer) -> tuple[Any, AntavoError | None]:
    try:
        body = answer.json()
    except VendorUnreachableError:
        return None, None
    return body, error_in(body)
