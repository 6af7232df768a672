"""Ledger, the made-up second system, as a real HTTP server on a port that stays the same while its line is cut."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Ledger:
    """What it took, and how it can fail.

    Attributes:
        key: the one it takes.
        poison: sales that it refuses by name.
        indigestible: sales for which it refuses every call that they are in.
        forget: calls that it carries out and does not answer.
    """

    def __init__(self) -> None:
        self.key = "ledger-key"
        self.poison: set[str] = set()
        self.indigestible: set[str] = set()
        self.forget = 0
        self.calls: list[list[str]] = []
        self.taken: list[dict[str, Any]] = []
        self._known: set[str] = set()
        self._lock = threading.Lock()
        self._port, self._server = 0, None
        self.mend()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def mend(self) -> None:
        ledger = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = ledger.answer(self.path, self.headers["Authorization"], content)
                if status is None:
                    self.close_connection = True
                    return
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def cut(self) -> None:
        """Connections are refused from now on; those that are open get no more answers."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, path: str, authorization: str, content: bytes) -> tuple[int | None, Any]:
        with self._lock:
            if self._server is None:
                return None, None
            if authorization != f"Bearer {self.key}":
                return 401, {}
            if path == "/ping":
                return 200, {}
            sales = json.loads(content)
            names = [sale["id"] for sale in sales]
            self.calls.append(names)
            if self.indigestible & set(names):
                return 413, {}
            for sale in sales:
                if sale["id"] not in self.poison | self._known:
                    self._known.add(sale["id"])
                    self.taken.append(sale)
            if self.forget:
                self.forget -= 1
                return None, None
            return 200, [name not in self.poison for name in names]

    def counts(self) -> Counter[str]:
        """How often each sale stands in its books."""
        with self._lock:
            return Counter(sale["id"] for sale in self.taken)

    def keys(self) -> dict[str, str | None]:
        """The key under which it has each sale."""
        with self._lock:
            return {sale["id"]: sale["key"] for sale in self.taken}


ROOM = Path(__file__).with_name("ledger_room.py")
