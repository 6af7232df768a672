"""Asking a tenant who somebody is, and making contacts there."""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.people import VoyadoPeople
from agent.connectors.voyado.settings import VoyadoSettings
from agent.connectors.voyado.simulator import SimulatorSettings, VoyadoSimulator, serve
from agent.connectors.voyado.simulator.faults import Fault
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.revision import ConsentThere, ContactThere
from agent.domain.tagging import Found, Outcome
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import ContactRefusedError, VendorRefusedError, VendorUnreachableError
from agent.ports import Pace
from agent.transport import Transport
from tests.fakes import at_once, until
from tests.wire import POLICY, answer, cut, cut_in_the_body, dribble, hang, in_turn, nonsense, wire

NOW = datetime(2026, 2, 16, 11, 0, tzinfo=UTC)
ALMA = "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"
BO = "5b8d7a90-21b4-4d0f-8a77-9f0f3f9f1c22"
PHONE = Identifier(IdentifierType.MOBILE_PHONE, "+46701740605")
HTML = b"<html>Welcome to the guest network</html>"


class Key:
    def __init__(self, value: str = "sim-key") -> None:
        self._value = value

    def value(self) -> str:
        return self._value

    def refused(self) -> None:
        """Read anew each time anyway."""


@pytest.fixture(name="ask")
async def _ask():
    """Makes the room's asker for a tenant's address."""
    made = []

    def ask(
        url: str,
        primary: IdentifierType = IdentifierType.MEMBER_NUMBER,
        key: str = "sim-key",
        fields: tuple[str, ...] = (),
        **table: Any,
    ) -> VoyadoPeople:
        settings = VoyadoSettings.model_validate({"base_url": url, **table})
        transport = Transport(url, POLICY, connections=2, user_agent="LoyaltyAgent/0.1")
        client = VoyadoClient(
            transport, Key(key), version=settings.api_version, source=settings.source, heard=lambda _answer: None
        )
        made.append(client)
        return VoyadoPeople(client, settings, primary, fields)

    yield ask
    for client in made:
        await client.close()


@pytest.fixture(name="tenant")
async def _tenant(tmp_path: Path):
    """A tenant served on loopback."""
    simulator = VoyadoSimulator(SimulatorSettings(root=tmp_path / "sftp"), now=lambda: NOW, rng=random.Random(7))
    running = await serve(simulator)
    yield simulator, running.url
    await running.stop()


async def enrol(people: VoyadoPeople, pace: Pace = at_once, **given: Any) -> Found:
    contact = NewContact.model_validate({"mobile_phone": PHONE.value, "email": "alma@example.com", **given})
    identifiers = [Identifier(IdentifierType(item.type), item.value) for item in contact.identifier_statements()]
    return await people.create(contact, identifiers, store_id="1042", pace=pace)


def matched(kind: str, value: str, contact_id: str = ALMA) -> Found:
    key = IntegrationKey(kind="primary", type=IdentifierType(kind), value=value)
    return Found(Outcome.MATCHED, key, contact_id)


TERMS = {"id": "memberTerms", "value": True, "given_at": "2026-02-14T16:40:00+01:00", "place": "1042"}


def key_of(kind: str, value: str) -> IntegrationKey:
    return IntegrationKey(kind="primary", type=IdentifierType(kind), value=value)


def contact(contact_id: str = ALMA, kind: str = "Member", **attributes: Any) -> bytes:
    return json.dumps({"id": contact_id, "attributes": attributes, "meta": {"contactType": kind}}).encode()


def refused(status: int, code: str, **details: Any) -> Callable:
    return answer(status, json.dumps({"errorCode": code, "message": "x", "messageDetails": details or None}).encode())


def several(*ids: str) -> Callable:
    return refused(409, "MultipleMatches", multipleMatchesFound=list(ids))


# --- against the simulator --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
async def test_a_contact_that_was_made_is_found(tenant, ask, version):
    """Whoever was enrolled is found by each of their keys, under the primary one."""
    simulator, url = tenant
    people = ask(url, api_version=version)

    made = await enrol(people, first_name="Alma", preferences={"accepts_email": True})

    [stored] = simulator.state.contacts.values()
    number = stored.attributes["memberNumber"]
    assert made == matched("member_number", number, stored.contact_id.lower())
    assert stored.attributes["createdInStore"] == "1042"
    assert stored.source == "POS"
    assert (stored.preferences["acceptsEmail"], stored.preferences["acceptsSms"]) == (True, False)
    for kind, value in [
        ("mobile_phone", "+46701740605"),
        ("email", "alma@example.com"),
        ("member_number", number),
        ("contact_id", stored.contact_id.lower()),
    ]:
        assert await people.find(Identifier(IdentifierType(kind), value), timeout_s=30.0, pace=at_once) == made


