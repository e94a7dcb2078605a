"""Histories that hurt weave's users, as named scenarios: each is played with all checkers on, and must end well.

What a scenario would need of a later version is said in `lacks`; nothing here pretends to have it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from ringipam.core.events import Allocate, Leased, Verb
from ringipam.errors import NoSpaceError, RequestError, RequestTimeoutError
from ringipam.messages import Envelope, Grant, Message, SpaceRequest
from ringipam.ring.ring import Ring
from sim.checkers import Violation
from sim.cluster import Request, World
from sim.faults import KINDS, Fault
from sim.load import Load, Pace

TIMEOUT_MS = 10_000
TOKENS_A_HOST = 10
"""A ring that has shrunk again has at most so many."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario came to; one that broke a property or its own promise raises Violation instead."""

    name: str
    hosts: int
    requests: int
    leased: int
    refused: int
    longest_ms: int
    """The longest that a request waited for its answer."""
    messages: int
    simulated_s: int
    found: str

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    does: str
    history: str
    """Where it happened."""
    play: Callable[[int], tuple[World, str]]
    """From a seed: the world at its end, and what was found in it."""
    lacks: str = ""
    slow: bool = False


def play(scenario: Scenario, seed: int = 1) -> Outcome:
    """Raises Violation."""
    world, found = scenario.play(seed)
    answered = [r for r in world.requests.values() if r.answered_ms is not None and isinstance(r.verb, Allocate)]
    leased = sum(isinstance(request.answer, Leased) for request in answered)
    longest = max((r.answered_ms - r.asked_ms for r in answered if r.answered_ms is not None), default=0)
    return Outcome(
        scenario.name,
        len(world.hosts),
        len(world.requests),
        leased,
        len(answered) - leased,
        longest,
        world.network.messages,
        world.elapsed_ms // 1_000,
        found,
    )


# ── the scenarios ─────────────────────────────────────────────────────────────────────────────────


def _rolling_restart(seed: int) -> tuple[World, str]:
    world = World(seed, 6, "10.0.0.0/22", "consensus=6")
    load = Load(world, Pace(20, 300))
    load.fill(50)
    world.run_for(15_000)
    for name in [*world.hosts, *world.hosts]:
        world.crash(name)
        world.run_for(1_500)
        world.restart(name)
        world.run_for(5_000)
    load.stop()
    world.heal()
    _come_together(world)
    members = {host.settings.peer for host in world.hosts.values()}
    owners = _owners(world)
    _expect(set(owners) == members, f"the ring belongs to {sorted(owners)}, the hosts are {sorted(members)}")
    _all_leased(world, [_ask(world, name, f"after-{name}") for name in world.hosts])
    _come_together(world)
    world.finish()
    return world, f"{load.tally.lost} starts lost with their host, none refused for good; same owners as before"


def _autoscaling(seed: int) -> tuple[World, str]:
    first, more = 62, 40
    names = [f"h{number}" for number in range(1, first + more + 1)]
    world = World(
        seed,
        names[:first],
        "10.32.0.0/18",
        lambda name: "consensus=3" if name in names[:3] else "observer",
        dial=lambda name: [peer for peer in names[:3] if peer != name],
    )
    load = Load(world, Pace(10, 500, uneven=False))
    load.fill(100)
    world.run_for(15_000)
    for name in names[first:]:
        world.add_host(name, "observer", names[:3]).start()
        load.add(name)
        world.run_for(250)
    world.run_for(15_000)
    held = sum(_owners(world).get(world.hosts[name].settings.peer, 0) for name in names[first:])
    _expect(held > 0, "the new hosts never got any space")
    for name in names[first:]:
        load.remove(name)
        world.hosts[name].wanted = False
        world.crash(name)
        world.run_for(250)
    world.run_for(10_000)
    load.stop()
    world.heal()
    _come_together(world)
    _all_leased(world, [_ask(world, name, f"after-{name}") for name in names[:first]])
    _come_together(world)
    owners = _owners(world)
    gone = sum(owners.get(world.hosts[name].settings.peer, 0) for name in names[first:])
    _expect(gone > 0, "what the stopped hosts owned went to others, though nobody removed them")
    tokens = len(owners), len(_ring(world))
    _expect(tokens[1] <= TOKENS_A_HOST * tokens[0], f"a ring of {tokens[0]} owners has {tokens[1]} tokens")
    world.finish()
    return world, f"the 40 stopped hosts keep {gone} of {world.universe.size} addresses; rings are equal"


def _all_at_once(seed: int) -> tuple[World, str]:
    hosts = 60
    world = World(seed, hosts, "10.32.0.0/16", f"consensus={hosts}", start=False)
    for host in world.hosts.values():
        host.start()
    requests = [_ask(world, name, f"first-{name}", 20_000) for name in world.hosts]
    _all_leased(world, requests)
    _come_together(world)
    owners = _owners(world)
    _expect(len(owners) == hosts, f"{hosts - len(owners)} of {hosts} hosts own nothing")
    world.heal()
    world.finish()
    least, most = min(owners.values()), max(owners.values())
    return world, f"one ring, shares of {least} to {most} addresses"


