"""What the simulated workspace says when it refuses something, in each of the forms that the vendor has for it."""

from typing import Any, Literal

Shape = Literal["standard", "bare", "status", "resendable"]


class Refused(Exception):  # noqa: N818 - an answer of the vendor's, not an error of this program
    """A request or an event that is refused.

    Args:
        status: of HTTP, where it is the whole request's.
        code: the vendor's number.
        message: its words.
        kind: its name of the exception.
    """

    def __init__(self, status: int, code: int, message: str, kind: str = "BadRequestException") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.kind = status, code, message, kind

    def body(self, shape: Shape) -> dict[str, Any]:
        """The answer's body."""
        told: dict[str, Any] = {"type": self.kind, "code": self.code, "message": self.message}
        forms: dict[str, dict[str, Any]] = {
            "standard": {"error": told},
            "bare": told,
            "status": {"status": "error", "error": told},
            "resendable": {"error": {"message": self.message, "code": self.code, "resendable": False}},
        }
        return forms[shape]


def not_found(message: str, code: int = 0) -> Refused:
    """A 404 with a number in it."""
    return Refused(404, code, message, "NotFoundException")
