"""The peer's time: milliseconds of the wall clock at the start, and monotonic from there on."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio


class Clock:
    """Never decreases while the process lives, whatever is done to the host's clock.

    Quarantines outlive a restart, so they need the base of the wall clock. Nothing in the protocol compares the
    clocks of two hosts. Must be made inside `trio.run`, whose clock it follows: sleeping until a time and reading
    the time then agree.
    """

    def __init__(self, wall_s: Callable[[], float] = time.time) -> None:
        self._base_s = wall_s() - trio.current_time()

    def now(self) -> int:
        """Milliseconds since 1970, by the wall clock as it stood when this clock was made."""
        return int((self._base_s + trio.current_time()) * 1000)

    def trio_time(self, at_ms: int) -> float:
        """The time `at_ms` on trio's clock, in seconds."""
        return at_ms / 1000 - self._base_s
