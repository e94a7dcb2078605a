"""The tables at the end of a run, in the form that docs/performance.md has them."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bars import Verdict
from benchmarks.figures import Spread, shown
from benchmarks.results import Results, RowResult

TITLES = {
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "per_second": "a second",
    "cpu_us": "CPU µs",
    "load_percent": "generator's CPU %",
    "mib": "resident MiB",
    "empty_mib": "empty MiB",
    "bytes_each": "bytes each",
}


def lines(results: Results, verdicts: list[Verdict]) -> Iterator[str]:
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    yield f"`{results.command}`: {results.seconds / 60:.1f} minutes; {machine}"
    for name, row in results.rows.items():
        yield ""
        yield f"### {name}: {row.title}"
        yield ""
        yield from _table(row)
    if verdicts:
        yield ""
        yield "### bars"
        yield ""
        yield "| | measured | calm | bar | |"
        yield "|---|---|---|---|---|"
        for verdict in verdicts:
            sign = "≤" if verdict.bar.at_most else "≥"
            found = "–" if verdict.ratio is None else str(verdict.ratio)
            calm = "–" if verdict.calm is None else shown(verdict.calm)
            yield f"| {verdict.bar.name} | {found} | {calm} | {sign} {shown(verdict.bar.limit)} | {verdict.word} |"


def _table(row: RowResult) -> Iterator[str]:
    columns = [name for name in TITLES if any(name in held for _, _, held in _cells(row))]
    ratios = ["p50 ÷ sync"] if any("sync_p50_ms" in held for _, _, held in _cells(row)) else []
    yield "| | | " + " | ".join([*(TITLES[name] for name in columns), *ratios]) + " |"
    yield "|---" * (2 + len(columns) + len(ratios)) + "|"
    for contender, verb, held in _cells(row):
        cells = [_cell(name, held.get(name, [])) for name in columns]
        if ratios:
            cells.append(_quotient(held))
        yield f"| {contender} | {verb} | " + " | ".join(cells) + " |"
    for name, why in row.skipped.items():
        yield f"| {name} | skipped: {why} |" + " |" * (len(columns) + len(ratios))
    if row.failed:
        yield f"\nbroken off: {row.failed}"


def _cells(row: RowResult) -> Iterator[tuple[str, str, dict[str, list[float]]]]:
    for contender, verbs in row.figures.items():
        for verb, held in verbs.items():
            yield contender, verb, held


def _cell(name: str, values: list[float]) -> str:
    """The spread stands where it matters most; elsewhere the median will do."""
    if not values:
        return ""
    spread = Spread.of(values)
    return str(spread) if name in ("p50_ms", "per_second") else shown(spread.median)


def _quotient(held: dict[str, list[float]]) -> str:
    """Each turn's median by that of the bare syncs just before it."""
    pairs = zip(held.get("p50_ms", []), held.get("sync_p50_ms", []), strict=False)
    quotients = [one / sync for one, sync in pairs]
    return shown(Spread.of(quotients).median) if quotients else ""
