"""A queue of sales that wait, put on disk by the outbox itself, many in one commit."""

import asyncio
import re
from datetime import timedelta

from agent.api.bodies import parse
from agent.assembly import open_agent
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey, Transaction
from agent.ports import Acceptance
from bench import members
from bench.agents import Place
from bench.load import SCRIPT

AT_ONCE = 2_000


def sale(number: int) -> bytes:
    """The body that the load generator sends."""
    found = re.search(r"accept = \[\[(.*?)\]\]", SCRIPT.read_text())
    if found is None:
        raise RuntimeError("till.lua has no sale in it")
    return (found[1] % ("bench", 0, number)).encode()


def fill(at: Place, count: int) -> None:
    """Queues so many sales of different members, the agent not running."""
    asyncio.run(_fill(at, count))


async def _fill(at: Place, count: int) -> None:
    told = parse(Transaction, sale(0))
    async with open_agent(at.configuration()) as agent:
        now = agent.rooms.clock.now() - timedelta(minutes=1)

        def record(number: int) -> Acceptance:
            named = {"transaction_id": f"queued-{number}", "receipt_number": str(number)}
            readings = (Identifier(IdentifierType.MOBILE_PHONE, members.phone(number)),)
            key = IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value=str(10_000_000 + number))
            return Acceptance(told.model_copy(update=named), readings, key, False, ("voyado",), now.date())

        for first in range(0, count, AT_ONCE):
            numbers = range(first, min(count, first + AT_ONCE))
            await asyncio.gather(*(agent.storage.outbox.accept(record(number), now) for number in numbers))
