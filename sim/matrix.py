"""The kinds of deployments that must be known (W14): a table of factors, and few rows in which every pair occurs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

from ringipam.core.rng import Rng
from sim.checkers import Checker, Violation, all_checkers
from sim.checkers.healing import ConvergesInTime
from sim.checkers.truth import NoSpaceIsTrue
from sim.cluster import World
from sim.faults.fault import crash_for
from sim.load import Load, Pace
from sim.predict import percentiles
from sim.standing import SEEDS

FACTORS: Mapping[str, tuple[str, ...]] = {
    "hosts": ("<10", "20-100", ">100"),
    "addresses a host": ("<10", "20-100", ">100"),
    "spread": ("even", "uneven", "uneven, changing"),
    "address churn": ("low", "high"),
    "utilisation": ("<20 %", "20-80 %", ">80 %"),
    "host count": ("static", "gradual", "spiky"),
    "host churn": ("low", "high"),
    "host failures": ("low", "high"),
}

Row = Mapping[str, str]
"""A level of each factor."""

HOSTS = {"<10": 5, "20-100": 25, ">100": 110}
"""When the run begins; a third more comes and goes where the number changes."""
ADDRESSES = {"<10": 6, "20-100": 35, ">100": 150}
USED_PERCENT = {"<20 %": 12, "20-80 %": 50, ">80 %": 90}
LIFE_S = {"low": 600, "high": 40}
"""How long a container lives."""
RESTART_MS = {"low": 40_000, "high": 4_000}
"""Between two restarts of hosts by their operator."""
FAILURE_MS = {"low": 30_000, "high": 5_000}
"""Between two crashes, which last longer, or cuts from the network."""
SHIFT_MS = 10_000
SECONDS = {"<10": 60, "20-100": 30, ">100": 10}
"""Simulated after the containers run: larger systems for a shorter time, so that a row stays affordable."""
FILL_PER_S_A_HOST = 20
LEFT_OUT = (NoSpaceIsTrue,)
"""With more than 100 hosts this checker is left out: it looks at every host at every request."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a row; a broken property is told in `violation`."""

    row: Row
    hosts: int
    range_size: int
    containers: int
    starts: int
    refused: int
    lost: int
    waited_percent: float
    answer_ms: Mapping[str, int]
    tokens: int
    healed_ms: int | None
    violation: str = ""

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def pairwise_rows(factors: Mapping[str, Sequence[str]] = FACTORS) -> list[Row]:
    """Rows in which each level of each factor meets each level of every other, found greedily; always the same.

    >>> len(pairwise_rows({"a": "12", "b": "12", "c": "12"}))
    4
    """
    missing = {
        ((one, x), (two, y)): None for one, two in combinations(factors, 2) for x in factors[one] for y in factors[two]
    }
    rows: list[Row] = []
    while missing:
        first, second = next(iter(missing))
        row = dict((first, second))
        for factor in factors:
            if factor not in row:
                row[factor] = max(factors[factor], key=lambda level: _gain(row, (factor, level), missing))
        rows.append({factor: row[factor] for factor in factors})
        for pair in combinations(rows[-1].items(), 2):
            missing.pop(pair, None)
    return rows


def _gain(row: Row, new: tuple[str, str], missing: Mapping[tuple[tuple[str, str], tuple[str, str]], None]) -> int:
    """How many missing pairs `new` makes with what the row has."""
    return sum((old, new) in missing or (new, old) in missing for old in row.items())


def measure(row: Row, seed: int = 1) -> Measured:
    """Run one row."""
    return _Run(row, seed).complete()


def checkers_of(row: Row, world: World) -> list[Checker]:
    return [c for c in all_checkers(world) if row["hosts"] != ">100" or not isinstance(c, LEFT_OUT)]


