"""Sales on their way to a workspace: alone, together, asked about first, and into trouble."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from agent.connectors.antavo import build
from agent.connectors.antavo.simulator import Fault
from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Spent
from tests.connectors.antavo.conftest import KEY, MEMBER, SECRET, make_settings
from tests.connectors.mparticle.sales import NOW, Reference, make_outgoing, make_sale
from tests.fakes import primary_key, surroundings
from tests.wire import POLICY, answer, cut, in_turn, wire

DONE, DUPLICATE, PARK, RETRY, HOLD, SPLIT, IN_DOUBT = (
    VerdictKind.DONE, VerdictKind.DUPLICATE, VerdictKind.PARK, VerdictKind.RETRY, VerdictKind.HOLD, VerdictKind.SPLIT,
    VerdictKind.IN_DOUBT,
)  # fmt: skip
SOCKS = {"kind": "purchase", "sku": "SK-77", "quantity": "2", "gross_paid": "250.00"}
HAT = {"kind": "purchase", "sku": "SK-88", "quantity": "1", "gross_paid": "100.00"}
BACK = {"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": "125.00"}
FREE = {**BACK, "gross_paid": "0.00"}
HAT_BACK = {**HAT, "kind": "return", "quantity": "-1"}
CONTACT = {"first_name": "Bo", "mobile_phone": "+46701740606"}


def key(kind, value):
    return IntegrationKey(
        kind="primary" if kind is IdentifierType.MEMBER_NUMBER else "secondary", type=kind, value=value
    )


PHONE = key(IdentifierType.MOBILE_PHONE, "+46701740605")
OWN_ID = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value="7f1c0d3c-0000-4000-8000-000000000001")
BO = key(IdentifierType.EMAIL, "bo@example.com")
MAIL = key(IdentifierType.EMAIL, "alma@example.com")
STRANGER = key(IdentifierType.MOBILE_PHONE, "+46701740606")


def now(name="t-1", **changes):
    """A sale of this minute, so that nothing has to be said of its time."""
    return make_sale(transaction_id=name, **{"occurred_at": NOW.isoformat(), **changes})


def sale(name="t-1", *, tag=None, cleared=None, maybe_received=False, attempts=0, readings=(), **changes):
    state = {"maybe_received": maybe_received, "attempts": attempts, "readings": readings}
    return make_outgoing(now(name, **changes), key=tag, original=cleared, **state)


def sales(count):
    return [make_outgoing(now(f"t-{number:02}"), entry=number, person=bytes([number])) for number in range(count)]


def back(name="r-1", original="t-1", lines=(BACK,), **changes):
    return sale(name, type="return", original_transaction_id=original, lines=lines, **changes)


def void(name="v-1", original="t-1", **changes):
    return sale(name, type="void", original_transaction_id=original, lines=[], payments=[], total="0", **changes)


def told(verdicts):
    return [(verdict.kind, verdict.code) for verdict in verdicts]


async def test_one_sale(simulator, connect):
    """Alone it goes by the call for one event; it is called there by the till's own id."""
    sim, running = simulator

    [verdict] = await connect(running.url).send([sale()])

    assert (verdict.kind, verdict.code, verdict.status, verdict.reference) == (DONE, "", 200, "t-1")
    assert sim.held() == {"t-1": 1}
    assert sim.member(MEMBER).score == 250
    assert dict(sim.requests) == {"POST events": 1}


async def test_a_backlog(simulator, connect):
    """Together they go in one request, in their order."""
    sim, running = simulator

    verdicts = await connect(running.url).send(sales(50))

    assert told(verdicts) == [(DONE, "")] * 50
    assert list(sim.held()) == [f"t-{number:02}" for number in range(50)]
    assert dict(sim.requests) == {"POST events": 1}


async def test_more_than_go_together(simulator, connect):
    """What is beyond fifty events is split off, and nothing of it is sent."""
    sim, running = simulator
    exchanges = [sale(f"t-{number}", original_transaction_id="t", lines=[SOCKS, BACK]) for number in range(26)]

    verdicts = await connect(running.url).send(exchanges)

    assert [verdict.kind for verdict in verdicts][25:] == [SPLIT]
    assert len(sim.received) == 50


@pytest.mark.parametrize(
    ("table", "code"), [({}, "sale.time_lost"), ({"backdate": True}, "")], ids=["not told", "told"]
)
async def test_a_late_sale(simulator, connect, clock, table, code):
    """It is reported that it counts at another time than its own, unless the vendor is told that."""
    sim, running = simulator
    sim.books.backdates = True
    outgoing = sale(occurred_at=(NOW - timedelta(hours=3)).isoformat())

    [verdict] = await connect(running.url, **table).send([outgoing])

    assert (verdict.kind, verdict.code) == (DONE, code)
    stamped = NOW - timedelta(hours=3) if table else NOW
    assert sim.transaction("t-1").at == int(stamped.timestamp())


@pytest.mark.parametrize("count", [1, 3], ids=["alone", "together"])
async def test_an_answer_that_is_lost(simulator, connect, count):
    """Sent again it is known to be there and counts once."""
    sim, running = simulator
    fault = sim.add(Fault(kind="drop", after_processing=True))
    sender = connect(running.url)

    first = await sender.send(sales(count))
    sim.remove(fault)
    again = [sale(f"t-{number:02}", maybe_received=True) for number in range(count)]
    second = [verdict for one in again for verdict in await sender.send([one])]

    assert told(first) == [(RETRY, "vendor.offline")] * count
    assert not any(verdict.not_received for verdict in first)
    assert [(verdict.kind, verdict.vendor_code) for verdict in second] == [(DUPLICATE, "5003")] * count
    assert set(sim.held().values()) == {1}


