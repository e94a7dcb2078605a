"""Fingerprints of parts of a ring."""

from __future__ import annotations

from hashlib import blake2b

from ringipam.address import Range
from ringipam.ring.ring import Ring


def fingerprint(ring: Ring, lo: int, hi: int, salt: bytes) -> bytes:
    text = "\n".join(f"{s} {e} {c.epoch} {c.version} {c.owner} {c.writer}" for s, e, c in ring.segments(lo, hi))
    return blake2b(text.encode(), digest_size=8, key=salt).digest()


def pieces(ring: Ring, lo: int, hi: int, parts: int = 16) -> list[Range]:
    starts = [s for s, _, _ in ring.segments(lo, hi)]
    step = max(1, -(-len(starts) // parts))
    bounds = [*starts[::step], hi]
    return [Range(a, b) for a, b in zip(bounds, bounds[1:], strict=False)]
