"""The OpenAPI document: FastAPI's, with what every call has in common said once.

FastAPI describes bodies and parameters. Tokens, the guard's refusals and the form of errors are added here, from the
same table of calls that the guard obeys.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Response

from agent.api.problems import PROBLEM_MEDIA_TYPE
from agent.api.schemas import Problem
from agent.api.visits import Call

_COMMON: Final = {
    400: "Not HTTP, or the body is not JSON.",
    403: "The origin is refused, or the token's scope does not cover the call.",
    405: "The path does not take this method.",
    421: "The Host header does not name this agent.",
    500: "Something went wrong in the agent.",
}
_TOKEN: Final = {401: "The token is missing or not valid.", 422: "The body or the query does not fit; see `errors`."}
_WRITE: Final = {413: "The body is larger than 256 KiB.", 415: "The body is not application/json."}
_OF_CALL: Final[Mapping[tuple[str, str], Mapping[int, str]]] = {
    ("POST", "/v1/contacts/identify"): {429: "The look-up ration is used up."},
    ("GET", "/v1/contacts/{ref}"): {404: "Nobody is known under that handle.", 429: "The look-up ration is used up."},
    ("POST", "/v1/transactions"): {
        409: "The id is taken by other content.",
        503: "The sale cannot be put on disk now.",
        507: "There is no room for another sale.",
    },
    ("GET", "/v1/transactions/{transaction_id}"): {404: "No such sale."},
    ("GET", "/v1/transactions/{transaction_id}/story"): {404: "No such sale."},
    ("POST", "/v1/queue/{entry}/retry"): {404: "No such unfinished delivery.", 503: "It cannot be written now."},
    ("POST", "/v1/queue/{entry}/discard"): {404: "No such delivery to settle.", 503: "It cannot be written now."},
    ("GET", "/v1/events"): {503: "Too many listen already."},
    ("GET", "/page/events"): {503: "Too many listen already."},
    ("GET", "/readyz"): {503: "No sale can be put on disk now."},
}


def serve(inner: FastAPI, path: str, calls: Mapping[tuple[str, str], Call]) -> None:
    """Serves the document at a path; it is made when it is first asked for."""
    made: list[bytes] = []

    async def openapi() -> Response:
        if not made:
            made.append(json.dumps(document(inner, calls)).encode())
        return Response(made[0], media_type="application/json")

    inner.add_api_route(path, openapi, methods=["GET"], include_in_schema=False)


def document(inner: FastAPI, calls: Mapping[tuple[str, str], Call]) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    made = inner.openapi()
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    schemas |= problem.pop("$defs", {})
    schemas["Problem"] = problem
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "loyalty-agent token add"}
    }
    for path, operations in made["paths"].items():
        for verb, operation in operations.items():
            _complete(operation, verb.upper(), path, calls[verb.upper(), path])
    made["info"]["description"] = "The till's door. Flows, examples and codes: docs/till-api.md."
    return made


def _complete(operation: dict[str, Any], verb: str, path: str, call: Call) -> None:
    refusals = {**_COMMON, **_OF_CALL.get((verb, path), {})}
    if call.scope is not None:
        refusals |= _TOKEN
        operation["security"] = [{"token": []}]
        operation["x-scope"] = call.scope
    else:
        operation["security"] = []
    if verb == "POST":
        refusals |= _WRITE
    responses = operation["responses"]
    responses.pop("422", None)
    for status, description in sorted(refusals.items()):
        responses[str(status)] = {
            "description": description,
            "content": {PROBLEM_MEDIA_TYPE.decode(): {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
