"""What it costs two peers to agree: bytes and messages of an exchange, and the time of a join.

    python -m benchmarks.gossip [--json]

Two production peers are linked without a network between them; every message goes through the codec, and its payload is
counted: the whole frame but for its four bytes of length. What counts is everything from the greeting on, until both
rings and member lists are equal.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from time import perf_counter

from ringipam.address import Cidr, parse_cidr
from ringipam.claim import NOBODY, Claim, Segment
from ringipam.codec import decode, encode
from ringipam.config import parse_init
from ringipam.core.durable import Membered, Stored
from ringipam.core.events import (
    Allocate,
    Asked,
    DeadlinePassed,
    Effect,
    Event,
    Leased,
    LinkDown,
    LinkUp,
    Received,
    Reply,
    Send,
    Verb,
)
from ringipam.core.identity import mark_of
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.messages import (
    Body,
    Envelope,
    Grant,
    Health,
    Hello,
    Member,
    Members,
    Offer,
    Ranges,
    Rumour,
    SpaceRequest,
    Standing,
    Want,
)
from ringipam.ring.ring import Ring

UNIVERSE = parse_cidr("10.32.0.0/12")
TOKENS = 10_000
RANGES = 10
"""In a delta that a grant or a few make."""
OWNERS = 100
MEMBERS = 1_000
CLUSTER = "0123456789abcdef"
ROUNDS = 31
NOW = 1_767_225_600_000
SIZES = (100, 10_000, 100_000)
"""Tokens of the rings in which a grant is made."""
SPREAD_MS = 1_000
"""In which news has been told on."""
SECOND, THIRD = 1 << 20, 1 << 21
"""Links, by the host at their other end."""
NEWS = (SpaceRequest, Grant, Offer, Want, Rumour)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What two peers said to each other until they agreed."""

    name: str
    messages: int
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Timing:
    name: str
    median_us: float


def owner(number: int) -> str:
    return f"host{number:03}.{number * 0x9E3779B97F4A7C15 % (1 << 48):012x}"


def tokens(count: int, rng: Rng) -> dict[int, Claim]:
    """A ring as churn leaves it: tokens of any size, neighbours of different owners."""
    starts = {UNIVERSE.start}
    while len(starts) < count:
        starts.add(UNIVERSE.start + rng.below(UNIVERSE.size))
    return {
        start: Claim(0, 1 + rng.below(200), owner(index % OWNERS), owner(rng.below(OWNERS)))
        for index, start in enumerate(sorted(starts))
    }


def stored(held: dict[int, Claim], members: int = OWNERS) -> Stored:
    known = {owner(number): Membered(f"host{number:03}:6783", Standing.MEMBER) for number in range(members)}
    return Stored(meta={"cluster": CLUSTER}, tokens=dict(held), members=known)


