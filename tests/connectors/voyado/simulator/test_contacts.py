"""Creating, changing and deleting contacts, singly and in bulk."""

import asyncio

import pytest

ALMA = {
    "contactType": "Member",
    "firstName": "Alma",
    "lastName": "Ekvall",
    "mobilePhone": "070-174 06 05",
    "email": "alma.ekvall@example.com",
    "countryCode": "SE",
    "preferences": {"acceptsEmail": True, "acceptsSms": False, "acceptsPostal": False},
    "consents": [{"id": "memberTerms", "value": True, "source": "POS"}],
}
OPTIONS = {"source": "POS", "storeExternalId": "1042", "createAsUnapproved": "true"}


@pytest.mark.parametrize(
    ("version", "sent_as", "obeyed"),
    [
        pytest.param("v2", "headers", True, id="v2-headers"),
        pytest.param("v2", "params", False, id="v2-query-is-ignored"),
        pytest.param("v3", "params", True, id="v3-query"),
        pytest.param("v3", "headers", False, id="v3-headers-are-ignored"),
    ],
)
async def test_create_takes_its_options_where_the_version_has_them(tenant, version, sent_as, obeyed):
    """Source, store and approval are headers in v2 and query parameters in v3, and ignored elsewhere."""
    answer = await tenant.http.post(f"/api/{version}/contacts", json=ALMA, **{sent_as: OPTIONS})
    assert answer.status_code == 201
    contact = answer.json()
    assert contact["attributes"]["mobilePhone"] == "+46701740605"
    assert contact["attributes"]["memberNumber"] == "10000000"
    assert contact["consents"][0]["id"] == "memberTerms"
    assert contact["attributes"]["createdInStore"] == ("1042" if obeyed else None)
    assert contact["meta"]["sourceType"] == ("POS" if obeyed else None)
    assert contact["meta"]["approved"] is not obeyed


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param({}, 400, "NoData", id="no-data"),
        pytest.param({**ALMA, "contactType": "Robot"}, 400, "InvalidContactType", id="unknown-type"),
        pytest.param({"firstName": "Alma"}, 422, "ValidationError", id="no-key"),
        pytest.param({**ALMA, "email": "alma"}, 422, "ValidationError", id="bad-email"),
        pytest.param({**ALMA, "mobilePhone": "12"}, 422, "ValidationError", id="bad-phone"),
        pytest.param({**ALMA, "contactType": ["Member"]}, 400, "InvalidContactType", id="type-is-a-list"),
        pytest.param({**ALMA, "store": ["1042"]}, 422, "ValidationError", id="store-is-a-list"),
        pytest.param({**ALMA, "birthDay": "14/03/1988"}, 422, "ValidationError", id="bad-birthday"),
        pytest.param({**ALMA, "consents": [{"id": "other", "value": True}]}, 422, "ValidationError", id="bad-consent"),
    ],
)
async def test_create_refuses_wrong_data(tenant, body, status, code):
    """A wrong create is refused with its code, 422 with what is wrong, and stores nothing."""
    answer = await tenant.http.post("/api/v3/contacts", json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)
    assert ("validationErrors" in answer.json()) == (status == 422)
    assert not tenant.sim.state.contacts


async def test_a_taken_key_is_a_conflict(tenant):
    """Creating a second approved contact with the same key is a 409."""
    await tenant.member()
    answer = await tenant.http.post("/api/v3/contacts", json=ALMA)
    assert (answer.status_code, answer.json()["errorCode"]) == (409, "ApprovedContactWithKeyExists")


async def test_a_taken_key_may_also_answer_with_the_contact(open_tenant):
    """By the other reading of the documentation the contact that has the key is the answer, with 200."""
    tenant = await open_tenant(existing_key="return")
    there = await tenant.member()
    answer = await tenant.http.post("/api/v2/contacts", json=ALMA)
    assert (answer.status_code, answer.json()["id"]) == (200, there["id"])


