"""What every vendor keeps to whose contacts a till makes and changes: nobody twice, nobody guessed, nothing lost."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agent.connectors.registry import ROOMS
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.tagging import Outcome
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import ContactRefusedError, VendorRefusedError, VendorUnreachableError
from tests.contract.writers import VENDORS, connected
from tests.fakes import at_once
from tests.wire import answer, cut, wire

PHONE, OTHER_PHONE, MAIL = "+46701740605", "+46701740606", "alma@example.com"
ALMA = {"first_name": "Alma", "mobile_phone": PHONE, "email": MAIL}
ID, NUMBER = IdentifierType.CONTACT_ID, IdentifierType.MEMBER_NUMBER

pytestmark = pytest.mark.parametrize("name", sorted(VENDORS))
each_primary = pytest.mark.parametrize("primary", [ID, NUMBER])


class World:
    """A vendor, and the room that writes to it."""

    def __init__(self, name, vendor, url, connector):
        self.name, self.vendor, self.url = name, vendor, url
        self.connector, self.writer, self.lookup = connector, connector.writer, connector.lookup

    async def create(self, own: str = "1042-03-7", writer=None, **said: Any):
        given = contact({**ALMA, **said})
        names = names_of(given)
        if own:
            names = [*names, Identifier(IdentifierType.EXTERNAL_ID, own)]
        return await (writer or self.writer).create(given, names, store_id="1042", pace=at_once)

    async def update(self, contact_id: str, **said: Any):
        given = contact(said)
        await self.writer.update(contact_id, given, names_of(given), pace=at_once)

    async def found(self, key: IntegrationKey):
        return await self.lookup.find(key.identifier, timeout_s=5, pace=at_once)


def contact(said: dict[str, Any]) -> NewContact:
    return NewContact.model_validate({name: value for name, value in said.items() if value is not None})


def names_of(given: NewContact) -> Sequence[Identifier]:
    return [Identifier(IdentifierType(one.type), one.value) for one in given.identifier_statements()]


@pytest.fixture(name="afterwards")
async def _afterwards() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(name="open_world")
def _open_world(name, tmp_path, afterwards):
    """Opens one by the type of its primary key."""

    async def open_world(primary: IdentifierType = NUMBER) -> World:
        vendor = VENDORS[name](tmp_path)
        url = await vendor.start()
        afterwards.push_async_callback(vendor.stop)
        room = connected(name, vendor, url, primary=primary)
        afterwards.push_async_callback(room.close)
        return World(name, vendor, url, room)

    return open_world


def test_each_room_that_writes_is_tried(name):
    """A room whose contacts a till can make has its line in this suite."""
    room = connected(name, VENDORS[name], "http://127.0.0.1:9", primary=NUMBER)
    assert room.writer is not None
    others = sorted(ROOMS.keys() - VENDORS.keys())
    assert others == ["monetary", "mparticle", "voucherify"], "which have no writer"


@each_primary
async def test_somebody_new(open_world, primary):
    """They are there with what they gave, and found from then on by what came back as their key."""
    world = await open_world(primary)
    made = await world.create(last_name="Ek")
    assert made.outcome is Outcome.MATCHED
    assert world.vendor.people() == {made.contact_id: {**ALMA, "last_name": "Ek"}}
    assert made.key.type is primary
    again = await world.found(made.key)
    assert (again.key, again.contact_id) == (made.key, made.contact_id)
    by_phone = await world.lookup.find(Identifier(IdentifierType.MOBILE_PHONE, PHONE), timeout_s=5, pace=at_once)
    assert (by_phone.key, by_phone.contact_id) == (made.key, made.contact_id)


@pytest.mark.parametrize("own", ["1042-03-7", ""], ids=["with a number of ours", "told of by a sale alone"])
@each_primary
async def test_an_answer_that_was_lost(open_world, primary, own):
    """Another attempt makes nobody twice, and names whoever the first one has made."""
    world = await open_world(primary)
    deaf = world.vendor.deafen()
    with pytest.raises(VendorUnreachableError):
        await world.create(own)
    world.vendor.hear(deaf)
    [made] = world.vendor.people()
    again = await world.create(own)
    assert (again.outcome, again.contact_id) == (Outcome.MATCHED, made)
    assert list(world.vendor.people()) == [made]
    assert (await world.found(again.key)).contact_id == made


async def test_the_same_person_at_two_tills(open_world):
    """Under two numbers of ours: the second is told whom the first has made."""
    world = await open_world()
    first, second = await world.create("1042-03-7"), await world.create("1042-04-9", first_name="ALMA")
    assert (second.key, second.contact_id) == (first.key, first.contact_id)
    assert world.vendor.people() == {first.contact_id: {**ALMA, "last_name": None}}


@pytest.mark.parametrize("known", [{}, {"email": MAIL}], ids=["by phone", "by phone and address"])
async def test_somebody_who_is_there_already(open_world, known):
    """They are named, nobody is made, and nothing of theirs is written over."""
    world = await open_world(ID)
    there = world.vendor.add(first_name="Bo", mobile_phone=PHONE, **known)
    before = world.vendor.people()
    found = await world.create()
    assert (found.outcome, found.contact_id) == (Outcome.MATCHED, there)
    assert world.vendor.people() == before


async def test_two_who_share_what_was_given(open_world):
    """Nobody is guessed, and nobody is made."""
    world = await open_world()
    world.vendor.add(first_name="Bo", mobile_phone=PHONE)
    world.vendor.add(first_name="Cleo", mobile_phone=OTHER_PHONE, email=MAIL)
    found = await world.create()
    assert (found.outcome, found.key) == (Outcome.AMBIGUOUS, None)
    assert len(world.vendor.people()) == 2


async def test_what_the_vendor_refuses(open_world):
    """It is said which field, nobody is made or changed, and no word of the customer's is repeated."""
    world = await open_world()
    [named] = world.vendor.refused
    with pytest.raises(ContactRefusedError) as caught:
        await world.create(**world.vendor.refused)
    assert [fault.pointer for fault in caught.value.faults] == [f"/new_contact/{named}"]
    assert world.vendor.people() == {}
    there = world.vendor.add(first_name="Bo", mobile_phone=OTHER_PHONE)
    with pytest.raises(ContactRefusedError) as caught:
        await world.update(there, first_name="Canaryla", **world.vendor.refused)
    assert [fault.pointer for fault in caught.value.faults] == [f"/new_contact/{named}"]
    told = f"{caught.value} {caught.value.faults} {caught.value.vendor_code}"
    assert not [word for word in ("Canaryla", PHONE, MAIL) if word in told]
    assert world.vendor.people()[there]["first_name"] == "Bo"


