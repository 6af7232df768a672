"""Asking a tenant what it has on its books of a member."""

import json
import random
from datetime import UTC, datetime

import pytest

from agent.connectors.voyado import build
from agent.connectors.voyado.history import MAX_PAGES, PAGE
from agent.connectors.voyado.settings import VoyadoSettings
from agent.connectors.voyado.simulator import Fault, SimulatorSettings, VoyadoSimulator, serve
from agent.domain.identifiers import IdentifierType
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Seen
from tests.fakes import member_key, primary_key, surroundings
from tests.wire import POLICY, answer, cut, in_turn, wire

NOW = datetime(2026, 2, 16, 11, 0, tzinfo=UTC)
ALMA = "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"
KEY = primary_key(IdentifierType.CONTACT_ID, ALMA)


class Key:
    def __init__(self, value="sim-key"):
        self._value = value

    def value(self):
        return self._value

    def refused(self):
        """Read anew each time anyway."""


class Pace:
    """Counts how often it is waited for."""

    def __init__(self):
        self.waits = 0

    async def __call__(self):
        self.waits += 1


@pytest.fixture
def pace():
    return Pace()


@pytest.fixture(name="history")
async def _history():
    """Makes the room's history for a tenant's address."""
    made = []

    def history(url, *, key="sim-key", **table):
        settings = VoyadoSettings.model_validate({"base_url": url, **table})
        made.append(build(settings, surroundings(secret=lambda _reference: Key(key), http=POLICY)))
        return made[-1].history

    yield history
    for connector in made:
        await connector.close()


@pytest.fixture(name="tenant")
async def _tenant(tmp_path):
    """A tenant with one member, served on loopback, that imports by hand."""
    simulator = VoyadoSimulator(
        SimulatorSettings(root=tmp_path / "sftp", receipt_interval_s=None), now=lambda: NOW, rng=random.Random(7)
    )
    simulator.seed(3)
    running = await serve(simulator)
    yield simulator, running.url
    await running.stop()


def buy(simulator, *names, number="10000000"):
    for name in names:
        receipt = {
            "contact": {"matchKey": number, "matchKeyType": "memberNumber", "contactType": "Member"},
            "uniqueReceiptId": name, "receiptNumber": name, "createdDate": "2026-02-14T16:41:09+01:00",
            "storeExternalId": "1042", "currency": "SEK", "totalGrossPrice": 10.0,
            "paymentMethods": [{"type": "card", "value": 10.0}],
            "items": [{"type": "PURCHASE", "sku": "a", "articleNumber": "a", "articleName": "a", "quantity": 1,
                       "grossPaidPrice": 10.0, "taxAmount": 2.0, "taxPercent": 25}],
        }  # fmt: skip
        simulator.receipts.accept(json.dumps(receipt).encode())


def page(*names, total=None, **more):
    items = [{"id": f"row-{name}", "externalId": name} for name in names]
    return answer(
        200, json.dumps({"items": items, "totalCount": len(names) if total is None else total, **more}).encode()
    )


@pytest.mark.parametrize("version", [2, 3])
async def test_purchases_lost_and_doubled(tenant, history, pace, version):
    """A sale that was imported stands once, one that Engage swallowed not at all, one that it doubled twice."""
    simulator, url = tenant
    simulator.faults.add(Fault(kind="lose", receipt_id="lost"))
    simulator.faults.add(Fault(kind="double", receipt_id="doubled"))
    buy(simulator, "fine", "lost", "doubled")
    asked = history(url, api_version=version)
    names = ["fine", "lost", "doubled"]

    assert await asked.count(member_key("10000000"), names, pace=pace) == Seen({}, whole=True)
    simulator.import_receipts_now()
    assert await asked.count(member_key("10000000"), names, pace=pace) == Seen({"fine": 1, "doubled": 2}, whole=True)
    assert pace.waits == 4


async def test_a_contact_id_needs_no_look_up(tenant, history, pace):
    """Under a contact id it is one call; other members' purchases are not counted."""
    simulator, url = tenant
    buy(simulator, "mine", number="10000001")
    buy(simulator, "other", number="10000002")
    simulator.import_receipts_now()
    (alma,) = simulator.state.find("memberNumber", "10000001", "Member")
    key = primary_key(IdentifierType.CONTACT_ID, alma.contact_id)

    assert await history(url).count(key, ["mine", "other"], pace=pace) == Seen({"mine": 1}, whole=True)
    assert pace.waits == 1


async def test_a_long_history_is_read_to_its_end(tenant, history, pace):
    """The order of the list is unknown, so every page is read; each call waits for its share of the allowance."""
    simulator, url = tenant
    buy(simulator, *(f"s-{number}" for number in range(2 * PAGE + 1)))
    simulator.import_receipts_now()
    seen = await history(url).count(member_key("10000000"), ["s-0", f"s-{2 * PAGE}"], pace=pace)

    assert seen == Seen({"s-0": 1, f"s-{2 * PAGE}": 1}, whole=True)
    assert pace.waits == 4


