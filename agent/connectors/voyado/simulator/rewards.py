"""Points, vouchers and promotions of the tenant's contacts, as far as a till reads and redeems them."""

import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from agent.connectors.voyado.simulator.refusal import Refusal
from agent.connectors.voyado.simulator.state import State

_VOUCHER_LIFE = timedelta(days=365)
_FIRST_CHECK_NUMBER = 204_417
_REACTIVATIONS = 3
_CHANNELS = ("POS", "ECOM", "OTHER")
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(kw_only=True)
class Account:
    """The point account of one contact; v2 knows it by `number`, v3 by `account_id`."""

    account_id: str
    number: int
    contact_id: str
    balance: int = 0
    pending: int = 0
    transactions: list[dict[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class Voucher:
    """A reward voucher ("bonus check"); `check_number` has leading zeros, `redeemed_at` is None while it is good."""

    voucher_id: str
    check_number: str
    contact_id: str
    amount: float
    name: str
    points: int
    issued_at: datetime
    expires_at: datetime
    redeemed_at: datetime | None = None
    reactivations: int = 0


class Rewards:
    """The tenant's loyalty books.

    Args:
        state: The tenant's memory.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.accounts: dict[str, Account] = {}
        self.vouchers: dict[str, list[Voucher]] = {}
        self.unexported: list[Voucher] = []
        self.promotions: dict[str, list[dict[str, Any]]] = {}
        self._issued = 0

    def account(self, contact_id: str) -> Account:
        """The contact's point account, opened when there is none."""
        account = self.accounts.get(contact_id)
        if account is None:
            number = len(self.accounts) + 1
            account = Account(account_id=self._state.new_id(), number=number, contact_id=contact_id)
            self.accounts[contact_id] = account
        return account

    def book_receipt(self, contact_id: str, receipt: dict[str, Any]) -> None:
        """Award the points of a receipt, or take back those of a return; each full threshold becomes a voucher."""
        settings = self._state.settings
        awarding = sum(
            -item["grossPaidPrice"] if item["type"] == "RETURN" else item["grossPaidPrice"]
            for item in receipt["items"]
            if item.get("awardsBonus") is not False
        )
        rate = receipt.get("exchangeRateToGroupCurrency") or 1.0
        # The tiny addend keeps 0.1 + 0.2 style sums of exact prices from falling below a whole point.
        amount = math.floor(abs(awarding) * rate * settings.points_per_unit + 1e-9)
        if not amount:
            return
        account = self.account(contact_id)
        if awarding > 0:
            self._book(account, amount, "Addition", "Purchase", receipt["uniqueReceiptId"])
        else:
            self._book(account, -amount, "Deduction", "Return", receipt["uniqueReceiptId"])
        threshold = settings.voucher_threshold
        while threshold and account.balance >= threshold:
            voucher = self.issue_voucher(contact_id, points=threshold)
            self._book(account, -threshold, "Deduction", "RewardVoucher", voucher.check_number)

    def assign_promotion(self, contact_id: str, promotion: dict[str, Any]) -> dict[str, Any]:
        """Give a contact an instance of a promotion; what the caller does not say takes a plain default."""
        expires_at = self._state.clock.now() + timedelta(days=30)
        assigned = {
            "id": self._state.new_id(),
            "promotionId": self._state.new_id(),
            "externalId": None,
            "type": "Multichannel",
            "name": "Member offer",
            "expiresOn": expires_at.isoformat(timespec="seconds"),
            "heading": "Member offer",
            "description": None,
            "redeemed": False,
            "redeemedOn": None,
            "imageUrl": None,
            "link": None,
            "redemptionChannels": [
                {"type": "POS", "valueType": "PERCENT", "value": 10, "localValues": [], "instruction": None},
            ],
            **promotion,
        }
        self.promotions.setdefault(contact_id, []).append(assigned)
        return assigned

    def redeem_voucher(self, voucher_id: str, contact_id: str | None = None) -> Voucher:
        """Use a voucher up; in v2 it has to be that contact's. Raises Refusal."""
        voucher = self._voucher(voucher_id, contact_id)
        if voucher.redeemed_at is not None:
            raise Refusal(409, "RewardVoucherAlreadyRedeemed")
        if voucher.expires_at <= self._state.clock.now():
            raise Refusal(409, "RewardVoucherExpired")
        voucher.redeemed_at = self._state.clock.now()
        return voucher

    def reactivate_voucher(self, voucher_id: str) -> Voucher:
        """Make a redeemed voucher good again, three times at most. Raises Refusal."""
        voucher = self._voucher(voucher_id)
        if voucher.redeemed_at is None:
            raise Refusal(409, "RewardVoucherAlreadyActivated")
        if voucher.expires_at <= self._state.clock.now():
            raise Refusal(409, "RewardVoucherExpired")
        if voucher.reactivations >= _REACTIVATIONS:
            raise Refusal(409, "RewardVoucherReactivationLimitReached")
        voucher.redeemed_at = None
        voucher.reactivations += 1
        return voucher

    def redeem_promotion(self, instance_id: str, channel: object, contact_id: str | None = None) -> dict[str, Any]:
        """Use up an instance of a promotion; in v2's contact form it has to be that contact's. Raises Refusal."""
        if channel not in _CHANNELS:
            raise Refusal(400, "NotAValidRedemptionChannel")
        owned = ((owner, one) for owner, held in self.promotions.items() for one in held if one["id"] == instance_id)
        owner, promotion = next(owned, (None, None))
        if promotion is None:
            raise Refusal(404, "PromotionNotFound")
        if contact_id is not None and owner != contact_id:
            raise Refusal(404, "PromotionNotAssociatedWithContact")
        if promotion["redeemed"]:
            raise Refusal(409, "PromotionAlreadyRedeemed")
        if all(row["type"] != channel for row in promotion["redemptionChannels"]):
            raise Refusal(409, "PromotionNotValidForRedemptionChannel")
        if datetime.fromisoformat(promotion["expiresOn"]) <= self._state.clock.now():
            raise Refusal(409, "PromotionExpired")
        promotion |= {"redeemed": True, "redeemedOn": self._state.clock.now().isoformat(timespec="seconds")}
        return promotion

    def _voucher(self, voucher_id: str, contact_id: str | None = None) -> Voucher:
        if not _GUID.fullmatch(voucher_id):
            raise Refusal(400, "InvalidRewardVoucherId")
        for owner, held in self.vouchers.items():
            for voucher in held:
                if voucher.voucher_id == voucher_id and contact_id in (None, owner):
                    return voucher
        raise Refusal(404, "RewardVoucherNotFound")

    def _book(self, account: Account, amount: int, kind: str, source: str, description: str) -> None:
        at = self._state.clock.now().isoformat(timespec="seconds")
        account.balance += amount
        account.transactions.append(
            {
                "id": self._state.new_id(),
                "accountId": account.account_id,
                "description": description,
                "source": source,
                "amount": amount,
                "type": kind,
                "transactionDate": at,
                "createdOn": at,
                "modifiedOn": at,
                "validFrom": at,
                "validTo": None,
                "retailTransactionLineItemId": None,
            },
        )

    def issue_voucher(
        self,
        contact_id: str,
        *,
        points: int = 0,
        amount: float | None = None,
        name: str = "Bonus voucher",
        expires_at: datetime | None = None,
    ) -> Voucher:
        """Give a contact a voucher, worth what the tenant's are worth and good for a year unless it is said."""
        now = self._state.clock.now()
        voucher = Voucher(
            voucher_id=self._state.new_id(),
            check_number=f"{_FIRST_CHECK_NUMBER + self._issued:013d}",
            contact_id=contact_id,
            amount=self._state.settings.voucher_value if amount is None else amount,
            name=name,
            points=points,
            issued_at=now,
            expires_at=expires_at or now + _VOUCHER_LIFE,
        )
        self._issued += 1
        self.vouchers.setdefault(contact_id, []).append(voucher)
        self.unexported.append(voucher)
        return voucher
