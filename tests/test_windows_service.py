"""The Windows service, with the service manager alone pretended."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from agent import windows_service
from agent.cli import exits
from agent.doctor.findings import Grade
from agent.doctor.machine import judge_windows_service
from agent.errors import ConfigurationError, Fault, StateHeldError, StorageKeyError
from agent.windows_service import Run, ServiceStatus


class Scm:
    """Windows' service manager, as far as a service meets it."""

    def __init__(self, work):
        self.told, self.noted, self.ended = [], [], []
        self.run = Run(
            work,
            report=lambda state, status: self.told.append((state, status)),
            note=self.noted.append,
            end=self.ended.append,
            judge=exits.status_for,
        )

    @property
    def restarts(self):
        """It starts a service again whose process ends without a last word."""
        return bool(self.ended) and self.told[-1][0] != "stopped"


def test_a_run_is_told_step_by_step():
    """Starting until it takes sales, stopping as soon as that is wanted, stopped when everything is closed."""

    def work(manager, stoppable):
        stopped = []
        stoppable(lambda: stopped.append(True))
        manager.ready("takes sales on 127.0.0.1:8787")
        scm.run.stop()
        assert stopped == [True]
        manager.stopping()
        return 0

    scm = Scm(work)
    scm.run()

    assert scm.told == [("starting", 0), ("running", 0), ("stopping", 0), ("stopping", 0), ("stopped", 0)]
    assert (scm.noted, scm.ended, scm.restarts) == (["takes sales on 127.0.0.1:8787"], [], False)


def test_a_stop_during_the_start_is_not_forgotten():
    """Whoever learns how to stop the agent after it was wanted stops it at once."""
    stopped = []

    def work(_manager, stoppable):
        scm.run.stop()
        stoppable(lambda: stopped.append(True))
        return 0

    scm = Scm(work)
    scm.run()

    assert stopped == [True]


@pytest.mark.parametrize(
    ("error", "status", "restarts"),
    [
        (ConfigurationError([Fault("agent.store_id", "is missing")]), 78, False),
        (StorageKeyError("the key does not open outbox.db"), 78, False),
        (StateHeldError(), 75, True),
        (OSError(28, "No space left on device"), 74, True),
        (PermissionError(13, "Permission denied"), 77, True),
        (RuntimeError("unforeseen"), 1, True),
    ],
    ids=["configuration", "key", "held", "disk", "permission", "unforeseen"],
)
def test_it_is_started_again_unless_somebody_has_to_look(error, status, restarts):
    """78 is told as a stop with that status, which Windows leaves alone; any other end tells of itself alone."""

    def work(_manager, _stoppable):
        raise error

    scm = Scm(work)
    scm.run()

    assert (scm.ended, scm.restarts) == ([status], restarts)
    assert scm.told == [("starting", 0)] + ([] if restarts else [("stopped", 78)])


def test_the_event_log_gets_our_own_words_alone():
    """Every fault of a configuration; of an error that is not ours no text, which could hold anything."""

    def faulty(_manager, _stoppable):
        raise ConfigurationError([Fault("agent.store_id", "is missing"), Fault("agent.till_id", "is missing")])

    def unforeseen(_manager, _stoppable):
        raise ValueError("070-174 06 05")

    told, hidden = Scm(faulty), Scm(unforeseen)
    told.run()
    hidden.run()

    assert "agent.store_id" in told.noted[0]
    assert "agent.till_id" in told.noted[0]
    assert hidden.noted == ["ValueError"]


