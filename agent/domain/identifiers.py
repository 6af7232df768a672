"""How the ways to name a member are told apart, checked and brought to one form.

A till, an export file and a vendor spell the same phone number in a dozen ways; two spellings that mean the
same must give the same key, or a member is not found. Everything that compares identifiers goes through here.

Sources: Voyado, contact field definitions (GUIDs, personal numbers, E.164 phones); libphonenumber's rules
through `phonenumbers`; Skatteverket, SKV 704 (personal and co-ordination numbers); Digital and Population Data
Services Agency of Finland (personal identity code).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

import phonenumbers

from agent.errors import IdentifierInvalidError


class IdentifierType(StrEnum):
    """The types the till's door knows, `any` apart: that one is a question, not a type."""

    CONTACT_ID = "contact_id"
    MEMBER_NUMBER = "member_number"
    EXTERNAL_ID = "external_id"
    CARD_NUMBER = "card_number"
    MOBILE_PHONE = "mobile_phone"
    EMAIL = "email"
    PERSONAL_NUMBER = "personal_number"


PERSONAL_TYPES = frozenset({IdentifierType.MOBILE_PHONE, IdentifierType.EMAIL, IdentifierType.PERSONAL_NUMBER})
"""Types whose value is personal data in itself, not only by what it points to."""

MAX_VALUE_CHARS = 254


@dataclass(frozen=True, slots=True)
class Identifier:
    """One normalised way to name a member; equal values name the same thing. The value never shows in a repr."""

    type: IdentifierType
    value: str = field(repr=False)


_GUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_OPAQUE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:/@+-]{0,63}")
_MEMBER_NUMBER = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:/-]{0,63}")
_CARD_NUMBER = re.compile(r"[0-9A-Za-z]{4,64}")
_EMAIL = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]{1,64}@(?:[^\s@<>()\[\],;:\\\"._\x00-\x1f\x7f-](?:[^\s@<>()\[\],;:\\\"._\x00-\x1f\x7f]*)\.)+[^\W\d_][\w-]{1,62}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_CHARS = re.compile(r"[0-9+()./\s\u00a0\u2010-\u2013\u202a-\u202e-]+")
_SWEDISH = re.compile(r"(?P<century>[0-9]{2})?(?P<year>[0-9]{2})(?P<month>[0-9]{2})(?P<day>[0-9]{2})(?P<sign>[-+]?)(?P<serial>[0-9]{4})")
_FINNISH = re.compile(r"(?P<day>[0-9]{2})(?P<month>[0-9]{2})(?P<year>[0-9]{2})(?P<sign>[-+YXWVUABCDEF])(?P<serial>[0-9]{3})(?P<check>[0-9A-Y])")
_FINNISH_CHECK = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_FINNISH_CENTURY = {"+": 1800, **dict.fromkeys("-YXWVU", 1900), **dict.fromkeys("ABCDEF", 2000)}
_COORDINATION_DAY_OFFSET = 60
_CENTENARIAN_YEARS = 100


@dataclass(frozen=True, slots=True)
class Normaliser:
    """Brings identifiers to one form, the way this store reads them.

    Args:
        country: ISO 3166 two-letter code; how a national phone number is read.
        guid_contact_ids: whether the loyalty system's contact ids are GUIDs (Voyado) or opaque strings.
    """

    country: str
    guid_contact_ids: bool = True

    def normalise(self, kind: IdentifierType, raw: str, *, today: date) -> Identifier:
        """The identifier that ``raw`` spells.

        Args:
            kind: what the caller says the value is.
            raw: as typed, scanned or exported.
            today: the store's date; it decides the century of a ten-digit personal number.

        Raises:
            IdentifierInvalidError: the value cannot be of that type. The text names the rule, not the value.
        """
        text = raw.strip()
        if not text or len(text) > MAX_VALUE_CHARS:
            raise IdentifierInvalidError(f"is empty or longer than {MAX_VALUE_CHARS} characters")
        match kind:
            case IdentifierType.MOBILE_PHONE:
                value = self._phone(text)
            case IdentifierType.EMAIL:
                value = _email(text)
            case IdentifierType.CONTACT_ID:
                value = self._contact_id(text)
            case IdentifierType.MEMBER_NUMBER:
                value = _matching(_MEMBER_NUMBER, re.sub(r"\s+", "", text), "is not a member number")
            case IdentifierType.CARD_NUMBER:
                value = _matching(_CARD_NUMBER, re.sub(r"[\s-]+", "", text), "is not a card number")
            case IdentifierType.EXTERNAL_ID:
                if not text.isprintable():
                    raise IdentifierInvalidError("contains characters that cannot be printed")
                value = text
            case IdentifierType.PERSONAL_NUMBER:
                value = personal_number(text, today)
        return Identifier(kind, value)

    def readings(self, raw: str, *, today: date) -> tuple[Identifier, ...]:
        """Everything that ``raw`` can be, surest first; what the till's ``any`` means.

        A guess must be surer than a statement: a phone number is taken only when its range is assigned, where
        :meth:`normalise` is content with a possible one. An ``external_id`` can look like anything, so a value that
        is nothing else is read as one.

        Raises:
            IdentifierInvalidError: it can be nothing.
        """
        found: list[Identifier] = []
        for kind in (
            IdentifierType.CONTACT_ID,
            IdentifierType.EMAIL,
            IdentifierType.PERSONAL_NUMBER,
            IdentifierType.MOBILE_PHONE,
            IdentifierType.MEMBER_NUMBER,
            IdentifierType.CARD_NUMBER,
        ):
            if kind is IdentifierType.CONTACT_ID and not self.guid_contact_ids:
                continue
            try:
                identifier = self.normalise(kind, raw, today=today)
            except IdentifierInvalidError:
                continue
            if kind is IdentifierType.MOBILE_PHONE and not _assigned(identifier.value):
                continue
            found.append(identifier)
        if any(identifier.type in (IdentifierType.CONTACT_ID, IdentifierType.EMAIL) for identifier in found):
            return tuple(found[:1])
        return (*found, self.normalise(IdentifierType.EXTERNAL_ID, raw, today=today))

    def _phone(self, text: str) -> str:
        if _E164.fullmatch(text) and _possible(text):
            return text
        if not _PHONE_CHARS.fullmatch(text):
            raise IdentifierInvalidError("is not a phone number")
        if text.startswith("00"):
            text = "+" + text[2:]
        try:
            number = phonenumbers.parse(text, self.country)
        except phonenumbers.NumberParseException:
            raise IdentifierInvalidError("is not a phone number") from None
        if not phonenumbers.is_possible_number(number):
            raise IdentifierInvalidError("has too few or too many digits for a phone number of its country")
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    def _contact_id(self, text: str) -> str:
        if self.guid_contact_ids:
            return _matching(_GUID, text, "is not a GUID").lower()
        return _matching(_OPAQUE, text, "is not a contact id")


def personal_number(text: str, today: date) -> str:
    """The full form of a Swedish or Finnish personal number: ``YYYYMMDDNNNN`` or ``DDMMYYCNNNX``.

    A Swedish number of ten digits belongs to somebody younger than a hundred; a plus sign says older. A
    co-ordination number has sixty added to its day.

    Raises:
        IdentifierInvalidError: wrong shape, no such date, or the check digit does not fit.
    """
    compact = re.sub(r"\s+", "", text).upper()
    if match := _SWEDISH.fullmatch(compact):
        return _swedish(match, today)
    if match := _FINNISH.fullmatch(compact):
        return _finnish(match)
    raise IdentifierInvalidError("is not a personal number")


def _swedish(match: re.Match[str], today: date) -> str:
    year, month, day = int(match["year"]), int(match["month"]), int(match["day"])
    birth_day = day - _COORDINATION_DAY_OFFSET if day > _COORDINATION_DAY_OFFSET else day
    if match["century"]:
        full_year = int(match["century"] + match["year"])
    else:
        full_year = today.year - (today.year - year) % 100
        if _date(full_year, month, birth_day) > today:
            full_year -= 100
        if match["sign"] == "+":
            full_year -= _CENTENARIAN_YEARS
    if _date(full_year, month, birth_day) > today + timedelta(days=1):
        raise IdentifierInvalidError("has a birth date that has not come yet")
    short = match["year"] + match["month"] + match["day"] + match["serial"]
    if not _luhn(short):
        raise IdentifierInvalidError("has a check digit that does not fit")
    return f"{full_year:04d}{short[2:]}"


def _finnish(match: re.Match[str]) -> str:
    _date(_FINNISH_CENTURY[match["sign"]] + int(match["year"]), int(match["month"]), int(match["day"]))
    digits = int(match["day"] + match["month"] + match["year"] + match["serial"])
    if _FINNISH_CHECK[digits % len(_FINNISH_CHECK)] != match["check"]:
        raise IdentifierInvalidError("has a check character that does not fit")
    return match[0]


def _date(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise IdentifierInvalidError("has a birth date that does not exist") from None


def _luhn(digits: str) -> bool:
    total = 0
    for index, char in enumerate(reversed(digits)):
        number = int(char) * (1 + index % 2)
        total += number - 9 if number > 9 else number  # noqa: PLR2004 - the sum of the two digits
    return total % 10 == 0


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise IdentifierInvalidError("is not an e-mail address")
    return text.lower()


def _matching(pattern: re.Pattern[str], text: str, otherwise: str) -> str:
    if not pattern.fullmatch(text):
        raise IdentifierInvalidError(otherwise)
    return text


def _possible(e164: str) -> bool:
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(e164, None))
    except phonenumbers.NumberParseException:
        return False


def _assigned(e164: str) -> bool:
    return phonenumbers.is_valid_number(phonenumbers.parse(e164, None))
