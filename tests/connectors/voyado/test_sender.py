"""Sales on their way to a tenant: one receipt a call, one verdict a receipt."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.connectors.voyado import build
from agent.connectors.voyado.settings import VoyadoSettings
from agent.connectors.voyado.simulator import SimulatorSettings, VoyadoSimulator, serve
from agent.connectors.voyado.simulator.faults import Fault
from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IntegrationKey, Transaction
from agent.errors import ConfigurationError, VendorRefusedError, VendorUnreachableError
from agent.errors import Fault as InputFault
from agent.ports import Outgoing
from tests.fakes import surroundings
from tests.wire import POLICY, answer, cut, cut_in_the_body, nonsense, wire

NOW = datetime(2026, 2, 16, 11, 0, tzinfo=UTC)
PHONE = "+46701740605"


class Key:
    def __init__(self, value: str | None = "sim-key") -> None:
        self._value = value

    def value(self) -> str:
        if self._value is None:
            raise ConfigurationError([InputFault("voyado.api_key", "cannot be read")])
        return self._value

    def refused(self) -> None:
        """Read anew each time anyway."""


def sale(**changes) -> Transaction:
    return Transaction.model_validate(
        {
            "transaction_id": "1042-03-20260214-000187",
            "type": "purchase",
            "store_id": "1042",
            "occurred_at": "2026-02-14T16:41:09+01:00",
            "currency": "SEK",
            "total": "250.00",
            "lines": [{"kind": "purchase", "sku": "SK-77", "quantity": "2", "gross_paid": "250.00"}],
            "payments": [{"type": "card", "amount": "250.00"}],
            **changes,
        }
    )


def outgoing(
    transaction: Transaction | None = None, *, named: bool = True, original: Transaction | None = None
) -> Outgoing:
    key = IntegrationKey(kind="secondary", type=IdentifierType.MOBILE_PHONE, value=PHONE)
    return Outgoing(
        entry=1,
        attempts=0,
        maybe_received=False,
        key=key if named else None,
        open=False,
        readings=(),
        record=transaction or sale(),
        original=original,
        person=b"p",
        accepted_at=NOW,
    )


@pytest.fixture(name="simulator")
async def _simulator(tmp_path: Path):
    """A tenant with one member, served on loopback."""
    simulator = VoyadoSimulator(SimulatorSettings(root=tmp_path / "sftp"), now=lambda: NOW, rng=random.Random(7))
    running = await serve(simulator)
    yield simulator, running
    await running.stop()


@pytest.fixture(name="connect")
async def _connect():
    """Makes connectors and closes them."""
    made = []

    def connect(url: str, key: str | None = "sim-key", **table):
        made.append(
            build(
                VoyadoSettings.model_validate({"base_url": url, **table}),
                surroundings(secret=lambda _reference: Key(key), http=POLICY, zone=ZoneInfo("Europe/Stockholm")),
            )
        )
        return made[-1]

    yield connect
    for connector in made:
        await connector.close()


@pytest.mark.parametrize("version", [2, 3])
async def test_a_tenant_takes_a_sale(simulator, connect, version):
    """The receipt arrives as it was rendered, and done means queued there."""
    sim, running = simulator

    (verdict,) = await connect(running.url, api_version=version).sender.send([outgoing()])

    assert (verdict.kind, verdict.status) == (VerdictKind.DONE, 202)
    [posted] = sim.receipts.received
    assert posted.match_key == PHONE
    assert json.loads(posted.body)["totalGrossPrice"] == 250


async def test_a_tenant_takes_a_void(simulator, connect):
    """A cleared sale arrives as one in which everything goes back."""
    sim, running = simulator
    void = sale(transaction_id="v-1", type="void", original_transaction_id="o-1", lines=[], payments=[], total="0")

    (verdict,) = await connect(running.url).sender.send([outgoing(void, original=sale())])

    assert verdict.kind is VerdictKind.DONE
    assert json.loads(sim.receipts.received[0].body)["totalGrossPrice"] == -250


@pytest.mark.parametrize(
    ("fault", "kind", "not_received"),
    [
        pytest.param(Fault(kind="drop"), VerdictKind.RETRY, False, id="dropped before"),
        pytest.param(Fault(kind="drop", after_processing=True), VerdictKind.RETRY, False, id="dropped after"),
        pytest.param(Fault(kind="answer", status=200, body="html"), VerdictKind.RETRY, False, id="a captive portal"),
        pytest.param(Fault(kind="answer", status=202, body="empty"), VerdictKind.DONE, False, id="an empty 202"),
        pytest.param(Fault(kind="answer", status=200, body="error"), VerdictKind.RETRY, False, id="200 with an error"),
        pytest.param(Fault(kind="answer", status=202, body="truncated"), VerdictKind.RETRY, False, id="202, cut JSON"),
        pytest.param(Fault(kind="answer", status=200, body="huge", size_bytes=17 << 20), VerdictKind.RETRY, False,
                     id="a huge answer"),
        pytest.param(Fault(kind="answer", status=503), VerdictKind.RETRY, False, id="503"),
        pytest.param(Fault(kind="answer", status=429), VerdictKind.RETRY, True, id="429"),
        pytest.param(Fault(kind="answer", status=401), VerdictKind.HOLD, True, id="401"),
        pytest.param(Fault(kind="poison", sku="SK-77"), VerdictKind.PARK, False, id="a poisoned record"),
    ],
)  # fmt: skip
async def test_a_tenant_in_trouble(simulator, connect, fault, kind, not_received):
    """Whatever the tenant does, there is a verdict and no exception."""
    sim, running = simulator
    sim.faults.add(fault)

    (verdict,) = await connect(running.url).sender.send([outgoing()])

    assert (verdict.kind, verdict.not_received) == (kind, not_received)
    assert PHONE not in repr(verdict)


@pytest.mark.parametrize("script", [cut, cut_in_the_body, nonsense], ids=["cut", "cut in the body", "another protocol"])
async def test_no_whole_answer(connect, script):
    """An answer that does not come whole leaves the doubt to the next attempt."""
    async with wire(script) as server:
        (verdict,) = await connect(server.url).sender.send([outgoing()])

    assert (verdict.kind, verdict.code, verdict.reached, verdict.not_received) == (
        VerdictKind.RETRY,
        "vendor.offline",
        False,
        False,
    )


async def test_nobody_there(connect):
    """A refused connection proves that nothing arrived."""
    async with wire(answer()) as server:
        pass

    (verdict,) = await connect(server.url).sender.send([outgoing()])

    assert (verdict.kind, verdict.not_received) == (VerdictKind.RETRY, True)


async def test_a_redirect_gets_no_secret(connect):
    """The key and the sale go to no other host."""
    async with wire(answer()) as other, wire(answer(302, location=other.url)) as server:
        (verdict,) = await connect(server.url).sender.send([outgoing()])

    assert (verdict.kind, other.connections) == (VerdictKind.RETRY, 0)


@pytest.mark.parametrize("key", [None, "", "two words"], ids=["unreadable", "empty", "unusable"])
async def test_a_key_that_is_missing(connect, key):
    """Without a key everything is held; nothing went out."""
    async with wire(answer()) as server:
        (verdict,) = await connect(server.url, key=key).sender.send([outgoing()])

    assert (verdict.kind, verdict.code, verdict.not_received) == (VerdictKind.HOLD, "vendor.credentials_missing", True)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("what", "code"),
    [
        pytest.param(outgoing(named=False), "sale.without_member", id="a sale of nobody"),
        pytest.param(
            outgoing(sale(type="void", original_transaction_id="gone", lines=[], payments=[], total="0")),
            "sale.without_lines",
            id="a void of a sale that is gone",
        ),
        pytest.param(
            outgoing(sale(type="void", original_transaction_id="gone", lines=[], payments=[], total="0"), named=False),
            "sale.without_lines",
            id="a void of a sale that is gone with whose it was",
        ),
    ],
)
async def test_what_cannot_be_told_to_voyado(connect, what, code):
    """It is parked for a person to see, and nothing goes out."""
    async with wire(answer()) as server:
        (verdict,) = await connect(server.url).sender.send([what])

    assert (verdict.kind, verdict.code) == (VerdictKind.PARK, code)
    assert server.connections == 0


async def test_pinging_a_tenant(simulator, connect):
    """A tenant that answers is there, whatever it is set up with."""
    sim, running = simulator
    connector = connect(running.url)
    await connector.ping()

    sim.faults.add(Fault(kind="answer", status=503))
    with pytest.raises(VendorUnreachableError):
        await connector.ping()


async def test_pinging_with_a_wrong_key(simulator, connect):
    """A wrong key is told apart from silence."""
    _, running = simulator
    with pytest.raises(VendorRefusedError):
        await connect(running.url, key="wrong").ping()
