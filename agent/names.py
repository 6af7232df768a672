"""Names to addresses.

The system's resolver can be interrupted by nobody: with a name server that does not answer it takes ten seconds and
more. asyncio's and uvloop's threads for it are waited for at the end, so that an agent could not be stopped meanwhile,
and a few of them hold up every further question. Here each name is asked for once at a time, in a thread that nobody
waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Sequence
from itertools import chain, zip_longest


class Names:
    """What the system's resolver says, asked for in the background."""

    def __init__(self) -> None:
        self._asked: dict[str, asyncio.Future[tuple[str, ...]]] = {}

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of a host, in the order to try them in: as the system prefers, the families in turn.

        Raises:
            socket.gaierror: the name is unknown, or no name server answers.
        """
        if _is_address(host):
            return (host,)
        if host not in self._asked:
            self._asked[host] = future = asyncio.get_running_loop().create_future()
            future.add_done_callback(lambda done: self._forget(host, done))
            threading.Thread(target=_ask, args=(host, future), name="names", daemon=True).start()
        return await asyncio.shield(self._asked[host])

    def _forget(self, host: str, done: asyncio.Future[tuple[str, ...]]) -> None:
        del self._asked[host]
        done.exception()  # whoever asked may have gone


def _ask(host: str, future: asyncio.Future[tuple[str, ...]]) -> None:
    answer: tuple[str, ...] | OSError
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        answer = _in_turn([(family, str(address[0])) for family, *_, address in found])
    except UnicodeError:  # no name can be like that
        answer = socket.gaierror(socket.EAI_NONAME, "not a name")
    except OSError as error:
        answer = error

    def tell() -> None:
        if isinstance(answer, OSError):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to hear it
        future.get_loop().call_soon_threadsafe(tell)


def _in_turn(found: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    """Addresses of the preferred family and of the others, one of each at a time (RFC 8305, 4)."""
    first = [address for family, address in found if family == found[0][0]]
    others = [address for family, address in found if family != found[0][0]]
    return tuple(address for address in chain.from_iterable(zip_longest(first, others)) if address is not None)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
