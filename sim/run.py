"""One seed, one run: the world it draws, half a run of faults, half a run to heal, and what came of it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TextIO

from ringipam.address import Cidr, parse_cidr
from ringipam.core.rng import Rng
from sim.checkers import Violation
from sim.checkers.base import Checker
from sim.cluster import World
from sim.faults import Fault, draw, schedule
from sim.host import Host
from sim.page import write_page
from sim.record import Recorder
from sim.trace import Trace
from sim.workload import Users

UNIVERSES = ("10.0.0.0/27", "10.0.0.0/26", "10.0.0.0/25", "10.0.0.0/24", "10.32.0.0/12", "fd00::/122", "fd00::/64")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that makes a run; equal plans give equal runs."""

    seed: int
    hosts: int = 5
    seconds: int = 80
    faults: str = "swarm"
    only: tuple[Fault, ...] | None = None
    """These faults instead of the drawn ones."""


@dataclass(frozen=True, slots=True)
class Result:
    plan: Plan
    digest: str
    events: int
    messages: int
    requests: int
    answered: int
    violation: str | None
    """`CHECKER: what`, or None."""
    details: str = ""
    """A traceback, where the core raised."""


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


def run(plan: Plan, trace_file: TextIO | None = None, page_file: TextIO | None = None) -> Result:
    """Run a plan to its end or its first violation; the page shows how it went."""
    rng = Rng(plan.seed)
    world = _world(plan, rng.fork(), Trace(trace_file))
    recorder = None
    if page_file is not None:
        recorder = Recorder(world)
        world.checkers.insert(0, recorder)
    users = Users(
        world,
        rng.fork(),
        _subnets(rng.fork(), world.universe),
        pause_ms=rng.between(100, 800),
        until_ms=world.loop.now + plan.seconds * 900,
        release=rng.between(200, 480),
    )
    world.checkers.append(_Recovering(world, users))
    faulty_ms = plan.seconds * 500
    faults = draw(rng.fork(), plan.faults, list(world.hosts), faulty_ms) if plan.only is None else list(plan.only)
    violation, details = None, ""
    try:
        schedule(world, faults)
        _start(world, rng.fork(), faulty_ms // 4)
        users.start()
        world.run_for(faulty_ms + 12_000)
        world.disturbed()
        world.heal()
        world.run_for(plan.seconds * 500 - 12_000)
        world.run_until(lambda: world.converged, 20_000)
        world.finish()
    except Violation as error:
        violation = str(error)
    except Exception as error:
        violation = f"exception: {type(error).__name__}: {error}"
        details = traceback.format_exc()
    if page_file is not None and recorder is not None:
        write_page(
            page_file,
            recorder,
            title=f"Simulated run of seed {plan.seed}",
            faults=faults,
            violation=violation,
            plan_text=f"{plan.hosts} hosts share {world.universe}; {plan.seconds} s planned; faults: {len(faults)}",
        )
    answered = sum(1 for request in world.requests.values() if request.answered_ms is not None)
    return Result(
        plan,
        world.trace.digest,
        world.loop.events,
        world.network.messages,
        len(world.requests),
        answered,
        violation,
        details,
    )


def _world(plan: Plan, rng: Rng, trace: Trace) -> World:
    """How the ring begins is part of the seed too."""
    mode = rng.pick(("consensus", "consensus", "listed", "alone", "seed"))
    names = [f"h{n}" for n in range(1, plan.hosts + 1)]
    members = names if rng.chance(500) else names[: max(1, plan.hosts // 2)]

    def init(name: str) -> str | None:
        match mode:
            case "consensus":
                return f"consensus={len(members)}" if name in members else "observer"
            case "alone":
                return "alone" if name == names[0] else "observer"
            case "seed":
                return f"seed={','.join(members)}"
            case _:
                return None

    return World(
        seed=rng.bits64(),
        hosts=names,
        universe=rng.pick(UNIVERSES),
        init=init,
        codec=rng.chance(150),
        quarantine_ms=rng.pick((0, 2_000, 30_000)),
        trace=trace,
        clock_offsets=rng.chance(500),
        start=False,
    )


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
    for host in world.hosts.values():
        delay = rng.below(50) if together else rng.below(max(1, spread_ms))
        world.loop.after(delay, _start_one, host)


def _start_one(host: Host) -> None:
    if not host.up:
        host.start()
