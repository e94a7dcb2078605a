"""Whatever part of its records a crash leaves, a peer rises from it whole: a what-if crash at every change (S14, S19).

After each step that asks for a record a second peer is built from the disk as it will be, and is looked at beside the
living. What it possesses is compared with the others by `NoAddressPossessedTwice`, as one of the host's futures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import BeginAnew, Change, Stored
from ringipam.core.events import Effect, Event
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from sim.checkers.base import Checker
from sim.disk import copied

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


class RisesFromEveryRecord(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._ahead: dict[str, Stored] = {}

    def restarted(self, host: Host) -> None:
        self._ahead[host.name] = host.disk.read()

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        ahead = self._ahead[host.name]
        for change in changes:
            ahead.apply(change)
        if any(isinstance(change, BeginAnew) for change in changes):
            return  # whoever rises from this is somebody else
        now = self.world.loop.now
        try:
            risen = Peer(host.settings, copied(ahead), Rng(now), now)
        except Exception as error:
            self.fail(f"{host.name} would not rise from its disk after a crash: {error!r}")
        self.world.mark("a what-if crash was recovered from")
        living = host.peer
        assert living is not None
        waits = host.settings.verify and not living.possessed()
        if risen.cluster != living.cluster or (risen.possessed() != living.possessed() and not waits):
            self.fail(f"{host.name} would possess {risen.possessed()} after a crash, it possesses {living.possessed()}")
        if dict(risen.leases) != dict(living.leases):
            self.fail(f"{host.name} would hold other leases after a crash")
        if risen.ring is not None:
            risen.ring.check()
            everywhere = self.world.universe.range
            if not host.stranger and risen.free_in(everywhere, everywhere.size) > living.free_in(
                everywhere, everywhere.size
            ):
                self.fail(f"{host.name} would have addresses free after a crash that are in use")