def _owner_of_all_dies(seed: int) -> tuple[World, str]:
    names = [f"h{number}" for number in range(1, 6)]
    world = World(seed, names, "10.0.0.0/22", lambda name: "alone" if name == "h1" else "observer")
    others = names[1:]
    _all_leased(world, [_ask(world, name, f"before-{name}") for name in names])
    _come_together(world)
    world.run_for(5_000)
    held = {name: _owners(world).get(world.hosts[name].settings.peer, 0) for name in others}
    world.crash("h1")
    asked = [_ask(world, name, f"alone-{number}-{name}") for name in others for number in range(held[name] + 5)]
    _answer(world, asked)
    refused = [request for request in asked if not isinstance(request.answer, Leased)]
    untrue = [r.answer for r in refused if not isinstance(r.answer, NoSpaceError | RequestTimeoutError)]
    _expect(bool(refused) and not untrue, f"without their donor they were told {untrue or 'nothing wrong'}")
    unnamed = [r.answer for r in refused if "h1" not in str(r.answer)]
    _expect(not unnamed, f"an error does not say who has the space: {unnamed[:1]}")
    world.restart("h1")
    world.heal()
    _come_together(world)
    world.run_for(16_000)
    _all_leased(world, [_ask(world, name, f"again-{number}-{name}") for name in names for number in range(20)])
    _come_together(world)
    world.finish()
    longest = max(r.answered_ms - r.asked_ms for r in refused if r.answered_ms is not None)
    return world, f"{len(refused)} true errors after at most {longest} ms, each naming h1; all served when it is back"


MOMENTS = ("crash-giving", "crash-committing", "crash-given", "crash-at-grant", "crash-after-grant")
"""From before a grant is on its way to the disk, to just behind its sending."""


def _donor_dies(kind: str, seed: int) -> tuple[World, str]:
    world = World(seed, 3, "10.0.0.0/26", "consensus=3")
    _all_leased(world, [_ask(world, "h1", "first")])
    _come_together(world)
    world.run_for(1_000)
    KINDS[kind].strike(world, Fault(0, kind, tuple(world.hosts), 3_000, 0))
    asked = [_ask(world, "h2", f"c{number}", 20_000) for number in range(30)]
    _answer(world, asked)
    world.run_for(5_000)
    _expect(world.marks.get(f"fault {kind}", 0) == 1, "no donor died")
    world.heal()
    _come_together(world)
    _all_leased(world, asked)
    world.finish()
    return world, "the asker got its addresses, none is lost and none is owned twice"


WORKERS = 3
"""So many on each host ask at once, again and again."""
REQUESTS_A_BLOCK = 4
"""So many requests for space a granted block may cost, besides those that are denied because the subnet is full."""
FULL_ROUNDS = 2
"""So often each host may ask each other before it tells its callers that there is no space."""


def _last_address(seed: int) -> tuple[World, str]:
    founders = ("h1", "h2")
    world = World(seed, 20, "10.0.0.0/24", lambda name: "consensus=2" if name in founders else "observer")
    sizes = {SpaceRequest: 0, Grant: 0}

    def count(source: str, target: str, message: Message, now: int, arrives: int | None) -> None:
        kind = type(message.body) if isinstance(message, Envelope) else None
        if kind in (SpaceRequest, Grant):
            sizes[kind] += 1

    world.network.on_send = count
    _all_leased(world, [_ask(world, "h1", "first")])
    _come_together(world)
    world.run_for(16_000)
    open_workers = {f"{name}-{worker}" for name in world.hosts for worker in range(WORKERS)}
    numbers = dict.fromkeys(open_workers, 0)

    def answered(request: Request) -> None:
        assert isinstance(request.verb, Allocate)
        worker = request.verb.id.rpartition("-")[0]
        if isinstance(request.answer, Leased):
            hunt(worker)
        else:
            open_workers.discard(worker)
            _expect(isinstance(request.answer, NoSpaceError), f"the full subnet was told as {request.answer!r}")

    def hunt(worker: str) -> None:
        numbers[worker] += 1
        _ask(world, worker.partition("-")[0], f"{worker}-{numbers[worker]}", 30_000)

    world.listeners.append(answered)
    for worker in sorted(open_workers):
        hunt(worker)
    _expect(world.run_until(lambda: not open_workers, 120_000), f"{len(open_workers)} workers wait for ever")
    world.listeners.remove(answered)
    leases = sum(len(host.peer.leases) for host in world.hosts.values() if host.peer is not None)
    _expect(leases == 254, f"{leases} of the 254 addresses of the subnet were used when the first errors came")
    before = dict(sizes)
    _come_together(world)
    refused = _answer(world, [_ask(world, name, f"late-{name}") for name in world.hosts])
    _expect(all(isinstance(answer, NoSpaceError) for answer in refused), f"a full subnet is told as {refused}")
    allowed = REQUESTS_A_BLOCK * before[Grant] + FULL_ROUNDS * 20 * 19
    _expect(before[SpaceRequest] <= allowed, f"{before[SpaceRequest]} requests for {before[Grant]} granted blocks")
    world.heal()
    world.finish()
    found = f"all 254 addresses used; {before[SpaceRequest]} requests for space, {before[Grant]} blocks granted"
    return world, found


