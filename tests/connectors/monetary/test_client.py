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
    """A transport that notes what it is asked, and answers 200."""

    def __init__(self, asked, base_url):
        self.asked, self.base_url, self.closed = asked, base_url, False

    async def request(self, method, path, **_rest):
        self.asked.append(f"{method} {self.base_url}{path}")
        return Answer(200, {}, b"[]")

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
