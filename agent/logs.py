"""The log: one line an event, words and fields, redacted by allow-list.

A field that is not listed below loses its value. Other libraries write sentences that can hold anything (an HTTP
client its URLs, with a phone number in the query): of theirs only the logger's name and the level are kept. Of an
exception only its class and the places in our code, never its text, unless it is one of our own tree, whose texts
hold no personal data.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path, PurePath
from typing import Any, TextIO

import structlog

from agent.errors import LoyaltyAgentError

ALLOWED = frozenset(
    {
        "address",
        "applied",
        "as_of",
        "attempts",
        "bytes",
        "code",
        "codes",
        "condition",
        "contacts",
        "count",
        "counts",
        "deleted",
        "delivered",
        "depth",
        "detail",
        "elapsed_s",
        "entry",
        "error",
        "event",
        "fields",
        "file",
        "files",
        "head",
        "job",
        "kept",
        "kind",
        "level",
        "listen",
        "logger",
        "name",
        "overwritten",
        "path",
        "pid",
        "reason",
        "receipt",
        "request_id",
        "run",
        "seconds",
        "signal",
        "skipped",
        "stands",
        "state",
        "status",
        "step",
        "timestamp",
        "transaction_id",
        "vendor",
        "verdict",
        "version",
        "where",
        "withdrawn",
    }
)
REDACTED = "[redacted]"
FILE_BYTES = 10 << 20
FORMER_FILES = 4
_OURS = "agent"


def configure(level: str, form: str, stream: TextIO | None = None, *, file: Path | None = None) -> None:
    """Sets the log up for this process.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        form: ``console``, ``json`` or ``auto`` (console on a terminal).
        stream: where to; standard error if None.
        file: where to instead, for a service that nobody listens to: with what was written before in ``file.1`` to
            ``file.4``, of `FILE_BYTES` each at most.

    Raises:
        OSError: the file cannot be written.
    """
    handler = _FileHandler(file) if file is not None else _Handler(stream or sys.stderr)
    console = form == "console" or (form == "auto" and file is None and (stream or sys.stderr).isatty())
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exceptions,
        redact,
    ]
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_foreign, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(level.upper())
    logging.captureWarnings(True)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines. One that cannot be written is named, where the library would print its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        with contextlib.suppress(OSError, ValueError):  # the stream itself is gone: nobody is left to tell
            self.stream.write(f"log.failed logger={record.name} level={record.levelname}\n")


class _FileHandler(RotatingFileHandler):
    """As `_Handler`, into a file that is put aside when it is full; `file.4` ends then."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, maxBytes=FILE_BYTES, backupCount=FORMER_FILES, encoding="utf-8")

    def doRollover(self) -> None:  # noqa: N802 - the library's name
        stream, self.stream = self.stream, None  # opened by the next line, whatever fails here
        if stream is not None:
            stream.close()
        path = Path(self.baseFilename)
        try:
            path.replace(path.with_name(f"{path.name}.full")).replace(path)
            super().doRollover()
        except PermissionError:  # Windows renames no file that somebody reads: this one goes on for now
            self.stream = self._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        if self.stream is not None:
            _Handler.handleError(self, record)  # type: ignore[arg-type]  # the same words, of the same stream


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keeps the values of listed fields alone."""
    for key in event:
        if key not in ALLOWED and not key.startswith("_"):
            event[key] = REDACTED
    return event


def _foreign(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record = event.get("_record")
    if record is None or not record.name.startswith(_OURS + "."):
        event["event"] = "library.message"
    return event


def _exceptions(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    info = event.pop("exc_info", None)
    error = info if isinstance(info, BaseException) else None
    if info is True or (isinstance(info, tuple) and info[1] is not None):
        error = sys.exc_info()[1] if info is True else info[1]
    if error is not None:
        event["error"] = _name(error)
        if isinstance(error, LoyaltyAgentError):
            event["reason"] = str(error)
        frames = traceback.extract_tb(error.__traceback__)[-6:]
        event["where"] = [f"{_place(frame.filename)}:{frame.lineno}" for frame in frames]
    return event


def _name(error: BaseException) -> str:
    """The class of an exception, and of those in a group."""
    name = type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        return f"{name}({', '.join(_name(member) for member in error.exceptions)})"
    return name


def _place(filename: str) -> str:
    """Where in our code, or the bare file name of a library's: the way there can name whoever installed it."""
    path = PurePath(filename)
    parts = path.parts
    return "/".join(parts[parts.index(_OURS) :]) if _OURS in parts else path.name
