"""The whole error tree.

::

    LoyaltyAgentError
    ├── ConfigurationError           every fault of a configuration at once        exit 78
    │   └── MessageOverrideError     a text of [messages] that cannot be used (agent.messages)
    ├── StateHeldError               another agent holds the state directory       exit 75
    ├── InputError                   what came in cannot be kept                   422
    │   ├── IdentifierInvalidError   a value that cannot be of its type
    │   └── ContactRefusedError      what the loyalty system refuses of a new contact
    ├── ConflictError                the same id with other content                409
    │   ├── ActivityConflictError    the same activity with other content          409
    │   └── UnderWayError            a delivery is being sent at this moment       409
    ├── UnknownRecordError           nothing of that name is here                  404
    ├── AmbiguousPersonError         several people share the identifier           409
    │   └── AmbiguousContactError    what was given of a new contact is several's  409
    ├── ReadOnlyContactsError        this till makes and changes no contacts       409
    ├── StorageError                 the disk or a database file said no           503
    │   ├── StorageFullError         no room                                       507
    │   ├── StorageDamagedError      a file is not what was written
    │   │   └── TokensDamagedError   it is the one of the tokens
    │   ├── StorageSchemaError       a file is another version's
    │   └── StorageKeyError          the file's key is missing or wrong            exit 78
    ├── VendorError                  a vendor could not be asked, or answered something else
    │   ├── VendorUnreachableError   no answer: refused, cut, too late, 429, 5xx, nonsense
    │   │   ├── FolderUnreachableError  the folder of its files cannot be read
    │   │   └── VendorOwnError       an error of its own: what was asked for may be the cause
    │   └── VendorRefusedError       our credentials or our plan are refused
    └── FeedError                    contact changes cannot be read
        ├── FeedUnreadableError      a file is broken, hostile or cut short
        └── FeedGapError             a part is missing

The docstring of each class is its default message. Texts carry no personal data: whoever raises one of
these states the field, never its value. ``code`` is stable and published (docs/errors.md); ``advice`` is
for whoever operates the till.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: where (JSON pointer, or file and key path) and what."""

    pointer: str
    message: str


class LoyaltyAgentError(Exception):
    """The agent could not do what was asked."""

    code = "agent.error"
    advice = "Run `loyalty-agent status` and see which conditions stand."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n", 1)[0])


class ConfigurationError(LoyaltyAgentError):
    """The configuration has faults."""

    code = "configuration.invalid"
    advice = "Run `loyalty-agent config check` and mend each line it names."

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{fault.pointer}: {fault.message}" for fault in self.faults))


class StateHeldError(LoyaltyAgentError):
    """Another agent holds this state directory."""

    code = "agent.already_running"
    advice = "Stop the other agent, or give this one a state directory of its own (agent.state_dir)."


class InputError(LoyaltyAgentError):
    """The request does not fit the contract."""

    code = "request.invalid"
    advice = "Mend what each fault names."

    def __init__(self, faults: Sequence[Fault], message: str | None = None) -> None:
        self.faults = tuple(faults)
        super().__init__(message)


class IdentifierInvalidError(InputError):
    """The value cannot be an identifier of that type."""

    code = "identifier.invalid"
    advice = "Ask the customer for the value again, or for another identifier."

    def __init__(self, reason: str, pointer: str = "/identifier/value") -> None:
        self.reason = reason
        super().__init__([Fault(pointer, reason)])

    def at(self, pointer: str) -> IdentifierInvalidError:
        """The same fault at another place of the body."""
        return IdentifierInvalidError(self.reason, pointer)


class ContactRefusedError(InputError):
    """The loyalty system refuses what the customer gave."""

    code = "contact.refused"
    advice = "Look up the vendor's code; correct the details at the loyalty system, then retry the delivery."

    def __init__(
        self, status: int, vendor_code: str | None, fields: Sequence[str] = (), root: str = "/new_contact"
    ) -> None:
        self.status, self.vendor_code, self.fields = status, vendor_code, tuple(fields)
        pointers = [f"{root}/{field}" for field in fields] or [root]
        super().__init__([Fault(pointer, "is refused by the loyalty system") for pointer in pointers])

    def at(self, root: str) -> ContactRefusedError:
        """The same refusal of a contact that stands elsewhere in the body."""
        return ContactRefusedError(self.status, self.vendor_code, self.fields, root)


