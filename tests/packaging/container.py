"""A Debian that is booted: real systemd in a container of its own, without a network, forgotten at its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

INCLUDED = "apt,systemd,systemd-sysv,dbus,procps,python3,adduser,init-system-helpers,tzdata"
BOOT_S = 60.0
_PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"


class CannotBootError(Exception):
    """This machine cannot boot a container; with the reason."""


class Container:
    """A booted one.

    Args:
        leader: its first process, as seen from here.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def run(self, *command: str, check: bool = True, stdin: str = "", **environ: str) -> str:
        """What a command in it says, both outputs; with ``check`` its end must be 0."""
        done = self.ended(*command, stdin=stdin, **environ)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def ended(self, *command: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """How a command in it ended, with both outputs as one."""
        given = (_PATH, "LANG=C.UTF-8", *(f"{name}={value}" for name, value in environ.items()))
        return subprocess.run(
            ["nsenter", "-t", str(self._leader), "-a", "--", "env", "-i", *given, *command],
            input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
        )  # fmt: skip

    def wait(self, *command: str, until: str, within_s: float = 60.0) -> str:
        """Asks again and again until an answer holds something; the answer."""
        ends = time.monotonic() + within_s
        while until not in (said := self.run(*command, check=False)):
            assert time.monotonic() < ends, f"{command}: {said}"
            time.sleep(0.2)
        return said


def make_root(suite: str, place: Path) -> Path:
    """The files of a minimal Debian. Raises CannotBootError."""
    for program in ("mmdebstrap", "systemd-nspawn", "nsenter", "unshare"):
        if shutil.which(program) is None:
            raise CannotBootError(f"{program} is not installed")
    if os.geteuid() != 0:
        raise CannotBootError("only root may")
    done = subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={INCLUDED}", suite, place],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise CannotBootError(f"mmdebstrap made no {suite}: {done.stderr[-500:]}")
    return place


@contextlib.contextmanager
def booted(root: Path, given: Path, log: Path) -> Iterator[Container]:
    """A container over a clean copy of a root, with ``given`` to be read at `/given`. Raises CannotBootError."""
    mount = "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup"  # systemd wants it whole
    start = (
        f"{mount}; exec systemd-nspawn -q -D {root} --register=no --keep-unit --machine={log.stem} "
        f"--volatile=overlay --private-network --bind-ro={given}:/given -b"
    )
    with log.open("wb") as said:
        process = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", start],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
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


def _leader(process: subprocess.Popen[bytes], log: Path) -> int:
    ends = time.monotonic() + BOOT_S
    while time.monotonic() < ends and process.poll() is None:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        time.sleep(0.1)
    raise CannotBootError(f"nothing booted: {log.read_text(errors='replace')[-500:]}")


def _wait_until_up(container: Container, log: Path) -> None:
    ends = time.monotonic() + BOOT_S
    while container.run("systemctl", "is-system-running", check=False).strip() not in ("running", "degraded"):
        if time.monotonic() > ends:
            raise CannotBootError(f"it did not come up: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.2)
