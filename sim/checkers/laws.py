"""Rings join in any order and grouping to the same ring, and only ever go forward (docs/design.md, "The ring")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, PutTokens
from ringipam.core.events import Effect, Event
from ringipam.ring.ring import Ring
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host

EVERY = 40
"""Changes of rings between two looks: three rings are joined in every way."""


class RingsJoinInAnyOrder(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._changes = 0
        self._last: dict[str, Ring] = {}

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        for change in changes:
            if type(change) is PutTokens:
                self._changes += 1
                if self._changes % EVERY == 0:
                    self._look(host)

    def crashed(self, host: Host) -> None:
        self._last.pop(host.name, None)

    def _look(self, host: Host) -> None:
        peers = [other.peer for other in self.world.hosts.values() if other.peer is not None and other is not host]
        assert host.peer is not None
        same = [p for p in peers if p.cluster == host.peer.cluster and p.ring is not None]
        assert host.peer.ring is not None
        rings = [host.peer.ring, *(p.ring for p in same[:2] if p.ring is not None)]
        while len(rings) < 3:
            rings.append(rings[0])
        one, two, three = rings
        there = _joined(_joined(one, two), three)
        there.check()
        if there != _joined(three, _joined(two, one)):
            self.fail(f"the ring of {host.name} and two others join to different rings in different orders")
        if _joined(there, one) != there or _joined(one, there) != there:
            self.fail(f"the ring of {host.name} is not contained in its join with others")
        last = self._last.get(host.name)
        if last is not None and _joined(one, last) != one:
            self.fail(f"the ring of {host.name} went back behind what it was before")
        self._last[host.name] = _copied(one)


def _copied(ring: Ring) -> Ring:
    return Ring.from_tokens(ring.universe, ring.tokens())


def _joined(one: Ring, two: Ring) -> Ring:
    """A new ring; neither of the two is changed."""
    ring = _copied(one)
    ring.join(two.segments())
    return ring
