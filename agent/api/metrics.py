"""What Prometheus is told: figures of the agent as a whole, never of a person.

Labels are words of our own (routes, states, vendors, verdicts), so their number is bounded. The names are listed in
docs/till-api.md.
"""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.domain.health import SEVERITY
from agent.domain.history import ANSWER_BOUNDS_S, DELIVERY_BOUNDS_S, Counts
from agent.services.status import Snapshot

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
STATES: Final = ("online", "degraded", "offline")
_SALE: Final = {"method": "POST", "route": "/v1/transactions"}


class Metrics:
    """Counts what happens, and reads the rest from a snapshot when asked.

    Args:
        version: of the program.
    """

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        info = Gauge("loyalty_agent_build_info", "The program's version.", ["version"], registry=self._registry)
        info.labels(version).set(1)
        self._sales = Counter(
            "loyalty_agent_sales_accepted", "Sales put on disk and answered.", ["duplicate"], registry=self._registry
        )
        self._activities = Counter(
            "loyalty_agent_activities_accepted",
            "Activities put on disk and answered.",
            ["duplicate"],
            registry=self._registry,
        )
        self._identified = Counter(
            "loyalty_agent_identifications", "Look-ups answered.", ["outcome", "source"], registry=self._registry
        )
        self._rationed = Counter(
            "loyalty_agent_lookups_rationed", "Look-ups that a token's ration had no room for.", registry=self._registry
        )
        self._delivered = Counter(
            "loyalty_agent_deliveries", "Attempts to deliver.", ["vendor", "verdict"], registry=self._registry
        )
        self._deliveries_took = Histogram(
            "loyalty_agent_delivery_seconds",
            "From a sale's or an activity's acceptance to its delivery.",
            ["vendor"],
            buckets=DELIVERY_BOUNDS_S,
            registry=self._registry,
        )
        self._redemptions = Counter(
            "loyalty_agent_redemptions", "What became of redemptions.", ["state"], registry=self._registry
        )
        self._requests = Counter(
            "loyalty_agent_http_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._durations = Histogram(
            "loyalty_agent_http_request_duration_seconds",
            "From a request's head to the end of its answer.",
            ["method", "route"],
            buckets=ANSWER_BOUNDS_S,
            registry=self._registry,
        )
        # Looking a child up by its labels costs more than counting; the label values are few.
        self._request_of: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def watch(self, snapshot: Callable[[], Snapshot]) -> None:
        """Reports the agent's state from then on; called once."""
        self._registry.register(_State(snapshot))

    def sale(self, *, duplicate: bool) -> None:
        """A sale was answered with 202, or 200 for a repeat."""
        self._sales.labels("yes" if duplicate else "no").inc()

    def activity(self, *, duplicate: bool) -> None:
        """An activity was answered with 202, or 200 for a repeat."""
        self._activities.labels("yes" if duplicate else "no").inc()

    def identified(self, outcome: str, source: str) -> None:
        """A look-up was answered."""
        self._identified.labels(outcome, source).inc()

    def rationed(self) -> None:
        """A look-up was refused, or a sale taken without one, because its token's ration was used up."""
        self._rationed.inc()

    def delivery(self, vendor: str, verdict: str, took_s: float | None = None) -> None:
        """An attempt to deliver ended; for the dispatcher. ``took_s``: since the acceptance, of one that got there."""
        self._delivered.labels(vendor, verdict).inc()
        if took_s is not None:
            self._deliveries_took.labels(vendor).observe(max(0.0, took_s))  # below 0: the clock was put back meanwhile

    def redemption(self, state: str) -> None:
        """A redemption came to a state."""
        self._redemptions.labels(state).inc()

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. ``route`` is a template, such as ``/v1/contacts/{ref}``, never a path."""
        found = self._request_of.get((method, route, status))
        if found is None:
            found = (self._requests.labels(method, route, str(status)), self._durations.labels(method, route))
            self._request_of[method, route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def sale_answers(self) -> Counts:
        """How long tills waited for the answer to a sale, since the start, in the classes of `ANSWER_BOUNDS_S`."""
        return _classes(self._durations, _SALE)

    def deliveries_took(self) -> dict[str, Counts]:
        """How long deliveries took, since the start, by vendor, in the classes of `DELIVERY_BOUNDS_S`."""
        vendors = {sample.labels["vendor"] for family in self._deliveries_took.collect() for sample in family.samples}
        return {vendor: _classes(self._deliveries_took, {"vendor": vendor}) for vendor in vendors}

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)


class _State(Collector):
    """The agent's state as gauges, read when Prometheus asks."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> list[Metric]:
        """Nothing beforehand: registering must not ask for a snapshot."""
        return []

    def collect(self) -> Iterator[Metric]:
        now = self._snapshot()
        yield _gauge(
            "state", "1 for the state the agent is in.", "state", {state: state == now.state for state in STATES}
        )
        yield _gauge("level", "The fallback level being served.", None, {"": now.level})
        queue = now.queue
        yield _gauge(
            "queue_deliveries",
            "Unfinished deliveries.",
            "state",
            {
                "queued": queue.depth - queue.held,
                "held": queue.held,
                "parked": queue.parked,
                "in_doubt": queue.in_doubt,
            },
        )
        yield _gauge("queue_bytes", "Bytes the queue takes on disk.", None, {"": queue.bytes})
        yield _gauge("queue_oldest_age_seconds", "Age of the oldest that waits.", None, {"": queue.oldest_age_s or 0})
        yield _gauge("replica_contacts", "Members in the local copy.", None, {"": now.replica.contacts})
        if now.replica.age_s is not None:
            yield _gauge("replica_age_seconds", "Age of the local copy.", None, {"": now.replica.age_s})
        yield _gauge(
            "replica_stale", "1 when the copy is older than replica.stale_after.", None, {"": now.replica.stale}
        )
        standing = {condition.code for condition in now.conditions}
        yield _gauge("condition", "1 while a condition stands.", "code", {code: code in standing for code in SEVERITY})
        yield _gauge(
            "vendor_online",
            "1 while a vendor answers.",
            "vendor",
            {link.vendor: link.state != "offline" for link in now.vendors},
        )
        yield _gauge(
            "vendor_waiting",
            "Deliveries that wait for a vendor.",
            "vendor",
            {link.vendor: link.waiting for link in now.vendors},
        )


def _classes(histogram: Histogram, labels: dict[str, str]) -> Counts:
    """How many stand in each class alone; Prometheus counts them together with those of all classes below."""
    together = [
        int(sample.value)
        for family in histogram.collect()
        for sample in family.samples
        if sample.name.endswith("_bucket") and labels.items() <= sample.labels.items()
    ]
    return tuple(here - below for here, below in zip(together, [0, *together], strict=False))


def _gauge(name: str, documentation: str, label: str | None, values: dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"loyalty_agent_{name}", documentation, labels=[label] if label else [])
    for value, figure in values.items():
        family.add_metric([value] if label else [], float(figure))
    return family
