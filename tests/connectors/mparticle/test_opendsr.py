"""Asking for erasure: what a request says, what its answer means, and that no event ever waits for it."""

from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from agent.connectors.mparticle.client import BasicCredentials, MparticleClient
from agent.connectors.mparticle.opendsr import OpenDsr, render_request, request_id_of
from agent.connectors.mparticle.sender import MparticleSender
from agent.connectors.mparticle.simulator import Fault
from agent.domain.activity import MemberEvent
from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.transport import Transport
from tests.connectors.mparticle.sales import NOW, Reference, make_activity, make_key, make_outgoing, make_settings
from tests.wire import POLICY, answer, in_turn, wire

PHONE = Identifier(IdentifierType.MOBILE_PHONE, "+46701740605")
EMAIL = Identifier(IdentifierType.EMAIL, "alma@example.com")


def erasure(entry=1, *, receipt="9f86d081", **changes):
    activity = make_activity(activity_id=f"erasure-{receipt}", type=MemberEvent.ERASURE, order_id=None, attributes={})
    return make_outgoing(activity, entry=entry, **changes)


@pytest.fixture
def connect(clock, afterwards: AsyncExitStack):
    """Makes senders that may ask for erasure."""

    def connect_(url: str, *, secret: str | None = "workspace-secret") -> MparticleSender:
        settings = make_settings()
        events = MparticleClient(
            Transport(f"{url}/v2", POLICY, connections=1, user_agent="LoyaltyAgent/0.1"),
            Reference("us1-key"), Reference("sim-secret"), heard=lambda _answer: None,
        )  # fmt: skip
        opendsr = OpenDsr(
            Transport(f"{url}/v3", POLICY, connections=1, user_agent="LoyaltyAgent/0.1"),
            BasicCredentials(Reference("workspace"), Reference(secret)), settings, primary=IdentifierType.MEMBER_NUMBER,
        )  # fmt: skip
        afterwards.push_async_callback(events.close)
        afterwards.push_async_callback(opendsr.close)
        return MparticleSender(events, settings, primary=IdentifierType.MEMBER_NUMBER, clock=clock, opendsr=opendsr)

    return connect_


@pytest.fixture
def workspace(simulator):
    """The input of a workspace with keys of its own."""
    sim, running = simulator
    sim.workspace = {"workspace": "workspace-secret"}
    return sim, running


@pytest.mark.parametrize(
    ("outgoing", "main", "extended"),
    [
        (erasure(), {"controller_customer_id": "10000421"}, {}),
        (erasure(readings=(EMAIL,)), {"controller_customer_id": "10000421", "email": EMAIL.value}, {}),
        (erasure(readings=(PHONE,)), {"controller_customer_id": "10000421"}, {"mobile_number": PHONE.value}),
        (erasure(guest=True, readings=(PHONE,)), {}, {"mobile_number": PHONE.value}),
        (erasure(guest=True, readings=(Identifier(IdentifierType.CARD_NUMBER, "99001122"),)), {},
         {"other3": "99001122"}),
        (erasure(guest=True, readings=(Identifier(IdentifierType.CONTACT_ID, "c-1"),)), {}, {"other": "c-1"}),
        (erasure(guest=True, readings=(Identifier(IdentifierType.EXTERNAL_ID, "e-1"),)), {}, {"other2": "e-1"}),
    ],
    ids=["a member", "a member and an address", "a member and a phone", "a phone", "a card", "a contact id",
         "an external id"],
)  # fmt: skip
def test_what_a_request_says(outgoing, main, extended):
    """Each identity stands where OpenDSR has it, under its own spelling of it."""
    body = render_request(outgoing, outgoing.record, "gdpr", primary=IdentifierType.MEMBER_NUMBER)
    assert {name: one["value"] for name, one in body["subject_identities"].items()} == main
    told = body.get("extensions", {}).get("opendsr.mparticle.com", {}).get("subject_identities", {})
    assert {name: one["value"] for name, one in told.items()} == extended
    assert {one["encoding"] for one in (*body["subject_identities"].values(), *told.values())} == {"raw"}
    assert (body["regulation"], body["subject_request_type"], body["api_version"]) == ("gdpr", "erasure", "3.0")
    assert body["submitted_time"] == "2026-02-14T15:41:09Z"
    assert body["subject_request_id"] == request_id_of(outgoing.record)


def test_a_personal_number_is_never_sent():
    """Nothing else names them: there is nothing that could be asked for."""
    key = make_key(IdentifierType.PERSONAL_NUMBER, "193208232391")
    assert render_request(erasure(key=key), erasure().record, "gdpr", primary=IdentifierType.MEMBER_NUMBER) is None