async def test_half_of_a_request(simulator, connect):
    """The line breaks in the middle of a request: nothing is lost and nothing counts twice."""
    sim, running = simulator
    fault = sim.add(Fault(kind="half"))
    sender = connect(running.url)

    first = await sender.send(sales(10))
    sim.remove(fault)
    second = await sender.send([sale(f"t-{number:02}", maybe_received=True) for number in range(10)])

    assert [verdict.kind for verdict in first] == [RETRY] * 10
    assert [verdict.kind for verdict in second] == [DUPLICATE] * 5 + [DONE] * 5
    assert sim.held() == {f"t-{number:02}": 1 for number in range(10)}


@pytest.mark.parametrize("other", [{"lines": [HAT]}, {"tag": BO}], ids=["another total", "another's"])
@pytest.mark.parametrize("errors_are_200", [False, True], ids=["400", "200"])
async def test_an_id_that_is_in_use(simulator, connect, other, errors_are_200):
    """At a first attempt by another sale: a person hears of it, and it stays so when they try again."""
    sim, running = simulator
    sim.add_member("c-2", email="bo@example.com")
    sender = connect(running.url)
    sim.errors_are_200 = errors_are_200
    await sender.send([sale("t-1", **other)])

    [verdict] = await sender.send([sale()])

    assert (verdict.kind, verdict.code, verdict.vendor_code) == (PARK, "sale.collision", "5003")
    assert verdict.not_received
    assert len(sim.applied("checkout")) == 1


@pytest.mark.parametrize(
    "table",
    [{}, {"external_id_field": "crm_id", "external_id_mode": "field_name"},
     {"external_id_field": "crm_id", "external_id_mode": "value"}],
    ids=["the customer's id", "the field of another", "the value of another"],
)  # fmt: skip
async def test_a_sale_that_is_there_already(simulator, connect, table):
    """The books say that the id is this customer's sale of this total: it is delivered, though nobody had sent it."""
    sim, running = simulator
    sim.member(MEMBER).fields["crm_id"] = MEMBER
    sender = connect(running.url, **table)
    await sender.send([sale()])

    [verdict] = await sender.send([sale()])

    assert (verdict.kind, verdict.vendor_code, verdict.reference) == (DUPLICATE, "5003", "t-1")
    assert sim.held() == {"t-1": 1}


async def test_an_id_in_use_among_others(simulator, connect):
    """It is split off to be looked up by itself: no delivery takes more calls than are counted."""
    sim, running = simulator
    sender = connect(running.url)
    await sender.send([sale("t-1")])

    verdicts = await sender.send([sale("t-1"), sale("t-2")])

    assert [verdict.kind for verdict in verdicts] == [SPLIT, DONE]
    assert dict(sim.requests) == {"POST events": 2}


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        pytest.param(200, {"data": [{"id": "t-1", "total": 250.0}]}, DUPLICATE, "", id="data"),
        pytest.param(200, [{"id": "t-1", "total": "250.00"}], DUPLICATE, "", id="a list"),
        pytest.param(200, {"id": "t-1", "total": 250}, DUPLICATE, "", id="one object"),
        pytest.param(200, {"data": [{"id": "t-9", "total": 250}]}, PARK, "sale.collision", id="another id"),
        pytest.param(200, {"data": [{"id": "t-1"}]}, PARK, "sale.collision", id="no total"),
        pytest.param(200, {"data": [{"id": "t-1", "total": "much"}]}, PARK, "sale.collision", id="no number"),
        pytest.param(200, {"data": []}, PARK, "sale.collision", id="none"),
        pytest.param(200, {"data": None}, PARK, "sale.collision", id="null"),
        pytest.param(404, {"error": {"code": 160212}}, PARK, "sale.collision", id="nobody"),
        pytest.param(404, {"error": {"code": 0}}, PARK, "sale.collision", id="not there"),
        pytest.param(200, "t-1", RETRY, "vendor.unreadable", id="a text"),
        pytest.param(503, {}, RETRY, "vendor.error", id="503"),
        pytest.param(401, {}, HOLD, "vendor.credentials_refused", id="401"),
    ],
)
async def test_whose_an_id_is(connect, status, body, kind, code):
    """Only the same customer's sale of the same total is this one; until that can be read it is a first attempt."""
    refused = answer(400, b'{"error": {"code": 5003}}')
    async with wire(in_turn(refused, answer(status, json.dumps(body).encode()))) as server:
        [verdict] = await connect(server.url).send([sale()])
        asked = server.requests[1].split(b"\r\n")[0]

    assert (verdict.kind, verdict.code) == (kind, code)
    assert verdict.not_received is (kind is not DUPLICATE)
    assert asked.startswith(f"GET /customers/{MEMBER}/transactions?id=t-1 ".encode())


async def test_a_book_that_cannot_be_opened(connect):
    """The line breaks while the id is looked up: the next attempt is a first one."""
    async with wire(in_turn(answer(400, b'{"error": {"code": 5003}}'), cut)) as server:
        [verdict] = await connect(server.url).send([sale()])

    assert (verdict.kind, verdict.not_received) == (RETRY, True)


@pytest.mark.parametrize("shape", ["standard", "bare", "status", "resendable"])
async def test_the_forms_of_an_error(simulator, connect, shape):
    """In whichever the vendor says it, it is understood."""
    sim, running = simulator
    sim.shape = shape
    sim.add(Fault(kind="poison", transaction_id="t-1"))

    [verdict] = await connect(running.url).send([sale()])

    assert (verdict.kind, verdict.code, verdict.vendor_code) == (PARK, "vendor.rejected", "160216")


