"""A tenant on loopback for each test, with a clock that only moves when told to."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from ports import free_port

from agent.connectors.voyado.simulator import RunningSimulator, SimulatorSettings, VoyadoSimulator, serve

NOW = datetime(2026, 2, 16, 11, 0, tzinfo=UTC)
HEADERS = {"apikey": "sim-key", "Content-Type": "application/json", "User-Agent": "ExamplePOS/1.0"}


@dataclass
class Tenant:
    """A served simulator and a client that has its key."""

    sim: VoyadoSimulator
    running: RunningSimulator
    http: httpx.AsyncClient

    async def member(self, **attributes: Any) -> dict[str, Any]:
        body = {"firstName": "Alma", "lastName": "Ekvall", "mobilePhone": "+46701740605", "countryCode": "SE"}
        answer = await self.http.post("/_sim/contacts", json={**body, **attributes})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def post(self, receipt: dict[str, Any], status: int = 202) -> httpx.Response:
        answer = await self.http.post("/api/v3/receipts", json=receipt)
        assert answer.status_code == status, answer.text
        return answer

    async def receipts(self) -> dict[str, dict[str, Any]]:
        return {row["uniqueReceiptId"]: row for row in (await self.http.get("/_sim/receipts")).json()}

    async def log(self) -> list[tuple[str, str]]:
        return [(line["event"], line["reference"]) for line in (await self.http.get("/_sim/log")).json()]


@pytest.fixture
async def open_tenant(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Opens a tenant with the given knobs."""
    tenants: list[Tenant] = []

    async def open_(**knobs: Any) -> Tenant:
        settings = SimulatorSettings(root=tmp_path / f"sftp{len(tenants)}", **knobs)
        sim = VoyadoSimulator(settings, now=lambda: NOW, rng=random.Random(7))
        running = await serve(sim, port=free_port())
        # Without certificates to load a client is made in no time; nothing here speaks TLS.
        http = httpx.AsyncClient(base_url=running.url, headers=HEADERS, timeout=60, verify=False)
        tenants.append(Tenant(sim, running, http))
        return tenants[-1]

    yield open_
    for tenant in tenants:
        await tenant.http.aclose()
        await tenant.running.stop()


@pytest.fixture
async def tenant(open_tenant) -> Tenant:
    """A tenant as it is by default."""
    return await open_tenant()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Waits for a condition, for half a minute at most."""

    async def wait(condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110  (the simulator has no event to wait for, and needs none)
                await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def receipt() -> Callable[..., dict[str, Any]]:
    """Makes a well-formed receipt; keywords replace its members."""

    def make(number: int = 1, key: str = "10000000", key_type: str = "memberNumber", **members: Any) -> dict[str, Any]:
        return {
            "contact": {"matchKey": key, "matchKeyType": key_type, "contactType": "Member"},
            "uniqueReceiptId": f"1042-03-{number:06d}",
            "receiptNumber": f"{number:06d}",
            "createdDate": "2026-02-14T16:41:09+01:00",
            "storeExternalId": "1042",
            "currency": "SEK",
            "exchangeRateToGroupCurrency": 1.0,
            "totalGrossPrice": 250.0,
            "paymentMethods": [{"type": "card", "description": "Debit card", "value": 250.0}],
            "items": [line()],
            **members,
        }

    return make


@pytest.fixture
def make_line() -> Callable[..., dict[str, Any]]:
    """Makes a receipt line; keywords replace its members."""
    return line


def line(**members: Any) -> dict[str, Any]:
    return {
        "type": "PURCHASE",
        "sku": "SK-77-RED-M",
        "articleNumber": "SK-77",
        "articleName": "Wool socks",
        "quantity": 2,
        "grossPaidPrice": 250.0,
        "taxAmount": 50.0,
        "taxPercent": 25.0,
        **members,
    }
