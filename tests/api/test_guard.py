"""Who may come in, and in which order that is decided."""

import pytest

from agent.api.guard import MAX_BODY_BYTES

SALE = "/v1/transactions"
SAFETY = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


def answer_of(raw: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return (
        int(first.split()[1]),
        {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)},
        body,
    )


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("127.0.0.1:{port}", 200, id="address"),
        pytest.param("localhost:{port}", 200, id="name"),
        pytest.param("[::1]:{port}", 200, id="ipv6"),
        pytest.param(None, 421, id="none"),
        pytest.param("", 421, id="empty"),
        pytest.param("127.0.0.1", 421, id="without-port"),
        pytest.param("127.0.0.1:1", 421, id="another-port"),
        pytest.param("evil.example.com:{port}", 421, id="rebound-name"),
        pytest.param("0.0.0.0:{port}", 421, id="zero-address"),
        pytest.param("localhost.:{port}", 421, id="trailing-dot"),
        pytest.param("127.0.0.1:{port}, 127.0.0.1:{port}", 421, id="list"),
        pytest.param("127.0.0.1:{port}\r\nhost: 127.0.0.1:{port}", 421, id="twice"),
        pytest.param("user@127.0.0.1:{port}", 421, id="with-user"),
    ],
)
async def test_only_own_names_are_answered(house, host, status):
    """A Host that is not exactly one of the agent's own names is 421, whatever else is in order."""
    host = host.format(port=house.port) if host is not None else None
    code, _, _ = answer_of(await house.raw(house.request("GET", "/v1/status", host=host)))
    assert code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="no-browser"),
        pytest.param({"origin": "http://127.0.0.1:{port}"}, 200, id="own-page"),
        pytest.param({"origin": "http://localhost:{port}"}, 403, id="own-page-under-another-name"),
        pytest.param({"origin": "https://127.0.0.1:{port}"}, 403, id="another-scheme"),
        pytest.param({"origin": "http://evil.example.com"}, 403, id="foreign"),
        pytest.param({"origin": "null"}, 403, id="null"),
        pytest.param({"origin": ""}, 403, id="empty"),
        pytest.param({"sec_fetch_site": "none"}, 200, id="typed-in"),
        pytest.param({"sec_fetch_site": "same-origin"}, 200, id="same-origin"),
        pytest.param({"sec_fetch_site": "same-site"}, 403, id="same-site"),
        pytest.param({"sec_fetch_site": "cross-site"}, 403, id="cross-site"),
        pytest.param(
            {"origin": "http://127.0.0.1:{port}", "sec_fetch_site": "cross-site"}, 403, id="own-origin-cross-site"
        ),
    ],
)
async def test_foreign_pages_are_refused(house, headers, status):
    """An Origin or Sec-Fetch-Site that is not the agent's own page is 403, and no CORS header is ever sent."""
    headers = {name: value.format(port=house.port) for name, value in headers.items()}
    code, sent, _ = answer_of(await house.raw(house.request("GET", "/v1/status", **headers)))
    assert code == status
    assert not [name for name in sent if name.startswith("access-control")]


async def test_a_configured_web_pos_may_call(open_door):
    """Exactly the configured origin gets CORS headers, on answers, refusals and the preflight; never credentials."""
    async with open_door(web_pos_origin="https://pos.example.com") as house:
        origin = {"origin": "https://pos.example.com", "sec-fetch-site": "cross-site"}
        fine = await house.http.get("/v1/status", headers=origin)
        refused = await house.http.get("/v1/status", headers=origin | {"authorization": "Bearer x"})
        asked = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        preflight = await house.http.options(SALE, headers=origin | asked | {"authorization": ""})
        foreign = await house.http.get("/v1/status", headers={"origin": "https://pos.example.com.evil.example"})
        lost = await house.http.options("/v1/nothing", headers=origin | asked)

    assert fine.status_code == 200
    assert refused.status_code == 401
    assert preflight.status_code == 204
    assert lost.status_code == 404
    for answer in (fine, refused, preflight):
        assert answer.headers["access-control-allow-origin"] == "https://pos.example.com"
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers
    assert preflight.headers["access-control-allow-methods"] == "POST"
    assert preflight.headers["access-control-allow-headers"] == "authorization, content-type"
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in foreign.headers


