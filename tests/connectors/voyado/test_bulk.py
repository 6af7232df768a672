"""Making several contacts by one call at a tenant, and what of its word is believed."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.connectors.voyado.bulk import VoyadoBulk, VoyadoBulkChanges, read_status
from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.fields import there_of
from agent.connectors.voyado.people import VoyadoPeople
from agent.connectors.voyado.settings import VoyadoSettings
from agent.connectors.voyado.simulator import SimulatorSettings, VoyadoSimulator, serve
from agent.domain.bulk import RowWord
from agent.domain.enrolment import Enrolment, EnrolmentState, own_key
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.revision import ContactThere, is_there
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from agent.transport import Transport
from tests.connectors.voyado.test_people import ALMA, TERMS, Key, contact, refused
from tests.fakes import at_once
from tests.wire import POLICY, answer, cut, in_turn, wire

NOW = datetime(2026, 2, 16, 11, 0, tzinfo=UTC)
MADE, NOT_MADE = RowWord(made=True), RowWord(made=False)


class Clock:
    """The tenant's, which goes on when it is told to."""

    at = NOW

    def __call__(self) -> datetime:
        return self.at


def newcomer(number: int = 1, **given: Any) -> Enrolment:
    contact = NewContact.model_validate({"mobile_phone": f"+467017406{number:02d}", **given})
    identifiers = tuple(Identifier(IdentifierType(one.type), one.value) for one in contact.identifier_statements())
    own = own_key("1042-03-", number)
    return Enrolment(number, number, f"n_{number}", EnrolmentState.QUEUED, own, None, contact, identifiers, NOW)


@pytest.fixture(name="bulk")
async def _bulk():
    """Makes the room's bulk writer for a tenant's address."""
    made = []

    def bulk(url: str, **table: Any) -> VoyadoBulk:
        settings = VoyadoSettings.model_validate({"base_url": url, "member_key": "mobile_phone", **table})
        transport = Transport(url, POLICY, connections=2, user_agent="LoyaltyAgent/0.1")
        client = VoyadoClient(
            transport, Key(), version=settings.api_version, source=settings.source, heard=lambda _answer: None
        )
        made.append(client)
        people = VoyadoPeople(client, settings, IdentifierType.MEMBER_NUMBER)
        return VoyadoBulk(client, settings, people)

    yield bulk
    for client in made:
        await client.close()


@pytest.fixture(name="tenant")
async def _tenant(tmp_path: Path):
    """A tenant on loopback whose members' key is the phone, and which takes a minute for a bulk call."""
    clock = Clock()
    settings = SimulatorSettings(root=tmp_path / "sftp", contact_types={"Member": "mobilePhone"}, bulk_delay_s=60)
    simulator = VoyadoSimulator(settings, now=clock, rng=random.Random(7))
    running = await serve(simulator)
    yield simulator, running.url, clock
    await running.stop()


async def sent(bulk: VoyadoBulk, made: list[Enrolment]) -> str:
    rows = [bulk.row(one, store_id="1042") for one in made]
    answered = await bulk.send(rows, pace=at_once)
    assert answered.vendor_id is not None
    return answered.vendor_id


def carried_out(simulator: VoyadoSimulator, clock: Clock) -> None:
    clock.at += timedelta(seconds=60)
    simulator.run_due()


# --- against the simulator --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
async def test_several_are_made_by_one_call(tenant, bulk, version):
    """Each with its store, its number of ours and what it allowed; while the call is carried out nothing is said."""
    simulator, url, clock = tenant
    writer = bulk(url, api_version=version)
    made = [newcomer(1, first_name="Alma", preferences={"accepts_email": True}), newcomer(2)]
    batch = await sent(writer, made)
    assert await writer.said(batch, size=2, pace=at_once) is None
    assert await writer.find(made[0], sure=True, timeout_s=5.0, pace=at_once) is None
    carried_out(simulator, clock)
    assert await writer.said(batch, size=2, pace=at_once) == [MADE, MADE]
    (stored,) = simulator.state.find("mobilePhone", "+46701740601")
    assert stored.attributes["externalId"] == "1042-03-1"
    assert (stored.attributes["createdInStore"], stored.attributes["firstName"]) == ("1042", "Alma")
    assert (stored.preferences["acceptsEmail"], stored.preferences["acceptsSms"]) == (True, False)
    for sure, kind, value in (
        (True, "contact_id", stored.contact_id),
        (False, "member_number", stored.attributes["memberNumber"]),
    ):
        found = await writer.find(made[0], sure=sure, timeout_s=5.0, pace=at_once)
        assert (found.key.type, found.key.value, found.contact_id) == (kind, value, stored.contact_id)


