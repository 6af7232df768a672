"""Members whom a till makes and changes where Antavo owns the contacts: whose an id of ours is, and what is where."""

import json
import uuid
from datetime import UTC, datetime

import pytest

from agent.connectors.antavo import build
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.revision import ConsentThere
from agent.domain.tagging import Outcome
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import ContactRefusedError, VendorUnreachableError
from tests.connectors.antavo.conftest import KEY, SECRET, make_settings
from tests.connectors.antavo.world import World
from tests.connectors.mparticle.sales import Reference
from tests.fakes import FakeClock, at_once, surroundings
from tests.wire import POLICY, answer, in_turn, wire

ID, NUMBER, EXTERNAL = IdentifierType.CONTACT_ID, IdentifierType.MEMBER_NUMBER, IdentifierType.EXTERNAL_ID
PHONE, MAIL, OWN = "+46701740607", "dilba@example.com", "1042-03-27993907"
DILBA = {"first_name": "Dilba", "mobile_phone": PHONE, "email": MAIL}
PLACES = {
    "street": "street", "preferences/accepts_email": "email_ok", "preferences/accepts_sms": "sms_ok",
    "consents/terms": "terms", "consents/terms/given_at": "terms_at", "consents/terms/place": "terms_place",
    "consents/news": "news",
    "consents/news/given_at": "news_at", "attributes/shoe_size": "shoes",
}  # fmt: skip
TERMS = {"id": "terms", "value": True, "given_at": "2026-02-14T16:40:00+01:00", "place": "1042", "text_version": "7"}


class Till:
    """The room of a workspace, and how often it was asked."""

    def __init__(self, url, *, primary=ID, **table):
        settings = make_settings(url, **table)
        secrets = {settings.api_key: Reference(KEY), settings.api_secret: Reference(SECRET)}
        agent = surroundings(secret=secrets.__getitem__, http=POLICY, clock=FakeClock(), primary=primary)
        self.connector = build(settings, agent)
        self.writer = self.connector.writer

    async def create(self, own=OWN, **said):
        given, names = contact({**DILBA, **said})
        names += [Identifier(EXTERNAL, own)] if own else []
        return await self.writer.create(given, names, store_id="1042", pace=at_once)

    async def update(self, contact_id, **said):
        given, names = contact(said)
        await self.writer.update(contact_id, given, names, pace=at_once)

    async def there(self, contact_id):
        return await self.writer.contact_there(key(contact_id), timeout_s=5, pace=at_once)


def contact(said):
    given = NewContact.model_validate({name: value for name, value in said.items() if value is not None})
    return given, [Identifier(IdentifierType(one.type), one.value) for one in given.identifier_statements()]


def key(value, kind=ID):
    return IntegrationKey(kind="primary", type=kind, value=value)


@pytest.fixture(name="till")
def _till(simulator, afterwards):
    sim, running = simulator
    sim.books.members.by_id.clear()

    def till(url=running.url, **how):
        made = Till(url, **how)
        afterwards.push_async_callback(made.connector.close)
        return made

    return till


@pytest.fixture(name="sim")
def _sim(simulator):
    return simulator[0]


# --- made ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [OWN, ""])
async def test_the_id_is_the_same_whoever_makes_it(till, sim, own):
    """A UUID of version 5 of our number, or of the phone: two tills that hear nothing of each other make one member."""
    first = await till().create(own)
    sim.books.members.unindexed.add(first.contact_id)
    second = await till().create(own)
    assert first.contact_id == second.contact_id == next(iter(sim.books.members.by_id))
    assert uuid.UUID(first.contact_id).version == 5
    assert sim.member(first.contact_id).fields == DILBA | ({"membership_id": own} if own else {})
    assert len(sim.applied("opt_in")) == 1


async def test_two_of_ours_are_two(till, sim):
    """Another number is another id, whatever else they share but what identifies them."""
    first = await till().create()
    second = await till().create("1042-03-8", mobile_phone="+46701740608", email="esra@example.com")
    assert len({first.contact_id, second.contact_id, *sim.books.members.by_id}) == 2


@pytest.mark.parametrize(
    ("primary", "hidden", "kind"),
    [(ID, False, ID), (NUMBER, False, NUMBER), (NUMBER, True, ID), (EXTERNAL, False, ID)],
    ids=["by id", "by our number", "a number that no search finds", "an external id that others give"],
)
async def test_the_key_is_one_that_their_sales_find_them_by(till, sim, primary, hidden, kind):
    """Our number only where a search has found it; the id always ties."""
    table = {"external_id_field": "crm_id"} if primary is EXTERNAL else {}
    asked = till(primary=primary, **table)
    if hidden:
        sim.books.members.unindexed = _Everybody()
    made = await asked.create()
    assert (made.key.type, made.key.value) == (kind, OWN if kind is NUMBER else made.contact_id)


