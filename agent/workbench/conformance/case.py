"""A case: one thing that the contract says, tried at a door; and a group of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from agent.workbench.conformance.trial import Trial

Play = Callable[[Trial], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One of them.

    Attributes:
        group: what it belongs to.
        name: within the group.
        title: what is tried, in a sentence.
        rule: the contract's own sentence, as `docs/till-api.md` has it.
        play: raises UnmetError where the door does something else, NotApplicableError where there is nothing to try.
        level: the least fallback level that it says something at.
        admin: whether it takes a token of scope admin.
        offline: whether it begins with the line as the case before left it; any other begins with the line up.
    """

    group: str
    name: str
    title: str
    rule: str
    play: Play
    level: int
    admin: bool
    offline: bool

    @property
    def path(self) -> str:
        """Its name among all."""
        return f"{self.group}/{self.name}"


@dataclass(slots=True)
class Group:
    """Cases of one kind, in the order in which they are played; of an outage, where they are ``offline``."""

    name: str
    offline: bool = False
    cases: list[Case] = field(default_factory=list)

    def case(self, rule: str, *, level: int = 1, admin: bool = False) -> Callable[[Play], Play]:
        """Makes a case of a function: its name and the first line of its docstring are the case's."""

        def add(play: Play) -> Play:
            title = (play.__doc__ or "").splitlines()[0]
            name = play.__name__.replace("_", "-")
            self.cases.append(Case(self.name, name, title, rule, play, level, admin, self.offline))
            return play

        return add

    def each(
        self, name: str, title: str, rule: str, play: Callable[[str, Trial], None], *words: str, level: int = 1
    ) -> None:
        """Makes a case of a function for each of some words; the name and the title end with it."""
        for word in words:
            whole = f"{name}-{word.replace('_', '-')}"
            case = partial(play, word)
            self.cases.append(Case(self.name, whole, f"{title} {word}.", rule, case, level, False, self.offline))
