"""The machine that the agent runs on, as far as a till depends on it: its disk, its clock, its service manager."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from agent import windows_service
from agent.doctor.findings import Finding, fail, look, ok, unknown, warn
from agent.domain.link import CLOCK_TOLERANCE
from agent.settings import Configuration
from agent.state import DATABASE_PARTS, OUTBOX, REPLICA

UNIT = "loyalty-agent.service"
_GONE_WITH_THE_POWER = ("tmpfs", "ramfs")
_OVER_A_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs")
"""SQLite's documentation on file locking ("How To Corrupt", 2.1): their locks and syncs are not to be relied on."""
_MIB = 1 << 20
_OUT_OF_STEP = 5  # adjtimex(2): TIME_ERROR, the clock is not synchronised
_TIMEX_BYTES = 256  # sizeof(struct timex), and to spare
_SHOWN = ("LoadState", "ActiveState", "UnitFileState", "NRestarts", "ExecMainStatus")
_PATIENCE_S = 5.0
_BY_ANOTHER = "Install the package, or have whatever starts this machine's services start loyalty-agent run."


def look_at_disk(configuration: Configuration) -> Iterator[Finding]:
    """What lies under the state directory: room, and what kind of file system it is."""
    yield from _space(configuration)
    yield from _kind(configuration)


@look("disk.space")
def _space(configuration: Configuration) -> Iterator[Finding]:
    settings = configuration.settings.queue
    free = shutil.disk_usage(_nearest(configuration.state_dir)).free
    text = f"{free / _MIB:,.0f} MiB are free"
    if free < settings.reserve_bytes:
        yield fail("disk.space", text, "Free space: soon no sale can be kept here.")
    elif free < settings.max_bytes:
        most = f"{text}; the queue may grow to {settings.max_bytes / _MIB:,.0f} MiB (queue.max_bytes)"
        yield warn("disk.space", most, "Free space, or an outage of days may fill the disk.")
    else:
        yield ok("disk.space", text)


@look("disk.file_system")
def _kind(configuration: Configuration) -> Iterator[Finding]:
    kind = _file_system(_nearest(configuration.state_dir))
    check = "disk.file_system"
    if kind in _GONE_WITH_THE_POWER:
        yield fail(check, f"{kind}: what is kept there is gone with the power", "Put the state directory on a disk.")
    elif kind in _OVER_A_NETWORK:
        text = f"{kind}: locks and syncs over a network are not to be relied on"
        yield warn(check, text, "Put the state directory on a disk of this machine.")
    elif kind:
        yield ok(check, kind)
    else:
        yield unknown(check, "this system does not tell", "See that it is a disk of this machine.")


@look("clock")
def look_at_clock(configuration: Configuration, now: datetime) -> Iterator[Finding]:
    """Whether the clock can be right, as far as this machine knows; a vendor's answer tells more.

    Args:
        configuration: whose files bear dates.
        now: by that clock.
    """
    written = [
        path.stat().st_mtime
        for name in (OUTBOX, REPLICA)
        for part in DATABASE_PARTS
        if (path := configuration.state_dir / f"{name}{part}").is_file()
    ]
    ahead_s = max(written, default=0.0) - now.timestamp()
    in_step = _in_step()
    if ahead_s > CLOCK_TOLERANCE.total_seconds():
        text = f"the agent's files were written {ahead_s / 3600:,.1f} hours from now: the clock was put back"
        yield fail("clock", text, "Set the clock, and have the machine synchronise it.")
    elif in_step is None:
        yield unknown("clock", "this system does not say whether it is synchronised", "Run doctor --online.")
    elif in_step:
        yield ok("clock", "synchronised by this machine")
    else:
        text = "this machine does not synchronise it; whether it is right, a vendor can tell"
        yield warn("clock", text, "Have the machine synchronise its clock (timedatectl set-ntp true); doctor --online.")


def look_at_service() -> Finding:
    """The agent's unit, where systemd runs this machine; the Windows service there."""
    check = "service"
    if sys.platform == "win32":
        try:
            return judge_windows_service(windows_service.status())
        except windows_service.WindowsServiceError as error:
            return unknown(check, str(error), "Run doctor as an administrator.")
    if not Path("/run/systemd/system").is_dir():
        return unknown(check, "systemd does not run this machine", _BY_ANOTHER)
    try:
        told = subprocess.run(  # noqa: S603 - fixed words
            ["systemctl", "show", UNIT, *(f"--property={name}" for name in _SHOWN)],  # noqa: S607 - the system's own
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return unknown(check, "systemd does not answer", "systemctl status loyalty-agent")
    return judge_service(dict(line.split("=", 1) for line in told.splitlines() if "=" in line))


def judge_service(shown: dict[str, str]) -> Finding:
    """What systemd's properties of the unit come to.

    Args:
        shown: those of ``_SHOWN``, as `systemctl show` prints them.
    """
    check, state = "service", shown.get("ActiveState", "")
    if shown.get("LoadState") != "loaded":
        return unknown(check, f"{UNIT} is not installed", _BY_ANOTHER)
    if state == "failed":
        status = shown.get("ExecMainStatus", "?")
        text = f"failed, with status {status}"
        return fail(check, text, "journalctl --namespace=loyalty-agent; status 78: loyalty-agent config check")
    restarts = shown.get("NRestarts", "0")
    if state not in ("active", "activating", "reloading"):
        return fail(check, f"is {state or 'in no known state'}", "systemctl start loyalty-agent")
    if shown.get("UnitFileState") not in ("enabled", "static", "enabled-runtime"):
        text = f"is {state}, and does not start with the machine"
        return warn(check, text, "systemctl enable loyalty-agent")
    if restarts != "0":
        text = f"is {state}, restarted by itself {restarts} times"
        return warn(check, text, "journalctl --namespace=loyalty-agent says why.")
    return ok(check, f"is {state}, and starts with the machine")


def judge_windows_service(found: windows_service.ServiceStatus) -> Finding:
    """What Windows' word on the service comes to."""
    check, text = "service", f"is {found.state}"
    if found.state == "stopped" and found.exit_status:
        text = f"{text}, with status {found.exit_status}"
        return fail(check, text, "The event log says why; status 78: loyalty-agent config check")
    if found.state not in ("running", "starting"):
        return fail(check, text, "loyalty-agent service start")
    if not found.automatic:
        return warn(check, f"{text}, and does not start with the machine", "sc config loyalty-agent start= auto")
    return ok(check, f"{text}, and starts with the machine")


def _nearest(path: Path) -> Path:
    """The path, or the first directory above it that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _file_system(path: Path) -> str | None:
    """The kind of file system that a path lies on; None where the system does not tell (proc(5), mountinfo)."""
    if sys.platform == "win32":
        return None
    try:
        device = path.stat().st_dev
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    wanted = f"{os.major(device)}:{os.minor(device)}"
    mounts = [line.split(" - ", 1) for line in lines if line.split()[2] == wanted]
    return mounts[-1][1].split()[0] if mounts else None


def _in_step() -> bool | None:
    """Whether the kernel's clock is kept right by something, whatever that is; None where it does not say."""
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))  # modes 0: it only tells
    except (OSError, AttributeError, TypeError):
        return None
    return None if state < 0 else state != _OUT_OF_STEP
