"""At no instant do two hosts possess one address (W6), not even if any one of them crashed in that instant.

A host possesses what its memory says while it is up. If it crashes, it is what the disk says, or what it will say once
some of the records it has asked for are durable: each of these futures is compared too, a what-if crash at every event.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ringipam.address import Range
from ringipam.claim import Claim
from ringipam.core.durable import BeginAnew, Change, DropConflict, PutConflict, PutMeta, PutTokens, Stored, Suspensions
from ringipam.core.events import Effect, Event
from ringipam.ring.intervals import Intervals
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host


Possession = tuple[str, list[Range]]
"""A cluster, and what is possessed in it, in order."""

NOTHING: Possession = ("", [])


class _Disk:
    """What the disk of a host says of its ring, or will say when all that was asked for is durable."""

    def __init__(self, stored: Stored) -> None:
        self.cluster = stored.meta.get("cluster", "")
        self.tokens = dict(stored.tokens)
        self.conflicts = dict(stored.conflicts)
        self.suspended = dict(stored.suspended)
        self.fenced = bool(stored.meta.get("fenced"))

    def apply(self, changes: tuple[Change, ...]) -> bool:
        """Whether there was anything about the ring."""
        relevant = False
        for change in changes:
            if isinstance(change, PutTokens):
                for start in change.removed:
                    self.tokens.pop(start, None)
                self.tokens.update(change.put)
            elif isinstance(change, PutConflict):
                self.conflicts[change.conflict.start, change.conflict.end] = change.conflict
            elif isinstance(change, DropConflict):
                del self.conflicts[change.start, change.end]
            elif isinstance(change, Suspensions):
                for start in change.dropped:
                    self.suspended.pop(start, None)
                self.suspended.update(change.put)
            elif isinstance(change, PutMeta):
                if change.key not in ("cluster", "fenced"):
                    continue
                if change.key == "cluster":
                    self.cluster = change.value
                else:
                    self.fenced = bool(change.value)
            elif isinstance(change, BeginAnew):
                self.__init__(Stored())  # type: ignore[misc]
            else:
                continue
            relevant = True
        return relevant

    def possession(self, universe: Range, peer: str) -> Possession:
        if not self.cluster or self.fenced:
            return NOTHING
        doubtful = [*self.conflicts, *self.suspended.items()]
        return self.cluster, _owned(sorted(self.tokens.items()), universe, peer, doubtful)


class NoAddressPossessedTwice(Checker):
    """Compares only what a host came to possess with what the others do, in any of the states they may be found in."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._memory: dict[str, Possession] = {}
        self._disk: dict[str, Possession] = {}
        self._ahead: dict[str, _Disk] = {}
        self._futures: dict[str, deque[tuple[int, Possession]]] = {}
        """What a crash would leave once so many changes are durable, the earliest first."""
        self._asked: dict[str, int] = {}
        self._done: dict[str, int] = {}

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        name = host.name
        self._asked[name] += len(changes)
        ahead = self._ahead[name]
        if not ahead.apply(changes):
            return
        assert host.peer is not None
        self._became(host, self._memory, (host.peer.cluster, host.peer.possessed()), "")
        future = ahead.possession(host.settings.universe.range, host.settings.peer)
        futures = self._futures[name]
        before = futures[-1][1] if futures else self._disk[name]
        futures.append((self._asked[name], future))
        if future != self._memory[name]:
            self._compare(name, _gained(future, before), f" if {name} restarts")

    def restarted(self, host: Host) -> None:
        assert host.peer is not None
        self._reload(host)
        self._became(host, self._memory, (host.peer.cluster, host.peer.possessed()), "")

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        name = host.name
        self._done[name] += len(changes)
        futures = self._futures[name]
        while futures and futures[0][0] <= self._done[name]:
            self._disk[name] = futures.popleft()[1]

    def crashed(self, host: Host) -> None:
        self._memory.pop(host.name, None)
        self._reload(host)

    def _reload(self, host: Host) -> None:
        name = host.name
        self._asked[name] = self._done[name] = 0
        self._futures[name] = deque()
        self._ahead[name] = _Disk(host.disk.durable)
        self._became(host, self._disk, durable_possession(host), f" if {name} restarts")

    def _became(self, host: Host, views: dict[str, Possession], now: Possession, when: str) -> None:
        before = views.get(host.name, NOTHING)
        if not host.up and not host.wanted:
            now = NOTHING  # it never comes back: that is what the operator who removes it vouches for
        views[host.name] = now
        if now != before:
            self._compare(host.name, _gained(now, before), when)

    def _compare(self, name: str, gained: Possession, when: str) -> None:
        cluster, mine = gained
        if not cluster or not mine:
            return
        for other in self._disk:
            if other == name:
                continue
            self._compare_with(name, cluster, mine, when, other, self._memory.get(other, NOTHING), when)
            restarts = when or " if the latter restarts"
            self._compare_with(name, cluster, mine, when, other, self._disk[other], restarts)
            for _, future in self._futures[other]:
                self._compare_with(name, cluster, mine, when, other, future, restarts)

    def _compare_with(
        self, name: str, cluster: str, mine: list[Range], when: str, other: str, theirs: Possession, also: str
    ) -> None:
        if theirs[0] != cluster:
            return
        doubts = self.world.doubts
        for shared in overlaps(mine, theirs[1]):
            if doubts.possession.size and doubts.excuses(*shared):
                continue
            first, last = (self.world.universe.text(a) for a in (shared.start, shared.end - 1))
            self.fail(f"{name} and {other} both possess {first} to {last}{also or when}")

    def settled(self) -> None:
        """What was in doubt is so no more: nothing may be possessed twice, by whatever mistake it came to that."""
        for name, possession in self._memory.items():
            self._compare(name, possession, " still")


