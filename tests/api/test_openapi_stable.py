"""The OpenAPI document that POS developers build on is kept in the repository, and never breaks them.

`make openapi` writes it anew, unless that would.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest
from breaking import breaks

KEPT = Path(__file__).parents[2] / "docs" / "openapi.json"
SALE, IDENTIFY, STATUS = "/v1/transactions", "/v1/contacts/identify", "/v1/status"


@pytest.fixture
async def document(house):
    told = (await house.http.get("/openapi.json", headers={"authorization": ""})).json()
    told["info"]["version"] = "1"  # of the contract, not of this program
    return told


def kept():
    return json.loads(KEPT.read_text(encoding="utf-8"))


async def test_nobody_is_broken_and_the_file_is_current(document):
    """What the kept document promises still holds; what is new stands in it."""
    if KEPT.exists():
        assert breaks(kept(), document) == []
    if os.environ.get("OPENAPI") == "write":
        KEPT.write_text(json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    assert kept() == document, "make openapi"


def schema_of(document, path, verb="post", status=None):
    """Where a body's or an answer's schema stands."""
    call = document["paths"][path][verb]
    content = call["requestBody"]["content"] if status is None else call["responses"][status]["content"]
    reference = content["application/json"]["schema"]["$ref"]
    return document["components"]["schemas"][reference.rpartition("/")[2]]


def lose_a_call(document):
    del document["paths"][SALE]["post"]


def lose_an_answer(document):
    del document["paths"][SALE]["post"]["responses"]["202"]


def take_another_scope(document):
    document["paths"][SALE]["post"]["x-scope"] = "admin"


def call_it_otherwise(document):
    document["paths"][SALE]["post"]["operationId"] = "post_transaction"


def put_it_elsewhere(document):
    document["paths"][SALE]["post"]["tags"] = ["sales"]


def rename_a_type(document):
    document["components"]["schemas"]["Word"] = document["components"]["schemas"].pop("Severity")
    for name in ("Message", "ConditionAnswer"):
        schema = document["components"]["schemas"][name]
        schema["properties"]["severity"]["$ref"] = "#/components/schemas/Word"


def need_a_field(document):
    schema_of(document, SALE)["required"].append("cashier_id")


def take_a_field_no_more(document):
    del schema_of(document, SALE)["properties"]["cashier_id"]


def give_a_field_no_more(document):
    schema = schema_of(document, SALE, status="202")
    schema["required"].remove("duplicate")
    del schema["properties"]["duplicate"]


def give_a_field_perhaps(document):
    schema_of(document, SALE, status="202")["required"].remove("state")


def give_another_type(document):
    schema_of(document, SALE, status="202")["properties"]["duplicate"] = {"type": "string"}


def give_null(document):
    properties = schema_of(document, SALE, status="202")["properties"]
    properties["duplicate"] = {"anyOf": [properties["duplicate"], {"type": "null"}]}


def say_a_new_word(document):
    properties = schema_of(document, IDENTIFY, status="200")["properties"]
    outcome = properties["outcome"]
    place = document["components"]["schemas"][outcome["$ref"].rpartition("/")[2]] if "$ref" in outcome else outcome
    place["enum"].append("perhaps")


def take_a_word_no_more(document):
    kinds = document["components"]["schemas"]["TransactionType"]["enum"]
    kinds.remove("points_claim")


def take_shorter_ones(document):
    body = schema_of(document, "/v1/queue/{entry}/discard")["properties"]["reason"]
    body["maxLength"] = 10


def need_a_parameter(document):
    document["paths"]["/v1/queue"]["get"]["parameters"][0]["required"] = True


def lose_a_parameter(document):
    document["paths"]["/v1/queue"]["get"]["parameters"].pop()


BREAKING = [
    lose_a_call, lose_an_answer, take_another_scope, call_it_otherwise, put_it_elsewhere, rename_a_type,
    need_a_field, take_a_field_no_more, give_a_field_no_more,
    give_a_field_perhaps, give_another_type, give_null, say_a_new_word, take_a_word_no_more, take_shorter_ones,
    need_a_parameter, lose_a_parameter,
]  # fmt: skip


@pytest.mark.parametrize("change", BREAKING, ids=[change.__name__ for change in BREAKING])
def test_what_breaks_somebody(change):
    """Each such change is found, and told with its place."""
    later = copy.deepcopy(kept())
    change(later)

    found = breaks(kept(), later)
    assert found
    assert all(":" in text for text in found)


def add_a_call(document):
    document["paths"]["/v1/new"] = copy.deepcopy(document["paths"][STATUS])


def take_one_more_field(document):
    schema_of(document, SALE)["properties"]["weather"] = {"type": "string"}


def give_one_more_field(document):
    schema = schema_of(document, SALE, status="202")
    schema["properties"]["weather"] = {"type": "string"}
    schema["required"].append("weather")


def take_longer_ones(document):
    schema_of(document, "/v1/queue/{entry}/discard")["properties"]["reason"]["maxLength"] = 10_000


def say_it_better(document):
    document["paths"][SALE]["post"]["summary"] = "Another text"


def put_a_choice_into_a_choice(document):
    amount = schema_of(document, "/v1/benefits/redeem")["properties"]["amount"]
    amount["anyOf"] = [{"anyOf": amount["anyOf"][:-1]}, amount["anyOf"][-1]]


FRIENDLY = [
    add_a_call, take_one_more_field, give_one_more_field, take_longer_ones, say_it_better, put_a_choice_into_a_choice,
]  # fmt: skip


@pytest.mark.parametrize("change", FRIENDLY, ids=[change.__name__ for change in FRIENDLY])
def test_what_breaks_nobody(change):
    """The contract grows without anybody having to change anything."""
    later = copy.deepcopy(kept())
    change(later)

    assert breaks(kept(), later) == []
