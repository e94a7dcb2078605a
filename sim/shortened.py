"""What shrinking came to, for people and as JSON."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TextIO

from sim.faults import KINDS, Fault
from sim.shrink import Shrunk
from sim.trials import Failure
from sim.words import Words

LINES_MAX = 12
"""No more faults and no more requests than this are told one by one."""


class Progress:
    """A line for every step, written when the next one begins; on a terminal one line that changes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._begin = time.monotonic()
        self._step = ""
        self._line = ""

    def step(self, name: str, best: Failure) -> None:
        if name != self._step:
            self.end()
        took = time.monotonic() - self._begin
        sizes = ", ".join(f"{count} {what[: -1 if count == 1 else None]}" for what, count in _sizes(best).items())
        self._step, self._line = name, f"{took:5.1f} s  {name}: {sizes}"
        if self._file.isatty():
            print(f"\r{self._line:90}", end="", file=self._file, flush=True)

    def end(self) -> None:
        if self._line:
            print(f"\r{self._line:90}" if self._file.isatty() else self._line, file=self._file, flush=True)


def as_json(shrunk: Shrunk, file: Path) -> dict[str, object]:
    return {
        "checker": shrunk.after.kind,
        "violation": shrunk.after.violation,
        "file": str(file),
        "before": {"seed": shrunk.before.plan.seed, **_sizes(shrunk.before), "ms": shrunk.before.at_ms},
        "after": {"seed": shrunk.after.plan.seed, **_sizes(shrunk.after), "ms": shrunk.after.at_ms},
        "runs": shrunk.runs,
        "seconds": round(shrunk.seconds, 1),
        "out_of_time": shrunk.out_of_time,
    }


def in_words(shrunk: Shrunk, file: Path, words: Words) -> str:
    before, after = shrunk.before, shrunk.after
    lines = [f"{'':10}{'before':>10}{'after':>10}"]
    for what, count in _sizes(before).items():
        lines.append(f"{what:10}{count:10}{_sizes(after)[what]:10}")
    lines.append(f"{'until':10}{_seconds(before.at_ms):>10}{_seconds(after.at_ms):>10}")
    lines.append(f"{shrunk.runs} runs in {shrunk.seconds:.1f} s" + (": out of time" if shrunk.out_of_time else ""))
    if before.plan.seed != after.plan.seed:
        seeds = f"not {before.plan.seed} but {after.plan.seed}"
        lines.append(f"The seed is another, {seeds}, whose smaller world breaks the same rule.")
    if after.plan.asks is None:
        lines.append("The requests are drawn from the seed: written down one by one, the rule is not broken.")
    lines += _told([_fault(fault) for fault in after.faults])
    lines += _told([f"  {_seconds(ask.at_ms):>9}  {ask.host}: {words.verb(ask.verb)}" for ask in after.asked])
    lines += [
        f"violation: {after.violation}",
        f"saved: {file}",
        f"replay: python -m sim replay {file}",
    ]
    return "\n".join(lines)


def _sizes(failure: Failure) -> dict[str, int]:
    return {
        "hosts": len(failure.hosts),
        "faults": len(failure.faults),
        "requests": len(failure.asked),
        "events": failure.events,
    }


def _fault(fault: Fault) -> str:
    kind = KINDS[fault.kind]
    struck = ", ".join(fault.hosts[: kind.hosts]) or "the network"
    size = f"{fault.for_ms} ms, strength {fault.strength}"
    return f"  {_seconds(fault.at_ms):>9}  {fault.kind} ({kind.does}): {struck}, {size}"


def _told(lines: list[str]) -> list[str]:
    more = len(lines) - LINES_MAX
    return lines if more <= 0 else [*lines[:LINES_MAX], f"             and {more} more"]


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.3f} s"
