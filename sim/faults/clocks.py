"""What befalls clocks. The protocol compares no clocks of two hosts, and times survive restarts only as quarantines."""

from __future__ import annotations

from sim.cluster import World
from sim.faults.fault import Fault, Kind


def _skew(world: World, fault: Fault) -> bool:
    for order, host in enumerate(fault.hosts):
        sign = 1 if (order + fault.strength) % 2 else -1
        world.hosts[host].clock.set(world.loop.now, step_ms=sign * (1 + fault.strength) * 120_000)
    return True


def _drift(world: World, fault: Fault) -> bool:
    """Up to 6 % too fast or too slow."""
    world.hosts[fault.hosts[0]].clock.set(world.loop.now, rate=1000 + (fault.strength - 15) * 4)
    return fault.strength != 15


def _step(world: World, fault: Fault, step_ms: int) -> bool:
    """A process keeps its own time; the wall clock counts when the next one starts."""
    host = world.hosts[fault.hosts[0]]
    if not host.up:
        return False
    world.crash(host.name)
    host.clock.set(world.loop.now, step_ms=step_ms)
    world.clocks_stepped = world.loop.now
    world.loop.after(fault.for_ms // 4, world.restart, host.name)
    return True


def _forward(world: World, fault: Fault) -> bool:
    return _step(world, fault, (1 + fault.strength) * 20_000)


def _back(world: World, fault: Fault) -> bool:
    return _step(world, fault, -(1 + fault.strength) * 20_000)


KINDS = {
    "clock-skew": Kind(_skew, "hosts' clocks are minutes to an hour apart", None, standing=True),
    "clock-drift": Kind(_drift, "a clock runs up to 6 % too fast or too slow"),
    "clock-forward": Kind(_forward, "a host is restarted with its clock minutes ahead"),
    "clock-back": Kind(_back, "a host is restarted with its clock minutes behind"),
}
