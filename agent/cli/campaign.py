"""`campaign create|send`: Monetary's campaigns, for the head office. They talk to Monetary, not to a running agent.

A campaign and its offers are money that is given away, and nothing there recognises a repetition: each command makes
one call, asks before it, and says what came of it, an answer that was lost included.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import click

from agent.cli import exits
from agent.cli.configuration import load
from agent.cli.errors import UsageMistakeError
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.render import number
from agent.connectors import monetary
from agent.connectors.monetary.campaigns import MOST_DAYS, Came, MonetaryCampaigns, Terms
from agent.connectors.monetary.customers import customer_id_in
from agent.connectors.monetary.settings import MonetarySettings
from agent.domain.money import parse_amount
from agent.ground import Ground

MOST_CUSTOMERS: Final = 100_000
_MOST_BYTES = 4 << 20
_MOST_NAMED = 5
_STATUS: Final = {
    "done": exits.OK,
    "refused": exits.DEGRADED,
    "unknown": exits.DEGRADED,
    "unreachable": exits.INPUT_OUTPUT,
}
_YES = click.option("--yes", is_flag=True, help="Do not ask again.")


class _Amount(click.ParamType[Decimal]):
    """An amount with two decimals at most."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """The exact amount."""
        try:
            amount = parse_amount(value)
        except ValueError:
            self.fail("is not an amount such as 10.50", param, ctx)
        if amount < 0 or amount != amount.quantize(Decimal("0.01")):
            self.fail("is below zero, or has more than two decimals", param, ctx)
        return amount


@click.group(short_help="Make Monetary campaigns and send their offers.")
def campaign() -> None:
    """Make Monetary's campaigns and send their offers, with the configured key. For the head office, not for a till."""


@campaign.command(short_help="Make a campaign.")
@click.option("--amount-off", type=_Amount(), required=True, help="What an offer takes off, in the account's currency.")
@click.option("--minimum-purchase", type=_Amount(), required=True, help="The least sale that it is good for.")
@click.option("--days", type=click.IntRange(1, MOST_DAYS), required=True, help="How long an offer lasts.")
@click.option("--group", is_flag=True, help="For the whole group; it takes the holding business's key.")
@_YES
@common
@pass_invocation
def create(
    invocation: Invocation, *, amount_off: Decimal, minimum_purchase: Decimal, days: int, group: bool, yes: bool
) -> int:
    """Make a campaign at the key's location, or of its group. Its id is what `campaign send` takes.

    Monetary can neither list nor end one, and a repetition makes another.
    """
    if not amount_off:
        raise UsageMistakeError("A campaign takes something off: --amount-off is zero.")
    terms = Terms(amount_off, minimum_purchase, days, group)
    where = "in the whole group" if group else "at the location"
    told = f"{amount_off} off from {minimum_purchase} on, for {days} days, {where} of the key"
    came = _call(invocation, lambda at: at.create(terms), f"A campaign: {told}. Nothing can end it. Make it?", yes=yes)
    document = {
        "outcome": came.outcome,
        "status": came.status,
        "campaign_id": came.campaign_id,
        "amount_off": str(amount_off),
        "minimum_purchase": str(minimum_purchase),
        "days": days,
        "group": group,
    }
    return _answer(invocation, came, document, done=f"campaign {came.campaign_id}: {told}", what="a campaign")


@campaign.command(short_help="Send a campaign's offers to customers.")
@click.argument("campaign_id", type=click.IntRange(min=1))
@click.option("--file", type=click.Path(path_type=Path), metavar="FILE", help="Where their CustomerIDs stand.")
@_YES
@common
@pass_invocation
def send(invocation: Invocation, campaign_id: int, *, file: Path | None, yes: bool) -> int:
    """Send the offers of CAMPAIGN_ID to the customers whose CustomerIDs stand in a file or on standard input.

    One a line, or with blanks or commas between them. Monetary decides who of them gets one, later, and tells nobody.
    """
    if file is None and _at_a_terminal():
        raise UsageMistakeError("Name a file with --file, or hand the CustomerIDs over on standard input.")
    customers = _customers(_read(file))
    told = f"campaign {campaign_id} to {number(len(customers))} customers"
    question = f"Send {told}? Nothing can take it back."
    came = _call(invocation, lambda at: at.send(campaign_id, customers), question, yes=yes)
    document = {
        "outcome": came.outcome, "status": came.status, "campaign_id": campaign_id, "customers": len(customers),
    }  # fmt: skip
    return _answer(invocation, came, document, done=f"sent {told}; who gets one Monetary decides", what="the offers")


def _call(
    invocation: Invocation, work: Callable[[MonetaryCampaigns], Awaitable[Came]], question: str, *, yes: bool
) -> Came:
    """What came of the one call; nothing is called before somebody has said yes."""
    configuration = load(invocation, secrets=False)
    tables = (table for _, _, table in configuration.vendor_tables())
    settings = next((table for table in tables if isinstance(table, MonetarySettings)), None)
    if settings is None:
        raise UsageMistakeError("The configuration has neither [monetary] nor [forward.monetary].")
    if not yes:
        if not _at_a_terminal():
            raise UsageMistakeError("Nobody can be asked here: say --yes.")
        click.confirm(question, abort=True, err=True)
    ground = Ground(configuration, None, random.Random(), guid_contact_ids=False)  # noqa: S311 - of no use here

    async def call() -> Came:
        key, agent = ground.secret(settings.secret_key), f"loyalty-agent/{ground.version}"
        client = monetary.open_client(settings, key, ground.http, user_agent=agent)
        try:
            return await work(MonetaryCampaigns(client))
        finally:
            await client.close()

    try:
        return asyncio.run(call())
    except KeyboardInterrupt:  # it may be on its way
        return Came("unknown")


def _answer(invocation: Invocation, came: Came, document: dict[str, Any], *, done: str, what: str) -> int:
    status = f" ({came.status})" if came.status is not None else ""
    texts = {
        "done": done,
        "refused": f"Monetary refuses {what}{status}: nothing was done.",
        "unreachable": f"Monetary was not reached{status}: nothing was done, and it can be tried again.",
        "unknown": f"No answer says what became of {what}{status}: Monetary may have done it. "
        "Nothing here can look, and a repetition would give it twice; ask Monetary before you try again.",
    }
    invocation.answer(document, texts[came.outcome])
    return _STATUS[came.outcome]


def _read(file: Path | None) -> str:
    """What a file holds, or standard input; what is no text stands for nothing that could be a CustomerID."""
    with contextlib.nullcontext(sys.stdin.buffer) if file is None else file.open("rb") as source:
        return source.read(_MOST_BYTES + 1).decode("utf-8-sig", "replace")


def _customers(text: str) -> list[int]:
    """Each CustomerID once, in their order; what is none is told by its place, and never repeated.

    Raises:
        UsageMistakeError: something is none, there is none at all, or there are too many.
    """
    words = text.replace(",", " ").split()
    if len(words) > MOST_CUSTOMERS or len(text) > _MOST_BYTES:
        raise UsageMistakeError(f"There are more than {number(MOST_CUSTOMERS)} CustomerIDs: send them in parts.")
    found = [customer_id_in(word) for word in words]
    strange = [str(place) for place, customer in enumerate(found, 1) if customer is None]
    if strange:
        more = ", ..." if len(strange) > _MOST_NAMED else ""
        raise UsageMistakeError(f"What stands at place {', '.join(strange[:_MOST_NAMED])}{more} is no CustomerID.")
    if not found:
        raise UsageMistakeError("There is no CustomerID in it.")
    return list(dict.fromkeys(customer for customer in found if customer is not None))


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()
