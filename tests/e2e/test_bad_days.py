"""Days on which everything goes wrong at once: bad files, bad answers, bad clocks, and somebody in a hurry."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import os
import random
import socketserver
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from e2e.shop import COMMAND, Till, eventually, members

from agent import daemon, settings
from agent.connectors.registry import settings_models
from agent.connectors.voyado.simulator import Fault

pytestmark = pytest.mark.slow

FEW = pytest.mark.parametrize("vendor", [20], indirect=True, ids=["few"])


def number_of(contact):
    return {"type": "member_number", "value": contact.value("memberNumber")}


def refused(till):
    """What `run` says when it does not start."""
    return subprocess.run(
        [COMMAND, "run", "--config", till.config], capture_output=True, text=True, timeout=30, check=False
    )


# --- it does not start, and says why --------------------------------------------------------------------------------


@FEW
def test_every_fault_of_a_configuration_is_told_at_once(open_till):
    """Unknown keys, wrong units, missing secrets and contradictions: exit 78 and one line for each, with its place."""
    till = open_till(
        agent={"store": "1042", "timezone": "Mars/Olympus"},
        api={"listen": ["0.0.0.0:8787"]},
        queue={"flush_every": "10 seconds"},
        voyado={"api_key": "file:nowhere.key", "requests_per_second": 0},
        nonsense={"key": 1},
    )
    run = refused(till)

    assert run.returncode == 78
    for place in (
        "agent.store", "agent.timezone", "api.listen", "queue.flush_every", "voyado.requests_per_second", "nonsense",
    ):  # fmt: skip
        assert place in run.stderr
    assert str(till.config) in run.stderr
    assert not till.state.exists()


@FEW
def test_a_missing_secret(open_till):
    """A secret that cannot be read is exit 78, named by its reference."""
    run = refused(open_till(voyado={"api_key": "file:nowhere.key"}))

    assert run.returncode == 78
    assert "voyado.api_key" in run.stderr
    assert "nowhere.key" in run.stderr


@FEW
@pytest.mark.parametrize("key", ["missing", "another", "nonsense"])
def test_without_its_key_nothing_is_lost(vendor, open_till, key):
    """Databases without their key: exit 78 and nothing is touched; with the key again the queue goes out."""
    alma = members(vendor, 1)[0]
    till = open_till().start()
    eventually(till.loaded)
    vendor.cut()
    till.sell("s-1", identifier=number_of(alma))
    till.stop()
    storage_key = till.state / "storage.key"
    kept, before = storage_key.read_text(), (till.state / "outbox.db").read_bytes()
    if key == "missing":
        storage_key.unlink()
    else:
        storage_key.write_text(base64.b64encode(bytes(32)).decode() if key == "another" else "no key")
    run = refused(till)

    assert run.returncode == 78
    assert "storage.key" in run.stderr or "the key does not open" in run.stderr
    assert (till.state / "outbox.db").read_bytes() == before
    assert storage_key.exists() == (key != "missing")

    storage_key.write_text(kept)
    vendor.mend()
    till.start()
    eventually(lambda: vendor.held() == {"s-1": 1})


@FEW
def test_a_second_agent(till):
    """A second agent on a state directory is exit 75; the first does not notice."""
    run = refused(till)

    assert run.returncode == 75
    assert "another agent" in run.stderr.lower()
    assert till.http.get("/readyz").status_code == 200


@FEW
def test_nobody_else_may_read_the_state(vendor, till):
    """The state directory is 0700 and every file in it 0600, whatever the umask lets through."""
    till.sell("s-1", identifier=number_of(members(vendor, 1)[0]))

    assert till.state.stat().st_mode & 0o777 == 0o700
    files = {path.name: path.stat().st_mode & 0o777 for path in till.state.rglob("*") if path.is_file()}
    assert {"outbox.db", "outbox.db-wal", "replica.db", "storage.key"} <= files.keys()
    assert files == dict.fromkeys(files, 0o600)


@FEW
def test_a_damaged_page_of_the_replica(vendor, till):
    """A page in the middle of `replica.db` is overwritten: look-ups and sales go on, and everybody is fetched anew."""
    alma = members(vendor, 1)[0]
    everybody = till.status()["replica"]["contacts"]
    till.stop()
    path = till.state / "replica.db"
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 512] = os.urandom(512)
    path.write_bytes(content)
    till.start()

    asked = till.ask("member_number", alma.value("memberNumber"))
    assert asked.status_code == 200
    assert asked.json()["outcome"] == "matched"
    assert till.sell("s-1", identifier=number_of(alma)).status_code == 202
    assert "storage.damaged" in till.conditions()
    assert till.status()["state"] == "degraded"
    eventually(lambda: till.loaded(everybody))
    eventually(lambda: till.identify("member_number", alma.value("memberNumber"))["served"]["source"] == "replica")
    eventually(lambda: vendor.held() == {"s-1": 1})


# --- the vendor answers nonsense ------------------------------------------------------------------------------------


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    heard: list[str]


class _Hear(http.server.BaseHTTPRequestHandler):
    def _any(self):
        self.server.heard.append(f"{self.command} {self.path} {self.headers}")
        self.send_response(200)
        self.end_headers()

    do_GET = do_POST = do_PUT = _any  # noqa: N815 - the library calls them so

    def log_message(self, *_args):
        """Not on standard error."""


@pytest.fixture(name="elsewhere")
def _elsewhere():
    """Another host, to which redirects point; ``heard`` has what came."""
    with _Listener(("127.0.0.1", 0), _Hear) as server:
        server.heard = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


ANSWERS = {
    "html": {"status": 200, "body": "html"},
    "empty": {"status": 200, "body": "empty"},
    "text": {"status": 200, "body": "text"},
    "truncated": {"status": 200, "body": "truncated"},
    "huge": {"status": 200, "body": "huge", "size_bytes": 64 << 20},
    "redirect": {"status": 307, "body": "empty"},
    "html 500": {"status": 500, "body": "html"},
    "teapot": {"status": 418, "body": "html"},
}


@FEW
@pytest.mark.parametrize("answer", ANSWERS)
def test_nonsense_on_every_endpoint(vendor, open_till, elsewhere, answer):
    """Whatever comes for an answer: nothing crashes, nothing is lost or guessed, and no key goes elsewhere."""
    alma = members(vendor, 1)[0]
    till = open_till(loyalty={"live_lookup_budget": "500ms"}).start()
    eventually(till.loaded)
    headers = {"Location": f"http://127.0.0.1:{elsewhere.server_address[1]}/api"} if answer == "redirect" else {}
    path = "/api/*/contacts*" if answer in ("empty", "text", "truncated") else "/api/*"
    vendor.sim.faults.add(Fault(kind="answer", path=path, headers=headers, **ANSWERS[answer]))

    stranger = till.identify("mobile_phone", "+46701740698")
    assert stranger["outcome"] == "unknown"
    assert till.identify("member_number", alma.value("memberNumber"))["outcome"] == "matched"
    assert till.sell("s-1", identifier=number_of(alma)).status_code == 202
    assert till.sell("s-2", identifier={"type": "mobile_phone", "value": "+46701740698"}).status_code == 202
    new = {"mobile_phone": "+46701740699", "first_name": "Ylva"}
    assert till.sell("s-3", new_contact=new).status_code == 202
    till.order("flush")
    time.sleep(0.5)
    assert till.status()["queue"]["parked"] == 0
    assert till.transaction("s-3")["state"] == "queued"
    vendor.sim.faults.clear()
    till.order("flush")
    eventually(till.drained)

    held = vendor.held()
    assert {"s-1", "s-3"} <= held.keys()
    assert vendor.posts().keys() == {"s-1", "s-2", "s-3"}
    assert till.process.poll() is None
    assert till.logged("request.failed") == till.logged("loop.failed") == till.logged("order.failed") == []
    assert elsewhere.heard == []
    assert till.status()["queue"]["parked"] == 0


@FEW
def test_nonsense_from_the_change_feed(vendor, open_till, elsewhere):
    """A change feed that answers nonsense is a condition after a while; the last good state stays."""
    till = open_till(voyado={"feed": "api"}).start()
    eventually(lambda: till.loaded(len(list(vendor.sim.state.members()))))
    before = till.status()["replica"]["as_of"]
    for answer in ("html", "empty", "truncated", "huge", "redirect"):
        headers = {"Location": f"http://127.0.0.1:{elsewhere.server_address[1]}/"} if answer == "redirect" else {}
        fault = Fault(kind="answer", path="*/contacts/changes", headers=headers, count=1_000, **ANSWERS[answer])
        vendor.sim.faults.add(fault)
        till.order("sync")
        eventually(lambda fault=fault: fault.count < 1_000 and till.status()["replica"]["loading"] is None)
        vendor.sim.faults.clear()

    assert till.status()["replica"]["as_of"] == before
    assert "feed.silent" in till.conditions()
    assert elsewhere.heard == []
    till.sync()
    assert till.conditions() == set()


# --- time ------------------------------------------------------------------------------------------------------------


@dataclass
class FastClock:
    """A clock that runs many times faster than the machine's, both hands alike."""

    times: float
    _begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _begun_mono: float = field(default_factory=time.monotonic)

    def monotonic(self):
        return (time.monotonic() - self._begun_mono) * self.times

    def now(self):
        return self._begun_at + timedelta(seconds=self.monotonic())

    def today(self):
        return self.now().date()


