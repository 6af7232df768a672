"""Asking the running agent: every way in which it may not answer."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

PROBLEM = {"type": "about:blank", "title": "No", "detail": "Nothing of that name.", "code": "record.unknown"}


@pytest.fixture
def door(tmp_path):
    """A server on loopback that gives the answer it is told to, and the configuration that leads to it."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length") or 0)
            heard.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            status, body = server.answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the standard library's name

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.heard = (200, b"{}"), heard
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def config(configure, door, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "cli.token").write_text("la_cli_made-up\n")
    return configure(listen=f"127.0.0.1:{door.server_port}")


def test_it_asks_with_the_daemons_own_token(call, door):
    """The order reaches the first listen address, with the token that the daemon left and an own name as Host."""
    assert call("purge").exit_code == 0

    method, path, headers, body = door.heard[0]
    assert (method, path, body) == ("POST", "/v1/purge", b"")
    assert headers["Authorization"] == "Bearer la_cli_made-up"
    assert headers["Host"] == f"127.0.0.1:{door.server_port}"


@pytest.mark.parametrize(
    ("answer", "exit_code", "code"),
    [
        ((401, b""), 77, "permission.refused"),
        ((403, json.dumps({**PROBLEM, "code": "scope.wrong"}).encode()), 77, "permission.refused"),
        ((404, json.dumps(PROBLEM).encode()), 1, "record.unknown"),
        ((409, json.dumps({**PROBLEM, "code": "x.y"}).encode()), 1, "x.y"),
        ((503, json.dumps(PROBLEM).encode()), 74, "storage.unavailable"),
        ((404, b"<html>"), 2, "agent.unreachable"),
        ((404, b'{"errors": ["no such page"]}'), 2, "agent.unreachable"),
        ((404, b'{"errors": {"path": "unknown"}}'), 2, "agent.unreachable"),
        ((200, b"<html>"), 2, "agent.unreachable"),
    ],
    ids=[
        "token unknown", "scope", "nothing there", "conflict", "disk", "another server's error",
        "another server's list", "another server's table", "another server",
    ],
)  # fmt: skip
def test_what_the_door_refuses_has_its_exit_status(call, door, answer, exit_code, code):
    """Each refusal is told with its code, and ends with the status that scripts know it by."""
    door.answer = answer

    done = call("queue", "retry", "7", "--json")

    assert done.exit_code == exit_code
    assert json.loads(done.stdout)["error"]["code"] == code


def test_the_faults_of_a_refused_request_are_told(call, door):
    """What does not fit is named by its pointer."""
    faults = [{"pointer": "/reason", "message": "is needed"}]
    door.answer = (422, json.dumps({**PROBLEM, "errors": faults}).encode())

    assert "/reason: is needed" in call("queue", "discard", "7", "--reason", "x").stderr


@pytest.mark.parametrize(
    "command",
    [
        ("sync",),
        ("flush",),
        ("purge",),
        ("queue", "list"),
        ("queue", "show", "1"),
        ("queue", "retry", "1"),
        ("explain", "a"),
    ],
    ids=" ".join,
)
def test_without_a_daemon_it_is_2(call, door, command):
    """Nobody listens: the line says so, and names the address."""
    door.shutdown()
    door.server_close()

    done = call(*command)

    assert done.exit_code == 2
    assert f"127.0.0.1:{door.server_port}" in done.stderr


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [(("status",), 2), (("flush",), 2), (("doctor",), 1), (("support-bundle", "--show"), 0)],
)
def test_another_program_at_that_address(call, door, command, exit_code):
    """It answers, and is not the agent: it is told so, by what looks further too."""
    door.answer = (200, b'{"status": "up"}')

    done = call(*command)

    assert "What answers at this address is not the agent." in done.output
    assert not isinstance(done.exception, KeyError)
    assert exit_code is None or done.exit_code == exit_code


def test_a_daemon_that_was_stopped_left_no_token(call, config):
    """Without its token the daemon is not running, whoever else listens there."""
    (config.parent / "state" / "cli.token").unlink()

    assert call("flush").exit_code == 2


def test_an_environments_proxy_is_not_asked(call, door, monkeypatch):
    """The agent's own door is never reached through a proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    assert call("purge").exit_code == 0


@pytest.mark.parametrize("json_", [(), ("--json",)], ids=["in words", "in JSON"])
def test_nobody_is_asked_for_a_reason_who_cannot_answer(call, door, json_):
    """Without a terminal a missing reason is a mistake in the call: nothing is prompted, nothing is discarded."""
    done = call("queue", "discard", "7", *json_, stdin="till was reset\n")

    assert done.exit_code == 64
    assert "Reason" not in done.stdout
    assert "--reason is needed" in done.stdout + done.stderr
    assert door.heard == []


@pytest.mark.parametrize("reason", [("--reason", "till was reset"), ()], ids=["given", "asked for"])
def test_discarding_gives_a_reason(call, door, reason, monkeypatch):
    """The reason goes with it, from the option or from a prompt on a terminal."""
    monkeypatch.setattr("agent.cli.queue._on_a_terminal", lambda: True)
    done = call("queue", "discard", "7", "8", *reason, stdin="till was reset\n")

    assert done.exit_code == 0
    assert "Reason" not in done.stdout
    assert [(path, json.loads(body)) for _, path, _, body in door.heard] == [
        ("/v1/queue/7/discard", {"reason": "till was reset"}),
        ("/v1/queue/8/discard", {"reason": "till was reset"}),
    ]


@pytest.mark.parametrize(
    "typed", ["../queue?x", "", "x" * 70_000, "\udcff\udcfe"], ids=["path", "empty", "long", "bytes"]
)
def test_what_can_be_no_id_is_asked_of_nobody(call, door, typed):
    """Whatever is typed as a transaction id is one, or is refused here."""
    assert call("explain", typed).exit_code == 64
    assert not door.heard
