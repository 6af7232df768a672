"""The OpenAPI document, written from the same table of calls that the guard obeys.

pydantic describes the bodies. What every call has in common (tokens, the guard's refusals, the form of errors) is said
once, here.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from agent.api.calls import Call
from agent.api.problems import PROBLEM_MEDIA_TYPE
from agent.api.schemas import Nothing, Problem
from agent.api.visits import Reply, Visit

_COMMON: Final = {
    400: "Not HTTP, or the body is not JSON.",
    403: "The origin is refused, or the token's scope does not cover the call.",
    405: "The path does not take this method.",
    421: "The Host header does not name this agent.",
    500: "Something went wrong in the agent.",
}
_TOKEN: Final = {401: "The token is missing or not valid."}
_INPUT: Final = {422: "The body or the query does not fit; see `errors`."}
_WRITE: Final = {413: "The body is larger than 256 KiB.", 415: "The body is not application/json."}
_PARAMS: Final[Mapping[str, dict[str, Any]]] = {
    "transaction_id": {"type": "string", "pattern": "^[A-Za-z0-9_:-]{1,64}$"},
    "ref": {"type": "string", "description": "from identify"},
    "entry": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1, "description": "of the queue's list"},
}
_REFERENCE: Final = "#/components/schemas/{model}"
Models = Mapping[Any, dict[str, Any]]


class Document:
    """The OpenAPI 3.1 document; made when it is first asked for.

    Args:
        version: of the program.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._calls: Sequence[Call] = ()
        self._made: bytes | None = None

    def describe(self, calls: Sequence[Call]) -> None:
        """Says what there is to describe; a call without a summary is left out."""
        self._calls = [call for call in calls if call.summary]

    async def answer(self, _visit: Visit) -> Reply:
        """The document."""
        if self._made is None:
            self._made = json.dumps(self._document()).encode()
        return Reply(200, self._made)

    def _document(self) -> dict[str, Any]:
        wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization"), (Nothing, "validation")]
        for call in self._calls:
            wanted += [(call.takes, "validation")] if call.takes else []
            wanted += [(model, "serialization") for model in call.gives.values() if not isinstance(model, str)]
        models, schemas = models_json_schema(list(dict.fromkeys(wanted)), ref_template=_REFERENCE)
        paths: dict[str, dict[str, Any]] = {}
        for call in self._calls:
            paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, models)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "loyalty-agent",
                "version": self._version,
                "description": "The till's door. Flows, examples and codes: docs/till-api.md.",
            },
            "paths": paths,
            "components": {
                "schemas": schemas["$defs"],
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer", "description": "loyalty-agent token add"}
                },
            },
        }


def _operation(call: Call, models: Models) -> dict[str, Any]:
    writes = call.method != "GET"
    token = {**_TOKEN, **_INPUT} if call.scope else {}  # open calls pass over a query that they do not take
    query = _INPUT if call.query is not None else {}
    refusals = {**_COMMON, **token, **query, **(_WRITE if writes else {}), **call.refuses}
    problem = {PROBLEM_MEDIA_TYPE.decode(): {"schema": models[Problem, "serialization"]}}
    operation: dict[str, Any] = {
        "summary": call.summary,
        "description": call.description,
        "operationId": f"{call.method}{call.path}".lower().replace("/", "_").replace("{", "").replace("}", ""),
        "tags": [call.scope or "open"],
        "security": [{"token": []}] if call.scope else [],
        "parameters": [*_path_parameters(call), *_query_parameters(call)],
        "responses": {
            **{str(status): _response(status, model, models) for status, model in sorted(call.gives.items())},
            **{str(status): {"description": words, "content": problem} for status, words in sorted(refusals.items())},
        },
    }
    if call.scope:
        operation["x-scope"] = call.scope
    if writes:
        operation["requestBody"] = {
            "required": call.takes is not None,
            "content": {"application/json": {"schema": models[call.takes or Nothing, "validation"]}},
        }
    return operation


def _response(status: int, model: type[BaseModel] | str, models: Models) -> dict[str, Any]:
    media_type, schema = (
        (model, {"type": "string"}) if isinstance(model, str) else ("application/json", models[model, "serialization"])
    )
    return {"description": HTTPStatus(status).phrase, "content": {media_type: {"schema": schema}}}


def _path_parameters(call: Call) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": _PARAMS[name]} for name in call.params]


def _query_parameters(call: Call) -> list[dict[str, Any]]:
    if call.query is None:
        return []
    described = call.query.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in described.get("required", ()),
            "allowEmptyValue": True,
            "description": schema.pop("description", ""),
            "schema": _without_null(schema),
        }
        for name, schema in described["properties"].items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: a parameter is there or it is not."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    return choices[0] if len(choices) == 1 else schema
