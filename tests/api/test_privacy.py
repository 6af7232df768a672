"""No answer, log line or metric repeats a personal value."""

import json
import logging

import pytest
import structlog

from agent.errors import StorageFullError

CANARIES = {
    "phone": "+46701740699",
    "email": "canary.bird@example.com",
    "name": "Kanariefågel",
    "voucher": "0000000204417",
    "cashier": "cashier-canary-77",
}


def sowed(sale, **changes):
    """A sale with a canary in every place that can hold a person."""
    return sale(
        cashier_id=CANARIES["cashier"],
        identifier={"type": "mobile_phone", "value": CANARIES["phone"]},
        payments=[
            {"type": "card", "amount": "200.00"},
            {"type": "voucher", "amount": "50.00", "reference": CANARIES["voucher"]},
        ],
        vouchers_used=[{"number": CANARIES["voucher"]}],
        new_contact={"email": CANARIES["email"], "first_name": CANARIES["name"]},
        **changes,
    )


@pytest.fixture
def heard(caplog):
    """Everything logged, by structlog or the standard library."""
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as events:
        yield (
            lambda: (
                json.dumps(events, default=repr, ensure_ascii=False)
                + "".join(
                    record.getMessage() + str(record.exc_info)
                    for record in caplog.records
                    if not record.name.startswith(("httpx", "httpcore"))  # the test's own client says what it asks
                )
            )
        )


async def test_refusals_repeat_nothing(house, sale, heard):
    """However a body is wrong, and wherever the value stands, the refusal and the log do not hold it."""
    value = CANARIES["phone"]
    answers = [
        await house.http.post("/v1/transactions", json=body)
        for body in (
            sowed(sale, total=CANARIES["email"]),
            sowed(sale, total="1.00"),
            sowed(sale, occurred_at=value),
            sowed(sale, type=CANARIES["name"]),
            sowed(sale, integration_key={"kind": "primary", "type": "mobile_phone", "value": value}),
            sowed(sale, **{CANARIES["email"]: 1}),
            sowed(sale, **{value: {"a": CANARIES["name"]}}),
            sowed(sale, transaction_id=value),
            sowed(sale, currency=CANARIES["name"]),
            sowed(sale) | {"new_contact": {"email": value, "attributes": {value: [value], CANARIES["email"]: {}}}},
            sowed(sale) | {"identifier": {"type": "email", "value": value}},
            sowed(sale) | {"identifier": {"type": value, "value": value}},
            sowed(sale) | {"lines": value},
            sowed(sale) | {"lines": [CANARIES["name"]]},
        )
    ]
    answers += [
        await house.http.post(
            "/v1/contacts/identify", json={"identifier": {"type": "personal_number", "value": value}}
        ),
        await house.http.post("/v1/contacts/identify", json={value: value}),
        await house.http.post(
            "/v1/contacts/identify", content=f'{{"{value}": x'.encode(), headers={"content-type": "application/json"}
        ),
        await house.http.get(f"/v1/contacts/{value}"),
        await house.http.get(f"/v1/transactions/{value}"),
        await house.http.get(f"/{value}"),
        await house.http.get("/v1/status", params={CANARIES["email"]: CANARIES["name"]}),
        await house.admin.post("/v1/queue/1/discard", json={"reason": "", value: 1}),
    ]
    house.room["error"] = ValueError(*CANARIES.values())
    answers.append(await house.http.post("/v1/transactions", json=sowed(sale)))
    house.room["error"] = StorageFullError()
    answers.append(await house.http.post("/v1/transactions", json=sowed(sale)))

    assert all(answer.status_code >= 400 for answer in answers)
    everything = "".join(answer.text + str(answer.headers) for answer in answers) + heard()
    for canary in CANARIES.values():
        assert canary not in everything
        assert canary.removeprefix("+46") not in everything
    assert "ValueError" in everything


async def test_answers_hold_what_is_published_and_no_more(house, sale, heard):
    """Of a person's values only the integration key comes back, and only to the till that sent it."""
    taken = await house.http.post("/v1/transactions", json=sowed(sale))
    assert taken.status_code == 202
    path = "/v1/transactions/" + sale()["transaction_id"]
    others = [
        await house.http.get(path),
        await house.admin.get(path + "/story"),
        await house.admin.get("/v1/queue"),
        await house.http.get("/v1/status"),
        await house.http.get("/metrics"),
        await house.http.get("/page/status"),
    ]
    assert taken.text.count(CANARIES["phone"]) == 1
    everything = taken.text.replace(CANARIES["phone"], "") + "".join(answer.text for answer in others) + heard()
    for canary in CANARIES.values():
        assert canary not in everything
