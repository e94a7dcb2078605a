"""The virtual clock: a heap of what happens when. Ties are broken by the order of scheduling."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Loop:
    """Time in integer milliseconds; nothing here waits."""

    def __init__(self) -> None:
        self.now = 0
        self.events = 0
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._sequence = 0

    def at(self, time: int, action: Callable[..., object], *arguments: Any) -> None:
        """`action(*arguments)` at `time`, or now if that has passed."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(time, self.now), self._sequence, action, arguments))

    def after(self, delay: int, action: Callable[..., object], *arguments: Any) -> None:
        self.at(self.now + delay, action, *arguments)

    def run_until(self, end: int, done: Callable[[], bool] | None = None) -> bool:
        """Let things happen up to `end`; whether `done` became true, which stops it at once."""
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, action, arguments = heapq.heappop(heap)
            self.events += 1
            action(*arguments)
            if done is not None and done():
                return True
        self.now = max(self.now, end)
        return False
