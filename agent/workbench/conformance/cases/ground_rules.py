"""What holds for every call, whatever it is about."""

from __future__ import annotations

import json
from typing import Final

from agent.workbench.conformance.case import Group
from agent.workbench.conformance.door import Json, Reply
from agent.workbench.conformance.trial import Trial
from agent.workbench.conformance.verdict import refused, same, shown, told, true
from agent.workbench.stage import by_phone

GROUP: Final = Group("ground-rules")
_SALES: Final = "/v1/transactions"
_TOO_LARGE: Final = 257 * 1024
_EVIL: Final = "http://evil.example.com"


@GROUP.case("`GET /healthz` | `get_health` | 200 | the process lives")
def open_calls(trial: Trial) -> None:
    """What needs no token answers without one."""
    for path in ("/healthz", "/readyz", "/openapi.json", "/page/status"):
        reply = trial.door.call("GET", path, headers={"authorization": ""})
        true(f"200 to {path}", holds=reply.status == 200, got=told(reply))  # noqa: PLR2004 - OK


@GROUP.case(
    "`Host` is `127.0.0.1:P`, `localhost:P` or `[::1]:P` with the port listened on; on a Unix socket any loopback name"
)
def foreign_host(trial: Trial) -> None:
    """A name that is not the agent's own is misdirected."""
    refused(trial.door.get("/v1/status", host="shop.example.com"), 421, "host.unknown")


@GROUP.case("`Origin`, if sent, is the agent's own page or `api.web_pos_origin`; so is `Sec-Fetch-Site`")
def foreign_page(trial: Trial) -> None:
    """A web page of somebody else is refused, reading and writing, and gets no CORS headers."""
    refused(trial.door.get("/v1/status", origin=_EVIL), 403, "origin.refused")
    refused(trial.door.get("/v1/status", sec_fetch_site="cross-site"), 403, "origin.refused")
    refused(trial.door.post(_SALES, {}, origin=_EVIL), 403, "origin.refused")


@GROUP.case("| `token.missing` | 401 | send `Authorization: Bearer …` |")
def no_token(trial: Trial) -> None:
    """Without a token nothing is told, and nothing is taken."""
    refused(trial.door.get("/v1/status", authorization=""), 401, "token.missing")
    made = trial.purchase({})
    refused(trial.door.post(_SALES, made, authorization=""), 401, "token.missing")
    refused(trial.door.sale(made["transaction_id"]), 404, "record.unknown")


@GROUP.case("| `token.invalid` | 401 | the token was revoked or never given: `loyalty-agent token add` |")
def wrong_token(trial: Trial) -> None:
    """A token that was never given is refused."""
    refused(trial.door.get("/v1/status", authorization="Bearer kit-made-this-up"), 401, "token.invalid")


@GROUP.case("| `token.scope` | 403 | the call wants an `admin` token |")
def wrong_scope(trial: Trial) -> None:
    """A cashier's token gives no orders and sees no queue."""
    refused(trial.door.get("/v1/queue"), 403, "token.scope")
    refused(trial.door.post("/v1/flush", {}), 403, "token.scope")  # where it is not refused it does no harm


@GROUP.case("send `Content-Type: application/json`, uncompressed")
def other_media_type(trial: Trial) -> None:
    """A body that is no JSON by its own word is refused."""
    sale = trial.purchase({})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        refused(trial.door.post(_SALES, sale, content_type=kind), 415, "request.media_type")
    refused(trial.door.post(_SALES, sale, content_encoding="gzip"), 415, "request.media_type")


@GROUP.case("a body is at most 256 KiB")
def too_large(trial: Trial) -> None:
    """A body that is larger than any sale is refused."""
    content = json.dumps({**trial.purchase({}), "receipt_number": "7" * _TOO_LARGE})
    refused(trial.door.call("POST", _SALES, content=content), 413, "request.too_large")


@GROUP.case("| `route.unknown` | 404 | there is no such path in this version |")
def no_such_call(trial: Trial) -> None:
    """A path that there is not, and a method that a path does not take."""
    refused(trial.door.get("/v1/nothing"), 404, "route.unknown")
    refused(trial.door.call("DELETE", "/v1/transactions"), 405, "method.not_allowed")


@GROUP.case("the body is no JSON: empty, cut short, not UTF-8, a key twice, nested too deeply")
def no_json(trial: Trial) -> None:
    """What is no JSON is refused, in each of its ways."""
    whole = json.dumps(trial.purchase({}))
    for content in (b"", whole[:-9].encode(), b'{"total": "\xff"}', b'{"type": "purchase", "type": "return"}'):
        refused(trial.door.call("POST", _SALES, content=content), 400, "request.malformed")


@GROUP.case("Unknown request fields, unknown query parameters and a key\nthat stands twice in one object are refused")
def unknown_field(trial: Trial) -> None:
    """A field that there is not is refused with its place, on a sale and on its lines; nothing is kept."""
    made = trial.purchase({})
    _points_to(trial.door.post(_SALES, {**made, "totl": "1.00"}), "/totl")
    lines = [{**made["lines"][0], "colour": "red"}, *made["lines"][1:]]
    _points_to(trial.door.post(_SALES, {**made, "lines": lines}), "/lines/0/colour")
    refused(trial.door.sale(made["transaction_id"]), 404, "record.unknown")


