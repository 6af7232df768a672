"""`demo`, `drill` and `simulate`: the agent shown and rehearsed, and a simulated vendor to work against."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agent.cli import exits
from agent.cli.configuration import load
from agent.cli.invocation import Invocation, common, pass_invocation

if TYPE_CHECKING:
    from agent.connectors.simulation.server import Simulated

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.command(short_help="Play a working day with an outage in it, and count.")
@click.option("--keep", is_flag=True, help="Leave agent, simulator and staff page up until Ctrl-C.")
@click.option("--vendors", default="", metavar="NAMES", help="Who gets the sales as well: names with commas, or all.")
@common
@pass_invocation
def demo(invocation: Invocation, *, keep: bool, vendors: str) -> int:
    """Play a working day with an outage in it, and count what was made, delivered, doubled and lost.

    Needs nothing: every vendor is a simulator. Ends with 0 only if nothing is lost or doubled, at any of them.
    """
    from agent.workbench import demo as stage  # noqa: PLC0415 - simulator and HTTP client: only who plays it
    from agent.workbench.further import RECIPES  # noqa: PLC0415 - as above

    names = tuple(RECIPES) if vendors == "all" else tuple(dict.fromkeys(filter(None, vendors.split(","))))
    if unknown := [name for name in names if name not in RECIPES]:
        raise click.BadParameter(f"no such vendor: {unknown[0]}; there is {', '.join(RECIPES)}", param_hint="--vendors")

    # SIGTERM ends it as Ctrl-C does: the agent must not outlive the play.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def told(result: stage.Result, kept: stage.Kept | None) -> None:
        if invocation.json:
            document: dict[str, Any] = {
                "ok": result.fine,
                **asdict(result.count),
                "further": {vendor: asdict(tally) for vendor, tally in result.further.items()},
                "wrong": result.wrong,
                "elapsed_s": round(result.elapsed_s, 1),
                "kept": asdict(kept) if kept else None,
            }
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        elif kept is not None:
            click.echo("\nEverything stays up until Ctrl-C:\n")
            for name, value in asdict(kept).items():
                click.echo(f"   {name.replace('_', ' '):<15} {value}")
            click.echo(f"\nIn another terminal: loyalty-agent status --config {kept.config}")

    result = stage.play(quiet=invocation.json, told=told, keep=_until_interrupted if keep else None, vendors=names)
    return exits.OK if result.fine else exits.DEGRADED


@click.command(short_help="Rehearse outages beside this till's agent, and print a sheet.")
@click.option("--scene", "scenes", multiple=True, metavar="NAME", help="One of them alone. May be repeated.")
@common
@pass_invocation
def drill(invocation: Invocation, scenes: tuple[str, ...]) -> int:
    """Rehearse outages with this till's settings, and print what was passed and failed: 0 if everything was passed.

    An agent of its own, with made-up members and a made-up loyalty system, plays them on this till's disk. The till's
    own agent goes on, and nothing is sent to anybody.
    """
    import random  # noqa: PLC0415 - this and the simulator: only who plays it

    from agent.workbench import drill as play  # noqa: PLC0415

    if unknown := [name for name in scenes if name not in play.SCENES]:
        raise click.BadParameter(
            f"no such scene: {unknown[0]}; there is {', '.join(play.SCENES)}", param_hint="--scene"
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the drill's agent must not outlive it

    def told(sheet: play.Sheet) -> None:
        if not invocation.json:
            click.echo(f"{'PASS' if sheet.ok else 'FAIL'}  {sheet.scene} ({sheet.elapsed_s:.1f} s)")
            for check in sheet.checks:
                click.echo(f"      {'+' if check.ok else '!'} {check.text}")

    sheets = play.rehearse(load(invocation, secrets=False), scenes or tuple(play.SCENES), told, random.Random())  # noqa: S311 - a made-up shop
    passed = sum(sheet.ok for sheet in sheets)
    document = {"ok": passed == len(sheets), "scenes": [{**asdict(sheet), "ok": sheet.ok} for sheet in sheets]}
    invocation.answer(document, f"\n{passed} of {len(sheets)} passed")
    return exits.OK if document["ok"] else exits.DEGRADED


def _until_interrupted() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo(err=True)


@click.group(short_help="Run a simulated vendor to work against.")
def simulate() -> None:
    """Run a simulated vendor to work against. Everything in it is made up; it listens on loopback alone."""


def _port(default: int) -> Callable[[_Command], _Command]:
    return click.option(
        "--port", type=click.IntRange(0, 65_535), default=default, show_default=True, help="0 takes a free one."
    )


_API_KEY = click.option(
    "--api-key", default="sim-key", show_default=True, help="The key that it accepts; not a secret."
)
_API_SECRET = click.option(
    "--api-secret", default="sim-secret", show_default=True, help="Goes with the key; no secret either."
)


@simulate.command(short_help="A stateful Voyado Engage tenant.")
@_port(8790)
@click.option(
    "--contacts", type=click.IntRange(0, 2_000_000), default=1_000, show_default=True, help="Made-up members."
)
@click.option(
    "--export-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Stands in for the SFTP account; export files appear below it. Without it, a directory that goes at the end.",
)
@_API_KEY
@click.option(
    "--receipt-interval", type=click.FloatRange(0), default=15.0, show_default=True, help="Seconds between imports."
)
@click.option(
    "--export-interval", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds between exports."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same people.")
@common
@pass_invocation
def voyado(
    invocation: Invocation,
    *,
    port: int,
    contacts: int,
    export_dir: Path | None,
    api_key: str,
    receipt_interval: float,
    export_interval: float,
    seed: int,
) -> None:
    """Run a stateful Voyado Engage tenant until Ctrl-C: its API v2 and v3, its imports and its contact exports."""
    from agent.workbench import simulate as bench  # noqa: PLC0415 - the simulator: only who runs it

    with bench.voyado(
        export_dir,
        contacts=contacts,
        api_key=api_key,
        receipt_interval_s=receipt_interval,
        export_interval_s=export_interval,
        seed=seed,
    ) as simulator:
        folder = simulator.exports.folder
        feed = folder.resolve().as_uri()
        _run(
            invocation,
            simulator,
            port,
            f"A made-up Voyado Engage tenant with {contacts:,} members",
            {"api_key": api_key, "export_folder": str(folder), "contacts": contacts, "feed": feed},
            table="voyado",
            settings=(f'feed = "{feed}"', f"api_key = ...    # a reference to a file that holds {api_key}"),
        )


@simulate.command(short_help="A stateful mParticle input.")
@_port(8791)
@_API_KEY
@_API_SECRET
@common
@pass_invocation
def mparticle(invocation: Invocation, *, port: int, api_key: str, api_secret: str) -> None:
    """Run a stateful mParticle input until Ctrl-C: the three calls of its Events API."""
    from agent.workbench import simulate as bench  # noqa: PLC0415 - the simulator: only who runs it

    _run(
        invocation,
        bench.mparticle(api_key, api_secret),
        port,
        "A made-up mParticle input",
        {"api_key": api_key, "api_secret": api_secret},
        table="forward.mparticle",
        path="/v2",
        settings=(
            f"api_key = ...    # a reference to a file that holds {api_key}",
            f"api_secret = ... # and to one that holds {api_secret}",
        ),
    )


@simulate.command(short_help="A stateful Antavo workspace.")
@_port(8792)
@_API_KEY
@_API_SECRET
@click.option("--environment", default="st2", show_default=True, help="What signatures have to be made for.")
@click.option("--anonymous", is_flag=True, help="Events for customers whom it does not know make them.")
@click.option("--accepts", is_flag=True, help="Checkouts are pending until they are accepted.")
@click.option("--guests", is_flag=True, help="Checkouts of nobody are taken.")
@click.option("--unsigned", is_flag=True, help="The key alone lets in, as in old sandboxes.")
@click.option(
    "--queued-s", type=click.IntRange(0), default=0, show_default=True, help="Seconds that a client's event waits."
)
@common
@pass_invocation
def antavo(
    invocation: Invocation,
    *,
    port: int,
    api_key: str,
    api_secret: str,
    environment: str,
    anonymous: bool,
    accepts: bool,
    guests: bool,
    unsigned: bool,
    queued_s: int,
) -> None:
    """Run a stateful Antavo workspace until Ctrl-C: signed calls for events, customers and transactions.

    The key and its secret are a client's id and secret too, for the Async Events API.
    """
    from agent.workbench import simulate as bench  # noqa: PLC0415 - the simulator: only who runs it

    simulator = bench.antavo(api_key, api_secret, environment=environment, anonymous=anonymous, accepts=accepts)
    simulator.books.guests, simulator.unsigned = guests, unsigned
    simulator.queue.delay = timedelta(seconds=queued_s)
    _run(
        invocation,
        simulator,
        port,
        "A made-up Antavo workspace",
        {"environment": environment, "api_key": api_key, "api_secret": api_secret},
        table="forward.antavo",
        settings=(
            f'environment = "{environment}"',
            f"api_key = ...    # a reference to a file that holds {api_key}",
            f"api_secret = ... # and to one that holds {api_secret}",
        ),
    )


@simulate.command(short_help="A stateful Voucherify project.")
@_port(8793)
@click.option("--app-id", default="sim-id", show_default=True, help="The id that it accepts; not a secret.")
@click.option("--app-token", default="sim-token", show_default=True, help="Goes with the id; no secret either.")
@click.option(
    "--per-minute", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="Calls it takes a minute."
)
@common
@pass_invocation
def voucherify(invocation: Invocation, *, port: int, app_id: str, app_token: str, per_minute: int) -> None:
    """Run a stateful Voucherify project until Ctrl-C: its orders, customers and events."""
    from agent.workbench import simulate as bench  # noqa: PLC0415 - the simulator: only who runs it

    _run(
        invocation,
        bench.voucherify(app_id, app_token, per_minute=per_minute),
        port,
        "A made-up Voucherify project",
        {"app_id": app_id, "app_token": app_token},
        table="forward.voucherify",
        settings=(
            f"app_id = ...      # a reference to a file that holds {app_id}",
            f"app_token = ...   # and to one that holds {app_token}",
        ),
    )


@simulate.command(short_help="A stateful account of Monetary Engage.")
@_port(8794)
@click.option("--secret-key", default="test-sim-key", show_default=True, help="The key that it accepts; not a secret.")
@common
@pass_invocation
def monetary(invocation: Invocation, *, port: int, secret_key: str) -> None:
    """Run a stateful account of Monetary Engage until Ctrl-C: its customers, receipts, offers and campaigns."""
    from agent.workbench import simulate as bench  # noqa: PLC0415 - the simulator: only who runs it

    _run(
        invocation,
        bench.monetary(secret_key),
        port,
        "A made-up account of Monetary Engage",
        {"secret_key": secret_key},
        table="forward.monetary",
        path="/v1",
        settings=(f"secret_key = ... # a reference to a file that holds {secret_key}",),
    )


def _run(
    invocation: Invocation,
    simulator: Simulated,
    port: int,
    what: str,
    found: Mapping[str, Any],
    *,
    table: str,
    path: str = "",
    settings: Iterable[str],
) -> None:
    """Serves a simulated vendor, and says where it is and what an agent's configuration says of it.

    Args:
        invocation: of the command.
        simulator: the vendor.
        port: where it listens.
        what: the vendor in words.
        found: what else there is to know of it, beside its URLs.
        table: its table of the configuration.
        path: what its base URL has behind the port.
        settings: the lines of the table below `base_url`.
    """
    from agent.workbench import simulate as bench  # noqa: PLC0415 - the simulator: only who runs it

    def ready(url: str) -> None:
        address = {"base_url": url + path, "control_url": f"{url}/_sim/state", **found}
        lines = (
            f"{what}, until Ctrl-C.",
            "",
            f"[{table}]",
            f'base_url = "{url}{path}"',
            *settings,
            "",
            f"What it has seen: {url}/_sim/state",
        )
        invocation.answer(address, "\n".join(lines))

    bench.run(simulator, port, ready)
