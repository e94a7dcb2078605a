"""Small rings of every shape, and the naive dictionary address → claim they are judged by."""

from __future__ import annotations

from hypothesis import strategies as st

from ringipam.address import Range
from ringipam.claim import NOBODY, Claim, Segment
from ringipam.ring.ring import Joined, Ring

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


def replayed(tokens: list[tuple[int, Claim]], result: Joined) -> list[tuple[int, Claim]]:
    """The token map on disk after the record of a join: first `removed`, then `put`."""
    on_disk = dict(tokens)
    for start in result.removed:
        del on_disk[start]
    on_disk.update(result.put)
    return sorted(on_disk.items())
