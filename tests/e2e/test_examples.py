"""What the reference and the README tell a newcomer to type, typed: each answer is the one that they go on from."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.shop import COMMAND, Till, eventually

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("curl") is None, reason="the examples need curl")]

ROOT = Path(__file__).parents[2]
SALE = "1042-03-20260214-000187"


def typed(page: str, containing: str) -> list[str]:
    """The commands of the one block of shell on a page that has this in it, each with the lines that belong to it."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if containing in block]
    return re.split(r"\n+(?=curl |[A-Z]+=)", block.strip())


def run(till: Till, commands: list[str], **variables: str) -> list[str]:
    """What each of them says, in one shell; ``loyalty-agent`` is this one, with this till's configuration."""
    told = "\n".join(f"{command}\nprintf '\\036'" for command in commands)
    environment = {
        **os.environ,
        **variables,
        "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}",
        "CONFIGURATION_DIRECTORY": str(till.config.parent),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", told],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\036")[:-1]


def at(till: Till, commands: list[str]) -> list[str]:
    """The same commands, where this till listens."""
    return [command.replace("127.0.0.1:8787", f"127.0.0.1:{till.port}") for command in commands]


def test_ten_minutes_to_the_first_sale(till: Till) -> None:
    commands = at(till, typed("docs/till-api.md", "AGENT=http"))
    assert len(commands) == 6

    *_, status, found, kept, _ = run(till, commands)

    assert json.loads(status)["state"] in ("online", "degraded")
    assert json.loads(found)["outcome"] == "matched"
    assert json.loads(kept)["integration_key"] == json.loads(found)["integration_key"]
    eventually(lambda: till.delivered(SALE))
    (story,) = run(till, commands[-1:], TOKEN=till.token, AGENT=f"http://127.0.0.1:{till.port}")
    assert json.loads(story)["state"] == "delivered"
    assert till.vendor.held() == {SALE: 1}


def test_the_sale_of_the_readme(till: Till) -> None:
    (command,) = at(till, typed("README.md", "curl -s http"))

    (kept,) = run(till, [command], TOKEN=till.token)

    assert json.loads(kept)["transaction_id"] == SALE
    eventually(lambda: till.delivered(SALE))


def test_the_queue_is_worked_off_by_hand(open_till: Callable[..., Till]) -> None:
    """17 is a number like any other: here it is that of a sale of somebody whom the loyalty system does not know."""
    till = open_till(loyalty={"unknown_at_delivery": "park"}).start()
    stuck = till.sell(SALE, identifier={"type": "email", "value": "nobody@example.com"})
    assert stuck.status_code == 202, stuck.text
    eventually(lambda: till.queue("parked"))
    entry = till.queue("parked")[0]["entry"]
    commands = [one.replace("/17/", f"/{entry}/") for one in typed("docs/till-api.md", "$AGENT/v1/queue?state=parked")]
    here = {"ADMIN": till.token, "AGENT": f"http://127.0.0.1:{till.port}"}

    listed, retried = run(till, commands[:2], **here)
    assert [one["transaction_id"] for one in json.loads(listed)["entries"]] == [SALE]
    assert json.loads(retried) == {"ordered": "retry", "entry": entry}
    eventually(lambda: till.queue("parked"))
    (given_up,) = run(till, commands[2:], **here)
    assert json.loads(given_up) == {"ordered": "discard", "entry": entry}
    assert till.queue("parked") == []
