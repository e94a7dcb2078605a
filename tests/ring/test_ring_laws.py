"""What holds for every ring, judged by a naive dictionary address → claim."""

from __future__ import annotations

from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ring_oracle import (
    PEERS,
    cases,
    copy,
    deltas,
    greatest,
    joined,
    long_joins,
    normal_form,
    plainly_joined,
    ranges,
    replayed,
    rings,
    spread,
    universes,
    values,
)

from ringipam.address import Range
from ringipam.claim import NOBODY, Claim, Segment
from ringipam.ring.ring import Changed, Joined, Ring

# The join


@given(cases(2))
def test_a_join_is_commutative_over_any_two_rings(pair: list[Ring]) -> None:
    mine, theirs = pair

    assert joined(mine, theirs) == joined(theirs, mine)


@given(cases(3))
def test_a_join_is_associative_over_any_three_rings(three: list[Ring]) -> None:
    a, b, c = three

    assert joined(joined(a, b), c) == joined(a, joined(b, c))


@given(cases(2))
def test_a_join_is_idempotent(pair: list[Ring]) -> None:
    mine, theirs = pair
    once = joined(mine, theirs)

    again = once.join(theirs.segments())

    assert not again
    assert again == Joined((), (), (), again.ties)
    assert not again.segments
    assert not once.join(once.segments())


@given(cases(2))
def test_a_join_leaves_the_other_ring_alone(pair: list[Ring]) -> None:
    mine, theirs = pair
    before = theirs.tokens()

    mine.join(theirs.segments())

    assert theirs.tokens() == before


