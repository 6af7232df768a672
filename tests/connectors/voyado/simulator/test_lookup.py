"""Finding contacts: `/contacts/id`, the keys in paths, the overview and the change feed."""

from datetime import timedelta

import pytest


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        pytest.param({"mobilePhone": "+46701740605"}, 200, None, id="phone"),
        pytest.param({"mobilePhone": "070-174 06 05"}, 200, None, id="national-phone"),
        pytest.param({"email": "ALMA.Ekvall@example.com"}, 200, None, id="email-in-any-case"),
        pytest.param({"customKey": "10000000"}, 200, None, id="custom-key"),
        pytest.param({"mobilePhone": "+46701740605", "email": "alma.ekvall@example.com"}, 200, None, id="both-agree"),
        pytest.param({"any": "alma.ekvall@example.com"}, 200, None, id="any-email"),
        pytest.param({"any": "+46701740605"}, 200, None, id="any-phone"),
        pytest.param({"any": "10000000"}, 404, "ContactNotFound", id="any-stops-at-what-looks-like-a-phone"),
        pytest.param({"mobilePhone": "+46701740699"}, 404, "ContactNotFound", id="nobody"),
        pytest.param({"mobilePhone": "+46701740605", "email": "n@example.com"}, 404, "ContactNotFound", id="disagree"),
        pytest.param({"mobilePhone": "+46701740605", "contactType": "Contact"}, 404, "ContactNotFound", id="type"),
        pytest.param({"email": "alma"}, 400, "InvalidEmailAddress", id="bad-email"),
        pytest.param({"mobilePhone": "12"}, 400, "InvalidPhoneNumber", id="bad-phone"),
        pytest.param({"socialSecurityNumber": "199913329999"}, 400, "InvalidSocialSecurityNumber", id="bad-ssn"),
        pytest.param({"contactType": "Robot", "any": "x"}, 400, "InvalidContactType", id="bad-type"),
        pytest.param({}, 400, "InvalidSearchQuery", id="nothing-asked"),
    ],
)
@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_find_id_answers(tenant, version, query, status, code):
    """`/contacts/id` gives the id as a JSON string, or the documented status and code name."""
    contact = await tenant.member(email="alma.ekvall@example.com")
    answer = await tenant.http.get(f"/api/{version}/contacts/id", params=query)
    assert answer.status_code == status
    if code is None:
        assert answer.text == f'"{contact["id"]}"'
    else:
        body = answer.json()
        assert body["errorCode"] == code
        assert set(body) == {"errorCode", "message", "messageDetails", "requestId"}


async def test_several_matches_list_their_ids(tenant):
    """A phone shared by a Member and a Contact answers 409 with both ids, and one id when the type is named."""
    member = await tenant.member()
    other = await tenant.member(contactType="Contact", email="bo.granlund@example.com")
    answer = await tenant.http.get("/api/v3/contacts/id", params={"mobilePhone": "+46701740605"})
    assert answer.status_code == 409
    body = answer.json()
    assert body["errorCode"] == "MultipleMatches"
    assert sorted(body["messageDetails"]["multipleMatchesFound"]) == sorted([member["id"], other["id"]])
    query = {"mobilePhone": "+46701740605", "contactType": "member"}
    assert (await tenant.http.get("/api/v3/contacts/id", params=query)).json() == member["id"]


async def test_a_tenant_without_custom_key_says_so(open_tenant):
    """A `customKey` look-up at a tenant that has none configured is a 500 of the configuration."""
    tenant = await open_tenant(custom_key=None)
    answer = await tenant.http.get("/api/v3/contacts/id", params={"customKey": "1"})
    assert (answer.status_code, answer.json()["errorCode"]) == (500, "InvalidSystemConfiguration")


@pytest.mark.parametrize(
    ("version", "path", "status"),
    [
        pytest.param("v2", "/contacts/Member/bykey?keyValue=%2B46701740605", 200, id="v2-query"),
        pytest.param("v3", "/contacts/Member/bykey?keyValue=%2B46701740605", 200, id="v3-query"),
        pytest.param("v2", "/contacts/member/bykey/+46701740605", 200, id="v2-path"),
        pytest.param("v3", "/contacts/member/bykey/+46701740605", 404, id="v3-path-is-gone"),
        pytest.param("v2", "/contacts/Member/byexternalid/EDGE-1", 200, id="external-id"),
        pytest.param("v2", "/contacts/Member/bykey?keyValue=%2B46701740699", 404, id="nobody"),
        pytest.param("v2", "/contacts/Robot/bykey?keyValue=1", 400, id="unknown-type"),
        pytest.param("v2", "/memberstatus?query=mobilePhone:%2B46701740605", 200, id="memberstatus"),
        pytest.param("v3", "/memberstatus?query=mobilePhone:%2B46701740605", 404, id="memberstatus-is-v2"),
    ],
)
async def test_contacts_by_key(tenant, version, path, status):
    """A contact is found by the key of its type, where the version has that path."""
    await tenant.member(externalId="EDGE-1")
    assert (await tenant.http.get(f"/api/{version}{path}")).status_code == status


