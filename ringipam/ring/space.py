"""The addresses a peer possesses and may issue: free, or resting after use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sortedcontainers import SortedDict, SortedList

from ringipam.address import Range
from ringipam.ring.intervals import Intervals


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the quarantine that changed."""

    dropped: tuple[int, ...]
    put: tuple[tuple[int, int, int], ...]


class Space:
    def __init__(self) -> None:
        self.free = Intervals()
        self._rest: SortedDict = SortedDict()
        self._order: SortedList = SortedList()

    @property
    def next_wake(self) -> int | None:
        return self._order[0][0] if self._order else None

    def _rest_at(self, lo: int, hi: int) -> list[tuple[int, int, int]]:
        out = []
        i = max(0, self._rest.bisect_right(lo) - 1)
        while i < len(self._rest):
            s, (e, u) = self._rest.peekitem(i)
            if s >= hi:
                break
            if e > lo:
                out.append((s, e, u))
            i += 1
        return out

    def resting(self, lo: int, hi: int) -> Iterator[tuple[int, int, int]]:
        for s, e, u in self._rest_at(lo, hi):
            yield max(s, lo), min(e, hi), u

    def _cut(self, start: int, end: int) -> tuple[dict[int, None], dict[int, tuple[int, int]]]:
        dropped: dict[int, None] = {}
        put: dict[int, tuple[int, int]] = {}
        for s, e, u in self._rest_at(start, end):
            del self._rest[s]
            self._order.remove((u, s))
            dropped[s] = None
            if s < start:
                self._rest[s] = (start, u)
                self._order.add((u, s))
                put[s] = (start, u)
            if e > end:
                self._rest[end] = (e, u)
                self._order.add((u, end))
                put[end] = (e, u)
        return dropped, put

    @staticmethod
    def _rows(dropped: dict[int, None], put: dict[int, tuple[int, int]]) -> Rows:
        return Rows(tuple(s for s in dropped if s not in put), tuple((s, e, u) for s, (e, u) in put.items()))

    def add(self, start: int, end: int) -> Rows:
        cursor = start
        for s, e, _ in list(self.resting(start, end)):
            if cursor < s:
                self.free.add(cursor, s)
            cursor = e
        if cursor < end:
            self.free.add(cursor, end)
        return Rows((), ())

    def remove(self, start: int, end: int) -> Rows:
        self.free.discard(start, end)
        return self._rows(*self._cut(start, end))

    def rest(self, start: int, end: int, until: int) -> Rows:
        self.free.discard(start, end)
        dropped, put = self._cut(start, end)
        self._rest[start] = (end, until)
        self._order.add((until, start))
        put[start] = (end, until)
        return self._rows(dropped, put)

    def wake(self, now: int) -> Rows:
        dropped: dict[int, None] = {}
        while self._order and self._order[0][0] <= now:
            _, s = self._order.pop(0)
            e, _ = self._rest.pop(s)
            self.free.add(s, e)
            dropped[s] = None
        return self._rows(dropped, {})

    def pick(self, lo: int, hi: int) -> int | None:
        first = self.free.first(lo, hi)
        if first is not None:
            return first
        resting = list(self.resting(lo, hi))
        return min(resting, key=lambda r: (r[2], r[0]))[0] if resting else None

    def count_free(self, lo: int, hi: int, at_most: int | None = None) -> int:
        return self.free.count(lo, hi, at_most)

    def count(self, lo: int, hi: int, at_most: int | None = None) -> int:
        n = self.free.count(lo, hi) + sum(e - s for s, e, _ in self.resting(lo, hi))
        return n if at_most is None else min(n, at_most)

    def donation(self, lo: int, hi: int, want: int, last: bool) -> Range | None:
        limit = self.count(lo, hi) // 2
        if limit == 0:
            if not last:
                return None
            limit = 1
        size = 1
        while size < want:
            size *= 2
        while size > limit:
            size //= 2
        blocks = list(self.free.within(lo, hi))
        while size and blocks:
            best = None
            for s, e in blocks:
                top = (e - size) // size * size
                if top >= s:
                    best = top
            if best is not None:
                return Range(best, best + size)
            size //= 2
        resting = list(self.resting(lo, hi))
        if resting and last:
            a = min(resting, key=lambda r: (r[2], r[0]))[0]
            return Range(a, a + 1)
        return None
