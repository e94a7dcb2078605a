"""Eight bytes that stand for a part of a ring. Knows nothing of how peers exchange them.

Two rings that agree on a range have one fingerprint there, whatever they hold elsewhere. Each exchange has its own
salt: two rings that happen to collide under one do not under the next (safety.md S21).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from ringipam.address import Range
from ringipam.claim import Claim
from ringipam.ring.ring import Ring

FINGERPRINT_SIZE = 8
ADDRESS_SIZE = 17
"""One byte more than an IPv6 address has, for the end of ::/0."""


def fingerprint(ring: Ring, lo: int, hi: int, salt: bytes) -> bytes:
    """The fingerprint of what `ring` says of `[lo, hi)`; O(tokens in it)."""
    return digest_of(content(ring, lo, hi), salt)


def content(ring: Ring, lo: int, hi: int) -> bytes:
    """All that `ring` says of `[lo, hi)`, so that rings that differ there say different things."""
    starts, claims = ring.columns(lo, hi)
    # How many there are, and where the last one ends.
    head = len(starts).to_bytes(ADDRESS_SIZE, "big") + min(hi, ring.universe.end).to_bytes(ADDRESS_SIZE, "big")
    return head + b"".join(map(_encoded, starts, claims))


def digest_of(said: bytes, salt: bytes) -> bytes:
    """The fingerprint of such content."""
    return blake2b(said, digest_size=FINGERPRINT_SIZE, key=salt).digest()


def pieces(ring: Ring, lo: int, hi: int, parts: int = 16) -> list[Range]:
    """`[lo, hi)` in up to `parts` pieces that start at tokens and have about equally many; one token is one piece."""
    starts, _ = ring.columns(lo, hi)
    count = min(parts, len(starts))
    bounds = [starts[index * len(starts) // count] for index in range(count)]
    return [Range(*ends) for ends in zip(bounds, [*bounds[1:], min(hi, ring.universe.end)], strict=False)]


@lru_cache(maxsize=1 << 16)
def _encoded(start: int, claim: Claim) -> bytes:
    """A token as bytes of which no others begin with them; kept, as few of a ring's change between two looks."""
    owner = claim.owner.encode()
    writer = claim.writer.encode()
    stamp = b"%d %d %d %d " % (claim.epoch, claim.version, len(owner), len(writer))
    return start.to_bytes(ADDRESS_SIZE, "big") + stamp + owner + writer
