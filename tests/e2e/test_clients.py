"""Clients that common generators make of the OpenAPI document: a till is written on each, and works a day with it.

The generators come from an index, pinned by hash; where none can be reached the tests are skipped, with the reason.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e.shop import Till, Vendor, eventually, members

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
CLIENTS = Path(__file__).parent / "clients"
PAGE = (ROOT / "docs/till-api.md").read_text(encoding="utf-8")
UNREACHABLE = re.compile(
    r".*(?:Retry\(total=0|from versions: none|E(?:NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|NETUNREACH)).*"
)
"""What pip and npm say of an index that does not answer, and not of a hash or a version that is not there."""
THE_GENERATORS_OWN = "loyalty_agent_client/client.py:"
"""The one file that is the same whatever the document says."""
TILL = {
    "loyalty": {"fallback_level": 4, "live_lookup_budget": "20s"},
    "enrol": {"budget": "20s"},
    "replica": {"contents": "contacts", "fields": ["first_name"], "sync_every": "1h"},
    "benefits": {"estimate": {"points_per_unit": "0.1", "currency": "SEK", "rounding": "down"}},
}
WHATEVER = {
    "redeem": ["refused", "weak_identification"],
    "preview": ["estimate", "25"],
    "conflict": [409, "transaction.conflict", []],
    "wrong": [422, "request.invalid", ["/currency", "/payments/0/amount"]],
    "stands": ["voyado"],
    "unknown": [404, "record.unknown", []],
    "stranger": [401, "token.invalid", []],
    "scope": [403, "token.scope", []],
    "flush": "flush",
}
ONLINE = WHATEVER | {
    "benefits": ["live", "240", ["50.00"]],
    "sale": [202, False, "primary", 4, []],
    "repeat": [200, True, "primary", 4, []],
    "return": [202, False, "primary", 4, []],
    "another": [202, False, "primary", 4, []],
    "void": [202, False, "primary", 4, []],
    "status": ["online", 4, "green", ["voyado"]],
    "events": "online",
    "joined": [202, "delivered", "primary"],
    "changed": ["delivered", []],
}
OFFLINE = WHATEVER | {
    "benefits": ["replica", "240", ["50.00"]],
    "sale": [202, False, "primary", 4, ["loyalty.offline.replica"]],
    "repeat": [200, True, "primary", 4, ["loyalty.offline.replica"]],
    "return": [202, False, "primary", 4, ["loyalty.offline.replica"]],
    "another": [202, False, "primary", 4, ["loyalty.offline.replica"]],
    "void": [202, False, "primary", 4, []],
    "status": ["offline", 4, "red", ["voyado"]],
    "events": "offline",
    "joined": [202, "queued", "primary"],
    "changed": ["queued", []],
    "queue": ["off-1", "off-3"],
}


class Tools:
    """Where generators are installed, and a POS is written.

    Args:
        home: an empty directory.
        bins: where the programs of the tools are.
        made: what starts the program that comes of it.
    """

    def __init__(self, home: Path, bins: Path, made: list[str]) -> None:
        self.home, self.made = home, made
        self.environment = {**os.environ, "PATH": f"{bins}:{os.environ['PATH']}"}

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """A line of shell."""
        return subprocess.run(
            command, shell=True, cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    def follow(self, page: str, till: Till) -> None:
        """Makes the client from this till's document, and checks it, by the commands of the documentation."""
        (block,) = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        _, *commands = block.splitlines()  # the first one installs what is installed here by its hash
        for command in commands:
            done = self.run(command.replace("127.0.0.1:8787", f"127.0.0.1:{till.port}"))
            said = done.stdout + done.stderr
            assert done.returncode == 0, f"{command}\n{said}"
            warnings = [line for line in said.splitlines() if "warn" in line.lower() and not line.startswith("npm ")]
            assert warnings == [], command

    def start(self, till: Till, *words: str) -> subprocess.Popen[str]:
        """The POS, with a token of a cashier's and one of an administrator's."""
        added = till.command("token", "add", f"pos-{words[1]}", "--scope", "pos", "--json")
        tokens = {"TOKEN": json.loads(added.stdout)["token"], "ADMIN": till.token}
        where = {"AGENT": f"http://127.0.0.1:{till.port}"}
        return subprocess.Popen(
            [*self.made, *words], cwd=self.home, env={**self.environment, **tokens, **where},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


def install(command: list[str], home: Path) -> None:
    """Skips where no index can be reached; whatever else goes wrong is a failure."""
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode and (reason := UNREACHABLE.search(done.stderr)):
        pytest.skip(f"no index can be reached: {reason[0][:200]}")
    assert done.returncode == 0, done.stderr


def came(pos: subprocess.Popen[str]) -> Any:
    """What the POS was answered."""
    out, err = pos.communicate(timeout=120)
    assert pos.returncode == 0, err
    return json.loads(out)


def about(language: str) -> str:
    """What the documentation says of a language."""
    return PAGE.partition(f"\n#### {language}\n")[2].partition("\n#")[0]


@pytest.fixture(name="python", scope="module")
def _python(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    home = tmp_path_factory.mktemp("python")
    shutil.copy(CLIENTS / "python/pos.py", home)
    python = home / ".venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True, timeout=120)
    locked = ["--require-hashes", "--only-binary", ":all:", "-r", str(CLIENTS / "python/requirements.txt")]
    install([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *locked], home)
    return Tools(home, python.parent, [str(python), "pos.py"])


@pytest.fixture(name="typescript", scope="module")
def _typescript(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm is not installed (Debian: apt install npm)")
    home = tmp_path_factory.mktemp("typescript")
    shutil.copytree(CLIENTS / "typescript", home, dirs_exist_ok=True)
    install([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], home)
    return Tools(home, home / "node_modules/.bin", [node, "made/pos.js"])


def hangs_up(port: int) -> None:
    """An agent that is gone before it answers: takes one request there, and nothing more."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(60)
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)


@pytest.mark.parametrize("vendor", [20], indirect=True, ids=["few"])
@pytest.mark.parametrize("language", ["Python", "TypeScript"])
def test_a_day_at_a_till(request, vendor: Vendor, open_till: Callable[..., Till], language):
    """What the types of a generated client say is what comes: with the line, without it, and after no answer at all."""
    tools: Tools = request.getfixturevalue(language.lower())
    till = open_till(**TILL).start()
    eventually(till.loaded)
    tools.follow(about(language), till)
    alma = members(vendor, 1)[0]
    with vendor.sim.lock:
        vendor.sim.rewards.account(alma.contact_id).balance = 240
        vendor.sim.rewards.issue_voucher(alma.contact_id, amount=50)
    phone, name = alma.value("mobilePhone"), alma.value("firstName")

    online = came(tools.start(till, "day", "on", phone, "070-174 06 98"))
    waiting = online.pop("queue")
    assert online == ONLINE | {"identify": ["replica", name, True]}
    assert set(waiting) <= {"on-1", "on-3", "on-4", "on-5"}

    vendor.cut()
    offline = came(tools.start(till, "day", "off", phone, "070-174 06 97"))
    assert offline == OFFLINE | {"identify": ["replica", name, True]}

    till.kill()
    pos = tools.start(till, "sale", "late-1", phone)
    hangs_up(till.port)
    till.start()
    *late, told = came(pos)
    assert late == OFFLINE["sale"][:-1]
    assert told in ([], OFFLINE["sale"][-1])  # who has just started may not have found the line down yet

    vendor.mend()
    eventually(lambda: till.drained() and till.delivered("late-1"))
    sold = {one: count for one, count in vendor.held().items() if one not in ("on-4", "on-5")}  # both or neither
    assert sold == dict.fromkeys(("on-1", "on-3", "off-1", "off-3", "late-1"), 1)


def test_a_python_client_is_typed_all_through(till: Till, python: Tools):
    """What mypy finds in the package stands in the one file that no document changes; a new field does no harm."""
    python.follow(about("Python"), till)
    found = python.run("mypy --strict --package loyalty_agent_client").stdout.splitlines()
    assert found
    assert [line for line in found[:-1] if not line.startswith(THE_GENERATORS_OWN)] == []

    (python.home / "newer.json").write_text(json.dumps(till.status() | {"weather": {"rain": True}}))
    model, read = "from loyalty_agent_client.models import StatusAnswer", 'json.load(open("newer.json"))'
    level = python.run(f"python -c 'import json; {model}; print(StatusAnswer.from_dict({read}).level)'")
    assert level.stdout == "3\n", level.stderr


@pytest.mark.parametrize(("language", "file"), [("Python", "python/pos.py"), ("TypeScript", "typescript/pos.ts")])
def test_the_documentation_shows_what_was_tried(language, file):
    """The code that stands there is the program's."""
    (shown,) = re.findall(r"^```(?:python|ts)\n(.*?)^```$", about(language), re.DOTALL | re.MULTILINE)
    assert shown in (CLIENTS / file).read_text(encoding="utf-8")


def test_a_linter_has_nothing_to_say(till: Till, typescript: Tools):
    """Redocly's strict rules hold; a document that breaks one is told."""
    document = till.http.get("/openapi.json").json()
    for name, changed in (("as-it-is", {}), ("without-servers", {"servers": []})):
        (typescript.home / f"{name}.json").write_text(json.dumps(document | changed))
    good, bad = typescript.run("node lint.mjs as-it-is.json"), typescript.run("node lint.mjs without-servers.json")
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    assert bad.returncode == 1
    assert bad.stdout.startswith("no-empty-servers:")
