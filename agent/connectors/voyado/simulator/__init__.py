"""A stateful, made-up Voyado Engage tenant to build and test against.

It answers v2 and v3 over HTTP, imports receipts and exports members on its own intervals, and can be cut off, slowed
down and broken on demand. How it is used stands in `docs/vendors/voyado-simulator.md`. Nothing of the agent proper is
imported here, and only the workbench and tests import this.
"""

from agent.connectors.simulation.server import RunningSimulator, ThreadedSimulator, serve
from agent.connectors.voyado.simulator.faults import Fault, Faults
from agent.connectors.voyado.simulator.receipts import ReceiptCounts
from agent.connectors.voyado.simulator.settings import SimulatorSettings
from agent.connectors.voyado.simulator.tenant import VoyadoSimulator

__all__ = [
    "Fault",
    "Faults",
    "ReceiptCounts",
    "RunningSimulator",
    "SimulatorSettings",
    "ThreadedSimulator",
    "VoyadoSimulator",
    "serve",
]
