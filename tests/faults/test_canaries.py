"""Canaries: made-up people whose every value is searched for, byte by byte, wherever the agent could leave one."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from e2e.shop import eventually
from e2e.traces import EVERYBODY, OF_ZAPHIRA, SAID, ZAPHIRA, enrol, found_in, left_in
from faults.crashing import CRASH_PHONE
from faults.journey import BARE, KEPT, PHONE, PROBE, TENANT, Journey, everything_said
from faults.tempwatch import watching

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("vendor", [TENANT], indirect=True, ids=["few"]),
]

CRASHING = (sys.executable, str(Path(__file__).with_name("crashing.py")))
CRASHES = "import os\ncanary = 'zaph' + 'ira'\nos.abort()\n"


def open_shop(vendor, open_till, encryption, *, wrapper=(), **tables):
    contact = enrol(vendor)
    till = open_till(
        storage={"encryption": encryption},
        replica=KEPT,
        retention={"delivered": "1s", "undelivered": "1h"},
        log={"level": "debug"},
        benefits={"redeem_budget": "30s"},
        **tables,
    ).start(wrapper=wrapper)
    eventually(till.loaded)
    return till, Journey(vendor, till, contact.contact_id, wrapper)


@pytest.mark.parametrize("feed", ["folder", "sftp", "api"])
def test_every_path_unencrypted(vendor, open_till, feed, request, temporary):
    """Erased is gone at once, purged is gone after the purge; nothing was ever said, and nothing put elsewhere."""
    tables = {"folder": dict, "sftp": lambda: {"voyado": request.getfixturevalue("sftp")}, "api": _by_api}[feed]()
    with watching(temporary) as made, watching(Path.cwd()) as here:
        till, journey = open_shop(vendor, open_till, "off", wrapper=BARE, **tables)
        for step in journey.steps():
            if feed != "api" or step.__name__ != "comes_in_damaged_files":
                step()
                assert found_in(everything_said(journey), EVERYBODY) == set(), step.__name__
        assert {"zaphira", "mossbergsklinten", "ylvali", "701740697", "kassa-xylofia"} <= journey.waiting, "it finds"
        erased = till.command("privacy", "erase", "--type", "personal_number", "--json", input="19310314-2380\n")
        assert erased.returncode == 0, erased.stderr
        journey.said += [erased.stdout, erased.stderr]
        own = tuple(canary for canary in OF_ZAPHIRA if canary not in ("zaphira", "kvistgren"))
        assert left_in(till.state, own[: own.index("7700112233445")]) == {}, "what is hers alone"
        time.sleep(1.1)  # retention.delivered
        till.purge()
        # Ylvali became a member through us, and is one still
        vendor.sim.state.delete(vendor.sim.state.find("mobilePhone", "+46701740698")[0])
        vendor.sim.export_now()
        till.sync()
        till.purge()

        assert left_in(till.state, EVERYBODY) == {}
        assert till.stop() == 0
    assert left_in(till.state, EVERYBODY) == {}
    assert found_in(everything_said(journey), EVERYBODY) == set()
    assert left_in(temporary, EVERYBODY) == {}
    assert [name for name in made if not PROBE.fullmatch(name)] == []
    assert [name for name in here if name.startswith(("core", "etilqs"))] == []


def _by_api():
    return {"voyado": {"feed": "api"}}


def test_every_path_encrypted(vendor, open_till, sftp, temporary):
    """Encrypted, a byte search finds nobody at any time: after no step, before the purge as after it."""
    with watching(temporary) as made:
        till, journey = open_shop(vendor, open_till, "on", wrapper=BARE, voyado=sftp)
        for step in journey.steps():
            step()
            assert left_in(till.state, EVERYBODY) == {}, step.__name__
        till.kill()
        assert left_in(till.state, EVERYBODY) == {}
    assert found_in(everything_said(journey), EVERYBODY) == set()
    assert [name for name in made if not PROBE.fullmatch(name)] == []


def test_mistakes_of_the_program_s_own(vendor, open_till, temporary):
    """Exceptions that say all about somebody, in a look-up, a delivery and a loader: class and place are logged."""
    till, journey = open_shop(vendor, open_till, "off", wrapper=CRASHING)
    answer = till.ask("mobile_phone", "0701740696")
    assert (answer.status_code, answer.json()["code"]) == (500, "agent.error")
    journey.said.append(answer.text)
    assert till.sell("crash-1", identifier=PHONE, **SAID).status_code == 202
    eventually(lambda: till.logged("delivery.failed"))
    vendor.enrol(**{**ZAPHIRA, "mobilePhone": CRASH_PHONE, "memberNumber": "90817264"})
    vendor.sim.export_now()
    till.order("sync")
    eventually(lambda: till.logged("feed.failed"))
    journey.said += [till.command("explain", "crash-1").stdout, till.http.get("/v1/queue").text]

    assert "MistakeError" in till.log.read_text(), "the class of a mistake is told"
    assert found_in(everything_said(journey), EVERYBODY) == set()
    assert left_in(temporary, EVERYBODY) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="core files are Linux's")
@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV], ids=["abort", "segmentation fault"])
def test_a_crash_leaves_no_core_file(vendor, open_till, tmp_path, monkeypatch, number):
    """Whatever limit the agent was started under, its memory goes nowhere when it crashes."""
    monkeypatch.chdir(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        with watching(tmp_path) as made:
            till, _ = open_shop(vendor, open_till, "off")
            till.identify("mobile_phone", "070-174 06 99")
            os.kill(till.process.pid, number)
            assert till.process.wait(30) == -number
            till.process = None
            crashed = subprocess.run([sys.executable, "-c", CRASHES], check=False).returncode
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    assert crashed == -signal.SIGABRT
    cores = [name for name in made if name.startswith("core")]
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    leaves_files = hard != 0 and not pattern.startswith(("|", "/"))
    assert len(cores) == leaves_files, "of the program that did not forbid it alone"


@pytest.mark.parametrize("encryption", ["off", "on"])
@pytest.mark.parametrize("file", ["replica.db", "outbox.db-wal"])
def test_damaged_files(vendor, open_till, encryption, file):
    """Bytes in the middle of a database are overwritten: what the agent says of it names nobody."""
    till, journey = open_shop(vendor, open_till, encryption)
    journey.is_looked_up()
    vendor.cut()
    assert till.sell("s-1", identifier=PHONE, **SAID).status_code == 202
    till.kill()
    path = till.state / file
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[: middle - 2_000] + b"\xff" * 4_000 + content[middle + 2_000 :])
    vendor.mend()
    till.start()
    eventually(till.loaded)
    till.identify("mobile_phone", "070-174 06 99")
    journey.is_told_about()
    assert found_in(everything_said(journey), EVERYBODY) == set()
    if encryption == "on":
        assert left_in(till.state, EVERYBODY) == {}