@pytest.mark.parametrize(
    ("found", "grade", "words"),
    [
        (ServiceStatus("running", 0, automatic=True), Grade.OK, "is running, and starts with the machine"),
        (ServiceStatus("starting", 0, automatic=True), Grade.OK, "is starting"),
        (ServiceStatus("running", 0, automatic=False), Grade.WARN, "does not start with the machine"),
        (ServiceStatus("stopped", 0, automatic=True), Grade.FAIL, "is stopped"),
        (ServiceStatus("stopped", 78, automatic=True), Grade.FAIL, "with status 78"),
        (ServiceStatus("paused", 0, automatic=True), Grade.FAIL, "is paused"),
    ],
    ids=["running", "starting", "by-hand", "stopped", "faulty", "paused"],
)
def test_the_doctor_judges_it(found, grade, words):
    """Down is a failure, by hand a warning; what to do is said."""
    finding = judge_windows_service(found)

    assert (finding.state, words in finding.detail) == (grade, True)
    assert bool(finding.remedy) == (grade is not Grade.OK)


class RefusedError(Exception):
    """pywintypes.error, as pywin32 raises it."""

    def __init__(self, winerror, funcname, strerror):
        super().__init__(winerror, funcname, strerror)
        self.winerror, self.funcname, self.strerror = winerror, funcname, strerror


class Windows:
    """What pywin32 does, with its names and Windows' numbers; and what was asked of it."""

    def __init__(self):
        self.asked, self.refuses, self.answer = [], None, (16, 4, 1, 0, 0, 0, 0)
        self.hosted, self.statuses, self.events = None, [], []
        self.win32service = SimpleNamespace(
            SC_MANAGER_ALL_ACCESS=0xF003F, SC_MANAGER_CONNECT=1, SERVICE_ALL_ACCESS=0xF01FF, SERVICE_QUERY_CONFIG=1,
            SERVICE_QUERY_STATUS=4, SERVICE_WIN32_OWN_PROCESS=16, SERVICE_AUTO_START=2, SERVICE_ERROR_NORMAL=1,
            SERVICE_STOPPED=1, SERVICE_START_PENDING=2, SERVICE_STOP_PENDING=3, SERVICE_RUNNING=4,
            SERVICE_CONFIG_DESCRIPTION=1, SERVICE_CONFIG_FAILURE_ACTIONS=2, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG=4,
            SERVICE_CONFIG_SERVICE_SID_INFO=5, SERVICE_SID_TYPE_UNRESTRICTED=1, SC_ACTION_RESTART=1,
            OpenSCManager=lambda *_: "manager", CloseServiceHandle=lambda _: None, OpenService=self._open,
            CreateService=lambda *what: self.asked.append(("create", *what[1:])) or "made",
            ChangeServiceConfig2=lambda _, level, what: self.asked.append((level, what)),
            QueryServiceStatus=lambda _: self.answer, QueryServiceConfig=lambda _: (16, 2, 1, "", "", 0, (), "", ""),
        )  # fmt: skip
        self.win32serviceutil = SimpleNamespace(ServiceFramework=self._framework())
        self.servicemanager = SimpleNamespace(
            __file__=r"C:\servicemanager.pyd", Initialize=lambda *_: None, LogInfoMsg=self.events.append,
            PrepareToHostSingle=lambda kind: setattr(self, "hosted", kind), StartServiceCtrlDispatcher=self._dispatch,
        )  # fmt: skip
        self.win32evtlogutil = SimpleNamespace(AddSourceToRegistry=lambda *what: self.asked.append(what))
        self.pywintypes = SimpleNamespace(error=RefusedError)
        self.meanwhile = lambda _service: None

    def _open(self, *_):
        if self.refuses:
            raise self.refuses
        return "service"

    def _framework(self):
        class ServiceFramework:
            def __init__(self, args):
                assert args == ("loyalty-agent",)

            def ReportServiceStatus(framework, status, waitHint=5000, win32ExitCode=0, svcExitCode=0):  # noqa: N802, N803, N805
                self.statuses.append((status, waitHint, win32ExitCode, svcExitCode))

        return ServiceFramework

    def _dispatch(self):
        service = self.hosted(("loyalty-agent",))
        self.meanwhile(service)
        service.SvcRun()


