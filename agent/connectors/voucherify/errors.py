"""What Voucherify's answers mean.

=================================  =======  ====================================================================
answer                             verdict  source
=================================  =======  ====================================================================
2xx with the order or the event    done     OpenAPI: 200 with the object; `id` is the reference
another 2xx                        retry    undocumented: somebody else's, such as a captive portal's. An order is
                                            looked up before it is sent again
400 `multiple_requests`            retry    errors page: concurrent calls about the same object
400, 409, 415, 422, 423 ...        park     errors page: malformed, or against a rule of the project
404 with a key of Voucherify's     park     errors page: it does not have what was named
404 without, 405, 407              retry    no such call there: `base_url` leads elsewhere, which no sale can help
401, 403                           hold     errors page: `unauthorized`, `forbidden`, `missing_required_permission`
402; 429 of `api_calls_cycle`      hold     limits and errors pages: the plan is used up, until a person or the next
                                            cycle helps
413                                park     errors page: larger than allowed
408, 425, 429                      retry    limits page: `Retry-After`, else `X-Rate-Limit-Retry`, in Unix seconds
5xx                                retry    errors page: 500; of gateways, the usual meaning
1xx, 3xx, a web page               retry    the line's own answer, not Voucherify's; redirects are not followed
=================================  =======  ====================================================================

An event has no key by which Voucherify would know it again: what proves nothing about it is `in_doubt`, not `retry`.
A redirect and another's 4xx prove that Voucherify did not take it; a 408, a 5xx and another's 2xx do not.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from agent.domain.delivery import Verdict, VerdictKind
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from agent.transport import Answer


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


Kind = Literal[
    "order", "event", "list", "customer", "earnings_examine_result", "memberships_result", "redemption", "balance"
]

_SUCCESS, _REDIRECT, _BAD_REQUEST, _SERVER_ERROR = range(200, 300), 300, 400, 500
_REFUSED = (401, 403)
_PAYMENT = 402
_NOT_FOUND, _REQUEST_TIMEOUT, _TOO_LARGE, _TOO_MANY = 404, 408, 413, 429
_LATER = (_REQUEST_TIMEOUT, 425, _TOO_MANY)
_ELSEWHERE = (405, 407)
_TURNED_BACK = range(_REDIRECT, _SERVER_ERROR)
"""Somebody on the way, or a wrong address, let nothing through; a gateway's 5xx and a 2xx of nonsense prove nothing."""
_SILENCE_S = 1.0
_LONGEST_PAUSE_S = 3600.0
_LEFT_TO_OTHERS = 0.1
_MINUTE_S = 60.0
_CYCLE = "api_calls_cycle"
_LIMITS = frozenset({"api_calls", "bulk_api_calls", _CYCLE, "webhook_calls"})
_REQUEST_ID = re.compile(r"v-[0-9a-f]{8,32}")
_REFERENCE = re.compile(r"ord_[A-Za-z0-9]{4,64}")
_KEYS = _words(
    "already_rolled_back ambiguous_tracking_id customer_rules_violated duplicate_found duplicate_resource_key "
    "duplicate_source_id forbidden integration_api_key_required internal_error invalid_amount invalid_customer "
    "invalid_order invalid_payload invalid_query_params invalid_voucher metadata_validation_failed missing_amount "
    "missing_customer missing_order missing_order_items missing_order_items_amount missing_required_feature "
    "missing_required_permission multiple_requests not_found order_rules_violated page_over_limit query_too_large "
    "resource_in_use resource_not_found unauthorized "
    "loyalty_card_not_active loyalty_card_points_exceeded "
    "campaign_not_active invalid_redeemables invalid_redemption invalid_redemption_parent quantity_exceeded "
    "redemption_rules_violated voucher_disabled voucher_expired voucher_not_active voucher_not_active_now"
)
"""The keys that are shown. Any other is not: it could be a word of the sale's."""


