"""`python -m sim`: run one seed, or many over all cores; replay, shorten and show what went wrong."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

from ringipam.errors import RequestError
from sim import report, scenarios
from sim.campaign import Summary, campaign
from sim.compiled import build
from sim.explore import command as explore_command
from sim.faults import KINDS
from sim.mutants import command as mutants
from sim.mutants import known
from sim.page import write_run
from sim.record import Recorder
from sim.run import Plan, Result, Run
from sim.saved import load, save
from sim.shortened import Progress, as_json, in_words
from sim.shrink import shrink
from sim.words import Words


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 no violation, 1 a violation, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.do(options))
    except (RequestError, OSError) as error:
        print(f"sim: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sim", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="one seed; the last line is its digest")
    one.add_argument("--seed", type=int, required=True)
    one.set_defaults(do=_run)
    again = commands.add_parser("replay", help="a saved run once more")
    again.add_argument("file", type=Path)
    again.set_defaults(do=_replay)
    for command in (one, again):
        command.add_argument(
            "--trace", type=_writable, metavar="FILE", help="write every event and effect as JSON lines"
        )
        command.add_argument("--page", type=_writable, metavar="FILE.html", help="write a page that shows the run")
        command.add_argument("--save", type=Path, metavar="FILE", help="write down the run, to be replayed or shrunk")
        command.add_argument("--json", action="store_true", help="print the result as one JSON object")
    many = commands.add_parser("campaign", help="many seeds, over all cores")
    many.add_argument("--seeds", type=_range, required=True, metavar="A..B", help="both included")
    many.add_argument("--jobs", type=_count, default=os.cpu_count() or 1)
    many.add_argument("--failures", default="sim-failures", metavar="DIR", help="where failing runs are saved")
    many.add_argument("--log", type=Path, metavar="FILE", help="a campaign with the same log goes on where it stopped")
    many.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that does the work")
    many.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    many.set_defaults(do=_campaign)
    short = commands.add_parser("shrink", help="a failing run with fewer hosts, faults and requests")
    which = short.add_mutually_exclusive_group(required=True)
    which.add_argument("file", type=Path, nargs="?", help="a saved run")
    which.add_argument("--seed", type=int, help="or a seed, with --nodes, --seconds and --faults as for run")
    short.add_argument("--out", type=Path, metavar="FILE", help="where the short run is saved")
    short.add_argument("--page", type=_writable, metavar="FILE.html", help="write a page that shows the short run")
    short.add_argument("--seconds-limit", type=_count, default=60, metavar="S", help="of real time")
    short.add_argument("--jobs", type=_count, default=os.cpu_count() or 1)
    short.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    short.set_defaults(do=_shrink)
    for command in (one, many, short):
        command.add_argument("--nodes", type=_count, default=5)
        command.add_argument("--seconds", type=_seconds, default=80, help="simulated: half with faults, half to heal")
        command.add_argument("--mutant", type=_mutant, metavar="NAME", help="on this broken core")
        command.add_argument("--faults", type=_faults, default="swarm", help="all, none, swarm, or NAME,NAME…")
    small = commands.add_parser("explore", help="every order of events in small worlds")
    explore_command.add_arguments(small)
    small.set_defaults(do=explore_command.main)
    fast = commands.add_parser("compile", help="a copy that runs campaigns faster, by mypyc")
    fast.add_argument("directory", type=Path)
    fast.set_defaults(do=_compile)
    broken = commands.add_parser("mutants", help="which checker notices each broken variant of the core")
    mutants.add_arguments(broken)
    broken.set_defaults(do=mutants.main)
    kinds = commands.add_parser("faults", help="the kinds of faults there are")
    kinds.set_defaults(do=_show_faults)
    report.add_parser(commands)
    scenarios.add_parser(commands)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _seconds(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError("must be 2 or more")
    return number


def _range(text: str) -> range:
    first, dots, last = text.partition("..")
    if not dots or not first.isdecimal() or not last.isdecimal() or int(first) > int(last):
        raise argparse.ArgumentTypeError(f"not of the form A..B: {text!r}")
    return range(int(first), int(last) + 1)


def _writable(text: str) -> TextIO:
    try:
        return open(text, "w", encoding="utf-8")
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _faults(text: str) -> str:
    unknown = [name for name in text.split(",") if name not in KINDS]
    if text not in ("all", "none", "swarm") and unknown:
        raise argparse.ArgumentTypeError(f"unknown faults {', '.join(unknown)}; known are {', '.join(KINDS)}")
    return text


def _mutant(text: str) -> str:
    try:
        return known(text).name
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(options: argparse.Namespace) -> int:
    plan = Plan(options.seed, options.nodes, options.seconds, options.faults, mutant=options.mutant or "")
    return _complete(plan, options)


def _replay(options: argparse.Namespace) -> int:
    return _complete(load(options.file), options)


def _watched(run: Run, page: TextIO | None) -> Result:
    """Run it, and write its page if one is wanted."""
    if page is None:
        return run.complete()
    recorder = Recorder(run.world)
    run.world.watch(recorder, first=True)
    result = run.complete()
    write_run(page, run, result, recorder)
    return result


def _complete(plan: Plan, options: argparse.Namespace) -> int:
    begin = time.perf_counter()
    with options.trace or nullcontext() as trace, options.page or nullcontext() as page:
        run = Run(plan, trace)
        result = _watched(run, page)
    elapsed = time.perf_counter() - begin
    if options.save:
        save(options.save, run, result)
    if options.json:
        shown = {name: getattr(result, name) for name in ("digest", "events", "messages", "requests", "answered")}
        print(json.dumps({"seed": plan.seed, "violation": result.violation, **shown, "marks": dict(result.marks)}))
        return 1 if result.violation else 0
    print(
        f"seed {plan.seed}: {plan.hosts - len(plan.without)} hosts, {plan.seconds} s simulated in {elapsed:.2f} s;"
        f" {result.events} events, {result.messages} messages, {result.answered} of {result.requests} requests answered"
    )
    if result.violation:
        print(f"violation: {result.violation}")
        print(result.details, end="")
        again = options.save or getattr(options, "file", None)
        print(f"replay: {f'python -m sim replay {again}' if again else 'give this command --save FILE as well'}")
    print(f"digest: {result.digest}")
    return 1 if result.violation else 0


def _shrink(options: argparse.Namespace) -> int:
    drawn = Plan(options.seed, options.nodes, options.seconds, options.faults, mutant=options.mutant or "")
    plan = load(options.file) if options.file else drawn
    tell = Progress(sys.stderr)
    shrunk = shrink(plan, seconds=options.seconds_limit, jobs=options.jobs, tell=tell.step)
    tell.end()
    if shrunk is None:
        print("no violation: there is nothing to shrink", file=sys.stderr)
        return 1
    out = options.out or Path(f"{options.file.with_suffix('') if options.file else f'seed-{plan.seed}'}-short.json")
    run = Run(shrunk.after.plan)
    save(out, run, run.complete())
    with options.page or nullcontext() as page:
        again = _watched(Run(load(out)), page)
    if again.violation != shrunk.after.violation:
        raise RequestError(f"{out} does not replay: {again.violation or 'no violation'}; the core is not deterministic")
    words = Words(run.world.universe, {})
    print(json.dumps(as_json(shrunk, out)) if options.json else in_words(shrunk, out, words))
    return 0


def _campaign(options: argparse.Namespace) -> int:
    plans = [
        Plan(seed, options.nodes, options.seconds, options.faults, mutant=options.mutant or "")
        for seed in options.seeds
    ]
    summary = campaign(plans, options.jobs, options.failures, options.log, options.scheduler)
    if options.json:
        print(json.dumps(_as_json(summary, options.faults)))
    else:
        _print(summary, options.faults)
    return 1 if summary.failed else 0


def _as_json(summary: Summary, faults: str) -> dict[str, object]:
    failed = [{"seed": seed, "checker": checker, "file": file} for seed, checker, file in summary.failed]
    return {
        "seeds": summary.seeds,
        "events": summary.events,
        "seconds": round(summary.seconds, 1),
        "failed": failed,
        "twice": summary.twice,
        "late": summary.late,
        "marks": dict(sorted(summary.marks.items())),
        "unreached": summary.unreached(faults),
    }


def _print(summary: Summary, faults: str) -> None:
    rate = summary.events / summary.seconds if summary.seconds else 0
    print(
        f"{summary.seeds} seeds, {len(summary.failed)} failed, {summary.events} events in {summary.seconds:.1f} s"
        f" ({rate:.0f} a second), {summary.twice} seeds run twice"
    )
    if summary.late:
        print(f"{summary.late} seeds took longer to converge than 99 % may")
    unreached = summary.unreached(faults)
    print(f"{len(summary.marks)} situations reached, {len(unreached)} never" + ("" if unreached else "."))
    for mark in unreached:
        print(f"  never: {mark}")


def _compile(options: argparse.Namespace) -> int:
    build(options.directory)
    print(f"compiled; for a campaign: cd {options.directory} && {sys.executable} -m sim campaign --seeds 0..19999")
    return 0


def _show_faults(options: argparse.Namespace) -> int:
    width = max(map(len, KINDS))
    for name, kind in KINDS.items():
        print(f"{name:{width}}  {kind.does}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
