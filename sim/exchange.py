"""What it costs two peers to find that their rings agree, or to make them agree, in bytes of the real messages."""

from __future__ import annotations

from ringipam.address import Cidr, parse_cidr
from ringipam.claim import Claim
from ringipam.codec import encode
from ringipam.core.identity import mark_of
from ringipam.core.rng import Rng
from ringipam.gossip.antientropy import answering, narrowed, opening, prints, telling
from ringipam.gossip.ringparts import RingParts
from ringipam.gossip.roster import Roster
from ringipam.messages import Body, Compare, Digest, Envelope, Ranges
from ringipam.ring.ring import Ring
from sim.standing import CLUSTER

UNIVERSE = parse_cidr("10.32.0.0/12")
OWNERS = 100


def ring_of(tokens: int, rng: Rng, universe: Cidr = UNIVERSE) -> Ring:
    """As churn leaves it: tokens of any size, neighbours of different owners."""
    starts = {universe.start}
    while len(starts) < tokens:
        starts.add(universe.start + rng.below(universe.size))
    owners = [f"host{number:03}.{rng.bits64() >> 16:012x}" for number in range(OWNERS)]
    claims = (Claim(0, 1 + rng.below(200), owners[at % OWNERS], rng.pick(owners)) for at in range(tokens))
    return Ring.from_tokens(universe.range, zip(sorted(starts), claims, strict=True))


def with_news(ring: Ring, rng: Rng) -> Ring:
    """The same but for one range, of which it has heard something newer."""
    newer = Ring.from_tokens(ring.universe, ring.tokens())
    start, end, claim = rng.pick(list(ring.segments()))
    newer.join(newer.grant(start, end, claim.writer, claim.owner))
    return newer


def exchange(one: Ring, other: Ring, salt: bytes) -> list[int]:
    """The payloads of all messages until two rings agree; both are brought up to date."""
    mark = mark_of(CLUSTER, UNIVERSE)
    waiting: list[tuple[Ring, Ring, Body]] = [(other, one, opening(RingParts(one), Roster(), salt))]
    sizes = []
    while waiting:
        here, there, body = waiting.pop(0)
        sizes.append(len(encode(Envelope(mark, body))))
        waiting += [(there, here, answer) for answer in _answers(here, body)]
    assert one == other, "they agree"
    return sizes


def _answers(ring: Ring, body: Body) -> list[Body]:
    match body:
        case Digest(salt, digest, _):
            parts = RingParts(ring)
            same = parts.fingerprint(*ring.universe, salt) == digest
            return [] if same else [Compare(salt, tuple(prints(parts, *ring.universe, salt)))]
        case Compare(salt, theirs):
            finer, differing = narrowed(RingParts(ring), theirs, salt)
            return [*([Compare(salt, tuple(finer))] if finer else []), *telling(ring, differing)]
        case Ranges(segments, answer):
            ring.join(segments)
            return list(answering(ring, body)) if answer else []
        case _:
            raise AssertionError(f"no part of an exchange: {body}")
