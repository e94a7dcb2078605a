"""What an allocation costs the core where free space is in a million pieces.

A peer that owns the whole range holds leases at every second address from the range's beginning, so that as many
single addresses are free between them; what is above is free too. Every operation is a step of the production peer,
without its disk, by processor time. Peers of all sizes stand side by side and have their turns one after another.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import trio

from benchmarks.filling import Filled, make
from ringipam import Config, open_node
from ringipam.address import Cidr, Range, parse_cidr, to_address
from ringipam.claim import Claim
from ringipam.config import parse_init
from ringipam.core.durable import Stored
from ringipam.core.events import (
    Allocate,
    AllocateBlock,
    Asked,
    ClaimAddress,
    DeadlinePassed,
    Event,
    Leased,
    LeaseList,
    LinkUp,
    Received,
    Release,
    Reply,
    Send,
    Verb,
)
from ringipam.core.identity import mark_of
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.lease import Lease, network
from ringipam.messages import Envelope, Grant, Hello, SpaceRequest

RANGES = ("10.0.0.0/8", "fd00:32::/48")
SIZES = (0, 10_000, 100_000, 1_000_000)
ROUNDS = 5
TURN = 1_000
"""Operations of a kind in one turn."""
TURN_RARE = 50
"""Of those that other hosts or few users want."""
BLOCK_BITS = 4
"""A block of 16 addresses."""
WANT = 16
WANT_MOST = 1 << 20
"""A request from another host that would take all there is."""
FRESH = 400_000
"""Where nothing is leased, this part of the range takes the place of the fragments."""
LEASES_WEIGHED_MIN = 100_000
"""Fewer do not show in the memory of a process."""
ME, OTHER = "me.00000000aaaa", "other.00000000bbbb"
CLUSTER = "0123456789abcdef"
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
NOW = 1_767_225_600_000
REST_MS = 60_000
"""Between turns: what was released is free again."""
TIMEOUT_MS = 5_000


@dataclass(slots=True)
class Found:
    """What was measured at one size of one range."""

    iprange: str
    fragments: int
    cpu_us: dict[str, float] = field(default_factory=dict)
    """By operation, the median of the rounds."""
    load_s: float = 0.0
    """CPU of the core from rows that are in memory to a peer that answers."""
    bytes_each: float | None = None
    """Resident memory for each lease and its fragment."""
    collection_ms: float = 0.0
    """A full collection of Python's garbage collector, should one come."""


