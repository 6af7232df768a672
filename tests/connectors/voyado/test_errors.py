"""What Voyado's answers mean: the whole table."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connectors.voyado.errors import raise_unless_answered, vendor_code, verdict_of, verdict_without_answer
from agent.domain.delivery import Verdict, VerdictKind
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.transport import Answer

HTML = b"<!DOCTYPE html><html><body>Welcome to the guest network</body></html>"


def got(status: int, body: Any = b"", **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)


def error(code: str, **more: Any) -> dict[str, Any]:
    return {"errorCode": code, "message": "Canary +46701740605", "messageDetails": None, "requestId": "r", **more}


@pytest.mark.parametrize(
    ("answer", "kind", "code", "vendor_code_"),
    [
        pytest.param(got(202, {}), "done", "", None, id="202 with an empty object"),
        pytest.param(got(200), "done", "", None, id="200 without a body"),
        pytest.param(got(204), "done", "", None, id="204"),
        pytest.param(got(201, b"queued"), "done", "", None, id="201 with a word"),
        pytest.param(got(200, ["errorCode"]), "done", "", None, id="200 with a list"),
        pytest.param(got(200, b"\xff\xfe\x00"), "retry", "vendor.unreadable", None, id="200 with bytes"),
        pytest.param(got(200, b"Please accept the terms"), "retry", "vendor.unreadable", None, id="200 with words"),
        pytest.param(got(200, b"\xef\xbb\xbf{}"), "done", "", None, id="200 with a byte order mark"),
        pytest.param(got(200, {"ErrorCode": "Odd"}), "park", "vendor.rejected", "Odd", id="200 with an ErrorCode"),
        pytest.param(
            got(200, [{"errorCode": "Odd"}]), "park", "vendor.rejected", "Odd", id="200 with a list of errors"
        ),
        pytest.param(got(200, {"errors": ["x"]}), "park", "vendor.rejected", None, id="200 with errors"),
        pytest.param(got(200, b'"An error has occurred."'), "retry", "vendor.error", None, id="200 with its own error"),
        pytest.param(got(200, b'"queued"'), "done", "", None, id="200 with a JSON text"),
        pytest.param(got(200, {"message": "Receipt received"}), "done", "", None, id="200 with a friendly message"),
        pytest.param(
            got(200, {"message": "An error has occurred"}),
            "retry",
            "vendor.error",
            None,
            id="200 with Engage's own error",
        ),
        pytest.param(
            got(200, {"Message": "An error has occurred."}), "retry", "vendor.error", None, id="200, as .NET spells it"
        ),
        pytest.param(got(202, b'{"id": "0f'), "retry", "vendor.unreadable", None, id="202 with cut-off JSON"),
        pytest.param(got(200, b"[" * 100_000), "retry", "vendor.unreadable", None, id="200 with a deep body"),
        pytest.param(got(200, {"errorCode": None, "id": 1}), "done", "", None, id="200 with an empty error code"),
        pytest.param(
            got(200, error("ValidationError")),
            "park",
            "vendor.rejected",
            "ValidationError",
            id="200 with an error body",
        ),
        pytest.param(
            got(202, {"validationErrors": [{"errorDescription": "x"}]}),
            "park",
            "vendor.rejected",
            None,
            id="202 with validation errors",
        ),
        pytest.param(got(200, HTML), "retry", "vendor.unreadable", None, id="200 with a web page"),
        pytest.param(
            got(202, b"\xef\xbb\xbf\r\n" + HTML), "retry", "vendor.unreadable", None, id="202, page with a mark"
        ),
        pytest.param(
            got(200, b"", content_type="text/html"), "retry", "vendor.unreadable", None, id="200, an empty page"
        ),
        pytest.param(got(301), "retry", "vendor.unreadable", None, id="301"),
        pytest.param(
            got(302, b"", location="https://elsewhere.example.com"), "retry", "vendor.unreadable", None, id="302"
        ),
        pytest.param(got(304), "retry", "vendor.unreadable", None, id="304"),
        pytest.param(got(400, error("NoData")), "park", "vendor.rejected", "NoData", id="400"),
        pytest.param(got(400, HTML), "retry", "vendor.unreadable", None, id="400 with a web page"),
        pytest.param(got(401), "hold", "vendor.credentials_refused", None, id="401"),
        pytest.param(got(401, HTML), "hold", "vendor.credentials_refused", None, id="401 with a web page"),
        pytest.param(got(402), "hold", "vendor.credentials_refused", None, id="402"),
        pytest.param(got(403, error("Forbidden")), "hold", "vendor.credentials_refused", "Forbidden", id="403"),
        pytest.param(got(404), "park", "vendor.rejected", None, id="404"),
        pytest.param(got(404, HTML), "retry", "vendor.unreadable", None, id="404 with a web page"),
        pytest.param(got(407), "retry", "vendor.unreadable", None, id="407 is a proxy's"),
        pytest.param(got(408), "retry", "vendor.busy", None, id="408"),
        pytest.param(got(409, error("Conflict")), "park", "vendor.rejected", "Conflict", id="409"),
        pytest.param(got(413), "park", "vendor.rejected", None, id="413"),
        pytest.param(got(413, HTML), "park", "vendor.rejected", None, id="413 with a web page"),
        pytest.param(got(422, error("ValidationError")), "park", "vendor.rejected", "ValidationError", id="422"),
        pytest.param(got(425), "retry", "vendor.busy", None, id="425"),
        pytest.param(got(429), "retry", "vendor.busy", None, id="429"),
        pytest.param(got(429, HTML), "retry", "vendor.busy", None, id="429 with a web page"),
        pytest.param(got(500, {"message": "An error has occurred"}), "retry", "vendor.error", None, id="500"),
        pytest.param(
            got(500, error("InvalidSystemConfiguration")),
            "park",
            "vendor.misconfigured",
            "InvalidSystemConfiguration",
            id="500, the tenant is not set up",
        ),
        pytest.param(got(502, HTML), "retry", "vendor.error", None, id="502 with a web page"),
        pytest.param(got(503), "retry", "vendor.error", None, id="503"),
        pytest.param(got(504, error("RequestTimeOut")), "retry", "vendor.error", "RequestTimeOut", id="504"),
        pytest.param(got(599), "retry", "vendor.error", None, id="599"),
        pytest.param(got(999), "retry", "vendor.error", None, id="999"),
    ],
)
def test_verdicts(answer, kind, code, vendor_code_):
    """Each status, with and without what else can stand in its body."""
    verdict = verdict_of(answer)

    assert (verdict.kind.value, verdict.code, verdict.status) == (kind, code, answer.status)
    assert verdict.vendor_code == vendor_code_
    assert "Canary" not in repr(verdict)
    assert "740605" not in repr(verdict)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        # after_s, reached, not_received, alone
        pytest.param(got(202), (None, True, False, False), id="done"),
        pytest.param(got(422), (None, True, False, False), id="parked: it answers"),
        pytest.param(got(401), (None, True, True, False), id="held: it answers, and took nothing"),
        pytest.param(got(429), (1.0, False, True, False), id="429: a second's silence, nothing taken"),
        pytest.param(got(429, b"", retry_after="120"), (120.0, False, True, False), id="429 with its own wish"),
        pytest.param(got(429, b"", retry_after="0"), (0.0, False, True, False), id="429 that says at once"),
        pytest.param(got(408), (1.0, False, False, False), id="408: somebody on the way gave up"),
        pytest.param(got(500), (None, False, False, True), id="500: may be the record's fault"),
        pytest.param(got(503, b"", retry_after="120"), (120.0, False, False, True), id="503 with its own wish"),
        pytest.param(got(200, HTML), (None, False, False, False), id="a web page: not the record's fault"),
        pytest.param(got(302), (None, False, False, False), id="a redirect: not the record's fault"),
    ],
)
def test_what_a_verdict_says_of_the_line(answer, expected):
    """Whether the line is up, whether the record can have arrived, and when to come back."""
    verdict = verdict_of(answer)

    assert (verdict.after_s, verdict.reached, verdict.not_received, verdict.alone) == expected


@pytest.mark.parametrize("maybe", [True, False])
def test_no_answer(maybe):
    """The line's own word on whether it can have arrived is kept."""
    verdict = verdict_without_answer(
        VendorUnreachableError("cannot be reached", retry_after_s=3.0, maybe_received=maybe)
    )

    assert verdict == Verdict(
        VerdictKind.RETRY,
        "vendor.offline",
        None,
        "cannot be reached",
        after_s=3.0,
        reached=False,
        not_received=not maybe,
    )


@pytest.mark.parametrize(
    "answer",
    [got(200, b'"0f6c"'), got(201, {}), got(400, error("InvalidPhoneNumber")), got(404), got(409), got(422)],
    ids=lambda answer: str(answer.status),
)
def test_what_answers_a_question(answer):
    """Answers about the question itself come through."""
    raise_unless_answered(answer)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_credentials(status):
    """A refusal of our credentials is told apart from silence."""
    with pytest.raises(VendorRefusedError):
        raise_unless_answered(got(status))


@pytest.mark.parametrize(
    ("answer", "after_s", "maybe_received"),
    [
        pytest.param(got(429), 1.0, False, id="429"),
        pytest.param(got(408), 1.0, True, id="408"),
        pytest.param(got(429, b"", retry_after="7"), 7.0, False, id="429 with its wish"),
        pytest.param(got(500, error("InvalidSystemConfiguration")), None, True, id="500, not set up"),
        pytest.param(got(503, b"", retry_after="7"), 7.0, True, id="503 with its wish"),
        pytest.param(got(504, error("RequestTimeOut")), None, True, id="504"),
        pytest.param(got(307), None, True, id="307"),
        pytest.param(got(407), None, True, id="407"),
        pytest.param(got(200, HTML), None, True, id="200 with a web page"),
        pytest.param(got(404, HTML), None, True, id="404 with a web page"),
        pytest.param(got(200, {"message": "An error has occurred"}), None, True, id="200 with Engage's own error"),
        pytest.param(got(200, error("ValidationError")), None, True, id="200 with an error code"),
    ],
)
def test_what_answers_nothing(answer, after_s, maybe_received):
    """The rest is as good as silence."""
    with pytest.raises(VendorUnreachableError) as caught:
        raise_unless_answered(answer)
    assert (caught.value.retry_after_s, caught.value.maybe_received) == (after_s, maybe_received)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"errorCode": "MultipleMatches"}, "MultipleMatches"),
        ({"errorCode": "alma@example.com"}, None),
        ({"errorCode": "+46701740605"}, None),
        ({"errorCode": "x" * 65}, None),
        ({"errorCode": 17}, None),
        ({"errorCode": ["MultipleMatches"]}, None),
        ({"message": "An error has occurred"}, None),
        ([], None),
        (b"", None),
        (b"\xff", None),
    ],
    ids=str,
)
def test_code_names(body, expected):
    """Only a name is taken from an error: its texts can repeat what was sent."""
    assert vendor_code(got(400, body)) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["errorCode", "validationErrors", "message", "id"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(status=st.integers(100, 999), body=st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()))
def test_every_answer_has_a_verdict(status, body):
    """Whatever comes back: a verdict, done only for 2xx, and no exception but the two documented ones."""
    answer = got(status, body)

    verdict = verdict_of(answer)

    assert verdict.kind is not VerdictKind.DONE or 200 <= status < 300
    if verdict.kind is VerdictKind.DONE:
        raise_unless_answered(answer)
    else:
        with suppress(VendorRefusedError, VendorUnreachableError):
            raise_unless_answered(answer)