async def test_a_number_of_ours_that_another_has(till, sim):
    """Their sales go under their id, not to whoever has the number there."""
    sim.add_member("c-1", membership_id=[OWN])
    sim.books.members.unindexed = _Everybody(but={"c-1"})
    made = await till(primary=NUMBER).create()
    assert (made.key.type, made.key.value) == (ID, made.contact_id)
    assert made.contact_id != "c-1"


class _Everybody(set):
    """Whom no search finds, but for some."""

    def __init__(self, but=()):
        self._but = but

    def __contains__(self, member):
        return member not in self._but


@pytest.mark.parametrize("known", [{"mobile_phone": PHONE}, {"email": MAIL}])
async def test_who_has_the_phone_or_the_address_is_not_made_again(till, sim, known):
    """Antavo itself would take another member with the same phone."""
    sim.add_member("c-1", **known)
    made = await till().create()
    assert (made.contact_id, sim.received) == ("c-1", [])


@pytest.mark.parametrize(
    ("own", "fields"),
    [
        (OWN, {"mobile_phone": "+46701740699", "email": "other@example.com", "membership_id": [OWN]}),
        (OWN, {"email": "other@example.com"}),
        ("", {"mobile_phone": "+46701740699"}),
        (OWN, {**DILBA, "status": "merged"}),
    ],
    ids=["other phone and address", "another address", "whoever had the phone before", "who left"],
)
async def test_an_id_of_ours_that_is_another_s(till, sim, own, fields):
    """It is refused, for a person to look at; nothing of theirs is touched."""
    made = await till().create(own)
    sim.member(made.contact_id).fields = dict(fields)
    sim.books.members.unindexed.add(made.contact_id)
    with pytest.raises(ContactRefusedError) as caught:
        await till().create(own)
    assert (caught.value.status, caught.value.vendor_code) == (400, "112101")
    assert sim.member(made.contact_id).fields == fields


@pytest.mark.parametrize(
    ("own", "fields", "outcome"),
    [
        (OWN, {"mobile_phone": PHONE, "email": "other@example.com"}, Outcome.MATCHED),
        (OWN, {"email": "DILBA@example.com"}, Outcome.MATCHED),
        (OWN, {"membership_id": ["77", OWN]}, Outcome.MATCHED),
        (OWN, {"first_name": "Dilba"}, Outcome.AMBIGUOUS),
        ("", {"first_name": "Dilba"}, Outcome.AMBIGUOUS),
    ],
    ids=["the same phone", "the same address", "our number alone is shown", "nothing is shown", "nor without a number"],
)
async def test_an_id_of_ours_that_is_theirs(till, sim, own, fields, outcome):
    """By phone or address, by our number where neither is shown; where nothing tells, it is asked again later."""
    made = await till().create(own)
    sim.member(made.contact_id).fields = dict(fields)
    sim.books.members.unindexed.add(made.contact_id)
    again = await till().create(own)
    assert again.outcome is outcome
    assert again.contact_id == (made.contact_id if outcome is Outcome.MATCHED else None)


async def test_a_phone_as_the_workspace_writes_it(till, sim):
    """It is searched for and written so, and reads as ours."""
    sim.add_member("c-1", mobile_phone="0701740608")
    national = till(phone_format="national")
    assert (await national.create(mobile_phone="+46701740608")).contact_id == "c-1"
    made = await national.create()
    assert sim.member(made.contact_id).fields["mobile_phone"] == "0701740607"
    assert (await national.there(made.contact_id)).values["mobile_phone"] == PHONE


async def test_who_gave_neither_phone_nor_address(till, sim):
    """Nobody would find them again: they are refused, not made."""
    sale = till().writer.create(NewContact(), [Identifier(IdentifierType.PERSONAL_NUMBER, "198001019802")],
                                store_id="1042", pace=at_once)  # fmt: skip
    with pytest.raises(ContactRefusedError):
        await sale
    assert sim.received == []


# --- what has a place, and what has none --------------------------------------------------------------------------


