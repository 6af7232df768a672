"""Look-ups where Antavo owns the contacts: who has a key, and whom nobody may guess."""

import json

import pytest

from agent.connectors.antavo import build
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.tagging import Outcome
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.antavo.conftest import KEY, SECRET, make_settings
from tests.connectors.mparticle.sales import Reference
from tests.fakes import FakeClock, surroundings
from tests.wire import POLICY, answer, wire

ID, MEMBER, CARD, EXTERNAL, PHONE, MAIL = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.CARD_NUMBER,
    IdentifierType.EXTERNAL_ID,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.EMAIL,
)
CRM = {"external_id_field": "crm_id"}
ALMA = {
    "membership_id": ["10000421", "77123456"], "crm_id": "X-1", "mobile_phone": "+46701740605",
    "email": "alma@example.com", "first_name": "Alma",
}  # fmt: skip
SHOWN = ("first_name", "points", "nickname")
SAID = {ID: "c-1", MEMBER: "10000421", CARD: "77123456", EXTERNAL: "X-1", PHONE: "+46701740605",
        MAIL: "alma@example.com"}  # fmt: skip


class Asking:
    """A workspace that can be asked; counts the calls that were paced."""

    def __init__(self):
        self.made, self.paces = [], 0

    async def pace(self):
        self.paces += 1

    def lookup(self, url, *, primary=MEMBER, fields=(), secret=SECRET, **table):
        settings = make_settings(url, **{**CRM, **table})
        secrets = {settings.api_key: Reference(KEY), settings.api_secret: Reference(secret)}
        agent = surroundings(secret=secrets.__getitem__, http=POLICY, clock=FakeClock(), primary=primary, fields=fields)
        self.made.append(build(settings, agent))
        return self.made[-1].lookup

    async def ask(self, url, kind, value, **how):
        return await self.lookup(url, **how).find(Identifier(kind, value), timeout_s=5, pace=self.pace)


@pytest.fixture(name="asking")
async def _asking(afterwards):
    asking = Asking()

    async def close():
        for connector in asking.made:
            await connector.close()

    afterwards.push_async_callback(close)
    return asking


@pytest.mark.parametrize("kind", SAID)
@pytest.mark.parametrize(("primary", "key"), [(MEMBER, "10000421"), (ID, "c-1"), (EXTERNAL, "X-1")])
async def test_a_match(simulator, asking, kind, primary, key):
    """By each key that can be asked for, with the primary key, the id, and what may be shown; each call is paced."""
    sim, running = simulator
    sim.books.members.by_id.clear()
    sim.add_member("c-1", **ALMA)
    sim.add_member("c-2", membership_id=["10000422"], mobile_phone="+46701740606")
    found = await asking.ask(
        running.url, kind, SAID[kind], primary=primary, fields=("first_name", "points", "nickname")
    )
    assert (found.outcome, found.contact_id) == (Outcome.MATCHED, "c-1")
    assert (found.key.kind, found.key.type, found.key.value) == ("primary", primary, key)
    assert found.fields == {"first_name": "Alma", "points": "0", "nickname": None}
    assert asking.paces == sum(sim.requests.values()) == (1 if kind in (ID, EXTERNAL) else 2)


async def test_a_phone_as_the_workspace_writes_it(simulator, asking):
    """The search is exact."""
    sim, running = simulator
    sim.add_member("c-2", mobile_phone="0701740606")
    for phone_format, outcome in (("national", Outcome.MATCHED), ("e164", Outcome.NOT_FOUND)):
        found = await asking.ask(running.url, PHONE, "+46701740606", phone_format=phone_format)
        assert found.outcome is outcome


async def test_a_match_without_the_primary_key(simulator, asking):
    """The customer's id stands in for it."""
    _, running = simulator
    found = await asking.ask(running.url, MAIL, "alma@example.com")
    assert (found.key.type, found.key.value) == (ID, "10000421")


@pytest.mark.parametrize(
    ("kind", "value"),
    [(ID, "c-9"), (MEMBER, "10000999"), (EXTERNAL, "X-9"), (PHONE, "+46701740699"), (MAIL, "nobody@example.com"),
     (ID, "crm_id:X-1")],
)  # fmt: skip
async def test_nobody(simulator, asking, kind, value):
    """Antavo says so; an external id that is spelt like an id is not taken for one."""
    sim, running = simulator
    sim.add_member("c-1", **ALMA)
    assert (await asking.ask(running.url, kind, value)).outcome is Outcome.NOT_FOUND


