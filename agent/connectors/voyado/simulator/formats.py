"""What Engage takes for an e-mail address, a phone number, a personal number and a moment, and how it compares them."""

import re
from datetime import UTC, date, datetime

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PHONE = re.compile(r"\+[1-9]\d{6,14}")
_BLANKS = re.compile(r"[\s()\-]")
_SWEDISH = re.compile(r"(?:(\d\d))?(\d\d)(\d\d)(\d\d)-?(\d{4})")
_FINNISH = re.compile(r"\d{6}[-+A]\d{3}[0-9A-Y]")
_COORDINATION_DAYS = 60  # a samordningsnummer carries the day of birth plus 60


def is_email(value: str) -> bool:
    """Whether the value has the form of an e-mail address."""
    return _EMAIL.fullmatch(value.strip()) is not None


def normalise_phone(value: str, calling_code: str) -> str | None:
    """The number in E.164, or None when it has not the form of one.

    Args:
        value: As somebody wrote it; blanks, hyphens and brackets do not matter.
        calling_code: Country calling code of the tenant's standard region, for numbers written without one.
    """
    if _PHONE.fullmatch(value):
        return value
    bare = _BLANKS.sub("", value)
    if bare.startswith("00"):
        bare = "+" + bare[2:]
    elif bare.startswith("0"):
        bare = f"+{calling_code}{bare[1:]}"
    elif bare.isascii() and bare.isdigit():
        bare = f"+{calling_code}{bare}"
    return bare if _PHONE.fullmatch(bare) else None


def is_personal_number(value: str) -> bool:
    """Whether the value is a Swedish personnummer or samordningsnummer with a right check digit, or a Finnish code."""
    if _FINNISH.fullmatch(value):
        return True
    match = _SWEDISH.fullmatch(value)
    if match is None:
        return False
    century, year, month, day, rest = match.groups()
    born = int(day) - _COORDINATION_DAYS if int(day) > _COORDINATION_DAYS else int(day)
    try:
        date(int(f"{century or '20'}{year}"), int(month), born)
    except ValueError:
        return False
    digits = [int(digit) * (2 - place % 2) for place, digit in enumerate(year + month + day + rest)]
    return sum(digit // 10 + digit % 10 for digit in digits) % 10 == 0


def fold(field: str, value: str, calling_code: str) -> str:
    """The form in which two values of one key field are compared."""
    if field == "mobilePhone":
        return normalise_phone(value, calling_code) or value.strip()
    if field == "email":
        return value.strip().casefold()
    if field == "contactId":
        return value.strip().lower()
    return value.strip()


def parse_moment(value: str) -> datetime | None:
    """The instant in an ISO 8601 text, read as UTC where it names no zone, or None when it is not one."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
