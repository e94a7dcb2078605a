"""Hosts go: they leave, or die and are removed, and those who remove them die too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringipam.core.durable import PutRound
from ringipam.core.events import Send
from ringipam.messages import AskRemoval, Envelope, PromiseRemoval, RoundOver
from sim.cluster import World
from sim.faults.fault import Fault, Kind, crash_for, ring_everywhere
from sim.host import Host

STAY = 2
"""So many hosts stay, whatever happens."""


def spare(world: World, fault: Fault, more: int = 1) -> list[Host]:
    """Hosts of a fault that may go, one after the other, without too few being left; at most `more`."""
    staying = world.orders.staying()
    if world.healing or not ring_everywhere(world):
        return []
    found = [host for host in staying if host.name in fault.hosts and host.up]
    return found[: min(more, max(0, len(staying) - STAY))]


def others(world: World, *names: str) -> list[Host]:
    return [host for host in world.orders.staying() if host.name not in names]


def _leave(world: World, fault: Fault) -> bool:
    found = spare(world, fault)
    if not found:
        return False
    host = found[0]
    then = ("stop", "stay", "rejoin")[fault.strength % 3]
    world.orders.leave(host, then, drop_leases=fault.strength % 2 == 0)
    if fault.strength % 2:
        # Refused while there are leases: the operator comes back and lets them go.
        world.loop.after(fault.for_ms // 4, _insist, world, host, then)
    if fault.strength % 5 < 2:
        world.loop.after(1 + fault.for_ms // 40, crash_for, world, host.name, 1 + fault.for_ms // 4)
    return True


def _insist(world: World, host: Host, then: str) -> None:
    if host.up and host.name in world.orders.leaving and not host.standing.gone:
        world.orders.leave(host, then, drop_leases=True)


def _removal(world: World, fault: Fault) -> bool:
    """One or two hosts die for good and are removed, by one operator or by two at once."""
    dead = spare(world, fault, 1 + fault.strength % 2)
    if not dead:
        return False
    for host in dead:
        world.orders.kill(host)
    helpers = others(world)
    for number, helper in enumerate(helpers[-1 - fault.strength % 3 % 2 :]):
        delay = 1 + number * fault.strength * 20 + (fault.for_ms // 4 if fault.strength % 4 else 0)
        world.loop.after(delay, world.orders.remove, helper.name, *(host.settings.peer for host in dead))
    return True


@dataclass(eq=False)
class _Death:
    """A coordinator dies for good at some moment of its round, and is removed with those it was about to remove."""

    world: World
    fault: Fault
    coordinator: Host
    target: str

    def reached(self, point: str, host: Host, subject: object) -> bool:
        if host is not self.coordinator or not MOMENTS[self.fault.strength % len(MOMENTS)](point, subject):
            return False
        world = self.world
        world.traps.remove(self)
        left = others(world, host.name)
        if len(left) < STAY:
            return True
        world.mark(f"fault {self.fault.kind}")
        world.disturbed()
        peer = host.settings.peer
        world.orders.kill(host)
        world.loop.after(self.fault.for_ms // 4, world.orders.remove, left[0].name, self.target, peer)
        return True


def _sends(point: str, subject: object, wanted: str, kind: type) -> bool:
    message = subject.message if point == wanted and isinstance(subject, Send) else None
    return isinstance(message, Envelope) and type(message.body) is kind


def _records(point: str, subject: object, wanted: str, *, done: bool) -> bool:
    changes = subject if point == wanted and isinstance(subject, tuple) else ()
    return any(type(change) is PutRound and change.round.done is done for change in changes)


MOMENTS: tuple[Callable[[str, object], bool], ...] = (
    lambda point, subject: _sends(point, subject, "done", AskRemoval),
    lambda point, subject: _records(point, subject, "durable", done=False),
    lambda point, subject: _records(point, subject, "commit", done=True),
    lambda point, subject: _records(point, subject, "committing", done=True),
    lambda point, subject: _records(point, subject, "durable", done=True),
    lambda point, subject: _sends(point, subject, "effect", RoundOver),
    lambda point, subject: _sends(point, subject, "done", RoundOver),
)


def _removal_again(world: World, fault: Fault) -> bool:
    dead = spare(world, fault)
    helpers = others(world, *(host.name for host in dead))
    if not dead or len(helpers) <= STAY:
        return False
    world.orders.kill(dead[0])
    world.traps.append(_Death(world, fault, helpers[0], dead[0].settings.peer))
    world.loop.after(1 + fault.for_ms // 4, world.orders.remove, helpers[0].name, dead[0].settings.peer)
    return False


@dataclass(eq=False)
class _Promise:
    """Whoever promises next crashes behind its promise, with it or without it on the disk."""

    world: World
    fault: Fault
    point: str

    def reached(self, point: str, host: Host, subject: object) -> bool:
        if not _sends(point, subject, self.point, PromiseRemoval):
            return False
        self.world.traps.remove(self)
        self.world.mark(f"fault {self.fault.kind}")
        crash_for(self.world, host.name, 1 + self.fault.for_ms // 2)
        return True


def _crash_promised(world: World, fault: Fault) -> bool:
    world.traps.append(_Promise(world, fault, "effect" if fault.strength % 2 else "done"))
    _removal(world, fault)
    return False


KINDS = {
    "leave": Kind(_leave, "a host leaves, perhaps over a crash; it is stopped, stays, or rejoins", None),
    "removal": Kind(_removal, "hosts die for good and are removed by one operator or two", None),
    "removal-again": Kind(_removal_again, "who removes a dead host dies in the middle; another removes both", None),
    "crash-promised": Kind(_crash_promised, "a member crashes behind its promise to a removal", None),
}