async def test_what_has_a_place(till, sim):
    """Each in the field that the shop has chosen, a consent with its time and place; what was not asked in none."""
    said = {"street": "Storgatan 1", "country_code": "SE", "birth_date": "1990-03-04", "language": "sv",
            "preferences": {"accepts_email": True, "accepts_sms": False}, "consents": [TERMS],
            "attributes": {"shoe_size": 38}}  # fmt: skip
    made = await till(contact_fields=PLACES).create(**said)
    assert sim.member(made.contact_id).fields == {
        **DILBA, "membership_id": OWN, "street": "Storgatan 1", "country": "SE", "birth_date": "1990-03-04",
        "language": "sv", "email_ok": True, "sms_ok": False, "terms": True, "shoes": 38,
        "terms_at": "2026-02-14T16:40:00+01:00", "terms_place": "1042",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "pointer", "named"),
    [
        ({"city": "Lund"}, "/city", "city"),
        ({"preferences": {"accepts_postal": False}}, "/preferences/accepts_postal", "preferences"),
        ({"consents": [TERMS, {**TERMS, "id": "profiling"}]}, "/consents/1", "consents"),
        ({"attributes": {"hat_size": 58}}, "/attributes/hat_size", "attributes"),
        ({"attributes": {"hat/size~": 58}}, "/attributes/hat~1size~0", "attributes"),
        ({"personal_number": "198001019802"}, "/personal_number", "personal_number"),
        ({"contact_type": "Member"}, "/contact_type", "contact_type"),
    ],
)
async def test_what_has_none(till, sim, said, pointer, named):
    """It is said where it stands before anything is kept, and refused where a sale brought it: never left out."""
    sim.add_member("c-1")
    room = till(contact_fields=PLACES)
    [fault] = room.writer.without_place(contact(said)[0])
    assert fault.pointer == pointer
    for told in (room.create(**said), room.update("c-1", **{"first_name": "Dilba", **said})):
        with pytest.raises(ContactRefusedError) as caught:
            await told
        assert (caught.value.vendor_code, caught.value.fields) == ("NoFieldForIt", (named,))
    assert sim.received == []


async def test_a_preference_that_was_not_asked_needs_no_place(till):
    """Null stands for what was not said."""
    given, _ = contact({**DILBA, "preferences": {"accepts_postal": None}, "attributes": {"hat_size": None}})
    assert till().writer.without_place(given) == []


# --- changed ------------------------------------------------------------------------------------------------------


async def test_what_is_there(till, sim):
    """By our names, in our forms, wherever the workspace keeps it; what says neither yes nor no says nothing."""
    sim.add_member(
        "c-1", first_name="Dilba", mobile_phone="070-174 06 07", email="Dilba@Example.com", country="SE", terms="1",
        terms_at=1771083600, email_ok="false", updated_at=1771170000, properties={"street": "Storgatan 1", "sms_ok": 1},
        news="perhaps",
    )  # fmt: skip
    there = await till(contact_fields=PLACES).there("c-1")
    assert there.values == {
        "first_name": "Dilba", "mobile_phone": PHONE, "email": MAIL, "country_code": "SE", "street": "Storgatan 1",
    }  # fmt: skip
    assert there.preferences == {"accepts_email": False, "accepts_sms": True}
    assert there.consents == {"terms": ConsentThere(value=True, given_at=datetime(2026, 2, 14, 15, 40, tzinfo=UTC))}
    assert there.modified_at == datetime(2026, 2, 15, 15, 40, tzinfo=UTC)


@pytest.mark.parametrize("kind", [NUMBER, EXTERNAL])
async def test_who_is_there_by_another_key(till, sim, kind):
    """By their number or external id; one that nobody has, or two, is nobody's."""
    sim.add_member("c-1", membership_id=["77"], crm_id="77")
    writer = till(primary=kind, external_id_field="crm_id").writer
    assert (await writer.contact_there(key("77", kind), timeout_s=5, pace=at_once)).contact_id == "c-1"
    assert await writer.contact_there(key("78", kind), timeout_s=5, pace=at_once) is None
    sim.leave("c-1")
    assert await writer.contact_there(key("77", kind), timeout_s=5, pace=at_once) is None


async def test_a_change_is_of_what_was_given_alone(till, sim):
    """One event with these fields; the rest is as it was."""
    sim.add_member("c-1", **DILBA, terms=False)
    await till(contact_fields=PLACES).update("c-1", last_name="Ek", consents=[TERMS])
    [event] = sim.received
    assert (event["customer"], event["action"]) == ("c-1", "profile")
    assert event["data"] == {"last_name": "Ek", "terms": True, "terms_at": TERMS["given_at"], "terms_place": "1042"}
    assert sim.member("c-1").fields["first_name"] == "Dilba"


# --- what an answer can be ----------------------------------------------------------------------------------------


def body(**members):
    return answer(200, json.dumps(members).encode())


def error(code, status=400, message="x", form="standard"):
    told = {"type": "RuntimeException", "code": code, "message": message}
    return answer(status, json.dumps({"error": told} if form == "standard" else told).encode())


NOBODY = answer(200, b'{"data": []}')
WHEN_AND_WHERE = {"terms_at": "2026-02-14T16:40:00+01:00", "terms_place": "1042"}
STOPPED = error(127201, 200)


