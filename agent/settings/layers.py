"""Where values come from: command line, environment, `conf.d/*.toml`, `config.toml`; the first that has one wins."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.errors import Fault

ENV_PREFIX = "LOYALTY_AGENT__"
_MAX_DEPTH = 16  # of tables in each other; the code of a message has five parts


def prefixes(key: str) -> list[str]:
    """The key and the tables it may lie in, the innermost first: as many as tables can be nested, however many dots."""
    parts = key.split(".", _MAX_DEPTH)
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def collect(
    file: Path, environ: Mapping[str, str], flags: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str], list[Fault]]:
    """All values in one tree, with where each came from, and the files that could not be read."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    faults = []
    drop_ins = sorted((file.parent / "conf.d").glob("*.toml"))
    for path in (file, *drop_ins):
        try:
            _merge(values, _tree(path), origins, str(path))
        except ValueError as error:
            faults.append(Fault(str(path), str(error)))
    for variable, raw in sorted(environ.items()):
        if variable.startswith(ENV_PREFIX):
            keys = variable.removeprefix(ENV_PREFIX).lower().split("__")
            try:
                _merge(values, _branch(keys, raw), origins, variable)
            except ValueError as error:
                faults.append(Fault(f"{variable}: {'.'.join(keys)}", str(error)))
    for dotted, value in flags.items():
        _merge(values, _nest(dotted.split("."), value), origins, "the command line")
    return values, origins, faults


def _tree(path: Path) -> dict[str, Any]:
    """The tables in a file. Raises ValueError, which says what is wrong with it."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' own editors begin with the mark
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except UnicodeDecodeError:
        raise ValueError("cannot be read: it is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:  # tomllib's own, or a number of thousands of digits
        raise ValueError(f"is not TOML: {error}") from None
    return _shallow(tree)


def _branch(keys: list[str], raw: str) -> dict[str, Any]:
    """The tables that a variable spells. Raises ValueError, which says what is wrong with it."""
    try:
        value = tomllib.loads(f"value = {raw}")["value"] if raw.startswith(("[", "{")) else raw
    except (ValueError, RecursionError):
        raise ValueError("is not a TOML value") from None
    return _shallow(_nest(keys, value))


def _shallow(tree: dict[str, Any]) -> dict[str, Any]:
    """The same tables, if they are not nested deeper than any setting. Raises ValueError."""
    level = [tree]
    for _ in range(_MAX_DEPTH):
        level = [value for table in level for value in table.values() if isinstance(value, dict)]
        if not level:
            return tree
    raise ValueError("is nested too deeply")


def _nest(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _merge(into: dict[str, Any], new: Mapping[str, Any], origins: dict[str, str], origin: str, at: str = "") -> None:
    for key, value in new.items():
        path = f"{at}.{key}" if at else key
        if isinstance(value, dict) and path != "messages":
            if not isinstance(into.get(key), dict):
                into[key] = {}
                origins[path] = origin
            _merge(into[key], value, origins, origin, path)
        elif isinstance(value, dict):
            into[key] = {**into.get(key, {}), **_flatten(value)}
            origins[path] = origin
        else:
            into[key] = value
            origins[path] = origin


def _flatten(table: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    # `a.b.staff.sv-SE = "..."` without quotes is a nest of tables to TOML; both spellings mean the same here.
    flat: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{at}.{key}" if at else key
        flat.update(_flatten(value, path) if isinstance(value, dict) else {path: value})
    return flat
