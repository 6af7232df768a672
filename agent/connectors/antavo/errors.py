"""What Antavo's answers mean.

An answer is judged by the number of the error in it before its status, where the error list has that number: several
come with 200, and the status of others is not documented. Four shapes of an error are told apart from what is none
(:func:`error_in`).

==========================  =========  =============================================================================
status or code              verdict    source
==========================  =========  =============================================================================
2xx without an error        done       Events API: the answer to an event; an element of a bulk answer is judged by
                                       the presence of `error` alone, because its published form is of point events
2xx of another form         retry      somebody else's page, or not the whole answer. Repeating a checkout is safe
5003                        park       error list: the transaction id is in use. At a first attempt the books tell
                                       whether by this sale (`books.py`); on a later one it is this sale, and the
                                       verdict is `duplicate`
112101, 10001               duplicate  error list: opted in already; a one-time action that cannot be repeated
127201                      done       a workflow of the workspace stopped the event; the vendor's own connectors go on
160212                      park       error list: customer not found. Only with this code: a 404 can also be a module
                                       that is not switched on
112201                      park       error list: only an accepted transaction can be refunded. Pending takes days
any other of the list       park       error list: about this event or its customer, whatever status comes with it
another code, 400, 404,     park       the default of what is not in the error list
409, 422 ...
... of several              split      Events API: anything but 200 says that the whole request was invalid
101021, 401, 402, 403 with  hold       error list: signature malformed; API settings: addresses outside of the list
no number of the list                  are 403. 402 is not documented
404, 405 without an error   retry      no such call there: `base_url` leads elsewhere
408, 425, 429               retry      "temporary blocking" above the rate limit; no `Retry-After` is documented, so
                                       that a few seconds' silence is kept without one. 429 itself is inferred
413                         split      not documented
5xx                         retry      not documented beyond being errors of its own, unless it answers a single event
                                       with a number of the list; where repeating is not safe, the next attempt first
                                       reads what is on the books (`sender.py`)
2xx, several, whose         retry      Events API: `errors` is how many were refused; what says two things says nothing
`errors` are not those told
1xx, 3xx, 407, a web page   retry      the line's own answer; redirects are not followed
==========================  =========  =============================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.domain.delivery import DONE, Verdict, VerdictKind
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from agent.transport import Answer

UNREADABLE = Verdict(
    VerdictKind.RETRY, "vendor.unreadable", title="Something else than the vendor's answer came.", reached=False
)
STRANGE = Verdict(
    VerdictKind.RETRY, "vendor.unreadable", title="The vendor's answer has a form that is not understood.", alone=True
)
_SUCCESS, _REDIRECT, _CLIENT_ERROR, _SERVER_ERROR = range(200, 300), 300, 400, 500
_REFUSED = (401, 402, 403)
_REQUEST_TIMEOUT = 408
_LATER = (_REQUEST_TIMEOUT, 425, 429)
_NO_SUCH_CALL, _PROXY_REFUSES, _TOO_LARGE = (404, 405), 407, 413
_SILENCE_S = 5.0
_CODE_DIGITS = 6
_TAKEN, _MALFORMED_SIGNATURE = 5003, 101021
_ALREADY = Verdict(VerdictKind.DUPLICATE)
COLLISION = Verdict(
    VerdictKind.PARK, "sale.collision", title="The vendor has another sale under this id: it was never sent before."
)
_REJECTED = Verdict(VerdictKind.PARK, "vendor.rejected", title="The vendor refuses this record.")
_MEANINGS: Mapping[int, Verdict] = {
    112101: _ALREADY,
    10001: _ALREADY,
    127201: Verdict(VerdictKind.DONE, "vendor.interrupted", title="A workflow of the vendor's stopped the event."),
    160212: Verdict(VerdictKind.PARK, "contact.unknown", title="The vendor does not know this customer."),
    112201: Verdict(VerdictKind.PARK, "sale.pending", title="The vendor has not accepted the earlier sale yet."),
}  # fmt: skip
_SPOKEN = frozenset({
    _TAKEN, *_MEANINGS, 1601, 1606, 103902, 110003, 112202, 112203, 112204, 112900, 114400, 114600, 120030, 120031,
    120211, 120212, 120213, 120241, 123771, 160211, 160216, 160311, 160321, 160340, 160344, 160602, 300121, 300122,
    300123,
})  # fmt: skip
"""Numbers of the error list that mean what they say whatever status comes with them: none is about our credentials."""


@dataclass(frozen=True, slots=True)
class AntavoError:
    """What the vendor says of an error: its number, if it has one. Its words can repeat what was sent, and are left."""

    code: int | None

    @property
    def name(self) -> str:
        """The number for people; a word where there is none."""
        return "UNNAMED" if self.code is None else str(self.code)


def error_in(body: Any) -> AntavoError | None:
    """The error that a JSON value tells of, in any of the vendor's forms; None when it tells of none.

    The forms: `{"error": {"type", "code", "message"}}`, also within `{"status": "error"}`; `{"type", "code",
    "message"}`; `{"code", "error": "text", "type"}`, also with `details`.
    """
    if not isinstance(body, dict):
        return None
    told = body.get("error")
    if isinstance(told, dict) and told:
        return AntavoError(_code(told))
    if told or ("type" in body and "code" in body) or body.get("status") == "error":
        details = body.get("details")
        return AntavoError(_code(details if isinstance(details, dict) else body))
    return None


def words_of(body: Any) -> str:
    """The vendor's words for an error, to look for names of fields in: they can repeat what was sent."""
    told = body.get("error", body) if isinstance(body, dict) else None
    words = told.get("message") if isinstance(told, dict) else told
    return words if isinstance(words, str) else ""