def test_an_id_of_its_own():
    """The same request has the same at every attempt, another one another, and none is a person's."""
    first, again = request_id_of(erasure().record), request_id_of(erasure(attempts=9).record)
    assert first == again != request_id_of(erasure(receipt="another").record)
    assert first[14] == "4"


async def test_it_is_received(workspace, connect):
    """Received is done; what they call it is on record."""
    sim, running = workspace
    outgoing = erasure(readings=(PHONE,))
    [verdict] = await connect(running.url).send([outgoing])
    assert (verdict.kind, verdict.status, verdict.reference) == (VerdictKind.DONE, 201, request_id_of(outgoing.record))
    assert sim.erasures() == [{"controller_customer_id": "10000421", "mobile_number": PHONE.value}]
    assert sim.received == []


async def test_it_goes_alone(workspace, connect):
    """What is leased with it is split off when it goes first, and goes without it when it does not."""
    sim, running = workspace
    sender, event = connect(running.url), make_outgoing(make_activity(), entry=2, person=b"q")

    first = await sender.send([erasure(), event, erasure(3)])
    last = await sender.send([event, erasure()])

    assert [verdict.kind for verdict in first] == [VerdictKind.DONE, VerdictKind.SPLIT, VerdictKind.SPLIT]
    assert [verdict.kind for verdict in last] == [VerdictKind.DONE, VerdictKind.SPLIT]
    assert (len(sim.erasures()), len(sim.received)) == (1, 1)


async def test_an_answer_that_is_lost(workspace, connect):
    """It had arrived: the next attempt asks for it and finds it, and it is filed once."""
    sim, running = workspace
    sender = connect(running.url)
    fault = sim.add(Fault(kind="drop", after_processing=True))
    [first] = await sender.send([erasure()])
    sim.remove(fault)
    [second] = await sender.send([erasure(maybe_received=True)])

    assert (first.kind, first.awaits, first.not_received) == (VerdictKind.RETRY, True, False)
    assert (second.kind, second.reference) == (VerdictKind.DUPLICATE, request_id_of(erasure().record))
    assert len(sim.erasures()) == 1


async def test_what_may_have_arrived_and_did_not(workspace, connect):
    """Nobody knows it there: it is filed."""
    sim, running = workspace
    [verdict] = await connect(running.url).send([erasure(maybe_received=True)])
    assert (verdict.kind, len(sim.erasures())) == (VerdictKind.DONE, 1)


REQUEST = request_id_of(erasure().record).encode()


@pytest.mark.parametrize(
    ("found", "filed"),
    [
        pytest.param(answer(200, b'{"subject_request_id": "' + REQUEST + b'", "request_status": "pending"}'), [],
                     id="it is there"),
        pytest.param(answer(404, b"{}"), [b'"subject_request_id":"' + REQUEST], id="it is not there"),
        pytest.param(answer(404), [b'"subject_request_id":"' + REQUEST], id="it is not there, without a word"),
    ],
)  # fmt: skip
async def test_what_is_asked_before_it_is_filed_again(connect, found, filed):
    """What may have arrived is asked for by its id, and filed only if it is not known."""
    taken = answer(201, b'{"subject_request_id": "' + REQUEST + b'"}')
    async with wire(in_turn(found, taken)) as server:
        [verdict] = await connect(server.url).send([erasure(maybe_received=True)])
    asked, *posted = server.requests
    assert asked.startswith(b"GET /v3/requests/" + REQUEST + b" HTTP")
    assert [request.startswith(b"POST /v3/requests/ HTTP") for request in posted] == [True] * len(filed)
    assert all(words in request for words, request in zip(filed, posted, strict=True))
    assert verdict.kind is (VerdictKind.DONE if filed else VerdictKind.DUPLICATE)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(answer(200, b"<html>Sign in</html>", content_type="text/html"), id="a captive portal"),
        pytest.param(answer(200, b'{"subject_request_id": "of-somebody-else"}'), id="another request"),
        pytest.param(answer(200, b'{"subject_request_id": "'), id="cut off"),
        pytest.param(answer(200, b"[]"), id="another form"),
        pytest.param(answer(404, b"<html>", content_type="text/html"), id="a page that is not found"),
        pytest.param(answer(400, b"{}"), id="400"),
        pytest.param(answer(409, b"{}"), id="409"),
        pytest.param(answer(503), id="503"),
        pytest.param(answer(302, location="http://127.0.0.1:9/"), id="a redirect"),
    ],
)
async def test_whoever_else_answers_files_nothing(connect, found):
    """Nobody but the vendor can say that it has a request, or that it has not: else nobody would be erased."""
    async with wire(found) as server:
        [verdict] = await connect(server.url).send([erasure(maybe_received=True)])
    assert (verdict.kind, verdict.awaits, verdict.reached) == (VerdictKind.RETRY, True, True)
    assert len(server.requests) == 1


