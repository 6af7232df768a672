"""Faults on the line, the server that is cut off and comes back, and poisoned receipts."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest
from ports import free_port

from agent.connectors.voyado.simulator import Fault, SimulatorSettings, ThreadedSimulator, VoyadoSimulator, serve

RECEIPTS = "/api/*/receipts"


async def add(tenant, **fault):
    answer = await tenant.http.post("/_sim/faults", json={"add": [fault]})
    assert answer.status_code == 200, answer.text


async def try_post(tenant, receipt):
    """The status of a post, or the kind of its failure."""
    try:
        return (await tenant.http.post("/api/v3/receipts", json=receipt)).status_code
    except httpx.TransportError as error:
        return type(error)


@pytest.mark.parametrize(("after", "received"), [(False, 0), (True, 1)])
async def test_a_dropped_connection_gives_no_answer(tenant, receipt, after, received):
    """A drop before processing changes nothing, a drop after processing loses only the answer."""
    await add(tenant, kind="drop", path=RECEIPTS, count=1, after_processing=after)
    assert await try_post(tenant, receipt()) in (httpx.RemoteProtocolError, httpx.ReadError)
    assert tenant.sim.counts().received == received
    assert await try_post(tenant, receipt()) == 202


@pytest.mark.parametrize("after", [False, True])
async def test_a_hanging_request_is_never_answered(tenant, receipt, until, pass_by, after):
    """A hang lasts until the caller gives up; others are served meanwhile."""
    await add(tenant, kind="hang", path=RECEIPTS, count=1, after_processing=after)
    hanging = asyncio.create_task(try_post(tenant, receipt()))
    await until(lambda: tenant.sim.faults.rules[0].count == 0 and tenant.sim.counts().received == after)
    assert await try_post(tenant, receipt()) == 202
    assert not hanging.done()
    pass_by(60)
    assert await hanging is httpx.ReadTimeout
    assert tenant.sim.counts().received == after + 1


async def test_latency_comes_before_the_answer(tenant, receipt):
    """A slow request is answered, only later, and latencies add up."""
    await add(tenant, kind="latency", path=RECEIPTS, delay_s=0.05)
    await add(tenant, kind="latency", method="POST", delay_s=0.05)
    started = asyncio.get_running_loop().time()
    assert await try_post(tenant, receipt()) == 202
    assert asyncio.get_running_loop().time() - started >= 0.1


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        pytest.param({"status": 503, "count": 2}, [503, 503, 202, 202], id="burst"),
        pytest.param({"status": 500}, [500, 500, 500, 500], id="until-cleared"),
        pytest.param({"status": 429, "skip": 1, "count": 1}, [202, 429, 202, 202], id="after-one-that-passes"),
        pytest.param({"path": "/api/v2/*"}, [202, 202, 202, 202], id="other-path"),
        pytest.param({"method": "GET"}, [202, 202, 202, 202], id="other-method"),
        pytest.param({"status": 401}, [401, 401, 401, 401], id="keys-refused"),
    ],
)
async def test_bursts_meet_the_requests_they_name(tenant, receipt, fault, statuses):
    """A fault is met by fitting requests, as many as it says, and processes none of them."""
    await add(tenant, kind="answer", **fault)
    got = [await try_post(tenant, receipt(number)) for number in range(4)]
    assert got == statuses
    assert tenant.sim.counts().received == statuses.count(202)
    await tenant.http.post("/_sim/faults", json={"clear": True})
    assert await try_post(tenant, receipt(9)) == 202


async def test_a_429_may_carry_retry_after(tenant, receipt):
    """Headers of an answer are the tester's choice."""
    await add(tenant, kind="answer", status=429, headers={"Retry-After": "7"}, count=1)
    answer = await tenant.http.post("/api/v3/receipts", json=receipt())
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


async def test_an_answer_can_replace_that_of_a_processed_request(tenant, receipt):
    """A gateway's 502 after the work was done leaves the work done."""
    await add(tenant, kind="answer", status=502, body="html", after_processing=True, count=1)
    assert await try_post(tenant, receipt()) == 502
    assert tenant.sim.counts().received == 1


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    ("body", "start", "media_type"),
    [
        ("html", "<!DOCTYPE", "text/html; charset=utf-8"),
        ("text", "upstream", "text/plain; charset=utf-8"),
        ("empty", "", None),
        ("truncated", '{"id":', "application/json"),
        ("json", "{}", "application/json"),
        ("error", '{"message":', "application/json"),
    ],
)
async def test_bodies_can_be_anything(tenant, status, body, start, media_type):
    """A captive portal's page, a proxy's line, nothing at all or half an answer, with any status."""
    await add(tenant, kind="answer", status=status, body=body)
    answer = await tenant.http.get("/api/v3/stores")
    assert answer.status_code == status
    assert answer.text.startswith(start)
    assert answer.headers.get("content-type") == media_type


