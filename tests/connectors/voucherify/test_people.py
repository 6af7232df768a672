"""Look-ups: who has a key, and what Voucherify cannot be asked."""

import json

import pytest

from agent.connectors.voucherify import build
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.tagging import Outcome
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.mparticle.sales import Reference
from tests.connectors.voucherify.conftest import APP_ID, TOKEN
from tests.fakes import FakeClock, at_once, surroundings
from tests.wire import POLICY, answer, wire

ID, MEMBER, PHONE, MAIL, CARD = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.EMAIL,
    IdentifierType.CARD_NUMBER,
)
CUSTOMER = {"object": "customer", "id": "cust_00000001", "source_id": "10000421", "email": "alma@example.com"}


@pytest.fixture(name="ask")
async def _ask():
    """Asks a project at an address."""
    made = []

    async def ask(url, kind, value, *, primary=MEMBER, fields=(), token=TOKEN):
        settings = VoucherifySettings(base_url=url)
        secrets = {settings.app_id: Reference(APP_ID), settings.app_token: Reference(token)}
        agent = surroundings(secret=secrets.__getitem__, http=POLICY, clock=FakeClock(), primary=primary, fields=fields)
        made.append(build(settings, agent))
        return await made[-1].lookup.find(Identifier(kind, value), timeout_s=5, pace=at_once)

    yield ask
    for connector in made:
        await connector.close()


@pytest.mark.parametrize("kind", [ID, MEMBER, MAIL])
@pytest.mark.parametrize(("primary", "key"), [(MEMBER, "10000421"), (ID, "cust_00000000")])
async def test_a_match(simulator, ask, kind, primary, key):
    """By each key that can be asked for, with the primary key, the id, and what may be shown."""
    sim, running = simulator
    sim.enrol(source_id="10000421", email="alma@example.com", name="Alma")
    sim.enrol(source_id="10000422", email="bo@example.com")
    value = {ID: "cust_00000000", MEMBER: "10000421", MAIL: "alma@example.com"}[kind]
    found = await ask(running.url, kind, value, primary=primary, fields=("name", "first_name"))
    assert (found.outcome, found.contact_id) == (Outcome.MATCHED, "cust_00000000")
    assert (found.key.kind, found.key.type, found.key.value) == ("primary", primary, key)
    assert found.fields == {"name": "Alma", "first_name": None}


async def test_a_match_without_a_member_number(simulator, ask):
    """The id stands in for it."""
    sim, running = simulator
    sim.enrol(email="alma@example.com")
    found = await ask(running.url, MAIL, "alma@example.com")
    assert (found.key.type, found.key.value) == (ID, "cust_00000000")


@pytest.mark.parametrize(
    ("kind", "value"),
    [(ID, "cust_99999999"), (MEMBER, "10000999"), (MAIL, "nobody@example.com"), (MEMBER, "cust_00000000"),
     (ID, "10000421")],
    ids=["an id", "a number", "a mail address", "a number that is an id", "an id that is a number"],
)  # fmt: skip
async def test_nobody(simulator, ask, kind, value):
    """Voucherify says so; a name of the other kind is not taken for one of this."""
    sim, running = simulator
    sim.enrol(source_id="10000421", email="alma@example.com")
    assert (await ask(running.url, kind, value)).outcome is Outcome.NOT_FOUND


async def test_several_with_one_mail_address(simulator, ask):
    """Nobody is guessed."""
    sim, running = simulator
    for number in range(2):
        sim.enrol(source_id=str(number), email="alma@example.com")
    assert (await ask(running.url, MAIL, "alma@example.com")).outcome is Outcome.AMBIGUOUS


@pytest.mark.parametrize(
    ("others", "more", "outcome"),
    [([], False, Outcome.NOT_FOUND), ([CUSTOMER], False, Outcome.MATCHED), ([CUSTOMER], True, Outcome.MATCHED),
     ([CUSTOMER, CUSTOMER], False, Outcome.AMBIGUOUS), ([], True, None)],
    ids=["others alone", "one of them", "one of very many", "two of them", "others without end"],
)  # fmt: skip
async def test_a_filter_that_finds_others_too(ask, others, more, outcome):
    """Only the whole address counts, in any case; a list without end says nothing."""
    rows = [{**CUSTOMER, "id": "cust_2", "email": "alma@example.com.au"}, {**CUSTOMER, "id": "cust_3", "email": None}]
    rows += [{**one, "email": "Alma@example.com "} for one in others]
    body = json.dumps({"object": "list", "data_ref": "customers", "customers": rows, "has_more": more}).encode()
    async with wire(answer(200, body)) as vendor:
        if outcome is None:
            with pytest.raises(VendorUnreachableError):
                await ask(vendor.url, MAIL, "alma@example.com")
        else:
            assert (await ask(vendor.url, MAIL, "alma@example.com")).outcome is outcome


@pytest.mark.parametrize("kind", [PHONE, CARD, IdentifierType.EXTERNAL_ID, IdentifierType.PERSONAL_NUMBER])
async def test_what_it_cannot_be_asked(ask, kind):
    """A phone is for the replica alone; asked all the same, nothing is sent."""
    async with wire(answer(200)) as vendor:
        with pytest.raises(VendorUnreachableError, match="cannot be asked"):
            await ask(vendor.url, kind, "+46701740605")
    assert vendor.requests == []


async def test_a_number_in_a_path(simulator, ask):
    """What a path would take for its own stays part of the name."""
    sim, running = simulator
    sim.enrol(source_id="A/1")
    assert (await ask(running.url, MEMBER, "A/1")).outcome is Outcome.MATCHED


@pytest.mark.parametrize("kind", [MEMBER, MAIL])
@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"{}", VendorRefusedError),
        (403, b'{"key": "missing_required_permission"}', VendorRefusedError),
        (402, b"{}", VendorRefusedError),
        (429, b"{}", VendorUnreachableError),
        (500, b"{}", VendorUnreachableError),
        (400, b'{"key": "invalid_query_params"}', VendorUnreachableError),
        (404, b"<html>", VendorUnreachableError),
        (200, b"<html>", VendorUnreachableError),
        (200, b'{"object": "customer"}', VendorUnreachableError),
        (200, b'{"object": "list", "data_ref": ["customers"], "has_more": false}', VendorUnreachableError),
        (
            200,
            b'{"object": "list", "data_ref": "customers", "customers": [], "has_more": true}',
            VendorUnreachableError,
        ),
        (
            200,
            b'{"object": "list", "data_ref": "customers", "customers": [7], "has_more": false}',
            VendorUnreachableError,
        ),
        (200, b'{"object": "list", "data_ref": "customers", "customers": []}', VendorUnreachableError),
    ],
)
async def test_an_answer_that_says_nothing(ask, kind, status, body, error):
    """It is one of the two errors that a look-up knows: nobody is taken for unknown because of it."""
    value = {MEMBER: "10000421", MAIL: "alma@example.com"}[kind]
    async with wire(answer(status, body)) as vendor:
        with pytest.raises(error):
            await ask(vendor.url, kind, value)
