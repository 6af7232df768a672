"""`config.example.toml`: every key of this version with what it means, generated from the settings models.

A key that has an example shows it, any other its default. A key that is left out by default is commented out, and so
is one of the agent's own that is empty by default: a copy of the file gives no offer, and no till another's numbers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from agent.connectors.registry import settings_models
from agent.settings import FORWARD, LoyaltySection, Section, Settings
from agent.settings.values import spelled, toml

WIDTH = 120
_COMMENT_COLUMN = 34
_HEAD = """\
# The configuration of loyalty-agent. Each key shows an example or its default; what is left out has its default.
# Drop-ins in conf.d/*.toml beside this file win over it, LOYALTY_AGENT__SECTION__KEY in the environment over both.
# Durations: a whole number and ms, s, m, h or d. Sizes: B, KiB, MiB or GiB. Rates: /s, /min or /h.
# A secret is a reference: file:PATH, env:NAME or credential:NAME. Its value never stands here.
"""
_MESSAGES = '# "loyalty.offline.tagged.customer.sv-SE" = "..."'


def example() -> str:
    """The text of `config.example.toml`."""
    return "\n".join([_HEAD.rstrip(), *_sections()]) + "\n"


def _sections() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        model = field.annotation
        if name == "http":
            for vendor, settings in settings_models().items():
                if not settings.not_loyalty:
                    lines = _section(vendor, settings)
                    yield from lines if vendor == LoyaltySection().vendor else _commented(lines)
        if isinstance(model, type) and issubclass(model, Section):
            yield from _section(name, model, empty=("", ()))
        else:
            yield from ("", f"[{name}]", f"# {field.description}", _MESSAGES)
    for vendor, settings in settings_models().items():
        if not settings.not_forward:
            yield from _commented(_section(f"{FORWARD}.{vendor}", settings))


def _commented(lines: Iterator[str]) -> Iterator[str]:
    """A table that most shops do not have."""
    return (line if not line or line.startswith("#") else f"# {line}" for line in lines)


def _section(name: str, model: type[BaseModel], *, empty: tuple[object, ...] = ()) -> Iterator[str]:
    yield ""
    yield f"# {(model.__doc__ or '').splitlines()[0]}"
    yield f"[{name}]"
    for key, field in model.model_fields.items():
        yield from _key(key, field, left_out=field.default is None or (bool(field.examples) and field.default in empty))


def _key(key: str, field: FieldInfo, *, left_out: bool) -> Iterator[str]:
    value = field.examples[0] if field.examples else spelled(field.default, field)
    line = f"{key} = {toml(value)}"
    if left_out:
        line = f"# {line}"
    needed = "needed: " if field.default is PydanticUndefined else ""
    comment = f"# {needed}{field.description}"
    inline = f"{line:<{_COMMENT_COLUMN}}  {comment}"
    if len(inline) <= WIDTH:
        yield inline
    else:
        yield from textwrap.wrap(comment, WIDTH, subsequent_indent="# ")
        yield line
