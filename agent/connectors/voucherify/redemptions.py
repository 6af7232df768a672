"""Redeeming vouchers at Voucherify, and rolling redemptions back.

===========================  ===================================================  ==================================
what                         call                                                 source
===========================  ===================================================  ==================================
how a voucher stands         `GET /v1/customers/{id or source_id}/redeemables`:   customers page
                             `redemption.redeemed_quantity`
who used it up, and when     `GET /v1/vouchers/{code}/redemption`: `customer_id`  redemptions page
                             and `date` of the redemption that stands
redeem it                    `POST /v1/redemptions`, one of `redeemables`, which  redemptions page
                             is checked by it as by a validation
give it back                 `POST /v1/redemptions/{id}/rollback`                 redemptions page: up to three months
points                       `points.py`                                          loyalty pages
===========================  ===================================================  ==================================

===================================================================  ================================================
key                                                                  reason
===================================================================  ================================================
`quantity_exceeded`                                                  used
`voucher_expired`                                                    expired
`not_found`, `resource_not_found`                                    not theirs
`already_rolled_back`, to a rollback                                 it is done
`multiple_requests`                                                  none: another call about it is under way, this one
                                                                     was not carried out, and may be repeated
any other of 4xx, and of what is told not to apply                   refused, with the key
===================================================================  ================================================

A voucher that is good for one redemption is redeemed once, whatever gets lost: a second attempt draws
`quantity_exceeded`. No order goes along: the sale is one of its own, which is paid once, when it is delivered. So a
voucher whose rules ask for an order is refused here.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from agent.connectors.base import before_telling
from agent.connectors.voucherify.benefits import MAX_PAGES, Row, VoucherifyBenefits, is_single, is_word, rows
from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.errors import known_key, raise_unless_answered, read_object, vendor_key
from agent.connectors.voucherify.mapping import render_json
from agent.connectors.voucherify.points import VoucherifyPoints
from agent.domain.benefits import BenefitKind
from agent.domain.identifiers import IdentifierType
from agent.domain.redemption import Reason, Redeemable, RedemptionMode, Standing, VendorStanding, VendorWord
from agent.errors import VendorUnreachableError
from agent.ports import Clock, Pace
from agent.transport import Answer

_OK, _CLIENT_ERROR = 200, 400
_CALLED = {IdentifierType.CONTACT_ID: "id", IdentifierType.MEMBER_NUMBER: "source_id"}
_REASONS = {
    "quantity_exceeded": Reason.USED,
    "voucher_expired": Reason.EXPIRED,
    "not_found": Reason.NOT_THEIRS,
    "resource_not_found": Reason.NOT_THEIRS,
}
_UNDONE_ALREADY = "already_rolled_back"
_AT_WORK = "multiple_requests"


class VoucherifyRedemptions:
    """Redeems customers' vouchers, and has their points spent.

    Args:
        client: the project.
        benefits: lists what a customer holds.
        points: spends points; None where a repetition could not be told from a second one.
        clock: for pauses that the vendor states as an instant.
    """

    def __init__(
        self,
        client: VoucherifyClient,
        benefits: VoucherifyBenefits,
        points: VoucherifyPoints | None,
        *,
        clock: Clock,
    ) -> None:
        self._client, self._benefits, self._points, self._clock = client, benefits, points, clock
        self.modes = {BenefitKind.VOUCHER: RedemptionMode.ONCE}
        if points is not None:
            self.modes[BenefitKind.POINTS] = RedemptionMode.BY_SALE
        self.redeems = self.modes.keys()

    def spelled(self, kind: BenefitKind, id_: str) -> str:  # noqa: ARG002 - of either kind
        """As it is: large and small letters are different ones."""
        return id_

    async def standing(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorStanding:
        """How a customer's voucher stands, or a sale's points.

        A voucher that is not in their list is not theirs; used up, it says by whom and when.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        if self._points is not None and one.kind is BenefitKind.POINTS:
            return await self._points.standing(one.key, one.id, timeout_s=timeout_s, pace=pace)
        held = await self._held(one, timeout_s, pace)
        if held is None:
            return VendorStanding(Standing.ABSENT)
        if not _voucher(held)["redemption"].get("redeemed_quantity"):
            return VendorStanding(Standing.AVAILABLE)
        entries = await self._entries(held, timeout_s, pace)
        if isinstance(entries, VendorWord):
            return VendorStanding(Standing.USED)
        done = _standing(entries, held.get("customer_id"))
        return VendorStanding(Standing.USED, _date(done) if done else None, theirs=done is not None)

    async def redeem(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord:
        """Uses it up.

        Raises:
            VendorUnreachableError: where ``maybe_received`` says so, it may have been carried out all the same.
            VendorRefusedError: our credentials are refused; it was not carried out.
        """
        if self._points is not None and one.kind is BenefitKind.POINTS:
            points = one.amount or Decimal(0)
            return await self._points.spend(one.key, one.id, points, timeout_s=timeout_s, pace=pace)
        held = await before_telling(self._held(one, timeout_s, pace), timeout_s)
        if held is None:
            return VendorWord(Reason.NOT_THEIRS)
        wanted = {"object": "voucher", "id": _voucher(held)["code"]}
        body = render_json({"redeemables": [wanted], "customer": {_CALLED[one.key.type]: one.key.value}})
        await pace()
        answer = await self._client.redeem(body, timeout_s=timeout_s)
        if refusal := self._refusal(answer):
            return refusal
        return _outcome(answer)

    async def release(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord | None:
        """Gives it back; None while points may be on their way back already.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        if self._points is not None and one.kind is BenefitKind.POINTS:
            return await self._points.give_back(one.key, one.id, timeout_s=timeout_s, pace=pace)
        return await self._roll_back(one, timeout_s, pace)

    async def _roll_back(self, one: Redeemable, timeout_s: float, pace: Pace) -> VendorWord:
        """Rolls a voucher's redemption back, if the customer has one that stands and says when it was."""
        held = await self._held(one, timeout_s, pace)
        if held is None:
            return VendorWord(Reason.NOT_RELEASED, "not_found")
        customer, entries = held.get("customer_id"), await self._entries(held, timeout_s, pace)
        if isinstance(entries, VendorWord) or not isinstance(customer, str):
            return VendorWord(Reason.NOT_RELEASED, entries.code if isinstance(entries, VendorWord) else None)
        done = _standing(entries, customer)
        if done is None:
            return VendorWord()
        if _date(done) is None:  # it may be any sale's
            return VendorWord(Reason.NOT_RELEASED)
        await pace()
        answer = await self._client.roll_back(done["id"], timeout_s=timeout_s)
        if refusal := self._refusal(answer):
            undone = refusal.code == _UNDONE_ALREADY
            return VendorWord() if undone else VendorWord(Reason.NOT_RELEASED, refusal.code)
        return _undone(_body(answer))

    async def _held(self, one: Redeemable, timeout_s: float, pace: Pace) -> Row | None:
        """The customer's row of a voucher that is good for one redemption; None too for what a till is not shown.

        That there is more than is read is this customer's matter: as an error it would count against the line, and
        take benefits from everybody.
        """
        if one.key.type not in _CALLED:
            return None
        after: str | None = None
        for _ in range(MAX_PAGES):
            held, after = await self._benefits.page(one.key, after, timeout_s=timeout_s, pace=pace)
            for row in held:
                if is_single(row) and _voucher(row).get("id") == one.id:
                    return row if is_word(_voucher(row).get("code")) else None
            if after is None:
                break
        return None

    async def _entries(self, held: Row, timeout_s: float, pace: Pace) -> list[Row] | VendorWord:
        """What became of a voucher so far, or why that is not told."""
        await pace()
        answer = await self._client.redemptions_of(_voucher(held)["code"], timeout_s=timeout_s)
        return self._refusal(answer) or rows(_body(answer), "redemption_entries")

    def _refusal(self, answer: Answer) -> VendorWord | None:
        """Why it was not done; None for a success. Raises VendorUnreachableError, VendorRefusedError."""
        if answer.status == _OK:
            return None
        raise_unless_answered(answer, "redemption", now=self._clock.now())
        if answer.status < _CLIENT_ERROR:
            raise VendorUnreachableError(f"answered {answer.status} to a redemption", maybe_received=True)
        return _no(vendor_key(answer))


def _no(key: str | None) -> VendorWord:
    """What a key says. Raises VendorUnreachableError: it is no answer to this call."""
    if key == _AT_WORK:
        raise VendorUnreachableError("is at work on the same voucher")
    return VendorWord(_REASONS.get(key or "", Reason.REFUSED), key)


def _outcome(answer: Answer) -> VendorWord:
    """What an answer of 200 says: a project may answer so too when the voucher does not apply.

    Raises:
        VendorUnreachableError: it says neither.
    """
    body = _body(answer)
    done = body.get("redemptions")
    if isinstance(done, list) and any(isinstance(one, dict) and one.get("result") == "SUCCESS" for one in done):
        return VendorWord()
    for name in ("inapplicable_redeemables", "skipped_redeemables"):
        for refused in rows(body, name) if name in body else ():
            result = refused.get("result")
            error = result.get("error") if isinstance(result, dict) else None
            return _no(known_key(error.get("key")) if isinstance(error, dict) else None)
    raise VendorUnreachableError("answers a redemption without what became of it", maybe_received=True)


def _undone(body: dict[str, Any]) -> VendorWord:
    """What an answer of 200 to a rollback says. Raises VendorUnreachableError: it says nothing of one."""
    if body.get("object") != "redemption_rollback":
        raise VendorUnreachableError("answers a rollback with something else", maybe_received=True)
    return VendorWord(Reason.NOT_RELEASED) if body.get("result") == "FAILURE" else VendorWord()


def _standing(entries: list[Row], customer: object) -> Row | None:
    """A customer's redemption that was not rolled back, the last one listed; None where there is none."""
    undone = [entry.get("redemption") for entry in entries if entry.get("object") == "redemption_rollback"]
    standing = (
        entry
        for entry in reversed(entries)
        if entry.get("object") == "redemption"
        and entry.get("result") == "SUCCESS"
        and entry.get("status") != "ROLLED_BACK"
        and isinstance(customer, str)
        and entry.get("customer_id") == customer
        and is_word(entry.get("id"))
        and entry["id"] not in undone
    )
    return next(standing, None)


def _date(entry: Row) -> datetime | None:
    """When a redemption took place; None where it does not say."""
    try:
        at = datetime.fromisoformat(str(entry.get("date")))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _voucher(held: Row) -> Any:
    return held["redeemable"]["voucher"]


def _body(answer: Answer) -> dict[str, Any]:
    """The object in an answer of 200. Raises VendorUnreachableError: there is none, and it may have been done."""
    body = read_object(answer)
    if not body:
        raise VendorUnreachableError("answers a redemption with something else", maybe_received=True)
    return body
