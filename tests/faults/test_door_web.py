"""Web pages at the door: in a real Chromium every way a page can reach a local server, from every kind of origin.

Each page is told a valid token, so that nothing but the door's own rules stands between it and the agent.
"""

from __future__ import annotations

import html
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from e2e.shop import eventually, sale
from faults import web
from faults.door import Door, besieged

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow,
    pytest.mark.skipif(web.CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"),
]
EVIL = "evil.example.com"
PUBLIC = "--ip-address-space-overrides=127.0.0.1:{port}=public"
OLD = "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets"
SANDBOX = '<iframe sandbox="allow-scripts allow-forms allow-popups" srcdoc="{page}"></iframe>'
OF_A_PAGE = 42
"""Attacks that a page tries on each address; attacks.js lists them."""


@pytest.fixture(name="door", scope="module")
def _door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with besieged(tmp_path_factory.mktemp("door")) as door:
        yield door


def wrapped(kind: str, page: str) -> str:
    """The page as it stands, in a sandboxed frame, or in a frame of a data: URL; the latter have no origin at all."""
    if kind == "sandbox":
        return SANDBOX.format(page=html.escape(page))
    return f'<iframe src="data:text/html,{quote(page)}"></iframe>' if kind == "data" else page


def spoils(
    door: Door, url: str, site: web.Site, *flags: str
) -> tuple[dict[str, str], dict[tuple[str, str, int], float]]:
    """What a page learned, and how the agent answered what came meanwhile, this test's own look aside."""
    before = door.answered()
    with web.browsing(url, *(flag.format(port=site.port) for flag in flags)):
        learned = site.report()
        time.sleep(1.0)  # what was sent off without waiting for an answer
    own = ("GET", "/metrics", 200)
    came = {key: count - before.get(key, 0.0) - (1.0 if key == own else 0.0) for key, count in door.answered().items()}
    return learned, {key: count for key, count in came.items() if count}


@pytest.mark.parametrize(
    ("host", "kind", "flags", "arrives"),
    [
        pytest.param(EVIL, "plain", (), True, id="foreign-origin"),
        pytest.param("127.0.0.1", "plain", (), True, id="another-port-of-this-machine"),
        pytest.param("localhost", "plain", (), True, id="another-port-same-site"),
        pytest.param(EVIL, "sandbox", (), True, id="null-origin-sandbox"),
        pytest.param(EVIL, "data", (), True, id="null-origin-data-url"),
        pytest.param(EVIL, "file", (), True, id="file"),
        pytest.param(EVIL, "plain", (PUBLIC,), False, id="public-page-with-local-network-access"),
        pytest.param(EVIL, "plain", (PUBLIC, OLD), True, id="public-page-in-an-older-browser"),
    ],
)
def test_a_foreign_page_gets_nothing_and_changes_nothing(door, tmp_path, *, host, kind, flags, arrives):
    """Attack: fetch, XHR, beacon, form, image, script, worker, frame, window, WebSocket and event source from a page.

    Every request that arrives, simple, preflighted or without CORS, is refused; the page reads none of it; no sale is
    taken and no order carried out, although the page knows a valid token.
    """
    sold = door.sold()
    bases = [f"http://127.0.0.1:{door.port}", f"http://localhost:{door.port}", f"http://0.0.0.0:{door.port}"]
    with web.Site() as site:
        site.page = wrapped(kind, web.page(site, bases, door.token, host=host))
        url = f"http://{host}:{site.port}/"
        if kind == "file":
            (tmp_path / "page.html").write_text(site.page)
            url = f"file://{tmp_path}/page.html"
        learned, came = spoils(door, url, site, *flags)

    assert len(learned) == OF_A_PAGE * len(bases)
    assert {attack: spoil for attack, spoil in learned.items() if spoil} == {}
    assert {key for key in came if key[2] < 400} == set()
    assert {key[2] for key in came} <= {403, 421}
    assert sum(came.values()) >= (60 if arrives else 3)  # the browser let them through, and the door did not
    assert door.sold() == sold
    assert door.vendor.posts() == {}


