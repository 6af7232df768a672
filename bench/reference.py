"""The limits for the door's hot calls: bare ASGI applications on uvicorn that do the same and nothing besides.

    python -m bench.reference accept DATABASE PORT
    python -m bench.reference identify DATABASE PORT

`accept` stores the body of each sale under its id, in groups, one COMMIT with an fsync a group, before it answers 202.
`identify` finds a member by phone number in an indexed plain table. Neither checks, normalises, tags or encrypts.
"""

import asyncio
import json
import sqlite3
import sys
import threading
from collections import deque
from typing import Any

import uvicorn

_CREATED = {"type": "http.response.start", "status": 202, "headers": [(b"content-type", b"application/json")]}
_FOUND = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}


class Groups:
    """Stores what is waiting in one commit, then answers every waiter in one call into the event loop."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._waiting: deque[tuple[tuple[str, bytes], asyncio.Future[None]]] = deque()
        self._wake = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def store(self, key: str, body: bytes) -> asyncio.Future[None]:
        """Done when it is on disk."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            threading.Thread(target=self._work, daemon=True).start()
        future = self._loop.create_future()
        self._waiting.append(((key, body), future))
        self._wake.set()
        return future

    def _work(self) -> None:
        database = sqlite3.connect(self._path, isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE IF NOT EXISTS sales (id TEXT PRIMARY KEY, body BLOB NOT NULL)",
        ):
            database.execute(statement).fetchall()
        assert self._loop is not None
        while True:
            self._wake.wait()
            self._wake.clear()
            group = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if group:
                database.execute("BEGIN IMMEDIATE")
                database.executemany("INSERT INTO sales VALUES (?, ?)", (row for row, _ in group))
                database.execute("COMMIT")
                self._loop.call_soon_threadsafe(_answer, [future for _, future in group])


def _answer(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.cancelled():
            future.set_result(None)


async def _body(receive: Any) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


def accepting(path: str) -> Any:
    """The application that stores sales."""
    groups = Groups(path)

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body = await _body(receive)
        key = json.loads(body)["transaction_id"]
        await groups.store(key, body)
        await send(_CREATED)
        await send(
            {"type": "http.response.body", "body": b'{"transaction_id": "%s", "state": "queued"}' % key.encode()}
        )

    return app


def identifying(path: str) -> Any:
    """The application that looks members up."""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
    find = "SELECT member_number FROM members WHERE mobile_phone = ?"

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        value = json.loads(await _body(receive))["identifier"]["value"]
        row = database.execute(find, (value,)).fetchone()
        await send(_FOUND)
        await send({"type": "http.response.body", "body": json.dumps({"member_number": row[0]}).encode()})

    return app


if __name__ == "__main__":
    made = {"accept": accepting, "identify": identifying}[sys.argv[1]](sys.argv[2])
    uvicorn.run(
        made,
        host="127.0.0.1",
        port=int(sys.argv[3]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )
