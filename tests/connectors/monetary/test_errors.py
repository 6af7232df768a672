"""What Monetary's answers mean, row by row."""

import pytest

from agent.connectors.monetary.errors import pause_s, raise_unless_answered, rejection_of, trouble_of
from agent.domain.delivery import VerdictKind
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from agent.transport import Answer

PARK, RETRY, HOLD = VerdictKind.PARK, VerdictKind.RETRY, VerdictKind.HOLD
WORDS = b'{"Message": "alma@example.com is not valid"}'
PAGE = b"<html><body>Sign in</body></html>"


def answer(status: int, body: bytes = WORDS, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("given", "kind", "code", "not_received"),
    [
        pytest.param(answer(200, b"{}"), None, "", False, id="200"),
        pytest.param(answer(201, b"{}"), None, "", False, id="201"),
        pytest.param(answer(200, PAGE), RETRY, "vendor.unreadable", False, id="200 with a web page"),
        pytest.param(answer(302, b""), RETRY, "vendor.unreadable", True, id="a redirect"),
        pytest.param(answer(400), PARK, "vendor.rejected", True, id="400"),
        pytest.param(answer(400, PAGE), RETRY, "vendor.unreadable", True, id="400 with a web page"),
        pytest.param(answer(401), HOLD, "vendor.credentials_refused", True, id="401"),
        pytest.param(answer(402), HOLD, "vendor.credentials_refused", True, id="402"),
        pytest.param(answer(403), HOLD, "vendor.credentials_refused", True, id="403"),
        pytest.param(answer(404), PARK, "vendor.rejected", True, id="404: what was named is not there"),
        pytest.param(answer(404, b""), RETRY, "vendor.unreadable", True, id="404 without a word"),
        pytest.param(answer(405), RETRY, "vendor.unreadable", True, id="405"),
        pytest.param(answer(407), RETRY, "vendor.unreadable", True, id="407: the proxy's"),
        pytest.param(answer(408), RETRY, "vendor.busy", False, id="408 may have arrived"),
        pytest.param(answer(409), PARK, "vendor.rejected", True, id="409"),
        pytest.param(answer(413, PAGE), PARK, "sale.too_large", True, id="413"),
        pytest.param(answer(415), PARK, "vendor.rejected", True, id="415"),
        pytest.param(answer(422), PARK, "vendor.rejected", True, id="422"),
        pytest.param(answer(425), RETRY, "vendor.busy", True, id="425"),
        pytest.param(answer(429), RETRY, "vendor.busy", True, id="429"),
        pytest.param(answer(500), RETRY, "vendor.error", False, id="500"),
        pytest.param(answer(503, b""), RETRY, "vendor.error", False, id="503"),
    ],
)
def test_the_table(given, kind, code, not_received):
    """Each row, for a call that names something; nothing of the vendor's words gets through."""
    verdict = trouble_of(given, named=True) or rejection_of(given)

    told = (None, "", False) if verdict is None else (verdict.kind, verdict.code, verdict.not_received)
    assert told == (kind, code, not_received)
    assert "alma" not in repr(verdict)


def test_a_call_that_is_not_there():
    """Where nothing is named it is the call itself that a 404 misses, whatever comes with it."""
    verdict = trouble_of(answer(404), named=False)

    assert verdict is not None
    assert (verdict.kind, verdict.code, verdict.not_received) == (RETRY, "vendor.unreadable", True)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (answer(429), 5.0),
        (answer(429, retry_after="17"), 17.0),
        (answer(429, retry_after="Sat, 14 Feb 2026 16:00:30 GMT", date="Sat, 14 Feb 2026 16:00:00 GMT"), 30.0),
        (answer(429, retry_after="Sat, 14 Feb 2026 16:00:30 GMT"), 5.0),
        (answer(429, retry_after="soon"), 5.0),
    ],
    ids=["nothing said", "seconds", "a date", "a date beside no other", "nonsense"],
)
def test_pauses(given, seconds):
    """As long as it asks for; a few seconds where it does not say."""
    assert pause_s(given) == seconds


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (answer(401), VendorRefusedError),
        (answer(429), VendorUnreachableError),
        (answer(503), VendorOwnError),
        (answer(200, PAGE), VendorOwnError),
        (answer(200, b"["), VendorUnreachableError),
    ],
    ids=["401", "429", "503", "a portal", "cut off"],
)
def test_questions(given, error):
    """What says nothing of what was asked is one of two errors."""
    with pytest.raises(error):
        raise_unless_answered(given, named=True)


def test_what_a_question_is_answered():
    """The JSON; nothing where Monetary refuses the question."""
    assert raise_unless_answered(answer(200, b"[1]"), named=True) == [1]
    assert raise_unless_answered(answer(404), named=True) is None
