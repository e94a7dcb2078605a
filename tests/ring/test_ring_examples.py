"""The ring by example: safety.md S3 and S19, and the cases in which weave's ring failed (reference/weave.md)."""

from __future__ import annotations

import pytest
from ring_oracle import BASES, joined

from ringipam.address import Range
from ringipam.claim import NOBODY, Claim, Segment
from ringipam.ring.ring import Changed, Ring

UNIVERSE = Range(0, 256)


def ring_of(*tokens: tuple[int, Claim], universe: Range = UNIVERSE) -> Ring:
    return Ring.from_tokens(universe, tokens)


def claim(owner: str, version: int, epoch: int = 0, writer: str = "") -> Claim:
    return Claim(epoch, version, owner, writer or owner)


# What makes a ring


def test_at_first_nobody_owns_anything() -> None:
    ring = Ring(UNIVERSE)

    assert ring.tokens() == [(0, NOBODY)]
    assert ring.owners() == {}
    assert list(ring.segments()) == [Segment(0, 256, NOBODY)]


@pytest.mark.parametrize(
    ("starts", "problem"),
    [
        ([], "at least one token"),
        ([1], "first token is 1"),
        ([0, 9, 5], "not sorted"),
        ([0, 9, 9], "repeated"),
        ([0, 256], "outside"),
        ([-1, 5], "outside"),
    ],
)
def test_tokens_that_make_no_ring_are_refused_by_name(starts: list[int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ring_of(*((start, claim("a", start)) for start in starts))


def test_a_universe_without_addresses_is_refused() -> None:
    with pytest.raises(ValueError, match="a universe has addresses"):
        Ring(Range(5, 5))


@pytest.mark.parametrize("address", [-1, 256])
def test_there_is_no_claim_outside_the_universe(address: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        Ring(UNIVERSE).at(address)


def test_rings_of_different_universes_differ() -> None:
    assert Ring(Range(0, 8)) != Ring(Range(0, 16))
    assert Ring(Range(0, 8)) != "ring"


@pytest.mark.parametrize(
    ("bounds", "claims"),
    [
        ([0, 256], [NOBODY, claim("a", 1)]),
        ([1, 256], [NOBODY]),
        ([0, 255], [NOBODY]),
        ([0, 9, 9, 256], [NOBODY, claim("a", 1), NOBODY]),
        ([0, 9, 256], [claim("a", 1), claim("a", 1)]),
    ],
)
def test_check_finds_each_broken_invariant(bounds: list[int], claims: list[Claim]) -> None:
    ring = Ring(UNIVERSE)
    ring._bounds, ring._claims = bounds, claims

    with pytest.raises(AssertionError):
        ring.check()


# S3: all four fields


def test_neighbours_that_differ_in_the_writer_alone_stay_two_tokens() -> None:
    mine = ring_of((0, claim("c", 2, writer="a")), (10, claim("c", 2, writer="x")))

    mine.check()
    assert len(mine) == 2
    assert [mine.at(9).writer, mine.at(10).writer] == ["a", "x"]


def test_peers_that_heard_of_two_writers_in_opposite_order_agree() -> None:
    by_a = Segment(0, 10, claim("c", 2, writer="a"))
    by_x = Segment(10, 20, claim("c", 2, writer="x"))
    one, other = Ring(UNIVERSE), Ring(UNIVERSE)

    one.join([by_a])
    one.join([by_x])
    other.join([by_x])
    other.join([by_a])

    assert one == other
    assert [token for token, _ in one.tokens()] == [0, 10, 20]


def test_rings_that_differ_in_the_writer_alone_are_not_equal() -> None:
    assert ring_of((0, claim("c", 2, writer="a"))) != ring_of((0, claim("c", 2, writer="x")))


def test_a_change_of_the_writer_alone_reaches_the_disk() -> None:
    ring = ring_of((0, claim("c", 2, writer="a")))

    result = ring.join([Segment(0, 256, claim("c", 2, writer="x"))])

    assert result.put == ((0, claim("c", 2, writer="x")),)
    assert result.removed == ()


def test_neighbours_equal_in_all_four_fields_become_one_token_across_joins() -> None:
    ring = ring_of((0, claim("a", 1)), (10, claim("b", 1)), (20, claim("a", 2)))

    result = ring.join([Segment(0, 20, claim("a", 2))])

    assert ring.tokens() == [(0, claim("a", 2))]
    assert result.removed == (10, 20)
    assert result.put == ((0, claim("a", 2)),)


# S19: grants over epochs


def test_a_grant_over_two_epochs_is_two_closed_ranges() -> None:
    ring = ring_of((0, claim("a", 7)), (64, claim("a", 3)), (128, claim("a", 2, epoch=1)))

    grant = ring.grant(32, 192, "b", "a")

    assert grant == (
        Segment(32, 128, claim("b", 8, writer="a")),
        Segment(128, 192, claim("b", 3, epoch=1, writer="a")),
    )


def test_an_epoch_that_comes_back_is_a_piece_of_its_own() -> None:
    ring = ring_of((0, claim("a", 7)), (64, claim("a", 1, epoch=1)), (128, claim("a", 2)))

    grant = ring.grant(0, 256, "b", "a")

    assert [segment.claim.stamp for segment in grant] == [(0, 8), (1, 2), (0, 3)]


@pytest.mark.parametrize(("start", "end"), [(5, 5), (9, 3), (-1, 4), (250, 257)])
def test_a_grant_outside_the_universe_or_of_nothing_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="not a part"):
        ring_of((0, claim("a", 1))).grant(start, end, "b", "a")


def test_a_grant_to_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="must be peers"):
        ring_of((0, claim("a", 1))).grant(0, 10, "", "a")


def test_nobody_cannot_grant_what_nobody_owns() -> None:
    with pytest.raises(ValueError, match="must be peers"):
        Ring(UNIVERSE).grant(0, 10, "a", "")


def test_tokens_of_different_epochs_are_not_coalesced() -> None:
    ring = ring_of((0, claim("a", 1)), (10, claim("a", 5)), (20, claim("a", 1, epoch=1)), (30, claim("a", 2, epoch=1)))

    assert ring.coalescible("a") == (Segment(0, 20, claim("a", 6)), Segment(20, 256, claim("a", 3, epoch=1)))
    assert ring.coalescible("b") == ()


# Weave's cases


def test_a_grant_there_and_back_and_there_again() -> None:
    """reference/weave.md section 4, "Grant" (a) to (c)."""
    ring = ring_of((0, claim("p1", 0)))

    ring.join(ring.grant(0, 256, "p2", "p1"))
    ring.join(ring.grant(10, 256, "p1", "p2"))
    ring.join(ring.grant(245, 256, "p2", "p1"))

    assert [(start, held.owner, held.version) for start, held in ring.tokens()] == [
        (0, "p2", 1),
        (10, "p1", 2),
        (245, "p2", 3),
    ]


def test_crossing_grants_meet_in_one_ring() -> None:
    """reference/weave.md section 4, "Merge, clean"."""
    p1 = ring_of((0, claim("p1", 0)))
    p1.join(p1.grant(128, 256, "p2", "p1"))
    p2 = joined(p1, p1)

    p1.join(p1.grant(0, 128, "p2", "p1"))
    p2.join(p2.grant(128, 256, "p1", "p2"))

    assert joined(p1, p2) == joined(p2, p1)
    assert joined(p1, p2).owners() == {"p2": 128, "p1": 128}


def test_two_peers_that_took_over_the_same_range_agree_on_one_owner_and_see_the_tie() -> None:
    """D1: weave's peers each keep themselves."""
    p1, p2 = ring_of((0, claim("p1", 104))), ring_of((0, claim("p2", 104)))
    first, second = list(p1.segments()), list(p2.segments())

    at_p1, at_p2 = p1.join(second), p2.join(first)

    assert p1 == p2
    assert p1.owners() == {"p2": 256}
    assert at_p1.ties == (Changed(0, 256, claim("p1", 104), claim("p2", 104)),)
    assert at_p2.ties == (Changed(0, 256, claim("p2", 104), claim("p1", 104)),)
    assert at_p1
    assert not at_p2


def test_third_parties_that_saw_a_tie_in_opposite_order_converge() -> None:
    """D2: weave's keep what they saw first."""
    news = [Segment(0, 256, claim(owner, 3)) for owner in ("p1", "p2")]
    one, other = Ring(UNIVERSE), Ring(UNIVERSE)

    for segment in news:
        one.join([segment])
    for segment in reversed(news):
        other.join([segment])

    assert one == other


def test_a_loss_shows_though_my_own_token_was_renewed() -> None:
    """D3: weave accepts `[0 p1 v2][.128 p2 v0]`, loses .200 and tells nobody."""
    mine = ring_of((0, claim("p1", 1)))

    result = mine.join([Segment(0, 128, claim("p1", 2)), Segment(128, 256, claim("p2", 2, writer="p1"))])

    assert result.changed == (
        Changed(0, 128, claim("p1", 1), claim("p1", 2)),
        Changed(128, 256, claim("p1", 1), claim("p2", 2, writer="p1")),
    )


def test_an_older_claim_to_a_part_of_mine_takes_nothing() -> None:
    """D3 and D5 as weave sends them: the incoming token of p2 has version 0."""
    mine = ring_of((0, claim("p1", 1)))

    assert not mine.join([Segment(0, 128, claim("p1", 1)), Segment(128, 256, claim("p2", 0))])
    assert mine.owners() == {"p1": 256}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("lost", [(0, 1), (0, 12), (7, 9), (12, 24), (23, 24), (0, 24)])
@pytest.mark.parametrize("my_tokens", [(0,), (0, 12), (0, 8, 20), (0, 23), tuple(range(24))])
def test_a_loss_shows_wherever_my_tokens_sit(base: int, lost: tuple[int, int], my_tokens: tuple[int, ...]) -> None:
    """D4 (a range at the start of the universe) and D5 (at its end): weave looks at tokens one by one."""
    universe = Range(base, base + 24)
    mine = ring_of(*((base + offset, claim("p1", offset % 2)) for offset in my_tokens), universe=universe)
    start, end = base + lost[0], base + lost[1]

    result = mine.join([Segment(start, end, claim("p2", 2, writer="p1"))])

    mine.check()
    assert result.changed[0].start == start
    assert result.changed[-1].end == end
    assert sum(piece.end - piece.start for piece in result.changed) == end - start
    assert {(piece.old.owner, piece.new.owner) for piece in result.changed} == {("p1", "p2")}
    assert result.segments == (Segment(start, end, claim("p2", 2, writer="p1")),)
    assert mine.ranges_of("p2") == [Range(start, end)]


def test_what_is_joined_while_segments_are_read_does_not_show() -> None:
    ring = ring_of((0, claim("a", 1)), (128, claim("b", 1)))
    reading = ring.segments()
    next(reading)

    ring.join([Segment(0, 256, claim("c", 9))])

    assert next(reading) == Segment(128, 256, claim("b", 1))


def test_a_ring_prints_as_what_makes_it() -> None:
    ring = ring_of((0, claim("a", 1)), (128, claim("b", 1)))

    assert eval(repr(ring), {"Ring": Ring, "Range": Range, "Claim": Claim}) == ring


def test_what_an_owner_has_around_an_address_ends_where_anothers_begins() -> None:
    ring = ring_of((0, claim("a", 1)), (8, claim("b", 1)), (16, claim("b", 2)), (24, claim("a", 1)))

    assert [ring.around(address) for address in (3, 8, 23, 255)] == [(0, 8), (8, 24), (8, 24), (24, 256)]