async def test_a_preflight_from_elsewhere_is_refused(house):
    """Without a configured origin a preflight is refused like everything else from a foreign page."""
    answer = await house.http.options(
        SALE, headers={"origin": "https://a.example", "access-control-request-method": "POST"}
    )
    assert answer.status_code == 403


# Each row breaks one more rule than the row before; the answer is that of the first rule broken.
BROKEN = [
    ("body", {}, b"{", 400),
    ("size", {"content_length": str(MAX_BODY_BYTES + 1)}, b"{", 413),
    ("content-type", {"content_type": "text/plain"}, b"{", 415),
    ("token", {"authorization": "Bearer wrong"}, b"{", 401),
    ("path", {"path": "/v1/nothing"}, b"{", 404),
    ("origin", {"origin": "http://evil.example.com"}, b"{", 403),
    ("host", {"host": "evil.example.com"}, b"{", 421),
]


@pytest.mark.parametrize("upto", range(len(BROKEN)), ids=[row[0] for row in BROKEN])
async def test_checks_come_in_the_published_order(house, upto):
    """Of several rules broken at once, the answer names the first of: host, origin, path, token, type, size, body."""
    headers = {name: value for _, broken, _, _ in BROKEN[: upto + 1] for name, value in broken.items()}
    path = headers.pop("path", SALE)
    code, _, _ = answer_of(await house.raw(house.request("POST", path, b"{", **headers)))
    assert code == BROKEN[upto][3]


async def test_scope_comes_before_content(house):
    """A right token of the wrong scope is 403 even when the content type would be refused too."""
    raw = house.request("POST", "/v1/queue/1/discard", b"x", content_type="text/plain")
    code, _, body = answer_of(await house.raw(raw))
    assert code == 403
    assert b"token.scope" in body


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        pytest.param(None, "token.missing", id="none"),
        pytest.param("", "token.missing", id="empty"),
        pytest.param("Bearer", "token.missing", id="no-token"),
        pytest.param("Basic eDp5", "token.missing", id="another-scheme"),
        pytest.param("Bearer la_pos_wrong", "token.invalid", id="wrong"),
        pytest.param("Bearer " + "x" * 5000, "token.invalid", id="long"),
        pytest.param("Bearer caf\xe9", "token.invalid", id="not-ascii"),
        pytest.param("Bearer {token}, Bearer {token}", "token.invalid", id="twice"),
    ],
)
async def test_wrong_tokens(house, authorization, code):
    """A missing or wrong token is 401 and says which scheme is wanted, not what was wrong with the token."""
    token = house.http.headers["authorization"].removeprefix("Bearer ")
    authorization = authorization.format(token=token) if authorization is not None else None
    status, headers, body = answer_of(await house.raw(house.request("GET", "/v1/status", authorization=authorization)))
    assert status == 401
    assert headers["www-authenticate"] == "Bearer"
    assert f'"{code}"'.encode() in body


async def test_admin_includes_pos(house):
    """An admin token opens the till's calls too; a till's token does not open the admin's."""
    assert (await house.admin.get("/v1/status")).status_code == 200
    assert (await house.admin.get("/v1/queue")).status_code == 200
    assert (await house.http.get("/v1/queue")).status_code == 403
    lower = house.http.headers["authorization"].replace("Bearer", "bearer")
    assert (await house.http.get("/v1/status", headers={"authorization": lower})).status_code == 200


async def test_every_call_is_behind_the_token_its_scope_says(house):
    """No route is reached without a token but those published as open; none of the admin's with a till's token."""
    open_paths = {"/", "/customer", "/admin", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics"}
    for (method, path), call in house.door.calls.items():
        if call.scope is None:
            assert path in open_paths or path.startswith(("/page/", "/customer/"))
            continue
        bare = await house.http.request(method, path, headers={"authorization": ""})
        assert bare.status_code == 401, path
        if call.scope == "admin":
            assert (await house.http.request(method, path)).status_code == 403, path


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", SALE, "POST"),
        ("PUT", SALE, "POST"),
        ("OPTIONS", SALE, "POST"),
        ("DELETE", "/v1/status", "GET, HEAD"),
        ("TRACE", "/healthz", "GET, HEAD"),
        ("HEAD", "/v1/events", "GET"),
        ("PUT", "/v1/contacts/c_5f3a", "GET, HEAD, PATCH"),
        ("GET", "/v1/contacts/identify", "POST"),
    ],
)
async def test_wrong_methods(house, method, path, allow):
    """A path that does not take the method is 405 and says which it takes."""
    answer = await house.http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "path",
    [
        "/v1/nothing", "/v1/transactions/", "/v1/status/", "//v1/status", "/V1/status", "/v1/contact",
        "/v1/benefits/lend", "/v1/privacy/forget", "/v1/activity", "/page/../page.html", "/page/..%2fpage.html",
        "/page/__init__.py", "/redoc", "/v1/transactions/a%2Fb",
    ],
)  # fmt: skip
async def test_unknown_paths(house, path):
    """What is not published is 404, with or without a token; nothing redirects."""
    raw = house.request("GET", path)
    code, headers, _ = answer_of(await house.raw(raw))
    assert code == 404
    assert "location" not in headers


