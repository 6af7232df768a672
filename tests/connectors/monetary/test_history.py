"""Asking for the books at day's end: marked receipts are counted, and what cannot be told is said."""

import json

import pytest

from agent.connectors.monetary.simulator import Fault
from agent.domain.identifiers import IdentifierType
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.monetary.test_sender import BO, FOUND, numbered, sale, sent
from tests.connectors.mparticle.sales import make_key
from tests.fakes import at_once
from tests.wire import answer, in_turn, wire

ALMA = make_key(IdentifierType.MEMBER_NUMBER)


async def counted(room, *names, key=ALMA):
    seen = await room.history.count(key, names, pace=at_once)
    return dict(seen.counts), seen.whole


async def test_only_marked_receipts_can_be_counted(simulator, connect):
    """Without marks no receipt names its sale, and there is nothing to ask."""
    _, running = simulator
    assert connect(running.url).history is None


async def test_what_is_there(simulator, connect):
    """Once, twice, or not at all."""
    sim, running = simulator
    room = connect(running.url, mark_receipts=True)
    await sent(room, sale("a"), sale("b"), sale("b"))
    assert await counted(room, "a", "b", "c") == ({"a": 1, "b": 2}, True)
    assert dict(sim.requests) == {"GET customers": 5, "POST receipts": 3}


async def test_a_receipt_without_a_mark_may_be_the_one(simulator, connect):
    """What does not show may be there all the same."""
    _, running = simulator
    await sent(connect(running.url), sale("a"))
    room = connect(running.url, mark_receipts=True)
    await sent(room, sale("b"))
    assert await counted(room, "a", "b") == ({"b": 1}, False)


@pytest.mark.parametrize("rows", [7, 10], ids=["seven", "ten, which may be a page"])
async def test_a_list_that_may_be_a_page(connect, rows):
    """It is not called whole."""
    mark = {"SKU": "AGENT-RECEIPT", "Description": "x", "Amount": 0, "Quantity": 1}
    books = answer(200, json.dumps(numbered(rows, Skus=[mark], Total=0, SubTotal=0)).encode())
    async with wire(in_turn(FOUND, books)) as vendor:
        assert await counted(connect(vendor.url, mark_receipts=True), "x", "y") == ({"x": rows}, rows == 7)


async def test_somebody_the_vendor_does_not_know(simulator, connect):
    """Nothing is known of their sales, and nobody is made for the asking."""
    sim, running = simulator
    room = connect(running.url, mark_receipts=True, unknown_customer="register")
    assert await counted(room, "a", key=BO) == ({}, False)
    assert len(sim.customers) == 1


@pytest.mark.parametrize("path", ["/v1/Customers", "/v1/Customers/*"], ids=["who it is", "the books"])
@pytest.mark.parametrize(
    ("status", "error"),
    [(500, VendorUnreachableError), (429, VendorUnreachableError), (401, VendorRefusedError)],
)
async def test_it_cannot_be_asked(simulator, connect, path, status, error):
    """With one of two errors, whichever question fails."""
    sim, running = simulator
    sim.add(Fault(kind="answer", path=path, status=status))
    room = connect(running.url, mark_receipts=True)
    with pytest.raises(error):
        await room.history.count(ALMA, ["a"], pace=at_once)


@pytest.mark.parametrize("body", [b"{}", b"[7]", b"null"])
async def test_books_in_another_form(connect, body):
    """Nothing is made of them."""
    async with wire(in_turn(FOUND, answer(200, body))) as vendor:
        assert await counted(connect(vendor.url, mark_receipts=True), "a") == ({}, False)