def test_a_rebound_name_gets_nothing_and_changes_nothing(door):
    """Attack: DNS rebinding. A page's own name leads to the agent, so that its requests are of the same origin.

    The browser lets the page read what comes, and that is 421 throughout: the agent goes by another name.
    """
    sold = door.sold()
    agent = ("127.0.0.1", door.port)
    with web.Site(address=("127.0.0.2", door.port), becomes=agent) as site:
        site.page = web.page(site, [f"http://{web.REBOUND}:{door.port}"], door.token, host=web.REBOUND)
        learned, came = spoils(door, f"http://{web.REBOUND}:{door.port}/", site)

    read = [spoil for spoil in learned.values() if spoil and spoil != "loaded object"]
    assert len(learned) == OF_A_PAGE
    assert "host.unknown" in learned[f"fetch http://{web.REBOUND}:{door.port}"]
    assert [spoil for spoil in read if "host.unknown" not in spoil] == []
    assert set(came) == {("other", "other", 421)}
    assert door.sold() == sold


POS = """<!doctype html><title>x</title><body><script>
const told = {told};
const answer = (what) => what.then(async (got) => [got.status, await got.json()], () => [0, ""]);
(async () => {{
  const bearer = {{ Authorization: `Bearer ${{told.token}}` }};
  const json = {{ ...bearer, "Content-Type": "application/json" }};
  const got = {{
    status: await answer(fetch(`${{told.base}}/v1/status`, {{ headers: bearer }})),
    sale: await answer(fetch(`${{told.base}}/v1/transactions`, {{ method: "POST", headers: json, body: told.sale }})),
    refusal: await answer(fetch(`${{told.base}}/v1/status`, {{ headers: {{ Authorization: "Bearer wrong" }} }})),
  }};
  await fetch("/report", {{ method: "POST", body: JSON.stringify(got) }});
}})();
</script>"""


def test_the_configured_web_pos_works_and_only_that_one(tmp_path):
    """Attack: pages of origins near the configured one: another port, another host that begins with its name.

    The web POS itself reads status, sale and refusals; the others get nothing.
    """
    with web.Site() as site:
        origin = f"http://pos.example.com:{site.port}"
        with besieged(tmp_path / "door", api={"web_pos_origin": origin}) as door:
            base = f"http://127.0.0.1:{door.port}"
            told = {"token": door.token, "base": base, "sale": json.dumps(sale("web-1"))}
            site.page = POS.format(told=json.dumps(told))
            with web.browsing(f"{origin}/"):
                got = site.report()
            assert got["status"][0] == 200
            assert got["status"][1]["state"] in ("online", "degraded")
            assert (got["sale"][0], got["sale"][1]["transaction_id"]) == (202, "web-1")
            assert (got["refusal"][0], got["refusal"][1]["code"]) == (401, "token.invalid")
            assert door.sold() == 1

            for host in ("pos.example.com", "pos.example.com.evil.example.com"):
                with web.Site() as near:
                    near.page = web.page(near, [base], door.token, host=host)
                    learned, came = spoils(door, f"http://{host}:{near.port}/", near)
                assert {attack: spoil for attack, spoil in learned.items() if spoil} == {}
                assert {key[2] for key in came} == {403}
            assert door.sold() == 1


def test_the_agents_own_page_works(door):
    """The staff page draws the status and stays connected; nothing that it asks for is refused."""
    status = ("GET", "/page/status", 200)
    before = door.answered()
    with web.browsing(f"http://127.0.0.1:{door.port}/") as output:
        tools = eventually(lambda: _devtools(output))
        eventually(lambda: _title(tools, door.port) not in ("", "loyalty-agent"))  # the page's texts have arrived
        eventually(lambda: door.answered().get(status, 0.0) > before.get(status, 0.0))
        asked = door.answered()[status]
        time.sleep(7.0)  # a page that has lost its events asks every five seconds
        assert door.answered()[status] == asked
    refused = {key for key, count in door.answered().items() if key[2] >= 400 and count > before.get(key, 0.0)}
    assert refused == set()


def _devtools(output: Path) -> str | None:
    """Where the browser answers questions about its tabs."""
    lines = output.read_text().splitlines()
    return next((f"http://{line.split('/')[2]}" for line in lines if line.startswith("DevTools")), None)


def _title(tools: str, port: int) -> str:
    tabs = httpx.get(f"{tools}/json/list", trust_env=False).json()
    return next((tab["title"] for tab in tabs if f":{port}/" in tab["url"]), "")
