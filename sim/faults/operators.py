"""What operators do, by intent or mistake: lost disks, foreign rings, wrong ranges, forgotten and changed peers."""

from __future__ import annotations

from dataclasses import replace

from ringipam.config import parse_init
from ringipam.core.events import Allocate, Forget
from sim.cluster import World
from sim.faults.fault import Fault, Kind, ring_everywhere


def _forget(world: World, fault: Fault) -> bool:
    world.ask(fault.hosts[0], Forget(fault.hosts[1]))
    return world.hosts[fault.hosts[0]].up


def _changed_peers(world: World, fault: Fault) -> bool:
    """Restarted with one peer on its command line instead of all."""
    host = world.hosts[fault.hosts[0]]
    if not host.up or not host.disk.durable.meta.get("cluster"):
        return False
    world.crash(host.name)
    host.settings = replace(host.settings, dial=(f"{fault.hosts[1]}:6783",))
    world.loop.after(fault.for_ms // 4, world.restart, host.name)
    return True


def _lost_disk(world: World, fault: Fault) -> bool:
    """The host comes back with an empty disk, as an observer and under a new uid, as the manual asks.

    What it owned stays with its old self until that is removed. Nothing safe can be asked of a host that gives itself
    the same uid again (`seed`), nor while a foreign ring would take it in.
    """
    host = world.hosts[fault.hosts[0]]
    lost = len(world.lost_peers)
    strangers = any(other.stranger for other in world.hosts.values())
    seeded = host.settings.init.mode.value == "seed"
    if not host.up or seeded or strangers or 2 * (lost + 1) >= len(world.hosts) or not ring_everywhere(world):
        return False
    world.crash(host.name)
    world.lose_disk(host, parse_init("observer", host.settings.dial))
    world.loop.after(fault.for_ms // 4, world.restart, host.name)
    return True


def _foreign_ring(world: World, fault: Fault) -> bool:
    """A host that has formed a ring of its own is told to join."""
    if "foreign" in world.hosts or world.lost_peers or world.doubts.lapses or not ring_everywhere(world):
        return False
    host = world.add_host("foreign", "alone", list(world.hosts))
    host.stranger = True
    host.start()
    world.ask("foreign", Allocate("elsewhere", None, 5_000))
    return True


def _wrong_range(world: World, fault: Fault) -> bool:
    """A host is launched with another --iprange."""
    if "misled" in world.hosts:
        return False
    universe = "10.9.0.0/24" if world.universe.family == 4 else "fd09::/120"
    host = world.add_host("misled", "observer", list(world.hosts), universe=universe)
    host.stranger = True
    host.start()
    return True


KINDS = {
    "forget": Kind(_forget, "an operator lets a host forget another that is alive", 2),
    "changed-peers": Kind(_changed_peers, "a host is restarted with another list of peers", 2),
    "lost-disk": Kind(_lost_disk, "a host loses its disk and comes back as a newcomer"),
    "foreign-ring": Kind(_foreign_ring, "a host of another ring tries to join", 0),
    "wrong-range": Kind(_wrong_range, "a host with another address range tries to join", 0),
}
