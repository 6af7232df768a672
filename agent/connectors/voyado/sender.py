"""Taking sales to Voyado: one receipt a call; there is no batch endpoint."""

from __future__ import annotations

from datetime import tzinfo

from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.errors import verdict_of, verdict_without_answer
from agent.connectors.voyado.mapping import render_receipt
from agent.domain.delivery import Verdict, VerdictKind
from agent.errors import ConfigurationError, VendorUnreachableError
from agent.ports import Outgoing


class VoyadoSender:
    """Sends receipts.

    Args:
        client: the tenant.
        contact_type: the tenant's type of members.
        zone: the store's time zone.
    """

    def __init__(self, client: VoyadoClient, *, contact_type: str, zone: tzinfo) -> None:
        self._client, self._contact_type, self._zone = client, contact_type, zone

    async def send(self, outgoing: Outgoing) -> Verdict:
        """One sale, one verdict; ``done`` means queued at Voyado, not yet matched."""
        if outgoing.key is None:
            return Verdict(VerdictKind.PARK, "sale.without_member", title="The sale names nobody Voyado could match.")
        body = render_receipt(
            outgoing.transaction,
            outgoing.key,
            original=outgoing.original,
            contact_type=self._contact_type,
            zone=self._zone,
        )
        try:
            return verdict_of(await self._client.post_receipt(body))
        except VendorUnreachableError as error:
            return verdict_without_answer(error)
        except ConfigurationError:
            return Verdict(
                VerdictKind.HOLD, "vendor.credentials_missing", title="The API key cannot be read.", not_received=True
            )
