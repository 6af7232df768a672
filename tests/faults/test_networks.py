"""Cut, slow and lying lines between the installed agent and the vendor: none lost, none twice, and the state is right.

What is counted is what the vendor holds in the end, and what of it was posted how often.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from e2e.shop import API_KEY, eventually, members
from faults import line as lines
from faults.line import Line, cut, replaced, swapped

from agent.connectors.voyado.simulator import Fault
from tests.authority import Authority
from tests.proxy import ProxyServer

pytestmark = pytest.mark.slow

RECEIPTS = "/receipts$"
FEW = pytest.mark.parametrize("vendor", [40], indirect=True, ids=["few"])
PORTAL = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 46\r\n\r\n"
    b"<html><body>Welcome to our Wi-Fi</body></html>"
)


@pytest.fixture(name="line")
def _line(vendor) -> Iterator[Line]:
    with Line(vendor.server.port) as line:
        yield line


@pytest.fixture(name="till")
def _till(open_till, line):
    """A till that reaches the vendor over the line, its replica loaded."""
    till = open_till(voyado={"base_url": line.url}).start()
    eventually(till.loaded)
    eventually(lambda: till.status()["state"] == "online")
    return till


def sell(till, vendor, *ids):
    """Sells to members, who take turns."""
    people = members(vendor, 20)
    for index, sale in enumerate(ids):
        key = {"type": "member_number", "value": people[index % 20].value("memberNumber")}
        assert till.sell(sale, identifier=key).status_code == 202


def counted(vendor, till, *ids):
    """All of them arrived, each counts once, and nothing is left over."""
    assert vendor.held() == dict.fromkeys(ids, 1)
    queue = till.status()["queue"]
    assert (queue["depth"], queue["parked"], queue["in_doubt"]) == (0, 0, 0)


def chunked(answer: bytes) -> bytes:
    """A 200 whose JSON comes in chunks."""
    date = next(line for line in answer.split(b"\r\n") if line.lower().startswith(b"date:"))
    head = b"HTTP/1.1 200 OK\r\n" + date + b"\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b'8\r\n{"receip\r\n9\r\nt": "ok"}\r\n0\r\n\r\n'


def to_the_end(_answer: bytes) -> bytes:
    """A 200 whose JSON lasts until the connection ends."""
    return b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{"receipt": "ok"}'


def with_a_body(_answer: bytes) -> bytes:
    """A 200 with JSON of a stated length."""
    return b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{"receipt": "ok"}'


@pytest.mark.parametrize("ends", ["reset", "close"])
@pytest.mark.parametrize("framed", [bytes, with_a_body, chunked, to_the_end])
def test_an_answer_that_is_cut(till, vendor, line, ends, framed):
    """Wherever in its answer the line is cut, the sale counts once; what was not answered whole is sent again."""
    whole = framed(b"HTTP/1.1 202 Accepted\r\ndate: Sat, 14 Feb 2026 15:41:09 GMT\r\ncontent-length: 0\r\n\r\n")
    head = whole.index(b"\r\n\r\n") + 4
    points = sorted({0, 1, 7, 12, whole.index(b"\r\n"), whole.index(b"\r\n") + 2, head // 2, head - 2, head - 1})
    if len(whole) > head:
        points += [head, head + 1, (head + len(whole)) // 2, len(whole) - 2, len(whole) - 1]
    ids = [f"s-{point}" for point in points]
    for point, sale in zip(points, ids, strict=True):
        line.spoil(RECEIPTS, cut(point, ends=ends, framed=framed))
        sell(till, vendor, sale)
        eventually(lambda sale=sale: till.delivered(sale))

    counted(vendor, till, *ids)
    posts = vendor.posts()
    whole_json = framed is to_the_end and ends == "close"  # a close is how such an answer ends: JSON tells the rest
    assert all(posts[sale] == 2 for point, sale in zip(points, ids, strict=True) if point < head or not whole_json)
    eventually(lambda: till.status()["state"] == "online")


async def _unread(_reader, writer):
    lines.reset(writer)


async def _half_a_head(reader, writer):
    await reader.readexactly(20)
    lines.reset(writer)


async def _head_alone(exchange):
    exchange.reset()


async def _half_a_body(exchange):
    await exchange._reader.readexactly(20)
    exchange.reset()


async def _whole_but_not_passed_on(exchange):
    await exchange.body()
    exchange.reset()


async def _passed_on(exchange):
    await exchange.ask()
    exchange.reset()


@pytest.mark.parametrize(
    ("meeting", "fault", "posts"),
    [
        pytest.param(_unread, None, 1, id="before anything is read"),
        pytest.param(_half_a_head, None, 1, id="in the head"),
        pytest.param(None, _head_alone, 1, id="after the head"),
        pytest.param(None, _half_a_body, 1, id="in the body"),
        pytest.param(None, _whole_but_not_passed_on, 1, id="after the whole question"),
        pytest.param(None, _passed_on, 2, id="after the vendor took it"),
    ],
)
def test_a_question_that_is_cut(  # noqa: PLR0917 - fixtures and a table's columns
    till, vendor, line, meeting, fault, posts
):
    """Wherever in a question the line is cut, the sale arrives, and counts once."""
    ids = [f"s-{number}" for number in range(5)]
    for sale in ids:
        if meeting is None:
            line.spoil(RECEIPTS, fault)
        else:
            line.meet(meeting)
            line.hang_up()  # so that the next call opens a connection
        sell(till, vendor, sale)
        eventually(lambda sale=sale: till.delivered(sale))
        eventually(lambda: line.spent)

    counted(vendor, till, *ids)
    assert vendor.posts() == dict.fromkeys(ids, posts)
    eventually(lambda: till.status()["state"] == "online")


@pytest.mark.parametrize("hole", [lines.swallowed, lines.silent], ids=["nothing arrives", "no answer comes back"])
def test_a_black_hole(till, vendor, line, hole):
    """A line that says nothing for longer than the read time-out is an outage, told as such; then all of it arrives."""
    ids = [f"s-{number:02}" for number in range(40)]
    line.spoil("", always=hole)
    sell(till, vendor, *ids)
    eventually(lambda: till.status()["state"] == "offline")
    (offline,) = [one for one in till.status()["conditions"] if one["code"] == "vendor.offline"]
    assert offline["detail"].endswith("(voyado: did not answer: it does not answer in time)")
    time.sleep(6)  # three read time-outs
    assert till.status()["queue"]["depth"] == 40
    assert till.status()["state"] == "offline"
    line.spoil("")
    eventually(till.drained)

    counted(vendor, till, *ids)
    assert till.status()["state"] == "online"
    assert "vendor.offline" not in till.conditions()


def test_a_line_that_drips(till, vendor, line):
    """An answer that comes at ten bytes a second is given up when its time is over, however alive it looks."""
    line.spoil(RECEIPTS, always=lines.dripped)
    before = time.monotonic()
    sell(till, vendor, "s-1")
    eventually(lambda: till.transaction("s-1")["deliveries"][0]["last_error"])
    assert time.monotonic() - before > 4.0  # connecting and twice the read time-out are five seconds
    eventually(lambda: till.status()["state"] == "offline")
    line.spoil("")
    eventually(till.drained)

    counted(vendor, till, "s-1")
    eventually(lambda: till.status()["state"] == "online")


@FEW
def test_a_kept_connection_that_ends_as_it_is_used(till, vendor, line):
    """A look-up over a connection that has just gone is asked again at once, and the line never counts as down."""
    till.http.post("/v1/flush")
    ann = vendor.enrol(mobilePhone="+46701740698", firstName="Ann")
    lost = {"count": 0}

    async def gone(exchange):
        lost["count"] += 1
        exchange.reset()

    eventually(lambda: line.asked)
    for _ in range(5):
        line.spoil("/contacts/id$", gone)
        found = till.identify("mobile_phone", "+46701740698")
        assert (found["outcome"], found["served"]["source"]) == ("matched", "live")
        assert found["integration_key"]["value"] == ann.value("memberNumber")
    assert lost["count"] == 5
    assert [row["state"] for row in till.logged("line.changed")] == ["online"]


def test_answers_that_come_twice(till, vendor, line):
    """A second answer is not taken for the next sale's: what the vendor refuses is parked, whatever came before it."""
    line.spoil(RECEIPTS, *([lines.doubled] * 6))
    vendor.sim.faults.add(Fault(kind="poison", receipt_id="s-3"))
    ids = [f"s-{number}" for number in range(6)]
    sell(till, vendor, *ids)
    eventually(lambda: till.drained() and line.spent)

    assert till.transaction("s-3")["state"] == "parked"
    assert vendor.held() == dict.fromkeys(sorted({*ids} - {"s-3"}), 1)