@GROUP.case("A query on a call that takes none is 422")
def unknown_query(trial: Trial) -> None:
    """A query where there is none is refused."""
    refused(trial.door.get("/v1/status?verbose=1"), 422, "request.invalid")


@GROUP.case("instants are ISO 8601 with an offset")
def time_without_offset(trial: Trial) -> None:
    """A time that does not say where it is is refused."""
    made = trial.purchase({})
    _points_to(trial.door.sell({**made, "occurred_at": made["occurred_at"][:19]}), "/occurred_at")


@GROUP.case("and Σ payments = `total` + `rounding`")
def wrong_sum(trial: Trial) -> None:
    """A sale that does not add up is refused with the place."""
    made = trial.purchase({})
    wrong = {**made, "total": "0.01", "payments": [{"type": "card", "amount": "0.01"}]}
    _points_to(trial.door.sell(wrong), "/total")
    refused(trial.door.sale(made["transaction_id"]), 404, "record.unknown")


@GROUP.case("At most one of `identifier` and `integration_key`; neither is a guest.")
def two_names(trial: Trial) -> None:
    """A sale that names its customer twice is refused."""
    person = trial.member()
    key = {"kind": "primary", "type": "member_number", "value": person.member_number}
    refused(trial.door.sell(trial.purchase({**by_phone(person), "integration_key": key})), 422, "request.invalid")


@GROUP.case("Every status of 400 and above is `application/problem+json` (RFC 9457)")
def form_of_problems(trial: Trial) -> None:
    """Each kind of problem has the one form, with a code and a request_id of its own."""
    seen = set()
    for reply in _problems(trial, trial.purchase({})):
        same("the media type", reply.media_type, "application/problem+json")
        for part in ("type", "title", "detail", "code", "request_id"):
            true(f"{part}, a text", holds=isinstance(reply.body.get(part), str), got=shown(reply.body.get(part)))
        same("status in the body", reply.body.get("status"), reply.status)
        same("type", reply.body["type"], f"urn:loyalty-agent:problem:{reply.body['code']}")
        seen.add(reply.body["request_id"])
    true("a request_id for each", holds=len(seen) == _PROBLEMS, got=f"{len(seen)} of {_PROBLEMS}")


@GROUP.case("no problem, log line or metric repeats one")
def no_personal_value(trial: Trial) -> None:
    """No problem repeats a phone number, an address or a name that was sent."""
    phone, email, name = "+46701740612", "kit.canary@example.com", "Kanariefågel"
    secrets = (phone, "070-174 06 12", email, name)
    sale = {**trial.purchase({"identifier": {"type": "mobile_phone", "value": phone}}), "cashier_name": name}
    replies = [
        *_problems(trial, sale),
        trial.door.identify("mobile_phone", f"{phone}{phone}"),
        trial.door.identify("member_number", f"{email}\n"),
        trial.door.post("/v1/contacts/identify", {"identifier": {"type": phone, "value": email}}),
        trial.door.post("/v1/contacts/identify", {email: 1, "identifier": {"type": "email", "value": "x", phone: 2}}),
        trial.door.get(f"/v1/contacts/{phone}"),
        trial.door.get(f"/v1/status?phone={phone.removeprefix('+')}&mail={email}"),
        trial.door.sell({**sale, "currency": name, "total": email, "occurred_at": phone}),
        trial.door.post("/v1/contacts", {"first_name": name, "email": f"{email} {email}", "mobile_phone": phone * 3}),
    ]
    for reply in replies:
        true("a problem", holds=reply.status >= 400, got=told(reply))  # noqa: PLR2004 - the first status of problems
        for secret in secrets:
            inside = secret in reply.text or secret.removeprefix("+") in reply.text
            true("no personal value in a problem", holds=not inside, got=f"one, in {told(reply)}")


_PROBLEMS: Final = 8


def _problems(trial: Trial, sale: Json) -> list[Reply]:
    """Problems of many kinds."""
    door = trial.door
    return [
        door.get("/v1/status", authorization=""),
        door.get("/v1/queue"),
        door.get("/v1/nothing"),
        door.sale("kit-never-sold"),
        door.call("POST", _SALES, content="{"),
        door.post(_SALES, {**sale, "totl": "1.00"}),
        door.post(_SALES, sale, content_type="text/plain"),
        door.identify("mobile_phone", "12"),
    ]


def _points_to(reply: Reply, pointer: str) -> None:
    errors = refused(reply, 422, "request.invalid").get("errors")
    true("errors[]", holds=isinstance(errors, list) and errors, got=shown(errors))
    pointers = [one.get("pointer") for one in errors or ()]
    true(f"an error at {pointer}", holds=pointer in pointers, got=f"{len(pointers)} elsewhere")
    for one in errors or ():
        true("its message", holds=one.get("message"), got="none")