@pytest.mark.parametrize("kind", SAID)
@pytest.mark.parametrize("status", ["opted_out", "merged"])
async def test_who_left(simulator, asking, kind, status):
    """They are nobody here."""
    sim, running = simulator
    sim.books.members.by_id.clear()
    sim.add_member("c-1", **ALMA, status=status)
    assert (await asking.ask(running.url, kind, SAID[kind])).outcome is Outcome.NOT_FOUND


@pytest.mark.parametrize("kind", [MEMBER, CARD, PHONE, MAIL])
async def test_a_key_that_a_living_and_a_former_member_have(simulator, asking, kind):
    """It is the living one's."""
    sim, running = simulator
    sim.books.members.by_id.clear()
    sim.add_member("c-0", **ALMA, status="opted_out")
    sim.add_member("c-1", **ALMA)
    assert (await asking.ask(running.url, kind, SAID[kind])).contact_id == "c-1"


@pytest.mark.parametrize("kind", [MEMBER, CARD, PHONE, MAIL])
async def test_several(simulator, asking, kind):
    """Nobody is guessed."""
    sim, running = simulator
    for name in ("c-1", "c-2"):
        sim.add_member(name, **ALMA)
    assert (await asking.ask(running.url, kind, SAID[kind])).outcome is Outcome.AMBIGUOUS


@pytest.mark.parametrize("kind", [MEMBER, PHONE, MAIL])
async def test_a_filter_that_the_workspace_does_not_know(simulator, asking, kind):
    """It lets anybody through: whoever does not show what was searched for is not who is meant."""
    sim, running = simulator
    sim.books.members.by_id.clear()
    sim.books.members.unfiltered = True
    sim.add_member("c-2", membership_id=["1"], mobile_phone="+46701740606", email="bo@example.com")
    assert (await asking.ask(running.url, kind, SAID[kind])).outcome is Outcome.AMBIGUOUS


@pytest.mark.parametrize(
    ("kind", "value", "table"),
    [
        (IdentifierType.PERSONAL_NUMBER, "198001019802", {}),
        (EXTERNAL, "X-1", {"external_id_field": ""}),
        (EXTERNAL, "ends.", {}),
        (ID, "a./b", {}),
        (ID, "no id", {}),
    ],
)
async def test_what_it_cannot_be_asked(asking, kind, value, table):
    """Asked all the same, nothing is sent."""
    async with wire(answer(200)) as vendor:
        assert not asking.lookup(vendor.url, **table).knows(Identifier(kind, value))
        with pytest.raises(VendorUnreachableError, match="cannot be asked"):
            await asking.ask(vendor.url, kind, value, **table)
    assert vendor.requests == []


@pytest.mark.parametrize("kind", [ID, MEMBER])
@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"{}", VendorRefusedError),
        (401, b'{"error": {"code": 101021, "type": "x", "message": "y"}}', VendorRefusedError),
        (403, b"{}", VendorRefusedError),
        (429, b"{}", VendorUnreachableError),
        (500, b"{}", VendorUnreachableError),
        (404, b"<html>", VendorUnreachableError),
        (404, b'{"error": {"code": 0, "type": "x", "message": "no such module"}}', VendorUnreachableError),
        (400, b'{"error": {"code": 160211, "type": "x", "message": "empty"}}', VendorUnreachableError),
        (200, b"<html>", VendorUnreachableError),
        (200, b"7", VendorUnreachableError),
        (200, b'{"unheard": ["of"]}', VendorUnreachableError),
        (200, b'{"data": 7}', VendorUnreachableError),
        (200, b'{"data": [7]}', VendorUnreachableError),
        (200, b'{"data": [{"id": ""}]}', VendorUnreachableError),
        (200, b'{"error": {"code": 5, "type": "x", "message": "y"}}', VendorUnreachableError),
    ],
)
async def test_an_answer_that_says_nothing(asking, kind, status, body, error):
    """It is one of the two errors that a look-up knows: nobody is taken for unknown because of it."""
    async with wire(answer(status, body)) as vendor:
        with pytest.raises(error):
            await asking.ask(vendor.url, kind, SAID[kind])


@pytest.mark.parametrize("form", [lambda row: row, lambda row: [row], lambda row: {"data": [row], "next": None}])
async def test_the_forms_of_a_search(asking, form):
    """One customer alone, a list, and a list within: the pages contradict each other."""
    bodies = [json.dumps(form({"id": "c-1"})).encode(), json.dumps({"id": "c-1", **ALMA}).encode()]

    async def script(request, writer):
        searched = request.startswith(b"GET /customers?")
        await answer(200, bodies[0] if searched else bodies[1])(request, writer)

    async with wire(script) as vendor:
        assert (await asking.ask(vendor.url, MEMBER, "10000421")).contact_id == "c-1"
