"""The load generator: `wrk` with a script, one thread, so that on two cores the server is what is measured.

It is a closed loop: each connection sends its next request when the last is answered, as a till does.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

SCRIPT = Path(__file__).with_name("till.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What a server did under load; times in milliseconds.

    Attributes:
        rate: answered requests a second.
        p50_ms: half of them were faster.
        p99_ms: ninety-nine of a hundred were faster.
    """

    rate: float
    p50_ms: float
    p99_ms: float


def press(url: str, arguments: Sequence[str], *, connections: int, seconds: float) -> Load:
    """Loads a server and says what came of it; any answer that is no success ends the bench.

    Args:
        url: of the call.
        arguments: of `till.lua`.
        connections: each has one request under way.
        seconds: of load, whole ones.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("wrk is needed (Debian: apt install wrk)")
    command = [
        wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s",
        "-s", str(SCRIPT), url, "--", *arguments,
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(said[said.rindex("{") :])
    if found["refused"] or found["errors"]:
        raise RuntimeError(f"{url}: {found['refused']} answers were no success, {found['errors']} connections broke")
    return Load(found["rate"], found["p50_ms"], found["p99_ms"])


def medians(loads: Sequence[Load]) -> Load:
    """The median of each figure."""
    return Load(*(median(getattr(load, name) for load in loads) for name in ("rate", "p50_ms", "p99_ms")))


def in_turns(repeats: int, *measures: Callable[[], Load]) -> list[Load]:
    """Each measure's medians; they take turns, so that a noisy neighbour disturbs all alike."""
    rounds = [[measure() for measure in measures] for _ in range(repeats)]
    return [medians(loads) for loads in zip(*rounds, strict=True)]
