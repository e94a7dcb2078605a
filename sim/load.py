"""What an orchestrator does all day: it starts containers on hosts and stops them, at a steady rate."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringipam.core.events import Allocate, Leased, Release
from ringipam.core.rng import Rng
from sim.checkers import Checker
from sim.cluster import Request, World
from sim.host import Host

BUSY_SHARE = 20
"""Where work is uneven, one host in so many gets most of it."""
BUSY_STARTS = 800
"""Per mille of the starts that the busy hosts get."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`per_s` starts a second, and as many stops once `containers` run."""

    per_s: int
    containers: int
    uneven: bool = True
    """A twentieth of the hosts, at least one, gets four fifths of the starts."""
    shift_ms: int = 0
    """So often other hosts become the busy ones; 0: never."""
    timeout_ms: int = 10_000


@dataclass(slots=True)
class Tally:
    """What came of the starts since it was begun."""

    starts: int = 0
    answers_ms: list[int] = field(default_factory=list)
    waited_ms: list[int] = field(default_factory=list)
    """Of the answers that came from or waited for other hosts."""
    refused: int = 0
    lost: int = 0


class Load(Checker):
    """No property: it asks hosts that are up, as an orchestrator would, and clears up what a crash left unclear."""

    def __init__(self, world: World, pace: Pace) -> None:
        super().__init__(world)
        self.pace = pace
        self.tally = Tally()
        self.hosts = list(world.hosts)
        self.running: list[tuple[str, str]] = []
        self._rng: Rng = world.stream("load")
        self._order = self._rng.shuffled(self.hosts)
        self._starting: dict[str, dict[str, None]] = {}  # host → ids
        self._unclear: dict[str, list[str]] = {}
        self._count = 0
        self._on = False
        self._filling = False
        self._next_us = 0
        world.watch(self)
        if pace.shift_ms:
            world.loop.after(pace.shift_ms, self._shift)

    # ── on and off ───────────────────────────────────────────────────────────────────────────────

    def fill(self, per_s: int) -> None:
        """Start containers, as many on each host, until they are as many as there should be; then go on as usual."""
        self._on = True
        self._filling = True
        self._next_us = self.world.loop.now * 1_000
        self._tick(per_s)

    def stop(self) -> None:
        self._on = False

    def add(self, host: str) -> None:
        """From now on containers are started there too."""
        self.hosts.append(host)
        self._order.append(host)

    def remove(self, host: str) -> None:
        """No container is started or stopped there any more."""
        self.hosts.remove(host)
        self._order.remove(host)
        self.running = [each for each in self.running if each[0] != host]

    def count_anew(self) -> Tally:
        """The tally up to now; the next one begins."""
        before, self.tally = self.tally, Tally()
        return before

    def _shift(self) -> None:
        self._order = self._rng.shuffled(self.hosts)
        self.world.loop.after(self.pace.shift_ms, self._shift)

    def _tick(self, per_s: int) -> None:
        if not self._on:
            return
        full = len(self.running) >= self.pace.containers
        self._filling = self._filling and not full
        rate = self.pace.per_s if full else per_s
        self._next_us += self._rng.between(0, 2_000_000 // rate)
        self.world.loop.at(self._next_us // 1_000, self._tick, rate)
        self._start_one()
        if full:
            self._stop_one()

    # ── starts and stops ─────────────────────────────────────────────────────────────────────────

    def _start_one(self) -> None:
        host = self._pick()
        if not self.world.hosts[host].up:
            return
        self._count += 1
        holder = f"c{self._count}"
        self._starting.setdefault(host, {})[holder] = None
        self.tally.starts += 1
        self.world.ask(host, Allocate(holder, None, self.pace.timeout_ms))

    def _pick(self) -> str:
        if self._filling or not self.pace.uneven:
            return self._rng.pick(self.hosts)
        busy = max(1, len(self._order) // BUSY_SHARE)
        first, last = (0, busy) if self._rng.chance(BUSY_STARTS) else (busy, len(self._order))
        return self._order[first + self._rng.below(last - first)] if last > first else self._order[0]

    def _stop_one(self) -> None:
        running = self.running
        chosen = self._rng.below(len(running))
        host, holder = running[chosen]
        if self.world.hosts[host].up:
            running[chosen] = running[-1]
            running.pop()
            self.world.ask(host, Release(holder))

    # ── what comes of them ───────────────────────────────────────────────────────────────────────

    def answered(self, request: Request) -> None:
        if not isinstance(request.verb, Allocate):
            return
        mine = self._starting.get(request.host, {})
        if request.verb.id not in mine:
            return
        del mine[request.verb.id]
        assert request.answered_ms is not None
        took = request.answered_ms - request.asked_ms
        self.tally.answers_ms.append(took)
        if request.waited:
            self.tally.waited_ms.append(took)
        if isinstance(request.answer, Leased):
            self.running.append((request.host, request.verb.id))
        else:
            self.tally.refused += 1

    def crashed(self, host: Host) -> None:
        lost = self._starting.pop(host.name, {})
        self.tally.lost += len(lost)
        self._unclear.setdefault(host.name, []).extend(lost)

    def restarted(self, host: Host) -> None:
        self.world.loop.after(1, self._clear, host)

    def _clear(self, host: Host) -> None:
        """Whatever was started when the host crashed is stopped, should it have come true."""
        if host.up:
            for holder in self._unclear.pop(host.name, []):
                self.world.ask(host.name, Release(holder))
