"""How a backlog is cut into requests. Pure.

mParticle gives two readings of its bulk limit: at most 100 batches, and at most 100 "event data items". Both are kept.
Sizes: 256 KB for a request, 128 KB for a batch (default service limits and the HTTP page); a margin stays free.
"""

from collections.abc import Iterator, Sequence

from agent.connectors.mparticle.mapping import Batch

MAX_BATCHES = 100
MAX_EVENTS = 100
MAX_REQUEST_BYTES = 240_000
MAX_BATCH_BYTES = 120_000


def cut(batches: Sequence[Batch]) -> Iterator[list[int]]:
    """Places of batches that go together in one request, in order; one too large for company goes alone.

    Args:
        batches: all of one endpoint.
    """
    together: list[int] = []
    events = size = 0
    for place, batch in enumerate(batches):
        takes = len(batch.body) + 1
        full = len(together) == MAX_BATCHES or events + batch.events > MAX_EVENTS or size + takes > MAX_REQUEST_BYTES
        if together and full:
            yield together
            together, events, size = [], 0, 0
        together.append(place)
        events += batch.events
        size += takes
    if together:
        yield together


def join(bodies: Sequence[bytes]) -> bytes:
    """The body of a bulk request."""
    return b"[" + b",".join(bodies) + b"]"
