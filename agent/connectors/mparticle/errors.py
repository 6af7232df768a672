"""What mParticle's answers mean.

===========================  =========  ============================================================================
status                       verdict    source
===========================  =========  ============================================================================
202                          done       HTTP page: accepted, not processed. Of a bulk request it is the answer even
                                        when some of its batches fail, which is why each is sound before it is sent
202 with errors in its body  park       our choice: it says so whatever the status
any other 2xx                retry      undocumented: somebody else's page, such as a captive portal's. Repeating is
                                        safe: `source_request_id` is known there for 30 days at least
400, 409, 422 ...            park       HTTP page: malformed, or a field is missing; never repeated unchanged
... of several batches       split      the same, and nobody says of which: none of the request is taken [inferred]
401, 402, 403                hold       HTTP page and OpenAPI: credentials missing or invalid; both are described for
                                        either case. 402 is not documented
404, 405                     retry      no such call there: `base_url` leads elsewhere, which no sale can help
202 with more than 80 as     done, and  service limits: the greatest use of all limits on speed, in percent. A second's
X-mp-rate-limit-percentage-  a rest     rest between deliveries is our choice
used
408, 425, 429                retry      service limits: 429 with `X-mp-rate-limit-exceeded` and perhaps `Retry-After`;
                                        a second's silence is kept without one
413                          split      undocumented for this call: too large together
5xx                          retry      HTTP page
1xx, 3xx, 407, a web page    retry      the line's own answer, not mParticle's; redirects are not followed
===========================  =========  ============================================================================
"""

import json
import re
from dataclasses import replace

from agent.domain.delivery import Verdict, VerdictKind
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from agent.transport import Answer

_ACCEPTED = 202
_SUCCESS, _REDIRECT, _CLIENT_ERROR, _SERVER_ERROR = range(200, 300), 300, 400, 500
_REFUSED = (401, 402, 403)
_LATER = (408, 425, 429)
_ELSEWHERE = (404, 405, 407)
_TOO_LARGE = 413
_SILENCE_S = 1.0
_CODE_NAME = re.compile(r"[A-Z][A-Z0-9_]{2,63}")
_REST_S = 1.0
_LIMIT_HEADER = "x-mp-rate-limit-exceeded"
_USED_HEADER, _NEARLY_USED_PERCENT = "x-mp-rate-limit-percentage-used", 80.0
_PERCENT = re.compile(r"[0-9]{1,6}(\.[0-9]{1,12})?")
_LIMITS = frozenset({"org", "account", "app", "feed", "workspace", "acceleration", "system"})


def verdict_of(answer: Answer, *, together: bool = False) -> Verdict:
    """What an answer means for each batch that the request held.

    Args:
        answer: to `/events`, or to a bulk endpoint.
        together: the request held more than one.
    """
    status, code = answer.status, vendor_code(answer)
    if status in _REFUSED:
        return Verdict(
            VerdictKind.HOLD, "vendor.credentials_refused", status, "The vendor refuses our credentials.", code,
            after_s=answer.retry_after_s, not_received=True,
        )  # fmt: skip
    if status in _LATER:
        return Verdict(
            VerdictKind.RETRY, "vendor.busy", status, "The vendor asks to be called more slowly.", _limit(answer),
            after_s=_silence_s(answer), reached=False, not_received=True,
        )  # fmt: skip
    if _is_elsewhere(answer):
        return Verdict(
            VerdictKind.RETRY, "vendor.unreadable", status, "Something else than the vendor answered.", code,
            after_s=answer.retry_after_s, reached=False,
        )  # fmt: skip
    if status >= _SERVER_ERROR:
        return Verdict(
            VerdictKind.RETRY, "vendor.error", status, "The vendor had an error of its own.", code,
            after_s=answer.retry_after_s, alone=True, reached=False,
        )  # fmt: skip
    if status == _ACCEPTED and code is None:
        return Verdict(VerdictKind.DONE, status=status, after_s=_rest_s(answer))
    verdict = Verdict(VerdictKind.PARK, "vendor.rejected", status, "The vendor refuses this record.", code)
    return replace(verdict, kind=VerdictKind.SPLIT) if together and status != _ACCEPTED else verdict


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


def raise_unless_answered(answer: Answer) -> None:
    """Lets through what shows that mParticle answered and takes our credentials: 202, and 4xx about what was asked.

    Raises:
        VendorRefusedError: our credentials are refused.
        VendorUnreachableError: it is as good as no answer.
    """
    if answer.status in _REFUSED:
        raise VendorRefusedError
    if answer.status in _LATER:
        raise VendorUnreachableError(f"answered {answer.status}", retry_after_s=_silence_s(answer))
    if _is_elsewhere(answer) or answer.status >= _SERVER_ERROR:
        raise VendorOwnError(f"answered {answer.status}", retry_after_s=answer.retry_after_s, maybe_received=True)


def vendor_code(answer: Answer) -> str | None:
    """The code name of the first error in the body. Only a name: the messages can repeat what was sent."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    errors = body.get("errors") if isinstance(body, dict) else None
    if not errors:
        return None
    first = errors[0] if isinstance(errors, list) else errors
    code = first.get("code") if isinstance(first, dict) else None
    return code if isinstance(code, str) and _CODE_NAME.fullmatch(code) else "UNNAMED"


def _limit(answer: Answer) -> str | None:
    """Which limit was exceeded, in mParticle's word for it."""
    word = answer.headers.get(_LIMIT_HEADER, "").strip().lower()
    return word if word in _LIMITS else None


def _rest_s(answer: Answer) -> float | None:
    """Seconds to rest after a success, because the organisation's allowance is nearly used up; None where it is not."""
    used = answer.headers.get(_USED_HEADER, "").strip()
    return _REST_S if _PERCENT.fullmatch(used) and float(used) > _NEARLY_USED_PERCENT else None


def _is_elsewhere(answer: Answer) -> bool:
    """Whether somebody on the way answered instead, or mParticle is not there."""
    status = answer.status
    if status in _ELSEWHERE or status < _SUCCESS.start or _REDIRECT <= status < _CLIENT_ERROR:
        return True
    if status in _SUCCESS and status != _ACCEPTED:
        return True
    return answer.is_markup and status != _TOO_LARGE


def _silence_s(answer: Answer) -> float:
    after_s = answer.retry_after_s
    return _SILENCE_S if after_s is None else after_s
