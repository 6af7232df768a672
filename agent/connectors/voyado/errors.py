"""What Voyado's answers mean.

===========================  =========  ============================================================================
status or code               verdict    source
===========================  =========  ============================================================================
2xx                          done       success of `/receipts` is undocumented; integrators treat any 2xx as success.
                                        It means queued, not matched: matching is asynchronous and never reported
2xx with an error code       park       find-contact page, body of an error: it says so whatever the status
2xx "An error has occurred"  retry      non-functional requirements page: what an error of Engage's own looks like
2xx with other words         retry      somebody else's page, or not the whole answer; an empty body, a JSON value
                                        and a single word ("OK") are answers
401, 402, 403                hold       [assumed] bad key, blocked address
408, 425, 429                retry      rate limit page: 429 above 200 requests/s per key; no `Retry-After` is
                                        documented, so a second's silence is kept without one
413                          park       one receipt a call: there is nothing to split
any other, with a web page   retry      a captive portal, a proxy or a maintenance page answered, not Voyado
500 InvalidSystemConfig...   park       find-contact page: a person has to mend the tenant
other 5xx                    retry      retry policy page; safe because `uniqueReceiptId` is the idempotency key
3xx, 407                     retry      the line's own answer, not Voyado's; redirects are not followed
400, 404, 409, 422 ...       park       contact and receipt pages; the record itself is refused
===========================  =========  ============================================================================
"""

import json
import re
from typing import Any

from agent.domain.delivery import Verdict, VerdictKind
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from agent.transport import Answer

_NAMES = re.compile(r"[A-Za-z]{1,64}")
_CODE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,63}")
_REFUSED = (401, 402, 403)
_REQUEST_TIMEOUT = 408
_LATER = (_REQUEST_TIMEOUT, 425, 429)
_TOO_LARGE = 413
_PROXY_REFUSES = 407
_TENANT_IS_WRONG = "InvalidSystemConfiguration"
_SERVER_ERROR = 500
_OK, _REDIRECT, _CLIENT_ERROR = 200, 300, 400
_SILENCE_S = 1.0
_OWN_ERROR = "an error has occurred"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WORD = re.compile(rb"[A-Za-z]{1,20}[.!]?")


def vendor_code(answer: Answer) -> str | None:
    """The vendor's own code name for an error. Only a name: its free texts can repeat what was sent."""
    return _code_name(_object(answer))


def refused_words(answer: Answer) -> frozenset[str]:
    """The words of its validation errors, for the names of attributes among them; nothing else of them is fit to keep.

    The texts can repeat what was sent. Source: create-contact page, `validationErrors` of a 422.
    """
    rows = _object(answer).get("validationerrors")
    texts = [row.get("errorDescription") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return frozenset(word for text in texts if isinstance(text, str) for word in _NAMES.findall(text))


def verdict_of(answer: Answer) -> Verdict:  # noqa: PLR0911 - one for each row of the table
    """What an answer to a receipt means."""
    status, body = answer.status, _object(answer)
    code = _code_name(body)
    if status in _REFUSED:
        return Verdict(
            VerdictKind.HOLD, "vendor.credentials_refused", status, "The vendor refuses our credentials.", code,
            after_s=answer.retry_after_s, not_received=True,
        )  # fmt: skip
    if status in _LATER:
        return Verdict(
            VerdictKind.RETRY, "vendor.busy", status, "The vendor asks to be called more slowly.", code,
            after_s=_silence_s(answer), reached=False, not_received=status != _REQUEST_TIMEOUT,
        )  # fmt: skip
    if code == _TENANT_IS_WRONG:
        return Verdict(VerdictKind.PARK, "vendor.misconfigured", status, "The vendor's tenant is not set up.", code)
    if _is_own_error(status, body):
        return Verdict(
            VerdictKind.RETRY, "vendor.error", status, "The vendor had an error of its own.", code,
            after_s=answer.retry_after_s, alone=True, reached=False,
        )  # fmt: skip
    if _is_not_voyado(answer) or (status < _REDIRECT and not _is_readable(answer)):
        return Verdict(
            VerdictKind.RETRY, "vendor.unreadable", status, "Something else than the vendor answered.", code,
            after_s=answer.retry_after_s, reached=False,
        )  # fmt: skip
    if status < _REDIRECT and not _is_error(body):
        return Verdict(VerdictKind.DONE, status=status)
    return Verdict(VerdictKind.PARK, "vendor.rejected", status, "The vendor refuses this record.", code)


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
    status, body = answer.status, _object(answer)
    if status in _REFUSED:
        raise VendorRefusedError
    if status in _LATER:
        maybe = status == _REQUEST_TIMEOUT
        raise VendorUnreachableError(f"answered {status}", retry_after_s=_silence_s(answer), maybe_received=maybe)
    if _is_own_error(status, body) or _is_not_voyado(answer) or (status < _REDIRECT and _is_error(body)):
        raise VendorOwnError(f"answered {status}", retry_after_s=answer.retry_after_s, maybe_received=True)


def _value(answer: Answer) -> Any:
    """The JSON value in the body; None when there is none or it is something else."""
    try:
        return json.loads(answer.body.removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return None


def _object(answer: Answer) -> dict[str, Any]:
    """The JSON object in the body, its keys in small letters; of a list the first, of a text what it says."""
    value = _value(answer)
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        return {"message": value}
    return {str(key).casefold(): item for key, item in value.items()} if isinstance(value, dict) else {}


def _code_name(body: dict[str, Any]) -> str | None:
    code = body.get("errorcode")
    return code if isinstance(code, str) and _CODE_NAME.fullmatch(code) else None


def _is_error(body: dict[str, Any]) -> bool:
    return any(body.get(name) for name in ("errorcode", "validationerrors", "errors"))


def _is_own_error(status: int, body: dict[str, Any]) -> bool:
    """Whether Engage had an error of its own; it says so in words, too, whatever status came with them."""
    words = body.get("message")
    return status >= _SERVER_ERROR or (
        status < _REDIRECT and isinstance(words, str) and words.casefold().startswith(_OWN_ERROR)
    )


def _is_not_voyado(answer: Answer) -> bool:
    """Whether somebody on the way answered instead."""
    status = answer.status
    if status == _PROXY_REFUSES or status < _OK or _REDIRECT <= status < _CLIENT_ERROR:
        return True
    return answer.is_markup and status != _TOO_LARGE


def _is_readable(answer: Answer) -> bool:
    """Whether a good status came with an answer: nothing, a JSON value, or one word; Voyado's is undocumented."""
    text = answer.body.removeprefix(_BYTE_ORDER_MARK).strip()
    return not text or _WORD.fullmatch(text) is not None or _value(answer) is not None


def _silence_s(answer: Answer) -> float:
    after_s = answer.retry_after_s
    return _SILENCE_S if after_s is None else after_s
