"""`conformance`: plays a POS against a till's door, and says what of the contract it keeps."""

from __future__ import annotations

import json
import math
import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from agent.cli import exits
from agent.cli.errors import UsageMistakeError
from agent.cli.invocation import Invocation, common, pass_invocation

if TYPE_CHECKING:
    from agent.workbench.conformance.case import Case
    from agent.workbench.conformance.result import DoorResult, Finding

TOKEN: Final = "LOYALTY_AGENT_TOKEN"  # noqa: S105 - a variable's name
ADMIN_TOKEN: Final = "LOYALTY_AGENT_ADMIN_TOKEN"  # noqa: S105 - a variable's name
VENDOR_PORT: Final = 8795
_UNIX: Final = "unix:"
_WORDS: Final = {"passed": "PASS", "failed": "FAIL", "skipped": "skip"}
_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Test a till's door against the contract, as a POS would use it.")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("--token-file", "tokens", multiple=True, type=_FILE, metavar="FILE",
              help=f"A token of scope pos; one for all doors, or one for each. Else ${TOKEN}.")  # fmt: skip
@click.option("--admin-token-file", "admins", multiple=True, type=_FILE, metavar="FILE",
              help=f"One of scope admin, for the cases that take it. Else ${ADMIN_TOKEN}.")  # fmt: skip
@click.option("--only", multiple=True, metavar="NAME", help="A group or a case alone. May be repeated.")
@click.option("--patience", type=click.FloatRange(1, 3600), default=60.0, show_default=True,
              help="Seconds that whatever takes its time may take.")  # fmt: skip
@click.option("--output", type=_FILE, metavar="FILE", help="Write the result there as JSON.")
@click.option("--junit", type=_FILE, metavar="FILE", help="Write it there as JUnit XML.")
@click.option("--vendor-port", type=click.IntRange(1, 65_535), default=VENDOR_PORT, show_default=True,
              help="Where the kit's loyalty system listens.")  # fmt: skip
