"""A member that lies: it speaks valid frames, greets like anybody, and what it says is made to hurt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.core.events import Event, LinkDown, LinkUp, Received
from ringipam.core.identity import mark_of
from ringipam.messages import (
    COUNTER_MAX,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    AskRemoval,
    Body,
    Denial,
    Denied,
    Depart,
    Dispute,
    Envelope,
    Farewell,
    Grant,
    Health,
    Hello,
    Member,
    Members,
    PromiseRemoval,
    Ranges,
    Rest,
    RoundOver,
    Rumour,
    SpaceRequest,
    Standing,
)
from sim.cluster import World
from sim.host import Host

EVERY_MS = 40
DISPUTED = 400
"""Addresses in one message."""
INVENTED = 10
"""Members that one message invents."""


class Liar(Host):
    """Driven by a script of its own instead of a peer. `kinds` names what it says; see `LIES`."""

    def __init__(self, world: World, original: Host, kinds: tuple[str, ...]) -> None:
        rng = world.stream("liar")
        settings = replace(
            original.settings, peer=f"liar.{world.new_uid(rng)}", address="liar:6783", dial=tuple(world.hosts)
        )
        super().__init__(world, settings, rng)
        self.stranger = True
        self.claimed: list[Range] = []
        """Whatever of others' it ever spoke of."""
        self.lies = True
        self._kinds = kinds
        self._links: dict[int, str] = {}
        self._number = 1 << 40
        self._cluster = original.disk.durable.meta["cluster"]
        self._mark = mark_of(self._cluster, settings.universe)

    def start(self) -> None:
        self.up = True
        self._life += 1
        for name in self.world.hosts:
            if name != self.name:
                self.world.network.dial(self.name, f"{name}:6783")
        self.world.loop.after(EVERY_MS, self._lie)

    def deliver(self, event: Event) -> None:
        if isinstance(event, LinkUp):
            self._links[event.link] = ""
            self._greet(event.link)
        elif isinstance(event, LinkDown):
            self._links.pop(event.link, None)
            self.world.loop.after(500, self._dial_again)
        elif isinstance(event, Received) and isinstance(event.message, Hello):
            self._links[event.link] = event.message.peer

    def _dial_again(self) -> None:
        linked = {peer.rpartition(".")[0] for peer in self._links.values()}
        for name in self.world.hosts:
            if self.up and name != self.name and name not in linked:
                self.world.network.dial(self.name, f"{name}:6783")

    def crash(self) -> None:
        """It is found out, and switched off."""
        self.up = False
        self.wanted = False
        self.world.network.host_gone(self.name)

    def _greet(self, link: int) -> None:
        settings = self.settings
        hello = Hello(
            PROTOCOL_MIN,
            PROTOCOL_MAX,
            settings.peer,
            str(settings.universe),
            self._cluster,
            settings.address,
            1,
            False,
            1,
            "liar",
        )
        self.world.network.send(link, hello)

    def _lie(self) -> None:
        if not self.up:
            return
        self.world.loop.after(EVERY_MS, self._lie)
        known = [(link, peer) for link, peer in self._links.items() if peer]
        if known:
            link, victim = self._rng.pick(known)
            name = self._rng.pick(self._kinds)
            self.world.mark(f"a member lied: {name}")
            for body in LIES[name](self, victim):
                self.world.network.send(link, Envelope(self._mark, body))

    # ── what it says ─────────────────────────────────────────────────────────────────────────────

    def _some(self, *, small: bool = False) -> Range:
        universe = self.world.universe.range
        size = 1 + self._rng.below(4 if small else min(64, universe.size - 1))
        start = universe.start + self._rng.below(min(universe.size, 1 << 20) - size)
        self.claimed.append(Range(start, start + size))
        self.world.doubts.over(start, start + size)
        return Range(start, start + size)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _owner_of(self, address: int) -> Claim:
        for host in self.world.members():
            if host.peer is not None and host.peer.ring is not None:
                return host.peer.ring.at(address)
        return Claim(0, 0, "", "")

    def others_ranges(self, victim: str) -> list[Body]:
        """Mine, says it, one version above; or hers, or nobody's."""
        start, end = self._some()
        version = self._owner_of(start).version + 1
        owner = self._rng.pick((self.settings.peer, victim, "nobody.000000000000"))
        segments = (Segment(start, end, Claim(0, version, owner, self.settings.peer)),)
        told: tuple[Body, ...] = Rumour(self._next(), segments, ()), Ranges(segments, True)
        return [self._rng.pick(told)]

    def old_versions(self, victim: str) -> list[Body]:
        start, end = self._some()
        return [Ranges((Segment(start, end, Claim(0, 0, self.settings.peer, self.settings.peer)),), True)]

    def absurd(self, victim: str) -> list[Body]:
        universe = self.world.universe.range
        me = self.settings.peer
        return [
            Ranges((Segment(universe.start, universe.end, Claim(COUNTER_MAX * 2, 1, me, me)),), False),
            Ranges((Segment(universe.start, universe.end, Claim(0, COUNTER_MAX + 1, me, me)),), False),
            Rumour(self._next(), (Segment(universe.end, universe.start, Claim(0, 1, me, me)),), ()),
            RoundOver(COUNTER_MAX, True, (victim,), (Segment(0, universe.end + 1, Claim(1, 1, me, me)),)),
            SpaceRequest(self._next(), universe.start, universe.end, 1 << 60, False, True, 1 << 40),
            SpaceRequest(self._next(), universe.start, universe.end, 1, True, True, 1_000),
        ]

    def floods(self, victim: str) -> list[Body]:
        invented = tuple(
            Member(f"x{self._next()}.000000000000", "192.0.2.1:1", COUNTER_MAX, Health.DEAD, 1 << 60)
            for _ in range(INVENTED)
        )
        return [Members(invented, ())]

    def rounds(self, victim: str) -> list[Body]:
        """Rounds that were never asked for, promises that nobody wanted."""
        start, end = self._some(small=True)
        me = self.settings.peer
        taken = (Segment(start, end, Claim(1, 1 << 20, me, me)),)
        return [
            RoundOver(self._rng.below(4), True, (victim,), taken),
            PromiseRemoval(self._rng.below(4), end, (Range(start, end),), taken, (), ("ghost.000000000000",)),
            AskRemoval(1 + self._rng.below(3), (victim,), True, 0, end, (), b""),
        ]

    def farewells(self, victim: str) -> list[Body]:
        start, end = self._some(small=True)
        other = Member(victim, "", COUNTER_MAX, Health.ALIVE, 0, Standing.LEAVING)
        gift = (Segment(start, end, Claim(0, 99, victim, victim)),)
        return [Depart(1, other, gift), Farewell(1, gift, True, ("ghost.000000000000",))]

    def grants(self, victim: str) -> list[Body]:
        start, end = self._some(small=True)
        claim = Claim(0, self._owner_of(start).version + 1, victim, self.settings.peer)
        rests = (Rest(start, end, 1 << 60), Rest(end, start, -5))
        return [
            Grant(self._rng.below(1 << 40), (Segment(start, end, claim),), rests),
            Denied(self._rng.below(1 << 40), Denial.NO_SPACE, "", (), -1),
        ]

    def disputes(self, victim: str) -> list[Body]:
        """Every address of a wide range, one by one."""
        universe = self.world.universe.range
        start = universe.start + self._rng.below(min(universe.size, 1 << 20))
        end = min(universe.end, start + 2 * DISPUTED)
        self.claimed.append(Range(start, end))
        return [Dispute(self._next(), tuple(Range(at, at + 1) for at in range(start, end, 2)))]


LIES: dict[str, Callable[[Liar, str], list[Body]]] = {
    "others' ranges": Liar.others_ranges,
    "old versions": Liar.old_versions,
    "absurd figures": Liar.absurd,
    "floods of members": Liar.floods,
    "rounds": Liar.rounds,
    "farewells": Liar.farewells,
    "grants": Liar.grants,
    "disputes": Liar.disputes,
}
