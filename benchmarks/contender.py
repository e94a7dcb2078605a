"""Who takes turns: one way to do the work, set up once, asked again and again for a short stretch of it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

from benchmarks.figures import Turn, timed
from benchmarks.worker import Worker

TICKS = os.sysconf("SC_CLK_TCK")


class Contender(ABC):
    name: str

    @abstractmethod
    def turn(self, seconds: float) -> Turn:
        """Work for about so long; what it took, by verb."""

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """End what was started for it alone."""


class Driven(Contender):
    """A worker process that loads a server with one verb after another, as so many callers."""

    def __init__(self, name: str, worker: Worker, callers: int, verbs: tuple[str, ...], server: int | None) -> None:
        self.name = name
        self._worker = worker
        self._callers = callers
        self._verbs = verbs
        self._server = server
        """Whose CPU time counts: the server's process id; None if the worker itself is all there is."""

    def turn(self, seconds: float) -> Turn:
        return {verb: self._phase(verb, seconds) for verb in self._verbs}

    def _phase(self, verb: str, seconds: float) -> dict[str, float]:
        before = None if self._server is None else cpu_s(self._server)
        told = self._worker.ask({"verb": verb, "callers": self._callers, "seconds": seconds})
        spent = told["cpu_s"] if before is None or self._server is None else cpu_s(self._server) - before
        figures = timed([us / 1e3 for us in told["us"]], told["seconds"], spent)
        if self._server is not None:
            figures["load_percent"] = round(told["cpu_s"] / told["seconds"] * 100, 1)
        return figures


def cpu_s(process: int) -> float:
    """CPU time that all threads of a process have had."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