@pytest.mark.slow
@pytest.mark.parametrize("vendor", [60], indirect=True, ids=["some"])
async def test_seventy_two_hours(vendor, open_till):
    """Three days refused, then 503, then silent: none parked, none lost, order kept, and the state says so."""
    till: Till = open_till(http={"connect_timeout": "1s", "read_timeout": "200ms"}, replica={"expires_after": "300d",
                           "stale_after": "300d", "sync_every": "365d"})  # fmt: skip
    people = [number_of(person) for person in members(vendor, 20)]
    configuration = settings.load(config=till.config, vendors=settings_models(), environ={})
    clock = FastClock(20_000)
    async with daemon.running(configuration, clock=clock, chance=random.Random(1)) as agent:
        token = agent.tokens.add("pos-1", "admin")
        async with httpx.AsyncClient(
            base_url=till.http.base_url, headers={"Authorization": f"Bearer {token}"}, trust_env=False
        ) as http_client:

            async def status():
                return (await http_client.get("/v1/status")).json()

            async def until(what):
                async with asyncio.timeout(60):
                    while not what(await status()):  # noqa: ASYNC110 - another process decides
                        await asyncio.sleep(0.02)

            await until(lambda now: now["replica"]["as_of"])
            vendor.cut()
            for number in range(400):
                body = {**SALE, "transaction_id": f"s-{number:03}", "identifier": people[number % 20]}
                assert (await http_client.post("/v1/transactions", json=body)).status_code == 202
            began = clock.now()
            await until(lambda now: now["state"] == "offline")
            for fault in (None, Fault(kind="answer", path="/api/*", status=503), Fault(kind="hang", path="/api/*")):
                if fault is not None:
                    vendor.sim.faults.clear()
                    vendor.sim.faults.add(fault)
                    await asyncio.to_thread(vendor.mend)
                until_at = clock.now() + timedelta(hours=24)
                while clock.now() < until_at:
                    now = await status()
                    assert (now["state"], now["queue"]["parked"], now["queue"]["depth"]) == ("offline", 0, 400)
                    await asyncio.sleep(0.1)
            assert clock.now() - began >= timedelta(hours=72)
            vendor.sim.faults.clear()
            await until(lambda now: now["queue"]["depth"] == 0)
            assert (await status())["queue"]["parked"] == 0

    assert vendor.held() == {f"s-{number:03}": 1 for number in range(400)}
    order = [receipt["uniqueReceiptId"] for receipt in vendor.receipts()]
    for person in range(20):
        mine = list(dict.fromkeys(uid for uid in order if int(uid[2:]) % 20 == person))
        assert mine == sorted(mine)


