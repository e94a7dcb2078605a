"""Fingerprints stand for what a ring says of a range, and for nothing else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ring_oracle import BASES, copy, ranges, rings, universes

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.ring.fingerprint import FINGERPRINT_SIZE, fingerprint, pieces
from ringipam.ring.ring import Ring

SALT = b"one exchange"


@given(st.data())
def test_fingerprints_are_equal_where_and_only_where_the_rings_are(data: st.DataObject) -> None:
    universe = data.draw(universes)
    one, other = data.draw(rings(universe)), data.draw(rings(universe))
    lo, hi = data.draw(ranges(universe))

    agree = list(one.segments(lo, hi)) == list(other.segments(lo, hi))

    assert (fingerprint(one, lo, hi, SALT) == fingerprint(other, lo, hi, SALT)) == agree


@given(st.data())
def test_what_a_ring_holds_elsewhere_does_not_matter(data: st.DataObject) -> None:
    universe = data.draw(universes)
    ring = data.draw(rings(universe))
    lo, hi = data.draw(ranges(universe))
    other = copy(ring)

    other.join(
        Segment(start, end, Claim(9, 9, "z", "z"))
        for start, end in ((universe.start, lo), (hi, universe.end))
        if start < end
    )

    assert fingerprint(other, lo, hi, SALT) == fingerprint(ring, lo, hi, SALT)


@given(st.data(), st.binary(max_size=64), st.binary(max_size=64))
def test_another_salt_gives_another_fingerprint(data: st.DataObject, salt: bytes, other: bytes) -> None:
    """safety.md S21: a collision in one exchange is none in the next."""
    universe = data.draw(universes)
    ring = data.draw(rings(universe))

    same = fingerprint(ring, *universe, salt) == fingerprint(ring, *universe, other)

    # blake2b pads its key with zeros and knows its length; only equal keys are equal.
    assert same == (salt == other)
    assert len(fingerprint(ring, *universe, salt)) == FINGERPRINT_SIZE


def test_names_cannot_be_shifted_into_one_another() -> None:
    owners = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), ("1 a", "bc"), ("a", "b c"), ("é", "c")]

    prints = {
        fingerprint(Ring.from_tokens(Range(0, 8), [(0, Claim(0, 1, owner, writer))]), 0, 8, SALT)
        for owner, writer in owners
    }

    assert len(prints) == len(owners)


def test_a_fingerprint_is_the_same_in_every_process_and_on_every_version() -> None:
    """It travels between peers: a change of these bytes is a change of the protocol."""
    ring = Ring.from_tokens(Range(0, 1 << 128), [(0, Claim(0, 1, "a.1", "b.2")), (1 << 127, Claim(1, 2, "é", ""))])

    assert fingerprint(ring, 0, 1 << 128, SALT).hex() == "7ae644d70a672ec4"


@given(st.data(), st.integers(1, 20))
def test_pieces_make_up_the_range_at_tokens_with_about_as_many_each(data: st.DataObject, parts: int) -> None:
    universe = data.draw(universes)
    ring = data.draw(rings(universe))
    lo, hi = data.draw(ranges(universe))

    found = pieces(ring, lo, hi, parts)

    assert [found[0].start, found[-1].end] == [lo, hi]
    assert all(left.end == right.start for left, right in pairwise(found))
    counts = [len(list(ring.segments(*piece))) for piece in found]
    assert len(found) == min(parts, sum(counts))
    assert max(counts) - min(counts) <= 1
    assert {piece.start for piece in found[1:]} <= {start for start, _ in ring.tokens()}


@pytest.mark.parametrize("base", BASES)
def test_one_token_is_one_piece(base: int) -> None:
    ring = Ring(Range(base, base + 24))

    assert pieces(ring, base + 3, base + 9) == [Range(base + 3, base + 9)]


def test_no_addresses_make_no_pieces() -> None:
    assert pieces(Ring(Range(0, 8)), 5, 5) == []
