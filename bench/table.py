"""What a bench answers: a figure beside its limit, and the goal for their ratio."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted of a ratio, or of the figure itself where there is no limit to compare with.

    Attributes:
        sign: ``>=`` or ``<=``.
        bound: the figure.
    """

    sign: str
    bound: float

    def met(self, figure: float) -> bool:
        """Whether the figure is good enough."""
        return figure >= self.bound if self.sign == ">=" else figure <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        bench: its bench.
        what: was measured.
        unit: of both figures.
        ours: the agent's figure.
        limit: the reference's in the same run; None where the goal is absolute or there is none.
        goal: for ``ours / limit``, or for ``ours`` without a limit; None for a figure that is told and not judged.
    """

    bench: str
    what: str
    unit: str
    ours: float
    limit: float | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """Ours by the limit's."""
        return self.ours / self.limit if self.limit else None

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or nothing where there is no goal."""
        if self.goal is None:
            return ""
        figure = self.ours if self.ratio is None else self.ratio
        return "met" if self.goal.met(figure) else "missed"

    def cells(self) -> tuple[str, ...]:
        """The line as text."""
        return (
            self.bench,
            self.what,
            "" if self.limit is None else number(self.limit),
            number(self.ours),
            self.unit,
            "" if self.ratio is None else f"{self.ratio:.2f}",
            "" if self.goal is None else str(self.goal),
            self.verdict,
        )


HEADS = ("bench", "what", "limit", "ours", "unit", "ratio", "goal", "")
_RIGHT = (False, False, True, True, False, True, False, False)


def number(figure: float) -> str:
    """Three significant digits, and no exponent."""
    if figure >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def for_terminal(rows: Iterable[Row]) -> str:
    """The table in columns."""
    lines = [HEADS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    return "\n".join(_line(line, widths) for line in lines)


def for_markdown(rows: Iterable[Row]) -> str:
    """The table for `docs/performance.md`."""
    ruler = ["---:" if right else "---" for right in _RIGHT]
    return "\n".join("| " + " | ".join(line) + " |" for line in (HEADS, ruler, *(row.cells() for row in rows)))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, _RIGHT, strict=True)
    )
    return "  ".join(aligned).rstrip()
