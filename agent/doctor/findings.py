"""A finding: what was looked at, how it stands, and what to do about it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ParamSpec

from agent.errors import StorageError

P = ParamSpec("P")

AS_WHOM = "Run doctor as root, or as the agent's user."


class Grade(StrEnum):
    """How something stands. What could not be looked at is `unknown`, which is not `ok`."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the sheet.

    Attributes:
        check: what was looked at; a stable name.
        state: how it stands.
        detail: what was seen.
        remedy: what to do; None where all is well.
    """

    check: str
    state: Grade
    detail: str
    remedy: str | None = None


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, Grade.OK, detail)


def warn(check: str, detail: str, remedy: str) -> Finding:
    """It works, and somebody should look at it."""
    return Finding(check, Grade.WARN, detail, remedy)


def fail(check: str, detail: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, Grade.FAIL, detail, remedy)


def unknown(check: str, detail: str, remedy: str) -> Finding:
    """It could not be looked at."""
    return Finding(check, Grade.UNKNOWN, detail, remedy)


def look(check: str) -> Callable[[Callable[P, Iterator[Finding]]], Callable[P, Iterator[Finding]]]:
    """A look that the disk may refuse: that becomes a finding of its own, and the sheet goes on."""

    def refusable(looks: Callable[P, Iterator[Finding]]) -> Callable[P, Iterator[Finding]]:
        @functools.wraps(looks)
        def found(*args: P.args, **kwargs: P.kwargs) -> Iterator[Finding]:
            try:
                yield from looks(*args, **kwargs)
            except PermissionError:
                yield unknown(check, "may not be read by this user", AS_WHOM)
            except OSError as error:
                yield fail(check, f"cannot be read: {error.strerror or type(error).__name__}", "Check the disk.")
            except StorageError as error:
                yield fail(check, str(error), error.advice)

        return found

    return refusable


def worst(findings: Iterable[Finding]) -> Grade:
    """The gravest of them; OK of none."""
    order = (Grade.FAIL, Grade.WARN, Grade.UNKNOWN)
    states = {finding.state for finding in findings}
    return next((grade for grade in order if grade in states), Grade.OK)