async def test_a_poisoned_sale(simulator, connect):
    """Among others it alone is parked, in one call."""
    sim, running = simulator
    sim.add(Fault(kind="poison", transaction_id="t-01"))

    verdicts = await connect(running.url).send(sales(3))

    assert [verdict.kind for verdict in verdicts] == [DONE, PARK, DONE]
    assert sim.held() == {"t-00": 1, "t-02": 1}
    assert dict(sim.requests) == {"POST events": 1}


async def test_a_customer_who_is_not_there(simulator, connect):
    """The sale is parked, and nobody is made."""
    sim, running = simulator

    [verdict] = await connect(running.url).send([sale(tag=key(IdentifierType.MEMBER_NUMBER, "9"))])

    assert (verdict.kind, verdict.code, verdict.vendor_code) == (PARK, "contact.unknown", "160212")
    assert list(sim.books.members.by_id) == [MEMBER]


@pytest.mark.parametrize("tag", [PHONE, MAIL], ids=["phone", "mail"])
async def test_a_member_who_is_searched_for(simulator, connect, tag):
    """Exactly one fits: the sale goes under their id."""
    sim, running = simulator

    [verdict] = await connect(running.url).send([sale(tag=tag)])

    assert (verdict.kind, sim.applied("checkout")[0]["customer"]) == (DONE, MEMBER)
    assert dict(sim.requests) == {"GET customers": 1, "POST events": 1}


async def test_a_workspace_that_writes_numbers_otherwise(simulator, connect):
    """The search is exact: the number is spelled as there."""
    sim, running = simulator
    sim.add_member("c-2", mobile_phone="0701740606")

    [verdict] = await connect(running.url, phone_format="national").send([sale(tag=STRANGER)])

    assert (verdict.kind, sim.applied("checkout")[0]["customer"]) == (DONE, "c-2")


async def test_several_who_fit(simulator, connect):
    """Nobody is guessed."""
    sim, running = simulator
    sim.add_member("c-2", mobile_phone="+46701740605")

    [verdict] = await connect(running.url).send([sale(tag=PHONE)])

    assert (verdict.kind, verdict.code, sim.received) == (PARK, "contact.unresolved", [])


@pytest.mark.parametrize("anonymous", [False, True])
async def test_nobody_who_fits(simulator, connect, anonymous):
    """The sale is parked, and no ghost is made, not even where the workspace would make one."""
    sim, running = simulator
    sim.books.anonymous = anonymous

    [verdict] = await connect(running.url).send([sale(tag=STRANGER, new_contact=CONTACT)])

    assert (verdict.kind, verdict.code, verdict.not_received) == (PARK, "contact.unknown", True)
    assert sim.received == []


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        pytest.param({"id": "c-1"}, DONE, "", id="one object"),
        pytest.param([{"id": "c-1"}], DONE, "", id="a list"),
        pytest.param({"data": [{"id": "c-1", "mobile_phone": "+46701740605"}]}, DONE, "", id="data"),
        pytest.param({"data": [{"id": "c-1"}, {"id": "c-1"}]}, DONE, "", id="one, twice"),
        pytest.param({"data": []}, PARK, "contact.unknown", id="none"),
        pytest.param({"data": None}, PARK, "contact.unknown", id="null"),
        pytest.param({"data": [{"id": "c-1", "mobile_phone": "+46701740699"}]}, PARK, "contact.unresolved",
                     id="somebody else: the filter was not applied"),
        pytest.param({"data": [{"id": "c-1", "mobile_phone": None}, {"id": "c-2", "mobile_phone": "+46701740699"}]},
                     PARK, "contact.unresolved", id="nobody's, and somebody else"),
        pytest.param({"data": [{"id": "c-1", "mobile_phone": "+46701740605"}, {"id": "c-2", "mobile_phone": None}]},
                     PARK, "contact.unresolved", id="the one, among others"),
        pytest.param({"data": [{"id": "c-1"}, {"id": "c-2", "mobile_phone": "+46701740699"}]}, PARK,
                     "contact.unresolved", id="one unsaid, one else"),
        pytest.param({"data": [{"id": "c-1", "mobile_phone": None}]}, PARK, "contact.unresolved", id="none at all"),
        pytest.param({"data": [{"id": "c-1", "mobile_phone": ["+46701740699", "+46701740605"]}]}, DONE, "",
                     id="one of several"),
        pytest.param({"data": [{"id": "c-1"}, {"id": "c-2"}]}, PARK, "contact.unresolved", id="two"),
        pytest.param({}, RETRY, "vendor.unreadable", id="an empty object"),
        pytest.param({"data": [{"id": 7}]}, DONE, "", id="a number"),
        pytest.param({"data": [{"id": None}]}, RETRY, "vendor.unreadable", id="no id"),
        pytest.param({"data": [{"id": True}]}, RETRY, "vendor.unreadable", id="no id either"),
        pytest.param("c-1", RETRY, "vendor.unreadable", id="a text"),
        pytest.param({"error": {"code": 300122}}, PARK, "vendor.rejected", id="a search it does not have"),
    ],
)  # fmt: skip
async def test_the_forms_of_a_search(connect, body, kind, code):
    """Each that the vendor's pages show is understood; anything else names nobody."""
    found = answer(200, json.dumps(body).encode())
    async with wire(in_turn(found, answer(200, b'{"id": "c-1", "events": []}'))) as server:
        [verdict] = await connect(server.url).send([sale(tag=PHONE)])
        requests = list(server.requests)

    assert (verdict.kind, verdict.code) == (kind, code)
    assert verdict.reached, "it answered: its form is no outage"
    assert (len(requests) == 2) is (kind is DONE)
    assert b"mobile_phone=%2B46701740605" in requests[0].split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("tag", "shown", "kind"),
    [
        (MAIL, {"email": "Alma@Example.COM"}, DONE),
        (MAIL, {"email": "other@example.com"}, PARK),
        (key(IdentifierType.MEMBER_NUMBER, "77"), {"membership_id": [76, 77]}, DONE),
        (key(IdentifierType.MEMBER_NUMBER, "77"), {"membership_id": 78}, PARK),
    ],
    ids=["small letters", "another address", "numbers", "another number"],
)
async def test_how_the_vendor_spells_what_was_searched_for(connect, tag, shown, kind):
    """Letters of an address and the type of a number make no difference."""
    found = answer(200, json.dumps({"data": [{"id": "c-1", **shown}]}).encode())
    async with wire(in_turn(found, answer(200, b'{"id": "c-1", "events": []}'))) as server:
        [verdict] = await connect(server.url, external_id_field="membership_id").send([sale(tag=tag)])

    assert verdict.kind is kind


