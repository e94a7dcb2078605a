"""A member list that can be compared with another's part by part. Knows nothing of probes, messages or time.

Each member stands at a position that follows from its id, so a part of a list is a range of positions, as a part of a
ring is a range of addresses (antientropy.py).
"""

from __future__ import annotations

from bisect import bisect_left
from hashlib import blake2b
from itertools import pairwise

from ringipam.address import Range
from ringipam.messages import Member

POSITIONS = Range(0, 1 << 32)
FINGERPRINT_SIZE = 8
HASH_SIZE = 32
FEW = 8
"""Telling so few members is cheaper than narrowing further."""


class Roster:
    """What is compared of each member: who it is, its stamp, in order of position.

    Addresses do not count, as each peer sees its own way there, nor does free space, which no change comes without.
    """

    __slots__ = ("_position", "_positions", "_texts", "_whole")

    def __init__(self) -> None:
        self._position: dict[str, tuple[int, str]] = {}
        self._positions: list[tuple[int, str]] = []
        """Where each member stands, and its id, as two may stand at one place."""
        self._texts: list[bytes] = []
        self._whole: bytes | None = None
        """A hash of all of it, without salt, which no other list has; kept until something changes."""

    def put(self, member: Member) -> None:
        """Take in a member or what became of it; O(log n) but for moving the lists' tails when it is new."""
        text = f"{member.peer} {member.incarnation} {member.health.value} {member.standing.value}\n".encode()
        place = self._position.get(member.peer)
        if place is not None:
            index = bisect_left(self._positions, place)
            if self._texts[index] != text:
                self._texts[index] = text
                self._whole = None
            return
        self._whole = None
        place = self._position[member.peer] = position(member.peer), member.peer
        index = bisect_left(self._positions, place)
        self._positions.insert(index, place)
        self._texts.insert(index, text)

    def within(self, lo: int, hi: int) -> list[str]:
        """Who stands there, in order."""
        first, last = self._slice(lo, hi)
        return [peer for _, peer in self._positions[first:last]]

    # What antientropy.py compares

    def fingerprint(self, lo: int, hi: int, salt: bytes) -> bytes:
        if (lo, hi) == POSITIONS:
            if self._whole is None:
                self._whole = _hash(self._texts)
            said = self._whole
        else:
            first, last = self._slice(lo, hi)
            said = _hash(self._texts[first:last])
        return blake2b(said, digest_size=FINGERPRINT_SIZE, key=salt).digest()

    def pieces(self, lo: int, hi: int, parts: int) -> list[Range]:
        """`[lo, hi)` in up to `parts` pieces with about equally many members."""
        first, last = self._slice(lo, hi)
        inner = [self._positions[first + index * (last - first) // parts][0] for index in range(1, parts)]
        bounds = sorted({lo, hi, *inner})
        return [Range(*ends) for ends in pairwise(bounds)]

    def few(self, lo: int, hi: int) -> bool:
        first, last = self._slice(lo, hi)
        # All at one position is as narrow as it gets.
        return last - first <= FEW or self._positions[first][0] == self._positions[last - 1][0]

    def _slice(self, lo: int, hi: int) -> tuple[int, int]:
        first = bisect_left(self._positions, (lo, ""))
        return first, bisect_left(self._positions, (hi, ""), first)


def _hash(texts: list[bytes]) -> bytes:
    return blake2b(b"".join(texts), digest_size=HASH_SIZE).digest()


def position(peer: str) -> int:
    return int.from_bytes(blake2b(peer.encode(), digest_size=4).digest(), "big")