async def test_two_tills_that_race_get_one_contact(open_tenant, until, pass_by):
    """While a create is under way another with the same key is a 409, and afterwards there is one contact."""
    tenant = await open_tenant(create_timeout_s=60.0)
    fault = {"kind": "latency", "path": "/api/v3/contacts", "delay_s": 30, "count": 1}
    await tenant.http.post("/_sim/faults", json={"add": [fault]})
    slow = asyncio.create_task(tenant.http.post("/api/v3/contacts", json=ALMA))
    await until(lambda: tenant.sim.state.being_created)
    second = await tenant.http.post("/api/v3/contacts", json=ALMA)
    assert (second.status_code, second.json()["errorCode"]) == (409, "ContactWithKeyIsBeingCreated")
    pass_by(30)
    assert (await slow).status_code == 201
    assert len(tenant.sim.state.contacts) == 1


@pytest.mark.parametrize(("version", "status"), [("v2", 201), ("v3", 504)])
async def test_a_slow_create_is_rolled_back_in_v3_only(open_tenant, version, status):
    """v3 gives a create up after its time-out and stores nothing, so a retry succeeds; v2 waits."""
    tenant = await open_tenant(create_timeout_s=0.02)
    fault = {"kind": "latency", "path": "/api/*/contacts", "delay_s": 0.06, "count": 1}
    await tenant.http.post("/_sim/faults", json={"add": [fault]})
    answer = await tenant.http.post(f"/api/{version}/contacts", json=ALMA)
    assert answer.status_code == status
    if status == 504:
        assert answer.json()["errorCode"] == "RequestTimeOut"
        assert not tenant.sim.state.contacts
        assert (await tenant.http.post("/api/v3/contacts", json=ALMA)).status_code == 201


@pytest.mark.parametrize(("version", "method"), [("v2", "POST"), ("v3", "PATCH")])
async def test_update_writes_only_what_is_sent(tenant, version, method):
    """An update leaves absent attributes alone, clears empty ones, ignores unknown names and keeps the type."""
    contact = await tenant.member(city="Exempelstad", street="Exempelgatan 7")
    body = {"city": "", "street": "Provvägen 1", "shoeSize": 41, "contactType": "Contact", "memberNumber": "7"}
    answer = await tenant.http.request(method, f"/api/{version}/contacts/{contact['id']}", json=body)
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["attributes"]["city"] is None
    assert shown["attributes"]["street"] == "Provvägen 1"
    assert shown["attributes"]["firstName"] == "Alma"
    assert shown["attributes"]["memberNumber"] == "10000000"
    assert "shoeSize" not in shown["attributes"]
    assert shown["meta"]["contactType"] == "Member"


@pytest.mark.parametrize(("version", "method"), [("v2", "PATCH"), ("v3", "POST")])
async def test_update_has_one_verb_in_each_version(tenant, version, method):
    """The other version's verb is not allowed."""
    contact = await tenant.member()
    answer = await tenant.http.request(method, f"/api/{version}/contacts/{contact['id']}", json={"city": "X"})
    assert answer.status_code == 405


async def test_an_updated_key_is_found_under_its_new_value_only(tenant):
    """Look-ups follow a changed phone number."""
    contact = await tenant.member()
    await tenant.http.patch(f"/api/v3/contacts/{contact['id']}", json={"mobilePhone": "+46701740606"})
    old, new = [
        await tenant.http.get("/api/v3/contacts/id", params={"mobilePhone": phone})
        for phone in ("+46701740605", "+46701740606")
    ]
    assert (old.status_code, new.json()) == (404, contact["id"])


async def test_the_store_of_creation_is_immutable(tenant):
    """`createdInStore` keeps its first value."""
    contact = await tenant.member(storeExternalId="1042")
    await tenant.http.patch(f"/api/v3/contacts/{contact['id']}", json={"createdInStore": "1041", "store": "1041"})
    shown = (await tenant.http.get(f"/api/v3/contacts/{contact['id']}")).json()["attributes"]
    assert (shown["createdInStore"], shown["store"]) == ("1042", "1041")


