"""What every test run says at its end."""

from collections import Counter

import pytest


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
