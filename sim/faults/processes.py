"""What befalls processes: crashes at bad moments, pauses, restarts, one after the other or all at once."""

from __future__ import annotations

from sim.cluster import World
from sim.faults.fault import Fault, Kind, crash_for, ring_everywhere


def _crash(world: World, fault: Fault) -> bool:
    return crash_for(world, fault.hosts[0], fault.for_ms)


def _crash_mid_effects(world: World, fault: Fault) -> bool:
    """The crash falls between two effects: behind a commit, before a send."""
    host = world.hosts[fault.hosts[0]]
    host.crash_in = fault.strength
    world.loop.after(fault.for_ms, world.restart, host.name)
    return host.up


def _crash_in_recovery(world: World, fault: Fault) -> bool:
    """Down, and down again among the first effects after the restart."""
    host = world.hosts[fault.hosts[0]]
    if not host.up:
        return False
    world.crash(host.name)
    world.loop.after(fault.for_ms // 4, _restart_and_crash, world, host.name, fault.strength % 6)
    world.loop.after(fault.for_ms, world.restart, host.name)
    return True


def _restart_and_crash(world: World, name: str, effects: int) -> None:
    host = world.hosts[name]
    if not host.up and host.wanted and not world.healing:
        host.crash_in = effects
        host.start()


def _crash_loop(world: World, fault: Fault) -> bool:
    for number in range(4):
        world.loop.after(number * fault.for_ms // 4, crash_for, world, fault.hosts[0], fault.for_ms // 12)
    return True


def _restart(world: World, fault: Fault) -> bool:
    """Down and up in an instant: the others may not even notice."""
    return crash_for(world, fault.hosts[0], 1)


def _rolling_restart(world: World, fault: Fault) -> bool:
    step = fault.for_ms // 4
    for order, host in enumerate(world.hosts):
        world.loop.after(order * step, crash_for, world, host, min(step, 2_000))
    return True


def _power_loss(world: World, fault: Fault) -> bool:
    struck = [crash_for(world, host, fault.for_ms) for host in fault.hosts]
    return any(struck)


def _pause(world: World, fault: Fault) -> bool:
    host = world.hosts[fault.hosts[0]]
    host.paused_until = world.loop.now + min(fault.for_ms, 3_000)
    return host.up


def _slow_cpu(world: World, fault: Fault) -> bool:
    host = world.hosts[fault.hosts[0]]
    host.lag_ms = 1 + fault.strength // 3
    world.loop.after(fault.for_ms, setattr, host, "lag_ms", 0)
    return host.up


def _gone_for_good(world: World, fault: Fault) -> bool:
    """Nobody removes it: the rest goes on without what it owned. Only what a minority can lose, once a ring stands."""
    host = world.hosts[fault.hosts[0]]
    gone = sum(1 for other in world.hosts.values() if not other.wanted)
    if not host.up or 2 * (gone + 1) >= len(world.members()) + gone or not ring_everywhere(world):
        return False
    host.wanted = False
    world.crash(host.name)
    return True


KINDS = {
    "crash": Kind(_crash, "a host loses its memory and comes back"),
    "crash-mid-effects": Kind(_crash_mid_effects, "a crash between two effects of one step"),
    "crash-in-recovery": Kind(_crash_in_recovery, "a second crash among the first effects after the first"),
    "crash-loop": Kind(_crash_loop, "a host crashes again and again"),
    "restart": Kind(_restart, "a host is down for an instant"),
    "rolling-restart": Kind(_rolling_restart, "all hosts are restarted, one after the other", 0),
    "power-loss": Kind(_power_loss, "several hosts crash in one instant", None),
    "pause": Kind(_pause, "a process stands still, then takes in all that came meanwhile"),
    "slow-cpu": Kind(_slow_cpu, "every event waits before it is taken in"),
    "gone-for-good": Kind(_gone_for_good, "a host dies and never comes back"),
}
