"""Who owns which range: tokens, their join, grants. Knows nothing of leases, messages or time.

The ring is a state-based CRDT (docs/design.md, "The ring"): it maps every address to a claim, and two rings
join by taking the greater claim of each address. All of this works on tokens, never on single addresses, so
that a /8 or a /48 costs what its number of tokens costs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from typing import NamedTuple

from ringipam.address import Range
from ringipam.claim import NOBODY, Claim, Segment
from ringipam.ring.intervals import Intervals

SPLICES_IN_PLACE_MAX = 32
"""Up to so many separate changes, moving the tails of the two lists is cheaper than building them anew."""
TOKENS_A_SEGMENT_MAX = 4
"""Where there are no more tokens than these for each segment of a long delta, a sweep over all of them is cheaper."""
UNSAID = Claim(-1, -1, "", "")
"""Older than every claim, and the stamp of none."""


class Changed(NamedTuple):
    """A range whose claim became another, or in `Joined.ties` one of which two claims are held."""

    start: int
    end: int
    old: Claim
    new: Claim


_changed: Callable[[tuple[int, int, Claim, Claim]], Changed] = partial(tuple.__new__, Changed)
"""`Changed` of four values in half the time."""


class _Splice(NamedTuple):
    """The tokens number `first`, …, `last - 1` are to be replaced by these."""

    first: int
    last: int
    starts: list[int]
    claims: list[Claim]


@dataclass(frozen=True, slots=True)
class Joined:
    """What a join did; true iff it changed anything."""

    changed: tuple[Changed, ...]
    """The pointwise difference, in order and in the largest pieces there are: what I lost and what I won."""
    removed: tuple[int, ...]
    """Where there is no token any more."""
    put: tuple[tuple[int, Claim], ...]
    """Tokens that are new or have another claim. `removed`, then `put`, is one record on disk (safety.md S19)."""
    ties: tuple[Changed, ...]
    """Where the stamps were equal but the claims were not: `old` is mine and `new` is theirs, whichever won.

    Cannot happen between correct peers, as only the owner raises a version; raised as a conflict.
    """

    def __bool__(self) -> bool:
        return bool(self.changed)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The news in it, as closed ranges to pass on."""
        found: list[Segment] = []
        for start, end, _, claim in self.changed:
            if found and found[-1].end == start and found[-1].claim == claim:
                start = found.pop().start
            found.append(Segment(start, end, claim))
        return tuple(found)


