"""Faults as data: drawn from the seed before the run begins, so that a run can be repeated without some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from ringipam.core.durable import Change
from ringipam.core.rng import Rng
from sim.checkers import Checker
from sim.cluster import World
from sim.host import Host
from sim.network import CALM_DELAY_MS


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` strikes `hosts` at `at_ms` of simulated time, for `for_ms`, as hard as `strength` says."""

    at_ms: int
    kind: str
    hosts: tuple[str, ...]
    for_ms: int
    strength: int

    def as_json(self) -> dict[str, object]:
        return asdict(self)


Strike = Callable[[World, Fault], None]


def _split(world: World, fault: Fault) -> None:
    """The hosts named on one side, the rest on the other."""
    for one in fault.hosts:
        for other in world.hosts:
            if other not in fault.hosts:
                _cut(world, one, other, fault.for_ms)


def _isolate(world: World, fault: Fault) -> None:
    for other in world.hosts:
        if other != fault.hosts[0]:
            _cut(world, fault.hosts[0], other, fault.for_ms)


def _one_way(world: World, fault: Fault) -> None:
    for other in world.hosts:
        if other != fault.hosts[0]:
            _cut(world, fault.hosts[0], other, fault.for_ms, both=False)


def _pair(world: World, fault: Fault) -> None:
    """Two hosts lose sight of each other; the rest see both."""
    _cut(world, fault.hosts[0], fault.hosts[1], fault.for_ms)


