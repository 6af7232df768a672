"""Whatever happens in whatever order: nothing counts twice at the vendor, and nothing that a till was told is lost.

The agent is the daemon's, called through its door as a POS does; the vendor is its simulator, over a socket. Between
them the line goes, loses answers and comes back; the agent is killed as it speaks; what a till has written comes back
by the feed, beside what others have done. Time passes when the machine says so. After every step what can be seen at
once has to hold, and at the end, with the line up and nothing under way, what every single answer has promised.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from interleavings.agents import Gathering, InProcess, OwnProcess
from interleavings.books import AntavoBooks, VoyadoBooks, VoyadoInBulk
from interleavings.judgement import RUNS
from interleavings.machine import Interleavings
from seeds import SEED

pytestmark = [  # of a run that was killed, connections may be left that nobody closes
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


def _long(books: Any, agent: Any, examples: int, minutes: int) -> Any:
    """Many of them."""

    @seed(SEED)
    class Many(Interleavings):
        def __init__(self) -> None:
            super().__init__()
            note(f"SEED={SEED}")

    Many.books, Many.agent = books, agent
    case = Many.TestCase
    phases = (Phase.generate,) if os.environ.get("INTERLEAVINGS") else (Phase.generate, Phase.shrink)
    case.settings = settings(
        max_examples=int(os.environ.get("INTERLEAVINGS") or examples),
        stateful_step_count=20,
        derandomize=False,
        database=None,
        phases=phases,
        **COMMON,
    )
    return pytest.mark.slow(pytest.mark.timeout(60 * minutes)(case))


class OfAntavo(Interleavings):
    """The same, with Antavo."""

    books = AntavoBooks


@pytest.fixture(autouse=True, scope="module")
def _told() -> Iterator[None]:
    yield
    print(f"SEED={SEED}", dict(RUNS))  # noqa: T201 - for -rP, and for whoever wants to know how many


TestVoyado = Interleavings.TestCase
TestAntavo = OfAntavo.TestCase
TestVoyado.settings = TestAntavo.settings = settings(max_examples=8, stateful_step_count=20, database=None, **COMMON)
TestVoyadoLong = _long(VoyadoBooks, InProcess, 1_000, 20)
TestAntavoLong = _long(AntavoBooks, InProcess, 1_000, 20)
TestVoyadoInBulkLong = _long(VoyadoInBulk, Gathering, 300, 20)
TestVoyadoKilled = _long(VoyadoBooks, OwnProcess, 50, 20)
