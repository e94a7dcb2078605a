"""The small worlds that are explored: who owns what at the beginning, and what may happen there."""

from __future__ import annotations

from dataclasses import dataclass

from ringipam.address import Cidr, parse_cidr
from ringipam.config import parse_init
from ringipam.core.events import Allocate, ClaimAddress, Leave, Prime, Verb
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


@dataclass(frozen=True, slots=True)
class RemoveDead:
    """An operator removes all who are dead at that moment, once there are so many."""

    at_least: int = 1


Ask = Verb | LetGo | GoAway | RemoveDead


@dataclass(frozen=True, slots=True)
class Part:
    """One peer: what it owns at first, and what its users ask, in this order, at any time."""

    owns: tuple[tuple[int, int], ...] = ()
    """Last numbers of addresses, half-open."""
    asks: tuple[Ask, ...] = ()
    waits: int = 0
    """How often on a path its time may pass."""
    ringless: bool = False
    dead: bool = False
    """It owned something, and was gone for good before anything else happened; all the others know."""
    dies: bool = False
    """It may stop for good; all the others notice at once."""


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
    opening: tuple[int, ...] = ()
    """Whose next request was put, one after the other, before anything else: what came of it is on its way."""
    late_links: tuple[tuple[int, int], ...] = ()
    """Links that do not stand at first; every other pair is linked."""
    no_links: tuple[tuple[int, int], ...] = ()
    quick_disks: bool = False
    """Commits take no time: fewer orders of events, so that longer ways are explored."""
    deaths: int = 0
    """At most so many of those that may die do."""
    newcomers: tuple[int, ...] = ()
    """Peers of which two others must know durably before they possess anything (safety.md S4)."""
    anti_entropy_ms: int = NEVER_MS
    election_ms: int = 1_000
    ends_well: bool = False
    """Wherever all is quiet: if nothing more happens, removals end, and no address is stranded."""

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


REMOVE = RemoveDead()
LEAVE = Leave(PATIENCE_MS)
RETRY_MS = 4_000
"""Whatever a removal or a leaver waits for before it tries again is over by then."""

TWO = parse_cidr("10.0.0.0/30")
"""Two addresses to issue, .1 and .2."""
SIX = parse_cidr("10.0.0.0/29")

