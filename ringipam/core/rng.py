"""Random numbers that are the same on every version of Python, from a seed that comes from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1


class Rng:
    """SplitMix64 (Steele, Lea and Flood, 2014): small, fast, and its output is fixed for ever."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def bits64(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, limit: int) -> int:
        """A number from 0 to `limit - 1`; the bias is below limit / 2**64."""
        return (self.bits64() * limit) >> 64

    def between(self, low: int, high: int) -> int:
        """A number from `low` to `high`, both included."""
        return low + ((self.bits64() * (high - low + 1)) >> 64)

    def chance(self, per_mille: int) -> bool:
        return (self.bits64() * 1000) >> 64 < per_mille

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """A copy in random order (Fisher and Yates)."""
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out

    def drawn(self, items: Sequence[T]) -> Iterator[T]:
        """As `shuffled`, drawn one by one: whoever needs only a few does not pay for all."""
        left = list(items)
        while left:
            chosen = self.below(len(left))
            left[chosen], left[-1] = left[-1], left[chosen]
            yield left.pop()

    def fork(self) -> Rng:
        """A generator of its own for one concern, so that drawing more here does not reshuffle it."""
        return Rng(self.bits64())

    def token(self, length: int) -> str:
        """`length` characters of Crockford's base 32, five random bits each."""
        alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
        return "".join(alphabet[self.bits64() >> 59] for _ in range(length))