async def test_a_huge_body_is_as_long_as_asked_for(tenant):
    """A huge answer comes in pieces and in full."""
    await add(tenant, kind="answer", status=200, body="huge", size_bytes=3_000_001)
    async with tenant.http.stream("GET", "/api/v3/stores") as answer:
        assert sum([len(chunk) async for chunk in answer.aiter_bytes()]) == 3_000_001


async def test_a_redirect_leads_to_another_host(tenant):
    """A redirect is an answer with a Location; it is up to the client not to follow."""
    await add(tenant, kind="answer", status=307, body="empty", headers={"Location": "http://other.example/"})
    answer = await tenant.http.get("/api/v3/stores")
    assert (answer.status_code, answer.headers["location"]) == (307, "http://other.example/")


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param({"receipt_id": "1042-03-000002"}, id="by-id"),
        pytest.param({"sku": "BAD"}, id="by-article"),
    ],
)
async def test_a_poisoned_receipt_is_refused_for_ever(tenant, receipt, make_line, poison):
    """One receipt draws 422 however often it comes, its neighbours pass."""
    await add(tenant, kind="poison", **poison)
    bad = receipt(2, items=[make_line(sku="BAD")])
    assert [await try_post(tenant, one) for one in (receipt(1), bad, bad, receipt(3))] == [202, 422, 422, 202]
    assert set(await tenant.receipts()) == {"1042-03-000001", "1042-03-000003"}


async def test_a_lost_receipt_is_accepted_and_never_imported(tenant, receipt):
    """Nothing tells of it, neither the answer nor the log; sent again once all is well it is imported."""
    await tenant.member(memberNumber="10000000")
    await add(tenant, kind="lose", receipt_id="1042-03-000002")
    assert [await try_post(tenant, receipt(number)) for number in (1, 2)] == [202, 202]
    tenant.sim.import_receipts_now()
    told = await tenant.receipts()

    assert {name: row["outcome"] for name, row in told.items()} == {
        "1042-03-000001": "imported",
        "1042-03-000002": "lost",
    }
    assert not [line for line in await tenant.log() if "1042-03-000002" in line]
    assert (tenant.sim.counts().lost, tenant.sim.counts().imported) == (1, 1)
    tenant.sim.faults.clear()
    assert await try_post(tenant, receipt(2)) == 202
    tenant.sim.import_receipts_now()
    assert tenant.sim.counts().imported == 2


async def test_a_doubled_receipt_is_two_purchases(tenant, receipt):
    """It stands twice among the member's purchases, each row its own, and its points are given twice."""
    contact = await tenant.member(memberNumber="10000000")
    await add(tenant, kind="double", receipt_id="1042-03-000001")
    assert [await try_post(tenant, receipt(number)) for number in (1, 2)] == [202, 202]
    tenant.sim.import_receipts_now()
    answer = await tenant.http.get(f"/api/v2/contacts/{contact['id']}/transactions")
    rows = answer.json()["items"]

    assert [row["externalId"] for row in rows] == ["1042-03-000001", "1042-03-000001", "1042-03-000002"]
    assert len({row["id"] for row in rows}) == 3
    assert (tenant.sim.counts().doubled, tenant.sim.counts().imported) == (1, 2)
    accounts = (await tenant.http.get("/api/v3/point-accounts", params={"contactId": contact["id"]})).json()["items"]
    assert accounts[0]["balance"] == 750


@pytest.mark.parametrize("kind", ["poison", "lose", "double"])
async def test_a_receipts_fault_names_its_receipts(tenant, kind):
    """Without an id, an article or a predicate there is nothing to meet."""
    answer = await tenant.http.post("/_sim/faults", json={"add": [{"kind": kind}]})
    assert answer.status_code == 400
    with pytest.raises(ValueError, match=kind):
        Fault(kind=kind)


async def test_poison_can_be_a_predicate_in_process(tenant, receipt):
    """In-process tests poison by any property of the receipt, and lift it again."""
    fault = tenant.sim.faults.add(
        Fault(kind="poison", predicate=lambda one: one["receiptNumber"].endswith("5"), status=400)
    )
    assert [await try_post(tenant, receipt(number)) for number in (4, 5)] == [202, 400]
    tenant.sim.faults.remove(fault)
    assert await try_post(tenant, receipt(5)) == 202


