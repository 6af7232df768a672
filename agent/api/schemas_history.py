"""The answers about the last days."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from agent.api.schemas import Answer, Request
from agent.domain.history import MOST_HOURS


class HistoryQuery(Request):
    """Of how long."""

    hours: Annotated[int, Field(ge=1, le=MOST_HOURS)] = Field(24, description="up to now; a week at most")


class AnswerTimes(Answer):
    """How long tills waited for the answer to a sale, in milliseconds: half of them at most so long, 95 %, 99 %."""

    sales: Annotated[int, Field(description="how many were answered, refusals included")]
    p50_ms: float
    p95_ms: float
    p99_ms: float


class DeliveryTimes(Answer):
    """How long sales and activities took from their acceptance to one vendor, in seconds."""

    vendor: str
    delivered: Annotated[int, Field(description="how many got there")]
    p50_s: float
    p95_s: float


class HistoryPoint(Answer):
    """One step: the highest of each figure, and all that was counted in it."""

    at: Annotated[datetime, Field(description="where the step begins")]
    depth: Annotated[int, Field(description="deliveries that wait, queued or held")]
    parked: int
    in_doubt: int
    oldest_age_s: Annotated[int | None, Field(description="of what waits; null when nothing does")]
    replica_age_s: Annotated[int | None, Field(description="of the local copy; null where there is none")]
    answers: Annotated[AnswerTimes | None, Field(description="null when no sale came")]
    deliveries: Annotated[tuple[DeliveryTimes, ...], Field(description="of vendors that got any")]


class HistoryAnswer(Answer):
    """The last hours in steps of one length; a step without a point is a time of which nothing is known."""

    start: Annotated[datetime, Field(description="of the first step")]
    until: Annotated[datetime, Field(description="the end of the last step, which is under way")]
    step_s: Annotated[int, Field(description="300, 900 or 1800")]
    points: tuple[HistoryPoint, ...]
