"""What a data protection officer calls: everything about one person, exported or erased."""

from typing import Final

from agent.api import bodies
from agent.api.calls import Call
from agent.api.rooms import Rooms
from agent.api.schemas_privacy import (
    AuditHead,
    EarlierErasure,
    ErasedItem,
    ErasureAnswer,
    ErasureCounts,
    ErasureReceipt,
    ErasureRequestItem,
    ExportAnswer,
    ExportCounts,
    ExportedContact,
    PersonRequest,
)
from agent.api.visits import Reply, Visit

_WHERE: Final = {
    "contacts": ("replica.db", "contact"),
    "sales_waiting": ("outbox.db", "personal part of a waiting sale"),
    "sales_finished": ("outbox.db", "personal part of a finished sale"),
    "activities": ("outbox.db", "personal part of an activity"),
    "redemptions": ("outbox.db", "personal part of a redemption"),
    "enrolments": ("outbox.db", "contact made or changed at this till"),
    "notes": ("outbox.db", "reason for giving a sale up"),
    "kept_files": ("damaged/", "damaged file that was kept aside"),
    "file_rows": ("a vendor's folder", "row of a file that waited to be fetched"),
}


class PrivacyCalls:
    """Exports and erasures.

    Args:
        rooms: what is behind the door.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def calls(self) -> tuple[Call, ...]:
        """What is offered."""
        several = "Several people share the identifier; nothing was done."
        return (
            Call(
                "POST", "/v1/privacy/erase", "admin", self.erase, "Erase one person", name="erase_person",
                takes=PersonRequest, gives={200: ErasureAnswer},
                refuses={409: several, 503: "Not all of it could be erased; asked again, it goes on.",
                         507: "There is no room to erase in place."},
            ),
            Call(
                "POST", "/v1/privacy/export", "admin", self.export, "Export one person", name="export_person",
                takes=PersonRequest, gives={200: ExportAnswer},
                refuses={409: several, 503: "A file cannot be read now.", 507: "There is no room to record it."},
            ),
        )  # fmt: skip

    async def erase(self, visit: Visit) -> Reply:
        """Erases one person from everything: replica, queue, downloaded files, logs of the databases.

        200 when the bytes are gone; deliveries under way are waited for. Their sales stay, untagged; the feed's rows
        about them are refused from now on. An unknown person is 200 with zeros.
        """
        request = bodies.parse(PersonRequest, visit.body)
        done = await self._rooms.privacy.erase(request.identifier, visit.caller)
        items = [ErasedItem(where=_WHERE[n][0], what=_WHERE[n][1], count=count) for n, count in done.counts.items()]
        receipt = ErasureReceipt(
            id=done.id,
            erased_at=done.erased_at,
            removed=tuple(item for item in items if item.count),
            requests=tuple(ErasureRequestItem.model_validate(request) for request in done.requests),
            audit=AuditHead.model_validate(done.entry),
        )
        answer = ErasureAnswer(counts=ErasureCounts.model_validate(done.counts), receipt=receipt)
        return Reply(200, answer.model_dump_json().encode())

    async def export(self, visit: Visit) -> Reply:
        """Everything that is held on one person. What a shared key leaves open is counted, not shown."""
        request = bodies.parse(PersonRequest, visit.body)
        found = await self._rooms.privacy.export(request.identifier, visit.caller)
        contacts = tuple(
            ExportedContact(
                ref=person.member.ref,
                integration_key=person.member.key,
                known_by=tuple(person.keys),
                fields=dict(person.member.fields),
            )
            for person in found.contacts
        )
        answer = ExportAnswer(
            exported_at=found.exported_at,
            counts=ExportCounts(
                contacts=len(contacts),
                sales=len(found.sales),
                activities=len(found.activities),
                withheld=found.withheld,
                audit=len(found.audit),
            ),
            contacts=contacts,
            benefits=found.benefits,
            redemptions=found.redemptions,
            enrolments=found.enrolments,
            sales=found.sales,
            activities=found.activities,
            audit=found.audit,
            erased_before=tuple(EarlierErasure.model_validate(before) for before in found.erased_before),
        )
        return Reply(200, answer.model_dump_json().encode())
