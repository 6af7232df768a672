"""Taking sales to mParticle: one by `/events`, several by `/bulkevents`, what is too old by the historical endpoint.

A sale alone goes by `/events`, where a refusal says which sale is meant. Whatever they travel in, sales keep their
`source_request_id`, so that nothing counts twice.
"""

from collections.abc import Sequence
from datetime import timedelta

from agent.connectors.mparticle.batching import MAX_BATCH_BYTES, MAX_BATCHES, cut, join
from agent.connectors.mparticle.client import MparticleClient
from agent.connectors.mparticle.errors import verdict_of, verdict_without_answer
from agent.connectors.mparticle.mapping import HISTORICAL_AFTER, OUTPUTS_TAKE, Batch, render_batch
from agent.connectors.mparticle.settings import MparticleSettings
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import TransactionType
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, Outgoing
from agent.transport import Answer

DEDUPLICATES_FOR = timedelta(days=30)
"""How long mParticle knows a `source_request_id` at least; it says 30 to 60 days."""

_NOTHING = Verdict(VerdictKind.PARK, "sale.without_member", title="Of a guest, the profile sends nothing of this sale.")
_GONE = Verdict(VerdictKind.PARK, "sale.without_lines", title="The sale that this void clears is gone.")
_TOO_LARGE = Verdict(VerdictKind.PARK, "sale.too_large", title="The sale has more lines than the vendor takes.")
_TOO_LATE = Verdict(
    VerdictKind.IN_DOUBT,
    "sale.window_closed",
    title="It may have arrived, and the vendor would no longer recognise it as the same sale.",
)
_LATE = ("sale.late", "Accepted more than 24 hours after the sale: outputs may not get it.")
_HISTORICAL = ("sale.historical", "Accepted more than 30 days after the sale: no output gets it.")
_ELSEWHERE = Verdict(VerdictKind.SPLIT)


class MparticleSender:
    """Sends sales.

    Args:
        client: the input.
        settings: the table.
        primary: the type of the primary integration key.
        clock: tells how old a sale is.
    """

    batch_size = MAX_BATCHES

    def __init__(
        self, client: MparticleClient, settings: MparticleSettings, *, primary: IdentifierType, clock: Clock
    ) -> None:
        self._client, self._settings, self._primary, self._clock = client, settings, primary, clock

    async def send(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        """A verdict for each sale; ``done`` means accepted by mParticle, not yet processed.

        One request is made, of as many as go together in it; the others are split off.
        """
        ready: list[tuple[int, Batch]] = []
        verdicts: dict[int, Verdict] = {}
        for place, outgoing in enumerate(batch):
            rendered = self._render(outgoing)
            if isinstance(rendered, Verdict):
                verdicts[place] = rendered
            else:
                ready.append((place, rendered))
        if ready:
            historical = ready[0][1].historical
            same = [(place, one) for place, one in ready if one.historical is historical]
            going = [same[index] for index in next(cut([one for _, one in same]))]
            verdict = await self._post([one for _, one in going])
            verdicts |= {place: _late(verdict, self._age(batch[place])) for place, _ in going}
        return [verdicts.get(place, _ELSEWHERE) for place in range(len(batch))]

    def _render(self, outgoing: Outgoing) -> Batch | Verdict:
        sale, now = outgoing.transaction, self._clock.now()
        if sale.type is TransactionType.VOID and not sale.lines and outgoing.original is None:
            return _GONE
        if outgoing.maybe_received and now - outgoing.accepted_at > DEDUPLICATES_FOR:
            return _TOO_LATE
        rendered = render_batch(outgoing, self._settings, primary=self._primary, now=now)
        if not rendered.events:
            return _NOTHING
        return _TOO_LARGE if len(rendered.body) > MAX_BATCH_BYTES else rendered

    async def _post(self, going: Sequence[Batch]) -> Verdict:
        together = len(going) > 1
        try:
            answer = await self._ask(going, together=together)
        except VendorUnreachableError as error:
            return verdict_without_answer(error)
        except VendorRefusedError as error:
            return Verdict(VerdictKind.HOLD, "vendor.credentials_missing", title=str(error), not_received=True)
        return verdict_of(answer, together=together)

    async def _ask(self, going: Sequence[Batch], *, together: bool) -> Answer:
        historical = going[0].historical
        if together or historical:
            return await self._client.post_bulk(join([one.body for one in going]), historical=historical)
        return await self._client.post_events(going[0].body)

    def _age(self, outgoing: Outgoing) -> timedelta:
        return self._clock.now() - outgoing.transaction.occurred_at


def _late(verdict: Verdict, age: timedelta) -> Verdict:
    """The verdict, which says so when what was accepted comes too late for some of what mParticle would do with it."""
    if verdict.kind is not VerdictKind.DONE or age <= OUTPUTS_TAKE:
        return verdict
    code, title = _HISTORICAL if age > HISTORICAL_AFTER else _LATE
    return Verdict(VerdictKind.DONE, code, verdict.status, title)