@FEW
def test_answers_about_somebody_else(till, vendor, line):
    """Two look-ups that get each other's answers find nobody: a wrong person is worse than none."""
    ann = vendor.enrol(mobilePhone="+46701740698", firstName="Ann")
    ben = vendor.enrol(mobilePhone="+46701740699", firstName="Ben")
    line.spoil(f"/contacts/({ann.contact_id}|{ben.contact_id})$", always=swapped())
    told = {}

    def ask(contact):
        told[contact.contact_id] = till.identify("contact_id", contact.contact_id)

    askers = [threading.Thread(target=ask, args=(contact,)) for contact in (ann, ben)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()

    assert sum(line.asked[f"/api/v3/contacts/{contact.contact_id}"] for contact in (ann, ben)) == 2
    for contact in (ann, ben):
        assert told[contact.contact_id]["outcome"] == "unknown"
        assert told[contact.contact_id]["integration_key"] is None
    line.spoil("")
    assert till.identify("contact_id", ann.contact_id)["integration_key"]["value"] == ann.value("memberNumber")


def test_sales_whose_answers_are_swapped(till, vendor, line):
    """Two sales that get each other's answers are both delivered, and count once."""
    line.spoil(RECEIPTS, always=swapped())
    ids = [f"s-{number}" for number in range(8)]
    sell(till, vendor, *ids)
    eventually(till.drained)

    counted(vendor, till, *ids)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(PORTAL, id="a captive portal"),
        pytest.param(
            b"HTTP/1.1 302 Found\r\nlocation: http://portal.example.com/\r\ncontent-length: 0\r\n\r\n", id="302"
        ),
        pytest.param(b"HTTP/1.1 511 Sign in\r\ncontent-length: 0\r\n\r\n", id="511"),
        pytest.param(b"HTTP/1.1 407 Proxy\r\ncontent-length: 0\r\n\r\n", id="407"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(b"\0" * 100, id="noise"),
    ],
)
def test_somebody_else_answers(till, vendor, line, answer):
    """What is not the vendor delivers nothing and parks nothing; the state says offline until the vendor answers."""
    ids = [f"s-{number}" for number in range(10)]
    line.spoil("", always=replaced(answer))
    sell(till, vendor, *ids)
    eventually(lambda: till.status()["state"] == "offline")
    time.sleep(1)
    queue = till.status()["queue"]
    assert (queue["depth"], queue["parked"]) == (10, 0)
    assert vendor.posts() == {}
    line.spoil("")
    eventually(till.drained)

    counted(vendor, till, *ids)
    assert till.status()["state"] == "online"


