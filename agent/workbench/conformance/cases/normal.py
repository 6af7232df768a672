"""Everything answers: who somebody is, and sales that arrive."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from agent.domain.fallback import REPLICA_LEVEL
from agent.workbench.conformance.case import Group
from agent.workbench.conformance.trial import Trial
from agent.workbench.conformance.verdict import answered, message_codes, refused, same, says, shown, true
from agent.workbench.stage import by_email, by_phone

GROUP: Final = Group("normal")
_TYPES: Final = ("contact_id", "member_number", "mobile_phone", "email")
_FINDS: Final = (
    "| `matched` | one member | what may be shown | the primary key; `contact_id` if the vendor gave no other |"
)


@GROUP.case("`vendors[]` has the loyalty system first")
def status(trial: Trial) -> None:
    """The status says that everything is well, with each of its parts."""
    body = trial.says("online")
    for part in ("state", "level", "since", "version", "vendors", "replica", "queue", "conditions", "messages"):
        true(f"{part} in the status", holds=part in body, got="none")
    same("the first vendor's role", body["vendors"][0]["role"], "loyalty")
    for figure in ("depth", "held", "parked", "in_doubt", "oldest_age_s", "bytes", "outage_left_s"):
        true(f"queue.{figure} in the status", holds=figure in body["queue"], got="none")


def _identify(kind: str, trial: Trial) -> None:
    person = trial.member()
    value = {
        "contact_id": trial.tenant.contact_id(person),
        "member_number": person.member_number,
        "mobile_phone": person.phone,
        "email": person.email,
    }[kind]
    for asked in (kind, "any"):
        reply = trial.door.identify(asked, value or "")
        body = answered(reply, 200)
        same("outcome", body.get("outcome"), "matched")
        trial.names(body.get("integration_key"), person)
        true("a contact with a ref", holds=body["contact"]["ref"], got=shown(body["contact"]))
        same("allowed.earn", body["allowed"]["earn"], expected=True)
        _served(body["served"], trial)


def _served(served: dict[str, object], trial: Trial) -> None:
    for part in ("source", "as_of", "age_s", "stale", "level"):
        true(f"served.{part}", holds=part in served, got="none")
    same("served.level", served["level"], trial.level)


GROUP.each("identify", "A member is known by", _FINDS, _identify, *_TYPES)


@GROUP.case("string or number, `070-174 06 05` or `+46701740605`")
def identify_as_said(trial: Trial) -> None:
    """A phone number with blanks and dashes names whom it names without."""
    person = trial.tenant.member(2)
    body = answered(trial.door.identify("mobile_phone", person.as_said), 200)
    same("outcome", body.get("outcome"), "matched")
    trial.names(body.get("integration_key"), person)


@GROUP.case("| `not_found` | someone who can know says there is none | null | the secondary key")
def identify_stranger(trial: Trial) -> None:
    """Somebody who is no member is not found, and the screens are told."""
    stranger = trial.tenant.stranger()
    reply = trial.door.identify("mobile_phone", stranger.phone)
    body = answered(reply, 200)
    same("outcome", body.get("outcome"), "not_found")
    same("contact", body.get("contact"), None)
    same("integration_key", body.get("integration_key"), trial.key_said_by(stranger))
    says(reply, "loyalty.not_found", "staff", "customer")


@GROUP.case("| `ambiguous` | several share it; nobody is guessed | null | the same |")
def identify_shared(trial: Trial) -> None:
    """Of several who share a phone number nobody is guessed."""
    reply = trial.door.identify("mobile_phone", trial.tenant.family().phone)
    body = answered(reply, 200)
    same("outcome", body.get("outcome"), "ambiguous")
    same("contact", body.get("contact"), None)
    says(reply, "loyalty.ambiguous", "staff")


@GROUP.case("| `identifier.invalid` | 422 | the value cannot be of its type: ask the customer again |")
def identify_impossible(trial: Trial) -> None:
    """A value that cannot be of its type is refused."""
    refused(trial.door.identify("mobile_phone", "12"), 422, "identifier.invalid")
    refused(trial.door.identify("email", "nobody"), 422, "identifier.invalid")


@GROUP.case("The language is the one asked for with `Accept-Language`, else `agent.locale`.")
def language(trial: Trial) -> None:
    """The texts come in the language asked for."""
    stranger = trial.tenant.stranger()
    texts = set()
    for tag in ("sv-SE", "en-GB", "de-DE"):
        reply = trial.door.identify("mobile_phone", stranger.phone, accept_language=tag)
        for message in answered(reply, 200)["messages"]:
            same("a message's locale", message["locale"].partition("-")[0], tag.partition("-")[0])
            true(
                "its severity",
                holds=message["severity"] in ("info", "warning", "error"),
                got=shown(message["severity"]),
            )
            texts.add(message["text"])
    true("a text in each language", holds=len(texts) > 3, got=f"{len(texts)} texts")  # noqa: PLR2004 - three languages


@GROUP.case("what may be shown of a member", level=REPLICA_LEVEL)
def contact_by_ref(trial: Trial) -> None:
    """A contact is shown by the handle that identify gave."""
    person = trial.member()
    ref = answered(trial.door.identify("mobile_phone", person.phone), 200)["contact"]["ref"]
    body = answered(trial.door.get(f"/v1/contacts/{ref}"), 200)
    trial.names(body["integration_key"], person)
    same("contact.ref", body["contact"]["ref"], ref)


@GROUP.case("then the sale is on disk and will be delivered")
def sale(trial: Trial) -> None:
    """A member's sale is answered with 202 under the primary key, and the loyalty system has it once."""
    person = trial.member()
    made = trial.purchase(by_phone(person))
    reply = trial.sell(made)
    body = answered(reply, 202)
    same("transaction_id", body.get("transaction_id"), made["transaction_id"])
    same("duplicate", body.get("duplicate"), expected=False)
    trial.tags(body.get("integration_key"), person)
    accepted = datetime.fromisoformat(body["accepted_at"])
    true("accepted_at with an offset", holds=accepted.tzinfo, got="none")
    message_codes(reply, "staff")
    _served(body["served"], trial)
    trial.has_once(person, made)


