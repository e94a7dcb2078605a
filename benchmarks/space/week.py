"""A week of containers that come and go, in the simulator: does the ring stay small?

Hosts start and stop containers by day and fewer by night, some in small subnets that all share, some at addresses that
others own; a host is killed now and then and comes back. Counted are the tokens of the ring, four times a day.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import mean
from time import process_time

from ringipam.address import Cidr
from ringipam.core.events import Allocate, ClaimAddress, Leased, Release
from ringipam.core.settings import Settings
from sim.checkers import Checker
from sim.cluster import Request, World
from sim.host import Host
from sim.predict import light_checkers
from sim.standing import standing

UNIVERSE = "10.32.0.0/20"
SUBNET_SIZE = 64
SUBNETS = 4
"""So many small subnets, evenly over the range."""
IN_SUBNET = 300
CLAIMED = 30
"""Per mille of the starts."""
BUSY = 700
"""Per mille of the starts are on one host, another one every three hours."""
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
SAMPLE_HOURS = 6
BUSY_HOURS = 3
KILL_HOURS = 5
DOWN_MS = 2 * MINUTE_MS
PATIENCE_MS = 20_000
REST_HOURS = 2


@dataclass(frozen=True, slots=True)
class Pattern:
    hosts: int
    starts_a_minute: int
    containers: int
    """By day; a third of them by night."""


PATTERNS = (Pattern(hosts=5, starts_a_minute=4, containers=150), Pattern(hosts=20, starts_a_minute=8, containers=400))


@dataclass(slots=True)
class Week:
    """What came of one pattern."""

    hosts: int
    hours: int
    starts: int = 0
    refused: int = 0
    kills: int = 0
    tokens: list[int] = field(default_factory=list)
    """Of the largest ring, every `SAMPLE_HOURS` hours."""
    leases: list[int] = field(default_factory=list)
    """At the same moments."""
    tokens_at_rest: int = 0
    """Two hours after the last container stopped."""
    cpu_s: float = 0.0

    def of_day(self, day: int) -> float:
        """The mean of the tokens of a day, the first of which is 0."""
        each = 24 // SAMPLE_HOURS
        return mean(self.tokens[day * each : (day + 1) * each])

    @property
    def growth(self) -> float:
        """The tokens of the last three days by those of the three after the first; 1 where there are no such days."""
        days = [self.of_day(day) for day in range(self.days)]
        return mean(days[-3:]) / mean(days[1:4]) if len(days) > 1 else 1.0

    @property
    def days(self) -> int:
        return len(self.tokens) * SAMPLE_HOURS // 24


class Containers(Checker):
    """No property: it starts containers and stops them, and clears up after a host that was killed."""

    def __init__(self, world: World, pattern: Pattern) -> None:
        super().__init__(world)
        self.refused = 0
        self.starts = 0
        self.wanted = 0
        self.on = True
        self._pattern = pattern
        self._rng = world.stream("containers")
        self._hosts = list(world.hosts)
        self._busy = self._hosts[0]
        self._running: list[tuple[str, str]] = []
        extent = world.universe.range
        length = world.universe.bits - SUBNET_SIZE.bit_length() + 1
        self._subnets = [Cidr(4, extent.start + number * extent.size // SUBNETS, length) for number in range(SUBNETS)]
        world.watch(self)
        self._tick()

    def turn_busy(self) -> None:
        """Another host gets most of the starts."""
        self._busy = self._rng.pick(self._hosts)

    def stop_all(self) -> None:
        """Nothing is started any more, and all that runs is stopped."""
        self.on = False
        for host, holder in self._running:
            self.world.ask(host, Release(holder))
        self._running.clear()

    def _tick(self) -> None:
        if not self.on:
            return
        mean_ms = MINUTE_MS // self._pattern.starts_a_minute
        self.world.loop.after(1 + self._rng.below(2 * mean_ms), self._tick)
        short = self.wanted - len(self._running)
        if short >= 0:
            self._start()
        if short <= 0:
            self._stop()
        if short < 0:
            self._stop()

    def _start(self) -> None:
        host = self._busy if self._rng.chance(BUSY) else self._rng.pick(self._hosts)
        if not self.world.hosts[host].up:
            return
        self.starts += 1
        holder = f"c{self.starts}"
        universe = self.world.universe
        if self._rng.chance(CLAIMED):
            address = universe.issuable.start + self._rng.below(universe.issuable.size)
            self.world.ask(host, ClaimAddress(holder, 4, address, universe.prefix_len, PATIENCE_MS))
            return
        subnet = self._rng.pick(self._subnets) if self._rng.chance(IN_SUBNET) else None
        self.world.ask(host, Allocate(holder, subnet, PATIENCE_MS))

    def _stop(self) -> None:
        if not self._running:
            return
        chosen = self._rng.below(len(self._running))
        host, holder = self._running[chosen]
        if self.world.hosts[host].up:
            self._running[chosen] = self._running[-1]
            self._running.pop()
            self.world.ask(host, Release(holder))

    def answered(self, request: Request) -> None:
        if not isinstance(request.verb, Allocate | ClaimAddress):
            return
        if not isinstance(request.answer, Leased):
            self.refused += 1
        elif self.on:
            self._running.append((request.host, request.verb.id))
        else:
            self.world.ask(request.host, Release(request.verb.id))

    def restarted(self, host: Host) -> None:
        self.world.loop.after(1, self._clear, host)

    def _clear(self, host: Host) -> None:
        """What was started when the host was killed, or stopped, is stopped should it be there."""
        if host.peer is None:
            return
        known = {holder for name, holder in self._running if name == host.name}
        for lease in list(host.peer.leases.values()):
            if lease.id not in known:
                self.world.ask(host.name, Release(lease.id))


def week(pattern: Pattern, hours: int = 168, seed: int = 1) -> Week:
    """Simulate it; raises Violation if an address is owned or leased twice, or a request is not answered."""
    begin = process_time()
    world = standing(seed, pattern.hosts, UNIVERSE, checkers=light_checkers, tuned=_unhurried)
    containers = Containers(world, pattern)
    found = Week(pattern.hosts, hours)
    for hour in range(1, hours + 1):
        containers.wanted = pattern.containers if (hour // 12) % 2 == 0 else pattern.containers // 3
        if hour % BUSY_HOURS == 0:
            containers.turn_busy()
        if hour % KILL_HOURS == 0:
            _kill(world, list(world.hosts)[hour // KILL_HOURS % pattern.hosts])
            found.kills += 1
        world.run_for(HOUR_MS)
        if hour % SAMPLE_HOURS == 0:
            found.tokens.append(_tokens(world))
            found.leases.append(_leases(world))
    containers.stop_all()
    world.run_for(REST_HOURS * HOUR_MS)
    found.tokens_at_rest = _tokens(world)
    found.starts, found.refused = containers.starts, containers.refused
    found.cpu_s = round(process_time() - begin, 1)
    return found


def _unhurried(settings: Settings) -> Settings:
    """Probes and exchanges as rare as a week allows; rumours and housekeeping come as ever."""
    return replace(settings, probe_ms=20_000, probe_timeout_ms=8_000, anti_entropy_ms=20_000)


def _kill(world: World, host: str) -> None:
    world.crash(host)
    world.loop.after(DOWN_MS, world.restart, host)


def _tokens(world: World) -> int:
    rings = [host.peer.ring for host in world.hosts.values() if host.peer is not None]
    return max(len(ring) for ring in rings if ring is not None)


def _leases(world: World) -> int:
    return sum(len(host.peer.leases) for host in world.hosts.values() if host.peer is not None)
