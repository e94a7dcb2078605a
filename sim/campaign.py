"""Many seeds over all cores, or over a Dask cluster: what failed, what was never reached, how fast it went."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ringipam.errors import RequestError
from sim.marks import expected
from sim.run import Plan, Result, Run, run
from sim.saved import dump

Writer = Callable[["Verdict"], None]

TWICE = 20
"""One seed in so many is run a second time, and must give the same digest."""


@dataclass(slots=True)
class Summary:
    """What a campaign found."""

    seeds: int = 0
    events: int = 0
    seconds: float = 0.0
    failed: list[tuple[int, str, str]] = field(default_factory=list)
    """Seed, checker, file."""
    marks: Counter[str] = field(default_factory=Counter)
    """In how many seeds each situation was reached."""
    late: int = 0
    """Seeds that took longer to converge than 99 % may."""
    twice: int = 0
    """Seeds that were run a second time."""

    def unreached(self, faults: str) -> list[str]:
        return [mark for mark in expected(faults) if not self.marks[mark]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One seed's outcome, as it is logged; `file` is where a failing run was saved."""

    seed: int
    digest: str
    events: int
    violation: str | None
    file: str
    marks: tuple[str, ...]
    late: bool
    twice: bool

    def as_json(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}


def judge(plan: Plan) -> tuple[Verdict, str]:
    """Run one plan, some of them twice; of a run that fails, also what is to be saved.

    It writes nothing: it may run on another machine.
    """
    run_ = Run(plan)
    result = run_.complete()
    twice = plan.seed % TWICE == 0
    if twice and not result.violation:
        again = run(plan)
        if again.digest != result.digest:
            result = replace(result, violation=f"NotDeterministic: digests {result.digest} and {again.digest}")
    return _verdict(result, twice), dump(run_, result) if result.violation else ""


def _verdict(result: Result, twice: bool) -> Verdict:
    late = result.converged_ms is not None and result.converged_ms > result.expected_ms
    violation = result.violation.splitlines()[0] if result.violation else None
    return Verdict(result.plan.seed, result.digest, result.events, violation, "", tuple(result.marks), late, twice)


def campaign(plans: Sequence[Plan], jobs: int, directory: str, log: Path | None, scheduler: str | None) -> Summary:
    """Judge every plan, but for those the log holds already; runs that fail are saved in `directory`.

    Prints failures at once; raises RequestError, OSError.
    """
    summary = Summary()
    begin = time.perf_counter()
    done = _logged(log, plans[0]) if log is not None else {}
    for plan in plans:
        if plan.seed in done:
            _take(summary, done[plan.seed])
    waiting = [plan for plan in plans if plan.seed not in done]
    with _executor(jobs, scheduler) as executor, _writer(log, plans[0]) as write:
        futures = [executor.submit(judge, plan) for plan in waiting]
        for number, future in enumerate(as_completed(futures), 1):
            verdict, saved = future.result()
            if saved:
                verdict = replace(verdict, file=_saved(Path(directory), verdict.seed, saved))
            write(verdict)
            _take(summary, verdict)
            _progress(number, len(waiting), len(summary.failed), begin)
    summary.seconds = time.perf_counter() - begin
    return summary


def _saved(directory: Path, seed: int, run: str) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"seed-{seed}.json"
    path.write_text(run)
    return str(path)


def _take(summary: Summary, verdict: Verdict) -> None:
    summary.seeds += 1
    summary.events += verdict.events
    summary.marks.update(verdict.marks)
    summary.late += verdict.late
    summary.twice += verdict.twice
    if verdict.violation:
        checker = verdict.violation.partition(":")[0]
        summary.failed.append((verdict.seed, checker, verdict.file))
        print(f"failed: seed {verdict.seed}: {checker}: {verdict.file}\n  {verdict.violation}", flush=True)


@contextmanager
def _executor(jobs: int, scheduler: str | None) -> Iterator[Executor]:
    """Processes here, or a Dask cluster's workers, which need this very checkout on their path."""
    if scheduler is None:
        # Unlike multiprocessing.Pool, this raises if a worker is killed instead of waiting for its seed for ever.
        with ProcessPoolExecutor(jobs) as pool:
            yield pool
        return
    try:
        from distributed import Client
    except ImportError:
        raise RequestError("--scheduler needs Dask: pip install 'ringipam[cluster]'") from None
    with Client(scheduler) as client, client.get_executor() as pool:
        yield pool


# ── the log, by which a campaign goes on where it was broken off ──────────────────────────────────


def _header(plan: Plan) -> dict[str, object]:
    header: dict[str, object] = {"hosts": plan.hosts, "seconds": plan.seconds, "faults": plan.faults}
    return {**header, "mutant": plan.mutant} if plan.mutant else header


def _logged(log: Path, plan: Plan) -> dict[int, Verdict]:
    """What the log holds, by seed. Whoever writes it may be killed at any time: an unfinished last line is no harm."""
    if not log.exists():
        return {}
    header = json.dumps(_header(plan))
    try:
        lines = log.read_text().split("\n")
        if header.startswith(unfinished := lines.pop()) and not lines:
            return {}
        if not lines:
            raise ValueError(unfinished)
        if json.loads(lines[0]) != _header(plan):
            raise RequestError(f"{log} is the log of another campaign: {lines[0]}")
        verdicts = [_from_json(json.loads(line)) for line in lines[1:]]
    except (ValueError, TypeError, KeyError):
        raise RequestError(f"{log} is not the log of a campaign") from None
    return {verdict.seed: verdict for verdict in verdicts}


def _from_json(data: dict[str, Any]) -> Verdict:
    """Raises TypeError, KeyError for what `as_json` never says."""
    verdict = Verdict(**{**data, "marks": tuple(data["marks"])})
    texts = (verdict.digest, verdict.violation or "", verdict.file, *verdict.marks)
    if type(verdict.seed) is not int or type(verdict.events) is not int or not all(type(t) is str for t in texts):
        raise TypeError
    return verdict


@contextmanager
def _writer(log: Path | None, plan: Plan) -> Iterator[Writer]:
    """Only for a log that `_logged` takes: what is behind its last whole line is cut off."""
    if log is None:
        yield lambda verdict: None
        return
    with log.open("a+b") as file:
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)

        def write_line(data: dict[str, object]) -> None:
            file.write(json.dumps(data).encode() + b"\n")
            file.flush()

        if not whole:
            write_line(_header(plan))
        yield lambda verdict: write_line(verdict.as_json())


def _progress(done: int, total: int, failed: int, begin: float) -> None:
    """On stderr, so that stdout has whole lines only."""
    if sys.stderr.isatty() or done % 100 == 0:
        left = (time.perf_counter() - begin) / done * (total - done)
        width = 30 * done // total
        bar = "█" * width + "·" * (30 - width)
        print(f"\r{bar} {done}/{total} seeds, {failed} failed, about {left:.0f} s left ", end="", file=sys.stderr)
        sys.stderr.flush()
        if done == total:
            print(file=sys.stderr)
