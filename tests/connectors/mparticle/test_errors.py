"""What mParticle's answers mean, row by row."""

import json

import pytest

from agent.connectors.mparticle.errors import raise_unless_answered, vendor_code, verdict_of, verdict_without_answer
from agent.domain.delivery import VerdictKind
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.transport import Answer

BAD = json.dumps({"errors": [{"code": "BAD_REQUEST", "message": "alma.ekvall@example.com is not valid"}]}).encode()
PAGE = b"<html><body>Sign in</body></html>"
DONE, PARK, RETRY, HOLD, SPLIT = (
    VerdictKind.DONE,
    VerdictKind.PARK,
    VerdictKind.RETRY,
    VerdictKind.HOLD,
    VerdictKind.SPLIT,
)


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("given", "alone", "together"),
    [
        pytest.param(answer(202), DONE, DONE, id="202"),
        pytest.param(answer(202, b"{}"), DONE, DONE, id="202 with a value"),
        pytest.param(answer(202, BAD), PARK, PARK, id="202 with an error"),
        pytest.param(answer(202, PAGE), RETRY, RETRY, id="202 with a web page"),
        pytest.param(answer(200), RETRY, RETRY, id="200, which is not documented"),
        pytest.param(answer(204), RETRY, RETRY, id="204, a portal's check"),
        pytest.param(answer(302), RETRY, RETRY, id="a redirect"),
        pytest.param(answer(400, BAD), PARK, SPLIT, id="400"),
        pytest.param(answer(400), PARK, SPLIT, id="400 without a word"),
        pytest.param(answer(400, PAGE), RETRY, RETRY, id="400 with a web page"),
        pytest.param(answer(401), HOLD, HOLD, id="401"),
        pytest.param(answer(402), HOLD, HOLD, id="402"),
        pytest.param(answer(403), HOLD, HOLD, id="403"),
        pytest.param(answer(404), RETRY, RETRY, id="404: another address"),
        pytest.param(answer(405), RETRY, RETRY, id="405"),
        pytest.param(answer(407), RETRY, RETRY, id="407: the proxy's"),
        pytest.param(answer(408), RETRY, RETRY, id="408"),
        pytest.param(answer(409, BAD), PARK, SPLIT, id="409"),
        pytest.param(answer(413), PARK, SPLIT, id="413"),
        pytest.param(answer(413, PAGE), PARK, SPLIT, id="413 in a page"),
        pytest.param(answer(422, BAD), PARK, SPLIT, id="422"),
        pytest.param(answer(429), RETRY, RETRY, id="429"),
        pytest.param(answer(500), RETRY, RETRY, id="500"),
        pytest.param(answer(503), RETRY, RETRY, id="503"),
        pytest.param(answer(599, PAGE), RETRY, RETRY, id="599 with a page"),
    ],
)
def test_the_table(given, alone, together):
    """Each row, for one batch and for several; nothing of the vendor's words but a code name gets through."""
    verdicts = [verdict_of(given), verdict_of(given, together=True)]

    assert [verdict.kind for verdict in verdicts] == [alone, together]
    assert all(verdict.status == given.status for verdict in verdicts)
    assert "alma" not in repr(verdicts)


@pytest.mark.parametrize(
    ("given", "reached", "not_received", "alone"),
    [
        pytest.param(answer(429), False, True, False, id="429 took nothing"),
        pytest.param(answer(403), True, True, False, id="403 took nothing"),
        pytest.param(answer(500), False, False, True, id="500 may have, and may be the record's fault"),
        pytest.param(answer(302), False, False, False, id="a redirect proves nothing"),
        pytest.param(answer(400, BAD), True, False, False, id="400 answers"),
    ],
)
def test_what_else_is_known(given, reached, not_received, alone):
    """A verdict says whether the line is down, and whether the sale may have arrived."""
    verdict = verdict_of(given)

    assert (verdict.reached, verdict.not_received, verdict.alone) == (reached, not_received, alone)


@pytest.mark.parametrize(
    ("given", "after_s", "limit"),
    [
        pytest.param(answer(429), 1.0, None, id="nothing said"),
        pytest.param(answer(429, retry_after="17"), 17.0, None, id="Retry-After"),
        pytest.param(answer(429, retry_after="0"), 0.0, None, id="at once"),
        pytest.param(answer(429, retry_after="soon"), 1.0, None, id="nonsense"),
        pytest.param(answer(429, x_mp_rate_limit_exceeded="org"), 1.0, "org", id="the organisation's limit"),
        pytest.param(answer(429, x_mp_rate_limit_exceeded=" Acceleration"), 1.0, "acceleration", id="too steep"),
        pytest.param(answer(429, x_mp_rate_limit_exceeded="alma@example.com"), 1.0, None, id="no limit of theirs"),
    ],
)
def test_throttling(given, after_s, limit):
    """How long to be silent, and which limit was exceeded."""
    verdict = verdict_of(given)

    assert (verdict.after_s, verdict.vendor_code) == (after_s, limit)


@pytest.mark.parametrize(
    ("used", "rest_s"),
    [("80.5", 1.0), ("100", 1.0), ("250", 1.0), ("80", None), ("12", None), ("", None), ("-90", None), ("1e9", None),
     ("nearly", None), ("9" * 40, None)],
)  # fmt: skip
def test_a_limit_that_is_nearly_used_up(used, rest_s):
    """What was accepted is done; the next delivery waits a little, for the others of the organisation."""
    verdict = verdict_of(answer(202, x_mp_rate_limit_percentage_used=used))

    assert (verdict.kind, verdict.after_s) == (DONE, rest_s)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (BAD, "BAD_REQUEST"),
        (b"", None),
        (b"{}", None),
        (b'{"errors": []}', None),
        (b'{"errors": ["alma@example.com"]}', "UNNAMED"),
        (b'{"errors": [{"code": "alma@example.com"}]}', "UNNAMED"),
        (b'{"errors": {"code": "TOO_OLD"}}', "TOO_OLD"),
        (b'{"errors": 1}', "UNNAMED"),
        (b"[1]", None),
        (b"[" * 100_000, None),
        (b"\xff", None),
    ],
    ids=["documented", "nothing", "an object", "no errors", "a text", "a text as code", "one", "a number", "a list",
         "very deep", "no text"],
)  # fmt: skip
def test_code_names(body, expected):
    """Only a code name is kept of an error; what has none is still an error."""
    assert vendor_code(answer(400, body)) == expected


@pytest.mark.parametrize("status", [202, 400, 422])
def test_what_answers_a_ping(status):
    """Accepted or refused for its content: the credentials were taken."""
    raise_unless_answered(answer(status))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (answer(401), VendorRefusedError),
        (answer(403), VendorRefusedError),
        (answer(200, PAGE), VendorUnreachableError),
        (answer(404), VendorUnreachableError),
        (answer(429), VendorUnreachableError),
        (answer(503), VendorUnreachableError),
    ],
    ids=["401", "403", "a portal", "404", "429", "503"],
)
def test_what_does_not(given, error):
    """Refused credentials and everything that is not mParticle."""
    with pytest.raises(error):
        raise_unless_answered(given)


@pytest.mark.parametrize("maybe", [True, False])
def test_no_answer(maybe):
    """Whether the sale may have arrived is kept."""
    verdict = verdict_without_answer(VendorUnreachableError("did not answer", maybe_received=maybe))

    assert (verdict.kind, verdict.reached, verdict.not_received) == (RETRY, False, not maybe)
