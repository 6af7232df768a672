"""A vendor whose every answer is the input that is tried."""

from __future__ import annotations

import json

from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.transport import Answer

UNANSWERED = (VendorUnreachableError, VendorRefusedError)


class Wire:
    """A transport that answers everything alike."""

    answer = Answer(200, {}, b"")

    async def request(self, *_args, **_kwargs) -> Answer:
        return self.answer


def answer_of(data: bytes) -> Answer:
    """The answer that an input spells: a status, a blank, a body."""
    status, _, body = data.partition(b" ")
    return Answer(int(status) if status in (b"200", b"404", b"500") else 200, {}, body)


def statements(*bodies: object) -> list[bytes]:
    """Bodies as inputs, each with every status."""
    return [b"%d " % status + json.dumps(body).encode() for body in bodies for status in (200, 404, 500)]
