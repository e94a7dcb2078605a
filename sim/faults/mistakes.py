"""What no protocol can undo: a host removed while it lives, a disk that goes back, one that runs twice."""

from __future__ import annotations

from dataclasses import replace

from ringipam.core.durable import Stored
from ringipam.core.events import Allocate
from sim.cluster import World
from sim.faults.departures import STAY, others, spare
from sim.faults.fault import Fault, Kind
from sim.faults.network import isolate
from sim.host import Host

SECOND_DISKS = 2
"""Mistakes of one kind in one run; each takes a host out of the removals until it is mended."""
AWAY_MS = 9_000
"""So long does a host have to be away before others believe that it is dead and help to remove it."""


def _wrong_removal(world: World, fault: Fault) -> bool:
    """A host that is cut off, paused or down for a while is taken for dead."""
    found = spare(world, fault)
    helpers = others(world, *(host.name for host in found))
    if not found or len(helpers) < STAY:
        return False
    host, force = found[0], fault.strength % 2 == 1
    away_ms = AWAY_MS + fault.for_ms // 4
    match fault.strength % 3:
        case 0:
            world.crash(host.name)
            world.loop.after(away_ms, world.restart, host.name)
        case 1 if force:
            # The others are not even told that it is away.
            away_ms = 3_000
            host.paused_until = world.loop.now + 3_000
        case _:
            isolate(world, replace(fault, hosts=(host.name,), for_ms=away_ms))
    world.orders.condemn(host, helpers[: 1 + fault.strength % 4 // 3], 1 + fault.for_ms // 12, force=force)
    return True


def _rollback(world: World, fault: Fault) -> bool:
    """A disk is put back to what it was some seconds before."""
    found = spare(world, fault)
    if not found or len(world.doubts.lapses) >= SECOND_DISKS:
        return False
    host = found[0]
    earlier = host.disk.read()
    world.loop.after(1 + fault.for_ms // 2, _go_back, world, fault, host, host.settings.peer, earlier)
    return True


def _go_back(world: World, fault: Fault, host: Host, peer: str, earlier: Stored) -> None:
    same = host.settings.peer == peer and host.wanted and not host.standing.gone
    if world.healing or not host.up or not same or len(others(world, host.name)) < STAY:
        return
    world.crash(host.name)
    if fault.strength % 4 == 3:
        earlier.tokens = host.disk.read().tokens  # not the whole disk: one table was restored by hand, another not
    world.went_back(host, earlier, "its disk was put back")
    world.disturbed()
    world.mark("a disk went back")
    world.loop.after(1 + fault.for_ms // 8, world.restart, host.name)


def _rejoin(world: World, fault: Fault) -> bool:
    """A host that has lost its memory is told to begin anew as soon as it says so."""
    if not _rollback(world, fault):
        return False
    for number in range(1, 8):
        world.loop.after(fault.for_ms // 2 + number * 1_500, _begin_anew, world, fault)
    return True


def _begin_anew(world: World, fault: Fault) -> None:
    for name in fault.hosts:
        host = world.hosts[name]
        if host.up and host.wanted and host.fenced and not host.standing.gone and not world.healing:
            former = host.settings.peer
            world.mark("a fenced host began anew")
            world.orders.rejoin(host, drop_leases=fault.strength % 3 == 0)
            helpers = others(world, name)
            if helpers and fault.strength % 2:
                world.loop.after(1 + fault.for_ms // 4, world.orders.remove, helpers[0].name, former)


def _clone(world: World, fault: Fault) -> bool:
    """A second host runs from a copy of another's disk; users ask it too."""
    found = spare(world, fault)
    if not found or world.doubts.twins or len(others(world, found[0].name)) < STAY:
        return False
    host = found[0]
    twin = world.copy_host(host, f"{host.name}-copy")
    world.disturbed()
    if fault.strength % 3 == 0:
        world.crash(host.name)  # it comes back later, to a ring that knows the other
        world.loop.after(fault.for_ms // 2, world.restart, host.name)
    twin.start()
    for number in range(fault.strength % 6):
        world.loop.after(1 + number * fault.for_ms // 6, _ask, world, twin, number)
    return True


def _ask(world: World, twin: Host, number: int) -> None:
    if twin.up:
        world.ask(twin.name, Allocate(f"{twin.name}-{number}", None, 5_000))


def _verify(world: World, fault: Fault) -> bool:
    """Some hosts issue nothing after a start before a peer has confirmed that their data is current."""
    for name in fault.hosts:
        host = world.hosts[name]
        host.settings = replace(host.settings, verify=True)
    return True


KINDS = {
    "wrong-removal": Kind(_wrong_removal, "a host that is only away for a while is removed", None),
    "rollback": Kind(_rollback, "a disk goes back to what it was seconds before", None),
    "clone": Kind(_clone, "a second host runs from a copy of a disk", None),
    "rejoin": Kind(_rejoin, "a host whose disk went back begins anew", None),
    "verify": Kind(_verify, "hosts wait after a start for a word that their data is current", None, standing=True),
}
