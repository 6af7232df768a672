"""What every request passes: key, content type and pace."""

import pytest

JSON = "application/json"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Content-Type": JSON}, 401, id="no-key"),
        pytest.param({"apikey": "guess", "Content-Type": JSON}, 401, id="wrong-key"),
        pytest.param({}, 401, id="the-key-is-asked-for-before-the-content-type"),
        pytest.param({"apikey": "sim-key"}, 500, id="no-content-type"),
        pytest.param({"apikey": "sim-key", "Content-Type": "text/plain"}, 500, id="other-content-type"),
        pytest.param({"apikey": "sim-key", "Content-Type": f"{JSON}; charset=utf-8"}, 200, id="with-charset"),
        pytest.param({"APIKey": "sim-key", "content-type": JSON}, 200, id="header-names-in-any-case"),
    ],
)
async def test_a_get_needs_a_key_and_a_content_type(tenant, headers, status):
    """Even a GET is refused without a known key, and fails without a JSON content type."""
    import httpx

    async with httpx.AsyncClient(base_url=tenant.running.url) as bare:
        answer = await bare.get("/api/v3/stores", headers=headers)
    assert answer.status_code == status
    if status == 500:
        assert answer.json() == {"message": "An error has occurred"}


async def test_another_key_header_can_be_asked_for(open_tenant):
    """The header's name is the tenant's choice."""
    tenant = await open_tenant(key_header="x-api-key")
    assert (await tenant.http.get("/api/v2/stores")).status_code == 401
    assert (await tenant.http.get("/api/v2/stores", headers={"x-api-key": "sim-key"})).status_code == 200


async def test_keys_are_revoked_added_and_bound_to_addresses(tenant):
    """A revoked key gets 401, a new one works, one bound to another address gets 403."""
    await tenant.http.post("/_sim/keys", json={"revoke": "sim-key"})
    assert (await tenant.http.get("/api/v3/stores")).status_code == 401
    await tenant.http.post("/_sim/keys", json={"add": "sim-key", "addresses": ["192.0.2.1"]})
    assert (await tenant.http.get("/api/v3/stores")).status_code == 403
    await tenant.http.post("/_sim/keys", json={"add": "sim-key", "addresses": ["127.0.0.1"]})
    assert (await tenant.http.get("/api/v3/stores")).status_code == 200


async def test_pace_is_warned_of_and_then_limited_per_key_and_second(open_tenant):
    """Above the hard rate a key gets 429 until its second is over; another key is not touched."""
    tenant = await open_tenant(api_keys=("till", "office"), warn_rate=3, hard_rate=5)

    async def ask(key: str) -> int:
        return (await tenant.http.get("/api/v3/stores", headers={"apikey": key})).status_code

    assert [await ask("till") for _ in range(7)] == [200] * 5 + [429] * 2
    assert await ask("office") == 200
    tenant.sim.advance(1)
    assert await ask("till") == 200
    keys = (await tenant.http.get("/_sim/state")).json()["keys"]
    assert keys[0] == {"name": "key-1", "requests": 6, "warned": 2, "limited": 2}


async def test_the_hard_rate_can_be_lifted(open_tenant):
    """Without a hard rate nothing is limited, and the warning counter still runs."""
    tenant = await open_tenant(hard_rate=None)
    statuses = {(await tenant.http.get("/api/v3/stores")).status_code for _ in range(250)}
    assert statuses == {200}
    assert tenant.sim.state.keys["sim-key"].warned == 200


async def test_no_listing_shows_a_key(tenant):
    """Keys appear by name only."""
    for path in ("state", "settings", "faults", "log"):
        assert "sim-key" not in (await tenant.http.get(f"/_sim/{path}")).text
