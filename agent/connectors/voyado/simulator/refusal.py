"""How Engage says no: a status, a code name and the error body two integrators have seen."""

from collections.abc import Sequence
from typing import Any


class Refusal(Exception):  # noqa: N818  (an answer of the vendor's, not an error of this program)
    """A request Engage refuses.

    Args:
        status: HTTP status.
        code: Voyado's code name.
        details: `messageDetails`.
        validation: One text for each fault found, for `validationErrors`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        *,
        details: dict[str, Any] | None = None,
        validation: Sequence[str] = (),
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.details = details
        self.validation = tuple(validation)

    def body(self, request_id: str) -> dict[str, Any]:
        """The error body."""
        body: dict[str, Any] = {
            "errorCode": self.code,
            "message": self.code,
            "messageDetails": self.details,
            "requestId": request_id,
        }
        if self.validation:
            body["validationErrors"] = [{"errorDescription": text} for text in self.validation]
        return body
