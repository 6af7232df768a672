"""What further systems are told of members: that the loyalty system has who joined here, or what was changed here.

It is made here, and put on disk in the commit that writes down the loyalty system's yes: by then it knows the person,
and whatever ends the program loses neither of the two. It waits, goes out, is erased and is purged as an activity that
a till tells of. Of what the customer gave it holds what the configuration lets one of these systems have, and no more.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from agent.domain.activity import Activity, ContactEvent
from agent.domain.enrolment import Enrolment
from agent.domain.identifiers import Identifier
from agent.domain.revision import NOTHING, Revision, without
from agent.domain.transaction import IntegrationKey, NewContact
from agent.ports import Occurrence, Outgoing, Recipient

_ID_BYTES = 16


class News:
    """Makes what further systems are told of members.

    Args:
        recipients: who gets what.
        place: the store and the till.
        told: called after something is on disk, so that its delivery can begin.
    """

    def __init__(self, recipients: Sequence[Recipient], place: tuple[str, str], told: Callable[[], None]) -> None:
        self._recipients, self._place, self.told = recipients, place, told

    def joined(self, made: Enrolment, key: IntegrationKey, at: datetime) -> Occurrence | None:
        """Somebody made here, whom the loyalty system has now; None where nobody wants to hear it.

        Args:
            made: as they were given.
            key: the loyalty system's.
            at: when it had them.
        """
        names = (*made.identifiers, made.own_key.identifier)
        return self._record(ContactEvent.JOINED, key, made.contact, at=at, names=names, ref=made.ref)

    def joined_with(self, outgoing: Outgoing, at: datetime) -> Occurrence | None:
        """The new contact of a sale, whom the loyalty system has now; None where there is none, or nobody wants it.

        Args:
            outgoing: the sale, with the tag that it goes under.
            at: when it had them.
        """
        contact, key = outgoing.new_contact, outgoing.key
        if contact is None or key is None or key.kind != "primary":
            return None
        return self._record(ContactEvent.JOINED, key, contact, at=at, names=outgoing.readings)

    def changed(self, revision: Revision, has: NewContact, at: datetime) -> Occurrence | None:
        """A change that the loyalty system has now; None where it has nothing of it, or nobody wants to hear it.

        Args:
            revision: as it was given.
            has: what of it the loyalty system has.
            at: when it had it.
        """
        if has == NOTHING:
            return None
        return self._record(ContactEvent.CHANGED, revision.key, has, at=at, names=revision.identifiers)

    def _record(
        self,
        kind: ContactEvent,
        key: IntegrationKey,
        contact: NewContact | None,
        *,
        at: datetime,
        names: Sequence[Identifier],
        ref: str | None = None,
    ) -> Occurrence | None:
        whole = contact or NOTHING
        shares = {one.vendor: fields for one in self._recipients if (fields := one.shares(kind, whole)) is not None}
        if not shares:
            return None
        given = without(whole, NewContact.model_fields.keys() - frozenset[str]().union(*shares.values()))
        store_id, till_id = self._place
        activity = Activity(
            activity_id=f"{kind.name.lower()}-{secrets.token_hex(_ID_BYTES)}",
            type=kind,
            occurred_at=at,
            new_contact=given if given != NOTHING else None,
            store_id=store_id,
            till_id=till_id,
        )
        return Occurrence(
            activity=activity,
            content=activity.name.encode(),
            readings=(),
            key=key,
            stated=None,
            open=False,
            vendors=tuple(shares),
            ref=ref,
            known_by=tuple(names),
        )


NO_NEWS = News((), ("", ""), lambda: None)
"""Where there is nobody else to tell."""
