"""What Antavo's answers mean."""

import json

import pytest

from agent.connectors.antavo.errors import (
    error_in,
    raise_unless_answered,
    trouble_of,
    verdict_of_event,
    verdicts_of_bulk,
)
from agent.domain.delivery import VerdictKind
from agent.errors import VendorUnreachableError
from agent.transport import Answer

DONE, DUPLICATE, PARK, RETRY, HOLD, SPLIT = (
    VerdictKind.DONE, VerdictKind.DUPLICATE, VerdictKind.PARK, VerdictKind.RETRY, VerdictKind.HOLD, VerdictKind.SPLIT,
)  # fmt: skip
OK = {"id": "c-1", "events": []}


def make_answer(status, body=b"", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def error(code, message="no"):
    return {"error": {"type": "BadRequestException", "code": code, "message": message}}


@pytest.mark.parametrize(
    ("body", "name"),
    [
        pytest.param(error(160212), "160212", id="standard"),
        pytest.param({"type": "NotFoundException", "code": 160212, "message": "no"}, "160212", id="bare"),
        pytest.param({"status": "error", "error": {"type": "x", "code": 203404, "message": "no"}}, "203404", id="v1"),
        pytest.param({"status": "error", "error": "invalid_client", "details": {"code": 220011}}, "220011",
                     id="the token endpoint"),
        pytest.param({"error": {"message": "no", "code": 404, "resendable": False}}, "404", id="read API"),
        pytest.param({"code": 0, "error": "Property total cannot be empty", "type": "x"}, "0", id="points preview"),
        pytest.param(error("5003"), "5003", id="a number as text"),
        pytest.param(error("+46701740605"), "UNNAMED", id="no number"),
        pytest.param(error(46701740605), "UNNAMED", id="too long for one"),
        pytest.param({"error": {"message": "no"}}, "UNNAMED", id="without one"),
        pytest.param({"status": "error"}, "UNNAMED", id="status alone"),
        pytest.param(OK, None, id="none"),
        pytest.param({"error": None, "events": []}, None, id="an empty one"),
        pytest.param({"status": "active", "id": "c"}, None, id="a member's status"),
        pytest.param([error(0)], None, id="a list"),
        pytest.param("error", None, id="a text"),
    ],
)  # fmt: skip
def test_the_forms_of_an_error(body, name):
    """All of the vendor's are told, and what is none is not; of its words nothing is kept but the number."""
    found = error_in(body)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("code", "status", "before", "kind", "told"),
    [
        pytest.param(5003, 400, False, PARK, "sale.collision", id="5003 at first"),
        pytest.param(5003, 400, True, DUPLICATE, "", id="5003 later"),
        pytest.param(5003, 200, True, DUPLICATE, "", id="5003 in a 200"),
        pytest.param(5003, 500, True, DUPLICATE, "", id="5003 in a 500"),
        pytest.param(112101, 400, False, DUPLICATE, "", id="112101"),
        pytest.param(10001, 400, False, DUPLICATE, "", id="10001"),
        pytest.param(127201, 200, False, DONE, "vendor.interrupted", id="127201"),
        pytest.param(160212, 404, False, PARK, "contact.unknown", id="160212"),
        pytest.param(160216, 400, False, PARK, "vendor.rejected", id="160216"),
        pytest.param(103902, 400, False, PARK, "vendor.rejected", id="103902"),
        pytest.param(110003, 400, False, PARK, "vendor.rejected", id="110003"),
        pytest.param(112201, 400, False, PARK, "sale.pending", id="112201"),
        pytest.param(112203, 400, False, PARK, "vendor.rejected", id="112203"),
        pytest.param(120241, 200, False, PARK, "vendor.rejected", id="120241 in a 200"),
        pytest.param(0, 404, False, PARK, "vendor.rejected", id="0"),
        pytest.param(999999, 409, False, PARK, "vendor.rejected", id="unheard of"),
        pytest.param(101021, 401, False, HOLD, "vendor.credentials_refused", id="101021"),
        pytest.param(101021, 400, False, HOLD, "vendor.credentials_refused", id="101021 in a 400"),
        pytest.param(0, 500, False, RETRY, "vendor.error", id="an error of its own"),
        pytest.param(5003, 403, False, PARK, "sale.collision", id="5003 in a 403"),
        pytest.param(5003, 401, True, DUPLICATE, "", id="5003 in a 401"),
        pytest.param(110003, 403, False, PARK, "vendor.rejected", id="110003 in a 403"),
        pytest.param(103902, 403, False, PARK, "vendor.rejected", id="103902 in a 403"),
        pytest.param(160216, 402, False, PARK, "vendor.rejected", id="160216 in a 402"),
        pytest.param(112203, 500, False, PARK, "vendor.rejected", id="112203 in a 500"),
        pytest.param(0, 403, False, HOLD, "vendor.credentials_refused", id="0 in a 403"),
        pytest.param(999999, 402, False, HOLD, "vendor.credentials_refused", id="unheard of in a 402"),
    ],
)
def test_numbers(code, status, before, kind, told):
    """Each row of the table, whatever status comes with it."""
    verdict = verdict_of_event(make_answer(status, error(code)), maybe_received=before)
    assert (verdict.kind, verdict.code, verdict.vendor_code) == (kind, told, str(code))
    assert verdict.not_received is (kind in (PARK, HOLD))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(make_answer(200, OK), DONE, id="200"),
        pytest.param(make_answer(200, json.dumps(OK).encode(), content_type="text/javascript"), DONE, id="javascript"),
        pytest.param(make_answer(201, {"events": []}), DONE, id="201"),
        pytest.param(make_answer(200, {"id": 17}), DONE, id="a number"),
        pytest.param(make_answer(200, b"{}"), RETRY, id="an empty object"),
        pytest.param(make_answer(200, {"id": None}), RETRY, id="nobody"),
        pytest.param(make_answer(200, {"id": ""}), RETRY, id="an empty id"),
        pytest.param(make_answer(200, {"id": True}), RETRY, id="no id"),
        pytest.param(make_answer(200, b'{"id": NaN}'), RETRY, id="no JSON"),
        pytest.param(make_answer(200, {"events": "x"}), RETRY, id="no events"),
        pytest.param(make_answer(200, b""), RETRY, id="nothing"),
        pytest.param(make_answer(200, b"<html>"), RETRY, id="a page"),
        pytest.param(make_answer(204), RETRY, id="204"),
        pytest.param(make_answer(302), RETRY, id="a redirect"),
        pytest.param(make_answer(404, b"{}"), RETRY, id="404 of nobody"),
        pytest.param(make_answer(407), RETRY, id="a proxy"),
        pytest.param(make_answer(429), RETRY, id="429"),
        pytest.param(make_answer(503), RETRY, id="503"),
        pytest.param(make_answer(400), PARK, id="400"),
        pytest.param(make_answer(413), PARK, id="413"),
        pytest.param(make_answer(402), HOLD, id="402"),
        pytest.param(make_answer(403, b"<html>"), HOLD, id="403"),
    ],
)
def test_statuses(answer, kind):
    """What an answer to one event means."""
    assert verdict_of_event(answer, maybe_received=False).kind is kind