WORLDS = (
    World(
        "grant",
        "two peers with one address each want three; one of them crashes, messages come twice",
        TWO,
        (
            Part(owns=((0, 2),), asks=(allocate("a1"), allocate("a2"))),
            Part(owns=((2, 4),), asks=(allocate("b1"),)),
        ),
        depth=40,
        crashes=1,
        copies=1,
    ),
    World(
        "lost-grant",
        "the same two lose patience and ask again",
        TWO,
        (
            Part(owns=((0, 2),), asks=(allocate("a1"), allocate("a2")), waits=2),
            Part(owns=((2, 4),), asks=(allocate("b1"),), waits=1),
        ),
        depth=40,
        waits_ms=(1_000,),
        copies=1,
    ),
    World(
        "claim",
        "two peers claim each other's addresses while they are leased and released",
        TWO,
        (
            Part(owns=((0, 2),), asks=(claim("web", 2, 30), claim("web", 1, 30)), waits=1),
            Part(owns=((2, 4),), asks=(allocate("web"), LetGo("web"), claim("db", 1, 30)), waits=1),
        ),
        depth=40,
        waits_ms=(1_000,),
        copies=1,
    ),
    World(
        "claim-and-crash",
        "the same, and one of them crashes",
        TWO,
        (
            Part(owns=((0, 2),), asks=(claim("web", 2, 30),)),
            Part(owns=((2, 4),), asks=(allocate("web"), LetGo("web"))),
        ),
        depth=40,
        crashes=1,
        copies=1,
    ),
    World(
        "release-and-move",
        "a released address is granted away and issued there; a release comes late, callers go away",
        TWO,
        (
            Part(owns=((0, 4),), asks=(allocate("web"), LetGo("web"), allocate("web"), LetGo("web"))),
            Part(asks=(allocate("b1"), GoAway("b1", 0), allocate("b2"))),
        ),
        depth=40,
        copies=1,
    ),
    World(
        "restart-and-move",
        "the same, and one of them crashes",
        TWO,
        (
            Part(owns=((0, 4),), asks=(allocate("web"), LetGo("web"), allocate("web"))),
            Part(asks=(allocate("b1"),)),
        ),
        depth=40,
        crashes=1,
    ),
    World(
        "three-grants",
        "space moves on from peer to peer while one of them tells old news",
        SIX,
        (
            Part(owns=((0, 2),), asks=(allocate("a1"), allocate("a2"))),
            Part(owns=((2, 6),), asks=(allocate("b1"),)),
            Part(owns=((6, 8),), waits=1),
        ),
        depth=40,
        waits_ms=(2_000,),
        anti_entropy_ms=2_000,
    ),
    World(
        "square",
        "of four peers in a square, one asks the opposite one for space: its neighbours both pass on what is said",
        SIX,
        (
            Part(owns=((0, 2),), asks=(allocate("a1"), allocate("a2")), waits=1),
            Part(owns=((2, 3),)),
            Part(owns=((3, 6),), asks=(allocate("c1"),)),
            Part(owns=((6, 8),)),
        ),
        depth=40,
        waits_ms=(1_000,),
        no_links=((0, 2), (1, 3)),
    ),
    World(
        "election",
        "three peers form a ring; two begin at once",
        SIX,
        (
            Part(ringless=True, asks=(Prime(PATIENCE_MS),), waits=2),
            Part(ringless=True),
            Part(ringless=True, asks=(Prime(PATIENCE_MS),), waits=2),
        ),
        depth=20,
        waits_ms=(1_000,),
    ),
    World(
        "election-in-a-line",
        "two that do not see each other are both elected by the one between them, which crashes",
        SIX,
        (
            Part(ringless=True, asks=(Prime(PATIENCE_MS),), waits=2),
            Part(ringless=True),
            Part(ringless=True, asks=(Prime(PATIENCE_MS),), waits=2),
        ),
        depth=23,
        waits_ms=(1_000,),
        crashes=1,
        crashing=(1,),
        no_links=((0, 2),),
    ),
    World(
        "newcomer",
        "a host without a ring joins through one member and is granted its first space",
        SIX,
        (
            Part(owns=((0, 4),)),
            Part(owns=((4, 8),)),
            Part(ringless=True, asks=(allocate("new"),), waits=1),
        ),
        depth=17,
        waits_ms=(1_000,),
        late_links=((0, 2),),
        no_links=((1, 2),),
        newcomers=(2,),
    ),
    World(
        "lost-sponsor",
        "the same, and that member crashes",
        SIX,
        (
            Part(owns=((0, 4),)),
            Part(owns=((4, 8),)),
            Part(ringless=True, asks=(allocate("new"),)),
        ),
        depth=20,
        crashes=1,
        crashing=(0,),
        late_links=((0, 2),),
        no_links=((1, 2),),
        newcomers=(2,),
    ),
    World(
        "removal",
        "the owner of all is dead; two remove it at the same moment",
        TWO,
        (
            Part(asks=(REMOVE,), waits=1),
            Part(asks=(REMOVE,), waits=1),
            Part(owns=((0, 4),), dead=True),
        ),
        depth=40,
        waits_ms=(RETRY_MS,),
        ends_well=True,
    ),
    World(
        "removal-and-crash",
        "the same, and one of them crashes",
        TWO,
        (
            Part(asks=(REMOVE,), waits=1),
            Part(asks=(REMOVE,)),
            Part(owns=((0, 4),), dead=True),
        ),
        depth=14,
        waits_ms=(RETRY_MS,),
        crashes=1,
        ends_well=True,
    ),
    World(
        "removal-among-three",
        "the same with a third member, that promises one of them; one of the three crashes",
        TWO,
        (
            Part(asks=(REMOVE,), waits=1),
            Part(asks=(REMOVE,)),
            Part(),
            Part(owns=((0, 4),), dead=True),
        ),
        depth=8,
        waits_ms=(RETRY_MS,),
        crashes=1,
        quick_disks=True,
        ends_well=True,
    ),
    World(
        "removal-upon-removal",
        "a coordinator dies, perhaps with a grant from its takeover on its way over a relay; then both are removed",
        TWO,
        (
            Part(owns=((0, 2),), asks=(claim("a1", 1, 30), REMOVE), dies=True),
            Part(owns=((3, 4),), asks=(allocate("b1"), RemoveDead(at_least=2))),
            Part(),
            Part(owns=((2, 3),), dead=True),
        ),
        depth=22,
        opening=(0, 0, 1),
        deaths=1,
        no_links=((0, 1),),
        quick_disks=True,
        ends_well=True,
    ),
    World(
        "three-coordinators",
        "of three that remove the dead, one after the other dies",
        TWO,
        (
            Part(asks=(REMOVE,), dies=True),
            Part(asks=(REMOVE,), dies=True),
            Part(asks=(REMOVE,)),
            Part(owns=((0, 4),), dead=True),
        ),
        depth=40,
        deaths=2,
        ends_well=True,
    ),
    World(
        "late-grant",
        "the owner dies, and what it granted is on its way over a relay while it is removed; the new owner crashes",
        TWO,
        (
            Part(asks=(REMOVE,)),
            Part(asks=(allocate("b1"),)),
            Part(owns=((0, 4),), dies=True),
        ),
        depth=40,
        crashes=1,
        crashing=(1,),
        deaths=1,
        no_links=((1, 2),),
        ends_well=True,
    ),
    World(
        "late-grant-known",
        "the same, and whoever removes the owner has heard from it whose the address is",
        TWO,
        (
            Part(asks=(claim("a1", 2, 30), GoAway("a1", 0), REMOVE)),
            Part(asks=(claim("b1", 2, 30),)),
            Part(owns=((0, 4),), dies=True),
        ),
        depth=40,
        opening=(0, 1, 0),
        deaths=1,
        no_links=((1, 2),),
        quick_disks=True,
        ends_well=True,
    ),
    World(
        "leave",
        "a host leaves while space is granted to it; when it has left it is no more",
        TWO,
        (
            Part(owns=((0, 2),), asks=(claim("a1", 2, 30), GoAway("a1", 0), LEAVE), dies=True),
            Part(owns=((2, 4),)),
        ),
        depth=40,
        deaths=1,
        ends_well=True,
    ),
    World(
        "leave-and-crash",
        "the same, and one of them crashes",
        TWO,
        (
            Part(owns=((0, 2),), asks=(claim("a1", 2, 30), GoAway("a1", 0), LEAVE), waits=1),
            Part(owns=((2, 4),)),
        ),
        depth=10,
        waits_ms=(RETRY_MS,),
        crashes=1,
        ends_well=True,
    ),
    World(
        "two-leave",
        "of three hosts two leave at once",
        TWO,
        (
            Part(owns=((0, 2),), asks=(LEAVE,), waits=1),
            Part(owns=((2, 4),), asks=(LEAVE,), waits=1),
            Part(),
        ),
        depth=9,
        waits_ms=(RETRY_MS,),
        quick_disks=True,
        ends_well=True,
    ),
)
BY_NAME = {world.name: world for world in WORLDS}


def settings(world: World, place: int) -> Settings:
    """What a peer of `world` is launched with: no timer of its own strikes on a path but those the world names."""
    late = any(place in link for link in world.late_links)
    observer = late and world.parts[place].ringless
    return Settings(
        peer=world.peers[place],
        universe=world.universe,
        subnet=world.universe,
        address=f"{world.names[place]}:6783",
        init=parse_init("observer" if observer else f"consensus={len(world.parts)}", ()),
        probe_ms=NEVER_MS,
        rumour_ms=NEVER_MS,
        housekeeping_ms=NEVER_MS,
        anti_entropy_ms=world.anti_entropy_ms,
        election_ms=world.election_ms,
    )
