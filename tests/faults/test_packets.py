"""Lost packets, black holes, names that do not resolve and addresses that lead nowhere, between two machines.

The till's machine and the vendor's are network namespaces; the agent speaks TLS to a name, as it does in a shop.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from e2e.shop import eventually, members
from faults import packets
from faults.line import Line
from faults.packets import NAME, NOWHERE_V6, OTHER, VENDOR, VENDOR_V6, Machines

from tests.authority import Authority

pytestmark = pytest.mark.slow


class Shop:
    """A till on one machine, the vendor on another."""

    def __init__(self, machines: Machines, vendor, line: Line, till) -> None:
        self.machines, self.vendor, self.line, self.till = machines, vendor, line, till
        self.sold: list[str] = []
        self._alma = {"type": "member_number", "value": members(vendor, 1)[0].value("memberNumber")}

    def sell(self, count: int) -> None:
        for _ in range(count):
            name = f"s-{len(self.sold):03}"
            assert self.till.sell(name, identifier=self._alma).status_code == 202
            self.sold.append(name)

    def counted(self) -> None:
        """All that was sold arrives, and counts once; then the line is well."""
        eventually(self.till.drained)
        assert self.vendor.held() == dict.fromkeys(self.sold, 1)
        eventually(lambda: self.till.status()["state"] == "online")

    def offline(self, why: str = "") -> None:
        """Waits until it is offline for that reason; what was under way may have failed for another one before."""
        eventually(lambda: self._offline(why))

    def _offline(self, why: str) -> bool:
        status = self.till.status()
        said = [one["detail"] for one in status["conditions"] if one["code"] == "vendor.offline"]
        return status["state"] == "offline" and any(why in detail for detail in said)


@pytest.fixture(name="authority")
def _authority(tmp_path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture(name="machines")
def _machines(tmp_path) -> Iterator[Machines]:
    with packets.machines(tmp_path) as machines:
        yield machines


@pytest.fixture(name="shop")
def _shop(machines, vendor, open_till, authority) -> Iterator[Shop]:
    """The shop, its replica loaded and its line well."""
    with ExitStack() as stack:
        vendor.cut()
        machines.move(vendor.server._loop)
        vendor.mend()
        line = stack.enter_context(
            Line(vendor.server.port, authority.issue(NAME), hosts=(VENDOR, VENDOR_V6), move=machines.move)
        )
        door = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="la"))) / "door"
        )  # paths of sockets are short
        till = open_till(
            api={"listen": [f"unix:{door}"]},
            voyado={"base_url": f"https://{NAME}:{line.port}"},
            http={"ca_file": str(authority.pem), "connect_timeout": "2s", "read_timeout": "3s"},
        )
        till.http.close()
        till.http = httpx.Client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=str(door)), timeout=10)
        ready = till._ready
        till._ready = lambda: _listens(door) and ready()  # httpx forgets a socket that nobody listens at
        till.start(wrapper=machines.wrapper)
        eventually(till.loaded)
        eventually(lambda: till.status()["state"] == "online")
        yield Shop(machines, vendor, line, till)
        till.kill()


def _listens(door: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(door)) == 0


@pytest.mark.parametrize("loses", [0.05, 0.2])
def test_packets_are_lost(shop, loses):
    """Packets vanish, come twice and overtake each other: every sale arrives, and counts once."""
    wire = shop.machines.wire
    wire.loses, wire.doubles, wire.delay_s = loses, 0.05, 0.02
    shop.sell(60)
    eventually(shop.till.drained)
    wire.loses = wire.doubles = wire.delay_s = 0.0
    assert wire.lost > 10

    shop.counted()


def test_a_black_hole(shop):
    """Nothing passes for longer than any time-out, in the middle of deliveries: told as an outage, then all arrives."""
    shop.sell(20)
    shop.machines.wire.hole = True
    shop.sell(20)
    shop.offline("does not answer in time")
    time.sleep(6)
    assert shop.till.status()["queue"]["depth"] >= 20
    assert shop.till.status()["queue"]["parked"] == 0
    shop.machines.wire.hole = False

    shop.counted()


def test_the_cable_is_pulled(shop):
    """Without a network nobody resolves a name: told as such; with it everything goes out."""
    shop.line.hang_up()
    shop.machines.pull()
    shop.sell(10)
    shop.offline("no name server answers")
    shop.machines.plug()

    shop.counted()


@pytest.mark.parametrize(
    ("mood", "says"),
    [
        ("ignorant", "its name is not known to the name server"),
        ("failing", "no name server answers"),
        ("silent", "it does not answer in time"),
    ],
)
def test_names_do_not_resolve(shop, mood, says):
    """A name that nobody resolves is an outage with its reason; no cashier waits for it, and no stop does."""
    shop.machines.names.mood = mood
    shop.line.hang_up()
    shop.sell(10)
    shop.offline(says)
    before = time.monotonic()
    for number in range(20):
        assert shop.till.identify("mobile_phone", f"+467017406{number + 10:02}")["served"]["source"] in (
            "none",
            "replica",
        )
    assert time.monotonic() - before < 40.0
    before = time.monotonic()
    assert shop.till.stop() == 0
    assert time.monotonic() - before < 30.0
    shop.till.start(wrapper=shop.machines.wrapper)
    shop.sell(10)
    shop.offline()
    shop.machines.names.mood = "well"

    shop.counted()


def test_names_resolve_slowly(shop):
    """A name server that takes longer than a cashier's patience delays no sale."""
    shop.machines.names.slow_s = 1.0
    shop.line.hang_up()
    shop.sell(10)

    shop.counted()
    assert shop.machines.names.asked > 0


def test_an_address_that_leads_nowhere(shop):
    """A name with an IPv6 address that leads nowhere is reached by its other one, and the line counts as well."""
    shop.machines.names.addresses = [NOWHERE_V6, VENDOR]
    for _ in range(3):
        shop.line.hang_up()
        shop.sell(3)
        eventually(shop.till.drained)

    shop.counted()
    # a call that was going out as the line was hung up may have been cut; none failed for want of a way
    assert not [row for row in shop.till.logged("line.changed") if "cannot be reached" in row["reason"]]


def test_an_address_of_the_newer_kind(shop):
    """A vendor that has an IPv6 address alone is reached."""
    shop.machines.names.addresses = [VENDOR_V6]
    shop.line.hang_up()
    shop.sell(5)

    shop.counted()


def test_a_name_server_that_lies(shop, authority):
    """Another host in the vendor's name has no certificate for it: it hears no word, and the sales wait."""
    with Line(1, authority.issue("other.test"), hosts=(OTHER,), port=shop.line.port, move=shop.machines.move) as other:
        shop.machines.names.addresses = [OTHER]
        shop.line.hang_up()
        shop.sell(5)
        shop.offline("its certificate is for another name")
        assert other.asked == {}
    shop.machines.names.addresses = [VENDOR]

    shop.counted()


def test_a_vendor_that_moves(shop, authority):
    """When the name stands for another address, the agent goes there without a restart."""
    moved = Line(
        shop.vendor.server.port, authority.issue(NAME), hosts=(OTHER,), port=shop.line.port, move=shop.machines.move
    )
    with moved:
        shop.machines.names.addresses = [OTHER]
        shop.line.hang_up()
        shop.sell(5)
        shop.counted()
        assert moved.asked["/api/v3/receipts"] == 5
