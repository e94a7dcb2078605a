"""What Prometheus sees: the node's figures, and how many requests were answered, how, and how fast."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LATENCY_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
STATES = ("ready", "idle", "electing", "fenced", "refusing")


class Metrics:
    """Counts requests; `render` puts the counts beside what the node says of itself.

    Counting costs a dictionary's update: prometheus_client's own counters take a lock each, and there is
    only one thread here.
    """

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str]] = Counter()
        self._allocations = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self._allocations_s = 0.0

    def count(self, verb: str, code: str, elapsed_s: float) -> None:
        """A request for `verb` was answered with `code`: `ok`, or an error's."""
        self._requests[verb, code] += 1
        if verb == "allocate" and code == "ok":
            self._allocations[bisect_left(LATENCY_BOUNDS_S, elapsed_s)] += 1
            self._allocations_s += elapsed_s

    def render(self, status: Mapping[str, object]) -> bytes:
        """The page that is scraped."""
        second = status.get("ipv6")
        ipv6 = _figures(second, "ipv6_", " (IPv6 range)") if isinstance(second, dict) else ()
        return generate_latest(_Page([*self._counts(), *_figures(status), *ipv6]))

    def _counts(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("ringipam_requests", "Requests answered.", labels=["verb", "code"])
        for (verb, code), count in sorted(self._requests.items()):
            requests.add_metric([verb, code], count)
        yield requests
        buckets, total = [], 0
        for bound, count in zip([*map(str, LATENCY_BOUNDS_S), "+Inf"], self._allocations, strict=True):
            total += count
            buckets.append((bound, total))
        yield HistogramMetricFamily(
            "ringipam_allocation_seconds",
            "From the request's arrival to a durable address.",
            buckets=buckets,
            sum_value=self._allocations_s,
        )


class _Page:
    """The one method that `generate_latest` wants of a registry."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _figures(status: Mapping[str, object], prefix: str = "", of: str = "") -> Iterator[Metric]:
    """`prefix` and `of` tell the figures of a second range from those of the first."""
    peers, pending, warnings = status.get("peers"), status.get("pending"), status.get("warnings")
    space = {key: status.get(key) for key in ("owned", "free")}
    states = {state: int(status.get("state") == state) for state in STATES}
    yield _by_state(f"{prefix}addresses", f"Addresses of this node{of}.", space)
    yield _by_state(
        f"{prefix}peers", f"Members, by what is believed of them{of}.", peers if isinstance(peers, dict) else {}
    )
    yield _by_state(f"{prefix}state", f"1 for the state the node is in{of}.", states)
    yield _gauge(f"{prefix}leases", f"Leases held here{of}.", status.get("leases"))
    yield _gauge(f"{prefix}pending_requests", f"Requests that wait for space{of}.", _length(pending))
    yield _gauge(f"{prefix}warnings", f"Things an operator should look at{of}.", _length(warnings))


def _gauge(name: str, about: str, value: object) -> Metric:
    gauge = GaugeMetricFamily(f"ringipam_{name}", about)
    if isinstance(value, int | float):
        gauge.add_metric([], value)
    return gauge


def _by_state(name: str, about: str, values: Mapping[str, object]) -> Metric:
    gauge = GaugeMetricFamily(f"ringipam_{name}", about, labels=["state"])
    for state, value in values.items():
        if isinstance(value, int | float):
            gauge.add_metric([state], value)
    return gauge


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0
