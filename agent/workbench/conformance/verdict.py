"""How a case comes to its end: what was expected and what came instead, in words that name nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from agent.workbench.conformance.door import Json, Reply

_WORD: Final = re.compile(r"[a-z][a-z_./+;= -]{0,79}")
_SMALL: Final = 100_000
_OF_THE_CONTRACT: Final = frozenset(
    {"kind", "type", "state", "code", "outcome", "reason", "source", "audience", "severity"}
)
"""Fields whose texts are words of the contract; any other may hold a name, and a name may be spelled like a word."""


class UnmetError(Exception):
    """The door did something else than the contract says.

    Attributes:
        expected: what the contract says.
        got: what came instead.
    """

    def __init__(self, expected: str, got: str) -> None:
        self.expected, self.got = expected, got
        super().__init__(f"expected {expected}, got {got}")


class StrayedError(UnmetError):
    """What the door calls delivered never came to the kit's loyalty system: it may be with a real one."""


class NotApplicableError(Exception):
    """The case says nothing at this door: the message says why."""


def shown(value: Any) -> str:
    """A value of an answer without anything that could name somebody: words of the contract, small numbers, shapes."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case int() if abs(value) < _SMALL:
            return str(value)
        case str():
            return value if _WORD.fullmatch(value) else f"a text of {len(value)} characters"
        case list() | tuple():
            return f"[{', '.join(map(shown, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{shown(key)}: {_field(key, one)}' for key, one in value.items())}}}"
    return f"a {type(value).__name__}"


def _field(name: Any, value: Any) -> str:
    if isinstance(value, str) and name not in _OF_THE_CONTRACT:
        return f"a text of {len(value)} characters"
    return shown(value)


def same(what: str, got: object, expected: object) -> None:
    """They are equal. Raises UnmetError."""
    if got != expected:
        told, instead = shown(expected), shown(got)
        raise UnmetError(f"{what}: {told}", f"{what}: {'another one' if told == instead else instead}")


def true(what: str, *, holds: object, got: str = "not so") -> None:
    """It is so. Raises UnmetError."""
    if not holds:
        raise UnmetError(what, got)


def answered(reply: Reply, *statuses: int) -> Json:
    """The body of an answer that has one of these statuses. Raises UnmetError."""
    if reply.status not in statuses:
        raise UnmetError(f"status {' or '.join(map(str, statuses))}", told(reply))
    return reply.body


def refused(reply: Reply, status: int, code: str) -> Json:
    """The problem of an answer that refuses for that reason. Raises UnmetError."""
    if (reply.status, reply.body.get("code")) != (status, code):
        raise UnmetError(f"status {status} with code {code}", told(reply))
    return reply.body


def told(reply: Reply) -> str:
    """An answer in a few words."""
    code = reply.body.get("code")
    return f"status {reply.status}" + (f" with code {shown(code)}" if code is not None else "")


def message_codes(reply: Reply, audience: str) -> list[str]:
    """The codes of what an answer says to staff, or to customers."""
    messages = reply.body.get("messages")
    true("messages[]", holds=isinstance(messages, list), got=shown(messages))
    return [one["code"] for one in messages or () if one.get("audience") == audience and one.get("text")]


def says(reply: Reply, code: str, *audiences: str) -> None:
    """An answer has a text under that code for each of them. Raises UnmetError."""
    for audience in audiences:
        codes = message_codes(reply, audience)
        true(f"a message {code} for {audience}", holds=code in codes, got=shown(codes))
