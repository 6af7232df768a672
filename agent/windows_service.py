"""The agent as a Windows service, through pywin32: put in place, started, stopped, and run under the service manager.

Windows starts it again after every end that nobody asked for, as the systemd unit does. So an end is told in two ways:
one that somebody has to look at first (`LEFT_ALONE`) as stopped, with its exit status; every other failure by ending
the process without that word, which is what the service manager calls a failure.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from agent import paths
from agent.access import SERVICE, close
from agent.errors import LoyaltyAgentError
from agent.service_manager import ServiceManager

DISPLAY: Final = "Loyalty agent"
DESCRIPTION: Final = "The offline-first loyalty agent beside the till."
ACCOUNT: Final = r"NT AUTHORITY\LocalService"
LEFT_ALONE: Final = frozenset({78})
"""Exit statuses after which another start would end the same way: a faulty configuration, a key that does not fit."""
RESTART_MS: Final = 2_000
START_MS: Final = 15 * 60_000
"""A start may rescue a damaged database, or put it under another key, first."""
STOP_MS: Final = 30_000
_STATES: Final = (
    "unknown", "stopped", "starting", "stopping", "running", "continuing", "pausing", "paused",
)  # fmt: skip
"""By Windows' number."""
_DENIED, _NOT_INSTALLED, _SPECIFIC = 5, 1060, 1066

Stoppable = Callable[[Callable[[], object]], None]
Work = Callable[[ServiceManager, Stoppable], int]


