"""Housekeeping looks a ring through once, and again only when something has changed."""

from __future__ import annotations

from typing import Any

import pytest
from solo import Solo

from ringipam.claim import Claim, Segment
from ringipam.messages import Ranges
from ringipam.ring.ring import Ring

B = "b.00000000bbbb"
UNIVERSE = 10 << 24


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one each time a ring is looked through for what could be coalesced."""
    found: list[int] = []
    coalescible = Ring.coalescible

    def counted(self: Ring, *arguments: Any) -> tuple[Segment, ...]:
        found.append(1)
        return coalescible(self, *arguments)

    monkeypatch.setattr(Ring, "coalescible", counted)
    return found


def test_a_ring_that_does_not_change_is_looked_through_once(looks: list[int]) -> None:
    solo = Solo()
    solo.allocate("c1")

    solo.wait(100_000)
    once = len(looks)
    solo.meet(B)
    solo.hear(B, Ranges((Segment(UNIVERSE + 9, UNIVERSE + 10, Claim(1, 9, B, B)),), answer=False))
    solo.wait(100_000)

    assert once == 1
    assert len(looks) > once
