"""One seed, one run: the world it draws, half a run of faults, half a run to heal, and what came of it."""

from __future__ import annotations

import traceback
from typing import TextIO

from ringipam.address import Cidr, Range, parse_cidr
from ringipam.core.events import Prime
from ringipam.core.rng import Rng
from sim.checkers import Violation
from sim.checkers.base import Checker
from sim.checkers.healing import ConvergesInTime
from sim.checkers.recovery import RisesFromEveryRecord
from sim.cluster import World
from sim.faults import draw, schedule
from sim.host import Host
from sim.marks import Marks
from sim.mutants import applied, known
from sim.plan import Plan, Result
from sim.trace import Trace
from sim.workload import Script, Users

__all__ = ["Plan", "Result", "Run", "run"]

UNIVERSES = ("10.0.0.0/27", "10.0.0.0/26", "10.0.0.0/25", "10.0.0.0/24", "10.32.0.0/12", "fd00::/122", "fd00::/64")
WANTING_MS = 20_000
PATIENCE_MS = 100_000
"""Rings that differ at the end are waited for until `ConvergesInTime` has called it too long."""
BRISK_MS = 1_000
"""Half of the seeds tidy up so often, so that there is something to see of it in one run."""
REST = 300
"""Per mille of the seeds that are left alone in the end."""
REST_ROUNDS = 70
"""Of housekeeping: a fragment goes home after 30, and may uncover another."""
WHAT_IF = 50
"""Per mille of the seeds in which a second peer is built from the disk at every change."""


class _Recovering(Checker):
    """No property: it lets the users ask, after a restart, what became of their requests."""

    def __init__(self, world: World, users: Users) -> None:
        super().__init__(world)
        self._users = users

    def crashed(self, host: Host) -> None:
        self._users.crashed(host.name)

    def restarted(self, host: Host) -> None:
        self.world.loop.after(1, self._recover, host)

    def _recover(self, host: Host) -> None:
        if host.up:
            self._users.recover(host.name)


class _Wanting(Checker):
    """No property: somebody wants a ring once all is well, as drawn users always do. Unasked, hosts form none."""

    def healed(self) -> None:
        self.world.ask(self.world.members()[0].name, Prime(WANTING_MS))


