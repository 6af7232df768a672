"""The simulated account: what it lets in, what it keeps, and what it does on demand."""

import json
from datetime import timedelta

import httpx
import pytest

from agent.connectors.monetary.simulator import HOLDING
from tests.connectors.monetary.conftest import KEY

RECEIPT = {
    "CustomerID": 101, "Skus": [{"SKU": "SOCKS", "Description": "Socks", "Amount": 10.50, "Quantity": 2}],
    "Discounts": [], "SubTotal": 21.00, "Taxes": 1.58, "Total": 22.58,
}  # fmt: skip
CAMPAIGN = {"AmountOff": 10.05, "MinimumPurchase": 0.5, "DaysTillExpiration": 31}


@pytest.fixture
async def http(simulator):
    sim, running = simulator
    sim.keys |= {"holding": HOLDING, "elsewhere": "location-2"}
    async with httpx.AsyncClient(base_url=running.url, trust_env=False, headers={"Authorization": KEY}) as client:
        yield client


async def test_the_sample(simulator, http):
    """The vendor's own example, its reply as it is shown there, oddly echoed taxes and all."""
    sim, _ = simulator
    reply = (await http.post("/v1/Receipts", json=RECEIPT)).json()
    assert len(reply.pop("ReceiptID")) == 32
    assert reply == {
        **RECEIPT, "Discounts": [], "Taxes": 0.075, "Tip": 0, "Shipping": 0,
    }  # fmt: skip
    assert sim.customers[101]["Points"] == 22


async def test_every_receipt_is_another(simulator, http):
    """It deduplicates nothing, unless it is told to do as its sister API does."""
    sim, _ = simulator
    names = [(await http.post("/v1/Receipts", json=RECEIPT)).json()["ReceiptID"] for _ in range(2)]
    assert len(set(names)) == len(sim.receipts) == 2
    sim.drops_repeats = True
    again = (await http.post("/v1/Receipts", json=RECEIPT)).json()["ReceiptID"]
    assert (again in names, len(sim.receipts)) == (True, 2)


async def test_a_repeat_is_dropped_for_a_day(simulator, http, clock):
    """After 24 hours the same is another again."""
    sim, _ = simulator
    sim.drops_repeats = True
    await http.post("/v1/Receipts", json=RECEIPT)
    clock.advance(timedelta(hours=24).total_seconds())
    await http.post("/v1/Receipts", json=RECEIPT)
    assert len(sim.receipts) == 2


async def test_names_and_paths_in_any_case(http):
    """As the vendor's own examples spell them: `Sku` and `SkuDescription`, `V1`."""
    row = {"Sku": "SOCKS", "SkuDescription": "Socks", "amount": 21}
    reply = await http.post("/V1/receipts", json={"customerid": 101, "skus": [row], "subtotal": 21, "TOTAL": 21})
    assert reply.json()["Skus"] == [{"SKU": "SOCKS", "Description": "Socks", "Amount": 21, "Quantity": 1}]
    assert (await http.get(f"/V1/RECEIPTS/{reply.json()['ReceiptID']}")).json() == reply.json()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Total": 22.59}, 400), ({"SubTotal": 20}, 400), ({"Skus": []}, 400), ({"Skus": "SOCKS"}, 400),
        ({"Skus": [{"SKU": "SOCKS", "Amount": "21"}]}, 400), ({"Discounts": [{"Amount": 1}], "SubTotal": 22}, 400),
        ({"Taxes": 1.5801}, 400), ({"CustomerID": 7}, 404), ({"CustomerID": "101"}, 404),
    ],
    ids=["total", "subtotal", "no rows", "no list", "text", "a positive discount", "decimals", "nobody", "no number"],
)  # fmt: skip
async def test_a_receipt_that_is_refused(simulator, http, change, status):
    """With the status, and nothing is kept."""
    sim, _ = simulator
    reply = await http.post("/v1/Receipts", json={**RECEIPT, **change})
    assert (reply.status_code, list(reply.json())) == (status, ["Message"])
    assert sim.receipts == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Authorization": ""}, 401), ({"Authorization": f"Bearer {KEY}"}, 401), ({"Content-Type": "text/plain"}, 415)],
    ids=["no key", "not bare", "no JSON"],
)
async def test_the_door(http, headers, status):
    """The bare key, and JSON."""
    body = json.dumps(RECEIPT)
    reply = await http.post("/v1/Receipts", content=body, headers={"Content-Type": "application/json", **headers})
    assert reply.status_code == status


