"""What befalls disks. A commit is whole or not at all: torn and flipped data is the store's to refuse."""

from __future__ import annotations

from sim.cluster import World
from sim.disk import CALM_DELAY_MS
from sim.faults.fault import Fault, Kind, crash_for


def _fails(world: World, fault: Fault) -> bool:
    disk = world.hosts[fault.hosts[0]].disk
    disk.failing = True
    world.loop.after(fault.for_ms, setattr, disk, "failing", False)
    return True


def _full(world: World, fault: Fault) -> bool:
    disk = world.hosts[fault.hosts[0]].disk
    disk.full = True
    world.loop.after(fault.for_ms, setattr, disk, "full", False)
    return _fails(world, fault)


def _slow(world: World, fault: Fault) -> bool:
    disk = world.hosts[fault.hosts[0]].disk
    disk.delay_ms = (5, 5 + fault.strength * 20)
    world.loop.after(fault.for_ms, setattr, disk, "delay_ms", CALM_DELAY_MS)
    return True


def _stalls(world: World, fault: Fault) -> bool:
    """Syncs hang; the checkers allow answers no longer than that."""
    world.hosts[fault.hosts[0]].disk.stalled_until = world.loop.now + min(fault.for_ms, 4_000)
    return True


def _unreadable(world: World, fault: Fault) -> bool:
    """The host crashes, and cannot read its disk for a while after that."""
    disk = world.hosts[fault.hosts[0]].disk
    disk.unreadable = True
    world.loop.after(fault.for_ms, setattr, disk, "unreadable", False)
    return crash_for(world, fault.hosts[0], fault.for_ms // 4)


KINDS = {
    "disk-fails": Kind(_fails, "commits fail; some are found on the disk all the same"),
    "disk-full": Kind(_full, "commits fail for lack of room"),
    "disk-slow": Kind(_slow, "syncs take up to half a second"),
    "disk-stalls": Kind(_stalls, "syncs hang for seconds"),
    "disk-unreadable": Kind(_unreadable, "a crashed host cannot read its disk for a while"),
}
