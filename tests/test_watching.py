"""docs/watching.md and what is shipped for Prometheus and Grafana: they name what there is, and are understood."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.api.metrics import Metrics
from agent.domain.health import SEVERITY

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
SHIPPED = ROOT / "packaging" / "monitoring"
RULES, BOARD = SHIPPED / "loyalty-agent.rules.yml", SHIPPED / "loyalty-agent.dashboard.json"
LEVELS = {"debug", "info", "warning", "error", "exception"}
BY_NAME = {"lease.not_saved", "replica.not_erased"}
"""Events that a room hands on to the line that logs them."""


def logged():
    """Every event that the program logs."""
    found = set(BY_NAME)
    for path in (ROOT / "agent").rglob("*.py"):
        if path.parts[-2] == "workbench" or "simulat" in str(path):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _is_log(node.func) and node.args:
                event = node.args[0]
                if isinstance(event, ast.Constant) and isinstance(event.value, str):
                    found.add(event.value)
    return found | {"library.message"}


def _is_log(call):
    if isinstance(call, ast.IfExp):  # (log.warning if … else log.info)(…)
        return _is_log(call.body)
    return isinstance(call, ast.Attribute) and call.attr in LEVELS and getattr(call.value, "id", "") in ("log", "_log")


def documented():
    rows = re.findall(r"^\| ((?:`[a-z_.]+`(?:, )?)+) \| [a-z, ]+ \|", PAGE.split("## The journal")[1], re.MULTILINE)
    return {event for row in rows for event in re.findall(r"`([a-z_.]+)`", row)}


def test_every_event_of_the_log_is_documented():
    """The table has each, and no other."""
    assert documented() == logged()


def test_every_alert_is_documented():
    """The table's alerts are the file's."""
    alerts = re.findall(r"alert: (\w+)", RULES.read_text(encoding="utf-8"))

    assert set(re.findall(r"^\| `(LoyaltyAgent\w+)`", PAGE, re.MULTILINE)) == set(alerts)


def test_every_condition_has_an_alert():
    """Each code is somebody's, but for the one that is a choice; and no alert waits for a code that there is not."""
    text = RULES.read_text(encoding="utf-8")
    patterns = [pattern.replace("\\\\", "\\") for pattern in re.findall(r'code=~?"([^"]+)"', text)]
    alerted = {code for code in SEVERITY if any(re.fullmatch(pattern, code) for pattern in patterns)}

    assert alerted == set(SEVERITY) - {"storage.unencrypted"}
    for word in (word for pattern in patterns for word in re.findall(r"[a-z_]+", pattern)):
        assert any(word in code for code in SEVERITY), word


def families():
    """The names that an agent's figures have."""
    told = (ROOT / "docs" / "till-api.md").read_text(encoding="utf-8").split("## Metrics")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(loyalty_agent_\w+)`", told, re.MULTILINE))


@pytest.mark.parametrize("path", [RULES, BOARD], ids=["alerts", "dashboard"])
def test_only_figures_that_there_are(path):
    """Each name of a query is one of the contract's."""
    named = set(re.findall(r"loyalty_agent_\w+", path.read_text(encoding="utf-8")))

    assert {re.sub(r"_bucket$", "", name) for name in named} <= families()
    assert b"loyalty_agent_build_info" in Metrics("1").render()


def expressions():
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_the_dashboard():
    """No two panels share an id or a place, and each asks the Prometheus that was chosen."""
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in board["panels"]]
    taken = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(set(ids)) == len(ids)
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {"${source}"}
    assert {variable["name"] for variable in board["templating"]["list"]} == {"source", "till"}


@pytest.fixture
def promtool():
    """Prometheus' own tool; the package of Debian has it."""
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is missing: CI has to install prometheus")
        pytest.skip("promtool is missing: apt install prometheus")
    return lambda *args: subprocess.run([found, *args], capture_output=True, text=True, check=False, cwd=SHIPPED)


def test_alerts_come_when_they_should(promtool):
    """By Prometheus' own reading: short outages wake nobody, long ones do, and each alert says what to do."""
    done = promtool("test", "rules", "loyalty-agent.rules.test.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_query_of_the_dashboard_is_one(promtool, tmp_path):
    """Prometheus understands each, with a till in the place of the variable."""
    queries = [query.replace("$till", "till-1") for query in expressions()]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    done = promtool("check", "rules", str(file))

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout
