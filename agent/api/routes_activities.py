"""What happens to a member without a sale, as a till or its order screen tells it."""

from agent.api import bodies
from agent.api.calls import Call
from agent.api.rooms import Rooms
from agent.api.routes_till import answered_key
from agent.api.schemas import ActivityAccepted, Served
from agent.api.visits import Reply, Visit, Voice
from agent.domain.activity import ActivityStatement


class ActivityCalls:
    """The call that takes activities.

    Args:
        rooms: what is behind the door.
        voice: the texts.
    """

    def __init__(self, rooms: Rooms, voice: Voice) -> None:
        self._rooms, self._voice = rooms, voice

    def calls(self) -> tuple[Call, ...]:
        """What is offered."""
        return (
            Call(
                "POST", "/v1/activities", "pos", self.accept, "Take an activity", name="record_activity",
                takes=ActivityStatement, gives={200: ActivityAccepted, 202: ActivityAccepted}, ration="tell",
                refuses={
                    409: "The id is taken by other content.",
                    503: "The activity cannot be put on disk now.",
                    507: "There is no room for another one.",
                },
            ),
        )  # fmt: skip

    async def accept(self, visit: Visit) -> Reply:
        """Puts an activity on disk and answers; delivery happens afterwards. Idempotent on `activity_id`.

        202: recorded. 200: recorded before, with the same content (`duplicate`). 409: the id is taken by other content.
        507, 503: it could not be put on disk, and nothing of it is kept. Never 429, never waits for a vendor. It goes
        to the configured systems that want activities; where there is none, nothing waits and it is `delivered`.
        """
        statement = bodies.parse(ActivityStatement, visit.body)
        noted = await self._rooms.activities.accept(statement, resolve=visit.may_look_up)
        visit.found = noted.looked_up
        receipt = noted.receipt
        answer = ActivityAccepted(
            activity_id=statement.activity_id,
            state=receipt.state.value,
            duplicate=receipt.duplicate,
            accepted_at=receipt.accepted_at,
            integration_key=answered_key(receipt),
            served=Served.model_validate(noted.served),
            messages=self._voice.say(noted.codes, self._voice.locale(visit)),
        )
        self._rooms.metrics.activity(duplicate=receipt.duplicate)
        return Reply(200 if receipt.duplicate else 202, answer.model_dump_json().encode())
