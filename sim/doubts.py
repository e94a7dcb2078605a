"""What operators and disks did that no protocol can undo: which addresses may be held twice because of it, and why.

A host that was removed while it was alive, one whose disk went back, and one that runs twice each have a time in which
they cannot know better (safety.md, the known limits). The checkers excuse the addresses in question and nothing else,
and only until the host has learned of it and all rings are one again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ringipam.address import Range
from ringipam.core.durable import BeginAnew, Change, PutLease, PutRound
from ringipam.ring.intervals import Intervals

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


@dataclass(slots=True)
class Lapse:
    """A host that has lost its memory, and what others would hold against it."""

    host: str
    peer: str
    since: int
    known: int
    """The last commit that the host still knows of its own; who knows of a later one tells it so."""
    why: str


@dataclass(slots=True, eq=False)
class Doubts:
    world: World
    possession: Intervals = field(default_factory=Intervals)
    """What may be possessed twice just now."""
    leases: Intervals = field(default_factory=Intervals)
    """What may be leased twice, until an operator has looked after it."""
    lapses: list[Lapse] = field(default_factory=list)
    forgetful: set[str] = field(default_factory=set)
    """Peers that have lost memory or have a twin: their starts are counted anew."""
    removed_alive: set[str] = field(default_factory=set)
    """Peers that were removed and lived."""
    twins: dict[str, str] = field(default_factory=dict)
    """Host → the one that runs from a copy of its disk, and the other way round."""

    def over(self, start: int, end: int) -> None:
        """From now on `[start, end)` is in doubt."""
        self.possession.add(start, end)
        self.leases.add(start, end)

    def excuses(self, start: int, end: int) -> bool:
        """Whether all of `[start, end)` may be possessed twice."""
        return self.possession.count(start, end) == end - start

    def excuses_lease(self, address: int) -> bool:
        return address in self.leases

    def excuses_conflict(self, start: int, end: int) -> bool:
        """Whether all of `[start, end)` has ever been in doubt."""
        return self.leases.count(start, end) == end - start

    def went_back(self, host: Host, lost: list[Range], known: int, why: str) -> None:
        """The disk of a host is older than what it has said: `lost` is all it owned then or owns on the disk now."""
        self.lapses.append(Lapse(host.name, host.settings.peer, self.world.loop.now, known, why))
        self.forgetful.add(host.settings.peer)
        for start, end in lost:
            self.over(start, end)

    def note(self, host: Host, changes: tuple[Change, ...]) -> None:
        """Look for what puts addresses in doubt, before anybody judges them."""
        for change in changes:
            if type(change) is PutRound and change.round.done:
                self._removed(change)
            elif type(change) is BeginAnew:
                # Until a carried lease has come home, whoever owns its address may issue it (core/disputes.py).
                for lease in host.disk.durable.leases.values():
                    self.leases.add(int(lease.address), int(lease.address) + 1)
            elif type(change) is PutLease and host.name in self.twins:
                self.leases.add(int(change.lease.address), int(change.lease.address) + 1)
        if host.name in self.twins and host.peer is not None and host.peer.ring is not None:
            for start, end in host.peer.ring.ranges_of(host.settings.peer):
                self.over(start, end)

    def _removed(self, change: PutRound) -> None:
        """A takeover from somebody who may come back."""
        alive = [
            host.settings.peer
            for host in self.world.hosts.values()
            if host.wanted and not host.stranger and host.settings.peer in change.round.targets
        ]
        self.removed_alive.update(alive)
        at_large = any(
            host.wanted and host.settings.peer in self.removed_alive and not host.fenced
            for host in self.world.hosts.values()
        )
        if alive or at_large:
            for start, end in change.round.taken:
                self.over(start, end)

    @property
    def two_run_as_one(self) -> bool:
        """Others keep a link to one of them only."""
        return bool(self.twins) and all(self.world.hosts[name].up for name in self.twins)

    def settled(self) -> None:
        """All rings are one, and whoever was in doubt knows of it: nothing is possessed twice from now on."""
        self.possession = Intervals()