async def test_a_contact_id_as_the_primary_key(tenant, ask):
    """No second question is asked for what is known already."""
    _, url = tenant
    people = ask(url, IdentifierType.CONTACT_ID)
    made = await enrol(people)

    assert made.key is not None
    assert made.key.type is IdentifierType.CONTACT_ID
    assert await people.find(PHONE, timeout_s=30.0, pace=at_once) == made


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param("mobile_phone", "+46701740699", id="an unknown phone"),
        pytest.param("email", "nobody@example.com", id="an unknown address"),
        pytest.param("member_number", "99999999", id="an unknown number"),
        pytest.param("contact_id", BO, id="an unknown contact"),
        pytest.param("personal_number", "199001010017", id="an unknown personal number"),
        pytest.param("mobile_phone", "+12025550143", id="a number of another country"),
    ],
)
async def test_nobody(tenant, ask, kind, value):
    """Somebody who can know says that there is nobody."""
    _, url = tenant

    assert await ask(url).find(Identifier(IdentifierType(kind), value), timeout_s=30.0, pace=at_once) == Found(
        Outcome.NOT_FOUND
    )


async def test_capitals_and_blanks_of_a_tenant(tenant, ask):
    """Ids in capitals are the same ids."""
    simulator, url = tenant
    made = await enrol(ask(url))
    simulator.faults.upper_case_guids = True

    assert await ask(url).find(PHONE, timeout_s=30.0, pace=at_once) == made


async def test_two_members_who_share_an_address(tenant, ask):
    """Nobody is guessed."""
    _, url = tenant
    people = ask(url)
    await enrol(people)
    await enrol(people, mobile_phone="+46701740606")
    shared = Identifier(IdentifierType.EMAIL, "alma@example.com")

    assert await people.find(shared, timeout_s=30.0, pace=at_once) == Found(Outcome.AMBIGUOUS)


async def test_somebody_who_is_there_already(tenant, ask):
    """The tenant says that the key is taken, but not by whom: it is asked."""
    _, url = tenant
    people = ask(url)
    made = await enrol(people)

    assert (made.existed, await enrol(people)) == (False, replace(made, existed=True))


TAKEN = refused(409, "ApprovedContactWithKeyExists")


async def test_who_has_the_key_cannot_be_read(ask):
    """A newcomer waits for the primary key: further systems know them by what is found here."""
    async with wire(in_turn(TAKEN, answer(200, f'"{ALMA}"'.encode()), answer(500))) as server:
        with pytest.raises(VendorUnreachableError):
            await enrol(ask(server.url))


async def test_a_key_that_is_taken_by_another_type(ask):
    """A contact that keeps a member from being made need not be a member: it is asked for without a type."""
    listed = answer(200, f'"{ALMA}"'.encode())
    read = answer(200, contact(ALMA, "Contact"))
    async with wire(in_turn(TAKEN, listed, read, listed, read)) as server:
        assert await enrol(ask(server.url)) == replace(matched("contact_id", ALMA), existed=True)
    assert not [request for request in server.requests if b"GET" in request and b"contactType" in request]


@pytest.mark.parametrize(
    ("kind", "key"),
    [("Contact", ("contact_id", ALMA)), ("Member", ("member_number", "7")), ("", ("member_number", "7"))],
    ids=["of another type", "a member", "of no type"],
)
async def test_a_match_of_another_type_goes_by_its_contact_id(ask, kind, key):
    """Voyado searches a receipt's member number among members alone: somebody else's sale goes by the contact id."""
    listed = answer(200, f'"{ALMA}"'.encode())
    read = answer(200, contact(ALMA, kind, memberNumber="7"))
    async with wire(in_turn(TAKEN, listed, read, listed, read)) as server:
        assert await enrol(ask(server.url)) == replace(matched(*key), existed=True)


