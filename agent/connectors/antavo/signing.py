"""Antavo's request signing: Escher in Antavo's own dialect. Pure.

Source: the canonicaliser and the configuration of Antavo's published PHP libraries (`escher-php`, `loyalty-sdk-php`);
the vectors in the tests were made by running the former. Where it differs from standard Escher: every plus of a
query, encoded or not, is signed as a blank; only unreserved characters stay unencoded; the `Date` header has the basic
form; `./` is deleted from paths, so that an id which ends in a dot cannot be asked for.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote_from_bytes, unquote_to_bytes

ALGORITHM = "ANTAVO-HMAC-SHA256"
SIGNED_HEADERS = "date;host"
KEY = re.compile(r"[A-Za-z0-9/_-]+")
"""What an API key may look like; Antavo's own parser takes nothing else."""
_PREFIX = "ANTAVO"
_REQUEST_TYPE = ("api", "antavo_request")
_DATE_FORM = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A workspace's key pair, and the environment that it belongs to."""

    key: str
    secret: str = field(repr=False)
    environment: str

    def scope(self, day: str) -> str:
        """What a signature of that day (`YYYYMMDD`) counts for."""
        return "/".join((day, self.environment, *_REQUEST_TYPE))


def sign(
    credentials: Credentials, at: datetime, method: str, target: str, *, host: str, body: bytes = b""
) -> Mapping[str, str]:
    """The headers that make a request Antavo's: `Date`, `Host` and `Authorization`.

    Args:
        credentials: in whose name.
        at: now, by the vendor's clock.
        method: of HTTP.
        target: path and query exactly as they are sent.
        host: as it is sent, with its port unless that is the scheme's own.
        body: exactly as it is sent.
    """
    date = at.astimezone(UTC).strftime(_DATE_FORM)
    canonical = canonical_request(method, target, date=date, host=host, body=body)
    stated = f"{ALGORITHM} Credential={credentials.key}/{credentials.scope(date[:8])}"
    signed = signature(credentials, date, canonical)
    authorization = f"{stated}, SignedHeaders={SIGNED_HEADERS}, Signature={signed}"
    return {"Date": date, "Host": host, "Authorization": authorization}


def signature(credentials: Credentials, date: str, canonical: str) -> str:
    """The signature of a canonical request, in hexadecimal.

    Args:
        credentials: in whose name.
        date: the signing time, as in the `Date` header.
        canonical: by :func:`canonical_request`.
    """
    day = date[:8]
    to_sign = "\n".join((ALGORITHM, date, credentials.scope(day), _sha256(canonical.encode())))
    key = f"{_PREFIX}{credentials.secret}".encode()
    for part in (day, credentials.environment, *_REQUEST_TYPE):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def canonical_request(method: str, target: str, *, date: str, host: str, body: bytes) -> str:
    """What is hashed and signed: method, path, query, headers and the body's hash, each in one form."""
    path, _, query = target.partition("?")
    headers = f"date:{' '.join(date.split())}\nhost:{' '.join(host.split())}"
    lines = (method.upper(), _path(path), _query(query), headers, "", SIGNED_HEADERS, _sha256(body))
    return "\n".join(lines)


def is_signable(name: str) -> bool:
    """Whether an id keeps its form in a signed path: `./` is deleted there, which would make it another's id."""
    return not name.endswith(".") and "./" not in name


def _path(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/"):
        if segment != "..":
            kept.append(segment)
        elif len(kept) > 1:
            kept.pop()
    return re.sub("/{2,}", "/", "/".join(kept).replace("./", "")) or "/"


def _query(query: str) -> str:
    pairs = (part.split("=") for part in query.split("&") if part)
    return "&".join(sorted(f"{_encoded(pair[0])}={_encoded(pair[1] if len(pair) > 1 else '')}" for pair in pairs))


def _encoded(text: str) -> str:
    return quote_from_bytes(unquote_to_bytes(text).replace(b"+", b" "), safe="")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
