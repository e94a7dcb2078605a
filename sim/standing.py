"""A system that has stood for a while: every host finds one ring and one member list on its disk when it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ringipam.claim import Claim
from ringipam.core.durable import Membered, Stored
from ringipam.core.settings import Settings
from ringipam.messages import Standing
from sim.checkers import Checker, all_checkers
from sim.cluster import World
from sim.trace import Trace

CLUSTER = "0123456789abcdef"
SEEDS = 3
"""How many peers each host is launched with; it learns of the others."""


def standing(
    seed: int,
    hosts: int,
    universe: str,
    *,
    checkers: Callable[[World], Sequence[Checker]] = all_checkers,
    trace: Trace | None = None,
    codec: bool = False,
    tuned: Callable[[Settings], Settings] = lambda settings: settings,
) -> World:
    """A started world whose hosts own equal shares. Forming a ring of 1,000 hosts is another scenario's subject.

    `tuned` gives the settings that a host starts with in the place of the usual ones.
    """
    names = [f"h{number}" for number in range(1, hosts + 1)]
    seeds = names[:SEEDS]
    world = World(
        seed,
        names,
        universe,
        "observer",
        dial=lambda name: [peer for peer in seeds if peer != name],
        checked=False,
        trace=trace,
        codec=codec,
        start=False,
    )
    for checker in checkers(world):
        world.watch(checker)
    owners = [host.settings.peer for host in world.hosts.values()]
    extent = world.universe.range
    tokens = {
        extent.start + number * extent.size // hosts: Claim(0, 1, owner, owner) for number, owner in enumerate(owners)
    }
    members = {host.settings.peer: Membered(host.settings.address, Standing.MEMBER) for host in world.hosts.values()}
    for host in world.hosts.values():
        host.settings = tuned(host.settings)
        host.disk.durable = Stored(meta={"cluster": CLUSTER}, tokens=dict(tokens), members=dict(members))
        host.start()
    return world
