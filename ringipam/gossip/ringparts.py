"""A ring that can be compared with another's part by part. Knows nothing of messages.

What two peers compare are fingerprints of parts, each under the salt of its exchange (safety.md S21). So that
neither an exchange at rest nor a change costs as much as the ring is long, tokens are hashed block by block, without
salt and with so many bits that no two contents have one hash; a fingerprint is made of the hashes of its blocks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from ringipam.address import Range
from ringipam.claim import Claim
from ringipam.ring.fingerprint import content, digest_of, pieces
from ringipam.ring.ring import Ring

LEAF_TOKENS = 8
"""With so few tokens in a sub-range, sending them is cheaper than narrowing further."""
BLOCK_TOKENS = 256
"""A block has no more: so many are hashed again where one changed."""
BLOCK_HASH_SIZE = 32


class _Block(NamedTuple):
    """What lay in a block and its hash; kept as long as the same lies there."""

    starts: list[int]
    claims: list[Claim]
    hash: bytes


class RingParts:
    """A ring as it is compared, as long as it does not change; after that, `RingParts(ring, before)`."""

    def __init__(self, ring: Ring, before: RingParts | None = None) -> None:
        """With n tokens a pass over n references, and hashing of the blocks that are not as they were `before`."""
        self.universe = ring.universe
        self._ring = ring
        self._starts, claims = ring.columns()
        self._kept: dict[Range, _Block] = {}
        for block, first, last in self._blocks(*ring.universe):
            starts, held = self._starts[first:last], claims[first - 1 : last]
            old = before._kept.get(block) if before is not None else None
            if old is None or old.starts != starts or old.claims != held:
                old = _Block(starts, held, _hash(ring, block))
            self._kept[block] = old
        self._whole = b"".join(block.hash for block in self._kept.values())

    def fingerprint(self, lo: int, hi: int, salt: bytes) -> bytes:
        """Two rings that agree on `[lo, hi)` have the same, whatever they hold elsewhere."""
        if (lo, hi) == self.universe:
            return digest_of(self._whole, salt)
        hashes = []
        for block, _, _ in self._blocks(lo, hi):
            kept = self._kept.get(block)
            hashes.append(kept.hash if kept is not None else _hash(self._ring, block))
        return digest_of(b"".join(hashes), salt)

    def pieces(self, lo: int, hi: int, parts: int) -> list[Range]:
        return pieces(self._ring, lo, hi, parts)

    def few(self, lo: int, hi: int) -> bool:
        return len(list(islice(self._ring.segments(lo, hi), LEAF_TOKENS + 1))) <= LEAF_TOKENS

    def _blocks(self, lo: int, hi: int) -> Iterator[tuple[Range, int, int]]:
        """The blocks of `[lo, hi)` in order, and which tokens begin inside each.

        The universe is halved again and again until few tokens of `[lo, hi)` are in a piece: where the cuts are follows
        from what lies there alone, so whoever holds the same there cuts alike.
        """
        waiting = [self.universe]
        while waiting:
            start, end = waiting.pop()
            block = Range(max(lo, start), min(hi, end))
            if block.start >= block.end:
                continue
            first = bisect_right(self._starts, block.start)
            last = bisect_left(self._starts, block.end, first)
            if last - first < BLOCK_TOKENS:
                yield block, first, last
            else:
                middle = (start + end) // 2
                waiting += [Range(middle, end), Range(start, middle)]


def _hash(ring: Ring, block: Range) -> bytes:
    return blake2b(content(ring, *block), digest_size=BLOCK_HASH_SIZE).digest()
