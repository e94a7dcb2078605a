"""How the founders of a ring share the universe. Knows nothing of how they came to agree.

Pure and deterministic: every founder computes the same shares from the same names (docs/design.md, "Starting a ring").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import gcd

from ringipam.address import Range
from ringipam.claim import Claim, Segment

BLOCKS_MIN = 5
"""Shares differ by one block at most; of at least so many blocks each, the largest has 6/5 < 1.25 of the smallest."""


def split(universe: Range, members: Sequence[str]) -> tuple[Segment, ...]:
    """One contiguous share for each member, in order of name, none a quarter larger than another.

    Shares are made of whole blocks of the largest power of two that keeps them so even, which is always possible
    from `BLOCKS_MIN` addresses a member up. With more members than addresses some get nothing.
    """
    names = sorted(dict.fromkeys(members))
    if not names:
        return ()
    block = _block_size(universe, len(names))
    blocks = universe.size // block
    bounds = [universe.start + -(-index * blocks // len(names)) * block for index in range(len(names) + 1)]
    return tuple(
        Segment(start, end, Claim(0, 1, name, name))
        for name, start, end in zip(names, bounds, bounds[1:], strict=False)
        if start < end
    )


def _block_size(universe: Range, count: int) -> int:
    """The largest power of two that both ends of the universe are aligned to and that makes `count` even shares."""
    ends = gcd(universe.start, universe.end)
    block = ends & -ends
    while block > 1:
        each, rest = divmod(universe.size // block, count)
        if each >= BLOCKS_MIN or (each and not rest):
            break
        block //= 2
    return block


def bequest(
    pieces: Sequence[Range], shares: Mapping[str, int], neighbours: Callable[[Range], tuple[str, str]]
) -> Iterator[tuple[Range, str]]:
    """Who of the heirs gets which part of what a leaver owns; `shares` says how much each heir has already.

    Those who own what lies beside a piece come first, so that ranges stay whole; nobody gets much more than an even
    share. Cuts are made at block boundaries. Everything is given, `shares` must not be empty.
    """
    shares = dict(shares)
    fair = -(-(sum(shares.values()) + sum(piece.size for piece in pieces)) // len(shares))
    for piece in sorted(pieces, key=lambda piece: (-piece.size, piece.start)):
        beside = [heir for heir in dict.fromkeys(neighbours(piece)) if heir in shares]
        if piece.size <= BLOCKS_MIN:
            parts = [(piece, min(beside or shares, key=lambda heir: (shares[heir], heir)))]
        else:
            parts = _divided(piece, neighbours(piece), shares, fair)
        for part, heir in parts:
            shares[heir] += part.size
            yield part, heir


def _divided(
    piece: Range, neighbours: tuple[str, str], shares: Mapping[str, int], fair: int
) -> list[tuple[Range, str]]:
    """The lower end to whoever lies below, the upper to whoever lies above, as far as they have room."""
    block = 1 << max(0, (piece.size // BLOCKS_MIN).bit_length() - 1)
    room = {heir: fair - share for heir, share in shares.items()}
    (lo, hi), (below, above) = piece, neighbours
    parts: list[tuple[Range, str]] = []
    if room.get(below, 0) > 0:
        cut = min(hi, -(-(lo + room[below]) // block) * block)
        parts.append((Range(lo, cut), below))
        room[below] -= cut - lo
        lo = cut
    if lo < hi and room.get(above, 0) > 0:
        cut = max(lo, (hi - room[above]) // block * block)
        parts.append((Range(cut, hi), above))
        room[above] -= hi - cut
        hi = cut
    while lo < hi:
        heir = max(room, key=lambda heir: (room[heir], heir))
        cut = min(hi, -(-(lo + max(1, room[heir])) // block) * block)
        parts.append((Range(lo, cut), heir))
        room[heir] -= cut - lo
        lo = cut
    return parts
