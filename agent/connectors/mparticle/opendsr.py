"""Asking mParticle to erase somebody: a data subject request by OpenDSR, version 3, with the workspace's credentials.

It goes to another host than events, under other credentials: whatever happens there is never the lane's trouble, so
that no event waits for it. A request that is not through is tried again for as long as it takes.

==========================  ==========  ===========================================================================
answer                      verdict     source
==========================  ==========  ===========================================================================
201 that names the request  done        OpenDSR page: received; erased after a wait of 7 days and up to 14 more
409                         duplicate   the same page: the same identities are being erased already
to a question for it: 200   duplicate   an earlier attempt had arrived; 404 says that it had not, and nothing else
that names it                           does: filed twice under one id it would be refused (400)
other 4xx                   park        the same page: the request is not understood, and never will be
401, 403, 407, 408, 429,    retry       credentials, the pace, the vendor or the line: waited for. A success that does
5xx, another 2xx, 3xx, a                not name the request is somebody else's, and nobody would be erased
web page
==========================  ==========  ===========================================================================

===========================  ====================================================  ================================
ours                         mParticle's                                           source
===========================  ====================================================  ================================
the primary integration key  subject_identities.controller_customer_id             OpenDSR page: what other calls
                                                                                   spell customer_id
email                        subject_identities.email                              the same
mobile_phone                 extensions: subject_identities.mobile_number          the same: not among the main ones
contact_id, external_id,     extensions: other, other2, other3                     the same; as
card_number that are not it                                                        :mod:`..person` names them
personal_number              not sent                                              it was never sent there
===========================  ====================================================  ================================
"""

import uuid
from collections.abc import Iterator
from datetime import UTC
from hashlib import blake2b
from typing import Any, Final

from agent.connectors.mparticle.client import BasicCredentials
from agent.connectors.mparticle.settings import MparticleSettings
from agent.connectors.mparticle.values import render_json
from agent.domain.activity import Activity
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Outgoing
from agent.transport import Answer, Transport

_CREATED, _KNOWN, _UNKNOWN, _UNDER_WAY = 201, 200, 404, 409
_REFUSED = (401, 403)
_LATER = (407, 408, 425, 429)
_CLIENT_ERRORS = range(400, 500)
_DOMAIN: Final = "opendsr.mparticle.com"
_MAIN: Final = {IdentifierType.EMAIL: "email"}
_EXTENDED: Final = {
    IdentifierType.MOBILE_PHONE: "mobile_number",
    IdentifierType.CONTACT_ID: "other",
    IdentifierType.EXTERNAL_ID: "other2",
    IdentifierType.CARD_NUMBER: "other3",
}
_NOBODY: Final = Verdict(
    VerdictKind.PARK, "activity.without_member", title="Nothing that may be sent names whoever is to be erased."
)


class OpenDsr:
    """Files erasure requests.

    Args:
        transport: the HTTP client of the OpenDSR host.
        credentials: of the workspace.
        settings: the table.
        primary: the type of the primary integration key.
    """

    def __init__(
        self,
        transport: Transport,
        credentials: BasicCredentials,
        settings: MparticleSettings,
        *,
        primary: IdentifierType,
    ) -> None:
        self._transport, self._credentials = transport, credentials
        self._regulation, self._primary = settings.opendsr_regulation, primary

    async def file(self, outgoing: Outgoing, activity: Activity) -> Verdict:
        """What became of a request; ``done`` means received, not yet carried out."""
        request_id = request_id_of(activity)
        body = render_request(outgoing, activity, self._regulation, primary=self._primary)
        if body is None:
            return _NOBODY
        try:
            if outgoing.maybe_received and (known := await self._look_up(request_id)):
                return known
            answer = await self._call("POST", "/requests/", render_json(body))
        except VendorUnreachableError as error:
            return _waits("erasure.unanswered", None, str(error), not_received=not error.maybe_received)
        except VendorRefusedError as error:
            return _waits("erasure.credentials_missing", None, str(error), not_received=True)
        return _verdict_of(answer, request_id)

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def _look_up(self, request_id: str) -> Verdict | None:
        """What is known of a request that may have arrived; None when it has not."""
        answer = await self._call("GET", f"/requests/{request_id}")
        if answer.status == _KNOWN and _names(answer, request_id):
            return Verdict(VerdictKind.DUPLICATE, status=_KNOWN, reference=request_id)
        if answer.status == _UNKNOWN and not answer.is_markup:
            return None
        verdict = _verdict_of(answer, request_id)
        if verdict.kind is VerdictKind.RETRY:
            return verdict
        return _waits("erasure.unanswered", answer.status, "The vendor does not say whether it has it.")

    async def _call(self, method: str, path: str, content: bytes = b"") -> Answer:
        headers = {"Authorization": self._credentials.header(), "Content-Type": "application/json"}
        answer = await self._transport.request(method, path, headers=headers, content=content)
        if answer.status in _REFUSED:
            self._credentials.refused()
        return answer


