"""The made-up project behaves as Voucherify's pages say the real one does."""

from datetime import timedelta

import httpx
import pytest

from agent.connectors.voucherify.simulator import Fault

KEYS = {"X-App-Id": "app-1", "X-App-Token": "sim-token"}
ORDER = {
    "source_id": "s-1", "status": "PAID", "amount": 25000, "customer": {"source_id": "10000421"},
    "items": [{"source_id": "A", "related_object": "product", "quantity": 2, "price": 12500, "amount": 25000}],
}  # fmt: skip

REDEEM, WANTED = "/v1/redemptions", {"object": "voucher", "id": "CODE-1"}
EXAMINE = "/v2/loyalties/examine/earning-rules"
QUESTION = {
    "trigger": {"type": "SPECIFIC", "specific": {"event": "customer.order.paid"}},
    "customer_identification": {"type": "customer_source_id", "customer_source_id": "10000421"},
    "customer_order_paid": {"order": {"amount": 25000}},
}


@pytest.fixture
async def http(simulator):
    _, running = simulator
    async with httpx.AsyncClient(base_url=running.url, headers=KEYS, verify=False) as it:
        yield it


@pytest.mark.parametrize("headers", [{}, {"X-App-Id": "app-1"}, {**KEYS, "X-App-Token": "wrong"}])
async def test_the_door(simulator, headers):
    """Without both headers, or with wrong ones, 401 in the documented form."""
    _, running = simulator
    async with httpx.AsyncClient(base_url=running.url, headers=headers, verify=False) as http:
        refused = await http.post("/v1/orders", json=ORDER)

    assert (refused.status_code, refused.json()["key"]) == (401, "unauthorized")


async def test_upserts(simulator, http):
    """An order is known by its source id: what is left out stays, and it becomes paid once."""
    sim, _ = simulator

    first = (await http.post("/v1/orders", json=ORDER)).json()
    second = (await http.post("/v1/orders", json=ORDER)).json()
    updated = (await http.put("/v1/orders/s-1", json={"status": "CANCELED"})).json()
    shown = (await http.get("/v1/orders/s-1")).json()

    assert first["id"] == second["id"] == updated["id"]
    assert (updated["status"], updated["amount"], updated["customer_id"]) == ("CANCELED", 25000, "cust_00000000")
    assert shown == updated
    assert (sim.held(), sim.paid) == ({"s-1": 1}, {"s-1": 2})


