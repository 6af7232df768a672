"""Asking Antavo what a sale would earn: its calculation of campaign bonuses, which changes nothing.

===========================  ===================================================  ==================================
ours                         Antavo's                                             source
===========================  ===================================================  ==================================
the question                 `POST /extensions/automation/campaign-bonus`, with   Campaign bonus API
                             the event that the sale would become: a `checkout`
points                       `data.purchase.points`: what the purchase earns,     the same; where a programme has
                             and the campaigns' bonus                             several accounts, whose they are
                                                                                  is not documented
===========================  ===================================================  ==================================

The call belongs to a module of the workspace. Where it is not switched on, or closed to our address alone, nobody can
tell, and that says nothing of our credentials: they are good for everything else.
"""

from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.customers import amount_of
from agent.connectors.antavo.errors import error_in, raise_unless_answered
from agent.connectors.antavo.lookup import AntavoLookup
from agent.connectors.antavo.mapping import Customer, render_preview
from agent.connectors.antavo.settings import AntavoSettings
from agent.domain.earning import Forecast
from agent.domain.transaction import IntegrationKey, Transaction
from agent.errors import VendorUnreachableError
from agent.ports import Pace

_OK = 200
_WITHOUT_IT = (403, 404, 405)
_UNKNOWN_CUSTOMER = 160212


class AntavoPreview:
    """Previews of points.

    Args:
        client: the workspace.
        settings: the table.
        lookup: finds the id of a customer.
    """

    def __init__(self, client: AntavoClient, settings: AntavoSettings, lookup: AntavoLookup) -> None:
        self._client, self._settings, self._lookup = client, settings, lookup

    async def points(self, key: IntegrationKey, sale: Transaction, *, timeout_s: float, pace: Pace) -> Forecast:
        """What the sale would earn. Raises VendorUnreachableError, VendorRefusedError."""
        customer = await self._lookup.customer_of(key, timeout_s=timeout_s, pace=pace)
        if customer is None:
            return Forecast(None, member=False)
        await pace()
        body = render_preview(sale, Customer(customer), self._settings)
        answer = await self._client.campaign_bonus(body, timeout_s=timeout_s)
        if answer.status not in _WITHOUT_IT:
            raise_unless_answered(answer)
        try:
            told = answer.json()
        except VendorUnreachableError:  # a page that says that there is no such call
            return Forecast(None)
        error = error_in(told)
        if error is not None and error.code == _UNKNOWN_CUSTOMER:
            return Forecast(None, member=False)
        if error is not None or answer.status != _OK:
            return Forecast(None)
        data = told.get("data")
        purchase = data.get("purchase") if isinstance(data, dict) else None
        points = amount_of(purchase.get("points")) if isinstance(purchase, dict) else None
        if points is None:
            raise VendorUnreachableError("answers a preview without points")
        return Forecast(points)