@click.option("--prepare", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write there what an agent is to be tested with, and test nothing.")  # fmt: skip
@click.option("--level", type=click.IntRange(1, 4), default=4, show_default=True, help="Its fallback level.")
@click.option("--listen", default="127.0.0.1:8787", show_default=True, metavar="ADDRESS", help="Where it listens.")
@common
@pass_invocation
def conformance(
    invocation: Invocation,
    *,
    urls: tuple[str, ...],
    tokens: tuple[Path, ...],
    admins: tuple[Path, ...],
    only: tuple[str, ...],
    patience: float,
    output: Path | None,
    junit: Path | None,
    vendor_port: int,
    prepare: Path | None,
    level: int,
    listen: str,
) -> int:
    """Test doors that speak docs/till-api.md: 0 if each passes, 1 if one fails, 2 if one cannot be tested.

    URL is http://HOST:PORT, or unix: and a path. The loyalty system behind the door has to be the kit's own, which runs
    as long as the test: --prepare writes the configuration for that. Without a URL an agent of this version is tested.
    """
    _refuse(patience, prepare, urls)
    if prepare is not None:
        return _prepare(invocation, prepare, listen=listen, vendor=f"http://127.0.0.1:{vendor_port}", level=level)
    from agent.workbench.conformance import kit, result, sandbox  # noqa: PLC0415 - the simulator: only who tests

    for file in filter(None, (output, junit)):  # a result that cannot be written is not worth a minute
        if not file.parent.is_dir():
            raise UsageMistakeError(f"There is no directory {file.parent}.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an agent of the kit's own must not outlive it
    cases, began = _cases(only), datetime.now(UTC).isoformat(timespec="seconds")
    named = [partial(kit.named, *door, port=vendor_port) for door in _doors(urls, tokens, admins)]
    results: list[DoorResult] = []
    for behind in named or (sandbox.own,):
        with behind() as (door, tenant):
            _begins(invocation, door.address)
            results.append(kit.test(door, tenant, cases, patience_s=patience, told=partial(_tell, invocation)))
        _ends(invocation, results[-1])
        if results[-1].broken_off:
            break
    document = result.document(version("loyalty-agent"), began, results)
    if output is not None:
        output.write_text(f"{json.dumps(document, indent=2, ensure_ascii=False)}\n", encoding="utf-8")
    if junit is not None:
        junit.write_bytes(result.junit(document))
    if invocation.json or len(results) > 1:
        invocation.answer(document, f"\n{_count(results, 'passed')} of {len(results)} doors passed")
    if _count(results, "failed") or results[-1].broken_off:
        return exits.DEGRADED
    return exits.UNREACHABLE if _count(results, "untested") else exits.OK


def _refuse(patience: float, prepare: Path | None, urls: tuple[str, ...]) -> None:
    """Refuses what would be given and not looked at."""
    if not math.isfinite(patience):
        raise UsageMistakeError("--patience is a number of seconds.")
    if prepare is not None and urls:
        raise UsageMistakeError("--prepare tests nothing: leave out the URL.")
    source = click.get_current_context().get_parameter_source
    for option in ("level", "listen"):
        if prepare is None and source(option) is not ParameterSource.DEFAULT:
            raise UsageMistakeError(f"--{option} goes with --prepare.")


def _prepare(invocation: Invocation, directory: Path, *, listen: str, vendor: str, level: int) -> int:
    from agent.workbench.conformance import sandbox  # noqa: PLC0415 - the simulator: only who tests

    prepared = sandbox.prepare(directory, listen=listen, vendor=vendor, level=level)
    door = listen if listen.startswith(_UNIX) else f"http://{listen}"
    told = {
        "config": os.fspath(prepared.config),
        "token_file": os.fspath(prepared.pos_file),
        "admin_token_file": os.fspath(prepared.admin_file),
        "door": door,
        "vendor": vendor,
    }
    port = f" --vendor-port {vendor.rpartition(':')[2]}" if not vendor.endswith(f":{VENDOR_PORT}") else ""
    text = (
        f"loyalty-agent run --config {prepared.config}\n"
        f"loyalty-agent conformance {door} --token-file {prepared.pos_file} "
        f"--admin-token-file {prepared.admin_file}{port}"
    )
    invocation.answer(told, text)
    return exits.OK


def _doors(
    urls: tuple[str, ...], tokens: tuple[Path, ...], admins: tuple[Path, ...]
) -> Iterator[tuple[str, str, str | None]]:
    """Each door with its tokens. Raises UsageMistakeError, OSError."""
    from agent.workbench.conformance.door import is_address  # noqa: PLC0415 - the HTTP client: only who tests

    for place, url in enumerate(urls):
        if not is_address(url):
            raise UsageMistakeError(f"Address {place + 1} is none: http://HOST:PORT, or unix: and a socket's path.")
        token = _secret(tokens, TOKEN, place, len(urls))
        if token is None:
            raise UsageMistakeError(f"There is no token for {url}: --token-file, or {TOKEN}.")
        yield url, token, _secret(admins, ADMIN_TOKEN, place, len(urls))


def _secret(files: tuple[Path, ...], variable: str, place: int, doors: int) -> str | None:
    if len(files) not in (0, 1, doors):
        raise UsageMistakeError(f"There are {len(files)} files of tokens for {doors} doors: name one, or one for each.")
    if not files and not os.environ.get(variable):
        return None
    where = files[place % len(files)] if files else variable
    secret = where.read_text(encoding="utf-8", errors="replace") if isinstance(where, Path) else os.environ[variable]
    if len(secret.split()) != 1 or not secret.strip().isascii() or not secret.strip().isprintable():
        raise UsageMistakeError(f"{where} does not hold a token alone.")
    return secret.strip()


def _cases(names: tuple[str, ...]) -> tuple[Case, ...]:
    from agent.workbench.conformance.cases import GROUPS, chosen  # noqa: PLC0415 - only who tests

    try:
        return chosen(names)
    except LookupError as error:
        groups = ", ".join(group.name for group in GROUPS)
        raise click.BadParameter(
            f"no such group or case: {error.args[0]}; there is {groups}, and a case is GROUP/CASE", param_hint="--only"
        ) from None


def _begins(invocation: Invocation, door: str) -> None:
    if not invocation.json:
        click.echo(door)


def _tell(invocation: Invocation, finding: Finding) -> None:
    if invocation.json:
        return
    click.echo(f"{_WORDS[finding.outcome]}  {finding.group}/{finding.case}: {finding.title}")
    told = {"contract": finding.rule, "expected": finding.expected, "got": finding.got}
    for name, text in told.items() if finding.outcome == "failed" else ():
        click.echo(f"      {name + ':':<10}{' '.join((text or '').split())}")
    if finding.why:
        click.echo(f"      {finding.why}")


def _ends(invocation: Invocation, result: DoorResult) -> None:
    if invocation.json:
        return
    if result.problem is not None:
        click.echo(f"Not tested: {result.problem}\n{result.problem.advice}")
    if not result.findings:
        return
    counts = Counter(one.outcome for one in result.findings)
    click.echo(f"\n{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    if result.broken_off:
        click.echo("Broken off; the line to the loyalty system is whole.")
    if result.left:
        click.echo(
            f"{result.left} made-up sales are not delivered; an agent that goes on delivers them to the next run."
        )


def _count(results: list[DoorResult], outcome: str) -> int:
    return sum(one.outcome == outcome for one in results)
