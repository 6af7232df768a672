"""The drill: what it rehearses, that it can fail, and that the till's own agent does not notice."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

import httpx
import pytest
from click.testing import CliRunner

from agent.cli.main import program
from agent.workbench import drill
from agent.workbench.drill import AT_ONCE_MS, SCENES, Check, Sandbox
from agent.workbench.till import Reply

CONFIG = """
[agent]
store_id = "1042"
till_id = "03"
locale = "de-DE"
state_dir = "{root}/state"
[loyalty]
fallback_level = {level}
live_lookup_budget = "300ms"
[voyado]
base_url = "http://127.0.0.1:9"
api_key = "file:not-there"
feed = "file:///nowhere"
"""


@pytest.fixture
def rehearse(tmp_path):
    """Plays scenes beside a till of that level; exit status and the sheets by scene."""

    def play(*scenes, level=2):
        config = tmp_path / "config.toml"
        config.write_text(CONFIG.format(root=tmp_path, level=level))
        (tmp_path / "state").mkdir(exist_ok=True)
        wanted = [word for scene in scenes for word in ("--scene", scene)]
        done = CliRunner().invoke(program, ["--config", str(config), "drill", *wanted, "--json"])
        assert list((tmp_path / "state").iterdir()) == []
        return done.exit_code, {sheet["scene"]: sheet for sheet in json.loads(done.stdout)["scenes"]}

    return play


def test_a_scene(rehearse):
    """It is played with the till's own patience and language, without its secrets, and leaves nothing behind."""
    status, sheets = rehearse("line-down")

    assert status == 0, sheets
    (sheet,) = sheets.values()
    assert all(check["ok"] for check in sheet["checks"])
    assert any("Kassieren Sie" in check["text"] for check in sheet["checks"])


@pytest.mark.slow
def test_every_scene(rehearse):
    """All of them are passed by this agent, with a replica."""
    status, sheets = rehearse(*SCENES, level=3)

    assert status == 0, sheets
    assert list(sheets) == list(SCENES)


def test_no_such_scene(rehearse, tmp_path):
    """It is told which there are."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(root=tmp_path, level=2))
    done = CliRunner().invoke(program, ["--config", str(config), "drill", "--scene", "fire"])

    assert done.exit_code == 64
    assert "line-down" in done.stderr


@dataclass
class Sold:
    """A tenant and a till that do as a test wants."""

    status_code: int = 202
    elapsed_ms: float = 1.0
    told: list = field(default_factory=list)
    state: str = "online"

    def post(self, sale):
        return Reply(self.status_code, {"integration_key": {"kind": "primary"}}, self.elapsed_ms)

    def identify(self, *_said, language):
        return Reply(200, {"outcome": self.told.pop(0), "messages": []}, self.elapsed_ms)

    def status(self):
        queue = {"depth": 0, "parked": 0, "in_doubt": 0}
        return {"state": self.state, "conditions": [], "queue": queue, "replica": {"as_of": None}}


class Gone(Sold):
    """An agent that died."""

    def status(self):
        raise httpx.ConnectError("gone")


class Person:
    as_said = "070-174 06 05"
    phone = "+46701740605"


def sandbox(till, monkeypatch):
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    from agent.workbench.basket import Baskets

    monkeypatch.setattr(drill, "PATIENCE_S", 0.0)

    class Clock:
        def now(self):
            return datetime(2026, 2, 14, 12, tzinfo=UTC)

    baskets = Baskets("1042", "03", ZoneInfo("Europe/Stockholm"), random.Random(1))
    return Sandbox(
        tenant=None, till=till, baskets=baskets, clock=Clock(), honest=None, impostor=None, budget_ms=100.0, level=3,
        locale="en-GB", people=[Person()], stranger=Person(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("till", "passed"),
    [(Sold(), True), (Sold(status_code=503), False), (Sold(elapsed_ms=AT_ONCE_MS + 1), False)],
    ids=["kept", "refused", "too-late"],
)
def test_sales_that_are_not_kept_at_once(till, passed, monkeypatch):
    """A refusal and a slow answer both fail the scene."""
    assert [check.ok for check in sandbox(till, monkeypatch).sells()] == [passed]


@pytest.mark.parametrize("told", [["unknown", "unknown"], ["matched", "matched"]], ids=["member", "stranger"])
def test_questions_that_are_answered_wrongly(told, monkeypatch):
    """A member who is not known from the local copy, a stranger who is, a cashier who reads nothing."""
    assert not all(check.ok for check in sandbox(Sold(told=told), monkeypatch).recognises())


def test_a_state_that_does_not_come(monkeypatch):
    """The wrong word and the missing condition fail."""
    assert not all(check.ok for check in sandbox(Sold(), monkeypatch).says("offline"))
    assert not all(check.ok for check in sandbox(Sold(state="offline"), monkeypatch).says("offline", "vendor.offline"))


@pytest.mark.parametrize(
    ("till", "told"),
    [(Gone(), "The agent does not answer any more."), (Sold(), "The agent does not know the members after 0 s.")],
    ids=["it-died", "nobody-arrives"],
)
def test_a_sandbox_that_does_not_come_about(tmp_path, monkeypatch, till, told):
    """It is one error, with the last lines of its log, and nothing is left behind."""
    monkeypatch.setattr(drill, "PATIENCE_S", 0.0)
    monkeypatch.setattr(drill.Till, "status", lambda _till: till.status())
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(root=tmp_path, level=3))
    (tmp_path / "state").mkdir()

    done = CliRunner().invoke(program, ["--config", str(config), "drill", "--scene", "line-down"])

    assert done.exit_code == 1
    assert told in done.output
    assert '"event"' in done.output
    assert list((tmp_path / "state").iterdir()) == []


def test_an_agent_that_dies(monkeypatch):
    """The scene fails, and the others are played."""

    def dies(_sandbox):
        yield Check("so far", ok=True)
        raise httpx.ConnectError("gone")

    monkeypatch.setitem(drill.SCENES, "dies", dies)
    sheet = drill._play("dies", None)

    assert not sheet.ok
    assert sheet.checks[-1].text == "the agent does not answer any more"
