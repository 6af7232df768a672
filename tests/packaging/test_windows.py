"""The Windows package, as far as Linux can make and judge it.

The definition of the MSI is compiled and its tables read. The program that PyInstaller makes is made here, from the
same lines, and sells. Where wine and mingw are installed (a gigabyte that nothing else here needs) a stand-in for the
program, `stand_in.c`, is installed by the MSI, runs as the service, and is removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import httpx
import pytest
from e2e import shop
from e2e.shop import Till, Vendor, eventually, members

ROOT = Path(__file__).parents[2]
WINDOWS = ROOT / "packaging" / "windows"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

wixl = pytest.mark.skipif(
    shutil.which("wixl") is None or shutil.which("msiinfo") is None, reason="needs wixl, msitools"
)


def run(*command, **how):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False, **how)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


def payload_in(directory, program=b"MZ"):
    """What PyInstaller makes, by its shape."""
    (directory / "_internal" / "agent" / "texts").mkdir(parents=True)
    (directory / "loyalty-agent.exe").write_bytes(program)
    (directory / "_internal" / "base_library.zip").write_bytes(b"PK")
    (directory / "_internal" / "agent" / "texts" / "sv.toml").write_text("x = 1\n")
    (directory / "_internal" / "agent" / "sv.toml").write_text("of the same name\n")
    return directory


def build(payload, output):
    run(sys.executable, WINDOWS / "build_msi.py", "--payload", payload, "--output", output)
    (package,) = output.glob("*.msi")
    return package


@pytest.fixture(scope="module")
def msi(tmp_path_factory):
    """The package of a payload of four files."""
    work = tmp_path_factory.mktemp("msi")
    return build(payload_in(work / "payload"), work / "out")


def rows(msi, table):
    """A table's rows, by their first column."""
    lines = run("msiinfo", "export", msi, table).replace("\r", "").split("\n")
    names = lines[0].split("\t")
    found = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[3:] if line]
    return {row[names[0]]: row for row in found}


@wixl
def test_the_service_is_installed_for_an_account_of_few_rights(msi):
    """Started with the machine as LocalService, by the name that IT scripts against."""
    (service,) = rows(msi, "ServiceInstall").values()

    assert (service["Name"], service["StartName"]) == ("loyalty-agent", r"NT AUTHORITY\LocalService")
    assert (service["ServiceType"], service["StartType"], service["Arguments"]) == ("16", "2", "service run")
    assert (service["Component_"], rows(msi, "File")[rows(msi, "Component")["Program"]["KeyPath"]]["FileName"]) == (
        "Program",
        "loyalty-agent.exe",
    )


@wixl
def test_the_service_is_stopped_before_its_files_go_and_nobody_waits_for_its_start(msi):
    """Started on installation; stopped on both, deleted on removal: 1, 2, 32 and 128 of ServiceControl's events."""
    control = rows(msi, "ServiceControl")

    assert {row["Name"] for row in control.values()} == {"loyalty-agent"}
    assert {name: (int(row["Event"]), row["Wait"]) for name, row in control.items()} == {
        "Start": (1, "0"),
        "Stop": (2 + 32 + 128, "1"),
    }


@wixl
def test_a_new_version_takes_the_place_of_an_older_one_and_an_older_one_is_refused(msi):
    """Both by the UpgradeCode, which never changes."""
    older, later = (rows(msi, "Upgrade"), run("msiinfo", "export", msi, "Upgrade"))

    assert set(older) == {"{D5B0A5A4-7F7C-4C55-9B0E-2F5A5D0C6A41}"}
    assert re.search(rf"\t\t{re.escape(VERSION)}\t\t\d+\t\tWIX_UPGRADE_DETECTED", later)
    assert re.search(rf"\t{re.escape(VERSION)}\t\t\t2\t\tWIX_DOWNGRADE_DETECTED", later)


@wixl
def test_it_is_for_the_machine_and_its_properties_reach_the_system_s_part(msi):
    """64 bits, below Program Files, silent with /qn: there is nothing to ask."""
    properties = {name: row["Value"] for name, row in rows(msi, "Property").items()}
    secure = set(properties["SecureCustomProperties"].split(";"))

    assert (properties["ALLUSERS"], properties["KEEPDATA"], properties["PURGEUNSENT"]) == ("1", "1", "0")
    assert secure >= {"KEEPDATA", "PURGEUNSENT", "CONFIGFILE"}
    assert rows(msi, "Directory")["INSTALLFOLDER"]["Directory_Parent"] == "ProgramFiles64Folder"
    assert "Template: x64;1033" in run("msiinfo", "suminfo", msi)
    assert not {"Dialog", "Control"} & set(run("msiinfo", "tables", msi).split())


