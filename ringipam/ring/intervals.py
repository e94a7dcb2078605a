"""A set of addresses as disjoint ranges."""

from __future__ import annotations

from collections.abc import Iterator

from sortedcontainers import SortedDict

from ringipam.address import Range


class Intervals:
    def __init__(self) -> None:
        self._map: SortedDict = SortedDict()
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    def __len__(self) -> int:
        return len(self._map)

    def __iter__(self) -> Iterator[Range]:
        return iter([Range(s, e) for s, e in self._map.items()])

    def __contains__(self, address: object) -> bool:
        assert isinstance(address, int)
        i = self._map.bisect_right(address) - 1
        return i >= 0 and bool(self._map.peekitem(i)[1] > address)

    def within(self, lo: int, hi: int) -> Iterator[Range]:
        i = max(0, self._map.bisect_right(lo) - 1)
        while i < len(self._map):
            s, e = self._map.peekitem(i)
            if s >= hi:
                return
            if e > lo:
                yield Range(max(s, lo), min(e, hi))
            i += 1

    def add(self, start: int, end: int) -> None:
        self.discard(start, end)
        i = self._map.bisect_right(start) - 1
        s, e = start, end
        if i >= 0:
            ps, pe = self._map.peekitem(i)
            if pe == start:
                s = ps
        if end in self._map:
            e = self._map.pop(end)
        self._map[s] = e
        self._size += end - start

    def discard(self, start: int, end: int) -> None:
        for s, e in list(self.within(start, end)):
            i = self._map.bisect_right(s) - 1
            fs, fe = self._map.peekitem(i)
            del self._map[fs]
            if fs < s:
                self._map[fs] = s
            if e < fe:
                self._map[e] = fe
            self._size -= e - s

    def count(self, lo: int, hi: int, at_most: int | None = None) -> int:
        n = 0
        for s, e in self.within(lo, hi):
            n += e - s
            if at_most is not None and n >= at_most:
                return at_most
        return n

    def first(self, lo: int, hi: int) -> int | None:
        for s, _ in self.within(lo, hi):
            return s
        return None