def _flap(world: World, fault: Fault) -> None:
    for number in range(4):
        world.loop.after(number * fault.for_ms // 2, _cut, world, fault.hosts[0], fault.hosts[1], fault.for_ms // 4)


def _cut(world: World, one: str, other: str, for_ms: int, *, both: bool = True) -> None:
    world.cut(one, other, both=both)
    world.loop.after(for_ms, _mend, world, one, other, both)


def _mend(world: World, one: str, other: str, both: bool) -> None:
    world.disturbed()
    world.mend(one, other, both=both)


def _crash(world: World, fault: Fault) -> None:
    world.crash(fault.hosts[0])
    world.loop.after(fault.for_ms, world.restart, fault.hosts[0])


def _crash_mid_effects(world: World, fault: Fault) -> None:
    """The crash falls between two effects: behind a commit, before a send; or while recovering."""
    world.disturbed()
    world.hosts[fault.hosts[0]].crash_in = fault.strength
    world.loop.after(fault.for_ms, world.restart, fault.hosts[0])


def _crash_loop(world: World, fault: Fault) -> None:
    for number in range(4):
        again = Fault(0, "crash", fault.hosts, fault.for_ms // 12, fault.strength)
        world.loop.after(number * fault.for_ms // 4, _crash, world, again)


def _power_loss(world: World, fault: Fault) -> None:
    """All the hosts named go down in one instant."""
    for host in fault.hosts:
        _crash(world, Fault(0, "crash", (host,), fault.for_ms, fault.strength))


def _pause(world: World, fault: Fault) -> None:
    world.disturbed()
    world.hosts[fault.hosts[0]].paused_until = world.loop.now + min(fault.for_ms, 3_000)


def _disk_fails(world: World, fault: Fault) -> None:
    world.disturbed()
    disk = world.hosts[fault.hosts[0]].disk
    disk.failing = True
    world.loop.after(fault.for_ms, setattr, disk, "failing", False)


def _disk_slow(world: World, fault: Fault) -> None:
    world.disturbed()
    disk = world.hosts[fault.hosts[0]].disk
    disk.delay_ms = (5, 5 + fault.strength * 20)
    world.loop.after(fault.for_ms, setattr, disk, "delay_ms", (0, 3))


def _weather(world: World, fault: Fault) -> None:
    world.disturbed()
    attribute = {"loss": "loss", "copies": "copies", "disorder": "disorder"}[fault.kind]
    setattr(world.network.weather, attribute, fault.strength * 10)
    world.loop.after(fault.for_ms, setattr, world.network.weather, attribute, 0)


def _slow_link(world: World, fault: Fault) -> None:
    world.disturbed()
    world.network.slow(fault.hosts[0], fault.hosts[1], fault.strength * 40)
    world.loop.after(fault.for_ms, world.network.slow, fault.hosts[0], fault.hosts[1], 0)


def _slow_network(world: World, fault: Fault) -> None:
    """Every message takes long, so that what is normally over in a moment can be struck by other faults."""
    world.disturbed()
    world.network.weather.delay_ms = (10, 10 + fault.strength * 20)
    world.loop.after(fault.for_ms, setattr, world.network.weather, "delay_ms", CALM_DELAY_MS)


class _FounderTrap(Checker):
    """No property: it waits for the first host that has a ring on disk, and takes it away from the others."""

    def __init__(self, world: World, fault: Fault) -> None:
        super().__init__(world)
        self._fault = fault
        self._sprung = any(host.disk.durable.meta.get("cluster") for host in world.hosts.values())

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        if self._sprung or not host.disk.durable.meta.get("cluster"):
            return
        self._sprung = True
        _isolate(self.world, Fault(0, "isolate", (host.name,), self._fault.for_ms, self._fault.strength))
        if self._fault.strength >= FORGETFUL:
            others = tuple(name for name in self.world.hosts if name != host.name)
            _power_loss(self.world, Fault(0, "power-loss", others, 100, self._fault.strength))


def _isolate_founder(world: World, fault: Fault) -> None:
    """Whoever learns first that the ring is decided can tell nobody: the others must come to the same ring.

    From a strength of `FORGETFUL` on they also lose what they keep in memory only.
    """
    world.checkers.append(_FounderTrap(world, fault))


FORGETFUL = 15
BEGINNING_MS = 4_000
"""While the ring is formed: some seeds strike mostly then, as it happens only once."""

KINDS: dict[str, Strike] = {
    "split": _split,
    "isolate": _isolate,
    "isolate-founder": _isolate_founder,
    "one-way": _one_way,
    "pair": _pair,
    "flap": _flap,
    "crash": _crash,
    "crash-mid-effects": _crash_mid_effects,
    "crash-loop": _crash_loop,
    "power-loss": _power_loss,
    "pause": _pause,
    "disk-fails": _disk_fails,
    "disk-slow": _disk_slow,
    "loss": _weather,
    "copies": _weather,
    "disorder": _weather,
    "slow-link": _slow_link,
    "slow-network": _slow_network,
}


def draw(rng: Rng, wanted: str, hosts: Sequence[str], until_ms: int) -> list[Fault]:
    """The faults of one run. Swarm testing (Groce et al., ISSTA 2012): each seed has a subset of kinds, some all."""
    if wanted == "none":
        return []
    kinds = list(KINDS)
    if wanted == "swarm":
        kinds = kinds if rng.chance(150) else [kind for kind in kinds if rng.chance(350)]
    elif wanted != "all":
        kinds = wanted.split(",")
    if not kinds:
        return []
    early = rng.pick((0, 0, 300, 700))
    faults = []
    for _ in range(rng.between(2, 6 + 2 * len(hosts))):
        faults.append(
            Fault(
                at_ms=rng.below(min(BEGINNING_MS, until_ms) if rng.chance(early) else until_ms),
                kind=rng.pick(kinds),
                hosts=tuple(rng.shuffled(hosts)[: rng.between(2, max(2, len(hosts) // 2))]),
                for_ms=rng.between(50, 12_000),
                strength=rng.between(0, 30),
            )
        )
    return sorted(faults, key=lambda fault: fault.at_ms)


def schedule(world: World, faults: Sequence[Fault]) -> None:
    for fault in faults:
        world.loop.after(fault.at_ms, KINDS[fault.kind], world, fault)
