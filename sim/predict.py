"""One prediction: a system of so many hosts does normal work for a while, rests, learns one change, heals a split.

Normal work is ten starts and ten stops of containers a second in all, four fifths of them on a twentieth of the
hosts (on others every two minutes), while one host in a hundred flaps. 3,000 containers run at any time. The range has
32 addresses for each host, but at least 8,192.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from ringipam.core.events import ClaimAddress, Leased
from ringipam.core.settings import Settings
from sim.checkers import Checker
from sim.checkers.agreement import OneRingIsFormed
from sim.checkers.answers import EveryRequestAnswered
from sim.checkers.judge import NobodyWasToldTwice
from sim.checkers.leases import NoAddressLeasedTwice
from sim.checkers.possession import NoAddressPossessedTwiceAmongMany
from sim.cluster import World
from sim.load import Load, Pace
from sim.standing import standing
from sim.traffic import Counts, Traffic

ADDRESSES_MIN = 8_192
ADDRESSES_A_HOST = 32
CONTAINERS = 3_000
STARTS_PER_S = 10
FILL_PER_S = 100
SHIFT_MS = 120_000
FLAPPING = 100
"""One host in so many flaps."""
FLAP_MS = 30_000
"""From one crash of a flapping host to its next."""
DOWN_MS = 5_000
SETTLE_MS = 60_000
"""After work ends, before the system counts as at rest: rests end, rings are tidied, hosts are believed alive again."""
REST_S = 20
CHANGES = 5
"""So many single changes are timed."""
POLL_MS = 20
SPLIT_MS = 20_000
LIMIT_MS = 120_000
SAMPLED_FROM = 300
"""With so many hosts one message in `SAMPLE` of a kind is encoded to know its size."""
SAMPLE = 10
SPLIT_MAX = 300
"""Larger systems are not split: half of all links break and are made anew, which takes an hour to simulate."""


@dataclass(slots=True)
class Prediction:
    """What was measured at one size; times in simulated milliseconds unless they are named otherwise."""

    hosts: int
    seconds: int
    flapping: int = 0
    starts: int = 0
    answer_ms: dict[str, int] = field(default_factory=dict)
    """p50, p95, p99 and the longest."""
    waited_ms: dict[str, int] = field(default_factory=dict)
    """The same for those that waited for the network."""
    waited_share: float = 0.0
    refused: int = 0
    lost: int = 0
    """Starts that were under way when their host crashed."""
    changes: int = 0
    ring_changes: int = 0
    copies: float = 0.0
    """How often the payload of a change was sent to a host, on average."""
    bytes_a_change: float = 0.0
    """Offers, requests and payloads, to all hosts together."""
    bytes_a_change_and_host: float = 0.0
    work_bytes_s: float = 0.0
    """What a host sends a second during work, of every kind."""
    rest_bytes_s: float = 0.0
    by_purpose: dict[str, int] = field(default_factory=dict)
    """Bytes during work."""
    change_ms: list[int] = field(default_factory=list)
    """From a change to equal rings on all hosts, sorted."""
    rounds: float = 0.0
    """The median of these in rounds of rumours."""
    heal_ms: int | None = None
    """From the end of a split to equal rings; None if it was not tried."""
    tokens_most: int = 0
    tokens_after: int = 0
    events: int = 0
    wall_s: float = 0.0
    """Of the whole run."""
    work_wall_s: float = 0.0
    """Of the time with work."""
    memory_mib: int = 0

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def universe(hosts: int) -> str:
    """The range of a system of so many hosts."""
    bits = (max(ADDRESSES_MIN, ADDRESSES_A_HOST * hosts) - 1).bit_length()
    return f"10.32.0.0/{32 - bits}"


def light_checkers(world: World) -> Sequence[Checker]:
    """Those whose cost does not grow with the size of the system: nothing is owned, leased or told twice."""
    kinds = (
        OneRingIsFormed,
        NoAddressPossessedTwiceAmongMany,
        NoAddressLeasedTwice,
        NobodyWasToldTwice,
        EveryRequestAnswered,
    )
    return [kind(world) for kind in kinds]


def predict(hosts: int, seconds: int, seed: int = 1) -> Prediction:
    """Run it; raises Violation if anything is owned, leased or told twice, or a request is not answered in time."""
    return _Prediction(hosts, seconds, seed).complete()


class _Prediction:
    def __init__(self, hosts: int, seconds: int, seed: int) -> None:
        self._begin = time.perf_counter()
        self.world = standing(seed, hosts, universe(hosts), checkers=light_checkers)
        self.traffic = Traffic(self.world, SAMPLE if hosts >= SAMPLED_FROM else 1)
        self.load = Load(self.world, Pace(STARTS_PER_S, CONTAINERS, shift_ms=SHIFT_MS))
        self.found = Prediction(hosts, seconds, flapping=hosts // FLAPPING)
        self._flapping = True

    def complete(self) -> Prediction:
        world, found = self.world, self.found
        self._say("hosts start")
        world.run_for(5_000)
        self._await_one_ring()
        self.load.fill(FILL_PER_S)
        world.run_for(CONTAINERS * 1_000 // FILL_PER_S)
        self._say("containers run")
        world.run_for(10_000)
        self._work()
        self._rest()
        found.change_ms = sorted(self._change(number) for number in range(CHANGES))
        found.rounds = found.change_ms[CHANGES // 2] / self._settings.rumour_ms
        if 1 < found.hosts <= SPLIT_MAX:
            found.heal_ms = self._split()
        found.events = world.loop.events
        found.wall_s = round(time.perf_counter() - self._begin, 1)
        found.memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return found

    @property
    def _settings(self) -> Settings:
        return next(iter(self.world.hosts.values())).settings

    def _await_one_ring(self) -> int:
        """How long it took until all rings were equal."""
        world, since = self.world, self.world.loop.now
        while not world.converged:
            if world.loop.now - since > LIMIT_MS:
                raise RuntimeError(f"the rings of {self.found.hosts} hosts differ after {LIMIT_MS // 1000} s")
            world.run_for(POLL_MS)
        return world.loop.now - since

    # ── work ─────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        world, found = self.world, self.found
        names = list(world.hosts)
        for number in range(found.flapping):
            world.loop.after(1_000 + number * FLAP_MS // found.flapping, self._flap, names[-1 - number])
        self.load.count_anew()
        self.traffic.count_anew()
        begin = time.perf_counter()
        for second in range(found.seconds):
            world.run_for(1_000)
            if second % 10 == 9:
                found.tokens_most = max(found.tokens_most, self._tokens())
                self._say(f"{second + 1} of {found.seconds} s of work", begin, second + 1)
        found.work_wall_s = round(time.perf_counter() - begin, 3)
        self._note_answers()
        self._note_traffic(self.traffic.count_anew())

    def _flap(self, host: str) -> None:
        if self._flapping:
            self.world.crash(host)
            self.world.loop.after(DOWN_MS, self.world.restart, host)
            self.world.loop.after(FLAP_MS, self._flap, host)

    def _note_answers(self) -> None:
        found, tally = self.found, self.load.count_anew()
        found.starts, found.refused, found.lost = tally.starts, tally.refused, tally.lost
        found.answer_ms, found.waited_ms = percentiles(tally.answers_ms), percentiles(tally.waited_ms)
        found.waited_share = len(tally.waited_ms) / max(1, len(tally.answers_ms))

    def _note_traffic(self, counts: Counts) -> None:
        found = self.found
        found.changes, found.ring_changes = len(counts.arrivals), counts.ring_news
        found.by_purpose = dict(sorted(counts.payload.items()))
        found.work_bytes_s = counts.total / found.hosts / found.seconds
        if found.changes:
            found.copies = sum(counts.arrivals.values()) / found.changes / (found.hosts - 1)
            found.bytes_a_change = counts.payload["news"] / found.changes
            found.bytes_a_change_and_host = found.bytes_a_change / found.hosts

    def _tokens(self) -> int:
        peers = [host.peer for host in self.world.hosts.values() if host.peer is not None]
        return max(len(peer.ring.tokens()) for peer in peers if peer.ring is not None)

    # ── rest, one change, a split ────────────────────────────────────────────────────────────────

    def _rest(self) -> None:
        world, found = self.world, self.found
        self._flapping = False
        self.load.stop()
        world.run_for(SETTLE_MS)
        self._await_one_ring()
        self.traffic.count_anew()
        world.run_for(REST_S * 1_000)
        found.rest_bytes_s = self.traffic.count_anew().total / found.hosts / REST_S
        found.tokens_after = self._tokens()
        self._say("at rest")

    def _change(self, number: int) -> int:
        """One host claims an address of another; how long until every ring says so."""
        world = self.world
        names = list(world.hosts)
        first = number * len(names) // CHANGES
        since = world.loop.now
        self._claim(names[first], names[(first + 1) % len(names)], f"change {number}")
        self._await_one_ring()
        took = world.loop.now - since
        world.run_for(5_000)
        return took

    def _claim(self, host: str, owner: str, holder: str) -> None:
        """`host` gets an address that `owner` owns."""
        world, peer = self.world, self.world.hosts[owner].peer
        assert peer is not None
        leased = {int(lease.address) for lease in peer.leases.values()}
        address = next(a for owned in peer.possessed() for a in range(*owned) if a not in leased)
        request = world.ask(host, ClaimAddress(holder, 4, address, 32, LIMIT_MS))
        if not world.run_until(lambda: not request.open, LIMIT_MS) or not isinstance(request.answer, Leased):
            raise RuntimeError(f"{host} was not given an address of {owner}: {request.answer}")

    def _split(self) -> int:
        """Two halves work apart for a while; how long after it until every ring is the same."""
        world = self.world
        names = list(world.hosts)
        self.load.fill(FILL_PER_S)
        world.network.cut_between(names[::2], names[1::2])
        world.disturbed()
        world.run_for(SPLIT_MS)
        self.load.stop()
        for half in (names[::2], names[1::2]):
            if len(half) > 1:
                self._claim(half[0], half[1], f"apart {half[0]}")
        world.heal()
        return self._await_one_ring()

    def _say(self, what: str, begin: float = 0.0, done: int = 0) -> None:
        """On stderr, as a large system takes long."""
        if not sys.stderr.isatty() and self.found.hosts < SAMPLED_FROM:
            return
        rate = f", {done / (time.perf_counter() - begin):.1f} simulated seconds a second" if done else ""
        print(f"{self.found.hosts} hosts: {what}{rate}", file=sys.stderr, flush=True)


def percentiles(values: Sequence[int]) -> dict[str, int]:
    """The least value that so many per cent do not exceed; empty without values."""
    if not values:
        return {}
    ordered = sorted(values)
    at = {f"p{share}": ordered[-(-share * len(ordered) // 100) - 1] for share in (50, 95, 99)}
    return {**at, "most": ordered[-1]}
