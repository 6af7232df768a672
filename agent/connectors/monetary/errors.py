"""What Monetary's answers mean.

No page lists statuses or the form of an error: what is in this table is inferred from the sister APIs Pay and
Reporting of the same vendor, and from how HTTP is used. The words of an answer are read by nobody.

==========================  =======  ===============================================================================
answer                      verdict  source
==========================  =======  ===============================================================================
2xx with a ReceiptID        done     the readme: the receipt comes back with an id of its own
another 2xx                 retry    not the form of the readme: it proves nothing, and the receipts are read next;
                                     to a repeated one `on_doubt` decides: each may be one receipt more
400, 409, 415, 422 ...      park     Pay, Reporting: 400 for what is not valid; the others as usual
404 with JSON               park     Pay, Reporting: what was named is not there
404 without, or to a call   retry    no such call there: `base_url` leads elsewhere, or a proxy wants something
that names nothing; 405,
407
401, 402, 403               hold     Pay, Reporting: 401 for the key; the others stop everything as well
413                         park     not documented
408, 425, 429               retry    no limit is published. Five seconds' silence where no `Retry-After` comes
5xx                         retry    not documented
1xx, 3xx, a web page        retry    the line's own answer, not Monetary's; redirects are not followed
==========================  =======  ===============================================================================

A receipt has no key by which Monetary would know it again. `retry` is not sending it again: what a retry does not
prove to be absent is looked for among the customer's receipts first (`sender.py`). 429, a redirect and another's 4xx
prove that a receipt was not taken; a 408, a 5xx and another's 2xx do not.
"""

from dataclasses import replace
from typing import Any, Final

from agent.domain.delivery import Verdict, VerdictKind
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from agent.transport import Answer

_SUCCESS, _REDIRECT, _CLIENT_ERROR, _SERVER_ERROR = range(200, 300), 300, 400, 500
_REFUSED = (401, 402, 403)
_NOT_FOUND, _REQUEST_TIMEOUT, _TOO_LARGE = 404, 408, 413
_LATER = (_REQUEST_TIMEOUT, 425, 429)
_ELSEWHERE = (405, 407)
_TURNED_BACK = range(_REDIRECT, _SERVER_ERROR)
_SILENCE_S = 5.0
UNREADABLE: Final = Verdict(
    VerdictKind.RETRY, "vendor.unreadable", title="The vendor's answer has a form that is not understood.", alone=True
)


def trouble_of(answer: Answer, *, named: bool) -> Verdict | None:
    """What keeps an answer from saying anything about what was asked; None when it speaks of that.

    Args:
        answer: the vendor's, or somebody's on the way.
        named: the call names something that may not be there; otherwise the call itself is what a 404 misses.
    """
    status = answer.status
    if status in _REFUSED:
        title = "The vendor refuses our credentials."
        return Verdict(
            VerdictKind.HOLD, "vendor.credentials_refused", status, title,
            after_s=answer.retry_after_s, not_received=True,
        )  # fmt: skip
    if status in _LATER:
        title = "The vendor asks to be called more slowly."
        later = _again("vendor.busy", status, title, pause_s(answer))
        return replace(later, not_received=status != _REQUEST_TIMEOUT)
    if _is_elsewhere(answer, named=named):
        title = "Something else than the vendor answered."
        other = _again("vendor.unreadable", status, title, answer.retry_after_s)
        return replace(other, not_received=status in _TURNED_BACK)
    if status >= _SERVER_ERROR:
        title = "The vendor had an error of its own."
        return replace(_again("vendor.error", status, title, answer.retry_after_s), alone=True)
    return None


def rejection_of(answer: Answer) -> Verdict | None:
    """What it means that Monetary refuses what it was told; None when it does not."""
    if answer.status in _SUCCESS:
        return None
    code, title = "vendor.rejected", "The vendor refuses this record."
    if answer.status == _TOO_LARGE:
        code, title = "sale.too_large", "The sale is larger than the vendor takes."
    return Verdict(VerdictKind.PARK, code, answer.status, title, not_received=True)


def verdict_without_answer(error: VendorUnreachableError) -> Verdict:
    """What it means that no answer came."""
    return Verdict(
        VerdictKind.RETRY, "vendor.offline", None, str(error),
        after_s=error.retry_after_s, reached=False, not_received=not error.maybe_received,
    )  # fmt: skip


def verdict_without_key(error: VendorRefusedError) -> Verdict:
    """What it means that there is no key to call with."""
    return Verdict(VerdictKind.HOLD, "vendor.credentials_missing", title=str(error), not_received=True)


def raise_unless_answered(answer: Answer, *, named: bool) -> Any:
    """The JSON of what shows that Monetary answered and takes our key; None where it refuses what was asked.

    Args:
        answer: the vendor's, or somebody's on the way.
        named: as in :func:`trouble_of`.

    Raises:
        VendorRefusedError: our key is refused.
        VendorUnreachableError: it is as good as no answer.
    """
    verdict = trouble_of(answer, named=named)
    if verdict is not None and verdict.kind is VerdictKind.HOLD:
        raise VendorRefusedError
    if verdict is not None and verdict.code == "vendor.busy":
        raise VendorUnreachableError(f"answered {answer.status}", retry_after_s=verdict.after_s)
    if verdict is not None:
        raise VendorOwnError(f"answered {answer.status}", retry_after_s=verdict.after_s, maybe_received=True)
    return answer.json() if answer.status in _SUCCESS else None


def json_of(answer: Answer) -> Any:
    """The body as JSON; None when it is something else."""
    try:
        return answer.json()
    except VendorUnreachableError:
        return None


def pause_s(answer: Answer) -> float:
    """Seconds that Monetary wants to be left alone."""
    return _SILENCE_S if answer.retry_after_s is None else answer.retry_after_s


def _is_elsewhere(answer: Answer, *, named: bool) -> bool:
    """Whether somebody on the way answered instead, or Monetary is not there."""
    status = answer.status
    if status in _ELSEWHERE or status < _SUCCESS.start or _REDIRECT <= status < _CLIENT_ERROR:
        return True
    if status == _NOT_FOUND:
        return not named or not isinstance(json_of(answer), dict)
    return answer.is_markup and status != _TOO_LARGE


def _again(code: str, status: int, title: str, after_s: float | None) -> Verdict:
    return Verdict(VerdictKind.RETRY, code, status, title, after_s=after_s, reached=False)
