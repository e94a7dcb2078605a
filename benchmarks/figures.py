"""From single times to figures, from rounds to a median and its spread. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Figures = dict[str, float]
"""By name with its unit: `p50_ms`, `per_second`, `cpu_us`, …"""

Turn = dict[str, Figures]
"""What one turn of a contender gave, by verb."""


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 of times in milliseconds, rounded to microseconds."""
    if len(samples) < 2:
        return dict.fromkeys(("p50", "p95", "p99"), round(samples[0], 3))
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return {"p50": round(cuts[49], 3), "p95": round(cuts[94], 3), "p99": round(cuts[98], 3)}


def timed(samples_ms: Sequence[float], seconds: float, cpu_s: float | None = None) -> Figures:
    """The figures of requests that took so long each, and all together, and the server so much CPU."""
    if not samples_ms:
        raise ValueError("a turn was too short for a single request")
    figures = {f"{name}_ms": value for name, value in percentiles(samples_ms).items()}
    figures["per_second"] = round(len(samples_ms) / seconds, 2)
    if cpu_s is not None:
        figures["cpu_us"] = round(cpu_s / len(samples_ms) * 1e6, 1)
    return figures


@dataclass(frozen=True, slots=True)
class Spread:
    """The median over the rounds, and the quartiles around it; lowest and highest where there are few rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        ordered = sorted(values)
        if len(ordered) < 5:
            return cls(statistics.median(ordered), ordered[0], ordered[-1])
        low, middle, high = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(middle, low, high)

    def __str__(self) -> str:
        return f"{shown(self.median)} ({shown(self.low)}–{shown(self.high)})"


def shown(value: float) -> str:
    """Three significant digits, thousands in groups."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
