"""What Voucherify's answers mean, row by row."""

import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from agent.connectors.voucherify.errors import (
    is_missing,
    raise_unless_answered,
    spared_s,
    vendor_key,
    verdict_of,
    verdict_without_answer,
)
from agent.domain.delivery import VerdictKind
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.transport import Answer

NOW = datetime(2026, 2, 14, 16, 0, tzinfo=UTC)
SECOND = int(NOW.timestamp())
DATE = format_datetime(NOW, usegmt=True)
LATER = format_datetime(NOW.replace(minute=1), usegmt=True)
ORDER = b'{"object": "order", "id": "ord_cRKOEXiBOj0EZKF7g9n6l0eH"}'
PAGE = b"<html><body>Sign in</body></html>"
DONE, PARK, RETRY, HOLD = VerdictKind.DONE, VerdictKind.PARK, VerdictKind.RETRY, VerdictKind.HOLD


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def error(status: int, key: str | None, **headers: str) -> Answer:
    body = {"code": status, "key": key, "message": "Alma", "details": "Cannot find alma@example.com"}
    return answer(status, json.dumps(body).encode(), **headers)


@pytest.mark.parametrize(
    ("given", "kind", "code", "key"),
    [
        pytest.param(answer(200, ORDER), DONE, "", None, id="200"),
        pytest.param(answer(201, ORDER), DONE, "", None, id="201"),
        pytest.param(answer(200, b"{}"), RETRY, "vendor.unreadable", None, id="200 of somebody"),
        pytest.param(answer(200, b'{"object": "event"}'), RETRY, "vendor.unreadable", None, id="another object"),
        pytest.param(answer(200, b"[]"), RETRY, "vendor.unreadable", None, id="a list"),
        pytest.param(answer(200, b"[" * 10_000), RETRY, "vendor.unreadable", None, id="very deep"),
        pytest.param(answer(200, PAGE), RETRY, "vendor.unreadable", None, id="a portal"),
        pytest.param(answer(204), RETRY, "vendor.unreadable", None, id="204, a portal's check"),
        pytest.param(answer(302), RETRY, "vendor.unreadable", None, id="a redirect"),
        pytest.param(error(400, "invalid_payload"), PARK, "vendor.rejected", "invalid_payload", id="400"),
        pytest.param(error(400, "metadata_validation_failed"), PARK, "vendor.rejected", "metadata_validation_failed",
                     id="400 metadata"),
        pytest.param(error(400, "alma_ekvall"), PARK, "vendor.rejected", None, id="400 with a key that is none"),
        pytest.param(answer(400), PARK, "vendor.rejected", None, id="400 without a word"),
        pytest.param(answer(400, PAGE), RETRY, "vendor.unreadable", None, id="400 in a page"),
        pytest.param(error(400, "multiple_requests"), RETRY, "vendor.busy", "multiple_requests", id="concurrent"),
        pytest.param(error(401, "unauthorized"), HOLD, "vendor.credentials_refused", "unauthorized", id="401"),
        pytest.param(error(402, "missing_required_feature"), HOLD, "vendor.plan_exhausted",
                     "missing_required_feature", id="402"),
        pytest.param(error(403, "missing_required_permission"), HOLD, "vendor.credentials_refused",
                     "missing_required_permission", id="403"),
        pytest.param(error(404, "not_found"), PARK, "vendor.rejected", "not_found", id="404 of Voucherify's"),
        pytest.param(error(404, "missing_customer"), PARK, "vendor.rejected", "missing_customer",
                     id="404 with another key of Voucherify's"),
        pytest.param(answer(404), RETRY, "vendor.unreadable", None, id="404 of somebody else's"),
        pytest.param(error(404, "alma_ekvall"), RETRY, "vendor.unreadable", None, id="404 with a key that is none"),
        pytest.param(answer(405), RETRY, "vendor.unreadable", None, id="405"),
        pytest.param(answer(407), RETRY, "vendor.unreadable", None, id="407: the proxy's"),
        pytest.param(answer(408), RETRY, "vendor.busy", None, id="408"),
        pytest.param(error(409, "duplicate_found"), PARK, "vendor.rejected", "duplicate_found", id="409"),
        pytest.param(answer(413, b'{"statusCode": 413}'), PARK, "sale.too_large", None, id="413"),
        pytest.param(answer(413, PAGE), PARK, "sale.too_large", None, id="413 in a page"),
        pytest.param(answer(415), PARK, "vendor.rejected", None, id="415"),
        pytest.param(answer(423), PARK, "vendor.rejected", None, id="423"),
        pytest.param(error(429, None), RETRY, "vendor.busy", None, id="429"),
        pytest.param(error(429, None, x_rate_limit_type="api_calls"), RETRY, "vendor.busy", "api_calls",
                     id="429 of the minute"),
        pytest.param(error(429, None, x_rate_limit_type="api_calls_cycle"), HOLD, "vendor.plan_exhausted",
                     "api_calls_cycle", id="429 of the cycle"),
        pytest.param(error(429, None, x_rate_limit_type="alma"), RETRY, "vendor.busy", None, id="429 of no limit"),
        pytest.param(error(500, "internal_error"), RETRY, "vendor.error", None, id="500"),
        pytest.param(answer(502, PAGE), RETRY, "vendor.unreadable", None, id="502 of a gateway's"),
        pytest.param(answer(503), RETRY, "vendor.error", None, id="503"),
    ],
)  # fmt: skip
def test_the_table(given, kind, code, key):
    """Each row; nothing of the vendor's words but a key of its list gets through."""
    verdict = verdict_of(given, "order", now=NOW)

    assert (verdict.kind, verdict.code, verdict.vendor_code) == (kind, code, key)
    assert verdict.status == given.status
    assert "alma" not in repr(verdict).lower()