@pytest.fixture
def windows(monkeypatch):
    windows = Windows()
    for name in ("win32service", "win32serviceutil", "servicemanager", "win32evtlogutil", "pywintypes"):
        monkeypatch.setitem(sys.modules, name, getattr(windows, name))
    return windows


def test_windows_hears_the_agent_s_states_in_its_own_numbers(windows):
    """Pending with a limit that holds for a rescue, running, pending; what comes after is pywin32's to say."""

    def work(manager, stoppable):
        stoppable(lambda: None)
        manager.ready("takes sales")
        windows.service.SvcInterrogate()
        windows.service.SvcShutdown()
        return 0

    windows.meanwhile = lambda service: setattr(windows, "service", service)
    windows_service.host(work, exits.status_for)

    assert windows.statuses == [(2, 900_000, 0, 0), (4, 0, 0, 0), (4, 0, 0, 0), (3, 30_000, 0, 0)]
    assert windows.events == ["takes sales"]


def test_windows_hears_of_a_faulty_configuration_as_a_stop_with_its_status(windows, monkeypatch):
    """1066, the service's own error, and 78; the process ends then, so that pywin32 says nothing else."""

    def work(_manager, _stoppable):
        raise ConfigurationError([Fault("agent.store_id", "is missing")])

    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    windows_service.host(work, exits.status_for)

    assert windows.statuses == [(2, 900_000, 0, 0), (1, 0, 1066, 78)]
    assert ended == [78]


def test_an_installed_service_is_started_again_and_its_directories_are_closed(windows, monkeypatch, tmp_path):
    """As LocalService, with the machine; after each failure for ever; only what the service writes is open to it."""
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "data"))
    closed = {}
    monkeypatch.setattr(
        windows_service, "close", lambda path, *, service_writes: closed.update({path.name: service_writes})
    )

    windows_service.install("service", "run", "--config", r"C:\a till\config.toml")

    made, *settings = windows.asked
    assert made[:4] == ("create", "loyalty-agent", "Loyalty agent", 0xF01FF)
    assert made[-3:] == (None, r"NT AUTHORITY\LocalService", None)
    assert made[7].endswith(r'-m agent service run --config "C:\a till\config.toml"')
    assert (2, {"ResetPeriod": 86_400, "RebootMsg": "", "Command": "", "Actions": [(1, 2_000)] * 3}) in settings
    assert {(4, False), (5, 1)} <= {setting for setting in settings if isinstance(setting[1], int)}
    assert ("loyalty-agent", r"C:\servicemanager.pyd") in settings
    assert closed == {
        tmp_path.name: False,
        "credentials": False,
        "conf.d": False,
        "data": True,
        "logs": True,
    }


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((16, 4, 1, 0, 0, 0, 0), ServiceStatus("running", 0, automatic=True)),
        ((16, 1, 0, 1066, 78, 0, 0), ServiceStatus("stopped", 78, automatic=True)),
        ((16, 1, 0, 1067, 0, 0, 0), ServiceStatus("stopped", 1067, automatic=True)),
        ((16, 3, 0, 0, 0, 4, 30_000), ServiceStatus("stopping", 0, automatic=True)),
    ],
    ids=["running", "with-our-status", "killed", "stopping"],
)
def test_its_status_is_told_in_words(windows, answer, status):
    """The service's own exit status where it has one, else Windows' number."""
    windows.answer = answer

    assert windows_service.status() == status


@pytest.mark.parametrize(
    ("winerror", "status", "words"),
    [(5, 77, "Access is denied"), (1060, 1, "is not installed"), (1072, 1, "1072")],
    ids=["no-administrator", "not-installed", "anything"],
)
def test_what_windows_refuses_is_an_error_of_ours(windows, winerror, status, words):
    """With an exit status that scripts can tell apart."""
    windows.refuses = RefusedError(winerror, "OpenService", "Access is denied.")

    with pytest.raises(windows_service.WindowsServiceError, match=words) as refused:
        windows_service.status()

    assert exits.status_for(refused.value) == status
