"""What passes between the agent and the service manager that started it; nothing where none did.

systemd's protocols, spoken without its library: `sd_notify(3)` (readiness, status, watchdog) and `sd_listen_fds(3)`
(listeners that outlive a restart).
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import MutableMapping
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_FIRST_HANDED_OVER: Final = 3
_BEATS: Final = 3
"""In the time after which silence counts as death: one that is lost or late kills nobody."""


class ServiceManager:
    """The one that started this process, or nobody.

    Args:
        environ: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`, `LISTEN_PID`, `LISTEN_FDS`; they are taken out, for
            they are not meant for processes that this one starts.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        self.beat_s = _beat_s(environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", ""))
        """Seconds between two signs of life that it wants; None when it wants none."""
        self._handed_over = _handed_over(environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", ""))
        environ.pop("LISTEN_FDNAMES", None)

    def ready(self, status: str) -> None:
        """The agent takes sales; ``status`` is one line for people, without anybody in it."""
        self._tell(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """A sign of life."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """What is under way is being finished."""
        self._tell("STOPPING=1\nSTATUS=stopping")

    def listeners(self) -> list[socket.socket]:
        """The sockets that it holds for the agent, bound and listening. They are handed over once."""
        taken, self._handed_over = self._handed_over, range(0)
        return [socket.socket(fileno=number) for number in taken]

    def _tell(self, message: str) -> None:
        if sys.platform == "win32" or not self._address.startswith(("/", "@")):
            return
        # An abstract address is spelt with @ and has a zero byte there.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
                told.sendto(message.encode(), address)
        except OSError as error:  # it will think what it likes; the till goes on
            log.warning("service_manager.deaf", reason=error.strerror)


def _beat_s(watchdog_us: str, pid: str) -> float | None:
    if not watchdog_us.isdecimal() or (pid and pid != str(os.getpid())):
        return None
    return int(watchdog_us) / 1_000_000 / _BEATS


def _handed_over(count: str, pid: str) -> range:
    ours = count.isdecimal() and pid == str(os.getpid())
    return range(_FIRST_HANDED_OVER, _FIRST_HANDED_OVER + int(count)) if ours else range(0)