@pytest.mark.parametrize(
    ("question", "scripts"),
    [
        pytest.param(
            "find", [several(ALMA, BO), answer(200, contact(ALMA, "Contact")), answer(200, contact(BO))], id="409"
        ),
        pytest.param("find", [answer(200, f'"{ALMA}"'.encode()), answer(200, contact(ALMA))], id="a match"),
        pytest.param("enrol", [TAKEN, several(ALMA, BO), answer(404), answer(404), answer(404)], id="a taken key"),
    ],
)
async def test_each_call_waits_for_its_share(ask, question, scripts):
    """Before every call, those included that an answer makes necessary, the allowance is asked."""
    paced: list[int] = []
    async with wire(in_turn(*scripts)) as server:

        async def pace() -> None:
            paced.append(len(server.requests))

        people = ask(server.url)
        await (people.find(PHONE, timeout_s=30.0, pace=pace) if question == "find" else enrol(people, pace))
        assert paced == list(range(len(scripts)))
        assert len(server.requests) == len(scripts)


@pytest.mark.parametrize(
    ("scripts", "questions"),
    [
        pytest.param([TAKEN, answer(404), answer(404)], 3, id="nobody knows by whom"),
        pytest.param([TAKEN, several(ALMA, BO), answer(404), answer(404), answer(404)], 5, id="by two"),
        pytest.param([refused(409, "ContactWithKeyIsBeingCreated")], 1, id="somebody else makes it"),
        pytest.param([answer(409)], 1, id="without a word"),
    ],
)
async def test_a_key_that_is_taken_by_nobody_knows_whom(ask, scripts, questions):
    """Nobody is guessed, and who asks is not told a contact type."""
    async with wire(in_turn(*scripts)) as server:
        assert await enrol(ask(server.url)) == Found(Outcome.AMBIGUOUS, existed=True)
    assert len(server.requests) == questions
    assert not [request for request in server.requests if b"GET" in request and b"contactType" in request]


@pytest.mark.parametrize("kind", ["Contact", "contact "])
async def test_a_contact_id_of_another_type(ask, kind):
    """Somebody who is no member is nobody, asked for by whichever key; who says no type is one."""
    identifier = Identifier(IdentifierType.CONTACT_ID, ALMA)
    async with wire(answer(200, contact(ALMA, kind, memberNumber="1"))) as server:
        assert await ask(server.url).find(identifier, timeout_s=30.0, pace=at_once) == Found(Outcome.NOT_FOUND)
    async with wire(answer(200, contact(ALMA, "", memberNumber="1"))) as server:
        assert await ask(server.url).find(identifier, timeout_s=30.0, pace=at_once) == matched("member_number", "1")
    async with wire(answer(200, contact(ALMA, "MEMBER", memberNumber="1"))) as server:
        assert await ask(server.url).find(identifier, timeout_s=30.0, pace=at_once) == matched("member_number", "1")


async def test_a_match_that_is_gone(ask):
    """An id that the index still lists and that nobody has any more is nobody's."""
    async with wire(in_turn(answer(200, f'"{ALMA}"'.encode()), answer(404))) as server:
        assert await ask(server.url).find(PHONE, timeout_s=30.0, pace=at_once) == Found(Outcome.NOT_FOUND)


async def test_what_a_tenant_refuses(tenant, ask):
    """A refusal of what the customer gave is said without repeating it."""
    _, url = tenant
    with pytest.raises(ContactRefusedError) as caught:
        await enrol(ask(url), email="canary-at-example")
    assert caught.value.faults[0].pointer == "/new_contact/email"
    assert (caught.value.status, caught.value.vendor_code) == (422, "ValidationError")
    assert "canary" not in f"{caught.value.faults} {caught.value}"


async def test_a_creation_that_took_too_long(tenant, ask):
    """504: nothing was stored, and it may be tried again."""
    simulator, url = tenant
    fault = simulator.faults.add(Fault(kind="answer", status=504, path="*/contacts", method="POST", count=1))

    with pytest.raises(VendorUnreachableError):
        await enrol(ask(url))
    assert fault.count == 0
    assert (await enrol(ask(url))).outcome is Outcome.MATCHED


async def test_a_wrong_key(tenant, ask):
    """A refusal of our credentials is told apart."""
    _, url = tenant
    with pytest.raises(VendorRefusedError):
        await ask(url, key="wrong").find(PHONE, timeout_s=30.0, pace=at_once)
    with pytest.raises(VendorRefusedError):
        await enrol(ask(url, key="wrong"))


