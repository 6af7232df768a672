"""The commands against a running agent, a process of its own beside a simulated vendor."""

import json
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from click.testing import CliRunner
from e2e.shop import eventually
from ports import free_port

from agent.cli.main import program
from agent.connectors.voyado.simulator import Fault, SimulatorSettings, ThreadedSimulator, VoyadoSimulator
from agent.workbench.agent_process import AgentProcess
from agent.workbench.basket import Baskets

INSTALLED = Path(sys.executable).with_name("loyalty-agent")
CONFIG = """
[agent]
store_id = "1042"
till_id = "03"
state_dir = "{root}/state"
[api]
listen = ["unix:{root}/pos.sock", "127.0.0.1:{port}"]
[queue]
flush_every = "1s"
backoff_first = "1s"
backoff_max = "1s"
[voyado]
base_url = "{url}"
api_key = "file:voyado.key"
requests_per_second = 50
feed = "{feed}"
"""


class World:
    """A tenant, an agent beside it, and the commands of this machine."""

    def __init__(self, root, tenant, url, port):
        self.root, self.tenant, self.url = root, tenant, f"http://127.0.0.1:{port}"
        self.config = root / "config.toml"
        feed = tenant.exports.folder.as_uri()
        self.config.write_text(CONFIG.format(root=root, port=port, url=url, feed=feed))
        (root / "voyado.key").write_text("sim-key")
        self.agent = AgentProcess(self.config, self.url, root / "agent.log")
        self.baskets = Baskets("1042", "03", ZoneInfo("Europe/Stockholm"), random.Random(1))

    def run(self, *args):
        """Calls a command; its exit status, and what it printed as JSON."""
        done = CliRunner().invoke(program, ["--config", str(self.config), *map(str, args), "--json"])
        return done.exit_code, json.loads(done.stdout)

    def say(self, *args):
        """Calls the installed command for people; what it printed."""
        command = [INSTALLED, *args, "--config", self.config]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def sell(self, token, **who):
        """Posts a sale to the door; its id."""
        sale = self.baskets.purchase(datetime.now(UTC), who)
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.url}/v1/transactions"
        answer = httpx.post(url, json=sale, headers=headers, trust_env=False, timeout=60)
        assert answer.status_code == 202
        return sale["transaction_id"]

    def answer(self, token):
        """The status of an answer to a token."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{self.url}/v1/status", headers=headers, trust_env=False, timeout=60).status_code

    def wait(self, done):
        """Waits until the status is as wanted."""
        eventually(lambda: done(self.run("status")[1]))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    settings = SimulatorSettings(root=root / "voyado", receipt_interval_s=None, export_interval_s=None)
    tenant = VoyadoSimulator(settings, now=lambda: datetime.now(UTC), rng=random.Random(1))
    tenant.seed(20)
    tenant.export_full()
    with ThreadedSimulator(tenant, port=free_port()) as server:
        world = World(root, tenant, server.url, free_port())
        world.agent.start()
        try:
            world.wait(lambda status: status["replica"]["as_of"])
            yield world
        finally:
            world.agent.stop()


@pytest.fixture(scope="module")
def token(world):
    made = world.run("token", "add", "till", "--scope", "pos")[1]["token"]
    eventually(lambda: world.answer(made) == 200)
    return made


def test_status_is_the_doors_over_a_unix_socket(world):
    """The first listen address is asked, here a socket, and the answer is the door's, 0 while all is well."""
    status, told = world.run("status")

    assert (status, told["reachable"], told["state"]) == (0, True, "online")
    assert told["address"].startswith("unix:")
    assert told["replica"]["contacts"] == 20
    assert {"level", "since", "version", "vendors", "queue", "conditions", "messages"} <= told.keys()
    words = world.say("status")
    assert "online since" in words
    assert "20 contacts (keys)" in words


def test_a_sync_ends_with_what_changed(world):
    """The command returns once the change is in the replica."""
    with world.tenant.lock:
        world.tenant.state.delete(next(iter(world.tenant.state.members())))
        world.tenant.export_now()

    status, told = world.run("sync")

    assert (status, told["order"], told["completed"], told["reason"]) == (0, "sync", True, None)
    assert told["status"]["replica"]["contacts"] == 19


@pytest.mark.slow
def test_a_sync_that_heals_ends_well(world):
    """While a part is missing the command says so and ends with 1; the sync that finds it ends with 0."""
    with world.tenant.lock:
        for _ in range(2):
            world.tenant.state.delete(next(iter(world.tenant.state.members())))
        world.tenant.export_now()
    newest = max(world.tenant.exports.folder.glob("*.xml"))
    stamp, _, series = newest.name.split("_", 2)
    part = newest.rename(newest.with_name(f"{stamp}_2_{series}"))

    status, told = world.run("sync")
    assert (status, told["completed"], told["reason"]) == (1, False, "not completed (feed.gap)")

    part.rename(newest)  # a whole export, in place of the part of one
    status, told = world.run("sync")
    assert (status, told["completed"], told["status"]["state"]) == (0, True, "online")
    assert not [one["code"] for one in told["status"]["conditions"] if one["code"].startswith("feed.")]


