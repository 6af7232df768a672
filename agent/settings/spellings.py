"""How values are spelled: durations, sizes, rates, addresses, references to secrets; and what is wrong with one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from agent import paths
from agent.domain.money import minor_unit
from agent.secrets import SecretReference

_DURATION = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SIZE = re.compile(r"([1-9][0-9]{0,12})(B|KiB|MiB|GiB)")
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_RATE = re.compile(r"([1-9][0-9]{0,6})/(s|min|h)")
_PERIODS = {"s": 1, "min": 60, "h": 3600}
_LISTEN = re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):([0-9]{1,5})")
_MAX_PORT = 65_535
_OWN_PORTS = {"http": "80", "https": "443"}
UNIX = "unix:"
_SOCKET_NAME = re.compile(r"unix:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    raise ValueError("is not a duration: a positive whole number and ms, s, m, h or d, such as 15m")


def _currency(value: str) -> str:
    if minor_unit(value) is None:
        raise ValueError("is not an ISO 4217 code")
    return value


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _SIZES[match[2]]
    raise ValueError("is not a size: a positive whole number and B, KiB, MiB or GiB, such as 16MiB")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls a second; None means no ration at all."""

    per_second: float | None


def _rate(value: object) -> Rate:
    if isinstance(value, Rate):
        return value
    if value == "off":
        return Rate(None)
    if isinstance(value, str) and (match := _RATE.fullmatch(value)):
        return Rate(int(match[1]) / _PERIODS[match[2]])
    raise ValueError('is not a rate: a number and /s, /min or /h, such as 300/min, or "off"')


def _listen(value: str) -> str:
    if value.startswith("unix:/") or _SOCKET_NAME.fullmatch(value):
        if paths.PLATFORM == "win32":
            raise ValueError("is a Unix socket, which Windows has none of")
        return value
    match = _LISTEN.fullmatch(value)
    if match is None or int(match[2]) > _MAX_PORT:
        raise ValueError(
            "is not a loopback address with a port, such as 127.0.0.1:8787, nor unix: and a path or a name"
        )
    return value


def _socket_user(value: str) -> str:
    if not re.fullmatch(r"@?[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value):
        raise ValueError("is not a user, nor @ and a group")
    if value.removeprefix("@") in ("nobody", "nogroup", "65534"):
        raise ValueError("stands for whoever the kernel cannot name, which may be anybody")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not an IANA time zone, such as Europe/Stockholm") from None
    return value


def _country(value: str) -> str:
    if value not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("is not an ISO 3166 country code, such as SE")
    return value


def _reference(value: str | None) -> str | None:
    if value is not None:
        SecretReference.parse(value, Path())
    return value


def _reference_or_nothing(value: str) -> str:
    if value:
        SecretReference.parse(value, Path())
    return value


def is_reference(field: FieldInfo) -> bool:
    """Whether a setting refers to a secret that has to be there."""
    return any(getattr(item, "func", None) in (_reference, _reference_or_nothing) for item in field.metadata)


def _proxy(value: str) -> str:
    if not value:
        return value
    if "@" in value:
        raise ValueError("holds a user or a password: they are a secret, which http.proxy_secret refers to")
    try:
        parts = urlsplit(value)  # an impossible host raises
        is_address = bool(parts.hostname) and parts.port != 0  # an impossible port raises
        is_proxy = is_address and parts.scheme in ("http", "https") and parts.path in ("", "/")
    except ValueError:
        is_proxy = False
    if not (is_proxy and value.isascii() and value.isprintable() and not set(value) & set("?# ")):
        raise ValueError("is not a proxy's URL, such as http://proxy.example.com:3128")
    return value


def _origin(value: str) -> str:
    match = re.fullmatch(r"(https?)://[a-z0-9.-]+(?::([1-9][0-9]{0,4}))?", value)
    if value and (match is None or int(match[2] or 0) > _MAX_PORT):
        raise ValueError("is not one exact origin, such as https://pos.example.com")
    if match is not None and match[2] == _OWN_PORTS[match[1]]:
        raise ValueError(f"names the port that browsers leave out of an origin: leave :{match[2]} out")
    return value


def _line(value: str) -> str:
    if value != value.strip() or not (value == "" or value.isprintable()):
        raise ValueError("is not one line of text without blanks around it")
    return value


Currency = Annotated[str, AfterValidator(_currency)]
Country = Annotated[str, AfterValidator(_country)]
Zone = Annotated[str, AfterValidator(_zone)]
Listen = Annotated[str, AfterValidator(_listen)]
SocketUser = Annotated[str, AfterValidator(_socket_user)]
Origin = Annotated[str, AfterValidator(_origin)]
Proxy = Annotated[str, AfterValidator(_proxy)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
Size = Annotated[int, BeforeValidator(_size)]
Ration = Annotated[Rate, BeforeValidator(_rate)]
Secret = Annotated[str, AfterValidator(_reference)]
"""A reference to a secret; its value never stands in the configuration."""
OptionalSecret = Annotated[str | None, AfterValidator(_reference)]
SecretOrNothing = Annotated[str, AfterValidator(_reference_or_nothing)]
"""A reference to a secret, or nothing."""
FormerSecret = Annotated[str, AfterValidator(lambda value: value and _reference(value))]
"""A reference to a secret that need not be there any more, or nothing."""
Line = Annotated[str, Field(max_length=120), AfterValidator(_line)]
"""A line of the shop's own words, shown as it stands."""
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")]
