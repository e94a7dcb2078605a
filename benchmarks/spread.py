"""How a change of the ring reaches thousands of hosts, in the simulator, with the core that daemons run.

    python -m benchmarks.spread [--peers N …] [--changes N] [--tokens N …] [--links N] [--json]

Hosts start from one ring on their disks, linked as they would be: each dials 32 others, or `--links`. Then they
rest, and one change after the other is made: a host claims an address that another owns. From the moment in which the
ring of the owner says so, durably, it is watched when each other host's does. A round is the time between two offers
of a rumour to two neighbours, 100 ms; a message takes 1 to 10 ms, a commit 0 to 3.

Up to 1,000 hosts everybody knows everybody. Beyond, a host knows those whom it is linked to, as the lists of all would
take more memory than there is, and lists are not compared.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from ringipam.core.durable import Change, PutTokens
from ringipam.core.events import ClaimAddress, Leased
from sim.checkers import Checker
from sim.cluster import World
from sim.host import Host
from sim.mesh import LINKS, mesh
from sim.traffic import Counts, Traffic

PEERS = (1_000, 10_000)
WHOLE_LISTS_MAX = 1_000
"""With more hosts than these, nobody knows all."""
TOKENS_MAX = 1_000
CHANGES = 10
LINKING_S = 5
"""In which all links are made and the greetings are over."""
REST_S = 6
LIMIT_MS = 60_000
QUIET_MS = 3_000
"""After a change is known everywhere, until nobody speaks of it any more."""
STEP_MS = 100
SAMPLE = 20
"""One message in so many of a kind is encoded to know its size."""
LOG_BAR = 2.0
"""All know of a change within so many times log2(n) rounds."""
SIZE_BAR = 1.1
"""What one costs with the longest ring against the shortest."""


@dataclass(frozen=True, slots=True)
class Told:
    """One change on its way; rounds from the moment in which its owner knew it durably."""

    half_rounds: float
    most_rounds: float
    """Until 99 in 100 know."""
    all_rounds: float


@dataclass(slots=True)
class Found:
    """What was measured of one system."""

    peers: int
    tokens: int
    whole_lists: bool
    links: float = 0.0
    """Of a host, on average."""
    rest_messages_s: float = 0.0
    """Sent by a host in a second."""
    rest_bytes_s: float = 0.0
    told: list[Told] = field(default_factory=list)
    change_messages: float = 0.0
    """For one change, by a host, beyond what is sent at rest."""
    change_bytes: float = 0.0
    change_by_purpose: dict[str, float] = field(default_factory=dict)
    real_s: float = 0.0
    memory_mib: int = 0

    @property
    def bar(self) -> float:
        return LOG_BAR * math.log2(self.peers)

    @property
    def slowest(self) -> float:
        return max(told.all_rounds for told in self.told)


class Arrivals(Checker):
    """Notes when each host has it on its disk that a token begins at an address."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._address = -1
        self.at_ms: dict[str, int] = {}

    def watch(self, address: int) -> None:
        self._address = address
        self.at_ms = {}

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        for change in changes:
            if isinstance(change, PutTokens) and any(start == self._address for start, _ in change.put):
                self.at_ms.setdefault(host.name, self.world.loop.now)


