"""A loyalty system that takes everything, or one that takes the connection and never answers.

python -m bench.sink PORT          answers 202 to every request
python -m bench.sink PORT hang     answers nothing
"""

import asyncio
import sys

import httptools
import uvloop

_TAKEN = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Taker(asyncio.Protocol):
    """One connection."""

    answers = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self.answers:
            self._transport.write(_TAKEN)  # type: ignore[attr-defined]  # asyncio hands over a plain Transport


async def serve(port: int) -> None:
    """Answers until it is killed."""
    server = await asyncio.get_running_loop().create_server(Taker, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    Taker.answers = "hang" not in sys.argv[2:]
    uvloop.run(serve(int(sys.argv[1])))
