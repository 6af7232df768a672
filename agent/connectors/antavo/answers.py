"""What Antavo's answers about customers hold: one of them, those who fit, a page of all, a page of what happened.

Sources: Customers API (160212; the form of a search's answer is unclear), Events API (`data`, `next`), Read API
(`payload`, `metadata.pagination`). A page is followed by another if it says so, or is as long as it was asked to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.connectors.antavo.calls import Listed
from agent.connectors.antavo.client import YEARS
from agent.connectors.antavo.customers import is_gone, stated_id, text_of
from agent.connectors.antavo.errors import error_in, raise_unless_answered
from agent.errors import VendorOwnError
from agent.transport import Answer

_OK = 200
_NOT_FOUND = 404
_UNKNOWN_CUSTOMER = 160212
_NOBODY_S = (_UNKNOWN_CUSTOMER, 160216)


def read_customer(answer: Answer) -> Mapping[str, Any] | None:
    """The customer in an answer, None when there is none. Raises VendorError."""
    body = _body(answer)
    error = error_in(body)
    if error is not None and error.code == _UNKNOWN_CUSTOMER:
        return None
    if error is not None or answer.status != _OK or not stated_id(body):
        raise VendorOwnError(f"answered {answer.status} without a customer")
    return body


def read_ids(answer: Answer) -> list[str]:
    """The ids of those who fit and have not left, each once: in a list, in `data`, or one alone. Raises VendorError."""
    raise_unless_answered(answer, form=(dict, list))
    body = answer.json()
    error = error_in(body)
    if error is not None and error.code == _UNKNOWN_CUSTOMER:
        return []
    if isinstance(body, dict):
        body = (body["data"] or []) if "data" in body else [body]
    fits = isinstance(body, list) and all(isinstance(row, dict) and text_of(row.get("id")) for row in body)
    if error is not None or answer.status != _OK or not fits:
        raise VendorOwnError(f"answered {answer.status} without a list of customers")
    return list(dict.fromkeys(text_of(row["id"]) for row in body if not is_gone(row)))


def read_held(answer: Answer, *, limit: int) -> Listed:
    """A page of a customer's coupons or rewards; nothing for whom Antavo does not know as a customer.

    Nothing either where the module is not switched on, which a 404 with an error in it says. Raises VendorError.
    """
    body = _body(answer)
    error = error_in(body)
    if error is not None and (error.code in _NOBODY_S or answer.status == _NOT_FOUND):
        return Listed((), more=False, told_at=None)
    rows = body.get("data", ())
    return _page(answer, body, [] if rows is None else rows, body, limit)  # null stands for none


def read_members(answer: Answer, *, limit: int) -> Listed:
    """The page of the Read API in an answer. Raises VendorError, also where there are several, and none has an id."""
    body = _body(answer)
    payload, metadata = body.get("payload"), body.get("metadata")
    links = metadata.get("pagination") if isinstance(metadata, dict) else None
    rows = payload.get("customers") if isinstance(payload, dict) else None
    listed = _page(answer, body, rows, links if isinstance(links, dict) else {}, limit)
    if len(listed.rows) > 1 and not any(map(stated_id, listed.rows)):
        raise VendorOwnError("answered with a list in which nobody has an id")
    return listed


def read_events(answer: Answer, *, limit: int) -> Listed:
    """The page of events in an answer. Raises VendorError."""
    body = _body(answer)
    return _page(answer, body, body.get("data"), body, limit)


def _page(answer: Answer, body: Any, rows: Any, links: Mapping[str, Any], limit: int) -> Listed:
    fits = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    if error_in(body) is not None or answer.status != _OK or not fits:
        raise VendorOwnError(f"answered {answer.status} without a list")
    told_at = answer.date if answer.date is not None and answer.date.year in YEARS else None
    return Listed(rows, bool(rows) and (bool(links.get("next")) or len(rows) >= limit), told_at)


def _body(answer: Answer) -> dict[str, Any]:
    raise_unless_answered(answer)
    body: dict[str, Any] = answer.json()
    return body