@wixl
def test_the_program_s_own_steps_run_as_the_system_at_their_place(msi):
    """In the installation's transaction: prepared before the start, erased after the stop, and only where wanted."""
    actions, sequence = rows(msi, "CustomAction"), rows(msi, "InstallExecuteSequence")
    at = {name: int(row["Sequence"]) for name, row in sequence.items()}

    # 18: an installed program; 1024: deferred; 2048: not as the user. Without 64 its exit status counts.
    del actions["PrepareAgain"]
    assert {row["Type"] for row in actions.values()} == {str(18 + 1024 + 2048)}
    assert {row["Source"] for row in actions.values()} == {"Program"}
    for name in ("Prepare", "PrepareWith"):
        assert at["InstallServices"] < at[name] < at["StartServices"]
        assert "NOT REMOVE" in sequence[name]["Condition"]
    for name in ("Erase", "EraseUnsent"):
        assert at["InstallInitialize"] < at["StopServices"] < at[name] < at["RemoveFiles"] < at["InstallFinalize"]
        assert {'REMOVE="ALL"', 'KEEPDATA="0"', "NOT UPGRADINGPRODUCTCODE"} <= set(
            sequence[name]["Condition"].split(" AND ")
        )


@wixl
def test_an_upgrade_that_fails_puts_the_version_before_back(msi):
    """It goes within the transaction, first of all; its service, put back, is prepared again before it is started."""
    undoing = rows(msi, "CustomAction")["PrepareAgain"]
    at = {name: int(row["Sequence"]) for name, row in rows(msi, "InstallExecuteSequence").items()}
    within = sorted((number, name) for name, number in at.items() if number >= at["InstallInitialize"])

    assert [name for _, name in within[:2]] == ["InstallInitialize", "RemoveExistingProducts"]
    assert (undoing["Type"], undoing["Target"]) == (str(18 + 256 + 1024 + 2048), "service prepare")
    assert at["StopServices"] < at["PrepareAgain"] < at["DeleteServices"], "what is done first is undone last"


@wixl
def test_a_file_keeps_its_component_in_the_next_version(msi, tmp_path):
    """Each file of the payload is a component of its own, whose GUID hangs on its place alone."""
    again = build(payload_in(tmp_path / "payload"), tmp_path / "out")
    first, second = (
        {row["KeyPath"]: row["ComponentId"] for row in rows(one, "Component").values()} for one in (msi, again)
    )

    assert first == second
    assert len(set(first.values())) == len(rows(msi, "File")) == 4


def test_a_payload_without_the_program_is_refused(tmp_path):
    """It is not what PyInstaller made."""
    done = subprocess.run(
        [sys.executable, WINDOWS / "build_msi.py", "--payload", tmp_path], capture_output=True, text=True, check=False
    )

    assert (done.returncode, "loyalty-agent.exe" in done.stderr) == (1, True)


def test_the_command_line_of_the_service_is_one():
    """What the definition has Windows run are commands of the program."""
    from agent.cli.main import program

    definition = (WINDOWS / "loyalty-agent.wxs").read_text(encoding="utf-8")
    words = [*re.findall(r'ExeCommand="([^"&]*)', definition), *re.findall(r'Arguments="([^"]*)"', definition)]
    assert len(words) == 6
    for line in words:
        group, name, *options = line.split()
        command = program.get_command(None, group).get_command(None, name)
        assert set(options) <= {option for parameter in command.params for option in parameter.opts}


