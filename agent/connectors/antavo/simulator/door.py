"""Whether a request is signed: the vendor's checks in its order, with its words.

Source: the verifier of Antavo's published Escher library, by running it. That the words come as 401 with the number
101021 is documented for "Auth header format is invalid" alone; the other numbers are unknown, 0 stands for them.
"""

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from agent.connectors.antavo.signing import SIGNED_HEADERS, Credentials, canonical_request, signature
from agent.connectors.antavo.simulator.refusal import Refused

SKEW = timedelta(seconds=300)
_MALFORMED = 101021
_HEADER = re.compile(
    r"ANTAVO-HMAC-(?P<hash>[A-Z0-9,]+) Credential=(?P<key>[A-Za-z0-9/_-]+)/(?P<day>[0-9]{8})/(?P<scope>[A-Za-z0-9/_-]+)"
    r", ?SignedHeaders=(?P<headers>[A-Za-z;-]+), ?Signature=(?P<signature>[0-9a-f]+)"
)


def check_signature(
    headers: Mapping[str, str], method: str, target: str, body: bytes, *,
    keys: Mapping[str, str], environment: str, now: datetime,
) -> str:  # fmt: skip
    """The key in whose name a request is signed.

    Args:
        headers: by lower-case name.
        method: of HTTP.
        target: path and query as they came.
        body: as it came.
        keys: the secret of each key that counts.
        environment: the one that signatures are for.
        now: the workspace's clock.

    Raises:
        Refused: it is not signed as it has to be.
    """
    if "authorization" not in headers:
        raise _unauthorised("Escher authentication is missing")
    stated = _stated(headers["authorization"])
    if stated is None:
        raise _unauthorised("Auth header format is invalid", _MALFORMED)
    date = headers.get("date", "")
    if not date:
        raise _unauthorised("The date header is missing")
    signed = stated["headers"].lower().split(";")
    for name in ("host", "date"):
        if name not in signed:
            raise _unauthorised(f"The {name} header is not signed")
    if stated["hash"] not in ("SHA256", "SHA512"):
        raise _unauthorised("Hash algorithm is invalid. Only SHA256 and SHA512 are allowed")
    _check_date(date, stated["day"], now)
    if stated["scope"] != f"{environment}/api/antavo_request":
        raise _unauthorised("Credential scope is invalid")
    if stated["key"] not in keys:
        raise _unauthorised("Invalid Escher key")
    credentials = Credentials(stated["key"], keys[stated["key"]], environment)
    covered = body if method in ("POST", "PUT") else b""
    canonical = canonical_request(method, target, date=date, host=headers.get("host", ""), body=covered)
    good = stated["headers"] == SIGNED_HEADERS and stated["hash"] == "SHA256"
    if not good or not hmac.compare_digest(signature(credentials, date, canonical), stated["signature"]):
        raise _unauthorised("The signatures do not match")
    return stated["key"]


def _stated(header: str) -> dict[str, str] | None:
    found = _HEADER.fullmatch(header)
    return found.groupdict() if found else None


def _check_date(date: str, day: str, now: datetime) -> None:
    try:
        at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _unauthorised("The request date is not within the accepted time range") from None
    if date[:8] != day:
        raise _unauthorised("Date in the authorization header is invalid. It must be the same as the date header")
    if abs(now.replace(microsecond=0) - at) > SKEW:
        raise _unauthorised("The request date is not within the accepted time range")


def _unauthorised(message: str, code: int = 0) -> Refused:
    return Refused(401, code, message, "UnauthorizedException")
