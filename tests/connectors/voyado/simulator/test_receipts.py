"""Receipts: acceptance, the import that follows, and what comes of it."""

import json

import pytest

from agent.connectors.voyado.simulator import ReceiptCounts

GONE = object()


@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_an_accepted_receipt_waits_for_the_interval(tenant, receipt, version):
    """A post is answered 202 and an empty object, lies in the inbox, and is imported after the interval."""
    contact = await tenant.member()
    answer = await tenant.http.post(f"/api/{version}/receipts", json=receipt())
    assert (answer.status_code, answer.json()) == (202, {})
    tenant.sim.advance(899)
    assert tenant.sim.counts().waiting == 1
    await tenant.http.post("/_sim/advance", json={"seconds": 1})
    counts = tenant.sim.counts()
    assert counts == ReceiptCounts(
        received=1,
        unique=1,
        waiting=0,
        imported=1,
        duplicates=0,
        unmatched=0,
        ambiguous=0,
        lost=0,
        doubled=0,
        refused=0,
    )
    row = (await tenant.receipts())["1042-03-000001"]
    assert (row["contactId"], row["posts"], row["outcome"]) == (contact["id"], 1, "imported")
    assert row["importedAt"] == "2026-02-16T11:15:00+00:00"
    assert row["createdDate"] == "2026-02-14T16:41:09+01:00"


def without(receipt, path):
    *parents, last = path
    part = receipt
    for step in parents:
        part = part[step]
    del part[last]


REQUIRED = [
    ("contact",), ("contact", "matchKey"), ("contact", "matchKeyType"), ("uniqueReceiptId",), ("createdDate",),
    ("storeExternalId",), ("currency",), ("totalGrossPrice",), ("paymentMethods",), ("items",),
    ("paymentMethods", 0, "type"), ("paymentMethods", 0, "value"), ("items", 0, "type"), ("items", 0, "sku"),
    ("items", 0, "articleNumber"), ("items", 0, "articleName"), ("items", 0, "quantity"),
    ("items", 0, "grossPaidPrice"), ("items", 0, "taxAmount"), ("items", 0, "taxPercent"),
]  # fmt: skip


@pytest.mark.parametrize("path", REQUIRED, ids=lambda path: ".".join(map(str, path)))
async def test_every_required_field_is_required(tenant, receipt, path):
    """A receipt without one of the required fields is a 422 that names it, and is not received."""
    broken = receipt()
    without(broken, path)
    body = (await tenant.post(broken, 422)).json()
    assert body["errorCode"] == "ValidationError"
    assert any(str(path[0]) in row["errorDescription"] for row in body["validationErrors"])
    assert (tenant.sim.counts().received, tenant.sim.counts().refused) == (0, 1)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"createdDate": "2026-02-14T15:41:09"}, id="time-without-offset"),
        pytest.param({"createdDate": "yesterday"}, id="no-time"),
        pytest.param({"currency": "kr"}, id="currency"),
        pytest.param({"totalGrossPrice": "250.00"}, id="total-as-text"),
        pytest.param({"totalGrossPrice": 249.0}, id="total-differs-from-lines"),
        pytest.param({"totalGrossPrice": -250.0}, id="total-with-wrong-sign"),
        pytest.param({"exchangeRateToGroupCurrency": -1}, id="negative-rate"),
        pytest.param({"totalGrossPrice": 1e999}, id="infinite-total"),
        pytest.param({"items": []}, id="no-lines"),
        pytest.param({"contact": {"matchKey": "1", "matchKeyType": "shoeSize"}}, id="match-key-type"),
        pytest.param({"items": ["socks"]}, id="line-is-no-object"),
    ],
)
async def test_wrong_values_are_refused(tenant, receipt, members):
    """A receipt with a value Engage would not take is a 422."""
    await _post_raw(tenant, receipt(**members), 422)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"type": "GIFT"}, id="unknown-type"),
        pytest.param({"type": ["PURCHASE"]}, id="type-is-a-list"),
        pytest.param({"grossPaidPrice": 1e999}, id="infinite-price"),
        pytest.param({"quantity": 0.5}, id="weight-as-quantity"),
        pytest.param({"quantity": True}, id="quantity-is-a-number"),
        pytest.param({"type": "RETURN", "quantity": 1}, id="return-with-positive-quantity"),
        pytest.param({"type": "RETURN", "quantity": -1, "grossPaidPrice": -250.0}, id="return-with-negative-price"),
    ],
)
async def test_wrong_lines_are_refused(tenant, receipt, make_line, members):
    """A line with a wrong type, quantity or sign makes the receipt a 422."""
    await _post_raw(tenant, receipt(items=[make_line(**members)]), 422)