def test_a_pause_without_a_time():
    """The vendor names none: a few seconds are kept; one that is named is."""
    assert trouble_of(make_answer(429)).after_s == 5
    assert trouble_of(make_answer(429, retry_after="9")).after_s == 9


def test_what_a_timeout_proves():
    """Somebody on the way may have given up after the event had arrived; who asks for a pause has not taken it."""
    assert [trouble_of(make_answer(status)).not_received for status in (408, 425, 429)] == [False, True, True]
    for status in (408, 429):
        with pytest.raises(VendorUnreachableError) as raised:
            raise_unless_answered(make_answer(status))
        assert raised.value.maybe_received is (status == 408)


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        pytest.param({"results": [{"events": []}, {}], "total": 2, "errors": 0}, [DONE, DONE], id="all"),
        pytest.param({"results": [{"events": []}, error(160216)]}, [DONE, PARK], id="one refused"),
        pytest.param({"results": [error(5003), error(5003)]}, [PARK, DUPLICATE], id="there already"),
        pytest.param({"results": [{"events": []}]}, [RETRY, RETRY], id="too few"),
        pytest.param({"results": [{}, {}, {}]}, [RETRY, RETRY], id="too many"),
        pytest.param({"results": [None, {}]}, [RETRY, DONE], id="nothing for one"),
        pytest.param({"results": {}}, [RETRY, RETRY], id="another form"),
        pytest.param({}, [RETRY, RETRY], id="an empty object"),
        pytest.param(error(0), [SPLIT, SPLIT], id="the whole refused, in a 200"),
        pytest.param({"results": [{}, error(160216)], "errors": 1}, [DONE, PARK], id="as many refused as it says"),
        pytest.param({"results": [{}, error(160216)], "errors": "1"}, [DONE, PARK], id="which can be text"),
        pytest.param({"results": [{}, {}], "errors": 1}, [RETRY, RETRY], id="one refused, and none of them"),
        pytest.param({"results": [{}, error(160216)], "errors": 0}, [RETRY, RETRY], id="none refused, and one of them"),
        pytest.param({"results": [{}, {}], "errors": [1]}, [RETRY, RETRY], id="no number"),
    ],
)
def test_a_bulk_answer(body, kinds):
    """A verdict for each, judged by `error` alone; what cannot be matched is sent again."""
    verdicts = verdicts_of_bulk(make_answer(200, body), [False, True])
    assert [verdict.kind for verdict in verdicts] == kinds


@pytest.mark.parametrize(
    ("status", "kind"), [(400, SPLIT), (413, SPLIT), (422, SPLIT), (401, HOLD), (429, RETRY), (500, RETRY)]
)
def test_a_bulk_request_that_is_refused(status, kind):
    """Nothing of it was taken."""
    verdicts = verdicts_of_bulk(make_answer(status, b"{}"), [False, False])
    assert [verdict.kind for verdict in verdicts] == [kind, kind]


@pytest.mark.parametrize(
    ("code", "status", "kind", "not_received"),
    [
        pytest.param(5003, 500, RETRY, False, id="500: some may have been processed"),
        pytest.param(160216, 503, RETRY, False, id="503: some may have been processed"),
        pytest.param(160216, 403, SPLIT, True, id="403: about one of them"),
        pytest.param(0, 403, HOLD, True, id="403: about us"),
    ],
)
def test_a_number_for_a_whole_bulk_request(code, status, kind, not_received):
    """It proves that nothing was taken only where the vendor did not fail meanwhile."""
    verdicts = verdicts_of_bulk(make_answer(status, error(code)), [False, True])
    assert [(verdict.kind, verdict.not_received) for verdict in verdicts] == [(kind, not_received)] * 2
