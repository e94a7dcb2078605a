"""Users: on every host they allocate, ask again, look up, claim and release, one request for an id at a time.

What they asked is written down, so that a run can be repeated with fewer requests (`Script`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ringipam.address import Cidr
from ringipam.core.events import Allocate, ClaimAddress, Leased, LeaseList, Leases, Release, Verb
from ringipam.core.rng import Rng
from ringipam.lease import Lease
from sim.cluster import Request, World


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, `at_ms` of simulated time. A release that is `named` names the lease that was told last."""

    at_ms: int
    host: str
    verb: Verb
    named: bool = False
    cancel_ms: int | None = None
    """The caller goes away so much later, unless it was answered."""
    late: bool = False
    """A named release that comes once more: of the lease before the one that was told last."""


@dataclass(slots=True)
class Users:
    """How busy they are; chances are per mille of each action."""

    world: World
    subnets: tuple[Cidr | None, ...]
    pause_ms: int
    """Mean time between two actions on one host."""
    until_ms: int
    release: int = 350
    claim: int = 60
    again: int = 80
    leave: int = 15
    look: int = 20
    return_: int = 100
    """After a release, the same id comes back, and then a copy of the release (the ABA problem)."""
    shared_ids: int = 20
    timeout_ms: tuple[int, ...] = (2_000, 10_000, 20_000)
    busy: dict[str, dict[str, Verb]] = field(default_factory=dict)
    """host → id → what was asked for it and not answered yet."""
    unsure: dict[str, list[Verb]] = field(default_factory=dict)
    """host → what a crash left without an answer: it is asked again."""
    held: dict[str, dict[str, Lease]] = field(default_factory=dict)
    asked: list[Ask] = field(default_factory=list)
    _rng: dict[str, Rng] = field(default_factory=dict)
    _returns: dict[str, Rng] = field(default_factory=dict)
    _count: int = 0

    def start(self) -> None:
        self.world.listeners.append(self._answered)
        for name in self.world.hosts:
            self.busy[name] = {}
            self.unsure[name] = []
            self.held[name] = {}
            self._rng[name] = self.world.stream(f"users of {name}")
            self._returns[name] = self.world.stream(f"who returns to {name}")
            self._later(name)

    def _later(self, host: str) -> None:
        self.world.loop.after(1 + self._rng[host].below(2 * self.pause_ms), self._act, host)

    def _act(self, host: str) -> None:
        if self.world.loop.now >= self.until_ms:
            return
        self._later(host)
        if not self.world.hosts[host].up:
            return
        verb = self._choose(host)
        if verb is not None:
            self._ask(host, verb)

    def _ask(self, host: str, verb: Verb, *, late: bool = False) -> None:
        self.busy[host][_id(verb)] = verb
        rng = self._rng[host]
        cancel_ms = rng.below(300) if rng.chance(self.leave) and not late else None
        named = isinstance(verb, Release) and bool(verb.lease)
        self._note(Ask(self.world.elapsed_ms, host, verb, named, cancel_ms, late))
        request = self.world.ask(host, verb)
        if request.lost:
            self._forget(request)
        elif cancel_ms is not None:
            self.world.loop.after(cancel_ms, self._give_up, request)

    def _note(self, ask: Ask) -> None:
        self.asked.append(ask)

    def _choose(self, host: str) -> Verb | None:
        rng = self._rng[host]
        mine = [holder for holder in sorted(self.held[host]) if holder not in self.busy[host]]
        drawn = rng.below(1000)
        timeout = rng.pick(self.timeout_ms)
        if rng.chance(self.look):
            return Leases(cluster=rng.chance(500))
        if mine and drawn < self.release:
            holder = rng.pick(mine)
            lease = self.held[host][holder].lease if rng.chance(800) else None
            return Release(holder, lease=lease)
        if drawn < self.release + self.claim:
            return self._claim(host, timeout)
        if mine and drawn < self.release + self.claim + self.again:
            holder = rng.pick(mine)
            return Allocate(holder, self._subnet_of(self.held[host][holder]), timeout)
        return Allocate(self._new_id(host), rng.pick(self.subnets), timeout)

    def _claim(self, host: str, timeout: int) -> Verb:
        rng = self._rng[host]
        wanted = (rng.pick(self.subnets) or self.world.universe).range
        address = wanted.start + rng.below(min(wanted.size, 256))
        universe = self.world.universe
        holder = self._new_id(host)
        elsewhere = [held[holder] for other, held in self.held.items() if other != host and holder in held]
        if elsewhere:
            address = int(elsewhere[0].address)  # the container moved, and its address is still held where it was
        return ClaimAddress(holder, universe.family, address, universe.prefix_len, timeout)

    def _subnet_of(self, lease: Lease) -> Cidr | None:
        network = lease.subnet
        return Cidr(network.version, int(network.network_address), network.prefixlen)

    def _new_id(self, host: str) -> str:
        self._count += 1
        return f"shared-{self._count % 5}" if self._rng[host].chance(self.shared_ids) else f"{host}-{self._count}"

    def _give_up(self, request: Request) -> None:
        self.world.cancel(request)
        if request.cancelled:
            self._forget(request)

    def _forget(self, request: Request) -> None:
        self.busy[request.host].pop(_id(request.verb), None)

    def _answered(self, request: Request) -> None:
        if request.host not in self.held:
            return
        holder = _id(request.verb)
        held = self.held[request.host]
        match request.answer:
            case Leased(lease, _):
                held[holder] = lease
            case LeaseList() if isinstance(request.verb, Release):
                held.pop(holder, None)
                if request.verb.lease and self._returns[request.host].chance(self.return_):
                    self.world.loop.after(1, self._return, request.host, request.verb)
        self._forget(request)

    def _return(self, host: str, release: Release) -> None:
        if self._free(host, release.id) and release.id not in self.held[host]:
            self._ask(host, Allocate(release.id, None, self.timeout_ms[0]))
            self.world.loop.after(1 + self._returns[host].below(2_000), self._again, host, release)

    def _again(self, host: str, release: Release) -> None:
        """What holds the id now is another lease than the release names."""
        if self._free(host, release.id) and release.id in self.held[host]:
            self._ask(host, release, late=True)

    def _free(self, host: str, holder: str) -> bool:
        return self.world.hosts[host].up and holder not in self.busy[host] and self.world.loop.now < self.until_ms

    def crashed(self, host: str) -> None:
        """Requests under way are lost; users ask what became of them when the host is back."""
        if host in self.busy:
            self.unsure[host] += self.busy[host].values()
            self.busy[host].clear()

    def recover(self, host: str) -> None:
        """After a restart, learn what is held, and ask again what may have come true unheard."""
        if host not in self.held:
            return
        self._note(Ask(self.world.elapsed_ms, host, Leases()))
        request = self.world.ask(host, Leases())
        if isinstance(request.answer, LeaseList):
            self._learn(request)
        else:
            self.world.listeners.append(lambda r: self._learn(r) if r is request else None)

    def _learn(self, request: Request) -> None:
        assert isinstance(request.answer, LeaseList)
        host = request.host
        self.held[host] = {lease.id: lease for lease in request.answer.leases}
        unsure, self.unsure[host] = self.unsure[host], []
        for verb in unsure:
            if _id(verb) not in self.busy[host] and self._rng[host].chance(700):
                self._ask(host, verb)


