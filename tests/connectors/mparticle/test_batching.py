"""How a backlog is cut into requests."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.connectors.mparticle.batching import MAX_BATCHES, MAX_EVENTS, MAX_REQUEST_BYTES, cut, join
from agent.connectors.mparticle.mapping import Batch

batches = st.lists(
    st.builds(
        lambda size, events: Batch(b"x" * size, events, historical=False),
        size=st.integers(2, 120_000),
        events=st.integers(1, 130),
    ),
    max_size=250,
)


@given(batches)
def test_cutting(found):
    """Everything goes, in order and once; what goes together keeps every limit, and no cut is made without need."""
    requests = list(cut(found))

    assert [place for request in requests for place in request] == list(range(len(found)))
    for request in requests:
        together = [found[place] for place in request]
        assert len(together) <= MAX_BATCHES
        assert len(together) == 1 or sum(batch.events for batch in together) <= MAX_EVENTS
        assert len(together) == 1 or len(join([batch.body for batch in together])) <= MAX_REQUEST_BYTES + 1
    for request, after in pairwise(requests):
        more = [found[place] for place in (*request, after[0])]
        assert (
            len(more) > MAX_BATCHES
            or sum(batch.events for batch in more) > MAX_EVENTS
            or sum(len(batch.body) + 1 for batch in more) > MAX_REQUEST_BYTES
        )


def test_both_readings_of_the_bulk_limit():
    """A hundred batches with one event each, or fewer with more."""
    one = Batch(b"{}", 1, historical=False)
    two = Batch(b"{}", 2, historical=False)

    assert [len(request) for request in cut([one] * 250)] == [100, 100, 50]
    assert [len(request) for request in cut([two] * 120)] == [50, 50, 20]


def test_the_size_of_a_request():
    """Large batches go in twos where a third would not fit any more."""
    large = Batch(b"x" * 100_000, 1, historical=False)

    assert [len(request) for request in cut([large] * 5)] == [2, 2, 1]


def test_joining():
    """A bulk request is an array."""
    assert join([b"{}", b'{"a":1}']) == b'[{},{"a":1}]'
