"""Hostile web pages in a real browser: a web site on loopback, the attacks its pages try, and Chromium to open them.

No driver stands between: a page tries everything by itself and posts what it learned to its own site.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
PATIENCE_S = 90.0
FLAGS = (
    "--headless",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-popup-blocking",  # the attacks need no user who clicks
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",  # keeps a headless browser open; nobody connects
)
NAMES = ("evil.example.com", "pos.example.com", "pos.example.com.evil.example.com")
REBOUND = "rebound.example.com"
OURS = ("127.0.0.1", "127.0.0.2", "localhost", "0.0.0.0")
ATTACKS = (Path(__file__).parent / "attacks.js").read_text(encoding="utf-8")


class Site:
    """A web site on a loopback port; its pages post what they learned to `/report`.

    Args:
        page: the HTML of every other path.
        address: where it listens.
        becomes: where the site's name leads once its page was given: DNS rebinding, as both ends see it. A page that
            opened itself would try everything again in each of its windows.
    """

    def __init__(self, page: str = "", *, address: tuple[str, int] = ("127.0.0.1", 0), becomes: Any = None) -> None:
        self.page, self._becomes = page, becomes
        self._given = threading.Event()
        self._reported = threading.Event()
        self._report: dict[str, Any] = {}
        self._server = ThreadingHTTPServer(address, self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def report(self) -> dict[str, Any]:
        """What the page learned; fails when it never says."""
        assert self._reported.wait(PATIENCE_S), "the page did not report"
        return self._report

    def _handler(site) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - the handler's own self stands inside
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if site._becomes is not None and site._given.is_set():
                    self._relay(site._becomes)
                    return
                site._given.set()
                body = site.page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                if self.path != "/report":
                    self._relay(site._becomes)
                    return
                site._report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(204)
                self.end_headers()
                site._reported.set()

            do_OPTIONS = do_PUT = do_POST  # noqa: N815 - the library's names

            def _relay(self, to: tuple[str, int] | None) -> None:
                if to is None:
                    self.send_error(404)
                    return
                asking = http.client.HTTPConnection(*to, timeout=10)
                asking.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    asking.putheader(name, value)
                asking.endheaders(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                with contextlib.closing(asking), contextlib.suppress(OSError):
                    answer = asking.getresponse()
                    body = answer.read()
                    self.send_response(answer.status)
                    for name, value in answer.getheaders():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def page(site: Site, bases: list[str], token: str, *, host: str = "evil.example.com") -> str:
    """A page that tries everything against the agent under each of its addresses, knowing even a valid token."""
    told = {"bases": bases, "token": token, "report": f"http://{host}:{site.port}/report"}
    return f"<!doctype html><title>x</title><body><script>const told = {json.dumps(told)};\n{ATTACKS}</script>"


@contextlib.contextmanager
def browsing(url: str, *flags: str) -> Iterator[Path]:
    """Chromium with that page open. Names of ours lead to this machine, no other name is resolved."""
    assert CHROMIUM is not None
    mapped = [*(f"MAP {name} 127.0.0.1" for name in NAMES), f"MAP {REBOUND} 127.0.0.2"]
    rules = ", ".join([*mapped, "MAP * ~NOTFOUND", *(f"EXCLUDE {name}" for name in OURS)])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        output = Path(profile) / "output"
        with output.open("wb") as out:
            browser = subprocess.Popen(
                [
                    CHROMIUM, *FLAGS, f"--user-data-dir={profile}",
                    f"--host-resolver-rules={rules}", *flags, url,
                ],
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        try:
            yield output
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
