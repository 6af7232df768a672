"""Exact amounts: how they are read, and how many decimals a currency has.

Source: ISO 4217, list one (active codes and minor units), and BGN, which tills still hold returns in.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final

_PLAIN = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,6})?")
_MAX_DIGITS = 15
ZERO: Final = Decimal(0)

_BY_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY
        COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
        INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR
        MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD
        SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG""",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
_MINOR_UNITS: Mapping[str, Decimal] = {
    code: Decimal(1).scaleb(-decimals) for decimals, codes in _BY_DECIMALS.items() for code in codes.split()
}


def minor_unit(currency: str) -> Decimal | None:
    """The smallest amount of a currency (``0.01`` for SEK, ``1`` for JPY), or None if it is no ISO 4217 code."""
    return _MINOR_UNITS.get(currency)


def parse_amount(value: object) -> Decimal:
    """The exact decimal of a JSON string or number, in its shortest form: ``250.00`` and ``250.0`` become ``250``.

    A number must come in as `decimal.Decimal` or `int`, never as a binary float: the body is parsed so.

    Raises:
        ValueError: not a plain decimal, or more than 15 digits before or 6 after the point.
    """
    return _exact(value if isinstance(value, str) else _plain(value))


@lru_cache(maxsize=4096)  # a till sells at the same prices all day
def _exact(text: str) -> Decimal:
    if not _PLAIN.fullmatch(text):
        raise ValueError("is not a plain decimal amount such as 250.00")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return Decimal(text) or ZERO


def decimals(amount: Decimal) -> int:
    """How many digits stand behind the point of an amount that :func:`parse_amount` read."""
    exponent = amount.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _plain(value: object) -> str:
    """A number without an exponent; empty when it is none, or so large or small that writing it out would take long."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value) if value.bit_length() <= 64 else None  # noqa: PLR2004 - 15 digits fit
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) < _MAX_DIGITS:
        return format(value, "f")
    return ""
