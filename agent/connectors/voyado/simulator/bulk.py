"""The bulk desk: up to 4000 contacts created or updated by one request, with a status to poll.

That there is a batch id and a status is documented, and so is the limit. The simulator's own choices, for nobody says:
the shape of the status and its two words; that places count from 0; that a row whose key is taken is refused as
`POST /contacts` refuses it; that what a bulk call creates is approved and has no source; that a batch of an unknown id
is 404; and that no id of a contact comes back.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from agent.connectors.voyado.simulator import contacts, values
from agent.connectors.voyado.simulator.records import KEY_FIELDS, PREFERENCES, STANDARD_ATTRIBUTES, Contact
from agent.connectors.voyado.simulator.refusal import Refusal
from agent.connectors.voyado.simulator.state import State


@dataclass(kw_only=True)
class Batch:
    """One bulk request; `errors` follow the order of its rows."""

    batch_id: str
    kind: Literal["create", "update"]
    contact_type: str
    rows: list[Any]
    export: bool
    due_at: datetime
    status: Literal["Running", "Completed"] = "Running"
    done: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """The status object."""
        return {
            "batchId": self.batch_id,
            "status": self.status,
            "total": len(self.rows),
            "created": self.done if self.kind == "create" else 0,
            "updated": self.done if self.kind == "update" else 0,
            "failed": len(self.errors),
            "errors": self.errors,
        }


class BulkDesk:
    """Takes bulk requests and carries them out when they are due.

    Args:
        state: The tenant's memory.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.batches: dict[str, Batch] = {}

    def accept(self, kind: Literal["create", "update"], rows: Any, contact_type: str, *, export: bool = True) -> Batch:
        """Take a bulk request.

        Raises:
            Refusal: 400 when it is not a list, is empty or too long, or names an unknown contact type.
        """
        if not isinstance(rows, list) or not rows:
            raise Refusal(400, "NoData")
        if len(rows) > self._state.settings.bulk_cap:
            raise Refusal(400, "TooManyContacts")
        batch = Batch(
            batch_id=f"b-{len(self.batches) + 1:06d}",
            kind=kind,
            contact_type=contacts.known_type(self._state, contact_type),
            rows=rows,
            export=export,
            due_at=self._state.clock.now() + timedelta(seconds=self._state.settings.bulk_delay_s),
        )
        self.batches[batch.batch_id] = batch
        self.run_due()
        return batch

    def next_due_at(self) -> datetime | None:
        """When the next waiting request is carried out."""
        return min((batch.due_at for batch in self.batches.values() if batch.status == "Running"), default=None)

    def run_due(self) -> None:
        """Carry out every request that is due."""
        now = self._state.clock.now()
        for batch in self.batches.values():
            if batch.status == "Running" and batch.due_at <= now:
                self._carry_out(batch)

    def _carry_out(self, batch: Batch) -> None:
        key = self._state.settings.contact_types[batch.contact_type]
        for index, row in enumerate(batch.rows):
            try:
                if batch.kind == "create":
                    self._create(batch, _fields(row))
                else:
                    self._update(batch, _fields(row))
            except Refusal as refusal:
                error = {
                    "index": index,
                    "key": row.get(key) if isinstance(row, dict) else None,
                    "errorCode": refusal.code,
                    "message": "; ".join(refusal.validation) or refusal.code,
                }
                batch.errors.append(error)
            else:
                batch.done += 1
        batch.status = "Completed"
        self._state.note(f"bulk {batch.kind} completed", batch.batch_id)

    def _create(self, batch: Batch, row: dict[str, Any]) -> None:
        draft = contacts.begin_create(
            self._state,
            {**row, "contactType": batch.contact_type},
            source=None,
            store=None,
            approved=True,
        )
        if isinstance(draft, Contact):
            raise Refusal(409, "ApprovedContactWithKeyExists")
        contacts.finish_create(self._state, draft)

    def _update(self, batch: Batch, row: dict[str, Any]) -> None:
        key = self._state.settings.contact_types[batch.contact_type]
        names = ("contactId", key, "memberNumber", "externalId")
        name = next((name for name in names if row.get(name)), None)
        if name is None:
            raise Refusal(422, "ValidationError", validation=[f"{key}: required"])
        contact = contacts.only(
            self._state.find(name, str(row[name]), batch.contact_type if name != "contactId" else None)
        )
        own = {*STANDARD_ATTRIBUTES, *PREFERENCES} - set(KEY_FIELDS)
        if not batch.export and (standard := sorted(own & values.flatten(row).keys())):
            texts = [f"{name}: not with avoidTriggeringExport" for name in standard]
            raise Refusal(422, "ValidationError", validation=texts)
        contacts.update(self._state, contact, row, export=batch.export)


def _fields(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise Refusal(422, "ValidationError", validation=["not an object"])
    return row
