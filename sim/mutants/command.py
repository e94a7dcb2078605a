"""`python -m sim mutants`: which checker notices each broken variant of the core, after how many seeds and events."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import repeat

from ringipam.core.events import Effect, Event
from sim.checkers.base import Checker
from sim.explore.search import Result, explore
from sim.explore.worlds import BY_NAME
from sim.host import Host
from sim.mutants import MUTANTS, Mutant, applied, known
from sim.run import Plan, Run

EVENTS_MAX = 20_000
"""For each host. A run on a mutant that takes more is stopped: a sound one takes some 5,000."""
SEEDS = range(400)
STATES_MAX = 300_000
"""Exploration gives up then."""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one mutant."""

    name: str
    rule: str
    does: str
    expected: tuple[str, ...]
    caught_by: str
    """The checker, `explore`, or "" if none of the seeds showed it."""
    seed: int | None
    """The first that did."""
    seeds: int
    """How many were run, with that one."""
    events: int
    """In all of them, or the states that were explored."""

    @property
    def surprising(self) -> bool:
        """Whether another checker noticed it than is there for it."""
        return bool(self.caught_by) and self.caught_by not in self.expected


class _Bounded(Checker):
    """No property: it ends a run that a mutant keeps from ending."""

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        if self.world.loop.events > EVENTS_MAX * len(self.world.hosts):
            self.fail(f"{self.world.loop.events} events are not enough")


def shown(mutant: Mutant) -> Plan:
    """The run that is known to catch it."""
    seed, seconds, hosts, faults = mutant.shown
    return Plan(seed, hosts, seconds, faults, mutant=mutant.name)


def plan_of(mutant: Mutant, seed: int) -> Plan:
    return Plan(seed, mutant=mutant.name) if mutant.standard else replace(shown(mutant), seed=seed)


def hunt(mutant: Mutant, plans: Iterable[Plan]) -> Found:
    """Run these plans until one shows the mutant."""
    tried = events = 0
    caught_by, caught_at = "", None
    for plan in plans:
        run = Run(plan)
        run.world.watch(_Bounded(run.world))
        result = run.complete()
        tried += 1
        events += result.events
        if result.violation:
            caught_by, caught_at = result.checker, plan.seed
            break
    return Found(mutant.name, mutant.rule, mutant.does, mutant.caught_by, caught_by, caught_at, tried, events)


def explored(mutant: Mutant) -> Result:
    """Explore the world in which it must be found."""
    assert mutant.explored is not None
    world = replace(BY_NAME[mutant.explored.world], ends_well=mutant.explored.ends_well)
    with applied(mutant.name):
        return explore(world, states_max=STATES_MAX)


def searched(mutant: Mutant) -> Found:
    result = explored(mutant)
    assert mutant.explored is not None
    caught_by = "explore" if mutant.explored.found in (result.violation or "") else ""
    return Found(mutant.name, mutant.rule, mutant.does, mutant.caught_by, caught_by, None, 0, result.states)


def _hunt(name: str, seeds: Iterable[int] | None) -> Found:
    mutant = known(name)
    if mutant.explored is not None:
        return searched(mutant)
    return hunt(mutant, [shown(mutant)] if seeds is None else (plan_of(mutant, seed) for seed in seeds))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="these mutants; all without")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seeds", type=_seeds, default=SEEDS, metavar="A..B", help="both included; 0..399 without")
    which.add_argument("--quick", action="store_true", help="only the seed that is known to catch each")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print one JSON object for each mutant, a line each")
    shown.add_argument("--markdown", action="store_true", help="print a table as in docs/simulator.md")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)


def main(options: argparse.Namespace) -> int:
    """Exit status: 0 if every mutant was caught, else 1; raises RequestError on a name that is none."""
    names = options.names or list(MUTANTS)
    for name in names:
        known(name)
    found: list[Found] = []
    with ProcessPoolExecutor(max(1, options.jobs)) as pool:
        for one in pool.map(_hunt, names, repeat(None if options.quick else options.seeds)):
            found.append(one)
            if not options.markdown:
                print(json.dumps(asdict(one)) if options.json else _line(one), flush=True)
    if options.markdown:
        print(_table(found))
    elif not options.json:
        print(_summary(found))
    return 0 if all(one.caught_by for one in found) else 1


def _seeds(text: str) -> range:
    first, dots, last = text.partition("..")
    if not dots or not first.isdecimal() or not last.isdecimal() or int(first) > int(last):
        raise argparse.ArgumentTypeError(f"not of the form A..B: {text!r}")
    return range(int(first), int(last) + 1)


def _line(found: Found) -> str:
    if not found.caught_by:
        return f"{found.name} ({found.rule}): NOT CAUGHT in {found.seeds} seeds, {found.events} events"
    if found.seed is None:
        return f"{found.name} ({found.rule}): found by exploration in {found.events} states"
    surprise = f", expected was {' or '.join(found.expected)}" if found.surprising else ""
    return (
        f"{found.name} ({found.rule}): {found.caught_by} at seed {found.seed}"
        f" after {found.seeds} seeds, {found.events} events{surprise}"
    )


def _summary(found: list[Found]) -> str:
    caught = [one for one in found if one.caught_by]
    median = sorted(one.seeds for one in caught)[len(caught) // 2] if caught else 0
    surprising = sum(1 for one in caught if one.surprising)
    return (
        f"{len(caught)} of {len(found)} mutants caught, half of them within {median} seeds;"
        f" {surprising} by another checker than expected"
    )


def _table(found: list[Found]) -> str:
    """A line for each; a checker in brackets is not the one that is there for it."""
    rows = ["| mutant | what it does wrong | rule | caught by | seeds | events |", "|---|---|---|---|---:|---:|"]
    for one in found:
        by = f"(`{one.caught_by}`)" if one.surprising else f"`{one.caught_by}`" if one.caught_by else "not caught"
        rows.append(f"| `{one.name}` | {one.does} | {one.rule} | {by} | {one.seeds} | {one.events} |")
    return "\n".join(rows)
