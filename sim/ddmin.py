"""Delta debugging: a short part of a list that still fails. Knows nothing of runs.

Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (TSE 2002), without the step that tries parts
alone: what fails here rarely fails with one part of many, and leaving out large parts comes to the same sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def ddmin(items: Sequence[T], first: Callable[[Iterable[tuple[T, ...]]], int | None]) -> tuple[T, ...]:
    """The items that are left when none can be left out.

    `first` says which of some candidates, in their order, is the first that fails, or None. If it always judges one
    candidate the same way, the result fails (as `items` must) and does so no more without any single one of its items.
    """
    kept = tuple(items)
    size = len(kept)
    start = 0
    while kept and size:
        size = min(size, len(kept))
        starts = _from(start, range(0, len(kept), size))
        found = first(_without(kept, starts, size))
        if found is None:
            size //= 2
            start = 0
        else:
            start = starts[found]
            kept = kept[:start] + kept[start + size :]
    return kept


def _from(start: int, starts: range) -> list[int]:
    """Go on behind what was left out last: what was tried before it is needed most likely still."""
    return [at for at in starts if at >= start] + [at for at in starts if at < start]


def _without(kept: tuple[T, ...], starts: Sequence[int], size: int) -> Iterator[tuple[T, ...]]:
    for at in starts:
        yield kept[:at] + kept[at + size :]
