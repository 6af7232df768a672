"""Whether mParticle would take a batch: the closed key sets, the limits and what an event must have.

Sources: the published shape of the Events API's body, its JSON reference and the default service limits.
"""

import json
from typing import Any

MAX_BATCH_BYTES = 128 * 1024
MAX_ATTRIBUTES = 100
MAX_VALUE_CHARS = 4096
MISSING_TYPE = 'Required event field "event_type" is missing or empty.'


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BATCH_KEYS = _words(
    "source_request_id events device_info application_info user_attributes deleted_user_attributes user_identities "
    "environment api_key api_keys ip integration_attributes context partner_identity partner_identities source_info "
    "mp_deviceid attribution_info timestamp_unixtime_ms batch_id mpid origin_mpid sdk_version consent_state job_id"
)
_IDENTITIES = _words(
    "customer_id email mobile_number phone_number_2 phone_number_3 other facebook twitter google microsoft yahoo alias "
    "facebook_custom_audience_id"
) | {f"other_id_{number}" for number in range(2, 11)}
_EVENT_TYPES = _words(
    "session_start session_end screen_view custom_event crash_report opt_out first_run push_registration "
    "application_state_transition push_message network_performance breadcrumb profile commerce_event "
    "user_attribute_change user_identity_change uninstall"
)
_ACTIONS = _words(
    "add_to_cart remove_from_cart checkout checkout_option click view_detail purchase refund add_to_wishlist "
    "remove_from_wish_list"
)
_ACTION_KEYS = _words(
    "action checkout_step checkout_options product_action_list product_list_source transaction_id affiliation "
    "total_amount tax_amount shipping_amount coupon_code products"
)
_CUSTOM_TYPES = _words("navigation location search transaction user_content user_preference social other media")
_AMOUNTS = ("total_amount", "tax_amount", "shipping_amount")
_SCALARS = (str, int, float, bool, type(None))


class NotTaken(Exception):  # noqa: N818 - an answer of the vendor's, not an error of this program
    """A batch that mParticle refuses, with what it says of it."""


def check_batch(batch: Any) -> None:
    """Lets a batch through.

    Raises:
        NotTaken: it has another shape than is published, or is larger than is allowed.
    """
    if not isinstance(batch, dict):
        raise NotTaken("A batch is an object.")
    _closed(batch, _BATCH_KEYS, "batch")
    if batch.get("environment") not in ("production", "development"):
        raise NotTaken("environment is production or development.")
    if len(json.dumps(batch, ensure_ascii=False).encode()) > MAX_BATCH_BYTES:
        raise NotTaken("A batch is no larger than 128 KB.")
    _closed(_object(batch, "user_identities"), _IDENTITIES, "user_identities")
    _attributes(_object(batch, "user_attributes"), "user_attributes")
    for purpose in _object(_object(batch, "consent_state"), "gdpr").values():
        if not (isinstance(purpose, dict) and {"consented", "timestamp_unixtime_ms"} <= purpose.keys()):
            raise NotTaken("A consent says consented and timestamp_unixtime_ms.")
    events = batch.get("events") or []
    if not isinstance(events, list):
        raise NotTaken("events is a list.")
    for event in events:
        _check_event(event)


def _check_event(event: Any) -> None:
    if not isinstance(event, dict) or not event.get("event_type"):
        raise NotTaken(MISSING_TYPE)
    kind, data = event["event_type"], event.get("data")
    if kind not in _EVENT_TYPES or not isinstance(data, dict) or event.keys() - {"event_type", "data"}:
        raise NotTaken("An event is a known event_type and data.")
    if not isinstance(data.get("timestamp_unixtime_ms"), int | type(None)):
        raise NotTaken("timestamp_unixtime_ms is a whole number.")
    _attributes(_object(data, "custom_attributes"), "custom_attributes")
    if kind == "custom_event" and not (data.get("event_name") and data.get("custom_event_type") in _CUSTOM_TYPES):
        raise NotTaken("A custom event has an event_name and a known custom_event_type.")
    if kind == "commerce_event":
        _check_action(_object(data, "product_action"))


def _check_action(action: dict[str, Any]) -> None:
    _closed(action, _ACTION_KEYS, "product_action")
    if action.get("action") not in _ACTIONS or not isinstance(action.get("transaction_id", ""), str):
        raise NotTaken("A product action has a known action, and its transaction_id is a text.")
    products = action.get("products") or []
    rows = [action, *(product for product in products if isinstance(product, dict))]
    if len(rows) != len(products) + 1 or not all(
        isinstance(row.get(name, 0), int | float) for row in rows for name in (*_AMOUNTS, "price", "quantity")
    ):
        raise NotTaken("Amounts are numbers in major units, and products are objects.")


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name) or {}
    if not isinstance(value, dict):
        raise NotTaken(f"{name} is an object.")
    return value


def _closed(value: dict[str, Any], known: frozenset[str], name: str) -> None:
    if unknown := value.keys() - known:
        raise NotTaken(f"{name} has no {min(unknown)}.")


def _attributes(values: dict[str, Any], name: str) -> None:
    fit = all(isinstance(value, _SCALARS) and len(str(value)) <= MAX_VALUE_CHARS for value in values.values())
    if len(values) > MAX_ATTRIBUTES or not fit:
        raise NotTaken(f"{name} has at most {MAX_ATTRIBUTES} plain values of {MAX_VALUE_CHARS} characters.")