SCENARIOS: Sequence[Scenario] = (
    Scenario(
        "rolling-restart",
        "6 hosts under load restart one after another, twice",
        "weave #894, #1593, #1638, #1875: the ring was left to identities that no longer existed",
        _rolling_restart,
    ),
    Scenario(
        "autoscaling",
        "62 hosts; 40 more join as observers; these 40 stop; all the while 10 starts and stops a second",
        "weave #3310, #3165, #3677, #3659: rings that contradict each other after scaling up and down",
        _autoscaling,
        lacks="`leave`: the space of the 40 stays theirs, and would go to the others if they left",
        slow=True,
    ),
    Scenario(
        "all-at-once",
        "60 hosts start in the same millisecond, and a container on each",
        "weave #1962 and the thundering herd of a rack that gets power again",
        _all_at_once,
        slow=True,
    ),
    Scenario(
        "owner-of-all-dies",
        "one host has nearly all of the range and dies; the others use up what they have; it comes back",
        "weave smoke test 335",
        _owner_of_all_dies,
        lacks="removal: if it did not come back, an administrator would have to remove it",
    ),
    *(
        Scenario(
            f"donor-{kind}",
            f"one host asks for space, and {KINDS[kind].does}",
            "weave #2344, #678: a ring that was told to others and not kept",
            partial(_donor_dies, kind),
        )
        for kind in MOMENTS
    ),
    Scenario(
        "last-address",
        "20 hosts fill one subnet to the last address, three requests on each at a time",
        "weave #2083, #1463: askers went round in circles, or were told of space that was not there",
        _last_address,
    ),
)


# ── helpers ───────────────────────────────────────────────────────────────────────────────────────


def _expect(condition: bool, text: str) -> None:
    if not condition:
        raise Violation("Scenario", text)


def _ask(world: World, host: str, holder: str, timeout_ms: int = TIMEOUT_MS) -> Request:
    verb: Verb = Allocate(holder, None, timeout_ms)
    return world.ask(host, verb)


def _answer(world: World, requests: Sequence[Request]) -> list[object]:
    """Run on until all of them are answered or lost; their answers."""
    _expect(world.run_until(lambda: not any(r.open for r in requests), 60_000), "a request was never answered")
    return [request.answer for request in requests]


def _all_leased(world: World, requests: Sequence[Request]) -> None:
    for answer in _answer(world, requests):
        _expect(isinstance(answer, Leased), f"an address was refused: {answer}")


def _come_together(world: World) -> None:
    _expect(_soon(world, lambda: world.converged, 60_000), "the rings differ for a minute")


def _soon(world: World, condition: Callable[[], bool], limit_ms: int) -> bool:
    """Looks every 100 ms, as the condition may be costly."""
    until = world.loop.now + limit_ms
    while not condition():
        if world.loop.now >= until:
            return False
        world.run_for(100)
    return True


def _owners(world: World) -> dict[str, int]:
    """How many addresses each peer owns, as the first host's ring says."""
    return {owner: size for owner, size in _ring(world).owners().items() if owner}


def _ring(world: World) -> Ring:
    peer = world.members()[0].peer
    assert peer is not None
    assert peer.ring is not None
    return peer.ring


# ── the command ───────────────────────────────────────────────────────────────────────────────────


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    names = [scenario.name for scenario in SCENARIOS]
    parser = commands.add_parser("scenarios", help="histories that hurt weave's users, played with all checkers")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(names)}; all if none is named")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the outcomes as one JSON object")
    parser.set_defaults(do=_play_all)


def _play_all(options: argparse.Namespace) -> int:
    """Exit status: 0 all ended well, 1 one did not."""
    unknown = [name for name in options.names if name not in [scenario.name for scenario in SCENARIOS]]
    if unknown:
        raise RequestError(f"there is no scenario {', '.join(unknown)}")
    chosen = [scenario for scenario in SCENARIOS if not options.names or scenario.name in options.names]
    outcomes: list[Outcome] = []
    failed: dict[str, str] = {}
    if not options.json:
        print(f"{'scenario':24} {'hosts':>5} {'leased':>6} {'refused':>7} {'longest':>9} {'messages':>8}  outcome")
    for scenario in chosen:
        try:
            outcome = play(scenario, options.seed)
        except Violation as error:
            failed[scenario.name] = str(error)
            if not options.json:
                print(f"{scenario.name:24} violation: {error}", flush=True)
            continue
        outcomes.append(outcome)
        if not options.json:
            print(
                f"{outcome.name:24} {outcome.hosts:5} {outcome.leased:6} {outcome.refused:7} {outcome.longest_ms:6} ms"
                f" {outcome.messages:8}  {outcome.found}",
                flush=True,
            )
    if options.json:
        print(json.dumps({"outcomes": [outcome.as_json() for outcome in outcomes], "failed": failed}))
    else:
        for scenario in chosen:
            if scenario.lacks:
                print(f"not there yet, for {scenario.name}: {scenario.lacks}")
    return 1 if failed else 0
