"""Sales where Antavo owns the contacts: whose they are by each kind of key."""

import pytest

from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IntegrationKey
from tests.connectors.mparticle.sales import make_outgoing, make_sale

ID, MEMBER, CARD, EXTERNAL, PHONE = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.CARD_NUMBER,
    IdentifierType.EXTERNAL_ID,
    IdentifierType.MOBILE_PHONE,
)
FIELDS = {"membership_id": ["77", "4711"], "external_ids": {"crm_id": "X-1"}, "mobile_phone": "+46701740606"}


def sale(kind, value, number=1, *, named="primary"):
    key = IntegrationKey(kind=named, type=kind, value=value)
    transaction = make_sale(transaction_id=f"s-{number}")
    return make_outgoing(transaction, key=key, entry=number, person=number.to_bytes(2, "big"))


@pytest.fixture(name="sender")
def _sender(simulator, connect):
    sim, running = simulator
    sim.add_member("c-9", **FIELDS)

    def sender(**how):
        return sim, connect(running.url, owns_contacts=True, **how)

    return sender


@pytest.mark.parametrize("primary", [ID, MEMBER, EXTERNAL])
@pytest.mark.parametrize(
    ("key", "questions"),
    [((ID, "c-9", "primary"), 0), ((MEMBER, "77", "primary"), 1), ((EXTERNAL, "X-1", "primary"), 1),
     ((PHONE, "+46701740606", "secondary"), 1), ((CARD, "4711", "secondary"), 1), ((EXTERNAL, "X-1", "secondary"), 1)],
)  # fmt: skip
async def test_whose_a_sale_is(sender, primary, key, questions):
    """A key means the same whatever the primary one is; an id alone needs no question."""
    sim, antavo = sender(primary=primary, external_id_field="crm_id")
    kind, value, named = key
    [verdict] = await antavo.send([sale(kind, value, named=named)])
    assert verdict.kind is VerdictKind.DONE
    assert sim.transaction("s-1").customer == "c-9"
    assert sim.requests["GET customers"] == questions


@pytest.mark.parametrize(("mode", "customer"), [("none", "c-9"), ("value", "c-9"), ("field_name", "X-1")])
async def test_an_external_id_in_an_event(sender, mode, customer):
    """It is told as the workspace reads it; a customer's id stands alone."""
    sim, antavo = sender(primary=EXTERNAL, external_id_field="crm_id", external_id_mode=mode)
    await antavo.send([sale(EXTERNAL, "X-1")])
    await antavo.send([sale(ID, "c-9", 2)])
    told = {"none": {}, "value": {"external_id": "X-1"}, "field_name": {"external_id": "crm_id"}}[mode]
    first, second = sim.received
    assert {name: first.get(name) for name in ("customer", *told)} == {"customer": customer, **told}
    assert (second["customer"], "external_id" in second) == ("c-9", False)


async def test_an_id_in_use_where_no_external_id_was_told(sender):
    """A sale under the customer's id that is there already is known for what it is."""
    sim, antavo = sender(primary=EXTERNAL, external_id_field="crm_id", external_id_mode="field_name")
    await antavo.send([sale(ID, "c-9")])
    [verdict] = await antavo.send([sale(ID, "c-9")])
    assert (verdict.kind, sim.held()) == (VerdictKind.DUPLICATE, {"s-1": 1})


async def test_sales_by_id_go_together(sender):
    """One call takes as many as there are."""
    sim, antavo = sender(primary=ID)
    verdicts = await antavo.send([sale(ID, "c-9", number) for number in range(20)])
    assert {verdict.kind for verdict in verdicts} == {VerdictKind.DONE}
    assert dict(sim.requests) == {"POST events": 1}


@pytest.mark.parametrize("kind", [MEMBER, PHONE])
async def test_a_key_that_a_living_and_a_former_member_have(sender, kind):
    """The sale is the living one's."""
    sim, antavo = sender()
    sim.add_member("c-0", **FIELDS)
    sim.leave("c-0")
    [verdict] = await antavo.send([sale(kind, {MEMBER: "77", PHONE: "+46701740606"}[kind])])
    assert (verdict.kind, sim.transaction("s-1").customer) == (VerdictKind.DONE, "c-9")


@pytest.mark.parametrize(
    ("kind", "value", "table", "code"),
    [
        (MEMBER, "78", {}, "contact.unknown"),
        (EXTERNAL, "X-9", {"external_id_field": "crm_id"}, "contact.unknown"),
        (EXTERNAL, "X-1", {}, "contact.unresolved"),
        (ID, "gone", {}, "contact.unknown"),
        (IdentifierType.PERSONAL_NUMBER, "198001019802", {}, "contact.unresolved"),
    ],
)
async def test_who_is_nobody(sender, kind, value, table, code):
    """The sale is left to a person, and nobody is made of it."""
    sim, antavo = sender(**table)
    [verdict] = await antavo.send([sale(kind, value)])
    assert (verdict.kind, verdict.code, sim.held()) == (VerdictKind.PARK, code, {})
