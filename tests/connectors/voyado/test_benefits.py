"""Asking a tenant what a member can use at a till."""

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from agent.connectors.voyado.benefits import MAX_ITEMS, VoyadoBenefits
from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.people import VoyadoPeople
from agent.connectors.voyado.settings import VoyadoSettings
from agent.connectors.voyado.simulator import SimulatorSettings, VoyadoSimulator, serve
from agent.connectors.voyado.simulator.faults import Fault
from agent.domain.benefits import Benefit, BenefitKind, Benefits, Points, Worth
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.transport import Transport
from tests.fakes import at_once, member_key, until
from tests.wire import POLICY, answer, hang, wire

NOW = datetime(2026, 2, 16, 11, 0, tzinfo=UTC)
STOCKHOLM = ZoneInfo("Europe/Stockholm")
GUID = "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"
BY_ID = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value=GUID)


class Key:
    def value(self):
        return "sim-key"

    def refused(self):
        """Read anew each time anyway."""


@pytest.fixture(name="ask")
async def _ask():
    made = []

    def ask(url, **table):
        settings = VoyadoSettings.model_validate({"base_url": url, **table})
        client = VoyadoClient(
            Transport(url, POLICY, connections=4, user_agent="LoyaltyAgent/0.1"),
            Key(),
            version=settings.api_version,
            source="POS",
            heard=lambda _answer: None,
        )
        made.append(client)
        people = VoyadoPeople(client, settings, IdentifierType.MEMBER_NUMBER)
        return VoyadoBenefits(client, people, STOCKHOLM)

    yield ask
    for client in made:
        await client.close()


@pytest.fixture
async def tenant(tmp_path):
    """A tenant with twenty people, and its address."""
    sim = VoyadoSimulator(SimulatorSettings(root=tmp_path), now=lambda: NOW, rng=random.Random(7))
    sim.seed(20)
    running = await serve(sim)
    yield sim, running.url
    await running.stop()


def channel(**members):
    return {"type": "POS", "valueType": "PERCENT", "value": 10, "localValues": [], "instruction": None, **members}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("key_type", ["member number", "contact id"])
async def test_everything_a_member_has(tenant, ask, version, key_type):
    """Points, what can be redeemed at a till, and vouchers that are still good, in both versions alike."""
    sim, url = tenant
    alma = next(iter(sim.state.members()))
    account = sim.rewards.account(alma.contact_id)
    account.balance, account.pending = 240, 12
    voucher = sim.rewards.issue_voucher(alma.contact_id, amount=49.9)
    sim.rewards.redeem_voucher(sim.rewards.issue_voucher(alma.contact_id).voucher_id)
    sim.rewards.issue_voucher(alma.contact_id, expires_at=NOW)
    offer = sim.rewards.assign_promotion(alma.contact_id, {"name": "Socks"})
    sim.rewards.assign_promotion(alma.contact_id, {"redemptionChannels": [channel(type="ECOM")]})
    used = sim.rewards.assign_promotion(alma.contact_id, {})
    sim.rewards.redeem_promotion(used["id"], "POS")
    value = alma.contact_id if key_type == "contact id" else alma.value("memberNumber")
    kind = IdentifierType.CONTACT_ID if key_type == "contact id" else IdentifierType.MEMBER_NUMBER
    paced = []

    async def pace():
        paced.append(1)

    found = await ask(url, api_version=version).benefits(
        IntegrationKey(kind="primary", type=kind, value=value), timeout_s=5, pace=pace
    )
    assert found == Benefits(
        Points(Decimal(240), Decimal(12)),
        (
            Benefit(
                BenefitKind.OFFER,
                offer["id"],
                "Socks",
                Worth("percent", percent=Decimal(10)),
                NOW + timedelta(days=30),
                offer["promotionId"],
            ),
            Benefit(
                BenefitKind.VOUCHER,
                voucher.voucher_id,
                "Bonus voucher",
                Worth("money", amount=Decimal("49.90"), currency="SEK"),
                voucher.expires_at,
                voucher.check_number,
            ),
        ),
    )
    assert len(paced) == 3 + (key_type == "member number")
    assert sim.state.keys["sim-key"].requests == len(paced), "every call takes its share"


