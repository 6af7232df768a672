"""A till's calls on a client that was generated from the agent's OpenAPI document; `mypy --strict` has judged it.

It prints what came as JSON: a name for each call, and what a till would go by.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime

import httpx
from loyalty_agent_client import AuthenticatedClient
from loyalty_agent_client.api.admin import flush_queue, list_queue
from loyalty_agent_client.api.pos import (
    create_contact,
    get_benefits,
    get_status,
    get_transaction,
    identify_contact,
    preview_points,
    record_transaction,
    redeem_benefit,
    update_contact,
)
from loyalty_agent_client.models import (
    BenefitKind,
    BenefitsAnswer,
    Consent,
    ContactChanged,
    ContactTaken,
    IdentifierStatement,
    IdentifierStatementType,
    IdentifyAnswer,
    IdentifyAnswerOutcome,
    IdentifyRequest,
    Line,
    LineKind,
    Message,
    MessageAudience,
    NewContact,
    OpenTransaction,
    OrderAccepted,
    Payment,
    PaymentType,
    Preferences,
    PreviewAnswer,
    Problem,
    QueueList,
    RedeemAnswer,
    RedeemRequest,
    StatusAnswer,
    Transaction,
    TransactionAccepted,
    TransactionAnswer,
    TransactionType,
)
from loyalty_agent_client.types import Response, Unset

AGENT = os.environ["AGENT"]


def connect(token: str) -> AuthenticatedClient:
    timeout = httpx.Timeout(10.0, connect=1.0)
    return AuthenticatedClient(base_url=AGENT, token=token, timeout=timeout, httpx_args={"trust_env": False})


def record(client: AuthenticatedClient, sale: Transaction) -> Response[Problem | TransactionAccepted]:
    """Until there is an answer: the same sale again, under the same transaction_id."""
    wait_s = 0.5
    while True:
        try:
            return record_transaction.sync_detailed(client=client, body=sale)
        except httpx.TransportError:
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, 5)


def phone(value: str) -> IdentifierStatement:
    return IdentifierStatement(type_=IdentifierStatementType.MOBILE_PHONE, value=value)


def socks(kind: LineKind = LineKind.PURCHASE) -> Line:
    quantity = "2" if kind is LineKind.PURCHASE else "-2"
    return Line(kind=kind, sku="SK-77-RED-M", name="Wool socks", quantity=quantity, gross_paid="250.00")


def a_sale(transaction_id: str, who: IdentifierStatement) -> Transaction:
    return Transaction(
        transaction_id=transaction_id,
        type_=TransactionType.PURCHASE,
        occurred_at=datetime.now(UTC),
        currency="SEK",
        total="250.00",
        identifier=who,
        lines=[socks()],
        payments=[Payment(type_=PaymentType.CARD, amount="250.00")],
    )


def to_customers(messages: list[Message]) -> list[str]:
    return sorted(message.code for message in messages if message.audience is MessageAudience.CUSTOMER)


def kept(answer: Response[Problem | TransactionAccepted]) -> list[object]:
    found = answer.parsed
    assert isinstance(found, TransactionAccepted), found
    key = found.integration_key
    return [
        answer.status_code.value,
        found.duplicate,
        key and key.kind.value,
        found.served.level,
        to_customers(found.messages),
    ]


def refused(answer: object) -> list[object]:
    assert isinstance(answer, Problem), answer
    faults = [] if isinstance(answer.errors, Unset) else answer.errors
    return [answer.status, answer.code, sorted(fault.pointer for fault in faults)]


def first_event(client: AuthenticatedClient) -> str:
    """The state that it tells: a stream has no end, so that it is read as it comes."""
    with client.get_httpx_client().stream("GET", "/v1/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                return StatusAnswer.from_dict(json.loads(line.removeprefix("data: "))).state.value
    raise AssertionError("the stream has ended")


def a_member(pos: AuthenticatedClient, name: str, known: str) -> dict[str, object]:
    """Somebody comes: who they are, what they can use, what they would earn."""
    came: dict[str, object] = {}
    who = identify_contact.sync(client=pos, body=IdentifyRequest(identifier=phone(known)))
    assert isinstance(who, IdentifyAnswer), who
    assert who.outcome is IdentifyAnswerOutcome.MATCHED
    assert who.contact is not None
    assert who.contact.ref is not None
    came["identify"] = [who.served.source.value, who.contact["first_name"], who.allowed.earn]
    ref = who.contact.ref

    benefits = get_benefits.sync(ref, client=pos)
    assert isinstance(benefits, BenefitsAnswer), benefits
    worth = [voucher.value.amount for voucher in benefits.vouchers if voucher.value is not None]
    came["benefits"] = [benefits.served.source.value, benefits.points and benefits.points.balance, worth]

    wanted = RedeemRequest(
        ref=ref, kind=BenefitKind.VOUCHER, id=benefits.vouchers[0].id, amount="50.00", transaction_id=f"{name}-1"
    )
    redeemed = redeem_benefit.sync(client=pos, body=wanted)
    assert isinstance(redeemed, RedeemAnswer), redeemed
    came["redeem"] = [redeemed.outcome.value, redeemed.reason and redeemed.reason.value]

    preview = preview_points.sync(client=pos, body=OpenTransaction(currency="SEK", lines=[socks()]))
    assert isinstance(preview, PreviewAnswer), preview
    came["preview"] = [preview.basis.value, preview.points]
    return came


def sales(pos: AuthenticatedClient, name: str, known: str) -> dict[str, object]:
    """Sold, said again, said otherwise, said wrongly, brought back, cleared."""
    came: dict[str, object] = {}
    sale = a_sale(f"{name}-1", phone(known))
    came["sale"] = kept(record(pos, sale))
    came["repeat"] = kept(record(pos, sale))
    other = Transaction.from_dict({**sale.to_dict(), "currency": "NOK"})
    came["conflict"] = refused(record(pos, other).parsed)
    wrong = Transaction.from_dict({**sale.to_dict(), "transaction_id": f"{name}-2", "currency": "kr"})
    wrong.payments = [Payment(type_=PaymentType.CARD, amount="all of it")]
    came["wrong"] = refused(record(pos, wrong).parsed)

    back = Transaction.from_dict({**sale.to_dict(), "transaction_id": f"{name}-3", "total": "-250.00"})
    back.type_, back.original_transaction_id = TransactionType.RETURN, f"{name}-1"
    back.lines = [socks(LineKind.RETURN)]
    back.payments = [Payment(type_=PaymentType.CARD, amount="-250.00")]
    came["return"] = kept(record(pos, back))

    came["another"] = kept(record(pos, Transaction.from_dict({**sale.to_dict(), "transaction_id": f"{name}-4"})))
    void = Transaction(
        transaction_id=f"{name}-5",
        type_=TransactionType.VOID,
        occurred_at=datetime.now(UTC),
        currency="SEK",
        total="0.00",
        original_transaction_id=f"{name}-4",
    )
    came["void"] = kept(record(pos, void))
    return came


def people(pos: AuthenticatedClient, new: str) -> dict[str, object]:
    """Somebody joins, and has something changed."""
    came: dict[str, object] = {}
    person = NewContact(
        first_name="Ylva",
        mobile_phone=new,
        preferences=Preferences(accepts_email=True),
        consents=[Consent(id="memberTerms", value=True, given_at=datetime.now(UTC), place="1042")],
    )
    joined = create_contact.sync_detailed(client=pos, body=person)
    assert isinstance(joined.parsed, ContactTaken), joined.parsed
    came["joined"] = [joined.status_code.value, joined.parsed.state.value, joined.parsed.integration_key.kind.value]
    changed = update_contact.sync(joined.parsed.ref, client=pos, body=NewContact(last_name="Torpmark"))
    assert isinstance(changed, ContactChanged), changed
    came["changed"] = [changed.state.value, changed.conflicts]
    return came


def state(pos: AuthenticatedClient, admin: AuthenticatedClient, name: str) -> dict[str, object]:
    """How the agent is, a sale, the queue; and what is refused."""
    came: dict[str, object] = {}
    status = get_status.sync(client=pos)
    assert isinstance(status, StatusAnswer), status
    came["status"] = [status.state.value, status.level, status.sign.light.value, [one.vendor for one in status.vendors]]
    came["events"] = first_event(pos)
    stands = get_transaction.sync(f"{name}-3", client=pos)
    assert isinstance(stands, TransactionAnswer), stands
    came["stands"] = [delivery.vendor for delivery in stands.deliveries]
    came["unknown"] = refused(get_transaction.sync("nothing", client=pos))
    came["stranger"] = refused(get_status.sync(client=connect("nobody")))
    came["scope"] = refused(list_queue.sync(client=pos))
    queue = list_queue.sync(client=admin, limit=1000)
    assert isinstance(queue, QueueList), queue
    came["queue"] = sorted(one.transaction_id for one in queue.entries if one.transaction_id is not None)
    ordered = flush_queue.sync(client=admin)
    assert isinstance(ordered, OrderAccepted), ordered
    came["flush"] = ordered.ordered.value
    return came


def main() -> None:
    what, *words = sys.argv[1:]
    with connect(os.environ["TOKEN"]) as pos, connect(os.environ["ADMIN"]) as admin:
        if what == "day":
            name, known, new = words
            day = a_member(pos, name, known) | sales(pos, name, known) | people(pos, new) | state(pos, admin, name)
            print(json.dumps(day))
        else:
            name, known = words
            print(json.dumps(kept(record(pos, a_sale(name, phone(known))))))


if __name__ == "__main__":
    main()