@pytest.mark.parametrize(
    ("script", "status", "code", "fields"),
    [
        (error(0, message="Property email is not valid"), 400, "0", ("email",)),
        (error(0, message="Property country and email_ok"), 400, "0", ("country_code", "preferences")),
        (error(160216, 200), 200, "160216", ()),
        (error(160216, form="bare"), 400, "160216", ()),
        (error(160212, 404), 404, "160212", ()),
        (error(160212, 200), 404, "160212", ()),
        (answer(422, b"{}"), 422, "UNNAMED", ()),
    ],
)
async def test_what_is_refused(till, script, status, code, fields):
    """With its number, and the fields that the vendor's words name: the words themselves are repeated nowhere."""
    async with wire(script) as vendor:
        with pytest.raises(ContactRefusedError) as caught:
            await till(vendor.url, contact_fields=PLACES).update("c-1", first_name="Canaryla")
    assert (caught.value.status, caught.value.vendor_code, caught.value.fields) == (status, code, fields)


@pytest.mark.parametrize(
    ("there", "is_made"),
    [(body(id="x", **DILBA), True), (body(id="x", first_name="Dilba"), False), (error(160212, 404), False)],
    ids=["there", "nothing is shown", "not there"],
)
async def test_a_workflow_that_stopped_an_opt_in(till, there, is_made):
    """It counts as done if the member is there, and is refused otherwise."""
    async with wire(in_turn(NOBODY, NOBODY, STOPPED, there)) as vendor:
        made = till(vendor.url).create()
        if is_made:
            assert (await made).outcome is Outcome.MATCHED
            return
        with pytest.raises(ContactRefusedError) as caught:
            await made
    assert caught.value.vendor_code == "127201"


@pytest.mark.parametrize(
    ("there", "is_done"),
    [({"first_name": "dilba", "terms": "yes"}, True), ({"first_name": "Dilba", "terms": False}, False)],
)
async def test_a_workflow_that_stopped_a_change(till, there, is_done):
    """It counts as done if all of it is there."""
    async with wire(in_turn(STOPPED, body(id="c-1", **WHEN_AND_WHERE, **there))) as vendor:
        change = till(vendor.url, contact_fields=PLACES).update("c-1", first_name="Dilba", consents=[TERMS])
        if is_done:
            await change
            return
        with pytest.raises(ContactRefusedError):
            await change


@pytest.mark.parametrize("script", [answer(200, b"[]"), answer(200, b"{}"), answer(200, b'{"data": []}')])
async def test_an_answer_that_says_nothing(till, script):
    """It may have been taken: it is asked for again."""
    async with wire(in_turn(NOBODY, NOBODY, script)) as vendor:
        with pytest.raises(VendorUnreachableError) as caught:
            await till(vendor.url).create()
    assert caught.value.maybe_received


async def test_a_taken_id_that_nobody_shows(till):
    """Neither made nor refused: another attempt sees. Each of the calls waits for its share."""
    paces = []

    async def pace():
        paces.append(1)

    given, names = contact(DILBA)
    async with wire(in_turn(NOBODY, NOBODY, error(112101), error(160212, 404))) as vendor:
        found = await till(vendor.url).writer.create(given, names, store_id="1042", pace=pace)
        assert (found.outcome, len(paces)) == (Outcome.AMBIGUOUS, len(vendor.requests))


async def test_a_number_that_cannot_be_asked_for(till):
    """The member is made: the id ties, whatever becomes of that question."""
    async with wire(in_turn(NOBODY, NOBODY, body(id="x", events=[]), answer(503, b""))) as vendor:
        made = await till(vendor.url, primary=NUMBER).create()
    assert (made.key.type, made.key.value) == (ID, made.contact_id)


# --- the echo -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("primary", [ID, NUMBER])
async def test_the_echo_of_what_was_made_and_changed_here(tmp_path, primary):
    """The events and the sweep bring them as one, under the key that they were made with, and no second time."""
    world = World(tmp_path, primary, ("first_name",), sweep_every="1h")
    await world.start()
    try:
        world.enrol(1, mobile_phone="+46701740601")
        await world.load()
        given, names = contact(DILBA)
        writer = world.connector.writer
        made = await writer.create(given, [*names, Identifier(EXTERNAL, OWN)], store_id="1042", pace=at_once)
        await writer.update(made.contact_id, contact({"first_name": "Dilba-Li"})[0], (), pace=at_once)
        for _ in range(3):  # the events, then with the overlap again, then the sweep
            world.clock.advance(1800)
            await world.sync()
            for kind, value in ((IdentifierType.MOBILE_PHONE, PHONE), (NUMBER, OWN), (ID, made.contact_id)):
                assert world.known_by(kind, value) == [made.key.value]
            [member] = world.replica.resolve([Identifier(ID, made.contact_id)])
            assert member.fields == {"first_name": "Dilba-Li"}
        there = await writer.contact_there(made.key, timeout_s=5, pace=at_once)
        assert there.contact_id == made.contact_id
    finally:
        await world.stop()
