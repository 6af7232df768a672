"""`docs/first-sale.md` typed, on a booted Debian 12 without a network: from the package to a sale that is delivered."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.container import SYSTEMS, CannotBootError, Container, booted, make_root

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = Path(__file__).parents[2] / "docs" / "first-sale.md"
SYSTEM = "debian-12"
ANSWERS = {"apt install": "y", "secret set": "sim-key"}
"""What somebody types who is asked."""


@pytest.fixture
def newcomer(tmp_path, packages):
    """A till with a fresh system, and the package in the directory where its administrator sits."""
    given = tmp_path / "given"
    given.mkdir()
    shutil.copy(packages(), given)
    try:
        root = make_root(SYSTEMS[SYSTEM], tmp_path / "root", "curl")
        with booted(root, given, tmp_path / "first-sale.log") as container:
            yield container
    except CannotBootError as error:
        pytest.skip(f"{SYSTEM}: {error}")
    finally:
        shutil.rmtree(tmp_path / "root", ignore_errors=True)


def steps() -> Iterator[tuple[str, str]]:
    """Every block of shell on the page, under the heading that it stands below."""
    heading = ""
    for title, block in re.findall(r"^## ([^\n]+)$|^```sh\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        heading = title or heading
        if block:
            yield heading, block


def typed(container: Container, block: str) -> str:
    """What a block says to somebody who types it, and answers; each command has to succeed."""
    answer = "".join(f"{answer}\n" for command, answer in ANSWERS.items() if command in block)
    return container.run("bash", "-euo", "pipefail", "-c", f"cd /given\n{block}", stdin=answer)


def test_from_the_package_to_the_first_sale(newcomer):
    """Each answer is the one that the page goes on from; a value of the reader's own stands where the page says so."""
    said = {}
    for heading, block in steps():
        if block.startswith("systemctl stop"):
            _is_as_the_page_says(newcomer, said)
        said[heading] = said.get(heading, "") + typed(newcomer, block)
        if "config.toml <<" in block:
            assert "no faults" in newcomer.run("loyalty-agent", "config", "check", "--without-secrets")
        if "systemctl start" in block:
            newcomer.wait("loyalty-agent", "status", until="1,000 contacts")
    for place in ("/etc/loyalty-agent", "/var/lib/loyalty-agent", "/srv/voyado"):
        assert newcomer.ended("test", "-e", place).returncode != 0, f"{place} is still there"


def _is_as_the_page_says(till, said):
    page = PAGE.read_text()
    assert "config.toml: no faults\n" in said["4. The key"]
    assert "warning" not in said["4. The key"]
    assert '"state":"queued"' in said["6. Sell"]
    delivered = said["7. See it delivered"]
    told, shown = (re.sub(r"[0-9T:+-]{10,} ?[0-9:+]*", "…", text) for text in (delivered, page))
    assert told[told.index("1042") : told.index("[{")].strip() in shown
    (receipt,) = json.loads(delivered[delivered.index("[{") :])
    assert (receipt["uniqueReceiptId"], receipt["posts"]) == ("1042-03-first-sale", 1)
    assert "voyado.credentials     are taken" in said["8. Is all well"]
    for address in re.findall(r"<(http://127\.0\.0\.1:8787/\S*)>", page):
        assert "<html" in till.run("curl", "-sf", address)