@pytest.mark.slow
def test_a_sync_that_finds_only_strange_files_says_so(world):
    """A file that may be an export under another name is told, by its form alone, in the status and by the command."""
    folder = world.tenant.exports.folder
    strange = folder / "members of 0701740605.xml"
    strange.write_text("<contacts/>")

    status, told = world.run("sync")
    assert (status, told["completed"], told["reason"]) == (1, False, "not completed (feed.unreadable)")
    (detail,) = [one["detail"] for one in told["status"]["conditions"] if one["code"] == "feed.unreadable"]
    assert "members?of?0000000000.xml" in detail
    asked = subprocess.run(
        [INSTALLED, "sync", "--config", world.config], capture_output=True, text=True, check=False, timeout=60
    )
    assert (asked.returncode, "members?of?0000000000.xml" in asked.stdout) == (1, True)
    assert "0701740605" not in asked.stdout + asked.stderr + (world.root / "agent.log").read_text()

    strange.unlink()
    status, told = world.run("sync")
    assert (status, told["status"]["state"]) == (0, "online")


def test_orders_may_be_left_alone(world):
    """With --no-wait the command returns once the agent has taken the order; purge always does."""
    for order in (("sync", "--no-wait"), ("flush", "--no-wait"), ("purge",)):
        assert world.run(*order) == (0, {"order": order[0], "completed": None, "reason": None, "status": None})


def test_a_refused_sale_is_shown_retried_and_explained(world, token):
    """What the loyalty system refuses waits for a person, who sees why, mends it there, and sends it again."""
    refused = world.tenant.faults.add(Fault(kind="poison", predicate=lambda _receipt: True))
    member = next(iter(world.tenant.state.members())).attributes["memberNumber"]
    name = world.sell(token, identifier={"type": "member_number", "value": member})
    world.wait(lambda status: status["queue"]["parked"] == 1)

    assert world.run("status")[0] == 1
    status, listed = world.run("queue", "list", "--state", "parked")
    (entry,) = listed["entries"]
    assert (status, listed["next"], entry["transaction_id"], entry["last_error"]["status"]) == (0, None, name, 422)
    status, shown = world.run("queue", "show", entry["entry"])
    assert status == 0
    assert [attempt["verdict"] for attempt in shown["attempts"]] == ["park"]

    world.tenant.faults.remove(refused)
    assert world.run("queue", "retry", entry["entry"]) == (0, {"retried": [entry["entry"]]})
    assert world.run("flush")[:1] == (0,)
    assert world.run("queue", "list")[1]["entries"] == []
    status, story = world.run("explain", name)
    assert status == 0
    assert [attempt["verdict"] for attempt in story["attempts"]] == ["park", "done"]
    assert world.say("explain", name).splitlines()[-1] == "Now it is with voyado."


def test_a_refused_sale_can_be_given_up(world, token):
    """A discarded sale is not sent any more and stays on record."""
    refused = world.tenant.faults.add(Fault(kind="poison", predicate=lambda _receipt: True))
    member = next(iter(world.tenant.state.members())).attributes["memberNumber"]
    name = world.sell(token, identifier={"type": "member_number", "value": member})
    world.wait(lambda status: status["queue"]["parked"] == 1)
    (entry,) = world.run("queue", "list")[1]["entries"]

    assert world.run("queue", "discard", entry["entry"], "--reason", "rung up for training")[0] == 0

    world.tenant.faults.remove(refused)
    assert world.run("queue", "list")[1]["entries"] == []
    assert world.run("explain", name)[1]["deliveries"][0]["state"] == "discarded"
    assert name not in world.tenant.receipts.posts


def test_what_is_not_there_is_1(world):
    """An unknown sale and an entry that does not wait are told, and end with 1."""
    for command in (("explain", "nope"), ("queue", "show", "9999"), ("queue", "retry", "9999")):
        status, told = world.run(*command)
        assert (status, told["error"]["code"]) == (1, "record.unknown")


def test_a_token_works_and_ends_without_a_restart(world):
    """A running agent takes a new token and refuses a revoked one, each soon."""
    made = world.run("token", "add", "short-lived", "--scope", "pos")[1]["token"]
    eventually(lambda: world.answer(made) == 200)
    world.run("token", "revoke", "short-lived")
    eventually(lambda: world.answer(made) == 401)


def test_a_second_agent_is_refused(world):
    """Two agents never share a state directory: 75, in words that say what to do."""
    done = subprocess.run(
        [INSTALLED, "run", "--config", world.config], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 75
    assert "state directory" in done.stderr


def test_a_faulty_configuration_does_not_start(world):
    """`run` names every fault and ends with 78."""
    done = subprocess.run(
        [INSTALLED, "run", "--config", world.config, "--set", "log.level=loud", "--set", "queue.nothing=1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 78
    assert "the command line: log.level" in done.stderr
    assert "the command line: queue.nothing" in done.stderr


def test_an_outage_is_told_and_a_stopped_agent_leaves_its_files(world, token):
    """Offline is 1 and keeps what waits; after a stop in order the files still say how much that is."""
    world.tenant.faults.add(Fault(kind="drop"))
    name = world.sell(token, identifier={"type": "mobile_phone", "value": "070-174 06 99"})
    world.wait(lambda status: status["state"] == "offline")
    assert world.run("status")[0] == 1

    process = world.agent._process
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0

    status, told = world.run("status")
    assert (status, told["reachable"], told["state"]) == (2, False, "unreachable")
    assert told["files"]["queue"]["queued"] == 1
    assert told["files"]["outbox"]["bytes"] > 0
    assert told["files"]["replica"]["bytes"] > 0
    assert world.run("explain", name)[0] == 2
