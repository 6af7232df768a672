"""Phone numbers in one form: E.164, by the numbering plans of libphonenumber.

Each sale and each exported contact passes here, and parsing by the full rules takes thirty times as long as looking
whether a number is in its one form already. So that is looked at first, by each country's own plan; everything else
goes the long way.

Source: libphonenumber's metadata through `phonenumbers`; ITU-T E.164.
"""

import re
from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import PhoneMetadata

from agent.errors import IdentifierInvalidError

_SPACES = " \t\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_SEPARATORS = dict.fromkeys(map(ord, _SPACES + _DASHES + "()./"))
_DIALLED = re.compile(r"\+?[0-9]{3,20}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_LONGEST_CALLING_CODE = 3


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a country's numbering plan says that can be looked at without parsing.

    Attributes:
        start: where the national number begins in an E.164 number: behind the plus and the calling code.
        lengths: how many digits a whole national number can have.
        trunk: what may have to come off its beginning before it is one; None where nothing ever does.
    """

    start: int
    lengths: frozenset[int]
    trunk: re.Pattern[str] | None


def to_e164(text: str, country: str) -> str:
    """The E.164 form of a phone number as typed or exported.

    Args:
        text: the number, separators and all.
        country: ISO 3166 two-letter code; how a national number is read.

    Raises:
        IdentifierInvalidError: it cannot be a phone number.
    """
    dialled = text.translate(_SEPARATORS)
    if not _DIALLED.fullmatch(dialled):
        raise IdentifierInvalidError("is not a phone number")
    if dialled.startswith("00"):
        dialled = "+" + dialled[2:]
    if _has_one_form(dialled):
        return dialled
    home = _home_prefix(country)
    if home is not None and dialled[0] == "0" and _has_one_form(number := home + dialled[1:]):
        return number
    number = _parsed(dialled, country)
    if number != dialled and not _has_one_form(number) and _parsed(number, country) != number:
        raise IdentifierInvalidError("is not a phone number")
    return number


def is_assigned(e164: str) -> bool:
    """Whether the number lies in a range that its country has given out, and not only has a possible length."""
    return phonenumbers.is_valid_number(phonenumbers.parse(e164, None))


def _has_one_form(dialled: str) -> bool:
    """Whether parsing would certainly answer the same again."""
    if not _E164.fullmatch(dialled):
        return False
    plan = _plan(dialled[1 : 1 + _LONGEST_CALLING_CODE])
    if plan is None or len(dialled) - plan.start not in plan.lengths:
        return False
    return plan.trunk is None or plan.trunk.match(dialled, plan.start) is None


def _parsed(dialled: str, country: str) -> str:
    try:
        number = phonenumbers.parse(dialled, country)
    except phonenumbers.NumberParseException:
        raise IdentifierInvalidError("is not a phone number") from None
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason != phonenumbers.ValidationResult.IS_POSSIBLE or not _E164.fullmatch(e164):
        raise IdentifierInvalidError("has too few or too many digits for a phone number of its country")
    return e164


@cache
def _plan(digits: str) -> _Plan | None:
    """The numbering plan behind the first digits of an E.164 number; None when no country has them."""
    for length in range(1, _LONGEST_CALLING_CODE + 1):
        code = int(digits[:length])
        if code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            region = phonenumbers.region_code_for_country_code(code)
            metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
            if metadata is None or metadata.general_desc is None:
                return None
            trunk = metadata.national_prefix_for_parsing
            lengths = frozenset(metadata.general_desc.possible_length)
            return _Plan(1 + length, lengths, re.compile(trunk) if trunk else None)
    return None


@cache
def _home_prefix(country: str) -> str | None:
    """What replaces the leading 0 of a country's national numbers; None where it is not as simple as that."""
    metadata = PhoneMetadata.metadata_for_region(country, None)
    if metadata is None or metadata.national_prefix_for_parsing != "0":
        return None
    # Where a leading 0 can also be the start of the way out of the country, the long way decides.
    return f"+{metadata.country_code}" if (metadata.international_prefix or "").startswith("00") else None
