"""A Debian or Ubuntu that is booted: real systemd in a container, without a network, forgotten at its end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

INCLUDED = "apt,systemd,systemd-sysv,dbus,procps,python3,adduser,init-system-helpers,tzdata"
PATIENCE_S = 180.0
FETCH_S = 300
_PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
DEBIAN = os.environ.get("DEBIAN_ARCHIVE", "http://deb.debian.org/debian")
UBUNTU = os.environ.get("UBUNTU_ARCHIVE", "http://archive.ubuntu.com/ubuntu")
"""Where the distributions' packages are fetched from, or a mirror of it."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of an archive that this machine's own distribution does not bring, in a package of that archive.

    The package is known by its bytes, so that whoever answers for the archive need not be trusted.
    """

    package: str
    sha256: str
    file: str


@dataclass(frozen=True, slots=True)
class System:
    """A release of a distribution.

    Attributes:
        suite: its name in the archive.
        archive: where that is.
        keyring: what its signatures are checked with; None where this machine's apt knows.
    """

    suite: str
    archive: str
    keyring: Keyring | None = None


# The package of the release itself, which stays in the archive as it is. Its archive key of 2018 has the fingerprint
# F6ECB3762474EDA9D21B7022871920D1991BC93C.
_OF_UBUNTU = Keyring(
    "pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb",
    "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8",
    "usr/share/keyrings/ubuntu-archive-keyring.gpg",
)
SYSTEMS = {
    "debian-12": System("bookworm", DEBIAN),
    "debian-13": System("trixie", DEBIAN),
    "ubuntu-24.04": System("noble", UBUNTU, _OF_UBUNTU),
}


class CannotBootError(Exception):
    """This machine cannot boot a container; with the reason."""


class Container:
    """A booted one.

    Args:
        leader: its first process, as seen from here.
    """

    def __init__(self, leader: int) -> None:
        self.leader = leader

    def run(self, *command: str, check: bool = True, stdin: str = "", **environ: str) -> str:
        """What a command in it says, both outputs; with ``check`` its end must be 0."""
        done = self.ended(*command, stdin=stdin, **environ)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def ended(self, *command: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """How a command in it ended, with both outputs as one."""
        given = (_PATH, "LANG=C.UTF-8", *(f"{name}={value}" for name, value in environ.items()))
        return subprocess.run(
            ["nsenter", "-t", str(self.leader), "-a", "--", "env", "-i", *given, *command],
            input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
        )  # fmt: skip

    def wait(self, *command: str, until: str) -> str:
        """Asks again and again until an answer holds something; the answer."""
        ends = time.monotonic() + PATIENCE_S
        while until not in (said := self.run(*command, check=False)):
            assert time.monotonic() < ends, f"{command}: {said}"
            time.sleep(0.2)
        return said


def make_root(system: System, place: Path, *more: str) -> Path:
    """The files of a minimal system, in a new directory, with more packages of its archive. Raises CannotBootError."""
    for program in ("mmdebstrap", "systemd-nspawn", "nsenter", "unshare", "dpkg-deb"):
        if shutil.which(program) is None:
            raise CannotBootError(f"{program} is not installed")
    if os.geteuid() != 0:
        raise CannotBootError("only root may")
    place.mkdir()
    trusted = [f"--keyring={_keyring(system, place)}"] if system.keyring else []
    root = place / "root"
    _fetch(
        system, "mmdebstrap", "--quiet", "--variant=minbase", "--components=main",
        f"--include={','.join((INCLUDED, *more))}", *trusted, system.suite, root, system.archive,
    )  # fmt: skip
    return root


def _keyring(system: System, place: Path) -> Path:
    """The archive's keys, out of their package. Raises CannotBootError."""
    assert system.keyring is not None
    url = f"{system.archive}/{system.keyring.package}"
    try:
        with urllib.request.urlopen(url, timeout=FETCH_S) as answer:
            content = answer.read()
    except OSError as error:
        raise CannotBootError(f"the archive's keys cannot be fetched: {error}") from error
    if hashlib.sha256(content).hexdigest() != system.keyring.sha256:
        raise CannotBootError(f"{url} is not the package with the archive's keys")
    package = place / "keyring.deb"
    package.write_bytes(content)
    subprocess.run(["dpkg-deb", "-x", package, place / "keyring"], check=True)
    return place / "keyring" / system.keyring.file


def _fetch(system: System, *command: str | Path) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False)
    except subprocess.TimeoutExpired:
        raise CannotBootError(f"{system.archive} gave no {system.suite} within {FETCH_S} s") from None
    if done.returncode != 0:
        raise CannotBootError(f"{command[0]} made no {system.suite}: {done.stderr[-500:]}")


@contextlib.contextmanager
def booted(root: Path, given: Path, log: Path) -> Iterator[Container]:
    """A container over a clean copy of a root, with ``given`` to be read at `/given`. Raises CannotBootError."""
    group = f"/sys/fs/cgroup/{log.stem}-{os.getpid()}"  # its own: in a common one a system meets another's services
    start = (
        f"mkdir {group}; echo $$ > {group}/cgroup.procs; "
        f"exec systemd-nspawn -q -D {root} --register=no --keep-unit --machine={log.stem} "
        f"--volatile=overlay --private-network --bind-ro={given}:/given -b"
    )
    with log.open("wb") as said:
        process = subprocess.Popen(
            _with_control_groups(start), stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
    try:
        container = Container(_leader(process, log))
        _wait_until_up(container, log)
        yield container
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        subprocess.run(_with_control_groups(f"find {group} -depth -type d -exec rmdir {{}} +"), check=False)


def _with_control_groups(script: str) -> list[str]:
    """A command that runs a script where control groups are whole, as systemd wants them."""
    mount = "umount -R /sys/fs/cgroup || true; mount -t cgroup2 none /sys/fs/cgroup"
    return ["unshare", "-m", "--propagation", "private", "sh", "-ec", f"{mount}; {script}"]


def _leader(process: subprocess.Popen[bytes], log: Path) -> int:
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends and process.poll() is None:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        time.sleep(0.1)
    raise CannotBootError(f"nothing booted: {log.read_text(errors='replace')[-500:]}")


def _wait_until_up(container: Container, log: Path) -> None:
    ends = time.monotonic() + PATIENCE_S
    while container.run("systemctl", "is-system-running", check=False).strip() not in ("running", "degraded"):
        if time.monotonic() > ends:
            raise CannotBootError(f"it did not come up: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.2)