async def test_what_can_be_asked_for(ask):
    """A card number has no look-up; the tenant's custom key is the one it was set up with."""
    asked = {
        custom: {
            kind.value
            for kind in IdentifierType
            if ask("http://127.0.0.1", custom_key=custom).knows(Identifier(kind, "1"))
        }
        for custom in ("member_number", "external_id")
    }

    common = {"contact_id", "mobile_phone", "email", "personal_number"}
    assert asked == {custom: common | {custom} for custom in asked}
    with pytest.raises(VendorUnreachableError):
        await ask("http://127.0.0.1").find(Identifier(IdentifierType.CARD_NUMBER, "1234"), timeout_s=1.0, pace=at_once)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("primary", ["member_number", "contact_id"])
async def test_a_contact_that_is_changed(tenant, ask, version, primary):
    """What is given is written, in either version, and nothing else; what is there is read with its times."""
    simulator, url = tenant
    people = ask(url, api_version=version)
    made = await enrol(people, first_name="Alma", last_name="Ek", consents=[TERMS])
    key = made.key if primary == "member_number" else key_of("contact_id", made.contact_id)
    change = NewContact.model_validate(
        {
            "first_name": "Alva",
            "mobile_phone": "070-174 06 06",
            "birth_date": "1988-03-14",
            "preferences": {"accepts_sms": True, "accepts_email": False},
            "consents": [{**TERMS, "value": False, "given_at": "2026-02-14T17:40:00+01:00", "text_version": "v2"}],
            "attributes": {"shoeSize": 38},
        }
    )
    there = await people.contact_there(key, timeout_s=30.0, pace=at_once)
    await people.update(
        there.contact_id, change, (Identifier(IdentifierType.MOBILE_PHONE, "+46701740606"),), pace=at_once
    )
    (contact_,) = simulator.state.find("contactId", made.contact_id)
    known = {
        name: contact_.attributes.get(name) for name in ("firstName", "lastName", "mobilePhone", "birthDay", "email")
    }
    assert known == {
        "firstName": "Alva", "lastName": "Ek", "mobilePhone": "+46701740606", "birthDay": "1988-03-14",
        "email": "alma@example.com",
    }  # fmt: skip
    assert contact_.preferences["acceptsSms"] is True
    assert [(row["value"], row["comment"]) for row in contact_.consents] == [(False, "v2, 1042")]

    there = await people.contact_there(key, timeout_s=30.0, pace=at_once)
    assert (there.contact_id, there.values["first_name"], there.values["email"]) == (
        made.contact_id, "Alva", "alma@example.com",
    )  # fmt: skip
    assert (there.preferences["accepts_sms"], there.preferences["accepts_email"]) == (True, False)
    given_at = datetime.fromisoformat("2026-02-14T17:40:00+01:00")
    assert there.consents == {"memberTerms": ConsentThere(value=False, given_at=given_at)}
    assert there.modified_at == NOW


async def test_what_a_tenant_refuses_of_a_change(tenant, ask):
    """With the field that it names, without repeating what was given; nothing of it is written."""
    simulator, url = tenant
    made = await enrol(ask(url))
    change = NewContact(first_name="Canary", country_code="SE", birth_date="1988-03-14")
    with pytest.raises(ContactRefusedError) as caught:
        await ask(url).update(
            made.contact_id, change, (Identifier(IdentifierType.EMAIL, "canary-at-example"),), pace=at_once
        )
    assert (caught.value.at("").faults[0].pointer, caught.value.status) == ("/email", 422)
    assert "anary" not in f"{caught.value.faults} {caught.value}"
    (contact_,) = simulator.state.find("contactId", made.contact_id)
    assert contact_.attributes.get("firstName") != "Canary"


def test_what_the_door_refuses(ask):
    """What is no free attribute of the tenant's, whatever is done with the contact."""
    given = NewContact(first_name="Alma", attributes={"Email": "bo@example.com", "memberNumber": "1", "shoeSize": 39})
    faults = ask("http://127.0.0.1:9").without_place(given)
    assert [fault.pointer for fault in faults] == ["/attributes/Email", "/attributes/memberNumber"]


