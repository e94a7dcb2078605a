"""An engine, leases in memory and a clock that jumps, for each test of the watcher's rules."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio.testing

sys.path.insert(0, str(Path(__file__).parent.parent / "server"))

from asking import Book
from playing import Player


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """Hours pass as soon as nobody has anything to do; the moment of real time is for what threads write.

    A test has to take it itself: pytest-trio looks for a clock among a test's own arguments.
    """
    return trio.testing.MockClock(autojump_threshold=0.01)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
async def engine(tmp_path: Path, clock: trio.testing.MockClock) -> AsyncIterator[Player]:
    player = Player(tmp_path / "engine.sock")
    async with player.playing():
        yield player
