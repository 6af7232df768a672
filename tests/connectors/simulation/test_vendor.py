"""What every simulated vendor has in common, at one that takes records by their ids."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

import httpx
import pytest

from agent.connectors.simulation.answers import answer, routed
from agent.connectors.simulation.controls import controls
from agent.connectors.simulation.gate import Gate
from agent.connectors.simulation.line import Wording, processed
from agent.connectors.simulation.records import RecordFault
from agent.connectors.simulation.server import serve
from agent.connectors.simulation.vendor import SimulatedVendor

NOW = datetime(2026, 2, 14, 16, 0, tzinfo=UTC)
DATE = "Sat, 14 Feb 2026 16:00:00 GMT"
CUT = (httpx.RemoteProtocolError, httpx.ReadError)


@dataclass(kw_only=True)
class Fault(RecordFault):
    record_kinds: ClassVar[tuple[str, ...]] = ("lose", "double")
    kinds: ClassVar[tuple[str, ...]] = (*RecordFault.kinds, "half", *record_kinds)
    named_by: ClassVar[str] = "name"

    name: str | None = None


class Desk(SimulatedVendor[Fault]):
    """Takes names by `POST /names`, unless one is to be lost."""

    def __init__(self):
        super().__init__({"key": "secret"}, now=lambda: NOW)
        self.taken = Counter()
        self.app = Gate(
            routed(self.lock, [("POST", "/names", self.take)]),
            controls(
                self,
                Fault,
                shows={"state": lambda _wanted: dict(self.taken), "locked": lambda _wanted: self.is_locked()},
                acts={"names": self.taken.update},
                wrong=lambda text: answer({"wrong": text}, 400),
            ),
            now=self.now,
            meet=self.meet,
            wording=Wording({"own": "error"}, lambda text: {"echo": text}),
        )

    def held(self):
        return dict(self.taken)

    def is_locked(self):
        with ThreadPoolExecutor(1) as elsewhere:
            return not elsewhere.submit(self.lock.acquire, blocking=False).result()

    def take(self, request, body):
        for name in processed(json.loads(body), request.scope):
            self.taken[name] += 0 if self.fault_of("lose", "nobody", name) else 1
        return answer({}, 202)


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
async def http(desk):
    running = await serve(desk)
    async with httpx.AsyncClient(base_url=running.url, trust_env=False) as client:
        yield client
    await running.stop()


@pytest.mark.parametrize(
    ("fault", "held"),
    [
        ({"kind": "drop"}, {}),
        ({"kind": "drop", "after_processing": True}, {"a": 1, "b": 1, "c": 1}),
        ({"kind": "half"}, {"a": 1}),
    ],
    ids=["before the work", "after it", "in the middle of it"],
)
async def test_a_line_that_is_cut(desk, http, fault, held):
    """No answer comes; what the vendor has done by then, the fault says."""
    desk.add(Fault(**fault, count=1))
    with pytest.raises(CUT):
        await http.post("/names", json=["a", "b", "c"])
    assert desk.held() == held
    assert (await http.post("/names", json=["d", "e"])).status_code == 202
    assert desk.held() == held | {"d": 1, "e": 1}


@pytest.mark.parametrize(
    ("after", "held"), [(False, {}), (True, {"a": 1})], ids=["instead of the work", "in place of the vendor's answer"]
)
async def test_another_answer(desk, http, after, held):
    """An answer with a fault's status, in the vendor's words, tells the vendor's time as any other does."""
    desk.add(Fault(kind="answer", status=502, after_processing=after, count=1))
    instead = await http.post("/names", json=["a"])
    own = await http.post("/names", json=["z"])

    assert (instead.status_code, instead.json(), instead.headers["date"]) == (502, {"own": "error"}, DATE)
    assert (own.status_code, own.headers["date"]) == (202, DATE)
    assert desk.held() == held | {"z": 1}


async def test_an_answer_that_repeats_what_was_asked(desk, http):
    """Path, query and body come back in the vendor's form of an error."""
    desk.add(Fault(kind="answer", status=400, body="echo"))
    echoed = (await http.post("/names?of=%2B1", json=["a"])).json()["echo"]
    assert echoed == '/names?of=+1 ["a"]'


