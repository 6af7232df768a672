"""What a vendor answers outside of its documented shape: a verdict or one of two errors, never anything else.

Each value of each documented answer stands in another form, one at a time, in all that a room asks. Voyado's are in
`tests/fuzz`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from agent.connectors.registry import ROOMS
from agent.domain.benefits import BenefitKind
from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.redemption import Redeemable, VendorWord
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.transport import Answer, Transport
from tests.connectors.mparticle.sales import make_key, make_outgoing, make_sale
from tests.contract.documented import ANSWERS, EARLIER, MAIL, NUMBER, PHONE, Documented
from tests.contract.rooms import connector
from tests.fakes import at_once

HOW = {"timeout_s": 5, "pace": at_once}
PERSON = (NUMBER, PHONE, PHONE.removeprefix("+46"), MAIL, "Alma")
RETURN = {
    "type": "return", "original_transaction_id": EARLIER, "total": "-250.00",
    "payments": [{"type": "card", "amount": "-250.00"}],
    "lines": [{"kind": "return", "sku": "SK-77", "quantity": "-2", "gross_paid": "-250.00"}],
}  # fmt: skip
VOID = {"type": "void", "original_transaction_id": EARLIER, "lines": [], "payments": [], "total": "0"}
TABLES: dict[str, list[dict[str, Any]]] = {
    "antavo": [{}, {"rewards": True, "external_id_field": "crm"}],
    "voucherify": [{"on_return": "order_update"}, {"on_return": "adjust_points"}, {"loyalty_api": "v2"},
                   {"earn_with": "event"}],
    "monetary": [{"mark_receipts": True}, {"unknown_customer": "park"}],
}  # fmt: skip


def sale(number: int = 1, *, maybe_received: bool = False, **changes: Any):
    transaction = make_sale(transaction_id=f"1042-03-{number}", **changes)
    readings = (Identifier(IdentifierType.MOBILE_PHONE, PHONE), Identifier(IdentifierType.EMAIL, MAIL))
    cleared = make_sale(transaction_id=EARLIER) if transaction.original_transaction_id else None
    return make_outgoing(
        transaction, key=make_key(), readings=readings, entry=number, person=bytes([number]), original=cleared,
        maybe_received=maybe_received, attempts=int(maybe_received),
    )  # fmt: skip


BATCHES = {
    "a sale": lambda: [sale()],
    "three sales": lambda: [sale(number) for number in (1, 2, 3)],
    "a sale that may have arrived": lambda: [sale(maybe_received=True)],
    "a return": lambda: [sale(**RETURN)],
    "a return that may have arrived": lambda: [sale(maybe_received=True, **RETURN)],
    "a void": lambda: [sale(**VOID)],
}


def acts(room: Any, name: str) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
    """Everything that a room asks its vendor, each as a cashier's or the lane's question."""
    for what, batch in BATCHES.items():
        yield what, partial(room.sender.send, batch()[: room.sender.batch_size])
    yield "a ping", room.ping
    owner, key = ROOMS[name].owner, make_key()
    if owner is None:
        return
    for kind in IdentifierType:
        one = Identifier(kind, {IdentifierType.MOBILE_PHONE: PHONE, IdentifierType.EMAIL: MAIL}.get(kind, NUMBER))
        if room.lookup.knows(one):
            yield f"who has a {kind}", partial(room.lookup.find, one, **HOW)
    yield "benefits", partial(owner.benefits(room).benefits, key, **HOW)
    redeemer, named = owner.redeemer(room), "v_1" if name == "voucherify" else "1"
    for kind in redeemer.redeems:
        one = Redeemable(key, kind, "s-1" if kind is BenefitKind.POINTS else named, use="claim-1")
        another = replace(one, id="s-2") if kind is BenefitKind.POINTS else one  # what was spent here is remembered
        yield f"how a {kind} stands", partial(redeemer.standing, one, **HOW)
        yield f"a {kind} used up", partial(redeemer.redeem, another, **HOW)
        yield f"a {kind} given back", partial(redeemer.release, one, **HOW)
    if owner.preview is not None and (preview := owner.preview(room)) is not None:
        yield "a preview", partial(preview.points, key, make_sale(), **HOW)
    if room.history is not None:
        yield "what is on the books", partial(room.history.count, key, ["s-1"], pace=at_once)


OTHER = (None, "5", 5, True, [None], {"a": 1}, "x" * 300, 10**40, "\ud83d")
"""What stands in the place of each value; and it is left out."""


def misshapen(body: Any) -> Iterator[tuple[tuple[Any, ...], bytes]]:
    """A body with one value of it at a time in another form, or missing; and where it stood."""
    for place in places(body):
        for other in (*OTHER, *((...,) if place else ())):
            yield place, json.dumps(replaced(body, place, other)).encode()


def places(body: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    rows = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for name, value in rows:
        yield from places(value, (*at, name))


def replaced(body: Any, place: tuple[Any, ...], other: Any) -> Any:
    if not place:
        return other
    made = copy.deepcopy(body)
    within = made
    for name in place[:-1]:
        within = within[name]
    if other is ...:
        del within[place[-1]]
    else:
        within[place[-1]] = other
    return made


class Vendor:
    """Answers as documented, but for one call.

    Attributes:
        asked: the documented calls that were made.
        other: what one of them is answered instead.
    """

    def __init__(self, name: str) -> None:
        self._rows = ANSWERS[name]
        self.asked: list[Documented] = []
        self.other: dict[Documented, bytes] = {}

    async def request(self, method: str, path: str, *, params: Any = None, **_how: Any) -> Answer:
        target = path + ("?" if params and "?" not in path else "")
        row = next((row for row in self._rows if row.fits(method, target)), None)
        assert row is not None, f"nothing is documented of {method} {target}"
        self.asked.append(row)
        body = self.other.get(row) or json.dumps(row.body).encode()
        return Answer(row.status, {"content-type": "application/json"}, body)


@pytest.fixture(name="vendor")
def _vendor(name: str, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    """Answers every room of the test."""
    vendor = Vendor(name)
    monkeypatch.setattr(Transport, "request", lambda _transport, *args, **how: vendor.request(*args, **how))
    return vendor


def test_each_room_is_tried():
    """A new room has its documented answers here, or its own test of foreign ones."""
    assert set(ANSWERS) | {"voyado"} == set(ROOMS)


@pytest.mark.parametrize("name", sorted(ANSWERS))
async def test_answers_of_another_shape(name: str, vendor: Vendor):
    """No exception but the two, no person in what is told, and nothing at all in place of an answer settles nothing."""
    seen: set[tuple[str, tuple[Documented, ...]]] = set()
    for table in TABLES.get(name, [{}]):
        room = connector(name, "http://127.0.0.1:9", **table)
        for what, act in acts(room, name):
            vendor.asked.clear()
            vendor.other.clear()
            told = await said(act)
            assert told is not None, f"{what}: the documented answers are not understood"
            calls = tuple(dict.fromkeys(vendor.asked))
            if (what, calls) in seen:
                continue
            seen.add((what, calls))
            for call in calls:
                for place, body in misshapen(call.body):
                    vendor.other = {call: body}
                    told = await said(act)
                    assert not [word for word in PERSON if word in spoken(told)], (what, call, body)
                    assert place or call is not calls[-1] or not is_done(told) or is_empty(call), (what, call, body)
        await room.close()
    assert seen


async def said(act: Callable[[], Awaitable[Any]]) -> Any:
    """What came of it; the error where it is one that is allowed."""
    try:
        return await act() or "nothing"
    except (VendorUnreachableError, VendorRefusedError) as error:
        return error


def spoken(told: Any) -> str:
    """What people may read of it."""
    if isinstance(told, Exception):
        return str(told)
    rows = told if isinstance(told, list) else []
    return " ".join(f"{row.title} {row.code} {row.vendor_code} {row.reference}" for row in rows)


def is_done(told: Any) -> bool:
    """Whether it counts as carried out."""
    if isinstance(told, list):
        return any(row.kind in (VerdictKind.DONE, VerdictKind.DUPLICATE) and row.status is not None for row in told)
    return isinstance(told, VendorWord) and told.reason is None


def is_empty(call: Documented) -> bool:
    """Whether the call is documented as answered without a word."""
    return not call.body
