"""Offers and campaigns of the simulated account.

Sources: the readme for campaigns and for offers being used by standing among a receipt's discounts, the example till
for their fields. That a used, foreign or expired offer is refused with 400 is the simulator's own choice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from agent.connectors.monetary.simulator.values import Refused, named, number

HOLDING = "holding"
"""The location of the key of the business that the locations belong to."""
OFFER_FIELDS = frozenset(
    ("MinimumPurchase", "DiscountAmount", "DiscountPercent", "PosCode", "PosCodeRewardDescription", "RewardSku",
     "RewardSkuDescription")
)  # fmt: skip
"""What an offer shows beside its ids, as the example till reads it."""
A_MONTH = timedelta(days=31)
_LONGEST_DAYS = 3_660


class Offers:
    """What customers have been offered.

    Attributes:
        campaigns: by CampaignID, as they are shown.
    """

    def __init__(self) -> None:
        self.campaigns: dict[int, dict[str, Any]] = {}
        self._made_by: dict[int, str] = {}
        self._offers: dict[int, dict[str, Any]] = {}
        self._until: dict[int, datetime] = {}
        self._used: set[int] = set()

    def make_campaign(self, body: Any, location: str, *, of_location: bool) -> dict[str, Any]:
        """A campaign. Raises Refused: it has another form, or it is a group's and the key is a location's."""
        if not of_location and location != HOLDING:
            raise Refused(403, "Only the holding business makes campaigns of its group.")
        stated = named(body)
        amounts = {name: float(number(stated.get(name.lower()), name)) for name in ("AmountOff", "MinimumPurchase")}
        days = stated.get("daystillexpiration")
        if not isinstance(days, int) or isinstance(days, bool) or not 0 < days <= _LONGEST_DAYS:
            raise Refused(400, "The request is invalid: DaysTillExpiration is a number of days.")
        made: dict[str, Any] = {
            "CampaignID": len(self.campaigns) + 1, **amounts, "DaysTillExpiration": days,
            "TemplateName": "manual", "IsLocationSpecific": of_location,
        }  # fmt: skip
        self.campaigns[made["CampaignID"]] = made
        self._made_by[made["CampaignID"]] = location
        return made

    def send(
        self, campaign_id: int, body: Any, *, registered: Collection[int], buyers: Callable[[str], Collection[int]],
        now: datetime,
    ) -> None:  # fmt: skip
        """Offers a campaign to customers; who is not eligible gets none, and nobody hears of it. Raises Refused."""
        campaign = self.campaigns.get(campaign_id)
        if campaign is None:
            raise Refused(404, "No campaign of this CampaignID.")
        if not isinstance(body, list) or not all(isinstance(one, int) for one in body):
            raise Refused(400, "The request is invalid: a list of CustomerIDs is expected.")
        eligible = set(registered)
        if campaign["IsLocationSpecific"]:
            eligible &= set(buyers(self._made_by[campaign_id]))
        until = now + timedelta(days=campaign["DaysTillExpiration"])
        for customer_id in (one for one in dict.fromkeys(body) if one in eligible):
            self.give(
                customer_id, until, CampaignID=campaign_id,
                DiscountAmount=campaign["AmountOff"], MinimumPurchase=campaign["MinimumPurchase"],
            )  # fmt: skip

    def give(self, customer_id: int, until: datetime, **fields: Any) -> int:
        """Offers a customer something of any kind, as no campaign does; its OfferID."""
        offer_id = len(self._offers) + 1
        own = {"OfferID": offer_id, "CustomerID": customer_id, "Code": f"OFFER{offer_id:05d}", "MinimumPurchase": 0}
        self._offers[offer_id], self._until[offer_id] = {**own, **fields}, until
        return offer_id

    def of(self, customer_id: int, now: datetime) -> list[dict[str, Any]]:
        """What a customer can still use."""
        return [offer for number_, offer in self._offers.items() if offer["CustomerID"] == customer_id
                and number_ not in self._used and now < self._until[number_]]  # fmt: skip

    def get(self, offer_id: Any) -> dict[str, Any]:
        """An offer, used or not. Raises Refused when there is none."""
        found = self._offers.get(offer_id) if isinstance(offer_id, int) else None
        if found is None:
            raise Refused(404, "No offer of this OfferID.")
        return found

    def by_code(self, code: str) -> dict[str, Any]:
        """An offer, used or not. Raises Refused when there is none."""
        found = next((offer for offer in self._offers.values() if offer["Code"] == code), None)
        if found is None:
            raise Refused(404, "No offer of this Code.")
        return found

    def use(self, wanted: Iterable[Any], customer_id: Any, location: str, spent: float, now: datetime) -> None:
        """Uses offers up, all of them or none. Raises Refused."""
        used: set[int] = set()
        for offer_id in wanted:
            offer = self.get(offer_id)
            campaign = offer.get("CampaignID")
            elsewhere = campaign is not None and self._is_of_another(campaign, location)
            gone = offer_id in self._used | used or now >= self._until[offer_id]
            if offer["CustomerID"] != customer_id or elsewhere or gone or spent < offer["MinimumPurchase"]:
                raise Refused(400, "The request is invalid: this offer cannot be used.")
            used.add(offer_id)
        self._used |= used

    def _is_of_another(self, campaign_id: int, location: str) -> bool:
        return self.campaigns[campaign_id]["IsLocationSpecific"] and self._made_by[campaign_id] != location
