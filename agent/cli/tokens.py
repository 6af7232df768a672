"""`token add|list|rotate|revoke`: who may call. Works on the file; a running agent hears of it within a second."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from agent.cli.configuration import load
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.ownership import as_owner_of
from agent.cli.render import instant, table
from agent.clock import SystemClock
from agent.disk import PRIVATE
from agent.settings import Configuration
from agent.store.audit import AuditTrail
from agent.tokens import Scope, Tokens


@click.group(short_help="Add, list, rotate or revoke the tokens of POS software and administrators.")
def token() -> None:
    """Add, list, rotate or revoke the tokens of POS software and administrators. A change counts within a second."""


@token.command(short_help="Make a token and print it, this once.")
@click.argument("name")
@click.option(
    "--scope", type=click.Choice(["pos", "admin"]), required=True, help="pos: what a cashier does; admin: all."
)
@common
@pass_invocation
def add(invocation: Invocation, name: str, scope: Scope) -> None:
    """Make a token called NAME and print it, this once: only its hash is kept."""
    configuration = load(invocation, secrets=False)
    with _writing(configuration):
        made = _tokens(configuration).add(name, scope)
        _record(configuration, "token.added", {"name": name, "scope": scope})
    invocation.answer({"name": name, "scope": scope, "token": made}, made)


@token.command(short_help="Make a second token beside the first, to replace it.")
@click.argument("name")
@common
@pass_invocation
def rotate(invocation: Invocation, name: str) -> None:
    """Make a new token called NAME and print it, this once; the old one stays valid until `token revoke NAME --old`."""
    configuration = load(invocation, secrets=False)
    with _writing(configuration):
        tokens = _tokens(configuration)
        made = tokens.rotate(name)
        scope = next(known.scope for known in tokens.list() if known.name == name)
        _record(configuration, "token.rotated", {"name": name, "scope": scope})
    invocation.answer({"name": name, "scope": scope, "token": made}, made)


@token.command("list", short_help="List tokens by name.")
@common
@pass_invocation
def list_tokens(invocation: Invocation) -> None:
    """List tokens by name; the tokens themselves cannot be read back."""
    configuration = load(invocation, secrets=False)
    rows = [
        {"name": known.name, "scope": known.scope, "created_at": known.created_at.isoformat()}
        for known in _tokens(configuration).list()
    ]
    text = table(
        ("NAME", "SCOPE", "CREATED"), [(row["name"], row["scope"], instant(row["created_at"])) for row in rows]
    )
    invocation.answer({"tokens": rows}, text if rows else "There are no tokens.")


@token.command(short_help="End a token.")
@click.argument("name")
@click.option("--old", is_flag=True, help="Of two, end the older alone: the till has the new one.")
@common
@pass_invocation
def revoke(invocation: Invocation, name: str, *, old: bool) -> None:
    """End every token called NAME; the running agent refuses it within a second."""
    configuration = load(invocation, secrets=False)
    with _writing(configuration):
        _tokens(configuration).revoke(name, old=old)
        _record(configuration, "token.revoked", {"name": name, "which": "old" if old else "every"})
    invocation.answer({"name": name, "revoked": True}, f"{name}: {'the old token is ' if old else ''}revoked")


@contextlib.contextmanager
def _writing(configuration: Configuration) -> Iterator[None]:
    """The state directory is there, before the agent's first start too, and what is written in it is its owner's."""
    configuration.state_dir.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    with as_owner_of(configuration.state_dir):
        yield


def _record(configuration: Configuration, event: str, facts: dict[str, int | str]) -> None:
    AuditTrail(configuration.state_dir).append(event, SystemClock().now(), facts)


def _tokens(configuration: Configuration) -> Tokens:
    return Tokens(configuration.state_dir, SystemClock())
