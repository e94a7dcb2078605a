"""At no instant do two hosts possess one address (W6), not even if any one of them crashed in that instant.

A host possesses what its memory says while it is up, and what its disk says if it crashes: both are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.address import Range
from ringipam.core.durable import Change, PutConflict, PutTokens, Stored
from ringipam.core.events import Effect, Event
from ringipam.ring.intervals import Intervals
from ringipam.ring.ring import Ring
from sim.checkers.base import Checker
from sim.host import persisted

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


Possession = tuple[str, list[Range]]
"""A cluster, and what is possessed in it."""

NOTHING: Possession = ("", [])


class NoAddressPossessedTwice(Checker):
    """Compares a host with the others only when its ring changed, in memory or on disk."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._memory: dict[str, Possession] = {}
        self._disk: dict[str, Possession] = {}

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        if any(isinstance(change, PutTokens | PutConflict) for change in persisted(effects)):
            self._look(host)

    def restarted(self, host: Host) -> None:
        self._look(host)

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        if any(isinstance(change, PutTokens | PutConflict) for change in changes):
            self._look_at_disk(host)

    def crashed(self, host: Host) -> None:
        self._memory.pop(host.name, None)
        self._look_at_disk(host)

    def _look(self, host: Host) -> None:
        assert host.peer is not None
        self._memory[host.name] = (host.peer.cluster, host.peer.possessed())
        self._compare(host.name, self._memory, "")

    def _look_at_disk(self, host: Host) -> None:
        self._disk[host.name] = durable_possession(host)
        self._compare(host.name, self._disk, f" if {host.name} restarts")

    def _compare(self, name: str, views: dict[str, Possession], when: str) -> None:
        cluster, mine = views[name]
        if not cluster or not mine:
            return
        for others, also in ((self._memory, when), (self._disk, when or " if the latter restarts")):
            for other, (their_cluster, theirs) in others.items():
                if other != name and their_cluster == cluster:
                    shared = overlap(mine, theirs)
                    if shared is not None:
                        first, last = (self.world.universe.text(a) for a in (shared.start, shared.end - 1))
                        self.fail(f"{name} and {other} both possess {first} to {last}{also}")


def durable_possession(host: Host) -> Possession:
    """Cluster and ranges that a restart of this host would find."""
    stored: Stored = host.disk.durable
    cluster = stored.meta.get("cluster", "")
    if not cluster:
        return NOTHING
    owned = Intervals()
    ring = Ring.from_tokens(host.settings.universe.range, sorted(stored.tokens.items()))
    for start, end in ring.ranges_of(host.settings.peer):
        owned.add(start, end)
    for start, end in sorted(stored.conflicts):
        owned.discard(start, end)
    return cluster, list(owned)


def overlap(one: list[Range], two: list[Range]) -> Range | None:
    """The first range that two sorted lists of ranges share."""
    i = j = 0
    while i < len(one) and j < len(two):
        (start, end), (other_start, other_end) = one[i], two[j]
        if start < other_end and other_start < end:
            return Range(max(start, other_start), min(end, other_end))
        if end < other_end:
            i += 1
        else:
            j += 1
    return None
