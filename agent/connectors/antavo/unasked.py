"""The events of a sale where Antavo cannot be asked anything: by what is known here alone, the same each time. Pure.

So it is with a client's credentials, which take events and answer nothing else, and with files, which answer nothing.
"""

from __future__ import annotations

from dataclasses import replace

from agent.connectors.antavo.mapping import Customer, Event, is_void, render_opt_in, render_sale, render_void
from agent.connectors.antavo.people import AntavoKeys
from agent.connectors.antavo.sendable import unsendable
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.antavo.telling import NOT_WANTED
from agent.domain.activity import Activity
from agent.domain.delivery import Verdict, VerdictKind
from agent.ports import Outgoing

_CANNOT_ASK = Verdict(
    VerdictKind.PARK, "contact.unresolved", not_received=True,
    title="Who this is would have to be asked, and nobody can be: sales go under the customer's own id.",
)  # fmt: skip


def events_unasked(outgoing: Outgoing, keys: AntavoKeys, settings: AntavoSettings) -> list[Event] | Verdict:
    """The events that a sale makes, in their order; a verdict where there can be none.

    Args:
        outgoing: the sale.
        keys: whose it is.
        settings: the workspace's table.
    """
    if isinstance(outgoing.record, Activity):  # it waits since the workspace could be asked
        return NOT_WANTED
    outgoing = replace(outgoing, spent=None)  # points that a till redeemed are another system's
    refused = unsendable(outgoing)
    if refused is not None:
        return refused
    key = keys.key_of(outgoing)
    customer = key if isinstance(key, Verdict) else keys.known(key) or _CANNOT_ASK
    if isinstance(customer, Verdict):
        return customer
    sale = outgoing.transaction
    if is_void(sale):  # whether its checkout was accepted cannot be asked: the vendor refuses what is too early
        return [render_void(sale, customer, pending=False)]
    return [*_opt_in(outgoing, customer, settings), *render_sale(outgoing, customer, settings)]


def _opt_in(outgoing: Outgoing, customer: Customer, settings: AntavoSettings) -> list[Event]:
    sale = outgoing.transaction
    buys = any(line.kind == "purchase" for line in sale.lines)
    wanted = buys and settings.opt_in_new_contacts and not customer.external_id
    return [render_opt_in(sale.new_contact, customer, settings)] if wanted and sale.new_contact else []
