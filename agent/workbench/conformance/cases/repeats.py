"""The same sale again, and another under its id."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from agent.domain.fallback import TAG_LEVEL
from agent.workbench.conformance.case import Group
from agent.workbench.conformance.door import Json, Reply
from agent.workbench.conformance.trial import Trial
from agent.workbench.conformance.verdict import answered, refused, same, told, true
from agent.workbench.stage import by_phone
from agent.workbench.tenant import Person

DUPLICATE: Final = Group("duplicate")
CONFLICT: Final = Group("conflict")
_AT_ONCE: Final = 6
_AMOUNTS: Final = ("total", "gross_paid", "unit_price", "amount", "tax_amount", "quantity")


def _repeats(reply: Reply, first: Json) -> None:
    body = answered(reply, 200)
    same("duplicate", body.get("duplicate"), expected=True)
    same("integration_key", body.get("integration_key"), first["integration_key"])
    same("number", body.get("number"), first["number"])


@DUPLICATE.case('200 with `"duplicate": true` and the first answer\'s key if it was.')
def same_body(trial: Trial) -> None:
    """The same body again is recognised, and the loyalty system has the sale once."""
    person = trial.member()
    made = trial.purchase(by_phone(person))
    first = answered(trial.sell(made), 202)
    _repeats(trial.door.sell(made), first)
    trial.has_once(person, made)
    _repeats(trial.door.sell(made), first)


@DUPLICATE.case(
    "The same content is recognised however it is spelled: key order, blanks, `250.0` or `250.00`, string or number"
)
def other_spelling(trial: Trial) -> None:
    """Another order of keys, numbers for texts and another spelling of the phone make no other sale."""
    person = trial.tenant.member(3)
    made = trial.purchase(by_phone(person))
    first = answered(trial.sell(made), 202)
    said = {**made, "identifier": {"value": person.as_said, "type": "mobile_phone"}}
    spellings = (
        json.dumps(dict(reversed(list(made.items()))), indent=3),
        json.dumps(_respelled(made, lambda text: text.removesuffix("0") if "." in text else text)),
        _as_numbers(made),
        json.dumps(said),
    )
    for content in spellings:
        _repeats(trial.door.call("POST", "/v1/transactions", content=content), first)
    trial.delivered(made)


@DUPLICATE.case("202 if it was not recorded")
def at_once(trial: Trial) -> None:
    """Of the same sale several times at once one is the first, and the others are told so."""
    person = trial.member()
    made = trial.purchase(by_phone(person))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        replies = list(pool.map(trial.door.sell, [made] * _AT_ONCE))
    trial.made.append(made["transaction_id"])
    firsts = [reply for reply in replies if reply.status == 202]  # noqa: PLR2004 - Accepted
    true("one 202", holds=len(firsts) == 1, got=", ".join(map(told, replies)))
    for reply in replies:
        if reply is not firsts[0]:
            _repeats(reply, firsts[0].body)
    trial.has_once(person, made)


@DUPLICATE.case("Send the same body again, with the same `transaction_id`, as often as you like", level=TAG_LEVEL)
def across_an_outage(trial: Trial) -> None:
    """A sale of an outage is recognised when the line is back, before and after it was delivered."""
    person = trial.tenant.join("Ebba")
    trial.offline()
    made = trial.purchase(by_phone(person))
    first = answered(trial.sell(made), 202)
    _repeats(trial.door.sell(made), first)
    trial.online()
    _repeats(trial.door.sell(made), first)
    trial.has_once(person, made)
    _repeats(trial.door.sell(made), first)


def _respelled(value: Any, spell: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: spell(one) if key in _AMOUNTS and isinstance(one, str) else _respelled(one, spell)
            for key, one in value.items()
        }
    return [_respelled(one, spell) for one in value] if isinstance(value, list) else value


def _as_numbers(sale: Json) -> str:
    """The sale with JSON numbers for its amounts, digit by digit as they were."""
    marked = json.dumps(_respelled(sale, lambda text: f"\0{text}\0"))
    return marked.replace('"\\u0000', "").replace('\\u0000"', "")


@CONFLICT.case("409 `transaction.conflict` means another sale has that id.")
def other_total(trial: Trial) -> None:
    """Another sale under the same id is refused, and the first is as it was."""
    person = trial.member()
    made = trial.sold(by_phone(person))
    refused(trial.door.sell(_dearer(made)), 409, "transaction.conflict")
    _is_unharmed(trial, person, made)


@CONFLICT.case("the order of lines counts")
def other_order_of_lines(trial: Trial) -> None:
    """The same lines in another order are another sale."""
    person = trial.member()
    made = trial.purchase(by_phone(person))
    while len(made["lines"]) == 1:
        made = trial.purchase(by_phone(person))
    trial.sell(made)
    refused(trial.door.sell({**made, "lines": made["lines"][::-1]}), 409, "transaction.conflict")
    _is_unharmed(trial, person, made)


@CONFLICT.case("the id belongs to another sale: give each sale its own", level=TAG_LEVEL)
def other_person(trial: Trial) -> None:
    """The same goods for somebody else are another sale, also while the first waits for the line."""
    person, other = trial.member(), trial.member()
    trial.offline()
    made = trial.sold(by_phone(person))
    refused(trial.door.sell({**made, **by_phone(other)}), 409, "transaction.conflict")
    trial.online()
    _is_unharmed(trial, person, made)
    true("nothing for the other", holds=not trial.tenant.booked(other), got="a sale")


def _dearer(sale: Json) -> Json:
    line = {"kind": "purchase", "sku": "SO-19", "quantity": "1", "gross_paid": "45.00"}
    card = {"type": "card", "amount": "45.00"}
    total = f"{float(sale['total']) + 45:.2f}"
    return {**sale, "total": total, "lines": [*sale["lines"], line], "payments": [*sale["payments"], card]}


def _is_unharmed(trial: Trial, person: Person, sale: Json) -> None:
    (booked,) = trial.has_once(person, sale)
    paid = booked.receipt()["totalGrossPrice"]
    true("the first sale's total at the loyalty system", holds=f"{paid:.2f}" == sale["total"], got="another one")