class Ring:
    """An owner for every address of the universe.

    Invariants, checked by `check`:

    * the first token sits at the start of the universe, tokens strictly increase and lie inside it;
    * neighbouring tokens differ in epoch, version, owner or writer (normal form, safety.md S3).

    With n tokens, a look-up is O(log n), a query O(log n + tokens in it). Two rings are equal iff their
    universes and their normal forms are.
    """

    __slots__ = ("_bounds", "_claims", "universe")

    def __init__(self, universe: Range) -> None:
        """The ring of which nothing is known yet: nobody owns anything."""
        if universe.start >= universe.end:
            raise ValueError(f"a universe has addresses, this one is {_text(*universe)}")
        self.universe = universe
        self._bounds = [universe.start, universe.end]
        """Where each token starts, and last where the universe ends."""
        self._claims = [NOBODY]
        """What each token holds; one shorter."""

    @classmethod
    def from_tokens(cls, universe: Range, tokens: Iterable[tuple[int, Claim]]) -> Ring:
        """The ring of these tokens, brought to normal form; raises ValueError if they do not make one."""
        ring = cls(universe)
        starts: list[int] = []
        claims: list[Claim] = []
        before: int | None = None
        for start, claim in tokens:
            if start not in universe:
                raise ValueError(f"token {start} lies outside the universe {_text(*universe)}")
            if before is None and start != universe.start:
                raise ValueError(f"the first token is {start}, not the start of the universe {_text(*universe)}")
            if before is not None and start <= before:
                raise ValueError(f"token {start} is {'repeated' if start == before else f'not sorted: after {before}'}")
            before = start
            if not claims or claims[-1] != claim:
                starts.append(start)
                claims.append(claim)
        if not starts:
            raise ValueError("a ring has at least one token, at the start of the universe")
        ring._bounds, ring._claims = [*starts, universe.end], claims
        return ring

    # What it says

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self._claims)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ring):
            return NotImplemented
        return self._bounds == other._bounds and self._claims == other._claims

    __hash__ = None  # type: ignore[assignment]  # a ring changes

    def __repr__(self) -> str:
        return f"Ring.from_tokens({self.universe}, {self.tokens()})"

    def tokens(self) -> list[tuple[int, Claim]]:
        return list(zip(self._bounds, self._claims, strict=False))

    def columns(self, lo: int | None = None, hi: int | None = None) -> tuple[list[int], list[Claim]]:
        """The normal form of `[lo, hi)` as two lists, starts and claims; the first start is `lo` itself."""
        within = self._clip(lo, hi)
        if within.start >= within.end:
            return [], []
        first = bisect_right(self._bounds, within.start) - 1
        last = bisect_left(self._bounds, within.end, first)
        starts = self._bounds[first:last]
        starts[0] = within.start
        return starts, self._claims[first:last]

    def segments(self, lo: int | None = None, hi: int | None = None) -> Iterator[Segment]:
        """The closed ranges that make up `[lo, hi)`; what is joined meanwhile does not show."""
        return map(Segment, *self._three_columns(lo, hi))

    def _three_columns(self, lo: int | None, hi: int | None) -> tuple[list[int], list[int], list[Claim]]:
        """The starts, ends and claims of the segments of `[lo, hi)`."""
        starts, claims = self.columns(lo, hi)
        return starts, [*starts[1:], self._clip(lo, hi).end], claims

    def at(self, address: int) -> Claim:
        if address not in self.universe:
            raise ValueError(f"address {address} lies outside the universe {_text(*self.universe)}")
        return self._claims[bisect_right(self._bounds, address) - 1]

    def around(self, address: int) -> Range:
        """All that the owner of `address` owns around it without a gap; O(log n + tokens in it)."""
        first = last = bisect_right(self._bounds, address) - 1
        owner = self.at(address).owner
        while first and self._claims[first - 1].owner == owner:
            first -= 1
        while last + 1 < len(self._claims) and self._claims[last + 1].owner == owner:
            last += 1
        return Range(self._bounds[first], self._bounds[last + 1])

    def ranges_of(self, owner: str, lo: int | None = None, hi: int | None = None) -> list[Range]:
        """What `owner` owns of `[lo, hi)`, in order; neighbouring tokens make one range."""
        found: list[Range] = []
        for start, end, claim in zip(*self._three_columns(lo, hi), strict=False):
            if claim.owner == owner:
                if found and found[-1].end == start:
                    start = found.pop().start
                found.append(Range(start, end))
        return found

    def owners(self, lo: int | None = None, hi: int | None = None) -> dict[str, int]:
        """How many addresses of `[lo, hi)` each owner has, the owners in order of first occurrence."""
        sizes: dict[str, int] = {}
        for start, end, (_, _, owner, _) in zip(*self._three_columns(lo, hi), strict=False):
            if owner:
                sizes[owner] = sizes.get(owner, 0) + end - start
        return sizes

    # What an owner may write; pure, to be joined (here too) as any other news

    def grant(self, start: int, end: int, grantee: str, writer: str) -> tuple[Segment, ...]:
        """What hands `[start, end)` to `grantee`; raises ValueError unless `writer` owns all of it.

        One closed range for each piece of one epoch, above every version in that piece: a greatest version
        over several epochs has no meaning (safety.md S19).
        """
        if not self.universe.start <= start < end <= self.universe.end:
            raise ValueError(f"cannot grant {_text(start, end)}: not a part of {_text(*self.universe)}")
        if not grantee or not writer:
            raise ValueError(f"cannot grant {_text(start, end)} from {writer!r} to {grantee!r}: both must be peers")
        held = list(self.segments(start, end))
        for segment in held:
            if segment.claim.owner != writer:
                owner = segment.claim.owner or "nobody"
                raise ValueError(f"{writer} cannot grant {_text(segment.start, segment.end)}: {owner} owns it")
        runs = [list(run) for _, run in groupby(held, key=lambda segment: segment.claim.epoch)]
        return tuple(_restamped(run, grantee, writer) for run in runs)

    def coalescible(self, owner: str, lo: int | None = None, hi: int | None = None) -> tuple[Segment, ...]:
        """What makes one token of each run of neighbouring tokens of one epoch that are all `owner`'s.

        Takes only tokens wholly inside `[lo, hi)`: to restamp a part of one saves nothing. The owner may join
        it only where it possesses all of it (safety.md S2), which this file cannot know.
        """
        whole = self.segments(*self._whole_tokens(lo, hi))
        runs = (list(run) for _, run in groupby(whole, key=lambda segment: (segment.claim.owner, segment.claim.epoch)))
        return tuple(_restamped(run, owner, owner) for run in runs if len(run) > 1 and run[0].claim.owner == owner)

    # How it changes

    def join(self, segments: Iterable[Segment]) -> Joined:
        """Take the greater claim of each address; raises ValueError, before any change, on a malformed segment.

        Total, commutative, associative and idempotent, and depends on the two arguments alone. The segments
        may come in any order and overlap. O(m log n) for m sorted segments besides moving the lists' tails, and
        O(m + n) where there are as many segments as tokens.
        """
        theirs = self._canonical(segments)
        if len(theirs) > max(SPLICES_IN_PLACE_MAX, len(self) // TOKENS_A_SEGMENT_MAX):
            return self._sweep(theirs)
        changed, where, ties = self._compare(theirs)
        if not changed:
            return Joined((), (), (), tuple(ties))
        removed, put = self._carry_out(self._splices(changed, where))
        return Joined(tuple(changed), tuple(removed), tuple(put), tuple(ties))

    def check(self) -> None:
        """Assert the invariants of the class."""
        assert len(self._bounds) == len(self._claims) + 1, "a claim for each token"
        assert self._bounds[0] == self.universe.start, "a token at the start of the universe"
        assert self._bounds[-1] == self.universe.end, "the last token reaches to the end of the universe"
        for start, end in pairwise(self._bounds):
            assert start < end, f"tokens increase from {start} to {end}"
        for start, (left, right) in zip(self._bounds[1:], pairwise(self._claims), strict=False):
            assert left != right, f"token {start} differs from the one before it (normal form)"

    def _clip(self, lo: int | None, hi: int | None) -> Range:
        start, end = self.universe
        return Range(start if lo is None else max(lo, start), end if hi is None else min(hi, end))

    def _whole_tokens(self, lo: int | None, hi: int | None) -> Range:
        """What the tokens that lie wholly inside `[lo, hi)` cover."""
        within = self._clip(lo, hi)
        first = bisect_left(self._bounds, within.start)
        last = bisect_right(self._bounds, within.end) - 1
        return Range(self._bounds[first], self._bounds[last]) if first < last else Range(within.end, within.end)

    def _canonical(self, segments: Iterable[Segment]) -> list[Segment]:
        """The same claims, sorted, disjoint, equal neighbours merged."""
        found = sorted(segments)
        lowest, highest = self.universe
        merged: list[Segment] = []
        last_end, last_claim, overlap = lowest, NOBODY, False
        for segment in found:
            start, end, claim = segment
            if not lowest <= start < end <= highest:
                raise ValueError(f"segment {_text(start, end)} is not a part of the universe {_text(*self.universe)}")
            if start < last_end:
                overlap = True
            elif start == last_end and claim == last_claim and merged:
                segment = Segment(merged.pop().start, end, claim)
            merged.append(segment)
            last_end, last_claim = end, claim
        return self._canonical(_newest(found)) if overlap else merged

    def _sweep(self, theirs: list[Segment]) -> Joined:  # a call for each piece would take as long again
        """The join of canonical segments; makes all tokens anew, while it compares."""
        changed: list[Changed] = []
        ties: list[Changed] = []
        removed: list[int] = []
        put: list[tuple[int, Claim]] = []
        starts: list[int] = []
        claims: list[Claim] = []
        start, end = self.universe
        mine, news = zip(self._bounds[1:], self._claims, strict=True), _covering(theirs, self.universe)
        (my_stop, old), (their_stop, new) = next(mine), next(news)
        before_old: Claim | None = None
        before: Claim | None = None
        while True:
            stop = my_stop if my_stop < their_stop else their_stop
            claim = old
            if old < new:
                changed.append(_changed((start, stop, old, new)))
                claim = new
            if old.version == new.version and old.epoch == new.epoch and old != new:
                ties.append(Changed(start, stop, old, new))
            if claim is not before and claim != before:
                starts.append(start)
                claims.append(claim)
                if claim is not old or old is before_old:  # no token of mine starts here, or not with this claim
                    put.append((start, claim))
            elif old is not before_old:
                removed.append(start)
            if stop == end:
                break
            before_old, before, start = old, claim, stop
            if stop == my_stop:
                my_stop, old = next(mine)
            if stop == their_stop:
                their_stop, new = next(news)
        if changed:
            self._bounds, self._claims = [*starts, end], claims
        return Joined(tuple(changed), tuple(removed), tuple(put), tuple(ties))

    def _compare(self, theirs: list[Segment]) -> tuple[list[Changed], list[int], list[Changed]]:
        """What would change, the number of the token each change lies in, and the ties: one sweep over both."""
        changed: list[Changed] = []
        where: list[int] = []
        ties: list[Changed] = []
        bounds, claims = self._bounds, self._claims
        index, stop = 0, self.universe.start
        for start, end, claim in theirs:
            if start != stop:
                index = bisect_right(bounds, start, index) - 1
            while start < end:
                mine, stop = claims[index], bounds[index + 1]
                if stop > end:
                    stop = end
                if mine != claim:
                    if mine < claim:
                        changed.append(Changed(start, stop, mine, claim))
                        where.append(index)
                    if mine.version == claim.version and mine.epoch == claim.epoch:
                        ties.append(Changed(start, stop, mine, claim))
                start = stop
                if stop == bounds[index + 1]:
                    index += 1
        return changed, where, ties

    def _splices(self, changed: list[Changed], where: list[int]) -> list[_Splice]:
        """The replacements of tokens which bring `changed` about and keep the normal form.

        One for each run of changes without a gap. Between two runs lies an address that keeps its claim, so
        no two of them touch the same token.
        """
        gaps = [index for index in range(1, len(changed)) if changed[index - 1].end != changed[index].start]
        runs = pairwise([0, *gaps, len(changed)])
        return [self._splice(changed[head:tail], where[head], where[tail - 1] + 1) for head, tail in runs]

    def _splice(self, run: list[Changed], first: int, last: int) -> _Splice:
        """The replacement for a run of changes without a gap, in the tokens `first`, …, `last - 1`."""
        if self._bounds[first] < run[0].start:
            first += 1
        left = self._claims[first - 1] if first else None
        starts: list[int] = []
        claims: list[Claim] = []
        for start, _, _, claim in run:
            if claim != left:
                starts.append(start)
                claims.append(claim)
                left = claim
        end, old = run[-1].end, run[-1].old
        if end < self._bounds[last]:
            starts.append(end)
            claims.append(old)
        elif last < len(self._claims) and self._claims[last] == left:
            last += 1
        return _Splice(first, last, starts, claims)

    def _as_one(self, splices: list[_Splice]) -> _Splice:
        """One splice for the whole ring that does what these do."""
        starts: list[int] = []
        claims: list[Claim] = []
        done = 0
        for first, last, new_starts, new_claims in splices:
            starts += self._bounds[done:first]
            starts += new_starts
            claims += self._claims[done:first]
            claims += new_claims
            done = last
        return _Splice(0, len(self._claims), starts + self._bounds[done:-1], claims + self._claims[done:])

    def _carry_out(self, splices: list[_Splice]) -> tuple[list[int], list[tuple[int, Claim]]]:
        """Replace tokens; what that does to the token map, `(removed, put)`."""
        if len(splices) > SPLICES_IN_PLACE_MAX:
            splices = [self._as_one(splices)]
        removed: list[int] = []
        put: list[tuple[int, Claim]] = []
        for first, last, starts, claims in splices:
            old = dict(zip(self._bounds[first:last], self._claims[first:last], strict=True))
            put += [token for token in zip(starts, claims, strict=True) if old.pop(token[0], None) != token[1]]
            removed += old
        for first, last, starts, claims in reversed(splices):
            self._bounds[first:last] = starts
            self._claims[first:last] = claims
        return removed, put


def _restamped(run: list[Segment], owner: str, writer: str) -> Segment:
    """One claim over a run of one epoch, above every version in it."""
    version = max(segment.claim.version for segment in run) + 1
    return Segment(run[0].start, run[-1].end, Claim(run[0].claim.epoch, version, owner, writer))


def _newest(segments: list[Segment]) -> list[Segment]:
    """The pointwise greatest of segments that overlap: the newest claim first, each where none newer lies."""
    left = Intervals((start, end) for start, end, _ in segments)
    newest: list[Segment] = []
    for start, end, claim in sorted(segments, key=lambda segment: segment.claim, reverse=True):
        newest += [Segment(*piece, claim) for piece in left.within(start, end)]
        left.discard(start, end)
    return newest


def _covering(segments: list[Segment], universe: Range) -> Iterator[tuple[int, Claim]]:
    """Where each segment stops, and its claim; `UNSAID` where there is none."""
    reached = universe.start
    for start, end, claim in segments:
        if start != reached:
            yield start, UNSAID
        yield end, claim
        reached = end
    if reached != universe.end:
        yield universe.end, UNSAID


def _text(start: int, end: int) -> str:
    return f"[{start}, {end})"
