"""A stateful, made-up mParticle input to build and test against.

It takes batches by the three calls of the Events API, deduplicates them by `source_request_id`, and can be cut off,
slowed down and broken on demand. How it is used stands in `docs/vendors/mparticle.md`. Nothing of the agent proper is
imported here, and only the workbench and tests import this.
"""

from agent.connectors.mparticle.simulator.faults import Fault
from agent.connectors.mparticle.simulator.vendor import MparticleSimulator
from agent.connectors.simulation.server import RunningSimulator, ThreadedSimulator, serve

__all__ = ["Fault", "MparticleSimulator", "RunningSimulator", "ThreadedSimulator", "serve"]