async def test_customers(http):
    """Registered, read, updated, and found by what their fields begin with."""
    made = (await http.post("/v1/Customers", json={"Phone": "0701740606", "AcceptsSMS": True, "x": 1})).json()
    assert made == {
        "CustomerID": 102, "Phone": "0701740606", "AcceptsSMS": True, "AcceptsEmail": False, "Points": 0,
    }  # fmt: skip
    changed = (await http.put("/v1/Customers/102", json={"email": "bo@example.com"})).json()
    assert changed == (await http.get("/v1/Customers/102")).json() == {**made, "Email": "bo@example.com"}
    found = [
        [row["CustomerID"] for row in (await http.get("/v1/Customers", params=query)).json()]
        for query in ({"phone": "0701740606"}, {"Phone": "07017406"}, {"phone": "0701740606", "email": "al"}, {})
    ]
    assert found == [[102], [101, 102], [], [101, 102]]
    refused = await http.post("/v1/Customers", json={"FirstName": "Bo"})
    assert (refused.status_code, (await http.get("/v1/Customers/7")).status_code) == (400, 404)


async def bought(http, key=KEY):
    return await http.post("/v1/Receipts", json=RECEIPT, headers={"Authorization": key})


async def test_a_location_campaign(simulator, http, clock):
    """It is for those who bought there, once each, and for a time."""
    sim, _ = simulator
    sim.add_customer(Phone="0701740606")
    await bought(http)
    campaign = (await http.post("/v1/Campaigns/Location", json=CAMPAIGN)).json()
    assert campaign == {**CAMPAIGN, "CampaignID": 1, "TemplateName": "manual", "IsLocationSpecific": True}
    sent = await http.post("/v1/Campaigns/1/Offers", json=[101, 102, 103])
    assert (sent.status_code, sent.content) == (204, b"")
    offers = {number: (await http.get(f"/v1/Customers/{number}/Offers")).json() for number in (101, 102)}
    assert offers[102] == []
    [offer] = offers[101]
    assert (offer["DiscountAmount"], offer["MinimumPurchase"]) == (10.05, 0.5)
    assert (await http.get("/v1/Offers", params={"code": offer["Code"]})).json() == offer
    assert (await http.get(f"/v1/Offers/{offer['OfferID']}")).json() == offer
    clock.advance(timedelta(days=31).total_seconds())
    assert (await http.get("/v1/Customers/101/Offers")).json() == []


async def test_an_offer_is_used_by_a_receipt(simulator, http):
    """Once, by its customer, at the location that it is of."""
    sim, _ = simulator
    sim.add_customer(Phone="0701740606")
    await bought(http)
    await http.post("/v1/Campaigns/Location", json=CAMPAIGN)
    await http.post("/v1/Campaigns/1/Offers", json=[101])
    using = {**RECEIPT, "Discounts": [{"OfferID": 1, "Amount": -10.05}], "SubTotal": 10.95, "Total": 12.53}
    others = await http.post("/v1/Receipts", json={**using, "CustomerID": 102})
    elsewhere = await http.post("/v1/Receipts", json=using, headers={"Authorization": "elsewhere"})
    replies = [await http.post("/v1/Receipts", json=using) for _ in range(2)]
    assert [reply.status_code for reply in (others, elsewhere, *replies)] == [400, 400, 200, 400]
    assert (await http.get("/v1/Customers/101/Offers")).json() == []