def verdict_of_error(error: AntavoError, status: int | None, *, maybe_received: bool) -> Verdict:
    """What an error means for the event that it is about.

    Args:
        error: the vendor's.
        status: of HTTP, of the answer that held it.
        maybe_received: the event may have been taken at an earlier attempt.
    """
    if error.code == _TAKEN:
        meaning = _ALREADY if maybe_received else COLLISION
    else:
        meaning = _REJECTED if error.code is None else _MEANINGS.get(error.code, _REJECTED)
    # What was refused was not taken by this attempt; of an earlier one it says nothing.
    return replace(meaning, status=status, vendor_code=error.name, not_received=meaning.kind is VerdictKind.PARK)


def verdict_of_event(answer: Answer, *, maybe_received: bool) -> Verdict:
    """What an answer to a single event means."""
    verdict = trouble_of(answer)
    if verdict is not None:
        return verdict
    body = _json(answer)
    error = error_in(body)
    if error is not None:
        return verdict_of_error(error, answer.status, maybe_received=maybe_received)
    if answer.status not in _SUCCESS:
        return replace(_REJECTED, status=answer.status, not_received=True)
    if _tells_of_an_event(body):
        return replace(DONE, status=answer.status)
    return replace(UNREADABLE, status=answer.status)


def verdicts_of_bulk(answer: Answer, maybe_received: list[bool]) -> list[Verdict]:
    """What an answer to several events means for each, in their order.

    Args:
        answer: to the whole request.
        maybe_received: of each event, whether it may have been taken at an earlier attempt.
    """
    verdict = trouble_of(answer)
    if verdict is not None:
        return [verdict] * len(maybe_received)
    body = _json(answer)
    error, results = error_in(body), body.get("results") if isinstance(body, dict) else None
    if answer.status >= _SERVER_ERROR:  # some may have been processed before it
        return [_own_error(answer, error)] * len(maybe_received)
    if error is not None or answer.status not in _SUCCESS:
        code = error.name if error else None
        refused = replace(_REJECTED, status=answer.status, vendor_code=code, not_received=True)
        return [replace(refused, kind=VerdictKind.SPLIT)] * len(maybe_received)
    if not isinstance(results, list) or len(results) != len(maybe_received) or not _agree(body, results):
        return [replace(UNREADABLE, status=answer.status)] * len(maybe_received)
    return [
        _of_element(element, answer.status, maybe_received=earlier)
        for element, earlier in zip(results, maybe_received, strict=True)
    ]


def _agree(body: Mapping[str, Any], results: list[Any]) -> bool:
    """Whether as many are refused as the answer says, if it says."""
    told = body.get("errors")
    return told is None or str(told) == str(sum(error_in(element) is not None for element in results))


def _of_element(element: Any, status: int, *, maybe_received: bool) -> Verdict:
    if not isinstance(element, dict):
        return replace(UNREADABLE, status=status)
    error = error_in(element)
    if error is None:
        return replace(DONE, status=status)
    return verdict_of_error(error, status, maybe_received=maybe_received)


