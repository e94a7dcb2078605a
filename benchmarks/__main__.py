"""ringipam and its rivals in one run, in turns, beside what this machine's disk and sockets allow.

    python -m benchmarks [--quick] [--steady-minutes M] [--json FILE] [--plots DIR] [ROW …]

Everybody who takes part in a row is set up once; then they work in turns for a moment each, round after round, so that
whatever else the machine does troubles all alike. What is printed is the median over the rounds and its quartiles.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from benchmarks import bars, plots, report
from benchmarks.filling import Larder
from benchmarks.floor import BareSync
from benchmarks.results import Results, RowResult, load, machine
from benchmarks.rows import Row, allocation, cni, whole
from benchmarks.scale import QUICK, SMOKE, STANDARD, Scale
from benchmarks.setting import Setting

ROWS = {
    row.name: row
    for row in (
        Row("callers", "allocation by number of callers, nothing leased before", allocation.by_callers),
        Row("leases", "allocation by leases held", allocation.by_leases),
        Row("family", "allocation by family", allocation.by_family),
        Row("space", "allocation in fresh and in fragmented space", allocation.by_space),
        Row("operations", "each operation", allocation.by_operation),
        Row("cni", "CNI ADD and DEL, exec to exit", cni.plugins),
        Row("startup", "start until the first allocation", whole.starts, lambda scale: scale.starts, short=False),
        Row("memory", "resident memory", whole.memory, lambda scale: scale.starts, short=False),
        Row("steady", "a cluster at steady work", whole.steady, lambda _: 1, lambda scale: scale.steady_s, short=False),
    )
}

FLOOR_SHARE = 0.1
"""How long the floor is looked at before a turn, as a part of it."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)} (default: all)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="scale", action="store_const", const=QUICK, help="in about two minutes")
    size.add_argument("--smoke", dest="scale", action="store_const", const=SMOKE, help="only to see that all runs")
    parser.add_argument("--steady-minutes", type=float, metavar="M", help="how long the row steady takes (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round here")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw SVG files here (needs matplotlib)")
    parser.add_argument("--from", dest="found", type=Path, metavar="FILE", help="measure nothing: show a --json again")
    parser.add_argument("--directory", type=Path, help="where the data lie (default: a temporary one)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.rows if name not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    scale = arguments.scale or STANDARD
    if arguments.steady_minutes is not None:
        scale = replace(scale, steady_s=60 * arguments.steady_minutes)
    if arguments.found is not None:
        results = Results.load(arguments.found)
    else:
        with tempfile.TemporaryDirectory(prefix="ringipam-", dir=arguments.directory) as directory:
            results = run(Path(directory), scale, arguments.rows or list(ROWS))
    if arguments.json is not None:
        results.save(arguments.json)
    scale = next(scale for scale in (QUICK, SMOKE, STANDARD) if scale.name == results.scale)
    print("\n".join(report.lines(results, bars.judge(results, scale))))
    if arguments.plots is not None:
        plots.draw(results, scale, arguments.plots)
    return 1 if any(row.failed for row in results.rows.values()) else 0


def run(directory: Path, scale: Scale, names: list[str]) -> Results:
    results = Results(command(scale, names), scale.name, machine())
    begin = time.perf_counter()
    larder = Larder(directory / "larder")
    for name in names:
        result = results.rows[name] = RowResult(ROWS[name].title)
        try:
            with Setting(directory / name, larder, scale) as setting:
                result.skipped = setting.skipped
                measure(ROWS[name], setting, result)
        except (Exception, SystemExit) as error:  # the other rows are worth having all the same
            result.failed = f"{type(error).__name__}: {error}"
            progress(f"{name}: broken off: {result.failed}")
    results.seconds = round(time.perf_counter() - begin, 1)
    results.machine["load after"] = load()
    return results


def command(scale: Scale, names: list[str]) -> str:
    words = ["python -m benchmarks"]
    words += [f"--{scale.name}"] if scale.name != STANDARD.name else []
    usual = next(known for known in (STANDARD, QUICK, SMOKE) if known.name == scale.name)
    words += [f"--steady-minutes {scale.steady_s / 60:g}"] if scale.steady_s != usual.steady_s else []
    return " ".join(words + (names if names != list(ROWS) else []))


def measure(row: Row, setting: Setting, result: RowResult) -> None:
    """Every contender once a round; every other round in the opposite order, as nobody is always to follow the same."""
    progress(f"{row.name}: preparing")
    contenders = row.contenders(setting)
    seconds, rounds = row.turn_s(setting.scale), row.rounds(setting.scale)
    if row.short:
        for contender in contenders:
            contender.turn(seconds / 10)
    with closing(BareSync(setting.directory)) as floor:
        for number in range(rounds):
            progress(f"{row.name}: round {number + 1} of {rounds}, {len(contenders)} in turns")
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                time.sleep(setting.scale.settle_s)
                sync = floor.turn(seconds * FLOOR_SHARE)["sync"] if row.short else {}
                turn = contender.turn(seconds)
                beside = {f"sync_{name}": value for name, value in sync.items() if name in ("p50_ms", "p95_ms")}
                result.add(contender.name, {verb: figures | beside for verb, figures in turn.items()})


def progress(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
