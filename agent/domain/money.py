"""Exact amounts: how they are read, and how many decimals a currency has.

Source: ISO 4217, list one (active codes and minor units).
"""

from __future__ import annotations

import re
from decimal import Decimal

_PLAIN = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,6})?")
_LIMIT = 10**15
ZERO = Decimal(0)

_TWO_DECIMALS = frozenset(
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES "
    "KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR "
    "NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT "
    "TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG".split()
)
_NO_DECIMALS = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split())
_THREE_DECIMALS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())


def minor_unit(currency: str) -> Decimal | None:
    """The smallest amount of a currency (``0.01`` for SEK, ``1`` for JPY), or None if it is no ISO 4217 code."""
    if currency in _TWO_DECIMALS:
        return Decimal("0.01")
    if currency in _NO_DECIMALS:
        return Decimal(1)
    if currency in _THREE_DECIMALS:
        return Decimal("0.001")
    return None


def parse_amount(value: object) -> Decimal:
    """The exact decimal of a JSON string or number, in its shortest form: ``250.00`` and ``250.0`` become ``250``.

    A number must come in as `decimal.Decimal` or `int`, never as a binary float: the body is parsed so.

    Raises:
        ValueError: not a plain decimal, or more than 15 digits before or 6 after the point.
    """
    if isinstance(value, str):
        text = value
    elif isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
        text = format(value, "f") if abs(value) < _LIMIT else ""
    else:
        text = ""
    if not _PLAIN.fullmatch(text):
        raise ValueError("is not a plain decimal amount such as 250.00")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return Decimal(text) or ZERO


def decimals(amount: Decimal) -> int:
    """How many digits stand behind the point of an amount that :func:`parse_amount` read."""
    exponent = amount.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
