"""What a user was told is on the disk, and stays there until that user lets it go (W10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, PutLease
from ringipam.core.events import Leased, LeaseList, Leases, Release
from sim.checkers.base import Checker, drops_leases

if TYPE_CHECKING:
    from sim.cluster import Request, World
    from sim.host import Host


class AcknowledgedIsDurable(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._acknowledged: dict[str, dict[str, str]] = {}  # host → lease → id
        self._durable: set[str] = set()
        """Every lease that ever was: it may be let go before a list that shows it is read."""

    def asked(self, request: Request) -> None:
        """From the moment a release is asked for, the lease may be there or not."""
        if drops_leases(request.verb):
            self._acknowledged.pop(request.host, None)
        if isinstance(request.verb, Release):
            mine = self._acknowledged.get(request.host, {})
            for number, holder in list(mine.items()):
                if holder == request.verb.id and request.verb.lease in (None, number):
                    del mine[number]

    def answered(self, request: Request) -> None:
        host = self.world.hosts[request.host]
        match request.answer:
            case Leased(lease, _):
                if lease.lease not in host.disk.durable.leases:
                    self.fail(f"{host.name} told of {lease.address} for {lease.id} before it was durable")
                if not self.world.releasing(request.host, lease.id):
                    self._acknowledged.setdefault(host.name, {})[lease.lease] = lease.id
            case LeaseList(leases, _) if isinstance(request.verb, Release):
                for lease in leases:
                    if lease.lease in host.disk.durable.leases:
                        self.fail(f"{host.name} told that {lease.address} was released before that was durable")
            case LeaseList(leases, _) if isinstance(request.verb, Leases):
                for lease in leases:
                    if lease.lease not in self._durable:
                        self.fail(f"{host.name} lists {lease.address} for {lease.id}, which was never durable")

    def wiped(self, host: Host) -> None:
        mine = self._acknowledged.get(host.name, {})
        for number in [number for number in mine if number not in host.disk.durable.leases]:
            del mine[number]

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        self._durable.update(change.lease.lease for change in changes if type(change) is PutLease)
        self._look(host)

    def restarted(self, host: Host) -> None:
        self._durable.update(host.disk.durable.leases)
        self._look(host)

    def _look(self, host: Host) -> None:
        durable = host.disk.durable.leases
        for number, holder in self._acknowledged.get(host.name, {}).items():
            if number not in durable:
                self.fail(f"{host.name} lost the lease {number} it had confirmed to {holder}")
