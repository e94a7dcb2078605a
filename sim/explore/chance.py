"""Chance without dice: names that are never drawn twice, and choices that exploration makes both ways."""

from __future__ import annotations

from ringipam.core.rng import Rng


class Chance(Rng):
    """What an explored peer gets for its `Rng`.

    Numbers and identifiers count up, over restarts too, so that none is ever used again. A choice is the first
    possible or, with `high`, the last; `asked` says whether there was any, and so whether the other is worth a look.
    """

    __slots__ = ("_drawn", "_place", "asked", "high")

    def __init__(self, place: int) -> None:
        super().__init__(0)
        self._place = place
        self._drawn = 0
        self.high = False
        self.asked = False

    def bits64(self) -> int:
        """Even, as callers halve it, and unlike any number of another peer."""
        self._drawn += 1
        return (self._place << 24 | self._drawn) << 1

    def below(self, limit: int) -> int:
        self.asked = self.asked or limit > 1
        return limit - 1 if self.high else 0

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)

    def chance(self, per_mille: int) -> bool:
        return self.below(1000) < per_mille

    def token(self, length: int) -> str:
        self._drawn += 1
        return f"{self._place}-{self._drawn}"

    def number(self, now: int) -> str:
        return self.token(1)  # without the time, which makes no difference

    def fork(self) -> Chance:
        """Itself: a copy would draw the same numbers again."""
        return self