class Spread:
    """One system, from its start to its last change."""

    def __init__(self, peers: int, tokens: int, seed: int = 1, links: int = LINKS) -> None:
        self._begin = time.perf_counter()
        self.found = Found(peers, tokens, peers <= WHOLE_LISTS_MAX)
        self._say("hosts start")
        self.world = mesh(seed, peers, tokens, whole_lists=self.found.whole_lists, links=links)
        self._traffic = Traffic(self.world, SAMPLE)
        self._arrivals = Arrivals(self.world)
        self.world.watch(self._arrivals)
        self._rest = Counts()

    def complete(self, changes: int) -> Found:
        world, found = self.world, self.found
        for second in range(LINKING_S):
            world.run_for(1_000)
            self._say(f"{second + 1} of {LINKING_S} s to link")
        gc.freeze()
        peers = [host.peer for host in world.hosts.values() if host.peer is not None]
        found.links = sum(peer.queues()["links"] for peer in peers) / found.peers
        self._traffic.count_anew()
        world.run_for(REST_S * 1_000)
        self._rest = self._traffic.count_anew()
        found.rest_messages_s = sum(self._rest.messages.values()) / found.peers / REST_S
        found.rest_bytes_s = self._rest.total / found.peers / REST_S
        counted: list[tuple[Counts, int]] = []
        for number in range(changes):
            counted.append(self._change(number, changes))
        self._note(counted)
        found.real_s = round(time.perf_counter() - self._begin, 1)
        found.memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return found

    def _change(self, number: int, changes: int) -> tuple[Counts, int]:
        """A host claims an address of one that it is linked to; what was said until it was quiet, and how long."""
        world, found, arrivals = self.world, self.found, self._arrivals
        names = list(world.hosts)
        owner = names[number * min(found.peers, found.tokens) // changes]
        host = world.hosts[owner].settings.dial[number].partition(":")[0]
        peer = world.hosts[owner].peer
        assert peer is not None
        address = peer.possessed()[0].start + 4096
        arrivals.watch(address)
        self._traffic.count_anew()
        since = world.loop.now
        request = world.ask(host, ClaimAddress(f"change {number}", 4, address, 32, LIMIT_MS))
        while len(arrivals.at_ms) < found.peers:
            if world.loop.now - since > LIMIT_MS:
                raise RuntimeError(f"{found.peers - len(arrivals.at_ms)} of {found.peers} hosts do not know: {request}")
            world.run_for(STEP_MS)
        assert isinstance(request.answer, Leased), request
        world.run_for(QUIET_MS)
        found.told.append(self._told())
        self._say(f"change {number + 1} of {changes}: {found.told[-1]}")
        return self._traffic.count_anew(), world.loop.now - since

    def _told(self) -> Told:
        times = sorted(self._arrivals.at_ms.values())
        round_ms = next(iter(self.world.hosts.values())).settings.rumour_ms
        at = [times[min(len(times) - 1, len(times) * share // 100)] for share in (50, 99, 100)]
        return Told(*((each - times[0]) / round_ms for each in at))

    def _note(self, counted: Sequence[tuple[Counts, int]]) -> None:
        """What the changes cost beyond what would have been said in the same time at rest."""
        found, times = self.found, len(counted) * self.found.peers
        seconds = sum(ms for _, ms in counted) / 1_000
        messages = sum(sum(counts.messages.values()) for counts, _ in counted)
        found.change_messages = messages / times - found.rest_messages_s * seconds / len(counted)
        said = sum(counts.total for counts, _ in counted)
        found.change_bytes = said / times - found.rest_bytes_s * seconds / len(counted)
        for purpose in sorted({purpose for counts, _ in counted for purpose in counts.payload}):
            beyond = sum(counts.payload.get(purpose, 0) for counts, _ in counted)
            beyond -= int(self._rest.payload.get(purpose, 0) * seconds / REST_S)
            found.change_by_purpose[purpose] = round(beyond / times, 1)

    def _say(self, what: str) -> None:
        """On stderr, as a large system takes long."""
        if self.found.peers >= WHOLE_LISTS_MAX:
            elapsed = time.perf_counter() - self._begin
            print(f"{self.found.peers} hosts, {elapsed:.0f} s: {what}", file=sys.stderr, flush=True)


def lines(systems: Sequence[Found]) -> Iterator[str]:
    """The tables of docs/performance.md."""
    yield (
        "| hosts | tokens | links of a host | at rest, a host and second | a change, a host"
        " | rounds until half / 99 % / all know, median | all, slowest |"
    )
    yield "|---" * 7 + "|"
    for found in systems:
        rounds = " / ".join(
            f"{median(getattr(told, name) for told in found.told):.1f}"
            for name in ("half_rounds", "most_rounds", "all_rounds")
        )
        yield (
            f"| {found.peers:,} | {found.tokens:,} | {found.links:.0f}"
            f" | {found.rest_messages_s:.2f} messages, {found.rest_bytes_s:.0f} B"
            f" | {found.change_messages:.1f} messages, {found.change_bytes:.0f} B"
            f" | {rounds} | {found.slowest:.1f} |"
        )
    yield ""
    yield "| | measured | bar | |"
    yield "|---|---|---|---|"
    for name, value, bar in verdicts(systems):
        yield f"| {name} | {value:.2f} | ≤ {bar:.2f} | {'reached' if value <= bar else 'not reached'} |"


def verdicts(systems: Sequence[Found]) -> Iterator[tuple[str, float, float]]:
    """Each bar: what it is about, what was measured, and the limit."""
    for found in systems:
        yield (
            f"{found.peers:,} hosts, {found.tokens:,} tokens: rounds until all know, slowest",
            found.slowest,
            found.bar,
        )
    for peers in sorted({found.peers for found in systems}):
        sized = sorted((found for found in systems if found.peers == peers), key=lambda found: found.tokens)
        if len(sized) > 1:
            short, long = sized[0], sized[-1]
            of = f"{peers:,} hosts, {long.tokens:,} tokens ÷ {short.tokens:,}"
            yield f"{of}: bytes at rest", long.rest_bytes_s / short.rest_bytes_s, SIZE_BAR
            yield f"{of}: bytes of a change", long.change_bytes / short.change_bytes, SIZE_BAR


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.spread", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=int, nargs="+", default=PEERS, metavar="N", help="hosts (default: 1000 10000)")
    parser.add_argument("--tokens", type=int, nargs="+", metavar="N", help="of the ring (default: 1000, or one a host)")
    parser.add_argument("--changes", type=int, default=CHANGES, metavar="N", help=f"default: {CHANGES}")
    parser.add_argument("--links", type=int, default=LINKS, metavar="N", help=f"each dials (default: {LINKS})")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args(arguments)
    systems = [
        Spread(peers, tokens, options.seed, options.links).complete(options.changes)
        for peers in options.peers
        for tokens in options.tokens or [min(peers, TOKENS_MAX)]
    ]
    if options.json:
        print(json.dumps({"systems": [asdict(found) for found in systems]}))
        return
    print("\n".join(lines(systems)))


if __name__ == "__main__":
    main()