class Pair:
    """Two peers of one ring, linked, who have told each other all they know; and a third, if there is one."""

    def __init__(self, mine: Stored, theirs: Stored, *others: Stored) -> None:
        self.peers = tuple(
            Peer(
                Settings(owner(number), UNIVERSE, UNIVERSE, f"host{number:03}:6783", parse_init("observer", ())),
                held,
                Rng(number),
                NOW,
            )
            for number, held in enumerate((mine, theirs, *others))
        )
        self._link = 0
        self.answered = False
        self.now = NOW
        for peer in self.peers:
            peer.start(NOW)
        self.learning = self.exchange("")

    def exchange(self, name: str) -> Exchange:
        """Link them anew and let them talk until neither has anything to say; the greetings do not count."""
        self._link += 1
        waiting: list[tuple[int, Effect]] = []
        for index, dialled in enumerate(("there:6783", "")):
            waiting += self._step(index, LinkUp(self._link, dialled, "there"))
        messages = payload_bytes = 0
        while waiting:
            sender, effect = waiting.pop(0)
            if not isinstance(effect, Send):
                continue
            payload = encode(effect.message)
            if not isinstance(effect.message, Hello):
                messages += 1
                payload_bytes += len(payload)
            waiting += self._step(1 - sender, Received(self._link, decode(payload)))
        one, other = self.peers[:2]
        assert one.ring == other.ring, "they agree"
        for index in (0, 1):
            self._step(index, LinkDown(self._link, "done"))
        return Exchange(name, messages, payload_bytes)

    def meet(self, link: int, other: int) -> None:
        """Link the first peer to another, and let them say all they have to say."""
        ends = (self._step(0, LinkUp(link, "there:6783", "there")), self._step(other, LinkUp(link, "", "there")))
        self._pump([effect for effects in ends for effect in effects])

    def ask(self, verb: Verb) -> dict[int, list[int]]:
        """Put a request to the first peer; by link the sizes of what is said of it, until it has been told on."""
        said = self._pump(self._step(0, Asked(1, verb)))
        while (due := self.peers[0].deadline) is not None and due <= NOW + SPREAD_MS:
            self.now = max(self.now, due)
            for link, sizes in self._pump(self._step(0, DeadlinePassed())).items():
                said[link] += sizes
        assert self.answered, "the request was granted"
        return said

    def _pump(self, waiting: list[tuple[int, Effect]]) -> dict[int, list[int]]:
        said: dict[int, list[int]] = {SECOND: [], THIRD: []}
        while waiting:
            sender, effect = waiting.pop(0)
            if isinstance(effect, Reply):
                self.answered = isinstance(effect.answer, Leased)
            if not isinstance(effect, Send):
                continue
            payload = encode(effect.message)
            if isinstance(effect.message, Envelope) and isinstance(effect.message.body, NEWS):
                said[effect.link].append(len(payload))
            receiver = (1 if effect.link == SECOND else 2) if sender == 0 else 0
            waiting += self._step(receiver, Received(effect.link, decode(payload)))
        return said

    def _step(self, index: int, event: Event) -> list[tuple[int, Effect]]:
        return [(index, effect) for effect in self.peers[index].step(event, self.now)]

    def tell(self, index: int, body: Body) -> None:
        """One of the two hears something from a third."""
        third = Hello(1, 1, owner(2), str(UNIVERSE), CLUSTER, "host002:6783", 1, False, 1)
        self._step(index, LinkUp(-1, "", "third"))
        self._step(index, Received(-1, third))
        self._step(index, Received(-1, Envelope(mark_of(CLUSTER, UNIVERSE), body)))
        self._step(index, LinkDown(-1, "done"))


def newer(held: dict[int, Claim], count: int, rng: Rng) -> Ranges:
    """News of so many of these tokens."""
    starts = sorted(held)
    ends = dict(zip(starts, [*starts[1:], UNIVERSE.range.end], strict=True))
    chosen = sorted(rng.shuffled(starts)[:count])
    news = (Segment(start, ends[start], held[start]._replace(version=1_000 + rng.below(100))) for start in chosen)
    return Ranges(tuple(news), answer=False)


def exchanges() -> list[Exchange]:
    rng = Rng(1)
    held = tokens(TOKENS, rng)
    pair = Pair(stored(held), stored(held))
    found = [pair.exchange("at rest")]
    for count in (1, 10, 100):
        pair.tell(1, newer(held, count, rng))
        found.append(pair.exchange(f"{TOKENS} tokens, {count} newer on one side"))
    for index in (0, 1):
        pair.tell(index, newer(held, 1, rng))
    found.append(pair.exchange(f"{TOKENS} tokens, one newer on each side"))
    for count in SIZES[1:]:
        newcomer = stored({UNIVERSE.start: NOBODY}, members=3)
        learning = Pair(newcomer, stored(tokens(count, rng))).learning
        found.append(
            Exchange(f"{count} tokens and {OWNERS} members to a newcomer", learning.messages, learning.payload_bytes)
        )

    for count in SIZES:
        found += grant(count)

    few = {UNIVERSE.start: Claim(0, 1, owner(0), owner(0))}
    pair = Pair(stored(few, MEMBERS), stored(few, MEMBERS))
    for count in (1, 10):
        members = [
            Member(owner(number), f"host{number:03}:6783", 7 + count, Health.ALIVE, 100)
            for number in range(3, 3 + count)
        ]
        pair.tell(1, Members(tuple(members), ()))
        found.append(pair.exchange(f"{MEMBERS} members, {count} newer on one side"))
    return found


