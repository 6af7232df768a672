"""The OpenAPI document and the reference for POS developers say what the door does."""

import asyncio
import contextlib
import re
import sys
from pathlib import Path

import pytest

from agent.api import problems
from agent.domain.health import SEVERITY
from agent.errors import StorageDamagedError, StorageError, StorageFullError
from agent.messages import MESSAGE_CODES
from agent.settings.sections import ApiSection

DOCS = (Path(__file__).parents[2] / "docs/till-api.md").read_text(encoding="utf-8")


@pytest.fixture
async def document(house):
    return (await house.http.get("/openapi.json", headers={"authorization": ""})).json()


def references(node):
    if isinstance(node, dict):
        yield from [node["$ref"]] if "$ref" in node else []
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


async def test_every_call_is_in_the_document(house, document):
    """The document holds every call but the pages themselves, with its scope and nothing else."""
    described = {(verb.upper(), path) for path, calls in document["paths"].items() for verb in calls}
    pages = {
        ("GET", "/"),
        ("GET", "/customer"),
        ("GET", "/admin"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/page/{asset}"),
    }
    assert described == house.door.calls.keys() - pages
    for method, path in described:
        operation = document["paths"][path][method.lower()]
        call = house.door.calls[method, path]
        assert operation["security"] == ([{"token": []}] if call.scope else [])
        assert operation.get("x-scope") == call.scope
        assert operation["summary"]
        assert operation["description"]


async def test_the_document_names_where_an_agent_listens(document):
    """A client that is told nothing else calls where `api.listen` is by default."""
    assert [server["url"] for server in document["servers"]] == [f"http://{place}" for place in ApiSection().listen]


async def test_every_reference_leads_somewhere(document):
    """Each $ref names a part of the document."""
    for reference in references(document):
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert node


async def test_every_call_has_a_name_that_makes_a_method(document):
    """What a generated client calls its methods is a verb and what it is done to, and no two are alike."""
    names = [operation["operationId"] for calls in document["paths"].values() for operation in calls.values()]
    assert [name for name in names if not re.fullmatch("[a-z]+(_[a-z]+)+", name)] == []
    assert len(names) == len(set(names))


def unnamed(node, place="", *, choice=False):
    """The types that have no name of their own: of each its place, its words, and whether it is one of a choice."""
    if isinstance(node, dict):
        if "enum" in node or "properties" in node:
            yield place, tuple(node.get("enum", ())), choice
        for key, value in node.items():
            yield from unnamed(value, f"{place}/{key}", choice=key in ("anyOf", "oneOf", "allOf"))
    elif isinstance(node, list):
        for value in node:
            yield from unnamed(value, place, choice=choice)


async def test_no_generator_has_to_make_up_a_name(document):
    """A type that stands in two places, or in a choice, has a name: else a client has it twice, or as `Type0`."""
    inside = []
    for name, schema in document["components"]["schemas"].items():
        inside += list(
            unnamed({key: value for key, value in schema.items() if key not in ("enum", "if", "else")}, name)
        )
    found = [one for one in (*inside, *unnamed(document["paths"])) if one[0].count("/")]
    words = [said for _, said, _ in found if said]
    assert [place for place, _, choice in found if choice] == []
    assert [said for said in set(words) if words.count(said) > 1] == []


async def test_refusals_are_problems(document):
    """Every status of 400 and above is described as a problem."""
    for calls in document["paths"].values():
        for operation in calls.values():
            for status, answer in operation["responses"].items():
                assert ("application/problem+json" in answer.get("content", {})) == (int(status) >= 400)


@pytest.mark.parametrize(
    ("method", "path", "does", "error", "status"),
    [
        ("get", "/v1/transactions/{transaction_id}", "story", StorageError, "503"),
        ("get", "/v1/transactions/{transaction_id}/story", "story", StorageError, "503"),
        ("get", "/v1/queue", "queue", StorageDamagedError, "503"),
        ("post", "/v1/queue/{entry}/retry", "retry", StorageFullError, "507"),
        ("post", "/v1/queue/{entry}/discard", "discard", StorageFullError, "507"),
        ("post", "/v1/queue/{entry}/discard", "discard", StorageError, "503"),
    ],
)
async def test_what_a_disk_refuses_is_described(house, document, monkeypatch, *, method, path, does, error, status):
    """A client that is generated from the document knows these answers too."""

    def refuses(*_args, **_words):
        raise error

    monkeypatch.setattr(house.rooms.outbox, does, refuses)
    body = {"json": {"reason": "booked by hand"}} if does == "discard" else {}
    answer = await house.admin.request(method, path.format(transaction_id="s-1", entry=1), **body)

    assert str(answer.status_code) == status
    assert status in document["paths"][path][method]["responses"]


async def test_the_bodies_are_the_published_models(document):
    """The calls that the guard answers itself are described with their request and answer."""
    accept = document["paths"]["/v1/transactions"]["post"]
    identify = document["paths"]["/v1/contacts/identify"]["post"]
    assert accept["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Transaction")
    for status in ("200", "202"):
        schema = accept["responses"][status]["content"]["application/json"]["schema"]
        assert schema["$ref"].endswith("/TransactionAccepted")
    assert identify["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/IdentifyRequest")
    assert document["components"]["schemas"]["Transaction"]["additionalProperties"] is False


async def test_the_reference_names_every_call(house):
    """docs/till-api.md has each route with its method, and what a generated client calls it."""
    rows = [f"`{method} {path}` | `{call.name}` |" for (method, path), call in house.door.calls.items() if call.name]
    rows += [f"`{method} {path}` |" for (method, path), call in house.door.calls.items() if not call.name]
    assert [row for row in rows if f"| {row}" not in DOCS] == []


@pytest.mark.parametrize("kind", [*problems.DOOR_KINDS, *problems.TREE_KINDS], ids=lambda kind: kind.code)
def test_the_reference_names_every_problem(kind):
    """docs/till-api.md has each problem code with its status."""
    assert re.search(rf"^\| `{re.escape(kind.code)}` \| {kind.status} \|", DOCS, re.MULTILINE)


@pytest.mark.parametrize("code", [*MESSAGE_CODES, *SEVERITY])
def test_the_reference_names_every_code(code):
    """docs/till-api.md has each message and condition code."""
    assert f"`{code}`" in DOCS


async def test_the_reference_names_every_metric(house):
    """docs/till-api.md has each metric of ours by the name that Prometheus reads."""
    text = (await house.http.get("/metrics")).text
    names = set(re.findall(r"^# TYPE (loyalty_agent_\w+) (?!.*_created)", text, re.MULTILINE))
    assert {name for name in names if f"`{name}`" not in DOCS and not name.endswith("_created")} == set()
    assert len(names) > 10


@pytest.mark.slow
async def test_the_door_keeps_what_the_document_promises(house, tmp_path):
    """Schemathesis finds no answer that the document does not promise, and no 500, on any call that ends.

    Left out: event streams, which do not end, and the check that everything schema-valid is accepted, for sums and
    identifiers have rules that a schema cannot say.
    """
    schemathesis = Path(sys.executable).with_name("schemathesis")
    process = await asyncio.create_subprocess_exec(
        str(schemathesis), "run", f"http://{house.address}/openapi.json",
        "-H", f"Authorization: {house.admin.headers['authorization']}",
        "--checks", "all", "--exclude-checks", "positive_data_acceptance", "--exclude-path-regex", ".*/events$",
        "--max-examples", "10", "--no-color",
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        out, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0, out.decode()