@pytest.mark.parametrize("enrols", [False, True])
async def test_a_workspace_that_does_not_filter(simulator, connect, enrols):
    """A field that is not searchable there lets anybody through: nobody gets the sale, and nobody is enrolled."""
    sim, running = simulator
    sim.books.members.unfiltered = True
    sim.add_member("c-2", mobile_phone="+46701740606")

    verdicts = [
        verdict
        for tag in (PHONE, STRANGER, key(IdentifierType.EMAIL, "bo@example.com"))
        for verdict in await connect(running.url, opt_in_new_contacts=enrols).send([sale(tag=tag, new_contact=CONTACT)])
    ]

    assert told(verdicts) == [(PARK, "contact.unresolved")] * 3
    assert sim.received == []


@pytest.mark.parametrize(
    ("script", "kind"),
    [(cut, RETRY), (answer(503), RETRY), (answer(401), HOLD), (answer(404), RETRY), (answer(200, b"<html>"), RETRY)],
    ids=["cut", "503", "401", "404", "a page"],
)
async def test_a_search_into_trouble(connect, script, kind):
    """Nothing of the sale has been sent: the next attempt is a first one."""
    async with wire(script) as server:
        [verdict] = await connect(server.url).send([sale(tag=PHONE)])

    assert (verdict.kind, verdict.not_received) == (kind, True)


async def test_those_who_need_no_question_go_first(simulator, connect):
    """Who has to be searched for is split off, and gets a delivery of their own."""
    sim, running = simulator
    sender = connect(running.url)

    mixed = await sender.send([sale("t-1", tag=PHONE), sale("t-2"), sale("t-3", tag=MAIL)])
    asking = await sender.send([sale("t-1", tag=PHONE), sale("t-3", tag=MAIL)])

    assert [verdict.kind for verdict in mixed] == [SPLIT, DONE, SPLIT]
    assert [verdict.kind for verdict in asking] == [DONE, SPLIT]
    assert list(sim.held()) == ["t-2", "t-1"]


async def test_somebody_new(simulator, connect):
    """Whoever gave their data and is not known becomes a member, once, before the sale counts."""
    sim, running = simulator
    sender = connect(running.url, opt_in_new_contacts=True)
    outgoing = sale(tag=STRANGER, new_contact=CONTACT)
    fault = sim.add(Fault(kind="drop", path="/events*", after_processing=True))

    await sender.send([outgoing])
    sim.remove(fault)
    [again] = await sender.send([sale(tag=STRANGER, new_contact=CONTACT, maybe_received=True)])
    [other] = await sender.send([sale("t-2", tag=STRANGER, new_contact=CONTACT)])

    assert [event["action"] for event in sim.books.applied] == ["opt_in", "checkout", "checkout"]
    assert (again.kind, other.kind) == (DUPLICATE, DONE)
    [made] = sim.books.members.by_id.keys() - {MEMBER}
    assert sim.member(made).fields == CONTACT
    assert {event["customer"] for event in sim.books.applied} == {made}


async def test_somebody_new_at_several_tills(simulator, connect):
    """Before the first of the sales is there, each till makes the same member of them."""
    sim, running = simulator
    sender = connect(running.url, opt_in_new_contacts=True)

    for name, tag, contact in (
        ("t-1", STRANGER, {"first_name": "Bo"}),
        ("t-2", key(IdentifierType.EMAIL, "bo@example.com"), CONTACT | {"email": "bo@example.com"}),
    ):
        await sender.send([sale(name, tag=tag, new_contact=contact)])

    assert len(sim.applied("opt_in")) == 1
    assert sim.transaction("t-1").customer == sim.transaction("t-2").customer


@pytest.mark.parametrize("enrols", [False, True])
async def test_somebody_new_with_a_number_that_is_not_the_id(simulator, connect, enrols):
    """It becomes their membership number, by which the next sale finds them."""
    sim, running = simulator
    sender = connect(running.url, external_id_field="membership_id", opt_in_new_contacts=enrols)
    number = key(IdentifierType.MEMBER_NUMBER, "10000422")

    [first] = await sender.send([sale("t-1", tag=number, new_contact=CONTACT)])
    [second] = await sender.send([sale("t-2", tag=number)])

    assert (first.kind, second.kind) == ((DONE, DONE) if enrols else (PARK, PARK))
    made = [sim.member(event["customer"]).fields for event in sim.applied("opt_in")]
    assert made == ([{"membership_id": "10000422", **CONTACT}] if enrols else [])
    assert "10000422" not in sim.books.members.by_id


