"""Faults as data: drawn from the seed before the run begins, so that a run can be repeated without some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ringipam.core.rng import Rng
from sim.cluster import World
from sim.faults import clocks, departures, disks, mistakes, moments, network, operators, processes
from sim.faults.fault import Fault, Kind

__all__ = ["KINDS", "Fault", "draw", "schedule"]

BEGINNING_MS = 4_000
"""While the ring is formed: some seeds strike mostly then, as it happens only once."""

KINDS: dict[str, Kind] = {
    **network.KINDS,
    **processes.KINDS,
    **moments.KINDS,
    **clocks.KINDS,
    **disks.KINDS,
    **operators.KINDS,
    **departures.KINDS,
    **mistakes.KINDS,
}


def draw(rng: Rng, wanted: str, hosts: Sequence[str], until_ms: int) -> list[Fault]:
    """The faults of one run. Swarm testing (Groce et al., ISSTA 2012): each seed has a subset of kinds, some all."""
    if wanted == "none":
        return []
    kinds = list(KINDS)
    if wanted == "swarm":
        kinds = kinds if rng.chance(150) else [kind for kind in kinds if rng.chance(250)]
    elif wanted != "all":
        kinds = wanted.split(",")
    if not kinds:
        return []
    early = rng.pick((0, 0, 300, 700))
    faults = []
    for _ in range(rng.between(2, 6 + 2 * len(hosts))):
        kind = rng.pick(kinds)
        at_ms = rng.below(min(BEGINNING_MS, until_ms) if rng.chance(early) else until_ms)
        faults.append(
            Fault(
                at_ms=0 if KINDS[kind].standing else at_ms,
                kind=kind,
                hosts=tuple(rng.shuffled(hosts)[: rng.between(2, max(2, len(hosts) // 2))]),
                for_ms=rng.between(50, 12_000),
                strength=rng.between(0, 30),
            )
        )
    return sorted(faults, key=lambda fault: fault.at_ms)


def schedule(world: World, faults: Sequence[Fault]) -> None:
    for fault in faults:
        world.loop.after(fault.at_ms, _strike, world, fault)


def _strike(world: World, fault: Fault) -> None:
    """A host that a shortened plan left out is not struck."""
    kind = KINDS[fault.kind]
    hosts = tuple(host for host in fault.hosts if host in world.hosts)
    if len(hosts) < (kind.hosts or 1):
        return
    if kind.strike(world, replace(fault, hosts=hosts)):
        world.disturbed()
        world.mark(f"fault {fault.kind}")