@pytest.mark.parametrize("key", [member_key("99999999"), primary_key(IdentifierType.EXTERNAL_ID, "x-1")])
async def test_a_member_that_cannot_be_found_proves_nothing(tenant, history, pace, key):
    """Gone at Engage, or known there by nothing that can be asked for: what is absent is not called missing."""
    assert await history(tenant[1]).count(key, ["a"], pace=pace) == Seen({}, whole=False)


async def test_a_member_who_left_proves_nothing(tenant, history, pace):
    """A deleted contact takes its purchases along."""
    simulator, url = tenant
    (alma,) = simulator.state.find("memberNumber", "10000000", "Member")
    simulator.state.delete(alma)
    key = primary_key(IdentifierType.CONTACT_ID, alma.contact_id)

    assert await history(url).count(key, ["a"], pace=pace) == Seen({}, whole=False)


@pytest.mark.parametrize(
    ("items", "seen"),
    [
        ([{"id": "1"}], Seen({}, whole=False)),
        ([{"id": "1", "externalId": None}, {"id": "2", "externalId": "a"}], Seen({"a": 1}, whole=False)),
        ([{"id": "1", "externalId": "b"}], Seen({}, whole=True)),
        ([{"externalId": "a"}, {"externalId": "a"}], Seen({"a": 2}, whole=True)),
        ([{"id": 1, "externalId": "a"}, {"id": 2, "externalId": "a"}], Seen({"a": 2}, whole=True)),
        ([{"id": "1", "externalId": ["a"]}], Seen({}, whole=False)),
        ([], Seen({}, whole=True)),
    ],
    ids=["no ids", "some without", "others", "rows without ids", "twice", "nonsense", "none"],
)
async def test_a_list_without_our_ids_proves_nothing(history, pace, items, seen):
    """Only purchases that carry the till's own id can be compared; rows are told apart by their own."""
    body = json.dumps({"items": items, "totalCount": len(items)}).encode()
    async with wire(answer(200, body)) as server:
        assert await history(server.url).count(KEY, ["a"], pace=pace) == seen


async def test_a_purchase_that_moves_the_list_is_not_counted_twice(history, pace):
    """A new purchase in front pushes a row onto the next page: the same row is one purchase."""
    script = in_turn(page("new", "a", total=3), page("a", "b", total=4), page(total=4))
    async with wire(script) as server:
        assert await history(server.url).count(KEY, ["a", "b"], pace=pace) == Seen({"a": 1, "b": 1}, whole=True)


async def test_an_endless_history_is_given_up(history, pace):
    """A member with more purchases than are read: what showed counts, what did not is unclear."""
    async with wire(page(*(f"s-{number}" for number in range(PAGE)), total=10**6)) as server:
        seen = await history(server.url).count(KEY, ["s-1", "gone"], pace=pace)

    assert (seen, pace.waits) == (Seen({"s-1": 1}, whole=False), MAX_PAGES)


async def test_without_a_total_a_short_page_is_the_last(history, pace):
    """A list that does not say how long it is ends where a page is not full."""
    async with wire(answer(200, b'{"items": [{"id": "1", "externalId": "a"}]}')) as server:
        assert await history(server.url).count(KEY, ["a"], pace=pace) == Seen({"a": 1}, whole=True)


async def test_purchases_are_asked_for_by_version_two(history, pace):
    """The only version whose swagger has the call, under its own header rules, whatever the tenant's version is."""
    async with wire(page("a")) as server:
        await history(server.url, api_version=3).count(KEY, ["a"], pace=pace)

    head = server.requests[0].decode()
    assert head.startswith(f"GET /api/v2/contacts/{ALMA}/transactions?offset=0&count={PAGE} ")
    assert "content-type: application/json" in head.lower()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer(401, b"{}"), VendorRefusedError),
        (answer(429, b"{}"), VendorUnreachableError),
        (answer(503, b"{}"), VendorUnreachableError),
        (answer(200, b"<html>Welcome</html>", content_type="text/html"), VendorUnreachableError),
        (answer(200, b"[]"), VendorUnreachableError),
        (answer(200, b'{"items": [1]}'), VendorUnreachableError),
        (answer(400, b"{}"), VendorUnreachableError),
        (cut, VendorUnreachableError),
    ],
    ids=["401", "429", "503", "captive portal", "no page", "no rows", "400", "cut"],
)
async def test_what_is_no_answer_is_none(history, pace, script, error):
    """Silence, refusals and nonsense are told apart from an empty list."""
    async with wire(script) as server:
        with pytest.raises(error):
            await history(server.url).count(KEY, ["a"], pace=pace)
