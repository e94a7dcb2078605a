"""Every request is answered within its time, whatever happens; only a crash, a pause or a slow disk excuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.cluster import Request

SLACK_MS = 5_000
"""For slow disks, which take less than that; a pause and a hanging sync are waited out."""


class EveryRequestAnswered(Checker):
    def asked(self, request: Request) -> None:
        verb = request.verb
        timeout = getattr(verb, "timeout_ms", 0)
        self.world.loop.after(timeout + SLACK_MS, self._look, request)

    def _look(self, request: Request) -> None:
        if not request.open:
            return
        host = self.world.hosts[request.host]
        resumed = max(host.paused_until, host.disk.stalled_until)
        if self.world.loop.now < resumed + SLACK_MS:
            self.world.loop.at(resumed + SLACK_MS, self._look, request)
        else:
            self.fail(f"{request.host} has not answered {request.verb} of {request.asked_ms}")
