"""The world: hosts, a network, users, and checkers that look at everything after every event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ringipam.address import Cidr, parse_cidr
from ringipam.config import parse_init
from ringipam.core.durable import Change
from ringipam.core.events import Answer, Asked, Cancelled, Effect, Event, Release, Reply, Verb
from ringipam.core.identity import seeded_uid
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.errors import RingIpamError
from sim.checkers import Checker, all_checkers
from sim.host import Host
from sim.loop import Loop
from sim.network import Network
from sim.trace import Trace

START_MS = 1_767_225_600_000
"""The wall clock of every host begins about here: 2026-01-01."""


@dataclass(slots=True, eq=False)
class Request:
    """What a user asked, and what came of it."""

    number: int
    host: str
    verb: Verb
    asked_ms: int
    life: int
    answer: Answer = None
    answered_ms: int | None = None
    decided: bool = False
    """The host has made up its mind; what it says waits for the disk."""
    lost: bool = False
    """The host crashed before it answered: either outcome is right."""
    cancelled: bool = False

    @property
    def open(self) -> bool:
        return self.answered_ms is None and not self.lost and not self.cancelled


class World:
    """One seed is one run. `hosts` is a number (h1, h2, …) or a list of names."""

    def __init__(
        self,
        seed: int = 1,
        hosts: int | Sequence[str] = 3,
        universe: str = "10.0.0.0/24",
        init: str | Callable[[str], str | None] | None = "consensus=3",
        *,
        dial: Callable[[str], Sequence[str]] | None = None,
        codec: bool = False,
        quarantine_ms: int = 30_000,
        trace: Trace | None = None,
        clock_offsets: bool = False,
        start: bool = True,
    ) -> None:
        names = [f"h{n}" for n in range(1, hosts + 1)] if isinstance(hosts, int) else list(hosts)
        rng = Rng(seed)
        self.rng = rng.fork()
        self.loop = Loop()
        self.loop.now = START_MS
        self.trace = trace or Trace()
        self.universe = parse_cidr(universe)
        self.network = Network(self.loop, rng.fork(), self._deliver, self._life, codec=codec)
        self.requests: dict[int, Request] = {}
        self.logged: list[tuple[int, str, str, str]] = []
        self.listeners: list[Callable[[Request], None]] = []
        self.calm_since = self.loop.now
        """Since when no fault has struck."""
        self._releases: list[Request] = []
        self._numbers = 0
        self.hosts: dict[str, Host] = {}
        for name in names:
            peers = dial(name) if dial is not None else [other for other in names if other != name]
            settings = self._settings(name, init(name) if callable(init) else init, peers, quarantine_ms, rng)
            offset = rng.below(7_200_000) - 3_600_000 if clock_offsets else 0
            self.hosts[name] = Host(self, settings, rng.fork(), offset)
        self.checkers: list[Checker] = all_checkers(self)
        if start:
            for host in self.hosts.values():
                host.start()

    def _settings(self, name: str, init: str | None, peers: Sequence[str], quarantine_ms: int, rng: Rng) -> Settings:
        addresses = tuple(f"{peer}:6783" for peer in peers)
        parsed = parse_init(init, addresses)
        uid = seeded_uid(parsed, self.universe, name) or f"{rng.bits64() >> 16:012x}"
        return Settings(
            peer=f"{name}.{uid}",
            universe=self.universe,
            subnet=self.universe,
            address=f"{name}:6783",
            init=parsed,
            dial=addresses,
            quarantine_ms=quarantine_ms,
        )

    # ── time ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def elapsed_ms(self) -> int:
        return self.loop.now - START_MS

    def run_for(self, ms: int) -> None:
        self.loop.run_until(self.loop.now + ms)

    def run_until(self, predicate: Callable[[], bool], limit_ms: int) -> bool:
        """Whether `predicate` became true within `limit_ms`."""
        return predicate() or self.loop.run_until(self.loop.now + limit_ms, predicate)

    # ── users ────────────────────────────────────────────────────────────────────────────────────

    def ask(self, host: str, verb: Verb) -> Request:
        self._numbers += 1
        request = Request(self._numbers, host, verb, self.loop.now, 0)
        self.requests[request.number] = request
        target = self.hosts[host]
        if isinstance(verb, Release):
            self._releases = [r for r in self._releases if r.open or r.answered_ms == self.loop.now]
            self._releases.append(request)
        for checker in self.checkers:
            checker.asked(request)
        if target.up:
            target.deliver(Asked(request.number, verb))
        else:
            request.lost = True
        return request

    def releasing(self, host: str, holder: str) -> bool:
        """Whether a release of this id is without an answer there, or was answered in this very moment."""
        return any(r.host == host and isinstance(r.verb, Release) and r.verb.id == holder for r in self._releases)

    def cancel(self, request: Request) -> None:
        """The caller goes away, unless the answer is on its way already (as in the runtime)."""
        if request.open and not request.decided:
            request.cancelled = True
            self.hosts[request.host].deliver(Cancelled(request.number))

    def answered(self, host: Host, number: int, answer: Answer) -> None:
        request = self.requests[number]
        if not request.open:
            return
        request.answer = answer
        request.answered_ms = self.loop.now
        for checker in self.checkers:
            checker.answered(request)
        for listener in self.listeners:
            listener(request)

    # ── operators and accidents ──────────────────────────────────────────────────────────────────

    def crash(self, host: str) -> None:
        self.disturbed()
        self.hosts[host].crash()

    def restart(self, host: str) -> None:
        if not self.hosts[host].up:
            self.hosts[host].start()

    def cut(self, one: str, other: str, *, both: bool = True) -> None:
        self.disturbed()
        self.network.cut(one, other)
        if both:
            self.network.cut(other, one)

    def mend(self, one: str, other: str, *, both: bool = True) -> None:
        self.network.mend(one, other)
        if both:
            self.network.mend(other, one)

    def drop_next(self, kind: type) -> None:
        self.disturbed()
        self.network.drop_next(kind)

    def heal(self) -> None:
        """End every fault; whoever is down comes back."""
        self.network.mend_all()
        for host in self.hosts.values():
            host.disk.failing = False
            host.disk.delay_ms = (0, 3)
            host.crash_in = None
            if not host.up:
                host.start()

    def disturbed(self) -> None:
        self.calm_since = self.loop.now

    # ── what hosts report ────────────────────────────────────────────────────────────────────────

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        self.trace.step(self.elapsed_ms, host.name, event, effects)
        for effect in effects:
            if isinstance(effect, Reply):
                self.requests[effect.request].decided = True
        for checker in self.checkers:
            checker.stepped(host, event, effects)

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        for checker in self.checkers:
            checker.committed(host, changes)

    def restarted(self, host: Host) -> None:
        self.trace.note(self.elapsed_ms, host.name, "start")
        for checker in self.checkers:
            checker.restarted(host)

    def crashed(self, host: Host, error: RingIpamError | None = None) -> None:
        self.disturbed()
        self.trace.note(self.elapsed_ms, host.name, "crash")
        self.network.host_gone(host.name)
        for request in self.requests.values():
            if request.host == host.name and request.open:
                request.lost = True
        for checker in self.checkers:
            checker.crashed(host)

    def log(self, host: Host, level: str, text: str) -> None:
        self.logged.append((self.elapsed_ms, host.name, level, text))

    def _deliver(self, host: str, event: Event) -> None:
        self.hosts[host].deliver(event)

    def _life(self, host: str) -> int:
        return self.hosts[host].life

    # ── the end ──────────────────────────────────────────────────────────────────────────────────

    @property
    def converged(self) -> bool:
        """Every host is up, in one cluster, and all rings are equal and complete."""
        rings = [host.peer.ring for host in self.hosts.values() if host.peer is not None]
        clusters = {host.peer.cluster for host in self.hosts.values() if host.peer is not None}
        first = rings[0] if rings else None
        if len(rings) != len(self.hosts) or first is None or clusters == {""} or len(clusters) != 1:
            return False
        return all(ring == first for ring in rings) and all(claim.owner for _, claim in first.tokens())

    def finish(self) -> None:
        """The last checks, of what must hold once faults have ended and time has passed."""
        for checker in self.checkers:
            checker.finished()

    def owner_of(self, text: str) -> str:
        """The host that the first host's ring gives an address to."""
        first = next(iter(self.hosts.values()))
        assert first.peer is not None
        assert first.peer.ring is not None
        address = parse_cidr(f"{text}/{self.universe.bits}").start
        return first.peer.ring.at(address).owner.rpartition(".")[0]

    def subnet(self, text: str) -> Cidr:
        return parse_cidr(text)