async def test_a_change(open_world):
    """What is given is written, once or twice; what is not given stays; the contact is read as it is by then."""
    world = await open_world()
    there = world.vendor.add(**ALMA)
    key = IntegrationKey(kind="primary", type=ID, value=there)
    for _ in range(2):
        await world.update(there, last_name="Ek", mobile_phone=OTHER_PHONE)
    assert world.vendor.people()[there] == {**ALMA, "last_name": "Ek", "mobile_phone": OTHER_PHONE}
    read = await world.writer.contact_there(key, timeout_s=5, pace=at_once)
    assert read.contact_id == there
    assert {name: read.values[name] for name in ("first_name", "last_name", "mobile_phone", "email")} == {
        **ALMA, "last_name": "Ek", "mobile_phone": OTHER_PHONE,
    }  # fmt: skip


async def test_a_change_whose_answer_was_lost(open_world):
    """It may have arrived; sent again, it is there."""
    world = await open_world()
    there = world.vendor.add(**ALMA)
    deaf = world.vendor.deafen()
    with pytest.raises(VendorUnreachableError) as caught:
        await world.update(there, first_name="Alba")
    assert caught.value.maybe_received
    world.vendor.hear(deaf)
    await world.update(there, first_name="Alba")
    assert world.vendor.people() == {there: {**ALMA, "first_name": "Alba", "last_name": None}}


async def test_somebody_who_is_gone_meanwhile(open_world):
    """A change of theirs is refused as of nobody, makes nobody, and there is nothing to be read."""
    world = await open_world()
    there = world.vendor.add(**ALMA)
    world.vendor.remove(there)
    key = IntegrationKey(kind="primary", type=ID, value=there)
    assert await world.writer.contact_there(key, timeout_s=5, pace=at_once) is None
    with pytest.raises(ContactRefusedError) as caught:
        await world.update(there, first_name="Alba")
    assert caught.value.status == 404
    assert world.vendor.people() == {}


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(answer(401, b"{}"), VendorRefusedError, id="refused"),
        pytest.param(answer(429, b"{}"), VendorUnreachableError, id="busy"),
        pytest.param(answer(503, b""), VendorUnreachableError, id="away"),
        pytest.param(answer(200, b"<html>", content_type="text/html"), VendorUnreachableError, id="page"),
        pytest.param(cut, VendorUnreachableError, id="cut"),
    ],
)
async def test_trouble(name, afterwards, script, error):
    """The same trouble means the same; none of it is taken for a contact."""
    async with wire(script) as server:
        room = connected(name, VENDORS[name], server.url, primary=NUMBER)
        afterwards.push_async_callback(room.close)
        world = World(name, None, server.url, room)
        with pytest.raises(error):
            await world.create()
        with pytest.raises(error):
            await world.update("0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10", first_name="Alba")
        key = IntegrationKey(kind="primary", type=ID, value="0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10")
        with pytest.raises(error):
            await room.writer.contact_there(key, timeout_s=5, pace=at_once)


async def test_nobody_is_there(name, afterwards):
    """A refused connection says that nothing was received."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        room = connected(name, VENDORS[name], f"http://127.0.0.1:{free.getsockname()[1]}", primary=NUMBER)
        afterwards.push_async_callback(room.close)
        with pytest.raises(VendorUnreachableError) as caught:
            await World(name, None, "", room).update("0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10", first_name="Alba")
    assert not caught.value.maybe_received


async def test_each_call_waits_for_its_share(open_world):
    """As many calls are paced as are made: the allowance is every till's."""
    world = await open_world(ID)
    paces = []

    async def pace() -> None:
        paces.append(1)

    given = contact(ALMA)
    names = [*names_of(given), Identifier(IdentifierType.EXTERNAL_ID, "1042-03-7")]
    made = await world.writer.create(given, names, store_id="1042", pace=pace)
    await world.writer.contact_there(made.key, timeout_s=5, pace=pace)
    await world.writer.update(made.contact_id, contact({"first_name": "Alba"}), (), pace=pace)
    assert len(paces) == world.vendor.calls()
