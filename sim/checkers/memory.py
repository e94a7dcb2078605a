"""A disk that went back, or that two hosts run from, is noticed on contact with somebody who knows more (S12, S13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.doubts import Lapse
    from sim.host import Host

POLL_MS = 500
NOTICED_MS = 10_000
"""So long may two hosts stay linked, in calm weather, before the one that lost its memory has heard of it."""
TWINS_MET_MS = 10_000
"""After the last fault, before one of two hosts that run from copies of one disk must have heard of the other."""


class LostMemoryIsNoticed(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._knowing: dict[int, dict[str, None]] = {}  # lapse → the hosts whose disks knew a later point
        self._met: dict[tuple[int, str], int] = {}  # lapse and host → linked since
        self._polling = False

    def wiped(self, host: Host) -> None:
        """Who durably knew more of this host at that moment than it does itself now."""
        for number, lapse in enumerate(self.world.doubts.lapses):
            if number not in self._knowing:
                self._knowing[number] = {
                    other.name: None
                    for other in self.world.members()
                    if other is not host and self._knows(other, lapse)
                }
        if self._knowing and not self._polling:
            self._polling = True
            self._poll()

    @staticmethod
    def _knows(other: Host, lapse: Lapse) -> bool:
        point = other.disk.durable.points.get(lapse.peer)
        return point is not None and point.number > lapse.known

    def _unnoticed(self, lapse: Lapse) -> Host | None:
        host = self.world.hosts[lapse.host]
        return host if host.wanted and host.settings.peer == lapse.peer and not host.fenced else None

    def _poll(self) -> None:
        world = self.world
        world.loop.after(POLL_MS, self._poll)
        for number, knowing in self._knowing.items():
            lapse = world.doubts.lapses[number]
            host = self._unnoticed(lapse)
            for name in knowing:
                other = world.hosts[name]
                linked = host is not None and host.up and other.up and world.network.linked(host.name, name)
                if not linked or host is None or other.settings.peer in world.lost_peers:
                    self._met.pop((number, name), None)
                    continue
                since = max(self._met.setdefault((number, name), world.loop.now), world.calm_since)
                if world.loop.now - since > NOTICED_MS:
                    self.fail(f"{host.name} has met {name}, who knows more of it, and goes on ({lapse.why})")

    def healed(self) -> None:
        if self.world.doubts.twins:
            self.world.loop.after(TWINS_MET_MS, self._look_at_twins)

    def _look_at_twins(self) -> None:
        hosts = [self.world.hosts[name] for name in self.world.doubts.twins]
        one, other = hosts[:2]
        same = one.settings.peer == other.settings.peer
        if same and one.up and other.up and not one.fenced and not other.fenced:
            self.fail(f"{one.name} and {other.name} both run as {one.settings.peer}, and neither has noticed")

    def settled(self) -> None:
        for number, knowing in self._knowing.items():
            lapse = self.world.doubts.lapses[number]
            host = self._unnoticed(lapse)
            if host is not None and any(self.world.hosts[name].wanted for name in knowing):
                self.fail(f"{host.name} has lost its memory, others know it, and it goes on ({lapse.why})")
