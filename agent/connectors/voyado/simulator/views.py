"""How Engage writes its records as JSON; absent attributes are null, never missing."""

from datetime import datetime
from typing import Any

from agent.connectors.voyado.simulator.faults import Faults
from agent.connectors.voyado.simulator.receipts import Posted
from agent.connectors.voyado.simulator.records import STANDARD_ATTRIBUTES, Contact
from agent.connectors.voyado.simulator.rewards import Account, Rewards, Voucher
from agent.connectors.voyado.simulator.state import State


def page(items: list[Any], query: dict[str, str], **envelope: Any) -> dict[str, Any]:
    """One page of a list by `offset` (0) and `count` (100)."""
    offset, count = _integer(query.get("offset"), 0), _integer(query.get("count"), 100)
    shown = items[offset : offset + count]
    return {**envelope, "items": shown, "totalCount": len(items), "offset": offset, "count": len(shown)}


def contact(person: Contact, state: State, faults: Faults) -> dict[str, Any]:
    """The answer of `/contacts/{contactId}`, with its own spelling of the preferences."""
    return {
        "id": faults.guid(person.contact_id),
        "attributes": _attributes(person, state, faults),
        "meta": _meta(person),
        "preferences": {
            "AcceptsEmails": person.preferences.get("acceptsEmail", False),
            "AcceptsPostals": person.preferences.get("acceptsPostal", False),
            "AcceptsSms": person.preferences.get("acceptsSms", False),
        },
        "consents": person.consents,
    }


def overview(
    person: Contact,
    state: State,
    faults: Faults,
    rewards: Rewards,
    *,
    version: str,
    last_purchase: str | None,
) -> dict[str, Any]:
    """The answer of `/contactoverview`; only v2 carries the points."""
    attributes = {
        **_attributes(person, state, faults),
        "currentStore": _store_reference(state, person.attributes.get("store")),
        "lastOrderDate": last_purchase,
        "lang": "sv-SE",
        "discoveryKey": None,
        "secrecyMarked": bool(person.attributes.get("secrecyMarked")),
    }
    if version == "v2":
        attributes["bonusPoints"] = rewards.account(person.contact_id).balance
    return {
        "id": faults.guid(person.contact_id),
        "attributes": attributes,
        "meta": {**_meta(person), "recruitedByStore": _store_reference(state, person.attributes.get("createdInStore"))},
        "preferences": {
            name: person.preferences.get(name, False) for name in ("acceptsEmail", "acceptsPostal", "acceptsSms")
        },
        "consents": person.consents,
        "warnings": [],
        "audiences": [],
        "bonusChecks": [bonus_check(row, state) for row in rewards.vouchers.get(person.contact_id, ())],
        "promotions": rewards.promotions.get(person.contact_id, []),
    }


def transaction(posted: Posted, place: int, state: State) -> dict[str, Any]:
    """One imported receipt in a contact's purchase history, where it has that place."""
    receipt = posted.receipt()
    store = state.stores[receipt["storeExternalId"]]
    return {
        "id": f"{posted.contact_id}/{place}",
        "transactionNumber": receipt.get("receiptNumber"),
        "createdDate": receipt["createdDate"],
        "storeName": store["name"],
        "storeType": store["type"],
        "numberOfItems": sum(item["quantity"] for item in receipt["items"]),
        "netPriceSum": receipt["totalGrossPrice"] * (receipt.get("exchangeRateToGroupCurrency") or 1.0),
        "localNetPriceSum": receipt["totalGrossPrice"],
        "localCurrency": receipt["currency"],
        "groupCurrency": state.settings.currency,
        "externalId": posted.receipt_id,
        "lineItems": receipt["items"],
    }


def account_v2(account: Account) -> dict[str, Any]:
    """A point account with the integer ids of v2."""
    return {
        "id": account.number,
        "contactId": account.contact_id,
        "definitionId": 1,
        "balance": account.balance,
        "balanceExpires": None,
        "pendingPoints": account.pending,
        "links": [],
    }


def account_v3(account: Account, state: State) -> dict[str, Any]:
    """A point account with the GUIDs of v3."""
    return {
        "id": account.account_id,
        "contactId": account.contact_id,
        "definitionId": state.point_definition_id,
        "balance": account.balance,
        "balanceExpires": None,
        "pendingPoints": account.pending,
        "links": [],
    }


def reward_voucher(voucher: Voucher, state: State) -> dict[str, Any]:
    """A voucher as v3 names its members."""
    money = {"currency": state.settings.currency, "amount": voucher.amount}
    return {
        "id": voucher.voucher_id,
        "voucherNumber": voucher.check_number,
        "name": voucher.name,
        "value": money,
        "localValues": [money],
        "points": voucher.points,
        "expiresOn": _moment(voucher.expires_at),
        "redeemed": voucher.redeemed_at is not None,
        "redeemedOn": _moment(voucher.redeemed_at) if voucher.redeemed_at is not None else None,
    }


def bonus_check(voucher: Voucher, state: State) -> dict[str, Any]:
    """The same voucher as v2 names its members."""
    renamed = {"voucherNumber": "checkNumber", "points": "bonusPoints"}
    return {renamed.get(name, name): value for name, value in reward_voucher(voucher, state).items()}


def _attributes(person: Contact, state: State, faults: Faults) -> dict[str, Any]:
    known = (*STANDARD_ATTRIBUTES, *state.settings.custom_attributes)
    attributes = {name: person.attributes.get(name) for name in known}
    if attributes["mobilePhone"]:
        attributes["mobilePhone"] = faults.phone(attributes["mobilePhone"])
    return attributes


def _meta(person: Contact) -> dict[str, Any]:
    return {
        "contactType": person.contact_type,
        "createdOn": _moment(person.created_at),
        "modifiedOn": _moment(person.modified_at),
        "sourceType": person.source,
        "approved": person.approved,
    }


def _store_reference(state: State, external_id: str | None) -> dict[str, Any] | None:
    if external_id is None:
        return None
    name = state.stores[external_id]["name"] if external_id in state.stores else external_id
    return {"id": external_id, "name": name, "externalId": external_id}


def _moment(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds")


def _integer(text: str | None, default: int) -> int:
    return max(0, int(text)) if text is not None and text.isascii() and text.isdigit() else default
