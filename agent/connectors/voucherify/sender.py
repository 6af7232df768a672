"""Taking sales to Voucherify: as orders that have the sale's id, or as events where an earning rule waits for one.

An order is known by its `source_id`, so that sending it again makes no second one. Whether it would earn a second time
is not documented: what may have arrived is looked up first. An event is known by nothing: what may have arrived is the
configuration's to decide.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

import structlog

from agent.connectors.base import with_lost_time
from agent.connectors.voucherify.clawback import UNKNOWN as _UNKNOWN
from agent.connectors.voucherify.clawback import Clawback
from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.errors import is_missing, read_object, verdict_of, verdict_without_answer
from agent.connectors.voucherify.mapping import (
    CANCELED,
    MAX_ITEMS,
    PAID,
    InexactError,
    Rendered,
    render_event,
    render_order,
    render_status,
)
from agent.connectors.voucherify.person import Naming
from agent.connectors.voucherify.returns import (
    ExceedsError,
    claimant,
    has_returns,
    is_taken_off,
    render_claimed,
    render_taken_off,
)
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.telling import tell_contact
from agent.connectors.voucherify.values import whole
from agent.domain.activity import Activity
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import Transaction, TransactionType
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, Outgoing
from agent.transport import Answer

log = structlog.get_logger(__name__)

_PARK, _DONE = VerdictKind.PARK, VerdictKind.DONE
_SETTLED = (_DONE, VerdictKind.DUPLICATE)
_KNOWN = frozenset({PAID, CANCELED, "FULFILLED"})

_NOBODY = Verdict(_PARK, "sale.without_member", title="Nobody is named whom the vendor could know.")
_RETURN = Verdict(_PARK, "sale.return_unsupported", title="The vendor has no returns: on_return leaves it to a person.")
_NO_ORDER = Verdict(_PARK, "sale.without_original", title="A return that names no sale has no order to be taken off.")
_EVENT_STAYS = Verdict(_PARK, "sale.return_unsupported", title="An event cannot be taken back: a person has to.")
_VOID_OF_RETURN = Verdict(_PARK, "sale.return_unsupported", title="What a return took off an order stays off.")
_CLAIMED = Verdict(_PARK, "sale.has_customer", title="The vendor's order of the claimed sale is somebody's already.")
_TAKEN_BACK = Verdict(
    _PARK, "sale.taken_back", title="The order of the claimed sale is canceled, or some of it came back already."
)
_COLLISION = Verdict(
    _PARK, "sale.collision", title="The vendor's order under this id is of another amount, or somebody else's."
)
_KNOWN_BEFORE = "The vendor had an order under this id before the first attempt; it has what this sale says now."
_EXCEEDS = Verdict(_PARK, "sale.exceeds_original", title="More comes back than the vendor's order has.")
_TOO_LARGE = Verdict(_PARK, "sale.too_large", title="The sale has more lines than the vendor takes.")
_INEXACT = Verdict(_PARK, "sale.inexact", title="An amount is a fraction of the currency's smallest unit.")
_IN_DOUBT = Verdict(
    VerdictKind.IN_DOUBT,
    "sale.maybe_received",
    title="The event may have arrived, and sent again it would count twice.",
)
_STRANGE = Verdict(
    VerdictKind.RETRY, "vendor.unreadable", title="The vendor's answer has a form that is not understood.", alone=True
)
_DROPPED = Verdict(_DONE, "sale.not_repeated", title="The event may have arrived; on_doubt says not to send it again.")


class VoucherifySender:
    """Sends sales, and who joined and what changed, one by one.

    Args:
        client: the project.
        settings: the table.
        primary: the type of the primary integration key.
        clock: for pauses that the vendor states as an instant.
        owns_contacts: Voucherify owns the contacts: a sale of somebody is never sent as a guest's.
    """

    batch_size = 1

    def __init__(
        self,
        client: VoucherifyClient,
        settings: VoucherifySettings,
        *,
        primary: IdentifierType,
        clock: Clock,
        owns_contacts: bool = False,
    ) -> None:
        self._client, self._settings, self._clock = client, settings, clock
        self._naming = Naming(primary, owns_contacts)
        self._clawback = Clawback(client, settings, clock=clock)
        self._at_work_on: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def send(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        """A verdict for each sale; ``done`` means that Voucherify has the order or took the event."""
        return [await self._send(outgoing) for outgoing in batch]

    async def _send(self, outgoing: Outgoing) -> Verdict:
        try:
            return await self._attempt(outgoing)
        except VendorOwnError:  # of what was read before anything was changed
            return replace(_STRANGE, not_received=True)
        except VendorUnreachableError as error:
            return verdict_without_answer(error)
        except VendorRefusedError as error:
            return _held(error)
        except InexactError:
            return _INEXACT
        except ExceedsError:
            return _EXCEEDS

    async def _attempt(self, outgoing: Outgoing) -> Verdict:
        if isinstance(outgoing.record, Activity):
            primary, now = self._naming.primary, self._clock.now()
            return await tell_contact(
                self._client, outgoing.record, outgoing.key, self._settings, primary=primary, now=now
            )
        if self._settings.earn_with == "event":
            return await self._send_event(outgoing)
        return await self._send_order(outgoing)

    # --- orders ---------------------------------------------------------------------------------------------

    async def _send_order(self, outgoing: Outgoing) -> Verdict:
        sale = outgoing.transaction
        if sale.type is TransactionType.VOID:
            return await self._cancel(outgoing)
        rendered = render_order(outgoing, self._settings, self._naming)
        if refusal := self._refusal(outgoing, rendered):
            return refusal
        earlier = await self._change_earlier(outgoing)
        if earlier is None:
            return await self._make(outgoing, rendered)
        if earlier.kind not in _SETTLED or not rendered.items:
            return earlier
        return await self._make_after(outgoing, rendered)

    async def _make(self, outgoing: Outgoing, rendered: Rendered) -> Verdict:
        """The sale's own order. What may have arrived is asked for; a first attempt costs no question."""
        if outgoing.maybe_received and (known := await self._look_up(outgoing, rendered)):
            return known
        answer = await self._client.post_order(rendered.body)
        verdict = self._told(self._verdict(answer, outgoing.transaction.transaction_id), outgoing, rendered)
        if verdict.kind is not _DONE or outgoing.maybe_received or not read_object(answer).get("updated_at"):
            return verdict
        log.warning("sale.known_before", vendor="voucherify", transaction_id=outgoing.transaction.transaction_id)
        return replace(verdict, code="sale.known_before", title=_KNOWN_BEFORE)

    async def _make_after(self, outgoing: Outgoing, rendered: Rendered) -> Verdict:
        """The same for a sale for which an earlier order was changed already: it never counts as not received."""
        try:
            verdict = await self._make(outgoing, rendered)
        except VendorUnreachableError as error:
            verdict = verdict_without_answer(error)
        except VendorRefusedError as error:
            verdict = _held(error)
        if verdict.kind is _PARK:  # the outbox would take it for a sale of which nothing arrived
            title = f"The earlier sale's order was changed for it, and the rest was not taken: {verdict.title}"
            return replace(verdict, kind=VerdictKind.IN_DOUBT, code="sale.partly_taken", title=title)
        return replace(verdict, not_received=False)

    def _refusal(self, outgoing: Outgoing, rendered: Rendered) -> Verdict | None:
        """Why a sale is not sent, if it is not."""
        sale = outgoing.transaction
        if _brings_back(sale) and sale.original_transaction_id is None:
            return _NO_ORDER
        if _brings_back(sale) and (self._settings.on_return == "park" or sale.type is TransactionType.POINTS_CLAIM):
            return _RETURN
        if rendered.items and not rendered.has_customer and not self._may_go_without(outgoing):
            return _NOBODY
        return _TOO_LARGE if rendered.items > MAX_ITEMS else None

    def _may_go_without(self, outgoing: Outgoing) -> bool:
        """Whether a sale in which nobody is named goes as a guest's."""
        somebodys = outgoing.key is not None or outgoing.open
        return self._settings.guest_sales and not (self._naming.owns_contacts and somebodys)

    async def _look_up(self, outgoing: Outgoing, rendered: Rendered) -> Verdict | None:
        """What is known of a sale that may have arrived; None when it has not."""
        source_id = outgoing.transaction.transaction_id
        answer = await self._client.get_order(source_id)
        if is_missing(answer):
            return None
        verdict, order = self._verdict(answer, source_id), read_object(answer)
        if verdict.kind is not _DONE:
            return verdict
        status = order.get("status")
        if not isinstance(status, str | None):
            return replace(_STRANGE, status=verdict.status)
        if status not in _KNOWN:
            return None
        if _is_another(order, rendered):
            return replace(_COLLISION, status=verdict.status)
        return replace(verdict, kind=VerdictKind.DUPLICATE)

    async def _cancel(self, outgoing: Outgoing) -> Verdict:
        """Cancels the order of the sale that a void clears; doing it again changes nothing more."""
        if outgoing.original is not None and _brings_back(outgoing.original):
            return _VOID_OF_RETURN
        source_id = outgoing.transaction.original_transaction_id or ""
        answer = await self._client.put_order(source_id, render_status(CANCELED))
        return _UNKNOWN if is_missing(answer) else self._verdict(answer, source_id)

    async def _change_earlier(self, outgoing: Outgoing) -> Verdict | None:
        """What came of changing the order, or the points, of the sale that this one is about; None without such a sale.

        Both are read and written by one sale at a time: what another took off in between would be lost.
        """
        sale = outgoing.transaction
        claims, source_id = sale.type is TransactionType.POINTS_CLAIM, sale.original_transaction_id
        if source_id is None or not (claims or _brings_back(sale)):
            return None
        async with self._at_work_on.setdefault(source_id, asyncio.Lock()):
            if claims:
                return await self._free(sale, source_id)
            if self._settings.on_return == "adjust_points":
                return await self._clawback.take_back(outgoing, source_id)
            return await self._take_off(sale, source_id)

    async def _take_off(self, sale: Transaction, source_id: str) -> Verdict:
        """Takes what came back off the order of its sale, once."""
        answer = await self._client.get_order(source_id)
        if is_missing(answer):
            return _UNKNOWN
        verdict = self._verdict(answer, source_id)
        if verdict.kind is not _DONE:
            return verdict
        order = read_object(answer)
        if is_taken_off(order, sale.transaction_id):
            return replace(verdict, kind=VerdictKind.DUPLICATE)
        return self._verdict(await self._client.put_order(source_id, render_taken_off(order, sale)), source_id)

    async def _free(self, claim: Transaction, source_id: str) -> Verdict | None:
        """Cancels the guest's order of a sale that is claimed: its goods would count twice. None without one."""
        answer = await self._client.get_order(source_id)
        if is_missing(answer):
            return None
        verdict = self._verdict(answer, source_id)
        if verdict.kind is not _DONE:
            return verdict
        order = read_object(answer)
        if claimant(order) == claim.transaction_id:
            return replace(verdict, kind=VerdictKind.DUPLICATE)
        if claimant(order) or order.get("customer") or order.get("customer_id"):
            return _CLAIMED
        if order.get("status") == CANCELED or has_returns(order):
            return _TAKEN_BACK
        written = await self._client.put_order(source_id, render_claimed(order, claim.transaction_id))
        return self._verdict(written, source_id)

    def _verdict(self, answer: Answer, source_id: str) -> Verdict:
        """What an answer means that is to be about one order: of another one it says nothing."""
        verdict = verdict_of(answer, "order", now=self._clock.now())
        if verdict.kind is _DONE and read_object(answer).get("source_id") not in (None, source_id):
            return replace(_STRANGE, status=verdict.status)
        return verdict

    # --- events ---------------------------------------------------------------------------------------------

    async def _send_event(self, outgoing: Outgoing) -> Verdict:
        sale, on_doubt = outgoing.transaction, self._settings.on_doubt
        if sale.type is TransactionType.VOID or _brings_back(sale):
            return _EVENT_STAYS
        rendered = render_event(outgoing, self._settings, self._naming)
        if not rendered.has_customer:
            return _NOBODY
        if outgoing.maybe_received and on_doubt != "resend":
            return self._doubtful()
        try:
            verdict = verdict_of(await self._client.post_event(rendered.body), "event", now=self._clock.now())
        except VendorUnreachableError as error:
            verdict = verdict_without_answer(error)
        if verdict.kind is VerdictKind.RETRY and not verdict.not_received and on_doubt != "resend":
            return replace(self._doubtful(), status=verdict.status, reached=verdict.reached, after_s=verdict.after_s)
        return with_lost_time(self._told(verdict, outgoing, rendered), outgoing, self._clock.now())

    def _doubtful(self) -> Verdict:
        return _DROPPED if self._settings.on_doubt == "drop" else _IN_DOUBT

    # --- what a person is told ------------------------------------------------------------------------------

    def _told(self, verdict: Verdict, outgoing: Outgoing, rendered: Rendered) -> Verdict:
        """The verdict, which says so when what was accepted lacks something that the till had said."""
        if verdict.kind is not _DONE:
            return verdict
        if rendered.omitted:
            log.warning(
                "sale.metadata_omitted",
                vendor="voucherify",
                transaction_id=outgoing.transaction.transaction_id,
                detail=", ".join(rendered.omitted),
            )
            title = f"Accepted without what the schema has no place for: {', '.join(rendered.omitted)}."
            return replace(verdict, code="sale.metadata_omitted", title=title)
        if not rendered.has_customer and outgoing.key is not None:
            return replace(verdict, code="sale.without_customer", title="Accepted as an order without a customer.")
        return verdict


def _held(error: VendorRefusedError) -> Verdict:
    return Verdict(VerdictKind.HOLD, "vendor.credentials_missing", title=str(error), not_received=True)


def _is_another(order: Mapping[str, Any], rendered: Rendered) -> bool:
    """Whether an order under a sale's id is another sale's, as far as it says. Raises VendorOwnError."""
    amount, customer = whole(order, "amount"), order.get("customer")
    told = customer if isinstance(customer, dict) else {}
    is_anothers = any(told.get(name) not in (None, value) for name, value in rendered.customer.items())
    return is_anothers or amount not in (None, rendered.amount)


def _brings_back(sale: Transaction) -> bool:
    return any(line.kind == "return" for line in sale.lines)