@given(st.data())
def test_a_join_takes_the_greater_claim_of_each_address(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring, delta = data.draw(rings(universe)), data.draw(deltas(universe))
    wanted = greatest(values(ring), spread(delta))

    ring.join(delta)

    ring.check()
    assert values(ring) == wanted
    assert ring.tokens() == normal_form(wanted)


@given(st.data())
def test_the_order_of_a_delta_does_not_matter(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring, delta = data.draw(rings(universe)), data.draw(deltas(universe))
    other = copy(ring)

    assert other.join(data.draw(st.permutations(delta))) == ring.join(delta)
    assert other == ring


@given(st.data())
def test_a_delta_in_parts_gives_what_it_gives_whole(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring, delta = data.draw(rings(universe)), data.draw(deltas(universe))
    other = copy(ring)

    ring.join(delta)
    for segment in delta:
        other.join([segment])

    assert other == ring


@given(st.data())
def test_the_record_of_a_join_turns_the_token_map_before_into_the_one_after(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring, delta = data.draw(rings(universe)), data.draw(deltas(universe))
    before = ring.tokens()

    result = ring.join(delta)

    assert replayed(before, result) == ring.tokens()
    assert set(result.removed) <= {start for start, _ in before}
    assert not set(result.put) & set(before)
    assert not set(result.removed) & {start for start, _ in result.put}


@given(st.data())
def test_a_join_reports_exactly_what_changed_in_the_largest_pieces(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring, delta = data.draw(rings(universe)), data.draw(deltas(universe))
    before = values(ring)

    result = ring.join(delta)

    after = values(ring)
    differing = {address: (before[address], after[address]) for address in before if before[address] != after[address]}
    assert _spread_pieces(result.changed) == differing
    assert _spread_pieces(result.changed, pick=1) == spread(list(result.segments))
    assert bool(result) == bool(differing)
    _assert_largest(result.changed)
    assert all(left.end < right.start or left.claim != right.claim for left, right in pairwise(result.segments))


@given(st.data())
def test_what_a_join_changed_is_all_another_peer_needs(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring, delta = data.draw(rings(universe)), data.draw(deltas(universe))
    other = copy(ring)

    result = ring.join(delta)
    other.join(result.segments)

    assert other == ring


@given(st.data())
def test_equal_stamps_with_different_claims_are_reported_whoever_won(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring, delta = data.draw(rings(universe)), data.draw(deltas(universe))
    before, theirs = values(ring), spread(delta)

    result = ring.join(delta)

    assert _spread_pieces(result.ties) == {
        address: (before[address], claim)
        for address, claim in theirs.items()
        if claim != before[address] and claim.stamp == before[address].stamp
    }
    _assert_largest(result.ties)


@given(st.data())
def test_a_short_delta_is_joined_as_one_that_is_looked_at_address_by_address(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring, delta = data.draw(rings(universe)), data.draw(deltas(universe))
    wanted = plainly_joined(ring, delta)

    assert ring.join(delta) == wanted


@given(long_joins())
def test_a_long_delta_is_joined_as_one_that_is_looked_at_address_by_address(case: tuple[Ring, list[Segment]]) -> None:
    """Short and long deltas go different ways, as do long ones into few tokens and into many."""
    ring, delta = case
    wanted, tokens = plainly_joined(ring, delta), normal_form(greatest(values(ring), spread(delta)))

    assert ring.join(delta) == wanted

    ring.check()
    assert ring.tokens() == tokens


@given(st.integers(0, 2**32), st.integers(33, 200))
def test_many_changes_at_once_are_as_good_as_few(seed: int, count: int) -> None:
    """Above `SPLICES_IN_PLACE_MAX` the lists are built anew: the other way to the same ring."""
    universe = Range(seed, seed + 4 * count)
    ring = Ring.from_tokens(universe, [(seed + 2 * i, Claim(0, i % 3, "a", "a")) for i in range(2 * count)])
    other, before = copy(ring), ring.tokens()
    delta = [Segment(seed + 4 * i, seed + 4 * i + 1 + i % 3, Claim(0, 1 + i % 2, "a", "a")) for i in range(count)]

    result = ring.join(delta)
    for segment in delta:
        other.join([segment])

    ring.check()
    assert other == ring
    assert replayed(before, result) == ring.tokens()


@given(st.data())
def test_a_malformed_segment_is_refused_before_anything_changed(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring, delta = data.draw(rings(universe)), data.draw(deltas(universe))
    start, end = universe
    bad = data.draw(st.sampled_from([(start, start), (start + 2, start + 1), (start - 1, end), (start, end + 1)]))
    delta.insert(data.draw(st.integers(0, len(delta))), Segment(*bad, Claim(9, 9, "z", "z")))
    before = ring.tokens()

    with pytest.raises(ValueError, match="segment"):
        ring.join(delta)

    assert ring.tokens() == before


# Grants and coalescing


@given(st.data())
def test_a_grant_hands_over_all_of_it_and_nothing_else(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring = _owned(data.draw(rings(universe)), "a.1")
    start, end = data.draw(ranges(universe))
    before, tokens = values(ring), ring.tokens()

    grant = ring.grant(start, end, "b.2", "a.1")

    assert ring.tokens() == tokens, "granting is pure until it is joined"
    assert not ring.join(grant).ties
    for address, old in before.items():
        new = ring.at(address)
        if start <= address < end:
            assert (new.epoch, new.owner, new.writer) == (old.epoch, "b.2", "a.1")
            assert new.version > old.version
        else:
            assert new == old


@given(st.data())
def test_a_grant_is_one_closed_range_for_each_piece_of_one_epoch(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring = _owned(data.draw(rings(universe)), "a.1")
    start, end = data.draw(ranges(universe))
    held = [(address, ring.at(address)) for address in range(start, end)]

    grant = ring.grant(start, end, "b.2", "a.1")

    pieces = [list(piece) for _, piece in groupby(held, key=lambda item: item[1].epoch)]
    assert [(segment.start, segment.end, segment.claim.stamp) for segment in grant] == [
        (piece[0][0], piece[-1][0] + 1, (piece[0][1].epoch, max(claim.version for _, claim in piece) + 1))
        for piece in pieces
    ]


@given(st.data())
def test_only_the_owner_of_all_of_it_can_grant(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring = data.draw(rings(universe))
    start, end = data.draw(ranges(universe))
    owners = {ring.at(address).owner for address in range(start, end)}

    if owners == {"a.1"}:
        assert ring.grant(start, end, "b.2", "a.1")
    else:
        with pytest.raises(ValueError, match="owns it"):
            ring.grant(start, end, "b.2", "a.1")


@given(cases(), st.sampled_from(PEERS))
def test_coalescing_changes_no_owner_and_no_epoch_and_leaves_fewer_tokens(case: list[Ring], owner: str) -> None:
    (ring,) = case
    before, size = values(ring), len(ring)

    restamps = ring.coalescible(owner)
    ring.join(restamps)

    ring.check()
    assert {address: (claim.epoch, claim.owner) for address, claim in values(ring).items()} == {
        address: (claim.epoch, claim.owner) for address, claim in before.items()
    }
    assert len(ring) <= size - len(restamps)
    assert not ring.coalescible(owner), "nothing is left to merge"
    assert all(segment.claim.owner == segment.claim.writer == owner for segment in restamps)


@given(st.data())
def test_coalescing_a_part_touches_only_whole_tokens_in_it(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring = data.draw(rings(universe))
    lo, hi = data.draw(ranges(universe))
    size = len(ring)

    restamps = ring.coalescible("a.1", lo, hi)

    assert all(lo <= segment.start < segment.end <= hi for segment in restamps)
    result = ring.join(restamps)
    assert len(ring) <= size - len(restamps)
    assert bool(result) == bool(restamps)


@pytest.mark.parametrize(("lo", "hi"), [(0, 0), (50, 40), (-9, -3), (300, 400)])
def test_a_part_without_addresses_holds_nothing(lo: int, hi: int) -> None:
    ring = Ring.from_tokens(Range(10, 266), [(10, Claim(0, 1, "a", "a")), (20, Claim(0, 2, "a", "a"))])

    assert not list(ring.segments(lo, hi))
    assert not ring.coalescible("a", lo, hi)
    assert not ring.ranges_of("a", lo, hi)
    assert ring.owners(lo, hi) == {}


# Queries


@given(st.data())
def test_queries_agree_with_the_addresses_one_by_one(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring = data.draw(rings(universe))
    lo, hi = data.draw(ranges(universe))
    part = {address: ring.at(address) for address in range(lo, hi)}

    assert spread(list(ring.segments(lo, hi))) == part
    assert [(start, claim) for start, _, claim in ring.segments(lo, hi)] == normal_form(part)
    counted: dict[str, int] = {}
    for claim in part.values():
        if claim.owner:
            counted[claim.owner] = counted.get(claim.owner, 0) + 1
    assert list(ring.owners(lo, hi).items()) == list(counted.items())
    for owner in PEERS:
        owned = ring.ranges_of(owner, lo, hi)
        assert [address for found in owned for address in range(*found)] == [
            address for address, claim in part.items() if claim.owner == owner
        ]
        assert all(left.end < right.start for left, right in pairwise(owned))


@given(cases())
def test_a_ring_of_its_own_tokens_is_the_same_ring(case: list[Ring]) -> None:
    (ring,) = case

    assert copy(ring) == ring
    assert [Segment(*segment) for segment in ring.segments()] == [
        Segment(start, end, claim)
        for (start, claim), end in zip(
            ring.tokens(), [*(start for start, _ in ring.tokens()[1:]), ring.universe.end], strict=True
        )
    ]


def _owned(ring: Ring, owner: str) -> Ring:
    """The same stamps and writers, all of it owned by one."""
    return Ring.from_tokens(ring.universe, [(start, claim._replace(owner=owner)) for start, claim in ring.tokens()])


def _spread_pieces(pieces: tuple[Changed, ...], pick: int | None = None) -> dict[int, object]:
    return {
        address: (old, new) if pick is None else (old, new)[pick]
        for start, end, old, new in pieces
        for address in range(start, end)
    }


def _assert_largest(pieces: tuple[Changed, ...]) -> None:
    for left, right in pairwise(pieces):
        assert left.end < right.start or (left.end == right.start and left[2:] != right[2:])


def test_nobody_never_wins() -> None:
    ring = Ring.from_tokens(Range(0, 256), [(0, Claim(0, 1, "a", "a"))])

    assert not ring.join([Segment(0, 256, NOBODY)])
