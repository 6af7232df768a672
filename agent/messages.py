"""What the agent says to people: the sentences for cashiers, customers and the staff page, in each language.

The texts are data, one file per language in ``agent/texts``; this module decides who hears which code and in which
language. A text never holds a personal value, and there are no placeholders one could slip in through.
Nothing here knows when a code applies: the services do. Codes and their meaning: docs/messages.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, Literal

from agent.errors import ConfigurationError, Fault

Audience = Literal["staff", "customer"]
Severity = Literal["info", "warning", "error"]

LANGUAGES: Final = ("en", "sv", "de", "fi", "nb", "da")
"""The languages that texts are shipped in; any region of them is served."""

_ALIASES: Final = {"no": "nb", "nn": "nb"}  # Norwegian at large, and Nynorsk, whose readers all read Bokmål
_FALLBACK: Final = "en"

_STAFF: Final[tuple[Audience, ...]] = ("staff",)
_BOTH: Final[tuple[Audience, ...]] = ("staff", "customer")

# Who hears what, and how grave it is. A customer hears what changes their purchase, their points or what they can do
# about it, and nothing about copies, checks or other members: docs/messages.md gives the reason for each.
_CODES: Final[Mapping[str, tuple[Severity, tuple[Audience, ...]]]] = {
    "loyalty.unavailable": ("warning", _BOTH),
    "loyalty.offline.tagged": ("info", _BOTH),
    "loyalty.offline.untagged": ("warning", _BOTH),
    "loyalty.offline.replica": ("info", _BOTH),
    "loyalty.stale": ("warning", _STAFF),
    "loyalty.not_found": ("info", _BOTH),
    "loyalty.unknown": ("warning", _BOTH),
    "loyalty.ambiguous": ("warning", _STAFF),
    "loyalty.general_offers": ("info", _BOTH),
    "loyalty.benefit.refused_offline": ("warning", _BOTH),
    "loyalty.benefit.allowed_offline": ("info", _STAFF),
    "loyalty.enrolled_offline": ("info", _BOTH),
    "loyalty.points_later": ("info", _BOTH),
    "loyalty.points_estimated": ("info", _BOTH),
    "loyalty.points_unavailable": ("info", _STAFF),
    "storage.full": ("error", _BOTH),
}

MESSAGE_CODES: Final[tuple[str, ...]] = tuple(_CODES)
"""Every code that :meth:`Messages.render` knows, as published in the till's API."""

CONDITION_CODES: Final[tuple[str, ...]] = (
    "vendor.offline",
    "vendor.credentials_refused",
    "vendor.window_closing",
    "queue.paused",
    "queue.parked",
    "queue.in_doubt",
    "queue.filling",
    "feed.gap",
    "feed.unreadable",
    "feed.silent",
    "replica.stale",
    "replica.expired",
    "storage.full",
    "storage.damaged",
    "storage.unencrypted",
    "tokens.unreadable",
    "clock.wrong",
    "privacy.erasure_refused_by_feed",
    "benefits.lost",
    "benefits.stuck",
    "contacts.parked",
    "changes.parked",
)
"""Every code that :meth:`Messages.condition` knows, as published in the till's API."""

_MAX_HEADER: Final = 1000  # characters; a browser sends about forty
_MAX_CATALOGUES: Final = 64  # tags come from requests, so what is kept for them is bounded
_MAX_OVERRIDE: Final = 500  # characters; what still fits a customer display

