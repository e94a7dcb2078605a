"""What a fenced host leases and another owns is listed as in doubt on both sides before long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host

POLL_MS = 500
TOLD_MS = 7_000
"""A fenced host tells the owners every five seconds until they have answered."""


class DoubtfulIsListed(Checker):
    """Looked at once all is healed. Two hosts that run as one are told apart by nobody: their leases are left out."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._since: dict[tuple[str, str, int], int] = {}  # who leases, who owns, what → linked since

    def healed(self) -> None:
        self._poll()

    def _poll(self) -> None:
        world = self.world
        world.loop.after(POLL_MS, self._poll)
        found = {}
        for host in world.hosts.values():
            if host.up and host.fenced and host.wanted and host.name not in world.doubts.twins:
                for other, address in self._owned_elsewhere(host):
                    key = (host.settings.peer, other.settings.peer, address)
                    found[key] = self._since.get(key, world.loop.now)
                    if world.loop.now - found[key] > TOLD_MS:
                        self._look(host, other, address)
        self._since = found

    def _owned_elsewhere(self, host: Host) -> list[tuple[Host, int]]:
        """The addresses leased by a fenced host that somebody else may issue, as both of them see it."""
        ring = host.peer.ring if host.peer is not None else None
        if ring is None:
            return []
        linked = {
            other.settings.peer: other
            for other in self.world.members()
            if other.up and not other.fenced and self.world.network.linked(host.name, other.name)
        }
        found = []
        for lease in host.disk.durable.leases.values():
            address = int(lease.address)
            other = linked.get(ring.at(address).owner) if address in self.world.universe.range else None
            seen = other.peer.ring if other is not None and other.peer is not None else None
            if other is not None and seen is not None and seen.at(address).owner == other.settings.peer:
                found.append((other, address))
        return found

    def _look(self, host: Host, other: Host, address: int) -> None:
        text = self.world.universe.text(address)
        if not _lists(other, address):
            self.fail(f"{host.name} is fenced off and leases {text}, which {other.name} owns and does not list")
        if host.settings.peer in self.world.doubts.removed_alive and not _lists(host, address):
            self.fail(f"{host.name} was removed and leases {text}, which {other.name} owns and it does not list")


def _lists(host: Host, address: int) -> bool:
    return any(start <= address < end for start, end in host.disk.durable.conflicts)
