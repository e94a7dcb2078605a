"""Random numbers that are the same on every version of Python, from a seed that comes from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: five bits a character, in the order of ASCII."""
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_NUMBER_BITS = range(70, -1, -10)
_CHANCE_BITS = 35
_DRAWS = 16


class Rng:
    """SplitMix64 (Steele, Lea and Flood, 2014): small, fast, and its output is fixed for ever."""

    __slots__ = ("_last", "_state")

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK
        self._last = 0

    def bits64(self) -> int:
        self._state = (self._state + _GAMMA) & _MASK
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
        return "".join(_ALPHABET[self.bits64() >> 59] for _ in range(length))

    def number(self, now: int) -> str:
        """16 characters that are unique for ever: the milliseconds since 1970, then chance. None twice from one `Rng`.

        Each is greater than the one before, so that what is numbered by them is written side by side; a ULID does the
        same with 26 characters.
        """
        drawn = self.bits64() >> (64 - _CHANCE_BITS)
        # Takes as much of the sequence as 16 drawn characters did: seeds on record go on meaning the same runs.
        self._state = (self._state + (_DRAWS - 1) * _GAMMA) & _MASK
        self._last = number = max(now << _CHANCE_BITS | drawn, self._last + 1)
        return "".join([_PAIRS[number >> shift & 1023] for shift in _NUMBER_BITS])