def verdict_of(answer: Answer, expected: Kind, *, now: datetime) -> Verdict:
    """What an answer means for the sale that it is about.

    Args:
        answer: to a call that writes an order or an event, or asks for an order.
        expected: what a success shows.
        now: for pauses that are said as an instant; the answer's own `Date` comes first.
    """
    if turned_away := _turned_away(answer, now=now):
        return turned_away
    status = answer.status
    if is_elsewhere(answer, expected):
        other = _again("vendor.unreadable", status, "Something else than the vendor answered.", answer.retry_after_s)
        return replace(other, not_received=status in _TURNED_BACK)
    if status in _SUCCESS:
        return Verdict(VerdictKind.DONE, status=status, reference=_reference(answer), after_s=spared_s(answer, now=now))
    if status >= _SERVER_ERROR:
        failed = _again("vendor.error", status, "The vendor had an error of its own.", answer.retry_after_s)
        return replace(failed, alone=True)
    return _refusal(answer)


def verdict_without_answer(error: VendorUnreachableError) -> Verdict:
    """What it means that no answer came."""
    return Verdict(
        VerdictKind.RETRY,
        "vendor.offline",
        None,
        str(error),
        after_s=error.retry_after_s,
        reached=False,
        not_received=not error.maybe_received,
    )


def raise_unless_answered(answer: Answer, expected: Kind, *, now: datetime) -> None:
    """Lets through what shows that Voucherify answered and takes our credentials.

    Args:
        answer: to a question.
        expected: what a success shows.
        now: for pauses that are said as an instant; the answer's own `Date` comes first.

    Raises:
        VendorRefusedError: our credentials are refused, or our plan is used up.
        VendorUnreachableError: it is as good as no answer.
    """
    if answer.status in _REFUSED or _is_exhausted(answer):
        raise VendorRefusedError
    if answer.status in _LATER:
        maybe, after_s = answer.status == _REQUEST_TIMEOUT, pause_s(answer, now=now)
        raise VendorUnreachableError(f"answered {answer.status}", retry_after_s=after_s, maybe_received=maybe)
    if is_elsewhere(answer, expected) or answer.status >= _SERVER_ERROR:
        raise VendorOwnError(f"answered {answer.status}", retry_after_s=answer.retry_after_s, maybe_received=True)


def is_missing(answer: Answer) -> bool:
    """Whether Voucherify itself says that it does not have what was asked for."""
    return answer.status == _NOT_FOUND and vendor_key(answer) in ("not_found", "resource_not_found")


def is_elsewhere(answer: Answer, expected: Kind) -> bool:
    """Whether somebody on the way answered instead, or Voucherify is not there."""
    status = answer.status
    if status in _ELSEWHERE or status < _SUCCESS.start or _REDIRECT <= status < _BAD_REQUEST:
        return True
    if status in _SUCCESS:
        return read_object(answer).get("object") != expected
    if status == _NOT_FOUND:
        return vendor_key(answer) is None
    return answer.is_markup and status != _TOO_LARGE


def read_object(answer: Answer) -> dict[str, Any]:
    """The object in the body; empty when there is none."""
    try:
        body = answer.json()
    except VendorUnreachableError:
        return {}
    return body if isinstance(body, dict) else {}


def vendor_key(answer: Answer) -> str | None:
    """The `key` of an error. The messages beside it can repeat what was sent."""
    return known_key(read_object(answer).get("key"))


def known_key(key: object) -> str | None:
    """A `key` as far as it is Voucherify's own word; None for any other."""
    return key if isinstance(key, str) and key in _KEYS else None


def pause_s(answer: Answer, *, now: datetime) -> float:
    """Seconds that Voucherify wants to be left alone after 429: a second where it says nothing."""
    if answer.retry_after_s is not None:
        return answer.retry_after_s
    until_s = _until_s(answer, now)
    return _SILENCE_S if until_s is None else max(until_s, _SILENCE_S)


