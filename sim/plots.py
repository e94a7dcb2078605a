"""The pictures of a report, as small SVG files. Drawn so that they can be read in black and white."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from ringipam.errors import RequestError
from sim.predict import Prediction

STYLES = (("o", "-", "black"), ("s", "--", "black"), ("^", ":", "black"), ("D", "-.", "dimgray"))
"""Marker, line and colour, by which the curves of one plot differ."""

Curve = tuple[str, Sequence[float | None]]


def draw(found: Sequence[Prediction], folder: Path) -> list[Path]:
    """Write the plots of these predictions; raises RequestError if matplotlib is not there."""
    try:
        import matplotlib
    except ImportError:
        raise RequestError("the plots need matplotlib: pip install 'ringipam[report]'") from None
    # Equal figures give equal files: no dates, no random ids, text as text.
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "ringipam", "svg.fonttype": "none", "font.size": 9, "axes.grid": True})
    matplotlib.rcParams.update({"grid.color": "0.85", "axes.axisbelow": True, "font.family": "sans-serif"})
    folder.mkdir(parents=True, exist_ok=True)
    hosts = [each.hosts for each in found]
    return [
        _plot(folder / "report-answers.svg", hosts, "ms to an answer", _answers(found)),
        _plot(folder / "report-bytes.svg", hosts, "bytes a second that a host sends", _bytes(found)),
        _plot(folder / "report-change.svg", hosts, "bytes for one change", _change(found)),
        _plot(folder / "report-convergence.svg", hosts, "ms until all rings are equal", _convergence(found)),
        _plot(folder / "report-ring.svg", hosts, "tokens in the ring", _ring(found)),
    ]


def _answers(found: Sequence[Prediction]) -> list[Curve]:
    return [
        ("p50 of all", [each.answer_ms.get("p50") for each in found]),
        ("p99 of all", [each.answer_ms.get("p99") for each in found]),
        ("p50 of those that waited for the network", [each.waited_ms.get("p50") for each in found]),
        ("p99 of those that waited for the network", [each.waited_ms.get("p99") for each in found]),
    ]


def _bytes(found: Sequence[Prediction]) -> list[Curve]:
    return [
        ("during work", [each.work_bytes_s for each in found]),
        ("at rest", [each.rest_bytes_s for each in found]),
    ]


def _change(found: Sequence[Prediction]) -> list[Curve]:
    return [
        ("all hosts together", [each.bytes_a_change or None for each in found]),
        ("a host", [each.bytes_a_change_and_host or None for each in found]),
    ]


def _convergence(found: Sequence[Prediction]) -> list[Curve]:
    return [
        (
            "one change, median",
            [each.change_ms[len(each.change_ms) // 2] if each.change_ms else None for each in found],
        ),
        ("one change, slowest", [each.change_ms[-1] if each.change_ms else None for each in found]),
        ("after a split of 20 s has healed", [each.heal_ms for each in found]),
    ]


def _ring(found: Sequence[Prediction]) -> list[Curve]:
    return [
        ("most during work", [each.tokens_most for each in found]),
        ("after it", [each.tokens_after for each in found]),
        ("one for each host", [each.hosts for each in found]),
    ]


def _plot(path: Path, hosts: Sequence[int], label: str, curves: Sequence[Curve]) -> Path:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes: Any = figure.add_subplot()
    for (name, heights), (marker, line, colour) in zip(curves, STYLES, strict=False):
        points = [(x, y) for x, y in zip(hosts, heights, strict=True) if y is not None]
        if points:
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, marker=marker, linestyle=line, color=colour, markersize=4, linewidth=1.2, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    values = [value for _, curve in curves for value in curve if value]
    if values:  # whole decades, so that a difference of one looks as small as it is
        axes.set_ylim(10 ** floor(log10(min(values))), 10 ** ceil(log10(max(values)) + 0.01))
    axes.set_xticks(hosts)
    plain: Callable[[float, int], str] = lambda value, _: f"{value:,.10g}"  # noqa: E731  a formatter is a function
    axes.xaxis.set_major_formatter(FuncFormatter(plain))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("hosts")
    axes.set_ylabel(label)
    if axes.lines:
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    return path