@GROUP.case("`vendor_reference` is what the vendor calls the sale")
def delivery(trial: Trial) -> None:
    """How a sale stands is told, delivery by delivery."""
    person = trial.member()
    body = trial.delivered(trial.sold(by_email(person)))
    same("the key's kind", body["integration_key"]["kind"], "primary")
    true("the key's value left out", holds="value" not in body["integration_key"], got="it is there")
    (one,) = body["deliveries"]
    same("the delivery's state", one["state"], "delivered")
    same("last_error", one["last_error"], None)
    true("delivered_at with an offset", holds=datetime.fromisoformat(one["delivered_at"]).tzinfo, got="none")


@GROUP.case("or with the `integration_key` from step 1")
def sale_by_key(trial: Trial) -> None:
    """A sale takes the integration key that identify returned."""
    person = trial.member()
    key = answered(trial.door.identify("email", person.email or ""), 200)["integration_key"]
    made = trial.purchase({"integration_key": key})
    trial.names(answered(trial.sell(made), 202)["integration_key"], person)
    trial.has_once(person, made)


@GROUP.case("A guest's sale at a vendor without guests (Voyado) has no delivery there; without any it is `delivered`.")
def guest(trial: Trial) -> None:
    """A sale of nobody is kept, and told to nobody."""
    made = trial.purchase({})
    body = answered(trial.sell(made), 202)
    same("integration_key", body.get("integration_key"), None)
    same("deliveries", trial.delivered(made)["deliveries"], [])
    trial.has_none(made)


@GROUP.case("without gaps and never twice")
def numbers(trial: Trial) -> None:
    """Sales of a till are numbered one after the other, and a repeat has the first one's number."""
    person = trial.member()
    made = [trial.purchase(by_phone(person)) for _ in range(3)]
    given = [answered(trial.sell(one), 202)["number"] for one in made]
    same("the numbers", given, [given[0], given[0] + 1, given[0] + 2])
    same("the number of a sale", answered(trial.door.sale(made[1]["transaction_id"]), 200)["number"], given[1])


@GROUP.case("| `record.unknown` | 404 | nothing of that id or handle is here |")
def unknown(trial: Trial) -> None:
    """Nobody's sale and nobody's handle are not there."""
    refused(trial.door.sale("kit-never-sold"), 404, "record.unknown")
    refused(trial.door.get("/v1/contacts/c_nobody"), 404, "record.unknown")


@GROUP.case("There is no call for how an activity stands: `state` says how it was taken")
def activity(trial: Trial) -> None:
    """What happened to a member without a sale is taken, and a repeat is recognised."""
    body = {
        "activity_id": trial.purchase({})["transaction_id"],
        "type": "delivery_order_picked_up",
        "occurred_at": trial.clock.now().isoformat(),
        **by_phone(trial.member()),
    }
    first = answered(trial.door.post("/v1/activities", body), 202)
    same("duplicate", first["duplicate"], expected=False)
    again = answered(trial.door.post("/v1/activities", body), 200)
    same("duplicate", again["duplicate"], expected=True)
    refused(trial.door.post("/v1/activities", {**body, "order_id": "4711"}), 409, "activity.conflict")