async def _post_raw(tenant, receipt, status):
    # httpx refuses to write an infinite number; 1e999 is how one gets onto the wire.
    body = json.dumps(receipt).replace("Infinity", "1e999")
    answer = await tenant.http.post("/api/v3/receipts", content=body)
    assert answer.status_code == status


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}"])
async def test_a_body_that_is_no_receipt_is_a_400(tenant, body):
    """What is not a JSON object with members is refused as no data."""
    answer = await tenant.http.post("/api/v3/receipts", content=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "NoData")


async def test_the_total_check_can_be_off(open_tenant, receipt):
    """With the tenant's toggle off a differing total is accepted, as where sales tax is added."""
    tenant = await open_tenant(check_totals=False)
    await tenant.post(receipt(totalGrossPrice=271.9))


@pytest.mark.parametrize("key_type", ["memberNumber", "MemberNumber", "MEMBERNUMBER"])
async def test_match_key_types_are_read_in_any_case(tenant, receipt, key_type):
    """Both documented spellings of a match key type are understood, and shown as received."""
    await tenant.member()
    await tenant.post(receipt(key_type=key_type))
    tenant.sim.import_receipts_now()
    assert tenant.sim.counts().imported == 1
    assert (await tenant.receipts())["1042-03-000001"]["matchKeyType"] == key_type


@pytest.mark.parametrize(
    ("key_type", "key"),
    [
        pytest.param("contactId", None, id="contact-id"),
        pytest.param("memberNumber", "10000000", id="member-number"),
        pytest.param("mobilePhone", "+46701740605", id="phone"),
        pytest.param("email", "Alma.Ekvall@example.com", id="email"),
        pytest.param("externalId", "EDGE-1", id="external-id"),
        pytest.param("cardId", "C-77", id="card"),
        pytest.param("memberNumberWithCardNumberAsFallback", "C-77", id="card-as-fallback"),
    ],
)
async def test_every_match_key_finds_its_contact(tenant, receipt, key_type, key):
    """Receipts are matched by each kind of key."""
    contact = await tenant.member(email="alma.ekvall@example.com", externalId="EDGE-1", cardId="C-77")
    await tenant.post(receipt(key=key or contact["id"], key_type=key_type))
    tenant.sim.import_receipts_now()
    assert (await tenant.receipts())["1042-03-000001"]["contactId"] == contact["id"]


async def test_a_repeated_receipt_is_imported_once(tenant, receipt):
    """Every post of one `uniqueReceiptId` is answered 202; one is imported, the others are ignored and counted."""
    await tenant.member()
    await tenant.post(receipt())
    await tenant.post(receipt())
    tenant.sim.import_receipts_now()
    await tenant.post(receipt())
    tenant.sim.import_receipts_now()
    counts = tenant.sim.counts()
    assert (counts.received, counts.unique, counts.imported, counts.duplicates) == (3, 1, 1, 2)
    assert (await tenant.receipts())["1042-03-000001"]["posts"] == 3
    assert ("receipt ignored: duplicate", "1042-03-000001") in await tenant.log()


async def test_an_unmatched_receipt_is_dropped_and_may_come_again(tenant, receipt):
    """Without its contact a receipt is dropped with a log line; the same one is imported once the contact exists."""
    await tenant.post(receipt(key="+46701740605", key_type="mobilePhone"))
    tenant.sim.import_receipts_now()
    assert tenant.sim.counts().unmatched == 1
    assert ("receipt ignored: contact missing", "1042-03-000001") in await tenant.log()
    await tenant.member()
    tenant.sim.advance(3600)
    assert tenant.sim.counts().imported == 0
    await tenant.post(receipt(key="+46701740605", key_type="mobilePhone"))
    tenant.sim.import_receipts_now()
    assert tenant.sim.counts().imported == 1


async def test_only_the_named_contact_type_is_searched(tenant, receipt):
    """A key that only a contact of another type has does not match."""
    await tenant.member(contactType="Contact", email="alma.ekvall@example.com")
    await tenant.post(receipt(key="alma.ekvall@example.com", key_type="email"))
    other = {"matchKey": "alma.ekvall@example.com", "matchKeyType": "email", "contactType": "Contact"}
    await tenant.post(receipt(2, contact=other))
    tenant.sim.import_receipts_now()
    rows = await tenant.receipts()
    assert [row["outcome"] for row in rows.values()] == ["contact missing", "imported"]


