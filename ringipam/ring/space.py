"""The addresses a peer possesses and may issue. Knows nothing of the ring, of leases, or of why it should give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from ringipam.address import Range
from ringipam.ring.freeranges import FreeRanges
from ringipam.ring.intervals import difference
from ringipam.ring.quarantine import NO_ROWS, Quarantine, Resting, Rows

__all__ = ["Resting", "Rows", "Space"]

FRAGMENTS_MAX = 1_000
"""So many fragments are counted before a block is granted: whoever needs more asks again, and nobody waits long."""


class Space:
    """The addresses that may be issued: each is free, or rests after use and is issued last.

    Invariants, checked by `check`: no address is both free and at rest, and those of `Intervals` and `Quarantine`.

    Works on ranges alone, so a /8 or a /48 costs what its fragments cost. Every change returns what it did to
    the rows of the quarantine, which are durable; the free ranges follow from the ring and the leases.
    """

    __slots__ = ("_quarantine", "free", "taken")

    def __init__(self) -> None:
        self.free = FreeRanges()
        self._quarantine = Quarantine()
        self.taken = 0
        """Counts every free address that was taken out: what was counted once holds but for these."""

    @property
    def size(self) -> int:
        """How many addresses are free or rest; O(1)."""
        return self.free.size + self._quarantine.size

    @property
    def next_wake(self) -> int | None:
        """When `wake` has something to do, or None."""
        return self._quarantine.next_wake

    # What changes it

    def add(self, start: int, end: int) -> Rows:
        """Possess `[start, end)`: free, but what rests in it goes on resting."""
        self.free.add(start, end)
        for resting in self._quarantine.within(start, end):
            self.free.discard(resting.start, resting.end)
        return NO_ROWS

    def remove(self, start: int, end: int) -> Rows:
        """Have `[start, end)` no longer, because it was issued, granted or lost."""
        self._take(start, end)
        return self._quarantine.cut(start, end)

    def remove_all(self, leased: Sequence[Range]) -> None:
        """As `remove` of many ranges, in order, before anything is issued: what rests in them is no matter."""
        self.free.discard_all(leased)
        if self._quarantine.size:
            for start, end in leased:
                self._quarantine.cut(start, end)

    def rest(self, start: int, end: int, until: int) -> Rows:
        """Possess `[start, end)`, resting until then, whatever it was before."""
        self._take(start, end)
        return self._quarantine.rest(start, end, until)

    def wake(self, now: int) -> Rows:
        """Free what has rested until `now`."""
        woken = self._quarantine.wake(now)
        for resting in woken:
            self.free.add(resting.start, resting.end)
        return Rows(tuple(resting.start for resting in woken), ())

    def _take(self, start: int, end: int) -> None:
        before = self.free.size
        self.free.discard(start, end)
        self.taken += before - self.free.size

    # What it offers

    def pick(self, lo: int, hi: int, barred: Sequence[Range] = ()) -> int | None:
        """The address of `[lo, hi)` to issue next: the lowest free one, else the one whose rest ends first.

        A rest is never the reason to refuse; nothing that is `barred` is picked.
        """
        pieces = difference([(lo, hi)], barred) if barred else (Range(lo, hi),)
        for piece in pieces:
            free = self.free.first(*piece)
            if free is not None:
                return free
        rests = filter(None, (self._quarantine.first_due(*piece) for piece in pieces))
        return min(rests, default=(0, None))[1]

    def whole(self, lo: int, hi: int, size: int, barred: Sequence[Range] = ()) -> int | None:
        """Where the lowest block of `size` in `[lo, hi)` starts that is aligned to `size` and all free."""
        for piece in difference([(lo, hi)], barred):
            start = self.free.first_block(*piece, size)
            if start is not None:
                return start
        return None

    def resting(self, lo: int, hi: int) -> Iterator[Resting]:
        """What rests in `[lo, hi)`, in order, clipped to it: `(start, end, until)`."""
        return self._quarantine.within(lo, hi)

    def count_free(self, lo: int, hi: int, at_most: int | None = None) -> int:
        """How many addresses of `[lo, hi)` are free; stops counting at `at_most`."""
        return self.free.count(lo, hi, at_most)

    def count(self, lo: int, hi: int, at_most: int | None = None) -> int:
        """How many addresses of `[lo, hi)` are free or rest; stops counting at `at_most`."""
        found = self.free.count(lo, hi, at_most)
        for start, end, _ in self._quarantine.within(lo, hi):
            if at_most is not None and found >= at_most:
                return at_most
            found += end - start
        return found if at_most is None else min(found, at_most)

    def donation(self, lo: int, hi: int, want: int, last: bool) -> Range | None:
        """The block of `[lo, hi)` to grant to one who wants `want` addresses, or None.

        It is free, a power of two in size and aligned to it, at most half of what is here, the largest that
        fits, and of those the highest. With `last`, meant for real demand alone
        (safety.md S17), the only address left goes too, even one at rest if nothing is free; without it half of
        what is *free* is the limit, else two peers with addresses at rest would prefetch the last free one to and
        fro.
        """
        if want < 1:
            return None
        wanted = _power_of_two_above(want)
        held = self._about(lo, hi, 2 * wanted, resting=last)
        limit = max(held // 2, int(last and held > 0))
        if not limit:
            return None
        block = self.free.last_block(lo, hi, min(wanted, _power_of_two_below(limit)))
        if block is None:
            resting = self._quarantine.first_due(lo, hi)
            return None if resting is None else Range(resting[1], resting[1] + 1)
        return block

    def check(self) -> None:
        """Assert the invariants of the class."""
        self.free.check()
        self._quarantine.check()
        for start, end, _ in self._quarantine:
            assert not self.free.count(start, end), f"[{start}, {end}) rests and is not free"

    def _about(self, lo: int, hi: int, at_most: int, *, resting: bool) -> int:
        """As `count`, or `count_free`, and never more than that; less where there are very many fragments.

        The highest come first: addresses are issued from below, so what is high is seldom in fragments.
        """
        found = 0
        rests = self._quarantine.within(lo, hi) if resting else ()
        for start, end, *_ in islice(chain(self.free.within_reversed(lo, hi), rests), FRAGMENTS_MAX):
            found += end - start
            if found >= at_most:
                return at_most
        return found


def _power_of_two_below(number: int) -> int:
    """The greatest power of two that is not above `number`, which is at least 1."""
    return 1 << (number.bit_length() - 1)


def _power_of_two_above(number: int) -> int:
    """The least power of two that is not below `number`, which is at least 1."""
    return 1 << (number - 1).bit_length()
