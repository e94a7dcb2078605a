"""While nothing strikes, what an owner writes is known everywhere within a few rounds of rumours.

Push-pull spreading takes `log3 n + ln ln n + 3` rounds with 99 % (docs/design.md, "Gossip"); anti-entropy takes longer.
"""

from __future__ import annotations

from math import ceil, log
from typing import TYPE_CHECKING

from ringipam.claim import Claim
from ringipam.core.durable import Change, PutTokens
from ringipam.core.events import Effect, Event
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host

SETTLED_MS = 10_000
"""After the last fault, before links stand again, unless dead ones are noticed late."""
FULLY_LINKED_MAX = 20
"""With more hosts not everybody is linked with everybody, and news may go by anti-entropy."""
VIOLATION = 3
"""So many times the time that 99 % of all news must keep to."""


class NewsTravelsFast(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._since = world.loop.now
        """Since when nothing has struck and nobody has come up."""

    def restarted(self, host: Host) -> None:
        self._since = self.world.loop.now

    def healed(self) -> None:
        self._since = self.world.loop.now

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        world = self.world
        struck = not world.healing and any(mark.startswith("fault ") for mark in world.marks)
        if (
            len(world.hosts) > FULLY_LINKED_MAX
            or struck
            or world.loop.now - self._since < SETTLED_MS
            or world.marks.get("fault half-open")
            or world.doubts.two_run_as_one
        ):
            return
        me = host.settings.peer
        for change in changes:
            if isinstance(change, PutTokens):
                for start, claim in change.put:
                    if claim.writer == me:
                        world.loop.after(self._limit_ms, self._look, host, start, claim, world.loop.now)

    @property
    def _limit_ms(self) -> int:
        hosts = max(3, len(self.world.members()))
        round_ms = next(iter(self.world.hosts.values())).settings.rumour_ms
        return VIOLATION * ceil((log(hosts, 3) + log(log(hosts)) + 3) * round_ms)

    def _look(self, host: Host, start: int, claim: Claim, since: int) -> None:
        struck = self.world.calm_since >= since or self.world.doubts.two_run_as_one
        if struck or self._since > since or any(other.peer is None for other in self.world.members()):
            return
        for other in self.world.members():
            if other.peer is not None and other.peer.ring is not None and other.peer.ring.at(start) < claim:
                text = self.world.universe.text(start)
                self.fail(f"{other.name} has not heard in {self._limit_ms} ms what {host.name} wrote at {text}")
