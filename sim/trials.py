"""Candidate plans over all cores: which is the first that fails as the original did."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing import get_context

from ringipam.core.events import Effect, Event
from sim.checkers.base import Checker
from sim.cluster import World
from sim.faults import Fault
from sim.host import Host
from sim.run import Plan, Run
from sim.workload import Ask

NEVER_MS = 1 << 60


@dataclass(frozen=True, slots=True)
class Failure:
    """A plan whose run breaks a property, with its faults written out, and how that run ended."""

    plan: Plan
    kind: str
    """The checker; with an exception of the core, its type too."""
    violation: str
    at_ms: int
    events: int
    asked: tuple[Ask, ...]
    """What users asked until then."""

    @property
    def hosts(self) -> list[str]:
        return [name for name in (f"h{n}" for n in range(1, self.plan.hosts + 1)) if name not in self.plan.without]

    @property
    def faults(self) -> tuple[Fault, ...]:
        assert self.plan.only is not None
        return self.plan.only


class _Patience(Checker):
    """No property: it ends runs that are not worth waiting for."""

    def __init__(self, world: World, until_ms: int, deadline: float) -> None:
        super().__init__(world)
        self._until_ms = until_ms
        self._deadline = deadline

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        if self.world.elapsed_ms > self._until_ms or time.monotonic() > self._deadline:
            self.fail("no violation in time")


def attempt(plan: Plan, until_ms: int = NEVER_MS, deadline: float = float("inf")) -> Failure | None:
    """Run a plan, not further than `until_ms` of simulated time and not beyond `deadline` of the monotonic clock.

    None if no property is broken until then; a world without hosts breaks none.
    """
    if len(plan.without) >= plan.hosts:
        return None
    run = Run(plan)
    run.world.watch(_Patience(run.world, until_ms, deadline))
    result = run.complete()
    if result.violation is None or result.checker == _Patience.__name__:
        return None
    kind = ":".join(result.violation.split(":")[: 2 if result.checker == "exception" else 1])
    explicit = replace(plan, faults="saved", only=tuple(run.faults))
    return Failure(explicit, kind, result.violation, run.world.elapsed_ms, result.events, tuple(run.users.asked))


@dataclass(slots=True)
class Trials:
    """Tries plans until a `deadline` of the monotonic clock, of which there is nothing left to try afterwards."""

    kind: str
    deadline: float
    pool: ProcessPoolExecutor | None
    ahead: int
    """How many plans are under way or wait for a process at one time."""
    runs: int = field(default=0)

    @property
    def over(self) -> bool:
        return time.monotonic() > self.deadline

    def first(self, plans: Iterable[Plan], until_ms: int = NEVER_MS) -> tuple[int, Failure] | None:
        """The first in the order of `plans`, not the first to finish: the outcome depends on no machine's speed."""
        outcomes = self._one_by_one(plans, until_ms) if self.pool is None else self._side_by_side(plans, until_ms)
        for number, failure in enumerate(outcomes):
            if failure is not None and failure.kind == self.kind:
                return number, failure
        return None

    def _one_by_one(self, plans: Iterable[Plan], until_ms: int) -> Iterator[Failure | None]:
        for plan in plans:
            if self.over:
                return
            self.runs += 1
            yield attempt(plan, until_ms, self.deadline)

    def _side_by_side(self, plans: Iterable[Plan], until_ms: int) -> Iterator[Failure | None]:
        assert self.pool is not None
        waiting = iter(plans)
        under_way: deque[Future[Failure | None]] = deque()
        try:
            while not self.over:
                for plan in islice(waiting, self.ahead - len(under_way)):
                    under_way.append(self.pool.submit(attempt, plan, until_ms, self.deadline))
                if not under_way:
                    return
                outcome = under_way.popleft().result()
                self.runs += 1
                yield outcome
        finally:
            for future in under_way:
                future.cancel()


@contextmanager
def trials(kind: str, deadline: float, jobs: int) -> Iterator[Trials]:
    """Forked processes, not spawned ones: what a test has patched in the core or a checker is patched in them too."""
    if jobs == 1:
        yield Trials(kind, deadline, None, 1)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        yield Trials(kind, deadline, pool, 2 * jobs)