async def test_who_is_there_already_is_not_made_again(tenant, bulk):
    """And is not taken for ours: the number of ours is not theirs."""
    simulator, url, clock = tenant
    writer, made = bulk(url), [newcomer(1), newcomer(2)]
    await sent(writer, [newcomer(1, first_name="Somebody")])
    carried_out(simulator, clock)
    simulator.state.find("mobilePhone", "+46701740601")[0].attributes["externalId"] = "9999-01-7"
    batch = await sent(writer, made)
    carried_out(simulator, clock)
    assert await writer.said(batch, size=2, pace=at_once) == [RowWord(made=False, key="+46701740601"), MADE]
    assert len(simulator.state.find("mobilePhone", "+46701740601")) == 1
    assert await writer.find(made[0], sure=False, timeout_s=5.0, pace=at_once) is None


async def test_by_our_own_number_where_the_tenant_can_be_asked_for_it(tmp_path, bulk):
    """One call, and certain."""
    clock = Clock()
    settings = SimulatorSettings(
        root=tmp_path / "sftp", contact_types={"Member": "mobilePhone"}, custom_key="externalId"
    )
    running = await serve(VoyadoSimulator(settings, now=clock, rng=random.Random(7)))
    try:
        writer = bulk(running.url, custom_key="external_id")
        await sent(writer, [newcomer(1)])
        found = await writer.find(newcomer(1), sure=False, timeout_s=5.0, pace=at_once)
        assert found.key.type is IdentifierType.CONTACT_ID
        assert await writer.find(newcomer(2), sure=False, timeout_s=5.0, pace=at_once) is None
    finally:
        await running.stop()


# --- who goes so ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "given", "key"),
    [
        ({}, {}, "+46701740601"),
        ({"member_key": "email"}, {}, None),
        ({"member_key": "email"}, {"email": "alma@example.com"}, "alma@example.com"),
        ({"member_key": "external_id"}, {}, "1042-03-1"),
        ({}, {"contact_type": "Contact"}, None),
        ({}, {"contact_type": "Member"}, "+46701740601"),
    ],
    ids=["phone", "no mail address", "mail address", "our own number", "another type", "the members' type"],
)
def test_by_what_a_tenant_tells_members_apart(bulk, table, given, key):
    """Who has not that cannot go with others."""
    found = bulk("http://127.0.0.1:9", **table).key_of(newcomer(1, **given))
    assert (found.value if found is not None else None) == key


# --- what is said -----------------------------------------------------------------------------------------------


def status(**changes: Any) -> dict[str, Any]:
    error = {"index": 1, "key": "+46701740602", "errorCode": "ApprovedContactWithKeyExists", "message": "x"}
    said = {"status": "Completed", "total": 2, "created": 1, "updated": 0, "failed": 1, "errors": [error]}
    return {**said, **changes}


NAMED = [MADE, RowWord(made=False, key="+46701740602")]
NOBODY = [NOT_MADE, NOT_MADE]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (status(), NAMED),
        (status(status="completed"), NAMED),
        (status(status="Running"), None),
        (status(status="Geklappt"), None),
        (status(status=None), None),
        ("Completed", None),
        ([], None),
        (status(total=3), NOBODY),
        (status(created=2), NOBODY),
        (status(failed=0), NOBODY),
        (status(errors=None), NOBODY),
        (status(errors=[{"index": 2}]), NOBODY),
        (status(errors=[{"index": True}]), NOBODY),
        (status(errors=[{"index": "1"}]), NOBODY),
        (status(errors=[{"index": [1]}]), NOBODY),
        (status(errors=["x"]), NOBODY),
        (status(errors=[{"index": 1}, {"index": 1}]), NOBODY),
        (status(created=2, failed=0, errors=[]), [MADE, MADE]),
        ({"status": "Completed"}, NOBODY),
    ],
)
def test_a_status_is_believed_where_all_of_it_fits(body, words):
    """Unknown words mean that it is not over; figures that do not add up, that nobody is known to be made."""
    assert read_status(body, 2, "created") == words


