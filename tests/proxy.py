"""A proxy that tunnels to one place, whoever is asked for."""

import asyncio
from base64 import b64encode

HERE = "127.0.0.1"


class ProxyServer:
    """A CONNECT proxy.

    Attributes:
        asked: the head of each CONNECT.
        port: where every tunnel leads.
        login: who may use it; empty: everybody.
    """

    def __init__(self, port: int, login: str = "") -> None:
        self.asked: list[bytes] = []
        self.port, self.login = port, login

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        if self.login and b"Basic " + b64encode(self.login.encode()) not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            return
        there, back = await asyncio.open_connection(HERE, self.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while chunk := await source.read(65536):
                sink.write(chunk)
                await sink.drain()

        try:
            pumps = {asyncio.create_task(pump(reader, back)), asyncio.create_task(pump(there, writer))}
            _, left = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            back.transport.abort()
