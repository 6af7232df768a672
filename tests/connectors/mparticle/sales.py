"""Sales on their way to mParticle, and the table and the secrets of an input."""

from datetime import UTC, datetime
from typing import Any

from agent.connectors.mparticle.settings import MparticleSettings
from agent.domain.activity import Activity
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey, Transaction
from agent.errors import ConfigurationError
from agent.errors import Fault as InputFault
from agent.ports import Outgoing

NOW = datetime(2026, 2, 14, 16, 0, tzinfo=UTC)


class Reference:
    """A secret; None cannot be read. ``refusals`` counts how often the vendor refused it."""

    def __init__(self, value: str | None) -> None:
        self._value, self.refusals = value, 0

    def value(self) -> str:
        if self._value is None:
            raise ConfigurationError([InputFault("mparticle.api_key", "cannot be read")])
        return self._value

    def refused(self) -> None:
        self.refusals += 1


def make_sale(**changes: Any) -> Transaction:
    return Transaction.model_validate(
        {
            "transaction_id": "1042-03-20260214-000187",
            "type": "purchase",
            "receipt_number": "000187",
            "store_id": "1042",
            "till_id": "03",
            "cashier_id": "77",
            "occurred_at": "2026-02-14T16:41:09+01:00",
            "currency": "SEK",
            "total": "250.00",
            "lines": [
                {
                    "kind": "purchase", "sku": "SK-77", "name": "Wool socks", "plu_class": "Socks", "quantity": "2",
                    "unit_price": "125.00", "gross_paid": "250.00", "tax_amount": "50.00",
                }
            ],
            "payments": [{"type": "card", "amount": "250.00"}],
            **changes,
        }
    )  # fmt: skip


def make_activity(**changes: Any) -> Activity:
    return Activity.model_validate(
        {
            "activity_id": "order-4711-picked-up",
            "type": "delivery_order_picked_up",
            "occurred_at": "2026-02-14T16:41:09+01:00",
            "order_id": "4711",
            "attributes": {"provider": "Cykelbud", "bags": 2, "contactless": True, "note": None},
            "store_id": "1042",
            "till_id": "03",
            **changes,
        }
    )


def make_key(kind: IdentifierType = IdentifierType.MEMBER_NUMBER, value: str = "10000421") -> IntegrationKey:
    return IntegrationKey(
        kind="primary" if kind is IdentifierType.MEMBER_NUMBER else "secondary", type=kind, value=value
    )


def make_outgoing(
    record: Transaction | Activity | None = None,
    *,
    key: IntegrationKey | None = None,
    guest: bool = False,
    readings: tuple[Identifier, ...] = (),
    **changes: Any,
) -> Outgoing:
    return Outgoing(
        **{
            "entry": 1,
            "attempts": 0,
            "maybe_received": False,
            "key": None if guest else key or make_key(),
            "open": False,
            "readings": readings,
            "record": record or make_sale(),
            "original": None,
            "person": b"p",
            "accepted_at": NOW,
            **changes,
        }
    )


def make_settings(**table: Any) -> MparticleSettings:
    return MparticleSettings.model_validate({"base_url": "https://s2s.eu1.mparticle.com/v2", **table})
