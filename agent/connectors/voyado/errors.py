"""What Voyado's answers mean.

===========================  =========  ============================================================================
status or code               verdict    source
===========================  =========  ============================================================================
2xx                          done       success of `/receipts` is undocumented; integrators treat any 2xx as success.
                                        It means queued, not matched: matching is asynchronous and never reported
2xx with a web page          retry      a captive portal or a proxy answered, not Voyado
401, 403, 402                hold       [assumed] bad key, blocked address
408, 429                     retry      rate limit page: 429 above 200 requests/s per key; no `Retry-After` documented
400, 404, 409, 413, 422 ...  park       contact and receipt pages; the record itself is refused
500 InvalidSystemConfig...   park       find-contact page: a person has to mend the tenant
other 5xx                    retry      retry policy page; safe because `uniqueReceiptId` is the idempotency key
3xx, anything else           retry      nonsense: not what was asked
===========================  =========  ============================================================================
"""

from __future__ import annotations

import json
import re

from agent.domain.delivery import Verdict, VerdictKind
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.transport import Answer

_CODE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,63}")
_REFUSED = (401, 402, 403)
_LATER = (408, 425, 429)
_TENANT_IS_WRONG = "InvalidSystemConfiguration"
_SERVER_ERROR = 500
_OK, _REDIRECT, _CLIENT_ERROR = 200, 300, 400


def vendor_code(answer: Answer) -> str | None:
    """The vendor's own code name for an error. Only a name: its free texts can repeat what was sent."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    code = body.get("errorCode") if isinstance(body, dict) else None
    return code if isinstance(code, str) and _CODE_NAME.fullmatch(code) else None


def verdict_of(answer: Answer) -> Verdict:
    """What an answer to a receipt means."""
    status, code = answer.status, vendor_code(answer)
    if _OK <= status < _REDIRECT:
        if answer.is_markup:
            return _retry("vendor.unreadable", status, "A web page came instead of an answer.")
        return Verdict(VerdictKind.DONE, status=status)
    if status in _REFUSED:
        return Verdict(
            VerdictKind.HOLD, "vendor.credentials_refused", status, "The vendor refuses our credentials.", code,
            not_received=True,
        )  # fmt: skip
    if status in _LATER:
        return Verdict(
            VerdictKind.RETRY, "vendor.busy", status, "The vendor asks to be called more slowly.", code,
            after_s=answer.retry_after_s, reached=False, not_received=True,
        )  # fmt: skip
    if code == _TENANT_IS_WRONG:
        return Verdict(VerdictKind.PARK, "vendor.misconfigured", status, "The vendor's tenant is not set up.", code)
    if status >= _SERVER_ERROR:
        return _retry("vendor.error", status, "The vendor had an error of its own.", code=code, after_s=answer.retry_after_s)
    if _REDIRECT <= status < _CLIENT_ERROR:
        return _retry("vendor.unreadable", status, "The vendor points elsewhere; we do not follow.")
    return Verdict(VerdictKind.PARK, "vendor.rejected", status, "The vendor refuses this record.", code)


def _retry(
    our_code: str, status: int, title: str, *, code: str | None = None, after_s: float | None = None
) -> Verdict:
    return Verdict(
        VerdictKind.RETRY, our_code, status, title, code, after_s=after_s, alone=status >= _SERVER_ERROR, reached=False
    )


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
    """Lets through what answers a question: 2xx, and 4xx that speak about the question itself.

    Raises:
        VendorRefusedError: our credentials are refused.
        VendorUnreachableError: it is as good as no answer.
    """
    if answer.status in _REFUSED:
        raise VendorRefusedError
    redirected = _REDIRECT <= answer.status < _CLIENT_ERROR
    if answer.status in _LATER or answer.status >= _SERVER_ERROR or redirected or answer.is_markup:
        raise VendorUnreachableError(
            f"answered {answer.status}", retry_after_s=answer.retry_after_s, maybe_received=answer.status not in _LATER
        )
