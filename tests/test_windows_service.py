"""The Windows service, with the service manager alone pretended."""

from __future__ import annotations

import pytest

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
