"""Old sandboxes, which take the key in the address without a signature."""

from agent.connectors.antavo import build
from agent.domain.delivery import VerdictKind
from tests.connectors.antavo.conftest import KEY, make_settings
from tests.connectors.antavo.test_sender import PHONE, now
from tests.connectors.mparticle.sales import Reference, make_outgoing
from tests.fakes import surroundings
from tests.wire import POLICY, answer, cut, in_turn, wire

TAKEN = b'{"id": "c", "events": []}'


def make_room(url, clock, key=KEY):
    """The secret is not there, and nobody reads it."""
    secrets = {"credential:antavo-key": Reference(key)}
    return build(
        make_settings(url, auth_mode="api_key"),
        surroundings(role="forward", secret=secrets.__getitem__, http=POLICY, clock=clock),
    )


async def test_a_sandbox(simulator, clock):
    """Calls with and without a query are let in by the key alone."""
    sim, running = simulator
    sim.unsigned = True
    room = make_room(running.url, clock)

    await room.ping()
    [known] = await room.sender.send([make_outgoing(now("t-1"))])
    [searched] = await room.sender.send([make_outgoing(now("t-2"), key=PHONE)])
    await room.close()

    assert (known.kind, searched.kind) == (VerdictKind.DONE, VerdictKind.DONE)
    assert sim.held() == {"t-1": 1, "t-2": 1}


async def test_nothing_of_the_key_is_told(clock, capfd):
    """Neither by what was refused, nor by a line that breaks: an address is shown nowhere."""
    async with wire(in_turn(answer(401), cut, answer(500), answer(200, TAKEN))) as server:
        room = make_room(server.url, clock)
        verdicts = [(await room.sender.send([make_outgoing(now())]))[0] for _ in range(4)]
        await room.close()

    assert [verdict.kind.value for verdict in verdicts] == ["hold", "retry", "retry", "done"]
    assert all(f"POST /events?api_key={KEY} HTTP/1.1".encode() in request for request in server.requests)
    assert not any(b"authorization" in request.lower() for request in server.requests)
    shown = capfd.readouterr()
    assert KEY not in f"{verdicts}{shown.out}{shown.err}"


async def test_a_workspace_that_wants_signatures(simulator, clock):
    """From 2027 on: the lane is held until the configuration says escher."""
    _, running = simulator
    room = make_room(running.url, clock)

    [verdict] = await room.sender.send([make_outgoing(now())])
    await room.close()

    assert (verdict.kind, verdict.code) == (VerdictKind.HOLD, "vendor.credentials_refused")


async def test_a_key_that_cannot_be_one(clock):
    """It is not put into an address."""
    room = make_room("http://127.0.0.1:9", clock, key="a key&more=1")

    [verdict] = await room.sender.send([make_outgoing(now())])
    await room.close()

    assert (verdict.kind, verdict.code, verdict.not_received) == (
        VerdictKind.HOLD, "vendor.credentials_missing", True
    )  # fmt: skip
