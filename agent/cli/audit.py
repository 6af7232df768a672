"""`audit verify`: whether the audit trail is what was written. Works on the files, whether the agent runs or not."""

from __future__ import annotations

import click

from agent.cli import exits
from agent.cli.configuration import load
from agent.cli.errors import UsageMistakeError
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.ownership import as_owner_of
from agent.domain.audit import Head, Verification
from agent.errors import StorageError
from agent.settings import Configuration
from agent.state import State
from agent.store.audit import FILE, AuditTrail, anchor_in

_FAULTS = {
    "altered": "entry {at} does not follow from the one before it, or is not the one that was noted: it was changed",
    "cut": "it ends before entry {at}, which was recorded",
    "begun": "what stood before entry {at} is gone, and was not dropped by retention",
}


@click.group(short_help="Verify the audit trail.")
def audit() -> None:
    """Verify the audit trail: what was done to personal data, and on whose order."""


@audit.command(short_help="Say whether the audit trail is what was written.")
@click.option(
    "--head", "noted", metavar="SEQ:HASH", help="An entry noted elsewhere, as on a receipt, that must be in it."
)
@common
@pass_invocation
def verify(invocation: Invocation, noted: str | None) -> int:
    """Say whether the audit trail is what was written: 0 intact, 1 not.

    Every entry must follow from the one before, and the end must be the one that the agent noted in its outbox.
    """
    configuration = load(invocation, secrets=False)
    heads = [_parsed(noted)] if noted else []
    with as_owner_of(configuration.state_dir):
        anchor = _anchor(configuration)
        trail = AuditTrail(configuration.state_dir)
        found = [trail.verify(head) for head in (*heads, anchor)]
    worst = next((one for one in found if not one.intact), found[-1])
    document = {
        "ok": worst.intact,
        "entries": worst.entries,
        "first": worst.first,
        "head": {"seq": worst.head.seq, "hash": worst.head.hash} if worst.head else None,
        "fault": worst.fault,
        "at_seq": worst.at_seq,
        "incidents": worst.incidents,
        "anchored": anchor is not None,
    }
    invocation.answer(document, "\n".join(_lines(worst, anchored=anchor is not None)))
    return exits.OK if worst.intact else exits.DEGRADED


def _lines(found: Verification, *, anchored: bool) -> list[str]:
    if found.fault is not None:
        lines = [f"{FILE}: {_FAULTS[found.fault].format(at=found.at_seq)}"]
    elif found.head is None:
        lines = [f"{FILE}: nothing has been recorded yet"]
    else:
        lines = [f"{FILE}: intact, entries {found.first} to {found.head.seq}; head {found.head.seq}:{found.head.hash}"]
    if found.incidents:
        lines.append(f"The agent found it broken {found.incidents} times before; see audit.broken in it.")
    if not anchored:
        lines.append("The outbox's note of its end cannot be read: whether the last entries are missing is not known.")
    return lines


def _anchor(configuration: Configuration) -> Head | None:
    state = State(configuration)
    try:
        return anchor_in(state.outbox(state.keys(may_create=False))) if state.has_outbox else None
    except StorageError:
        return None


def _parsed(text: str) -> Head:
    seq, separator, digest = text.partition(":")
    if not separator or not seq.isdigit():
        raise UsageMistakeError("--head is the number of an entry and its hash, such as 17:9f86d0…")
    return Head(int(seq), digest)