@pytest.mark.parametrize("key", [BY_ID, member_key("99999999")], ids=["contact id", "member number"])
async def test_somebody_the_tenant_does_not_know_has_nothing(tenant, ask, key):
    """Deleted meanwhile, or never there."""
    assert await ask(tenant[1]).benefits(key, timeout_s=5, pace=at_once) == Benefits()


@pytest.mark.parametrize("path", ["point-accounts", "reward-vouchers", "promotions"])
async def test_half_an_answer_is_none(tenant, ask, path):
    """One of the questions draws an error: what was said last is better than a list with a hole in it."""
    sim, url = tenant
    alma = next(iter(sim.state.members()))
    sim.faults.add(Fault(kind="answer", status=503, path=f"*{path}*"))
    key = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value=alma.contact_id)
    with pytest.raises(VendorUnreachableError):
        await ask(url).benefits(key, timeout_s=5, pace=at_once)


async def test_refused_credentials(tenant, ask):
    """They are told as such."""
    sim, url = tenant
    del sim.state.keys["sim-key"]
    with pytest.raises(VendorRefusedError):
        await ask(url).benefits(BY_ID, timeout_s=5, pace=at_once)


async def test_no_answer_is_not_waited_for(ask, pass_by):
    """As long as is said and no longer."""
    async with wire(hang) as server:
        asking = asyncio.create_task(ask(server.url).benefits(BY_ID, timeout_s=40.0, pace=at_once))
        await until(lambda: server.requests)
        pass_by(40.0)
        with pytest.raises(VendorUnreachableError):
            await asyncio.wait_for(asking, 10)


def voucher_row(**members):
    return {"id": GUID, "voucherNumber": "0000000204417", "name": "Bonus", "expiresOn": None, **members}


def money(amount, currency="SEK"):
    return {"currency": currency, "amount": amount}


async def read(ask, rows, *, what="items"):
    """What is made of rows that every question is answered with."""
    body = json.dumps({what: rows} if what else rows).encode()
    async with wire(answer(200, body)) as server:
        found = await ask(server.url).benefits(BY_ID, timeout_s=5, pace=at_once)
    return found, [item for item in found.items if item.kind is BenefitKind.VOUCHER]


@pytest.mark.parametrize("what", ["items", "Items", None], ids=["envelope", "capital", "bare array"])
async def test_a_page_or_an_array(ask, what):
    """All three occur."""
    _, vouchers = await read(ask, [voucher_row()], what=what)
    assert [voucher.reference for voucher in vouchers] == ["0000000204417"]


@pytest.mark.parametrize(
    "body",
    [b"[1]", b'{"items": {}}', b"{}", b'"text"', b"null"],
    ids=["numbers", "no list", "nothing", "a text", "null"],
)
async def test_what_is_no_list_is_no_answer(ask, body):
    """Nothing is made up from it."""
    async with wire(answer(200, body)) as server:
        with pytest.raises(VendorUnreachableError):
            await ask(server.url).benefits(BY_ID, timeout_s=5, pace=at_once)


@pytest.mark.parametrize(
    ("value", "worth"),
    [
        (money(50), Worth("money", Decimal("50.00"), "SEK")),
        (money(50.5), Worth("money", Decimal("50.50"), "SEK")),
        (money("50.50"), Worth("money", Decimal("50.50"), "SEK")),
        (money(500, "JPY"), Worth("money", Decimal(500), "JPY")),
        (money(50, "KRONOR"), None),
        (money(True), None),
        (money(1e300), None),
        (money("NaN"), None),
        (None, None),
        (50, None),
    ],
    ids=str,
)
async def test_what_a_voucher_is_worth(ask, value, worth):
    """Exact, in the currency's own decimals; what cannot be read is not shown."""
    _, (voucher,) = await read(ask, [voucher_row(value=value)])
    assert voucher.value == worth


