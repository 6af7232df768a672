"""Files and ports held by one program alone: the operating system lets go of them when it ends, however that ends."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time

PORT_OPTION = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
"""To be set on a socket before it is bound. `SO_REUSEADDR` takes a port whose former connections are still being
closed; on Windows it would share one that somebody listens on, and the other option is needed to be its only holder."""
_TRY_AGAIN_S = 0.05


def try_hold(handle: int) -> bool:
    """Locks an open file against every other program; whether nobody else holds it. Closing it lets go.

    Args:
        handle: a file descriptor open for writing. Windows locks its first byte, there or not, and lets nobody read
            that: it must be a file that is there to be locked.

    Raises:
        OSError: its file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - of that system alone

        os.lseek(handle, 0, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            return False
        return True
    import fcntl  # noqa: PLC0415 - of POSIX alone

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def hold(handle: int) -> None:
    """As :func:`try_hold`, waiting for whoever holds it: for milliseconds, as the files are used. Raises OSError."""
    if sys.platform == "win32":
        while not try_hold(handle):
            time.sleep(_TRY_AGAIN_S)
        return
    import fcntl  # noqa: PLC0415 - of POSIX alone

    fcntl.flock(handle, fcntl.LOCK_EX)
