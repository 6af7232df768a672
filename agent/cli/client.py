"""Asks the running agent over its own door, with the token that it keeps for this in its state directory.

The door of the first listen address is used, TCP or Unix socket. No proxy of the environment stands between.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from agent.cli.errors import (
    DaemonRefusedError,
    DaemonSilentError,
    DaemonUnreachableError,
    NotTheAgentError,
    PermissionRefusedError,
    TokenForgottenError,
)
from agent.errors import StorageError
from agent.settings import Configuration
from agent.tokens import read_own

_UNIX = "unix:"
_CONNECT_S = 2.0
_OF_A_STATUS = frozenset({
    "version", "state", "since", "level", "vendors", "replica", "queue", "conditions",
})  # fmt: skip
"""What is told of it to people."""
_NOT_THE_AGENT = "What answers at this address is not the agent."
_UNAUTHORIZED, _FORBIDDEN, _SERVER_ERROR = 401, 403, 500


class Daemon:
    """The running agent. A context manager; nothing is sent before the first call.

    Args:
        configuration: says where it listens and where its token lies.
        timeout_s: how long an answer may take.
    """

    def __init__(self, configuration: Configuration, *, timeout_s: float = 30.0) -> None:
        self.address = configuration.listen[0]
        self._state_dir = configuration.state_dir
        transport, base = None, f"http://{self.address}"
        if self.address.startswith(_UNIX):
            transport, base = httpx.HTTPTransport(uds=self.address.removeprefix(_UNIX)), "http://localhost"
        timeout = httpx.Timeout(timeout_s, connect=_CONNECT_S)
        self._client = httpx.Client(base_url=base, transport=transport, timeout=timeout, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """What the agent answers. Raises as :meth:`post` does."""
        stated = {name: value for name, value in params.items() if value is not None}
        return _document(self._ask("GET", path, params=stated))

    def status(self) -> dict[str, Any]:
        """What the agent says of itself. Raises as :meth:`post` does."""
        answer = self.get("/v1/status")
        if not answer.keys() >= _OF_A_STATUS:
            raise NotTheAgentError(_NOT_THE_AGENT)
        return answer

    def text(self, path: str) -> str:
        """What the agent answers in plain text. Raises as :meth:`post` does."""
        return self._ask("GET", path).text

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the agent answers to an order.

        Raises:
            DaemonUnreachableError: nobody answers, or somebody else (:class:`NotTheAgentError`).
            PermissionRefusedError: the token cannot be read, or the agent does not take it.
            StorageError: the agent's disk says no.
            DaemonRefusedError: anything else that is not done.
        """
        return _document(self._ask("POST", path, json=body))

    def _ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token()}"}
        try:
            self._knock()
            answer = self._client.request(method, path, headers=headers, **how)
        except PermissionError:
            raise PermissionRefusedError(f"The agent's socket {self.address} may not be used by this user.") from None
        except (httpx.TransportError, OSError) as error:
            told = f"The agent cannot be reached at {self.address}: "
            if isinstance(error, httpx.TimeoutException):
                raise DaemonSilentError(f"{told}it does not answer in time.") from error
            raise DaemonUnreachableError(f"{told}it is not running.") from error
        if answer.is_success:
            return answer
        raise _refusal(answer, self.address)

    def _knock(self) -> None:
        """Connects to a Unix socket once: the HTTP client tells no refusal from an absence, and leaves its end open."""
        if sys.platform != "win32" and self.address.startswith(_UNIX):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(self.address.removeprefix(_UNIX))

    def _token(self) -> str:
        try:
            token = read_own(self._state_dir)
        except PermissionError:
            raise PermissionRefusedError(
                f"The agent's token in {self._state_dir} may not be read by this user."
            ) from None
        if token is None:
            raise DaemonUnreachableError(f"The agent is not running: it left no token in {self._state_dir}.")
        return token


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json() if answer.content else {}
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise NotTheAgentError(_NOT_THE_AGENT)
    return document


def _refusal(answer: httpx.Response, address: str) -> Exception:
    if answer.status_code == _UNAUTHORIZED:
        return TokenForgottenError(f"The agent at {address} does not know this token: it has another state directory.")
    problem = _document(answer)
    text = str(problem.get("detail") or problem.get("title") or f"The agent answered {answer.status_code}.")
    faults = problem.get("errors") or []
    if not isinstance(faults, list) or not all(isinstance(fault, dict) for fault in faults):
        return NotTheAgentError(_NOT_THE_AGENT)
    text += "".join(f"\n{fault.get('pointer')}: {fault.get('message')}" for fault in faults)
    if answer.status_code == _FORBIDDEN:
        return PermissionRefusedError(text)
    if answer.status_code >= _SERVER_ERROR:
        return StorageError(text)
    return DaemonRefusedError(text, problem.get("code"))
