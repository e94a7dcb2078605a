"""A released address rests, over restarts and grants too, and is issued again only where nothing else is free (S20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.address import Cidr
from ringipam.core.durable import Change, DropLease, PutLease
from ringipam.core.events import Effect, Event
from ringipam.lease import Lease
from ringipam.ring.space import Rows
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class ReleasedAddressesRest(Checker):
    """Mirrors the rows of every host's quarantine, and when each address was released anywhere."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._rows: dict[str, dict[int, tuple[int, int]]] = {}  # host → start → (end, until)
        self._released: dict[int, int] = {}  # address → when, in the world's time
        self._leases: dict[str, dict[str, int]] = {}  # host → lease → address

    def restarted(self, host: Host) -> None:
        durable = host.disk.durable
        self._rows[host.name] = dict(durable.quarantine)
        self._leases[host.name] = {lease.lease: int(lease.address) for lease in durable.leases.values()}

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        if not host.settings.quarantine_ms or host.stranger:
            return
        rows, leases = self._rows[host.name], self._leases[host.name]
        rested: list[tuple[int, int]] = []
        dropped: dict[int, None] = {}
        for change in changes:
            match change:
                case Rows(gone, put):
                    rested += [(start, rows.pop(start)[0]) for start in gone if start in rows]
                    # A row in `put` may replace one of the same start: that range rested before, too.
                    rested += [(start, rows[start][0]) for start, _, _ in put if start in rows]
                    rows.update((start, (end, until)) for start, end, until in put)
                case PutLease(lease):
                    leases[lease.lease] = int(lease.address)
                    self._issued(host, lease, rested)
                    dropped.pop(int(lease.address), None)
                case DropLease(number):
                    dropped[leases.pop(number)] = None
                case _:
                    pass
        for address in dropped:
            self._released[address] = self.world.loop.now
            excluded = any(address in kept for kept in host.settings.excluded)
            if host.peer is not None and not any(address in owned for owned in host.peer.possessed()):
                continue  # whoever owns it decides when it is issued again
            if not excluded and not any(start <= address < end for start, (end, _) in rows.items()):
                self.fail(f"{host.name} released {self.world.universe.text(address)}, and it does not rest")

    def _issued(self, host: Host, lease: Lease, rested: list[tuple[int, int]]) -> None:
        address = int(lease.address)
        since = self._released.get(address)
        if self.world.doubts.excuses_lease(address):
            return
        if lease.class_ != "container" or since is None:
            return
        if self.world.loop.now >= since + host.settings.quarantine_ms * 9 // 10 or since < self.world.clocks_stepped:
            return  # rests are measured by the hosts' own clocks
        if not any(start <= address < end for start, end in rested):
            self.fail(f"{lease.address} was released {self.world.loop.now - since} ms ago; {host.name} forgot that")
        free = self._never_used(host, lease)
        if free > 0:
            self.fail(f"{host.name} issued {lease.address}, which rests, while {free} others were free")

    def _never_used(self, host: Host, lease: Lease) -> int:
        """How many addresses of the lease's subnet neither rest nor are leased; whoever rests counts as free."""
        assert host.peer is not None
        network = lease.subnet
        issuable = Cidr(network.version, int(network.network_address), network.prefixlen).issuable
        lo, hi = issuable
        resting = sum(
            min(end, hi) - max(start, lo)
            for start, (end, _) in self._rows[host.name].items()
            if start < hi and lo < end
        )
        return host.peer.free_in(issuable, at_most=resting + 1) - resting
