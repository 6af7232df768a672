"""Taking sales and activities to mParticle: one by `/events`, several by `/bulkevents`, old ones as historical.

A sale alone goes by `/events`, where a refusal says which sale is meant. Whatever they travel in, sales keep their
`source_request_id`, so that nothing counts twice.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from agent.connectors.mparticle.activities import render_activity
from agent.connectors.mparticle.batching import MAX_BATCH_BYTES, MAX_BATCHES, cut, join
from agent.connectors.mparticle.client import MparticleClient
from agent.connectors.mparticle.errors import verdict_of, verdict_without_answer
from agent.connectors.mparticle.mapping import HISTORICAL_AFTER, OUTPUTS_TAKE, Batch, render_batch
from agent.connectors.mparticle.opendsr import OpenDsr
from agent.connectors.mparticle.settings import MparticleSettings
from agent.domain.activity import Activity, MemberEvent
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import TransactionType
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, Outgoing
from agent.transport import Answer

DEDUPLICATES_FOR = timedelta(days=30)
"""How long mParticle knows a `source_request_id` at least; it says 30 to 60 days."""

_NOTHING = Verdict(VerdictKind.PARK, "sale.without_member", title="Of a guest, the profile sends nothing of this sale.")
_NOBODYS = Verdict(
    VerdictKind.PARK, "activity.without_member", title="Nothing that may be sent names the member of this activity."
)
_GONE = Verdict(VerdictKind.PARK, "sale.without_lines", title="The sale that this void clears is gone.")
_TOO_LARGE = Verdict(VerdictKind.PARK, "sale.too_large", title="The sale has more lines than the vendor takes.")
_TOO_LATE = Verdict(
    VerdictKind.IN_DOUBT,
    "sale.window_closed",
    title="It may have arrived, and the vendor would no longer recognise it as the same sale.",
)
_LATE = ("late", "Accepted more than 24 hours after it happened: outputs may not get it.")
_HISTORICAL = ("historical", "Accepted more than 30 days after it happened: no output gets it.")
_ELSEWHERE = Verdict(VerdictKind.SPLIT)
_NO_OPENDSR = Verdict(
    VerdictKind.RETRY,
    "erasure.credentials_missing",
    title="The configuration has no credentials for erasure requests any more.",
    awaits=True,
    not_received=True,
)


class MparticleSender:
    """Sends sales and activities.

    Args:
        client: the input.
        settings: the table.
        primary: the type of the primary integration key.
        clock: tells how old a sale is.
        opendsr: files erasure requests; None where the table has no credentials for it.
    """

    batch_size = MAX_BATCHES

    def __init__(
        self,
        client: MparticleClient,
        settings: MparticleSettings,
        *,
        primary: IdentifierType,
        clock: Clock,
        opendsr: OpenDsr | None = None,
    ) -> None:
        self._client, self._settings, self._primary, self._clock = client, settings, primary, clock
        self._opendsr = opendsr

    async def send(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        """A verdict for each; ``done`` means accepted by mParticle, not yet processed.

        One request is made, of as many as go together in it; the others are split off. A request for erasure goes
        alone, to another host.
        """
        first = batch[0]
        if _is_erasure(first):
            return [await self._erase(first), *[_ELSEWHERE] * (len(batch) - 1)]
        ready: list[tuple[int, Batch]] = []
        verdicts: dict[int, Verdict] = {}
        for place, outgoing in enumerate(batch):
            if _is_erasure(outgoing):
                continue
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
            verdicts |= {place: self._late(verdict, batch[place]) for place, _ in going}
        return [verdicts.get(place, _ELSEWHERE) for place in range(len(batch))]

    async def _erase(self, outgoing: Outgoing) -> Verdict:
        if self._opendsr is None or not isinstance(outgoing.record, Activity):
            return _NO_OPENDSR
        return await self._opendsr.file(outgoing, outgoing.record)

    def _render(self, outgoing: Outgoing) -> Batch | Verdict:
        record, now = outgoing.record, self._clock.now()
        if record.type is TransactionType.VOID and not record.lines and outgoing.original is None:
            return _GONE
        if outgoing.maybe_received and _is_forgotten(outgoing, now):
            return _TOO_LATE
        if isinstance(record, Activity):
            rendered = render_activity(outgoing, record, self._settings, primary=self._primary, now=now)
        else:
            rendered = render_batch(outgoing, self._settings, primary=self._primary, now=now)
        if not rendered.events:
            return _NOBODYS if isinstance(record, Activity) else _NOTHING
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

    def _late(self, verdict: Verdict, outgoing: Outgoing) -> Verdict:
        """The verdict, which says so when what was accepted comes too late for some of what mParticle would do."""
        age = self._clock.now() - outgoing.record.occurred_at
        if verdict.kind is not VerdictKind.DONE or age <= OUTPUTS_TAKE:
            return verdict
        code, title = _HISTORICAL if age > HISTORICAL_AFTER else _LATE
        kind = "activity" if isinstance(outgoing.record, Activity) else "sale"
        return replace(verdict, code=f"{kind}.{code}", title=title)


def _is_forgotten(outgoing: Outgoing, now: datetime) -> bool:
    """Whether mParticle might count again what may have arrived.

    Its memory is over; or the call is another one by now, of which nobody says that it shares that memory.
    """
    old_by_now, was_old = (at - outgoing.record.occurred_at > HISTORICAL_AFTER for at in (now, outgoing.accepted_at))
    return now - outgoing.accepted_at > DEDUPLICATES_FOR or (old_by_now and not was_old)


def _is_erasure(outgoing: Outgoing) -> bool:
    return outgoing.record.type is MemberEvent.ERASURE
