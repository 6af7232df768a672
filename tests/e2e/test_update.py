"""An update that goes wrong: whatever its schema does, the version before it runs again with every sale."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from e2e.shop import eventually, members

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("vendor", [90], indirect=True, ids=["few"])]

NEWER = (sys.executable, str(Path(__file__).with_name("newer.py")))
UNSENT = 50
KNOWN = {"type": "email"}


def queue_up(till):
    """Fifty sales that wait for the line."""
    eventually(till.loaded)
    till.vendor.cut()
    for number, contact in enumerate(members(till.vendor, UNSENT)):
        answer = till.sell(f"u-{number}", identifier={"type": "email", "value": contact.value("email")})
        assert answer.status_code == 202
    assert till.stop() == 0


def delivers_all(till):
    """This version runs with everything that waited, and delivers it."""
    till.start()
    assert till.status()["queue"]["depth"] == UNSENT
    till.vendor.mend()
    eventually(till.drained)
    assert till.vendor.posts() == {f"u-{number}": 1 for number in range(UNSENT)}
    assert not (till.state / "damaged").exists()


@pytest.mark.parametrize(("outcome", "reason"), [("refused", "no such table"), ("crashed", "ValueError")])
def test_a_change_of_the_queue_s_schema_that_fails(vendor, open_till, outcome, reason):
    """The new version says so and goes at once; the one before it opens what it left, and delivers it."""
    till = open_till().start()
    queue_up(till)
    till.wrapper = (*NEWER, "outbox", outcome)
    rehearsed = till.command("queue", "rehearse")
    assert (rehearsed.returncode, reason in rehearsed.stderr) == (74, True), "it can be known before"
    began = time.monotonic()
    done = till.command("run")
    assert time.monotonic() - began < 20, "it waited for what waiting does not mend"
    assert done.returncode == 74
    assert reason in done.stderr
    assert "Run the version that wrote the file" in done.stderr
    till.wrapper = ()
    delivers_all(till)


def test_back_to_the_version_before(vendor, open_till):
    """A file that a newer version has changed is not touched by an older one; the newer one goes on with it."""
    till = open_till().start()
    queue_up(till)
    till.wrapper = (*NEWER, "outbox", "good")
    assert "changed by: of_tomorrow" in till.command("queue", "rehearse").stdout
    till.start(wrapper=till.wrapper)
    assert till.status()["queue"]["depth"] == UNSENT
    till.stop()
    till.wrapper = ()
    for words in (("queue", "rehearse"), ("run",)):
        done = till.command(*words)
        assert (done.returncode, "newer program" in done.stderr) == (74, True)
    till.wrapper = (*NEWER, "outbox", "good")
    delivers_all(till)


@pytest.mark.parametrize("outcome", ["good", "refused", "crashed"])
def test_members_of_another_version_are_fetched_anew(vendor, open_till, outcome):
    """A replica whose schema this version does not know, or that the new one could not change, keeps nothing back."""
    till = open_till().start()
    queue_up(till)
    till.start(wrapper=(*NEWER, "replica", outcome))
    assert till.sell("during", identifier=KNOWN | {"value": members(vendor, 1)[0].value("email")}).status_code == 202
    till.stop()
    till.start()
    eventually(till.loaded)
    found = till.identify("email", members(vendor, 1)[0].value("email"))
    assert found["outcome"] == "matched"
    vendor.mend()
    eventually(till.drained)
    assert vendor.posts() == {"during": 1, **{f"u-{number}": 1 for number in range(UNSENT)}}
