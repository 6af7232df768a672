"""What the door offers: one entry a call, which the guard obeys and the OpenAPI document is written from."""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import BaseModel

from agent.api.visits import Reply, Stream, Visit
from agent.tokens import Scope

Handler = Callable[[Visit], Awaitable[Reply | Stream]]
Methods = Mapping[str, "Call"]
_BRACES: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Call:
    """A method of a path.

    Attributes:
        method: of HTTP.
        path: its template, such as ``/v1/queue/{entry}/retry``.
        scope: whose token it takes; None for the open paths.
        handler: answers it; its docstring is the description that the document gives.
        summary: a title for the document; without one the document leaves the call out.
        name: what a client that is generated from the document calls it, so that it stays for good.
        takes: the body's model; None where the body is empty or an object without fields.
        query: the model of its query parameters.
        gives: what each good status carries: a model as JSON, or the name of another media type.
        refuses: refusals of its own, beside those that all calls share.
        ration: ``refuse`` draws 429 when the look-up ration is used up, ``tell`` goes on without looking up.
        stream: what its events carry, as JSON: it does not end by itself. None for a call that ends.
    """

    method: str
    path: str
    scope: Scope | None
    handler: Handler
    summary: str = ""
    name: str = ""
    takes: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    gives: Mapping[int, type[BaseModel] | str] = field(default_factory=dict)
    refuses: Mapping[int, str] = field(default_factory=dict)
    ration: Literal["refuse", "tell"] | None = None
    stream: type[BaseModel] | None = None

    @property
    def description(self) -> str:
        """What the call does, in a sentence or more."""
        return inspect.getdoc(self.handler) or ""

    @property
    def params(self) -> tuple[str, ...]:
        """The names that stand in the path's braces."""
        return tuple(_BRACES.findall(self.path))


class Table:
    """The calls by path.

    Args:
        calls: every call of the door.
    """

    def __init__(self, calls: Iterable[Call]) -> None:
        paths: dict[str, dict[str, Call]] = {}
        for call in calls:
            paths.setdefault(call.path, {})[call.method] = call
        self._plain: dict[str, Methods] = {path: methods for path, methods in paths.items() if "{" not in path}
        self._braced: list[tuple[re.Pattern[str], Methods]] = [
            (re.compile(_BRACES.sub(r"(?P<\1>[^/]+)", path)), methods) for path, methods in paths.items() if "{" in path
        ]

    def find(self, path: str) -> tuple[Methods, dict[str, str]] | None:
        """The methods of a path and what stands in its braces; None where there is no such path."""
        methods = self._plain.get(path)
        if methods is not None:
            return methods, {}
        for pattern, methods in self._braced:
            if match := pattern.fullmatch(path):
                return methods, match.groupdict()
        return None
