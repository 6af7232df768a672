"""The package's scripts, without a system to boot: what they make of each answer that the program gives."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

DEB = Path(__file__).parents[2] / "packaging" / "deb"
POSTRM = DEB / "postrm"


@pytest.fixture
def asked(tmp_path):
    """Runs the script with a program that gives one answer, as `queue rehearse --json` would."""
    program = tmp_path / "python3"
    program.write_text('#!/bin/sh\nprintf "%s" "$SAID"\necho Traceback >&2\nexit "$STATUS"\n')
    program.chmod(0o755)

    def ask(action, status, said):
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STATUS": str(status), "SAID": said}
        return subprocess.run(
            ["sh", str(POSTRM), action, "0.1.0-2"], env=environment, capture_output=True, text=True, check=False
        )

    return ask


def failed(code, message):
    return json.dumps({"error": {"code": code, "message": message, "advice": "Run another."}}, indent=2)


@pytest.mark.parametrize("action", ["upgrade", "failed-upgrade"])
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0, '{\n  "bytes": 4096,\n  "steps": ["of_tomorrow"]\n}'),
        (74, failed("storage.full", "there is no room on the disk for a copy of the queue")),
        (78, failed("storage.key", "the key does not open outbox.db")),
        (64, ""),
        (127, ""),
        (137, '{\n  "err'),
    ],
    ids=["goes on", "no room", "no key", "an older version without the command", "no Python", "killed"],
)
def test_what_could_not_be_tried_is_let_through(asked, action, status, said):
    """An update is kept back for the queue's sake alone; nothing of what went wrong is shown as if it were."""
    done = asked(action, status, said)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_version_that_cannot_go_on_is_refused_twice_and_told_once(asked):
    """By the script of the version that was there, and then by its own, which says why."""
    said = failed("storage.schema", "a step of its schema failed: SQLite says: no such table: nowhere")
    first, second = asked("upgrade", 74, said), asked("failed-upgrade", 74, said)

    assert (first.returncode, first.stdout, first.stderr) == (1, "", "")
    assert (second.returncode, second.stdout) == (1, "")
    assert "  a step of its schema failed: SQLite says: no such table: nowhere\n" in second.stderr


@pytest.mark.parametrize("action", ["abort-upgrade", "abort-install", "disappear"])
def test_nothing_is_asked_on_the_way_back(asked, action):
    """The script is called then too, and dpkg must get through."""
    assert asked(action, 74, failed("storage.schema", "x")).returncode == 0


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ('{"files": {"queue": {"queued": 2, "parked": 1, "sent": 9}}}', "3"),
        ('{"files": {"queue": null}}', "an unknown number of"),
        ("", "an unknown number of"),
    ],
    ids=["counted", "not read", "no answer"],
)
def test_what_is_unsent_is_noted_where_nothing_of_the_service_s_leads(tmp_path, said, counted):
    """For `purge`. The directory is the service's own, and root follows no link out of it."""
    state, programs, other = tmp_path / "state", tmp_path / "bin", tmp_path / "other"
    for directory in (state, programs):
        directory.mkdir()
    (state / "outbox.db").touch()
    other.write_text("somebody else's")
    (state / "unsent").symlink_to(other)
    for name, line in (("loyalty-agent", 'printf "%s" "$SAID"'), ("deb-systemd-invoke", "true"), ("py3clean", "true")):
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    script = (DEB / "prerm").read_text(encoding="utf-8").replace("/var/lib/loyalty-agent", str(state))
    script = script.replace("/usr/lib/loyalty-agent", str(tmp_path / "library"))

    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "SAID": said}
    subprocess.run(["sh", "-s", "remove"], input=script, env=environment, capture_output=True, text=True, check=True)

    assert other.read_text() == "somebody else's"
    assert (state / "unsent").read_text() == f"{counted}\n"