@pytest.mark.parametrize("tag", [STRANGER, key(IdentifierType.MEMBER_NUMBER, "10000422")], ids=["phone", "number"])
async def test_nobody_becomes_a_member_by_giving_back(simulator, connect, tag):
    """A return with a new contact's data enrols nobody."""
    sim, running = simulator
    sender = connect(running.url, opt_in_new_contacts=True)

    [verdict] = await sender.send([back(tag=tag, new_contact=CONTACT)])

    assert verdict.kind is PARK
    assert sim.applied("opt_in") == []
    assert list(sim.books.members.by_id) == [MEMBER]


async def test_somebody_new_whose_number_is_known(simulator, connect):
    """Who has a member number already becomes a member under it; one who is there is left as they are."""
    sim, running = simulator
    sender = connect(running.url, opt_in_new_contacts=True)

    verdicts = await sender.send(
        [
            sale("t-1", tag=key(IdentifierType.MEMBER_NUMBER, "10000422"), new_contact=CONTACT),
            sale("t-2", new_contact={"email": "other@example.com"}),
        ]
    )

    assert told(verdicts) == [(DONE, ""), (DONE, "")]
    assert sim.member("10000422").fields == CONTACT
    assert sim.member(MEMBER).fields["email"] == "alma@example.com"


@pytest.mark.parametrize(
    ("table", "asked", "events"),
    [
        pytest.param({"external_id_field": "membership_id"}, 1, ("c-9", None), id="the membership number"),
        pytest.param({"external_id_field": "crm_id"}, 1, ("c-9", None), id="an external id, asked for"),
        pytest.param({"external_id_field": "crm_id", "external_id_mode": "value"}, 1, ("c-9", "77"), id="and told"),
        pytest.param({"external_id_field": "crm_id", "external_id_mode": "field_name"}, 0, ("77", "crm_id"),
                     id="named by its field"),
    ],
)  # fmt: skip
async def test_what_the_primary_key_is(simulator, connect, table, asked, events):
    """The customer's id, their number, or an external id, as the configuration says."""
    sim, running = simulator
    sim.add_member("c-9", membership_id=["76", "77"], crm_id="77")

    [verdict] = await connect(running.url, **table).send([sale(tag=key(IdentifierType.MEMBER_NUMBER, "77"))])

    assert (verdict.kind, sim.requests["GET customers"]) == (DONE, asked)
    assert (sim.received[0]["customer"], sim.received[0].get("external_id")) == events
    assert sim.transaction("t-1").customer == "c-9"


@pytest.mark.parametrize(
    ("known", "customer"),
    [
        pytest.param({"new_contact": {"mobile_phone": "+46701740605"}}, MEMBER, id="a new contact's phone"),
        pytest.param({"readings": (PHONE.identifier,)}, MEMBER, id="what was said"),
        pytest.param({"new_contact": {"email": "alma@example.com"}}, MEMBER, id="a new contact's address"),
        pytest.param({"readings": (PHONE.identifier, STRANGER.identifier)}, None, id="what can be two things"),
        pytest.param({"readings": (Identifier(IdentifierType.CARD_NUMBER, "77"),)}, None, id="a card"),
        pytest.param({}, None, id="nothing"),
    ],
)
async def test_the_loyalty_systems_own_id(simulator, connect, known, customer):
    """It is nobody's id here: the person is searched for by what was given with it, or a person hears of the sale."""
    sim, running = simulator
    sim.books.anonymous = True

    [verdict] = await connect(running.url).send([sale(tag=OWN_ID, **known)])

    assert (verdict.kind, verdict.code) == ((DONE, "") if customer else (PARK, "contact.unresolved"))
    assert [event["customer"] for event in sim.received] == ([customer] if customer else [])


async def test_a_contact_id_that_is_the_primary_key(simulator, connect):
    """Then it is the customer's id, as any other primary key."""
    sim, running = simulator
    sim.add_member(OWN_ID.value)

    [verdict] = await connect(running.url, primary=IdentifierType.CONTACT_ID).send([sale(tag=OWN_ID)])

    assert (verdict.kind, sim.transaction("t-1").customer) == (DONE, OWN_ID.value)


@pytest.mark.parametrize("field", ["membership_id", "crm_id"])
async def test_a_primary_key_that_nobody_has(simulator, connect, field):
    """The sale is parked."""
    sim, running = simulator

    [verdict] = await connect(running.url, external_id_field=field).send([sale()])

    assert (verdict.kind, verdict.code, sim.received) == (PARK, "contact.unknown", [])


@pytest.mark.parametrize(
    ("outgoing", "code"),
    [
        pytest.param(make_outgoing(now(), guest=True), "sale.without_member", id="a guest"),
        pytest.param(sale(tag=key(IdentifierType.MEMBER_NUMBER, "a.")), "contact.unresolved", id="an id with a dot"),
        pytest.param(sale(tag=key(IdentifierType.MEMBER_NUMBER, "a./b")), "contact.unresolved", id="and a slash"),
        pytest.param(sale(tag=key(IdentifierType.PERSONAL_NUMBER, "198803140000")), "contact.unresolved",
                     id="a personal number"),
        pytest.param(sale(type="return", lines=[BACK]), "sale.without_original", id="a return without a receipt"),
        pytest.param(sale(lines=[SOCKS, BACK]), "sale.without_original", id="an exchange without one"),
        pytest.param(void(cleared=now("x-1", lines=[SOCKS, BACK])), "sale.not_clearable", id="a void of an exchange"),
    ],
)  # fmt: skip
async def test_what_is_not_sent(simulator, connect, outgoing, code):
    """It is left to a person with the reason, and does not keep its neighbours."""
    sim, running = simulator

    verdicts = await connect(running.url).send([outgoing, *sales(1)])

    assert told(verdicts) == [(PARK, code), (DONE, "")]
    assert verdicts[0].not_received
    assert sim.held() == {"t-00": 1}


