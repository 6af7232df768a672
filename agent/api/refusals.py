"""Errors on their way out: whatever was raised becomes one problem, in the caller's language, without a value in it."""

import traceback
from pathlib import PurePath

import structlog

from agent.api import problems
from agent.api.problems import DoorError
from agent.api.visits import Reply, Visit, Voice
from agent.errors import LoyaltyAgentError

_log = structlog.get_logger(__name__)


class Refusals:
    """Answers errors.

    Args:
        voice: the texts.
    """

    def __init__(self, voice: Voice) -> None:
        self._voice = voice

    def reply(self, error: Exception, visit: Visit) -> Reply:
        """The answer to an error; what nobody expected is logged by its class and place alone."""
        refused = error if isinstance(error, DoorError) else None
        if isinstance(error, LoyaltyAgentError):
            refused = problems.door_error(error)
        if refused is None:
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            where = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames]
            _log.error("request.failed", request_id=visit.request_id, error=type(error).__name__, where=where)
            refused = DoorError(problems.UNEXPECTED)
        code = problems.message_code(refused.kind)
        said = self._voice.say((code,), self._voice.locale(visit)) if code else ()
        body = problems.render(refused, visit.request_id, said)
        return Reply(refused.kind.status, body, problems.PROBLEM_MEDIA_TYPE, refused.headers)
