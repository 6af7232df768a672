"""Goods that come back, and sales that are cleared."""

from __future__ import annotations

from typing import Final

from agent.domain.fallback import TAG_LEVEL
from agent.workbench.conformance.case import Group
from agent.workbench.conformance.door import Json
from agent.workbench.conformance.trial import Trial
from agent.workbench.conformance.verdict import answered, refused, same, shown, true
from agent.workbench.stage import by_phone
from agent.workbench.tenant import Person

RETURN: Final = Group("return")
VOID: Final = Group("void")
_TRIES: Final = 5


@RETURN.case("A return\nthat names no person goes under its sale's key, after that sale")
def with_receipt(trial: Trial) -> None:
    """A return that names its sale alone goes to whom the sale was for."""
    person = trial.member()
    made = trial.sold(by_phone(person))
    trial.delivered(made)
    back = trial.baskets.taken_back(made, trial.clock.now(), {})
    body = answered(trial.sell(back), 202)
    same("the key's value", (body["integration_key"] or {}).get("value"), None)
    _came_back(trial, person, made, back)


@RETURN.case("that names no person goes under its sale's key, after that sale", level=TAG_LEVEL)
def of_a_sale_that_waits(trial: Trial) -> None:
    """A return of a sale of the same outage arrives right after it, for the same member."""
    person = trial.member()
    trial.offline()
    made = trial.sold(by_phone(person))
    back = trial.baskets.taken_back(made, trial.clock.now(), {})
    answered(trial.sell(back), 202)
    trial.online()
    _came_back(trial, person, made, back)


@RETURN.case("one that names a member keeps to that member")
def with_receipt_and_member(trial: Trial) -> None:
    """A return that names its sale and somebody else goes to that somebody."""
    person, other = trial.member(), trial.member()
    made = trial.sold(by_phone(person))
    back = trial.baskets.taken_back(made, trial.clock.now(), by_phone(other))
    trial.tags(answered(trial.sell(back), 202)["integration_key"], other)
    trial.has_once(person, made)
    trial.has_once(other, back)


@RETURN.case("(a return without a receipt leaves it out)")
def without_receipt(trial: Trial) -> None:
    """A return without its sale goes to the member that it names."""
    person = trial.member()
    bought = trial.purchase(by_phone(person))
    back = trial.baskets.taken_back(bought, trial.clock.now(), by_phone(person))
    del back["original_transaction_id"]
    trial.tags(answered(trial.sell(back), 202)["integration_key"], person)
    (booked,) = trial.has_once(person, back)
    _kinds(booked.receipt(), {"RETURN"})


@RETURN.case("a return line has a negative `quantity`, a pure return a negative total and negative payments")
def wrong_signs(trial: Trial) -> None:
    """A return whose lines count as sold is refused, and not kept."""
    person = trial.member()
    made = trial.purchase(by_phone(person))
    back = trial.baskets.taken_back(made, trial.clock.now(), by_phone(person))
    lines = [{**line, "quantity": line["quantity"].removeprefix("-")} for line in back["lines"]]
    refused(trial.door.sell({**back, "lines": lines}), 422, "request.invalid")
    refused(trial.door.sale(back["transaction_id"]), 404, "record.unknown")


@RETURN.case("Σ of return lines = `total`")
def exchange(trial: Trial) -> None:
    """An exchange has lines of both kinds, and both are booked."""
    person = trial.member()
    made = trial.sold(by_phone(person))
    swapped = trial.baskets.exchanged(made, trial.clock.now(), by_phone(person))
    answered(trial.sell(swapped), 202)
    booked = trial.has_once(person, made, swapped)
    _kinds(booked[1].receipt(), {"RETURN", "PURCHASE"})


@VOID.case("not sent yet, both are cancelled", level=TAG_LEVEL)
def before_it_is_sent(trial: Trial) -> None:
    """A sale of an outage that is voided before the line is back never gets to the loyalty system."""
    person = trial.member()
    trial.offline()
    for _ in range(_TRIES):  # a sale that is being tried at that very moment counts as sent
        made = trial.sold(by_phone(person))
        void = trial.baskets.voided(made, trial.clock.now())
        answered(trial.sell(void), 202)
        stand = answered(trial.door.sale(made["transaction_id"]), 200)
        if not stand["deliveries"]:
            break
    same("the voided sale's deliveries", stand["deliveries"], [])
    same("the void's deliveries", answered(trial.door.sale(void["transaction_id"]), 200)["deliveries"], [])
    last = trial.sold(by_phone(trial.member()))
    trial.online()
    trial.delivered(last)
    trial.has_none(made, void)


@VOID.case("sent, every line goes as returned")
def after_it_was_sent(trial: Trial) -> None:
    """A void of a sale that the loyalty system has sends each of its lines back."""
    person = trial.member()
    made = trial.sold(by_phone(person))
    trial.delivered(made)
    void = trial.baskets.voided(made, trial.clock.now())
    answered(trial.sell(void), 202)
    _came_back(trial, person, made, void)


@VOID.case("A void is not voided in its turn (422)")
def of_a_void(trial: Trial) -> None:
    """A void of a void is refused."""
    made = trial.sold(by_phone(trial.member()))
    void = trial.baskets.voided(made, trial.clock.now())
    answered(trial.sell(void), 202)
    refused(trial.door.sell(trial.baskets.voided(void, trial.clock.now())), 422, "request.invalid")


def _came_back(trial: Trial, person: Person, made: Json, back: Json) -> None:
    sold, returned = (one.receipt() for one in trial.has_once(person, made, back))
    _kinds(returned, {"RETURN"})
    same("lines that came back", len(returned["items"]), len(sold["items"]))
    true("the same goods", holds=_goods(sold) == _goods(returned), got="others")
    left = sold["totalGrossPrice"] + returned["totalGrossPrice"]
    true("a total of nothing together", holds=abs(left) < 0.005, got="a rest")  # noqa: PLR2004 - half a minor unit


def _kinds(receipt: Json, wanted: set[str]) -> None:
    kinds = {item["type"] for item in receipt["items"]}
    true(
        f"lines of kind {', '.join(sorted(wanted)).lower()}",
        holds=kinds == wanted,
        got=shown(sorted(map(str.lower, kinds))),
    )


def _goods(receipt: Json) -> list[tuple[str, float]]:
    return sorted((item["sku"], abs(item["grossPaidPrice"])) for item in receipt["items"])
