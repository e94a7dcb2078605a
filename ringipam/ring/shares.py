"""How the founders of a ring share the universe. Knows nothing of how they came to agree.

Pure and deterministic: every founder computes the same shares from the same names (docs/design.md, "Starting a ring").
"""

from __future__ import annotations

from collections.abc import Sequence
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
