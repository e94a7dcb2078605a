"""Every request is answered within its time, whatever happens; only a crash, a pause or a slow disk excuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.events import Allocate, ClaimAddress, Prime
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import Request

SLACK_MS = 5_000
"""For pauses and slow disks, which last less than that."""


class EveryRequestAnswered(Checker):
    def asked(self, request: Request) -> None:
        timeout = request.verb.timeout_ms if isinstance(request.verb, Allocate | ClaimAddress | Prime) else 0
        self.world.loop.after(timeout + SLACK_MS, self._look, request)

    def _look(self, request: Request) -> None:
        if request.open:
            self.fail(f"{request.host} has not answered {request.verb} of {request.asked_ms}")
