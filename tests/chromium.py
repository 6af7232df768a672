"""A real Chromium, driven over the pipe that it offers for this (the DevTools protocol): no driver, nothing to install.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults.web import CHROMIUM, FLAGS

PATIENCE_S = 180.0
_PIPE = "--remote-debugging-pipe"
_HEARS, _SAYS = 3, 4
"""The descriptors of the browser's end, as it wants them."""


class Tab:
    """A page that is open.

    Args:
        ask: calls a method of the protocol in this tab.
    """

    def __init__(self, ask: Callable[..., dict[str, Any]]) -> None:
        self.ask = ask
        for domain in ("Page", "Runtime"):
            ask(f"{domain}.enable")

    def look(self, *, width: int, height: int, dark: bool = False) -> None:
        """The screen that the page is shown on."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str, *, before: str = "") -> None:
        """Goes there; ``before`` is a script that runs ahead of the page's own."""
        if before:
            self.ask("Page.addScriptToEvaluateOnNewDocument", source=before)
        self.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, a promise's once it has one."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """The first truthy value of an expression."""
        deadline = time.monotonic() + PATIENCE_S
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"still not so after {PATIENCE_S} s: {expression}"
            time.sleep(0.05)
        return value

    def text(self, selector: str) -> str:
        """What stands there, as it is seen."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def photograph(self, to: Path) -> None:
        """The screen as a PNG."""
        to.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))


class _Line:
    """The protocol over two descriptors: JSON with a zero byte behind it, both ways."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer, self._rest, self._last = reader, writer, b"", 0

    def ask(self, method: str, *, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of a method; events in between are nobody's."""
        self._last += 1
        call = {"id": self._last, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._writer, json.dumps(call).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            pass
        assert "error" not in answer, answer["error"]
        return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reader], [], [], PATIENCE_S)
            part = os.read(self._reader, 1 << 20) if ready else b""
            assert part, "the browser says nothing any more"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


@contextlib.contextmanager
def browser(*flags: str) -> Iterator[Callable[[], Tab]]:
    """A running Chromium; calling it opens a tab."""
    assert CHROMIUM is not None
    hears, tells = os.pipe()
    listens, says = os.pipe()
    # Out of the way of the two numbers that the browser wants its own ends under.
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (hears, says)]

    def hand_over() -> None:
        os.dup2(theirs[0], _HEARS)
        os.dup2(theirs[1], _SAYS)

    usual = [flag for flag in FLAGS if not flag.startswith("--remote-debugging-port")]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [CHROMIUM, *usual, _PIPE, "--hide-scrollbars", f"--user-data-dir={profile}", *flags, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=hand_over,  # noqa: PLW1509 - two dup2, and no other thread of the tests is at work
            start_new_session=True,
        )
        for end in (hears, says, *theirs):
            os.close(end)
        line = _Line(listens, tells)

        def tab() -> Tab:
            target = line.ask("Target.createTarget", url="about:blank")["targetId"]
            session = line.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

            def ask(method: str, **params: Any) -> dict[str, Any]:
                return line.ask(method, session=session, **params)

            return Tab(ask)

        try:
            yield tab
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(listens)
            os.close(tells)
