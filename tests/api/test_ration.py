"""Nobody harvests a member list here, and no sale suffers for it."""

import pytest
import structlog

from agent.api.ration import HIT_BURST, MISS_BURST, TOLD_EVERY_S, Ration, Rations
from agent.settings import Rate

ALMA_PHONE, NOBODYS_PHONE, UNKNOWN_PHONE = "+46701740605", "+46701740607", "+46701740608"
IDENTIFY, SALES = "/v1/contacts/identify", "/v1/transactions"
RATES = {"hits": Rate(1.0), "misses": Rate(0.1)}


def who(value: str) -> dict:
    return {"identifier": {"type": "mobile_phone", "value": value}}


async def exhaust(house, value: str) -> int:
    """How many look-ups of that value are answered before the ration is used up."""
    for count in range(200):
        answer = await house.http.post(IDENTIFY, json=who(value))
        if answer.status_code == 429:
            return count
    raise AssertionError


@pytest.mark.parametrize(
    ("value", "burst", "wait_s"),
    [
        pytest.param(ALMA_PHONE, HIT_BURST, "1", id="hits"),
        pytest.param(NOBODYS_PHONE, MISS_BURST, "10", id="not-found"),
        pytest.param(UNKNOWN_PHONE, MISS_BURST, "10", id="unknown"),
        pytest.param("07", MISS_BURST, "10", id="invalid"),
    ],
)
async def test_look_ups_are_rationed(open_door, value, burst, wait_s):
    """Hits and misses have a burst each; beyond it 429 says in whole seconds when to come back, and that holds."""
    async with open_door(**RATES) as house:
        assert await exhaust(house, value) == burst
        refused = await house.http.post(IDENTIFY, json=who(value))
        assert refused.headers["retry-after"] == wait_s
        assert refused.json()["code"] == "ration.exhausted"
        house.clock.mono += int(wait_s)
        assert (await house.http.post(IDENTIFY, json=who(value))).status_code != 429


async def test_who_has_used_up_the_misses_learns_nothing(open_door):
    """With the misses used up a look-up of a member is refused too, before any work: the refusal tells nothing."""
    async with open_door(**RATES) as house:
        await exhaust(house, NOBODYS_PHONE)
        assert (await house.http.post(IDENTIFY, json=who(ALMA_PHONE))).status_code == 429
        assert (
            await house.http.post(IDENTIFY, content=b"{", headers={"content-type": "application/json"})
        ).status_code == 429


async def test_each_token_has_its_own_ration(open_door):
    """One till's harvesting does not cost another token its look-ups."""
    async with open_door(**RATES) as house:
        await exhaust(house, NOBODYS_PHONE)
        assert (await house.admin.post(IDENTIFY, json=who(ALMA_PHONE))).status_code == 200


async def test_handles_are_rationed_too(open_door):
    """A handle costs a hit and an unknown one a miss."""
    async with open_door(**RATES) as house:
        unknown = [(await house.http.get("/v1/contacts/c_none")).status_code for _ in range(MISS_BURST + 1)]
        known = [(await house.admin.get("/v1/contacts/c_5f3a")).status_code for _ in range(HIT_BURST + 1)]
    assert unknown == [404] * MISS_BURST + [429]
    assert known == [200] * HIT_BURST + [429]


async def test_a_body_that_is_not_json_costs_nothing(open_door):
    """Only what asks about somebody is charged: a body that is not JSON asks about nobody."""
    async with open_door(**RATES) as house:
        for _ in range(MISS_BURST + 5):
            answer = await house.http.post(IDENTIFY, content=b"{", headers={"content-type": "application/json"})
            assert answer.status_code == 400
        assert (await house.http.post(IDENTIFY, json=who(ALMA_PHONE))).status_code == 200


async def test_a_sale_never_draws_429(open_door, sale):
    """Beyond the ration a sale is taken unresolved, with the secondary key, for a member and for a stranger alike."""
    async with open_door(**RATES) as house:
        await exhaust(house, NOBODYS_PHONE)
        answers = [
            await house.http.post(SALES, json=sale(transaction_id=f"s-{number}", **who(value)))
            for number, value in enumerate((ALMA_PHONE, NOBODYS_PHONE))
        ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert {answer.json()["integration_key"]["kind"] for answer in answers} == {"secondary"}
    assert house.room["resolve"] is False


async def test_posting_sales_does_not_tell_who_is_a_member(open_door, sale):
    """Sales cost look-ups as identify does: after so many strangers the members are not resolved either."""
    async with open_door(**RATES) as house:
        kinds = []
        for number in range(MISS_BURST + 2):
            value = NOBODYS_PHONE if number < MISS_BURST else ALMA_PHONE
            body = (await house.http.post(SALES, json=sale(transaction_id=f"s-{number}", **who(value)))).json()
            kinds.append(body["integration_key"]["kind"])
        assert set(kinds) == {"secondary"}
        assert (await house.http.post(IDENTIFY, json=who(ALMA_PHONE))).status_code == 429


async def test_a_guests_sale_costs_nothing(open_door, sale):
    """A sale that asks about nobody leaves the ration alone."""
    async with open_door(**RATES) as house:
        for number in range(HIT_BURST + 5):
            await house.http.post(SALES, json=sale(transaction_id=f"s-{number}"))
        assert (await house.http.post(IDENTIFY, json=who(ALMA_PHONE))).status_code == 200


def test_what_runs_at_once_cannot_overdraw():
    """Look-ups under way have set a miss aside each: no more of them start than would be answered one by one."""
    ration = Ration(Rate(1.0), Rate(0.1))
    assert [ration.reserve(0.0) == 0 for _ in range(MISS_BURST + 1)] == [True] * MISS_BURST + [False]
    ration.hit(0.0)
    assert ration.reserve(0.0) == 0


def test_off_means_no_ration():
    """With the ration off nothing is ever refused."""
    ration = Rations(Rate(None), Rate(None)).of(b"x")
    assert all(ration.reserve(0.0) == 0 for _ in range(1000))


async def test_a_ration_that_is_used_up_is_told(open_door, sale):
    """The log names the token once a minute, never who was asked for; every look-up that had no room is counted."""
    async with open_door(**RATES) as house:
        with structlog.testing.capture_logs() as told:
            await exhaust(house, NOBODYS_PHONE)
            assert (await house.http.post(IDENTIFY, json=who(NOBODYS_PHONE))).status_code == 429
            assert (await house.http.post(SALES, json=sale(**who(NOBODYS_PHONE)))).status_code == 202
            house.clock.mono += 9.0
            assert (await house.admin.post(IDENTIFY, json=who(ALMA_PHONE))).status_code == 200
            assert (await house.http.post(IDENTIFY, json=who(NOBODYS_PHONE))).status_code == 429
        assert told == [{"event": "ration.exhausted", "log_level": "warning", "name": "pos"}]
        with structlog.testing.capture_logs() as again:
            house.clock.mono += TOLD_EVERY_S
            await exhaust(house, NOBODYS_PHONE)
        assert len(again) == 1
        figures = (await house.http.get("/metrics")).text
        assert "loyalty_agent_lookups_rationed_total 5.0" in figures