@pytest.mark.parametrize("status_", [400, 404, 422])
async def test_a_batch_that_nobody_knows_is_not_over(bulk, status_):
    """It may be one that the tenant's index does not have yet; there is an end to asking."""
    async with wire(refused(status_, "BatchNotFound")) as server:
        assert await bulk(server.url).said("b-1", size=2, pace=at_once) is None


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer(200, b"<html>Welcome</html>"), VendorUnreachableError),
        (answer(500, b"{}"), VendorOwnError),
        (answer(401, b""), VendorRefusedError),
        (cut, VendorUnreachableError),
    ],
    ids=["somebody else", "an error of its own", "credentials", "no answer"],
)
async def test_no_answer_about_a_batch(bulk, script, error):
    """Says nothing of anybody."""
    async with wire(script) as server:
        with pytest.raises(error):
            await bulk(server.url).said("b-1", size=2, pace=at_once)


@pytest.mark.parametrize(
    ("script", "maybe"),
    [
        (answer(202, b""), True),
        (answer(200, b"{}"), True),
        (answer(200, b'""'), True),
        (answer(200, json.dumps("x" * 300).encode()), True),
        (answer(504, b'{"errorCode": "RequestTimeOut"}'), True),
        (answer(429, b""), False),
        (cut, True),
    ],
    ids=["nothing", "no name", "an empty one", "a long one", "its time is up", "too many calls", "cut"],
)
async def test_an_answer_without_a_batch(bulk, script, maybe):
    """It may be there unless it was plainly not taken."""
    async with wire(script) as server:
        with pytest.raises(VendorUnreachableError) as raised:
            await bulk(server.url).send([b"{}"], pace=at_once)
        assert raised.value.maybe_received is maybe


@pytest.mark.parametrize("status_", [400, 404, 413, 422])
async def test_a_call_that_is_refused(bulk, status_):
    """As a whole: nothing of it was taken."""
    async with wire(refused(status_, "TooManyContacts")) as server:
        answered = await bulk(server.url).send([b"{}"], pace=at_once)
        assert (answered.vendor_id, answered.status, answered.vendor_code) == (None, status_, "TooManyContacts")


async def test_each_call_is_paced(tenant, bulk):
    """Each takes its share of the allowance, those included that an answer makes necessary."""
    simulator, url, clock = tenant
    writer, taken = bulk(url), []

    async def pace() -> None:
        taken.append(None)

    key = next(iter(simulator.state.keys.values()))
    rows = [writer.row(newcomer(), store_id="1042")]
    batch = (await writer.send(rows, pace=pace)).vendor_id
    carried_out(simulator, clock)
    assert batch is not None
    await writer.said(batch, size=1, pace=pace)
    await writer.find(newcomer(), sure=True, timeout_s=5.0, pace=pace)
    await writer.find(newcomer(), sure=False, timeout_s=5.0, pace=pace)
    assert (len(taken), key.requests) == (5, 5)


async def test_somebody_without_our_number_is_somebody_else(bulk):
    """Whoever has the phone: the call is not known to have made them."""
    there = [answer(200, json.dumps(ALMA).encode()), answer(200, contact(externalId="9999-01-7"))]
    async with wire(in_turn(*there)) as server:
        assert await bulk(server.url).find(newcomer(), sure=False, timeout_s=5.0, pace=at_once) is None


# --- changes ----------------------------------------------------------------------------------------------------


