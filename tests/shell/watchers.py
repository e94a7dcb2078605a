"""What must hold in a world of real nodes: of what they possess, what is on their disks, what callers were told."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from world import Host, Life, Request, Violation, Watcher, World

from ringipam.address import Address, Range
from ringipam.core.durable import Change, PutConflict, PutLease, PutTokens
from ringipam.core.events import Allocate, ClaimAddress, Effect, Leased, LeaseList, Leases, Release
from ringipam.errors import RingIpamError, StoreError
from ringipam.lease import Lease
from ringipam.ring.intervals import Intervals
from ringipam.ring.ring import Ring
from sim.host import persisted

GRACE_S = 2.0
"""How much later than its time an answer may come: a commit or two on a slow disk."""


class NothingPossessedTwice(Watcher):
    """No two hosts possess one address, as they run or as they would if they were killed now (W6)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._memory: dict[str, tuple[int, list[Range]]] = {}
        self._disk: dict[str, list[Range]] = {}

    def stepped(self, life: Life, effects: Sequence[Effect]) -> None:
        name = life.host.name
        known = self._memory.get(name)
        if known is None or known[0] != life.number or _moves(persisted(effects)):
            assert life.peer is not None
            self._memory[name] = life.number, life.peer.possessed()
            self._compare(name, self._memory[name][1])

    def committed(self, host: Host, changes: Sequence[Change]) -> None:
        if _moves(changes):
            self.loaded(host)

    def loaded(self, host: Host) -> None:
        self._disk[host.name] = _durably_possessed(host)
        self._compare(host.name, self._disk[host.name])

    def _compare(self, name: str, mine: list[Range]) -> None:
        lives = {other: host.life.number for other, host in self._world.hosts.items() if host.life is not None}
        others = [(other, owned) for other, (life, owned) in self._memory.items() if lives.get(other) == life]
        for other, theirs in [*others, *self._disk.items()]:
            for one in mine if other != name else []:
                for two in theirs:
                    if one.start < two.end and two.start < one.end:
                        raise Violation(f"{name} and {other} possess {one} and {two}")


def _moves(changes: Sequence[Change]) -> bool:
    return any(isinstance(change, PutTokens | PutConflict) for change in changes)


def _durably_possessed(host: Host) -> list[Range]:
    stored = host.disk.durable
    if not stored.meta.get("cluster"):
        return []
    ring = Ring.from_tokens(host.config.universe.range, sorted(stored.tokens.items()))
    owned = Intervals()
    for start, end in ring.ranges_of(stored.meta["peer"]):
        owned.add(start, end)
    for start, end in sorted(stored.conflicts):
        owned.discard(start, end)
    return list(owned)


class NothingLeasedTwice(Watcher):
    """No two leases for one address on all disks together, and each inside of what its host possesses."""

    def __init__(self, world: World) -> None:
        self._world = world

    def committed(self, host: Host, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, PutLease):
                self._look(host, change.lease)

    def loaded(self, host: Host) -> None:
        for lease in host.disk.durable.leases.values():
            self._look(host, lease)

    def _look(self, host: Host, lease: Lease) -> None:
        for other in self._world.hosts.values():
            for held in other.disk.durable.leases.values():
                if held.address == lease.address and held.lease != lease.lease:
                    raise Violation(f"{lease.address} is leased on {host.name} and on {other.name}")
        if lease.lease in host.disk.durable.leases and not any(
            owned.start <= int(lease.address) < owned.end for owned in _durably_possessed(host)
        ):
            raise Violation(f"{host.name} leased {lease.address}, which it does not possess")


class CallersAreToldTheTruth(Watcher):
    """What a caller was told is on the disk, and was told in time; and no address is told to two callers at once.

    Knows only what was asked and answered, and the disks.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._held: dict[Address, tuple[str, Lease, float]] = {}
        """address → host, lease and when it was told, until somebody asks to release it."""

    def asked(self, request: Request) -> None:
        """From here on it may be gone, whatever comes of the request."""
        verb = request.verb
        if isinstance(verb, Release):
            for address, (host, lease, _) in list(self._held.items()):
                if host == request.host and lease.id == verb.id:
                    del self._held[address]

    def answered(self, request: Request) -> None:
        verb, answer = request.verb, request.answer
        if isinstance(verb, Allocate | ClaimAddress) and request.took_s > verb.timeout_ms / 1000 + GRACE_S:
            raise Violation(f"request {request.number} took {request.took_s} s")
        match answer:
            case Leased(lease):
                self._told(request, lease)
            case LeaseList(leases) if isinstance(verb, Leases) and not verb.cluster:
                self._shown(request, leases)
            case RingIpamError() if "internal error" in answer.message:
                raise Violation(answer.message)

    def _told(self, request: Request, lease: Lease) -> None:
        if self._released_since(request, lease):
            return
        if lease.lease not in self._world.hosts[request.host].disk.durable.leases:
            raise Violation(f"{request.host} told {lease} and has not written it down")
        host, other, _ = self._held.get(lease.address, (request.host, lease, 0))
        if (host, other) != (request.host, lease):
            raise Violation(f"{lease.address} was told to {host} as {other} and to {request.host} as {lease}")
        self._held[lease.address] = request.host, lease, trio.current_time()

    def _shown(self, request: Request, leases: Sequence[Lease]) -> None:
        """A list is neither ahead of the disk nor short of what a caller had been told when it was asked for."""
        assert isinstance(request.verb, Leases)
        durable = self._world.hosts[request.host].disk.durable.leases
        for lease in leases:
            if lease.lease not in durable and not self._released_since(request, lease):
                raise Violation(f"{request.host} shows {lease} and has not written it down")
        for host, lease, told_s in self._held.values():
            wanted = host == request.host and request.verb.id in (None, lease.id) and told_s < request.asked_s
            if wanted and lease not in leases:
                raise Violation(f"{request.host} does not show {lease}")

    def _released_since(self, request: Request, lease: Lease) -> bool:
        """Whether somebody may have released it while this request was under way.

        A release that failed with the disk comes true or not when the disk is read again, whenever that is.
        """
        return any(
            isinstance(other.verb, Release)
            and (other.host, other.verb.id) == (request.host, lease.id)
            and (
                not other.outcome
                or isinstance(other.answer, StoreError)
                or other.asked_s + other.took_s >= request.asked_s
            )
            for other in self._world.requests
        )

    def finished(self) -> None:
        """Everything was answered, and what callers hold is on the disk."""
        for request in self._world.requests:
            if not request.outcome:
                raise Violation(f"request {request.number} was never answered: {request.verb}")
        for host, lease, _ in self._held.values():
            if lease.lease not in self._world.hosts[host].disk.durable.leases:
                raise Violation(f"{host} told {lease} and has lost it")


def watch(world: World) -> CallersAreToldTheTruth:
    callers = CallersAreToldTheTruth(world)
    world.watchers += [NothingPossessedTwice(world), NothingLeasedTwice(world), callers]
    return callers