class Fragmented:
    """A peer in such a range."""

    def __init__(self, iprange: str, fragments: int) -> None:
        self.universe = parse_cidr(iprange)
        self.fragments = fragments
        self.now = NOW
        self._number = 0
        self._asked = 0
        before = _resident()
        stored = Stored(
            meta={"cluster": CLUSTER},
            tokens={self.universe.start: Claim(0, 1, ME, ME)},
            leases=_leases(self.universe, fragments),
        )
        settings = Settings(ME, self.universe, self.universe, "me:6783", parse_init("alone", ()))
        begin = process_time()
        self.peer = Peer(settings, stored, Rng(1), NOW)
        self.peer.start(NOW)
        self.load_s = process_time() - begin
        del stored
        self.bytes = _resident() - before
        self._meet()

    @property
    def part(self) -> Range:
        """Where the fragments are, and nothing else is free."""
        return Range(self.universe.start, self.universe.start + (2 * self.fragments or FRESH))

    def turn(self) -> dict[str, float]:
        """The CPU of each operation in microseconds; nothing that was leased in it stays."""
        rng = Rng(self._number)
        # In the lower part: what is given to others is taken from above.
        odd = sorted({self.part.start + 2 + 2 * rng.below(self.part.size // 4) for _ in range(TURN)})
        length, family = self.universe.prefix_len, self.universe.family
        found = self._kind("allocate", [Allocate(f"a{number}", None, TIMEOUT_MS) for number in range(TURN)])
        found |= self._kind("release", [Release(f"a{number}") for number in range(TURN)])
        self._pass()
        found |= self._kind(
            "claim", [ClaimAddress(f"c{address}", family, address, length, TIMEOUT_MS) for address in odd]
        )
        self._kind("", [Release(f"c{address}") for address in odd])
        self._pass()
        size = self.universe.bits - BLOCK_BITS
        found |= self._kind(
            "block of 16", [AllocateBlock(f"b{number}", size, None, TIMEOUT_MS) for number in range(TURN_RARE)]
        )
        self._kind("", [Release(f"b{number}") for number in range(TURN_RARE)])
        self._pass()
        found |= {"grant of 16": self._give(WANT)}
        return found | {"grant of all that there is": self._give(WANT_MOST)} if self.fragments else found

    def _kind(self, name: str, verbs: Sequence[Verb]) -> dict[str, float]:
        events = []
        for verb in verbs:
            self._number += 1
            events.append(Asked(self._number, verb))
        return {name: self._timed(events, Leased | LeaseList)}

    def _give(self, want: int) -> float:
        """Another host asks for space where there are but fragments."""
        mark = mark_of(CLUSTER, self.universe)
        requests: list[Event] = []
        for _ in range(TURN_RARE):
            self._asked += 1
            request = SpaceRequest(self._asked, *self.part, want, False, True, 1_000)
            requests.append(Received(1, Envelope(mark, request)))
        return self._timed(requests, Grant)

    def _timed(self, events: Sequence[Event], answer: object) -> float:
        begin = process_time()
        effects = [self.peer.step(event, self.now) for event in events]
        took = process_time() - begin
        for step in effects:
            said = [effect.answer for effect in step if isinstance(effect, Reply)]
            bodies = [e.message.body for e in step if isinstance(e, Send) and isinstance(e.message, Envelope)]
            assert any(isinstance(each, answer) for each in (*said, *bodies)), step  # type: ignore[arg-type]
        return took / len(events) * 1e6

    def _pass(self) -> None:
        """Time passes, and what rests becomes free."""
        self.now += REST_MS
        self.peer.step(DeadlinePassed(), self.now)

    def _meet(self) -> None:
        self.peer.step(LinkUp(1, "", "other"), self.now)
        hello = Hello(1, 1, OTHER, str(self.universe), CLUSTER, "other:6783", 1, False, 1)
        self.peer.step(Received(1, hello), self.now)


def fragments(sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> list[Found]:
    """Every size of each range, in one run."""
    return [found for iprange in RANGES for found in _side_by_side(iprange, sizes, rounds)]


def _side_by_side(iprange: str, sizes: Sequence[int], rounds: int) -> list[Found]:
    peers, found = [], []
    gc.collect()
    for size in sizes:
        peer = Fragmented(iprange, size)
        # Frozen, as else whoever has its turn when a collection comes pays for the leases of all.
        each = peer.bytes / size if size >= LEASES_WEIGHED_MIN else None
        found.append(Found(iprange, size, load_s=peer.load_s, bytes_each=each, collection_ms=_collection_ms()))
        gc.freeze()
        peers.append(peer)
    turns: list[list[dict[str, float]]] = [[] for _ in sizes]
    for number in range(rounds):
        for index in range(len(sizes)) if number % 2 else reversed(range(len(sizes))):
            turns[index].append(peers[index].turn())
    gc.unfreeze()
    for each, taken in zip(found, turns, strict=True):
        each.cpu_us = {name: round(median(turn[name] for turn in taken), 1) for name in taken[0]}
    return found


def _collection_ms() -> float:
    begin = process_time()
    gc.collect()
    return round((process_time() - begin) * 1e3, 1)


def _resident() -> int:
    """Bytes of this process in memory, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _leases(universe: Cidr, count: int) -> dict[str, Lease]:
    """At every second address, from the first that may be issued on."""
    subnet = network(universe)
    addresses = (to_address(universe.family, universe.start + 1 + 2 * number) for number in range(count))
    return {
        f"{number:016x}": Lease(
            f"{number:016x}", f"{number:064x}", address, universe.prefix_len, subnet, "container", "me", SINCE
        )
        for number, address in enumerate(addresses)
    }


# ── with a disk ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Start:
    """From a data directory to the first allocation that is durable, in this process."""

    leases: int
    wall_s: float
    cpu_s: float
    disk_mib: float


def start(leases: int) -> Start:
    """Write so many leases, every second address of a /8, and open a node on them."""
    filled = Filled(RANGES[0], leases, apart=2)
    with tempfile.TemporaryDirectory(prefix="ringipam-space-") as directory:
        path = Path(directory) / "data"
        make(filled, path)
        size = sum(each.stat().st_size for each in path.iterdir() if each.is_file())
        gc.collect()
        begin, cpu = perf_counter(), process_time()
        trio.run(_first, Config(filled.iprange, name="bench", data_dir=path, listen="127.0.0.1:0"))
        return Start(leases, round(perf_counter() - begin, 2), round(process_time() - cpu, 2), round(size / 2**20, 1))


async def _first(config: Config) -> None:
    async with open_node(config) as node:
        await node.allocate("first")
