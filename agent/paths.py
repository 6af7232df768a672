"""Where configuration, state and runtime files lie on this machine.

systemd says so through variables; without them a service account on Linux uses the fixed places and everybody else
the platform's (platformdirs' own site directory would be under ``/etc/xdg``, where no administrator looks).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import platformdirs

APP = "loyalty-agent"
DEBIAN_LIBRARIES = Path("/usr/lib") / APP
DEBIAN_PROGRAM = Path("/usr/bin") / APP
"""Where Debian's package keeps what no other Python program sees, and what starts with it (`packaging/`)."""
PLATFORM: str = sys.platform  # a name of our own: a type checker would call the other platforms unreachable


def _from_systemd(variable: str) -> Path | None:
    first = os.environ.get(variable, "").split(":", 1)[0]
    return Path(first) if first else None


def _is_service() -> bool:
    return sys.platform != "win32" and PLATFORM.startswith("linux") and os.geteuid() == 0


def program() -> list[str]:
    """The command that starts this very program anew."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    if Path(__file__).is_relative_to(DEBIAN_LIBRARIES):
        return [str(DEBIAN_PROGRAM)]
    return [sys.executable, "-m", "agent"]


def config_dir() -> Path:
    """The directory of `config.toml` and `conf.d`."""
    if directory := _from_systemd("CONFIGURATION_DIRECTORY"):
        return directory
    if PLATFORM.startswith("linux"):
        return Path("/etc") / APP
    return Path(platformdirs.site_config_dir("LoyaltyAgent", appauthor=False))


def state_dir(configured: str | None) -> Path:
    """The directory of databases, keys and tokens.

    Args:
        configured: `agent.state_dir`, which wins over everything.
    """
    if configured:
        return Path(configured).expanduser()
    if directory := _from_systemd("STATE_DIRECTORY"):
        return directory
    if _is_service():
        return Path("/var/lib") / APP
    if PLATFORM == "win32":
        return Path(platformdirs.site_config_dir("LoyaltyAgent", appauthor=False)) / "data"
    return Path(platformdirs.user_state_dir(APP))


def runtime_dir(configured: str | None) -> Path:
    """The directory of the sockets that the configuration names without one.

    Beside the state, but for the service: systemd's own, or where systemd makes it (`RuntimeDirectory=`), so that a
    command which an administrator gives finds the socket too.

    Args:
        configured: `agent.state_dir`.
    """
    if directory := _from_systemd("RUNTIME_DIRECTORY"):
        return directory
    if configured is None and _is_service() and not _from_systemd("STATE_DIRECTORY"):
        return Path("/run") / APP
    return state_dir(configured)


def log_dir() -> Path:
    """Where a service writes its log that nobody else keeps: on Windows, beside the configuration."""
    return config_dir() / "logs"


def credentials_dir() -> Path | None:
    """Where systemd put this service's credentials, if it did."""
    return _from_systemd("CREDENTIALS_DIRECTORY")
