"""What operators want in the end, and ask for until it is so: the dead removed, leavers gone, the fenced mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.events import Leave, Rejoin, RemovePeers, Resolve
from ringipam.errors import RingIpamError
from ringipam.messages import Standing

if TYPE_CHECKING:
    from ringipam.core.rng import Rng
    from sim.cluster import Request, World
    from sim.host import Host

LOOK_MS = 2_000
TIMEOUT_MS = 15_000
TWIN_MS = 12_000
"""After everything is healed the second of two hosts of one identity is stopped then: they have met."""
DECIDED_MS = 10_000
"""An operator looks that long at a host that is fenced off before anything is done with it."""
TIDY = 700
"""Per mille of the seeds in which hosts that nobody meant to remove are removed in the end as well."""


class Orders:
    def __init__(self, world: World) -> None:
        self.world = world
        self.tidies = False
        """Whether hosts that nobody meant to remove may be removed in the end as well."""
        self.dead: dict[str, None] = {}
        """Peers to be removed."""
        self.leaving: dict[str, str] = {}
        """Hosts that shall leave, and what becomes of them: `stop`, `stay` or `rejoin`."""
        self.condemned: dict[str, None] = {}
        """Hosts that somebody takes for dead and that are not: they remove nobody themselves."""
        self._open: dict[int, Request] = {}
        self._rng: Rng | None = None
        self._fenced_since: dict[str, int] = {}

    # ── what may be asked for ────────────────────────────────────────────────────────────────────

    def staying(self) -> list[Host]:
        """Hosts that have a ring and that nobody means to take away."""
        return [
            host
            for host in self.world.members()
            if host.name not in self.leaving
            and host.name not in self.condemned
            and host.settings.peer not in self.dead
            and host.has_ring
            and not host.fenced
        ]

    def kill(self, host: Host) -> None:
        """It is dead, for good, and its operator knows."""
        host.wanted = False
        self.world.crash(host.name)
        self.dead[host.settings.peer] = None
        self.leaving.pop(host.name, None)

    def condemn(self, host: Host, helpers: list[Host], after_ms: int, *, force: bool) -> None:
        """Have a host removed that is alive."""
        self.condemned[host.name] = None
        for helper in helpers:
            self.world.loop.after(after_ms, self._remove, helper.name, host.settings.peer, force)

    def _remove(self, coordinator: str, peer: str, force: bool) -> None:
        self.remove(coordinator, peer, force=force)

    def remove(self, coordinator: str, *peers: str, force: bool = False, timeout_ms: int = TIMEOUT_MS) -> None:
        self._ask(coordinator, RemovePeers(peers, timeout_ms, force))

    def leave(self, host: Host, then: str, *, drop_leases: bool) -> None:
        self.leaving[host.name] = then
        self._ask(host.name, Leave(TIMEOUT_MS, drop_leases))

    def rejoin(self, host: Host, *, drop_leases: bool) -> None:
        """It joins whatever ring greets it first: one of another ring must not be there."""
        foreign = self.world.hosts.get("foreign")
        if foreign is not None and foreign.wanted:
            foreign.wanted = False
            self.world.crash("foreign")
        self._ask(host.name, Rejoin(drop_leases=drop_leases))

    def renewed(self, host: Host, former: str) -> None:
        """A host is somebody else now: what the former self owned is to be freed."""
        self.dead[former] = None
        self.leaving.pop(host.name, None)
        self.condemned.pop(host.name, None)

    def _ask(self, name: str, verb: Leave | RemovePeers | Rejoin | Resolve) -> None:
        if self.world.hosts[name].up:
            request = self.world.ask(name, verb)
            self._open[request.number] = request

    # ── once all is healed ───────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Nothing strikes any more: what was asked for must come true now."""
        self._rng = self.world.stream("orders")
        if (
            (self.tidies and self._rng.chance(TIDY))
            or self.dead
            or self.leaving
            or self.world.doubts.lapses
            or self.world.doubts.twins
        ):
            for host in self.world.hosts.values():
                if not host.wanted and not host.stranger:
                    self.dead[host.settings.peer] = None
            self.dead.update(dict.fromkeys(sorted(self.world.lost_peers)))
        self._since = self.world.loop.now
        self.world.loop.after(LOOK_MS, self._look)

    @property
    def content(self) -> bool:
        """Whether all that was asked for is so, as every member sees it."""
        world = self.world
        if any(host.fenced for host in world.members()) or self.leaving:
            return False
        if any(host.up and host.stranger and host.name in world.doubts.twins for host in world.hosts.values()):
            return False
        return not self._ghosts(world.members())

    def _ghosts(self, views: list[Host]) -> list[str]:
        """Who is to be removed, or was and still owns something, as some of these hosts see it."""
        found: dict[str, None] = {}
        for host in views:
            stored = host.disk.durable
            if not stored.meta.get("cluster"):
                continue
            gone = {peer for peer, member in stored.members.items() if member.standing.gone}
            owners = {claim.owner for claim in stored.tokens.values()}
            found.update(dict.fromkeys(p for p in self.dead if (p in stored.members or p in owners) and p not in gone))
            found.update(dict.fromkeys(sorted(gone & owners)))
        return list(found)

    def _look(self) -> None:
        world = self.world
        world.loop.after(LOOK_MS, self._look)
        if self.content:
            return
        self._open = {number: request for number, request in self._open.items() if request.open}
        self._stop_twins()
        for host in list(world.hosts.values()):
            if host.up and host.wanted and not host.stranger and host.fenced:
                self._mend(host)
        for name, then in list(self.leaving.items()):
            if world.hosts[name].wanted:
                self._see_off(world.hosts[name], then)
            else:
                self.kill(world.hosts[name])  # it died on its way out
        self._remove_the_dead()

    def _stop_twins(self) -> None:
        for host in self.world.hosts.values():
            twin = host.stranger and host.name in self.world.doubts.twins
            if twin and host.wanted and self.world.loop.now - self._since > TWIN_MS:
                host.wanted = False
                self.world.crash(host.name)

    def _mend(self, host: Host) -> None:
        """It rejoins, or is stopped for good, if enough are left without it."""
        assert self._rng is not None
        since = self._fenced_since.setdefault(host.settings.peer, self.world.loop.now)
        if self.world.loop.now - since < DECIDED_MS or self._asked(host.name, Rejoin):
            return
        left = host.standing is Standing.LEFT
        if left and self.leaving.get(host.name) == "stay":
            del self.leaving[host.name]
        elif left and host.name not in self.leaving:
            return
        elif (left and self.leaving[host.name] == "stop") or (len(self.staying()) >= 2 and self._rng.chance(300)):
            self.kill(host)
        else:
            self.rejoin(host, drop_leases=self._rng.chance(300))

    def _see_off(self, host: Host, then: str) -> None:
        if host.standing.gone:
            return  # `_mend` knows what becomes of it
        if host.fenced or not host.up or self._asked(host.name, Leave):
            return
        doubtful = list(host.disk.durable.conflicts)
        if any(self._used_elsewhere(host, start, end) for start, end in doubtful):
            del self.leaving[host.name]  # it stays, as long as others use what it owns
            return
        for start, end in doubtful:
            self._ask(host.name, Resolve(start, end))
        self.leave(host, then, drop_leases=True)

    def _used_elsewhere(self, host: Host, start: int, end: int) -> bool:
        return any(
            start <= int(lease.address) < end
            for other in self.world.hosts.values()
            if other is not host and other.wanted
            for lease in other.disk.durable.leases.values()
        )

    def _remove_the_dead(self) -> None:
        assert self._rng is not None
        world = self.world
        able = [
            host.name
            for host in world.members()
            if host.up and not host.fenced and host.standing is Standing.MEMBER and host.has_ring
        ]
        ghosts = self._ghosts([world.hosts[name] for name in able])
        if not ghosts or any(self._asked(name, RemovePeers) for name in able) or not able:
            return
        for coordinator in self._rng.shuffled(able)[: 2 if self._rng.chance(200) else 1]:
            known = [p for p in ghosts if p in world.hosts[coordinator].disk.durable.members]
            if known:
                self.remove(coordinator, *known)

    def _asked(self, name: str, verb: type) -> bool:
        return any(request.host == name and isinstance(request.verb, verb) for request in self._open.values())

    def missing(self) -> str:
        """What stands in the way, and what hosts said to it, in words."""
        world = self.world
        fenced = {host.name: host.fenced for host in world.members() if host.fenced}
        said = [
            f"{request.host}: {request.answer}"
            for request in world.requests.values()
            if isinstance(request.verb, Leave | RemovePeers | Rejoin) and isinstance(request.answer, RingIpamError)
        ]
        ghosts = self._ghosts(world.members())
        return f"to remove: {ghosts}; fenced: {fenced}; leaving: {self.leaving}; said last: {said[-3:]}"
