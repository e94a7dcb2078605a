"""At no instant are two leases for one address held in one cluster, up or down (W6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, DropLease, PutLease
from ringipam.core.events import Effect, Event
from ringipam.lease import Lease
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class NoAddressLeasedTwice(Checker):
    """Keeps every host's leases by address, in memory while it is up, as on its disk while it is down."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._at: dict[int, dict[str, str]] = {}  # address → host → lease
        self._of: dict[str, dict[str, int]] = {}  # host → lease → address

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        if host.stranger:
            return
        for change in changes:
            if type(change) is PutLease:
                self._put(host, change.lease)
            elif type(change) is DropLease:
                self._drop(host.name, change.lease)

    def crashed(self, host: Host) -> None:
        self._reload(host)

    def restarted(self, host: Host) -> None:
        self._reload(host)

    def _reload(self, host: Host) -> None:
        for number in list(self._of.get(host.name, {})):
            self._drop(host.name, number)
        if host.stranger:
            return
        if not host.up and not host.wanted:
            return  # dead for good, and its containers with it
        for lease in host.disk.durable.leases.values():
            self._put(host, lease)

    def _put(self, host: Host, lease: Lease) -> None:
        address = int(lease.address)
        holders = self._at.setdefault(address, {})
        if holders and host.name not in holders and not self.world.doubts.excuses_lease(address):
            other = next(iter(holders))
            self.fail(f"{lease.address} is leased on {host.name} (to {lease.id}) and on {other}")
        if host.name in holders and holders[host.name] != lease.lease:
            self.fail(f"{lease.address} is leased twice on {host.name}")
        holders[host.name] = lease.lease
        self._of.setdefault(host.name, {})[lease.lease] = address

    def _drop(self, host: str, number: str) -> None:
        address = self._of.get(host, {}).pop(number, None)
        if address is not None:
            self._at[address].pop(host, None)
