"""The demonstration as the README shows it: what it says in a terminal, photographed."""

from __future__ import annotations

import html
import re
import subprocess
import sys

from e2e.pages import marks, photographed

pytestmark = marks
SCENES = (4, 9, 12)
"""The line is cut, the line is back, the count."""
TERMINAL = (
    "<!doctype html><meta charset='utf-8'><title>loyalty-agent demo</title><style>body {{ margin: 0; padding: 20px;"
    " background: #10151c; color: #dde5ee; font: 13px/1.35 monospace; }} pre {{ margin: 0; font: inherit; }}</style>"
    "<pre>$ make demo\n\n{}</pre>"
)


def test_the_day_in_a_terminal(tab, album, tmp_path):
    """Scenes of the day that was just lived, as they were told; nothing lost and nothing doubled in it."""
    told = subprocess.run(
        [sys.executable, "-m", "agent", "demo"], capture_output=True, text=True, check=True, timeout=500
    ).stdout
    scenes = dict(re.findall(r"^(\d+)(  \w.*?)(?=^\d+  |\Z)", told, re.MULTILINE | re.DOTALL))
    shown = "".join(f"{number}{scenes[str(number)]}" for number in SCENES)
    page = tmp_path / "demo.html"
    page.write_text(TERMINAL.format(html.escape(shown.rstrip())), encoding="utf-8")

    screen = tab()
    screen.look(width=960, height=200)
    screen.open(page.as_uri())
    screen.look(width=960, height=screen.evaluate("document.documentElement.scrollHeight"))
    photographed(screen, album("demo"))

    assert "nothing lost, nothing doubled" in screen.text("pre")