def trouble_of(answer: Answer) -> Verdict | None:
    """What keeps an answer from saying anything about what was asked; None when it speaks of that."""
    status, error = answer.status, error_in(_json(answer))
    code, spoken = (error.name, error.code in _SPOKEN) if error else (None, False)
    if (status in _REFUSED and not spoken) or (error and error.code == _MALFORMED_SIGNATURE):
        return Verdict(
            VerdictKind.HOLD, "vendor.credentials_refused", status, "The vendor refuses our credentials.", code,
            after_s=answer.retry_after_s, not_received=True,
        )  # fmt: skip
    if status in _LATER:
        return Verdict(
            VerdictKind.RETRY, "vendor.busy", status, "The vendor asks to be called more slowly.", code,
            after_s=_silence_s(answer), reached=False, not_received=status != _REQUEST_TIMEOUT,
        )  # fmt: skip
    if _is_elsewhere(answer, error):
        return replace(UNREADABLE, status=status, after_s=answer.retry_after_s)
    return _own_error(answer, error) if status >= _SERVER_ERROR and not spoken else None


def _own_error(answer: Answer, error: AntavoError | None) -> Verdict:
    return Verdict(
        VerdictKind.RETRY, "vendor.error", answer.status, "The vendor had an error of its own.",
        error.name if error else None, after_s=answer.retry_after_s, alone=True, reached=False,
    )  # fmt: skip


def verdict_without_answer(error: VendorUnreachableError) -> Verdict:
    """What it means that no answer came."""
    return Verdict(
        VerdictKind.RETRY, "vendor.offline", None, str(error),
        after_s=error.retry_after_s, reached=False, not_received=not error.maybe_received,
    )  # fmt: skip


def verdict_without_credentials(error: VendorRefusedError) -> Verdict:
    """What it means that there is nothing to be let in with."""
    return Verdict(VerdictKind.HOLD, "vendor.credentials_missing", title=str(error), not_received=True)


def raise_unless_answered(answer: Answer, *, form: type[Any] | tuple[type[Any], ...] = dict) -> None:
    """Lets through what shows that Antavo answered and takes our signature.

    Args:
        answer: to any call.
        form: what JSON it may be.

    Raises:
        VendorRefusedError: our credentials are refused.
        VendorUnreachableError: it is as good as no answer.
    """
    verdict = trouble_of(answer)
    if verdict is None and not isinstance(_json(answer), form):
        raise VendorUnreachableError(f"answered {answer.status} with something else", maybe_received=True)
    if verdict is None:
        return
    if verdict.kind is VerdictKind.HOLD:
        raise VendorRefusedError
    if verdict.code == "vendor.busy":
        maybe = not verdict.not_received
        raise VendorUnreachableError(f"answered {answer.status}", retry_after_s=verdict.after_s, maybe_received=maybe)
    raise VendorOwnError(f"answered {answer.status}", retry_after_s=verdict.after_s, maybe_received=True)


def _tells_of_an_event(body: Any) -> bool:
    """Whether an answer has the form of one to an event: whose customer it is, or what came of it."""
    told = body if isinstance(body, dict) else {}
    named = isinstance(told.get("id"), str | int) and told["id"] not in ("", True, False)
    return named or isinstance(told.get("events"), list)


def objection_in(answer: Answer, *, event: bool = True) -> AntavoError | None:
    """What an answer to a single event, or another order, says against it; None: it was carried out.

    Args:
        answer: to it.
        event: an answer that says so has the form of one to an event; to other orders any does.

    Raises:
        VendorRefusedError: our credentials are refused.
        VendorUnreachableError: it is as good as no answer, or says neither.
    """
    raise_unless_answered(answer)
    body = answer.json()
    error = error_in(body)
    if error is not None:
        return error
    if _CLIENT_ERROR <= answer.status < _SERVER_ERROR:
        return AntavoError(None)
    if answer.status not in _SUCCESS or (event and not _tells_of_an_event(body)):
        raise VendorUnreachableError(f"answered {answer.status} with something else", maybe_received=True)
    return None


def _is_elsewhere(answer: Answer, error: AntavoError | None) -> bool:
    """Whether somebody on the way answered instead, or Antavo is not there."""
    status = answer.status
    if status == _PROXY_REFUSES or status < _SUCCESS.start or _REDIRECT <= status < _CLIENT_ERROR:
        return True
    return (answer.is_markup and status != _TOO_LARGE) or (status in _NO_SUCH_CALL and error is None)


def _json(answer: Answer) -> Any:
    """The body as JSON whatever its type says, which can be `text/javascript`; None when it is something else."""
    try:
        return answer.json()
    except VendorUnreachableError:
        return None


def _code(told: Mapping[str, Any]) -> int | None:
    """The number; some come as text. What is too long for one could be anything, a phone number too."""
    code = str(told.get("code"))
    return int(code) if code.isascii() and code.isdecimal() and len(code) <= _CODE_DIGITS else None


def _silence_s(answer: Answer) -> float:
    after_s = answer.retry_after_s
    return _SILENCE_S if after_s is None else after_s
