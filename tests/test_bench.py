"""Every bench still comes to its end: what it measures is its own business, and never judged here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import BENCHES

HERE = Path(__file__).parent.parent
TINY = ("--scale", "2000", "--seconds", "0.2", "--repeats", "1", "--sales", "50")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk, which presses the doors, is not installed")
@pytest.mark.parametrize("name", BENCHES)
def test_it_comes_to_its_end_and_has_rows(tmp_path, name):
    """With few members and for a moment: it ends well, and each of its rows has a figure."""
    shutil.copytree(HERE / "bench", tmp_path / "bench", ignore=shutil.ignore_patterns("out", "__pycache__"))
    (tmp_path / "agent").symlink_to(HERE / "agent")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOYALTY_AGENT__")}

    done = subprocess.run(
        [sys.executable, "-m", "bench", name, *TINY],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "bench" / "out" / "results.json").read_text())["rows"]
    assert {row["bench"] for row in rows} == {name}
    assert all(row["ours"] >= 0 for row in rows)