@pytest.mark.parametrize(
    ("given", "reached", "not_received", "alone"),
    [
        pytest.param(error(429, None), False, True, False, id="429 took nothing"),
        pytest.param(answer(408), False, False, False, id="408 proves nothing"),
        pytest.param(error(402, None), True, True, False, id="402 took nothing"),
        pytest.param(error(403, None), True, True, False, id="403 took nothing"),
        pytest.param(error(500, None), False, False, True, id="500 may have, and may be the record's fault"),
        pytest.param(answer(502, PAGE), False, False, False, id="a gateway's page proves nothing"),
        pytest.param(answer(302), False, True, False, id="a redirect went nowhere"),
        pytest.param(answer(404), False, True, False, id="nothing is there"),
        pytest.param(answer(405), False, True, False, id="no such call"),
        pytest.param(answer(407), False, True, False, id="a proxy let nothing through"),
        pytest.param(answer(400, PAGE), False, True, False, id="nor did who answers with a page"),
        pytest.param(answer(200, PAGE), False, False, False, id="a portal's 200 proves nothing"),
        pytest.param(answer(204), False, False, False, id="nor does 204"),
        pytest.param(error(400, "multiple_requests"), True, False, True, id="at work on it"),
        pytest.param(error(400, "invalid_order"), True, False, False, id="400 answers"),
    ],
)
def test_what_else_is_known(given, reached, not_received, alone):
    """A verdict says whether the line is down, and whether the sale may have arrived."""
    verdict = verdict_of(given, "order", now=NOW)

    assert (verdict.reached, verdict.not_received, verdict.alone) == (reached, not_received, alone)


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        pytest.param({}, 1.0, id="nothing said"),
        pytest.param({"retry_after": "17"}, 17.0, id="Retry-After"),
        pytest.param({"retry_after": "17", "x_rate_limit_retry": str(SECOND + 40)}, 17.0, id="Retry-After goes first"),
        pytest.param({"x_rate_limit_retry": str(SECOND + 40)}, 40.0, id="an instant"),
        pytest.param({"x_rate_limit_retry": str(SECOND - 40)}, 1.0, id="an instant that is past"),
        pytest.param({"x_rate_limit_retry": str(SECOND + 10**6)}, 3600.0, id="an instant far away"),
        pytest.param({"x_rate_limit_retry": "soon"}, 1.0, id="nonsense"),
        pytest.param({"x_rate_limit_retry": "9" * 400}, 1.0, id="more digits than an instant has"),
        pytest.param({"x_rate_limit_retry": str(SECOND + 90), "date": LATER}, 30.0, id="by the vendor's own clock"),
    ],
)  # fmt: skip
def test_throttling(headers, after_s):
    """How long to be silent after 429."""
    assert verdict_of(error(429, None, **headers), "order", now=NOW).after_s == pytest.approx(after_s)