async def test_a_return(simulator, connect):
    """Each product that was given back lowers the points of its sale."""
    sim, running = simulator
    sender = connect(running.url)
    await sender.send([sale(lines=[SOCKS, HAT])])

    [verdict] = await sender.send([back(lines=[BACK, HAT_BACK])])

    assert (verdict.kind, verdict.code) == (DONE, "")
    assert (sim.transaction("t-1").refunded, sim.member(MEMBER).score) == (225, 125)


@pytest.mark.parametrize(
    ("arrived", "kind", "code"),
    [
        pytest.param(True, IN_DOUBT, "sale.maybe_given_back", id="it had arrived"),
        pytest.param(False, DONE, "", id="it had not"),
    ],
)
async def test_a_return_whose_answer_is_lost(simulator, connect, arrived, kind, code):
    """The books are read before it goes out again: what was counted is not counted twice."""
    sim, running = simulator
    sender = connect(running.url)
    await sender.send([sale()])
    fault = sim.add(Fault(kind="drop", after_processing=arrived))
    [first] = await sender.send([back()])
    sim.remove(fault)

    [again] = await sender.send([back(maybe_received=True)])

    assert (first.kind, first.not_received) == (RETRY, False)
    assert (again.kind, again.code) == (kind, code)
    assert sim.transaction("t-1").refunded == 125


@pytest.mark.parametrize(
    ("books", "kind"),
    [
        ({"status": "accepted", "refunded": 0}, DONE),
        ({"status": "accepted", "refunded": "0.00"}, DONE),
        ({"status": "accepted", "refunded": None}, DONE),
        ({"status": "accepted", "refunded": 1}, IN_DOUBT),
        ({"status": "accepted"}, IN_DOUBT),
        ({"status": "accepted", "refunded": "some"}, IN_DOUBT),
        ({"status": "refunded", "refunded": 0}, IN_DOUBT),
        ({"refunded": 0}, RETRY),
        ([], RETRY),
        ({"id": "another", "status": "accepted", "refunded": 0}, RETRY),
    ],
    ids=[
        "nothing",
        "as text",
        "null",
        "something",
        "unsaid",
        "unreadable",
        "all",
        "no status",
        "no transaction",
        "another transaction",
    ],
)
async def test_what_the_books_have_to_say(connect, books, kind):
    """Only where they say that nothing was given back does a return go out again."""
    found = answer(200, json.dumps(books).encode())
    async with wire(in_turn(found, answer(200, b'{"id": "c-1", "events": []}'))) as server:
        [verdict] = await connect(server.url).send([back(maybe_received=True)])
        requests = list(server.requests)

    assert verdict.kind is kind
    assert (len(requests) == 2) is (kind is DONE)


async def test_a_return_that_is_partly_refused(simulator, connect):
    """It is in doubt: sent again, what was taken would count twice."""
    sim, running = simulator
    sender = connect(running.url)
    await sender.send([sale(lines=[SOCKS])])

    [verdict] = await sender.send([back(lines=[{**BACK, "gross_paid": "200.00"}, HAT_BACK])])

    assert (verdict.kind, verdict.code, verdict.vendor_code) == (IN_DOUBT, "sale.partly_taken", "112203")
    assert sim.transaction("t-1").refunded == 200


async def test_a_person_retries_what_was_partly_taken(simulator, connect):
    """Their retry says that nothing had arrived, and the books know better."""
    sim, running = simulator
    sender = connect(running.url)
    await sender.send([sale(lines=[SOCKS, HAT])])
    parts = {"lines": [BACK, {**HAT_BACK, "gross_paid": "300.00"}]}
    [first] = await sender.send([back(**parts)])

    [again] = await sender.send([back(attempts=1, **parts)])

    assert told([first, again]) == [(IN_DOUBT, "sale.partly_taken"), (IN_DOUBT, "sale.maybe_given_back")]
    assert sim.transaction("t-1").refunded == 125


async def test_a_person_retries_a_return(simulator, connect):
    """One event was taken or was not: of that their word counts, whatever else was given back of the sale."""
    sim, running = simulator
    sender = connect(running.url)
    await sender.send([sale()])
    await sender.send([back("r-0")])

    [again] = await sender.send([back(attempts=2)])

    assert (again.kind, sim.transaction("t-1").refunded) == (DONE, 250)


@pytest.mark.parametrize("again_is", [{"maybe_received": True}, {"attempts": 1}], ids=["in doubt", "parked"])
async def test_an_exchange_whose_return_is_refused(simulator, connect, again_is):
    """What was bought counts; the sale is parked, and once the cause is gone the rest of it goes."""
    sim, running = simulator
    sender = connect(running.url)
    exchange = {"original_transaction_id": "t-1", "lines": [HAT, BACK]}

    [first] = await sender.send([sale("t-2", **exchange)])
    await sender.send([sale("t-1")])
    [again] = await sender.send([sale("t-2", **again_is, **exchange)])

    assert (first.kind, first.not_received) == (PARK, False)
    assert again.kind is DONE
    assert sim.held() == {"t-1": 1, "t-2": 1}
    assert sim.transaction("t-1").refunded == 125


