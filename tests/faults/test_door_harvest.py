"""Harvesting: a member list read out through the till's door, by whoever has a till's token."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from e2e.shop import eventually, members, sale
from faults.door import PHONE, Door, besieged

pytestmark = pytest.mark.slow

HITS, MISSES = 60, 20
STRANGERS = [f"nobody{number:02}@example.com" for number in range(40)]
"""Addresses that belong to nobody."""


@pytest.fixture(name="door")
def _door(tmp_path: Path) -> Iterator[Door]:
    """Refills so slow that a test sees none of it, unless its machine stops for minutes. The 95th number is free."""
    with besieged(tmp_path / "door", members=94, api={"hits": "1/h", "misses": "1/h"}) as door:
        yield door


def client(door: Door, token: str) -> httpx.Client:
    transport = httpx.HTTPTransport(verify=False)
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{door.port}", transport=transport, headers=headers, timeout=30)


def made(door: Door, name: str, *, scope: str = "pos") -> str:
    """A token, taken by the agent."""
    answer = door.till.command("token", "add", name, "--scope", scope, "--json")
    token = json.loads(answer.stdout)["token"]
    with client(door, token) as pos:
        eventually(lambda: pos.get("/v1/status").status_code == 200)
    return token


def asked(pos: httpx.Client, value: str, kind: str = "email") -> httpx.Response:
    return pos.post("/v1/contacts/identify", json={"identifier": {"type": kind, "value": value}})


def addresses(door: Door, count: int) -> list[str]:
    """Those of members."""
    return [member.value("email") for member in members(door.vendor, count)]


def tried(door: Door, token: str, values: list[str], *, connections: int) -> list[httpx.Response]:
    """The answers to look-ups spread over connections, up to the first that is refused and some more."""
    clients = [client(door, token) for _ in range(connections)]
    answers = [asked(clients[number % connections], value) for number, value in enumerate(values)]
    for pos in clients:
        pos.close()
    return answers


@pytest.mark.parametrize("connections", [1, 10], ids=["one-connection", "ten-connections"])
def test_guessing_addresses_ends_with_the_misses(door, connections):
    """Attack: one address after the other. After twenty that belong to nobody, members are refused as well."""
    known = addresses(door, 10)
    answers = tried(door, made(door, "thief"), STRANGERS[: MISSES + 5] + known, connections=connections)

    assert [answer.status_code for answer in answers] == [200] * MISSES + [429] * 15
    refused = {answer.text.replace(answer.json()["request_id"], "") for answer in answers[MISSES:]}
    assert len(refused) == 1  # a refusal is a refusal, whoever was asked for
    assert all(int(answer.headers["retry-after"]) > 60 for answer in answers[MISSES:])


def test_reading_out_known_addresses_ends_with_the_hits(door):
    """Attack: a bought list of members, for their names. After sixty the token is refused."""
    known = addresses(door, HITS + 5)
    answers = tried(door, made(door, "thief"), known, connections=5)
    assert [answer.status_code for answer in answers] == [200] * HITS + [429] * 5


@pytest.mark.parametrize("kind", ["mobile_phone", "member_number", "contact_id", "any", "handle"])
def test_no_other_way_of_asking_is_cheaper(door, kind):
    """Attack: asking by mail, number, id, handle, or with values that cannot be. Each costs a miss."""
    shown = {"mobile_phone": "07", "any": "nobody{0}@example.com"}.get(kind, "900000{0}")
    with client(door, made(door, "thief")) as pos:
        for number in range(10, 10 + MISSES):
            value = shown.format(number)
            answer = pos.get(f"/v1/contacts/c_{value}") if kind == "handle" else asked(pos, value, kind)
            assert answer.status_code in (200, 404, 422), answer.text
        assert asked(pos, addresses(door, 1)[0]).status_code == 429


def test_tokens_do_not_add_up_under_one_name(door):
    """Attack: a till's old and its new token used by turns while one replaces the other. They share one ration."""
    old = made(door, "till-03")
    new = json.loads(door.till.command("token", "rotate", "till-03", "--json").stdout)["token"]
    with client(door, old) as first, client(door, new) as second:
        eventually(lambda: second.get("/v1/status").status_code == 200)
        answers = [asked(pos, value).status_code for value in STRANGERS[:MISSES] for pos in (first, second)]
    assert answers == [200] * MISSES + [429] * MISSES


def test_one_tills_harvest_costs_no_other_till(door):
    """Attack: using up the ration so that the shop cannot look anybody up. Another token's look-ups go on."""
    tried(door, made(door, "thief"), STRANGERS[: MISSES + 1], connections=1)
    with client(door, made(door, "till-04")) as pos:
        assert asked(pos, addresses(door, 1)[0]).json()["outcome"] == "matched"


