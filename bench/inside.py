"""The agent with what its configuration does not offer: no share of the vendor's allowance, and a rebuild on SIGUSR1.

python -m bench.inside CONFIG
"""

import asyncio
import signal
import sys
from dataclasses import replace
from pathlib import Path


async def serve(config: Path) -> None:
    """Runs it until SIGTERM."""
    from agent.connectors.registry import settings_models
    from agent.daemon import running
    from agent.settings import load

    configuration = load(config=config, vendors=settings_models(), environ={})
    # A copy is not checked again: 0 means no limit.
    unlimited = configuration.vendor.model_copy(update={"requests_per_second": 0})
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with running(replace(configuration, vendor=unlimited)) as agent:
        loop.add_signal_handler(signal.SIGUSR1, lambda: agent.rooms.orders.sync(rebuild=True))
        await stop.wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(Path(sys.argv[1])))
