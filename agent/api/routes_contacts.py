"""What a till calls about contacts: making one, changing one, and what may be shown of one."""

from typing import Final

from agent.api import bodies
from agent.api.calls import Call
from agent.api.rooms import Rooms
from agent.api.schemas import Contact, ContactAnswer, ContactChanged, ContactTaken, Served
from agent.api.visits import Reply, Visit, Voice
from agent.domain.contact import Member
from agent.domain.fallback import REPLICA_LEVEL, served
from agent.domain.transaction import NewContact
from agent.errors import UnknownRecordError

UNKNOWN_CONTACT: Final = "Nobody is known here under that handle."


class ContactCalls:
    """The calls of scope `pos` that are about contacts.

    Args:
        rooms: what is behind the door.
        voice: the texts.
    """

    def __init__(self, rooms: Rooms, voice: Voice) -> None:
        self._rooms, self._voice = rooms, voice

    def calls(self) -> tuple[Call, ...]:
        """What is offered."""
        rationed = {429: "The look-up ration is used up."}
        return (
            Call(
                "POST", "/v1/contacts", "pos", self.enrol, "Make a contact", name="create_contact",
                takes=NewContact, gives={200: ContactTaken, 202: ContactTaken}, ration="refuse",
                refuses={
                    **rationed,
                    409: "This till makes no contacts, or several people share what was given.",
                    503: "It cannot be put on disk now.",
                    507: "There is no room to put it on disk.",
                },
            ),
            Call(
                "PATCH", "/v1/contacts/{ref}", "pos", self.revise, "Change a contact", name="update_contact",
                takes=NewContact, gives={202: ContactChanged}, ration="refuse",
                refuses={
                    **rationed,
                    404: "Nobody is known under that handle.",
                    409: "This till changes no contacts, what was given is somebody else's, or the contact is being "
                    "made at this moment.",
                    503: "It cannot be put on disk now.",
                    507: "There is no room to put it on disk.",
                },
            ),
            Call(
                "GET", "/v1/contacts/{ref}", "pos", self.contact, "What may be shown of a member", name="get_contact",
                gives={200: ContactAnswer}, refuses={404: "Nobody is known under that handle.", **rationed},
                ration="refuse",
            ),
        )  # fmt: skip

    async def enrol(self, visit: Visit) -> Reply:
        """Makes a contact at fallback level 4, or says who it is already; with at least one identifier.

        202: `delivered`, the loyalty system has it and the key is its own; or `queued`, it will get it, before any sale
        that needs it, and the key is this till's own number until then. Both are on disk. 200: `existing`, they were a
        member already, and nothing of what was given is kept. Asked again with the same identifiers, nobody is made
        twice. 422: which field is wrong, and `contact.refused` when the loyalty system says no. It costs a look-up.
        """
        contact, visit.found = bodies.parse(NewContact, visit.body), False
        enrolled = await self._rooms.enrolling.enrol(contact)
        existing = enrolled.state == "existing"
        visit.found = existing
        answer = ContactTaken.model_validate(
            {
                "ref": enrolled.member.ref,
                "integration_key": enrolled.member.key,
                "state": enrolled.state,
                "served": Served.model_validate(enrolled.served),
                "messages": self._voice.say(enrolled.codes, self._voice.locale(visit)),
            }
        )
        return Reply(200 if existing else 202, answer.model_dump_json().encode())

    async def revise(self, visit: Visit) -> Reply:
        """Changes the contact of whoever has a handle, at fallback level 4; what is not given, or null, stays.

        202: it is on disk; `delivered`, the loyalty system has it, or `queued`, it will get it. Until its own word
        comes back, what may be shown of the member has the change, and a new number or address identifies them.
        Changes of one person become one, field by field. `conflicts` names what the loyalty system keeps: a consent
        that was withdrawn there later than it was given here, say. 422: which field is wrong, and `contact.refused`
        when the loyalty system says no; nothing is kept then. The same change again does no harm. It costs a look-up.
        """
        contact, visit.found = bodies.parse(NewContact, visit.body), False
        revised = await self._rooms.revising.revise(visit.params["ref"], contact)
        visit.found = True
        answer = ContactChanged.model_validate(
            {
                "ref": revised.member.ref,
                "integration_key": revised.member.key,
                "state": revised.state,
                "served": Served.model_validate(revised.served),
                "conflicts": revised.conflicts,
                "messages": (),
            }
        )
        return Reply(202, answer.model_dump_json().encode())

    async def contact(self, visit: Visit) -> Reply:
        """What may be shown of the member behind a handle from `identify` or `contacts`. It costs a look-up."""
        rooms, visit.found, ref = self._rooms, False, visit.params["ref"]
        as_of = rooms.clock.now()
        member = rooms.enrolling.member(ref)
        if member is None:
            usable = rooms.settings.loyalty.fallback_level >= REPLICA_LEVEL and rooms.status.replica_usable()
            as_of = rooms.replica.info().as_of or as_of
            member = rooms.replica.member(ref) if usable else None
            member = rooms.shown(member) if member is not None else None
            as_of = member.as_of or as_of if member is not None else as_of
        if member is None:
            raise UnknownRecordError(UNKNOWN_CONTACT)
        visit.found = True
        how = served(
            "replica",
            as_of=as_of,
            now=rooms.clock.now(),
            stale_after=rooms.settings.replica.stale_after,
            level=rooms.status.level(),
        )
        answer = ContactAnswer(
            integration_key=member.key,
            contact=shown(member),
            served=Served.model_validate(how),
            messages=self._voice.say(("loyalty.stale",) if how.stale else (), self._voice.locale(visit)),
        )
        return Reply(200, answer.model_dump_json().encode())


def shown(member: Member) -> Contact:
    """What a till is shown of a member."""
    return {**member.fields, member.key.type.value: member.key.value, "ref": member.ref or None}
