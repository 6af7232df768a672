"""Contacts made and changed at the till."""

from __future__ import annotations

from typing import Final

from agent.domain.fallback import WRITE_LEVEL
from agent.workbench.conformance.case import Group
from agent.workbench.conformance.door import Json
from agent.workbench.conformance.trial import Trial
from agent.workbench.conformance.verdict import NotApplicableError, answered, refused, same, says, shown, true
from agent.workbench.tenant import Person

GROUP: Final = Group("contacts")
_PATH: Final = "/v1/contacts"


def _newcomer(trial: Trial) -> Json:
    person = trial.tenant.stranger()
    terms = {"id": "memberTerms", "value": True, "text_version": "2026-01", "place": "1042"}
    return {
        "first_name": "Signe",
        "last_name": "Exempel",
        "mobile_phone": person.phone,
        "consents": [{**terms, "given_at": trial.clock.now().isoformat()}],
    }


@GROUP.case("this till makes and changes no contacts: `loyalty.fallback_level`")
def read_only(trial: Trial) -> None:
    """Below level 4 nobody is made here."""
    if trial.level >= WRITE_LEVEL:
        raise NotApplicableError("this till makes contacts")
    refused(trial.door.post(_PATH, _newcomer(trial)), 409, "contact.read_only")


@GROUP.case("the loyalty system made it within `enrol.budget`", level=WRITE_LEVEL)
def made_online(trial: Trial) -> None:
    """A new member is made at the loyalty system while the cashier waits, once, under its own key."""
    trial.online()
    given = _newcomer(trial)
    body = answered(trial.door.post(_PATH, given), 202)
    same("state", body["state"], "delivered")
    (person,) = _known(trial, given)
    trial.names(body["integration_key"], person)
    again = answered(trial.door.post(_PATH, given), 200, 202)
    trial.names(again["integration_key"], person)
    _known(trial, given)
    made = trial.purchase({"integration_key": body["integration_key"]})
    trial.sell(made)
    trial.has_once(person, made)


@GROUP.case("on disk; the loyalty system gets it before any sale that needs it", level=WRITE_LEVEL)
def made_offline(trial: Trial) -> None:
    """Without the line a new member has a key at once, is identified and sold to, and is there once afterwards."""
    given = _newcomer(trial)
    trial.offline()
    reply = trial.door.post(_PATH, given)
    body = answered(reply, 202)
    same("state", body["state"], "queued")
    key = body["integration_key"]
    same("the key's kind", key["kind"], "primary")
    true("a key of this till's own", holds=key["value"], got=shown(key["value"]))
    says(reply, "loyalty.enrolled_offline", "staff", "customer")
    found = answered(trial.door.identify("mobile_phone", given["mobile_phone"]), 200)
    same("outcome", found["outcome"], "matched")
    true("the same key", holds=found["integration_key"] == key, got="another one")
    repeat = answered(trial.door.post(_PATH, given), 200, 202)
    true("the same ref of a repeat", holds=repeat["ref"] == body["ref"], got="another one")
    made = trial.purchase({"integration_key": key})
    trial.sell(made)
    trial.online()
    trial.delivered(made)
    (person,) = _known(trial, given)
    trial.has_once(person, made)


@GROUP.case("the loyalty system has it, within `enrol.budget`", level=WRITE_LEVEL)
def changed_online(trial: Trial) -> None:
    """A change of a member is at the loyalty system when it is answered, and counts here."""
    trial.online()
    given, phone = _newcomer(trial), trial.tenant.stranger().phone
    ref = answered(trial.door.post(_PATH, given), 202)["ref"]
    body = answered(trial.door.call("PATCH", f"{_PATH}/{ref}", content=f'{{"mobile_phone": "{phone}"}}'), 202)
    same("state", body["state"], "delivered")
    same("conflicts", body["conflicts"], [])
    _known(trial, {"mobile_phone": phone})
    same("outcome", answered(trial.door.identify("mobile_phone", phone), 200)["outcome"], "matched")


@GROUP.case("on disk; the loyalty system gets it when it answers, before the sales that wait", level=WRITE_LEVEL)
def changed_offline(trial: Trial) -> None:
    """Without the line a change counts here at once, and gets to the loyalty system later."""
    trial.online()
    given, phone = _newcomer(trial), trial.tenant.stranger().phone
    ref = answered(trial.door.post(_PATH, given), 202)["ref"]
    trial.offline()
    body = answered(trial.door.call("PATCH", f"{_PATH}/{ref}", content=f'{{"mobile_phone": "{phone}"}}'), 202)
    same("state", body["state"], "queued")
    same("outcome", answered(trial.door.identify("mobile_phone", phone), 200)["outcome"], "matched")
    trial.online()
    _known(trial, {"mobile_phone": phone})


@GROUP.case("which field, and what is wrong, or that nothing is changed", level=WRITE_LEVEL)
def refused_changes(trial: Trial) -> None:
    """A contact without an identifier, a change of nothing and a change of nobody are refused."""
    trial.online()
    refused(trial.door.post(_PATH, {"first_name": "Signe"}), 422, "request.invalid")
    ref = answered(trial.door.post(_PATH, _newcomer(trial)), 202)["ref"]
    refused(trial.door.call("PATCH", f"{_PATH}/{ref}", content="{}"), 422, "request.invalid")
    refused(trial.door.call("PATCH", f"{_PATH}/c_nobody", content='{"city": "Exempelstad"}'), 404, "record.unknown")


def _known(trial: Trial, given: Json) -> list[Person]:
    return trial.until(
        "the contact at the loyalty system, once",
        lambda: trial.tenant.known_by(given["mobile_phone"]),
        lambda people: len(people) == 1,
        lambda people: f"{len(people)} of them",
    )