@pytest.mark.parametrize("name", ["memberNumber", "External_Id", "contactType", "acceptsSms", "createdInStore"])
async def test_what_is_voyados_own(ask, name):
    """What was taken at the door before it was refused there changes no key, no type and no consent."""
    async with wire(answer(200)) as server:
        with pytest.raises(ContactRefusedError) as caught:
            await ask(server.url).update(ALMA, NewContact(attributes={name: "1"}), (), pace=at_once)
        assert server.requests == []
    assert [fault.pointer for fault in caught.value.at("").faults] == ["/attributes"]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (refused(404, "ContactNotFound"), ContactRefusedError),
        (answer(401), VendorRefusedError),
        (answer(503), VendorUnreachableError),
        (answer(200, b'{"message": "An error has occurred"}'), VendorUnreachableError),
        (answer(429), VendorUnreachableError),
    ],
    ids=["gone", "a wrong key", "down", "an error of its own", "too many"],
)
async def test_a_change_that_is_not_taken(ask, script, error):
    """What is the contact's fault and what is the line's are told apart."""
    async with wire(script) as server:
        with pytest.raises(error):
            await ask(server.url).update(ALMA, NewContact(first_name="Alma"), (), pace=at_once)


@pytest.mark.parametrize(
    ("scripts", "found"),
    [
        ((refused(404, "ContactNotFound"),), False),
        ((several(ALMA, ALMA),), False),
        ((answer(200, f'"{ALMA}"'.encode()), answer(404)), False),
        ((answer(200, f'"{ALMA}"'.encode()), answer(200, json.dumps({"id": ALMA}).encode())), True),
    ],
    ids=["nobody", "several", "gone since", "with nothing in it"],
)
async def test_who_is_there_to_be_changed(ask, scripts, found):
    """Nobody is guessed, and what a contact lacks is not made up."""
    async with wire(in_turn(*scripts)) as server:
        there = await ask(server.url).contact_there(key_of("member_number", "1"), timeout_s=30.0, pace=at_once)
    assert there == (ContactThere(ALMA) if found else None)


async def test_consents_that_cannot_be_read(ask):
    """A row without a yes or no, or with a time that is none, does not stand for a word of the customer's."""
    rows = [
        None,
        {"id": "a"},
        {"id": 1, "value": True},
        {"id": "b", "value": "yes"},
        {"id": "c", "value": False, "date": "?"},
    ]
    body = {"id": ALMA, "consents": rows, "meta": {"modifiedOn": "yesterday"}, "attributes": None}
    async with wire(answer(200, json.dumps(body).encode())) as server:
        there = await ask(server.url).contact_there(key_of("contact_id", ALMA), timeout_s=30.0, pace=at_once)
    assert there == ContactThere(ALMA, consents={"c": ConsentThere(value=False, given_at=None)})


# --- against answers no simulator gives -------------------------------------------------------------------------


async def test_what_is_asked(ask):
    """Type and value stand in the query, spelled out; the key does not."""
    async with wire(refused(404, "ContactNotFound")) as server:
        await ask(server.url, contact_type="Kund").find(
            Identifier(IdentifierType.MEMBER_NUMBER, "1000"), timeout_s=9.0, pace=at_once
        )
        await ask(server.url).find(Identifier(IdentifierType.EMAIL, "a+b@example.com"), timeout_s=9.0, pace=at_once)

    lines = [request.decode().split("\r\n")[0] for request in server.requests]
    assert lines == [
        "GET /api/v3/contacts/id?contactType=Kund&customKey=1000 HTTP/1.1",
        "GET /api/v3/contacts/id?contactType=Member&email=a%2Bb%40example.com HTTP/1.1",
    ]