async def test_custom_attributes_are_kept_when_the_tenant_has_them(open_tenant):
    """An attribute beyond the standard ones is stored only where it is configured."""
    tenant = await open_tenant(custom_attributes=("shoeSize",))
    contact = await tenant.member(shoeSize=41)
    assert contact["attributes"]["shoeSize"] == 41


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/api/v2/contacts/{id}/promoteToMember", {"firstName": "Almina"}, id="promote"),
        pytest.param("/api/v3/contacts/{id}/updateContactType?contactTypeId=Member", None, id="update-type"),
    ],
)
async def test_a_contact_becomes_a_member(tenant, path, body):
    """Promotion gives a member number and puts the contact into the export as new."""
    contact = await tenant.member(contactType="Contact", email="alma.ekvall@example.com")
    assert contact["attributes"]["memberNumber"] is None
    assert tenant.sim.export_now() == []
    assert (await tenant.http.post(path.format(id=contact["id"]), json=body)).status_code == 200
    shown = (await tenant.http.get(f"/api/v3/contacts/{contact['id']}")).json()
    assert (shown["meta"]["contactType"], shown["attributes"]["memberNumber"]) == ("Member", "10000000")
    (path,) = tenant.sim.export_now()
    assert "<new>" in path.read_text("utf-8")


async def test_a_preference_approves_a_contact(tenant):
    """The preference endpoints set the flag and approve an unapproved contact, which then is exported."""
    answer = await tenant.http.post("/api/v3/contacts", json=ALMA, params={"createAsUnapproved": "true"})
    contact_id = answer.json()["id"]
    assert tenant.sim.export_now() == []
    answer = await tenant.http.post(f"/api/v2/contacts/{contact_id}/preferences/acceptsSms", json={"value": True})
    assert answer.json()["preferences"]["AcceptsSms"] is True
    assert answer.json()["meta"]["approved"] is True
    assert len(tenant.sim.export_now()) == 1


async def test_delete_hides_restore_brings_back(tenant):
    """A deleted contact is gone from every look-up at once, and back after a restore within seven days."""
    contact = await tenant.member()
    url = f"/api/v3/contacts/{contact['id']}"
    assert (await tenant.http.delete(url)).status_code == 200
    assert (await tenant.http.delete(url)).status_code == 404
    assert (await tenant.http.get(url)).status_code == 404
    by_phone = {"mobilePhone": "+46701740605"}
    assert (await tenant.http.get("/api/v3/contacts/id", params=by_phone)).status_code == 404
    tenant.sim.advance(6 * 86_400)
    assert (await tenant.http.post("/_sim/restore", json={"contactId": contact["id"]})).status_code == 200
    assert (await tenant.http.get("/api/v3/contacts/id", params=by_phone)).json() == contact["id"]


async def test_seven_days_after_a_deletion_the_person_is_erased(tenant):
    """The purge leaves the id and the member number, and nothing can be restored."""
    contact = await tenant.member(email="alma.ekvall@example.com")
    await tenant.http.delete(f"/api/v2/contacts/{contact['id']}")
    tenant.sim.advance(7 * 86_400)
    assert (await tenant.http.post("/_sim/restore", json={"contactId": contact["id"]})).status_code == 404
    kept = tenant.sim.state.contacts[contact["id"]]
    assert kept.attributes == {"memberNumber": "10000000"}
    assert "alma" not in repr(kept).lower()
    assert ("contact purged", contact["id"]) in await tenant.log()


