"""What comes in by Antavo's other doors: answers about events that were handed in, tokens, and lists in a folder."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from fuzz.answering import Wire, answer_of, statements

from agent.connectors.antavo import exports
from agent.connectors.antavo.exports import Ended, ListReader, tell
from agent.connectors.antavo.submissions import AntavoSubmissions
from agent.connectors.antavo.submitter import AntavoSubmitter, Place
from agent.connectors.antavo.tokens import AccessToken
from agent.connectors.folders import FolderFile, scan
from agent.domain.contact import ChangeKind
from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.errors import FeedUnreadableError, VendorRefusedError, VendorUnreachableError
from tests.connectors.antavo.conftest import make_settings
from tests.connectors.mparticle.sales import Reference, make_outgoing
from tests.fakes import FakeClock

ID = "5f0c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"
TOKEN = {"access_token": "t-1", "token_type": "Bearer", "expires_in": 300}
QUEUED = {"status": "success", "payload": {"correlation_id": ID, "status": "queued"}}
PROCESSED = {"status": "success", "payload": {"status": "processed", "response": {"success": {"id": "c"}, "error": []}}}
REFUSED = {"payload": {"status": "error", "response": {"error": {"type": "x", "code": 5003, "message": "m"}}}}
GONE = {"status": "error", "error": {"type": "x", "code": 203408, "message": "m"}}
WORDS = (
    b'"correlation_id":', b'"status":', b'"payload":', b'"response":', b'"error":', b'"code":', b"processed", b"failed",
    b"queued", b"access_token", b"expires_in", b"[", b"{", b"null", b"1e999", b"203408", b"5003",
)  # fmt: skip
HEAD = b"id;email;membership_id;external_ids.crm_id\n"
LIST = HEAD + b"m-1;alma@example.com;10000421|77123456;X-1\nm-2;;;\n"
PEOPLE = b'{"data": [{"_id": "m-1", "membership_id": ["10000421"], "status": "active"}, {"id": 7, "score": "1"}]}'


class NotDoneError(Exception):
    """The sale goes on waiting, both when it is handed in and when it is asked for."""


class Calls:
    """Answers tokens well, and everything else by the input."""

    def __init__(self) -> None:
        self.wire, self.token = Wire(), answer_of(statements(TOKEN)[0])

    async def request(self, _method, target, **_how):
        return self.token if target.endswith("/token") else self.wire.answer


def handing_in(calls):
    clock = FakeClock()
    secrets = {"client_id": Reference("id"), "client_secret": Reference("secret")}
    token = AccessToken(calls, clock=clock, heard=lambda _answer: None, **secrets)
    client = AntavoSubmissions(calls, token, lambda _answer: None)
    settings = make_settings(auth_mode="oauth")
    return AntavoSubmitter(client, settings, primary=IdentifierType.MEMBER_NUMBER, clock=clock)


async def test_outcomes(fuzz):
    """Whatever is said of a queued event, there is a verdict; where the sale waits, its place can be read again."""
    calls = Calls()
    waiting = replace(make_outgoing(attempts=1, maybe_received=True), progress=str(Place(0, 1, 1, id=ID)))

    async def ask(data: bytes) -> None:
        calls.wire.answer, undone = answer_of(data), []
        for outgoing in (make_outgoing(), waiting):
            [verdict] = await handing_in(calls).send([outgoing])
            if verdict.kind not in (VerdictKind.DONE, VerdictKind.DUPLICATE):
                assert Place.parse(verdict.progress) is not None
                undone.append(verdict)
        if len(undone) == 2:
            raise NotDoneError

    await fuzz.of_calls(statements(QUEUED, PROCESSED, REFUSED, GONE), WORDS, ask, refusals=(NotDoneError,))


async def test_tokens(fuzz):
    """Whatever answers instead of a token: the event was not sent, or it is one that can be sent."""
    calls = Calls()

    async def ask(data: bytes) -> None:
        calls.token = answer_of(data)
        token = AccessToken(
            calls, client_id=Reference("id"), client_secret=Reference("secret"), clock=FakeClock(),
            heard=lambda _answer: None,
        )  # fmt: skip
        failed: VendorUnreachableError | None = None
        try:
            assert (await token.value()).isascii()
        except VendorUnreachableError as error:
            failed = error
        if failed is not None:
            assert not failed.maybe_received
            raise failed

    refusals = (VendorUnreachableError, VendorRefusedError)
    await fuzz.of_calls(statements(TOKEN, {"error": "invalid_client"}), WORDS, ask, refusals=refusals)


@pytest.mark.parametrize("name", ["list.csv", "list.json"])
def test_lists(fuzz, tmp_path, monkeypatch, name):
    """Whatever lies in the folder, it is told whole or not at all, and everybody who is told of has an id."""
    monkeypatch.setattr(exports, "bound_memory", lambda _size: None)
    reader = ListReader(Normaliser("SE", guid_contact_ids=False), ("points",), "crm_id", FakeClock().today())
    path = tmp_path / name

    def read(data: bytes) -> None:
        path.write_bytes(data)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        [file] = scan(tmp_path, lambda _name: True)
        said = []
        tell(reader, FolderFile(path), file, said.append)
        *pages, last = said
        if isinstance(last, FeedUnreadableError):
            assert not pages
            raise last
        assert isinstance(last, Ended)
        assert all(change.kind is ChangeKind.UPSERT for page in pages for change in page)
        assert all(change.identifiers[IdentifierType.CONTACT_ID] for page in pages for change in page)

    words = (b"id", b"_id", b";", b",", b"\n", b'"', b"\x00", b"\xef\xbb\xbf", b"external_ids.", b"membership_id", b"[")
    fuzz.of([LIST, LIST.replace(b";", b","), PEOPLE], words, read, refusals=(FeedUnreadableError,))
