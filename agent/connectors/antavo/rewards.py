"""Rewards: what a customer can have for points. Listing them, claiming one, and revoking a claim.

===========================  ===================================================  ==================================
ours                         Antavo's                                             source
===========================  ===================================================  ==================================
offers                       `GET /customers/{id}/activities/rewards`, those      Display API; that its pages go by
                             with `_actions.complete`: they can be claimed now    `offset` is the API's general rule
id, promotion id             `id`                                                 the same
points                       `points`: the price                                  the same
value                        words: `instructions`, else `description`            the same, by `fields=instructions`
brings a voucher             `coupon_pool`                                        the same: a claim assigns a coupon
where                        `stores`: nowhere else                               the same; its form is unclear
use it                       `POST .../{reward_id}/claim`; `id` is the claim's    the same: the claim event
give it back                 `POST .../{reward_id}/revoke`, `event=<claim's id>`  the same
which claims there were      `GET /customers/{id}/events?action=reward`: `id`,    History API; that its `id` is the one
                             `timestamp`, and the reward's id in any place        that revokes: inferred. In which place
                                                                                  the reward stands is not documented
===========================  ===================================================  ==================================

A claim counts each time it is made. So it is made once, and a lost answer is looked up in the customer's history: what
stands there says when each was claimed and which event it was, but has no mark of ours. A claim in it that does not
name its reward may be of any: with one about then nobody says which was ours (`agent.domain.redemption.own_use`).

===================================================================  ================================================
number                                                               reason
===================================================================  ================================================
120211 (claimed as often as allowed)                                 used
120213 (not in the segment), 160212                                  not theirs
120212, 120241 (out of stock, not enough points), 160321, any other  refused, with it
127201 (a workflow stopped the event)                                nobody knows: looked up
160344, to a revocation                                              it is done
===================================================================  ================================================

Not a till's: a bid, content, a download, and what has no price of its own (the points are what is bought for).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from agent.connectors.antavo.answers import read_events, read_held
from agent.connectors.antavo.calls import Listed
from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.customers import amount_of, text_of
from agent.connectors.antavo.errors import error_in, objection_in, raise_unless_answered
from agent.connectors.antavo.values import end_of, exact_instant_of, words_of
from agent.domain.benefits import Benefit, BenefitKind, Worth
from agent.domain.redemption import Reason, Standing, Use, VendorStanding, VendorWord
from agent.errors import VendorOwnError, VendorUnreachableError
from agent.ports import Pace
from agent.transport import Answer

PAGE, MAX_PAGES = 100, 3
"""Nobody reads more at a till."""
_ID = re.compile(r"[A-Za-z0-9_:-]{1,64}")  # as the door takes the id of a benefit, and a signed path carries it
_A_TILL_S = ("coupon", "custom", "physical", "promotion", "virtual", "bundle")
_PRICED_BY_WHOEVER_CLAIMS = ("exchange_rate", "price_step", "bid_step")
_ACTION: Final = "reward"
_SUCCESS, _CLIENT_ERRORS = range(200, 300), range(400, 500)
_INTERRUPTED, _REVOKED = 127201, 160344
_REASONS = {120211: Reason.USED, 120213: Reason.NOT_THEIRS, 160212: Reason.NOT_THEIRS}
_MAX_TEXT_CHARS = 500
_DEEPEST = 4

Row = Mapping[str, Any]


class AntavoRewards:
    """Rewards of one workspace.

    Args:
        client: the workspace.
        store: its id of this store; empty where nobody has said: what is for some stores alone is shown in none then.
    """

    def __init__(self, client: AntavoClient, store: str) -> None:
        self._client, self._store = client, store

    async def listed(self, customer: str, *, timeout_s: float, pace: Pace) -> list[Row]:
        """A customer's rewards, page by page; nothing for whom Antavo does not know, or where the module is off.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        found: list[Row] = []
        for _ in range(MAX_PAGES):
            await pace()
            page = {"fields": "instructions", "limit": str(PAGE), "offset": str(len(found))}
            listed = read_held(await self._client.rewards(customer, page, timeout_s=timeout_s), limit=PAGE)
            found += listed.rows
            if not listed.more:
                break
        return found

    def offer_of(self, row: Row) -> Benefit | None:
        """What a row says; None for what no till can claim here now."""
        actions = row.get("_actions")
        if not (self._is_a_till_s(row) and isinstance(actions, Mapping) and actions.get("complete")):
            return None
        try:
            ends_at = end_of(row.get("ends_at"))
        except ValueError:
            return None
        told = (words_of(row.get(name), most_chars=_MAX_TEXT_CHARS) for name in ("instructions", "description"))
        text = next(filter(None, told), None)
        return Benefit(
            BenefitKind.OFFER,
            row["id"],
            words_of(row.get("title")),
            Worth("manual", text=text) if text is not None else None,
            ends_at,
            row["id"],
            points=amount_of(row.get("points")),
            brings_voucher=bool(row.get("coupon_pool")),
        )

    async def standing(self, customer: str, reward_id: str, *, timeout_s: float, pace: Pace) -> VendorStanding:
        """Whether it is a till's to claim, and which claims the customer has made of late.

        Whether it can be claimed once more the claim itself says, and why not.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        await pace()
        row = _read_reward(await self._client.reward(customer, reward_id, timeout_s=timeout_s), reward_id)
        there = row is not None and self._is_a_till_s(row)
        await pace()
        wanted = {"action": _ACTION, "references": "true", "order": "desc", "limit": str(PAGE)}
        listed = read_events(await self._client.events_of(customer, wanted, timeout_s=timeout_s), limit=PAGE)
        _check_order(listed)
        uses = tuple(_uses(listed.rows, reward_id))
        return VendorStanding(Standing.AVAILABLE if there else Standing.ABSENT, uses=uses)

    async def claim(self, customer: str, reward_id: str, *, timeout_s: float, pace: Pace) -> VendorWord:
        """Claims it; the word names the claim.

        Raises:
            VendorUnreachableError: where ``maybe_received`` says so, it may have been carried out all the same.
            VendorRefusedError: our credentials are refused; it was not carried out.
        """
        await pace()
        answer = await self._client.claim(customer, reward_id, timeout_s=timeout_s)
        refusal = objection_in(answer, event=False)
        if refusal is not None and refusal.code != _INTERRUPTED:
            return VendorWord(_REASONS.get(refusal.code or 0, Reason.REFUSED), refusal.name)
        claim = text_of(answer.json().get("id"))
        if refusal is not None or not _ID.fullmatch(claim):
            raise VendorUnreachableError("answers a claim without its id", maybe_received=True)
        return VendorWord(use=claim)

    async def revoke(self, customer: str, reward_id: str, claim: str, *, timeout_s: float, pace: Pace) -> VendorWord:
        """Revokes one claim. Raises VendorUnreachableError, VendorRefusedError."""
        await pace()
        answer = await self._client.revoke(customer, reward_id, claim, timeout_s=timeout_s)
        refusal = objection_in(answer, event=False)
        if refusal is None or refusal.code == _REVOKED:
            return VendorWord()
        return VendorWord(Reason.NOT_RELEASED, refusal.name)

    def _is_a_till_s(self, row: Row) -> bool:
        """Whether it has a price, and is to be had here."""
        id_, stores = row.get("id"), _stores(row.get("stores"))
        return (
            isinstance(id_, str)
            and _ID.fullmatch(id_) is not None
            and row.get("type") in _A_TILL_S
            and not any(row.get(name) for name in _PRICED_BY_WHOEVER_CLAIMS)
            and (stores is None or self._store in stores)
        )


def _read_reward(answer: Answer, reward_id: str) -> Row | None:
    """The reward in an answer; None when there is none. Raises VendorUnreachableError, VendorRefusedError."""
    raise_unless_answered(answer)
    row: Row = answer.json()
    if error_in(row) is not None or answer.status in _CLIENT_ERRORS:
        return None
    if answer.status not in _SUCCESS or row.get("id") != reward_id:
        raise VendorOwnError(f"answered {answer.status} without the reward")
    return row


def _uses(rows: Iterable[Row], reward_id: str) -> Iterator[Use]:
    """The claims in a history; one whose id or instant cannot be read may be any."""
    for row in rows:
        if text_of(row.get("action")) == _ACTION:
            named = text_of(row.get("id"))
            yield Use(named, exact_instant_of(row.get("timestamp")), certain=bool(named) and _names(row, reward_id))


def _names(told: Any, reward_id: str, deep: int = 0) -> bool:
    """Whether an event names a reward, in whichever place."""
    if deep > _DEEPEST:
        return False
    if isinstance(told, Mapping):
        told = list(told.values())
    if isinstance(told, list):
        return any(_names(one, reward_id, deep + 1) for one in told)
    return bool(told == reward_id)


def _check_order(listed: Listed) -> None:
    """Refuses a page that is not of the latest. Raises VendorOwnError."""
    times = [at for row in listed.rows if (at := exact_instant_of(row.get("timestamp"))) is not None]
    if listed.more and times != sorted(times, reverse=True):
        raise VendorOwnError("lists a customer's events in another order than was asked for")


def _stores(told: Any) -> frozenset[str] | None:
    """The ids of the stores that a reward is for; None: of all."""
    if not told:
        return None
    if isinstance(told, Mapping):
        told = [told] if "id" in told else list(told)
    rows = told if isinstance(told, list) else [told]
    return frozenset(text_of(row.get("id")) if isinstance(row, Mapping) else text_of(row) for row in rows)
