"""The conformance kit: the agent passes it, doors that do something wrong do not, and nobody else is sold to."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from ports import free_port, kept_port
from workbench import crooked

from agent.cli.main import program
from agent.connectors.simulation.server import ThreadedSimulator
from agent.workbench.agent_process import AgentProcess
from agent.workbench.conformance import kit, sandbox
from agent.workbench.conformance.cases import CASES, chosen
from agent.workbench.conformance.door import Door
from agent.workbench.conformance.proof import ElsewhereError, NotPreparedError, UntestableError, prove
from agent.workbench.conformance.verdict import shown

ROOT = Path(__file__).parents[2]
INSTALLED = Path(sys.executable).with_name("loyalty-agent")
PATIENCE_S = 30.0


def failed(findings):
    return {f"{one.group}/{one.case}" for one in findings if one.outcome == "failed"}


@contextlib.contextmanager
def running(directory, listen="", change=str):
    """An agent that runs with what `--prepare` writes: its door, its tokens, and where its loyalty system is to be.

    Args:
        directory: for its files.
        listen: a second address, which is the door then.
        change: of the configuration's text.
    """
    with kept_port() as port:
        web = f"127.0.0.1:{free_port()}"
        vendor = f"http://127.0.0.1:{port}"
        files = sandbox.prepare(directory / "agent", listen=listen or web, vendor=vendor, level=4)
        text = files.config.read_text().replace(f'listen = ["{listen}"]', f'listen = ["{listen}", "{web}"]')
        files.config.write_text(change(text))
        agent = AgentProcess(files.config, f"http://{web}", directory / "agent.log")
        agent.start()
        try:
            yield listen or f"http://{web}", files, port
        finally:
            agent.stop()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Such an agent, for many tests."""
    with running(tmp_path_factory.mktemp("kit")) as agent:
        yield agent


@pytest.fixture
def through(prepared):
    """Plays cases at a door before the agent that does something; what came of it."""

    def play(fault, *names, patience_s=PATIENCE_S):
        address, files, port = prepared
        gateway = ThreadedSimulator(crooked.Gateway(address, fault))
        with gateway, kit.named(gateway.url, files.pos, files.admin, port=port) as (door, tenant):
            return kit.test(door, tenant, chosen(names), patience_s=patience_s, told=lambda _: None)

    return play


def test_every_rule_stands_in_the_contract():
    """Each case has a name of its own and quotes a sentence of the reference, word by word."""
    contract = " ".join((ROOT / "docs/till-api.md").read_text(encoding="utf-8").split("\n## Conformance")[0].split())

    assert len({case.path for case in CASES}) == len(CASES) > 60
    assert [case.path for case in CASES if " ".join(case.rule.split()) not in contract] == []
    assert [case.path for case in CASES if not case.title.endswith(".")] == []


