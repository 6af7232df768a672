"""`key rotate`: another storage key takes the place of the present one. Works on the files, not on the daemon.

A running agent has them open; it exchanges the key itself when it is next started.
"""

from __future__ import annotations

import time

import click

from agent import rotation
from agent.cli.configuration import load
from agent.cli.errors import UsageMistakeError
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.ownership import as_owner_of
from agent.clock import SystemClock
from agent.errors import StateHeldError
from agent.keys import KeyPlace
from agent.state import State
from agent.store.audit import AuditTrail


@click.group(short_help="Exchange the storage key.")
def key() -> None:
    """Exchange the key that everything on disk hangs on."""


@key.command(short_help="Put everything on disk under another storage key.")
@common
@pass_invocation
def rotate(invocation: Invocation) -> None:
    """Put everything on disk under another storage key; the present one opens nothing any more.

    A key that the agent keeps in a file is made here. One that is handed over (credential:, env:) is put in its place
    by whoever hands it over, and storage.previous_key names the former one. A running agent is left alone: it
    exchanges the key itself when it is next started. What is killed on its way is gone on with at the next start.
    """
    state = State(load(invocation, secrets=False))
    name, began = state.key_place.name, time.monotonic()
    with as_owner_of(state.directory):
        files = _exchange(state)
    if files is None:
        text = f"{name}: the agent is running; it exchanges the key when it is next started"
    else:
        moved = ", ".join(files) or "nothing was under another key"
        text = f"{name}: exchanged in {time.monotonic() - began:.1f} s ({moved})"
    invocation.answer({"key": name, "rotated": files is not None, "files": files or []}, text)


def _exchange(state: State) -> list[str] | None:
    """The names of the files that were brought under another key; None when the running agent will do it."""
    place = state.key_place
    try:
        with state.held():
            state.keys(may_create=True)
            made = place.prepare()
            keys = state.keys(may_create=False)
            if not made and not keys.former:
                raise _handed_over(place, keys.unreadable)
            files = rotation.rotate(state, keys)
            if made or files:
                AuditTrail(state.directory).append("key.rotated", SystemClock().now(), {})
            return files
    except StateHeldError:
        if not place.prepare() and place.previous is None:
            raise _handed_over(place) from None
        return None


def _handed_over(place: KeyPlace, reason: str = "") -> UsageMistakeError:
    return UsageMistakeError(
        f"storage.key is {place.name}: put the new key there and name the former one in storage.previous_key."
        + (f" Now {reason}." if reason else "")
    )
