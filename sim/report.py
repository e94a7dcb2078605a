"""`python -m sim report`: predictions at several sizes, the matrix of deployments, a table and plots of both.

A log keeps what was measured, one JSON line for each size and row, so that a report goes on where it was broken off
and is drawn anew without being run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ringipam.core.rng import Rng
from ringipam.errors import RequestError
from ringipam.ring.ring import Ring
from sim.exchange import exchange, ring_of, with_news
from sim.matrix import FACTORS, Measured, Row, measure, pairwise_rows
from sim.plots import draw
from sim.predict import Prediction, predict

HOSTS = (3, 10, 30, 100, 300, 1000)
SECONDS = 600
QUICK_HOSTS = (3, 10)
QUICK_SECONDS = 20
TOKENS = 10_000
"""Of the rings whose exchange is measured."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("report", help="predictions for planners: a table and plots")
    parser.add_argument("--hosts", type=_sizes, default=HOSTS, metavar="N,N…", help="3,10,30,100,300,1000 if not told")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of normal work, simulated")
    parser.add_argument("--quick", action="store_true", help="3 and 10 hosts, 20 s, the matrix rows of few hosts")
    parser.add_argument("--log", type=Path, metavar="FILE", help="a report with the same log goes on where it stopped")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to draw the plots")
    parser.add_argument("--json", action="store_true", help="print what was measured as one JSON object")
    parser.set_defaults(do=report)


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(sorted({int(size) for size in text.split(",")}))
    if sizes[0] < 2:
        raise argparse.ArgumentTypeError("a system has 2 hosts or more")
    return sizes


def report(options: argparse.Namespace) -> int:
    """Exit status: 0 no violation, 1 a violation in a row of the matrix. In a prediction it is raised."""
    sizes, seconds = (QUICK_HOSTS, QUICK_SECONDS) if options.quick else (options.hosts, options.seconds)
    rows = [row for row in pairwise_rows() if not options.quick or row["hosts"] == "<10"]
    logged = _Log(options.log, seconds)
    found = [logged.prediction(size) for size in sizes]
    measured = [logged.row(number, row) for number, row in enumerate(rows)]
    if options.out is not None:
        for path in draw(found, options.out):
            print(path, file=sys.stderr)
    rest, news = exchanges()
    if options.json:
        data = {"predictions": [p.as_json() for p in found], "matrix": [m.as_json() for m in measured]}
        print(json.dumps({**data, "exchange_at_rest_bytes": rest, "exchange_of_news_bytes": news}))
    else:
        print("\n".join([*prediction_table(found), "", *matrix_table(measured)]))
        print(f"\nTwo rings of {TOKENS:,} tokens: {rest} bytes of payload to find that they agree, {sum(news)} in")
        print(f"{len(news)} messages to agree when one has newer tidings of one token.")
    return 1 if any(row.violation for row in measured) else 0


class _Log:
    """What was measured before with as many seconds, and what is measured now."""

    def __init__(self, path: Path | None, seconds: int) -> None:
        self._path = path
        self._seconds = seconds
        self._lines: list[dict[str, object]] = []
        if path is not None and path.exists():
            try:
                self._lines = [json.loads(line) for line in path.read_text().splitlines()]
            except ValueError:
                raise RequestError(f"{path} is not the log of a report") from None

    def prediction(self, hosts: int) -> Prediction:
        for line in self._lines:
            if line.get("hosts") == hosts and line.get("seconds") == self._seconds:
                return Prediction(**line)  # type: ignore[arg-type]
        found = predict(hosts, self._seconds)
        self._note(found.as_json())
        return found

    def row(self, number: int, row: Row) -> Measured:
        for line in self._lines:
            if line.get("row") == row:
                return Measured(**line)  # type: ignore[arg-type]
        found = measure(row, seed=1 + number)
        self._note(found.as_json())
        return found

    def _note(self, line: dict[str, object]) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")


