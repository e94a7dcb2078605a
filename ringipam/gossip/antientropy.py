"""Two peers find out where their rings differ, and exchange only that.

Range-based set reconciliation (Meyer, "Range-Based Set Reconciliation", SRDS 2023): fingerprints of a
sub-range each, split where they differ, until few tokens are left. At rest an exchange is one fingerprint.
Pure functions of a ring and a message.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice

from ringipam.claim import Segment
from ringipam.messages import Body, Compare, Digest, Member, Print, Ranges
from ringipam.ring.fingerprint import fingerprint, pieces
from ringipam.ring.ring import Ring

LEAF_TOKENS = 8
"""With so few tokens in a sub-range, sending them is cheaper than narrowing further."""
SEGMENTS_MAX = 2_000
"""In one message; more go in several."""


def opening(ring: Ring, members: Iterable[Member], salt: bytes) -> Digest:
    """The first message of an exchange."""
    universe = ring.universe
    return Digest(salt, fingerprint(ring, universe.start, universe.end, salt), members_digest(members, salt))


def members_digest(members: Iterable[Member], salt: bytes) -> bytes:
    """A fingerprint of a member list, whatever its order. Addresses do not count: each peer sees its own way there."""
    text = "\n".join(f"{m.peer} {m.incarnation} {m.health.value}" for m in sorted(members))
    return blake2b(text.encode(), digest_size=8, key=salt).digest()


def narrowing(ring: Ring, salt: bytes) -> Compare:
    """The answer to an opening whose fingerprint differs."""
    universe = ring.universe
    return Compare(salt, tuple(_prints(ring, universe.start, universe.end, salt)))


def compared(ring: Ring, compare: Compare) -> list[Body]:
    """The answer to a narrowing: fingerprints of smaller parts, or what this ring holds where it differs.

    `compare` must lie inside the ring's universe.
    """
    finer: list[Print] = []
    differing: list[Segment] = []
    for start, end, digest in compare.prints:
        if fingerprint(ring, start, end, compare.salt) == digest:
            continue
        few = list(islice(ring.segments(start, end), LEAF_TOKENS + 1))
        if len(few) <= LEAF_TOKENS:
            differing.extend(few)
        else:
            finer.extend(_prints(ring, start, end, compare.salt))
    answers: list[Body] = [Compare(compare.salt, tuple(finer[i : i + 500])) for i in range(0, len(finer), 500)]
    answers.extend(_pages(differing, answer=True))
    return answers


def answering(ring: Ring, ranges: Ranges) -> list[Body]:
    """What this ring, having joined `ranges`, still holds differently there: the other side needs it."""
    mine = [
        segment
        for start, end, claim in ranges.segments
        for segment in ring.segments(start, end)
        if segment.claim != claim
    ]
    return _pages(mine, answer=False)


def _pages(segments: list[Segment], *, answer: bool) -> list[Body]:
    return [Ranges(tuple(segments[i : i + SEGMENTS_MAX]), answer) for i in range(0, len(segments), SEGMENTS_MAX)]


def _prints(ring: Ring, start: int, end: int, salt: bytes) -> list[Print]:
    return [Print(lo, hi, fingerprint(ring, lo, hi, salt)) for lo, hi in pieces(ring, start, end)]
