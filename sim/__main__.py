"""`python -m sim`: run one seed, or many over all cores."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from typing import TextIO

from sim.faults import KINDS
from sim.run import Plan, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 no violation, 1 a violation, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    if options.command == "run":
        return _run_one(options)
    return _campaign(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sim", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="one seed; the last line is its digest")
    one.add_argument("--seed", type=int, required=True)
    one.add_argument("--trace", type=_writable, metavar="FILE", help="write every event and effect as JSON lines")
    one.add_argument("--page", type=_writable, metavar="FILE.html", help="write a page that shows the run")
    many = commands.add_parser("campaign", help="many seeds, over all cores")
    many.add_argument("--seeds", type=_range, required=True, metavar="A..B", help="both included")
    many.add_argument("--jobs", type=_count, default=os.cpu_count() or 1)
    for command in (one, many):
        command.add_argument("--nodes", type=_count, default=5)
        command.add_argument("--seconds", type=_count, default=80, help="simulated: half with faults, half to heal")
        command.add_argument("--faults", type=_faults, default="swarm", help="all, none, swarm, or NAME,NAME…")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
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


def _run_one(options: argparse.Namespace) -> int:
    plan = Plan(options.seed, options.nodes, options.seconds, options.faults)
    begin = time.perf_counter()
    with options.trace or nullcontext() as file, options.page or nullcontext() as page:
        result = run(plan, file, page)
    elapsed = time.perf_counter() - begin
    print(
        f"seed {plan.seed}: {plan.hosts} hosts, {plan.seconds} s simulated in {elapsed:.2f} s;"
        f" {result.events} events, {result.messages} messages, {result.answered} of {result.requests} requests answered"
    )
    if result.violation:
        print(f"violation: {result.violation}")
        print(result.details, end="")
    print(f"digest: {result.digest}")
    return 1 if result.violation else 0


def _campaign(options: argparse.Namespace) -> int:
    plans = [Plan(seed, options.nodes, options.seconds, options.faults) for seed in options.seeds]
    failed = events = 0
    begin = time.perf_counter()
    # Unlike multiprocessing.Pool, this raises if a worker is killed instead of waiting for its seed for ever.
    with ProcessPoolExecutor(options.jobs) as pool:
        for done, future in enumerate(as_completed([pool.submit(run, plan) for plan in plans]), 1):
            result = future.result()
            events += result.events
            if result.violation:
                failed += 1
                print(f"failed: seed {result.plan.seed}: {result.violation.splitlines()[0]}", flush=True)
            _progress(done, len(plans), failed, begin)
    elapsed = time.perf_counter() - begin
    print(f"{len(plans)} seeds, {failed} failed, {events} events in {elapsed:.1f} s ({events / elapsed:.0f} a second)")
    return 1 if failed else 0


def _progress(done: int, total: int, failed: int, begin: float) -> None:
    """On stderr, so that stdout has whole lines only."""
    if sys.stderr.isatty() or done % 100 == 0:
        left = (time.perf_counter() - begin) / done * (total - done)
        print(f"\r{done}/{total} seeds, {failed} failed, about {left:.0f} s left ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
