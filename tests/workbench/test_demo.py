"""The demonstration as somebody sees it who types `loyalty-agent demo`."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from e2e.further import simulated

from agent.workbench.demo import Result
from agent.workbench.further import RECIPES, Tally
from agent.workbench.ledger import Count
from agent.workbench.narration import Narrator

INSTALLED = Path(sys.executable).with_name("loyalty-agent")


def directories(parent):
    return [path for path in parent.iterdir() if path.name.startswith(("loyalty-agent-demo-", "voyado-simulator-"))]


def count(**more):
    return Count(**{**dict.fromkeys(Count.__dataclass_fields__, 0), "made": 5, "delivered": 5, **more})


@pytest.mark.parametrize(
    ("result", "fine"),
    [
        (Result(count(), [], 1.0), True),
        (Result(count(delivered=4, lost=1), [], 1.0), False),
        (Result(count(doubled=1), [], 1.0), False),
        (Result(count(made=0, delivered=0), [], 1.0), False),
        (Result(count(), ["something else"], 1.0), False),
        (Result(count(), [], 1.0, {"a": Tally(5, 5, 0, 0)}), True),
        (Result(count(), [], 1.0, {"a": Tally(5, 5, 0, 0), "b": Tally(5, 4, 0, 1)}), False),
        (Result(count(), [], 1.0, {"a": Tally(5, 5, 1, 0)}), False),
        (Result(count(), [], 1.0, {"a": Tally(0, 0, 0, 0)}), False),
    ],
    ids=[
        *("sound", "lost", "doubled", "nothing made", "not as told"),
        *("sound there", "lost there", "doubled there", "nothing there"),
    ],
)
def test_only_a_sound_day_is_fine(result, fine):
    """One sale lost or doubled, or one step that did not go as told, fails the demonstration."""
    assert result.fine is fine


def test_away_from_a_terminal_the_story_is_plain_text(capsys):
    """No colours, no progress that rewrites itself; and nothing at all when quiet."""
    for quiet in (False, True):
        narrator = Narrator(quiet=quiet)
        narrator.chapter("A chapter", "Because.")
        narrator.progress("1 of 2")
        narrator.say("done", good=False)
        narrator.quote("staff", "sv", "Hej")

    assert capsys.readouterr().out == '\n1  A chapter\n   Because.\n   ! done\n       staff    sv    "Hej"\n'


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("vendors", [(), tuple(RECIPES)], ids=["one system", "every system"])
def test_a_working_day_loses_and_doubles_nothing(tmp_path, vendors):
    """Everything made is delivered once to each, every step goes as told, and nothing is left behind."""
    done = subprocess.run(
        [INSTALLED, "demo", "--json", "--vendors", "all" if vendors else ""],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ok"]
    assert told["wrong"] == []
    assert (told["doubled"], told["lost"]) == (0, 0)
    assert told["made"] == told["delivered"] > 300
    assert (told["guests"], told["voided"], told["repeated"]) == (1, 2, 2)
    assert told["risen"] > told["unmatched"] > 0
    assert set(told["further"]) == set(vendors)
    for tally in told["further"].values():
        assert (tally["doubled"], tally["lost"]) == (0, 0)
        assert tally["made"] == tally["delivered"] > 300
    assert directories(tmp_path) == []


@pytest.mark.slow
def test_what_is_kept_answers_until_ctrl_c(tmp_path):
    """With --keep the page, the door and the simulator stay up, and everything goes away with Ctrl-C."""
    with subprocess.Popen(
        ["env", "--default-signal=INT", INSTALLED, "demo", "--keep"],  # a shell's background ignores it
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        told = {}
        for line in process.stdout:
            name, _, value = line.strip().rpartition("  ")
            if value.strip() and name.strip():
                told[name.strip()] = value.strip()
            if "In another terminal" in line:
                break
        try:
            assert "\x1b" not in "".join(told.values())
            assert httpx.get(told["page"], trust_env=False).is_success
            assert httpx.get(told["voyado state"], trust_env=False).json()["receipts"]["waiting"] == 0
            headers = {"Authorization": f"Bearer {told['admin token']}"}
            answer = httpx.get(told["page"] + "v1/status", headers=headers, trust_env=False)
            assert answer.json()["state"] == "online"
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(told["page"], trust_env=False)
    assert directories(tmp_path) == []


def test_a_simulated_vendor_serves_until_it_is_ended(tmp_path):
    """`simulate voyado` prints where it is found, has the membership in its export folder, and ends in order."""
    with simulated("voyado", "--contacts", "30", "--export-dir", str(tmp_path)) as told:
        assert told.keys() == {"base_url", "control_url", "api_key", "export_folder", "contacts", "feed"}
        headers = {"apikey": told["api_key"], "Content-Type": "application/json", "User-Agent": "test/1"}
        stores = httpx.get(f"{told['base_url']}/api/v3/stores", headers=headers, trust_env=False)
        assert stores.is_success
        assert httpx.get(told["control_url"], trust_env=False).json()["contacts"]["Member"] == 30
        assert len(list(Path(told["export_folder"]).glob("*.xml"))) == 1
        assert told["feed"] == Path(told["export_folder"]).as_uri()


def test_a_port_that_is_taken_is_told():
    """The simulator does not start on another's port: 74, and no trace."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [INSTALLED, "simulate", "voyado", "--port", port, "--contacts", "1"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    assert done.returncode == 74
    assert "Traceback" not in done.stderr