@pytest.mark.parametrize(
    ("left", "most", "retry", "after_s"),
    [
        pytest.param("50", "100", SECOND + 40, None, id="plenty"),
        pytest.param("10", "100", SECOND + 40, None, id="a tenth"),
        pytest.param("9", "100", SECOND + 40, 40.0, id="less than a tenth"),
        pytest.param("0", "100", SECOND + 40, 40.0, id="none"),
        pytest.param("5", "100", SECOND, 60.0, id="five, and the instant is now"),
        pytest.param("5", "100", SECOND - 40, 60.0, id="five, and the instant is past"),
        pytest.param("5", "100", "", 60.0, id="five, and no instant"),
        pytest.param("x", "100", SECOND + 40, None, id="nonsense"),
        pytest.param("0", "0", SECOND + 40, None, id="an allowance of nothing"),
    ],
)
def test_the_last_of_the_allowance(left, most, retry, after_s):
    """It is left to who cannot wait: a delivery that was accepted says how long the next one should."""
    given = answer(
        200, ORDER, x_rate_limit_remaining=left, x_rate_limit_limit=most, x_rate_limit_retry=str(retry), date=DATE
    )

    assert spared_s(given, now=NOW) == after_s
    assert verdict_of(given, "order", now=NOW).after_s == after_s


@pytest.mark.parametrize(
    ("named", "reference"),
    [
        ("ord_cRKOEXiBOj0EZKF7g9n6l0eH", "ord_cRKOEXiBOj0EZKF7g9n6l0eH"),
        ("alma@example.com", None),
        ("+46701740605", None),
        (7, None),
        (None, None),
    ],
)
def test_what_voucherify_calls_it(named, reference):
    """The order's id, when it is one."""
    given = answer(200, json.dumps({"object": "order", "id": named}).encode())

    assert verdict_of(given, "order", now=NOW).reference == reference


def test_the_id_of_a_request():
    """Support asks for it; anything else in its place is left out."""
    bodies = [{"request_id": "v-0b4c590350857970df"}, {"request_id": "alma"}]
    titles = [verdict_of(answer(400, json.dumps(body).encode()), "order", now=NOW).title for body in bodies]

    assert titles == [
        "The vendor refuses this record (request v-0b4c590350857970df).", "The vendor refuses this record.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (error(404, "not_found"), True),
        (error(404, "resource_not_found"), True),
        (answer(404), False),
        (answer(404, PAGE), False),
        (error(400, "not_found"), False),
    ],
    ids=["not found", "resource not found", "without a key", "a page", "another status"],
)
def test_what_is_not_there(given, expected):
    """Only Voucherify itself can say so."""
    assert is_missing(given) is expected


@pytest.mark.parametrize("body", [b"", b"{}", b'{"key": 7}', b'{"key": "alma@example.com"}', b"\xff", b"[1]"])
def test_keys(body):
    """A key is one of the list, or none."""
    assert vendor_key(answer(400, body)) is None


@pytest.mark.parametrize("given", [answer(200, b'{"object": "list"}'), error(400, "invalid_query_params")])
def test_what_answers_a_ping(given):
    """Answered or refused for what was asked: the credentials were taken."""
    raise_unless_answered(given, "list", now=NOW)


@pytest.mark.parametrize(
    ("given", "raised"),
    [
        (error(401, "unauthorized"), VendorRefusedError),
        (error(403, "forbidden"), VendorRefusedError),
        (error(402, None), VendorRefusedError),
        (error(429, None, x_rate_limit_type="api_calls_cycle"), VendorRefusedError),
        (error(429, None), VendorUnreachableError),
        (answer(200, PAGE), VendorUnreachableError),
        (answer(404), VendorUnreachableError),
        (answer(503), VendorUnreachableError),
    ],
    ids=["401", "403", "402", "the plan", "429", "a portal", "404", "503"],
)
def test_what_does_not(given, raised):
    """Refused credentials, a plan that is used up, and everything that is not Voucherify."""
    with pytest.raises(raised):
        raise_unless_answered(given, "list", now=NOW)


@pytest.mark.parametrize("maybe", [True, False])
def test_no_answer(maybe):
    """Whether the sale may have arrived is kept."""
    verdict = verdict_without_answer(VendorUnreachableError("did not answer", maybe_received=maybe))

    assert (verdict.kind, verdict.reached, verdict.not_received) == (RETRY, False, not maybe)
