"""Nobody is granted space whom only the donor knows: its death would hide an owner from a removal (S4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.claim import Claim
from ringipam.core.durable import Change, PutMember, PutTokens
from ringipam.core.events import Effect, Event
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class NewcomersAreVouchedFor(Checker):
    """At a host's first grant to another, a third has held that other durably, if the donor knows a third."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._held: dict[str, dict[str, None]] = {}  # peer → the peers that have held it durably

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        for change in changes:
            if isinstance(change, PutMember):
                self._held.setdefault(change.peer, {})[host.settings.peer] = None

    def restarted(self, host: Host) -> None:
        for peer in host.disk.durable.members:
            self._held.setdefault(peer, {})[host.settings.peer] = None

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        me = host.settings.peer
        for change in changes:
            if isinstance(change, PutTokens):
                granted = dict(change.put)
                for claim in granted.values():
                    if claim.writer == me != claim.owner and claim.version > 1:
                        self._look(host, claim.owner, granted)

    def _look(self, donor: Host, asker: str, granted: dict[int, Claim]) -> None:
        assert donor.peer is not None
        assert donor.peer.ring is not None
        if any(claim.owner == asker and start not in granted for start, claim in donor.peer.ring.tokens()):
            return  # whoever knows the ring knows its owners
        members = donor.disk.durable.members
        third = [p for p in members if p not in (donor.settings.peer, asker) and not members[p].standing.gone]
        if third and not any(peer != donor.settings.peer for peer in self._held.get(asker, {})):
            self.fail(f"{donor.name} grants space to {asker}, whom no third host has ever held durably")
