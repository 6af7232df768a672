"""Who takes part in the demonstration, and the few steps that its chapters are made of.

Every step is checked as it is told: what does not happen as it should is said so, kept, and fails the demonstration.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.ports import Clock
from agent.workbench.agent_process import AgentProcess
from agent.workbench.basket import Baskets
from agent.workbench.further import Further
from agent.workbench.ledger import Ledger
from agent.workbench.narration import Narrator
from agent.workbench.tenant import Person, Tenant
from agent.workbench.till import Json, Reply, Till

PATIENCE_S = 120.0
POLL_S = 0.1
_KEPT = (200, 202)


@dataclass(slots=True)
class Stage:
    """Everything that takes part.

    Attributes:
        clock: the time of day.
        tenant: the loyalty system.
        agent: the agent's process.
        till: the till at its door.
        baskets: what is bought.
        narrator: tells of it.
        searched: the agent's files, which are searched for personal data.
        further: the systems beside the loyalty system.
        ledger: what the till was promised.
        sold: every sale that was kept, in order.
        wrong: what did not go as told.
    """

    clock: Clock
    tenant: Tenant
    agent: AgentProcess
    till: Till
    baskets: Baskets
    narrator: Narrator
    searched: list[Path]
    further: Sequence[Further] = ()
    ledger: Ledger = field(default_factory=Ledger)
    sold: list[Json] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def lanes(self) -> int:
        """How many systems get a member's sale."""
        return 1 + len(self.further)

    @property
    def unit(self) -> str:
        """What a queue is counted in."""
        return "sales" if self.lanes == 1 else "deliveries"

    def cut(self) -> None:
        """No system can be reached any more."""
        for line in self._lines():
            line.cut()

    def mend(self, *, lost_answers: int) -> None:
        """Each can be reached again; of the first answers of each, some get lost after the work is done."""
        for line in self._lines():
            line.mend(lost_answers=lost_answers)

    def sell(self, sale: Json) -> Reply:
        """Posts a sale and writes the promise down. Raises httpx.TransportError while the agent is gone."""
        reply = self.till.post(sale)
        self.ledger.note(sale, reply)
        if reply.status in _KEPT:
            self.sold.append(sale)
        else:
            self.check(f"sale {sale['transaction_id']}: {reply.status} {reply.body.get('code')}", right=False)
        return reply

    def wait_for(self, what: str, done: Callable[[Json], bool], progress: Callable[[Json], str] | None = None) -> Json:
        """The first status that is as wanted; after :data:`PATIENCE_S` seconds the last one, told as wrong."""
        deadline = time.monotonic() + PATIENCE_S
        while not done(status := self.till.status()):
            if time.monotonic() > deadline:
                self.check(f"waited {PATIENCE_S:.0f} s for {what}, in vain", right=False)
                break
            if progress is not None:
                self.narrator.progress(progress(status))
            time.sleep(POLL_S)
        return status

    def check(self, text: str, *, right: bool) -> None:
        """Tells what happened, and keeps it where it should not have."""
        self.narrator.say(text, good=right)
        if not right:
            self.wrong.append(text)

    def _lines(self) -> tuple[Tenant | Further, ...]:
        return self.tenant, *self.further

    def quote(self, reply: Reply, locale: str) -> None:
        """Shows what an answer says for the screens."""
        for audience in ("staff", "customer"):
            for text in reply.texts(audience):
                self.narrator.quote(audience, locale, text)


def by_phone(person: Person) -> dict[str, Any]:
    """A sale's field for somebody who gives a phone number."""
    return {"identifier": {"type": "mobile_phone", "value": person.phone}}


def by_email(person: Person) -> dict[str, Any]:
    """A sale's field for somebody who gives an address."""
    return {"identifier": {"type": "email", "value": person.email}}