async def test_a_success_that_is_about_another_request(connect):
    """It is not taken for ours: what is filed is named in the answer."""
    async with wire(answer(201, b'{"subject_request_id": "9f86d081-0000-4000-8000-000000000000"}')) as server:
        [verdict] = await connect(server.url).send([erasure()])
    assert (verdict.kind, verdict.code, verdict.not_received) == (VerdictKind.RETRY, "erasure.unanswered", False)


async def test_somebody_who_is_being_erased_already(workspace, connect):
    """Another till asked before: that is as good."""
    sim, running = workspace
    sender = connect(running.url)
    await sender.send([erasure()])
    [verdict] = await sender.send([erasure(receipt="of-another-till")])
    assert (verdict.kind, verdict.status, len(sim.erasures())) == (VerdictKind.DUPLICATE, 409, 1)


async def test_a_request_is_carried_out_in_time(workspace, connect, clock):
    """The simulator's clock moves it on, and then the same person can be asked for again."""
    sim, running = workspace
    sender = connect(running.url)
    await sender.send([erasure()])
    [asked] = sim.data_subjects.received.values()
    told = [asked.status(NOW), asked.status(clock.now() + timedelta(days=8)), asked.status(clock.now() + timedelta(22))]
    clock.wall += timedelta(days=22)
    [verdict] = await sender.send([erasure(receipt="later")])
    assert told == ["pending", "in_progress", "completed"]
    assert (verdict.kind, len(sim.erasures())) == (VerdictKind.DONE, 2)


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        pytest.param(Fault(kind="answer", status=400), VerdictKind.PARK, "vendor.rejected", id="400"),
        pytest.param(Fault(kind="answer", status=404), VerdictKind.PARK, "vendor.rejected", id="404"),
        pytest.param(Fault(kind="answer", status=401), VerdictKind.RETRY, "erasure.credentials_refused", id="401"),
        pytest.param(Fault(kind="answer", status=403), VerdictKind.RETRY, "erasure.credentials_refused", id="403"),
        pytest.param(Fault(kind="answer", status=429, headers={"Retry-After": "9"}), VerdictKind.RETRY,
                     "erasure.unanswered", id="429"),
        pytest.param(Fault(kind="answer", status=503), VerdictKind.RETRY, "erasure.unanswered", id="503"),
        *(
            pytest.param(Fault(kind="answer", status=status, body="html"), VerdictKind.RETRY, "erasure.unanswered",
                         id=f"{status} with a web page")
            for status in (200, 201, 400, 409)
        ),
        pytest.param(Fault(kind="answer", status=201, body="empty"), VerdictKind.RETRY, "erasure.unanswered",
                     id="201 without a word"),
        pytest.param(Fault(kind="drop"), VerdictKind.RETRY, "erasure.unanswered", id="no answer"),
    ],
)  # fmt: skip
async def test_its_trouble_is_its_own(workspace, connect, fault, kind, code):
    """Whatever happens to it, nothing is said against the line: it waits by itself, or for a person."""
    sim, running = workspace
    sim.add(fault)
    [verdict] = await connect(running.url).send([erasure(readings=(PHONE,))])
    assert (verdict.kind, verdict.code) == (kind, code)
    assert verdict.awaits is (kind is VerdictKind.RETRY)
    assert (verdict.reached, verdict.after_s) == (True, None)
    assert PHONE.value not in repr(verdict)


@pytest.mark.parametrize(
    ("secret", "code"), [("another", "erasure.credentials_refused"), (None, "erasure.credentials_missing")]
)
async def test_the_workspace_s_credentials(workspace, connect, secret, code):
    """They are others than the input's: that they are wrong or missing holds no lane."""
    sim, running = workspace
    sender = connect(running.url, secret=secret)
    [verdict] = await sender.send([erasure()])
    [event] = await sender.send([make_outgoing(make_activity())])
    assert (verdict.kind, verdict.awaits, verdict.code) == (VerdictKind.RETRY, True, code)
    assert (event.kind, sim.erasures()) == (VerdictKind.DONE, [])


async def test_without_credentials_in_the_table(workspace, clock, afterwards):
    """The configuration has none any more: what was recorded before waits."""
    _, running = workspace
    client = MparticleClient(
        Transport(f"{running.url}/v2", POLICY, connections=1, user_agent="LoyaltyAgent/0.1"),
        Reference("us1-key"), Reference("sim-secret"), heard=lambda _answer: None,
    )  # fmt: skip
    afterwards.push_async_callback(client.close)
    sender = MparticleSender(client, make_settings(), primary=IdentifierType.MEMBER_NUMBER, clock=clock)
    [verdict] = await sender.send([erasure()])
    assert (verdict.kind, verdict.awaits, verdict.not_received) == (VerdictKind.RETRY, True, True)
