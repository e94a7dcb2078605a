"""Nothing is kept in memory only: once all commits are done, ring and leases are what the disk says (safety.md S14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change
from ringipam.core.events import Effect, Event
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class DiskHoldsWhatMemoryDoes(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._behind: dict[str, int] = {}  # host → changes that are not durable yet

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        self._behind[host.name] = self._behind.get(host.name, 0) + len(changes)

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        self._behind[host.name] -= len(changes)
        if not self._behind[host.name]:
            self._compare(host)

    def crashed(self, host: Host) -> None:
        self._behind[host.name] = 0

    def finished(self) -> None:
        for host in self.world.hosts.values():
            if host.up and not self._behind.get(host.name):
                self._compare(host)

    def _compare(self, host: Host) -> None:
        assert host.peer is not None
        durable = host.disk.durable
        if durable.meta.get("peer", host.settings.peer) != host.settings.peer:
            return  # its disk is somebody else's already; what memory holds is about to go
        if host.peer.cluster != durable.meta.get("cluster", ""):
            self.fail(f"{host.name} is of cluster {host.peer.cluster}, which its disk does not know")
        if host.peer.ring is not None and dict(host.peer.ring.tokens()) != durable.tokens:
            self.fail(f"{host.name} has another ring in memory than on disk")
        if dict(host.peer.leases) != durable.leases:
            self.fail(f"{host.name} has other leases in memory than on disk")