@pytest.mark.timeout(300)
def test_the_agent_passes(tmp_path):
    """Without a URL an agent of this version is tested: all is passed, written down, and nothing is left behind."""
    output, junit = tmp_path / "result.json", tmp_path / "result.xml"
    done = subprocess.run(
        [INSTALLED, "conformance", "--json", "--output", output, "--junit", junit],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told == json.loads(output.read_text())
    assert told.keys() == {"format", "version", "began_at", "ok", "doors"}
    (door,) = told["doors"]
    assert door.keys() == {"door", "outcome", "level", "counts", "left", "broken_off", "problem", "cases"}
    assert (door["outcome"], door["level"], door["left"], door["problem"]) == ("passed", 4, 0, None)
    assert door["counts"] == {"passed": len(CASES) - 1, "failed": 0, "skipped": 1}
    assert all(case["rule"] and case["title"] for case in door["cases"])
    suite = ET.fromstring(junit.read_bytes()).find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == (str(len(CASES)), "0", "0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "result.xml"]


MESSAGES = {
    "normal/identify-stranger",
    "normal/identify-shared",
    "normal/language",
    "contacts/made-offline",
    "benefits/as-the-policy-says",
    "benefits/preview",
    "offline/identify-member",
    "offline/identify-stranger",
    "offline/sale-of-member",
    "offline/sale-of-stranger",
    "offline/sale-at-every-level",
}
REPEATS = {f"duplicate/{name}" for name in ("same-body", "other-spelling", "at-once", "across-an-outage")}
FAULTS = {
    crooked.honest: set(),
    crooked.drops_duplicate: REPEATS,
    crooked.conflict_as_repeat: {
        f"conflict/{name}" for name in ("other-total", "other-order-of-lines", "other-person")
    },
    crooked.loses_returns: {"return/without-receipt"},
    crooked.LosesTheFifth: {"reconnect/everything-arrives"},
    crooked.doubles_exchanges: {"return/exchange", "reconnect/nothing-else"},
    crooked.eats_messages: MESSAGES,
    crooked.repeats_the_phone: {"ground-rules/no-personal-value"},
    crooked.forgets_pointers: {
        f"ground-rules/{name}" for name in ("unknown-field", "time-without-offset", "wrong-sum")
    },
    crooked.own_error_page: {"ground-rules/form-of-problems"},
    crooked.hides_the_host: {"ground-rules/foreign-host"},
    crooked.hides_the_page: {"ground-rules/foreign-page"},
    crooked.guesses: {"normal/identify-shared"},
    crooked.promises: {"offline/sale-of-member", "offline/sale-of-stranger"},
    crooked.swallows_voids: {f"void/{name}" for name in ("before-it-is-sent", "after-it-was-sent", "of-a-void")},
    crooked.no_events: {"reconnect/events"},
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("fault", "wanted"), FAULTS.items(), ids=[fault.__name__ for fault in FAULTS])
def test_each_fault_fails_its_own_cases(through, fault, wanted):
    """A door that does one thing wrong fails the cases that are about it, and passes every other."""
    result = through(fault() if isinstance(fault, type) else fault)

    assert failed(result.findings) == wanted, [one for one in result.findings if one.outcome == "failed"]
    assert result.outcome == ("failed" if wanted else "passed")


QUICK = {
    crooked.drops_duplicate: ("duplicate/same-body",),
    crooked.conflict_as_repeat: ("conflict/other-total",),
    crooked.doubles_exchanges: ("return/exchange",),
    crooked.eats_messages: ("normal/identify-stranger",),
    crooked.repeats_the_phone: ("ground-rules/no-personal-value",),
    crooked.names_in_capitals: ("normal/sale-by-key",),
}


def test_a_fault_is_told(prepared):
    """What was expected and what came instead is told, without a word that could name somebody."""
    address, files, port = prepared
    gateway = crooked.Gateway(address, crooked.honest)
    with (
        ThreadedSimulator(gateway) as served,
        kit.named(served.url, files.pos, files.admin, port=port) as (door, tenant),
    ):
        for gateway.fault, names in QUICK.items():
            result = kit.test(door, tenant, chosen(names), patience_s=PATIENCE_S, told=lambda _: None)

            assert result.outcome == "failed", gateway.fault
            for one in result.findings:
                assert (one.outcome == "failed") is bool(one.expected) is bool(one.got)
                assert not re.search(r"@|[0-9]{5}", f"{one.expected} {one.got}")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("queued", "queued"),
        ("Alma", "a text of 4 characters"),
        ({"kind": "primary", "value": "alma"}, "{kind: primary, value: a text of 4 characters}"),
        ([{"last_name": "von trast", "ref": None}], "[{last_name: a text of 9 characters, ref: null}]"),
        ({"alma@example.com": True, "code": "Alma"}, "{a text of 16 characters: true, code: a text of 4 characters}"),
        (701740605, "a int"),
    ],
)
def test_what_is_shown_of_an_answer(value, told):
    """Words of the contract where it has words, and of anything else the shape, however it is spelled."""
    assert shown(value) == told


