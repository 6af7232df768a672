"""The simulated vendor's port: a line that is cut is cut at once, whoever is just calling."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket

import pytest

from agent.connectors.simulation.server import serve


class Silent:
    """A vendor that answers nobody."""

    async def app(self, scope, receive, send):
        await asyncio.Event().wait()

    def run_due(self):
        pass


@pytest.mark.parametrize("turns", range(6))
async def test_who_calls_as_the_line_is_cut_is_cut_off(turns):
    """However far a call has come in the event loop's turns, its socket is closed and none is left behind."""
    running = await serve(Silent())
    with socket.create_connection((running.host, running.port)) as caller:
        for _ in range(turns):
            await asyncio.sleep(0)
        await running.stop()
        caller.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert caller.recv(1) == b""
    gc.collect()  # an unclosed transport is told when it is collected, and fails the test


async def test_the_port_is_taken_again():
    """What is cut refuses, and what is mended answers on the same port."""
    running = await serve(Silent())
    for _ in range(3):
        await running.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((running.host, running.port))
        running = await serve(Silent(), running.host, running.port)
    await running.stop()