_TAG: Final = re.compile(r"(?ai)([a-z]{2,3})(?:-([a-z]{4}))?(?:-([a-z]{2}|[0-9]{3}))?(?:-[a-z0-9]{1,8})*")
_RANGE: Final = re.compile(
    r"(?ai)(\*|[a-z]{1,8}(?:-[a-z0-9]{1,8})*)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)


class MessageOverrideError(ConfigurationError):
    """A replaced text names something that is not shipped, or is no text."""


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence for one audience; ``locale`` is the BCP-47 tag it was served as."""

    code: str
    audience: Audience
    severity: Severity
    text: str
    locale: str

    def to_dict(self) -> dict[str, str]:
        """Return the message as the till's API publishes it in ``messages[]``."""
        return {
            "code": self.code,
            "audience": self.audience,
            "severity": self.severity,
            "text": self.text,
            "locale": self.locale,
        }


@dataclass(frozen=True, slots=True)
class ConditionText:
    """A condition in words: what it is, what it means at the till, and what to do about it."""

    title: str
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """Everything that can be said under one locale tag, ready to hand out."""

    messages: Mapping[str, tuple[Message, ...]]
    conditions: Mapping[str, ConditionText]
    page: Mapping[str, str]


class Messages:
    """The texts in the configured locale and in whichever one a request asks for.

    Args:
        locale: The configured BCP-47 tag, such as ``sv-SE``. A language that is not shipped is served as ``en``.
        overrides: Texts that replace shipped ones, by ``code.audience.locale``.

    Raises:
        MessageOverrideError: For overrides that :func:`check_overrides` finds fault with; names every key.
    """

    def __init__(self, locale: str, overrides: Mapping[str, str] = MappingProxyType({})) -> None:
        faults = tuple(_find_faults(overrides))
        if faults:
            raise MessageOverrideError(faults)
        self.locale: Final = _serve(locale) or _FALLBACK
        self._overrides = dict(overrides)
        self._catalogues: dict[str, _Catalogue] = {}
        for language in LANGUAGES:
            _load(language)  # a broken installation shows at the start, and no request waits for a file
        self._catalogue(None)

    def negotiate(self, accept_language: str | None) -> str:
        """Return the locale tag to serve for an ``Accept-Language`` header: the best one asked for that is shipped.

        A bare language that the configured locale is a region of is served as the configured locale, so that its
        overrides apply. What is malformed is skipped; a header without anything usable, or over 1,000 characters,
        gives the configured locale. Never raises. Source: RFC 9110, sections 12.4.2 and 12.5.4; RFC 4647, section 3.
        """
        if not accept_language or len(accept_language) > _MAX_HEADER:
            return self.locale
        weights: dict[str, float] = {}
        for element in accept_language.split(","):
            if found := _RANGE.fullmatch(element.strip(" \t")):
                weights.setdefault(found[1].lower(), float(found[2] or 1))
        refused = {asked for asked, weight in weights.items() if not weight}
        for asked in sorted((asked for asked in weights if weights[asked]), key=lambda asked: -weights[asked]):
            if asked == "*":
                acceptable = [tag for tag in (self.locale, *LANGUAGES) if not _is_refused(tag, refused)]
                if acceptable:
                    return acceptable[0]
            elif tag := _serve(asked):
                bare = "-" not in tag and _language(tag) == _language(self.locale)
                return self.locale if bare and not _is_refused(self.locale, refused) else tag
        return self.locale

    def render(self, codes: Iterable[str], locale: str | None = None) -> list[Message]:
        """Return the messages for the codes, in their order, each for staff first and then for customers.

        Args:
            codes: Codes out of :data:`MESSAGE_CODES`.
            locale: A tag from :meth:`negotiate`; the configured one if None or not served.

        Raises:
            KeyError: For a code that is not published.
        """
        known = self._catalogue(locale).messages
        return [message for code in codes for message in known[code]]

    def condition(self, code: str, locale: str | None = None) -> ConditionText:
        """Return title, detail and remedy of a condition out of :data:`CONDITION_CODES`; KeyError for another."""
        return self._catalogue(locale).conditions[code]

    def page(self, locale: str | None = None) -> Mapping[str, str]:
        """Return the texts of the staff page, states and fallback levels by flat key, such as ``level.3.works``."""
        return self._catalogue(locale).page

    def _catalogue(self, locale: str | None) -> _Catalogue:
        """Return what can be said under a tag; made once per tag, as every sale asks."""
        tag = locale or self.locale
        if (known := self._catalogues.get(tag)) is not None:
            return known
        tag = _serve(tag) or self.locale
        if (known := self._catalogues.get(tag)) is None:
            if len(self._catalogues) >= _MAX_CATALOGUES:
                self._catalogues.clear()
            known = self._catalogues[tag] = self._build(tag)
        return known

    def _build(self, tag: str) -> _Catalogue:
        shipped = _load(_language(tag))
        return _Catalogue(
            messages={
                code: tuple(
                    Message(code, audience, severity, self._text(shipped, code, audience, tag), tag)
                    for audience in audiences
                )
                for code, (severity, audiences) in _CODES.items()
            },
            conditions={code: ConditionText(**shipped["condition"][code]) for code in CONDITION_CODES},
            page=MappingProxyType(shipped["page"]),
        )

    def _text(self, shipped: Mapping[str, Any], code: str, audience: Audience, tag: str) -> str:
        for candidate in _candidates(tag):
            if (text := self._overrides.get(f"{code}.{audience}.{candidate}")) is not None:
                return text
        return str(shipped["message"][code][audience])


def are_shipped_in(locale: str) -> bool:
    """Tell whether there are texts for a configured locale; else everybody reads English who asks for no language."""
    return _serve(locale) is not None


def check_overrides(overrides: Mapping[str, str]) -> list[str]:
    """Return what is wrong with ``[messages]``, one sentence per fault that names its key; empty if nothing is."""
    return [f"{fault.pointer}: {fault.message}" for fault in _find_faults(overrides)]


def _find_faults(overrides: Mapping[str, str]) -> Iterator[Fault]:
    for key, text in overrides.items():
        for problem in (_key_problem(key), _text_problem(text)):
            if problem:
                yield Fault(f'messages."{key}"', problem)


def _key_problem(key: str) -> str | None:
    code, _, rest = key.rpartition(".")
    code, _, audience = code.rpartition(".")
    if not code:
        return "the key is not code.audience.locale"
    if code not in _CODES:
        return "there is no message of that code"
    if audience not in _BOTH:
        return "the audience is neither staff nor customer"
    if audience not in _CODES[code][1]:
        return "this code has no text for customers, so there is none to replace"
    served = _serve(rest)
    if served is None:
        return f"no texts are shipped in that locale; the languages are {', '.join(LANGUAGES)}"
    return None if served == rest else f"the locale is written {served}"


def _text_problem(text: str) -> str | None:
    if not text.strip():
        return "the text is empty"
    if len(text) > _MAX_OVERRIDE:
        return f"the text is longer than {_MAX_OVERRIDE} characters"
    if not text.isprintable():
        return "the text holds a line break or another control character"
    return "texts have no placeholders, so braces are not allowed" if "{" in text or "}" in text else None


def _is_refused(tag: str, refused: set[str]) -> bool:
    """Tell whether a range given with ``q=0`` covers the tag."""
    return any(f"{tag.lower()}-".startswith(f"{asked}-") for asked in refused)


def _serve(asked: str) -> str | None:
    """Return the asked tag in its usual spelling if its language is shipped; variants and extensions are dropped."""
    found = _TAG.fullmatch(asked)
    if found is None or _language(found[1].lower()) not in LANGUAGES:
        return None
    language, script, region = found[1].lower(), (found[2] or "").title(), (found[3] or "").upper()
    return "-".join(part for part in (language, script, region) if part)


def _language(tag: str) -> str:
    """Return the shipped language that stands behind a served tag."""
    language = tag.partition("-")[0]
    return _ALIASES.get(language, language)


def _candidates(tag: str) -> Iterator[str]:
    """Yield the locales whose override fits a tag, the closest first (RFC 4647, section 3.4)."""
    language, dash, rest = tag.partition("-")
    for start in dict.fromkeys((language, _language(tag))):
        candidate = f"{start}{dash}{rest}"
        while candidate:
            yield candidate
            candidate = candidate.rpartition("-")[0]


@cache
def _load(language: str) -> Mapping[str, Any]:
    """Return the shipped texts of a language, read once."""
    resource = files("agent") / "texts" / f"{language}.toml"
    return tomllib.loads(resource.read_text(encoding="utf-8"))
