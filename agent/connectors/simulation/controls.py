"""`/_sim`: what a person or a test does to a simulated vendor from outside. No key is asked for; for loopback only.

A control that is wrongly worded answers 400 with what is wrong, in the vendor's form, and changes nothing.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from agent.connectors.simulation.answers import Handler, answer, routed
from agent.connectors.simulation.gate import CONTROLS
from agent.connectors.simulation.records import RecordFault
from agent.connectors.simulation.vendor import SimulatedVendor

Control = Callable[[Any], Any]
"""Takes the JSON of a body, None where there is none, and returns that of its answer; raises ValueError."""
_Fault = TypeVar("_Fault", bound=RecordFault)


def controls(
    simulator: SimulatedVendor[_Fault],
    fault: type[_Fault],
    *,
    shows: Mapping[str, Control],
    acts: Mapping[str, Control],
    wrong: Callable[[str], Response],
) -> ASGIApp:
    """The ASGI application below `/_sim/`: faults, keys and a new beginning, beside the vendor's own controls.

    Args:
        simulator: the vendor.
        fault: its kind of faults.
        shows: its own controls for GET, by name.
        acts: its own controls for POST, by name.
        wrong: its answer to a request that it cannot understand, around a text.
    """

    def set_faults(wanted: Any) -> Any:
        try:
            faults = [fault(**members) for members in wanted.get("add", [])]
        except (TypeError, AttributeError) as error:
            raise ValueError(str(error)) from error
        if wanted.get("clear"):
            simulator.faults.clear()
        simulator.faults += faults
        return [asdict(one) for one in simulator.faults]

    def set_keys(wanted: Any) -> Any:
        if not isinstance(wanted, dict) or not all(isinstance(secret, str) for secret in wanted.values()):
            raise ValueError("An object of keys and their secrets is expected; those that are not in it are revoked.")
        simulator.keys.clear()
        simulator.keys.update(wanted)
        return sorted(wanted)

    def reset(_wanted: Any) -> Any:
        simulator.forget()
        return {}

    def handler(control: Control) -> Handler:
        def respond(_request: Request, body: bytes) -> Response:
            try:
                return answer(control(json.loads(body) if body else None))
            except ValueError as error:
                return wrong(str(error))

        return respond

    common: dict[str, Control] = {"faults": set_faults, "keys": set_keys, "reset": reset}
    return routed(
        simulator.lock,
        [
            *(("GET", CONTROLS + name, handler(control)) for name, control in shows.items()),
            *(("POST", CONTROLS + name, handler(control)) for name, control in {**acts, **common}.items()),
        ],
    )
