"""A stateful, made-up Antavo workspace to build and test against.

It checks signatures, processes events with the vendor's error numbers, finds customers and shows transactions, and can
be cut off, slowed down and broken on demand. How it is used stands in `docs/vendors/antavo.md`. Only the workbench and
tests import this; of the agent proper it uses the canonical form of a request, which the vendor's vectors prove.
"""

from agent.connectors.antavo.simulator.faults import Fault
from agent.connectors.antavo.simulator.vendor import AntavoSimulator
from agent.connectors.simulation.server import RunningSimulator, ThreadedSimulator, serve

__all__ = ["AntavoSimulator", "Fault", "RunningSimulator", "ThreadedSimulator", "serve"]
