"""The fuzzer: each target gets as many inputs as `FUZZ_INPUTS` says, the same ones for the same `FUZZ_SEED`.

A count and not a time: a machine that is faster meets no other inputs.
"""

from __future__ import annotations

import asyncio
import base64
import os
import resource
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest
from fuzz.mutation import Mutator

SEED = int(os.environ.get("FUZZ_SEED", "20260214"))
INPUTS = int(os.environ.get("FUZZ_INPUTS", "300"))
SLOWEST_S = 10.0  # for one input of 64 KiB; generous, for a machine that has other things to do
GROWTH_BYTES = 256 * 1024 * 1024


class Fuzz:
    """Tries inputs on one target and counts them.

    Args:
        target: its name in the summary.
        record: pytest's own.
    """

    def __init__(self, target: str, record: Callable[[str, object], None]) -> None:
        self._target, self._record = target, record

    def of(
        self,
        samples: Sequence[bytes],
        words: Sequence[bytes],
        attempt: Callable[[bytes], object],
        *,
        refusals: tuple[type[Exception], ...],
    ) -> None:
        """Tries inputs made of ``samples`` and ``words``.

        Each may come through or be refused with one of ``refusals``; anything else fails, and so does one that takes
        too long, or memory that grows from input to input.
        """

        async def tried(data: bytes) -> None:
            attempt(data)

        asyncio.run(self.of_calls(samples, words, tried, refusals=refusals))

    async def of_calls(
        self,
        samples: Sequence[bytes],
        words: Sequence[bytes],
        attempt: Callable[[bytes], Awaitable[object]],
        *,
        refusals: tuple[type[Exception], ...],
    ) -> None:
        """The same for a target that is called asynchronously."""
        mutator = Mutator(samples, words, seed=SEED)
        count = refused = longest = grown_from = 0
        try:
            while count < INPUTS:
                data = mutator.next()
                start = time.monotonic()
                try:
                    await attempt(data)
                except refusals as error:
                    refused += 1
                    longest = max(longest, len(str(error)) - 10 * len(data))
                except Exception as error:
                    raise AssertionError(
                        f"{self._target}: input {count} of seed {SEED} raised {type(error).__name__}: "
                        f"{base64.b64encode(data[:2000]).decode()}"
                    ) from error
                took_s = time.monotonic() - start
                assert took_s < SLOWEST_S, f"{self._target}: input {count} of seed {SEED} took {took_s:.1f} s"
                count += 1
                if count == INPUTS // 2:
                    grown_from = _peak_bytes()
        finally:
            self._record("fuzzed", (self._target, count))
        assert refused, "nothing was ever refused: these inputs are none"
        assert refused < count, "nothing ever came through: these inputs are none"
        assert longest < 10_000, "a refusal without end"
        assert _peak_bytes() - grown_from < GROWTH_BYTES


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture(name="fuzz")
def _fuzz(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Fuzz:
    return Fuzz(request.node.name.removeprefix("test_"), record_property)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A long run is no hang."""
    for item in items:
        if "fuzz" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(120 + INPUTS / 20))
