"""How founders share the universe."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringipam.address import Range, parse_cidr
from ringipam.claim import Claim
from ringipam.ring.ring import Ring
from ringipam.ring.shares import split


def peers(count: int) -> list[str]:
    return [f"host{number:03}.uid" for number in range(count)]


def sizes(universe: str | Range, count: int) -> list[int]:
    where = parse_cidr(universe).range if isinstance(universe, str) else universe
    return [segment.end - segment.start for segment in split(where, peers(count))]


@st.composite
def cidrs(draw: st.DrawFn) -> Range:
    bits = draw(st.sampled_from([32, 128]))
    size = 1 << draw(st.integers(0, bits))
    start = draw(st.integers(0, (1 << bits) // size - 1)) * size
    return Range(start, start + size)


@given(cidrs(), st.integers(1, 60))
def test_shares_cover_the_universe_without_a_gap_in_order_of_name(universe: Range, count: int) -> None:
    shares = split(universe, peers(count))

    assert [shares[0].start, shares[-1].end] == list(universe)
    assert all(left.end == right.start for left, right in pairwise(shares))
    names = [share.claim.owner for share in shares]
    assert names == sorted(set(names))
    assert len(names) == min(count, universe.size)
    assert all(share.claim == Claim(0, 1, share.claim.owner, share.claim.owner) for share in shares)


@given(cidrs(), st.integers(1, 60))
def test_shares_differ_by_less_than_a_quarter_from_sixteen_addresses_a_member_up(universe: Range, count: int) -> None:
    shares = [share.end - share.start for share in split(universe, peers(count))]

    if universe.size >= 16 * count:
        assert 4 * max(shares) < 5 * min(shares)
    if len(shares) == count:
        assert max(shares) - min(shares) <= max(1, min(shares) // 5)


@given(cidrs(), st.integers(2, 60))
def test_no_larger_blocks_would_keep_the_promise(universe: Range, count: int) -> None:
    shares = split(universe, peers(count))
    aligned = [share.start & -share.start for share in shares[1:]]

    if universe.size >= 16 * count:
        block = 2 * min(aligned)
        blocks, rest = divmod(universe.size // block, count)
        assert not blocks or (rest and 4 * (blocks + 1) >= 5 * blocks)


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 40))
def test_a_universe_that_is_no_cidr_is_shared_as_evenly(start: int, size: int, count: int) -> None:
    shares = split(Range(start, start + size), peers(count))

    assert sum(share.end - share.start for share in shares) == size
    if size >= 16 * count:
        lengths = [share.end - share.start for share in shares]
        assert 4 * max(lengths) < 5 * min(lengths)


@pytest.mark.parametrize("members", [["c", "a", "b"], ["b", "a", "c", "a"], ["a", "b", "c"]])
def test_neither_order_nor_repetition_of_the_names_matters(members: list[str]) -> None:
    assert split(Range(0, 256), members) == split(Range(0, 256), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("universe", "count", "wanted"),
    [
        ("10.0.0.0/24", 1, [256]),
        ("10.0.0.0/24", 2, [128, 128]),
        ("10.0.0.0/24", 3, [96, 80, 80]),
        ("10.0.0.0/24", 4, [64, 64, 64, 64]),
        ("10.0.0.0/24", 5, [56, 48, 56, 48, 48]),
        ("10.32.0.0/12", 2, [1 << 19, 1 << 19]),
        ("fd00:10::/64", 4, [1 << 62] * 4),
        ("fd00:10::/64", 3, [6 << 60, 5 << 60, 5 << 60]),
        ("::/0", 2, [1 << 127, 1 << 127]),
    ],
)
def test_shares_by_example(universe: str, count: int, wanted: list[int]) -> None:
    assert sizes(universe, count) == wanted


def test_twelve_peers_on_eight_addresses_get_one_each_or_none() -> None:
    shares = split(Range(0, 8), peers(12))

    assert [share.end - share.start for share in shares] == [1] * 8


def test_six_peers_on_a_slash_30() -> None:
    """As in weave: the tokens go to peers 0, 1, 3 and 4."""
    assert [share.claim.owner for share in split(Range(0, 4), peers(6))] == [peers(6)[i] for i in (0, 1, 3, 4)]


def test_without_members_there_are_no_shares() -> None:
    assert split(Range(0, 256), []) == ()


def test_joined_into_a_new_ring_the_shares_leave_nobody_an_address() -> None:
    ring = Ring(Range(0, 256))

    ring.join(split(ring.universe, ["a", "b", "c"]))

    assert ring.owners() == {"a": 96, "b": 80, "c": 80}
    assert len(ring) == 3
