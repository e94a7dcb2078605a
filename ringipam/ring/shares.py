"""The first split of the universe."""

from __future__ import annotations

from collections.abc import Sequence

from ringipam.address import Range
from ringipam.claim import Claim, Segment


def split(universe: Range, members: Sequence[str]) -> tuple[Segment, ...]:
    names = sorted(dict.fromkeys(members))
    share = universe.size // len(names)
    block = 1
    while block * 2 <= share // 8:
        block *= 2
    bounds = [universe.start + (universe.size * i // len(names)) // block * block for i in range(len(names))]
    bounds.append(universe.end)
    return tuple(
        Segment(bounds[i], bounds[i + 1], Claim(0, 1, name, name))
        for i, name in enumerate(names)
        if bounds[i] < bounds[i + 1]
    )
