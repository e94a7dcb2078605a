"""Where an address stands in a drawing in which a /12 and a single address can both be seen."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from ringipam.address import Range

HEIGHT = 10_000
"""Of the whole universe."""
PIECES_MAX = 400
LARGE = 64


class Scale:
    """A piece between two `boundaries` is as tall as its size has digits; one in `focus` takes a good share of it all.

    Where a large piece holds `leased` addresses, they get a piece of their own.
    """

    def __init__(
        self, universe: Range, boundaries: Iterable[int], leased: Iterable[int], focus: Sequence[Range]
    ) -> None:
        edges = [edge for piece in focus for edge in piece]
        cuts = sorted({*universe, *boundaries, *edges})
        cuts = sorted({*cuts, *_around(cuts, sorted(leased))})
        if len(cuts) > PIECES_MAX:
            cuts = sorted({*universe, *edges, *cuts[:: len(cuts) // PIECES_MAX + 1]})
        weights = [(end - start).bit_length() + 1 for start, end in pairwise(cuts)]
        wanted = [any(piece.start <= start and end <= piece.end for piece in focus) for start, end in pairwise(cuts)]
        least = sum(weights) // (4 * max(1, sum(wanted))) + 1
        tall = [max(weight, least) if want else weight for weight, want in zip(weights, wanted, strict=True)]
        self.cuts = cuts
        self._tops = list(accumulate(tall, initial=0))

    def y(self, address: int) -> int:
        place = min(bisect_right(self.cuts, address), len(self.cuts) - 1)
        start, end = self.cuts[place - 1], self.cuts[place]
        top, bottom = self._tops[place - 1], self._tops[place]
        return (top * (end - start) + (bottom - top) * (address - start)) * HEIGHT // (self._tops[-1] * (end - start))

    def middle(self, address: int) -> int:
        return (self.y(address) + self.y(address + 1)) // 2


def _around(cuts: Sequence[int], leased: Sequence[int]) -> list[int]:
    """The first and the last leased address of each large piece."""
    found = []
    for start, end in pairwise(cuts):
        inside = leased[bisect_left(leased, start) : bisect_left(leased, end)]
        if inside and end - start > LARGE:
            found += [inside[0], inside[-1] + 1]
    return found