def exchanges() -> tuple[int, list[int]]:
    """Payloads: of an exchange at rest, and of the messages of one after which two rings agree that differed."""
    rng = Rng(1)
    ring = ring_of(TOKENS, rng)
    (rest,) = exchange(ring, Ring.from_tokens(ring.universe, ring.tokens()), bytes(8))
    return rest, exchange(with_news(ring, rng), ring, bytes(8))


# ── tables, as Markdown ───────────────────────────────────────────────────────────────────────────


def prediction_table(found: Sequence[Prediction]) -> list[str]:
    """A line for each figure, a column for each size."""
    rows: list[tuple[str, list[str]]] = [
        ("hosts", [f"{p.hosts:,}" for p in found]),
        ("of which flap", [str(p.flapping) for p in found]),
        ("starts", [f"{p.starts:,}" for p in found]),
        ("answered in, p50 / p95 / p99 / longest, ms", [_percentiles(p.answer_ms) for p in found]),
        ("waited for the network", [f"{100 * p.waited_share:.2f} %" for p in found]),
        ("these in, p50 / p95 / p99 / longest, ms", [_percentiles(p.waited_ms) for p in found]),
        ("refused / lost with a host", [f"{p.refused} / {p.lost}" for p in found]),
        ("changes gossiped (of the ring)", [f"{p.changes:,} ({p.ring_changes:,})" for p in found]),
        ("copies of a change a host", [f"{p.copies:.2f}" if p.changes else "–" for p in found]),
        ("bytes a change, all hosts", [f"{p.bytes_a_change:,.0f}" if p.changes else "–" for p in found]),
        ("bytes a change and host", [f"{p.bytes_a_change_and_host:,.0f}" if p.changes else "–" for p in found]),
        ("bytes a second and host, at work", [f"{p.work_bytes_s:,.0f}" for p in found]),
        ("bytes a second and host, at rest", [f"{p.rest_bytes_s:,.0f}" for p in found]),
        ("one change everywhere: median / slowest of 5, ms", [_change(p) for p in found]),
        ("the median in rounds of gossip", [f"{p.rounds:.1f}" for p in found]),
        ("equal rings after a split of 20 s, ms", [f"{p.heal_ms:,}" if p.heal_ms is not None else "–" for p in found]),
        ("tokens, most / after work", [f"{p.tokens_most:,} / {p.tokens_after:,}" for p in found]),
        ("events simulated", [f"{p.events:,}" for p in found]),
        ("simulated seconds of work in one real second", [f"{p.seconds / p.work_wall_s:,.1f}" for p in found]),
        ("real seconds in all", [f"{p.wall_s:,.0f}" for p in found]),
        ("memory, MiB", [f"{p.memory_mib:,}" for p in found]),
    ]
    (head, sizes), *body = rows
    return list(_markdown([head, *sizes], [[name, *cells] for name, cells in body]))


def matrix_table(measured: Sequence[Measured]) -> list[str]:
    head = [
        *FACTORS,
        "starts",
        "refused",
        "waited",
        "p50 / p95 / p99 / longest, ms",
        "tokens",
        "healed in ms",
        "violation",
    ]
    body = [
        [
            *m.row.values(),
            str(m.starts),
            str(m.refused),
            f"{m.waited_percent:.1f} %",
            _percentiles(m.answer_ms),
            str(m.tokens),
            str(m.healed_ms if m.healed_ms is not None else "–"),
            m.violation or "none",
        ]
        for m in measured
    ]
    return list(_markdown(head, body))


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for cells in body:
        yield f"| {' | '.join(cells)} |"


def _percentiles(at: object) -> str:
    return " / ".join(str(value) for value in at.values()) if isinstance(at, dict) and at else "–"


def _change(found: Prediction) -> str:
    return f"{found.change_ms[len(found.change_ms) // 2]:,} / {found.change_ms[-1]:,}"
