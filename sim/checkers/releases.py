"""A release frees what it names and nothing else, however late or often it comes (safety.md S22, the ABA problem)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, DropLease, PutLease
from ringipam.core.events import Asked, Effect, Event, Release
from ringipam.lease import Lease
from sim.checkers.base import Checker, drops_leases

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class ReleasesFreeTheirOwn(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._leases: dict[str, dict[str, Lease]] = {}

    def restarted(self, host: Host) -> None:
        self._leases[host.name] = dict(host.disk.durable.leases)

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        leases = self._leases[host.name]
        for change in changes:
            if isinstance(change, PutLease):
                leases[change.lease.lease] = change.lease
            elif isinstance(change, DropLease):
                self._look(host, event, leases.pop(change.lease, None))

    def _look(self, host: Host, event: Event | None, lease: Lease | None) -> None:
        if lease is None:
            self.fail(f"{host.name} frees a lease it does not hold")
        verb = event.verb if isinstance(event, Asked) else None
        if verb is not None and drops_leases(verb):
            return
        if not isinstance(verb, Release) or verb.id != lease.id or verb.lease not in (None, lease.lease):
            self.fail(f"{host.name} frees {lease.address}, the lease {lease.lease} of {lease.id}, on {verb}")