async def test_counts_exist_in_v2_only(tenant):
    """v2 counts approved contacts, all or of one type."""
    tenant.sim.seed(50)
    members = (await tenant.http.get("/api/v2/contacts/member/count")).json()
    assert members == 50
    assert (await tenant.http.get("/api/v2/contacts/count")).json() == len(tenant.sim.state.contacts)
    assert (await tenant.http.get("/api/v3/contacts/count")).status_code == 404


async def test_preferences_are_spelt_differently_in_contact_and_overview(tenant):
    """`/contacts/{id}` says AcceptsEmails, the overview acceptsEmail; absent attributes are null in both."""
    contact = await tenant.member(preferences={"acceptsEmail": True})
    shown = (await tenant.http.get(f"/api/v3/contacts/{contact['id'].upper()}")).json()
    assert shown["preferences"] == {"AcceptsEmails": True, "AcceptsPostals": False, "AcceptsSms": False}
    assert shown["attributes"]["email"] is None
    assert shown["attributes"]["memberNumber"] == "10000000"
    overview = (await tenant.http.get("/api/v3/contactoverview", params={"contactId": contact["id"]})).json()
    assert overview["preferences"] == {"acceptsEmail": True, "acceptsPostal": False, "acceptsSms": False}


async def test_points_are_in_the_overview_of_v2_only(tenant):
    """v2's overview carries total points, v3's does not."""
    await tenant.member()
    query = {"mobilePhone": "+46701740605"}
    assert (await tenant.http.get("/api/v2/contactoverview", params=query)).json()["attributes"]["bonusPoints"] == 0
    assert "bonusPoints" not in (await tenant.http.get("/api/v3/contactoverview", params=query)).json()["attributes"]


async def test_changes_are_told_by_type_and_span(tenant):
    """The change feed gives ids of one type within a span, each once, oldest first."""
    first = await tenant.member()
    tenant.sim.advance(60)
    second = await tenant.member(mobilePhone="+46701740606")
    for city in ("Exempelstad", "Provköping"):
        await tenant.http.patch(f"/api/v3/contacts/{first['id']}", json={"city": city})
    tenant.sim.advance(60)
    await tenant.http.delete(f"/api/v3/contacts/{second['id']}")

    async def ids(kind: str, **span: str) -> list[str]:
        query = {"changeType": kind, "fromDate": "2026-02-16 11:00:00.000", **span}
        return (await tenant.http.get("/api/v3/contacts/changes", params=query)).json()

    assert await ids("Created") == [first["id"], second["id"]]
    assert await ids("Created", toDate="2026-02-16 11:00:59.000") == [first["id"]]
    assert await ids("Created", fromDate="2026-02-16 11:00:30.000") == [second["id"]]
    assert await ids("Updated") == [first["id"]]
    assert await ids("Deleted") == [second["id"]]


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({"changeType": "Renamed", "fromDate": "2026-01-01 00:00:00.000"}, id="unknown-type"),
        pytest.param({"changeType": "Created"}, id="no-date"),
        pytest.param({"changeType": "Created", "fromDate": "yesterday"}, id="unreadable-date"),
    ],
)
async def test_changes_refuse_what_they_cannot_read(tenant, query):
    """A change feed request without a known type and date is a 400."""
    assert (await tenant.http.get("/api/v2/contacts/changes", params=query)).status_code == 400


async def test_changes_are_capped(open_tenant):
    """More ids than the cap is a 400; a smaller span passes."""
    tenant = await open_tenant(changes_cap=10)
    tenant.sim.seed(11)
    since = tenant.sim.clock.now() - timedelta(days=4 * 365)
    query = {"changeType": "Created", "fromDate": since.strftime("%Y-%m-%d %H:%M:%S.000")}
    assert (await tenant.http.get("/api/v3/contacts/changes", params=query)).status_code == 400
    half = (tenant.sim.clock.now() - timedelta(days=500)).strftime("%Y-%m-%d %H:%M:%S.000")
    answer = await tenant.http.get("/api/v3/contacts/changes", params={**query, "fromDate": half})
    assert answer.status_code == 200
    assert 0 < len(answer.json()) <= 10