async def test_events_are_not_recognised(simulator, http):
    """The same event twice is two."""
    sim, _ = simulator
    event = {"event": "pos_purchase", "customer": {"source_id": "1"}, "metadata": {"a": "b"}}

    for _ in range(2):
        assert (await http.post("/v1/events", json=event)).json()["object"] == "event"

    assert len(sim.events) == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "key"),
    [
        ("POST", "/v1/orders", [], 400, "invalid_payload"),
        ("POST", "/v1/orders", {**ORDER, "total": 1}, 400, "invalid_payload"),
        ("POST", "/v1/orders", {**ORDER, "status": "RETURNED"}, 400, "invalid_order"),
        ("POST", "/v1/orders", {**ORDER, "amount": -1}, 400, "invalid_amount"),
        ("POST", "/v1/orders", {**ORDER, "amount": 250.5}, 400, "invalid_amount"),
        ("POST", "/v1/orders", {**ORDER, "items": [{"quantity": 2, "price": 3, "amount": 7}]}, 400, "invalid_amount"),
        ("POST", "/v1/orders", {**ORDER, "items": [{}] * 501}, 400, "invalid_order"),
        ("POST", "/v1/orders", {**ORDER, "created_at": "yesterday"}, 400, "invalid_payload"),
        ("POST", "/v1/orders", {**ORDER, "customer": {}}, 400, "missing_customer"),
        ("PUT", "/v1/orders/none", {"status": "PAID"}, 404, "not_found"),
        ("GET", "/v1/orders/none", None, 404, "not_found"),
        ("GET", "/v1/customers/none", None, 404, "not_found"),
        ("GET", "/v1/orders?limit=0", None, 400, "invalid_query_params"),
        ("GET", "/v1/orders?limit=101", None, 400, "invalid_query_params"),
        ("POST", REDEEM, [], 400, "invalid_payload"),
        ("POST", REDEEM, {"redeemables": [WANTED]}, 400, "missing_customer"),
        ("POST", REDEEM, {"redeemables": [WANTED], "customer": {"source_id": "1"}}, 404, "resource_not_found"),
        ("POST", REDEEM, {"redeemables": [], "customer": {"source_id": "1"}}, 400, "invalid_payload"),
        ("POST", REDEEM, {"redeemables": [WANTED] * 31, "customer": {"source_id": "1"}}, 400, "invalid_payload"),
        ("POST", REDEEM, {"redeemables": [WANTED] * 2, "customer": {"source_id": "1"}}, 400, "invalid_redeemables"),
        ("POST", REDEEM, {"redeemables": [WANTED], "customer": {"source_id": "1"}, "x": 1}, 400, "invalid_payload"),
        ("POST", f"{REDEEM}/r_none/rollback", {}, 404, "not_found"),
        ("GET", "/v1/vouchers/none/redemption", None, 404, "resource_not_found"),
        ("POST", EXAMINE, {"order": {}}, 400, "invalid_payload"),
        ("POST", EXAMINE, {**QUESTION, "trigger": {"type": "ALL"}}, 400, "invalid_payload"),
        ("POST", EXAMINE, {**QUESTION, "customer_order_paid": {"order": {"source_id": "s"}}}, 400, "invalid_payload"),
        ("POST", EXAMINE, {**QUESTION, "customer_order_paid": {"order": {"amount": 1.5}}}, 400, "invalid_payload"),
        (
            "POST",
            EXAMINE,
            {**QUESTION, "customer_order_paid": {"order": {"amount": 1, "items": [{"product": {"name": "A"}}]}}},
            400,
            "invalid_payload",
        ),
        ("POST", EXAMINE, QUESTION, 404, "not_found"),
        ("POST", "/v1/events", {"event": "x"}, 400, "missing_customer"),
        ("POST", "/v1/events", {"event": "x", "customer": {"id": "c"}, "referral": {}}, 400, "invalid_payload"),
        ("POST", "/v1/events", {"event": "x", "customer": {"id": "c"}, "loyalty": {}}, 400, "invalid_payload"),
        ("POST", "/v1/events", {"event": "x", "customer": {"id": "c"}, "loyalty": {"code": "4711"}}, 404, "not_found"),
    ],
)
async def test_bad_requests(*, simulator, http, method, path, body, status, key):
    """Refused in the documented form, and nothing is kept."""
    sim, _ = simulator

    refused = await http.request(method, path, json=body)

    assert (refused.status_code, refused.json()["key"]) == (status, key)
    assert sim.orders == {}


@pytest.mark.parametrize(
    ("schema", "metadata", "status"),
    [
        ({"properties": {}}, {"any": "thing"}, 200),
        ({"properties": {}, "allow_defined_only": True}, {"any": "thing"}, 400),
        ({"properties": {"age": {"type": "number"}}}, {"age": 43}, 200),
        ({"properties": {"age": {"type": "number"}}}, {"age": "43"}, 400),
        ({"properties": {"age": {"type": "number"}}}, {"age": True}, 400),
        ({"properties": {"on": {"type": "date"}}}, {"on": "2026-02-30"}, 400),
        ({"properties": {"at": {"type": "datetime"}}}, {"at": "2026-02-14T15:41:09.000Z"}, 200),
        ({"properties": {"of": {"type": "string", "array": True}}}, {"of": ["a", "b"]}, 200),
        ({"properties": {"of": {"type": "string", "array": True}}}, {"of": ["a", 1]}, 400),
    ],
)
async def test_schemas(http, schema, metadata, status):
    """What a schema defines is checked; what it does not is taken, unless only defined metadata is allowed."""
    await http.post("/_sim/schemas", json={"order": schema})

    taken = await http.post("/v1/orders", json={**ORDER, "metadata": metadata})

    assert taken.status_code == status
    assert status == 200 or taken.json()["key"] == "metadata_validation_failed"


@pytest.mark.parametrize(("age", "status"), [(43, 200), ("43", 400)])
@pytest.mark.parametrize(
    ("path", "body"),
    [("orders", ORDER), ("events", {"event": "x"}), ("customers", None)],
    ids=lambda given: str(given)[:9],
)
async def test_the_schema_of_a_customer(*, simulator, http, path, body, age, status):
    """It is checked wherever a customer goes along; nothing of what is refused is kept."""
    sim, _ = simulator
    await http.post("/_sim/schemas", json={"customer": {"properties": {"age": {"type": "number"}}}})
    customer = {"source_id": "1", "metadata": {"age": age}}

    taken = await http.post(f"/v1/{path}", json=customer if body is None else {**body, "customer": customer})

    assert taken.status_code == status
    if status == 400:
        assert taken.json()["key"] == "metadata_validation_failed"
        assert (sim.orders, sim.customers, sim.events) == ({}, {}, [])