class ConflictError(LoyaltyAgentError):
    """The transaction does not go with what is recorded already."""

    code = "transaction.conflict"
    advice = "Give each sale its own transaction_id; repeat a sale only with the same content."


class ActivityConflictError(ConflictError):
    """The activity does not go with what is recorded already."""

    code = "activity.conflict"
    advice = "Give each activity its own activity_id; repeat one only with the same content."


class UnderWayError(ConflictError):
    """The delivery is under way at this moment."""

    code = "queue.under_way"
    advice = "Try again in a minute: by then the vendor has answered, or the delivery waits again."


class UnknownRecordError(LoyaltyAgentError):
    """Nothing is recorded here under that name."""

    code = "record.unknown"
    advice = "Check the id or name; sales older than retention.audit are gone."


class AmbiguousPersonError(LoyaltyAgentError):
    """Several people share this identifier; nothing was done."""

    code = "privacy.ambiguous"
    advice = "Name the person by what is theirs alone: contact id, member number or external id."


class AmbiguousContactError(AmbiguousPersonError):
    """Several people share what was given, or would; no contact was made or changed."""

    code = "contact.ambiguous"
    advice = "Leave out the identifier that is shared, or identify the customer by what is theirs alone."


class ReadOnlyContactsError(LoyaltyAgentError):
    """This till makes and changes no contacts."""

    code = "contact.read_only"
    advice = "Set loyalty.fallback_level = 4, with a loyalty system whose contacts a till can make."


class StorageError(LoyaltyAgentError):
    """The sale cannot be put on disk now."""

    code = "storage.unavailable"
    advice = "Run `loyalty-agent status`; check the disk under the state directory."


class StorageFullError(StorageError):
    """There is no room on the disk for another sale."""

    code = "storage.full"
    advice = "Free space on the disk that holds the state directory; the agent goes on by itself."


class StorageDamagedError(StorageError):
    """A database file is damaged."""

    code = "storage.damaged"
    advice = "Keep the file that was set aside and call support; the agent goes on with a fresh one."


class TokensDamagedError(StorageDamagedError):
    """The file of the tokens is not what was written: nobody but the command line may call."""

    advice = "Remove tokens.json from the state directory, and make the tokens anew: loyalty-agent token add."


class StorageSchemaError(StorageError):
    """A database file cannot be brought to this version's schema."""

    code = "storage.schema"
    advice = "Run the version that wrote the file; this one has changed nothing in it."


class StorageKeyError(StorageError):
    """The database's key is missing or does not open it."""

    code = "storage.key"
    advice = "Put the key that storage.key names back in its place; without it the file cannot be read."


class VendorError(LoyaltyAgentError):
    """The loyalty system could not be asked."""

    code = "vendor.error"
    advice = "Nothing is lost; the agent tries again by itself."


class VendorUnreachableError(VendorError):
    """The loyalty system does not answer."""

    code = "vendor.offline"
    advice = "Check the line, the proxy and the loyalty system's status page."

    def __init__(
        self, message: str | None = None, *, retry_after_s: float | None = None, maybe_received: bool = False
    ) -> None:
        self.retry_after_s = retry_after_s
        self.maybe_received = maybe_received
        super().__init__(message)


class VendorOwnError(VendorUnreachableError):
    """The loyalty system answers with an error of its own: what was asked for may be the cause."""


class FolderUnreachableError(VendorUnreachableError):
    """The folder on this machine that the loyalty system's files come in cannot be read."""

    advice = "See that the folder that the feed names is there, and mounted."


class VendorRefusedError(VendorError):
    """The loyalty system refuses our credentials."""

    code = "vendor.credentials_refused"
    advice = "Put a valid key where the configuration's reference points; it is read again within a minute."


class FeedError(LoyaltyAgentError):
    """Contact changes cannot be read."""

    code = "feed.error"
    advice = "Run `loyalty-agent sync` after the cause is gone."


class FeedUnreadableError(FeedError):
    """An export file cannot be read and was not applied."""

    code = "feed.unreadable"
    advice = "Ask the loyalty system's support for the file again; nothing of it was applied."


class FeedGapError(FeedError):
    """A part of an export is missing; nothing past it was applied. Without a full export there is no replica."""

    code = "feed.gap"
    advice = "Ask the loyalty system's support for what is missing; reading goes on by itself when it is there."
