"""What befalls the network: cuts, congestion, loss, disorder, damage."""

from __future__ import annotations

from sim.cluster import World
from sim.faults.fault import Fault, Kind, cut_for
from sim.network import CALM_DELAY_MS


def _split(world: World, fault: Fault) -> bool:
    for one in fault.hosts:
        for other in list(world.hosts):
            if other not in fault.hosts:
                cut_for(world, one, other, fault.for_ms)
    return True


def isolate(world: World, fault: Fault) -> bool:
    for other in list(world.hosts):
        if other != fault.hosts[0]:
            cut_for(world, fault.hosts[0], other, fault.for_ms)
    return True


def _one_way(world: World, fault: Fault) -> bool:
    for other in list(world.hosts):
        if other != fault.hosts[0]:
            cut_for(world, fault.hosts[0], other, fault.for_ms, both=False)
    return True


def _pair(world: World, fault: Fault) -> bool:
    cut_for(world, fault.hosts[0], fault.hosts[1], fault.for_ms)
    return True


def _bridge(world: World, fault: Fault) -> bool:
    """Two halves that see each other only through one host between them."""
    between, rest = fault.hosts[0], [host for host in world.hosts if host != fault.hosts[0]]
    half = len(rest) // 2
    for one in rest[:half]:
        for other in rest[half:]:
            cut_for(world, one, other, fault.for_ms)
    return half > 0 and between in world.hosts


def _flap(world: World, fault: Fault) -> bool:
    for number in range(4):
        world.loop.after(number * fault.for_ms // 2, cut_for, world, fault.hosts[0], fault.hosts[1], fault.for_ms // 4)
    return True


def _clog(world: World, fault: Fault) -> bool:
    """What one host sends arrives all together, later."""
    for other in world.hosts:
        world.network.clog(fault.hosts[0], other, world.loop.now + min(fault.for_ms, 4_000))
    return True


def _swizzle_clog(world: World, fault: Fault) -> bool:
    """Hosts are clogged one after the other and unclogged in another order (FoundationDB's RandomClogging)."""
    step = max(1, min(fault.for_ms, 4_000) // (2 * len(fault.hosts)))
    released = fault.hosts[fault.strength % len(fault.hosts) :] + fault.hosts[: fault.strength % len(fault.hosts)]
    for order, host in enumerate(fault.hosts):
        until = world.loop.now + (len(fault.hosts) + released.index(host) + 1) * step
        world.loop.after(order * step, _clog_until, world, host, until)
    return True


def _clog_until(world: World, host: str, until: int) -> None:
    for other in world.hosts:
        if other != host and not world.healing:
            world.network.clog(host, other, until)
            world.network.clog(other, host, until)


def _reset(world: World, fault: Fault) -> bool:
    return world.network.reset(fault.hosts[0], fault.hosts[1]) > 0


def _slow_link(world: World, fault: Fault) -> bool:
    world.network.slow(fault.hosts[0], fault.hosts[1], 40 + fault.strength * 40)
    world.loop.after(fault.for_ms, world.network.slow, fault.hosts[0], fault.hosts[1], 0)
    return True


WEATHER = {
    "loss": ("loss", 10),
    "delay-tail": ("tail", 3),
    "disorder": ("disorder", 10),
    "copies": ("copies", 10),
    "stale-copies": ("stale", 3),
    "corrupt": ("corrupt", 1),
    "refused-dials": ("refused_dials", 30),
}
"""Which attribute of the weather, and how much of it for each degree of strength."""


def _weather(world: World, fault: Fault) -> bool:
    attribute, degree = WEATHER[fault.kind]
    return _set_weather(world, fault, attribute, (1 + fault.strength) * degree, 0)


def _queue_overflow(world: World, fault: Fault) -> bool:
    return _set_weather(world, fault, "queue", 1 + fault.strength // 4, 0)


def _half_open(world: World, fault: Fault) -> bool:
    return _set_weather(world, fault, "half_open", True, False)


def _slow_network(world: World, fault: Fault) -> bool:
    """So that what is normally over in a moment can be struck by other faults."""
    return _set_weather(world, fault, "delay_ms", (10, 10 + fault.strength * 20), CALM_DELAY_MS)


def _set_weather(world: World, fault: Fault, attribute: str, bad: object, good: object) -> bool:
    setattr(world.network.weather, attribute, bad)
    world.loop.after(fault.for_ms, setattr, world.network.weather, attribute, good)
    return True


KINDS = {
    "split": Kind(_split, "some hosts are cut off from the rest", None),
    "isolate": Kind(isolate, "one host is cut off from all others"),
    "one-way": Kind(_one_way, "what one host says is not heard; it hears the others"),
    "pair": Kind(_pair, "two hosts lose sight of each other, the rest see both", 2),
    "bridge": Kind(_bridge, "two halves see each other only through one host between them", 0),
    "flap": Kind(_flap, "a link goes down and up several times", 2),
    "clog": Kind(_clog, "what one host sends is held up and comes all together"),
    "swizzle-clog": Kind(_swizzle_clog, "hosts are clogged one by one and unclogged in another order", None),
    "loss": Kind(_weather, "messages are lost", 0),
    "delay-tail": Kind(_weather, "a few messages take seconds, and what is behind them waits", 0),
    "disorder": Kind(_weather, "messages overtake each other", 0),
    "copies": Kind(_weather, "messages come twice", 0),
    "stale-copies": Kind(_weather, "old messages come again, many seconds later, over new links too", 0),
    "corrupt": Kind(_weather, "frames are damaged or cut short; the link is closed", 0),
    "queue-overflow": Kind(_queue_overflow, "links hold few messages and lose the rest", 0),
    "reset": Kind(_reset, "connections between two hosts are torn", 2),
    "refused-dials": Kind(_weather, "connections cannot be made", 0),
    "half-open": Kind(_half_open, "dead connections are noticed only after 10 to 20 s", 0),
    "slow-link": Kind(_slow_link, "one direction of a link is slow", 2),
    "slow-network": Kind(_slow_network, "every message takes long", 0),
}
