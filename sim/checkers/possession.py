"""At no instant do two hosts possess one address (W6). A host that is down possesses what its disk says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.address import Range
from ringipam.core.durable import PutConflict, PutTokens, Stored
from ringipam.core.events import Effect, Event
from ringipam.ring.ring import Ring
from sim.checkers.base import Checker
from sim.host import persisted

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class NoAddressPossessedTwice(Checker):
    """Compares a host with the others only when its ring changed."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._held: dict[str, tuple[str, list[Range]]] = {}

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        if any(isinstance(change, PutTokens | PutConflict) for change in persisted(effects)):
            self._look(host)

    def restarted(self, host: Host) -> None:
        self._look(host)

    def crashed(self, host: Host) -> None:
        self._held[host.name] = durable_possession(host)
        self._compare(host.name)

    def _look(self, host: Host) -> None:
        assert host.peer is not None
        self._held[host.name] = (host.peer.cluster, host.peer.possessed())
        self._compare(host.name)

    def _compare(self, name: str) -> None:
        cluster, mine = self._held[name]
        if not cluster or not mine:
            return
        for other, (their_cluster, theirs) in self._held.items():
            if other != name and their_cluster == cluster:
                shared = overlap(mine, theirs)
                if shared is not None:
                    first, last = (self.world.universe.text(a) for a in (shared.start, shared.end - 1))
                    self.fail(f"{name} and {other} both possess {first} to {last}")


def durable_possession(host: Host) -> tuple[str, list[Range]]:
    """Cluster and ranges that a restart of this host would find."""
    stored: Stored = host.disk.durable
    cluster = stored.meta.get("cluster", "")
    if not cluster:
        return "", []
    ring = Ring.from_tokens(host.settings.universe.range, sorted(stored.tokens.items()))
    return cluster, ring.ranges_of(host.settings.peer)


def overlap(one: list[Range], two: list[Range]) -> Range | None:
    """The first range that two sorted lists of ranges share."""
    i = j = 0
    while i < len(one) and j < len(two):
        shared = one[i].intersect(two[j])
        if shared is not None:
            return shared
        if one[i].end < two[j].end:
            i += 1
        else:
            j += 1
    return None
