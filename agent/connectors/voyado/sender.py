"""Taking sales to Voyado: one receipt a call; there is no batch endpoint."""

from collections.abc import Sequence
from datetime import tzinfo

from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.errors import verdict_of, verdict_without_answer
from agent.connectors.voyado.mapping import render_receipt
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.transaction import TransactionType
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Outgoing


class VoyadoSender:
    """Sends receipts.

    Args:
        client: the tenant.
        contact_type: the tenant's type of members.
        zone: the store's time zone.
    """

    batch_size = 1

    def __init__(self, client: VoyadoClient, *, contact_type: str, zone: tzinfo) -> None:
        self._client, self._contact_type, self._zone = client, contact_type, zone

    async def send(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        """A verdict for each sale; ``done`` means queued at Voyado, not yet matched."""
        return [await self._send(outgoing) for outgoing in batch]

    async def _send(self, outgoing: Outgoing) -> Verdict:
        sale = outgoing.transaction
        # Whose a sale that is gone was is mostly gone with it: that its lines are is what a person needs to hear.
        if sale.type is TransactionType.VOID and not sale.lines and outgoing.original is None:
            return Verdict(VerdictKind.PARK, "sale.without_lines", title="The sale that this void clears is gone.")
        if outgoing.key is None:
            return Verdict(VerdictKind.PARK, "sale.without_member", title="The sale names nobody Voyado could match.")
        body = render_receipt(
            sale,
            outgoing.key,
            original=outgoing.original,
            contact_type=self._contact_type,
            zone=self._zone,
            corrected_at=outgoing.corrected_at,
        )
        try:
            return verdict_of(await self._client.post_receipt(body))
        except VendorUnreachableError as error:
            return verdict_without_answer(error)
        except VendorRefusedError as error:
            return Verdict(VerdictKind.HOLD, "vendor.credentials_missing", title=str(error), not_received=True)