@pytest.fixture(name="changes")
async def _changes():
    """Makes the room's bulk updater for a tenant's address, and who reads a contact there."""
    made = []

    def changes(url: str, **table: Any) -> tuple[VoyadoBulkChanges, VoyadoPeople]:
        settings = VoyadoSettings.model_validate({"base_url": url, "member_key": "mobile_phone", **table})
        transport = Transport(url, POLICY, connections=2, user_agent="LoyaltyAgent/0.1")
        client = VoyadoClient(
            transport, Key(), version=settings.api_version, source=settings.source, heard=lambda _answer: None
        )
        made.append(client)
        return VoyadoBulkChanges(client, settings), VoyadoPeople(client, settings, IdentifierType.MEMBER_NUMBER)

    yield changes
    for client in made:
        await client.close()


@pytest.mark.parametrize("version", [2, 3])
async def test_several_are_changed_by_one_call(tenant, changes, bulk, version):
    """Each by the key of its type; the next export has them, and whose key is nobody's is named."""
    simulator, url, clock = tenant
    await sent(bulk(url), [newcomer(1, last_name="Keeps"), newcomer(2)])
    carried_out(simulator, clock)
    updater, people = changes(url, api_version=version)
    (stored,) = simulator.state.find("mobilePhone", "+46701740601")
    key = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value=stored.contact_id)
    there = await people.contact_there(key, timeout_s=5.0, pace=at_once)
    assert there is not None
    mine = updater.key_of(there, ())
    assert mine == "+46701740601"
    no = NewContact.model_validate(
        {"preferences": {"accepts_email": False}, "consents": [{**TERMS, "value": False}], "first_name": "Alva"}
    )
    rows = [updater.row(mine, no, ()), updater.row("+46701740699", NewContact(first_name="Nobody"), ())]
    answered = await updater.send(rows, pace=at_once)
    assert answered.vendor_id is not None
    assert await updater.said(answered.vendor_id, size=2, pace=at_once) is None
    carried_out(simulator, clock)
    assert await updater.said(answered.vendor_id, size=2, pace=at_once) == [
        MADE,
        RowWord(made=False, key="+46701740699"),
    ]
    after = await people.contact_there(key, timeout_s=5.0, pace=at_once)
    assert after is not None
    assert is_there(no, after)
    assert (stored.attributes["firstName"], stored.attributes["lastName"]) == ("Alva", "Keeps")
    (batch,) = (one for one in simulator.bulk.batches.values() if one.kind == "update")
    assert batch.export, "further systems at the tenant hear of it as of any other change"


@pytest.mark.parametrize(
    ("table", "changed", "key"),
    [
        ({}, (), "+46701740601"),
        ({}, (Identifier(IdentifierType.MOBILE_PHONE, "+46701740602"),), None),
        ({}, (Identifier(IdentifierType.EMAIL, "alma@example.com"),), "+46701740601"),
        ({"member_key": "email"}, (), None),
        ({"member_key": "external_id"}, (), None),
    ],
    ids=["phone", "the key changes", "something else changes", "no mail address", "what is not shown"],
)
def test_by_what_a_call_finds_a_contact(changes, table, changed, key):
    """Who has not that goes alone."""
    there = ContactThere(ALMA, {"mobile_phone": "+46701740601"})
    assert changes("http://127.0.0.1:9", **table)[0].key_of(there, changed) == key


@pytest.mark.parametrize(
    ("meta", "goes"),
    [
        ({"contactType": "member", "approved": True}, True),
        ({}, True),
        ({"contactType": "Contact"}, False),
        ({"contactType": "Member", "approved": False}, False),
    ],
    ids=["a member", "it does not say", "of another type", "not approved"],
)
def test_a_key_that_may_be_somebody_elses(changes, meta, goes):
    """A member can have the same one: only a contact of their type is changed by it, and only an approved one."""
    there = there_of(ALMA, {"id": ALMA, "meta": meta, "attributes": {"mobilePhone": "+46701740601"}})
    assert (changes("http://127.0.0.1:9")[0].key_of(there, ()) is not None) is goes


def test_what_was_made_is_not_what_was_changed():
    """A status that counts other things than changes is not believed."""
    assert read_status(status(created=2, failed=0, errors=[]), 2, "updated") == NOBODY
    assert read_status(status(created=0, updated=2, failed=0, errors=[]), 2, "updated") == [MADE, MADE]