async def test_cards(simulator, http):
    """A card that exists is credited by an event that names it; a reset forgets it, as it does the schemas."""
    sim, _ = simulator
    await http.post("/_sim/cards", json=["LC-1"])
    event = {"event": "x", "customer": {"source_id": "1"}, "loyalty": {"code": "LC-1"}}

    taken = await http.post("/v1/events", json=event)

    assert (taken.status_code, len(sim.events)) == (200, 1)
    await http.post("/_sim/schemas", json={"order": {"properties": {}}})
    await http.post("/_sim/reset")
    assert (sim.cards, sim.schemas) == (set(), {})


async def test_programmes(simulator, http):
    """A member of one earns by it, as the examination says; a reset forgets them."""
    sim, _ = simulator
    await http.post("/v1/customers", json={"source_id": "10000421"})
    program = {"id": "lprg_1", "name": "Socks", "per": 100, "members": {"10000421": 5}}

    made = await http.post("/_sim/programs", json=[program])
    wrong = [
        await http.post("/_sim/programs", json=body)
        for body in ({}, [1], [{"id": "lprg_2"}], [{**program, "members": {"nobody": 1}}])
    ]
    told = (await http.post(EXAMINE, json=QUESTION)).json()

    assert (made.status_code, made.json()) == (200, ["lprg_1"])
    assert [answer.status_code for answer in wrong] == [400] * 4
    assert (told["object"], told["memberships"][0]["program"]["name"]) == ("earnings_examine_result", "Socks")
    assert told["memberships"][0]["cards"][0]["points_estimation"] == 250
    assert sim.orders == {}
    await http.post("/_sim/reset")
    assert sim.programs == {}


async def test_vouchers(simulator, http):
    """A customer's are listed, page by page; nobody's are none; a reset forgets them."""
    sim, _ = simulator
    for number in ("1", "2"):
        await http.post("/v1/customers", json={"source_id": number})
    made = [await http.post("/_sim/vouchers", json={"holder": "1", "code": f"C-{number}"}) for number in range(3)]
    await http.post("/_sim/vouchers", json={"holder": "2", "code": "C-9"})
    wrong = [await http.post("/_sim/vouchers", json=body) for body in ({}, [], {"holder": "nobody", "code": "C"})]
    first = (await http.get("/v1/customers/1/redeemables?limit=2")).json()
    rest = (await http.get(f"/v1/customers/1/redeemables?starting_after_id={first['more_starting_after']}")).json()
    refused = [
        await http.get(path)
        for path in (
            "/v1/customers/1/redeemables?limit=0",
            "/v1/customers/nobody/redeemables",
            "/v2/loyalties/memberships/1",
            "/v2/loyalties/memberships/1?identification_type=phone",
        )
    ]

    assert [answer.status_code for answer in made] == [200] * 3
    assert [answer.status_code for answer in wrong] == [400] * 3
    codes = [[one["redeemable"]["voucher"]["code"] for one in page["data"]] for page in (first, rest)]
    assert (codes, first["has_more"], rest["has_more"]) == ([["C-0", "C-1"], ["C-2"]], True, False)
    assert [answer.status_code for answer in refused] == [400, 404, 404, 400]
    await http.post("/_sim/reset")
    assert sim.vouchers == {}


async def test_the_allowance(simulator, http, clock):
    """Three headers on every answer; beyond it 429 that says which limit and how long; a new minute begins anew."""
    sim, _ = simulator
    sim.allowance.per_minute = 2

    answers = [await http.get("/v1/orders") for _ in range(3)]
    clock.wall += timedelta(minutes=1)
    answers.append(await http.get("/v1/orders"))

    assert [answer.status_code for answer in answers] == [200, 200, 429, 200]
    assert [answer.headers["x-rate-limit-remaining"] for answer in answers] == ["1", "0", "0", "1"]
    assert (answers[2].headers["retry-after"], answers[2].headers["x-rate-limit-type"]) == ("60", "api_calls")
    assert answers[2].json() == {"code": 429, "message": "Too many requests hit the API too quickly."}


async def test_a_plan(http):
    """Used up, it says so whatever the minute has left."""
    await http.post("/_sim/plan", json={"of_plan": 1})

    answers = [await http.get("/v1/orders") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].headers["x-rate-limit-type"] == "api_calls_cycle"


