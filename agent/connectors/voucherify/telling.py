"""Telling Voucherify who joined and what changed: as the customer that it is about; how often makes no difference."""

from dataclasses import replace
from datetime import datetime

import structlog

from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.contacts import is_nameable, render_contact
from agent.connectors.voucherify.errors import verdict_of
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.domain.activity import Activity, ContactEvent
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IntegrationKey, NewContact

log = structlog.get_logger(__name__)

_NAMELESS = Verdict(
    VerdictKind.PARK, "activity.without_member", title="No key by which the vendor may know a customer names this one."
)
_NOT_WANTED = Verdict(
    VerdictKind.DONE, "contact.not_wanted", title="Nothing was sent: the configuration lets nothing of it go any more."
)


async def tell_contact(
    client: VoucherifyClient,
    activity: Activity,
    key: IntegrationKey | None,
    settings: VoucherifySettings,
    *,
    primary: IdentifierType,
    now: datetime,
) -> Verdict:
    """What came of it; ``done`` means that Voucherify has the customer.

    Args:
        client: the project.
        activity: who joined, or what changed.
        key: whose it is.
        settings: what may go along.
        primary: the type of the primary integration key.
        now: for pauses that the vendor states as an instant.

    Raises:
        VendorUnreachableError: no whole answer came.
        VendorRefusedError: there are no credentials to call with.
    """
    if key is None or not is_nameable(settings, key, primary):
        return _NAMELESS
    contact = activity.new_contact or NewContact()
    customer = render_contact(settings, ContactEvent(activity.type), contact, key)
    if customer is None:
        return _NOT_WANTED
    verdict = verdict_of(await client.post_customer(customer.body), "customer", now=now)
    if verdict.kind is not VerdictKind.DONE or not customer.omitted:
        return verdict
    left_out = ", ".join(customer.omitted)
    log.warning("contact.metadata_omitted", vendor="voucherify", detail=left_out)
    title = f"Accepted without what the schema has no place for: {left_out}."
    return replace(verdict, code="contact.metadata_omitted", title=title)
