"""What an administrator is told of the last days, for plots."""

from agent.api.calls import Call
from agent.api.rooms import Rooms
from agent.api.schemas_history import AnswerTimes, DeliveryTimes, HistoryAnswer, HistoryPoint, HistoryQuery
from agent.api.visits import Reply, Visit
from agent.domain.history import ANSWER_BOUNDS_S, DELIVERY_BOUNDS_S, Counts, Sample, Span, quantile_s


class HistoryCalls:
    """The call.

    Args:
        rooms: what is behind the door.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def calls(self) -> tuple[Call, ...]:
        """What is offered."""
        return (
            Call(
                "GET", "/v1/history", "admin", self.history, "How the agent was", name="get_history",
                query=HistoryQuery, gives={200: HistoryAnswer},
            ),
        )  # fmt: skip

    async def history(self, visit: Visit) -> Reply:
        """Queue, answer times, delivery times and the age of the local copy over the last hours, without a person."""
        span = Span.of(visit.query.hours, self._rooms.clock.now())
        answer = HistoryAnswer(
            start=span.start,
            until=span.until,
            step_s=int(span.step.total_seconds()),
            points=tuple(_point(sample) for sample in await self._rooms.history.of(span)),
        )
        return Reply(200, answer.model_dump_json().encode())


def _point(sample: Sample) -> HistoryPoint:
    return HistoryPoint(
        at=sample.at,
        depth=sample.depth,
        parked=sample.parked,
        in_doubt=sample.in_doubt,
        oldest_age_s=sample.oldest_age_s,
        replica_age_s=sample.replica_age_s,
        answers=_answers(sample.answers),
        deliveries=tuple(_deliveries(vendor, counts) for vendor, counts in sample.delivered.items() if counts),
    )


def _answers(counts: Counts) -> AnswerTimes | None:
    if not counts:
        return None
    p50, p95, p99 = (round(1000 * quantile_s(counts, ANSWER_BOUNDS_S, share), 2) for share in (0.5, 0.95, 0.99))
    return AnswerTimes(sales=sum(counts), p50_ms=p50, p95_ms=p95, p99_ms=p99)


def _deliveries(vendor: str, counts: Counts) -> DeliveryTimes:
    p50, p95 = (round(quantile_s(counts, DELIVERY_BOUNDS_S, share), 1) for share in (0.5, 0.95))
    return DeliveryTimes(vendor=vendor, delivered=sum(counts), p50_s=p50, p95_s=p95)