@pytest.mark.parametrize(
    ("primary", "attributes", "expected"),
    [
        pytest.param("member_number", {"memberNumber": " 10000421 "}, ("member_number", "10000421"), id="a text"),
        pytest.param("member_number", {"memberNumber": 10000421}, ("member_number", "10000421"), id="a number"),
        pytest.param("external_id", {"externalId": "E-1"}, ("external_id", "E-1"), id="an external id"),
        pytest.param("member_number", {"memberNumber": None}, ("contact_id", ALMA), id="null"),
        pytest.param("member_number", {"memberNumber": ""}, ("contact_id", ALMA), id="empty"),
        pytest.param("member_number", {"memberNumber": True}, ("contact_id", ALMA), id="a truth value"),
        pytest.param("member_number", {"memberNumber": 1.5}, ("contact_id", ALMA), id="a fraction"),
        pytest.param("member_number", {"memberNumber": ["1"]}, ("contact_id", ALMA), id="a list"),
        pytest.param("member_number", {"memberNumber": "1" * 255}, ("contact_id", ALMA), id="far too long"),
        pytest.param("member_number", {"memberNumber": "1\n2"}, ("contact_id", ALMA), id="two lines"),
        pytest.param("member_number", {}, ("contact_id", ALMA), id="missing"),
        pytest.param("contact_id", {"memberNumber": "1"}, ("contact_id", ALMA), id="the id is the primary key"),
    ],
)
async def test_the_primary_key_of_a_match(ask, primary, attributes, expected):
    """A match without the primary key's field has its contact id."""
    scripts = in_turn(answer(200, json.dumps(ALMA.upper()).encode()), answer(200, contact(**attributes)))
    async with wire(scripts) as server:
        found = await ask(server.url, IdentifierType(primary)).find(PHONE, timeout_s=30.0, pace=at_once)

    assert found == matched(*expected)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(answer(503), id="down meanwhile"),
        pytest.param(answer(401), id="refused meanwhile"),
        pytest.param(answer(200, HTML), id="a web page"),
        pytest.param(answer(200, b"[]"), id="a list"),
        pytest.param(answer(200, b'{"attributes": []}'), id="attributes that are none"),
        pytest.param(cut, id="cut"),
    ],
)
async def test_a_match_that_cannot_be_read(ask, second):
    """The id alone ties a sale as well."""
    async with wire(in_turn(answer(200, f'"{ALMA}"'.encode()), second)) as server:
        found = await ask(server.url).find(PHONE, timeout_s=30.0, pace=at_once)

    assert found == matched("contact_id", ALMA)


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        pytest.param(
            [
                several(ALMA.upper(), BO),
                answer(200, contact(ALMA, "contact")),
                answer(200, contact(BO, "MEMBER", memberNumber="2")),
            ],
            matched("member_number", "2", BO),
            id="one is a member",
        ),
        pytest.param(
            [several(ALMA, BO), answer(200, contact(ALMA)), answer(200, contact(BO))],
            Found(Outcome.AMBIGUOUS),
            id="both are",
        ),
        pytest.param(
            [several(ALMA, BO), answer(200, contact(ALMA, "Contact")), answer(404)],
            Found(Outcome.AMBIGUOUS),
            id="none is",
        ),
        pytest.param([several(*[ALMA] * 9)], Found(Outcome.AMBIGUOUS), id="too many to look at"),
        pytest.param([several()], Found(Outcome.AMBIGUOUS), id="an empty list"),
        pytest.param([several("../../admin")], Found(Outcome.AMBIGUOUS), id="ids that are none"),
        pytest.param([refused(409, "MultipleMatches")], Found(Outcome.AMBIGUOUS), id="no list"),
        pytest.param([answer(409, b"[]")], Found(Outcome.AMBIGUOUS), id="no object"),
        pytest.param(
            [
                several(ALMA, BO),
                answer(200, b'{"id": "%s", "meta": "Member"}' % ALMA.encode()),
                answer(200, b'{"id": "%s", "meta": {"contactType": 1}}' % BO.encode()),
            ],
            Found(Outcome.AMBIGUOUS),
            id="types that are none",
        ),
    ],
)
async def test_several_matches(ask, scripts, expected):
    """Of several contacts with one key the only member is taken, and otherwise nobody."""
    async with wire(in_turn(*scripts)) as server:
        assert await ask(server.url).find(PHONE, timeout_s=30.0, pace=at_once) == expected
    assert not [request for request in server.requests if b".." in request]


@pytest.mark.parametrize("code", ["InvalidPhoneNumber", "InvalidEmailAddress", "InvalidSocialSecurityNumber"])
async def test_a_value_that_voyado_cannot_have(ask, code):
    """What cannot be of its type there belongs to nobody there."""
    async with wire(refused(400, code)) as server:
        assert await ask(server.url).find(PHONE, timeout_s=30.0, pace=at_once) == Found(Outcome.NOT_FOUND)


