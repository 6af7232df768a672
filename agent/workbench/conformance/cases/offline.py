"""The line is cut: nothing changes for the POS, and the screens are told."""

from __future__ import annotations

from typing import Final

from agent.domain.fallback import REPLICA_LEVEL, TAG_LEVEL
from agent.workbench.conformance.case import Group
from agent.workbench.conformance.trial import Trial
from agent.workbench.conformance.verdict import answered, message_codes, same, says, shown, true
from agent.workbench.stage import by_phone

GROUP: Final = Group("offline", offline=True)
SOON_S: Final = 15.0
"""Half of what an agent waits for a vendor, far more than a cashier waits: a busy machine is not a door that waits."""


@GROUP.case("or `offline` (it does not answer, or only with\n429, 5xx or nonsense)")
def status(trial: Trial) -> None:
    """The status says that nobody answers, since when, and what to do."""
    trial.offline()
    body = trial.door.status()
    found = {one["code"]: one for one in body["conditions"]}
    true("the condition vendor.offline", holds="vendor.offline" in found, got=shown(sorted(found)))
    for part in ("severity", "since", "title", "detail", "remedy"):
        true(f"its {part}", holds=found["vendor.offline"].get(part), got="none")
    same("the vendor's state", body["vendors"][0]["state"], "offline")


@GROUP.case("the replica knows the member", level=REPLICA_LEVEL)
def identify_member(trial: Trial) -> None:
    """A member is known from the local copy, and the screens say so."""
    person = trial.member()
    trial.offline()
    reply = trial.door.identify("mobile_phone", person.phone)
    body = answered(reply, 200)
    same("outcome", body.get("outcome"), "matched")
    same("served.source", body["served"]["source"], "replica")
    trial.names(body.get("integration_key"), person)
    same("allowed.spend", body["allowed"]["spend"], expected=False)
    says(reply, "loyalty.offline.replica", "staff", "customer")


@GROUP.case("| `unknown` | the vendor cannot be asked and the replica does not have them | null | the same |")
def identify_stranger(trial: Trial) -> None:
    """Of somebody whom the local copy does not have nothing is claimed, and the screens say why."""
    stranger = trial.tenant.stranger()
    trial.offline()
    reply = trial.door.identify("mobile_phone", stranger.phone)
    body = answered(reply, 200)
    same("outcome", body.get("outcome"), "unknown")
    same("contact", body.get("contact"), None)
    same("integration_key", body.get("integration_key"), trial.key_said_by(stranger))
    same("served.source", body["served"]["source"], "none")
    says(reply, "loyalty.unknown" if trial.level >= TAG_LEVEL else "loyalty.unavailable", "staff", "customer")


@GROUP.case("Nothing changes for the POS: the same calls, the same statuses.", level=REPLICA_LEVEL)
def sale_of_member(trial: Trial) -> None:
    """A member's sale is taken under the primary key, and waits."""
    person = trial.member()
    trial.offline()
    made = trial.purchase(by_phone(person))
    reply = trial.sell(made)
    body = answered(reply, 202)
    same("state", body.get("state"), "queued")
    trial.tags(body.get("integration_key"), person)
    says(reply, "loyalty.offline.replica", "customer")
    _waits(trial, made["transaction_id"])


@GROUP.case("`served.level` and `messages[]` say what works; the sale is\ntagged and sent later.", level=TAG_LEVEL)
def sale_of_stranger(trial: Trial) -> None:
    """Whom nobody can ask for is tagged with what they said, and staff and customer are told."""
    person = trial.tenant.join("Tuva")
    trial.offline()
    made = trial.purchase(by_phone(person))
    reply = trial.sell(made)
    body = answered(reply, 202)
    same("state", body.get("state"), "queued")
    same("integration_key", body.get("integration_key"), trial.key_said_by(person))
    true(
        "served.level from 1 to the configured one",
        holds=1 <= body["served"]["level"] <= trial.level,
        got="another one",
    )
    says(reply, "loyalty.offline.tagged", "staff", "customer")
    _waits(trial, made["transaction_id"])


@GROUP.case("Nothing changes for the POS: the same calls, the same statuses.")
def sale_at_every_level(trial: Trial) -> None:
    """A sale is taken whatever the agent can do without the line, and both screens have something to say."""
    trial.offline()
    reply = trial.sell(trial.purchase(by_phone(trial.tenant.stranger())))
    answered(reply, 202)
    for audience in ("staff", "customer"):
        true(f"a text for {audience}", holds=message_codes(reply, audience), got="none")


@GROUP.case("`queue.depth` is queued + held", level=TAG_LEVEL)
def queue(trial: Trial) -> None:
    """The status counts what waits."""
    trial.offline()
    before = trial.door.status()["queue"]["depth"]
    trial.sold(by_phone(trial.member()))
    same("what waits more than before", trial.door.status()["queue"]["depth"] - before, 1)
    true("the oldest one's age", holds=trial.door.status()["queue"]["oldest_age_s"] is not None, got="null")


@GROUP.case("unfinished deliveries: `?state=queued\\|held\\|parked\\|in_doubt`", level=TAG_LEVEL, admin=True)
def administrator_sees_it(trial: Trial) -> None:
    """An administrator finds a sale that waits in the queue."""
    trial.offline()
    made = trial.sold(by_phone(trial.member()))["transaction_id"]
    body = answered(trial.door.call("GET", "/v1/queue?state=queued&limit=1000", token=trial.door.admin), 200)
    found = [one for one in body["entries"] if one["transaction_id"] == made]
    true("the sale in the queue", holds=len(found) == 1, got=f"{len(found)} entries of it")
    same("its state", found[0]["state"], "queued")


@GROUP.case("The answer is there within `loyalty.live_lookup_budget` (800 ms) whatever the loyalty system does")
def silence(trial: Trial) -> None:
    """A loyalty system that takes calls and answers none holds up no question and no sale."""
    trial.online()
    stranger, person = trial.tenant.stranger(), trial.member()
    made = trial.purchase(by_phone(person))
    with trial.silent():
        asked = trial.door.identify("mobile_phone", stranger.phone)
        kept = trial.sell(made)
    same("outcome", answered(asked, 200).get("outcome"), "unknown")
    message_codes(asked, "staff")
    for what, reply in (("identify", asked), ("the sale", kept)):
        true(f"{what} answered within {SOON_S:.0f} s", holds=reply.elapsed_s < SOON_S, got=f"{reply.elapsed_s:.1f} s")
    trial.online()
    trial.has_once(person, made)


def _waits(trial: Trial, name: str) -> None:
    body = answered(trial.door.sale(name), 200)
    same("the sale's state", body.get("state"), "queued")
    same("its deliveries", [one["state"] for one in body["deliveries"]], ["queued"])
