"""Who somebody is, as Monetary's search and its customers tell; asked by the owner of the contacts alone."""

import json

import pytest

from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.tagging import Outcome
from agent.errors import VendorOwnError, VendorUnreachableError
from tests.connectors.monetary.conftest import MEMBER
from tests.fakes import at_once
from tests.wire import answer, wire

ID, NUMBER, PHONE, EMAIL, CARD = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.EMAIL,
    IdentifierType.CARD_NUMBER,
)
BY_PHONE = Identifier(PHONE, "+46701740605")
ALMA = {ID: "101", NUMBER: MEMBER, PHONE: "+46701740605", EMAIL: "alma@example.com"}


@pytest.fixture
def own(connect):
    """Makes rooms of shops whose contacts Monetary owns."""

    def own_(url, **around):
        return connect(url, around={"role": "loyalty", **around}).lookup

    return own_


async def asked(lookup, identifier):
    return await lookup.find(identifier, timeout_s=5, pace=at_once)


def test_a_further_system_is_not_asked(connect):
    """Who somebody is, the owner of the contacts says."""
    assert connect("http://127.0.0.1:9").lookup is None


@pytest.mark.parametrize(
    "identifier",
    [Identifier(ID, "101"), Identifier(NUMBER, MEMBER), BY_PHONE, Identifier(EMAIL, "alma@example.com")],
    ids=lambda identifier: identifier.type.value,
)
async def test_a_member(simulator, own, identifier):
    """Found in one call by whatever Monetary can be asked for, and shown whole."""
    sim, running = simulator
    sim.add_customer(ExternalID=f"{MEMBER}0", Phone="0701740606", Email="alma@example.com.example.com")
    sim.customers[101] |= {"FirstName": "Alma", "AcceptsSMS": False, "Points": 12}
    lookup = own(running.url, fields=("first_name", "points", "accepts_sms", "city"))
    assert lookup.knows(identifier)
    found = await asked(lookup, identifier)
    assert (found.outcome, found.key.type, found.key.value, found.contact_id) == (
        Outcome.MATCHED,
        NUMBER,
        MEMBER,
        "101",
    )
    fields = {"first_name": "Alma", "points": "12", "accepts_sms": "false", "city": None}
    assert found.fields == fields
    [shown] = found.shown
    assert (dict(shown.identifiers), shown.fields, shown.full_row) == (ALMA, fields, True)
    assert sum(sim.requests.values()) == 1


@pytest.mark.parametrize(
    "identifier",
    [
        Identifier(CARD, "12345678"), Identifier(ID, "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"), Identifier(ID, "0"),
        Identifier(ID, str(2**63)), Identifier(PHONE, "+4670174060"),
        Identifier(PHONE, "+12025550123"),
    ],
    ids=["card", "another vendor's id", "nobody's id", "too large", "nine digits", "another country"],
)  # fmt: skip
async def test_what_cannot_be_asked_for(own, identifier):
    """It is said before, and nothing is asked."""
    lookup = own("http://127.0.0.1:9")
    assert not lookup.knows(identifier)
    with pytest.raises(VendorUnreachableError):
        await asked(lookup, identifier)


@pytest.mark.parametrize(
    "identifier",
    [Identifier(ID, "999"), Identifier(NUMBER, "999"), Identifier(PHONE, "+46701740699")],
    ids=["id", "number", "phone"],
)
async def test_nobody(simulator, own, identifier):
    """Nobody is shown."""
    _, running = simulator
    found = await asked(own(running.url), identifier)
    assert (found.outcome, found.key, found.shown) == (Outcome.NOT_FOUND, None, ())


async def test_several_who_share_a_phone(simulator, own):
    """All are shown, and none is the match."""
    sim, running = simulator
    sim.add_customer(ExternalID="10000422", Phone="0701740605")
    found = await asked(own(running.url), BY_PHONE)
    assert (found.outcome, found.key) == (Outcome.AMBIGUOUS, None)
    assert [change.identifiers[ID] for change in found.shown] == ["101", "102"]


@pytest.mark.parametrize(
    ("fields", "primary", "key"),
    [
        ({"ExternalID": "10000422"}, NUMBER, (NUMBER, "10000422")),
        ({"ExternalID": "10000422"}, ID, (ID, "102")),
        ({}, NUMBER, (ID, "102")),
        ({"ExternalID": "a number with blanks"}, NUMBER, (ID, "102")),
    ],
    ids=["number", "ids are primary", "no number", "no member number"],
)
async def test_the_primary_key(simulator, own, fields, primary, key):
    """The number, where there is one that a till could say and it is the primary key; else the id."""
    sim, running = simulator
    sim.add_customer(Phone="0701740606", **fields)
    found = await asked(own(running.url, primary=primary), Identifier(PHONE, "+46701740606"))
    assert (found.key.type, found.key.value) == key


@pytest.mark.parametrize(
    "body",
    [
        [{"CustomerID": 101, "Phone": "0701740699"}],
        [{"Phone": "0701740605"}],
        [{"CustomerID": "x", "Phone": "0701740605"}],
        ["Alma"],
        {"CustomerID": 101, "Phone": "0701740605"},
    ],
    ids=["another one", "without an id", "no id", "no customers", "no list"],
)
async def test_an_answer_that_does_not_tell(own, body):
    """Nobody is taken for unknown, or for the one, because of it."""
    async with wire(answer(200, json.dumps(body).encode())) as vendor:
        with pytest.raises(VendorOwnError):
            await asked(own(vendor.url), BY_PHONE)


@pytest.mark.parametrize(
    ("status", "body"), [(200, b'{"CustomerID": 102}'), (200, b"[]"), (400, b"{}"), (204, b"")],
    ids=["another one", "a list", "refused", "nothing"],
)  # fmt: skip
async def test_a_customer_who_is_not_shown(own, status, body):
    """Only 404 says that nobody has the id."""
    async with wire(answer(status, body)) as vendor:
        with pytest.raises(VendorUnreachableError):
            await asked(own(vendor.url), Identifier(ID, "101"))


async def test_identifiers_that_cannot_be(simulator, own):
    """A phone and an address that are none count as absent; the customer is found all the same."""
    sim, running = simulator
    sim.add_customer(ExternalID="10000422", Phone="12", Email="no address")
    found = await asked(own(running.url), Identifier(NUMBER, "10000422"))
    assert [found.shown[0].identifiers[kind] for kind in (PHONE, EMAIL)] == [None, None]


@pytest.mark.parametrize("foreign", ["+462025550123", "+552025550123", "+492025550123"])
async def test_another_country_s_number(own, foreign):
    """It has the digits of one of the shop's country, whose customer is not meant."""
    lookup = own("http://127.0.0.1:9", normaliser=Normaliser("US", guid_contact_ids=False))
    assert lookup.knows(Identifier(PHONE, "+12025550123"))
    assert not lookup.knows(Identifier(PHONE, foreign))


async def test_another_value_of_the_same_form(own):
    """A customer counts only if what they show is, as the shop reads it, what was asked for."""
    body = [{"CustomerID": 101, "Email": "stra\u00dfe@example.com"}]
    async with wire(answer(200, json.dumps(body).encode())) as vendor:
        with pytest.raises(VendorOwnError):
            await asked(own(vendor.url), Identifier(EMAIL, "strasse@example.com"))