async def test_head_is_get_without_its_body(house):
    """HEAD answers as GET does, without the body."""
    answer = await house.http.head("/v1/status")
    assert answer.status_code == 200
    assert answer.content == b""
    assert (await house.http.head("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"content_type": "application/json"}, 400, id="json"),
        pytest.param({"content_type": "application/json; charset=utf-8"}, 400, id="json-utf8"),
        pytest.param({"content_type": 'Application/JSON;charset="UTF-8"'}, 400, id="json-spelled-otherwise"),
        pytest.param({"content_type": "application/json; charset=latin-1"}, 415, id="another-charset"),
        pytest.param({"content_type": "text/plain"}, 415, id="text"),
        pytest.param({"content_type": "application/x-www-form-urlencoded"}, 415, id="form"),
        pytest.param({"content_type": "application/jsonp"}, 415, id="nearly-json"),
        pytest.param({"content_type": None}, 415, id="none"),
        pytest.param({"content_encoding": "gzip"}, 415, id="compressed"),
    ],
)
async def test_content_types(house, headers, status):
    """A write that is not JSON in UTF-8 is 415."""
    code, _, _ = answer_of(await house.raw(house.request("POST", SALE, b"{", **headers)))
    assert code == status


async def test_a_write_without_a_body_needs_no_content_type(house):
    """An order without a body may leave out the content type; a wrong one is still refused."""
    bare = await house.admin.post("/v1/flush")
    empty = await house.admin.post("/v1/flush", json={})
    wrong = await house.admin.post("/v1/flush", headers={"content-type": "text/plain"})
    sale = await house.http.post(SALE)
    assert (bare.status_code, empty.status_code, wrong.status_code, sale.status_code) == (202, 202, 415, 400)


@pytest.mark.parametrize("extra", [0, 1], ids=["just-fits", "one-too-many"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
async def test_body_size(house, extra, chunked):
    """A body over 256 KiB is 413, whether it says its size beforehand or not."""
    body = b" " * (MAX_BODY_BYTES + extra)

    async def pieces():
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    answer = await house.http.post(
        SALE, content=pieces() if chunked else body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == (413 if extra else 400)


async def test_a_query_where_none_is_taken_is_refused(house):
    """A query on a call without one is 422, so that nothing personal is put there and works."""
    answer = await house.http.get("/v1/status", params={"phone": "+46701740699"})
    assert answer.status_code == 422
    assert "+46701740699" not in answer.text
    assert "0701740699" not in answer.text


async def test_every_answer_carries_the_safety_headers(house, sale):
    """Answers, refusals, pages and events carry the same protective headers and a request id of their own."""
    answers = [
        await house.http.get("/v1/status"),
        await house.http.post(SALE, json=sale()),
        await house.http.get("/v1/nothing"),
        await house.http.get("/v1/status", headers={"host": "evil"}),
        await house.http.get("/"),
        await house.http.get("/page/page.js"),
        await house.http.get("/docs"),
        await house.http.get("/openapi.json"),
        await house.http.get("/metrics"),
        await house.admin.get("/v1/queue", params={"limit": "many"}),
    ]
    for answer in answers:
        assert SAFETY.items() <= dict(answer.headers).items(), answer.url
        assert answer.headers["content-security-policy"].startswith("default-src 'none';")
        assert "server" not in answer.headers
        assert answer.headers["date"].endswith("GMT")
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


async def test_forwarded_headers_are_not_believed(house):
    """A caller cannot pose as another host by forwarded headers."""
    answer = await house.http.get(
        "/v1/status", headers={"host": "evil", "x-forwarded-host": house.address, "forwarded": f"host={house.address}"}
    )
    assert answer.status_code == 421