@pytest.mark.parametrize(
    ("row", "worth"),
    [
        (channel(), Worth("percent", percent=Decimal(10))),
        (channel(value=None), None),
        (channel(valueType="MONEY", value=money(25)), Worth("money", Decimal("25.00"), "SEK")),
        (channel(valueType="EXTERNALOFFER", value="PR-7"), Worth("price_rule", text="PR-7")),
        (channel(valueType="EXTERNALOFFER", value=None), None),
        (channel(valueType="MANUAL", value="Give a bag"), Worth("manual", text="Give a bag")),
        (channel(valueType="SWIPE", value=None, instruction="Swipe"), Worth("manual", text="Swipe")),
        (channel(valueType="SWIPE", value=None), None),
        (channel(type="ECOM"), None),
        ("nonsense", None),
    ],
    ids=str,
)
async def test_what_an_offer_is_worth(ask, row, worth):
    """What its row for the till says."""
    found, _ = await read(ask, [{"id": GUID, "name": "Offer", "redemptionChannels": [row]}], what=None)
    assert next(item.value for item in found.items if item.kind is BenefitKind.OFFER) == worth


@pytest.mark.parametrize(
    ("says", "expires_at"),
    [
        (None, None),
        ("2026-03-01T00:00:00+00:00", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T00:00:00Z", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T00:00:00", datetime(2026, 3, 1, tzinfo=STOCKHOLM)),
        ("2026-03-01", datetime(2026, 3, 2, tzinfo=STOCKHOLM)),
        ("9999-12-31", None),
        ("9999-12-31T23:59:59", None),
    ],
    ids=str,
)
async def test_when_it_ends(ask, says, expires_at):
    """A date counts to its end, and without an offset it is the store's."""
    _, (voucher,) = await read(ask, [voucher_row(expiresOn=says)])
    assert voucher.expires_at == expires_at


@pytest.mark.parametrize(
    "members",
    [
        {"id": None},
        {"id": ""},
        {"id": "../../x"},
        {"id": "a b"},
        {"id": "x" * 65},
        {"redeemed": True},
        {"expiresOn": "soon"},
        {"expiresOn": 7},
        {"expiresOn": "9999-12-32"},
    ],
    ids=str,
)
async def test_what_cannot_be_used_is_left_out(ask, members):
    """Without an id that can be sent back, used already, or with an end that nobody can read; the rest stays."""
    _, vouchers = await read(ask, [voucher_row(**members), voucher_row(id="2")])
    assert [voucher.id for voucher in vouchers] == ["2"]


async def test_texts_are_short_and_printable(ask):
    """A name for a cashier's screen, whatever came."""
    _, vouchers = await read(ask, [voucher_row(name="Bo\u001b[31mnus\n" + "x" * 999), voucher_row(name=None)])
    assert [len(voucher.name) for voucher in vouchers] == [200, 0]
    assert vouchers[0].name.startswith("Bo[31mnusx")


async def test_an_id_has_one_spelling(ask):
    """In small letters, however a list has it."""
    _, (voucher,) = await read(ask, [voucher_row(id="0D4E-AB")])
    assert voucher.id == "0d4e-ab"


async def test_nobody_reads_more_than_so_many(ask):
    """A list that is longer is cut."""
    found, vouchers = await read(ask, [voucher_row(id=str(number)) for number in range(MAX_ITEMS + 1)])
    assert (len(vouchers), len(found.items)) == (MAX_ITEMS, 2 * MAX_ITEMS)


@pytest.mark.parametrize(
    ("accounts", "points"),
    [
        ([], None),
        ([{"id": 1, "balance": None}], None),
        *(([{"id": 1, "balance": much}], None) for much in ("1e1000000", "1e-5000000000", "0e-99999", "1e10", "NaN")),
        ([{"id": 1, "balance": 7.5, "pendingPoints": None}], Points(Decimal("7.5"))),
        ([{"id": 1, "balance": 7, "pendingPoints": 2}, {"id": 2, "balance": 9}], Points(Decimal(7), Decimal(2))),
    ],
    ids=["no account", "no balance", *["no number"] * 5, "nothing pending", "the first of two"],
)
async def test_points(ask, accounts, points):
    """What can be spent, and what cannot yet."""
    found, _ = await read(ask, accounts)
    assert found.points == points