class NoAddressPossessedTwiceAmongMany(NoAddressPossessedTwice):
    """The same for worlds of many hosts: a host is looked at only when a record names it, or borders on what it has.

    What a record says of others' space only cannot change what this host possesses.
    """

    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        if self._concern(host, changes):
            super().changed(host, event, effects, changes)
        else:
            self._asked[host.name] += len(changes)
            self._ahead[host.name].apply(changes)

    def _concern(self, host: Host, changes: tuple[Change, ...]) -> bool:
        me = host.settings.peer
        futures = self._futures[host.name]
        views = (self._memory[host.name][1], (futures[-1][1] if futures else self._disk[host.name])[1])
        for change in changes:
            if isinstance(change, PutConflict | DropConflict | Suspensions | PutMeta | BeginAnew):
                return True
            if isinstance(change, PutTokens):
                if any(claim.owner == me for _, claim in change.put):
                    return True
                starts = (*change.removed, *(start for start, _ in change.put))
                if any(_borders(start, view) for start in starts for view in views):
                    return True
        return False


def _borders(start: int, possessed: list[Range]) -> bool:
    """Whether a token there lies in one of these ranges or ends it."""
    at = bisect_right(possessed, (start, start)) - 1
    return any(near.start <= start <= near.end for near in possessed[max(0, at) : at + 2])


def durable_possession(host: Host) -> Possession:
    """Cluster and ranges that a restart of this host would find."""
    return _Disk(host.disk.durable).possession(host.settings.universe.range, host.settings.peer)


def _owned(tokens: list[tuple[int, Claim]], universe: Range, peer: str, doubtful: list[tuple[int, int]]) -> list[Range]:
    """What `tokens` give to `peer`, but for what is doubtful. Written without the core's ring, which may be wrong."""
    found: list[Range] = []
    for index, (start, claim) in enumerate(tokens):
        if claim.owner == peer:
            end = tokens[index + 1][0] if index + 1 < len(tokens) else universe.end
            if found and found[-1].end == start:
                start = found.pop().start
            found.append(Range(start, end))
    if not doubtful:
        return found
    clear = Intervals()
    for start, end in found:
        clear.add(start, end)
    for start, end in sorted(doubtful):
        clear.discard(start, end)
    return list(clear)


def _gained(now: Possession, before: Possession) -> Possession:
    """What is possessed now and was not before; whole ranges, so perhaps more than that, never less."""
    if now[0] != before[0] or not before[1]:
        return now
    starts = [found.start for found in before[1]]
    gained = []
    for found in now[1]:
        at = bisect_right(starts, found.start) - 1
        if at < 0 or before[1][at].end < found.end:
            gained.append(found)
    return now[0], gained


def overlap(one: list[Range], two: list[Range]) -> Range | None:
    """The first range that two sorted lists of ranges share; quick if the first is short."""
    return next(overlaps(one, two), None)


def overlaps(one: list[Range], two: list[Range]) -> Iterator[Range]:
    """What two sorted lists of ranges share."""
    if not two:
        return
    for start, end in one:
        at = max(0, bisect_right(two, (start, start)) - 1)
        while at < len(two) and two[at].start < end:
            lo, hi = max(start, two[at].start), min(end, two[at].end)
            if lo < hi:
                yield Range(lo, hi)
            at += 1