def test_a_line_that_comes_and_goes(till, vendor, line):
    """A hundred sales over a line on which every other question meets another fault: each arrives, and counts once."""
    faults = [
        cut(0),
        cut(30, ends="close"),
        _whole_but_not_passed_on,
        _head_alone,
        _passed_on,
        lines.doubled,
        replaced(PORTAL),
        replaced(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"),
    ]
    ids = [f"s-{number:03}" for number in range(100)]
    plan = [fault for _ in range(10) for bad in faults for fault in (bad, lines.passed)]
    line.spoil(RECEIPTS, *plan)
    sell(till, vendor, *ids)
    eventually(till.drained)

    counted(vendor, till, *ids)
    met = len(plan) - len(line._next)
    assert met >= 100
    assert set(vendor.posts()) == set(ids)


@FEW
def test_a_proxy_with_a_password(vendor, open_till, tmp_path, monkeypatch):
    """Sales go through it; a password that it refuses is told, and the right one counts without a restart."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # for other programs
    authority = Authority(tmp_path / "ca")
    (tmp_path / "proxy.key").write_text("till:outdated")
    with Line(vendor.server.port, authority.issue("vendor.test")) as line:
        proxy = ProxyServer(line.port, "till:made-up-password")
        port = line.serve(proxy.handle)
        till = open_till(
            voyado={"base_url": "https://vendor.test"},
            http={
                "ca_file": str(authority.pem),
                "proxy": f"http://127.0.0.1:{port}",
                "proxy_secret": f"file:{tmp_path / 'proxy.key'}",
            },
        ).start()
        eventually(till.loaded)
        sell(till, vendor, "s-1", "s-2")
        eventually(lambda: till.status()["state"] == "offline")
        (offline,) = [one for one in till.status()["conditions"] if one["code"] == "vendor.offline"]
        refused = "(voyado: cannot be reached through the proxy: it refuses our user and password (407))"
        assert offline["detail"].endswith(refused)
        assert line.asked == {}
        (tmp_path / "proxy.key").write_text("till:made-up-password")
        eventually(till.drained)

    counted(vendor, till, "s-1", "s-2")
    assert {head.split(b"\r\n")[0] for head in proxy.asked} == {b"CONNECT vendor.test:443 HTTP/1.1"}
    assert not any(API_KEY.encode() in head for head in proxy.asked)
    assert "made-up-password" not in till.log.read_text()
