"""What a fault is, and what every kind of fault has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NamedTuple

from sim.cluster import World


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` strikes `hosts` at `at_ms` of simulated time, for `for_ms`, as hard as `strength` says (0 to 30)."""

    at_ms: int
    kind: str
    hosts: tuple[str, ...]
    for_ms: int
    strength: int

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Kind(NamedTuple):
    strike: Callable[[World, Fault], bool]
    """Whether it struck: what lies in wait for its moment marks that itself, and some find nothing to strike."""
    does: str
    """In words, for people."""
    hosts: int | None = 1
    """How many of the hosts drawn for it it strikes: None all of them, 0 the whole network."""
    standing: bool = False
    """It is there from the beginning."""


def crash_for(world: World, host: str, for_ms: int) -> bool:
    """Down now, up again after `for_ms`."""
    if not world.hosts[host].up:
        return False
    world.crash(host)
    world.loop.after(for_ms, world.restart, host)
    return True


def cut_for(world: World, one: str, other: str, for_ms: int, *, both: bool = True) -> None:
    world.cut(one, other, both=both)
    world.loop.after(for_ms, _mend, world, one, other, both)


def _mend(world: World, one: str, other: str, both: bool) -> None:
    world.disturbed()
    world.mend(one, other, both=both)


def ring_everywhere(world: World) -> bool:
    """Whether every member knows an owner for every address, durably: the ring survives the loss of any one."""
    for host in world.members():
        durable = host.disk.durable
        if not durable.meta.get("cluster") or not all(claim.owner for claim in durable.tokens.values()):
            return False
    return True
