"""A newcomer is told the ring once, whoever else could tell it too."""

from __future__ import annotations

from solo import Solo

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.core.spreading import LESSON_MS, YOUTH_MS
from ringipam.messages import Compare, Print, Ranges

B = "b.00000000bbbb"
C = "c.00000000cccc"
WHOLE = Range(10 << 24, (10 << 24) + 256)


def newcomer() -> Solo:
    solo = Solo(init="observer")
    solo.meet(B, "0123456789abcdef")
    solo.meet(C, "0123456789abcdef")
    return solo


def asks(solo: Solo, peer: str) -> bool:
    """Whether it wants to be told what it lacks, by a neighbour whose ring looks otherwise."""
    looks_otherwise = Compare(b"8 bytes!", (Print(*WHOLE, b"what"),))
    return any(isinstance(body, Ranges) and body.answer for body in solo.hear(peer, looks_otherwise))


def told(*segments: Segment) -> Ranges:
    return Ranges(segments, answer=False)


def part(first: int, last: int, version: int = 1) -> Segment:
    return Segment(WHOLE.start + first, WHOLE.start + last, Claim(0, version, B, B))


def test_a_newcomer_asks_one_neighbour_for_the_ring_and_no_other_meanwhile() -> None:
    solo = newcomer()

    first = asks(solo, B)
    solo.wait(LESSON_MS - 1)
    solo.hear(B, told(part(0, 128)))
    solo.wait(LESSON_MS - 1)

    assert first
    assert not asks(solo, C)
    assert asks(solo, B)


def test_it_turns_to_another_when_the_one_that_was_asked_is_silent() -> None:
    solo = newcomer()

    assert asks(solo, B)
    solo.wait(LESSON_MS)

    assert asks(solo, C)


def test_it_turns_to_another_when_the_link_to_the_one_that_was_asked_is_gone() -> None:
    solo = newcomer()

    assert asks(solo, B)
    solo.lose(B)

    assert asks(solo, C)


def test_who_knows_an_owner_for_every_address_compares_with_everybody() -> None:
    solo = newcomer()

    assert asks(solo, B)
    solo.hear(B, told(part(0, 256)))

    assert asks(solo, B)
    assert asks(solo, C)


def test_who_has_been_there_for_a_while_hears_everybody_even_where_nobody_knows_an_owner() -> None:
    """A founder that is gone may have left part of the ring untold for good."""
    solo = newcomer()

    assert asks(solo, B)
    solo.hear(B, told(part(0, 128)))
    solo.wait(YOUTH_MS - 1)
    solo.hear(B, told(part(0, 128, version=2)))
    solo.wait(1)

    assert asks(solo, C)
