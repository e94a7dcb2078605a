"""Two peers that compare what they hold find every difference, and little else travels."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.codec.limits import PRINT_BYTES
from ringipam.gossip.antientropy import PRINT_SIZE, Parted, answering, narrowed, prints, telling
from ringipam.gossip.ringparts import BLOCK_TOKENS, RingParts
from ringipam.gossip.roster import FEW, POSITIONS, Roster, position
from ringipam.messages import Health, Member
from ringipam.ring.ring import Ring

SALT = b"8 bytes!"
UNIVERSE = Range(0, 4096)
ROUNDS_MAX = 30


def member(number: int, incarnation: int = 1, health: Health = Health.ALIVE) -> Member:
    return Member(f"host{number}.{number:012x}", f"host{number}:6783", incarnation, health, 9)


def roster(members: list[Member]) -> Roster:
    found = Roster()
    for each in members:
        found.put(each)
    return found


def differing(one: Parted, other: Parted, whole: Range) -> list[Range]:
    """Where the two find that they differ, taking turns."""
    found: list[Range] = []
    looks = prints(one, *whole, SALT)
    for _ in range(ROUNDS_MAX):
        one, other = other, one
        looks, few = narrowed(one, looks, SALT)
        found += few
        if not looks:
            return found
    raise AssertionError("they never come to an end")


numbers = st.integers(0, 60)
lists = st.dictionaries(numbers, st.tuples(st.integers(0, 2), st.sampled_from(Health)), min_size=1)


@given(lists, lists)
def test_every_member_of_which_two_lists_differ_is_found(mine: dict[int, tuple[int, Health]], theirs: object) -> None:
    assert isinstance(theirs, dict)
    one, other = (roster([member(n, *known) for n, known in held.items()]) for held in (mine, theirs))

    found = differing(one, other, POSITIONS)

    apart = {n for n in {*mine, *theirs} if mine.get(n) != theirs.get(n)}
    assert all(any(position(member(n).peer) in span for span in found) for n in apart)
    assert bool(found) is bool(apart)


def test_what_two_lists_share_does_not_travel() -> None:
    one = roster([member(n) for n in range(1000)])
    other = roster([member(n, incarnation=2 if n == 500 else 1) for n in range(1000)])

    found = differing(one, other, POSITIONS)

    told = [peer for span in found for peer in one.within(*span)]
    assert member(500).peer in told
    assert len(told) <= FEW


def test_a_list_looks_the_same_in_whatever_order_it_came() -> None:
    members = [member(n) for n in range(50)]

    assert roster(members).fingerprint(*POSITIONS, SALT) == roster(members[::-1]).fingerprint(*POSITIONS, SALT)


def test_a_list_looks_different_under_another_salt() -> None:
    held = roster([member(1)])

    assert held.fingerprint(*POSITIONS, SALT) != held.fingerprint(*POSITIONS, b"another!")


def test_members_at_one_position_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringipam.gossip.roster.position", lambda peer: 7)
    one, other = (roster([member(n) for n in range(count)]) for count in (20, 21))

    found = differing(one, other, POSITIONS)

    assert [len(one.within(*span)) for span in found] == [20]


bounds = st.lists(st.integers(1, 4095), max_size=60, unique=True)
versions = st.lists(st.integers(0, 3), min_size=61, max_size=61)


def ring(starts: list[int], stamps: list[int]) -> Ring:
    edges = [0, *sorted(starts), 4096]
    held = Ring(UNIVERSE)
    held.join(
        Segment(lo, hi, Claim(0, version, f"h{version}.1", "w.2"))
        for lo, hi, version in zip(edges, edges[1:], stamps, strict=False)
        if version
    )
    return held


@given(bounds, versions, bounds, versions)
def test_two_rings_are_equal_after_one_exchange(
    my_starts: list[int], my_stamps: list[int], their_starts: list[int], their_stamps: list[int]
) -> None:
    rings = ring(my_starts, my_stamps), ring(their_starts, their_stamps)
    looks = prints(RingParts(rings[0]), *UNIVERSE, SALT)
    turn = 1
    while looks:
        mine, other = rings[turn], rings[1 - turn]
        looks, few = narrowed(RingParts(mine), looks, SALT)
        for told in telling(mine, few):
            other.join(told.segments)
            for answer in answering(other, told):
                mine.join(answer.segments)
        turn = 1 - turn

    assert rings[0] == rings[1]


def test_the_codec_knows_how_long_a_fingerprint_of_a_part_is() -> None:
    assert PRINT_SIZE == PRINT_BYTES


spans = st.tuples(st.integers(0, 4095), st.integers(1, 4096)).filter(lambda span: span[0] < span[1])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringipam.gossip.ringparts.BLOCK_TOKENS", 4)


@pytest.mark.usefixtures("small_blocks")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bounds, versions, bounds, versions, spans)
def test_two_rings_look_alike_just_where_they_agree(
    my_starts: list[int], my_stamps: list[int], their_starts: list[int], their_stamps: list[int], span: tuple[int, int]
) -> None:
    mine, other = ring(my_starts, my_stamps), ring(their_starts, their_stamps)

    alike = RingParts(mine).fingerprint(*span, SALT) == RingParts(other).fingerprint(*span, SALT)

    assert alike is (mine.columns(*span) == other.columns(*span))


@pytest.mark.usefixtures("small_blocks")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bounds, versions, bounds, versions, spans)
def test_a_ring_that_changed_looks_as_if_it_had_always_been_so(
    starts: list[int], stamps: list[int], news: list[int], news_stamps: list[int], span: tuple[int, int]
) -> None:
    held = ring(starts, stamps)
    before = RingParts(held)
    held.join(ring(news, news_stamps).segments())

    after = RingParts(held, before)

    for part in (span, UNIVERSE):
        assert after.fingerprint(*part, SALT) == RingParts(held).fingerprint(*part, SALT)
    assert after.fingerprint(*UNIVERSE, SALT) != after.fingerprint(*UNIVERSE, b"another!")


def test_one_change_in_a_long_ring_does_not_cost_the_whole_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    universe = Range(0, 1 << 20)
    held = Ring(universe)
    held.join(Segment(at, at + 64, Claim(0, 1 + at // 64 % 5, "h.1", "w.2")) for at in range(0, 1 << 20, 64))
    before = RingParts(held)
    held.join([Segment(640, 704, Claim(0, 9, "h.1", "w.2"))])
    hashed: list[int] = []
    monkeypatch.setattr("ringipam.gossip.ringparts.content", lambda r, lo, hi: hashed.append(len(r.columns(lo, hi)[0])))
    monkeypatch.setattr("ringipam.gossip.ringparts.blake2b", lambda *_, **__: blake2b())

    after = RingParts(held, before)
    after.fingerprint(*universe, SALT)

    assert len(hashed) == 1
    assert sum(hashed) <= BLOCK_TOKENS


def test_a_list_that_changed_looks_as_if_it_had_always_been_so() -> None:
    held = roster([member(n) for n in range(50)])
    before = held.fingerprint(*POSITIONS, SALT)

    held.put(member(7))
    unchanged = held.fingerprint(*POSITIONS, SALT)
    held.put(member(7, incarnation=2))
    held.put(member(50))

    assert unchanged == before
    assert held.fingerprint(*POSITIONS, SALT) == roster(
        [member(n, incarnation=2 if n == 7 else 1) for n in range(51)]
    ).fingerprint(*POSITIONS, SALT)