class Script:
    """Exactly these requests, at their times: what users asked in another run, or part of it."""

    def __init__(self, world: World, asks: Sequence[Ask]) -> None:
        self.world = world
        self.asked = list(asks)
        self._told: dict[tuple[str, str], list[str]] = {}

    def start(self) -> None:
        self.world.listeners.append(self._answered)
        for ask in self.asked:
            if ask.host in self.world.hosts:
                self.world.loop.after(ask.at_ms, self._ask, ask)

    def _ask(self, ask: Ask) -> None:
        verb = ask.verb
        if isinstance(verb, Release):
            told = self._told.get((ask.host, verb.id), [])[-2 if ask.late else -1 :]
            verb = replace(verb, lease=told[0] if ask.named and told else None)
        request = self.world.ask(ask.host, verb)
        if ask.cancel_ms is not None:
            self.world.loop.after(ask.cancel_ms, self.world.cancel, request)

    def _answered(self, request: Request) -> None:
        if isinstance(request.answer, Leased):
            told = self._told.setdefault((request.host, request.answer.lease.id), [])
            if request.answer.new:
                told.append(request.answer.lease.lease)


def _id(verb: Verb) -> str:
    return verb.id or "" if isinstance(verb, Allocate | ClaimAddress | Release | Leases) else ""
