"""What tests of the pages have in common: a real Chromium, photographs of it, and what axe finds there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import CHROMIUM, Tab, browser
from e2e.shop import Till, eventually

marks = [
    pytest.mark.timeout(600),
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"),
]
LANGUAGES = ("en-GB", "sv-SE", "de-DE", "fi-FI", "nb-NO", "da-DK")
DOCUMENTED = {
    "staff-online-light", "staff-degraded-light", "staff-offline-dark", "staff-narrow-light", "staff-lost",
    "customer-light", "customer-offline-dark", "admin-light", "admin-plots-dark",
    "admin-decision-light", "admin-narrow-dark", "demo",
}  # fmt: skip
MOST_BYTES = 150 * 1024
AXE, AXE_SHA256 = "axe-core@4.14.1", "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
OLD_BROWSER = """
["EventSource", "fetch", "Promise", "Intl", "Symbol", "Map", "Set", "URL", "URLSearchParams"].forEach(function (name) {
  delete window[name];
});
["replaceChildren", "append", "closest", "matches"].forEach(function (name) { delete Element.prototype[name]; });
delete Array.prototype.includes; delete Object.entries; delete Object.assign; delete String.prototype.padStart;
delete NodeList.prototype.forEach;
"""
"""What browsers of 2016 and before lack, and event sources besides."""


@pytest.fixture(name="tab", scope="module")
def _tab() -> Iterator[Callable[[], Tab]]:
    with browser("--disable-lcd-text") as tab:
        yield tab


@pytest.fixture(name="album")
def _album(tmp_path: Path) -> Callable[[str], Path]:
    """Where a photograph goes: into a directory of the test's own, or, if documented, to whoever wants it."""
    wanted = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    return lambda name: (wanted if name in DOCUMENTED else tmp_path) / f"{name}.png"


@pytest.fixture(name="axe", scope="module")
def _axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, byte for byte the one that was looked at."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed (Debian: apt install npm)")
    home = tmp_path_factory.mktemp("axe")
    install = [npm, "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(home), AXE]
    subprocess.run(install, check=True, timeout=300, capture_output=True)
    script = (home / "node_modules/axe-core/axe.min.js").read_bytes()
    assert hashlib.sha256(script).hexdigest() == AXE_SHA256
    return script.decode()


def photographed(tab: Tab, to: Path) -> None:
    """A photograph that can stand in the documentation, of a page that is not wider than its screen."""
    tab.photograph(to)
    assert 5_000 < to.stat().st_size < MOST_BYTES
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def flaws(tab: Tab, axe: str) -> list[str]:
    """What axe finds on the page as it is now, or cannot decide: rules of WCAG up to 2.2 AA, and of good practice.

    It takes an SVG for an image and judges no colour of the words in it; tests/api/test_pages.py does.
    """
    tab.evaluate(f"{axe};0")
    found = tab.evaluate("""
        axe.run().then(function (found) {
          return found.violations.concat(found.incomplete).map(function (flaw) {
            return [flaw.id, flaw.nodes.filter(function (node) {
              return !(flaw.id === "color-contrast" && node.html.indexOf("<text") === 0);
            }).map(function (node) { return node.target.join(" "); }).join(", ")];
          }).filter(function (flaw) { return flaw[1]; }).map(function (flaw) { return flaw.join(": "); });
        })""")
    return list(found)


def park(till: Till) -> None:
    """Two sales of somebody whom nobody knows and whom nothing may name."""
    for number in range(2):
        till.sell(f"p-{number}", identifier={"type": "card_number", "value": "9752299000000000017"})
    eventually(lambda: len(till.queue("parked")) == 2)
