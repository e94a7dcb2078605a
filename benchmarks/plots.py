"""Small SVG files that read in black and white: allocation by callers and by leases held, the rivals beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import Spread
from benchmarks.results import Point, Results
from benchmarks.scale import Scale
from benchmarks.setting import called

FLOOR = ("append + fdatasync", "sync")
SIZE = (6.4, 3.4)


class Line(NamedTuple):
    """One curve: what it is called, how it is drawn, and where each of its points stands."""

    name: str
    style: dict[str, Any]
    points: dict[float, Point]


def draw(results: Results, scale: Scale, directory: Path) -> None:
    """Every plot whose row was measured."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {
        "bench-callers-p50": ("callers", "callers", "allocation, p50, ms", _by_callers(scale, "p50_ms"), "p50_ms"),
        "bench-callers-rate": ("callers", "callers", "allocations a second", _by_callers(scale, "per_second"), ""),
        "bench-leases": ("leases", "leases held", "allocation, p50, ms", _by_leases(scale), "p50_ms"),
        "bench-cni": ("cni", "leases held", "CNI ADD, exec to exit, p50, ms", _by_plugin(scale), ""),
    }
    for name, (row, across, up, lines, floor) in drawn.items():
        if row in results.rows:
            floor_at = results.spread(Point(row, *FLOOR, floor)) if floor else None
            _draw(results, across, up, lines, floor_at, directory / f"{name}.svg")


def _by_callers(scale: Scale, figure: str) -> list[Line]:
    styles = {
        "in process": {"color": "black", "marker": "o"},
        "HTTP": {"color": "black", "marker": "s", "linestyle": "--"},
        "etcd gRPC (Go)": {"color": "gray", "marker": "^"},
        "etcd JSON": {"color": "gray", "marker": "v", "linestyle": ":"},
    }
    return [
        Line(name, style, {many: Point("callers", called(name, many), "allocate", figure) for many in scale.callers})
        for name, style in styles.items()
    ]


def _by_leases(scale: Scale) -> list[Line]:
    styles = {
        "in process": {"color": "black", "marker": "o"},
        "HTTP": {"color": "black", "marker": "s", "linestyle": "--"},
        "weave stand-in": {"color": "gray", "marker": "x", "linestyle": ":"},
    }
    return [
        Line(name, style, {size: _held("leases", size, name, "allocate") for size in scale.sizes})
        for name, style in styles.items()
    ]


def _by_plugin(scale: Scale) -> list[Line]:
    styles = {
        "ringipam": {"color": "black", "marker": "o"},
        "host-local": {"color": "gray", "marker": "x", "linestyle": ":"},
    }
    sizes = sorted({scale.sizes[0], scale.held, scale.table_max})
    return [
        Line(name, style, {size: _held("cni", size, name, "ADD") for size in sizes}) for name, style in styles.items()
    ]


def _held(row: str, leases: int, name: str, verb: str) -> Point:
    return Point(row, called(f"{leases:,} leases, {name}", 1), verb, "p50_ms")


def _draw(results: Results, across: str, up: str, lines: Iterable[Line], floor: Spread | None, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "ringipam", "svg.fonttype": "none", "font.size": 9, "axes.grid": True})
    matplotlib.rcParams.update({"grid.color": "0.85", "axes.axisbelow": True, "font.family": "sans-serif"})
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    lines = [line for line in lines if any(map(results.values, line.points.values()))]
    if not lines:
        return
    ticks = sorted({at for line in lines for at in line.points})  # as far apart from each other as there is room
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for line in lines:
        found = [(at, spread) for at, point in line.points.items() if (spread := results.spread(point)) is not None]
        medians = [spread.median for _, spread in found]
        below = [spread.median - spread.low for _, spread in found]
        above = [spread.high - spread.median for _, spread in found]
        style = {"linewidth": 1.0, "markersize": 4, "capsize": 2, **line.style}
        axes.errorbar([ticks.index(at) for at, _ in found], medians, yerr=[below, above], label=line.name, **style)
    if floor is not None:
        axes.axhline(floor.median, color="black", linewidth=0.8, linestyle="-.", label=FLOOR[0])
    axes.set_xticks(range(len(ticks)), [f"{tick:,.0f}" for tick in ticks])
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.minorticks_off()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