async def test_the_date_header_follows_the_tenants_clock_and_its_skew(tenant):
    """Every answer is dated by the tenant's clock, ahead or behind by the skew."""
    dates = []
    for skew_s in (0, -3600, 86_400):
        await tenant.http.post("/_sim/faults", json={"clock_skew_s": skew_s})
        dates.append(parsedate_to_datetime((await tenant.http.get("/api/v3/stores")).headers["date"]))
    now = datetime(2026, 2, 16, 11, 0, tzinfo=UTC)
    assert dates == [now, now - timedelta(hours=1), now + timedelta(days=1)]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param({"add": [{"kind": "flood"}]}, id="unknown-kind"),
        pytest.param({"add": [{"kind": "answer", "body": "poem"}]}, id="unknown-body"),
        pytest.param({"add": [{"kind": "answer", "colour": 1}]}, id="unknown-member"),
        pytest.param({"add": [{"kind": "poison"}]}, id="poison-of-nothing"),
        pytest.param({"add": ["drop"]}, id="no-object"),
        pytest.param({"files": {"eaten": 1}}, id="unknown-file-fault"),
        pytest.param({"clock_skew_s": "late"}, id="skew-is-no-number"),
        pytest.param({"remove": 1}, id="unknown-control"),
        pytest.param([1], id="list"),
    ],
)
async def test_a_wrongly_worded_fault_is_refused_and_changes_nothing(tenant, faults):
    """A fault that cannot be understood is a 400 that says why."""
    answer = await tenant.http.post("/_sim/faults", json=faults)
    assert answer.status_code == 400
    assert answer.json()["validationErrors"]
    assert tenant.sim.faults.describe() == {
        "rules": [],
        "files": {},
        "upper_case_guids": False,
        "trailing_blanks": False,
        "clock_skew_s": 0.0,
    }


async def test_a_cut_line_refuses_connections_and_comes_back_on_its_port(tenant, receipt, until):
    """A stopped server refuses, ends what is under way without an answer, and its tenant goes on where it was."""
    assert await try_post(tenant, receipt(1)) == 202
    await add(tenant, kind="hang", path=RECEIPTS, count=1)
    under_way = asyncio.create_task(try_post(tenant, receipt(2)))
    await until(lambda: tenant.sim.faults.rules[0].count == 0)
    await tenant.running.stop()
    assert issubclass(await under_way, httpx.TransportError)
    assert await try_post(tenant, receipt(2)) is httpx.ConnectError
    tenant.running = await serve(tenant.sim, port=tenant.running.port)
    assert await try_post(tenant, receipt(2)) == 202
    assert tenant.sim.counts().received == 2


@pytest.mark.parametrize("kind", ["hang", "latency"])
async def test_cutting_the_line_is_quiet_and_quick(tenant, receipt, until, caplog, kind):
    """Requests that wait do not hold a stop up, and leave no traceback behind."""
    await add(tenant, kind=kind, path=RECEIPTS, delay_s=60, count=1)
    under_way = asyncio.create_task(try_post(tenant, receipt()))
    await until(lambda: tenant.sim.faults.rules[0].count == 0)
    async with asyncio.timeout(30):
        await tenant.running.stop()
    assert issubclass(await under_way, httpx.TransportError)
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_without_a_socket_a_drop_is_an_error(tenant, receipt):
    """Driven in process, where there is no connection to close, a drop is raised."""
    await add(tenant, kind="drop")
    transport = httpx.ASGITransport(tenant.sim.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://engage", headers=tenant.http.headers) as http:
        with pytest.raises(ConnectionResetError):
            await http.post("/api/v3/receipts", json=receipt())


async def test_a_taken_port_is_an_error(tenant):
    """Serving on a port in use raises and leaves nothing behind."""
    with pytest.raises(OSError, match="in use"):
        await serve(tenant.sim, port=tenant.running.port)


async def test_a_ticker_runs_the_jobs(tenant, receipt, until):
    """Served with a tick, jobs run by themselves when their moment has come."""
    await tenant.member()
    assert await try_post(tenant, receipt()) == 202
    second = await serve(tenant.sim, tick_s=0.01)
    try:
        tenant.sim.clock.move_to(tenant.sim.clock.now() + timedelta(seconds=900))
        await until(lambda: tenant.sim.counts().imported)
    finally:
        await second.stop()
    assert tenant.sim.counts().imported == 1


def test_a_threaded_simulator_serves_code_without_a_loop(tmp_path, receipt):
    """From a thread of its own it serves, can be cut and started on the same port, while this thread works on it."""
    import random

    now = datetime(2026, 2, 16, 11, 0, tzinfo=UTC)
    sim = VoyadoSimulator(SimulatorSettings(root=tmp_path), now=lambda: now, rng=random.Random(7))
    sim.seed(3)
    headers = {"apikey": "sim-key", "Content-Type": "application/json"}
    with ThreadedSimulator(sim, port=free_port()) as served:
        port = served.port
        with httpx.Client(base_url=served.url, headers=headers, timeout=60) as http:
            assert http.post("/api/v2/receipts", json=receipt()).status_code == 202
            sim.advance(900)
            assert sim.counts().imported == 1
            served.stop()
            with pytest.raises(httpx.ConnectError):
                http.get("/_sim/state")
            served.start()
            assert served.port == port
            assert http.get("/_sim/state").json()["receipts"]["imported"] == 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{served.url}/_sim/state")
