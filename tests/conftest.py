"""What holds for every test, and what a run says at its end."""

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.authority import Authority

# The same examples in every run, however busy the machine is: what fails once fails again.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """The system's store of certificates holds one, which vouches for nobody.

    To read the real one takes 40 ms, whenever a client is made; and nobody out there is called.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has the environment of the process that started it
        store = tempfile.TemporaryDirectory(prefix="loyalty-agent-tests-")
        config.add_cleanup(store.cleanup)
        os.environ["SSL_CERT_FILE"] = str(Authority(Path(store.name)).pem)


@pytest.fixture
async def pass_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass in the test's event loop at once: whatever was to happen by then happens next.

    A limit under test may so be as long as a real one: a slow machine does not reach it by itself, and nobody waits.
    """
    loop = asyncio.get_running_loop()
    elapsed_s, ahead_s = loop.time, 0.0

    def pass_by(seconds: float) -> None:
        nonlocal ahead_s
        ahead_s += seconds

    monkeypatch.setattr(loop, "time", lambda: elapsed_s() + ahead_s)
    return pass_by


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many inputs each fuzzed parser was given."""
    tried: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                tried.update(dict(value for name, value in report.user_properties if name == "fuzzed"))
    if tried:
        terminalreporter.section("inputs tried")
        for target, count in sorted(tried.items()):
            terminalreporter.line(f"{count:>9,}  {target}")
        terminalreporter.line(f"{sum(tried.values()):>9,}  together")