@pytest.mark.parametrize(("ambiguous", "place"), [("drop", None), ("first", 0), ("newest", 1)])
async def test_an_ambiguous_key_is_treated_as_configured(open_tenant, receipt, ambiguous, place):
    """A key of several contacts drops the receipt, or takes the first or the newest of them."""
    tenant = await open_tenant(ambiguous=ambiguous)
    mail = "family@example.com"
    ids = []
    for phone in ("+46701740605", "+46701740606"):
        ids.append((await tenant.member(mobilePhone=phone, email=mail))["id"])
        tenant.sim.advance(1)
    await tenant.post(receipt(key=mail, key_type="email"))
    tenant.sim.import_receipts_now()
    row = (await tenant.receipts())["1042-03-000001"]
    assert row["contactId"] == (None if place is None else ids[place])
    assert tenant.sim.counts().ambiguous == (place is None)


async def test_an_unknown_store_is_created(tenant, receipt):
    """The import opens a store for an id it does not know."""
    await tenant.member()
    await tenant.post(receipt(storeExternalId="9999"))
    assert "9999" not in tenant.sim.state.stores
    tenant.sim.import_receipts_now()
    assert (await tenant.http.get("/api/v3/stores/9999")).status_code == 200
    assert ("store created", "9999") in await tenant.log()


async def test_interval_zero_imports_at_once(open_tenant, receipt):
    """With interval 0 a receipt is imported as it arrives, and no interval imports only by hand."""
    tenant = await open_tenant(receipt_interval_s=0)
    await tenant.member()
    await tenant.post(receipt())
    assert tenant.sim.counts().imported == 1
    await tenant.http.post("/_sim/settings", json={"receipt_interval_s": None})
    await tenant.post(receipt(2))
    tenant.sim.advance(86_400)
    assert tenant.sim.counts().waiting == 1
    await tenant.http.post("/_sim/import")
    assert tenant.sim.counts().imported == 2


async def test_an_imported_receipt_stands_in_the_purchase_history(tenant, receipt):
    """A contact's transactions carry the receipt's id and its own time, in pages."""
    contact = await tenant.member()
    for number in (1, 2, 3):
        await tenant.post(receipt(number))
    tenant.sim.import_receipts_now()
    url = f"/api/v3/contacts/{contact['id']}/transactions"
    page = (await tenant.http.get(url, params={"offset": 1, "count": 1})).json()
    assert (page["totalCount"], page["count"], page["offset"]) == (3, 1, 1)
    (row,) = page["items"]
    assert (row["externalId"], row["createdDate"]) == ("1042-03-000002", "2026-02-14T16:41:09+01:00")
    assert (row["transactionNumber"], row["numberOfItems"], row["localNetPriceSum"]) == ("000002", 2, 250.0)


def _return(receipt, make_line, number=9):
    line = make_line(type="RETURN", quantity=-1, grossPaidPrice=125.0, taxAmount=25.0)
    return receipt(number, totalGrossPrice=-125.0, paymentMethods=[{"type": "card", "value": -125.0}], items=[line])


@pytest.mark.parametrize(
    ("sale", "points"),
    [
        pytest.param(([{"grossPaidPrice": 250.0}], 250.0, 1.0), 250, id="plain"),
        pytest.param(([{"grossPaidPrice": 99.95}], 99.95, 1.0), 99, id="rounded-down"),
        pytest.param(([{"grossPaidPrice": 10.0}], 10.0, 11.5), 115, id="exchange-rate"),
        pytest.param(
            ([{"grossPaidPrice": 100.0}, {"grossPaidPrice": 50.0, "awardsBonus": False}], 150.0, 1.0),
            100,
            id="no-bonus",
        ),
        pytest.param(([{"grossPaidPrice": price} for price in (0.7, 0.1, 0.2)], 1.0, 1.0), 1, id="float-sums"),
    ],
)
async def test_points_follow_the_import(tenant, receipt, make_line, sale, points):
    """Points are the floor of the awarding lines in group currency, booked when the receipt is imported."""
    lines, total, rate = sale
    contact = await tenant.member()
    items = [make_line(**members) for members in lines]
    await tenant.post(receipt(items=items, totalGrossPrice=total, exchangeRateToGroupCurrency=rate))
    url = f"/api/v3/point-accounts?contactId={contact['id']}"
    assert (await tenant.http.get(url)).json()["items"][0]["balance"] == 0
    tenant.sim.import_receipts_now()
    assert (await tenant.http.get(url)).json()["items"][0]["balance"] == points