async def test_a_group_campaign_is_the_holdings(http):
    """A location's key may not make one; it counts everywhere, for whoever is registered."""
    refused = await http.post("/v1/Campaigns/Group", json=CAMPAIGN)
    made = await http.post("/v1/Campaigns/Group", json=CAMPAIGN, headers={"Authorization": "holding"})
    assert (refused.status_code, made.json()["IsLocationSpecific"]) == (403, False)
    await http.post("/v1/Campaigns/1/Offers", json=[101, 7], headers={"Authorization": "holding"})
    assert len((await http.get("/v1/Customers/101/Offers")).json()) == 1
    assert (await http.get("/v1/Customers/101/PunchCards")).json() == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/Campaigns/Location", {}, 400), ("/v1/Campaigns/Location", {**CAMPAIGN, "DaysTillExpiration": 0}, 400),
        ("/v1/Campaigns/Location", [], 400), ("/v1/Campaigns/9/Offers", [101], 404), ("/v1/Customers", "{", 400),
    ],
)  # fmt: skip
async def test_what_is_not_understood(http, path, body, status):
    """It is said with the status."""
    reply = await http.post(path, json=body)
    assert reply.status_code == status


async def test_faults_and_controls(simulator, http):
    """From outside, without a key: people, a poisoned line, keys that count, and a new beginning."""
    sim, _ = simulator
    anybody = {"headers": {"Authorization": ""}}
    made = await http.post("/_sim/customers", json=[{"Phone": "0701740606"}], **anybody)
    poison = {"kind": "poison", "sku": "SOCKS"}
    await http.post("/_sim/faults", json={"add": [poison, {"kind": "answer", "path": "/v1/Offers", "status": 500}]})
    assert made.json() == [102]
    assert ((await bought(http)).status_code, (await http.get("/v1/Offers")).status_code) == (400, 500)
    cleared = await http.post("/_sim/faults", json={"clear": True}, **anybody)
    assert (cleared.json(), (await bought(http)).status_code) == ([], 200)
    state = (await http.get("/_sim/state", **anybody)).json()
    assert (state["customers"], state["receipts"]) == (2, 1)
    assert len((await http.get("/_sim/receipts")).json()) == 1
    await http.post("/_sim/keys", json={"another": "location-1"})
    assert ((await bought(http)).status_code, (await bought(http, "another")).status_code) == (401, 200)
    wrong = [await http.post("/_sim/faults", json={"add": [fault]}) for fault in ({"kind": "poison"}, {"kind": "?"})]
    assert [reply.status_code for reply in wrong] == [400, 400]
    await http.post("/_sim/reset")
    assert (sim.customers, sim.receipts, sim.faults) == ({}, [], [])


async def test_customers_who_leave_and_are_merged(simulator, http):
    """From outside: receipts stay or move, and nobody gets a CustomerID a second time."""
    sim, _ = simulator
    await http.post("/_sim/customers", json=[{"Phone": "0701740606"}, {"Phone": "0701740607", "FirstName": "Bo"}])
    await bought(http)
    merged = await http.post("/_sim/merge", json={"from": 101, "into": 103})
    assert (merged.json()["Phone"], merged.json()["ExternalID"]) == ("0701740607", "10000421")
    assert [receipt["CustomerID"] for receipt in sim.receipts] == [103]
    await http.post("/_sim/leave", json=[102])
    made = await http.post("/_sim/customers", json=[{"Phone": "0701740608"}])
    assert (made.json(), sorted(sim.customers)) == ([104], [103, 104])
    wrong = [("leave", [102]), ("merge", {"from": 103, "into": 103}), ("merge", {"from": 103}), ("merge", "103")]
    assert [(await http.post(f"/_sim/{act}", json=body)).status_code for act, body in wrong] == [400] * 4


async def test_an_offer_from_outside(simulator, http):
    """A customer is offered something of any kind; nobody else, and nothing that no offer shows."""
    made = await http.post("/_sim/offers", json={"CustomerID": 101, "PosCode": "P-7", "MinimumPurchase": 50})
    assert made.json() == 1
    [offer] = (await http.get("/v1/customers/101/offers")).json()
    assert (offer["OfferID"], offer["PosCode"], offer["MinimumPurchase"]) == (1, "P-7", 50)
    wrong = [{"CustomerID": 999}, {"PosCode": "P-7"}, {"CustomerID": 101, "Until": "never"}, [], "101"]
    assert [(await http.post("/_sim/offers", json=body)).status_code for body in wrong] == [400] * 5
