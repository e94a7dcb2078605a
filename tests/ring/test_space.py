"""What may be issued, judged by a set of free addresses and a dictionary of those at rest; and what is given away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ring_oracle import BASES, SIZE

from ringipam.address import Range
from ringipam.ring.quarantine import Quarantine, Resting
from ringipam.ring.space import Rows, Space

offsets = st.integers(0, SIZE)
times = st.integers(0, 9)


class SpaceMatchesASet(RuleBasedStateMachine):
    """Any sequence of changes and questions. `disk` is what the rows returned would have made of the table."""

    def __init__(self) -> None:
        super().__init__()
        self.base = BASES[0]
        self.space = Space()
        self.free: set[int] = set()
        self.resting: dict[int, int] = {}
        self.disk: dict[int, tuple[int, int]] = {}

    @initialize(base=st.sampled_from(BASES))
    def settle(self, base: int) -> None:
        self.base = base

    @rule(start=offsets, end=offsets)
    def add(self, start: int, end: int) -> None:
        self._write(self.space.add(self.base + start, self.base + end))
        self.free.update(address for address in self._range(start, end) if address not in self.resting)

    @rule(start=offsets, end=offsets)
    def remove(self, start: int, end: int) -> None:
        self._write(self.space.remove(self.base + start, self.base + end))
        for address in self._range(start, end):
            self.free.discard(address)
            self.resting.pop(address, None)

    @rule(start=offsets, end=offsets, until=times)
    def rest(self, start: int, end: int, until: int) -> None:
        self._write(self.space.rest(self.base + start, self.base + end, until))
        for address in self._range(start, end):
            self.free.discard(address)
            self.resting[address] = until

    @rule(now=times)
    def wake(self, now: int) -> None:
        self._write(self.space.wake(now))
        for address in [address for address, until in self.resting.items() if until <= now]:
            self.free.add(address)
            del self.resting[address]

    @rule(start=offsets, end=offsets, at_most=st.integers(0, SIZE))
    def ask(self, start: int, end: int, at_most: int) -> None:
        lo, hi = self.base + start, self.base + end
        free = [address for address in self._range(start, end) if address in self.free]
        resting = {address: self.resting[address] for address in self._range(start, end) if address in self.resting}

        assert self.space.count_free(lo, hi) == len(free)
        assert self.space.count(lo, hi) == len(free) + len(resting)
        assert self.space.count(lo, hi, at_most) == min(at_most, len(free) + len(resting))
        assert _by_address(self.space.resting(lo, hi)) == resting
        longest = min(resting, key=lambda address: (resting[address], address), default=None)
        assert self.space.pick(lo, hi) == (free[0] if free else longest)

    @invariant()
    def holds_the_same(self) -> None:
        self.space.check()
        assert [address for found in self.space.free for address in range(*found)] == sorted(self.free)
        assert _by_address(self.space.resting(0, 1 << 128)) == self.resting
        assert self.space.next_wake == min(self.resting.values(), default=None)

    @invariant()
    def the_rows_on_disk_are_the_quarantine(self) -> None:
        rows = [Resting(start, end, until) for start, (end, until) in sorted(self.disk.items())]
        assert rows == list(self.space.resting(0, 1 << 128))

    def _range(self, start: int, end: int) -> range:
        return range(self.base + start, self.base + end)

    def _write(self, rows: Rows) -> None:
        for start in rows.dropped:
            del self.disk[start]
        assert not set(rows.dropped) & {start for start, _, _ in rows.put}
        self.disk.update({start: (end, until) for start, end, until in rows.put})


SpaceMatchesASet.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestSpaceMatchesASet = SpaceMatchesASet.TestCase


def space_of(*ranges: tuple[int, int]) -> Space:
    space = Space()
    for start, end in ranges:
        space.add(start, end)
    return space


def given_away(space: Space, lo: int, hi: int, want: int = 256) -> list[tuple[int, int]]:
    """`(start, size)` of each donation until there is none left."""
    found: list[tuple[int, int]] = []
    while (block := space.donation(lo, hi, want, last=True)) is not None:
        space.remove(*block)
        found.append((block.start, block.size))
    return found


# Rest


def test_free_addresses_are_issued_lowest_first_and_rested_ones_last() -> None:
    space = space_of((10, 13))

    space.rest(10, 11, 1000)

    assert space.pick(0, 256) == 11
    space.remove(11, 13)
    assert space.pick(0, 256) == 10


def test_the_address_that_rested_longest_is_issued_rather_than_none() -> None:
    space = Space()
    space.rest(10, 11, 3000)
    space.rest(20, 21, 1000)
    space.rest(30, 31, 2000)

    assert space.pick(0, 256) == 20
    assert space.pick(25, 256) == 30
    assert space.pick(11, 20) is None


def test_possessing_an_address_again_does_not_end_its_rest() -> None:
    space = Space()
    space.rest(10, 12, 1000)

    rows = space.add(8, 16)

    assert not rows
    assert list(space.resting(0, 256)) == [(10, 12, 1000)]
    assert list(space.free) == [Range(8, 10), Range(12, 16)]


def test_a_rest_over_part_of_another_splits_its_row() -> None:
    space = Space()
    space.rest(0, 16, 1000)

    rows = space.rest(4, 8, 2000)

    assert rows == Rows((), ((0, 4, 1000), (4, 8, 2000), (8, 16, 1000)))


def test_a_rest_that_ends_takes_its_rows_with_it() -> None:
    space = Space()
    space.rest(0, 4, 1000)
    space.rest(4, 8, 2000)

    assert space.next_wake == 1000
    assert not space.wake(999)
    assert space.wake(1000) == Rows((0,), ())
    assert space.next_wake == 2000
    assert space.pick(0, 256) == 0


def test_a_lost_range_loses_its_rest_too() -> None:
    space = Space()
    space.rest(0, 16, 1000)

    assert space.remove(0, 8) == Rows((0,), ((8, 16, 1000),))
    assert space.count(0, 8) == 0


def test_resting_ranges_are_shown_clipped() -> None:
    """What a grant of [4, 8) takes along (safety.md S20)."""
    space = Space()
    space.rest(0, 6, 1000)
    space.rest(6, 16, 2000)

    assert list(space.resting(4, 8)) == [(4, 6, 1000), (6, 8, 2000)]


# Donations; the cases are weave's (reference/weave.md section 4, "Space.donate"), the highest block wins ties


@pytest.mark.parametrize("base", [0, 10 << 24, 0xFD00 << 112])
def test_everything_is_given_by_halves_down_to_the_last_address(base: int) -> None:
    space = space_of((base, base + 256))

    found = given_away(space, base, base + 256)

    assert [(start - base, size) for start, size in found] == [
        (128, 128),
        (64, 64),
        (32, 32),
        (16, 16),
        (8, 8),
        (4, 4),
        (2, 2),
        (1, 1),
        (0, 1),
    ]


def test_a_host_range_is_given_by_aligned_blocks_too() -> None:
    """weave #2009: asked for .1 to .254, not for the whole CIDR."""
    space = space_of((0, 256))

    assert given_away(space, 1, 255)[:3] == [(128, 64), (64, 64), (192, 32)]


