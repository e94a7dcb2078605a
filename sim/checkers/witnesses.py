"""Nobody is granted space whom only the donor knows: its death would hide an owner from a removal (S4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, PutTokens
from ringipam.core.events import Effect, Event
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.host import Host


class NewcomersAreVouchedFor(Checker):
    """At a host's first grant to another, a third holds that other durably, if the donor knows a third."""

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        me = host.settings.peer
        for change in changes:
            if isinstance(change, PutTokens):
                for _, claim in change.put:
                    if claim.writer == me != claim.owner and claim.version > 1:
                        self._look(host, claim.owner)

    def _look(self, donor: Host, asker: str) -> None:
        if self.world.lost_peers or any(claim.owner == asker for claim in donor.disk.durable.tokens.values()):
            return  # a witness may have lost its disk; an owner is known to whoever knows the ring
        hosts = [host for host in self.world.hosts.values() if host.settings.peer not in (donor.settings.peer, asker)]
        third = [host for host in hosts if host.settings.peer in donor.disk.durable.members]
        if third and not any(asker in host.disk.durable.members for host in hosts):
            self.fail(f"{donor.name} grants space to {asker}, whom no third host holds durably")
