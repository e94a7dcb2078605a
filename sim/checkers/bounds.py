"""Nothing a peer keeps or says grows without bound: queues are as long as what there is to do, messages few (W13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.events import Effect, Event, Send
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import World
    from sim.host import Host

EVERY = 200
"""Acts of a host between two looks at its queues."""
WINDOW_MS = 10_000
MESSAGES_MAX = 4_000
MESSAGES_PER_HOST_MAX = 400
"""What one host may say in a window, and how much more of it for each other host there is."""

HOT_AT_REST_MAX = 10
"""Rumours for each host that may be under way at the end: figures of free space, suspicions."""


class NothingGrowsWithoutBound(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._steps: dict[str, int] = {}
        self._said: dict[str, tuple[int, int]] = {}  # host → window, messages in it

    def acted(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        name = host.name
        steps = self._steps[name] = self._steps.get(name, 0) + 1
        said = 0
        for effect in effects:
            if type(effect) is Send:
                said += 1
        if said:
            self._count(name, said)
        if steps % EVERY == 0:
            self._look(host)

    def finished(self) -> None:
        """Nobody has asked for anything for a while: what was news is news no more."""
        for host in self.world.members():
            hot = host.peer.queues()["rumours to spread"] if host.peer is not None else 0
            if hot > HOT_AT_REST_MAX * len(self.world.hosts):
                self.fail(f"{host.name} goes on spreading {hot} rumours at rest")

    def _count(self, name: str, said: int) -> None:
        window = self.world.loop.now // WINDOW_MS
        before, count = self._said.get(name, (window, 0))
        count = count + said if before == window else said
        self._said[name] = (window, count)
        if count > MESSAGES_MAX + MESSAGES_PER_HOST_MAX * len(self.world.hosts):
            self.fail(f"{name} has sent {count} messages within {WINDOW_MS // 1000} s")

    def _look(self, host: Host) -> None:
        assert host.peer is not None
        hosts = len(self.world.hosts)
        queues = host.peer.queues()
        limits = {
            "waiting requests": self.world.open_at(host.name) + host.backlog,
            "searches": 2 * queues["waiting requests"] + 50,
            "requests held for a witness": hosts,
            "links": 20 * hosts + 20,
            "addresses to dial": 2 * hosts + 40,
            "rumours to spread": 2_000,
            "rumours seen": 20_000,
            "rumours told": 2_000,
            "ways learned": 5_000,
            "envelopes seen": 5_000,
        }
        for queue, length in queues.items():
            if length > limits[queue]:
                self.fail(f"{host.name} has {length} {queue}, {limits[queue]} at most make sense")
