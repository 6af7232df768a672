"""Asking Voyado which sales have become purchases of a member.

`POST /receipts` only queues: a receipt is imported later, and what cannot be matched is dropped without a word. A
member's purchases are the one place where a till sees what came of it.

==============================  ========================================================  ==============================
what                            how                                                       source
==============================  ========================================================  ==============================
the question                    `GET /contacts/{contactId}/transactions`, `offset`,       swagger of v2; v3: unknown
                                `count` (100)
the answer                      `items[]` with `id`, `externalId`, ...; `totalCount`      swagger of v2
the sale's own id               `externalId` is the `uniqueReceiptId`                     inferred; an answer that shows
                                                                                          no such ids proves nothing
when it is there                15 minutes by default; about hourly at one integrator.    transactions pages, an
                                75 minutes are waited before absence counts               integration
the order of the list           unknown: it is read to its end
==============================  ========================================================  ==============================
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.errors import raise_unless_answered
from agent.connectors.voyado.people import VoyadoPeople
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorUnreachableError
from agent.ports import Seen

PAGE = 100
MAX_PAGES = 10
"""Of a member with more purchases, only what shows counts; the rest is unclear."""
TIMEOUT_S = 10.0
_OK, _NOT_FOUND = 200, 404
_NOTHING = Seen({}, whole=False)


class VoyadoHistory:
    """Reads members' purchases.

    Args:
        client: the tenant.
        people: finds the contact id of a member.
    """

    settles_s = 75 * 60.0

    def __init__(self, client: VoyadoClient, people: VoyadoPeople) -> None:
        self._client, self._people = client, people

    async def count(
        self, key: IntegrationKey, transaction_ids: Collection[str], *, pace: Callable[[], Awaitable[None]]
    ) -> Seen:
        """How often each of these sales is among the member's purchases.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our credentials are refused.
        """
        contact_id = await self._contact_id(key, pace)
        if contact_id is None:
            return _NOTHING
        counts: Counter[str] = Counter()
        known: set[str] = set()
        comparable, offset = True, 0
        for _ in range(MAX_PAGES):
            await pace()
            answer = await self._client.purchases(contact_id, offset=offset, count=PAGE)
            raise_unless_answered(answer)
            if answer.status == _NOT_FOUND:  # the contact is gone, and its purchases with it
                return _NOTHING
            items, total = _page(answer.json() if answer.status == _OK else None, answer.status)
            for item in items:
                name, own = item.get("externalId"), item.get("id")
                comparable = comparable and isinstance(name, str) and name != ""
                if own is not None and str(own) in known:  # a purchase came in meanwhile and moved the list
                    continue
                known.add(str(own))
                if isinstance(name, str) and name in transaction_ids:
                    counts[name] += 1
            offset += len(items)
            if not items or (offset >= total if total is not None else len(items) < PAGE):
                return Seen(dict(counts), comparable)
        return Seen(dict(counts), whole=False)

    async def _contact_id(self, key: IntegrationKey, pace: Callable[[], Awaitable[None]]) -> str | None:
        if key.type is IdentifierType.CONTACT_ID:
            return key.value
        await pace()
        return await self._people.contact_id(key.identifier, timeout_s=TIMEOUT_S)


def _page(body: Any, status: int) -> tuple[list[dict[str, Any]], int | None]:
    """The purchases of a page, and how many there are in all, if it says so."""
    items = body.get("items") if isinstance(body, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise VendorUnreachableError(f"answered {status} without a page of purchases")
    total = body.get("totalCount")
    return items, total if isinstance(total, int) and not isinstance(total, bool) else None