@pytest.mark.parametrize("named", ["identifier", "integration_key", "new_contact"])
def test_sales_do_not_tell_beyond_the_ration(door, named):
    """Attack: sales posted for addresses, to learn from answer or delivery whether they are members'.

    The first twenty for strangers are paid for as look-ups are. Beyond, a member's sale and a stranger's are answered
    alike, and alike again once they are delivered, although the member's went out under the member's number.
    """
    token = made(door, "thief")
    (member,) = addresses(door, 1)
    shown = [*((address, "") for address in STRANGERS[:MISSES]), (member, door.member), (STRANGERS[MISSES], PHONE)]
    with client(door, token) as pos:
        answers = []
        for place, who in enumerate(shown):
            answer = pos.post("/v1/transactions", json=sale(f"h-{place:02}", **_naming(named, *who)))
            assert answer.status_code == 202, answer.text
            answers.append(answer.json())
        assert asked(pos, member).status_code == 429  # each cost a miss
        told = [_without(answer, *who) for answer, who in zip(answers, shown, strict=True)][-2:]
        assert told[0] == told[1]

        eventually(lambda: pos.get("/v1/transactions/h-21").json()["state"] == "delivered")
        eventually(lambda: pos.get("/v1/transactions/h-20").json()["state"] == "delivered")
        later = [pos.get(f"/v1/transactions/h-{place}").json()["integration_key"] for place in (20, 21)]
        assert later[0] == later[1]
        repeats = [
            pos.post("/v1/transactions", json=sale(f"h-{place}", **_naming(named, *shown[place]))).json()
            for place in (20, 21)
        ]
        assert {(answer["duplicate"], answer["integration_key"]["kind"]) for answer in repeats} == {(True, "secondary")}
    keys = {receipt["uniqueReceiptId"]: receipt["contact"]["matchKeyType"] for receipt in door.vendor.receipts()}
    assert (keys["h-20"], keys["h-21"]) == ("memberNumber", "memberNumber" if named == "new_contact" else "email")


def _naming(named: str, address: str, phone: str) -> dict[str, object]:
    if named == "identifier":
        return {"identifier": {"type": "email", "value": address}}
    if named == "integration_key":
        return {"integration_key": {"kind": "secondary", "type": "email", "value": address}}
    return {"new_contact": {"email": address} | ({"mobile_phone": phone} if phone else {})}


def _without(answer: dict[str, object], address: str, phone: str) -> str:
    """What an answer says but for what differs between any two sales."""
    kept = {key: value for key, value in answer.items() if key not in ("transaction_id", "accepted_at", "number")}
    return json.dumps(kept, sort_keys=True).replace(address, "").replace(phone, "")


def test_a_void_tells_nobody_whose_sale_it_was(door):
    """Attack: voids for guessed transaction numbers, to be told the key of whoever bought.

    The void is answered without the key's value, at once and when it is repeated; and it does not tell that the sale
    of somebody who may not be looked up has meanwhile become a member's.
    """
    token = made(door, "thief")
    void = {"type": "void", "lines": [], "payments": [], "total": "0.00"}
    (member,) = addresses(door, 1)
    with client(door, token) as pos:
        door.till.sell("v-1", identifier={"type": "email", "value": member})
        first = pos.post("/v1/transactions", json=sale("x-1", original_transaction_id="v-1", **void))
        again = pos.post("/v1/transactions", json=sale("x-1", original_transaction_id="v-1", **void))
        tried(door, token, STRANGERS[:MISSES], connections=1)
        quiet = pos.post("/v1/transactions", json=sale("v-2", identifier={"type": "email", "value": member}))
        eventually(lambda: pos.get("/v1/transactions/v-2").json()["state"] == "delivered")
        second = pos.post("/v1/transactions", json=sale("x-2", original_transaction_id="v-2", **void))
        stated = pos.get("/v1/transactions/x-2").json()["integration_key"]

    assert (first.status_code, again.status_code, second.status_code) == (202, 200, 202)
    assert [answer.json()["integration_key"]["value"] for answer in (first, again, second)] == [None] * 3
    assert quiet.json()["integration_key"]["kind"] == second.json()["integration_key"]["kind"] == "secondary"
    assert stated == {"kind": "secondary", "type": "email"}
    assert member not in first.text + again.text + second.text


@pytest.mark.slow
def test_time_does_not_tell_beyond_the_ration(door):
    """Attack: a clock beside refusals, sales and wrong tokens. Who is a member, or near a token, takes no longer.

    Of two answers taken in turns the one is slower about as often as the other.
    """
    token = made(door, "thief")
    tried(door, token, STRANGERS[:MISSES], connections=1)
    (member,), stranger = addresses(door, 1), STRANGERS[-1]
    with client(door, token) as pos:

        def sold(address: str, place: str) -> float:
            began = time.perf_counter()
            pos.post("/v1/transactions", json=sale(place, identifier={"type": "email", "value": address}))
            return time.perf_counter() - began

        def refused(address: str, _: str) -> float:
            began = time.perf_counter()
            asked(pos, address)
            return time.perf_counter() - began

        def wrong(secret: str, _: str) -> float:
            began = time.perf_counter()
            pos.get("/v1/status", headers={"Authorization": f"Bearer {secret}"})
            return time.perf_counter() - began

        for watched, one, other in (
            (sold, member, stranger), (refused, member, stranger), (wrong, token[:-1] + "x", "x" * len(token)),
        ):  # fmt: skip
            slower = [
                watched(one, f"{watched.__name__}-a-{turn}") > watched(other, f"{watched.__name__}-b-{turn}")
                for turn in range(300)
            ]
            assert 0.3 < statistics.mean(slower) < 0.7, watched.__name__
