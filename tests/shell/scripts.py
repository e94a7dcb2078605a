"""A script of requests, cuts and restarts, in the simulator and in the shell, and all that is durable after each step.

Nothing in it hangs on chance: delays are nil, every step waits until all is quiet, and there are two hosts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import trio
from world import PORT, World, simulated

from ringipam.address import Cidr, parse_cidr
from ringipam.config import format_endpoint
from ringipam.core.durable import Stored
from ringipam.core.events import Allocate, Answer, ClaimAddress, Leased, LeaseList, Leases, Release, Verb
from ringipam.core.rng import Rng
from ringipam.errors import RingIpamError
from sim.cluster import World as SimulatedWorld

QUARANTINE_S = 5
STEP_MS = 4_137
"""Out of step with the times of the protocol, so that nothing is looked at in the moment that it changes."""
TIMEOUT_MS = 2_500
GIVEN = ("peer", "universe", "commit")
"""Facts that the runtime writes down and the simulator hands to its peers; and how many commits there were, which hosts
apart come to at times they draw."""


@dataclass(frozen=True)
class Ask:
    host: str
    verb: Verb


@dataclass(frozen=True)
class Crash:
    """Killed, and started again a second later."""

    host: str


@dataclass(frozen=True)
class Part:
    """The two hosts lose each other; they meet again at the next `Meet`."""


@dataclass(frozen=True)
class Meet:
    pass


Step = Ask | Crash | Part | Meet


@dataclass(frozen=True)
class Script:
    universe: str
    init: str
    hosts: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Course:
    """What a script leads to, without what each driver draws for itself: peer and cluster ids, lease numbers,
    how often it tried."""

    answers: list[object]
    disks: list[dict[str, dict[str, str]]]
    """After each step, every host's."""


def draw(seed: int) -> Script:
    """Two hosts, so that there is one donor and one path only."""
    rng = Rng(seed)
    universe = parse_cidr(rng.pick(("10.0.0.0/28", "10.0.0.0/27", "10.0.0.0/24", "fd00::/120")))
    hosts = ("h1", "h2")
    steps: list[Step] = []
    apart = False
    for number in range(rng.between(8, 16)):
        drawn = rng.below(1000)
        host = rng.pick(hosts)
        if drawn < 60:
            steps.append(Crash(host))
        elif drawn < 140:
            apart = not apart
            steps.append(Part() if apart else Meet())
        else:
            steps.append(Ask(host, _verb(rng, number, universe)))
    init = rng.pick(("consensus=2", f"seed={','.join(hosts)}"))
    return Script(str(universe), init, hosts, (*steps, *((Meet(),) if apart else ())))


def _verb(rng: Rng, number: int, universe: Cidr) -> Verb:
    drawn = rng.below(1000)
    known = f"c{rng.below(number + 1)}"
    if drawn < 550:
        start = universe.start + 8 * rng.below(2)
        subnet = None if rng.chance(500) else parse_cidr(f"{universe.text(start)}/{universe.bits - 3}")
        return Allocate(f"c{number}", subnet, TIMEOUT_MS)
    if drawn < 750:
        return Release(known)
    if drawn < 900:
        address = universe.start + rng.below(16)
        return ClaimAddress(f"c{number}", universe.family, address, universe.prefix_len, TIMEOUT_MS)
    return Leases(known)


# ── in the simulator ──────────────────────────────────────────────────────────────────────────────


def in_the_simulator(script: Script) -> Course:
    world = SimulatedWorld(
        hosts=script.hosts,
        universe=script.universe,
        init=script.init,
        quarantine_ms=1000 * QUARANTINE_S,
    )
    world.checkers = []  # theirs are other questions, and a script's cuts are no faults to them
    world.network.weather.delay_ms = (0, 0)
    for host in world.hosts.values():
        host.disk.delay_ms = (0, 0)
    names = {f"{name}:{PORT}": name for name in script.hosts}
    names |= {host.settings.peer: name for name, host in world.hosts.items()}
    world.run_for(STEP_MS)
    requests, disks = [], []
    for step in script.steps:
        match step:
            case Ask(name, verb):
                requests.append(world.ask(name, verb))
            case Crash(name):
                world.crash(name)
                world.run_for(1_000)
                world.restart(name)
            case Part():
                world.cut(*script.hosts)
            case Meet():
                world.mend(*script.hosts)
        world.run_for(STEP_MS)
        disks.append({name: state(host.disk.durable, names) for name, host in world.hosts.items()})
    return Course([comparable(request.answer) for request in requests], disks)


