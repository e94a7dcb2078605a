"""The small worlds that are explored: who owns what at the beginning, and what may happen there."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringipam.address import Cidr, parse_cidr
from ringipam.config import parse_init
from ringipam.core.events import Allocate, ClaimAddress, Prime, Verb
from ringipam.core.settings import Settings

NEVER_MS = 1_000_000_000
"""A period longer than any path through a world."""
PATIENCE_MS = 100_000
FIRST = parse_cidr("10.0.0.0/24").start


@dataclass(frozen=True, slots=True)
class LetGo:
    """The user of `id` releases the lease, by its number, that it was told of as its `nth`."""

    id: str
    nth: int = 0


@dataclass(frozen=True, slots=True)
class GoAway:
    """The caller of the request number `nth` of this host, which was for `id`, goes away before there is an answer."""

    id: str
    nth: int


Ask = Verb | LetGo | GoAway


@dataclass(frozen=True, slots=True)
class Part:
    """One peer: what it owns at first, and what its users ask, in this order, at any time."""

    owns: tuple[tuple[int, int], ...] = ()
    """Last numbers of addresses, half-open."""
    asks: tuple[Ask, ...] = ()
    waits: int = 0
    """How often on a path its time may pass."""
    ringless: bool = False


@dataclass(frozen=True, slots=True)
class World:
    """Everything that makes an exploration; equal worlds give equal results."""

    name: str
    about: str
    universe: Cidr
    parts: tuple[Part, ...]
    depth: int
    """How many steps are explored by default."""
    waits_ms: tuple[int, ...] = ()
    """By how much the clock of a peer may move on before it is woken."""
    crashes: int = 0
    """At most so many on a path, of all peers together; likewise the copies."""
    copies: int = 0
    crashing: tuple[int, ...] = ()
    """Whom crashes strike; everybody if empty."""
    requests: int | None = None
    """At most so many of the requests are asked on a path; None: all of them."""
    late_links: tuple[tuple[int, int], ...] = ()
    """Links that do not stand at first; every other pair is linked."""
    no_links: tuple[tuple[int, int], ...] = ()
    newcomers: tuple[int, ...] = ()
    """Peers of which two others must know durably before they possess anything (safety.md S4)."""
    times: dict[str, int] = field(default_factory=dict)
    """Settings other than never."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"h{place + 1}" for place in range(len(self.parts)))

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(f"{name}.{place + 1:012x}" for place, name in enumerate(self.names))


def allocate(holder: str) -> Allocate:
    return Allocate(holder, None, PATIENCE_MS)


def claim(holder: str, last: int, length: int) -> ClaimAddress:
    return ClaimAddress(holder, 4, FIRST + last, length, PATIENCE_MS)


WORLDS = (
    World(
        "grant",
        "two peers fill the last two addresses; crashes, copies, lost grants",
        parse_cidr("10.0.0.0/30"),
        (
            Part(owns=((0, 2),), asks=(allocate("a1"), allocate("a2")), waits=1),
            Part(owns=((2, 4),), asks=(allocate("b1"),), waits=1),
        ),
        depth=14,
        waits_ms=(1_000,),
        crashes=1,
        copies=1,
    ),
    World(
        "three-grants",
        "space moves on from peer to peer while one of them tells old news",
        parse_cidr("10.0.0.0/29"),
        (
            Part(owns=((0, 2),), asks=(allocate("a1"), allocate("a2")), waits=1),
            Part(owns=((2, 6),), asks=(allocate("b1"),)),
            Part(owns=((6, 8),), asks=(allocate("c1"), allocate("c2")), waits=1),
        ),
        depth=9,
        waits_ms=(2_000,),
        copies=1,
        times={"anti_entropy_ms": 2_000},
    ),
    World(
        "claim",
        "two peers claim each other's addresses while they are leased and released",
        parse_cidr("10.0.0.0/30"),
        (
            Part(owns=((0, 2),), asks=(claim("web", 2, 30), claim("web", 1, 30)), waits=1),
            Part(owns=((2, 4),), asks=(allocate("web"), LetGo("web"), claim("db", 1, 30)), waits=1),
        ),
        depth=13,
        waits_ms=(1_000,),
        crashes=1,
        copies=1,
    ),
    World(
        "release-and-move",
        "a released address is granted away and issued there; releases come late and twice",
        parse_cidr("10.0.0.0/30"),
        (
            Part(owns=((0, 4),), asks=(allocate("web"), LetGo("web"), allocate("web"), LetGo("web")), waits=1),
            Part(asks=(allocate("b1"), GoAway("b1", 0), allocate("b2"))),
        ),
        depth=13,
        waits_ms=(1_000,),
        crashes=1,
    ),
    World(
        "election",
        "three peers form a ring; acceptors crash",
        parse_cidr("10.0.0.0/29"),
        (
            Part(ringless=True, asks=(Prime(PATIENCE_MS),), waits=1),
            Part(ringless=True),
            Part(ringless=True, asks=(Prime(PATIENCE_MS),), waits=1),
        ),
        depth=11,
        waits_ms=(1_000,),
        crashes=1,
        times={"election_ms": 1_000},
    ),
    World(
        "newcomer",
        "a host without a ring joins through one member, is granted its first space, and that member crashes",
        parse_cidr("10.0.0.0/29"),
        (
            Part(owns=((0, 4),)),
            Part(owns=((4, 8),)),
            Part(ringless=True, asks=(allocate("new"),), waits=1),
        ),
        depth=14,
        waits_ms=(1_000,),
        crashes=1,
        late_links=((0, 2),),
        no_links=((1, 2),),
        newcomers=(2,),
    ),
)
BY_NAME = {world.name: world for world in WORLDS}


def settings(world: World, place: int) -> Settings:
    """What a peer of `world` is launched with: no timer of its own strikes on a path but those the world names."""
    part = world.parts[place]
    periods = {
        "probe_ms": NEVER_MS,
        "rumour_ms": NEVER_MS,
        "anti_entropy_ms": NEVER_MS,
        "housekeeping_ms": NEVER_MS,
        **world.times,
    }
    late = any(place in link for link in world.late_links)
    return Settings(
        peer=world.peers[place],
        universe=world.universe,
        subnet=world.universe,
        address=f"{world.names[place]}:6783",
        init=parse_init("observer" if part.ringless and late else f"consensus={len(world.parts)}", ()),
        **periods,
    )
