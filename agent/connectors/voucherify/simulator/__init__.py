"""A stateful, made-up Voucherify project to build and test against.

It keeps orders by `source_id`, customers and events, counts what orders earned, and can be cut off, slowed down, used
up and broken on demand. How it is used stands in `docs/vendors/voucherify.md`. Nothing of the agent proper is imported
here, and only the workbench and tests import this.
"""

from agent.connectors.simulation.server import RunningSimulator, ThreadedSimulator, serve
from agent.connectors.voucherify.simulator.faults import Fault
from agent.connectors.voucherify.simulator.vendor import VoucherifySimulator

__all__ = ["Fault", "RunningSimulator", "ThreadedSimulator", "VoucherifySimulator", "serve"]