# ── in the shell ──────────────────────────────────────────────────────────────────────────────────


def in_the_shell(script: Script, seed: int) -> Course:
    async def main(nursery: trio.Nursery, directory: Path) -> Course:
        world = World(Rng(seed), len(script.hosts), script.universe, directory, nursery)
        world.network.delay_us = (0, 0)
        endpoints = {name: format_endpoint(host.address, PORT) for name, host in world.hosts.items()}
        for name, host in world.hosts.items():
            others = tuple(endpoint for other, endpoint in endpoints.items() if other != name)
            host.config = replace(host.config, init=script.init, peers=others, quarantine_s=QUARANTINE_S)
            world.start(name)
        return await _play(script, world)

    return simulated(seed, main)


async def _play(script: Script, world: World) -> Course:
    one, other = (world.hosts[name].address for name in script.hosts)
    await trio.sleep(STEP_MS / 1000)
    names = {format_endpoint(host.address, PORT): name for name, host in world.hosts.items()}
    names |= {host.disk.durable.meta["peer"]: name for name, host in world.hosts.items()}
    requests, disks = [], []
    for step in script.steps:
        match step:
            case Ask(name, verb):
                requests.append(world.ask(name, verb))
            case Crash(name):
                world.kill(name)
                await trio.sleep(1)
                world.start(name)
            case Part():
                world.network.cut(one, other, world.nursery)
                world.network.cut(other, one, world.nursery)
            case Meet():
                world.network.mend(one, other)
                world.network.mend(other, one)
        await trio.sleep(STEP_MS / 1000)
        disks.append({name: state(host.disk.durable, names) for name, host in world.hosts.items()})
    course = Course([comparable(request.answer) for request in requests], disks)
    for name in script.hosts:
        await world.end(name)
    await trio.sleep(STEP_MS / 1000)
    return course


# ── what both must agree on ───────────────────────────────────────────────────────────────────────


def comparable(answer: Answer) -> object:
    match answer:
        case Leased(lease, new):
            return "leased", lease.id, str(lease.interface), new
        case LeaseList(leases):
            return "leases", sorted((lease.id, str(lease.interface)) for lease in leases)
        case RingIpamError():
            return type(answer).__name__
        case _:
            return answer


def state(stored: Stored, names: dict[str, str]) -> dict[str, str]:
    """Every table as text, with the hosts' names in place of what stands for them."""
    tables = {
        "meta": sorted((key, value) for key, value in stored.meta.items() if key not in GIVEN),
        "tokens": sorted(stored.tokens.items()),
        "leases": sorted((lease.id, lease.interface, str(lease.since)) for lease in stored.leases.values()),
        "quarantine": sorted(stored.quarantine.items()),
        "members": sorted(stored.members.items()),
        "acceptor": stored.acceptor,
        "answered": sorted(stored.answered.items()),
        "conflicts": sorted(stored.conflicts),
        "pledges": sorted(stored.pledges.items()),
        "rounds": sorted(stored.rounds.items()),
        "suspended": sorted(stored.suspended.items()),
    }
    known = {**names, stored.meta.get("cluster", "no cluster"): "CLUSTER"}
    return {table: _renamed(repr(rows), known) for table, rows in tables.items()}


def _renamed(text: str, names: dict[str, str]) -> str:
    for known, name in names.items():
        text = text.replace(known, name)
    return re.sub(r"round=\d+", "round=ANY", text)  # hosts apart try again at times they draw
