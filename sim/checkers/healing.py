"""After faults end, all rings are one again within a few rounds of gossip (docs/design.md, "Gossip").

Push-pull spreading takes `log3 n + ln ln n + 3` rounds with 99 % (Karp et al. 2000; measured besides). Links must stand
first: cuts and dead connections are noticed and addresses dialled anew within a stated time.
"""

from __future__ import annotations

from math import ceil, log
from typing import TYPE_CHECKING

from sim.checkers.base import Checker
from sim.network import CUT_NOTICED_MS, HALF_OPEN_MS

if TYPE_CHECKING:
    from sim.cluster import World

POLL_MS = 100
RECONNECT_MS = CUT_NOTICED_MS[1] + 2 * 2_000 + 1_500
"""A cut is noticed, the address dialled after the longest pause, in vain once, and again."""
VIOLATION = 3
"""So many times the time that 99 % of the seeds must keep to."""


class ConvergesInTime(Checker):
    """Measures from the end of the last fault to the first moment at which all rings are equal."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.took_ms: int | None = None
        self._since = 0

    @property
    def expected_ms(self) -> int:
        """What 99 % of all runs must keep to."""
        hosts = max(3, len(self.world.members()))
        round_ms = next(iter(self.world.hosts.values())).settings.anti_entropy_ms
        noticed = HALF_OPEN_MS[1] if self.world.marks.get("fault half-open") else RECONNECT_MS
        return noticed + ceil((log(hosts, 3) + log(log(hosts)) + 3) * round_ms)

    def healed(self) -> None:
        self._since = self.world.loop.now
        self._look()

    def _look(self) -> None:
        if self.world.converged:
            self.took_ms = self.world.loop.now - self._since
        elif self.world.loop.now - self._since > VIOLATION * self.expected_ms:
            self.fail(f"the rings differ {(self.world.loop.now - self._since) / 1000:.0f} s after the last fault")
        else:
            self.world.loop.after(POLL_MS, self._look)
