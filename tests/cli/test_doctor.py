"""`doctor`: each row of its sheet, with and without an agent, on its own and against vendors of all kinds."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import socket
import tempfile
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import openssh as ssh
import pytest
from authority import Authority, serving
from ports import free_port
from wire import answer as answering
from wire import wire

from agent.clock import SystemClock
from agent.doctor import folders, machine
from agent.doctor.findings import Grade
from agent.doctor.machine import judge_service
from agent.kept import Kept, Report

HERE = "127.0.0.1"
NOBODY = 65534


def test_a_working_till(running):
    """Nothing fails; the agent's own words stand in it, and its files are looked at while it uses them."""
    rows = running.sheet()

    assert not [row for found in rows.values() for row in found if row["state"] == "fail"]
    assert rows["agent"][0]["detail"].startswith(f"online at 127.0.0.1:{running.port}")
    for check in ("configuration", "outbox", "replica", "queue", "audit", "tokens", "storage.key", "damage"):
        assert [row["state"] for row in rows[check]] == ["ok"]
    assert not set(rows) & {"door", "voyado.name"}


def test_the_way_to_a_working_vendor(running):
    """Each step of it is a row, and all are well."""
    rows = running.sheet("--online")

    told = {check: found[0]["state"] for check, found in rows.items() if check.startswith("voyado.")}
    assert told == dict.fromkeys(
        ("voyado.name", "voyado.tls", "voyado.credentials", "voyado.clock", "voyado.feed"), "ok"
    )


def test_for_people(running):
    """A line a row, with what to do below it, and the count at the end."""
    status, told = running.run("doctor")

    assert status == 0
    lines = told.splitlines()
    assert any(line.startswith("ok       outbox") for line in lines)
    assert "0 fail" not in lines[-1]
    assert " ok" in lines[-1]


@pytest.mark.parametrize(
    ("made", "state", "words"),
    [
        pytest.param(lambda _: None, Grade.FAIL, "is no folder", id="missing"),
        pytest.param(lambda folder: (folder.mkdir(), folder.chmod(0o777)), Grade.FAIL, "anybody", id="open to all"),
        pytest.param(lambda folder: folder.mkdir(0o750), Grade.OK, "0 files", id="empty"),
        pytest.param(lambda folder: (folder.mkdir(0o750), _csv(folder, 60)), Grade.OK, "1 file waits in", id="one"),
        pytest.param(lambda folder: (folder.mkdir(0o750), _csv(folder, 90_000)), Grade.WARN, "since", id="old"),
    ],
)
def test_a_folder_that_a_vendor_fetches_from(tmp_path, made, state, words):
    """Whether it can be written, by whom else, and whether anybody fetches."""
    folder = tmp_path / "events"
    made(folder)
    [finding] = folders._folder("antavo.files", folder, SystemClock(UTC))
    assert (finding.state, words in finding.detail) == (state, True)
    assert bool(finding.remedy) is (state is not Grade.OK)


def _csv(folder, age_s):
    for name in ("antavo-1.csv", ".antavo-2.csv.part"):
        (folder / name).write_text("")
        at = datetime.now(UTC).timestamp() - age_s
        os.utime(folder / name, (at, at))


def test_a_stopped_agent_is_one_row_of_many(till):
    """It fails, with what to do; the files are looked at all the same."""
    rows = till.sheet()

    assert rows["agent"][0]["state"] == "fail"
    assert "systemctl start" in rows["agent"][0]["remedy"]
    assert rows["door"][0]["detail"] == f"127.0.0.1:{till.port} is free"
    assert rows["outbox"][0]["state"] == rows["replica"][0]["state"] == "ok"


def test_another_key(till):
    """Whatever it does not open is not damaged, and starting the agent would not help."""
    till.outbox().close()
    (till.state / "storage.key").write_text(f"{base64.b64encode(bytes(32)).decode()}\n")

    [row] = till.sheet()["outbox"]

    assert (row["state"], row["detail"]) == ("fail", "the key does not open outbox.db")
    assert "back in its place" in row["remedy"]