class Run:
    """A run that is ready to begin: its world can be watched, its faults and requests looked at.

    Raises RequestError for a plan with a mutant that does not exist.
    """

    def __init__(self, plan: Plan, trace_file: TextIO | None = None, *, checked: bool = True) -> None:
        """Without its checkers a run tells only how fast it goes."""
        if plan.mutant:
            known(plan.mutant)
        self.plan = plan
        rng = Rng(plan.seed)
        self.world = world = _world(plan, rng.fork(), Trace(trace_file), checked)
        world.orders.tidies = True
        self._start_rng = rng.fork()
        self.users: Users | Script = Users(
            world,
            _subnets(rng.fork(), world.universe),
            pause_ms=rng.between(100, 800),
            until_ms=world.loop.now + plan.seconds * 900,
            release=rng.between(200, 480),
        )
        faults_rng = rng.fork()
        if plan.only is not None:
            self.faults = list(plan.only)
        else:
            self.faults = draw(faults_rng, plan.faults, list(world.hosts), plan.faulty_ms)
        if rng.chance(WHAT_IF) and checked:
            world.watch(RisesFromEveryRecord(world))
        self.rests = rng.chance(REST) and world.housekeeping_ms == BRISK_MS
        """Whether all is left alone in the end until there is nothing more to tidy up."""
        if plan.asks is not None:
            self.users = Script(world, plan.asks)
            world.watch(_Wanting(world))
        else:
            world.watch(_Recovering(world, self.users))
        if checked:
            world.watch(Marks(world))

    def complete(self) -> Result:
        """Run to the end or the first violation, on the mutant if the plan names one."""
        with applied(self.plan.mutant):
            return self._complete()

    def _complete(self) -> Result:
        world, plan = self.world, self.plan
        violation, details = None, ""
        try:
            schedule(world, self.faults)
            _start(world, self._start_rng, plan.faulty_ms // 4)
            self.users.start()
            world.run_for(plan.faulty_ms + 12_000)
            world.heal()
            world.run_for(plan.faulty_ms - 12_000)
            world.run_until(lambda: world.converged and world.orders.content, PATIENCE_MS)
            if self.rests:
                world.run_for(REST_ROUNDS * world.housekeeping_ms)
                world.rested = True
            world.finish()
        except Violation as error:
            violation = str(error)
        except Exception as defect:
            violation = f"exception: {type(defect).__name__}: {defect}"
            details = traceback.format_exc()
        healing = next((checker for checker in world.checkers if isinstance(checker, ConvergesInTime)), None)
        return Result(
            plan,
            world.trace.digest,
            world.loop.events,
            world.network.messages,
            len(world.requests),
            sum(1 for request in world.requests.values() if request.answered_ms is not None),
            violation,
            details,
            dict(sorted(world.marks.items())),
            healing.took_ms if healing else None,
            healing.expected_ms if healing else 0,
        )


def run(plan: Plan, trace_file: TextIO | None = None) -> Result:
    """Run a plan to its end or its first violation."""
    return Run(plan, trace_file).complete()


def _world(plan: Plan, rng: Rng, trace: Trace, checked: bool) -> World:
    """How the ring begins is part of the seed too, and what operators do that must do no harm."""
    mode = rng.pick(("consensus", "consensus", "listed", "alone", "seed"))
    names = [name for name in (f"h{n}" for n in range(1, plan.hosts + 1)) if name not in plan.without]
    members = names if rng.chance(500) else names[: max(1, plan.hosts // 2)]
    seed = rng.bits64()
    universe = rng.pick(UNIVERSES)
    codec = rng.chance(150)
    quarantine_ms = rng.pick((0, 2_000, 30_000))
    housekeeping_ms = rng.pick((BRISK_MS, 10_000))
    # Whose founders are enough without it; alone it must not found a ring.
    misled = rng.pick(members) if rng.chance(200) and len(members) > 3 else ""
    itself = names if rng.chance(250) else ()
    excluded = _excluded(rng, parse_cidr(universe).range) if rng.chance(200) else ()

    def init(name: str) -> str | None:
        match mode:
            case "consensus" if name == misled:
                return "consensus=2"
            case "consensus":
                return f"consensus={len(members)}" if name in members else "observer"
            case "alone":
                return "alone" if name == names[0] else "observer"
            case "seed":
                return f"seed={','.join(members)}"
            case _:
                return None

    return World(
        seed=seed,
        hosts=names,
        universe=universe,
        init=init,
        dial=lambda name: [other for other in names if other != name or name in itself],
        codec=codec,
        quarantine_ms=quarantine_ms,
        housekeeping_ms=housekeeping_ms,
        excluded=excluded,
        trace=trace,
        checked=checked,
        start=False,
    )


def _excluded(rng: Rng, universe: Range) -> tuple[Range, ...]:
    """A few addresses that are never allocated, though they may be claimed."""
    size = min(universe.size, 256)
    start = universe.start + rng.below(size - size // 8)
    return (Range(start, start + 1 + rng.below(size // 8)),)


def _subnets(rng: Rng, universe: Cidr) -> tuple[Cidr | None, ...]:
    """The whole range, or that and some small subnets, so that they fill up."""
    subnets: list[Cidr | None] = [None]
    if rng.chance(600):
        length = universe.bits - rng.between(3, min(5, universe.bits - universe.prefix_len))
        for _ in range(rng.between(1, 3)):
            size = 1 << (universe.bits - length)
            start = universe.start + rng.below(min(universe.size // size, 64)) * size
            subnets.append(parse_cidr(f"{universe.text(start)}/{length}"))
    return tuple(subnets)


def _start(world: World, rng: Rng, spread_ms: int) -> None:
    """Hosts come up together, or one after the other."""
    together = rng.chance(500)
    for host in world.members():
        delay = world.stream(f"start of {host.name}").below(50 if together else max(1, spread_ms))
        world.loop.after(delay, _start_one, host)


def _start_one(host: Host) -> None:
    if not host.up:
        host.start()
