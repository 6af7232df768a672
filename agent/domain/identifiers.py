"""How the ways to name a member are told apart, checked and brought to one form.

A till, an export file and a vendor spell the same phone number in a dozen ways; two spellings that mean the
same must give the same key, or a member is not found. Everything that compares identifiers goes through here.

Sources: Voyado, contact field definitions (GUIDs, personal numbers, E.164 phones); Skatteverket, SKV 704, and
folkbokföringslagen (1991:481), section 18 (personal and co-ordination numbers); Digital and Population Data Services
Agency of Finland (personal identity code).
"""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

from agent.domain import phones
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


# Marks that steer the writing direction or the line break: a telephone's address book copies them along, unseen.
_INVISIBLE = dict.fromkeys(
    (0xAD, 0x61C, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070))
)
_DASHES = re.compile("[\u2010-\u2015\u2212]")
_SPACES = re.compile(r"\s+")
_SPACES_AND_HYPHENS = re.compile(r"[\s-]+")

_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OPAQUE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:/@+-]{0,63}")
_MEMBER_NUMBER = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:/-]{0,63}")
_CARD_NUMBER = re.compile(r"[0-9A-Za-z]{4,64}")
_EMAIL = re.compile(r'[^\s@<>()\[\],;:\\"]{1,64}@(?P<domain>(?:[^\W_][^\W_-]*(?:-+[^\W_-]+)*\.)+[^\W\d_][\w-]{1,62})')

_SWEDISH = re.compile(
    r"(?P<century>[0-9]{2})?(?P<year>[0-9]{2})(?P<month>[0-9]{2})(?P<day>[0-9]{2})(?P<sign>[-+]?)(?P<serial>[0-9]{4})"
)
_FINNISH = re.compile(
    r"(?P<day>[0-9]{2})(?P<month>[0-9]{2})(?P<year>[0-9]{2})"
    r"(?P<sign>[-+YXWVUABCDEF])(?P<serial>[0-9]{3})(?P<check>[0-9A-Y])"
)
_FINNISH_CHECK = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_FINNISH_CENTURY = {"+": 1800, **dict.fromkeys("-YXWVU", 1900), **dict.fromkeys("ABCDEF", 2000)}
_COORDINATION_DAY_OFFSET = 60
_CENTURY = 100


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
        """The identifier that ``raw`` spells. Normalising its value again answers the same.

        Args:
            kind: what the caller says the value is.
            raw: as typed, scanned or exported.
            today: the store's date; it decides the century of a ten-digit personal number.

        Raises:
            IdentifierInvalidError: the value cannot be of that type. The text names the rule, not the value.
        """
        text = (raw if raw.isascii() else raw.translate(_INVISIBLE)).strip()
        if not text or len(text) > MAX_VALUE_CHARS:
            raise IdentifierInvalidError(f"is empty or longer than {MAX_VALUE_CHARS} characters")
        match kind:
            case IdentifierType.MOBILE_PHONE:
                value = phones.to_e164(text, self.country)
            case IdentifierType.EMAIL:
                value = _email(text)
            case IdentifierType.CONTACT_ID:
                value = self._contact_id(text)
            case IdentifierType.MEMBER_NUMBER:
                value = _matching(_MEMBER_NUMBER, _SPACES.sub("", text), "is not a member number")
            case IdentifierType.CARD_NUMBER:
                value = _matching(_CARD_NUMBER, _SPACES_AND_HYPHENS.sub("", text), "is not a card number")
            case IdentifierType.EXTERNAL_ID:
                value = _external_id(text)
            case IdentifierType.PERSONAL_NUMBER:
                value = personal_number(text, today)
        return Identifier(kind, value)

    def readings(self, raw: str, *, today: date) -> tuple[Identifier, ...]:
        """Everything that ``raw`` can be, surest first; what the till's ``any`` means.

        A guess must be surer than a statement: a phone number is taken only when its range is assigned, where
        :meth:`normalise` is content with a possible one. A GUID or an e-mail address is nothing else; an
        ``external_id`` can look like anything.

        Raises:
            IdentifierInvalidError: it can be nothing.
        """
        if self.guid_contact_ids and (guid := self._reading(IdentifierType.CONTACT_ID, raw, today)):
            return (guid,)
        if "@" in raw and (email := self._reading(IdentifierType.EMAIL, raw, today)):
            return (email,)
        found = [self._reading(IdentifierType.PERSONAL_NUMBER, raw, today)]
        phone = self._reading(IdentifierType.MOBILE_PHONE, raw, today)
        if phone is not None and phones.is_assigned(phone.value):
            found.append(phone)
        found.append(self._reading(IdentifierType.MEMBER_NUMBER, raw, today))
        found.append(self._reading(IdentifierType.CARD_NUMBER, raw, today))
        found.append(self.normalise(IdentifierType.EXTERNAL_ID, raw, today=today))
        return tuple(reading for reading in found if reading is not None)

    def _contact_id(self, text: str) -> str:
        if self.guid_contact_ids:
            return _matching(_GUID, text.lower(), "is not a GUID")
        return _matching(_OPAQUE, text, "is not a contact id")

    def _reading(self, kind: IdentifierType, raw: str, today: date) -> Identifier | None:
        try:
            return self.normalise(kind, raw, today=today)
        except IdentifierInvalidError:
            return None


