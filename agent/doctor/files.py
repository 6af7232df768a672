"""The state directory as a doctor sees it: its files, their keys, what waits in them, what was damaged.

Everything is read with the agent's own code and never written: a database is opened for reading alone, so that what is
looked at may be in use. Reading it whole takes a second for some 100 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.access import CLOSE_DIRECTORY, CLOSE_FILES, open_to_others
from agent.disk import is_read_only
from agent.doctor.findings import AS_WHOM, Finding, Grade, fail, look, ok, unknown, warn
from agent.domain.fallback import REPLICA_LEVEL
from agent.errors import StorageError, StorageKeyError
from agent.kept import Kept
from agent.keys import StorageKeys
from agent.ports import Clock
from agent.settings import Configuration
from agent.state import OUTBOX, OWN_FILES, REPLICA, State
from agent.store.audit import AuditTrail, anchor_in
from agent.store.database import DatabaseFile, steps_due
from agent.store.examine import examine
from agent.store.migrations import outbox as outbox_schema
from agent.store.outbox_sql import COUNTS
from agent.store.replica_schema import replica as replica_schema
from agent.tokens import Tokens

if TYPE_CHECKING:
    from sqlite_utils.migrations import Migrations

_ASK = "loyalty-agent queue list --state {state} shows them; retry or discard each."
_FIRST_START = "Start the agent: systemctl start loyalty-agent, or loyalty-agent run."
_MIB = 1 << 20


def look_at_files(configuration: Configuration, clock: Clock) -> Iterator[Finding]:
    """Every finding in the state directory, one after the other, as each is made."""
    state = State(configuration)
    (of_directory,) = _directory(state)
    yield of_directory
    if of_directory.state is Grade.UNKNOWN:
        return
    keys, of_key = _keys(state)
    yield of_key
    has_replica = configuration.settings.loyalty.fallback_level >= REPLICA_LEVEL
    if keys is not None:
        yield from _outbox(state, keys)
        if has_replica:
            yield from _replica(state, keys)
    else:
        for check in ("outbox", *(("replica",) if has_replica else ())):
            yield unknown(check, "cannot be looked into without the key", "See storage.key.")
    yield from _damage(state)
    yield from _audit(state, keys)
    yield from _tokens(state, clock)


@look("state.directory")
def _directory(state: State) -> Iterator[Finding]:
    if state.directory.is_dir():
        list(state.directory.iterdir())
        yield _openness(state)
    else:
        yield unknown("state.directory", f"{state.directory} is not there: no agent has run here yet", _FIRST_START)


def _openness(state: State) -> Finding:
    """Whether anybody else may look in. The agent closes its own files at each start, not the directory."""
    path = state.directory
    if is_read_only(path):
        text = f"{path} lies on a file system that is mounted read-only: no sale can be kept there"
        return fail("state.directory", text, "Look why (dmesg shows a disk that fails), and mount it for writing.")
    if open_to_others(path):
        return warn("state.directory", f"{path} can be entered by others than its owner", CLOSE_DIRECTORY.format(path))
    opened = sorted(name for name in OWN_FILES if (path / name).is_file() and open_to_others(path / name))
    if opened:
        text = f"{', '.join(opened)} can be read by others than their owner"
        return warn("state.directory", text, CLOSE_FILES)
    return ok("state.directory", str(path))


def _keys(state: State) -> tuple[StorageKeys | None, Finding]:
    check = "storage.key"
    try:
        keys = state.keys(may_create=False)
    except StorageKeyError as error:
        if not any((state.directory / name).exists() for name in (OUTBOX, REPLICA)):
            return None, unknown(check, "there is no key yet: it is made at the first start", _FIRST_START)
        return None, fail(check, str(error), error.advice)
    except PermissionError:
        return None, unknown(check, "may not be read by this user", AS_WHOM)
    if state.unencrypted:
        text = "encryption is off: whoever has the files can read them"
        return keys, warn(check, text, 'Set storage.encryption = "on".')
    return keys, ok(check, "is there; the databases are encrypted")


@look("outbox")
def _outbox(state: State, keys: StorageKeys) -> Iterator[Finding]:
    file = state.outbox(keys)
    if not file.path.exists():
        yield unknown("outbox", "is not there yet: it is made at the first start", _FIRST_START)
        return
    remedy = "Start the agent: it keeps the file aside, and rescues what is in it."
    judged = _judged("outbox", file, outbox_schema, remedy)
    yield judged
    if judged.state is Grade.OK:
        yield from _queue(file)
    else:
        yield unknown("queue", "cannot be counted while the outbox is not whole", "See outbox.")


@look("replica")
def _replica(state: State, keys: StorageKeys) -> Iterator[Finding]:
    lease = state.lease(keys) if (state.directory / REPLICA).exists() else None
    if lease is None:
        text = "is not there: members are not known locally until it is loaded"
        yield warn("replica", text, "Start the agent; it loads the replica by itself.")
    else:
        file = state.replica_pages(keys, lease)
        yield _judged("replica", file, replica_schema, "Start the agent: it fetches the replica anew.")


def _judged(check: str, file: DatabaseFile, schema: Migrations, remedy: str) -> Finding:
    """Whether a database is whole. Raises StorageSchemaError when a newer program wrote it, StorageError."""
    damage = examine(file)
    if damage is not None:
        refused = file.key_error()
        return fail(check, damage, remedy) if refused is None else fail(check, str(refused), refused.advice)
    steps_due(file, schema)  # refuses a newer program's
    size = sum(part.stat().st_size for part in file.path.parent.glob(f"{file.path.name}*"))
    return ok(check, f"whole, {size / _MIB:.1f} MiB with its log")


def _queue(file: DatabaseFile) -> Iterator[Finding]:
    connection = file.connect(read_only=True)
    try:
        counts = {state: count for state, count in connection.execute(COUNTS) if count}
    finally:
        connection.close()
    waiting = counts.get("queued", 0) + counts.get("held", 0)
    yield ok("queue", f"{waiting:,} deliveries wait") if waiting else ok("queue", "nothing waits")
    for state, text in (("parked", "refused, and left to a person"), ("in_doubt", "may have arrived, or not")):
        if count := counts.get(state, 0):
            yield warn(f"queue.{state}", f"{count:,} deliveries: {text}", _ASK.format(state=state))


@look("damage")
def _damage(state: State) -> Iterator[Finding]:
    new = [report for report in Kept(state.directory).reports() if report.acknowledged_at is None]
    if new:
        lost = sum(sum(report.lost.values()) for report in new)
        text = f"{len(new)} damaged files were kept aside since somebody looked last; {lost:,} records were lost"
        yield warn("damage", text, "loyalty-agent damage list, then damage acknowledge.")
    else:
        yield ok("damage", "nothing was damaged that has not been seen")


@look("audit")
def _audit(state: State, keys: StorageKeys | None) -> Iterator[Finding]:
    anchor = None
    if keys is not None and state.has_outbox:
        try:
            anchor = anchor_in(state.outbox(keys))
        except StorageError:
            anchor = None  # the outbox has a row of its own
    seen = AuditTrail(state.directory).verify(anchor)
    if seen.intact:
        yield ok("audit", f"{seen.entries:,} entries, each following from the one before")
    else:
        yield fail("audit", "the audit trail is not what was written", "loyalty-agent audit verify")


@look("tokens")
def _tokens(state: State, clock: Clock) -> Iterator[Finding]:
    tokens = Tokens(state.directory, clock).list()
    if tokens:
        yield ok("tokens", f"{len(tokens)}: {', '.join(sorted({token.name for token in tokens}))}")
    else:
        yield warn("tokens", "there is none: no till may call", "loyalty-agent token add NAME --scope pos")