async def test_bulk_creates_rows_and_reports_each_failure(tenant):
    """Good rows of a bulk create are stored, bad ones are listed with their place and code."""
    await tenant.member(mobilePhone="+46701740690")
    rows = [
        {"mobilePhone": "+46701740605", "firstName": "Alma"},
        {"mobilePhone": "+46701740690", "firstName": "Bo"},
        {"firstName": "Cissi"},
        "not a row",
    ]
    answer = await tenant.http.post("/api/v3/contacts/bulk", params={"contactType": "Member"}, json=rows)
    assert answer.status_code == 202
    batch_id = answer.json()
    assert isinstance(batch_id, str)
    status = (await tenant.http.get("/api/v3/contacts/bulk/status", params={"batchId": batch_id})).json()
    assert (status["status"], status["total"], status["created"], status["failed"]) == ("Completed", 4, 1, 3)
    assert [(row["index"], row["errorCode"]) for row in status["errors"]] == [
        (1, "ApprovedContactWithKeyExists"),
        (2, "ValidationError"),
        (3, "ValidationError"),
    ]


async def test_bulk_can_take_its_time(open_tenant):
    """With a delay a batch says Running until its moment has come."""
    tenant = await open_tenant(bulk_delay_s=30)
    batch_id = (await tenant.http.post("/api/v3/contacts/bulk", json=[{"mobilePhone": "+46701740605"}])).json()

    async def status() -> str:
        return (await tenant.http.get(f"/api/v3/contacts/bulk/status?batchId={batch_id}")).json()["status"]

    assert await status() == "Running"
    tenant.sim.advance(30)
    assert await status() == "Completed"


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        pytest.param([], "NoData", id="empty"),
        pytest.param({"mobilePhone": "+46701740605"}, "NoData", id="no-list"),
        pytest.param([{}] * 5, "TooManyContacts", id="too-many"),
    ],
)
async def test_bulk_refuses_what_is_no_batch(open_tenant, rows, code):
    """An empty, wrong or too long batch is a 400."""
    tenant = await open_tenant(bulk_cap=4)
    answer = await tenant.http.post("/api/v3/contacts/bulk", json=rows)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)


@pytest.mark.parametrize(
    ("row", "avoid", "failed", "exported"),
    [
        pytest.param({"city": "Provköping"}, "false", 0, 1, id="echo"),
        pytest.param({"shoeSize": 41}, "true", 0, 0, id="avoided"),
        pytest.param({"city": "Provköping"}, "true", 1, 0, id="standard-attributes-cannot-avoid-it"),
    ],
)
async def test_bulk_update_echoes_in_the_export_unless_avoided(open_tenant, row, avoid, failed, exported):
    """A bulk update comes back in the next export; only rows of custom attributes may avoid that."""
    tenant = await open_tenant(custom_attributes=("shoeSize",))
    contact = await tenant.member()
    tenant.sim.export_now()
    answer = await tenant.http.patch(
        "/api/v3/contacts/bulk",
        params={"contactType": "Member", "avoidTriggeringExport": avoid},
        json=[{"contactId": contact["id"], **row}],
    )
    status = (await tenant.http.get(f"/api/v3/contacts/bulk/status?batchId={answer.json()}")).json()
    assert status["failed"] == failed
    assert len(tenant.sim.export_now()) == exported


async def test_stores_and_consents_are_listed(tenant):
    """Stores are listed, added and changed; the consent definitions carry their texts."""
    stores = (await tenant.http.get("/api/v3/stores")).json()
    assert [store["externalId"] for store in stores] == ["1041", "1042", "1043"]
    assert (await tenant.http.post("/api/v3/stores", json={"name": "Nameless"})).status_code == 400
    new = {"name": "Corner", "externalId": "2000", "active": False, "self": "odd"}
    assert (await tenant.http.post("/api/v3/stores", json=new)).json()["name"] == "Corner"
    assert len((await tenant.http.get("/api/v3/stores")).json()) == 3
    assert len((await tenant.http.get("/api/v3/stores?includeInactive=true")).json()) == 4
    assert (await tenant.http.get("/api/v3/stores/2000")).json()["active"] is False
    assert (await tenant.http.get("/api/v3/stores/2001")).status_code == 404
    (consent,) = (await tenant.http.get("/api/v2/consents")).json()
    assert consent["id"] == "memberTerms"
    assert set(consent["metaData"]["displayText"]) == {"sv-SE", "en-GB"}