async def test_a_return_takes_points_back(tenant, receipt, make_line):
    """A return deducts what its lines awarded, and the account tells both transactions."""
    contact = await tenant.member()
    await tenant.post(receipt())
    await tenant.post(_return(receipt, make_line))
    tenant.sim.import_receipts_now()
    v3 = (await tenant.http.get(f"/api/v3/point-accounts?contactId={contact['id']}")).json()["items"][0]
    v2 = (await tenant.http.get(f"/api/v2/point-accounts?contactId={contact['id']}")).json()["items"][0]
    assert (v3["balance"], v2["balance"]) == (125, 125)
    assert isinstance(v2["id"], int)
    rows = (await tenant.http.get(f"/api/v3/point-transactions?accountId={v3['id']}")).json()["items"]
    assert [(row["type"], row["source"], row["amount"]) for row in rows] == [
        ("Addition", "Purchase", 250),
        ("Deduction", "Return", -125),
    ]
    assert (await tenant.http.get("/api/v3/point-transactions?accountId=none")).status_code == 404


async def test_a_full_threshold_becomes_a_voucher(open_tenant, receipt):
    """Points at the threshold turn into a voucher, listed under each version's names and exported as XML."""
    tenant = await open_tenant(voucher_threshold=200)
    contact = await tenant.member()
    await tenant.post(receipt())
    tenant.sim.import_receipts_now()
    page = (await tenant.http.get(f"/api/v3/reward-vouchers/available?contactId={contact['id']}")).json()
    assert page["items"][0]["voucherNumber"] == "0000000204417"
    assert page["items"][0]["value"] == {"currency": "SEK", "amount": 50.0}
    checks = (await tenant.http.get(f"/api/v2/contacts/{contact['id']}/bonuschecks")).json()["items"]
    assert (checks[0]["checkNumber"], checks[0]["bonusPoints"]) == ("0000000204417", 200)
    assert tenant.sim.rewards.account(contact["id"]).balance == 50
    tenant.sim.export_now()
    (path,) = (tenant.sim.settings.root / "integration" / "bonusCheckExport").iterdir()
    assert "<checkNumber>0000000204417</checkNumber>" in path.read_text("utf-8")
    tenant.sim.advance(366 * 86_400)
    page = (await tenant.http.get(f"/api/v3/reward-vouchers/available?contactId={contact['id']}")).json()
    assert page["items"] == []


@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_promotions_are_listed_by_channel(tenant, version):
    """Assigned promotions are an array, narrowed by redemption channel."""
    contact = await tenant.member()
    await tenant.http.post("/_sim/promotions", json={"contactId": contact["id"], "name": "Ten percent"})
    url = f"/api/{version}/contacts/{contact['id']}/promotions"
    (promotion,) = (await tenant.http.get(url, params={"redemptionChannelType": "POS"})).json()
    assert (promotion["name"], promotion["redeemed"]) == ("Ten percent", False)
    assert (await tenant.http.get(url, params={"redemptionChannelType": "ECOM"})).json() == []


async def test_a_receipt_file_goes_the_way_of_posted_receipts(tenant):
    """An uploaded XML file is taken up at the interval, removed, and its receipts are imported."""
    await tenant.member()
    folder = tenant.sim.settings.root / "integration" / "transactionImport"
    folder.mkdir(parents=True)
    path = folder / "20260216110000_1042_transactions.xml"
    path.write_text(
        """<?xml version="1.0" encoding="utf-8"?>
        <transactions xmlns="http://voyado.Schemas.ImportReceipts"><receipt>
        <contact><matchKey>10000000</matchKey><matchKeyType>memberNumber</matchKeyType></contact>
        <uniqueReceiptId>from-file</uniqueReceiptId><createdDate>2026-02-14T16:41:09+01:00</createdDate>
        <storeExternalId>1042</storeExternalId><currency>SEK</currency><totalGrossPrice>250.00</totalGrossPrice>
        <paymentMethods><paymentMethod><type>card</type><value>250.00</value>
        <extraData><item name="cardNumber">1</item></extraData></paymentMethod></paymentMethods>
        <items><item><type>PURCHASE</type><sku>a</sku><articleNumber>a</articleNumber><articleName>a</articleName>
        <quantity>2</quantity><grossPaidPrice>250.00</grossPaidPrice><taxAmount>50</taxAmount>
        <taxPercent>25</taxPercent><awardsBonus>false</awardsBonus></item></items></receipt>
        <receipt><uniqueReceiptId>broken</uniqueReceiptId></receipt></transactions>""",
        "utf-8",
    )
    (folder / "20260216110001_transactions.xml").write_text("<transactions>", "utf-8")
    tenant.sim.advance(900)
    assert set(await tenant.receipts()) == {"from-file"}
    assert tenant.sim.counts().imported == 1
    assert not list(folder.iterdir())
    events = [event for event, _ in await tenant.log()]
    assert "file skipped: not xml" in events
    assert any(event.startswith("receipt skipped") for event in events)
