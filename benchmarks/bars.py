"""What the figures are held against: ratios of two contenders in the same rounds, each with the bar it is to pass."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.figures import Spread
from benchmarks.results import Point, Results
from benchmarks.scale import Scale
from benchmarks.setting import called


@dataclass(frozen=True, slots=True)
class Bar:
    name: str
    figure: Point
    against: Point | None
    """None: the figure itself is what counts."""
    limit: float
    at_most: bool = True

    def passed(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


TABLE = 10_000
"""Leases of host-local's, for the bar that is about long tables."""
DISTURBED = 2.0
"""Quartiles further apart than this factor say more of the machine's other work than of what was measured."""


@dataclass(frozen=True, slots=True)
class Verdict:
    bar: Bar
    ratio: Spread | None
    """Over the rounds; None if one of the two was not measured."""
    calm: float | None
    """The best quartile of one by the best quartile of the other: what other work on the machine left alone."""

    disturbed: bool = False
    """One of the two varied so much from round to round that neither says much."""

    @property
    def word(self) -> str:
        if self.ratio is None or self.calm is None:
            return "not measured"
        passed = {self.bar.passed(self.ratio.median), self.bar.passed(self.calm)}
        return "unclear" if self.disturbed or len(passed) == 2 else "reached" if passed == {True} else "not reached"


def judge(results: Results, scale: Scale) -> list[Verdict]:
    """Every bar that the rows asked for have to do with."""
    return [verdict(results, bar) for bar in bars(scale) if bar.figure.row in results.rows]


def verdict(results: Results, bar: Bar) -> Verdict:
    """By ratios round by round, so that what slowed the whole machine for a while slows both sides of each."""
    values = results.values(bar.figure)
    if bar.against is not None:
        values = [ours / theirs for ours, theirs in zip(values, results.values(bar.against), strict=False)]
    if not values:
        return Verdict(bar, None, None)
    sides = [Spread.of(results.values(point)) for point in (bar.figure, bar.against) if point is not None]
    best = [side.low if bar.at_most else side.high for side in sides]
    calm = best[0] if bar.against is None else best[0] / best[1]
    return Verdict(bar, Spread.of(values), calm, any(side.high > DISTURBED * side.low for side in sides))


def bars(scale: Scale) -> list[Bar]:
    return [*_against_the_floor(scale), *_against_rivals(scale), *_flat(scale), *_whole(scale)]


def _against_the_floor(scale: Scale) -> list[Bar]:
    row, alone, most = "callers", called("in process", 1), called("in process", scale.callers[-1])
    p50, p95, sync_p50, sync_p95 = (
        Point(row, alone, "allocate", figure) for figure in ("p50_ms", "p95_ms", "sync_p50_ms", "sync_p95_ms")
    )
    return [
        Bar("in process, 1 caller, p50 ÷ append + fdatasync", p50, sync_p50, 3.0),
        Bar("in process, 1 caller, p95 ÷ append + fdatasync", p95, sync_p95, 4.0),
        Bar(f"{most}, a second", Point(row, most, "allocate", "per_second"), None, 10_000, at_most=False),
    ]


def _against_rivals(scale: Scale) -> list[Bar]:
    row, crowd = "callers", scale.crowd
    client, http = Point(row, called("Client", 1), "allocate", "p50_ms"), called("HTTP", crowd)
    etcd_json = Point(row, called("etcd JSON", 1), "allocate", "p50_ms")
    rate, etcd_rate = (Point(row, name, "allocate", "per_second") for name in (http, called("etcd gRPC (Go)", crowd)))
    weave = Point(row, "weave stand-in, 1 caller", "allocate", "p50_ms")
    inside = Point(row, called("in process", 1), "allocate", "p50_ms")
    return [
        Bar("Client, 1 caller, p50 ÷ etcd through JSON", client, etcd_json, 0.8),
        Bar("Client, 1 caller, p50, ms", client, None, 0.5),
        Bar(f"{http}, a second ÷ etcd with as many gRPC clients (Go)", rate, etcd_rate, 1.5, at_most=False),
        Bar(f"{http}, p95, ms", Point(row, http, "allocate", "p95_ms"), None, 10.0),
        Bar("in process, 1 caller, p50 ÷ weave stand-in, 0 in use", inside, weave, 1.0),
        *_cni(scale),
    ]


def _cni(scale: Scale) -> list[Bar]:
    found = []
    long_tables = [(TABLE, 0.05)] if scale.table_max >= TABLE else []
    for leases, limit in [(scale.sizes[0], 0.6), *long_tables]:
        ours, theirs = (
            Point("cni", f"{leases:,} leases, {name}, 1 caller", "ADD", "p50_ms") for name in ("ringipam", "host-local")
        )
        found.append(Bar(f"CNI ADD, {leases:,} leases, p50 ÷ host-local", ours, theirs, limit))
    return found


def _flat(scale: Scale) -> list[Bar]:
    """The same with most leases held against none."""
    few, many = (f"{leases:,} leases, " for leases in (scale.sizes[0], scale.sizes[-1]))
    crowd, most = scale.crowd, scale.callers[-1]
    found = []
    for surface, callers in (("in process", 1), ("HTTP", 1), ("in process", most), ("HTTP", crowd)):
        name = called(surface, callers)
        ours, base = (Point("leases", held + name, "allocate", "p50_ms") for held in (many, few))
        found.append(Bar(f"{name}, p50: {scale.sizes[-1]:,} leases ÷ {scale.sizes[0]}", ours, base, 1.15))
    return found


def _whole(scale: Scale) -> list[Bar]:
    leases = f"{scale.sizes[-1]:,} leases"
    resident = f"{leases}, ids of 64 characters"
    start = Point("startup", f"{leases}, daemon, exec to answer", "first allocation", "p50_ms")
    steady = Point("steady", "three hosts, 10 starts and stops a second on each", "allocate", "p99_ms")
    return [
        Bar(f"{leases}: from exec to the first allocation, ms", start, None, 1_000),
        Bar(f"{leases}: resident, MiB", Point("memory", resident, "resident", "mib"), None, 200e6 / 2**20),
        Bar(f"{leases}: bytes a lease", Point("memory", resident, "resident", "bytes_each"), None, 800),
        Bar("three hosts, 10 starts and stops a second on each, p99, ms", steady, None, 10.0),
    ]
