"""No conflict is ever recorded between correct peers: only owners write over what is theirs, each version once.

Where an operator or a disk has made a mistake (sim/doubts.py), there may be one over the addresses in question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change, PutConflict
from ringipam.core.events import Effect, Event
from sim.checkers.base import Checker

if TYPE_CHECKING:
    from sim.host import Host


class NobodyIsContested(Checker):
    def changed(self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]) -> None:
        for change in changes:
            if isinstance(change, PutConflict):
                start, end, peers, _, source = change.conflict
                if self.world.doubts.excuses_conflict(start, end):
                    continue
                first, last = self.world.universe.text(start), self.world.universe.text(end - 1)
                self.fail(
                    f"{host.name} records a conflict over {first} to {last} of {', '.join(peers)}, shown by {source}"
                )