async def test_from_outside(http):
    """Faults, keys and what it holds, for whoever tests against it in another language."""
    await http.post("/v1/orders", json=ORDER)
    await http.post("/v1/customers", json={"source_id": "2", "name": "Bo"})
    state = (await http.get("/_sim/state")).json()
    [order] = (await http.get("/_sim/orders")).json()
    customer = (await http.get("/v1/customers/2")).json()
    wrong = [
        await http.post("/_sim/faults", json={"add": [{"kind": "nonsense"}]}),
        await http.post("/_sim/keys", json=[]),
        await http.post("/_sim/plan", json={"per_minute": "x"}),
        await http.post("/_sim/schemas", json={"order": {}}),
        await http.post("/_sim/cards", json={"LC-1": True}),
    ]
    await http.post("/_sim/faults", json={"add": [{"kind": "poison", "source_id": "s-2"}]})
    poisoned = await http.post("/v1/orders", json={**ORDER, "source_id": "s-2"})
    await http.post("/_sim/keys", json={"app-2": "new"})
    refused = await http.post("/v1/orders", json=ORDER)
    await http.post("/_sim/reset")
    empty = (await http.get("/_sim/state")).json()

    assert state == {
        "orders": 1, "customers": 2, "events": 0, "earned": 1, "earned_twice": [],
        "requests": {"POST orders": 1, "POST customers": 1},
    }  # fmt: skip
    assert (order["source_id"], customer["name"]) == ("s-1", "Bo")
    assert [answer.status_code for answer in wrong] == [400] * 5
    assert (poisoned.status_code, refused.status_code) == (400, 401)
    assert (empty["orders"], empty["requests"]) == (0, {})


async def test_faults_name_what_they_are_about():
    """A poisoned order without an id would be nobody's."""
    with pytest.raises(ValueError, match="source_id"):
        Fault(kind="poison")
    with pytest.raises(ValueError, match="source_id"):
        Fault(kind="drop", source_id="s-1")


async def test_loyalty_cards(simulator, http):
    """What a paid order earns on its customer's card, and changes by hand, page by page; a reset forgets them."""
    sim, _ = simulator
    await http.post("/v1/customers", json={"source_id": "1"})
    card = {"holder": "1", "code": "LC-1", "type": "LOYALTY_CARD", "loyalty_card": {"points": 0, "balance": 0}}
    for body in (card, {"holder": "1", "code": "C-1"}):
        await http.post("/_sim/vouchers", json=body)
    assert (await http.post("/_sim/earning", json=100)).status_code == 200
    for _ in range(2):  # the second earns nothing
        order = {"source_id": "s-1", "status": "PAID", "amount": 25_050, "customer": {"source_id": "1"}}
        await http.post("/v1/orders", json=order)
    path = "/v1/loyalties/members/LC-1"
    changed = (await http.post(f"{path}/balance", json={"points": -50, "source_id": "r-1"})).json()
    assert (changed["object"], changed["points"], changed["balance"], changed["total"]) == ("balance", -50, 200, 250)
    first = (await http.get(f"{path}/transactions?limit=1&order=-created_at")).json()
    after = f"&starting_after_id={first['more_starting_after']}"
    rest = (await http.get(f"{path}/transactions?order=-created_at{after}")).json()
    [removal], [accrual] = first["data"], rest["data"]
    assert (removal["type"], removal["source_id"], first["has_more"], rest["has_more"]) == (
        "POINTS_REMOVAL",
        "r-1",
        True,
        False,
    )
    assert (accrual["type"], accrual["details"]["order"]["source_id"]) == ("POINTS_ACCRUAL", "s-1")
    refused = [
        await http.post(f"{path}/balance", json=body)
        for body in ({}, {"points": 0}, {"points": "1"}, {"points": -201}, {"points": 1, "more": 1}, [])
    ]
    assert [answer.status_code for answer in refused] == [400] * 6
    for code in ("C-1", "C-9"):
        assert (await http.post(f"/v1/loyalties/members/{code}/balance", json={"points": 1})).status_code == 404
    assert (await http.get(f"{path}/transactions?limit=101&order=-created_at")).status_code == 400
    assert [(await http.post("/_sim/earning", json=body)).status_code for body in (-1, "1", True)] == [400] * 3
    await http.post("/_sim/reset")
    assert sim.vouchers == {}
