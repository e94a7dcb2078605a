"""From a failing run to a short one: fewer hosts, faults and requests, until none of them can be left out.

A shorter run counts if the same checker fails in it, or an exception of the same type leaves the core; what it says may
differ. If the run's own seed does not come down to `HOSTS_GOAL` hosts and `FAULTS_GOAL` faults, other seeds are tried
in a world of that size, under the kinds of faults that are left: a person is served by any short run that breaks the
same rule. The outcome is the same however many processes work on it, unless time runs out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import TypeVar

from sim.ddmin import ddmin
from sim.faults import KINDS, Fault
from sim.run import Plan
from sim.trials import NEVER_MS, Failure, Trials, attempt, trials

_T = TypeVar("_T")

HOSTS_GOAL = 3
FAULTS_GOAL = 5
OTHER_SEEDS = 60
SUBSETS = 15
"""How many sets of hosts of each size are tried before hosts are left out one after the other."""
SECONDS = (32, 40, 60)
"""Not less: users have their say for some time after all has healed, or a ring that nobody wants counts as missing."""
FOR_MS = (50, 100, 500, 1_000, 2_000, 5_000)
STRENGTH = (0, 1, 5, 10, 15, 20)
ROUND_MS = (10_000, 1_000, 100)

Tell = Callable[[str, Failure], None]
"""Hears of every step: its name, and the shortest run so far."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What it was, what became of it, and what that took."""

    before: Failure
    after: Failure
    runs: int
    seconds: float
    out_of_time: bool


def shrink(plan: Plan, *, seconds: float, jobs: int, tell: Tell) -> Shrunk | None:
    """The shortest failing run that can be found in `seconds`, or None if the plan's run breaks no property."""
    begin = time.monotonic()
    before = attempt(plan)
    if before is None:
        return None
    tell("as it was", before)
    with trials(before.kind, begin + seconds, jobs) as judge:
        own = _Shrinking(before, judge, tell)
        own.world()
        found = own if own.good else _elsewhere(own, judge, tell)
        found.schedule()
        return Shrunk(before, found.best, judge.runs + 1, time.monotonic() - begin, judge.over)


class _Shrinking:
    """One failing run on its way down; `best` always fails."""

    def __init__(self, failure: Failure, judge: Trials, tell: Tell) -> None:
        self.best = failure
        self._judge = judge
        self._tell = tell

    @property
    def size(self) -> tuple[int, int]:
        return len(self.best.hosts), len(self.best.faults)

    @property
    def good(self) -> bool:
        return self.size[0] <= HOSTS_GOAL and self.size[1] <= FAULTS_GOAL

    def world(self) -> None:
        """Fewer hosts and faults, and less time, as long as one of them makes room for another."""
        self._after_the_end()
        while True:
            before = self.size
            self._hosts()
            self._faults()
            if self.size == before or self._judge.over:
                break
        self._seconds()
        self._names()

    def schedule(self) -> None:
        """Fewer requests, simpler faults."""
        if self._write_requests_down():
            self._requests()
            self._faults()
            self._hosts()
            self._requests()
        self._simpler_faults()

    # ── what can be left out ─────────────────────────────────────────────────────────────────────

    def _after_the_end(self) -> None:
        faults = [fault for fault in self.best.faults if fault.at_ms < self.best.at_ms]
        self._take("faults after the end", [_with_faults(self.best.plan, faults)])

    def _hosts(self) -> None:
        while self._take("hosts", self._few_hosts(), patient=True) is not None:
            pass
        if len(self.best.hosts) > HOSTS_GOAL:
            plan = self.best.plan
            self._ddmin("hosts", self.best.hosts, lambda hosts: _with_hosts(plan, hosts))

    def _few_hosts(self) -> Iterator[Plan]:
        """Small worlds first, and those first that have the hosts of which the violation speaks."""
        hosts = self.best.hosts
        named = [host for host in hosts if host in _words(self.best.violation)]
        for size in range(1, min(HOSTS_GOAL + 1, len(hosts))):
            some = sorted(combinations(hosts, size), key=lambda kept: -sum(host in named for host in kept))
            for kept in some[:SUBSETS]:
                yield _with_hosts(self.best.plan, kept)

    def _faults(self) -> None:
        plan = self.best.plan
        self._ddmin("faults", self.best.faults, lambda faults: _with_faults(plan, faults))

    def _requests(self) -> None:
        plan = self.best.plan
        self._ddmin("requests", plan.asks or (), lambda asks: replace(plan, asks=tuple(asks)))

    def _seconds(self) -> None:
        """A shorter run heals earlier; faults that would strike later than that are left out."""
        plan = self.best.plan
        self._take("time", [_lasting(plan, seconds) for seconds in SECONDS if seconds < plan.seconds], patient=True)

    # ── what can be simpler ──────────────────────────────────────────────────────────────────────

    def _names(self) -> None:
        """Hosts h1, h2, …, without gaps; names are chances, too."""
        plan, hosts = self.best.plan, self.best.hosts
        names = [f"h{number}" for number in range(1, len(hosts) + 1)]
        if hosts != names:
            orders = permutations(names) if len(names) <= HOSTS_GOAL else [tuple(names)]
            renamed = (_renamed(plan, dict(zip(hosts, order, strict=True))) for order in orders)
            self._take("names", renamed, patient=True)

    def _write_requests_down(self) -> bool:
        """What was drawn as explicit requests. Now and then the order within one millisecond matters: then it fails."""
        if self.best.plan.asks is None:
            self._take("requests", [replace(self.best.plan, asks=self.best.asked)])
        return self.best.plan.asks is not None

    def _simpler_faults(self) -> None:
        for number in range(len(self.best.faults)):
            for simpler in (_weaker, _shorter, _fewer, _rounder):
                faults = self.best.faults
                candidates = (
                    _with_faults(self.best.plan, [*faults[:number], fault, *faults[number + 1 :]])
                    for fault in simpler(faults[number])
                )
                self._take("simpler faults", candidates)

    # ── trying ───────────────────────────────────────────────────────────────────────────────────

    def _take(self, step: str, plans: Iterable[Plan], *, patient: bool = False) -> int | None:
        """The first of these that fails becomes the best. Who is not `patient` waits little longer than last time."""
        until_ms = NEVER_MS if patient else 2 * self.best.at_ms + 5_000
        found = self._judge.first(plans, until_ms)
        if found is None:
            return None
        number, self.best = found
        self._tell(step, self.best)
        return number

    def _ddmin(self, step: str, items: Sequence[_T], plan: Callable[[Sequence[_T]], Plan]) -> None:
        ddmin(items, lambda candidates: self._take(step, map(plan, candidates)))


