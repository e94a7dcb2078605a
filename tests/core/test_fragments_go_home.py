"""Small ranges that lie free go to whoever owns what lies beside them, so that a ring shrinks again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from solo import ME, Solo, claim, ip

from ringipam.claim import Claim
from ringipam.core.donor import IDLE_ROUNDS, MERGED_ROUNDS, MERGED_SIZE_MAX, RESERVE
from ringipam.core.durable import Membered, Stored
from ringipam.messages import Grant, Standing

B = "b.00000000bbbb"
C = "c.00000000cccc"
ROUND_MS = 5
"""So short that nobody is taken for dead meanwhile."""


def solo_between(owner_before: str, owner_behind: str, start: str, end: str, *, before: str = "10.0.0.0") -> Solo:
    """This peer owns `[start, end)`, between two others' ranges, and from 10.0.8.0 on all the rest."""
    solo = Solo("10.0.0.0/20")
    solo.settings = replace(solo.settings, housekeeping_ms=ROUND_MS)
    owners = (("10.0.0.0", ME), (before, owner_before), (start, ME), (end, owner_behind), ("10.0.8.0", ME))
    tokens = {ip(address): Claim(0, 1, owner, owner) for address, owner in owners}
    members = {peer: Membered(f"{peer}:6783", Standing.MEMBER) for peer in (B, C)}
    solo.stored = Stored(meta={"cluster": "0123456789abcdef"}, tokens=tokens, members=members)
    solo.restart()
    solo.meet(B)
    solo.meet(C)
    solo.sent.clear()
    return solo


def given(solo: Solo, rounds: int) -> list[tuple[str, int, int]]:
    """To whom what was given within so many rounds of housekeeping."""
    solo.wait(rounds * ROUND_MS)
    return [
        (peer, segment.start, segment.end)
        for peer, body in solo.sent
        if isinstance(body, Grant)
        for segment in body.segments
    ]


def test_a_fragment_that_one_peer_surrounds_goes_back_to_it_first() -> None:
    solo = solo_between(B, B, "10.0.4.0", "10.0.4.8")

    assert given(solo, IDLE_ROUNDS + 1) == [(B, ip("10.0.4.0"), ip("10.0.4.8"))]


@pytest.mark.parametrize(("before", "home"), [("10.0.0.0", B), ("10.0.3.240", C)], ids=["below", "above"])
def test_a_fragment_between_two_peers_goes_to_the_one_with_the_larger_range(before: str, home: str) -> None:
    """Without this they pile up where several hosts share a subnet: by a tenth a week with five hosts."""
    solo = solo_between(B, C, "10.0.4.0", "10.0.4.32", before=before)

    assert given(solo, MERGED_ROUNDS - 1) == []
    assert given(solo, 2) == [(home, ip("10.0.4.0"), ip("10.0.4.32"))]


def test_a_fragment_never_goes_to_a_neighbour_whose_range_is_not_larger() -> None:
    """Else two peers would hand one another their fragments to and fro."""
    solo = solo_between(B, C, "10.0.7.200", "10.0.7.228", before="10.0.7.172")  # 28 addresses each

    assert given(solo, 2 * MERGED_ROUNDS) == []


@pytest.mark.parametrize("leased", [True, False], ids=["leased in", "too large"])
def test_what_is_in_use_or_large_stays(leased: bool) -> None:
    end = "10.0.4.32" if leased else f"10.0.4.{MERGED_SIZE_MAX + 1}"
    solo = solo_between(B, C, "10.0.4.0", end)
    if leased:
        solo.answer(claim("c1", "10.0.4.9"))

    assert given(solo, 2 * MERGED_ROUNDS) == []


def test_fragments_that_come_due_together_do_not_all_go() -> None:
    """Who has nothing else keeps what it needs when it is cut off."""
    solo = Solo("10.0.0.0/20")
    solo.settings = replace(solo.settings, housekeeping_ms=ROUND_MS)
    tokens = {ip("10.0.0.0"): Claim(0, 1, B, B)}
    for place in range(10):
        start = ip("10.0.1.0") + 128 * place
        tokens |= {start: Claim(0, 1, ME, ME), start + MERGED_SIZE_MAX: Claim(0, 1, B, B)}
    members = {B: Membered(f"{B}:6783", Standing.MEMBER)}
    solo.stored = Stored(meta={"cluster": "0123456789abcdef"}, tokens=tokens, members=members)
    solo.restart()
    solo.meet(B)
    solo.sent.clear()

    gone = given(solo, MERGED_ROUNDS + 2)

    assert gone
    assert sum(mine.size for mine in solo.peer.possessed()) >= RESERVE
