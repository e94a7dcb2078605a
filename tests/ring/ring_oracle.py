"""Small rings of every shape, and the naive dictionary address → claim they are judged by."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from ringipam.address import Range
from ringipam.claim import NOBODY, Claim, Segment
from ringipam.ring.ring import Changed, Joined, Ring

SIZE = 24
"""Addresses in a universe: few enough to be looked at one by one."""

BASES = (0, 10 << 24, 0xFD00_0010 << 96, (1 << 128) - SIZE)
"""Where the universe starts: at zero, in IPv4, in IPv6, and up to the very last IPv6 address."""

Values = dict[int, Claim]

PEERS = ("a.1", "b.2", "c.3")

universes = st.sampled_from([Range(base, base + SIZE) for base in BASES])

# Few different values, so that equal claims, equal stamps and equal owners all happen often.
claims = st.one_of(
    st.just(NOBODY),
    st.builds(Claim, st.integers(0, 1), st.integers(0, 3), st.sampled_from(PEERS), st.sampled_from(PEERS)),
)


@st.composite
def rings(draw: st.DrawFn, universe: Range) -> Ring:
    """Any ring at all, reachable or not."""
    offsets = draw(st.sets(st.integers(1, SIZE - 1), max_size=8))
    starts = [universe.start, *(universe.start + offset for offset in sorted(offsets))]
    return Ring.from_tokens(universe, [(start, draw(claims)) for start in starts])


@st.composite
def deltas(draw: st.DrawFn, universe: Range) -> list[Segment]:
    """Segments in any order that may overlap."""
    return draw(st.lists(segments(universe), max_size=6))


@st.composite
def segments(draw: st.DrawFn, universe: Range) -> Segment:
    part = draw(ranges(universe))
    return Segment(part.start, part.end, draw(claims))


@st.composite
def ranges(draw: st.DrawFn, universe: Range) -> Range:
    """A part of the universe that has addresses."""
    start = draw(st.integers(0, SIZE - 1))
    end = draw(st.integers(start + 1, SIZE))
    return Range(universe.start + start, universe.start + end)


@st.composite
def long_joins(draw: st.DrawFn) -> tuple[Ring, list[Segment]]:
    """A ring of up to 400 tokens, and so many segments that it is not joined as a short delta is."""
    start = draw(st.sampled_from(BASES[:3]))
    universe = Range(start, start + 400)
    random = Random(draw(st.integers(0, 2**32)))  # a ring of hundreds of choices is more than hypothesis can vary
    newest = draw(st.sampled_from((2, 9)))  # with 9 nearly all of the delta is news

    def claim(version_max: int) -> Claim:
        if random.random() < 0.1:
            return Claim(*NOBODY)  # equal and not the same
        return Claim(random.randint(0, 1), random.randint(0, version_max), random.choice(PEERS), PEERS[0])

    cuts = sorted(random.sample(range(*universe), draw(st.sampled_from((0, 20, 100, 390)))))
    ring = Ring.from_tokens(universe, [(cut, claim(2)) for cut in dict.fromkeys([start, *cuts])])
    places = sorted(random.sample(range(*universe), draw(st.sampled_from((70, 200)))))
    reach = draw(st.integers(1, 2))  # apart, or some upon the next
    return ring, [Segment(at, min(at + reach, universe.end), claim(newest)) for at in places]


@st.composite
def cases(draw: st.DrawFn, count: int = 1) -> list[Ring]:
    """So many rings of one universe."""
    universe = draw(universes)
    return [draw(rings(universe)) for _ in range(count)]


def copy(ring: Ring) -> Ring:
    return Ring.from_tokens(ring.universe, ring.tokens())


def joined(ring: Ring, other: Ring) -> Ring:
    """Their join, both left as they were."""
    result = copy(ring)
    result.join(other.segments())
    result.check()
    return result


def values(ring: Ring) -> Values:
    return {address: ring.at(address) for address in range(*ring.universe)}


def spread(delta: list[Segment]) -> Values:
    """The greatest claim that a delta makes to each address."""
    found: Values = {}
    for start, end, claim in delta:
        for address in range(start, end):
            found[address] = max(found.get(address, claim), claim)
    return found


def greatest(mine: Values, theirs: Values) -> Values:
    return {address: max(claim, theirs.get(address, claim)) for address, claim in mine.items()}


def normal_form(found: Values) -> list[tuple[int, Claim]]:
    return [(address, claim) for address, claim in found.items() if found.get(address - 1) != claim]


def plainly_joined(ring: Ring, delta: list[Segment]) -> Joined:
    """What the join of a delta into a ring is to report, found address by address."""
    mine, theirs = values(ring), spread(delta)
    before, after = dict(normal_form(mine)), dict(normal_form(greatest(mine, theirs)))
    said = [(address, mine[address], claim) for address, claim in sorted(theirs.items())]
    return Joined(
        changed=_largest_pieces([(address, old, new) for address, old, new in said if new > old]),
        removed=tuple(start for start in before if start not in after),
        put=tuple((start, claim) for start, claim in after.items() if before.get(start) != claim),
        ties=_largest_pieces([(at, old, new) for at, old, new in said if old.stamp == new.stamp and old != new]),
    )


def _largest_pieces(found: list[tuple[int, Claim, Claim]]) -> tuple[Changed, ...]:
    pieces: list[Changed] = []
    for address, old, new in found:
        start = address
        if pieces and pieces[-1][1:] == (address, old, new):
            start = pieces.pop().start
        pieces.append(Changed(start, address + 1, old, new))
    return tuple(pieces)


def replayed(tokens: list[tuple[int, Claim]], result: Joined) -> list[tuple[int, Claim]]:
    """The token map on disk after the record of a join: first `removed`, then `put`."""
    on_disk = dict(tokens)
    for start in result.removed:
        del on_disk[start]
    on_disk.update(result.put)
    return sorted(on_disk.items())