SALE = {
    "type": "purchase", "occurred_at": "2026-02-14T16:41:09+01:00", "currency": "SEK", "total": "250.00",
    "lines": [{"kind": "purchase", "sku": "SK-77", "quantity": "1", "gross_paid": "250.00"}],
    "payments": [{"type": "card", "amount": "250.00"}],
}  # fmt: skip


# --- at the door -----------------------------------------------------------------------------------------------------


@FEW
def test_tokens_count_without_a_restart(till):
    """A token that is added may soon call, one that is revoked soon not, each without a restart."""
    added = json.loads(till.command("token", "add", "pos-2", "--scope", "pos", "--json").stdout)
    headers = {"Authorization": f"Bearer {added['token']}"}

    def status():
        return till.http.get("/v1/status", headers=headers).status_code

    eventually(lambda: status() == 200)
    assert till.http.get("/v1/queue", headers=headers).status_code == 403
    assert till.command("token", "revoke", "pos-2").returncode == 0
    eventually(lambda: status() == 401)
    assert till.http.get("/v1/status").status_code == 200
    assert added["token"] not in "".join(
        path.read_text(errors="replace") for path in till.state.iterdir() if path.is_file()
    )


@FEW
def test_stopped_while_it_delivers(vendor, till):
    """SIGTERM in the middle of a drain: exit 0, nothing is lost, and what is left goes out after the next start."""
    people = [number_of(person) for person in members(vendor, 10)]
    vendor.cut()
    for number in range(150):
        assert till.sell(f"s-{number:03}", identifier=people[number % 10]).status_code == 202
    vendor.sim.faults.add(Fault(kind="latency", path="*/receipts", delay_s=0.2))
    vendor.mend()
    till.order("flush")
    eventually(lambda: len(vendor.posts()) >= 20)
    assert till.stop() == 0
    sent = len(vendor.posts())
    assert sent < 150
    vendor.sim.faults.clear()
    till.start()
    eventually(till.drained)

    assert vendor.held() == {f"s-{number:03}": 1 for number in range(150)}
    assert till.logged("loop.failed") == []


