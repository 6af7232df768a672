"""The house keeps its own rules."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from agent import errors
from agent.api import problems
from agent.domain.health import SEVERITY
from agent.errors import LoyaltyAgentError

ROOT = Path(__file__).parents[1]


def _tree(error: type[LoyaltyAgentError]) -> list[type[LoyaltyAgentError]]:
    return [error, *(leaf for child in error.__subclasses__() for leaf in _tree(child))]


@pytest.mark.parametrize("error", _tree(LoyaltyAgentError), ids=lambda error: error.__name__)
def test_every_error_is_documented(error):
    """Each error of the tree has a code, advice, a message, and a row in the docs."""
    assert error.__doc__
    assert error.advice
    assert f"`{error.code}`" in (ROOT / "docs/errors.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", SEVERITY)
def test_every_condition_is_documented(code):
    """Each condition that can stand has a row in the docs."""
    assert f"`{code}`" in (ROOT / "docs/errors.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "code", sorted({kind.code for kind in vars(problems).values() if isinstance(kind, problems.Kind)})
)
def test_every_code_of_the_door_is_documented(code):
    """Each code that the door answers with has a row in the docs, by the name that it has on the wire."""
    assert f"`{code}`" in (ROOT / "docs/errors.md").read_text(encoding="utf-8")


def test_the_error_tree_is_drawn():
    """The tree at the head of errors.py names every class that stands in it."""
    drawn = errors.__doc__
    for error in _tree(LoyaltyAgentError):
        if error.__module__ == errors.__name__:
            assert error.__name__ in drawn


def test_every_room_stands_on_the_map():
    """A reader finds each module and package of the agent in docs/source-map.md."""
    text = (ROOT / "docs/source-map.md").read_text(encoding="utf-8")
    missing = []
    for path in sorted((ROOT / "agent").rglob("*.py")):
        name = path.parent.name + "/" if path.name == "__init__.py" else path.name
        if path.parent.name != "simulator" and path.name != "__init__.py" and f"`{name}`" not in text:
            missing.append(str(path.relative_to(ROOT)))

    assert missing == []


@pytest.mark.parametrize("folder", [".", "packaging", "tests/e2e/clients/python"])
def test_requirements_name_no_index_and_pin_by_hash(folder):
    """Every dependency is pinned by hash, and the file names no place to get it from."""
    text = (ROOT / folder / "requirements.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^[A-Za-z0-9._-]+(?:\[[^\]]+\])?==", text, re.MULTILINE)

    assert len(pins) > 20
    assert "://" not in text
    assert len(re.findall(r"^\S+==.*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(pins)


def test_npm_packages_are_pinned_by_hash_and_name_no_index():
    """The same of what the tests take from npm."""
    text = (ROOT / "tests/e2e/clients/typescript/package-lock.json").read_text(encoding="utf-8")
    packages = {name: said for name, said in json.loads(text)["packages"].items() if name}

    assert len(packages) > 20
    assert [name for name, said in packages.items() if not said["integrity"].startswith("sha512-")] == []
    assert '"resolved"' not in text


def test_markdown_links_lead_somewhere():
    """Relative links in the docs point to files that exist."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]

    assert broken == []


def test_the_version_is_one():
    """The changelog's newest release is the version of the package, or still unreleased."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert newest is not None
    assert newest[1] in (version, "Unreleased")