@pytest.fixture
def call(monkeypatch):
    """Runs the command; exit status and what it said, as JSON where it is that."""
    for name in ("LOYALTY_AGENT_TOKEN", "LOYALTY_AGENT_ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def run(*args):
        done = CliRunner().invoke(program, ["conformance", *map(str, args), "--json"])
        return done.exit_code, json.loads(done.stdout) if done.stdout.startswith("{") else done.output

    return run


def test_two_doors_one_after_the_other(prepared, call):
    """Each has a result of its own; a case and a group can be chosen, and the other's line is not in the way."""
    url, files, port = prepared
    status, told = call(
        url, url, "--token-file", files.pos_file, "--admin-token-file", files.admin_file, "--vendor-port", port,
        "--only", "void", "--only", "normal/sale", "--only", "offline/queue",
    )  # fmt: skip

    assert status == 0, told
    assert [[case["case"] for case in door["cases"]] for door in told["doors"]] == [
        ["sale", "before-it-is-sent", "after-it-was-sent", "of-a-void", "queue"]
    ] * 2


def test_without_an_administrator(prepared, call, monkeypatch):
    """What takes their token is skipped; the other one may stand in the environment."""
    url, files, port = prepared
    monkeypatch.setenv("LOYALTY_AGENT_TOKEN", files.pos)
    status, told = call(url, "--vendor-port", port, "--only", "offline/administrator-sees-it", "--only", "normal/guest")

    assert status == 0, told
    assert told["doors"][0]["counts"] == {"passed": 1, "failed": 0, "skipped": 1}


@contextlib.contextmanager
def kits_door(prepared, port):
    address, files, _ = prepared
    with kit.named(address, files.pos, files.admin, port=port) as (door, tenant):
        yield door, tenant


def test_nobody_elses_members_are_sold_to(prepared):
    """An agent that speaks to another loyalty system is refused before a sale, by what that says of a newcomer."""
    with kit.loyalty_system(prepared[2]) as another, kits_door(prepared, free_port()) as (door, tenant):
        with pytest.raises(ElsewhereError, match="asked another"):
            prove(door, tenant, patience_s=PATIENCE_S)
        assert another.posted() == tenant.posted() == frozenset()


def test_a_loyalty_system_that_is_out_of_reach(prepared):
    """An agent that asks nobody is refused as well, once the patience is over."""
    with kits_door(prepared, free_port()) as (door, tenant), pytest.raises(ElsewhereError, match="did not reach"):
        prove(door, tenant, patience_s=1.0)


def test_a_cashiers_ration_is_spared(through):
    """Who has to be asked again is asked less and less often: the token may be a real till's."""
    door = crooked.KnowsNobody()
    result = through(door, patience_s=3.0)

    assert isinstance(result.problem, ElsewhereError)
    assert 1 < door.asked <= 6


def test_a_further_system_is_refused(through):
    """An agent that sends sales to somebody else as well is not sold to."""
    result = through(crooked.sends_elsewhere_too)

    assert (result.outcome, result.findings) == ("untested", ())
    assert isinstance(result.problem, ElsewhereError)


@pytest.mark.parametrize(
    "otherwise",
    [
        {"vendors": []},
        {"vendors": None},
        {"vendors": {"voyado": "loyalty"}},
        {"vendors": ["voyado"]},
        {"vendors": [{"vendor": "voyado"}]},
        {"level": "4"},
        {"replica": None},
        {"state": "Kanariefågel\x1b[2J", "conditions": [{"code": "070-174 06 05\0"}]},
        {"state": "degraded", "conditions": [{}]},
    ],
    ids=lambda otherwise: "-".join(f"{key}={value}" for key, value in otherwise.items())[:30],
)
def test_a_status_of_another_shape(through, otherwise):
    """Whoever does not say where sales go, or how they are, is not sold to; what they said is not repeated."""
    result = through(crooked.SaysOtherwise(otherwise), patience_s=0.5)

    assert (result.outcome, result.findings) == ("untested", ())
    assert isinstance(result.problem, UntestableError)
    assert not re.search(r"Kanarie|070|[\x00-\x1f]", str(result.problem))


def test_sales_that_go_astray(through):
    """A door that says of the first sale that it is delivered, and it never came, is not sold to again."""
    result = through(crooked.AnswersForItself(), "normal/sale-by-key", "normal/sale", "offline")

    assert failed(result.findings) == {"normal/sale"}
    assert {one.why for one in result.findings[1:]} == {
        "what the door has delivered is not with the kit's loyalty system: nothing more is sold"
    }


def test_a_door_that_goes_away(through):
    """After three cases without an answer the others are not waited for."""
    result = through(crooked.hangs_up, "duplicate", "return")

    assert [one.outcome for one in result.findings[:4]] == ["failed", "failed", "failed", "skipped"]
    assert {one.why for one in result.findings[3:]} == {"the door does not answer any more"}


def test_members_that_are_not_prepared(prepared, monkeypatch):
    """An agent whose local copy holds other people than the kit's cannot be tested."""
    monkeypatch.setattr(kit, "SEED", 12)
    with kits_door(prepared, prepared[2]) as (door, tenant), pytest.raises(NotPreparedError):
        prove(door, tenant, patience_s=PATIENCE_S)


def test_a_door_that_cannot_be_tested(prepared, call, tmp_path):
    """Nobody there, a token that is refused, something else that answers: 2, with what to do."""
    url, files, port = prepared
    (tmp_path / "wrong").write_text("kit-made-this-up\n")
    how = ("--vendor-port", port, "--junit", tmp_path / "result.xml")

    gone = call(f"http://127.0.0.1:{free_port()}", "--token-file", files.pos_file, *how)
    refused = call(url, "--token-file", tmp_path / "wrong", *how)

    for (status, told), code in ((gone, "conformance.unreachable"), (refused, "conformance.token_refused")):
        assert (status, told["ok"], told["doors"][0]["outcome"]) == (2, False, "untested")
        assert told["doors"][0]["problem"]["code"] == code
        assert told["doors"][0]["problem"]["advice"]
    assert ET.fromstring((tmp_path / "result.xml").read_bytes()).find("testsuite").get("errors") == "1"


def test_what_is_no_door(prepared):
    """A web server that knows nothing of all this is no door."""
    with kits_door(prepared, prepared[2]) as (_, tenant), Door(tenant.url, "made-up") as door:
        monkey = door.get("/v1/status")
        assert monkey.status != 200
        with pytest.raises(UntestableError):
            prove(door, tenant, patience_s=1.0)


def test_a_wrong_command_line(prepared, call, tmp_path):
    """An address that is none, no token, too many, or something else in its file; a name that there is not: 64."""
    url, files, _ = prepared
    (tmp_path / "two").write_text("one token\nand another\n")
    token = ("--token-file", files.pos_file)

    for args in (
        ("127.0.0.1:8787", *token),
        ("ftp://127.0.0.1", *token),
        ("http://[::1", *token),
        ("http://till:secret@127.0.0.1", *token),
        ("unix:", *token),
        (url,),
        (url, *token, *token),
        (url, "--token-file", tmp_path / "two"),
        ("--only", "fire"),
        ("--output", tmp_path / "nowhere" / "result.json"),
        ("--level", "5"),
        ("--vendor-port", "0"),
    ):
        assert call(*args)[0] == 64, args
    assert call(url, "--token-file", tmp_path / "missing")[0] == 74


def test_a_port_that_is_taken(prepared, call):
    """Two kits do not share a loyalty system: the second is told so, and nothing is tested."""
    url, files, _ = prepared
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, told = call(url, "--token-file", files.pos_file, "--vendor-port", taken.getsockname()[1])

    assert status == 74
    assert "another kit" in told["error"]["message"]


def test_prepare(call, tmp_path):
    """It writes a sound configuration, the members and the tokens, for their owner alone, and never over anything."""
    directory = tmp_path / "new" / "kit"
    status, told = call("--prepare", directory, "--level", "2", "--vendor-port", "8799")
    again = call("--prepare", directory)

    assert (status, again[0]) == (0, 74)
    assert told["vendor"] == "http://127.0.0.1:8799"
    assert {path.name for path in directory.iterdir()} == {
        "admin.token", "config.toml", "pos.token", "state", "voyado", "voyado.key",
    }  # fmt: skip
    for name in ("admin.token", "pos.token", "voyado.key"):
        assert (directory / name).stat().st_mode & 0o077 == 0
    checked = CliRunner().invoke(program, ["config", "check", "--config", str(directory / "config.toml")])
    assert checked.exit_code == 0, checked.output


def test_ctrl_c_leaves_the_line_whole(prepared, tmp_path):
    """Broken off in an outage: the line is mended, what was done is written down, and what waits is told."""
    url, files, port = prepared
    output = tmp_path / "result.json"
    with subprocess.Popen(
        [
            *("env", "--default-signal=INT"),  # a shell's background ignores it
            *(INSTALLED, "conformance", url, "--token-file", files.pos_file, "--vendor-port", str(port)),
            *("--only", "offline", "--output", output),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if "offline/sale-of-stranger" in line:
                process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1

    assert any("Broken off" in line for line in said), said
    (door,) = json.loads(output.read_text())["doors"]
    assert door["broken_off"]
    assert door["counts"]["passed"] >= 5
    assert {case["why"] for case in door["cases"] if case["outcome"] == "skipped"} == {"broken off"}
    assert door["left"] == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_agent_passes_at_each_level(monkeypatch, level):
    """What a level does not have is skipped, and the rest is passed."""
    monkeypatch.setattr(sandbox, "HIGHEST_LEVEL", level)
    with sandbox.own() as (door, tenant):
        result = kit.test(door, tenant, CASES, patience_s=PATIENCE_S, told=lambda _: None)

    assert failed(result.findings) == set(), [one for one in result.findings if one.outcome == "failed"]
    assert result.level == level


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_over_a_unix_socket_with_a_shops_own_pauses(tmp_path):
    """An agent at a socket, with the pauses of a real till, passes as well; the kit waits longer."""
    pauses = r"(?m)^(flush_every|backoff_first|backoff_max) = .*\n"
    own = running(tmp_path, f"unix:{tmp_path}/pos.sock", lambda text: re.sub(pauses, "", text))
    with own as agent, kits_door(agent, agent[2]) as (door, tenant):
        result = kit.test(door, tenant, CASES, patience_s=90.0, told=lambda _: None)

    assert failed(result.findings) == set(), [one for one in result.findings if one.outcome == "failed"]
    assert result.outcome == "passed"


@pytest.mark.slow
def test_a_ration_that_is_used_up(tmp_path):
    """An agent that rations look-ups is tested as far as that goes, and is told so; nothing of it counts as failed."""
    own = running(tmp_path, change=lambda text: text.replace('misses = "off"', 'misses = "1/h"'))
    with own as agent, kits_door(agent, agent[2]) as (door, tenant):
        result = kit.test(door, tenant, CASES, patience_s=20.0, told=lambda _: None)

    assert failed(result.findings) == set(), [one for one in result.findings if one.outcome == "failed"]
    assert (result.outcome, result.problem.code) == ("untested", "conformance.rationed")
    assert "passed" in {one.outcome for one in result.findings}
    assert result.findings[-1].why == "the look-up ration is used up"