def test_somebody_else_at_the_door(till):
    """A program that listens where the agent would is told."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", till.port))
        other.listen()
        state, detail = till.look("door")

    assert state == "fail"
    assert f"127.0.0.1:{till.port}" in detail


def test_somebody_else_at_the_socket(till):
    """A Unix socket is a door as well: free where nobody listens, whatever lies there."""
    path = till.root / "pos.sock"
    till.config.write_text(till.config.read_text().replace("listen = [", f'listen = ["unix:{path}", '))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert [row["state"] for row in till.sheet()["door"]] == ["ok", "ok"]
        other.listen()
        assert [row["state"] for row in till.sheet()["door"]] == ["fail", "ok"]


def test_somebody_else_answers_at_the_door(till):
    """Where a token of a former run lies about, a stranger's answer is not taken for the agent's either."""
    (till.state / "cli.token").write_text("made-up\n")

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", till.port), Stranger) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            rows = till.sheet()
        finally:
            other.shutdown()
            thread.join()

    assert (rows["agent"][0]["state"], rows["door"][0]["state"]) == ("fail", "fail")
    assert "not the agent" in rows["agent"][0]["detail"]


def test_an_agent_that_stands_still(till, monkeypatch):
    """It holds its address and says nothing: starting another one would not help."""
    monkeypatch.setattr("agent.cli.doctor._WAIT_S", 0.2)
    (till.state / "cli.token").write_text("made-up\n")
    with socket.socket() as other:
        other.bind(("127.0.0.1", till.port))
        other.listen()
        rows = till.sheet()

    assert rows["agent"][0]["state"] == "fail"
    assert "estart" in rows["agent"][0]["remedy"]
    assert "door" not in rows


def test_a_file_system_that_is_read_only(till, monkeypatch):
    """Nothing can be kept there, whoever asks."""
    monkeypatch.setattr("agent.doctor.files.is_read_only", lambda _path: True)

    state, detail = till.look("state.directory")

    assert state == "fail"
    assert "read-only" in detail


def test_every_fault_of_the_configuration(till):
    """Each is a row; with a secret that cannot be read the rest is looked at, with a broken file nothing is."""
    (till.root / "voyado.key").unlink()
    rows = till.sheet()
    assert [row["state"] for row in rows["configuration"]] == ["fail"]
    assert "voyado.api_key" in rows["configuration"][0]["detail"]
    assert rows["outbox"][0]["state"] == "ok"

    till.write('[log]\nlevel = "loud"\n[replica]\nsync_every = "soon"\n')
    rows = till.sheet()
    assert len(rows["configuration"]) == 3
    assert set(rows) == {"configuration", "agent"}


def test_warnings_of_the_configuration(till):
    """What `config check` warns of stands here too."""
    (till.root / "voyado.key").chmod(0o644)

    state, detail = till.look("configuration")

    assert state == "warn"
    assert "can be read by others" in detail


def test_a_till_on_which_nothing_ran(till):
    """What is not there yet is unknown, and no fault of the files."""
    shutil.rmtree(till.state)

    rows = till.sheet()

    assert rows["state.directory"][0]["state"] == "unknown"
    assert "outbox" not in rows


def test_a_directory_that_others_may_enter(till):
    """It is told with the command that closes it, and so is a file."""
    (till.state / "tokens.json").chmod(0o640)
    assert till.look("state.directory") == ("warn", "tokens.json can be read by others than their owner")
    till.state.chmod(0o755)
    assert till.look("state.directory")[0] == "warn"


def test_a_damaged_outbox(till):
    """Pages that were overwritten are found, and nothing is changed by looking."""
    path = till.state / "outbox.db"
    till.outbox().close()  # which moves the log into the file
    content = bytearray(path.read_bytes())
    content[4096:8192] = os.urandom(4096)
    path.write_bytes(content)

    state, detail = till.look("outbox")

    assert (state, detail) == ("fail", "1 pages cannot be read, the first is number 2")
    assert path.read_bytes() == content


def test_a_key_that_is_gone(till):
    """The outbox is not judged without it, and the remedy is to put it back."""
    (till.state / "storage.key").unlink()

    rows = till.sheet()

    assert rows["storage.key"][0]["state"] == "fail"
    assert "back in its place" in rows["storage.key"][0]["remedy"]
    assert [rows[name][0]["state"] for name in ("outbox", "replica")] == ["unknown", "unknown"]
    for name, found in rows.items():
        assert all(row["state"] == "ok" or row["remedy"] for row in found), name


@pytest.fixture
def stranger(till):
    """The same till for a user who owns nothing of it; its folder is one that anybody may enter."""
    root = Path(tempfile.mkdtemp(prefix="loyalty-agent-stranger-"))
    root.chmod(0o755)
    shutil.copytree(till.state, root / "state")
    (root / "state").chmod(0o700)
    for place in ("credentials/voyado", "keys/sftp"):
        (root / place).parent.mkdir(mode=0o700)
        (root / place).write_text("sim-key")
    till.root, till.config, till.state = root, root / "config.toml", root / "state"
    till.write('feed_secret = "file:keys/sftp"\n', root=root)
    till.config.write_text(till.config.read_text().replace("file:voyado.key", "credential:voyado"))
    yield till
    shutil.rmtree(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    "args", [("doctor", "--json"), ("support-bundle", "--show"), ("config", "check")], ids=" ".join
)
def test_by_somebody_who_may_read_nothing(stranger, args):
    """What is closed to them is unknown, with who may look, and the rest of the sheet is there."""
    assert stranger.run(*args)[0] in (0, 1)
    os.seteuid(NOBODY)
    try:
        status, told = stranger.run(*args)
    finally:
        os.seteuid(0)

    if args[0] == "config":
        assert status == 78
        assert "credential:voyado cannot be read: Permission denied" in told
        return
    assert status == 0
    if args[0] == "support-bundle":
        return
    rows = {row["check"]: row for row in json.loads(told)["checks"]}
    for check in ("configuration", "agent", "clock", "state.directory"):
        assert (check, rows[check]["state"]) == (check, "unknown")
        assert "root" in rows[check]["remedy"]
    assert rows["disk.space"]["state"] != "unknown"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_that_the_agent_s_user_may_not_read(stranger):
    """Nobody hands it over to the service: unlike a credential it fails."""
    text = stranger.config.read_text()
    stranger.config.write_text(text.replace("credential:voyado", "file:credentials/voyado"))
    os.seteuid(NOBODY)
    try:
        rows = json.loads(stranger.run("doctor", "--json")[1])["checks"]
    finally:
        os.seteuid(0)

    assert (rows[0]["check"], rows[0]["state"]) == ("configuration", "fail")
    assert "Permission denied" in rows[0]["detail"]


def test_a_place_that_cannot_be_looked_at(till, monkeypatch):
    """A disk that answers nothing is a row each, and so is an address of a kind that this machine does not have."""

    def refused(_path):
        raise PermissionError

    monkeypatch.setattr(machine, "_nearest", refused)
    monkeypatch.setattr(socket, "socket", lambda *_family: (_ for _ in ()).throw(OSError(97, "No such family")))
    rows = till.sheet()

    assert [rows[check][0]["state"] for check in ("disk.space", "disk.file_system")] == ["unknown", "unknown"]
    assert rows["door"][0]["detail"].endswith("cannot be listened at: No such family")
    assert rows["outbox"][0]["state"] == "ok"


def test_a_newer_program_s_file(till):
    """It is told, and not taken for damage."""
    connection = till.outbox()
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('outbox', 'of_tomorrow', '')"
    )
    connection.close()

    state, detail = till.look("outbox")

    assert state == "fail"
    assert "newer program" in detail


def test_what_waits_for_a_person(till):
    """Parked deliveries, and damage that nobody has seen, are warnings with the command that shows them."""
    connection = till.outbox()
    connection.execute("INSERT INTO counts (what, of, n) VALUES ('parked', 'voyado', 3)")
    connection.close()
    kept, now = Kept(till.state), datetime.now(UTC)
    folder = kept.folder(now)
    (folder / "outbox.db").write_bytes(b"x")
    kept.note(Report(folder.name, "outbox.db", now, "made up", lost={"sales": 2}))

    rows = till.sheet()

    assert rows["queue.parked"][0]["detail"].startswith("3 deliveries")
    assert rows["damage"][0]["detail"].endswith("2 records were lost")
    assert "damage list" in rows["damage"][0]["remedy"]


def test_an_audit_trail_that_was_changed(till):
    """An entry that was cut out fails."""
    path = till.state / "audit.jsonl"
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1] if path.exists() else b"{}\n")

    assert till.look("audit")[0] == "fail"


def test_no_till_may_call(till):
    """Without a token, and with a file of tokens that is none."""
    (till.state / "tokens.json").unlink()
    assert till.look("tokens")[0] == "warn"
    (till.state / "tokens.json").write_text("[")
    assert till.look("tokens")[0] == "fail"


def test_a_clock_that_was_put_back(till):
    """Files from tomorrow say so; what the machine says of its clock comes after."""
    tomorrow = datetime.now(UTC).timestamp() + 86_400
    os.utime(till.state / "outbox.db", (tomorrow, tomorrow))

    state, detail = till.look("clock")

    assert state == "fail"
    assert "24.0 hours" in detail


@pytest.mark.parametrize(
    ("reserve", "most", "state"),
    [("16MiB", "100MiB", "ok"), ("16MiB", "{more}", "warn"), ("{more}", "{most}", "fail")],
    ids=["room", "less-than-the-queue-may-grow", "not-even-the-reserve"],
)
def test_room_on_the_disk(till, reserve, most, state):
    """Against what the queue may grow to, and against the reserve."""
    free = shutil.disk_usage(till.root).free
    sizes = {"more": f"{free * 2}B", "most": f"{free * 4}B"}
    reserve, most = reserve.format(**sizes), most.format(**sizes)
    till.write(f'[queue]\nreserve_bytes = "{reserve}"\nmax_bytes = "{most}"\n')

    assert till.look("disk.space")[0] == state


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="this system has no file system in memory")  # noqa: PTH112
def test_a_state_that_is_gone_with_the_power(till):
    """A file system in memory is no place for sales."""
    till.write(more="", root="/dev/shm/loyalty-agent-of-a-test")

    assert till.look("disk.file_system")[0] == "fail"


@pytest.mark.parametrize(
    ("shown", "state", "words"),
    [
        ({"LoadState": "not-found"}, "unknown", "is not installed"),
        ({"ActiveState": "failed", "ExecMainStatus": "78"}, "fail", "status 78"),
        ({"ActiveState": "inactive"}, "fail", "is inactive"),
        ({"ActiveState": "active", "UnitFileState": "disabled"}, "warn", "does not start with the machine"),
        (
            {"ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "4"},
            "warn",
            "restarted by itself 4 times",
        ),
        ({"ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}, "ok", "starts with the machine"),
    ],
    ids=["none", "failed", "stopped", "not-enabled", "restarting", "well"],
)
def test_the_unit(shown, state, words):
    """What systemd says of it."""
    found = judge_service({"LoadState": "loaded", **shown})

    assert found.state == state
    assert words in found.detail


@contextmanager
def vendor(script, *, tls=None):
    """A vendor that gives one answer, on a loop of its own; its address."""
    ready, done, told = threading.Event(), None, {}

    async def serve():
        nonlocal done
        done = asyncio.Event()
        async with wire(script, tls=tls) as server:
            told["url"], told["loop"] = server.url, asyncio.get_running_loop()
            ready.set()
            await done.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield told["url"]
    finally:
        told["loop"].call_soon_threadsafe(done.set)
        thread.join()


@pytest.mark.parametrize(
    ("ends", "name", "told"),
    [
        (timedelta(days=30), HERE, ("ok", "until")),
        (timedelta(days=3), HERE, ("warn", "until")),
        (-timedelta(hours=1), HERE, ("fail", "has expired")),
        (timedelta(days=30), "shop.example.com", ("fail", "is for another name")),
    ],
    ids=["well", "soon-over", "over", "somebody-else"],
)
def test_who_the_vendor_proves_to_be(till, tmp_path, ends, name, told):
    """A certificate is judged as the agent's calls judge it, and its end is told in time."""
    authority = Authority(tmp_path / "authority")
    with vendor(answering(200), tls=serving(authority.issue(name, ends=ends))) as url:
        till.write(f'[http]\nca_file = "{authority.pem}"\n', url=url)
        state, detail = till.look("voyado.tls", "--online")

    assert state == told[0]
    assert told[1] in detail


