"""Header tricks: what is no request of a till's is refused, and nothing in it is carried out.

Whatever is sent here is followed by one proper request on the same connection, so that an answer too many or too few,
or a connection that is out of step, shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from e2e.shop import sale
from faults.door import Door, besieged

H2C = ("+Connection: Upgrade, HTTP2-Settings", "+Upgrade: h2c", "+HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
WEBSOCKET = (
    "+Connection: Upgrade", "+Upgrade: websocket", "+Sec-WebSocket-Version: 13",
    "+Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)  # fmt: skip
NO_LENGTH = "-Content-Length"
BODY = json.dumps(sale("chunked-1")).encode()


@pytest.fixture(name="door", scope="module")
def _door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with besieged(tmp_path_factory.mktemp("door"), members=0) as door:
        yield door


def get(*lines: str, target: str = "/v1/status", method: str = "GET", version: str = "HTTP/1.1"):
    return lambda door: door.request(method, target, *lines, version=version)


def post(*lines: str, body: bytes = b"{}", target: str = "/v1/transactions"):
    return lambda door: door.request("POST", target, *lines, body=body)


def sell(name: str, *lines: str):
    return lambda door: door.selling(name, *lines)


def chunked(framed: bytes, *lines: str, coding: str = "chunked"):
    head = (NO_LENGTH, f"+Transfer-Encoding: {coding}", *lines)
    return lambda door: door.request("POST", "/v1/transactions", *head) + framed


def changed(old: bytes, new: bytes, build: Callable[[Door], bytes] | None = None):
    return lambda door: (build or get())(door).replace(old, new)


def wrap(prefix: str, size: int) -> tuple[str, ...]:
    return tuple(f"+{prefix}-{number}: x" for number in range(size))


EXTENDED = b'%x;a=b;c="d"\r\n%s\r\n0\r\n\r\n' % (len(BODY), BODY.replace(b"chunked-1", b"chunked-2"))
ONE_CHUNK = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
ATTACKS = [
    # Whose house is it
    ("host-twice", get("+Host: evil.example.com"), [421, 200]),
    ("host-twice-own-last", changed(b"Host: 127", b"Host: evil.example.com\r\nHost: 127"), [421, 200]),
    ("host-list", get("Host: 127.0.0.1:1, evil.example.com"), [421, 200]),
    ("host-of-another-port", get("Host: 127.0.0.1:1"), [421, 200]),
    ("host-left-out", get("-Host"), [421, 200]),
    ("host-forwarded", get("Host: evil.example.com", "+X-Forwarded-Host: 127.0.0.1"), [421, 200]),
    ("absolute-form-own", lambda door: get(target=f"http://127.0.0.1:{door.port}/v1/status")(door), [400]),
    ("absolute-form-foreign", get(target="http://evil.example.com/v1/status"), [400]),
    ("authority-form", get(target="127.0.0.1:22", method="CONNECT"), [400]),
    ("connect-to-a-path", get(method="CONNECT"), [400]),
    ("asterisk-form", get(target="*", method="OPTIONS"), [400]),
    ("no-leading-slash", get(target="v1/status"), [400]),
    # Fields that two readers read differently
    ("obs-fold", get("+X-Note: a\r\n b"), [400]),
    ("obs-fold-of-host", get("Host: evil.example.com\r\n 127.0.0.1"), [400]),
    ("blank-before-colon", changed(b"Host:", b"Host :"), [400]),
    ("blank-before-name", changed(b"\r\nHost", b"\r\n Host"), [400]),
    ("bare-line-feeds", changed(b"\r\n", b"\n"), [400]),
    ("bare-carriage-returns", changed(b"\r\nAuth", b"\rAuth"), [400]),
    ("nul-in-a-value", get("+X-Note: a\0b"), [400]),
    ("nul-in-a-name", get("+X\0Note: a"), [400]),
    ("field-without-colon", get("+X-Note"), [400]),
    ("token-twice", get("+Authorization: Bearer x"), [401, 200]),
    ("two-media-types", post("+Content-Type: text/plain"), [415, 200]),
    ("tabs-between", changed(b"GET /v1/status HTTP", b"GET\t/v1/status\tHTTP"), [400]),
    # Where a body ends
    ("both-framings", post("+Transfer-Encoding: chunked"), [400]),
    ("both-framings-reversed", changed(b"Content-L", b"Transfer-Encoding: chunked\r\nContent-L", post()), [400]),
    ("two-lengths", post("+Content-Length: 3"), [400]),
    ("equal-lengths", post("+Content-Length: 2"), [400]),
    ("length-list", post("Content-Length: 2, 2"), [400]),
    ("length-signed", post("Content-Length: +2"), [400]),
    ("length-negative", post("Content-Length: -2"), [400]),
    ("length-hexadecimal", post("Content-Length: 0x2"), [400]),
    ("length-underscored", post("Content-Length: 1_0"), [400]),
    ("length-of-other-digits", post("Content-Length: \xb2"), [400]),
    ("length-beyond-64-bits", post("Content-Length: 18446744073709551618"), [400]),
    ("coding-unknown", post(NO_LENGTH, "+Transfer-Encoding: xchunked"), [400]),
    ("coding-identity", post(NO_LENGTH, "+Transfer-Encoding: identity"), [400]),
    ("coding-chunked-not-last", post(NO_LENGTH, "+Transfer-Encoding: chunked, identity"), [400]),
    ("coding-compressed-first", chunked(ONE_CHUNK + b"\r\n", coding="gzip, chunked"), [400, 200]),
    ("coding-obscured", post(NO_LENGTH, "+Transfer-Encoding:\x0bchunked"), [400]),
    ("chunk-size-negative", chunked(b"-1\r\n"), [400]),
    ("chunk-size-hexadecimal-sign", chunked(b"0x10\r\n"), [400]),
    ("chunk-size-beyond-64-bits", chunked(b"fffffffffffffffff\r\n"), [400]),
    ("chunk-with-line-feeds", chunked(b"2\n{}\n0\n\n"), [400]),
    ("chunk-longer-than-said", chunked(b"1\r\n{}\r\n0\r\n\r\n"), [400]),
    ("trailer-with-a-token", chunked(ONE_CHUNK + b"Authorization: Bearer x\r\n\r\n", "-Authorization"), [400]),
    ("trailer-with-a-host", chunked(ONE_CHUNK + b"Host: evil.example.com\r\n\r\n"), [400]),
    ("shorter-than-said", post(body=b"{}GET /v1/flush HTTP/1.1\r\n\r\n"), [400, 200]),
    ("request-in-a-body", lambda door: _within(door, get()), [200, 200]),
    # Where a path leads
    ("dots", get(target="/v1/../v1/status"), [404, 200]),
    ("dots-encoded", get(target="/v1/%2e%2e/healthz"), [404, 200]),
    ("dots-to-a-file", get(target="/page/..%2f..%2f..%2fetc%2fpasswd"), [404, 200]),
    ("backslashes", get(target="/page/..%5c..%5cpage.html"), [404, 200]),
    ("double-slash", get(target="//v1/status"), [404, 200]),
    ("double-slash-to-a-host", get(target="//evil.example.com/v1/status"), [404, 200]),
    ("double-slash-inside", get(target="/v1//status"), [404, 200]),
    ("trailing-slash", get(target="/v1/status/"), [404, 200]),
    ("capitals", get(target="/V1/STATUS"), [404, 200]),
    ("nul-encoded", get(target="/v1/status%00"), [404, 200]),
    ("line-end-encoded", get(target="/v1/transactions/%0d%0aX-Note:a"), [404, 200]),
    ("overlong-utf-8", get(target="/v1%c0%afstatus"), [404, 200]),
    ("encoded-twice", get(target="/v1/%2573tatus"), [404, 200]),
    ("path-parameter", get(target="/v1/status;x=1"), [404, 200]),
    ("encoded-once-without-a-token", get("-Authorization", target="/v1/%73tatus"), [401, 200]),
    ("encoded-slash-without-a-token", get("-Authorization", target="/v1%2fqueue"), [401, 200]),
    ("bytes-in-the-path", get(target="/v1/st\xe5tus"), [400]),
    ("blank-in-the-path", get(target="/v1/sta tus"), [400]),
    ("personal-query", get(target="/v1/status?phone=%2B46701740699"), [422, 200]),
    # What method it is
    ("override-header", get("+X-HTTP-Method-Override: POST", target="/v1/flush"), [405, 200]),
    ("override-other-header", get("+X-HTTP-Method: POST", "+X-Method-Override: POST", target="/v1/flush"), [405, 200]),
    ("override-query", get(target="/v1/flush?_method=POST"), [405, 200]),
    ("rewritten-target", get("+X-Original-URL: /v1/queue", "+X-Rewrite-URL: /v1/queue", target="/v1"), [404, 200]),
    ("unknown-method", get(method="FOO"), [400]),
    ("small-letters", get(method="get"), [400]),
    ("trace", get(method="TRACE"), [405, 200]),
    ("head-of-an-order", get(method="HEAD", target="/v1/flush"), [405, 200]),
    # Another protocol
    ("http-0.9", lambda _: b"GET /healthz\r\n\r\n", [400]),
    ("http-0.9-with-fields", changed(b" HTTP/1.1", b""), [400]),
    ("http-0.9-said", get(version="HTTP/0.9"), [400]),
    ("http-1.2", get(version="HTTP/1.2"), [400]),
    ("http-2.0", get(version="HTTP/2.0"), [400]),
    ("http-3.0", get(version="HTTP/3.0"), [400]),
    ("http-small-letters", get(version="http/1.1"), [400]),
    ("http-2-preface", lambda _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    ("ice", get(version="ICE/1.0"), [400]),
    ("h2c", get(*H2C), [200, 200]),
    ("websocket", get(*WEBSOCKET, "-Authorization", target="/v1/events"), [401, 200]),
    ("websocket-from-a-page", get(*WEBSOCKET, "+Origin: http://evil.example.com", target="/"), [403, 200]),
    ("tls", lambda _: bytes.fromhex("16030102000100"), [400]),
    ("ssh", lambda _: b"SSH-2.0-OpenSSH_9.2\r\n", [400]),
    ("every-byte", lambda _: bytes(range(256)), [400]),
    # Too much of it
    ("long-field", get("+X-Note: " + "a" * 17_000), [431]),
    ("long-path", get(target="/" + "a" * 17_000), [431]),
    ("many-fields", get(*wrap("X-Note", 70)), [431]),
    ("chunk-extensions", chunked(b"1;" + b"a" * 2_000_000), [413]),
    ("chunk-extension-small-pieces", chunked(b"1;a=b\r\n{\r\n" * 200_000), [413]),
    ("many-chunks", chunked(b"1\r\n{\r\n" * 2_000), [413]),
    ("many-trailers", chunked(ONE_CHUNK + b"X: y\r\n" * 100_000), [400]),
    # Who asks
    ("forwarded-for", get("-Authorization", "+X-Forwarded-For: 127.0.0.1", "+Forwarded: for=127.0.0.1"), [401, 200]),
    ("real-ip", get("-Authorization", "+X-Real-IP: 127.0.0.1", "+X-Forwarded-User: root"), [401, 200]),
    ("basic", get("Authorization: Basic cG9zOnBvcw=="), [401, 200]),
    ("token-in-a-cookie", lambda door: get("-Authorization", f"+Cookie: token={door.token}")(door), [401, 200]),
    ("token-in-a-query", lambda door: get("-Authorization", target=f"/v1/queue?token={door.token}")(door), [401, 200]),
    ("token-in-capitals", lambda door: get(f"Authorization: Bearer {door.token.upper()}")(door), [401, 200]),
]  # fmt: skip


def _within(door: Door, build: Callable[[Door], bytes]) -> bytes:
    """A request whose body is another request."""
    inner = door.request("POST", "/v1/purge")
    return build(door).replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n%s" % (len(inner), inner))


@pytest.mark.parametrize(("attack", "expected"), [row[1:] for row in ATTACKS], ids=[row[0] for row in ATTACKS])
def test_header_tricks(door, attack, expected):
    """Attack: as the id says. It is refused with this status, nothing is carried out, and the line stays in step."""
    sold, orders, complaints = door.sold(), _orders(door), door.complaints()
    last = door.request("GET", "/healthz", "+Connection: close")
    assert door.send(attack(door), after=last) == expected
    assert door.sold() == sold
    assert _orders(door) == orders
    assert door.complaints() == complaints


def _orders(door: Door) -> float:
    return sum(count for (method, _, status), count in door.answered().items() if method == "POST" and status == 202)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(sell("h2c-1", *H2C), [202, 200], id="h2c"),
        pytest.param(sell("close-1", "+Expect: 100-continue"), [100, 202, 200], id="expect"),
        pytest.param(sell("other-1", "+Expect: 200-ok"), [202, 200], id="expect-otherwise"),
        pytest.param(chunked(ONE_CHUNK + b"\r\n"), [202, 200], id="chunked"),
        pytest.param(chunked(EXTENDED), [202, 200], id="chunk-extension"),
        pytest.param(changed(b"HTTP/1.1", b"HTTP/1.0", sell("http10-1")), [202], id="http-1.0"),
    ],
)  # fmt: skip
def test_odd_but_honest_sales_are_taken(door, sent, expected):
    """A sale in an unusual wrapping is taken all the same: Java's HTTP client asks for h2c with every call."""
    sold = door.sold()
    last = door.request("GET", "/healthz", "+Connection: close")
    assert door.send(sent(door), after=last) == expected
    assert door.sold() == sold + 1


def test_a_refused_sale_is_not_asked_for(door):
    """Attack: 100-continue with a body too large, or without a token. It is refused at once, without a 100 before."""
    for lines, status in ((("Content-Length: 300000",), 413), (("Content-Length: 300", "-Authorization"), 401)):
        with door.connect(door.request("POST", "/v1/transactions", "+Expect: 100-continue", *lines)) as line:
            assert line.recv(65_536).startswith(b"HTTP/1.1 %d " % status)