def spared_s(answer: Answer, *, now: datetime) -> float | None:
    """Seconds to wait after a success, because the project's allowance is nearly used up; None where it is not.

    The last tenth is left to who cannot wait: the allowance is the whole project's. While calls are left the vendor
    names no later instant than now: then a minute, in which the allowance of most plans is renewed (limits page).
    """
    left, most = _whole(answer, "x-rate-limit-remaining"), _whole(answer, "x-rate-limit-limit")
    if left is None or not most or left >= most * _LEFT_TO_OTHERS:
        return None
    until_s = _until_s(answer, now)
    return until_s if until_s is not None and until_s > 0 else _MINUTE_S


def _until_s(answer: Answer, now: datetime) -> float | None:
    """Seconds until `X-Rate-Limit-Retry`, by the vendor's own clock where it says what time it is."""
    at = _whole(answer, "x-rate-limit-retry")
    if at is None:
        return None
    since = answer.date or now
    return min(at - since.astimezone(UTC).timestamp(), _LONGEST_PAUSE_S)


def _whole(answer: Answer, name: str) -> int | None:
    value = answer.headers.get(name, "").strip()
    return int(value) if value.isdecimal() and len(value) <= 12 else None  # noqa: PLR2004 - no instant is longer


def _turned_away(answer: Answer, *, now: datetime) -> Verdict | None:
    """What it means that Voucherify did not look at the sale at all; None when it did."""
    status = answer.status
    if status in _REFUSED:
        return _hold("vendor.credentials_refused", answer, "The vendor refuses our credentials.", vendor_key(answer))
    if _is_exhausted(answer):
        named = vendor_key(answer) or _limit(answer)
        return _hold("vendor.plan_exhausted", answer, "The project's plan is used up.", named)
    if status not in _LATER:
        return None
    later = _again("vendor.busy", status, "The vendor asks to be called more slowly.", pause_s(answer, now=now))
    return replace(later, vendor_code=_limit(answer), not_received=status != _REQUEST_TIMEOUT)


def _refusal(answer: Answer) -> Verdict:
    """What it means that Voucherify refuses the sale itself."""
    status, key = answer.status, vendor_key(answer)
    if key == "multiple_requests":
        return Verdict(
            VerdictKind.RETRY, "vendor.busy", status, "The vendor is at work on this order.", key, alone=True
        )
    if status == _TOO_LARGE:
        return Verdict(VerdictKind.PARK, "sale.too_large", status, "The sale is larger than the vendor takes.", key)
    return Verdict(VerdictKind.PARK, "vendor.rejected", status, f"The vendor refuses this record{_asked(answer)}.", key)


def _hold(code: str, answer: Answer, title: str, named: str | None) -> Verdict:
    return Verdict(
        VerdictKind.HOLD, code, answer.status, title, named, after_s=answer.retry_after_s, not_received=True
    )  # fmt: skip


def _again(code: str, status: int, title: str, after_s: float | None) -> Verdict:
    return Verdict(VerdictKind.RETRY, code, status, title, after_s=after_s, reached=False)


def _is_exhausted(answer: Answer) -> bool:
    return answer.status == _PAYMENT or (answer.status == _TOO_MANY and _limit(answer) == _CYCLE)


def _limit(answer: Answer) -> str | None:
    """Which limit was exceeded, in Voucherify's word for it."""
    word = answer.headers.get("x-rate-limit-type", "").strip().lower()
    return word if word in _LIMITS else None


def _reference(answer: Answer) -> str | None:
    """What Voucherify calls the order."""
    named = read_object(answer).get("id")
    return named if isinstance(named, str) and _REFERENCE.fullmatch(named) else None


def _asked(answer: Answer) -> str:
    """The id of the request, which Voucherify's support asks for."""
    asked = read_object(answer).get("request_id")
    return f" (request {asked})" if isinstance(asked, str) and _REQUEST_ID.fullmatch(asked) else ""