def test_windows_requirements_are_pinned_and_name_no_index():
    """By hash, with what only Windows needs."""
    text = (WINDOWS / "requirements.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^([a-z0-9-]+)==\S+(.*)$", text, re.MULTILINE)

    assert {"pywin32", "pyinstaller", "pefile", "pywin32-ctypes"} <= {name for name, _ in pins}
    assert "://" not in text
    assert text.count("--hash=sha256:") >= len(pins)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The directory that PyInstaller makes here, in an environment of the locked requirements alone."""
    work = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "venv", work / "venv")
    python = work / "venv" / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--require-hashes", "--only-binary", ":all:", "-r", WINDOWS / "requirements.txt")
    run(python, "-m", "hatchling", "build", "-t", "wheel", "-d", work / "wheel", cwd=ROOT)
    run(*pip, "--no-deps", "--no-index", *(work / "wheel").glob("*.whl"))
    run(
        python, "-m", "PyInstaller", "--noconfirm", "--distpath", work / "dist", "--workpath", work / "work",
        WINDOWS / "loyalty-agent.spec",
        env={**os.environ, "PYINSTALLER_CONFIG_DIR": str(work / "cache")},
    )  # fmt: skip
    return work / "dist" / "loyalty-agent" / "loyalty-agent"


@pytest.fixture
def till(built, tmp_path, monkeypatch):
    """A till whose agent is that program, and which has loaded its members: a process that it starts of itself did."""
    monkeypatch.setattr(shop, "COMMAND", built)
    with contextlib.closing(Vendor(tmp_path / "ftp", members=300)) as vendor:
        vendor.sim.export_full()
        till = Till(tmp_path, vendor, {})
        try:
            eventually(till.start().loaded)
            yield till
        finally:
            till.kill()
            till.http.close()


@pytest.mark.slow
def test_the_program_that_pyinstaller_makes_sells(built, till):
    """On Linux, with no Python around it: a sale is delivered, and what it shows is inside."""
    (member,) = members(till.vendor, 1)
    phone = {"type": "mobile_phone", "value": member.attributes["mobilePhone"]}

    assert till.sell("1042-03-1", identifier=phone).json()["integration_key"]["kind"] == "primary"
    eventually(lambda: till.delivered("1042-03-1"))
    assert till.vendor.held() == {"1042-03-1": 1}
    for page in ("/", "/customer"):
        shown = httpx.get(f"http://127.0.0.1:{till.port}{page}", trust_env=False)
        assert (shown.status_code, "<html" in shown.text) == (200, True)
    assert f'"{VERSION}"' in run(built, "version", "--json")
    assert run(built, "config", "example") == (ROOT / "config.example.toml").read_text(encoding="utf-8")
    assert till.stop() == 0


class Wine:
    """A Windows of its own, as far as wine is one."""

    def __init__(self, home):
        self.drive = home / "prefix" / "drive_c"
        self._env = {**os.environ, "WINEPREFIX": str(home / "prefix"), "WINEDEBUG": "-all", "WINEARCH": "win64"}
        self._env.pop("DISPLAY", None)

    def begin(self):
        """Makes it, and waits until it is down again."""
        self.run("wineboot", "--init")
        subprocess.run(["wineserver", "--wait"], env=self._env, timeout=120, check=True)

    def run(self, *command):
        """Exit status and output: by way of a file, which a service that is started on the way may inherit."""
        with tempfile.TemporaryFile() as told:
            done = subprocess.run(
                ["wine", *map(str, command)], env=self._env, stdout=told, stderr=told, timeout=120, check=False
            )
            told.seek(0)
            return done.returncode, told.read().decode("utf-8", "replace")

    def msiexec(self, *words):
        """The exit status of a silent installation or removal."""
        return self.run("msiexec", *words, "/qn")[0]

    def state(self):
        """The service's: running, stopped, or None where there is no such service."""
        status, told = self.run("sc", "query", "loyalty-agent")
        return re.search(r"STATE\s+: \d\s+(\w+)", told)[1].lower() if status == 0 else None

    def told(self):
        """What the stand-in was told so far."""
        log = self.drive / "stand-in.log"
        return log.read_text().splitlines() if log.exists() else []

    @contextlib.contextmanager
    def staying(self, program):
        """While it lasts services run on; wine ends them with the last other program."""
        stays = subprocess.Popen(["wine", program, "stay"], env=self._env)
        try:
            eventually(lambda: self.told() == ["stay"])
            yield
        finally:
            subprocess.run(["wineserver", "-k"], env=self._env, timeout=60, check=False)
            stays.wait(timeout=60)


@pytest.fixture
def wine(tmp_path, stand_in):
    wine = Wine(tmp_path)
    wine.begin()
    with wine.staying(stand_in):
        yield wine


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """The program that stands in for the agent."""
    made = tmp_path_factory.mktemp("stand-in") / "stand-in.exe"
    run("x86_64-w64-mingw32-gcc", "-O1", "-o", made, Path(__file__).with_name("stand_in.c"), "-ladvapi32")
    return made


@pytest.fixture(scope="module")
def packages(stand_in):
    """The package of the stand-in, in two versions."""
    work = stand_in.parent
    payload = payload_in(work / "payload", stand_in.read_bytes())
    sys.path.insert(0, str(WINDOWS))
    try:
        import build_msi
    finally:
        sys.path.pop(0)
    return [build_msi.build(payload, work / "out", version) for version in ("0.1.0", "0.2.0")]


@pytest.mark.slow
@wixl
@pytest.mark.skipif(
    not all(map(shutil.which, ("wine", "wineserver", "x86_64-w64-mingw32-gcc"))),
    reason="needs wine and gcc-mingw-w64-x86-64, a gigabyte: not installed by .ci/run",
)
def test_under_wine_the_package_installs_upgrades_and_removes_the_service(wine, packages):
    """Prepared before it is started, stopped before it goes; erased where that is wanted, and not with unsent sales."""
    first, second = packages
    program = wine.drive / "Program Files" / "LoyaltyAgent" / "loyalty-agent.exe"

    assert wine.msiexec("/i", first) == 0
    eventually(lambda: wine.state() == "running")
    assert program.exists()
    assert (program.parent / "_internal" / "agent" / "texts" / "sv.toml").read_text() == "x = 1\n"
    assert wine.told() == ["stay", "service prepare", "service run", "running"]

    assert wine.msiexec("/i", second, r"CONFIGFILE=C:\till.toml") == 0
    eventually(lambda: wine.told().count("running") == 2)
    assert r"service prepare --take C:\till.toml" in wine.told()
    assert not [line for line in wine.told() if "erase" in line]

    (wine.drive / "stand-in.refuses").touch()
    assert wine.msiexec("/x", second, "KEEPDATA=0") != 0
    eventually(lambda: wine.state() == "running")  # everything is put back
    assert program.exists()

    assert wine.msiexec("/x", second, "KEEPDATA=0", "PURGEUNSENT=1") == 0
    assert wine.state() is None
    assert not program.exists()
    assert wine.told()[-1] == "service erase --unsent"
