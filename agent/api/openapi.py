"""The OpenAPI document, written from the same table of calls that the guard obeys.

pydantic describes the bodies. What every call has in common (tokens, the guard's refusals, the form of errors) is said
once, here.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from agent.api.calls import Call
from agent.api.problems import PROBLEM_MEDIA_TYPE
from agent.api.schemas import Problem
from agent.api.schemas_state import Nothing
from agent.api.visits import Reply, Visit

_COMMON: Final = {
    400: "Not HTTP, or the body is not JSON.",
    403: "The origin is refused, or the token's scope does not cover the call.",
    405: "The path does not take this method.",
    408: "The request took too long to arrive.",
    421: "The Host header does not name this agent.",
    431: "The request's head is too large.",
    500: "Something went wrong in the agent.",
}
_TOKEN: Final = {401: "The token is missing or not valid."}
_INPUT: Final = {422: "The body or the query does not fit; see `errors`."}
_WRITE: Final = {413: "The body is larger than 256 KiB.", 415: "The body is not application/json."}
_TAGS: Final = {
    "pos": "What a cashier does; a token of either scope.",
    "admin": "The queue, orders, one person's data, the end of the day; a token of scope `admin`.",
    "public": "Without a token and without personal data: for probes, for figures, for the agent's own pages.",
}
_STREAM: Final = """

It does not end: read it as it comes. The data of a `status` is a `{}` in one line of JSON, of a `heartbeat` `{{}}`."""
_RETRY_AFTER: Final = {"Retry-After": {"description": "whole seconds", "schema": {"type": "integer", "minimum": 1}}}
_PARAMS: Final[Mapping[str, dict[str, Any]]] = {
    "transaction_id": {"type": "string", "pattern": "^[A-Za-z0-9_:-]{1,64}$"},
    "ref": {"type": "string", "description": "from identify"},
    "entry": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1, "description": "of the queue's list"},
}
_REFERENCE: Final = "#/components/schemas/{model}"
Models = Mapping[Any, dict[str, Any]]


class _SparseSchemas(GenerateJsonSchema):
    """pydantic's schemas without what says nothing: generators make types of it that are worse to use."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the library's own interface
        """No field has a title: it would be the field's name again."""
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leaves out what says nothing: null and empty lists, and any of an answer, where nothing is left out."""
        made = super().default_schema(schema)
        if self.mode == "serialization" or made.get("default") in (None, [], {}):
            made.pop("default", None)
        return made


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
            wanted += [(model, "validation") for model in (call.takes, call.query) if model is not None]
            wanted += [(model, "serialization") for model in call.gives.values() if not isinstance(model, str)]
        models, made = models_json_schema(
            list(dict.fromkeys(wanted)), ref_template=_REFERENCE, schema_generator=_SparseSchemas
        )
        schemas = made["$defs"]
        queries = {model: schemas.pop(model.__name__) for model in {call.query for call in self._calls} if model}
        paths: dict[str, dict[str, Any]] = {}
        for call in self._calls:
            query = queries[call.query] if call.query is not None else {}
            paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, models, query)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "loyalty-agent",
                "version": self._version,
                "description": "The till's door. Flows, examples and codes: docs/till-api.md.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [
                {"url": "http://127.0.0.1:8787", "description": "the till itself, unless `api.listen` differs"}
            ],
            "tags": [{"name": name, "description": what} for name, what in _TAGS.items()],
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer", "description": "loyalty-agent token add"}
                },
            },
        }


def _operation(call: Call, models: Models, query: Mapping[str, Any]) -> dict[str, Any]:
    writes = call.method != "GET"
    token = {**_TOKEN, **_INPUT} if call.scope else {}  # open calls pass over a query that they do not take
    asked = _INPUT if query else {}
    refusals = {**_COMMON, **token, **asked, **(_WRITE if writes else {}), **call.refuses}
    operation: dict[str, Any] = {
        "summary": call.summary,
        "description": call.description + (_STREAM.format(call.stream.__name__) if call.stream else ""),
        "operationId": call.name,
        "tags": [call.scope or "public"],
        "security": [{"token": []}] if call.scope else [],
        "parameters": [*_path_parameters(call), *_query_parameters(query)],
        "responses": {
            **{str(status): _response(call, status, models) for status in sorted(call.gives)},
            **{str(status): _refusal(status, words, models) for status, words in sorted(refusals.items())},
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


def _response(call: Call, status: int, models: Models) -> dict[str, Any]:
    model = call.gives[status]
    if not isinstance(model, str):
        media_type, schema = "application/json", models[model, "serialization"]
    else:
        media_type, schema = model, {"type": "string"}
    return {"description": HTTPStatus(status).phrase, "content": {media_type: {"schema": schema}}}


def _refusal(status: int, words: str, models: Models) -> dict[str, Any]:
    return {
        "description": words,
        **({"headers": _RETRY_AFTER} if status == HTTPStatus.TOO_MANY_REQUESTS else {}),
        "content": {PROBLEM_MEDIA_TYPE.decode(): {"schema": models[Problem, "serialization"]}},
    }


def _path_parameters(call: Call) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": _PARAMS[name]} for name in call.params]


def _query_parameters(query: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "query",
            "required": name in query.get("required", ()),
            "allowEmptyValue": True,
            "description": schema.get("description", ""),
            "schema": _without_null({key: value for key, value in schema.items() if key != "description"}),
        }
        for name, schema in query.get("properties", {}).items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: a parameter is there or it is not."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    return choices[0] if len(choices) == 1 else schema
