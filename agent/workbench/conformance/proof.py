"""The proof that a door's loyalty system is the kit's own: a real shop must not get made-up sales.

Nothing is sold for it. Somebody joins the made-up membership a moment before, under a phone number and a member number
that were drawn by lot, and stands in no export: a door that can name them has asked the kit's loyalty system. A door
with further systems is refused whatever it says, because nobody can see where those are.
"""

from __future__ import annotations

import time
from typing import Any, Final

import httpx

from agent.domain.fallback import REPLICA_LEVEL
from agent.errors import LoyaltyAgentError
from agent.workbench.conformance.door import Door, Json, RationedError, Reply
from agent.workbench.conformance.verdict import shown
from agent.workbench.tenant import Tenant

OF_A_STATUS: Final = frozenset({"state", "level", "vendors", "replica", "queue", "conditions"})
_POLL_S: Final = 0.25
_GROWTH, _LONGEST_POLL_S = 1.5, 5.0
"""Each look-up costs: should it be a real till's door after all, its cashier needs that ration."""
_OK, _UNAUTHORIZED, _FORBIDDEN = 200, 401, 403


class UntestableError(LoyaltyAgentError):
    """The door cannot be tested."""

    code = "conformance.untestable"
    advice = "See docs/till-api.md, Conformance. Nothing was sold."


class DoorUnreachableError(UntestableError):
    """Nobody answers at the door."""

    code = "conformance.unreachable"
    advice = "Start what is to be tested, and name its address as it listens."


class TokenRefusedError(UntestableError):
    """The door refuses the token."""

    code = "conformance.token_refused"
    advice = "Hand over a token of scope pos with --token-file or LOYALTY_AGENT_TOKEN: `loyalty-agent token add`."


class ElsewhereError(UntestableError):
    """The door's loyalty system is not the kit's, or not alone. Nothing was sold."""

    code = "conformance.elsewhere"
    advice = (
        "Run the agent with the configuration that `loyalty-agent conformance --prepare` writes, "
        "and the kit with the same --vendor-port."
    )


class NotPreparedError(UntestableError):
    """The agent's copy of the contacts does not hold the kit's members."""

    code = "conformance.not_prepared"
    advice = "Prepare anew with this version, and start the agent with that configuration."


class RationUsedUpError(UntestableError):
    """The agent's look-up ration is used up; the kit looks more people up than a cashier."""

    code = "conformance.rationed"
    advice = 'Test an agent with api.hits and api.misses "off", as the prepared configuration has them.'


def prove(door: Door, tenant: Tenant, *, patience_s: float) -> int:
    """The fallback level of a door whose loyalty system is this one.

    Raises:
        UntestableError: it is not, or nobody can say.
    """
    try:
        status = _status(door)
        _stands_alone(status)
        _names_the_newcomer(door, tenant, patience_s)
        return _is_ready(door, tenant, patience_s)
    except RationedError:
        raise RationUsedUpError from None
    except httpx.TransportError as error:
        raise DoorUnreachableError(f"Nobody answers at {door.address} ({type(error).__name__}).") from error
    except (httpx.HTTPError, LookupError, TypeError, AttributeError, ValueError) as error:
        # Nobody is sold to on a guess; the error's own text may hold what somebody said.
        raise UntestableError(
            f"What answers at {door.address} says it in another shape than the contract's ({type(error).__name__})."
        ) from None


def _status(door: Door) -> Json:
    reply = door.get("/v1/status")
    if reply.status in (_UNAUTHORIZED, _FORBIDDEN):
        raise TokenRefusedError(f"The door refuses the token with {reply.status}.")
    if reply.status != _OK or not reply.body.keys() >= OF_A_STATUS:
        raise UntestableError(f"What answers at {door.address} is no till's door: {reply.status} to GET /v1/status.")
    return reply.body


def _stands_alone(status: Json) -> None:
    if [one["role"] for one in status["vendors"]] != ["loyalty"]:
        raise ElsewhereError(
            "The agent's vendors[] are not a loyalty system alone: it sends sales to further systems as well "
            "([forward]), or does not say to which. Nothing was sold."
        )


def _names_the_newcomer(door: Door, tenant: Tenant, patience_s: float) -> None:
    newcomer = tenant.join("Vilgot")
    deadline, pause_s = time.monotonic() + patience_s, _POLL_S
    while (reply := door.identify("mobile_phone", newcomer.phone)).body.get("outcome") == "unknown":
        if time.monotonic() > deadline:
            raise ElsewhereError(
                f"The agent did not reach the kit's loyalty system at {tenant.url} within {patience_s:.0f} s. "
                "Nothing was sold."
            )
        time.sleep(pause_s)
        pause_s = min(_GROWTH * pause_s, _LONGEST_POLL_S)
    if _key(reply) not in (newcomer.member_number, tenant.contact_id(newcomer)):
        raise ElsewhereError(
            f"The agent asked another loyalty system than the kit's at {tenant.url}: it does not name somebody "
            "who joined there a moment ago. Nothing was sold."
        )


def _is_ready(door: Door, tenant: Tenant, patience_s: float) -> int:
    """The level, once the agent is well and knows the members of the export, where it keeps a copy."""
    deadline = time.monotonic() + patience_s
    while (status := _status(door))["state"] != "online" or not _is_loaded(status):
        if time.monotonic() > deadline:
            codes = ", ".join(shown(one["code"]) for one in status["conditions"]) or "it says not why"
            state = "without its contacts" if status["state"] == "online" else shown(status["state"])
            raise UntestableError(f"The agent is {state} after {patience_s:.0f} s with everything at hand ({codes}).")
        time.sleep(_POLL_S)
    if not _is_known(door, tenant, status):
        raise NotPreparedError
    return int(status["level"])


def _is_loaded(status: Json) -> bool:
    return bool(status["level"] < REPLICA_LEVEL or status["replica"]["as_of"] is not None)


def _is_known(door: Door, tenant: Tenant, status: Json) -> bool:
    """Whether a member of the export is known from the local copy, where there is to be one."""
    if status["level"] < REPLICA_LEVEL:
        return True
    reply = door.identify("contact_id", tenant.contact_id(tenant.members(1)[0]))
    served: Any = reply.body.get("served")
    return isinstance(served, dict) and served.get("source") == "replica"


def _key(reply: Reply) -> str | None:
    key = reply.body.get("integration_key")
    return key.get("value") if isinstance(key, dict) and key.get("kind") == "primary" else None