class WindowsServiceError(LoyaltyAgentError):
    """Windows' service manager refused what was asked."""

    code = "service.refused"
    advice = "Run the command in a terminal that was started as administrator."


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The service as Windows knows it.

    Attributes:
        state: `running`, `stopped`, `starting`, `stopping`, or another word of Windows'.
        exit_status: of its last end; 0 while it runs.
        automatic: it starts with the machine.
    """

    state: str
    exit_status: int
    automatic: bool


class Run(ServiceManager):
    """One run of the agent, and what the service manager is told of it.

    Args:
        work: the agent; it returns its exit status.
        report: tells the service manager a state, and of the last one the exit status.
        note: writes into the event log.
        end: ends this process at once.
        judge: the exit status that an error stands for.
    """

    def __init__(
        self,
        work: Work,
        *,
        report: Callable[[str, int], None],
        note: Callable[[str], None],
        end: Callable[[int], None],
        judge: Callable[[BaseException], int],
    ) -> None:
        super().__init__({})
        self._work, self._report, self._note, self._end, self._judge = work, report, note, end, judge
        self._asked = threading.Event()
        self._stop: Callable[[], object] | None = None

    def __call__(self) -> None:
        """Runs the agent to its end. Returns after one that was asked for, and after every one in a test."""
        self._report("starting", 0)
        try:
            status = self._work(self, self._stoppable)
        except Exception as error:  # noqa: BLE001 - nobody else hears of it
            status = self._judge(error)
            self._note(_told(error))
        if status == 0:
            self._report("stopped", 0)
            return
        if status in LEFT_ALONE:
            self._report("stopped", status)
        self._end(status)

    def stop(self) -> None:
        """The service manager wants it to end; from a thread of its own."""
        self.stopping()
        self._asked.set()
        if self._stop is not None:
            self._stop()

    def ready(self, status: str) -> None:
        """The agent takes sales."""
        self._note(status)
        self._report("running", 0)

    def stopping(self) -> None:
        """What is under way is being finished."""
        self._report("stopping", 0)

    def _stoppable(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        if self._asked.is_set():
            stop()


def host(work: Work, judge: Callable[[BaseException], int]) -> None:
    """Runs the agent as the service that the service manager started this process for.

    Raises:
        WindowsServiceError: it did not start this process.
    """
    import servicemanager  # noqa: PLC0415 - of Windows alone, as all of these
    import win32service  # noqa: PLC0415
    import win32serviceutil  # noqa: PLC0415

    words = {
        "starting": (win32service.SERVICE_START_PENDING, START_MS),
        "running": (win32service.SERVICE_RUNNING, 0),
        "stopping": (win32service.SERVICE_STOP_PENDING, STOP_MS),
        "stopped": (win32service.SERVICE_STOPPED, 0),
    }

    class Hosted(win32serviceutil.ServiceFramework):  # type: ignore[misc]  # pywin32 has no types on other systems
        _svc_name_ = SERVICE
        _svc_display_name_ = DISPLAY

        def __init__(self, args: Any) -> None:
            super().__init__(args)
            self._last = ("starting", 0)
            self._run = Run(work, report=self._tell, note=servicemanager.LogInfoMsg, end=os._exit, judge=judge)

        def SvcRun(self) -> None:  # noqa: N802 - pywin32's name, as those below
            self._run()

        def SvcStop(self) -> None:  # noqa: N802
            self._run.stop()

        SvcShutdown = SvcStop  # the machine goes down

        def SvcInterrogate(self) -> None:  # noqa: N802
            self._tell(*self._last)

        def _tell(self, state: str, status: int) -> None:
            self._last = (state, status)
            word, wait_ms = words[state]
            if state != "stopped" or status:  # pywin32 says the last word of a run that returns
                self.ReportServiceStatus(word, wait_ms, _SPECIFIC if status else 0, status)

    with _refusals():
        servicemanager.Initialize(SERVICE, servicemanager.__file__)
        servicemanager.PrepareToHostSingle(Hosted)
        servicemanager.StartServiceCtrlDispatcher()


def install(*arguments: str) -> None:
    """Puts the service in place, as the MSI does. Raises WindowsServiceError.

    Args:
        arguments: of this program, to be the service.
    """
    import win32service  # noqa: PLC0415

    with _refusals(), _handle(win32service.OpenSCManager(None, None, win32service.SC_MANAGER_ALL_ACCESS)) as manager:
        made = win32service.CreateService(
            manager, SERVICE, DISPLAY, win32service.SERVICE_ALL_ACCESS, win32service.SERVICE_WIN32_OWN_PROCESS,
            win32service.SERVICE_AUTO_START, win32service.SERVICE_ERROR_NORMAL,
            subprocess.list2cmdline([*paths.program(), *arguments]), None, 0, None, ACCOUNT, None,
        )  # fmt: skip
        win32service.CloseServiceHandle(made)
    prepare()


def prepare() -> None:
    """What an installed service needs beside its name: it is started again, has a name for access lists and the event
    log, and its directories are closed to everybody else. Can be repeated. Raises WindowsServiceError.
    """  # noqa: D205 - one sentence
    import servicemanager  # noqa: PLC0415
    import win32evtlogutil  # noqa: PLC0415
    import win32service  # noqa: PLC0415

    again = [(win32service.SC_ACTION_RESTART, RESTART_MS)] * 3  # the last stands for every later one
    with _refusals(), _opened(win32service.SERVICE_ALL_ACCESS) as service:
        win32service.ChangeServiceConfig2(service, win32service.SERVICE_CONFIG_DESCRIPTION, DESCRIPTION)
        win32service.ChangeServiceConfig2(
            service,
            win32service.SERVICE_CONFIG_FAILURE_ACTIONS,
            {"ResetPeriod": 86_400, "RebootMsg": "", "Command": "", "Actions": again},
        )
        # Only an end without a last word is a failure: with this flag every exit status would be.
        win32service.ChangeServiceConfig2(service, win32service.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, False)
        win32service.ChangeServiceConfig2(
            service, win32service.SERVICE_CONFIG_SERVICE_SID_INFO, win32service.SERVICE_SID_TYPE_UNRESTRICTED
        )
        win32evtlogutil.AddSourceToRegistry(SERVICE, servicemanager.__file__)
        for directory, service_writes in (
            (paths.config_dir(), False),
            (paths.config_dir() / "credentials", False),
            (paths.config_dir() / "conf.d", False),
            (paths.state_dir(None), True),
            (paths.log_dir(), True),
        ):
            close(directory, service_writes=service_writes)


def uninstall() -> None:
    """Takes the service away; its files stay. Raises WindowsServiceError."""
    import win32evtlogutil  # noqa: PLC0415
    import win32serviceutil  # noqa: PLC0415

    with _refusals():
        if status().state != "stopped":
            stop()
        win32serviceutil.RemoveService(SERVICE)
        win32evtlogutil.RemoveSourceFromRegistry(SERVICE)


def start() -> None:
    """Starts it, and waits for nothing. Raises WindowsServiceError."""
    import win32serviceutil  # noqa: PLC0415

    with _refusals():
        win32serviceutil.StartService(SERVICE)


def stop() -> None:
    """Stops it, and waits until it has. Raises WindowsServiceError."""
    import win32service  # noqa: PLC0415
    import win32serviceutil  # noqa: PLC0415

    with _refusals():
        win32serviceutil.StopService(SERVICE)
        win32serviceutil.WaitForServiceStatus(SERVICE, win32service.SERVICE_STOPPED, STOP_MS // 1000)


def status() -> ServiceStatus:
    """How it is. Raises WindowsServiceError, when it is not installed as well."""
    import win32service  # noqa: PLC0415

    with _refusals(), _opened(win32service.SERVICE_QUERY_STATUS | win32service.SERVICE_QUERY_CONFIG) as service:
        _, state, _, code, specific, *_ = win32service.QueryServiceStatus(service)
        automatic = win32service.QueryServiceConfig(service)[1] == win32service.SERVICE_AUTO_START
    return ServiceStatus(_STATES[state], specific if code == _SPECIFIC else code, automatic)


@contextlib.contextmanager
def _opened(access: int) -> Iterator[Any]:
    import win32service  # noqa: PLC0415

    with (
        _handle(win32service.OpenSCManager(None, None, win32service.SC_MANAGER_CONNECT)) as manager,
        _handle(win32service.OpenService(manager, SERVICE, access)) as service,
    ):
        yield service


@contextlib.contextmanager
def _handle(opened: Any) -> Iterator[Any]:
    import win32service  # noqa: PLC0415

    try:
        yield opened
    finally:
        win32service.CloseServiceHandle(opened)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Tells in our words what Windows refuses."""
    import pywintypes  # noqa: PLC0415

    try:
        yield
    except pywintypes.error as error:
        if error.winerror == _NOT_INSTALLED:
            raise WindowsServiceError(f"The service {SERVICE} is not installed.") from error
        cause = PermissionError(error.winerror, error.strerror) if error.winerror == _DENIED else error
        raise WindowsServiceError(f"{error.funcname}: {error.strerror} ({error.winerror})") from cause


def _told(error: BaseException) -> str:
    """An error of ours in its words; of any other the class alone: its text can hold anything."""
    if isinstance(error, LoyaltyAgentError):
        return "\n".join(part for part in (str(error), error.advice) if part)
    return type(error).__name__