def test_half_is_half_of_what_is_asked_for() -> None:
    space = space_of((0, 256))

    assert given_away(space, 32, 48) == [(40, 8), (36, 4), (34, 2), (33, 1), (32, 1)]
    assert space.count(0, 256) == 240


def test_a_taken_address_leaves_the_block_without_it() -> None:
    space = space_of((0, 1), (2, 256))

    assert space.donation(0, 256, 256, last=True) == Range(192, 256)


def test_a_block_as_large_as_half_but_not_aligned_is_not_given() -> None:
    """48 addresses, only .47 allocated: .16+16 goes, 31 stay."""
    space = space_of((0, 47))

    assert space.donation(0, 64, 256, last=True) == Range(16, 32)
    assert space_of((1, 3)).donation(0, 4, 2, last=True) == Range(2, 3)


def test_between_two_taken_ones_the_one_free_address_is_given() -> None:
    assert given_away(space_of((1, 2)), 0, 3) == [(1, 1)]


def test_a_donation_is_no_larger_than_wanted_rounded_up() -> None:
    space = space_of((0, 256))

    assert [space.donation(0, 256, want, last=False) for want in (1, 2, 3, 5, 100, 200)] == [
        Range(255, 256),
        Range(254, 256),
        Range(252, 256),
        Range(248, 256),
        Range(128, 256),
        Range(128, 256),
    ]


def test_who_wants_nothing_gets_nothing() -> None:
    assert space_of((0, 256)).donation(0, 256, 0, last=True) is None


def test_the_last_address_goes_to_real_demand_only() -> None:
    """safety.md S17."""
    space = space_of((77, 78))

    assert space.donation(0, 256, 8, last=False) is None
    assert space.donation(0, 256, 8, last=True) == Range(77, 78)


def test_the_last_free_address_stays_though_others_rest() -> None:
    """safety.md S17: else two peers with addresses at rest prefetch it to and fro."""
    space = space_of((77, 78))
    space.rest(80, 90, 1000)

    assert space.donation(0, 256, 8, last=False) is None
    assert space.donation(0, 256, 8, last=True) == Range(77, 78)