def grant(count: int) -> list[Exchange]:
    """A request for an address that only another host has space for, and telling a third of it: what that costs."""
    held = tokens(count, Rng(3))
    subnet = Cidr(4, UNIVERSE.start + UNIVERSE.size // 2, 24)
    held = {start: claim for start, claim in held.items() if start not in subnet.range}
    after = max((start for start in held if start < subnet.start), default=UNIVERSE.start)
    held[subnet.start] = Claim(0, 1, owner(1), owner(1))
    held[subnet.range.end] = held[after]
    pair = Pair(*(stored(held) for _ in range(3)))
    pair.meet(SECOND, 1)
    pair.meet(THIRD, 2)
    said = pair.ask(Allocate("c1", subnet, 30_000))
    return [
        Exchange(f"a request and its grant, {count} tokens", len(said[SECOND]), sum(said[SECOND])),
        Exchange(f"news of it to a third host, {count} tokens", len(said[THIRD]), sum(said[THIRD])),
    ]


def timed(name: str, prepare: Callable[[], Callable[[], object]]) -> Timing:
    """The median time of what `prepare` returns, which is new each time.

    The collector looks at what the join makes, and at nothing else, as in a daemon that has started.
    """
    gc.freeze()
    taken = []
    for _ in range(ROUNDS):
        action = prepare()
        begin = perf_counter()
        action()
        taken.append(perf_counter() - begin)
    return Timing(name, round(median(taken) * 1e6, 1))


def timings() -> list[Timing]:
    rng = Rng(2)
    held, others = (sorted(tokens(TOKENS, rng).items()) for _ in range(2))
    whole, other = (tuple(Ring.from_tokens(UNIVERSE.range, each).segments()) for each in (held, others))

    def delta(count: int) -> Callable[[], object]:
        ring = Ring.from_tokens(UNIVERSE.range, held)
        chosen = sorted(rng.shuffled(whole)[:count])
        news = [Segment(start, end, claim._replace(version=claim.version + 1)) for start, end, claim in chosen]
        return lambda: ring.join(news)

    def two() -> Callable[[], object]:
        ring = Ring.from_tokens(UNIVERSE.range, held)
        return lambda: ring.join(other)

    def every() -> Callable[[], object]:
        ring = Ring(UNIVERSE.range)
        return lambda: ring.join(whole)

    def again() -> Callable[[], object]:
        ring = Ring.from_tokens(UNIVERSE.range, held)
        return lambda: ring.join(whole)

    return [
        timed(f"join one range into {TOKENS} tokens", partial(delta, 1)),
        timed(f"join {RANGES} ranges into {TOKENS} tokens", partial(delta, RANGES)),
        timed(f"join two rings of {TOKENS} tokens, all different", two),
        timed(f"join {TOKENS} segments into an empty ring", every),
        timed(f"join {TOKENS} segments that are no news", again),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gossip", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    said, took = exchanges(), timings()
    if options.json:
        print(json.dumps({"exchanges": [asdict(each) for each in said], "timings": [asdict(each) for each in took]}))
        return
    print(f"{'until two peers agree':52} {'messages':>9} {'payload':>10}")
    for exchange in said:
        print(f"{exchange.name:52} {exchange.messages:9} {exchange.payload_bytes:8} B")
    print(f"\n{'time':52} {'median':>20}")
    for timing in took:
        print(f"{timing.name:52} {timing.median_us:17} us")


if __name__ == "__main__":
    main()