class _Run:
    def __init__(self, row: Row, seed: int) -> None:
        self._row = row
        self._hosts = hosts = HOSTS[row["hosts"]]
        bits = round_bits(hosts * ADDRESSES[row["addresses a host"]] * 100 // USED_PERCENT[row["utilisation"]])
        self._containers = (1 << bits) * USED_PERCENT[row["utilisation"]] // 100
        self._names = [f"h{number}" for number in range(1, hosts + 1)]
        self._more = [f"h{number}" for number in range(hosts + 1, hosts + 2 + hosts // 3)]
        self.world = World(
            seed,
            self._names,
            f"10.32.0.0/{32 - bits}",
            f"seed={','.join(self._names)}",
            dial=lambda name: [peer for peer in self._names[:SEEDS] if peer != name],
            checked=False,
            start=False,
        )
        for checker in checkers_of(row, self.world):
            self.world.watch(checker)
        spread = row["spread"]
        self.load = Load(
            self.world,
            Pace(
                max(1, self._containers // LIFE_S[row["address churn"]]),
                self._containers,
                uneven=spread != "even",
                shift_ms=SHIFT_MS if spread == "uneven, changing" else 0,
            ),
        )
        self._rng: Rng = self.world.stream("faults of the row")
        self._until = 0

    def complete(self) -> Measured:
        violation = ""
        try:
            self._play()
        except Violation as error:
            violation = str(error).splitlines()[0]
        world, tally = self.world, self.load.tally
        took = next((checker.took_ms for checker in world.checkers if isinstance(checker, ConvergesInTime)), None)
        rings = [host.peer.ring for host in world.hosts.values() if host.peer is not None]
        return Measured(
            self._row,
            self._hosts,
            world.universe.size,
            self._containers,
            tally.starts,
            tally.refused,
            tally.lost,
            round(100 * len(tally.waited_ms) / max(1, len(tally.answers_ms)), 2),
            percentiles(tally.answers_ms),
            max((len(ring) for ring in rings if ring is not None), default=0),
            took,
            violation,
        )

    def _play(self) -> None:
        world, load = self.world, self.load
        per_s = FILL_PER_S_A_HOST * self._hosts
        for host in list(world.hosts.values()):
            host.start()
        world.run_for(3_000)
        load.fill(per_s)
        world.run_for(self._containers * 1_000 // per_s + 2_000)
        load.count_anew()
        seconds = SECONDS[self._row["hosts"]]
        self._until = world.loop.now + seconds * 1_000
        self._later(RESTART_MS[self._row["host churn"]], self._restart)
        self._later(FAILURE_MS[self._row["host failures"]], self._fail)
        self._scale(seconds * 1_000)
        world.run_for(seconds * 1_000)
        load.stop()
        world.heal()
        for _ in range(600):
            world.run_for(100)
            if world.converged and not world.open_requests:
                break
        world.finish()

    # ── what befalls the hosts ───────────────────────────────────────────────────────────────────

    def _later(self, mean_ms: int, what: Callable[[], None]) -> None:
        delay = 1 + self._rng.below(2 * mean_ms)
        if self.world.loop.now + delay < self._until:
            self.world.loop.after(delay, what)

    def _restart(self) -> None:
        """An operator restarts a host."""
        self._later(RESTART_MS[self._row["host churn"]], self._restart)
        host = self._rng.pick(self._names)
        if self.world.hosts[host].up:
            crash_for(self.world, host, 1_000)

    def _fail(self) -> None:
        """A host dies for a while, or is cut off from all others."""
        self._later(FAILURE_MS[self._row["host failures"]], self._fail)
        host = self._rng.pick(self._names)
        for_ms = 3_000 + self._rng.below(7_000)
        if self._rng.chance(500):
            if self.world.hosts[host].up:
                crash_for(self.world, host, for_ms)
            return
        for other in self.world.hosts:
            if other != host:
                self.world.cut(host, other)
                self.world.loop.after(for_ms, self._mend, host, other)

    def _mend(self, host: str, other: str) -> None:
        if not self.world.healing:
            self.world.mend(host, other)

    def _scale(self, for_ms: int) -> None:
        """Hosts join in the first half and stop in the second: one by one, or all at once."""
        kind, loop = self._row["host count"], self.world.loop
        if kind == "static":
            return
        for number, name in enumerate(self._more):
            share = number * 400 // len(self._more) if kind == "gradual" else 150
            loop.after(for_ms * share // 1_000, self._join, name)
            loop.after(for_ms * (500 + share) // 1_000, self._leave, name)

    def _join(self, name: str) -> None:
        self.world.add_host(name, "observer", self._names[:SEEDS]).start()
        self.load.add(name)

    def _leave(self, name: str) -> None:
        """It stops for good; what it owned stays its own until somebody removes it, which is a later function."""
        self.load.remove(name)
        self.world.hosts[name].wanted = False
        self.world.crash(name)


def round_bits(size: int) -> int:
    """The power of two that is nearest to `size`, by ratio; at least 8 addresses."""
    bits = max(3, size.bit_length() - 1)
    return bits + (size * size > 1 << (2 * bits + 1))
