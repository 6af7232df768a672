"""TLS towards vendors: who is believed, and in what words a failed handshake is told.

An `ssl.SSLContext` of our own making, not `ssl.create_default_context`: that one writes the keys of every session to
the file that SSLKEYLOGFILE names, and what it refuses differs from one Python to the next.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path

from agent.errors import ConfigurationError, Fault

_NOBODY_WE_KNOW = "nobody whom this till trusts vouches for its certificate (http.ca_file)"
_TOO_WEAK = "the key or the signature of its certificate is too weak"
_OTHER_NAME = "its certificate is for another name"

_CERTIFICATE: Mapping[int, str] = {
    2: _NOBODY_WE_KNOW,  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
    7: _NOBODY_WE_KNOW,  # CERT_SIGNATURE_FAILURE: an authority of the same name
    9: "its certificate is not valid yet, or this till's clock is behind",  # CERT_NOT_YET_VALID
    10: "its certificate has expired, or this till's clock is ahead",  # CERT_HAS_EXPIRED
    18: "its certificate is self-signed",  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: _NOBODY_WE_KNOW,  # SELF_SIGNED_CERT_IN_CHAIN
    20: _NOBODY_WE_KNOW,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: _NOBODY_WE_KNOW,  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
    26: "its certificate is not one for servers",  # INVALID_PURPOSE
    62: _OTHER_NAME,  # HOSTNAME_MISMATCH
    64: _OTHER_NAME,  # IP_ADDRESS_MISMATCH
    66: _TOO_WEAK,  # EE_KEY_TOO_SMALL
    67: _TOO_WEAK,  # CA_KEY_TOO_SMALL
    68: _TOO_WEAK,  # CA_MD_TOO_WEAK
}
"""OpenSSL's verify results, from x509_vfy.h."""

_TOO_OLD = "it speaks no TLS newer than 1.1"
_NO_TLS = "it does not speak TLS"
_HANDSHAKE: Mapping[str, str] = {
    "UNSUPPORTED_PROTOCOL": _TOO_OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _TOO_OLD,
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": "it cut the connection",
}


def client_context(ca_file: str = "") -> ssl.SSLContext:
    """A client's side of TLS 1.2 or newer that believes certified names alone.

    Args:
        ca_file: PEM certificates of whom to trust, instead of the system's store: an authority, or the very
            certificate of a server. Empty: the system's store, where OpenSSL finds it.

    Raises:
        ConfigurationError: the file cannot be read, or holds something else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # who names a certificate trusts it, whoever issued it
    if not ca_file:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cafile=Path(ca_file))
    except OSError:  # ssl.SSLError is one
        raise ConfigurationError([Fault("http.ca_file", "is not a readable file of PEM certificates")]) from None
    return context


def failure(error: ssl.SSLError) -> str:
    """Why a handshake failed, in words for an operator; nothing that the other side wrote is repeated."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE.get(error.verify_code, f"its certificate is refused (OpenSSL {error.verify_code})")
    if not error.reason:  # OpenSSL has nothing to say of a connection that just ended
        return "it cut the connection"
    return _HANDSHAKE.get(error.reason, f"the TLS handshake failed ({error.reason})")
