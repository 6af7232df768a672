"""The log holds words and listed fields, and nothing of a person, whoever writes into it."""

from __future__ import annotations

import io
import json
import logging
import warnings

import pytest
import structlog

from agent import logs
from agent.errors import StorageFullError

PHONE, NAME = "+46701740605", "Alma Made-Up"


@pytest.fixture
def stderr():
    return io.StringIO()


@pytest.fixture
def log(stderr):
    """A configured log; reading it gives the parsed lines, none of which holds a canary."""
    root, level = logging.getLogger(), logging.getLogger().level
    handlers, own = root.handlers[:], logging.getLogger("agent").level
    logs.configure("info", "json", stderr)

    def read():
        text = stderr.getvalue()
        for canary in (PHONE, NAME, "46701740605", "%2B46", "Made-Up"):
            assert canary not in text
        return [json.loads(line) for line in text.splitlines()]

    yield read
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("agent").setLevel(own)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def ours():
    return structlog.get_logger("agent.test")


def test_listed_fields_are_kept_and_others_lose_their_value(log):
    """Redaction is by allow-list: a new field is redacted until somebody has thought about it."""
    ours().info("sale.accepted", transaction_id="1042-1", count=3, phone=PHONE, name_of_member=NAME)
    (line,) = log()
    assert (line["event"], line["transaction_id"], line["count"]) == ("sale.accepted", "1042-1", 3)
    assert (line["phone"], line["name_of_member"]) == (logs.REDACTED, logs.REDACTED)
    assert (line["level"], line["logger"]) == ("info", "agent.test")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("name", ["httpx", "uvicorn.error", "asyncssh", "agents", "asyncio"])
def test_another_library_s_sentences_are_dropped(log, name):
    """An HTTP client's URL holds a phone number; its logger and level are all that is kept."""
    logging.getLogger(name).setLevel(logging.NOTSET)  # a server of another test may have silenced it
    logging.getLogger(name).error("GET https://acme.example.com/contacts?mobilePhone=%s for %s", "%2B46701740605", NAME)
    (line,) = log()
    assert (line["event"], line["logger"], line["level"]) == ("library.message", name, "error")


def test_another_library_s_extras_and_stacks_are_dropped(log):
    """However it hands them over."""
    logging.getLogger("httpx").error("x", extra={"url": PHONE}, stack_info=True)
    try:
        int(PHONE + "x")
    except ValueError:
        logging.getLogger("httpx").exception("failed for %s", PHONE)
    lines = log()
    assert lines[1]["error"] == "ValueError"
    assert "url" not in lines[0]


def test_what_libraries_say_quietly_is_not_logged(log):
    """Only warnings and worse."""
    logging.getLogger("httpx").info("HTTP Request: GET /contacts?mobilePhone=%s", PHONE)
    logging.getLogger("httpx").debug(PHONE)
    assert log() == []


def test_an_exception_is_its_class_and_place(log):
    """Its text can hold anything: a value that did not fit, a row, a URL."""
    try:
        int(PHONE + "x")
    except ValueError:
        ours().exception("job.failed", job="purge")
    (line,) = log()
    assert (line["error"], line["job"]) == ("ValueError", "purge")
    assert any(place.startswith("test_logs.py:") for place in line["where"])
    assert "reason" not in line


def test_an_exception_handed_over_is_logged_the_same(log):
    """As a value, as a tuple, or as one of several in a group, and without its causes' texts."""
    group = ExceptionGroup(NAME, [ValueError(PHONE), ExceptionGroup(PHONE, [KeyError(NAME)])])
    error = OSError(5, PHONE)
    error.__cause__ = ValueError(NAME)
    ours().error("a", exc_info=error)
    ours().error("b", exc_info=(OSError, error, None))
    ours().error("c", exc_info=group)
    assert [line["error"] for line in log()] == [
        "OSError", "OSError", "ExceptionGroup(ValueError, ExceptionGroup(KeyError))"
    ]  # fmt: skip


def test_our_own_errors_keep_their_text(log):
    """The tree's texts hold no personal data."""
    ours().error("outbox.unavailable", exc_info=StorageFullError())
    (line,) = log()
    assert (line["error"], line["reason"]) == ("StorageFullError", "There is no room on the disk for another sale.")