def _elsewhere(own: _Shrinking, judge: Trials, tell: Tell) -> _Shrinking:
    """The same rule broken in a smaller world of another seed, if that comes to less than the run's own seed."""
    plan = own.best.plan
    kinds = ",".join(dict.fromkeys(fault.kind for fault in own.best.faults)) or "none"
    worlds = (
        Plan(plan.seed + number, HOSTS_GOAL, plan.seconds, faults, mutant=plan.mutant)
        for number in range(1, OTHER_SEEDS + 1)
        for faults in dict.fromkeys(("none", kinds))
    )
    found = judge.first(worlds)
    if found is None:
        return own
    tell("another seed", found[1])
    other = _Shrinking(found[1], judge, tell)
    other.world()
    return other if other.good or other.size < own.size else own


# ── plans made of plans ───────────────────────────────────────────────────────────────────────────


def _with_faults(plan: Plan, faults: Sequence[Fault]) -> Plan:
    return replace(plan, only=tuple(faults))


def _with_hosts(plan: Plan, hosts: Sequence[str]) -> Plan:
    """Only these hosts; what befalls or asks the others goes with them."""
    names = [f"h{number}" for number in range(1, plan.hosts + 1)]
    struck = (replace(fault, hosts=tuple(h for h in fault.hosts if h in hosts)) for fault in plan.only or ())
    return replace(
        plan,
        without=tuple(name for name in names if name not in hosts),
        only=tuple(fault for fault in struck if len(fault.hosts) >= (KINDS[fault.kind].hosts or 1)),
        asks=None if plan.asks is None else tuple(ask for ask in plan.asks if ask.host in hosts),
    )


def _lasting(plan: Plan, seconds: int) -> Plan:
    shorter = replace(plan, seconds=seconds)
    return _with_faults(shorter, [fault for fault in plan.only or () if fault.at_ms < shorter.faulty_ms])


def _renamed(plan: Plan, names: Mapping[str, str]) -> Plan:
    return replace(
        plan,
        hosts=len(names),
        without=(),
        only=tuple(replace(fault, hosts=tuple(names[host] for host in fault.hosts)) for fault in plan.only or ()),
        asks=None if plan.asks is None else tuple(replace(ask, host=names[ask.host]) for ask in plan.asks),
    )


def _weaker(fault: Fault) -> Iterator[Fault]:
    return (replace(fault, strength=strength) for strength in STRENGTH if strength < fault.strength)


def _shorter(fault: Fault) -> Iterator[Fault]:
    return (replace(fault, for_ms=for_ms) for for_ms in FOR_MS if for_ms < fault.for_ms)


def _fewer(fault: Fault) -> Iterator[Fault]:
    least = KINDS[fault.kind].hosts or 1
    return (replace(fault, hosts=fault.hosts[:count]) for count in range(least, len(fault.hosts)))


def _rounder(fault: Fault) -> Iterator[Fault]:
    return (replace(fault, at_ms=fault.at_ms // ms * ms) for ms in ROUND_MS if fault.at_ms % ms)


def _words(text: str) -> list[str]:
    return "".join(sign if sign.isalnum() else " " for sign in text).split()
