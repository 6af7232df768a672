"""What a member can use, and what a sale would earn."""

from __future__ import annotations

from typing import Final

from agent.workbench.conformance.case import Group
from agent.workbench.conformance.door import Json, Reply
from agent.workbench.conformance.trial import Trial
from agent.workbench.conformance.verdict import NotApplicableError, answered, refused, same, says, shown, true
from agent.workbench.tenant import Person

GROUP: Final = Group("benefits")
_WORTH: Final = 50


def _holder(trial: Trial) -> tuple[Person, str]:
    """A member with two vouchers, named by number, and the handle."""
    trial.online()
    person = trial.member()
    for _ in range(2):
        trial.tenant.give_voucher(person, _WORTH)
    found = answered(trial.door.identify("member_number", person.member_number or ""), 200)
    same("allowed.spend", found["allowed"]["spend"], expected=True)
    return person, found["contact"]["ref"]


def _vouchers(trial: Trial, ref: str) -> list[Json]:
    body = answered(trial.door.get(f"/v1/contacts/{ref}/benefits"), 200)
    vouchers: list[Json] = body["vouchers"]
    return vouchers


def _ask(trial: Trial, call: str, ref: str, voucher: Json, sale: str) -> Reply:
    body = {"ref": ref, "kind": "voucher", "id": voucher["id"], "transaction_id": sale}
    return trial.door.post(f"/v1/benefits/{call}", body)


def _came(reply: Reply, outcome: str, reason: str | None = None) -> None:
    body = answered(reply, 200)
    same("outcome and reason", [body.get("outcome"), body.get("reason")], [outcome, reason])


@GROUP.case("points, offers and vouchers of a member")
def listed(trial: Trial) -> None:
    """What a member has is listed, with what each is worth."""
    person, ref = _holder(trial)
    body = answered(trial.door.get(f"/v1/contacts/{ref}/benefits"), 200)
    for part in ("points", "offers", "vouchers", "served", "messages"):
        true(f"{part} in the answer", holds=part in body, got="none")
    same("served.source", body["served"]["source"], "live")
    same("how many vouchers", len(body["vouchers"]), 2)
    for voucher in body["vouchers"]:
        same("what it is worth", voucher["value"]["type"], "money")
        true("its amount", holds=float(voucher["value"]["amount"]) == _WORTH, got="another one")
        true(
            "offline: allowed or refused",
            holds=voucher["offline"] in ("allowed", "refused"),
            got=shown(voucher["offline"]),
        )
    same("vouchers used at the loyalty system", trial.tenant.vouchers_used(person), 0)


@GROUP.case("**Idempotent** on `transaction_id`, `kind` and `id`: if you got no answer, ask again with the same body.")
def redeemed_once(trial: Trial) -> None:
    """A voucher is used up for one sale, however often it is asked for, and for no other."""
    person, ref = _holder(trial)
    voucher, sale = _vouchers(trial, ref)[0], trial.purchase({})["transaction_id"]
    _came(_ask(trial, "redeem", ref, voucher, sale), "redeemed")
    _came(_ask(trial, "redeem", ref, voucher, sale), "redeemed")
    _came(_ask(trial, "redeem", ref, voucher, f"{sale}-b"), "refused", "used")
    same("vouchers used at the loyalty system", trial.tenant.vouchers_used(person), 1)
    same("vouchers that are left", len(_vouchers(trial, ref)), 1)


@GROUP.case("gives back what was redeemed for a sale: `released`")
def released(trial: Trial) -> None:
    """What was used up for a sale is given back, and nothing that was not."""
    person, ref = _holder(trial)
    voucher, sale = _vouchers(trial, ref)[0], trial.purchase({})["transaction_id"]
    refused(_ask(trial, "release", ref, voucher, sale), 404, "record.unknown")
    _came(_ask(trial, "redeem", ref, voucher, sale), "redeemed")
    _came(_ask(trial, "release", ref, voucher, sale), "released")
    same("vouchers used at the loyalty system", trial.tenant.vouchers_used(person), 0)
    _came(_ask(trial, "redeem", ref, voucher, sale), "refused", "released")


@GROUP.case("look the member up by something that not anybody may say: `benefits.spend_with`")
def weak_identification(trial: Trial) -> None:
    """Who was named by a phone number alone uses nothing up."""
    trial.online()
    person = trial.member()
    trial.tenant.give_voucher(person, _WORTH)
    found = answered(trial.door.identify("mobile_phone", person.phone), 200)
    if found["allowed"]["spend"]:
        raise NotApplicableError("benefits.spend_with has phone numbers at this till")
    ref = found["contact"]["ref"]
    sale = trial.purchase({})["transaction_id"]
    _came(_ask(trial, "redeem", ref, _vouchers(trial, ref)[0], sale), "refused", "weak_identification")
    same("vouchers used at the loyalty system", trial.tenant.vouchers_used(person), 0)


@GROUP.case("`offline` says whether it may be given while the loyalty system does not answer")
def as_the_policy_says(trial: Trial) -> None:
    """Without the line a voucher is given or refused as its listing says, and the screens are told."""
    person, ref = _holder(trial)
    voucher, sale = _vouchers(trial, ref)[0], trial.purchase({})["transaction_id"]
    trial.offline()
    reply = _ask(trial, "redeem", ref, voucher, sale)
    if voucher["offline"] == "allowed":
        _came(reply, "queued")
        says(reply, "loyalty.benefit.allowed_offline", "staff")
        return
    _came(reply, "refused", "offline")
    says(reply, "loyalty.benefit.refused_offline", "staff", "customer")
    trial.online()
    same("vouchers used at the loyalty system", trial.tenant.vouchers_used(person), 0)


@GROUP.case("nothing is written down, here or at the loyalty\nsystem")
def preview(trial: Trial) -> None:
    """What a sale would earn is told with its basis, and leaves no sale behind."""
    sale = trial.purchase({})
    reply = trial.door.post("/v1/points/preview", {"currency": sale["currency"], "lines": sale["lines"]})
    body = answered(reply, 200)
    basis = body.get("basis")
    true("basis: live, estimate or unavailable", holds=basis in ("live", "estimate", "unavailable"), got=shown(basis))
    true(
        "points exactly where there is a basis",
        holds=(body["points"] is None) == (basis == "unavailable"),
        got=f"basis {basis}",
    )
    if basis == "estimate":
        says(reply, "loyalty.points_estimated", "staff", "customer")
    body = answered(trial.door.post("/v1/points/preview", sale), 200)
    refused(trial.door.sale(sale["transaction_id"]), 404, "record.unknown")