def request_id_of(activity: Activity) -> str:
    """The request's id: a UUID, which the API wants to be of version 4, that the same activity always gives."""
    return str(uuid.UUID(bytes=blake2b(activity.name.encode(), digest_size=16).digest(), version=4))


def render_request(
    outgoing: Outgoing, activity: Activity, regulation: str, *, primary: IdentifierType
) -> dict[str, Any] | None:
    """The request's body; None when nothing that may be sent names the person.

    Args:
        outgoing: with everything that names them.
        activity: the erasure.
        regulation: under which it is asked for.
        primary: the type of the primary integration key.
    """
    main: dict[str, Any] = {}
    extended: dict[str, Any] = {}
    for one in _naming(outgoing):
        value = {"value": one.value, "encoding": "raw"}
        if one.type is primary:
            main.setdefault("controller_customer_id", value)
        elif one.type in _MAIN:
            main.setdefault(_MAIN[one.type], value)
        elif one.type in _EXTENDED:
            extended.setdefault(_EXTENDED[one.type], value)
    if not main and not extended:
        return None
    return {
        "regulation": regulation,
        "subject_request_id": request_id_of(activity),
        "subject_request_type": "erasure",
        "submitted_time": activity.occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "subject_identities": main,
        "api_version": "3.0",
        **({"extensions": {_DOMAIN: {"subject_identities": extended}}} if extended else {}),
    }


def _naming(outgoing: Outgoing) -> Iterator[Identifier]:
    if outgoing.key is not None:
        yield outgoing.key.identifier
    yield from outgoing.readings


def _verdict_of(answer: Answer, request_id: str) -> Verdict:
    status = answer.status
    if status == _CREATED and _names(answer, request_id):
        return Verdict(VerdictKind.DONE, status=status, reference=request_id)
    if status == _UNDER_WAY and not answer.is_markup:
        return Verdict(VerdictKind.DUPLICATE, status=status)
    if status in _REFUSED:
        return _waits("erasure.credentials_refused", status, "The vendor refuses the workspace's credentials.")
    if status in _CLIENT_ERRORS and status not in _LATER and not answer.is_markup:
        return Verdict(VerdictKind.PARK, "vendor.rejected", status, "The vendor refuses this request.")
    return _waits("erasure.unanswered", status, "The vendor does not take requests now.", not_received=False)


def _names(answer: Answer, request_id: str) -> bool:
    """Whether an answer is about this request."""
    try:
        body = answer.json()
    except VendorUnreachableError:
        return False
    return isinstance(body, dict) and body.get("subject_request_id") == request_id


def _waits(code: str, status: int | None, title: str, *, not_received: bool = True) -> Verdict:
    """Tried again later, without a word against the line or the lane."""
    return Verdict(VerdictKind.RETRY, code, status, title, awaits=True, not_received=not_received)
