"""What each vendor answers to each call, as its documentation has it, written from that and not from a simulator."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NUMBER, PHONE, MAIL = "10000421", "+46701740605", "alma@example.com"
SALE, EARLIER = "1042-03-1", "1042-03-0"


@dataclass(frozen=True, slots=True, eq=False)
class Documented:
    """One call's answer: by its method and what its path begins with, the first that fits."""

    method: str
    path: str
    status: int
    body: Any

    def fits(self, method: str, path: str) -> bool:
        return method == self.method and re.match(self.path, path) is not None


_ANTAVO_CUSTOMER = {
    "id": "c-1", "first_name": "Alma", "status": "active", "score": 900, "spent": 100, "expired": 0, "reserved": 0,
    "spendable": 800, "pending": 20, "membership_id": [NUMBER], "mobile_phone": PHONE, "email": MAIL,
    "updated_at": 1_760_000_000, "external_ids": {"crm": "e-1"}, "tiers": [{"id": "t", "name": "Gold"}],
    "properties": {"shoes": "38"},
}  # fmt: skip
_ANTAVO_REWARD = {
    "id": "1", "title": "Mug", "status": "active", "points": 100, "type": "physical", "stores": [],
    "instructions": "A mug", "_actions": {"complete": {"method": "POST", "url": "/x"}},
}  # fmt: skip
_COUPON = {
    "code": "1", "status": "claimed", "type": "amount", "value": 50, "currency": "SEK", "name": "Bonus",
    "expires_at": "2027-01-01", "redeemed_at": None,
}  # fmt: skip
_VOUCHER = {
    "id": "v_1", "code": "CODE-1", "type": "DISCOUNT_VOUCHER", "campaign": "Bonus", "campaign_id": "camp_1",
    "discount": {"type": "AMOUNT", "amount_off": 5000}, "expiration_date": "2027-01-01T00:00:00.000Z", "active": True,
    "redemption": {"quantity": 1, "redeemed_quantity": 0},
}  # fmt: skip
_CARD = {
    "id": "v_2", "code": "LC-1", "type": "LOYALTY_CARD", "campaign": "Club", "campaign_id": "camp_2",
    "loyalty_card": {"points": 240, "balance": 240, "pending_points": 5},
}  # fmt: skip
_HELD = [
    {
        "id": "hold_1", "holder_role": "OWNER", "customer_id": "cust_1", "campaign_id": "camp_1",
        "redeemable": {"type": "voucher", "status": "ACTIVE", "voucher": voucher},
    }
    for voucher in (_VOUCHER, _CARD)
]  # fmt: skip
_VOUCHERIFY_CUSTOMER = {
    "id": "cust_1", "source_id": NUMBER, "name": "Alma", "email": MAIL, "phone": PHONE, "object": "customer",
    "created_at": "2026-01-01T10:00:00.000Z", "updated_at": None, "loyalty": {"points": 240},
    "address": {"city": "Stockholm"}, "metadata": {"shoe_size": 38},
}  # fmt: skip
_ITEM = {
    "source_id": "SK-77", "related_object": "product", "quantity": 2, "price": 12500, "amount": 25000,
    "product": {"name": "Wool socks"},
}  # fmt: skip
_ORDER = {
    "object": "order", "id": "ord_0001", "source_id": EARLIER, "status": "PAID", "amount": 25000, "items": [_ITEM],
    "customer_id": "cust_1", "customer": {"id": "cust_1", "object": "customer"}, "metadata": {"store_id": "1042"},
    "created_at": "2026-02-14T15:41:09.000Z", "updated_at": None,
}  # fmt: skip
_REDEMPTION = {
    "object": "redemption", "id": "r_1", "customer_id": "cust_1", "result": "SUCCESS", "status": "SUCCEEDED",
    "date": "2026-02-14T15:41:09.000Z", "related_object_type": "voucher", "related_object_id": "v_1",
    "voucher": {"id": "v_1", "code": "CODE-1"},
}  # fmt: skip
_MONETARY_CUSTOMER = {
    "CustomerID": 101, "ExternalID": NUMBER, "Phone": "0701740605", "Email": MAIL, "FirstName": "Alma", "Points": 250,
    "AcceptsSMS": False, "AcceptsEmail": True,
}  # fmt: skip
_RECEIPT = {
    "ReceiptID": "0f6c2c526b0e4a0c9c1e0f6c2c526b0e", "CustomerID": 101, "Discounts": [],
    "Skus": [{"SKU": "SK-77", "Description": "Wool socks", "Amount": 125.00, "Quantity": 2}],
    "SubTotal": 250.00, "Taxes": 0.075, "Tip": 0, "Shipping": 0, "Total": 250.00,
}  # fmt: skip
ANSWERS: Mapping[str, Sequence[Documented]] = {
    "mparticle": (
        Documented("POST", "/events", 202, {}),
        Documented("POST", "/bulkevents", 202, {}),
    ),
    "antavo": (
        Documented(
            "POST", "/events/bulk", 200,
            {"results": [{"events": [{"id": "e", "action": "point_add", "points": 1}]}] * 3, "total": 3, "errors": 0},
        ),
        Documented("POST", "/events", 200, {**_ANTAVO_CUSTOMER, "events": [{"id": "e", "action": "checkout"}]}),
        Documented("GET", r"/customers/-/count", 200, {"active": 1}),
        Documented("GET", r"/customers/[^/?]*/coupons", 200, {"data": [_COUPON], "next": None}),
        Documented("GET", r"/customers/[^/?]*/activities/rewards\?", 200, {"data": [_ANTAVO_REWARD], "next": None}),
        Documented("GET", r"/customers/[^/?]*/activities/rewards/", 200, _ANTAVO_REWARD),
        Documented("POST", r"/customers/[^/?]*/activities/rewards/.*/claim", 200, {"id": "claim-1", "spent": 100}),
        Documented("POST", r"/customers/[^/?]*/activities/rewards/.*/revoke", 200, {}),
        Documented(
            "GET", r"/customers/[^/?]*/events", 200,
            {"data": [{"id": "claim-1", "action": "reward", "timestamp": 1_760_000_000,
                       "properties": [{"name": "reward", "value": "1"}]}], "next": None, "total": 1},
        ),
        Documented(
            "GET", r"/customers/[^/?]*/transactions", 200,
            {"data": [{"id": SALE, "status": "accepted", "total": "250.00"}]},
        ),
        Documented("GET", r"/customers/[^?]", 200, _ANTAVO_CUSTOMER),
        Documented("GET", r"/customers\?", 200, {"data": [_ANTAVO_CUSTOMER], "next": None, "previous": None}),
        Documented("GET", "/transactions/", 200, {"id": EARLIER, "status": "accepted", "total": 250, "refunded": 0}),
        Documented(
            "POST", "/extensions/automation/campaign-bonus", 200,
            {"data": {"campaigns": [], "purchase": {"base": 250, "bonus": 0, "points": 250}}},
        ),
    ),
    "voucherify": (
        Documented("GET", r"/v1/orders\?", 200, {"object": "list", "data_ref": "orders", "orders": [_ORDER]}),
        Documented("GET", f"/v1/orders/{SALE}", 200, {**_ORDER, "source_id": SALE}),
        Documented("GET", "/v1/orders/", 200, _ORDER),
        Documented("PUT", "/v1/orders/", 200, {**_ORDER, "status": "CANCELED"}),
        Documented("POST", "/v1/orders", 200, {**_ORDER, "source_id": SALE}),
        Documented("POST", "/v1/events", 200, {"object": "event", "type": "pos_purchase", "customer": {}}),
        Documented("POST", "/v1/customers", 200, _VOUCHERIFY_CUSTOMER),
        Documented(
            "GET", r"/v1/customers/[^/?]*/redeemables", 200,
            {"object": "list", "data_ref": "data", "data": _HELD, "total": 2, "has_more": False},
        ),
        Documented("GET", r"/v1/customers/[^?]", 200, _VOUCHERIFY_CUSTOMER),
        Documented(
            "GET", r"/v1/customers\?", 200,
            {"object": "list", "data_ref": "customers", "customers": [_VOUCHERIFY_CUSTOMER], "has_more": False},
        ),
        Documented(
            "GET", "/v1/vouchers/", 200,
            {"object": "list", "data_ref": "redemption_entries", "quantity": 1, "redeemed_quantity": 1, "total": 1,
             "redemption_entries": [_REDEMPTION]},
        ),
        Documented(
            "POST", r"/v1/redemptions/[^/]*/rollback", 200, {**_REDEMPTION, "object": "redemption_rollback", "id": "rr"}
        ),
        Documented("POST", "/v1/redemptions", 200, {"redemptions": [_REDEMPTION], "order": None}),
        Documented(
            "GET", r"/v1/loyalties/members/[^/]*/transactions", 200,
            {"object": "list", "data_ref": "data", "has_more": False, "data": [
                {"id": "vtx_1", "type": "POINTS_ACCRUAL", "source_id": None, "created_at": "2026-02-14T15:41:09.000Z",
                 "details": {"balance": {"points": 250}, "order": {"id": "ord_0001", "source_id": EARLIER}}},
            ]},
        ),
        Documented(
            "POST", r"/v1/loyalties/members/[^/]*/balance", 200,
            {"object": "balance", "points": -100, "total": 140, "balance": 140, "type": "loyalty_card"},
        ),
        Documented(
            "GET", "/v2/loyalties/memberships/", 200,
            {"object": "memberships_result", "memberships": [
                {"member": {"id": "lmbr_1", "status": "ACTIVE"}, "program": {"id": "lprg_1", "name": "Club"},
                 "cards": [{"id": "lcrd_1", "balance": {"points": 240, "pending_points": 5}}]},
            ]},
        ),
        Documented(
            "POST", "/v2/loyalties/examine/earning-rules", 200,
            {"object": "earnings_examine_result", "memberships": [
                {"program": {"id": "lprg_1", "name": "Club"}, "cards": [{"id": "lcrd_1", "points_estimation": 25}]},
            ]},
        ),
    ),
    "monetary": (
        Documented("GET", r"/Customers\?", 200, [_MONETARY_CUSTOMER]),
        Documented("GET", r"/Customers/\d+/Receipts", 200, [_RECEIPT]),
        Documented("GET", r"/Customers/\d+/Offers", 200, [{"OfferID": 1, "DiscountAmount": 10, "MinimumPurchase": 5}]),
        Documented("GET", r"/Customers/\d+", 200, _MONETARY_CUSTOMER),
        Documented("POST", "/Customers", 200, _MONETARY_CUSTOMER),
        Documented("POST", "/Receipts", 200, _RECEIPT),
    ),
}  # fmt: skip