def test_faults_are_met_in_their_order(desk):
    """Latency comes on top, the first other fault that fits is met, and what comes behind it counts nothing."""
    slow, slower = desk.add(Fault(kind="latency", delay_s=1)), desk.add(Fault(kind="latency", delay_s=2, count=1))
    first = desk.add(Fault(kind="answer", path="/names", skip=1, count=1))
    second = desk.add(Fault(kind="hang", count=1))

    met = [desk.meet({"method": "POST", "path": "/names"}) for _ in range(3)]

    assert met == [(3, second), (1, first), (1, None)]
    desk.remove(slow)
    assert desk.faults == [slower, first, second]
    assert desk.meet({"method": "POST", "path": "/names"}) == (0, None)


async def test_a_slow_line(desk, http):
    """The answer comes no sooner than the fault says."""
    desk.add(Fault(kind="latency", delay_s=0.05))
    started = asyncio.get_running_loop().time()
    assert (await http.post("/names", json=["a"])).status_code == 202
    assert asyncio.get_running_loop().time() - started >= 0.05


async def test_a_fault_of_one_record(desk, http):
    """It is met by that record, whatever request it is in, and by no request as a whole."""
    desk.add(Fault(kind="double", name="a"))
    desk.add(Fault(kind="lose", name="b"))
    assert (await http.post("/names", json=["a", "b"])).status_code == 202
    assert +desk.taken == {"a": 1}


@pytest.mark.parametrize("members", [{"kind": "lose"}, {"kind": "drop", "name": "a"}, {"kind": "earthquake"}])
def test_a_fault_that_cannot_be(members):
    """A fault of single records names one, the others do not, and there are no others."""
    with pytest.raises(ValueError, match=r"a name goes with lose and double|no such fault"):
        Fault(**members)


async def test_the_controls_are_beside_the_line(desk, http):
    """What stands in for a broken line does not keep its tester out."""
    await http.post("/_sim/faults", json={"add": [{"kind": "drop"}]})
    shown = await http.get("/_sim/state")
    assert (shown.status_code, shown.json(), "date" in shown.headers) == (200, {}, False)
    with pytest.raises(CUT):
        await http.get("/state")


async def test_whoever_answers_holds_the_lock(desk, http):
    """What a test does to a vendor from its own thread and what a request does take turns."""
    assert (await http.get("/_sim/locked")).json() is True
    assert not desk.is_locked()


async def test_faults_keys_and_a_new_beginning(desk, http):
    """Faults are added to those there are, keys take the place of those there are, and a reset keeps the keys."""
    await http.post("/_sim/faults", json={"add": [{"kind": "drop"}]})
    added = await http.post("/_sim/faults", json={"add": [{"kind": "lose", "name": "a"}]})
    cleared = await http.post("/_sim/faults", json={"clear": True, "add": [{"kind": "hang"}]})
    keys = await http.post("/_sim/keys", json={"z": "1", "b": "2"})
    await http.post("/_sim/names", json=["a"])
    desk.requests["POST names"] = 1

    assert [fault["kind"] for fault in added.json()] == ["drop", "lose"]
    assert [(fault["kind"], fault["name"]) for fault in cleared.json()] == [("hang", None)]
    assert (keys.json(), desk.keys) == (["b", "z"], {"z": "1", "b": "2"})
    assert (await http.post("/_sim/reset")).json() == {}
    assert (desk.faults, desk.requests, desk.keys) == ([], {}, {"z": "1", "b": "2"})
    assert desk.held() == {"a": 1}  # what a vendor holds is its own to forget


@pytest.mark.parametrize(
    ("control", "content"),
    [
        ("faults", b"{"),
        ("faults", b""),
        ("faults", b'{"clear": true, "add": [{"kind": "earthquake"}]}'),
        ("faults", b'{"clear": true, "add": [{"kind": "drop", "of": "a"}]}'),
        ("faults", b'{"clear": true, "add": 1}'),
        ("faults", b"[]"),
        ("keys", b""),
        ("keys", b"[]"),
        ("keys", b'{"key": 1}'),
    ],
)
async def test_a_control_that_is_wrongly_worded(desk, http, control, content):
    """It is told in the vendor's form, and nothing changes."""
    desk.add(Fault(kind="hang"))
    wrong = await http.post(f"/_sim/{control}", content=content)
    assert wrong.status_code == 400
    assert wrong.json()["wrong"]
    assert ([fault.kind for fault in desk.faults], desk.keys) == (["hang"], {"key": "secret"})