def test_a_place_outside_our_code_is_a_bare_name(log):
    """The way to a library can name the user who installed it."""
    try:
        json.loads("{")
    except ValueError:
        ours().exception("x")
    (line,) = log()
    assert all("/" not in place for place in line["where"])
    assert line["where"][-1].startswith("decoder.py:")


def test_warnings_are_messages_of_a_library(log):
    """Python's own warnings quote the line of source they come from."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(PHONE, UserWarning, stacklevel=1)
    (line,) = log()
    assert (line["event"], line["logger"]) == ("library.message", "py.warnings")


def test_a_console_line_holds_no_more(log, stderr):
    """The form for a terminal is redacted alike."""
    logs.configure("debug", "console", stderr)
    ours().debug("x", phone=PHONE, vendor="voyado")
    logging.getLogger("httpx").warning("%s", PHONE)
    text = stderr.getvalue()
    assert "voyado" in text
    assert PHONE not in text


def test_the_level_is_ours_to_choose(log, stderr):
    """Below it nothing is written."""
    logs.configure("error", "json", stderr)
    ours().warning("quiet")
    ours().error("loud")
    assert [line["event"] for line in log()] == ["loud"]


def test_a_line_that_cannot_be_written_is_named_without_its_arguments(log, stderr):
    """The standard library would print them."""
    root = logging.getLogger()
    root.handlers[:] = [
        handler for handler in root.handlers if isinstance(handler, logs._Handler)
    ]  # not the test's own
    logging.getLogger("httpx").error("%d contacts", PHONE)
    assert stderr.getvalue() == "log.failed logger=httpx level=ERROR\n"
    stderr.close()
    logging.getLogger("httpx").error("x")


@pytest.fixture
def log_file(tmp_path, monkeypatch):
    """The log in a file of at most 400 bytes; what is written there ends with the test."""
    root, level = logging.getLogger(), logging.getLogger().level
    handlers, own = root.handlers[:], logging.getLogger("agent").level
    monkeypatch.setattr(logs, "FILE_BYTES", 400)
    logs.configure("info", "auto", file=tmp_path / "agent.log")
    yield tmp_path / "agent.log"
    root.handlers[0].close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("agent").setLevel(own)


def test_a_file_is_put_aside_when_it_is_full(log_file):
    """Five of them are kept, the newest lines in the first; whoever fills a disk is not the log."""
    for number in range(40):
        structlog.get_logger("agent.test").info("counted", count=number)

    files = sorted(log_file.parent.iterdir())
    assert [path.name for path in files] == ["agent.log", *(f"agent.log.{number}" for number in range(1, 5))]
    assert all(path.stat().st_size <= 400 for path in files)
    assert json.loads(log_file.read_text().splitlines()[-1])["count"] == 39


def test_a_file_that_cannot_be_put_aside_goes_on(log_file, monkeypatch):
    """Windows renames no file that somebody reads: no line is lost meanwhile, and it is put aside afterwards."""

    def refuse(*_):
        raise PermissionError(13, "The process cannot access the file")

    with monkeypatch.context() as reading:
        reading.setattr("pathlib.Path.replace", refuse)
        for number in range(20):
            structlog.get_logger("agent.test").info("counted", count=number)
        counted = [json.loads(line)["count"] for line in log_file.read_text().splitlines()]
        assert counted == list(range(20))
    structlog.get_logger("agent.test").info("counted", count=20)

    assert len(log_file.read_text().splitlines()) == 1
    assert len(log_file.with_name("agent.log.1").read_text().splitlines()) == 20


@pytest.mark.parametrize("refused", ["a former one is read", "no file can be opened"])
def test_whatever_a_file_refuses_nobody_who_logs_hears_of_it(log_file, monkeypatch, refused):
    """And it is written to again as soon as that is over."""

    def refuse(*_):
        raise PermissionError(13, "The process cannot access the file")

    for number in range(20):
        structlog.get_logger("agent.test").info("counted", count=number)
    with monkeypatch.context() as meanwhile:
        if refused == "a former one is read":
            meanwhile.setattr("os.rename", refuse)
        else:
            meanwhile.setattr(logging.getLogger().handlers[0], "_open", refuse)
        for number in range(20, 40):
            structlog.get_logger("agent.test").info("counted", count=number)
        if refused == "a former one is read":
            assert json.loads(log_file.read_text().splitlines()[-1])["count"] == 39
    structlog.get_logger("agent.test").info("counted", count=40)

    assert json.loads(log_file.read_text().splitlines()[-1])["count"] == 40
