"""Who calls: by bearer token, or as a Unix user who needs none. Everybody else is a stranger, and strangers take turns.

The door does its work on one event loop, and a local user who sends a thousand calls at once must not make a cashier
wait for all of them. So whoever has shown nothing yet stands in one line, whether for a page or for a refusal, and the
loop is left to others between two of them; a caller who is known never stands in it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Protocol

from agent.api import problems
from agent.api.peers import Peer, SocketUsers
from agent.api.problems import DoorError
from agent.api.rooms import Verifier
from agent.api.visits import Receive
from agent.tokens import LOOK_EVERY_S, Token

PAUSE_S: Final = 0.004
_CHALLENGE: Final = ((b"www-authenticate", b"Bearer"),)


class Connection(Protocol):
    """The connection that a call came in on (`agent.api.protocol.DoorProtocol`)."""

    known: bool
    """Somebody has shown here who they are."""
    peer: Peer | None
    """The Unix user at the other end."""
    turn: asyncio.Future[None] | None
    """What a stranger waits for; it fails with GoneError when they hang up."""


class Callers:
    """Tells who calls.

    Args:
        tokens: whose tokens are valid.
        users: who needs none.
    """

    def __init__(self, tokens: Verifier, users: SocketUsers) -> None:
        self._tokens, self._users = tokens, users

    def caller(self, head: Mapping[bytes, bytes], connection: Connection) -> Token:
        """Whose call it is. A token that is sent decides alone: a wrong one is refused whoever sends it.

        Raises:
            DoorError: `token.missing`, `token.invalid`.
        """
        stated = head.get(b"authorization")
        if stated is None:
            token = self._users.token(connection.peer)
            if token is None:
                raise DoorError(problems.TOKEN_MISSING, headers=_CHALLENGE)
        else:
            scheme, _, secret = stated.partition(b" ")
            if scheme.lower() != b"bearer" or not secret:
                raise DoorError(problems.TOKEN_MISSING, headers=_CHALLENGE)
            token = self._tokens.verify(secret.strip().decode("latin-1"))
            if token is None:
                raise DoorError(problems.TOKEN_INVALID, headers=_CHALLENGE)
        connection.known = True
        return token

    def while_valid(self, token: Token | None, receive: Receive) -> Receive:
        """What a listener sends, who is taken to have hung up as soon as the token is no longer valid.

        Args:
            token: the listener's; without one, and for a Unix user who needs none, it is ``receive`` unchanged.
            receive: where the listener is heard; asked again at will.
        """
        if token is None or not token.digest:
            return receive

        async def hear() -> MutableMapping[str, Any]:
            while self._tokens.holds(token):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S / 2):
                        return await receive()
            return {"type": "http.disconnect"}

        return hear


class Strangers:
    """The line in which strangers wait: nobody waits in an empty one, and no two are answered at once."""

    def __init__(self) -> None:
        self._line: deque[asyncio.Future[None]] = deque()

    async def turn(self, connection: Connection) -> None:
        """Waits for this stranger's turn; not at all for somebody known. Raises GoneError when they hung up."""
        if connection.known:
            return
        loop = asyncio.get_running_loop()
        if not self._line:
            loop.call_soon(self._next)
        connection.turn = loop.create_future()
        self._line.append(connection.turn)
        await connection.turn

    def _next(self) -> None:
        """Calls the first who is still there."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():  # they hung up, or the server stops
                turn.set_result(None)
                break
        if self._line:
            asyncio.get_running_loop().call_later(PAUSE_S, self._next)