def test_an_address_at_rest_is_given_only_when_none_is_free_and_someone_waits() -> None:
    space = Space()
    space.rest(80, 84, 3000)
    space.rest(90, 94, 2000)

    assert space.donation(0, 256, 8, last=False) is None
    assert space.donation(0, 256, 8, last=True) == Range(90, 91)


def test_nothing_comes_of_nothing() -> None:
    assert Space().donation(0, 256, 8, last=True) is None
    assert Space().pick(0, 256) is None
    assert Space().next_wake is None


@settings(max_examples=400)
@given(
    st.sampled_from(BASES),
    st.lists(st.tuples(st.sampled_from(["free", "at rest", "taken"]), st.integers(1, 12)), min_size=6, max_size=12),
    st.tuples(st.integers(0, 6), st.integers(0, 6)),
    st.integers(1, 40),
    st.booleans(),
)
def test_a_donation_is_what_a_look_at_every_address_finds(
    base: int, runs: list[tuple[str, int]], margins: tuple[int, int], want: int, last: bool
) -> None:
    base &= ~63
    space = Space()
    states = [state for state, length in runs for _ in range(length)]
    for offset, state in enumerate(states):
        if state == "free":
            space.add(base + offset, base + offset + 1)
        elif state == "at rest":
            space.rest(base + offset, base + offset + 1, 1000 - 7 * offset % 13)
    lo, hi = base + margins[0], base + len(states) - margins[1]

    block = space.donation(lo, hi, want, last)

    assert block == _naive_donation(space, lo, hi, want, last)


def _naive_donation(space: Space, lo: int, hi: int, want: int, last: bool) -> Range | None:
    free = {address for address in range(lo, hi) if address in space.free}
    held = space.count(lo, hi) if last else len(free)
    size_max = min(max(held // 2, int(last and held > 0)), next(1 << k for k in range(7) if 1 << k >= want))
    for size in (64, 32, 16, 8, 4, 2, 1):
        starts = [start for start in sorted(free) if start % size == 0 and free.issuperset(range(start, start + size))]
        if size <= size_max and starts:
            return Range(starts[-1], starts[-1] + size)
    address = space.pick(lo, hi) if last else None
    return None if address is None else Range(address, address + 1)


@given(st.integers(0, 2**128 - 2), st.integers(1, 2**120), st.integers(1, 2**120))
def test_of_one_range_the_largest_aligned_block_up_to_half_is_given(start: int, size: int, want: int) -> None:
    space = space_of((start, start + size))

    block = space.donation(start, start + size, want, last=True)

    assert block is not None
    assert block.size.bit_count() == 1
    assert block.start % block.size == 0
    assert start <= block.start < block.end <= start + size
    assert block.size <= max(1, size // 2)
    larger = 2 * block.size
    assert larger > max(1, size // 2) or block.size >= want or -(-start // larger) * larger + larger > start + size


def test_many_fragments_of_a_large_range_are_looked_at_and_not_their_addresses() -> None:
    """A /48 in a hundred fragments of 2**60 addresses: to enumerate would take for ever."""
    space = space_of(*((index << 64, (index << 64) + (1 << 60)) for index in range(100)))

    block = space.donation(0, 1 << 80, 1 << 70, last=False)

    assert block == Range(99 << 64, (99 << 64) + (1 << 60))
    assert space.count(0, 1 << 80) == 100 << 60


# The checks


def _no_row(quarantine: Quarantine) -> None:
    quarantine._due.add((5, 50))


def _empty_row(quarantine: Quarantine) -> None:
    quarantine._put(Resting(20, 20, 5))


def _overlapping_row(quarantine: Quarantine) -> None:
    quarantine._put(Resting(7, 9, 5))


def _row_under_a_wrong_key(quarantine: Quarantine) -> None:
    quarantine._rows[3] = quarantine._rows.pop(4)


@pytest.mark.parametrize("plant", [_no_row, _empty_row, _overlapping_row, _row_under_a_wrong_key])
def test_check_finds_each_broken_invariant_of_the_quarantine(plant: Callable[[Quarantine], None]) -> None:
    quarantine = Quarantine()
    quarantine.rest(4, 8, 1000)
    quarantine.check()
    assert len(quarantine) == 1

    plant(quarantine)

    with pytest.raises(AssertionError):
        quarantine.check()


def test_check_finds_an_address_both_free_and_at_rest() -> None:
    space = Space()
    space.rest(4, 8, 1000)
    space.check()

    space.free.add(7, 9)

    with pytest.raises(AssertionError, match="rests and is not free"):
        space.check()


def _by_address(resting: object) -> dict[int, int]:
    assert hasattr(resting, "__iter__")
    return {address: until for start, end, until in resting for address in range(start, end)}
