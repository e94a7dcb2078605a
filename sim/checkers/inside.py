"""Every lease lies inside what its host possesses, or is known to be in doubt.

In doubt are the leases of a host that is fenced off, those over which a conflict is recorded, and those that a host
carried over into a new life, until they have come home.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import BeginAnew, Change, DropConflict, PutConflict, PutLease, PutMeta, PutTokens
from ringipam.core.events import Effect, Event
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from ringipam.lease import Lease
    from sim.cluster import World
    from sim.host import Host


class LeasesInsidePossession(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._carried: dict[str, set[str]] = {}
        self._fenced: dict[str, bool] = {}
        self._conflicts: dict[str, dict[tuple[int, int], None]] = {}

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        for change in changes:
            match change:
                case PutMeta("fenced", reason):
                    self._fenced[host.name] = bool(reason)
                case PutConflict(conflict):
                    self._conflicts[host.name][conflict.start, conflict.end] = None
                case DropConflict(start, end):
                    del self._conflicts[host.name][start, end]
                case BeginAnew():
                    self._carried[host.name] = set(host.peer.leases) if host.peer is not None else set()
                    return
                case _:
                    pass
        if any(type(change) is PutTokens for change in changes):
            self._look_at_all(host)
        for change in changes:
            if type(change) is PutLease:
                self._look(host, change.lease)

    def wiped(self, host: Host) -> None:
        """Leases that came back with an old disk may lie in what was granted away since."""
        self._carried[host.name] = set(host.disk.durable.leases)

    def restarted(self, host: Host) -> None:
        self._fenced[host.name] = bool(host.fenced)
        self._conflicts[host.name] = dict.fromkeys(host.disk.durable.conflicts)
        self._look_at_all(host)

    def _look_at_all(self, host: Host) -> None:
        assert host.peer is not None
        for lease in host.peer.leases.values():
            self._look(host, lease)

    def _look(self, host: Host, lease: Lease) -> None:
        assert host.peer is not None
        ring, carried = host.peer.ring, self._carried.get(host.name, set())
        if ring is not None and ring.at(int(lease.address)).owner == host.settings.peer:
            carried.discard(lease.lease)
        elif (
            not self._fenced[host.name]
            and lease.lease not in carried
            and not any(start <= int(lease.address) < end for start, end in self._conflicts[host.name])
        ):
            self.fail(f"{host.name} leases {lease.address} to {lease.id} outside what it possesses")
