"""Who owns which range. Knows nothing of leases, time or messages."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ringipam.address import Range
from ringipam.claim import NOBODY, Claim, Segment


class Changed(NamedTuple):
    """A piece of the universe whose claim changed."""

    start: int
    end: int
    old: Claim
    new: Claim


@dataclass(frozen=True, slots=True)
class Joined:
    """What a join did: pointwise (`changed`), and to the token map (`removed`, then `put`)."""

    changed: tuple[Changed, ...]
    removed: tuple[int, ...]
    put: tuple[tuple[int, Claim], ...]
    ties: tuple[Changed, ...]

    def __bool__(self) -> bool:
        return bool(self.changed)

    @property
    def segments(self) -> tuple[Segment, ...]:
        out: list[Segment] = []
        for start, end, _, new in self.changed:
            if out and out[-1].end == start and out[-1].claim == new:
                out[-1] = Segment(out[-1].start, end, new)
            else:
                out.append(Segment(start, end, new))
        return tuple(out)


class Ring:
    def __init__(self, universe: Range) -> None:
        self.universe = universe
        self._starts = [universe.start]
        self._claims = [NOBODY]

    @classmethod
    def from_tokens(cls, universe: Range, tokens: Iterable[tuple[int, Claim]]) -> Ring:
        ring = cls(universe)
        starts: list[int] = []
        claims: list[Claim] = []
        last = None
        for start, claim in tokens:
            if last is not None and start <= last:
                raise ValueError("unsorted")
            if not universe.start <= start < universe.end:
                raise ValueError("out of range")
            if last is None and start != universe.start:
                raise ValueError("first token")
            last = start
            if not claims or claims[-1] != claim:
                starts.append(start)
                claims.append(claim)
        if not starts:
            raise ValueError("no token")
        ring._starts, ring._claims = starts, claims
        return ring

    def __len__(self) -> int:
        return len(self._starts)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Ring)
            and self.universe == other.universe
            and self._starts == other._starts
            and self._claims == other._claims
        )

    __hash__ = None  # type: ignore[assignment]

    def tokens(self) -> list[tuple[int, Claim]]:
        return list(zip(self._starts, self._claims, strict=True))

    def segments(self, lo: int | None = None, hi: int | None = None) -> Iterator[Segment]:
        lo = self.universe.start if lo is None else max(lo, self.universe.start)
        hi = self.universe.end if hi is None else min(hi, self.universe.end)
        if lo >= hi:
            return
        i = bisect_right(self._starts, lo) - 1
        n = len(self._starts)
        while i < n and self._starts[i] < hi:
            end = self._starts[i + 1] if i + 1 < n else self.universe.end
            yield Segment(max(lo, self._starts[i]), min(hi, end), self._claims[i])
            i += 1

    def at(self, address: int) -> Claim:
        if address not in self.universe:
            raise ValueError("outside")
        return self._claims[bisect_right(self._starts, address) - 1]

    def join(self, segments: Iterable[Segment]) -> Joined:
        todo = list(segments)
        for start, end, _ in todo:
            if not self.universe.start <= start < end <= self.universe.end:
                raise ValueError("segment outside")
        changed: list[Changed] = []
        ties: list[Changed] = []
        before = {}
        removed: dict[int, None] = {}
        for start, end, claim in todo:
            for s, e, mine in list(self.segments(start, end)):
                if mine == claim:
                    continue
                if mine.stamp == claim.stamp:
                    ties.append(Changed(s, e, mine, claim))
                if claim > mine:
                    self._set(s, e, claim, before)
                    changed.append(Changed(s, e, mine, claim))
        now = dict(zip(self._starts, self._claims, strict=True)) if before else {}
        removed = {s: None for s, c in sorted(before.items()) if c is not None and s not in now}
        put = tuple((s, now[s]) for s in sorted(before) if s in now and now[s] != before[s])
        changed.sort()
        return Joined(tuple(changed), tuple(removed), put, tuple(ties))

    def _set(self, start: int, end: int, claim: Claim, before: dict[int, Claim | None]) -> None:
        """Overwrite [start,end); remember the token map as it was around it."""
        i = bisect_left(self._starts, start)
        j = bisect_left(self._starts, end)
        after = self._claims[j - 1]
        has_end = j < len(self._starts) and self._starts[j] == end
        new_s: list[int] = []
        new_c: list[Claim] = []
        if i == 0 or self._claims[i - 1] != claim:
            new_s.append(start)
            new_c.append(claim)
        if end < self.universe.end:
            if not has_end:
                if after != claim:
                    new_s.append(end)
                    new_c.append(after)
            elif self._claims[j] == claim:
                j += 1
        for s, c in zip(self._starts[i:j], self._claims[i:j], strict=True):
            before.setdefault(s, c)
        for s in new_s:
            before.setdefault(s, None)
        self._starts[i:j] = new_s
        self._claims[i:j] = new_c

    def grant(self, start: int, end: int, grantee: str, writer: str) -> tuple[Segment, ...]:
        out: list[Segment] = []
        for s, e, c in self.segments(start, end):
            if c.owner != writer:
                raise ValueError("not owner")
            if out and out[-1].claim.epoch == c.epoch:
                v = max(out[-1].claim.version, c.version + 1)
                out[-1] = Segment(out[-1].start, e, Claim(c.epoch, v, grantee, writer))
            else:
                out.append(Segment(s, e, Claim(c.epoch, c.version + 1, grantee, writer)))
        return tuple(out)

    def coalescible(self, owner: str, lo: int | None = None, hi: int | None = None) -> tuple[Segment, ...]:
        out: list[Segment] = []
        run: list[Segment] = []
        for s in [*self.segments(lo, hi), Segment(-1, -1, NOBODY)]:
            if run and s.claim.owner == owner and s.claim.epoch == run[0].claim.epoch:
                run.append(s)
                continue
            if len(run) > 1:
                v = max(x.claim.version for x in run) + 1
                out.append(Segment(run[0].start, run[-1].end, Claim(run[0].claim.epoch, v, owner, owner)))
            run = [s] if s.claim.owner == owner else []
        return tuple(out)

    def ranges_of(self, owner: str, lo: int | None = None, hi: int | None = None) -> list[Range]:
        out: list[Range] = []
        for s, e, c in self.segments(lo, hi):
            if c.owner == owner:
                if out and out[-1].end == s:
                    out[-1] = Range(out[-1].start, e)
                else:
                    out.append(Range(s, e))
        return out

    def owners(self, lo: int | None = None, hi: int | None = None) -> dict[str, int]:
        out: dict[str, int] = {}
        for s, e, c in self.segments(lo, hi):
            if c.owner:
                out[c.owner] = out.get(c.owner, 0) + e - s
        return out

    def check(self) -> None:
        assert self._starts[0] == self.universe.start
