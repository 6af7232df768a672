"""Who is at the other end of a Unix socket, as the kernel says, and whom of them the configuration lets in.

`api.socket_users` names Unix users and groups that need no token there. The kernel's word (`SO_PEERCRED`, unix(7)) is
that of the moment of connecting and cannot be forged; a browser reaches no socket at all.
"""

import contextlib
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog

from agent.tokens import Scope, Token

if sys.platform != "win32":  # which has no such users: nobody is let in without a token there
    import grp
    import pwd

NOBODY: Final = 65_534
"""What the kernel calls whoever has no id here: another user namespace, `PrivateUsers=yes`. It may be anybody."""
GROUP: Final = "@"
_CREDENTIALS: Final = struct.Struct("iII")
_SO_PEERCRED: Final = getattr(socket, "SO_PEERCRED", None)
_AF_UNIX: Final = getattr(socket, "AF_UNIX", None)
_SO_PEERGROUPS: Final = 59  # asm-generic/socket.h, Linux 4.13; the module has no name for it
_GROUPS_BYTES: Final = 1024  # the most that the module asks the kernel for: 256 groups
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    """A Unix user who connected; ``gids`` are the user's groups, the own one included."""

    uid: int
    gids: frozenset[int]


def peer_of(connection: Any) -> Peer | None:
    """Who is at the other end of a socket; None on a port, and where the kernel does not say.

    Args:
        connection: what asyncio knows as a transport's socket.
    """
    if _SO_PEERCRED is None or connection is None or connection.family != _AF_UNIX:
        return None
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return None
    _, uid, gid = _CREDENTIALS.unpack(credentials)
    groups = b""
    with contextlib.suppress(OSError):  # an old kernel, or more groups than fit: the own one alone counts then
        groups = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    return Peer(uid, frozenset((gid, *(item[0] for item in struct.iter_unpack("I", groups)))))


class SocketUsers:
    """The Unix users who need no token.

    Args:
        named: `api.socket_users`: a user, a number, or either behind ``@`` for a group, and the scope.
        now: the instant that their standing tokens are made at.
    """

    def __init__(self, named: Mapping[str, Scope], now: datetime) -> None:
        self._users: dict[int, Token] = {}
        self._groups: dict[int, Token] = {}
        for name, scope in named.items():
            found = _id_of(name)
            if found is None or found in (NOBODY, *_overflow_ids()):
                _log.warning("socket_users.unknown", name=name)
                continue
            entries = self._groups if name.startswith(GROUP) else self._users
            entries[found] = Token(f"unix:{name}", scope, now, b"")

    def token(self, peer: Peer | None) -> Token | None:
        """What a peer may do: as a user who is named, else as the group of theirs that may most; None for nobody.

        Users of one group are told apart by their numbers: none of them uses up another's look-up ration.
        """
        if peer is None:
            return None
        if (user := self._users.get(peer.uid)) is not None:
            return user
        groups = [self._groups[gid] for gid in sorted(peer.gids) if gid in self._groups]
        group = max(groups, key=lambda token: token.may("admin"), default=None)
        return group and replace(group, name=f"{group.name}:{peer.uid}")


def _id_of(name: str) -> int | None:
    """The user's or group's number; None when there is none of that name on this machine."""
    plain = name.removeprefix(GROUP)
    if plain.isdecimal():
        return int(plain)
    if sys.platform != "win32":
        with contextlib.suppress(KeyError):
            return grp.getgrnam(plain).gr_gid if name.startswith(GROUP) else pwd.getpwnam(plain).pw_uid
    return None


def _overflow_ids() -> list[int]:
    """What this kernel uses in place of 65534, if somebody changed it (proc_sys_kernel(5))."""
    found = []
    for kind in ("uid", "gid"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path(f"/proc/sys/kernel/overflow{kind}").read_text(encoding="ascii")))
    return found
