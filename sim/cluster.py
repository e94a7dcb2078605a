"""The world: hosts, a network, users, and checkers that look at everything after every event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Protocol

from ringipam.address import Cidr, Range, parse_cidr
from ringipam.config import Init, parse_init
from ringipam.core.durable import Change, Stored
from ringipam.core.events import Answer, Asked, Cancelled, Effect, Event, Persist, Release, Reply, Verb
from ringipam.core.identity import seeded_uid
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.errors import RingIpamError
from sim.checkers import Checker, all_checkers
from sim.checkers.base import drops_leases
from sim.doubts import Doubts
from sim.host import Host
from sim.loop import Loop
from sim.network import Network
from sim.orders import Orders
from sim.trace import Trace

START_MS = 1_767_225_600_000
"""The wall clock of every host begins about here: 2026-01-01."""

HOOKS = (
    "stepped",
    "acted",
    "changed",
    "committed",
    "restarted",
    "crashed",
    "wiped",
    "asked",
    "answered",
    "healed",
    "settled",
    "finished",
)
"""What a checker may look at."""


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
    waited: bool = False
    """The host could not decide in the step in which it was asked."""
    decided: bool = False
    """The host has made up its mind; what it says waits for the disk."""
    lost: bool = False
    """The host crashed before it answered: either outcome is right."""
    cancelled: bool = False

    @property
    def open(self) -> bool:
        return self.answered_ms is None and not self.lost and not self.cancelled


class Trap(Protocol):
    """Lies in wait for a moment at which a fault hurts most; only the driver has such moments, the core knows of none.

    `point` is `event` (before a step), `effect` and `done` (before and after what becomes visible), `commit` and
    `committing` (before and after the disk is asked) or `durable` (before what waited for the disk goes out); `subject`
    is what it is about.
    """

    def reached(self, point: str, host: Host, subject: object) -> bool:
        """Whether the trap has done what it was there for, and is taken away."""


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
        housekeeping_ms: int = 10_000,
        excluded: tuple[Range, ...] = (),
        trace: Trace | None = None,
        start: bool = True,
        checked: bool = True,
    ) -> None:
        names = [f"h{n}" for n in range(1, hosts + 1)] if isinstance(hosts, int) else list(hosts)
        rng = Rng(seed)
        self._seed = rng.bits64()
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
        self.healing = False
        """All faults have ended for good; what must happen in time must happen now."""
        self.rested = False
        """Nobody has asked for anything for so long that all housekeeping is done."""
        self.marks: dict[str, int] = {}
        """Which situations were reached, and how often."""
        self.network.mark = self.mark
        self.traps: list[Trap] = []
        self.lost_peers: set[str] = set()
        """Peers that are no more: what they owned stays theirs until they are removed."""
        self.doubts = Doubts(self)
        self.orders = Orders(self)
        self.clocks_stepped = 0
        """When a host's clock last jumped: rests may have ended early, or last longer."""
        self._quarantine_ms = quarantine_ms
        self.housekeeping_ms = housekeeping_ms
        self._excluded = excluded
        self._open: dict[str, dict[int, Request]] = {}
        self._releases: list[Request] = []
        self._numbers = 0
        self.hosts: dict[str, Host] = {}
        self.checkers: list[Checker] = []
        for name in names:
            peers = dial(name) if dial is not None else [other for other in names if other != name]
            self.add_host(name, init(name) if callable(init) else init, peers)
        self._rehook()
        for checker in all_checkers(self) if checked else ():
            self.watch(checker)
        if start:
            for host in self.hosts.values():
                host.start()

    def add_host(self, name: str, init: str | None, peers: Sequence[str], *, universe: str | None = None) -> Host:
        """A host that is not started yet. Its chances depend on seed and name alone, whoever else there is."""
        rng = self.stream(name)
        settings = self._settings(name, init, peers, parse_cidr(universe) if universe else self.universe, rng)
        host = self.hosts[name] = Host(self, settings, rng)
        self._open[name] = {}
        return host

    def stream(self, name: str) -> Rng:
        """A generator for one concern, so that other concerns do not reshuffle it."""
        return Rng(self._seed ^ int.from_bytes(blake2b(name.encode(), digest_size=8).digest()))

    def members(self) -> list[Host]:
        """The hosts that must be one system in the end: not strangers, and not gone for good, by death or by order."""
        return [host for host in self.hosts.values() if host.wanted and not host.stranger and not host.standing.gone]

    def copy_host(self, original: Host, name: str) -> Host:
        """A host that runs from a copy of another's disk, at an address of its own. It is not started yet."""
        settings = replace(
            original.settings, address=f"{name}:6783", dial=(*original.settings.dial, original.settings.address)
        )
        host = self.hosts[name] = Host(self, settings, self.stream(name), name)
        host.disk.durable = original.disk.read()
        host.stranger = True
        self._open[name] = {}
        self.doubts.twins.update({original.name: name, name: original.name})
        self.doubts.forgetful.add(original.settings.peer)
        for owned in owned_by(original.disk.durable, original):
            self.doubts.over(*owned)
        return host

    def watch(self, checker: Checker, *, first: bool = False) -> None:
        """Let a checker see what happens from now on; only what it looks at costs time.

        Whoever is `first` also sees the step at which another finds a violation.
        """
        self.checkers.insert(0 if first else len(self.checkers), checker)
        self._rehook()

    def _rehook(self) -> None:
        self._hooks = {
            name: [getattr(c, name) for c in self.checkers if getattr(type(c), name) is not getattr(Checker, name)]
            for name in HOOKS
        }
        self._on_step, self._on_act, self._on_change = (self._hooks[name] for name in ("stepped", "acted", "changed"))

    def mark(self, situation: str) -> None:
        """The run has been here: a campaign that never was proves nothing about it."""
        self.marks[situation] = self.marks.get(situation, 0) + 1

    def pass_point(self, point: str, host: Host, subject: object) -> None:
        for trap in list(self.traps):
            if trap.reached(point, host, subject) and trap in self.traps:
                self.traps.remove(trap)

    def _settings(self, name: str, init: str | None, peers: Sequence[str], universe: Cidr, rng: Rng) -> Settings:
        addresses = tuple(f"{peer}:6783" for peer in peers)
        parsed = parse_init(init, addresses)
        uid = seeded_uid(parsed, universe, name) or self.new_uid(rng)
        return Settings(
            peer=f"{name}.{uid}",
            universe=universe,
            subnet=universe,
            address=f"{name}:6783",
            init=parsed,
            dial=addresses,
            excluded=self._excluded if universe == self.universe else (),
            quarantine_ms=self._quarantine_ms,
            housekeeping_ms=self.housekeeping_ms,
        )

    @staticmethod
    def new_uid(rng: Rng) -> str:
        return f"{rng.bits64() >> 16:012x}"

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
        if isinstance(verb, Release) or drops_leases(verb):
            self._releases = [r for r in self._releases if r.open or r.answered_ms == self.loop.now]
            self._releases.append(request)
        for hook in self._hooks["asked"]:
            hook(request)
        if target.up:
            self._open[host][request.number] = request
            target.deliver(Asked(request.number, verb))
        else:
            request.lost = True
        return request

    def releasing(self, host: str, holder: str) -> bool:
        """Whether a release of this id is without an answer there, or was answered in this very moment."""
        return any(
            r.host == host and (drops_leases(r.verb) or (isinstance(r.verb, Release) and r.verb.id == holder))
            for r in self._releases
        )

    def cancel(self, request: Request) -> None:
        """The caller goes away, unless the answer is on its way already (as in the runtime)."""
        if request.open and not request.decided:
            request.cancelled = True
            del self._open[request.host][request.number]
            self.hosts[request.host].deliver(Cancelled(request.number))

    def answered(self, host: Host, number: int, answer: Answer) -> None:
        request = self.requests[number]
        if not request.open:
            return
        request.answer = answer
        request.answered_ms = self.loop.now
        self._open[request.host].pop(number, None)
        for hook in self._hooks["answered"]:
            hook(request)
        for listener in self.listeners:
            listener(request)

    # ── operators and accidents ──────────────────────────────────────────────────────────────────

    def crash(self, host: str) -> None:
        self.disturbed()
        self.hosts[host].crash()

    def restart(self, host: str) -> None:
        if not self.hosts[host].up and self.hosts[host].wanted:
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

    def lose_disk(self, host: Host, init: Init) -> None:
        """A host that is down loses all it kept, and will begin again as somebody else."""
        self.lost_peers.add(host.settings.peer)
        host.reborn(f"{host.name}.{self.new_uid(self.rng)}", init)
        self.network.renewed(host.name)
        for hook in self._hooks["wiped"]:
            hook(host)

    def renewed(self, host: Host, peer: str) -> None:
        """A host has become another peer by its operator's word; what the former self owned stays its own."""
        former = host.settings.peer
        self.lost_peers.add(former)
        host.settings = replace(host.settings, peer=peer)
        self.network.renewed(host.name)
        self.orders.renewed(host, former)

    def went_back(self, host: Host, earlier: Stored, why: str) -> None:
        """The disk of a host that is down is as it was at an earlier moment."""
        owned = [owned for stored in (host.disk.durable, earlier) for owned in owned_by(stored, host)]
        held = [int(lease.address) for lease in earlier.leases.values()]
        owned += [Range(address, address + 1) for address in held]
        host.disk.durable = earlier
        known = int(earlier.meta.get("commit", "0 0").split()[0])
        self.doubts.went_back(host, owned, known, why)
        for hook in self._hooks["wiped"]:
            hook(host)

    def heal(self) -> None:
        """End every fault; whoever is down comes back, but for those who are gone for good."""
        self.disturbed()
        self.healing = True
        self.traps.clear()
        self.network.mend_all()
        for host in self.hosts.values():
            host.disk.heal()
            host.crash_in = None
            host.lag_ms = 0
            host.clock.set(self.loop.now)
            if not host.up and host.wanted:
                host.start()
        for hook in self._hooks["healed"]:
            hook()
        self.orders.begin()

    def disturbed(self) -> None:
        self.calm_since = self.loop.now

    # ── what hosts report ────────────────────────────────────────────────────────────────────────

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        self.trace.step(self.loop.now - START_MS, host.name, event, effects)
        for hook in self._on_step:
            hook(host, event, effects)
        if not effects and type(event) is not Asked and type(event) is not Cancelled:
            return
        changes: tuple[Change, ...] = ()
        for effect in effects:
            if type(effect) is Persist:
                changes += effect.changes
            elif type(effect) is Reply:
                request = self.requests[effect.request]
                request.decided = True
                request.waited = type(event) is not Asked
        if changes:
            self.doubts.note(host, changes)
        for hook in self._on_act:
            hook(host, event, effects)
        if changes:
            for hook in self._on_change:
                hook(host, event, effects, changes)

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        for hook in self._hooks["committed"]:
            hook(host, changes)

    def restarted(self, host: Host) -> None:
        self.trace.note(self.elapsed_ms, host.name, "start")
        for hook in self._hooks["restarted"]:
            hook(host)

    def crashed(self, host: Host, error: RingIpamError | None = None) -> None:
        self.disturbed()
        self.trace.note(self.elapsed_ms, host.name, "crash")
        self.network.host_gone(host.name)
        host.left_waiting = len(self._open[host.name])
        for request in self._open[host.name].values():
            request.lost = True
        self._open[host.name].clear()
        for hook in self._hooks["crashed"]:
            hook(host)

    def log(self, host: Host, level: str, text: str) -> None:
        self.logged.append((self.elapsed_ms, host.name, level, text))

    def _deliver(self, host: str, event: Event) -> None:
        self.hosts[host].deliver(event)

    def _life(self, host: str) -> int:
        return self.hosts[host].life if host in self.hosts else 0

    # ── the end ──────────────────────────────────────────────────────────────────────────────────

    @property
    def converged(self) -> bool:
        """Every host is up, in one cluster, and all rings are equal and complete."""
        members = self.members()
        peers = [host.peer for host in members if host.peer is not None]
        first = peers[0] if peers else None
        if first is None or len(peers) != len(members) or first.ring is None or not first.cluster:
            return False
        if any(peer.cluster != first.cluster or peer.ring != first.ring for peer in peers):
            return False
        return all(claim.owner for _, claim in first.ring.tokens())

    @property
    def open_requests(self) -> int:
        return sum(map(len, self._open.values()))

    def open_at(self, host: str) -> int:
        """How many requests a host has neither answered nor lost."""
        return len(self._open[host])

    def finish(self) -> None:
        """The last checks, of what must hold once faults have ended and time has passed."""
        if self.converged and self.orders.content:
            self.doubts.settled()
            for hook in self._hooks["settled"]:
                hook()
        for hook in self._hooks["finished"]:
            hook()

    def owner_of(self, text: str) -> str:
        """The host that the first host's ring gives an address to."""
        first = self.members()[0]
        assert first.peer is not None
        assert first.peer.ring is not None
        address = parse_cidr(f"{text}/{self.universe.bits}").start
        return first.peer.ring.at(address).owner.rpartition(".")[0]

    def subnet(self, text: str) -> Cidr:
        return parse_cidr(text)


def owned_by(stored: Stored, host: Host) -> list[Range]:
    """What a disk gives to the peer of a host."""
    tokens = sorted(stored.tokens.items())
    ends = [*(start for start, _ in tokens[1:]), host.settings.universe.range.end]
    peer = host.settings.peer
    return [Range(start, end) for (start, claim), end in zip(tokens, ends, strict=False) if claim.owner == peer]
