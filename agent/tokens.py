"""Who may call: the tokens of the till's door, hashed, in `tokens.json` of the state directory.

The file is read by the daemon and written by `loyalty-agent token`, which works whether the daemon runs or not: so it
is replaced whole, and the daemon looks at it twice a second at most. A token is 32 random bytes behind a readable
prefix; only its SHA-256 is kept (a random secret of that size needs no slow hash).

A name may have two tokens for a while: a new one is made, handed to the till and tried before the old one ends, and the
till is without a valid one at no moment.

Beside them stands the daemon's own token for the command line, made anew at each start and kept in `cli.token`, 0600.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from agent.disk import telling, write_durably
from agent.errors import Fault, InputError, StorageError, TokensDamagedError, UnknownRecordError
from agent.locks import hold
from agent.ports import Clock

Scope = Literal["pos", "admin"]

FILE: Final = "tokens.json"
CLI_FILE: Final = "cli.token"
CLI_NAME: Final = "cli"
LOOK_EVERY_S: Final = 0.5
WATCH_EVERY_S: Final = 5.0
NONE_OF_THAT_NAME: Final = "There is no token of that name."
MAX_TOKEN_CHARS: Final = 200
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PREFIX: Final = "la"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """Somebody who may call. ``admin`` includes ``pos``; the token itself is known to its owner alone."""

    name: str
    scope: Scope
    created_at: datetime
    digest: bytes = field(repr=False)

    def may(self, scope: Scope) -> bool:
        """Whether calls of that scope are open to it."""
        return scope == "pos" or self.scope == "admin"


class Tokens:
    """The tokens of one state directory.

    Args:
        state_dir: where `tokens.json` lies; a missing file means no tokens.
        clock: for the instant of creation, and for how often the file is looked at.
        told: called when the file turns out not to be what was written, and when it is again.
    """

    def __init__(self, state_dir: Path, clock: Clock, *, told: Callable[[bool], None] = lambda _damaged: None) -> None:
        self._dir, self._clock, self._told = state_dir, clock, told
        self._own: tuple[Token, ...] = ()
        self._kept: tuple[Token, ...] = ()
        self._seen: tuple[int, int, int] | None = None
        self._looked_mono = float("-inf")
        self.damaged = False
        """The file is not what was written; every token of it is refused until it is."""

    def verify(self, secret: str) -> Token | None:
        """Whose token that is, or None. A change of the file counts within half a second; a new one at once."""
        self._look_again()
        if len(secret) > MAX_TOKEN_CHARS:
            return None
        digest = _digest(secret)
        found = self._whose(digest)
        if found is None and not self.damaged and self._has_changed():  # whoever adds one uses it in the next line
            self._look()
            found = self._whose(digest)
        return found

    def _whose(self, digest: bytes) -> Token | None:
        found = None
        for token in (*self._own, *self._kept):  # all of them, so that the time taken tells nothing
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found

    def holds(self, token: Token) -> bool:
        """Whether a token that :meth:`verify` gave is valid still; a change of the file counts as it does there."""
        self._look_again()
        return token in (*self._own, *self._kept)

    def list(self) -> tuple[Token, ...]:
        """Every token in the file, in order of creation. Raises TokensDamagedError, StorageError."""
        return _load(self._dir / FILE)

    def add(self, name: str, scope: Scope) -> str:
        """A new token's secret; it is shown this once and cannot be read back.

        Raises:
            InputError: the name is taken or cannot be a name, or there is no such scope.
            TokensDamagedError, StorageError: the file cannot be read or written.
        """
        if not _NAME.fullmatch(name):
            raise InputError([Fault("name", "is not a name: letters, digits, dot, dash and underscore, 64 at most")])
        if scope not in ("pos", "admin"):
            raise InputError([Fault("scope", "is neither pos nor admin")])
        with self._locked():
            tokens = self.list()
            if name == CLI_NAME or any(token.name == name for token in tokens):
                raise InputError([Fault("name", "is taken; rotate or revoke that token, or choose another name")])
            return self._save_new(tokens, name, scope)

    def rotate(self, name: str) -> str:
        """A second token's secret, of the same name and scope; the first stays valid until :meth:`revoke`.

        Raises:
            InputError: the name has two already.
            UnknownRecordError: it has none.
            TokensDamagedError, StorageError: the file cannot be read or written.
        """
        with self._locked():
            tokens = self.list()
            same = [token for token in tokens if token.name == name]
            if not same:
                raise UnknownRecordError(NONE_OF_THAT_NAME)
            if len(same) > 1:
                raise InputError([Fault("name", "has an old and a new token already; revoke the old one first")])
            return self._save_new(tokens, name, same[0].scope)

    def revoke(self, name: str, *, old: bool = False) -> None:
        """Ends every token of a name, or of two the older alone.

        Raises:
            UnknownRecordError: there is none; with ``old``, there are not two.
            TokensDamagedError, StorageError: the file cannot be read or written.
        """
        with self._locked():
            tokens = self.list()
            ending = [token for token in tokens if token.name == name]
            if not ending:
                raise UnknownRecordError(NONE_OF_THAT_NAME)
            if old and len(ending) == 1:
                raise UnknownRecordError("There is one token of that name alone, not an old one and a new one.")
            ended = {token.digest for token in (ending[:1] if old else ending)}
            self._save(tuple(token for token in tokens if token.digest not in ended))

    def make_own(self) -> str:
        """The daemon's own admin token for the command line, new at each start and written to `cli.token`.

        Raises:
            StorageError: it cannot be written.
        """
        secret = f"{_PREFIX}_{CLI_NAME}_{secrets.token_urlsafe(32)}"
        _write(self._dir / CLI_FILE, secret)
        self._own = (Token(CLI_NAME, "admin", self._clock.now(), _digest(secret)),)
        return secret

    async def watch(self) -> None:
        """Looks at the file now and then, whether anybody calls or not; works for ever."""
        while True:
            self._look_again()
            await asyncio.sleep(WATCH_EVERY_S)

    def _look_again(self) -> None:
        mono = self._clock.monotonic()
        if mono - self._looked_mono >= LOOK_EVERY_S:
            self._looked_mono = mono
            self._look()

    def _has_changed(self) -> bool:
        try:
            return _signature(self._dir / FILE) != self._seen
        except OSError:
            return False  # the next look says what became of it

    def _look(self) -> None:
        path = self._dir / FILE
        try:
            seen = _signature(path)
        except FileNotFoundError:
            self._seen, self._kept = None, ()
            self._is_fine()
            return
        except OSError as error:
            self._refuse_all(error)
            return
        if seen == self._seen:
            return
        try:
            self._kept, self._seen = _load(path), seen
        except StorageError as error:
            self._refuse_all(error)
        else:
            self._is_fine()

    def _refuse_all(self, error: Exception) -> None:
        self._seen, self._kept = None, ()
        if not self.damaged:
            self.damaged = True
            _log.error("tokens.unreadable", file=FILE, error=type(error).__name__)
            self._told(True)

    def _is_fine(self) -> None:
        if self.damaged:
            self.damaged = False
            self._told(False)

    def _save_new(self, tokens: tuple[Token, ...], name: str, scope: Scope) -> str:
        secret = f"{_PREFIX}_{scope}_{secrets.token_urlsafe(32)}"
        self._save((*tokens, Token(name, scope, self._clock.now(), _digest(secret))))
        return secret

    def _save(self, tokens: tuple[Token, ...]) -> None:
        rows = [
            {
                "name": token.name,
                "scope": token.scope,
                "created_at": token.created_at.isoformat(),
                "sha256": token.digest.hex(),
            }
            for token in tokens
        ]
        _write(self._dir / FILE, json.dumps({"tokens": rows}, indent=1))
        self._looked_mono = float("-inf")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, so that two commands do not undo each other."""
        try:
            handle = os.open(self._dir / "tokens.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError("The tokens cannot be written in the state directory.") from error
        try:
            hold(handle)
            yield
        finally:
            os.close(handle)


def read_own(state_dir: Path) -> str | None:
    """The running daemon's token for the command line, or None when it left none. Raises PermissionError."""
    try:
        return (state_dir / CLI_FILE).read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None


def forget_own(state_dir: Path) -> None:
    """Takes `cli.token` away: the daemon has stopped."""
    (state_dir / CLI_FILE).unlink(missing_ok=True)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _signature(path: Path) -> tuple[int, int, int]:
    """What changes whenever the file is written anew. Raises OSError."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def _load(path: Path) -> tuple[Token, ...]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StorageError(f"{FILE} cannot be read.") from error
    try:
        rows = json.loads(text)["tokens"]
        if not isinstance(rows, list):
            raise TypeError("tokens are a list")  # noqa: TRY301 - one handler says it for every shape that is wrong
        return tuple(_token(row) for row in rows)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TokensDamagedError(f"{FILE} is not what was written; add the tokens anew after removing it.") from error


def _token(row: dict[str, Any]) -> Token:
    digest = bytes.fromhex(row["sha256"])
    created_at = datetime.fromisoformat(row["created_at"])
    if row["scope"] not in ("pos", "admin") or len(digest) != hashlib.sha256().digest_size or created_at.tzinfo is None:
        raise ValueError("is not a token")
    if not _NAME.fullmatch(row["name"]):
        raise ValueError("is not a name")
    return Token(row["name"], row["scope"], created_at, digest)


def _write(path: Path, text: str) -> None:
    with telling(f"{path.name} cannot be written"):
        write_durably(path, f"{text}\n".encode("ascii"))
