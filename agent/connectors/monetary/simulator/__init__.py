"""A stateful, made-up account of Monetary Engage to build and test against.

It registers and finds customers, makes a receipt of each one that is sent, however often, keeps offers and campaigns,
and can be cut off, slowed down and broken on demand. How it is used stands in `docs/vendors/monetary.md`. Only the
workbench and tests import this; nothing of the agent proper is used by it.
"""

from agent.connectors.monetary.simulator.faults import Fault
from agent.connectors.monetary.simulator.offers import HOLDING
from agent.connectors.monetary.simulator.vendor import MonetarySimulator
from agent.connectors.simulation.server import RunningSimulator, ThreadedSimulator, serve

__all__ = ["HOLDING", "Fault", "MonetarySimulator", "RunningSimulator", "ThreadedSimulator", "serve"]
