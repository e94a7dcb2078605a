"""How fast somebody may go: whoever is faster waits, and only they."""

from __future__ import annotations

import trio


class Pace:
    """Allows `burst` at once and `rate` a second for ever; what goes beyond is paid for by waiting."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = trio.current_time()

    def spend(self, amount: float) -> float:
        """Seconds to wait before going on; a single amount may be more than `burst`."""
        now = trio.current_time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - amount
        self._at = now
        return max(0.0, -self._left / self._rate)