HOSTILE = [
    pytest.param(answer(200, HTML), id="a web page"),
    pytest.param(answer(404, HTML), id="404 with a web page"),
    pytest.param(answer(200), id="an empty 200"),
    pytest.param(answer(204), id="204"),
    pytest.param(answer(200, b"null"), id="null"),
    pytest.param(answer(200, b"17"), id="a number"),
    pytest.param(answer(200, b'""'), id="an empty text"),
    pytest.param(answer(200, b'"../../admin?x=1"'), id="a path for an id"),
    pytest.param(answer(200, b'"' + b"a" * 100_000 + b'"'), id="a very long id"),
    pytest.param(answer(200, b'["0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"]'), id="a list"),
    pytest.param(answer(200, b'"\xff\xfe"'), id="invalid UTF-8"),
    pytest.param(answer(200, b"[" * 100_000), id="a deep body"),
    pytest.param(answer(200, b'{"message": "An error has occurred"}'), id="200 with Engage's own error"),
    pytest.param(answer(307, location="http://127.0.0.1:1/"), id="a redirect"),
    pytest.param(refused(400, "InvalidContactType"), id="our contact type is wrong"),
    pytest.param(refused(400, "InvalidSearchQuery"), id="our question is wrong"),
    pytest.param(answer(400), id="400 without a word"),
    pytest.param(refused(500, "InvalidSystemConfiguration"), id="the tenant is not set up"),
    pytest.param(answer(429), id="429"),
    pytest.param(answer(503), id="503"),
    pytest.param(cut, id="cut"),
    pytest.param(cut_in_the_body, id="cut in the body"),
    pytest.param(nonsense, id="another protocol"),
    pytest.param(hang, id="hangs"),
    pytest.param(dribble, id="dribbles"),
]


@pytest.mark.parametrize("script", HOSTILE)
@pytest.mark.parametrize("identifier", [PHONE, Identifier(IdentifierType.CONTACT_ID, ALMA)], ids=["by phone", "by id"])
async def test_nonsense_is_no_answer(ask, pass_by, script, identifier):
    """Whatever comes: never a match, never a false "nobody", never another error, and nothing said of anybody."""
    async with wire(script) as server:
        asking = asyncio.create_task(ask(server.url).find(identifier, timeout_s=40.0, pace=at_once))
        if script in (hang, dribble):
            await until(lambda: server.requests)
            pass_by(40.0)
        with pytest.raises(VendorUnreachableError) as caught:
            await asyncio.wait_for(asking, 10)

    assert "740605" not in f"{caught.value!r}"
    assert "sim-key" not in f"{caught.value!r}"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(answer(201, HTML), id="a web page"),
        pytest.param(answer(201), id="an empty 201"),
        pytest.param(answer(201, b'{"id": "0f6c'), id="cut JSON"),
        pytest.param(answer(200, b'{"message": "An error has occurred"}'), id="200 with Engage's own error"),
        pytest.param(answer(504), id="504"),
        pytest.param(answer(429), id="429"),
        pytest.param(cut, id="cut"),
    ],
)
async def test_a_creation_without_an_answer(ask, script):
    """Nobody knows whether it was made: the next question tells."""
    async with wire(script) as server:
        with pytest.raises(VendorUnreachableError):
            await enrol(ask(server.url))


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"id": 17}', b'{"id": "../x"}', b'"ok"'], ids=ascii)
async def test_a_creation_that_names_nobody(ask, body):
    """It was made, but not said under which id: the next question tells."""
    async with wire(answer(201, body)) as server:
        assert await enrol(ask(server.url)) == Found(Outcome.AMBIGUOUS)


# --- what may be shown ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"firstName": "Alma", "memberLevel": "gold", "city": "Umea", "lastName": "Ek"},
         {"first_name": "Alma", "member_level": "gold", "city": "Umea"}),
        ({"firstName": " ", "city": "Umea", "secrecyMarked": True},
         {"first_name": None, "member_level": None, "city": None}),
    ],
    ids=["the configured fields alone", "no address of a protected person"],
)  # fmt: skip
async def test_a_match_carries_the_configured_fields(ask, told, shown):
    """What the replica would keep is shown of somebody whom only the vendor knows, and nothing besides."""
    async with wire(answer(200, contact(memberNumber="1000", **told))) as server:
        people = ask(server.url, fields=("first_name", "member_level", "city"))
        found = await people.find(Identifier(IdentifierType.CONTACT_ID, ALMA), timeout_s=30.0, pace=at_once)
    assert (found.outcome, found.fields) == (Outcome.MATCHED, shown)