def personal_number(text: str, today: date) -> str:
    """The full form of a Swedish or Finnish personal number: ``YYYYMMDDNNNN`` or ``DDMMYYCNNNX``.

    A Swedish number of ten digits is the youngest person's it can be. From the year in which somebody turns a
    hundred, a plus sign stands in theirs. A co-ordination number has sixty added to its day.

    Raises:
        IdentifierInvalidError: wrong shape, no such date, or the check digit does not fit.
    """
    compact = _DASHES.sub("-", _SPACES.sub("", text)).upper()
    if match := _SWEDISH.fullmatch(compact):
        return _swedish(match, today)
    if match := _FINNISH.fullmatch(compact):
        return _finnish(match)
    raise IdentifierInvalidError("is not a personal number")


def _swedish(match: re.Match[str], today: date) -> str:
    year, month, day = int(match["year"]), int(match["month"]), int(match["day"])
    birth_day = day - _COORDINATION_DAY_OFFSET if day > _COORDINATION_DAY_OFFSET else day
    tomorrow = today + timedelta(days=1)  # a child born in a time zone ahead of the store's
    if match["century"]:
        full_year = int(match["century"] + match["year"])
    else:
        full_year = today.year - (today.year - year) % _CENTURY
        if match["sign"] == "+" or _date(full_year, month, birth_day) > tomorrow:
            full_year -= _CENTURY
    if _date(full_year, month, birth_day) > tomorrow:
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
    address = text.lower()
    if not address.isascii():
        address = unicodedata.normalize("NFC", address)
    match = _EMAIL.fullmatch(address)
    if match is None or not address.isprintable():
        raise IdentifierInvalidError("is not an e-mail address")
    if address.isascii():
        return address
    try:
        address = address[: match.start("domain")] + match["domain"].encode("idna").decode("ascii")
    except UnicodeError:
        raise IdentifierInvalidError("is not an e-mail address") from None
    if len(address) > MAX_VALUE_CHARS:
        raise IdentifierInvalidError(f"is longer than {MAX_VALUE_CHARS} characters")
    return _matching(_EMAIL, address, "is not an e-mail address")


def _external_id(text: str) -> str:
    if not text.isprintable():
        raise IdentifierInvalidError("contains characters that cannot be printed")
    return text


def _matching(pattern: re.Pattern[str], text: str, otherwise: str) -> str:
    if not pattern.fullmatch(text):
        raise IdentifierInvalidError(otherwise)
    return text
