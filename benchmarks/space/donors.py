"""What hosts say to each other when all of them run out of a subnet in the same instant, in the simulator.

A request for space and its answer are counted once each, however many relays carry them; what the relays send is
counted besides. Safety is checked all the while: nothing is owned, leased or told twice, and every request is answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from ringipam.address import parse_cidr
from ringipam.core.events import Allocate, Leased
from ringipam.core.settings import name_of
from ringipam.messages import Denied, Envelope, Grant, Message, SpaceRequest
from sim.cluster import World
from sim.predict import light_checkers, percentiles
from sim.standing import standing

HOSTS = 100
SETTLED_MS = 15_000
LIMIT_MS = 120_000
STEP_MS = 100
FILL_STEP_MS = 500
TIMEOUT_MS = 60_000


@dataclass(frozen=True, slots=True)
class Rush:
    """Every host asks for `each` addresses at once."""

    name: str
    universe: str
    each: int
    subnet: str | None = None
    held: int = 0
    """So many containers run already on nine hosts in ten; the others own what is left."""


RUSHES = (
    Rush("a /24 that one host owns, 1 each", "10.32.0.0/12", 1, "10.32.0.0/24"),
    Rush("a /24 that one host owns, 2 each", "10.32.0.0/12", 2, "10.32.0.0/24"),
    Rush("a range of 2,048 that is full to 88 %, 1 each", "10.32.0.0/21", 1, held=20),
    Rush("a range of 2,048 that is full to 88 %, 2 each", "10.32.0.0/21", 2, held=20),
    Rush("a /24 that one host owns, 3 each: more than there is", "10.32.0.0/12", 3, "10.32.0.0/24"),
)


@dataclass(slots=True)
class Served:
    """What came of a rush."""

    name: str
    wanted: int
    leased: int = 0
    requests: int = 0
    """Asked by whoever wants space, for somebody who waits or ahead of need."""
    ahead: int = 0
    """Of these, ahead of need."""
    grants: int = 0
    denials: int = 0
    relayed: int = 0
    """Copies of all these that relays sent on."""
    by_host: list[int] = field(default_factory=list)
    """Requests of each host, sorted."""
    answer_ms: dict[str, int] = field(default_factory=dict)
    all_ms: int = 0
    """Until the last was answered."""
    later: int = 0
    """Requests in the 15 s after that."""

    @property
    def per_grant(self) -> float:
        """Requests for each block that was granted."""
        return self.requests / max(1, self.grants)

    @property
    def per_host(self) -> tuple[float, int]:
        """The median and the most."""
        return median(self.by_host), self.by_host[-1]


class Space:
    """Listens for requests and answers; each counts where it begins."""

    def __init__(self, world: World) -> None:
        self.frames = 0
        self.said: dict[tuple[str, str, int, str], bool] = {}
        """Kind, sender, number, whom it is for → whether somebody waits for it."""
        world.network.on_send = self._sent

    def count(self, kind: type) -> int:
        return sum(1 for name, *_ in self.said if name == kind.__name__)

    def _sent(self, source: str, target: str, message: Message, now: int, arrives: int | None) -> None:
        if not isinstance(message, Envelope) or not isinstance(message.body, SpaceRequest | Grant | Denied):
            return
        self.frames += 1
        body = message.body
        sender, receiver = name_of(message.origin) or source, name_of(message.target) or target
        urgent = not isinstance(body, SpaceRequest) or body.urgent
        self.said.setdefault((type(body).__name__, sender, body.number, receiver), urgent)


def rush(rush: Rush, hosts: int = HOSTS, seed: int = 1) -> Served:
    """Simulate it; raises Violation if an address is owned or leased twice, or a request is not answered."""
    world = standing(seed, hosts, rush.universe, checkers=light_checkers)
    names = list(world.hosts)
    world.run_for(SETTLED_MS)
    for number in range(rush.held):
        for host in names[hosts // 10 :]:
            world.ask(host, Allocate(f"held {host} {number}", None, TIMEOUT_MS))
        world.run_for(FILL_STEP_MS)
    if rush.held:
        world.run_for(SETTLED_MS)

    space = Space(world)
    subnet = parse_cidr(rush.subnet) if rush.subnet is not None else None
    begin = world.loop.now
    wanted = [world.ask(host, Allocate(f"c{n}", subnet, TIMEOUT_MS)) for n in range(rush.each) for host in names]
    while any(request.open for request in wanted) and world.loop.now < begin + LIMIT_MS:
        world.run_for(STEP_MS)
    answers = [request.answered_ms - begin for request in wanted if request.answered_ms is not None]
    served = Served(
        rush.name,
        len(wanted),
        leased=sum(isinstance(request.answer, Leased) for request in wanted),
        requests=space.count(SpaceRequest),
        ahead=sum(1 for (kind, *_), urgent in space.said.items() if kind == SpaceRequest.__name__ and not urgent),
        grants=space.count(Grant),
        denials=space.count(Denied),
        relayed=space.frames - len(space.said),
        by_host=_by_host(space, names),
        answer_ms=percentiles(answers),
        all_ms=max(answers),
    )
    world.run_for(SETTLED_MS)
    served.later = space.count(SpaceRequest) - served.requests
    return served


def rushes(hosts: int = HOSTS, chosen: Sequence[Rush] = RUSHES) -> list[Served]:
    return [rush(each, hosts) for each in chosen]


def _by_host(space: Space, names: Sequence[str]) -> list[int]:
    asked = Counter(sender for kind, sender, *_ in space.said if kind == SpaceRequest.__name__)
    return sorted(asked[name] for name in names)
