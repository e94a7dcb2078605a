"""Two peers find out where their rings, or their member lists, differ, and exchange only that.

Range-based set reconciliation (Meyer, "Range-Based Set Reconciliation", SRDS 2023): fingerprints of a
sub-range each, split where they differ, until few tokens are left. At rest an exchange is one fingerprint of each.
Pure functions of what a peer holds and a message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from ringipam.address import Range
from ringipam.claim import Segment
from ringipam.gossip.ringparts import RingParts
from ringipam.gossip.roster import POSITIONS, Roster
from ringipam.messages import Digest, Print, Ranges
from ringipam.ring.ring import Ring

PARTS = 8
"""In how many a range that differs is split."""
PRINT_SIZE = 4
"""Of a part's fingerprint: what a collision hides, once in 2**32, the next exchange shows under its own salt (S21)."""
SEGMENTS_MAX = 2_000
"""In one message; more go in several."""


class Parted(Protocol):
    """What can be compared part by part."""

    def fingerprint(self, lo: int, hi: int, salt: bytes) -> bytes:
        """What stands for all there is in `[lo, hi)`."""

    def pieces(self, lo: int, hi: int, parts: int) -> list[Range]:
        """`[lo, hi)` in up to `parts` pieces, at least two unless there are few things in it."""

    def few(self, lo: int, hi: int) -> bool:
        """Whether there are so few things that telling them is cheaper than narrowing further."""


class Narrowed(NamedTuple):
    """Where two peers differ, as one of them finds."""

    finer: list[Print]
    """There it holds much: how its smaller parts look."""
    differing: list[Range]
    """There it holds little: that is to be told."""


def opening(ring: RingParts, roster: Roster, salt: bytes) -> Digest:
    """The first message of an exchange."""
    return Digest(salt, ring.fingerprint(*ring.universe, salt), roster.fingerprint(*POSITIONS, salt))


def prints(mine: Parted, lo: int, hi: int, salt: bytes) -> list[Print]:
    """How `[lo, hi)` looks here, part by part: the answer to a fingerprint of it that differs."""
    return [Print(*piece, mine.fingerprint(*piece, salt)[:PRINT_SIZE]) for piece in mine.pieces(lo, hi, PARTS)]


def narrowed(mine: Parted, theirs: Iterable[Print], salt: bytes) -> Narrowed:
    """Which of the ranges that look so there look different here."""
    finer: list[Print] = []
    differing: list[Range] = []
    for start, end, digest in theirs:
        if mine.fingerprint(start, end, salt)[:PRINT_SIZE] == digest:
            continue
        if mine.few(start, end):
            differing.append(Range(start, end))
        else:
            finer += prints(mine, start, end, salt)
    return Narrowed(finer, differing)


def telling(ring: Ring, differing: Iterable[Range]) -> list[Ranges]:
    """What this ring holds in the ranges that differ; the other side's is asked for in return."""
    return _pages([segment for piece in differing for segment in ring.segments(*piece)], answer=True)


def answering(ring: Ring, ranges: Ranges) -> list[Ranges]:
    """What this ring, having joined `ranges`, still holds differently there: the other side needs it."""
    mine = [
        segment
        for start, end, claim in ranges.segments
        for segment in ring.segments(start, end)
        if segment.claim != claim
    ]
    return _pages(mine, answer=False)


def _pages(segments: list[Segment], *, answer: bool) -> list[Ranges]:
    return [Ranges(tuple(segments[i : i + SEGMENTS_MAX]), answer) for i in range(0, len(segments), SEGMENTS_MAX)]