@pytest.mark.parametrize(
    "outgoing",
    [
        back(lines=[FREE]),
        back(original=None, lines=[FREE]),
        void("v-1", "r-1", cleared=now("r-1", type="return", lines=[FREE])),
    ],
    ids=["a return", "without a receipt", "the void of one"],
)
async def test_what_had_cost_nothing_is_given_back(simulator, connect, outgoing):
    """The vendor refuses to refund nothing: the sale is settled without it."""
    sim, running = simulator

    verdicts = await connect(running.url).send([outgoing])

    assert told(verdicts) == [(DONE, "")]
    assert sim.received == []


async def test_what_had_cost_nothing_among_what_had_not(simulator, connect):
    """The rest of the return counts, and only it is sent."""
    sim, running = simulator
    sender = connect(running.url)
    await sender.send([sale()])

    verdicts = await sender.send([back(lines=[BACK, {**FREE, "sku": "SK-99"}])])

    assert told(verdicts) == [(DONE, "")]
    assert [event["data"]["product_id"] for event in sim.received[1:]] == ["SK-77"]


async def test_a_return_of_what_is_pending(simulator, connect):
    """The vendor does not take it before it has accepted the sale: a person hears of it."""
    sim, running = simulator
    sim.books.accepts = True
    sender = connect(running.url)
    await sender.send([sale()])

    [verdict] = await sender.send([back()])

    assert (verdict.kind, verdict.code) == (PARK, "sale.pending")


@pytest.mark.parametrize(("accepts", "status"), [(False, "refunded"), (True, "rejected")])
async def test_a_void(simulator, connect, accepts, status):
    """The whole sale is refunded, or rejected while it waits to be accepted; a lost answer changes nothing."""
    sim, running = simulator
    sim.books.accepts = accepts
    sender = connect(running.url)
    await sender.send([sale()])
    fault = sim.add(Fault(kind="drop", path="/events", after_processing=True))
    [first] = await sender.send([void()])
    sim.remove(fault)

    [again] = await sender.send([void(maybe_received=True)])

    assert (first.kind, again.kind) == (RETRY, DUPLICATE)
    member = sim.member(MEMBER)
    assert (sim.transaction("t-1").status, member.score, member.pending) == (status, 0, 0)
    assert len(sim.applied("refund") + sim.applied("checkout_reject")) == 1


async def test_a_void_of_what_is_not_there(simulator, connect):
    """It is parked: the sale that it clears never arrived."""
    sim, running = simulator

    [verdict] = await connect(running.url).send([void()])

    assert (verdict.kind, verdict.code, verdict.not_received) == (PARK, "sale.without_original", True)
    assert sim.received == []


@pytest.mark.parametrize(
    ("fault", "kind", "not_received"),
    [
        pytest.param(Fault(kind="drop"), RETRY, False, id="dropped before"),
        pytest.param(Fault(kind="answer", status=200, body="html"), RETRY, False, id="a captive portal"),
        pytest.param(Fault(kind="answer", status=200, body="json"), RETRY, False, id="an empty object"),
        pytest.param(Fault(kind="answer", status=400, body="echo"), PARK, True, id="what was sent, said"),
        pytest.param(Fault(kind="answer", status=200, body="huge", size_bytes=2 << 20), RETRY, False, id="huge"),
        pytest.param(Fault(kind="answer", status=503), RETRY, False, id="503"),
        pytest.param(Fault(kind="answer", status=429, headers={"Retry-After": "9"}), RETRY, True, id="429"),
        pytest.param(Fault(kind="answer", status=401), HOLD, True, id="401"),
        pytest.param(Fault(kind="answer", status=403), HOLD, True, id="403"),
    ],
)
async def test_a_workspace_in_trouble(simulator, connect, fault, kind, not_received):
    """Whatever it does, there is a verdict and no exception, and nothing it said gets through."""
    sim, running = simulator
    sim.add(fault)

    verdicts = await connect(running.url).send([sale()])

    assert [(verdict.kind, verdict.not_received) for verdict in verdicts] == [(kind, not_received)]
    assert MEMBER not in repr(verdicts)


@pytest.mark.parametrize(
    "seconds", [0, 290, 400, -400, 40_000_000], ids=["right", "nearly", "behind", "ahead", "a year"]
)
async def test_a_clock_that_is_wrong(simulator, connect, clock, seconds):
    """The first signature may be refused for it; the same call is signed anew, and all that follow are right."""
    sim, running = simulator
    clock.advance(-seconds)
    sender = connect(running.url)

    verdicts = [verdict for one in sales(3) for verdict in await sender.send([one])]

    assert [verdict.kind for verdict in verdicts] == [DONE] * 3
    assert sim.held() == {"t-00": 1, "t-01": 1, "t-02": 1}


async def test_a_signature_that_is_refused_is_not_tried_for_ever(connect):
    """The vendor's clock explains one more attempt, no further one."""
    async with wire(answer(401, b"{}", date="Sat, 14 Feb 2026 18:00:00 GMT")) as server:
        sender = connect(server.url)
        [first] = await sender.send([sale()])
        [second] = await sender.send([sale()])

    assert (first.kind, second.kind) == (HOLD, HOLD)
    assert len(server.requests) == 3


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"])
async def test_a_date_that_cannot_be(connect, clock, date):
    """It is nobody's clock: what follows is signed for the till's own time."""
    taken = answer(200, b'{"id": "c-1", "events": []}', date=date)
    async with wire(taken) as server:
        sender = connect(server.url)
        [first] = await sender.send([sale()])
        clock.advance(60)
        [second] = await sender.send([sale()])
        dates = [line for line in server.requests[1].lower().split(b"\r\n") if line.startswith(b"date:")]

    assert (first.kind, second.kind) == (DONE, DONE)
    assert dates == [b"date: 20260214t160100z"]


