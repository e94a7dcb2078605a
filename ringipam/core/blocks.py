"""Where a whole block might be had from another host. Knows who owns what, not what is free there."""

from __future__ import annotations

from ringipam.address import Range
from ringipam.core.state import State

TRIES = 16
"""So many blocks of others are asked for before there is said to be none."""


def elsewhere(state: State, within: Range, size: int) -> list[Range]:
    """Blocks of `size`, aligned to it, that lie whole in one reachable peer's range: a few, in random order.

    From each range the last block, as hosts issue from the lowest address on, and one at random, so that two hosts
    that look at the same time seldom ask for the same.
    """
    assert state.ring is not None
    found: dict[Range, None] = {}
    for owner in state.ring.owners(*within):
        if owner == state.me or not state.members.reachable(owner):
            continue
        for start, end in state.ring.ranges_of(owner, *within):
            first, count = -(-start // size), end // size - -(-start // size)
            if count > 0:
                for number in (count - 1, state.rng.below(count)):
                    found[Range((first + number) * size, (first + number + 1) * size)] = None
    return state.rng.shuffled(list(found))[:TRIES]
