"""Everything that is tried, group by group, in the order in which it is played."""

from __future__ import annotations

from typing import Final

from agent.workbench.conformance.case import Case
from agent.workbench.conformance.cases import (
    benefits,
    contacts,
    ground_rules,
    normal,
    offline,
    reconnect,
    repeats,
    returns,
)

GROUPS: Final = (
    ground_rules.GROUP,
    normal.GROUP,
    repeats.DUPLICATE,
    repeats.CONFLICT,
    returns.RETURN,
    returns.VOID,
    contacts.GROUP,
    benefits.GROUP,
    offline.GROUP,
    reconnect.GROUP,
)
CASES: Final[tuple[Case, ...]] = tuple(case for group in GROUPS for case in group.cases)


def chosen(names: tuple[str, ...]) -> tuple[Case, ...]:
    """The cases of these names, of a group or of one case each; all without a name.

    Raises:
        LookupError: one of them names nothing; it is the first argument.
    """
    known = {case.path for case in CASES} | {case.group for case in CASES}
    for name in names:
        if name not in known:
            raise LookupError(name)
    return tuple(case for case in CASES if not names or case.path in names or case.group in names)
