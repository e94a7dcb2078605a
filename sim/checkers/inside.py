"""Every lease lies inside what its host possesses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, PutLease, PutTokens
from ringipam.core.events import Effect, Event
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from ringipam.lease import Lease
    from sim.host import Host


class LeasesInsidePossession(Checker):
    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        if any(type(change) is PutTokens for change in changes):
            self._look_at_all(host)
        for change in changes:
            if type(change) is PutLease:
                self._look(host, change.lease)

    def restarted(self, host: Host) -> None:
        self._look_at_all(host)

    def _look_at_all(self, host: Host) -> None:
        assert host.peer is not None
        for lease in host.peer.leases.values():
            self._look(host, lease)

    def _look(self, host: Host, lease: Lease) -> None:
        assert host.peer is not None
        ring = host.peer.ring
        if ring is None or ring.at(int(lease.address)).owner != host.settings.peer:
            self.fail(f"{host.name} leases {lease.address} to {lease.id} outside what it possesses")