@FEW
def test_the_event_stream_tells_a_change(vendor, till):
    """A listener gets the state at once and again when the line goes and comes back, without asking."""
    with till.http.stream("GET", "/v1/events", timeout=30) as stream:
        states = (json.loads(line[6:])["state"] for line in stream.iter_lines() if line.startswith('data: {"state"'))
        first = next(states)
        vendor.cut()
        till.sell("s-1", identifier=number_of(members(vendor, 1)[0]))
        second = next(state for state in states if state != first)
        vendor.mend()
        third = next(state for state in states if state != second)

    assert (first, second, third) == ("online", "offline", "online")


@FEW
def test_the_log_names_nobody(vendor, open_till):
    """At its most talkative, through failures of every kind, the log holds no value that points to a person."""
    alma = vendor.enrol(mobilePhone="+46701740699", email="zaphira.kvistgren@example.com", firstName="Zaphira")
    vendor.sim.export_now()
    till = open_till(log={"level": "debug"}, loyalty={"unknown_at_delivery": "create"}).start()
    eventually(till.loaded)
    for kind in ("drop", "hang", "answer"):
        vendor.sim.faults.add(Fault(kind=kind, path="/api/*", count=2, body="text"))
        till.ask("mobile_phone", "+46701740698")
        till.ask("email", "zaphira kvistgren")
        till.sell(
            f"s-{kind}", identifier={"type": "email", "value": "zaphira.kvistgren@example.com"}, cashier_id="Xylofia"
        )
        till.sell(f"n-{kind}", identifier={"type": "mobile_phone", "value": "070-174 06 97"})
        till.http.get("/v1/contacts/+46701740699")
        till.http.get("/+46701740699?mail=zaphira.kvistgren@example.com")
    vendor.sim.faults.clear()
    till.order("flush")
    eventually(till.drained)
    till.stop()
    log = till.log.read_text().lower()

    values = ("70174069", "70-174", "zaphira", "kvistgren", "xylofia", alma.value("memberNumber"), alma.contact_id)
    assert [value for value in values if value in log] == []
    assert "started" in log
