"""Who joined and what changed, at a workspace: made once, changed where they are, and nobody guessed or made up."""

from decimal import Decimal

import pytest

from agent.connectors.antavo import activities_of, shares
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.antavo.simulator import Fault
from agent.domain.activity import ContactEvent
from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IntegrationKey, NewContact
from agent.ports import Spent
from tests.connectors.antavo.conftest import MEMBER, make_settings
from tests.connectors.mparticle.sales import make_activity, make_key, make_outgoing, make_sale

JOINED, CHANGED = ContactEvent.JOINED, ContactEvent.CHANGED
DONE, DUPLICATE, PARK, RETRY = VerdictKind.DONE, VerdictKind.DUPLICATE, VerdictKind.PARK, VerdictKind.RETRY
BO = {"first_name": "Bo", "email": "bo@example.com", "mobile_phone": "+46701740606"}
NUMBER = make_key(value="10000422")
OWN_ID = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value="7f1c0d3c-0000-4000-8000-000000000001")
ON = {"opt_in_new_contacts": True}
BY_NUMBER = {**ON, "external_id_field": "membership_id"}


def told(kind, contact, *, key=NUMBER, **changes):
    activity = make_activity(type=kind, order_id=None, attributes={}, new_contact=contact)
    return make_outgoing(activity, key=key, **changes)


async def test_who_joined(simulator, connect):
    """They are a member there under their number, and their sale counts at once; told again, nothing changes."""
    sim, running = simulator
    sender = connect(running.url, **ON)
    joined = told(JOINED, {**BO, "personal_number": "198112189876", "city": "Uppsala"})
    first, again = [(await sender.send([joined]))[0] for _ in range(2)]
    assert ((first.kind, first.code), again.kind) == ((DONE, ""), DUPLICATE)
    assert sim.member("10000422").fields == BO
    [sold] = await sender.send([make_outgoing(make_sale(transaction_id="t-1"), key=NUMBER)])
    assert (sold.kind, sold.reference) == (DONE, "t-1")


async def test_who_joined_with_a_number_that_is_not_the_id(simulator, connect):
    """It becomes their membership number; whoever has it already is left as they are."""
    sim, running = simulator
    sender = connect(running.url, **BY_NUMBER)
    first, again = [(await sender.send([told(JOINED, BO)]))[0] for _ in range(2)]
    assert (first.kind, again.kind) == (DONE, DUPLICATE)
    [made] = sim.applied("opt_in")
    assert made["data"] == {"membership_id": "10000422", **BO}
    assert len(sim.books.applied) == 1


async def test_what_changed(simulator, connect):
    """What is new of a member, and nothing else; how often makes no difference."""
    sim, running = simulator
    sender = connect(running.url, **ON)
    for _ in range(2):
        [verdict] = await sender.send([told(CHANGED, {"email": "new@example.com", "city": "Uppsala"}, key=make_key())])
        assert (verdict.kind, verdict.code) == (DONE, "")
    fields = sim.member(MEMBER).fields
    assert (fields["email"], fields["mobile_phone"]) == ("new@example.com", "+46701740605")
    assert [event["data"] for event in sim.applied("profile")] == [{"email": "new@example.com"}] * 2


@pytest.mark.parametrize("table", [ON, BY_NUMBER], ids=["by id", "by number"])
async def test_who_is_not_there_is_not_changed(simulator, connect, table):
    """No event goes out for an id that nobody has, and nobody has to look at it: their own sales tell."""
    sim, running = simulator
    sim.books.anonymous = True
    [verdict] = await connect(running.url, **table).send([told(CHANGED, {"email": "new@example.com"})])
    assert (verdict.kind, verdict.code) == (DONE, "contact.not_there")
    assert sim.books.applied == []


async def test_whose_key_says_nothing_there(simulator, connect):
    """The loyalty system's own id: who joined goes by what they gave, and a change by nothing that is new of them."""
    sim, running = simulator
    sender = connect(running.url, **ON)
    sim.add_member("somebody", mobile_phone="+46701740609")
    [changed] = await sender.send([told(CHANGED, {"mobile_phone": "+46701740609"}, key=OWN_ID)])
    assert (changed.kind, changed.code) == (PARK, "contact.unresolved")
    [joined] = await sender.send([told(JOINED, BO, key=OWN_ID)])
    assert (joined.kind, len(sim.applied("opt_in"))) == (DONE, 1)


async def test_beside_sales(simulator, connect):
    """Those about which nothing is asked go first, in a call of their own; none is lost."""
    sim, running = simulator
    sale = make_outgoing(make_sale(transaction_id="t-1"))
    first, second = await connect(running.url, **ON).send([told(JOINED, BO), sale])
    assert (first.kind, second.kind) == (VerdictKind.SPLIT, DONE)
    assert sim.held() == {"t-1": 1}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(kind="drop", after_processing=True), RETRY),
        (Fault(kind="answer", status=503), RETRY),
        (Fault(kind="answer", status=429), RETRY),
        (Fault(kind="answer", status=403), VerdictKind.HOLD),
    ],
    ids=["a lost answer", "503", "429", "403"],
)
@pytest.mark.parametrize("what", ContactEvent)
async def test_trouble(simulator, connect, what, fault, kind):
    """As with a sale; nothing of it is ever in doubt."""
    sim, running = simulator
    sim.add(fault)
    [verdict] = await connect(running.url, **ON).send([told(what, BO, key=make_key(value="10000422"))])
    assert verdict.kind is kind
    assert "bo@" not in str(verdict)


def test_nothing_by_default():
    """Only where people's data may go there at all; who joined only where somebody can become a member at all."""
    contact, silent = NewContact.model_validate(BO), NewContact(city="Uppsala")
    assert shares(make_settings(), JOINED, contact) is None
    assert activities_of(make_settings()) == frozenset()
    assert shares(make_settings(**ON), CHANGED, silent) is None
    assert shares(make_settings(**ON), CHANGED, contact) == shares(make_settings(**BY_NUMBER), JOINED, contact)
    assert shares(make_settings(**ON, external_id_field="crm_id"), JOINED, contact) is None


async def test_what_may_go_no_more(simulator, connect):
    """The table was changed while it waited: nothing is sent, and the attempt says so."""
    sim, running = simulator
    [verdict] = await connect(running.url).send([told(JOINED, BO)])
    assert (verdict.kind, verdict.code, sim.books.applied) == (DONE, "contact.not_wanted", [])


def test_nothing_is_told_by_a_client_s_credentials():
    """Nobody can be asked for with them, so that nobody is made or changed but by their sale."""
    table = {"base_url": "https://api.st2.antavo.com", "environment": "st2", "opt_in_new_contacts": True}
    settings = AntavoSettings.model_validate({**table, "auth_mode": "oauth"})

    assert activities_of(settings) == frozenset()
    assert [shares(settings, what, NewContact(first_name="Ylva")) for what in ContactEvent] == [None, None]
    assert activities_of(AntavoSettings.model_validate(table)) == frozenset[str](ContactEvent)


async def test_points_that_are_another_system_s(simulator, connect):
    """What a till redeemed at the owner of the contacts is burned by nobody else."""
    sim, running = simulator
    noted = make_outgoing(make_sale(transaction_id="t-1"), spent=Spent(Decimal(40), None))
    [verdict] = await connect(running.url).send([noted])

    assert verdict.kind is DONE
    assert (sim.transaction("t-1").burned, sim.member(MEMBER).spent) == (0, 0)
