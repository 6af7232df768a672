"""Which system a key belongs to."""

import pytest

from agent.connectors.monetary.client import MonetaryClient, system_of
from agent.transport import Answer
from tests.connectors.mparticle.sales import Reference


@pytest.mark.parametrize(
    ("key", "host"),
    [("test_1", "engage-test"), ("CERT-1", "engage-cert"), ("live_1", "engage"), ("x", "engage"), ("tes", "engage")],
)
def test_the_system_of_a_key(key, host):
    """What it begins with says so; anything else is live."""
    assert system_of(key) == f"https://{host}.monetary.co/v1"


class Line:
    """A transport that notes what it is asked, and answers alike."""

    def __init__(self, asked, base_url, status=200):
        self.asked, self.base_url, self.status, self.closed = asked, base_url, status, False

    async def request(self, method, path, **_rest):
        self.asked.append(f"{method} {self.base_url}{path}")
        return Answer(self.status, {}, b"[]")

    async def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("base_url", "hosts"),
    [
        ("", ["https://engage-test.monetary.co/v1", "https://engage.monetary.co/v1"]),
        ("http://127.0.0.1:9/v1", ["http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1"]),
    ],
    ids=["by the key", "set"],
)
async def test_another_key_can_be_another_systems(base_url, hosts):
    """The key of the moment decides, unless the address is set; every connection is closed at the end."""
    asked, lines = [], []

    def connect(url):
        lines.append(Line(asked, url))
        return lines[-1]

    key = Reference("test_1")
    client = MonetaryClient(connect, base_url=base_url, key=key, heard=lambda _answer: None)
    await client.search({"phone": "0701740605"})
    key._value = "live_1"
    await client.search({"phone": "0701740605"})
    await client.close()
    assert asked == [f"GET {host}/Customers" for host in hosts]
    assert all(line.closed for line in lines)


@pytest.mark.parametrize(("status", "refusals"), [(401, 1), (402, 1), (403, 1), (400, 0), (200, 0), (500, 0)])
async def test_a_refused_key_is_read_again(status, refusals):
    """Its secret hears of it."""
    key = Reference("test_1")
    client = MonetaryClient(lambda url: Line([], url, status), base_url="", key=key, heard=lambda _answer: None)
    await client.search({"phone": "0701740605"})
    assert key.refusals == refusals
