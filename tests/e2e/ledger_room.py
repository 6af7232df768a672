"""Runs the installed agent with one vendor room more: `python ledger_room.py COMMAND ARGUMENTS`.

Ledger is made up. It takes sales of anybody, ten in a call, and answers for each; it owns no contacts.
"""

from __future__ import annotations

import json
import runpy
import sys
from typing import Any, ClassVar

from pydantic import Field

from agent.connectors import registry
from agent.connectors.base import Room, Surroundings
from agent.domain.delivery import DONE, Verdict, VerdictKind
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Outgoing
from agent.settings import Secret, VendorSection
from agent.transport import Answer, Transport

NAME = "ledger"


class LedgerSettings(VendorSection):
    """A bookkeeper that gets every sale."""

    not_loyalty: ClassVar[str] = "Ledger keeps no contacts"

    base_url: str = Field(description="where it is")
    api_key: Secret = Field(description="its key")


class Ledger:
    """The connector, and its own sender."""

    name, guests, connections, requests_per_second, batch_size = NAME, True, 2, 200.0, 10
    idle_ping_s = 10.0
    windows = ()
    keeps_time = True
    lookup = writer = history = None

    def __init__(self, settings: LedgerSettings, agent: Surroundings) -> None:
        self._transport = Transport(
            settings.base_url, agent.http, connections=self.connections, user_agent=agent.user_agent
        )
        self._key, self.sender = agent.secret(settings.api_key), self

    async def send(self, batch: list[Outgoing]) -> list[Verdict]:
        sales = [
            {
                "id": outgoing.transaction.transaction_id,
                "type": outgoing.transaction.type.value,
                "key": outgoing.key.value if outgoing.key else None,
            }
            for outgoing in batch
        ]
        try:
            answer = await self._call("/sales", json.dumps(sales).encode())
        except VendorUnreachableError as error:
            silent = Verdict(
                VerdictKind.RETRY, error.code, title=str(error), reached=False, not_received=not error.maybe_received
            )
            return [silent] * len(batch)
        if answer.status == 401:
            self._key.refused()
            refused = Verdict(VerdictKind.HOLD, "vendor.credentials_refused", 401, "is refused", not_received=True)
            return [refused] * len(batch)
        if answer.status == 413:
            return [Verdict(VerdictKind.SPLIT, "vendor.too_large", 413, "is too large")] * len(batch)
        return [DONE if took else self._parked() for took in answer.json()]

    @staticmethod
    def _parked() -> Verdict:
        return Verdict(VerdictKind.PARK, "vendor.rejected", 422, "The vendor refuses this sale.")

    async def ping(self) -> None:
        answer = await self._call("/ping", b"")
        if answer.status == 401:
            self._key.refused()
            raise VendorRefusedError

    async def close(self) -> None:
        await self._transport.close()

    async def _call(self, path: str, content: bytes) -> Answer:
        headers = {"Authorization": f"Bearer {self._key.value()}", "Content-Type": "application/json"}
        return await self._transport.request("POST", path, headers=headers, content=content)


def build(settings: Any, agent: Surroundings) -> Ledger:
    """The connector."""
    return Ledger(settings, agent)


if __name__ == "__main__":
    registry.ROOMS[NAME] = Room(LedgerSettings, build)
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