def test_nobody_at_that_address(till):
    """A name without an address, and an address at which nobody answers; nothing else is said of the credentials."""
    till.write(url="https://no-such-host.invalid")
    rows = till.sheet("--online")
    assert rows["voyado.name"][0]["state"] == "fail"
    assert "voyado.tls" not in rows
    assert rows["voyado.credentials"][0]["state"] == rows["voyado.clock"][0]["state"] == "unknown"

    till.write(url=f"http://127.0.0.1:{free_port()}")
    rows = till.sheet("--online")
    assert "refuses connections" in rows["voyado.tls"][0]["detail"]
    assert rows["voyado.credentials"][0]["state"] == "unknown"


def test_credentials_that_are_refused(till):
    """They fail, whatever else is well."""
    with vendor(answering(401)) as url:
        till.write(url=url)
        assert till.look("voyado.credentials", "--online")[0] == "fail"


def test_a_clock_beside_the_vendor_s(till):
    """Three hours are a fault."""
    then = format_datetime(datetime.now(UTC) - timedelta(hours=3), usegmt=True)
    with vendor(answering(200, b"{}", date=then)) as url:
        till.write(url=url)
        state, detail = till.look("voyado.clock", "--online")

    assert state == "fail"
    assert "ahead" in detail


def test_files_over_sftp(till, tenant, tmp_path):
    """The listing is a row: as it should be, for another account's key, and for a folder without exports."""
    exports = tmp_path / "exports"
    shutil.copytree(tenant[0].exports.folder, exports)
    with ssh.running(tmp_path / "openssh", exports) as server:
        secret = till.root / "sftp.key"
        secret.write_text(server.private_key)
        secret.chmod(0o600)
        more = f'feed_secret = "file:sftp.key"\nfeed_known_hosts = "{server.known_hosts}"\n'
        till.write(more, feed=server.url)
        assert till.look("voyado.feed", "--online")[0] == "ok"
        for file in exports.iterdir():
            file.unlink()
        assert till.look("voyado.feed", "--online")[0] == "warn"
        secret.write_text("another password")
        assert till.look("voyado.feed", "--online")[0] == "fail"