async def test_the_date_of_a_portal(connect, clock):
    """A page's date is nobody's clock."""
    page = answer(401, b"<html>", date="Sat, 14 Feb 2026 18:00:00 GMT")
    async with wire(page) as server:
        await connect(server.url).send([sale()])

    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "refusals"), [(401, 1), (403, 1), (400, 0)])
async def test_credentials_that_are_refused(connect, status, refusals):
    """Key and secret are both read again before the next call."""
    key_, secret = Reference(KEY), Reference(SECRET)
    async with wire(answer(status, b"{}")) as server:
        await connect(server.url, key=key_, secret=secret).send([sale()])

    assert (key_.refusals, secret.refusals) == (refusals, refusals)


@pytest.mark.parametrize("tag", [None, PHONE], ids=["sent", "searched for"])
@pytest.mark.parametrize(
    "credentials",
    [{"key": None}, {"secret": None}, {"key": ""}, {"secret": ""}, {"key": "a:b"}, {"key": "a b"}],
    ids=["no key", "no secret", "empty key", "empty secret", "a colon", "a blank"],
)
async def test_credentials_that_are_missing(connect, credentials, tag):
    """Without them everything is held; nothing went out."""
    async with wire(answer(200)) as server:
        [verdict] = await connect(server.url, **credentials).send([sale(tag=tag)])

    assert (verdict.kind, verdict.code, verdict.not_received) == (HOLD, "vendor.credentials_missing", True)
    assert server.connections == 0


async def test_a_redirect_gets_nothing(connect):
    """Signature and sale go to no other host."""
    async with wire(answer()) as other, wire(answer(302, location=other.url)) as server:
        [verdict] = await connect(server.url).send([sale()])

    assert (verdict.kind, other.connections) == (RETRY, 0)


async def test_the_wire(connect):
    """What is signed is what is sent: host with its port, the basic date, JSON that says so; never the secret."""
    async with wire(answer(200, b'{"events": []}')) as server:
        await connect(server.url).send([sale()])

    head = server.requests[0].partition(b"\r\n\r\n")[0].decode().lower()
    assert head.startswith("post /events http/1.1")
    assert head.count("\r\nhost:") == 1
    assert f"host: 127.0.0.1:{server.port}" in head
    assert "date: 20260214t160000z" in head
    assert 'content-type: application/json; charset="utf-8"' in head
    assert SECRET not in server.requests[0].decode()


async def test_pinging(simulator, clock):
    """A workspace that answers is there; refused credentials are told apart from silence; nothing is stored."""
    sim, running = simulator
    secrets = {"credential:antavo-key": Reference(KEY), "credential:antavo-secret": Reference(SECRET)}
    room = build(
        make_settings(running.url),
        surroundings(role="forward", secret=secrets.__getitem__, http=POLICY, clock=clock),
    )

    await room.ping()
    fault = sim.add(Fault(kind="answer", status=503))
    with pytest.raises(VendorUnreachableError):
        await room.ping()
    sim.remove(fault)
    sim.keys[KEY] = "another"
    with pytest.raises(VendorRefusedError):
        await room.ping()
    await room.close()

    assert sim.received == []


def test_the_allowance(clock):
    """A delivery may take four calls: with all of them the share is kept."""
    room = build(
        make_settings(requests_per_minute=120),
        surroundings(role="forward", secret=lambda _name: Reference("x"), http=POLICY, clock=clock),
    )
    assert room.requests_per_second == 0.5


def test_many_idle_tills(clock):
    """A thousand of one brand that sell nothing leave nine tenths of the key's allowance to those that do."""
    room = build(
        make_settings(), surroundings(role="forward", secret=lambda _name: Reference("x"), http=POLICY, clock=clock)
    )
    assert 1_000 * 60 / room.idle_ping_s <= 1_500 / 10


@pytest.mark.parametrize("whose", [None, MEMBER, "c-2"], ids=["nobody knows", "their own", "another's"])
async def test_points_that_were_noted_for_a_sale(simulator, connect, whose):
    """They are burned, once; another's are not, and a person looks at the sale."""
    sim, running = simulator
    sim.member(MEMBER).score = 40
    key = None if whose is None else primary_key(IdentifierType.CONTACT_ID, whose)
    own = primary_key(IdentifierType.CONTACT_ID, MEMBER)
    outgoing = make_outgoing(make_sale(transaction_id="t-1"), key=own, spent=Spent(Decimal(40), key))
    sender = connect(running.url, primary=IdentifierType.CONTACT_ID, owns_contacts=True)

    verdicts = [(await sender.send([one]))[0] for one in (outgoing, replace(outgoing, maybe_received=True))]

    if whose == "c-2":
        assert {(verdict.kind, verdict.code) for verdict in verdicts} == {(PARK, "sale.points_of_another")}
        assert sim.received == []
        return
    assert [verdict.kind for verdict in verdicts] == [DONE, DUPLICATE]
    assert (sim.member(MEMBER).spent, sim.transaction("t-1").burned) == (40, 40)


async def test_points_that_are_gone(simulator, connect):
    """Another till was faster: the sale is refused as a whole, and parked with the vendor's number."""
    sim, running = simulator
    outgoing = make_outgoing(
        make_sale(), key=primary_key(IdentifierType.CONTACT_ID, MEMBER), spent=Spent(Decimal(40), None)
    )
    [verdict] = await connect(running.url, primary=IdentifierType.CONTACT_ID, owns_contacts=True).send([outgoing])
    assert (verdict.kind, verdict.vendor_code, sim.books.transactions) == (PARK, "120241", {})
